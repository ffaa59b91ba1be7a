//! Every timeout at its edge: what happens one tick before it fires, at that very instant, and one tick after.
//!
//! A tick is a microsecond, the unit of every clock. Whatever side of an edge something falls on, no invariant breaks, and
//! all is up in the end. The checkers of the simulator say the first, `peace` the second.

use palisade_core::config::Timing;
use palisade_core::state::Stage;
use palisade_core::status::HostState;
use palisade_tests::sim::story::{at_the_edge, shape_of};
use palisade_tests::sim::{Bmc, Micros, Mood, Stop, Trace, World, config};

const EDGES: [i64; 3] = [-1, 0, 1];

fn up(hosts: u8, seed: u64) -> World {
    let services = "\"services\":[{\"name\":\"queue\"}],\"devices\"";
    let config = config::read(&config::json(hosts, hosts).replacen("\"devices\"", services, 1));
    let mut world = World::new(config, seed);
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "seed {seed}: not all up\n{}", world.story());
    world.run_ms(1_000);
    world
}

fn peace(world: &mut World, what: &str) {
    world.each_path(|_, path| path.cut = false);
    for host in world.hosts.keys().collect::<Vec<_>>() {
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

/// All have a volume open.
fn mounted(world: &mut World) {
    (1..=3).for_each(|node| world.wants(node, 1, true));
    assert!(world.run_until_true(30_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    world.run_ms(500);
}

fn stuck_in_a_barrier(world: &mut World, host: u8, span: Micros) {
    mounted(world);
    world.deafen(host, true);
    world.wants(host % 3 + 1, 1, false);
    pass(world, span);
    world.deafen(host, false);
}

fn all_slow(world: &mut World, slow: bool) {
    world.guests.values_mut().for_each(|guest| guest.dlm.slow = slow);
}

fn slow_to_recover(world: &mut World, host: u8, span: Micros) {
    mounted(world);
    all_slow(world, true);
    world.hit(host, Mood::Gone);
    pass(world, span);
    all_slow(world, false);
}

fn slow_to_take_over(world: &mut World, _: u8, span: Micros) {
    let owned = |world: &World| world.truth.owners.owner("queue");
    assert!(world.run_until_true(20_000, |world| owned(world).is_some()), "{}", world.story());
    world.run_ms(500);
    all_slow(world, true);
    world.hit(owned(world).unwrap_or(1), Mood::Gone);
    pass(world, span);
    all_slow(world, false);
}

fn silent_in_a_cold_start(world: &mut World, host: u8, span: Micros) {
    world.forget_all();
    world.hit(host, Mood::Paused);
    let collects = |world: &World| world.truth.newest().is_some_and(|view| view.stage == Stage::Collecting);
    assert!(world.run_until_true(20_000, collects), "{}", world.story());
    pass(world, span);
    world.cont(host);
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
    ("start_wait_ms, a guest that reports late", |t| t.start_wait_ms, silent_in_a_cold_start),
    ("barrier_ms, a member that does no step", |t| t.barrier_ms, stuck_in_a_barrier),
    ("recover_ms, owners that say nothing", |t| t.recover_ms, slow_to_recover),
    ("takeover_ms, an owner that says nothing", |t| t.takeover_ms, slow_to_take_over),
    ("distrust_ms, between two stalls", |_| palisade_core::limits::DISTRUST_MS, stalls_twice),
];

/// Times of the configuration that stand in no edge above, and why.
const OTHERS: &[(&str, &str)] = &[
    ("brake_ms", "has a test of its own"),
    ("dlm_cut_ms", "has a test of its own"),
    ("election_jitter_ms", "is drawn from, and so has every value"),
    ("admission_ms", "is only a bound that other times must keep to: nothing falls due by it"),
    ("drill_ms", "is a period: a read falls due, and nobody waits for it"),
    ("fence_at_once_max", "is no time"),
];

#[test]
fn every_time_of_the_configuration_has_an_edge_or_a_reason() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../appliance/core/src/config/mod.rs");
    let text = std::fs::read_to_string(file).expect("the configuration's source");
    let (_, rest) = text.split_once("pub struct Timing {").expect("the times");
    let (body, _) = rest.split_once("\n}").expect("their end");
    let fields = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
    let fields: Vec<&str> = fields.map(|(name, _)| name).collect();
    assert!(fields.len() > 20, "{fields:?}");
    for name in &fields {
        let edges = ALL.iter().filter(|(what, ..)| what.split([',', ' ']).next() == Some(*name)).count();
        let others = OTHERS.iter().filter(|(other, _)| other == name).count();
        assert!(edges > 0 && others == 0 || edges == 0 && others == 1, "{name}: {edges} edges, {others} reasons");
    }
    assert!(OTHERS.iter().all(|(name, _)| fields.contains(name)), "a reason for a time that is none");
}

/// Four hosts stand and nothing proves them off: three are accused, and the fourth goes on when the brake lets go.
#[test]
fn a_host_that_the_brake_spared_goes_on_one_tick_before_at_and_after_its_end() {
    for edge in EDGES {
        let mut world = up(9, 2);
        let leader = world.leader().unwrap_or(1);
        let victims: Vec<u8> = (1..=9).filter(|&host| host != leader).take(4).collect();
        for &host in &victims {
            world.bmcs.insert(host, Bmc::Dead);
            world.freeze(host, true);
        }
        let accused = |world: &World| -> Vec<u8> {
            let rows = world.truth.newest().map(|view| view.hosts().map(|(host, row)| (host.get(), row.state)));
            let rows = rows.into_iter().flatten().filter(|(_, state)| *state == HostState::Condemned);
            rows.map(|(host, _)| host).collect()
        };
        while accused(&world).len() < 3 {
            world.run_until(world.now + 20);
        }
        let spared: Vec<u8> = victims.iter().copied().filter(|host| !accused(&world).contains(host)).collect();
        let [spared] = spared[..] else { panic!("one is spared, not {spared:?}") };
        let span = u64::from(world.config().timing.brake_ms) * 1000;
        pass(&mut world, span.saturating_add_signed(edge));
        victims.iter().for_each(|&host| world.freeze(host, false));
        peace(&mut world, &format!("brake_ms, {edge:+} us, host {spared}"));
    }
}

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
