//! One story for a rule of docs/SAFETY.md, on the deterministic network: what would break a system without it.
#![allow(clippy::unwrap_used)]

use palisade_core::fencing::Action;
use palisade_tests::scenarios::stage::{back, whole};
use palisade_tests::sim::{Bmc, World};

/// A host that does not lead.
fn member(world: &World) -> u8 {
    let leader = world.leader().unwrap();
    (1..).find(|&host| host != leader).unwrap()
}

fn cut(world: &mut World, host: u8, in_too: bool, cut: bool) {
    world.each_path(|(from, to, _), path| {
        if from == host || (in_too && to == host) {
            path.cut = cut;
        }
    });
}

#[test]
fn e8_a_guest_that_resets_within_its_run_is_down_before_it_is_up_again() {
    let mut world = whole(3, 1);
    let (old, since) = (world.guests[&2].incarnation, world.now);
    world.reset_guest(2);
    back(&mut world);
    // The leader knows that all are up; the word is still on its way to the other hosts' nodes.
    world.run_ms(1);
    let told = world.truth.downs.iter().filter(|(_, _, node, incarnation)| (*node, *incarnation) == (2, old)).count();
    assert_eq!(told, 2, "both others are told of the old incarnation\n{}", world.story());
    assert!(world.now - since < 2_500_000, "the reset is the proof; nobody waits for more\n{}", world.story());
    assert!(world.truth.orders.is_empty());
}

#[test]
fn e9_a_host_that_boots_anew_proves_the_end_of_all_that_ran_there() {
    let mut world = whole(3, 2);
    let host = member(&world);
    let old = world.guests[&host].incarnation;
    world.power_off(host);
    world.power_on(host);
    back(&mut world);
    assert!(world.truth.downs.iter().any(|(.., incarnation)| *incarnation == old), "{}", world.story());
    assert!(world.truth.orders.is_empty(), "the new boot is the proof: no BMC is asked\n{}", world.story());
}

#[test]
fn a6_a_member_that_hears_nobody_is_not_alive_although_it_is_heard() {
    let mut world = whole(3, 3);
    let host = member(&world);
    let since = world.now;
    world.each_path(|(_, to, _), path| path.cut = to == host);
    let told = world.run_until_true(3_000, |w| w.truth.told_down(host, since) >= 2);
    assert!(told, "{}", world.story());
    world.each_path(|_, path| path.cut = false);
    back(&mut world);
}

#[test]
fn f5_a_condemned_host_that_can_hear_again_ends_its_nodes_and_comes_back_without_its_bmc() {
    let mut world = whole(3, 4);
    let host = member(&world);
    world.bmcs.insert(host, Bmc::Dead);
    cut(&mut world, host, true, true);
    world.run_ms(2_500);
    assert!(world.truth.downs.is_empty(), "no proof yet");
    cut(&mut world, host, true, false);
    let since = world.now;
    let told = world.run_until_true(3_000, |w| w.truth.told_down(host, since) >= 2);
    assert!(told, "the guard's word is the proof\n{}", world.story());
    back(&mut world);
}

#[test]
fn f2_on_is_ordered_only_after_the_proof_and_a_bounded_number_of_times() {
    let mut world = whole(3, 5);
    let host = member(&world);
    world.freeze(host, true);
    world.run_ms(2_000);
    back(&mut world);
    let of_host: Vec<Action> =
        world.truth.orders.iter().filter(|(_, _, target, _)| *target == host).map(|(.., action)| *action).collect();
    assert_eq!(of_host, [Action::Off, Action::On], "{}", world.story());
    let first_down = world.truth.downs[0].0;
    let on = world.truth.orders.iter().find(|(.., action)| *action == Action::On).unwrap().0;
    assert!(on + 1_000 >= first_down, "on at {on}, told at {first_down}");
}

#[test]
fn a8_a_leader_that_stalls_twice_steps_down_and_fences_nobody() {
    let mut world = whole(3, 6);
    let leader = world.leader().unwrap();
    for _ in 0..2 {
        world.freeze(leader, true);
        world.run_ms(450);
        world.freeze(leader, false);
        world.run_ms(600);
    }
    back(&mut world);
    assert_ne!(world.leader(), Some(leader), "{}", world.story());
    assert!(world.truth.downs.is_empty() && world.truth.orders.is_empty() && world.truth.resets.is_empty());
}

#[test]
fn d5_a_host_without_member_nodes_is_left_out_and_not_fenced() {
    let mut world = whole(5, 7);
    let host = member(&world);
    world.hit(host, palisade_tests::sim::Mood::Panicked);
    world.run_ms(100);
    world.power_off(host);
    world.run_ms(5_000);
    assert!(world.truth.orders.is_empty(), "its node was down already\n{}", world.story());
    world.power_on(host);
    back(&mut world);
}

#[test]
fn a_voter_that_is_out_of_the_view_still_elects() {
    let mut world = whole(3, 8);
    let leader = world.leader().unwrap();
    let witness = member(&world);
    world.hit(witness, palisade_tests::sim::Mood::Panicked);
    world.run_ms(20);
    // Without a member node it is only left out: it and the leader do not hear each other, the third hears both.
    world
        .each_path(|(from, to, _), path| path.cut = (from, to) == (leader, witness) || (from, to) == (witness, leader));
    world.run_ms(1_200);
    world.power_off(leader);
    world.each_path(|_, path| path.cut = false);
    let led = world.run_until_true(5_000, |w| w.leader().is_some_and(|now| now != leader));
    assert!(led, "two of three voters have all memory and hear each other\n{}", world.story());
    back(&mut world);
}

#[test]
fn f2_a_host_that_booted_anew_is_not_hit_by_the_order_that_was_out_for_it() {
    for seed in 0..60 {
        let mut world = whole(3, seed);
        let host = member(&world);
        world.bmcs.insert(host, Bmc::Dead);
        world.power_off(host);
        world.run_ms(3_000 + seed * 83);
        world.bmcs.insert(host, Bmc::Works(1_000_000));
        world.power_on(host);
        assert!(world.run_until_true(30_000, World::all_admitted), "seed {seed}\n{}", world.story());
        let life = world.hosts[&host].life;
        world.run_ms(5_000);
        assert_eq!(world.hosts[&host].life, life, "seed {seed}: a member lost its power\n{}", world.story());
    }
}
