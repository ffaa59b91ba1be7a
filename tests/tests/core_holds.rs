//! What holds the harness back, and what operators ask, on the deterministic network.
#![allow(clippy::unwrap_used)]

use palisade_core::fencing::Class;
use palisade_core::id::{HostId, NodeId};
use palisade_core::rule::Rules;
use palisade_core::state::State;
use palisade_core::status::{HistoryEntry, HostState, Reason};
use palisade_core::wire::node::{Message, NodeState, Operation, Refusal, Target, Wish};
use palisade_tests::scenarios::stage::{back, members, told_down, up_with, whole};
use palisade_tests::sim::config::Shape;
use palisade_tests::sim::operator::{of_host, of_node};
use palisade_tests::sim::{Bmc, Mood, World, config};
use std::collections::BTreeSet;

fn view(world: &World) -> &State {
    world.hosts[&world.leader().unwrap()].view().unwrap()
}

fn state_of(world: &World, node: u8) -> NodeState {
    view(world).node(NodeId::new(node)).state
}

fn accused_hosts(world: &World) -> usize {
    let Some(leader) = world.leader() else { return 0 };
    let view = world.hosts[&leader].view().unwrap();
    view.hosts().filter(|(_, row)| row.state == HostState::Condemned && row.record.reason == Reason::Silent).count()
}

fn record_of(world: &World, node: u8) -> HistoryEntry {
    let mut records = view(world).history().filter(|entry| entry.node == NodeId::new(node));
    *records.next().unwrap_or_else(|| panic!("no record of node {node}\n{}", world.story()))
}

fn granted(world: &mut World, host: u8, operation: Operation) -> u64 {
    world.operate(host, operation);
    match world.answer_of(host, 2_000) {
        Some(Message::OperateReply { target, version }) if target == operation.target => version,
        other => panic!("{operation:?}: {other:?}\n{}", world.story()),
    }
}

fn refused(world: &mut World, host: u8, operation: Operation) -> Refusal {
    world.operate(host, operation);
    match world.answer_of(host, 2_000) {
        Some(Message::Error { refusal }) => refusal,
        other => panic!("{operation:?}: {other:?}\n{}", world.story()),
    }
}

#[test]
fn h1_the_brake_accuses_three_at_a_time_and_the_rest_when_those_are_confirmed() {
    let mut world = whole(11, 1);
    let victims: Vec<u8> = members(&world).into_iter().take(5).collect();
    for &host in &victims {
        world.bmcs.insert(host, Bmc::Works(2_000_000));
        world.freeze(host, true);
    }
    let start = world.now;
    let mut most = 0;
    while world.now < start + 12_000_000 && victims.iter().any(|&node| world.truth.told_down(node, start) < 6) {
        world.run_ms(20);
        most = most.max(accused_hosts(&world));
    }
    assert_eq!(most, 3, "{}", world.story());
    let took = (world.now - start) / 1000;
    assert!((4_500..8_000).contains(&took), "two batches took {took} ms\n{}", world.story());
    back(&mut world);
}

#[test]
fn h1_when_no_proof_comes_the_brake_lets_all_go_after_brake_ms() {
    let mut world = whole(9, 2);
    let victims: Vec<u8> = members(&world).into_iter().take(4).collect();
    for &host in &victims {
        world.bmcs.insert(host, Bmc::Dead);
        world.freeze(host, true);
    }
    world.run_ms(14_000);
    assert_eq!(accused_hosts(&world), 3, "{}", world.story());
    world.run_ms(5_000);
    assert_eq!(accused_hosts(&world), 4, "{}", world.story());
}

/// Two operators, each on one of the two hosts that vote, have the other one fenced at the same moment, and one has both: never
/// both are accused, or nobody would be left to turn one on again.
#[test]
fn h1_of_two_votes_never_both_are_condemned() {
    for seed in 0..6 {
        let mut world = up_with(Rules::ALL, config::cluster_with_votes(3, 2), seed);
        let leader = world.leader().unwrap();
        let other = 3 - leader;
        let (first, second) = if seed % 2 == 0 { (other, leader) } else { (leader, other) };
        world.operate(leader, of_host(Wish::Fence, first, 0));
        world.operate(if seed < 3 { leader } else { other }, of_host(Wish::Fence, second, 0));
        let open = |view: &State, host: u8| {
            matches!(view.host(HostId::new(host)).state, HostState::Condemned | HostState::Down)
        };
        let mut accused = false;
        let end = world.now + 20_000_000;
        while world.now < end {
            world.run_until(world.now + 500);
            let view = world.truth.newest().unwrap();
            accused |= open(view, 1) || open(view, 2);
            assert!(!(open(view, 1) && open(view, 2)), "seed {seed}: both\n{}", world.story());
        }
        assert!(accused, "seed {seed}: one of them is fenced\n{}", world.story());
        // With one of two votes nothing is decided: a person turns the fenced one on.
        world.power_on(first);
        world.power_on(second);
        back(&mut world);
    }
}

#[test]
fn h1_what_is_known_and_not_guessed_waits_for_no_brake() {
    let mut world = whole(9, 3);
    let hosts = members(&world);
    for &host in &hosts[..4] {
        world.bmcs.insert(host, Bmc::Dead);
        world.freeze(host, true);
    }
    world.run_ms(3_000);
    world.hit(hosts[5], Mood::Panicked);
    told_down(&mut world, hosts[5], 3, 60);
    world.hit(hosts[6], Mood::Gone);
    told_down(&mut world, hosts[6], 3, 60);
}

#[test]
fn c4_the_end_of_a_trusted_guard_lease_is_a_proof_and_that_of_others_is_none() {
    for trusted in [true, false] {
        let with = if trusted { r#""trust_lease":true,"levels":[["bmc"# } else { r#""levels":[["bmc"# };
        let text = config::json(3, 3).replace(r#""levels":[["bmc"#, with);
        let mut world = up_with(Rules::ALL, config::read(&text), 4);
        let host = members(&world)[0];
        world.bmcs.insert(host, Bmc::Dead);
        world.each_path(|(from, to, _), path| path.cut = from == host || to == host);
        let start = world.now;
        world.run_ms(25_000);
        if !trusted {
            assert!(world.truth.downs.is_empty(), "{}", world.story());
            continue;
        }
        // 1000 + 2 * 6000 + 500 + 2000 ms from the last answer; the guard killed the node long before.
        let told = world.truth.downs.first().unwrap_or_else(|| panic!("{}", world.story())).0 - start;
        assert!((15_500_000..17_000_000).contains(&told), "after {told} us\n{}", world.story());
        assert_eq!(record_of(&world, host).class, Class::LeaseExpired as u8);
        world.each_path(|_, path| path.cut = false);
        world.bmcs.insert(host, Bmc::Works(5_000));
        back(&mut world);
    }
}

#[test]
fn h4_a_paused_runs_silence_is_no_lease_proof_not_even_when_the_pause_is_over() {
    let text = config::json(3, 3).replace(r#""levels":[["bmc"#, r#""trust_lease":true,"levels":[["bmc"#);
    let mut world = up_with(Rules::ALL, config::read(&text), 5);
    let host = members(&world)[0];
    granted(&mut world, host, of_node(Wish::Pause, host, 3_000));
    world.bmcs.insert(host, Bmc::Dead);
    world.each_path(|(from, to, _), path| path.cut = from == host || to == host);
    world.run_ms(30_000);
    assert!(world.truth.downs.is_empty(), "{}", world.story());
}

#[test]
fn h4_an_announced_pause_is_not_accused_survives_its_leader_and_ends_by_itself() {
    let mut world = whole(3, 6);
    let leader = world.leader().unwrap();
    let node = members(&world)[0];
    granted(&mut world, node, of_node(Wish::Pause, node, 8_000));
    world.hit(node, Mood::Paused);
    world.run_ms(2_500);
    assert_eq!(state_of(&world, node), NodeState::Up, "{}", world.story());
    world.kill_appliance(leader);
    world.run_ms(4_000);
    assert_eq!(state_of(&world, node), NodeState::Up, "{}", world.story());
    assert!(world.truth.downs.is_empty(), "{}", world.story());
    // It ends eight seconds after it was granted, whoever leads: then the VM is stopped and reset (SAFETY E1).
    told_down(&mut world, node, 2, 3_000);
    assert_eq!(record_of(&world, node).class, Class::VmStopped as u8);
    back(&mut world);
}

#[test]
fn h4_a_resumed_run_is_accused_for_its_next_silence() {
    let mut world = whole(3, 7);
    let node = members(&world)[0];
    granted(&mut world, node, of_node(Wish::Pause, node, 60_000));
    granted(&mut world, node, of_node(Wish::Resume, node, 0));
    world.hit(node, Mood::Hung);
    told_down(&mut world, node, 2, 2_500);
    assert_eq!(refused(&mut world, node, of_node(Wish::Pause, node, 600_001)), Refusal::TooLong);
}

#[test]
fn h3_maintenance_spares_its_target_until_it_ends_and_is_no_proof() {
    let mut world = whole(3, 8);
    let node = members(&world)[0];
    granted(&mut world, node, of_node(Wish::Maintain, node, 6_000));
    world.hit(node, Mood::Hung);
    world.run_ms(5_000);
    assert_eq!(state_of(&world, node), NodeState::Up, "{}", world.story());
    told_down(&mut world, node, 2, 4_000);
    back(&mut world);
    // What is proven by itself is down, maintenance or not.
    granted(&mut world, node, Operation { force: true, ..of_node(Wish::Maintain, node, 60_000) });
    world.hit(node, Mood::Gone);
    told_down(&mut world, node, 2, 100);
    world.run_ms(5_000);
    assert_eq!(
        state_of(&world, node),
        NodeState::Down,
        "it is not started while a person works on it\n{}",
        world.story()
    );
    granted(&mut world, node, of_node(Wish::Release, node, 0));
    back(&mut world);
}

#[test]
fn h3_a_host_in_maintenance_is_not_ordered_off() {
    let mut world = whole(3, 9);
    let host = members(&world)[0];
    let at = world.leader().unwrap();
    granted(&mut world, at, Operation { force: true, ..of_host(Wish::Maintain, host, 8_000) });
    world.freeze(host, true);
    world.run_ms(6_000);
    assert!(world.truth.orders.is_empty(), "{}", world.story());
    told_down(&mut world, host, 2, 6_000);
    back(&mut world);
}

#[test]
fn an_acknowledgement_is_a_proof_by_whoever_gave_it() {
    let mut world = whole(3, 10);
    let host = members(&world)[0];
    let at = world.leader().unwrap();
    assert_eq!(refused(&mut world, at, of_host(Wish::Acknowledge, host, 0)), Refusal::NotCondemned);
    world.bmcs.insert(host, Bmc::Dead);
    world.power_off(host);
    world.run_ms(3_000);
    assert!(world.truth.downs.is_empty(), "{}", world.story());
    let since = world.now;
    granted(&mut world, at, of_host(Wish::Acknowledge, host, 0));
    let told = world.run_until_true(100, |w| w.truth.told_down(host, since) >= 2);
    assert!(told, "{}", world.story());
    let record = record_of(&world, host);
    assert_eq!((record.class, record.who.name()), (Class::Operator as u8, "ann@console"));
    world.power_on(host);
    back(&mut world);
}

#[test]
fn a_fence_names_whoever_wanted_it_across_leaders() {
    let mut world = whole(3, 11);
    let leader = world.leader().unwrap();
    let node = members(&world)[0];
    granted(&mut world, node, of_node(Wish::Fence, node, 0));
    told_down(&mut world, node, 2, 100);
    back(&mut world);
    world.kill_appliance(leader);
    back(&mut world);
    let record = record_of(&world, node);
    assert_eq!((record.reason, record.who.name()), (Reason::Operator, "ann@console"));
    assert_eq!(record.device, palisade_core::wire::message::LOCAL_MONITOR, "QMP did it");
    assert_eq!((record.executor, record.class), (HostId::new(node), Class::VmStopped as u8));
}

/// Twenty-four nodes end three times each. Whoever leads next tells of the last 64 ends, in order, and so does each one after it.
#[test]
fn the_last_64_fences_are_told_by_every_leader_that_follows() {
    let mut world = World::new(Shape { nodes: 8, ..Shape::of(3) }.config(), 20);
    world.power_all();
    assert!(world.run_until_true(30_000, World::all_up), "{}", world.story());
    for _ in 0..3 {
        for node in 1..=24 {
            world.hit(node, Mood::Gone);
            world.run_ms(20);
        }
        assert!(world.run_until_true(120_000, World::all_up), "{}", world.story());
    }
    let told = |world: &World| -> Vec<(u8, u64, u64)> {
        let view = world.hosts[&world.leader().unwrap()].view().unwrap();
        view.history().map(|entry| (entry.node.get(), entry.incarnation, entry.confirmed_version)).collect()
    };
    let before = told(&world);
    assert_eq!(before.len(), 64, "of 72");
    assert!(before.is_sorted_by(|newer, older| newer.2 >= older.2), "the newest first: {before:?}");
    let dead: BTreeSet<(u8, u64)> = before.iter().map(|&(node, incarnation, _)| (node, incarnation)).collect();
    assert!(
        dead.len() == 64 && dead.iter().all(|who| world.truth.confirmed.contains_key(who)),
        "each once, and all true"
    );
    for _ in 0..3 {
        let leader = world.leader().unwrap();
        world.kill_appliance(leader);
        assert!(world.run_until_true(30_000, |w| w.all_admitted() && w.all_up()), "{}", world.story());
        assert_ne!(world.leader(), Some(leader));
        assert_eq!(told(&world), before);
    }
}

#[test]
fn i3_a_request_that_the_leader_took_into_its_grave_is_asked_again() {
    for seed in 0..5 {
        let mut world = whole(3, seed);
        let leader = world.leader().unwrap();
        let (at, node) = (members(&world)[0], members(&world)[1]);
        world.kill_appliance(leader);
        world.operate(at, of_node(Wish::Fence, node, 0));
        let answer = world.answer_of(at, 6_000);
        assert!(matches!(answer, Some(Message::OperateReply { .. })), "{answer:?}\n{}", world.story());
        back(&mut world);
    }
}

#[test]
fn a_node_does_not_operate_and_nobody_that_is_not_configured_is_operated_on() {
    let mut world = whole(3, 12);
    let at = members(&world)[0];
    assert_eq!(refused(&mut world, at, of_node(Wish::Maintain, 77, 1000)), Refusal::BadRequest);
    assert_eq!(refused(&mut world, at, of_host(Wish::Pause, 1, 1000)), Refusal::BadRequest);
    let other = Operation { incarnation: 5, ..of_node(Wish::Fence, 1, 0) };
    assert_eq!(refused(&mut world, at, other), Refusal::BadRequest);
    world.say_as_operator(at, &Message::Fence { target: Target::Node(NodeId::new(at)) });
    let answer = world.answer_of(at, 1_000);
    assert!(matches!(answer, Some(Message::FenceReply { .. })), "{answer:?}\n{}", world.story());
}

#[test]
fn h2_a_node_that_keeps_dying_is_held_off_longer_each_time_and_the_last_one_never() {
    let mut world = whole(3, 13);
    let node = members(&world)[0];
    let mut took = Vec::new();
    for _ in 0..4 {
        world.hit(node, Mood::Gone);
        let start = world.now;
        world.run_ms(100);
        back(&mut world);
        took.push((world.now - start) / 1000);
    }
    // Booting takes at most 1.5 s; the rest is quarantine: 1, 2, 4, 8 s.
    assert!(took[0] < 4_000 && took[3] > 8_000 && took[3] < 11_500, "{took:?}\n{}", world.story());
    // The only one that could still mount is not held off.
    let others: Vec<u8> = (1..=3).filter(|&other| other != node).collect();
    for &other in &others {
        let wish = Operation { force: true, ..of_node(Wish::Maintain, other, 60_000) };
        granted(&mut world, other, wish);
        world.hit(other, Mood::Gone);
    }
    world.run_ms(500);
    world.hit(node, Mood::Gone);
    let start = world.now;
    world.run_ms(500);
    let is_up = world.run_until_true(6_000, |w| state_of(w, node) == NodeState::Up);
    assert!(is_up, "{} ms\n{}", (world.now - start) / 1000, world.story());
}

#[test]
fn disabled_hosts_and_nodes_are_left_alone() {
    let text = config::json(3, 3).replace(r#""name":"n3","#, r#""name":"n3","disabled":true,"#);
    let mut world = World::new(config::read(&text), 14);
    world.power_all();
    let two = world
        .run_until_true(15_000, |w| w.leader().is_some() && [1, 2].iter().all(|&n| state_of(w, n) == NodeState::Up));
    assert!(two, "{}", world.story());
    world.run_ms(5_000);
    assert_eq!(world.guests[&3].run, 0, "it is not started\n{}", world.story());
}
