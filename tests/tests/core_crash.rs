//! Crashes at every point of voting, accepting and being admitted: before each output of the appliance, and so after each.
//!
//! What no vote may do is the simulator's to say (`sim::crash`, the checkers of S1 and S4); here is where it crashes.
#![allow(clippy::unwrap_used)]

use palisade_core::id::HostId;
use palisade_core::status::HostState;
use palisade_core::wire::node::Wish;
use palisade_tests::scenarios::stage::{back, leader, members, whole};
use palisade_tests::sim::operator::of_host;
use palisade_tests::sim::{Crash, Mood, Stop, World};

/// Points at which it crashes: an appliance says less than this while it votes, accepts, or is admitted.
const POINTS: u32 = 40;

/// Lets it happen once for each point and seed. How often the appliance crashed, and how many elections were judged.
fn at_each_point(hosts: u8, seeds: u64, happens: impl Fn(&mut World) -> u8) -> (u32, u64) {
    at_each(hosts, seeds, 1, happens)
}

/// The same at every so many outputs.
fn at_each(hosts: u8, seeds: u64, step: u32, happens: impl Fn(&mut World) -> u8) -> (u32, u64) {
    let (mut struck, mut elections) = (0, 0);
    for seed in 0..seeds {
        for after in (0..POINTS).map(|point| point * step) {
            let mut world = whole(hosts, seed);
            // Votes are given from P after the boot on.
            world.run_ms(1_200);
            world.count_votes();
            let host = happens(&mut world);
            world.crash = Some(Crash { host, after, struck: false });
            world.run_ms(2_500);
            struck += u32::from(world.crash.unwrap().struck);
            world.power_all();
            back(&mut world);
            elections += world.votes.unwrap().elections;
        }
    }
    (struck, elections)
}

#[test]
fn a4_an_appliance_that_crashes_while_it_votes_votes_once() {
    let (struck, elections) = at_each_point(5, 4, |world| {
        let lead = leader(world);
        let voter = members(world)[1];
        world.stop_appliance(lead, Stop::Loop);
        world.run_ms(850);
        voter
    });
    assert!(struck >= 4 * POINTS * 9 / 10 && elections >= u64::from(4 * POINTS / 2), "{struck} {elections}");
}

#[test]
fn a4_a_candidate_that_crashes_while_it_is_elected_leads_nothing() {
    let (struck, elections) = at_each_point(5, 4, |world| {
        // Whoever stands first, one of these does.
        let lead = leader(world);
        world.stop_appliance(lead, Stop::Loop);
        world.run_ms(1_000);
        let stands = |world: &World| {
            members_but(world, lead).into_iter().find(|host| {
                world.hosts[host].engine.as_ref().unwrap().role() == palisade_core::status::Role::Candidate
            })
        };
        world.run_until_true(600, |world| stands(world).is_some());
        stands(world).unwrap_or_else(|| members_but(world, lead)[0])
    });
    assert!(struck >= 4 * POINTS * 9 / 10 && elections > 0, "{struck} {elections}");
}

fn members_but(world: &World, lead: u8) -> Vec<u8> {
    world.hosts.keys().filter(|&host| host != lead).collect()
}

#[test]
fn b1_an_appliance_that_crashes_while_it_accepts_is_counted_as_whoever_it_was() {
    let (struck, _) = at_each_point(3, 4, |world| {
        let (lead, host) = (leader(world), members(world)[0]);
        world.hit(lead, Mood::Gone);
        world.hit(members(world)[1], Mood::Panicked);
        host
    });
    assert!(struck >= 4 * POINTS * 9 / 10, "{struck}");
}

#[test]
fn b1_an_appliance_that_crashes_while_it_is_admitted_is_admitted_in_its_next_life() {
    for (hosts, also) in [(3, false), (5, true)] {
        let (struck, elections) = at_each_point(hosts, 3, |world| {
            let (lead, host) = (leader(world), members(world)[0]);
            world.kill_appliance(host);
            if also {
                // The leader that admits it is lost on the way.
                world.run_ms(250);
                world.stop_appliance(lead, Stop::Clock);
            }
            host
        });
        assert!(struck >= 3 * POINTS * 9 / 10 && (elections > 0 || !also), "{struck} {elections}");
    }
}

/// The leader hands over, so nobody's promise delays the election; and it is gone, so the vote of whoever was admitted just
/// now is the one that is missing.
#[test]
fn b1_who_was_admitted_just_now_votes_p_after_its_boot_and_no_sooner() {
    let (struck, elections) = at_each(3, 3, 4, |world| {
        let (lead, host, other) = (leader(world), members(world)[0], members(world)[1]);
        world.shut_down_nodes(lead);
        assert!(world.run_until_true(2_000, |world| world.is_cleared(lead)), "{}", world.story());
        world.kill_appliance(host);
        assert!(world.run_until_true(2_000, |world| world.hosts[&host].is_admitted()), "{}", world.story());
        world.operate(other, of_host(Wish::Leave, lead, 0));
        let left = |world: &World| world.truth.newest().unwrap().host(HostId::new(lead)).state == HostState::Left;
        assert!(world.run_until_true(500, left), "{}", world.story());
        world.power_off(lead);
        host
    });
    assert!(struck >= POINTS && elections >= u64::from(POINTS / 4), "{struck} {elections}");
}
