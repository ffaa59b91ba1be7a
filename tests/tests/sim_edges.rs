//! Every timeout at its edge: what happens one tick before it fires, at that very instant, and one tick after.
//!
//! A tick is a microsecond, the unit of every clock. Whatever side of an edge something falls on, no invariant breaks, and
//! all is up in the end. The checkers of the simulator say the first, `peace` the second.

use palisade_core::config::Timing;
use palisade_tests::sim::story::{at_the_edge, shape_of};
use palisade_tests::sim::{Bmc, Micros, Mood, Stop, Trace, World, config};

const EDGES: [i64; 3] = [-1, 0, 1];

fn up(hosts: u8, seed: u64) -> World {
    let mut world = World::new(config::cluster(hosts), seed);
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "seed {seed}: not all up\n{}", world.story());
    world.run_ms(1_000);
    world
}

fn peace(world: &mut World, what: &str) {
    world.each_path(|_, path| path.cut = false);
    for host in 1..=3 {
        world.bmcs.insert(host, Bmc::Works(5_000));
    }
    let peace = world.run_until_true(90_000, World::at_peace);
    assert!(peace, "{what}: {}\n{}", world.unrest(), world.story());
}

fn pass(world: &mut World, span: Micros) {
    world.run_until(world.now + span);
}

/// A time of the configuration, and what is done for exactly so long.
type Edge = (&'static str, fn(&Timing) -> u32, fn(&mut World, u8, Micros));

fn frozen(world: &mut World, host: u8, span: Micros) {
    world.freeze(host, true);
    pass(world, span);
    world.freeze(host, false);
}

fn stopped(world: &mut World, host: u8, span: Micros, how: Stop) {
    world.stop_appliance(host, how);
    pass(world, span);
    world.resume_appliance(host);
}

fn isolated(world: &mut World, host: u8, span: Micros) {
    world.bmcs.insert(host, Bmc::Dead);
    world.cut(host, true, true, true);
    pass(world, span);
    world.cut(host, true, true, false);
}

fn slow(world: &mut World, _: u8, span: Micros) {
    world.each_path(|_, path| path.delay = span);
    pass(world, 1_500_000);
    world.each_path(|_, path| path.delay = 50);
}

fn hung(world: &mut World, host: u8, span: Micros) {
    world.hit(host, Mood::Paused);
    pass(world, span);
    world.cont(host);
}

fn leader_slow_to_vote(world: &mut World, _: u8, span: Micros) {
    let leader = world.leader().unwrap_or(1);
    world.kill_appliance(leader);
    pass(world, 900_000);
    slow(world, 0, span / 2);
}

fn device(world: &mut World, host: u8, span: Micros) {
    world.bmcs.insert(host, Bmc::Works(span));
    world.power_off(host);
    pass(world, 8_000_000);
}

fn stalls_twice(world: &mut World, host: u8, span: Micros) {
    frozen(world, host, 450_000);
    pass(world, span - 450_000);
    frozen(world, host, 450_000);
}

const ALL: &[Edge] = &[
    ("heartbeat_ms, on the way", |t| t.heartbeat_ms, slow),
    ("host_dead_ms, a host that stands", |t| t.host_dead_ms, frozen),
    ("host_dead_ms, less a heartbeat", |t| t.host_dead_ms - t.heartbeat_ms, frozen),
    ("promise_ms, cut off", |t| t.promise_ms, isolated),
    ("promise_ms, an appliance that is not scheduled", |t| t.promise_ms, |w, h, s| stopped(w, h, s, Stop::Loop)),
    ("promise_ms, an appliance that is paused", |t| t.promise_ms, |w, h, s| stopped(w, h, s, Stop::Clock)),
    ("election_max_ms, votes on the way", |t| t.election_max_ms, leader_slow_to_vote),
    ("beat_ms, a guest that stands", |t| t.beat_ms, hung),
    ("node_dead_ms, a guest that stands", |t| t.node_dead_ms, hung),
    ("node_lease_ms, cut off", |t| t.node_lease_ms, isolated),
    ("node_lease_ms, an appliance that is paused", |t| t.node_lease_ms, |w, h, s| stopped(w, h, s, Stop::Clock)),
    ("guard_lease_ms, cut off", |t| t.guard_lease_ms, isolated),
    (
        "guard_lease_ms, an appliance that is not scheduled",
        |t| t.guard_lease_ms,
        |w, h, s| stopped(w, h, s, Stop::Loop),
    ),
    ("restart_ms, a guard that is killed", |t| t.restart_ms, |w, h, s| w.kill_guard(h, s)),
    (
        "cold_ms, all apart",
        |t| t.cold_ms,
        |w, _, s| {
            w.each_path(|_, path| path.cut = true);
            pass(w, s);
            w.each_path(|_, path| path.cut = false);
        },
    ),
    ("stamp_ms, an appliance that is paused", |t| t.stamp_ms, |w, h, s| stopped(w, h, s, Stop::Clock)),
    ("stamp_gap_max_ms, an appliance that is paused", |t| t.stamp_gap_max_ms, |w, h, s| stopped(w, h, s, Stop::Clock)),
    ("stamp_gap_max_ms, a clock that jumps", |t| t.stamp_gap_max_ms, |w, h, s| w.jump(h, s)),
    ("order_ms, a device that takes as long", |t| t.order_ms, device),
    ("a device's timeout", |_| 3_000, device),
    ("distrust_ms, between two stalls", |_| palisade_core::limits::DISTRUST_MS, stalls_twice),
];

#[test]
fn each_time_at_its_edge_to_a_member_and_to_the_leader() {
    for (what, time, happens) in ALL {
        for edge in EDGES {
            for leads in [false, true] {
                let mut world = up(3, 7);
                let leader = world.leader().unwrap_or(1);
                let host = if leads { leader } else { leader % 3 + 1 };
                let span = u64::from(time(&world.config().timing)) * 1000;
                happens(&mut world, host, span.saturating_add_signed(edge));
                peace(&mut world, &format!("{what}, {edge:+} us, leads: {leads}"));
            }
        }
    }
}

#[test]
fn whatever_comes_close_to_a_timer_comes_at_its_edge() {
    for seed in 0..36 {
        let snap = EDGES[usize::try_from(seed).unwrap_or(0) % EDGES.len()];
        let _report = at_the_edge(shape_of(seed, None, None), seed, Some(snap), Trace::Kept);
    }
}

/// A cut between the DLMs of two nodes for exactly so long, in a world in which a pipe needs the same time for each word.
#[test]
fn a_cut_between_dlms_one_tick_before_at_and_after_its_time() {
    for edge in EDGES {
        for leads in [false, true] {
            let mut world = World::new(config::cluster(3), 7);
            (1..=3).for_each(|node| world.wants(node, 1, true));
            world.hosts.values_mut().for_each(|host| host.pipe_delay = 1);
            world.power_all();
            assert!(world.run_until_true(20_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
            world.run_ms(1_000);
            let leader = world.leader().unwrap_or(1);
            let node = if leads { leader } else { leader % 3 + 1 };
            let others: Vec<u8> = (1..=3).filter(|&other| other != node).collect();
            let since = world.now;
            world.part_wires(&[node], &others, true);
            let span = u64::from(world.config().timing.dlm_cut_ms) * 1000;
            pass(&mut world, span.saturating_add_signed(edge));
            world.mend_wires();
            world.run_ms(4_000);
            let gone: Vec<u8> =
                world.truth.confirmed.iter().filter(|(_, at)| **at >= since).map(|((node, _), _)| *node).collect();
            match edge {
                -1 => assert!(gone.is_empty(), "a cut that was shorter\n{}", world.story()),
                1 => assert_eq!(gone, [node], "a cut that was longer\n{}", world.story()),
                _ => assert!(gone.is_empty() || gone == [node], "{gone:?}\n{}", world.story()),
            }
            peace(&mut world, &format!("dlm_cut_ms, {edge:+} us, leads: {leads}"));
        }
    }
}
