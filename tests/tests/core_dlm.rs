//! DLM reachability on the deterministic network: where DLMs listen, and what becomes of nodes whose DLMs do not answer.
#![allow(clippy::unwrap_used)]

use palisade_core::config::{Config, Ip};
use palisade_core::id::NodeId;
use palisade_core::limits::{ADDRESSES_PER_TURN, CUT_SPREAD_MS, DLM_CUT_MS, VIEW_AGAIN_MS};
use palisade_core::state::groups::Phase;
use palisade_core::status::Reason;
use palisade_core::wire::node::{Message, Wish};
use palisade_tests::sim::config::{Shape, read};
use palisade_tests::sim::operator::of_node;
use palisade_tests::sim::{Micros, Mood, World, config};
use std::collections::BTreeSet;

const VOLUME: u8 = 1;
const CUT: Micros = DLM_CUT_MS as Micros * 1000;

/// A world in which all is well.
fn up(config: &'static Config, seed: u64) -> World {
    let mut world = World::new(config, seed);
    world.power_all();
    assert!(world.run_until_true(30_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    world
}

#[test]
fn a_node_is_told_its_own_address_and_that_of_everybody_in_its_clusters_and_no_other() {
    let shape = Shape { nodes: 2, ..Shape::of(3) };
    let clusters = r#","clusters":[{"name":"a","nodes":[1,2,3,4]},{"name":"b","nodes":[4,5]}]}"#;
    let json = shape.json().replacen(r#""dlm":"10.7.0.3""#, r#""dlm":"10.7.9.3""#, 1);
    let mut world = up(read(&format!("{}{clusters}", json.strip_suffix('}').unwrap())), 1);
    world.run_ms(200);
    for (node, known) in [(1, &[1, 2, 3, 4][..]), (3, &[1, 2, 3, 4]), (4, &[1, 2, 3, 4, 5]), (5, &[4, 5]), (6, &[6])] {
        let told = &world.guests[&node].dlm.addresses;
        assert!(told.keys().eq(known), "node {node} knows {told:?}");
        let of = |node: u8| Ip::V4([10, 7, if node == 3 { 9 } else { 0 }, node]);
        assert!(told.iter().all(|(&node, &address)| address == of(node)), "{told:?}");
    }
}

#[test]
fn addresses_are_told_again_with_each_view_and_after_each_boot_of_a_node_and_of_its_appliance() {
    let mut world = up(config::cluster(3), 2);
    world.run_ms(u64::from(2 * VIEW_AGAIN_MS) + 100);
    assert!(world.guests[&1].dlm.told.values().all(|&times| times >= 3), "{:?}", world.guests[&1].dlm.told);
    world.reset_guest(2);
    assert!(world.run_until_true(20_000, |w| w.guests[&2].dlm.addresses.len() == 3), "{}", world.story());
    world.kill_appliance(1);
    let before = world.guests[&1].dlm.told[&3];
    assert!(world.run_until_true(20_000, |w| w.guests[&1].dlm.told[&3] > before), "{}", world.story());
}

#[test]
fn however_many_nodes_there_are_a_turn_tells_a_few() {
    // 64 nodes, 8 of them on the first host: all its sessions open at once, and each is told of all.
    let mut world = up(Shape { nodes: 8, ..Shape::of(8) }.config(), 3);
    world.run_ms(2_500);
    for node in 1..=8 {
        assert_eq!(world.guests[&node].dlm.addresses.len(), 64, "node {node}");
    }
    // In the time between two VIEWs 512 addresses are told, and nobody is told twice as much as another.
    let before: u32 = (1..=8).map(|node| world.guests[&node].dlm.told.values().sum::<u32>()).sum();
    world.run_ms(u64::from(VIEW_AGAIN_MS));
    let after: u32 = (1..=8).map(|node| world.guests[&node].dlm.told.values().sum::<u32>()).sum();
    let turns = u64::from(VIEW_AGAIN_MS) / 50 + 1;
    assert!((400..=600).contains(&(after - before)), "{}", after - before);
    assert!(u64::from(after - before) <= turns * ADDRESSES_PER_TURN as u64);
    assert_eq!(world.truth.downs.len(), 0);
}

/// A world in which these nodes have the volume open, and others do not.
fn open(config: &'static Config, seed: u64, nodes: impl IntoIterator<Item = u8>) -> World {
    let mut world = World::new(config, seed);
    nodes.into_iter().for_each(|node| world.wants(node, VOLUME, true));
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "seed {seed}: {}\n{}", world.unrest(), world.story());
    world.run_ms(1_000);
    world
}

/// The nodes that were fenced since a time, each for the reason that its DLM was cut off.
fn gone(world: &World, since: Micros) -> BTreeSet<u8> {
    let dead: BTreeSet<(u8, u64)> =
        world.truth.confirmed.iter().filter(|(_, at)| **at >= since).map(|(who, _)| *who).collect();
    for &(node, incarnation) in &dead {
        let mut records = world.truth.newest().unwrap().history();
        let record = records.find(|entry| (entry.node.get(), entry.incarnation) == (node, incarnation));
        assert_eq!(record.map(|record| record.reason), Some(Reason::CutOff), "node {node}\n{}", world.story());
    }
    dead.into_iter().map(|(node, _)| node).collect()
}

/// A cut that goes on: until `dlm_cut_ms` is over nobody is fenced, and then just these, a little after all have noticed it; the
/// others go on.
fn just_these_go(world: &mut World, since: Micros, expected: &[u8]) {
    world.run_until(since + CUT);
    assert_eq!(gone(world, since), BTreeSet::new(), "too soon\n{}", world.story());
    let all = |w: &World| gone(w, since).len() >= expected.len();
    let within = u64::from(CUT_SPREAD_MS) + 500;
    assert!(world.run_until_true(within, all), "{:?}\n{}", gone(world, since), world.story());
    let goes_on = |w: &World| {
        let running = |node: u8| w.guests[&node].dlm.running(VOLUME).is_some();
        let stay = w.guests.values().map(|guest| guest.node).filter(|node| !expected.contains(node));
        w.barrier(VOLUME).is_some_and(|(phase, _)| phase == Phase::Idle) && stay.into_iter().any(running)
    };
    assert!(world.run_until_true(4_000, goes_on), "the others go on\n{}", world.story());
    assert_eq!(gone(world, since), expected.iter().copied().collect(), "{}", world.story());
}

fn ends_well(world: &mut World) {
    world.mend_wires();
    assert!(world.run_until_true(90_000, World::at_peace), "no peace: {}\n{}", world.unrest(), world.story());
    let present = |(node, incarnation): (u8, u64)| world.guests[&node].incarnation == incarnation;
    assert!(world.disk.dirty(VOLUME).all(present), "a journal was not replayed\n{}", world.story());
}

#[test]
fn f6_two_nodes_and_a_cut_between_them_leave_one_and_it_goes_on() {
    for seed in 0..4 {
        let mut world = open(config::cluster(3), seed, [1, 2]);
        let since = world.now;
        let goes = if world.leader() == Some(2) { 1 } else { 2 };
        world.part_wires(&[1], &[2], true);
        just_these_go(&mut world, since, &[goes]);
        ends_well(&mut world);
    }
}

#[test]
fn f6_of_three_nodes_the_one_that_is_cut_off_goes_wherever_the_leader_is() {
    for node in 1..=3 {
        let mut world = open(config::cluster(3), 10, 1..=3);
        let since = world.now;
        let others: Vec<u8> = (1..=3).filter(|&other| other != node).collect();
        world.part_wires(&[node], &others, true);
        just_these_go(&mut world, since, &[node]);
        ends_well(&mut world);
    }
}

#[test]
fn f6_ends_of_a_cut_that_notice_it_one_after_another_are_waited_for() {
    // Whoever is cut off notices last, and one of the others first: on that word alone the others would look alike.
    for node in 1..=3 {
        let mut world = open(config::cluster(3), 11, 1..=3);
        let others: Vec<u8> = (1..=3).filter(|&other| other != node).collect();
        for (other, slow) in [(node, 1_900_000), (others[0], 0), (others[1], 1_200_000)] {
            world.guests.get_mut(&other).unwrap().dlm.peers.slow = slow;
        }
        let since = world.now;
        world.part_wires(&[node], &others, true);
        just_these_go(&mut world, since, &[node]);
        ends_well(&mut world);
    }
}

#[test]
fn f6_of_two_halves_the_leaders_stays_and_otherwise_the_one_with_the_lowest_number() {
    for (seed, one, other) in [(20, [1, 2], [3, 4]), (21, [1, 4], [2, 3]), (22, [1, 3], [2, 4])] {
        let mut world = open(config::cluster(5), seed, 1..=4);
        let since = world.now;
        let leader = world.leader().unwrap();
        world.part_wires(&one, &other, true);
        just_these_go(&mut world, since, if other.contains(&leader) { &one } else { &other });
        ends_well(&mut world);
    }
}

#[test]
fn f6_the_larger_part_stays_and_so_does_another_volume_of_who_is_no_part_of_it() {
    let mut world = open(config::cluster(5), 23, 1..=5);
    world.wants(4, 2, true);
    world.wants(5, 2, true);
    assert!(world.run_until_true(20_000, World::at_peace), "{}", world.story());
    let since = world.now;
    world.part_wires(&[1, 2], &[3, 4, 5], true);
    just_these_go(&mut world, since, &[1, 2]);
    assert!(world.guests[&4].dlm.running(2).is_some_and(|running| running.set.len() == 2), "{}", world.story());
    ends_well(&mut world);
}

/// A switch breaks. One node would stay in a volume, and has to go for another one that it shares with the leader's node: then
/// nobody has to go for it (seed 44893).
#[test]
fn f6_who_would_stay_in_one_volume_and_goes_for_another_costs_nobody_else() {
    let led_by_first = |seed| Some(open(config::cluster(3), seed, [2, 3])).filter(|world| world.leader() == Some(1));
    let mut world = (0..30).find_map(led_by_first).unwrap();
    world.wants(1, 2, true);
    world.wants(2, 2, true);
    assert!(world.run_until_true(20_000, World::at_peace), "{}", world.story());
    world.run_ms(1_000);
    // It notices first: with its word both volumes are judged at once.
    for (node, slow) in [(1, 800_000), (2, 300_000), (3, 600_000)] {
        world.guests.get_mut(&node).unwrap().dlm.peers.slow = slow;
    }
    let since = world.now;
    world.part_wires(&[1, 2, 3], &[1, 2, 3], true);
    just_these_go(&mut world, since, &[2]);
    assert!(world.guests[&1].dlm.running(2).is_some() && world.guests[&3].dlm.running(VOLUME).is_some());
    ends_well(&mut world);
}

#[test]
fn f6_a_cut_in_one_direction_is_one() {
    for (from, to) in [(1, 2), (2, 1)] {
        let mut world = open(config::cluster(3), 30, 1..=3);
        let since = world.now;
        world.cut_wire(from, to, true);
        // Node 3 reaches both, so it is one of these two, and whoever runs beside the leader stays.
        let goes = if world.leader() == Some(2) { 1 } else { 2 };
        just_these_go(&mut world, since, &[goes]);
        ends_well(&mut world);
    }
}

#[test]
fn f6_who_says_that_nobody_answers_and_is_accused_by_nobody_goes_alone() {
    for liar in 1..=3 {
        for nodes in [2, 3] {
            if liar > nodes {
                continue;
            }
            let mut world = open(config::cluster(3), 40, 1..=nodes);
            let since = world.now;
            world.begin_to_lie(liar);
            just_these_go(&mut world, since, &[liar]);
            ends_well(&mut world);
        }
    }
}

#[test]
fn l3_a_cut_that_is_shorter_or_flaps_fences_nobody() {
    let mut world = open(config::cluster(3), 50, 1..=3);
    let since = world.now;
    for _ in 0..4 {
        world.part_wires(&[1], &[2, 3], true);
        world.run_until(world.now + CUT - 1_000);
        world.mend_wires();
        world.run_ms(20);
        world.cut_wire(2, 3, true);
        world.run_ms(3_000);
        world.mend_wires();
        world.run_ms(20);
    }
    assert_eq!(gone(&world, since), BTreeSet::new(), "{}", world.story());
    assert!(world.truth.resets.is_empty() && world.truth.orders.is_empty());
    ends_well(&mut world);
}

#[test]
fn l3_a_cut_whose_end_one_side_notices_late_was_not_longer_for_that() {
    for (slow, seed) in [(1, 53), (2, 54)] {
        let mut world = open(config::cluster(3), seed, 1..=3);
        let since = world.now;
        world.guests.get_mut(&slow).unwrap().dlm.peers.slow_back = 1_500_000;
        world.part_wires(&[1], &[2], true);
        world.run_until(since + CUT - 200_000);
        world.mend_wires();
        world.run_ms(5_000);
        assert_eq!(gone(&world, since), BTreeSet::new(), "{}", world.story());
        ends_well(&mut world);
    }
}

#[test]
fn f6_who_is_back_and_still_cut_off_waits_outside_and_the_others_go_on() {
    let mut world = open(config::cluster(3), 55, 1..=3);
    let since = world.now;
    world.part_wires(&[3], &[1, 2], true);
    just_these_go(&mut world, since, &[3]);
    let up = |w: &World| w.guests[&3].has_session() && w.all_up();
    assert!(world.run_until_true(10_000, up), "{}", world.story());
    let (_, generation) = world.barrier(VOLUME).unwrap();
    world.run_ms(60_000);
    assert_eq!(world.barrier(VOLUME), Some((Phase::Idle, generation)), "no barrier that cannot end\n{}", world.story());
    assert_eq!(gone(&world, since).len(), 1, "and it is fenced once\n{}", world.story());
    world.mend_wires();
    assert!(world.run_until_true(5_000, World::at_peace), "{}", world.unrest());
}

#[test]
fn l3_whose_lockspace_is_stopped_is_not_cut_off_however_often_and_long() {
    let mut world = open(config::cluster(5), 51, 1..=3);
    let since = world.now;
    // A worker that hangs keeps a barrier open for nearly as long as it may, again and again.
    for wanted in [true, false, true, false] {
        world.guests.get_mut(&2).unwrap().dlm.stuck = true;
        world.wants(4, VOLUME, wanted);
        world.run_ms(4_500);
        world.guests.get_mut(&2).unwrap().dlm.stuck = false;
        world.run_ms(1_500);
    }
    assert_eq!(gone(&world, since), BTreeSet::new(), "{}", world.story());
    ends_well(&mut world);
}

#[test]
fn l3_a_vm_that_stands_still_on_purpose_is_not_cut_off() {
    let mut world = open(config::cluster(3), 52, 1..=3);
    let since = world.now;
    let node = world.leader().unwrap() % 3 + 1;
    world.operate(node, of_node(Wish::Pause, node, 40_000));
    assert!(matches!(world.answer_of(node, 2_000), Some(Message::OperateReply { .. })));
    world.hit(node, Mood::Paused);
    world.run_ms(15_000);
    assert_eq!(gone(&world, since), BTreeSet::new(), "{}", world.story());
    world.cont(node);
    world.run_ms(15_000);
    assert_eq!(gone(&world, since), BTreeSet::new(), "it answers again\n{}", world.story());
    ends_well(&mut world);
}

#[test]
fn f6_a_cut_during_a_barrier_leaves_somebody_although_nobody_can_recover() {
    for seed in 60..63 {
        let mut world = open(config::cluster(3), seed, [1, 2]);
        let since = world.now;
        world.part_wires(&[1], &[2], true);
        world.wants(3, VOLUME, true);
        // All have started, and none of the two recovers: there is a time for that, and then all that are late were to go.
        let recover_ms = u64::from(world.config().timing.recover_ms);
        world.run_ms(recover_ms - 1_000);
        assert!(world.truth.confirmed.values().all(|at| *at < since), "{}", world.story());
        let settled = |w: &World| {
            let set = w.guests[&3].dlm.running(VOLUME).map_or(0, |running| running.set.len());
            set == 2 && w.barrier(VOLUME).is_some_and(|(phase, _)| phase == Phase::Idle)
        };
        assert!(world.run_until_true(4_000, settled), "{}", world.story());
        let dead = world.truth.confirmed.iter().filter(|(_, at)| **at >= since).count();
        assert_eq!(dead, 1, "one of the two goes, and the others go on\n{}", world.story());
        ends_well(&mut world);
    }
}

#[test]
fn f6_the_leaders_appliance_dies_while_it_counts_and_the_next_one_need_not_begin_anew() {
    for seed in 70..73 {
        let mut world = open(config::cluster(5), seed, 1..=3);
        let since = world.now;
        world.part_wires(&[3], &[1, 2], true);
        world.run_ms(5_000);
        let leader = world.leader().unwrap();
        world.kill_appliance(leader);
        if leader != 3 {
            just_these_go(&mut world, since, &[3]);
        } else {
            // Its own appliance's count began anew; the others' did not.
            world.run_until(since + CUT);
            just_these_go(&mut world, since, &[3]);
        }
        ends_well(&mut world);
    }
}

#[test]
fn f6_the_leaders_host_dies_when_the_time_is_over() {
    let mut world = open(config::cluster(5), 74, 1..=3);
    let leader = world.leader().unwrap();
    let since = world.now;
    let (one, other) = ([1, 2, 3].into_iter().find(|&node| node != leader).unwrap(), 3 - u8::from(leader == 3));
    world.part_wires(&[one], &[other], true);
    world.run_until(since + CUT - 500_000);
    world.power_off(leader);
    world.run_ms(20_000);
    let alive = |node: u8| world.guests[&node].dlm.running(VOLUME).is_some();
    assert!(alive(one) || alive(other), "somebody goes on\n{}", world.story());
    world.power_all();
    ends_well(&mut world);
}

#[test]
fn f6_who_boots_again_during_a_cut_begins_anew() {
    let mut world = open(config::cluster(3), 80, 1..=3);
    world.part_wires(&[1], &[2], true);
    world.run_ms(6_000);
    world.reset_guest(2);
    assert!(world.run_until_true(3_000, |w| w.guests[&2].has_session()), "{}", world.story());
    world.wants(2, VOLUME, false);
    world.run_ms(1_000);
    let since = world.now;
    world.run_ms(20_000);
    assert_eq!(gone(&world, since), BTreeSet::new(), "it has nothing open any more\n{}", world.story());
    ends_well(&mut world);
}

#[test]
fn s4_an_isolated_leader_fences_nobody_for_a_cut() {
    let mut world = open(config::cluster(5), 81, 1..=3);
    let since = world.now;
    let leader = world.leader().unwrap();
    world.part_wires(&[1], &[2, 3], true);
    world.run_until(since + CUT - 300_000);
    world.truth.quorum_side = Some((1..=5).filter(|&host| host != leader).collect());
    world.cut(leader, true, true, true);
    world.run_ms(800);
    let condemned = |w: &World| {
        w.hosts[&leader]
            .view()
            .is_some_and(|view| (1..=3).any(|node| view.node(NodeId::new(node)).record.reason == Reason::CutOff))
    };
    assert!(!condemned(&world), "{}", world.story());
    world.cut(leader, true, true, false);
    world.truth.quorum_side = None;
    world.run_ms(5_000);
    assert!(world.truth.confirmed.iter().any(|((node, _), at)| *node == 1 && *at >= since), "{}", world.story());
    ends_well(&mut world);
}

#[test]
fn h1_a_switch_that_breaks_waits_for_the_brake_and_leaves_one() {
    let mut world = open(config::cluster(7), 90, 1..=7);
    let since = world.now;
    let all: Vec<u8> = (1..=7).collect();
    world.part_wires(&all, &all, true);
    let brake = u64::from(world.config().timing.brake_ms) * 1000;
    world.run_until(since + CUT + brake);
    assert_eq!(gone(&world, since), BTreeSet::new(), "six at once are too many\n{}", world.story());
    let stays = world.leader().unwrap();
    let alone = |w: &World| w.guests[&stays].dlm.running(VOLUME).is_some_and(|running| running.set.len() == 1);
    assert!(world.run_until_true(3_000, alone), "{}", world.story());
    assert_eq!(gone(&world, since), all.into_iter().filter(|&node| node != stays).collect(), "{}", world.story());
    // Those that are back do not reach it either: they wait, and it goes on.
    world.run_ms(30_000);
    assert!(alone(&world) && world.barrier(VOLUME).is_some_and(|(phase, _)| phase == Phase::Idle), "{}", world.story());
    ends_well(&mut world);
}

#[test]
fn h1_a_switch_that_is_mended_while_the_brake_waits_cost_nobody() {
    let mut world = open(config::cluster(7), 91, 1..=7);
    for (node, slow) in (1..=7).zip([0, 900_000, 100, 500_000, 850_000, 20_000, 999_000]) {
        world.guests.get_mut(&node).unwrap().dlm.peers.slow_back = slow;
    }
    let since = world.now;
    let all: Vec<u8> = (1..=7).collect();
    world.part_wires(&all, &all, true);
    world.run_until(since + CUT + 10_000_000);
    world.mend_wires();
    world.run_ms(20_000);
    assert_eq!(gone(&world, since), BTreeSet::new(), "{}", world.story());
    ends_well(&mut world);
}
