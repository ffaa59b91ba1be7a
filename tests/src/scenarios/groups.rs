//! The traces of SAFETY G1, G2, G3 and I1, with real guests' volumes: what a missing rule does to a shared disk.
//!
//! Owns the words of each trace. With all rules each ends with every volume open where it is wanted, and all journals
//! replayed that somebody left dirty.

use crate::sim::{Mood, Stop, World, config};
use palisade_core::rule::Rules;
use palisade_core::state::groups::Phase;

/// The volume of all stories.
const VOLUME: u8 = 1;

/// A world of so many hosts, in which these nodes have the volume open.
fn open(rules: Rules, config: &'static palisade_core::config::Config, seed: u64, nodes: &[u8]) -> World {
    let mut world = World::new(config, seed);
    world.rules = rules;
    nodes.iter().for_each(|&node| world.wants(node, VOLUME, true));
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "not all open\n{}{}", world.unrest(), world.story());
    world
}

fn ends_well(world: &mut World) {
    assert!(world.run_until_true(60_000, World::at_peace), "no peace\n{}{}", world.unrest(), world.story());
    let present = |(node, incarnation): &(u8, u64)| world.guests[node].incarnation == *incarnation;
    assert!(world.disk.dirty(VOLUME).all(|left| present(&left)), "a journal was not replayed\n{}", world.story());
}

/// Runs in steps of a few microseconds until this holds.
fn until(world: &mut World, millis: u64, holds: impl Fn(&World) -> bool) {
    let end = world.now + millis * 1000;
    while !holds(world) {
        assert!(world.now < end, "it never came to that\n{}", world.story());
        world.run_until(world.now + 10);
    }
}

fn runs_at(world: &World, node: u8) -> Option<u64> {
    world.guests[&node].dlm.running(VOLUME).map(|running| running.generation)
}

/// The leader fixes a set, and its own node starts with it; nobody else accepts that view. The leader steps down, the next
/// one lets another node join with the same barrier, and takes the old STOPPED for a new one.
pub(super) fn g1_a_start_that_was_not_committed(rules: Rules) {
    let mut world = open(rules, config::cluster(5), 1, &[1, 2, 3, 4, 5]);
    let leader = world.leader().expect("somebody leads in peace");
    let others: Vec<u8> = (1..=5).filter(|&host| host != leader).collect();
    world.wants(others[1], VOLUME, false);
    ends_well(&mut world);
    // It stalls once: the second time it steps down (A8).
    world.stop_appliance(leader, Stop::Loop);
    world.run_ms(400);
    world.resume_appliance(leader);
    world.run_ms(500);
    let before = runs_at(&world, leader);
    world.wants(others[0], VOLUME, false);
    until(&mut world, 1_000, |w| w.barrier(VOLUME).is_some_and(|(phase, _)| phase == Phase::Stopping));
    world.run_until(world.now + 150);
    // From now on nobody hears it; it hears that all have stopped, and decides.
    world.cut(leader, true, false, true);
    world.run_ms(5);
    world.stop_appliance(leader, Stop::Loop);
    world.each_path(|(from, _, _), path| {
        path.cut = false;
        path.delay = if from == leader { 20_000 } else { path.delay };
    });
    world.run_ms(300);
    world.wants(others[1], VOLUME, true);
    world.run_ms(150);
    world.resume_appliance(leader);
    let stopped = before.is_some() && runs_at(&world, others[2]).is_none();
    assert!(stopped, "the barrier is open\n{}", world.story());
    world.run_ms(3_000);
    assert_ne!(world.leader(), Some(leader), "it stepped down\n{}", world.story());
    ends_well(&mut world);
}

/// Node 3 dies, and only node 1 is told; then node 1 dies too. Node 2 must hear of both.
pub(super) fn g2_a_death_that_not_all_were_told(rules: Rules) {
    let mut world = open(rules, config::cluster(5), 2, &[1, 2, 3]);
    let before = runs_at(&world, 2);
    world.hit(3, Mood::Gone);
    until(&mut world, 1_000, |w| runs_at(w, 2).is_none());
    // Its worker hangs just before it would start.
    world.guests.get_mut(&2).expect("node 2").dlm.stuck = true;
    until(&mut world, 1_000, |w| runs_at(w, 1).is_some_and(|generation| Some(generation) != before));
    world.run_ms(100);
    world.hit(1, Mood::Gone);
    world.run_ms(200);
    world.guests.get_mut(&2).expect("node 2").dlm.stuck = false;
    ends_well(&mut world);
}

/// Node 3 dies and boots again before a member whose worker is slow has stopped. The new node 3 waits too.
pub(super) fn g3_a_number_that_comes_back_too_soon(rules: Rules) {
    let mut world = open(rules, config::cluster(3), 9, &[1, 2, 3]);
    let old = world.guests[&3].incarnation;
    world.guests.get_mut(&1).expect("node 1").dlm.stuck = true;
    world.hit(3, Mood::Gone);
    let back = |w: &World| ![0, old].contains(&w.guests[&3].incarnation) && w.guests[&3].has_session();
    assert!(world.run_until_true(5_000, back), "it never came back\n{}", world.story());
    world.run_ms(500);
    world.guests.get_mut(&1).expect("node 1").dlm.stuck = false;
    ends_well(&mut world);
}

/// An owner says nothing for takeover_ms, and is alive.
pub(super) fn i1_an_owner_that_is_only_slow(rules: Rules) {
    let service = r#""services":[{"name":"queue"}],"devices""#;
    let config = config::read(&config::json(3, 3).replacen("\"devices\"", service, 1));
    let mut world = open(rules, config, 4, &[]);
    assert!(world.run_until_true(10_000, |w| w.truth.owners.owner("queue") == Some(1)), "{}", world.story());
    world.guests.get_mut(&2).expect("node 2").dlm.slow = true;
    world.hit(1, Mood::Gone);
    assert!(world.run_until_true(1_000, |w| w.truth.owners.owner("queue") == Some(2)), "{}", world.story());
    world.run_ms(35_000);
    world.guests.get_mut(&2).expect("node 2").dlm.slow = false;
    ends_well(&mut world);
    assert_ne!(world.truth.owners.owner("queue"), Some(2), "it was condemned, and the service is another's");
}
