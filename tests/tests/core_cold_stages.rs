//! Cold starts that are disturbed on the deterministic network: their leader dies in each stage, hosts are out of service.
#![allow(clippy::unwrap_used)]

use palisade_core::id::Cluster;
use palisade_core::state::Stage;
use palisade_core::wire::node::{Message, Wish};
use palisade_tests::sim::operator::of_host;
use palisade_tests::sim::{Bmc, Mood, Trace, World, config};

fn trace() -> Trace {
    if std::env::var("COLD_TRACE").is_ok() { Trace::Printed } else { Trace::Kept }
}

/// A cluster whose nodes have a volume open.
fn sharing(hosts: u8, seed: u64) -> World {
    let mut world = World::traced(config::cluster(hosts), seed, trace());
    (1..=hosts).for_each(|node| world.wants(node, 1, true));
    world.power_all();
    settled(&mut world);
    world
}

fn settled(world: &mut World) {
    assert!(world.run_until_true(120_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    world.run_ms(500);
}

/// Until a view of another cluster incarnation is committed in this stage.
fn reaches(world: &mut World, before: Cluster, stage: Stage) {
    let is_there = |w: &World| w.truth.newest().is_some_and(|view| view.cluster.differs(before) && view.stage == stage);
    let until = world.now + 60_000_000;
    while !is_there(world) && world.now < until {
        world.run_until(world.now + 50);
    }
    assert!(is_there(world), "{stage:?}\n{}", world.story());
}

fn cluster(world: &World) -> Cluster {
    world.truth.newest().unwrap().cluster
}

/// The leader's appliance dies as soon as this stage is committed, and again a moment later.
fn leader_dies_in(stage: Stage, is_hurt: bool) {
    for (hosts, seed) in [3, 5].into_iter().flat_map(|hosts| (0..6).map(move |seed| (hosts, seed))) {
        let mut world = sharing(hosts, seed);
        let (before, first) =
            (world.guests.values().map(|guest| guest.incarnation).collect::<Vec<_>>(), cluster(&world));
        world.forget_all();
        if is_hurt {
            // Somebody dies meanwhile, so that there is somebody to be fenced.
            world.bmcs.insert(hosts, Bmc::Works(3_000_000));
            world.power_off(hosts);
        }
        reaches(&mut world, first, stage);
        world.run_until(world.now + seed * 1_500);
        let leader = world.leader().unwrap();
        world.kill_appliance(leader);
        world.run_ms(8_000);
        if is_hurt {
            world.power_all();
        }
        settled(&mut world);
        let truth = &world.truth;
        if !is_hurt {
            let calm = truth.downs.is_empty() && truth.orders.is_empty() && truth.resets.is_empty();
            assert!(calm, "{hosts} hosts, seed {seed}: {:?} {:?}\n{}", truth.orders, truth.resets, world.story());
        }
        let lives = usize::from(hosts) - usize::from(is_hurt);
        let after = world.guests.values().map(|guest| guest.incarnation);
        let kept = after.zip(before).take(lives).all(|(now, then)| now == then);
        assert!(
            kept,
            "{hosts} hosts, seed {seed}: whoever reported goes on: {:?} {:?}\n{}",
            world.truth.resets,
            world.truth.orders,
            world.story()
        );
    }
}

#[test]
fn the_leader_of_a_cold_start_dies_while_reports_are_collected() {
    leader_dies_in(Stage::Collecting, false);
}

#[test]
fn the_leader_of_a_cold_start_dies_while_a_host_is_fenced() {
    leader_dies_in(Stage::Fencing, true);
}

#[test]
fn the_leader_of_a_cold_start_dies_just_after_it_adopted_everybody() {
    leader_dies_in(Stage::Fencing, false);
}

#[test]
fn the_leader_of_a_cold_start_dies_when_it_is_settled_and_the_groups_stop() {
    leader_dies_in(Stage::Settled, false);
}

/// What survives a cold start is the configuration: nobody orders a host off that it calls disabled, and without a proof
/// nothing is started and nobody is called down, until a person says that it is off.
#[test]
fn h3_a_disabled_host_that_is_away_at_a_cold_start_is_left_to_a_person() {
    let text = config::json(3, 3).replace(r#""name":"host3","#, r#""name":"host3","disabled":true,"#);
    let mut world = World::traced(config::read(&text), 5, trace());
    (1..=3).for_each(|node| world.wants(node, 1, true));
    world.power_all();
    let runs = |w: &World, node: u8| w.guests[&node].dlm.running(1).map(|running| running.set.len());
    let both = world.run_until_true(60_000, |w| runs(w, 1) == Some(2) && runs(w, 2) == Some(2));
    assert!(both, "{}\n{}", world.unrest(), world.story());
    world.power_off(3);
    world.forget_all();
    world.wants(2, 1, false);
    world.run_ms(60_000);
    assert!(world.truth.orders.is_empty(), "{:?}\n{}", world.truth.orders, world.story());
    assert!(world.truth.downs.is_empty() && world.truth.resets.is_empty(), "{}", world.story());
    assert!(runs(&world, 1) == Some(2) && runs(&world, 2) == Some(2), "nothing is started\n{}", world.story());
    world.operate(1, of_host(Wish::Acknowledge, 3, 0));
    let done = matches!(world.answer_of(1, 5_000), Some(Message::OperateReply { .. }));
    assert!(done, "the operator is told so\n{}", world.story());
    let alone = world.run_until_true(20_000, |w| runs(w, 1) == Some(1) && runs(w, 2).is_none());
    assert!(alone, "{}", world.story());
    assert_eq!(world.guests[&1].mood, Mood::Well);
}
