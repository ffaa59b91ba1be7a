//! Hosts that leave in peace and come back, on the deterministic network: nobody misses them, and nobody is fenced.
#![allow(clippy::unwrap_used)]

use palisade_core::id::{HostId, NodeId};
use palisade_core::status::HostState;
use palisade_core::wire::node::{Message, NodeState, Refusal, Target, Wish};
use palisade_tests::scenarios::stage::{back, leader, members, nobody_was_hurt, told_down, up_with, whole};
use palisade_tests::sim::operator::of_host;
use palisade_tests::sim::{Mood, Stop, World, config};

const ALL: palisade_core::rule::Rules = palisade_core::rule::Rules::ALL;

fn left(world: &mut World, host: u8, at: u8) {
    let answer = world.takes_away(host, at);
    let done =
        matches!(answer, Some(Message::OperateReply { target, .. }) if target == Target::Host(HostId::new(host)));
    assert!(done, "{answer:?}\n{}", world.story());
    assert_eq!(state(world, host), HostState::Left);
}

fn state(world: &World, host: u8) -> HostState {
    world.truth.newest().unwrap().host(HostId::new(host)).state
}

fn refused(world: &mut World, host: u8, at: u8) -> Refusal {
    world.operate(at, of_host(Wish::Leave, host, 0));
    match world.answer_of(at, 6_000) {
        Some(Message::Error { refusal }) => refusal,
        other => panic!("{other:?}\n{}", world.story()),
    }
}

/// Volumes open on every node.
fn mounted(hosts: u8, seed: u64) -> World {
    let mut world = whole(hosts, seed);
    (1..=hosts).for_each(|node| world.wants(node, 1, true));
    back(&mut world);
    world
}

#[test]
fn d5_a_host_that_left_is_not_missed_and_comes_back_as_after_a_restart() {
    for seed in 0..5 {
        let mut world = mounted(3, seed);
        let host = members(&world)[0];
        let before = leader(&world);
        left(&mut world, host, before);
        world.run_ms(100);
        world.power_off(host);
        world.run_ms(20_000);
        nobody_was_hurt(&world);
        assert_eq!((state(&world, host), leader(&world)), (HostState::Left, before), "{}", world.story());
        world.power_on(host);
        world.wants(host, 1, true);
        back(&mut world);
        nobody_was_hurt(&world);
        assert_eq!(state(&world, host), HostState::Member);
    }
}

/// Its host boots anew, the node speaks and gasps before anybody makes it a member: its run is ended, and the next one is well
/// (`cargo sim --from 30025998`).
#[test]
fn a_node_of_a_host_that_left_and_is_back_gets_another_run_if_it_gasps_before_it_is_a_member() {
    let mut gasped = 0;
    for wait in (0..2_000).step_by(200) {
        let mut world = mounted(3, 1);
        let host = members(&world)[0];
        let before = leader(&world);
        left(&mut world, host, before);
        world.power_off(host);
        world.run_ms(2_000);
        world.power_on(host);
        let member = |w: &World| state(w, host) == HostState::Member;
        assert!(world.run_until_true(20_000, member), "{}", world.story());
        // Once this falls between the node's start and its first word, nobody leads who could make it a member.
        world.run_ms(wait);
        world.power_off(before);
        if world.run_until_true(900, |w| w.guests[&host].has_session()) && !is_up(&world, host) {
            world.gasp(host);
            gasped += 1;
        }
        world.run_ms(3_000);
        world.power_on(before);
        back(&mut world);
    }
    assert_ne!(gasped, 0, "it was never early enough");
}

fn is_up(world: &World, node: u8) -> bool {
    world.truth.newest().unwrap().node(NodeId::new(node)).state == NodeState::Up
}

#[test]
fn a_leader_that_leaves_hands_over_at_once() {
    let mut slowest = 0;
    for seed in 0..20 {
        let mut world = mounted(if seed % 2 == 0 { 3 } else { 5 }, seed);
        let host = leader(&world);
        let at = members(&world)[usize::try_from(seed).unwrap() % 2];
        world.close_all(host);
        world.run_ms(1_000);
        world.shut_down_nodes(host);
        assert!(world.run_until_true(2_000, |w| w.is_cleared(host)), "{}", world.story());
        world.operate(at, of_host(Wish::Leave, host, 0));
        assert!(world.run_until_true(1_000, |w| state(w, host) == HostState::Left), "{}", world.story());
        let gone = world.now;
        let led = world.run_until_true(1_000, |w| w.leader().is_some_and(|leader| leader != host));
        assert!(led, "{}", world.story());
        slowest = slowest.max(world.now - gone);
        assert!(matches!(world.answer_of(at, 1_000), Some(Message::OperateReply { .. })), "{}", world.story());
        world.power_off(host);
        world.run_ms(5_000);
        nobody_was_hurt(&world);
        world.power_on(host);
        world.wants(host, 1, true);
        back(&mut world);
        nobody_was_hurt(&world);
    }
    assert!(slowest <= 20_000, "{slowest} us without a leader: far less than any silence");
}

/// Whoever does not hear that the leader left asks it on, and is told; if it is gone, its silence is found as ever.
#[test]
fn a_leader_that_leaves_and_is_gone_before_all_know_is_replaced_all_the_same() {
    for seed in 0..10 {
        let mut world = whole(3, seed);
        let host = leader(&world);
        world.shut_down_nodes(host);
        assert!(world.run_until_true(2_000, |w| w.is_cleared(host)), "{}", world.story());
        let at = members(&world)[0];
        let deaf = members(&world)[1];
        world.each_path(|(from, to, _), path| path.cut = from == host && to == deaf);
        world.operate(at, of_host(Wish::Leave, host, 0));
        assert!(world.run_until_true(1_000, |w| state(w, host) == HostState::Left), "{}", world.story());
        world.power_off(host);
        world.each_path(|_, path| path.cut = false);
        let led = world.run_until_true(3_000, |w| w.leader().is_some_and(|leader| leader != host));
        assert!(led, "{}", world.story());
        world.run_ms(3_000);
        nobody_was_hurt(&world);
        assert_eq!(state(&world, host), HostState::Left, "{}", world.story());
    }
}

#[test]
fn a_host_whose_nodes_are_members_may_not_leave() {
    let mut world = mounted(3, 1);
    let (host, at) = (members(&world)[0], leader(&world));
    assert_eq!(refused(&mut world, host, at), Refusal::NodesUp);
    world.close_all(host);
    world.run_ms(2_000);
    assert_eq!(refused(&mut world, host, at), Refusal::NodesUp, "without a volume it is a member all the same");
    assert_eq!(state(&world, host), HostState::Member);
    left(&mut world, host, at);
    nobody_was_hurt(&world);
}

#[test]
fn a_host_without_which_no_quorum_is_left_may_not_leave() {
    let mut world = up_with(ALL, config::cluster(2), 1);
    let (host, at) = (members(&world)[0], leader(&world));
    world.shut_down_nodes(host);
    world.run_ms(500);
    assert_eq!(refused(&mut world, host, at), Refusal::LastQuorum, "two votes need both");

    let mut world = whole(5, 2);
    let (gone, at) = (members(&world), leader(&world));
    for &host in &gone {
        world.shut_down_nodes(host);
    }
    world.run_ms(500);
    left(&mut world, gone[0], at);
    left(&mut world, gone[1], at);
    assert_eq!(refused(&mut world, gone[2], at), Refusal::LastQuorum, "the quorum is of the configured votes");
    world.power_off(gone[0]);
    world.power_off(gone[1]);
    world.run_ms(3_000);
    world.hit(at, Mood::Gone);
    told_down(&mut world, at, 0, 3_000);
    assert_eq!(leader(&world), at, "three of five go on");
}

#[test]
fn an_appliance_that_left_and_still_runs_votes_and_follows_but_neither_leads_nor_starts_nodes() {
    let mut world = whole(3, 4);
    let host = members(&world)[0];
    let before = leader(&world);
    left(&mut world, host, before);
    world.run_ms(5_000);
    assert_eq!(state(&world, host), HostState::Left, "it does not admit itself again");
    let node = world.truth.newest().unwrap().node(NodeId::new(host)).state;
    assert_eq!(node, NodeState::Left, "{}", world.story());
    // With its vote the other member is elected when the leader stands still.
    let other = members(&world).into_iter().find(|&it| it != host).unwrap();
    world.stop_appliance(before, Stop::Loop);
    let led = world.run_until_true(4_000, |w| w.hosts[&other].leads());
    assert!(led, "{}", world.story());
    assert!(!world.hosts[&host].leads());
    world.resume_appliance(before);
    world.kill_appliance(host);
    let back = world.run_until_true(5_000, |w| state(w, host) == HostState::Member);
    assert!(back, "another appliance of it is admitted\n{}", world.story());
}

#[test]
fn hosts_leave_and_return_one_after_the_other_and_nobody_waits_for_an_election() {
    for seed in 0..3 {
        let mut world = mounted(5, 30 + seed);
        for host in 1..=5 {
            let at = if host == 1 { 2 } else { 1 };
            left(&mut world, host, at);
            world.run_ms(200);
            world.power_off(host);
            world.run_ms(1_500);
            world.power_on(host);
            world.wants(host, 1, true);
            back(&mut world);
            nobody_was_hurt(&world);
        }
    }
}
