//! The fencing harness on the deterministic network: levels, executors, and facts that add up.
#![allow(clippy::unwrap_used)]

use palisade_core::fencing::{Action, Class};
use palisade_core::id::HostId;
use palisade_core::rule::Rules;
use palisade_core::status::{HistoryEntry, HostState};
use palisade_tests::scenarios::stage::{back, told_down, up_with};
use palisade_tests::sim::{Bmc, Mood, Outlet, Wish, World, config};

/// A cluster of so many hosts, each with a BMC and two outlets, in which all is up.
fn up(hosts: u8, seed: u64, change: impl Fn(String) -> String) -> World {
    up_with(Rules::ALL, config::cluster_with_outlets(hosts, change), seed)
}

fn as_it_is(text: String) -> String {
    text
}

fn member(world: &World) -> u8 {
    let leader = world.leader().unwrap();
    (1..).find(|&host| host != leader).unwrap()
}

fn outlets_of(world: &mut World, host: u8) -> Vec<&mut Outlet> {
    world.outlets.values_mut().filter(|outlet| outlet.host == host).collect()
}

/// The newest closed record of a host.
fn record(world: &World, host: u8) -> HistoryEntry {
    let view = world.hosts[&world.leader().unwrap()].view().unwrap();
    let mut records = view.history().filter(|entry| !entry.node.is_some() && entry.host == HostId::new(host));
    *records.next().unwrap_or_else(|| panic!("no record of host {host}\n{}", world.story()))
}

#[test]
fn facts_add_up_a_bmc_that_lost_its_power_with_the_host_and_outlets_that_read_off() {
    let mut world = up(3, 1, as_it_is);
    let host = member(&world);
    // Somebody pulls both plugs: the BMC is silent with its host.
    let devices: Vec<u16> = world.outlets.iter().filter(|(_, outlet)| outlet.host == host).map(|(d, _)| *d).collect();
    for device in devices {
        world.outlet_acts(device, false);
    }
    told_down(&mut world, host, 2, 8_000);
    assert_eq!(record(&world, host).class, Class::PowerOff as u8);
    back(&mut world);
    assert!(outlets_of(&mut world, host).iter().all(|outlet| outlet.on), "what was switched off is on again");
}

#[test]
fn e6_an_outlet_that_somebody_turned_on_meanwhile_is_no_proof() {
    for seed in 0..5 {
        let mut world = up(3, seed, as_it_is);
        let host = member(&world);
        world.bmcs.insert(host, Bmc::Dead);
        for outlet in outlets_of(&mut world, host) {
            outlet.mood = Bmc::Works(400_000);
        }
        world.freeze(host, true);
        let first = *world.outlets.iter().find(|(_, outlet)| outlet.host == host).unwrap().0;
        // As soon as the first outlet is off, a person turns it on again: the host never loses its power.
        let is_off = world.run_until_true(15_000, |w| !w.outlets[&first].on);
        assert!(is_off, "{}", world.story());
        world.outlet_acts(first, true);
        told_down(&mut world, host, 2, 30_000);
        assert!(!world.is_fed(host), "seed {seed}: told down while one outlet gives power\n{}", world.story());
    }
}

#[test]
fn another_executor_takes_over_from_one_that_is_lost() {
    let text = config::json(5, 5).replace(r#""covers":[1],"#, r#""covers":[1],"executors":[2,3],"#);
    let mut world = up_with(Rules::ALL, config::read(&text), 2);
    if world.leader() == Some(1) {
        world.kill_appliance(1);
        assert!(
            world.run_until_true(15_000, |w| w.leader().is_some_and(|l| l != 1) && w.all_up()),
            "{}",
            world.story()
        );
    }
    world.bmcs.insert(1, Bmc::Works(1_500_000));
    world.freeze(1, true);
    let ordered = world.run_until_true(3_000, |w| w.truth.orders.iter().any(|(_, _, target, _)| *target == 1));
    assert!(ordered, "{}", world.story());
    let executor = world.truth.orders[0].1;
    let survivors = if world.leader() == Some(executor) { 3 } else { 4 };
    world.power_off(executor);
    told_down(&mut world, 1, survivors.min(3), 8_000);
    let by: Vec<u8> =
        world.truth.orders.iter().filter(|(_, _, target, _)| *target == 1).map(|(_, by, ..)| *by).collect();
    assert!(by.iter().any(|&by| by != executor), "{by:?}\n{}", world.story());
}

#[test]
fn raced_levels_take_the_first_proof_and_send_no_more() {
    let race = |text: String| text.replace(r#""levels":[["bmc"#, r#""race":true,"levels":[["bmc"#);
    let mut world = up(3, 3, race);
    let host = member(&world);
    // The BMC never answers: in order, its timeout of three seconds would come first. What the leader drives itself waits
    // each time for a stamp that a quorum echoes.
    world.bmcs.insert(host, Bmc::Dead);
    world.freeze(host, true);
    told_down(&mut world, host, 2, 2_500);
    let offs =
        world.truth.orders.iter().filter(|(_, _, target, action)| (*target, *action) == (host, Action::Off)).count();
    assert_eq!(offs, 3, "the BMC once, each outlet once\n{}", world.story());
    world.bmcs.insert(host, Bmc::Works(5_000));
    back(&mut world);
}

#[test]
fn a_node_whose_levels_race_is_down_by_the_faster_of_its_host_devices() {
    let text =
        config::json(3, 3).replace(r#""id":2,"name":"n2","host":2"#, r#""id":2,"name":"n2","host":2,"race":true"#);
    let mut world = up_with(Rules::ALL, config::read(&text), 4);
    world.guests.get_mut(&2).unwrap().storage_answers = false;
    world.hit(2, Mood::Panicked);
    told_down(&mut world, 2, 2, 50);
    back(&mut world);
}

#[test]
fn f3_a_device_that_covers_two_hosts_is_used_only_when_both_are_condemned_by_name() {
    // One switch cuts hosts 4 and 5; host 5 has no other device.
    let text = config::json(5, 5).replace(r#""covers":[5]"#, r#""covers":[4,5]"#);
    for seed in 5..10 {
        let mut world = up_with(Rules::ALL, config::read(&text), seed);
        // Neither of them is to lead: nobody uses a device that covers the leader.
        while let Some(leader @ (4 | 5)) = world.leader() {
            world.kill_appliance(leader);
            let led = world.run_until_true(15_000, |w| w.leader().is_some_and(|now| now != leader) && w.all_up());
            assert!(led, "seed {seed}\n{}", world.story());
        }
        world.freeze(5, true);
        let offs = |w: &World| w.truth.orders.iter().filter(|(.., action)| *action == Action::Off).count();
        assert!(world.run_until_true(8_000, |w| offs(w) > 0), "seed {seed}: it is used\n{}", world.story());
        let leader = world.leader().unwrap();
        let view = world.hosts[&leader].view().unwrap();
        for host in [4, 5] {
            let state = view.host(HostId::new(host)).state;
            assert_eq!(state, HostState::Condemned, "seed {seed}: host {host}\n{}", world.story());
        }
        told_down(&mut world, 5, 3, 8_000);
        back(&mut world);
    }
}

/// A read that says off may be older than the host's last word: off is ordered all the same, and only then counts.
#[test]
fn e7_a_host_that_a_stale_read_calls_off_is_switched_off_all_the_same() {
    for seed in 0..5 {
        let mut world = up(3, seed, as_it_is);
        let (leader, host) = (world.leader().unwrap(), member(&world));
        for outlet in outlets_of(&mut world, host) {
            outlet.mood = Bmc::Dead;
        }
        world.bmcs.insert(host, Bmc::ReadsOff);
        let life = world.hosts[&host].life;
        world.operator(leader, Wish::FenceHost(host));
        told_down(&mut world, host, 2, 8_000);
        let off = |order: &&(u64, u8, u8, Action)| (order.2, order.3) == (host, Action::Off);
        assert!(world.truth.orders.iter().any(|order| off(&order)), "seed {seed}\n{}", world.story());
        assert_ne!(world.hosts[&host].life, life, "seed {seed}: it was off in truth\n{}", world.story());
        world.bmcs.insert(host, Bmc::Works(400_000));
        for outlet in outlets_of(&mut world, host) {
            outlet.mood = Bmc::Works(400_000);
        }
        back(&mut world);
    }
}
