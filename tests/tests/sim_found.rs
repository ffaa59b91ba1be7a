//! What the simulator found in the core, each as the shortest story that shows it.
#![allow(clippy::unwrap_used)]

use palisade_core::id::{HostId, NodeId};
use palisade_core::status::HostState;
use palisade_core::wire::node::NodeState;
use palisade_tests::scenarios::stage::{back, whole};
use palisade_tests::sim::story::{shape_of, told};
use palisade_tests::sim::{Bmc, Mood, Power, Stop, Trace, Wish, World, config};

/// A HELLO after a RESET proves the end of the memory, not of what the host still writes for it.
#[test]
fn e5_a_reset_proves_nothing_where_disks_do_not_qualify() {
    let mut world = World::new(config::cluster(3), 1);
    world.hosts.get_mut(&2).unwrap().disks_qualify = false;
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "{}", world.story());
    let old = world.guests[&2].incarnation;
    world.reset_guest(2);
    let told = world.run_until_true(30_000, |w| w.truth.confirmed.contains_key(&(2, old)));
    assert!(told, "its host is fenced instead\n{}", world.story());
    assert!(world.truth.orders.iter().any(|(_, _, target, _)| *target == 2), "{}", world.story());
    back(&mut world);
}

/// The notice of a panic belongs to the memory that panicked, and not to the run: who boots anew within it is well.
#[test]
fn a_kernel_that_panics_and_boots_anew_while_nobody_leads_is_a_member_again() {
    for seed in 0..5 {
        let mut world = whole(3, seed);
        let leader = world.leader().unwrap();
        let node = (1..=3).find(|&host| host != leader).unwrap();
        world.power_off(leader);
        world.hit(node, Mood::Panicked);
        world.run_ms(50);
        world.reset_guest(node);
        back(&mut world);
    }
}

/// An incarnation that nobody made a member yet ends its predecessor, whatever becomes of itself (SAFETY E8, `cargo sim --from 20007582`).
#[test]
fn who_boots_anew_while_nobody_leads_and_gasps_is_a_member_again() {
    let mut world = whole(3, 7);
    let leader = world.leader().unwrap();
    let node = (1..=3).find(|&host| host != leader).unwrap();
    world.power_off(leader);
    world.reset_guest(node);
    let old = world.guests[&node].incarnation;
    let spoke = |w: &World| w.guests[&node].incarnation != old && w.guests[&node].has_session();
    assert!(world.run_until_true(3_000, spoke), "{}", world.story());
    assert_eq!(world.leader().filter(|&now| now != leader), None, "nobody leads yet\n{}", world.story());
    world.gasp(node);
    world.power_on(leader);
    back(&mut world);
}

/// A leader that is kept alive by echoes of a condemned host, and hears no quorum otherwise, accuses nobody: what it could
/// not commit would be committed when the accused are well again (SAFETY A3, H1).
#[test]
fn who_hears_no_quorum_accuses_nobody() {
    let mut world = whole(5, 2);
    let leader = world.leader().unwrap();
    let others: Vec<u8> = (1..=5).filter(|&host| host != leader).collect();
    let [condemned, far, further, _] = others[..] else { panic!("four others") };
    world.bmcs.insert(condemned, Bmc::Dead);
    world.operator(leader, Wish::FenceHost(condemned));
    world.run_ms(4_000);
    world.each_path(|(from, to, _), path| {
        path.cut = (from == far || from == further) != (to == far || to == further);
    });
    world.run_ms(2_500);
    world.each_path(|_, path| path.cut = false);
    world.run_ms(5_000);
    let killed = world.truth.orders.iter().any(|(_, _, target, _)| *target == far || *target == further);
    assert!(!killed && world.truth.resets.is_empty(), "{}", world.story());
    world.bmcs.insert(condemned, Bmc::Works(5_000));
    back(&mut world);
}

/// Hosts that have to be fenced for the sake of a node are fenced one after the other: with both at once, a quorum would lose
/// its memory.
#[test]
fn hosts_that_cannot_fence_their_nodes_alone_are_not_fenced_all_at_once() {
    let mut world = World::new(config::cluster(3), 4);
    for host in world.hosts.values_mut() {
        host.disks_qualify = false;
    }
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "{}", world.story());
    let leader = world.leader().unwrap();
    let sick: Vec<u8> = (1..=3).filter(|&node| node != leader).collect();
    let old: Vec<u64> = sick.iter().map(|node| world.guests[node].incarnation).collect();
    for &node in &sick {
        world.bmcs.insert(node, Bmc::Works(1_500_000));
        world.hit(node, Mood::Panicked);
    }
    let anew = |w: &World| sick.iter().zip(&old).all(|(node, &old)| ![0, old].contains(&w.guests[node].incarnation));
    let end = world.now + 60_000_000;
    while !(anew(&world) && world.all_up()) {
        assert!(world.now < end, "not up again\n{}", world.story());
        world.run_until(world.now + 500);
        let view = world.truth.newest().unwrap();
        let open = |&host: &u8| !matches!(view.host(HostId::new(host)).state, HostState::Member);
        assert!(!sick.iter().all(open), "both at once\n{}", world.story());
    }
    let hit = |&host: &u8| world.truth.orders.iter().any(|&(_, _, target, _)| target == host);
    assert!(sick.iter().all(hit), "both hosts were fenced\n{}", world.story());
}

/// Somebody continues a VM that was fenced by `vm-stopped` before its appliance had it started anew, and that appliance dies
/// without having told anybody of the reset: what boots there began after the proof, and is a member again.
#[test]
fn who_boots_in_a_run_that_was_reset_for_good_is_a_member_again() {
    for seed in 0..5 {
        let mut world = whole(3, seed);
        let leader = world.leader().unwrap();
        let node = (1..=3).find(|&host| host != leader).unwrap();
        let since = world.now;
        world.hit(node, Mood::Panicked);
        assert!(world.run_until_true(100, |w| w.truth.told_down(node, since) >= 2), "{}", world.story());
        world.kill_appliance(node);
        world.cont(node);
        back(&mut world);
    }
}

/// A leader is stopped with its clock before it takes in the acceptances that decide a fence. The others elect another
/// one, who does it, and the fenced host is well again. The old leader goes on: it counts the acceptances, its lease is as
/// good as ever, and nobody else's promise refuses what it orders itself (SAFETY A2, F1).
#[test]
fn a_leader_that_was_stopped_and_deposed_fences_nobody_with_its_own_hands() {
    for seed in 0..3 {
        let mut world = whole(5, seed);
        let leader = world.leader().unwrap();
        let host = (1..=5).find(|&host| host != leader).unwrap();
        let old = world.guests[&host].incarnation;
        world.bmcs.insert(leader, Bmc::Dead);
        world.each_path(|(_, to, _), path| path.delay = if to == leader { 10_000 } else { path.delay });
        world.operator(leader, Wish::FenceHost(host));
        world.run_ms(5);
        world.stop_appliance(leader, Stop::Clock);
        world.each_path(|(_, to, _), path| path.delay = if to == leader { 100 } else { path.delay });
        let again = |w: &World| ![0, old].contains(&w.guests[&host].incarnation) && w.hosts[&host].is_admitted();
        assert!(world.run_until_true(60_000, again), "seed {seed}: host {host} is well again\n{}", world.story());
        assert_ne!(world.leader(), Some(leader));
        let (life, orders) = (world.hosts[&host].life, world.truth.orders.len());
        world.resume_appliance(leader);
        world.run_ms(100);
        assert_eq!(world.truth.orders.len(), orders, "seed {seed}: {:?}\n{}", world.truth.orders, world.story());
        assert_eq!(world.hosts[&host].life, life, "seed {seed}\n{}", world.story());
        world.bmcs.insert(leader, Bmc::Works(5_000));
        back(&mut world);
    }
}

/// A member that heard nothing for a while, and whose own node is no member, is only out of the view meanwhile. A node that
/// left and booted again in that time is nobody's death: only what was Confirmed is told as one.
#[test]
fn who_left_while_a_member_heard_nothing_is_nobodys_death() {
    for seed in 0..5 {
        let mut world = whole(5, seed);
        let leader = world.leader().unwrap();
        let others: Vec<u8> = (1..=5).filter(|&host| host != leader).collect();
        let (deaf, leaver) = (others[0], others[1]);
        // An earlier death of the same node, whose class stays in its row.
        world.hit(leaver, Mood::Gone);
        back(&mut world);
        let old = world.guests[&leaver].incarnation;
        // Its guest boots again while it is cut off, and so has a session, and is no member.
        world.bye(deaf);
        world.run_ms(200);
        world.reset_guest(deaf);
        world.run_ms(100);
        world.cut(deaf, true, true, true);
        world.run_ms(100);
        world.bye(leaver);
        world.run_ms(200);
        world.reset_guest(leaver);
        let again = |w: &World| {
            let row = w.hosts[&leader].view().map(|view| *view.node(palisade_core::id::NodeId::new(leaver)));
            row.is_some_and(|row| row.incarnation != old && row.incarnation == w.guests[&leaver].incarnation)
        };
        assert!(world.run_until_true(10_000, again), "seed {seed}: it is back\n{}", world.story());
        world.run_ms(500);
        world.cut(deaf, true, true, false);
        world.run_ms(5_000);
        let version = |host: u8| world.hosts[&host].view().map(|view| view.version);
        assert_eq!(version(deaf), version(leader), "seed {seed}: it has caught up");
        let told = world.truth.downs.iter().any(|(_, _, about, incarnation)| (*about, *incarnation) == (leaver, old));
        assert!(!told, "seed {seed}: nobody died\n{}", world.story());
    }
}

/// A process that ends while its monitor drains closes the socket: that is no answer, and its last requests are still under
/// way (two-vote seed 13104).
#[test]
fn a_vm_that_exits_while_its_monitor_drains_was_not_stopped_and_reset() {
    for step in 1..40 {
        let mut world = whole(3, step);
        let leader = world.leader().unwrap();
        let node = (1..=3).find(|&host| host != leader).unwrap();
        let old = world.guests[&node].incarnation;
        world.operator(leader, Wish::FenceNode(node));
        let id = NodeId::new(node);
        while world.truth.newest().unwrap().node(id).state != NodeState::Condemned {
            world.run_until(world.now + 50);
        }
        // The order is driven at once by the leader, or a datagram later by its member.
        world.run_until(world.now + step * 25);
        world.hit(node, Mood::Gone);
        let told = world.run_until_true(1_000, |w| w.truth.confirmed.contains_key(&(node, old)));
        assert!(told, "step {step}\n{}", world.story());
        back(&mut world);
    }
}

/// A VM that exits still has requests on the way to its disk: a guard that is told to kill it has no proof before the kernel
/// calls it gone (seed 1007201).
#[test]
fn a_vm_that_exits_is_gone_no_sooner_for_being_killed() {
    for seed in 0..10 {
        let mut world = whole(3, seed);
        let leader = world.leader().unwrap();
        let node = (1..=3).find(|&host| host != leader).unwrap();
        let old = world.guests[&node].incarnation;
        world.operator(leader, Wish::FenceNode(node));
        world.hit(node, Mood::Gone);
        let told = world.run_until_true(1_000, |w| w.truth.confirmed.contains_key(&(node, old)));
        assert!(told, "seed {seed}\n{}", world.story());
        back(&mut world);
    }
}

/// Both voters lost their memory, and a host without a vote kept its own: their new leader had the ballot of the old one, and
/// what that had proposed last was taken for committed (seed 3113873).
#[test]
fn the_ballot_of_another_cluster_incarnation_says_nothing_about_ours() {
    let _report = told(shape_of(3_113_873, None, None), 3_113_873, Trace::Kept);
}

/// A barrier of one volume waits for the death of a host that cannot be proven yet, and names an earlier life of a node which
/// is back in another volume meanwhile: who reaches it there does not accuse it of being another one (seed 21464).
#[test]
fn who_is_back_in_one_volume_is_not_accused_for_a_barrier_that_waits_in_another() {
    for seed in 0..3 {
        let mut world = whole(3, seed);
        let leader = world.leader().unwrap();
        let others: Vec<u8> = (1..=3).filter(|&host| host != leader).collect();
        let (lost, boots) = (others[0], others[1]);
        (1..=3).for_each(|node| world.wants(node, 2, true));
        [leader, boots].iter().for_each(|&node| world.wants(node, 1, true));
        back(&mut world);
        world.bmcs.insert(lost, Bmc::Dead);
        world.power_off(lost);
        world.run_ms(3_000);
        world.reset_guest(boots);
        let shared = |w: &World| w.guests[&boots].dlm.running(1).is_some_and(|running| running.set.len() == 2);
        assert!(world.run_until_true(10_000, shared), "seed {seed}: it is back in one\n{}", world.story());
        assert!(world.guests[&boots].dlm.running(2).is_none(), "seed {seed}: the other one waits");
        let old = world.guests[&boots].incarnation;
        world.run_ms(15_000);
        assert_eq!(world.guests[&boots].incarnation, old, "seed {seed}: nobody condemns it\n{}", world.story());
        world.bmcs.insert(lost, Bmc::Works(5_000));
        back(&mut world);
    }
}

/// A node asked to leave, was let go, and did not hear of it, since its worker hangs. When all appliances lose their memory it
/// reports the volume as it was started last, and is no member of what the others started since (`cargo sim --from 50062869`).
#[test]
fn who_was_let_go_unheard_before_all_memory_was_lost_does_not_join_again() {
    for seed in 0..5 {
        let mut world = whole(3, seed);
        (1..=3).for_each(|node| world.wants(node, 1, true));
        back(&mut world);
        let set =
            |w: &World| w.guests[&1].dlm.running(1).map(|running| running.set.keys().copied().collect::<Vec<_>>());
        let worker = |w: &mut World, node: u8, hangs: bool| w.guests.get_mut(&node).unwrap().dlm.stuck = hangs;
        // The barrier waits for one while the other stops.
        worker(&mut world, 3, true);
        world.wants(2, 1, false);
        world.run_ms(300);
        worker(&mut world, 2, true);
        worker(&mut world, 3, false);
        assert!(world.run_until_true(5_000, |w| set(w) == Some(vec![1, 3])), "seed {seed}\n{}", world.story());
        // Of this one the other never hears.
        world.wants(3, 1, false);
        assert!(world.run_until_true(5_000, |w| set(w) == Some(vec![1])), "seed {seed}\n{}", world.story());
        let reported = world.guests[&2].dlm.sets().next().map(|(_, set)| set.len());
        assert_eq!(reported, Some(3), "seed {seed}: it has the volume\n{}", world.story());
        world.forget_all();
        worker(&mut world, 2, false);
        back(&mut world);
        assert!(world.run_until_true(5_000, |w| w.guests[&2].dlm.is_closed()), "seed {seed}\n{}", world.story());
        assert_eq!(set(&world), Some(vec![1]), "seed {seed}\n{}", world.story());
        assert!(world.truth.downs.is_empty(), "seed {seed}: nobody died\n{}", world.story());
    }
}

/// An order to switch a host off is still driven when the host's guard speaks for it, and the leader that sent it is lost: the
/// next one knows nothing of the order, and turns on whoever fell silent after that (`cargo sim --from 60025353`).
#[test]
fn a_host_that_a_late_order_hit_under_the_next_leader_is_turned_on() {
    const SLOW_BMC: u64 = 1_500_000;
    for seed in 0..3 {
        let mut world = whole(5, seed);
        let leader = world.leader().unwrap();
        let victim = (1..=5).find(|&host| host != leader).unwrap();
        world.bmcs.insert(victim, Bmc::Works(SLOW_BMC));
        world.power_off(victim);
        let ordered = |w: &World| w.truth.orders.iter().any(|(_, _, target, _)| *target == victim);
        assert!(world.run_until_true(10_000, ordered), "seed {seed}\n{}", world.story());
        world.power_on(victim);
        let down =
            |w: &World| w.hosts[&leader].view().is_some_and(|v| v.host(HostId::new(victim)).state == HostState::Down);
        assert!(world.run_until_true(SLOW_BMC / 2_000, down), "seed {seed}: its guard speaks first\n{}", world.story());
        world.power_off(leader);
        world.run_ms(SLOW_BMC / 1_000);
        assert!(matches!(world.hosts[&victim].power, Power::Off), "seed {seed}: the order hit it\n{}", world.story());
        world.power_on(leader);
        world.bmcs.insert(victim, Bmc::Works(5_000));
        back(&mut world);
    }
}

/// A leader that stood still with its clock learns when it goes on what a quorum had accepted before a cold start carried it
/// on: that is no second line (seeds 60044705 and 60008545).
#[test]
fn a_leader_that_stood_still_learns_late_what_was_decided_before_a_cold_start() {
    for seed in [60_044_705, 60_008_545] {
        let _report = told(shape_of(seed, None, None), seed, Trace::Kept);
    }
}
