//! Devices that are tried before they are needed, and appliances that know when they were slow, on the simulated world.
#![allow(clippy::unwrap_used)]

use palisade_core::status::{DeviceEntry, NodeEntry, UNPROTECTED};
use palisade_core::wire::node::{Message, Section};
use palisade_tests::sim::{Bmc, Mood, Stop, World, config};

fn up(hosts: u8, seed: u64, text: &str) -> World {
    let changed = config::json(hosts, hosts).replacen(r#""epoch":1,"#, &format!(r#""epoch":1,{text}"#), 1);
    let mut world = World::new(config::read(&changed), seed);
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "seed {seed}: not all up\n{}", world.story());
    world
}

fn member(world: &World) -> u8 {
    let leader = world.leader().unwrap();
    (1..).find(|&host| host != leader).unwrap()
}

/// A section of STATUS of the leader; its payload.
fn asked(world: &mut World, section: Section) -> Vec<u8> {
    let leader = world.leader().unwrap();
    world.payloads.clear();
    world.say_as_operator(leader, &Message::Status { section, first: 0 });
    world.run_ms(20);
    world.payloads.concat()
}

fn unprotected(world: &mut World) -> Vec<u8> {
    let bytes = asked(world, Section::Nodes);
    let entries = bytes.chunks_exact(NodeEntry::BYTES).map(|b| NodeEntry::parse(b).unwrap());
    entries.filter(|entry| entry.marks & UNPROTECTED != 0).map(|entry| entry.node.get()).collect()
}

fn unharmed(world: &World) {
    let truth = &world.truth;
    let harmed = !truth.downs.is_empty() || !truth.resets.is_empty() || !truth.orders.is_empty();
    assert!(!harmed, "{:?} {:?} {:?}\n{}", truth.downs, truth.resets, truth.orders, world.story());
}

#[test]
fn a_bmc_that_fell_silent_is_found_by_a_drill_and_its_nodes_are_called_unprotected() {
    let mut world = up(3, 1, r#""timing":{"drill_ms":3000},"#);
    world.run_ms(7_000);
    assert!(unprotected(&mut world).is_empty(), "{}", world.story());
    let bytes = asked(&mut world, Section::Devices);
    let devices: Vec<DeviceEntry> =
        bytes.chunks_exact(DeviceEntry::BYTES).map(|b| DeviceEntry::parse(b).unwrap()).collect();
    assert_eq!(devices.len(), 3);
    assert!(devices.iter().all(|device| device.trial.word() == "works (on)" && device.age_ms <= 3_100), "{devices:?}");
    let host = member(&world);
    world.bmcs.insert(host, Bmc::Dead);
    world.run_ms(14_000);
    assert_eq!(unprotected(&mut world), [host], "{}", world.story());
    world.bmcs.insert(host, Bmc::Works(5_000));
    world.run_ms(12_000);
    assert!(unprotected(&mut world).is_empty(), "{}", world.story());
    unharmed(&world);
}

#[test]
fn drills_cost_no_fence_its_device() {
    let mut world = up(3, 2, r#""timing":{"drill_ms":300},"#);
    let host = member(&world);
    world.bmcs.insert(host, Bmc::Works(800_000));
    world.freeze(host, true);
    let since = world.now;
    let told = world.run_until_true(2_200, |w| w.truth.told_down(host, since) >= 2);
    assert!(told, "{}", world.story());
}

#[test]
fn a_clock_that_jumps_costs_nobody_his_life() {
    for seed in 0..20 {
        let mut world = up(3, seed, "");
        for jump_ms in [250, 700, 1_300, 5_000] {
            for host in [world.leader().unwrap_or(1), 1, 2, 3] {
                world.jump(host, jump_ms * 1000);
                world.run_ms(300 + seed * 37);
            }
            world.run_ms(6_000);
        }
        assert!(world.run_until_true(20_000, World::all_up), "{}", world.story());
        unharmed(&world);
    }
}

#[test]
fn a_member_that_stalls_accuses_no_node_for_what_it_did_not_hear_but_a_dead_one_all_the_same() {
    for seed in 0..10 {
        let mut world = up(3, seed, "");
        let host = member(&world);
        // It stalls a third of the time, for ever.
        let stalls = |world: &mut World, until: u64, done: &dyn Fn(&World) -> bool| {
            while world.now < until && !done(world) {
                world.stop_appliance(host, Stop::Loop);
                world.run_ms(340);
                world.resume_appliance(host);
                world.run_ms(660);
            }
        };
        let until = world.now + 8_000_000;
        stalls(&mut world, until, &|_| false);
        unharmed(&world);
        let since = world.now;
        world.hit(host, Mood::Hung);
        let until = world.now + 6_000_000;
        stalls(&mut world, until, &|w| w.truth.told_down(host, since) >= 2);
        assert!(world.truth.told_down(host, since) >= 2, "seed {seed}\n{}", world.story());
    }
}

#[test]
fn a_leader_that_stalls_again_and_again_leaves_it_to_others_and_does_not_stand_meanwhile() {
    for seed in 0..10 {
        let mut world = up(3, seed, "");
        let slow = world.leader().unwrap();
        for _ in 0..8 {
            world.stop_appliance(slow, Stop::Loop);
            world.run_ms(400);
            world.resume_appliance(slow);
            world.run_ms(500);
        }
        assert!(world.leader().is_some_and(|leader| leader != slow), "seed {seed}\n{}", world.story());
        unharmed(&world);
    }
}
