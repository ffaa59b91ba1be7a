//! Groups on the deterministic network: deaths, restarts and changes in the middle of each step of a barrier.
#![allow(clippy::unwrap_used)]

use palisade_core::config::Config;
use palisade_core::state::groups::Phase;
use palisade_core::status::Reason;
use palisade_tests::sim::config::Shape;
use palisade_tests::sim::{Mood, World, config};

const VOLUME: u8 = 1;
/// Instants after a barrier opened at which something more happens, microseconds: before STOP arrives, between the answers,
/// around the commit of the START, between the starts, while members recover, and after it.
const MOMENTS: [u64; 14] = [0, 60, 120, 200, 280, 360, 450, 550, 700, 900, 1_500, 5_000, 20_000, 80_000];

/// A world in which these nodes have the volume open.
fn open(config: &'static Config, seed: u64, nodes: impl IntoIterator<Item = u8>) -> World {
    let mut world = World::new(config, seed);
    nodes.into_iter().for_each(|node| world.wants(node, VOLUME, true));
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "seed {seed}: {}\n{}", world.unrest(), world.story());
    world
}

/// In the end all is open where it is wanted, and every journal that somebody left dirty is replayed.
fn ends_well(world: &mut World) {
    assert!(world.run_until_true(60_000, World::at_peace), "no peace: {}\n{}", world.unrest(), world.story());
    for volume in 1..=3 {
        let present = |(node, incarnation): (u8, u64)| world.guests[&node].incarnation == incarnation;
        assert!(world.disk.dirty(volume).all(present), "a journal was not replayed\n{}", world.story());
    }
}

/// A node's VM exits, and this long after its barrier opened something more happens.
fn dies_and(seed: u64, victim: u8, moment: u64, more: impl Fn(&mut World)) -> World {
    let mut world = open(config::cluster(5), seed, 1..=5);
    let (_, before) = world.barrier(VOLUME).unwrap();
    world.hit(victim, Mood::Gone);
    let end = world.now + 1_000_000;
    while world.barrier(VOLUME).unwrap().1 == before {
        assert!(world.now < end, "no barrier\n{}", world.story());
        world.run_until(world.now + 5);
    }
    world.run_until(world.now + moment);
    more(&mut world);
    world
}

/// A node of a host that does not lead.
fn member(world: &World, but: u8) -> u8 {
    let leader = world.leader().unwrap();
    (1..=5).find(|&node| node != leader && node != but).unwrap()
}

#[test]
fn all_nodes_open_a_volume_and_close_it_again() {
    for seed in 0..5 {
        let mut world = open(config::cluster(3), seed, 1..=3);
        assert!(world.truth.downs.is_empty(), "nobody dies of it");
        (1..=3).for_each(|node| world.wants(node, VOLUME, false));
        ends_well(&mut world);
        assert_eq!(world.barrier(VOLUME), None, "the last one closes the group");
        assert_eq!(world.disk.dirty(VOLUME).count(), 0);
        assert!(world.truth.downs.is_empty());
    }
}

#[test]
fn survivors_go_on_within_milliseconds_of_a_death() {
    let mut world = open(config::cluster(3), 1, 1..=3);
    let since = world.now;
    world.hit(3, Mood::Gone);
    let settled = |w: &World| {
        let set = w.guests[&1].dlm.running(VOLUME).map(|running| running.set.len());
        set == Some(2) && w.barrier(VOLUME).is_some_and(|(phase, _)| phase == Phase::Idle)
    };
    assert!(world.run_until_true(500, settled), "{}", world.story());
    assert!(world.now - since < 150_000, "{} us", world.now - since);
    ends_well(&mut world);
}

#[test]
fn another_member_dies_in_the_middle_of_each_step() {
    for (seed, moment) in (0..).zip(MOMENTS) {
        let mut world = dies_and(seed, 4, moment, |w| {
            let second = member(w, 4);
            w.hit(second, Mood::Gone);
        });
        ends_well(&mut world);
    }
}

#[test]
fn the_leaders_appliance_dies_in_the_middle_of_each_step_and_nobody_else_does() {
    for (seed, moment) in (100..).zip(MOMENTS) {
        let victim = if seed % 2 == 0 { 4 } else { 5 };
        let mut world = dies_and(seed, victim, moment, |w| {
            let leader = w.leader().unwrap();
            w.kill_appliance(leader);
        });
        ends_well(&mut world);
        let dead = world.truth.downs.iter().filter(|(_, _, node, _)| *node != victim).count();
        assert_eq!(dead, 0, "a leader's restart kills nobody\n{}", world.story());
    }
}

#[test]
fn the_leaders_host_dies_in_the_middle_of_each_step() {
    for (seed, moment) in (200..).zip(MOMENTS) {
        let mut world = dies_and(seed, 4, moment, |w| {
            let leader = w.leader().unwrap();
            w.power_off(leader);
        });
        world.run_ms(3_000);
        // A host on which no member was left is not fenced, so nothing turns it on again (SAFETY D5).
        world.power_all();
        ends_well(&mut world);
    }
}

#[test]
fn a_members_appliance_restarts_in_the_middle_of_each_step_and_its_node_lives() {
    for (seed, moment) in (300..).zip(MOMENTS) {
        let mut world = dies_and(seed, 4, moment, |w| {
            let host = member(w, 4);
            w.kill_appliance(host);
        });
        ends_well(&mut world);
        let dead = world.truth.downs.iter().filter(|(_, _, node, _)| *node != 4).count();
        assert_eq!(dead, 0, "the step waits for the appliance\n{}", world.story());
    }
}

#[test]
fn a_second_death_of_the_same_node_before_the_first_is_recovered() {
    for seed in 400..404 {
        let mut world = open(config::cluster(3), seed, 1..=3);
        world.guests.get_mut(&2).unwrap().dlm.stuck = true;
        world.reset_guest(3);
        world.run_ms(1_300);
        world.reset_guest(3);
        world.run_ms(500);
        world.guests.get_mut(&2).unwrap().dlm.stuck = false;
        ends_well(&mut world);
    }
}

#[test]
fn a_joiner_dies_and_a_leaver_dies() {
    for (seed, moment) in (500..).zip(MOMENTS) {
        let mut world = open(config::cluster(5), seed, [1, 2, 3, 4]);
        world.wants(5, VOLUME, true);
        world.wants(4, VOLUME, false);
        world.run_until(world.now + moment);
        world.hit(5, Mood::Gone);
        world.hit(4, Mood::Panicked);
        ends_well(&mut world);
    }
}

#[test]
fn g6_who_says_bye_with_a_volume_open_is_dead_only_by_proof() {
    let mut world = open(config::cluster(3), 6, 1..=3);
    world.bye(2);
    assert!(world.run_until_true(2_000, |w| w.truth.told_down(2, 0) == 2), "{}", world.story());
    let reason = world.truth.newest().unwrap().history().next().unwrap().reason;
    assert_eq!(reason, Reason::LeftMounted);
    ends_well(&mut world);
}

#[test]
fn g4_a_worker_that_hangs_costs_its_node_and_not_the_group() {
    let mut world = open(config::cluster(3), 7, 1..=3);
    world.guests.get_mut(&2).unwrap().dlm.stuck = true;
    world.wants(3, VOLUME, false);
    assert!(world.run_until_true(8_000, |w| w.truth.told_down(2, 0) > 0), "{}", world.story());
    let history = world.truth.newest().unwrap().history().next().map(|entry| (entry.node.get(), entry.reason));
    assert_eq!(history, Some((2, Reason::Stuck)));
    ends_well(&mut world);
}

#[test]
fn all_die_and_whoever_comes_back_first_is_told_of_all() {
    for seed in 800..803 {
        let mut world = open(config::cluster(3), seed, 1..=3);
        (1..=3).for_each(|node| world.hit(node, Mood::Gone));
        world.run_ms(20);
        assert_eq!(world.disk.dirty(VOLUME).count(), 3, "nobody is there to replay anything");
        ends_well(&mut world);
    }
}

/// Nodes 1 and 2 are one cluster, 2 and 3 another.
fn two_clusters() -> &'static Config {
    let clusters = r#""clusters":[{"name":"mail","nodes":[1,2]},{"name":"web","nodes":[2,3]}],"devices""#;
    config::read(&config::json(3, 3).replacen("\"devices\"", clusters, 1))
}

#[test]
fn several_volumes_and_several_clusters_go_their_own_ways() {
    let mut world = World::new(two_clusters(), 9);
    for (node, volume, cluster) in [(1, 1, "mail"), (2, 1, "mail"), (2, 2, "web"), (3, 2, "web"), (1, 3, "mail")] {
        world.wants_in(node, volume, cluster);
    }
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    let generations = [1, 2, 3].map(|volume| world.barrier(volume).unwrap().1);
    world.hit(1, Mood::Gone);
    assert!(world.run_until_true(100, |w| w.truth.told_down(1, 0) == 2));
    world.run_ms(100);
    assert_ne!(world.barrier(1).unwrap().1, generations[0], "its group stops");
    assert_eq!(world.barrier(2).unwrap().1, generations[1], "another cluster's does not");
    ends_well(&mut world);
    world.hit(2, Mood::Gone);
    ends_well(&mut world);
}

#[test]
fn a_volume_of_one_cluster_is_refused_to_another() {
    let mut world = World::new(two_clusters(), 10);
    world.wants_in(1, 1, "mail");
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "{}", world.unrest());
    world.wants_in(3, 1, "web");
    world.wants_in(2, 2, "news");
    world.run_ms(3_000);
    let running = |node: u8, volume| world.guests[&node].dlm.running(volume).is_some();
    assert!(running(1, 1) && !running(3, 1) && !running(2, 2));
    assert_eq!(world.truth.newest().unwrap().groups.iter().count(), 1);
}

#[test]
fn thirty_two_nodes_open_two_volumes_and_a_host_of_eight_dies() {
    let shape = Shape { nodes: 8, ..Shape::of(4) };
    let mut world = World::new(shape.config(), 11);
    for node in 1..=32 {
        world.wants(node, 1, true);
        world.wants(node, 2, node % 2 == 0);
    }
    world.power_all();
    assert!(world.run_until_true(40_000, World::at_peace), "{}", world.unrest());
    let leader = world.leader().unwrap();
    let victim = (1..=4).find(|&host| host != leader).unwrap();
    world.power_off(victim);
    ends_well(&mut world);
    assert!(world.truth.owners.given >= 12, "each of the dead is recovered by somebody, in each volume");
}

/// A frame has room for 37 of 40. Who hears half of a START does not start; the rest is told until it comes.
#[test]
fn a_start_of_forty_goes_in_parts_and_one_that_is_lost_is_told_again() {
    for part in [0, 1] {
        let mut world = World::new(Shape { nodes: 8, ..Shape::of(5) }.config(), 12);
        (1..=40).for_each(|node| world.wants(node, VOLUME, true));
        world.power_all();
        assert!(world.run_until_true(40_000, World::at_peace), "{}", world.unrest());
        let (victim, listener) = (9, 17);
        world.hit(victim, Mood::Gone);
        let (mut lost, end) = (0, world.now + 5_000_000);
        while lost < 3 {
            assert!(world.now < end, "part {part} was lost {lost} times\n{}", world.story());
            world.run_until(world.now + 5);
            lost += world.lose_start(listener, part);
            assert!(world.guests[&listener].dlm.running(VOLUME).is_none() || lost == 0, "it starts with a half");
        }
        ends_well(&mut world);
        let sets: Vec<usize> =
            (1..=40).map(|node| world.guests[&node].dlm.running(VOLUME).unwrap().set.len()).collect();
        assert_eq!(sets, [40; 40]);
    }
}

#[test]
fn a_barrier_costs_few_views_and_nothing_when_it_is_over() {
    for seed in 12..20 {
        let mut world = open(config::cluster(5), seed, 1..=5);
        world.run_ms(100);
        let before = world.truth.views();
        world.wants(5, VOLUME, false);
        ends_well(&mut world);
        // All have recovered; that the leader knows it is one view more.
        let idle = |w: &World| w.barrier(VOLUME).is_some_and(|(phase, _)| phase == Phase::Idle);
        assert!(world.run_until_true(100, idle), "seed {seed}\n{}", world.story());
        assert!(world.truth.views() - before <= 4, "seed {seed}: stopping, starting, idle");
        let before = world.truth.views();
        world.run_ms(5_000);
        assert_eq!(world.truth.views(), before, "seed {seed}\n{}", world.story());
    }
}

/// Nothing of the dead is granted to anybody before it is recovered: whoever waits for that is not late (SAFETY G4, I1).
#[test]
fn an_owner_that_hangs_in_a_recovery_takes_nobody_with_it() {
    let mut world = open(config::cluster(5), 13, 1..=5);
    let owner = |w: &World| w.truth.newest().unwrap().takeovers.rows().first().map(|row| row.owner.get());
    (1..=5).for_each(|node| world.guests.get_mut(&node).unwrap().dlm.slow = true);
    let well: Vec<u64> = (1..=5).map(|node| world.guests[&node].incarnation).collect();
    world.hit(5, Mood::Gone);
    assert!(world.run_until_true(1_000, |w| owner(w).is_some()), "{}", world.story());
    let hangs = owner(&world).unwrap();
    (1..=5).filter(|&node| node != hangs).for_each(|node| world.guests.get_mut(&node).unwrap().dlm.slow = false);
    world.run_ms(70_000);
    world.guests.get_mut(&hangs).unwrap().dlm.slow = false;
    ends_well(&mut world);
    let fell: Vec<u8> =
        (1..=5).zip(well).filter(|(node, was)| world.guests[node].incarnation != *was).map(|(node, _)| node).collect();
    assert_eq!(fell, [hangs, 5], "{}", world.story());
}
