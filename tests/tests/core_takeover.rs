//! Takeovers on the deterministic network: recoveries and named services, their owners' deaths and failures.
#![allow(clippy::unwrap_used)]

use palisade_core::config::Config;
use palisade_core::state::takeovers::Progress;
use palisade_tests::sim::{Mood, World, config};

/// A cluster of so many hosts with these services.
fn with(hosts: u8, services: &str) -> &'static Config {
    let services = format!("\"services\":[{services}],\"devices\"");
    config::read(&config::json(hosts, hosts).replacen("\"devices\"", &services, 1))
}

fn up(config: &'static Config, seed: u64) -> World {
    let mut world = World::new(config, seed);
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "seed {seed}: {}\n{}", world.unrest(), world.story());
    world
}

fn owns(world: &mut World, service: &str, node: u8, within_ms: u64) {
    let owner = |w: &World| w.truth.owners.owner(service) == Some(node);
    let there = world.run_until_true(within_ms, owner);
    assert!(there, "{service} is {:?}'s\n{}", world.truth.owners.owner(service), world.story());
}

/// All named services are taken.
fn all_taken(world: &World) -> bool {
    let view = world.truth.newest().unwrap();
    view.takeovers.rows().iter().all(|row| row.progress == Progress::Taken)
}

#[test]
fn services_are_placed_by_their_policies_and_move_when_their_owner_dies() {
    let config = with(
        3,
        r#"{"name":"one"},{"name":"two","nodes":[3,2],"policy":"preference"},{"name":"three","policy":"least-loaded"}"#,
    );
    for seed in 0..3 {
        let mut world = up(config, seed);
        owns(&mut world, "one", 1, 6_000);
        owns(&mut world, "two", 3, 10);
        owns(&mut world, "three", 2, 10);
        world.run_ms(100);
        world.hit(1, Mood::Gone);
        owns(&mut world, "one", 2, 100);
        assert!(world.run_until_true(20_000, World::at_peace), "{}", world.unrest());
        assert_eq!(world.truth.owners.owner("one"), Some(2), "who comes back gets nothing back by itself");
        world.hit(3, Mood::Panicked);
        owns(&mut world, "two", 2, 200);
        assert!(world.run_until_true(20_000, all_taken), "{}", world.story());
    }
}

#[test]
fn a_service_waits_for_the_proof_that_its_owner_is_dead() {
    let mut world = up(with(3, r#"{"name":"one"}"#), 3);
    owns(&mut world, "one", 1, 6_000);
    world.run_ms(100);
    world.guests.get_mut(&1).unwrap().storage_answers = false;
    world.hit(1, Mood::Hung);
    world.run_ms(1_600);
    assert_eq!(world.truth.owners.owner("one"), Some(1), "condemned is not dead");
    owns(&mut world, "one", 2, 5_000);
    assert!(!world.truth.downs.is_empty());
}

#[test]
fn a_leader_dies_while_a_service_changes_hands() {
    for (seed, moment) in (10..).zip([0, 100, 300, 600, 1_000, 2_000, 10_000]) {
        let mut world = up(with(5, r#"{"name":"one"}"#), seed);
        owns(&mut world, "one", 1, 6_000);
        assert!(world.run_until_true(1_000, all_taken));
        world.hit(1, Mood::Gone);
        world.run_until(world.now + moment);
        let leader = world.leader().unwrap();
        world.kill_appliance(leader);
        assert!(world.run_until_true(20_000, World::at_peace), "{}", world.unrest());
        assert!(world.run_until_true(5_000, all_taken), "{}", world.story());
        assert_eq!(world.truth.owners.owner("one"), Some(2));
    }
}

#[test]
fn the_owner_of_a_recovery_dies_and_another_one_gets_it() {
    for seed in 20..26 {
        let mut world = World::new(config::cluster(5), seed);
        (1..=5).for_each(|node| world.wants(node, 1, true));
        world.power_all();
        assert!(world.run_until_true(20_000, World::at_peace), "{}", world.unrest());
        (1..=5).for_each(|node| world.guests.get_mut(&node).unwrap().dlm.slow = true);
        world.hit(5, Mood::Gone);
        let given = |w: &World| w.truth.newest().unwrap().takeovers.rows().first().map(|row| row.owner.get());
        assert!(world.run_until_true(200, |w| given(w).is_some()), "{}", world.story());
        let first = given(&world).unwrap();
        world.run_ms(5);
        world.hit(first, Mood::Gone);
        (1..=5).for_each(|node| world.guests.get_mut(&node).unwrap().dlm.slow = false);
        assert!(world.run_until_true(30_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
        let present = |(node, incarnation): (u8, u64)| world.guests[&node].incarnation == incarnation;
        assert!(world.disk.dirty(1).all(present), "both journals are replayed\n{}", world.story());
    }
}

/// Seed 1009750: the last members of a volume died one after the other, and nobody opened it again.
#[test]
fn a_volume_whose_last_members_died_leaves_nobody_owing_a_recovery() {
    let mut world = World::new(config::cluster(3), 40);
    [1, 2].into_iter().for_each(|node| world.wants(node, 1, true));
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "{}", world.unrest());
    (1..=2).for_each(|node| world.guests.get_mut(&node).unwrap().dlm.slow = true);
    world.hit(1, Mood::Gone);
    let given = |w: &World| w.truth.newest().unwrap().takeovers.rows().first().map(|row| row.owner.get());
    assert!(world.run_until_true(200, |w| given(w) == Some(2)), "{}", world.story());
    world.hit(2, Mood::Gone);
    [1, 2].into_iter().for_each(|node| world.wants(node, 1, false));
    assert!(world.run_until_true(30_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    assert_eq!(world.truth.newest().unwrap().takeovers.rows(), []);
    // Whoever opens it next replays both journals.
    world.guests.get_mut(&1).unwrap().dlm.slow = false;
    world.wants(1, 1, true);
    assert!(world.run_until_true(5_000, |w| w.guests[&1].dlm.running(1).is_some()), "{}", world.story());
    assert!(world.run_until_true(30_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    let present = |(node, incarnation): (u8, u64)| world.guests[&node].incarnation == incarnation;
    assert!(world.disk.dirty(1).all(present), "both journals are replayed\n{}", world.story());
}

#[test]
fn an_owner_that_fails_is_followed_by_another() {
    let mut world = World::new(config::cluster(3), 30);
    (1..=3).for_each(|node| {
        world.wants(node, 1, true);
        world.guests.get_mut(&node).unwrap().dlm.fails = true;
    });
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "{}", world.unrest());
    for _ in 0..20 {
        world.hit(3, Mood::Gone);
        // A node that keeps dying is held off for up to a minute (SAFETY H2).
        assert!(world.run_until_true(90_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    }
    let failed = world.truth.owners.failures;
    assert!(failed > 0, "in twenty deaths nobody failed");
}
