//! Clocks that stand still while the host's goes on, on the deterministic network (SAFETY C3, C5).
#![allow(clippy::unwrap_used)]

use palisade_core::status::Role;
use palisade_tests::scenarios::stage::{back, leader, members, nobody_was_hurt, whole};
use palisade_tests::sim::{Bmc, Stop, World};

/// A stamp comes within this, ms: `stamp_ms` is 200.
const STAMP_MS: u64 = 260;

fn stands(world: &mut World, host: u8, ms: u64) {
    world.stop_appliance(host, Stop::Clock);
    world.run_ms(ms);
    world.resume_appliance(host);
}

fn role(world: &World, host: u8) -> Role {
    world.hosts[&host].engine.as_ref().unwrap().role()
}

#[test]
fn c5_a_leader_whose_clock_stood_still_leads_no_more_than_a_stamp_longer() {
    for seed in 0..10 {
        let mut world = whole(3, seed);
        world.run_ms(1_000);
        let lead = leader(&world);
        stands(&mut world, lead, 300);
        world.run_ms(1_000);
        assert_eq!(leader(&world), lead, "seed {seed}: a gap below stamp_gap_max_ms is none");
        let elections = world.truth.elections;
        stands(&mut world, lead, 750);
        let stepped_down = world.run_until_true(STAMP_MS, |world| role(world, lead) != Role::Leader);
        assert!(stepped_down, "seed {seed}\n{}", world.story());
        back(&mut world);
        assert!(world.truth.elections > elections, "seed {seed}: it leads again only under a new ballot");
        nobody_was_hurt(&world);
    }
}

#[test]
fn c5_a_candidate_whose_clock_stood_still_forgets_the_votes_that_came_meanwhile() {
    let mut candidates = 0;
    for seed in 0..20 {
        let mut world = whole(5, seed);
        world.run_ms(1_200);
        let lead = leader(&world);
        world.stop_appliance(lead, Stop::Loop);
        let find = |world: &World| (1..=5).find(|&host| host != lead && role(world, host) == Role::Candidate);
        let mut candidate = None;
        for _ in 0..100_000 {
            candidate = find(&world);
            if candidate.is_some() {
                break;
            }
            world.run_until(world.now + 20);
        }
        let Some(host) = candidate else { continue };
        candidates += 1;
        world.stop_appliance(host, Stop::Clock);
        world.run_ms(3_000);
        world.resume_appliance(host);
        for _ in 0..STAMP_MS {
            world.run_ms(1);
            assert!(role(&world, host) != Role::Leader, "seed {seed}: votes of three seconds ago\n{}", world.story());
        }
        assert!(role(&world, host) != Role::Candidate, "seed {seed}: nor does it stand\n{}", world.story());
        world.resume_appliance(lead);
        back(&mut world);
    }
    assert!(candidates >= 15, "{candidates}");
}

#[test]
fn c3_a_host_that_slept_longer_than_its_guards_lease_wakes_and_kills_its_nodes_before_they_write() {
    for seed in 0..10 {
        let mut world = whole(3, seed);
        world.run_ms(1_000);
        let host = members(&world)[0];
        world.bmcs.insert(host, Bmc::Dead);
        let incarnation = world.guests[&host].incarnation;
        world.suspend(host, true);
        world.run_ms(9_000);
        world.suspend(host, false);
        world.run_ms(60);
        assert!(
            !world.guests[&host].can_write() || world.guests[&host].incarnation != incarnation,
            "{}",
            world.story()
        );
        let told = world.run_until_true(4_000, |world| world.truth.confirmed.contains_key(&(host, incarnation)));
        assert!(told, "seed {seed}: its end is proven by the guard\n{}", world.story());
        world.bmcs.insert(host, Bmc::Works(5_000));
        back(&mut world);
    }
}
