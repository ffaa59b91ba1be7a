//! Short stories of what happens to clusters, and what a user expects of them: who is told what, when, and nobody else hurt.

use palisade_core::fencing::Action;
use palisade_core::rule::Rules;
use palisade_core::state::groups::Phase;
use palisade_tests::scenarios::stage::{back, leader, members, nobody_was_hurt, told_down, up, up_with};
use palisade_tests::sim::check::Truth;
use palisade_tests::sim::config::Shape;
use palisade_tests::sim::{Bmc, Mood, Stop, World};

const ALL: Rules = Rules::ALL;

/// Every node has volume 1 open.
fn mounted(mut world: World) -> World {
    for node in world.guests.keys().collect::<Vec<_>>() {
        world.wants(node, 1, true);
    }
    back(&mut world);
    world
}

/// The hosts that anybody ordered off.
fn switched_off(world: &World) -> Vec<u8> {
    let offs = world.truth.orders.iter().filter(|(.., action)| *action == Action::Off);
    let mut hosts: Vec<u8> = offs.map(|(_, _, target, _)| *target).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// The nodes that anybody was told are down.
fn down(world: &World) -> Vec<u8> {
    let mut nodes: Vec<u8> = world.truth.downs.iter().map(|(_, _, node, _)| *node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// How far volume 1 is.
fn phase(world: &World) -> Option<Phase> {
    let view = world.truth.newest()?;
    let group = view.groups.of(palisade_core::id::Label([1; 16]))?;
    Some(view.groups.get(group).phase)
}

#[test]
fn mass_power_loss() {
    let mut world = up(ALL, 5, 1);
    for host in 1..=5 {
        world.unplug(host);
    }
    world.run_ms(10_000);
    // Nothing remembers anything: no appliance, no node. A new line begins.
    world.truth = Truth::new(world.config());
    world.power_all();
    let all_up = world.run_until_true(20_000, World::at_peace);
    assert!(all_up, "it boots by itself: {}\n{}", world.unrest(), world.story());
    assert!(switched_off(&world).is_empty(), "a cluster that boots together fences nobody\n{}", world.story());
}

#[test]
fn rolling_restart() {
    let mut world = mounted(up(ALL, 5, 2));
    for host in 1..=5 {
        world.kill_appliance(host);
        world.run_ms(2_500);
    }
    back(&mut world);
    nobody_was_hurt(&world);
}

#[test]
fn twenty_eight_hosts_and_one_loses_power() {
    let mut world = up_with(ALL, Shape::of(28).config(), 3);
    let host = members(&world)[13];
    let since = world.now;
    world.power_off(host);
    told_down(&mut world, host, 27, 1_200);
    println!("27 were told after {} ms", (world.now - since) / 1000);
    assert_eq!((down(&world), switched_off(&world)), (vec![host], vec![host]));
    assert!(world.truth.resets.is_empty(), "nobody else is hurt\n{}", world.story());
    back(&mut world);
}

#[test]
fn two_hosts_with_a_cut_between_them_and_a_witness() {
    for seed in 0..6 {
        let shape = Shape { votes: 3, witness: true, ..Shape::of(3) };
        let mut world = up_with(ALL, shape.config(), seed);
        world.each_path(|(from, to, _), path| path.cut = from.max(to) == 2);
        world.run_ms(6_000);
        let off = switched_off(&world);
        assert!(off.len() < 2, "seed {seed}: both were switched off: {off:?}\n{}", world.story());
        assert_eq!(down(&world), off, "seed {seed}: the other one goes on\n{}", world.story());
        world.each_path(|_, path| path.cut = false);
        back(&mut world);
    }
}

#[test]
fn slow_leader() {
    let mut world = mounted(up(ALL, 3, 4));
    for _ in 0..4 {
        let slow = leader(&world);
        world.stop_appliance(slow, Stop::Loop);
        world.run_ms(800);
        world.resume_appliance(slow);
        world.run_ms(6_000);
    }
    back(&mut world);
    nobody_was_hurt(&world);
}

#[test]
fn bmc_down_with_its_host() {
    let mut world = up(ALL, 3, 5);
    world.bmc_apart = false;
    let host = members(&world)[0];
    world.unplug(host);
    world.run_ms(10_000);
    assert!(world.truth.downs.is_empty(), "silence is no proof\n{}", world.story());
    assert_eq!(switched_off(&world), vec![host], "it is tried, and nobody else\n{}", world.story());
    world.plug(host);
    world.power_on(host);
    told_down(&mut world, host, 2, 2_000);
    back(&mut world);
}

#[test]
fn flapping_node() {
    let mut world = mounted(up(ALL, 3, 6));
    for death in 1..=3 {
        world.hit(2, Mood::Panicked);
        told_down(&mut world, 2, 2, 50);
        back(&mut world);
        assert_eq!(world.truth.downs.len(), 2 * death, "each death is told once to each\n{}", world.story());
    }
    assert_eq!(down(&world), [2]);
    assert!(world.truth.orders.is_empty() && world.truth.resets.is_empty());
}

#[test]
fn returning_minority() {
    let mut world = mounted(up(ALL, 5, 7));
    for host in [1, 2] {
        world.bmcs.insert(host, Bmc::Dead);
    }
    world.each_path(|(from, to, _), path| path.cut = (from <= 2) != (to <= 2));
    world.truth.quorum_side = Some(vec![3, 4, 5]);
    world.run_ms(9_000);
    assert!(world.truth.downs.is_empty(), "no proof, no NODE_DOWN\n{}", world.story());
    world.truth.quorum_side = None;
    world.each_path(|_, path| path.cut = false);
    back(&mut world);
    assert_eq!(down(&world), [1, 2], "what was cut off had ended, and is told so\n{}", world.story());
}

/// While volume 1 is in this phase, something happens to the leader.
fn in_the_middle(seed: u64, wanted: Phase, strikes: impl Fn(&mut World, u8)) -> World {
    let mut world = mounted(up(ALL, 5, seed));
    let leads = leader(&world);
    let victim = members(&world)[0];
    if wanted == Phase::Stopping {
        for guest in world.guests.values_mut().filter(|guest| guest.node != victim) {
            guest.dlm.stuck = true;
        }
    }
    world.hit(victim, Mood::Gone);
    let is_there = world.run_until_true(2_000, |world| phase(world) == Some(wanted));
    assert!(is_there, "seed {seed}: never in {wanted:?}\n{}", world.story());
    strikes(&mut world, leads);
    world.workers_go_on();
    back(&mut world);
    world
}

#[test]
fn dead_leader_in_the_middle_of_each_barrier_step() {
    for seed in 8..12 {
        for wanted in [Phase::Stopping, Phase::Starting] {
            let world = in_the_middle(seed, wanted, |world, leads| world.power_off(leads));
            assert!(world.truth.resets.is_empty(), "nobody else is hurt\n{}", world.story());
            let world = in_the_middle(seed, wanted, |world, leads| world.kill_appliance(leads));
            let hurt = world.truth.orders.len() + world.truth.resets.len();
            assert_eq!((hurt, down(&world).len()), (0, 1), "only one node was ever dead\n{}", world.story());
        }
    }
}

#[test]
fn second_death_before_the_first_takeover_ended() {
    for seed in 12..16 {
        let mut world = mounted(up(ALL, 3, seed));
        let others = [1, 2];
        world.hit(3, Mood::Gone);
        let is_starting = world.run_until_true(2_000, |world| phase(world) == Some(Phase::Starting));
        assert!(is_starting, "{}", world.story());
        for node in others {
            world.guests.get_mut(&node).expect("a node").dlm.stuck = true;
        }
        let is_up = world.run_until_true(4_000, |world| world.guests[&3].incarnation != 0);
        assert!(is_up, "{}", world.story());
        world.run_ms(500);
        world.hit(3, Mood::Gone);
        told_down(&mut world, 3, 2, 50);
        world.workers_go_on();
        back(&mut world);
        assert_eq!(down(&world), [3], "nobody else was ever dead\n{}", world.story());
    }
}
