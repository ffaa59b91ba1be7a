//! Cold starts on the deterministic network: a named story for each rule of SAFETY B2 to B7, and many seeds.
#![allow(clippy::unwrap_used)]

use palisade_core::fencing::Action;
use palisade_core::id::NodeId;
use palisade_core::wire::node::NodeState;
use palisade_tests::sim::{Bmc, Mood, Trace, World, config};

fn up(hosts: u8, seed: u64) -> World {
    let trace = if std::env::var("COLD_TRACE").is_ok() { Trace::Printed } else { Trace::Kept };
    let mut world = World::traced(config::cluster(hosts), seed, trace);
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "seed {seed}: not all up\n{}", world.story());
    // Everybody knows of everybody, and has a fresh lease.
    world.run_ms(500);
    world
}

fn back(world: &mut World) {
    assert!(world.run_until_true(90_000, World::all_up), "not all up again\n{}", world.story());
}

fn cluster_of(world: &World) -> u32 {
    let leader = world.leader().unwrap();
    world.hosts[&leader].view().unwrap().cluster.number
}

/// Nobody was harmed: no fence, no reset, no death.
fn unharmed(world: &World) {
    let truth = &world.truth;
    let calm = truth.downs.is_empty() && truth.orders.is_empty() && truth.resets.is_empty();
    assert!(calm, "{:?} {:?} {:?}\n{}", truth.downs, truth.orders, truth.resets, world.story());
}

fn incarnations(world: &World) -> Vec<u64> {
    world.guests.values().map(|guest| guest.incarnation).collect()
}

#[test]
fn b3_two_votes_survive_the_restart_of_either_appliance_with_all_nodes_running() {
    for seed in 0..20 {
        let mut world = up(2, seed);
        let before = incarnations(&world);
        let victim = 1 + u8::try_from(seed % 2).unwrap();
        world.kill_appliance(victim);
        world.run_ms(8_000);
        back(&mut world);
        unharmed(&world);
        assert_eq!(incarnations(&world), before, "seed {seed}");
        assert_eq!(cluster_of(&world), 2, "seed {seed}: it was a cold start");
    }
}

#[test]
fn b3_all_appliances_restart_at_once_and_all_nodes_keep_running() {
    for hosts in [2, 3, 5] {
        for seed in 0..10 {
            let mut world = up(hosts, seed);
            let before = incarnations(&world);
            for host in 1..=hosts {
                world.kill_appliance(host);
            }
            world.run_ms(8_000);
            back(&mut world);
            unharmed(&world);
            assert_eq!(incarnations(&world), before, "{hosts} hosts, seed {seed}");
            assert_eq!(cluster_of(&world), 2, "the sessions remember the first cluster incarnation");
        }
    }
}

/// A cluster in which these nodes have the first volume open and at rest, and a service is owned.
fn sharing(hosts: u8, members: &[u8], seed: u64) -> World {
    let services = "\"services\":[{\"name\":\"one\"}],\"devices\"";
    let config = config::read(&config::json(hosts, hosts).replacen("\"devices\"", services, 1));
    let trace = if std::env::var("COLD_TRACE").is_ok() { Trace::Printed } else { Trace::Kept };
    let mut world = World::traced(config, seed, trace);
    members.iter().for_each(|&node| world.wants(node, 1, true));
    world.power_all();
    settled(&mut world);
    world
}

fn settled(world: &mut World) {
    assert!(world.run_until_true(90_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    world.run_ms(500);
}

#[test]
fn b4_groups_and_services_that_no_memory_holds_go_on_as_their_sessions_report() {
    for (hosts, seed) in [2, 3, 5].into_iter().flat_map(|hosts| (0..5).map(move |seed| (hosts, seed))) {
        let members: Vec<u8> = (1..=hosts).collect();
        let mut world = sharing(hosts, &members, seed);
        let (before, generation) = (incarnations(&world), world.barrier(1).unwrap().1);
        let (owner, starts) = (world.truth.owners.owner("one"), world.disk.starts);
        world.forget_all();
        world.run_ms(6_000);
        settled(&mut world);
        unharmed(&world);
        assert_eq!(incarnations(&world), before, "{hosts} hosts, seed {seed}");
        assert!(world.barrier(1).unwrap().1 > generation, "{}", world.story());
        assert_eq!(world.disk.starts, starts + u64::from(hosts), "each went through one barrier\n{}", world.story());
        assert_eq!(world.truth.owners.owner("one"), owner);
        assert_eq!(world.truth.owners.given, 1, "nobody else was given it, nor it anew\n{}", world.story());
        // Tokens go on above what was reported: whoever gets it next is given a greater one.
        world.hit(owner.unwrap(), Mood::Gone);
        let moved = |w: &World| w.truth.owners.owner("one").is_some_and(|now| Some(now) != owner);
        assert!(world.run_until_true(10_000, moved), "{}", world.story());
        settled(&mut world);
    }
}

#[test]
fn b4_a_member_that_dies_with_all_memory_is_dead_to_those_that_report_it() {
    for seed in 0..10 {
        let mut world = sharing(3, &[1, 2, 3], seed);
        let old = world.guests[&3].incarnation;
        world.forget_all();
        world.run_ms(seed * 40);
        world.hit(3, Mood::Gone);
        settled(&mut world);
        assert!(world.disk.dirty(1).all(|(node, incarnation)| (node, incarnation) != (3, old)), "{}", world.story());
        assert!(world.truth.resets.is_empty());
    }
}

/// Node 3 joins and is started; node 1 stops for that and never sees the START; then all memory is lost, and node 3 with it.
#[test]
fn b4_a_member_of_whom_no_report_tells_is_taken_for_dead_where_a_start_may_have_gone_unseen() {
    for seed in 0..10 {
        let mut world = sharing(3, &[1], seed);
        world.wants(3, 1, true);
        let runs = |w: &World, node: u8| w.guests[&node].dlm.running(1).map(|running| running.set.len());
        // It says STOPPED, and hears nothing more.
        let until = world.now + 5_000_000;
        while runs(&world, 1).is_some() && world.now < until {
            world.run_until(world.now + 20);
        }
        assert!(runs(&world, 1).is_none(), "{}", world.story());
        world.deafen(1, true);
        let starts = world.run_until_true(2_000, |w| runs(w, 3) == Some(2));
        assert!(starts, "{}", world.story());
        let old = world.guests[&3].incarnation;
        world.forget_all();
        world.hit(3, Mood::Gone);
        world.deafen(1, false);
        settled(&mut world);
        assert!(world.disk.dirty(1).all(|(node, incarnation)| (node, incarnation) != (3, old)), "{}", world.story());
    }
}

/// Seed 3102353: a node reset itself while no memory was left, and its disks are such that writes outlive a reset.
#[test]
fn e5_a_reset_is_no_proof_to_a_cold_start_where_disks_do_not_qualify() {
    for seed in 0..10 {
        let mut world = World::new(config::cluster(3), seed);
        world.hosts.get_mut(&2).unwrap().disks_qualify = false;
        (1..=3).for_each(|node| world.wants(node, 1, true));
        world.power_all();
        settled(&mut world);
        let old = world.guests[&2].incarnation;
        world.forget_all();
        world.run_ms(100 + seed * 150);
        world.reset_guest(2);
        settled(&mut world);
        assert!(world.disk.dirty(1).all(|(node, incarnation)| (node, incarnation) != (2, old)), "{}", world.story());
    }
}

#[test]
fn b4_the_owner_of_a_recovery_goes_on_with_it_after_all_memory_is_lost() {
    for seed in 0..10 {
        let mut world = sharing(5, &[1, 2, 3, 4, 5], seed);
        let old = world.guests[&4].incarnation;
        (1..=5).for_each(|node| world.guests.get_mut(&node).unwrap().dlm.slow = true);
        world.hit(4, Mood::Gone);
        let rows = |w: &World| w.truth.newest().unwrap().takeovers.rows().len();
        assert!(world.run_until_true(500, |w| rows(w) == 2 && w.truth.owners.given == 2), "{}", world.story());
        world.run_ms(100);
        world.forget_all();
        world.run_ms(6_000);
        (1..=5).for_each(|node| world.guests.get_mut(&node).unwrap().dlm.slow = false);
        settled(&mut world);
        assert_eq!(world.truth.owners.given, 2, "nobody else was given it\n{}", world.story());
        assert!(world.disk.dirty(1).all(|(node, incarnation)| (node, incarnation) != (4, old)), "{}", world.story());
    }
}

#[test]
fn b3_one_host_is_down_and_an_appliance_restarts() {
    for seed in 0..10 {
        let mut world = up(3, seed);
        world.bmcs.insert(3, Bmc::Dead);
        world.power_off(3);
        world.bmcs.insert(3, Bmc::Works(5_000));
        assert!(world.run_until_true(5_000, |w| w.truth.told_down(3, 0) >= 2), "{}", world.story());
        world.bmcs.insert(3, Bmc::Dead);
        world.run_ms(1_500);
        let before = [world.guests[&1].incarnation, world.guests[&2].incarnation];
        world.kill_appliance(1);
        world.run_ms(20_000);
        assert_eq!([world.guests[&1].incarnation, world.guests[&2].incarnation], before, "{}", world.story());
        assert!(world.truth.resets.is_empty(), "seed {seed}: leases went on\n{}", world.story());
        world.bmcs.insert(3, Bmc::Works(5_000));
        world.power_on(3);
        back(&mut world);
        assert_eq!([world.guests[&1].incarnation, world.guests[&2].incarnation], before, "{}", world.story());
    }
}

#[test]
fn b2_a_cold_start_does_not_overtake_an_election() {
    for seed in 0..20 {
        let mut world = up(5, seed);
        let leader = world.leader().unwrap();
        let empty = (1..=5).find(|&host| host != leader).unwrap();
        world.kill_appliance(empty);
        world.run_ms(1);
        world.power_off(leader);
        let led = world.run_until_true(4_000, |w| w.leader().is_some_and(|now| now != leader));
        assert!(led, "seed {seed}\n{}", world.story());
        back(&mut world);
        assert_eq!(cluster_of(&world), 1, "seed {seed}: three had memory\n{}", world.story());
    }
}

#[test]
fn b4_what_a_report_calls_dead_is_not_adopted_although_every_memory_is_lost() {
    for seed in 0..10 {
        let mut world = up(3, seed);
        // Node 3 is Confirmed, as far as node 1 knows; in truth somebody continues it, and it reports that it lives.
        let victim = world.guests[&3].incarnation;
        world.remember_death(1, 3, victim);
        for host in 1..=3 {
            world.kill_appliance(host);
        }
        world.run_ms(4_500);
        let row = *world.hosts[&1].view().unwrap().node(NodeId::new(3));
        assert!(row.state != NodeState::Up || row.incarnation != victim, "seed {seed}\n{}", world.story());
        back(&mut world);
        assert_ne!(world.guests[&3].incarnation, victim, "seed {seed}: it was ended before anything went on");
        assert!(world.truth.orders.is_empty(), "its own host could do that");
    }
}

#[test]
fn b5_a_minority_that_was_alive_elsewhere_finds_that_its_cluster_incarnation_is_over() {
    for seed in 0..10 {
        let mut world = up(3, seed);
        let old = world.leader().unwrap();
        world.bmcs.insert(old, Bmc::Dead);
        let others: Vec<u8> = (1..=3).filter(|&host| host != old).collect();
        world.each_path(|(from, to, _), path| path.cut = (from == old) != (to == old));
        for &host in &others {
            world.kill_appliance(host);
        }
        world.run_ms(4_000);
        let led = world.run_until_true(4_000, |w| others.iter().any(|host| w.hosts[host].leads()));
        assert!(led, "seed {seed}\n{}", world.story());
        world.each_path(|_, path| path.cut = false);
        world.run_ms(3_000);
        let view = world.hosts[&old].view().unwrap();
        assert!(view.version == 0 || view.cluster.number >= 2, "seed {seed}\n{}", world.story());
        world.bmcs.insert(old, Bmc::Works(5_000));
        back(&mut world);
        let numbers: Vec<u32> = (1..=3).map(|host| world.hosts[&host].view().unwrap().cluster.number).collect();
        assert!(numbers.iter().all(|&number| number == 2), "seed {seed}: {numbers:?}");
    }
}

#[test]
fn b5_an_old_cluster_incarnation_is_over_although_the_new_one_knew_of_no_number() {
    for seed in 0..10 {
        let mut world = up(3, seed);
        // Twice cold: the number is 3 by now.
        for _ in 0..2 {
            for host in 1..=3 {
                world.kill_appliance(host);
            }
            world.run_ms(8_000);
            back(&mut world);
        }
        assert_eq!(cluster_of(&world), 3);
        world.each_path(|(from, to, _), path| path.cut = (from == 3) != (to == 3));
        world.bmcs.insert(3, Bmc::Dead);
        for host in [1, 2] {
            world.power_off(host);
        }
        world.run_ms(500);
        for host in [1, 2] {
            world.power_on(host);
        }
        world.run_ms(8_000);
        assert_eq!(cluster_of(&world), 1, "nobody there remembers anything\n{}", world.story());
        world.each_path(|_, path| path.cut = false);
        world.run_ms(10_000);
        world.bmcs.insert(3, Bmc::Works(5_000));
        back(&mut world);
        assert_eq!(cluster_of(&world), 4, "seed {seed}: above what the third remembered\n{}", world.story());
    }
}

#[test]
fn b6_hosts_that_are_only_booting_are_waited_for() {
    let mut world = up(7, 1);
    for host in 1..=7 {
        world.power_off(host);
    }
    for host in 1..=4 {
        world.power_on(host);
    }
    world.run_ms(20_000);
    for host in 5..=7 {
        world.power_on(host);
    }
    back(&mut world);
    assert!(world.truth.orders.is_empty(), "{:?}\n{}", world.truth.orders, world.story());
}

#[test]
fn b6_hosts_that_never_come_are_read_as_off_and_turned_on() {
    let mut world = up(7, 2);
    for host in 1..=7 {
        world.power_off(host);
    }
    for host in 1..=4 {
        world.power_on(host);
    }
    back(&mut world);
    for host in 5..=7 {
        let of =
            |wanted| world.truth.orders.iter().filter(|(_, _, target, it)| *target == host && *it == wanted).count();
        assert_eq!((of(Action::Off), of(Action::On)), (1, 1), "host {host}\n{}", world.story());
    }
}

/// While whoever was not heard is fenced, nodes come up and live; only what would let them touch a dead one's locks waits.
#[test]
fn b6_nodes_come_up_while_start_up_fencing_finds_no_end() {
    let mut world = World::new(config::cluster(3), 9);
    world.bmcs.insert(3, Bmc::Dead);
    world.wants(1, 1, true);
    world.power_on(1);
    world.power_on(2);
    let up = |w: &World, node: u8| {
        let row = w.truth.newest().map(|view| *view.node(palisade_core::id::NodeId::new(node)));
        row.is_some_and(|row| row.incarnation != 0 && row.incarnation == w.guests[&node].incarnation)
    };
    assert!(world.run_until_true(60_000, |w| up(w, 1) && up(w, 2)), "{}", world.story());
    world.run_ms(20_000);
    assert!(up(&world, 1) && up(&world, 2), "they live\n{}", world.story());
    assert!(world.guests[&1].dlm.running(1).is_none(), "host 3 may still write\n{}", world.story());
    world.bmcs.insert(3, Bmc::Works(5_000));
    let starts = |w: &World| w.guests[&1].dlm.running(1).is_some();
    assert!(world.run_until_true(30_000, starts), "{}", world.story());
}

#[test]
fn b7_a_dead_host_with_a_dead_bmc_holds_up_no_leases_and_is_settled_when_it_returns() {
    let mut world = up(3, 3);
    world.bmcs.insert(3, Bmc::Dead);
    world.power_off(3);
    world.run_ms(3_000);
    let before = [world.guests[&1].incarnation, world.guests[&2].incarnation];
    world.kill_appliance(1);
    world.kill_appliance(2);
    world.run_ms(45_000);
    assert!(world.truth.downs.is_empty(), "no proof, no NODE_DOWN\n{}", world.story());
    assert!(world.truth.resets.is_empty(), "{}", world.story());
    world.power_on(3);
    back(&mut world);
    assert_eq!([world.guests[&1].incarnation, world.guests[&2].incarnation], before);
    let told = world.truth.downs.iter().filter(|(_, _, node, _)| *node == 3).count();
    assert!(told >= 2, "both are told of what node 3 was before\n{}", world.story());
}

#[test]
fn a_node_that_dies_while_reports_are_collected_is_told_down_once_all_is_settled() {
    for seed in 0..10 {
        let mut world = up(3, seed);
        for host in 1..=3 {
            world.kill_appliance(host);
        }
        world.run_ms(400 + seed * 30);
        let old = world.guests[&2].incarnation;
        world.hit(2, Mood::Gone);
        let told = |w: &World| w.truth.downs.iter().filter(|(.., incarnation)| *incarnation == old).count() >= 2;
        assert!(world.run_until_true(20_000, told), "seed {seed}\n{}", world.story());
        back(&mut world);
    }
}

#[test]
fn an_appliance_that_never_heard_of_its_admission_votes_when_its_leader_dies() {
    for seed in 0..20 {
        let mut world = up(3, seed);
        let leader = world.leader().unwrap();
        let empty = (1..=3).find(|&host| host != leader).unwrap();
        world.kill_appliance(empty);
        while !world.names(leader, empty) {
            world.run_until(world.now + 20);
        }
        // It has accepted its own admission, and hears no more of its leader; the third does.
        world.lose_datagrams_to(empty);
        world.power_off(leader);
        let led = world.run_until_true(2_500, |w| w.leader().is_some_and(|now| now != leader));
        assert!(led, "seed {seed}\n{}", world.story());
        assert_eq!(cluster_of(&world), 1, "seed {seed}\n{}", world.story());
        back(&mut world);
    }
}

/// Most appliances restart, again and again, while the network is cut here and there, guests die, and now and then a host
/// loses its power: whatever happens, all is up in the end.
fn restarts_without_end(hosts: u8, seed: u64) {
    let mut world = up(hosts, seed);
    for _ in 0..6 {
        let one = 1 + u8::try_from(world.random() % u64::from(hosts)).unwrap();
        match world.random() % 6 {
            0 => world.each_path(|(from, to, _), path| path.cut = (from == one) != (to == one)),
            1 => world.each_path(|(from, _, _), path| path.cut = from == one),
            2 => world.hit(one, Mood::Gone),
            3 => {
                world.power_off(one);
                world.run_ms(300);
                world.power_on(one);
            }
            4 => world.power_off(one),
            _ => {}
        }
        for host in 1..=hosts {
            if !world.random().is_multiple_of(3) {
                world.kill_appliance(host);
                let pause = world.random() % 400;
                world.run_ms(pause);
            }
        }
        let pause = world.random() % 9_000;
        world.run_ms(pause);
        if world.random().is_multiple_of(2) {
            world.each_path(|_, path| path.cut = false);
        }
    }
    world.each_path(|_, path| path.cut = false);
    if !world.run_until_true(90_000, World::all_up) {
        // Whoever died with no member on it is never fenced (SAFETY D5): a person turns it on.
        world.power_all();
    }
    let peace = world.run_until_true(120_000, World::all_up);
    assert!(peace, "{hosts} hosts, seed {seed}: not all up in the end\n{}", world.story());
}

fn seeds(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn restarts_without_end_and_then_peace() {
    let (from, count) = (seeds("COLD_FROM", 1), seeds("COLD_SEEDS", 25));
    for seed in from..from + count {
        let hosts = [2, 3, 3, 5, 4][usize::try_from(seed % 5).unwrap()];
        let hosts = if hosts == 4 { 3 } else { hosts };
        let run = std::panic::catch_unwind(|| restarts_without_end(hosts, seed));
        if let Err(panic) = run {
            eprintln!(
                "replay: COLD_FROM={seed} COLD_SEEDS=1 COLD_TRACE=1 cargo test -p palisade-tests --test core_cold restarts"
            );
            std::panic::resume_unwind(panic);
        }
    }
}
