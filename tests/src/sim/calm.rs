//! L3: stories in which nobody may be fenced and nobody may reset himself.
//!
//! Owns what the limits tolerate: 30 % loss on one of two links, one link dead, clocks that drift by 1e-3, appliances that
//! stall for up to 80 % of `host_dead_ms`, the death of the leader's appliance, a rolling restart, and a cold start with all
//! sessions alive. Within these, a fence, a NODE_DOWN or a reset is a failure.

use super::config::Shape;
use super::{Stop, Trace, World};
use palisade_core::state::Stage;

/// What goes on during a calm story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calm {
    /// 30 % of the datagrams of one link are lost, and some of the other's come late or twice.
    LossyLink,
    /// One link is dead, and the other one is slow.
    DeadLink,
    /// One appliance after another stalls; its clock goes on.
    Stalls,
    /// One appliance after another is paused; its clock stands.
    Pauses,
    /// The appliance of the leader dies, again and again.
    LeaderDies,
    /// One appliance after another is restarted.
    RollingRestart,
    /// All appliances restart at once, and nobody remembers anything but the nodes, which share volumes.
    ColdStart,
    /// One link loses, clocks drift apart, and appliances stall.
    AllAtOnce,
    /// DLMs are cut off from each other, each time for less than `dlm_cut_ms`; not everybody notices at once.
    DlmCuts,
}

/// All kinds.
pub const KINDS: [Calm; 9] = [
    Calm::LossyLink,
    Calm::DeadLink,
    Calm::Stalls,
    Calm::Pauses,
    Calm::LeaderDies,
    Calm::RollingRestart,
    Calm::ColdStart,
    Calm::AllAtOnce,
    Calm::DlmCuts,
];

/// Between two restarts: P, an admission, and what a session needs to come back.
const REST_MS: u64 = 2_500;

/// Runs a calm story. How long it was, in microseconds of true time.
///
/// # Panics
/// When anybody was fenced, called down or reset, or a checker found its invariant broken.
pub fn calm(shape: Shape, kind: Calm, seed: u64, trace: Trace) -> u64 {
    let mut world = World::traced(shape.config(), seed, trace);
    world.power_all();
    let up = world.run_until_true(15_000, World::all_up);
    assert!(up, "L3: seed {seed}, {kind:?}, {shape:?}: not all up: {}\n{}", world.unrest(), world.story());
    // Leases begin with the first answers after that.
    world.run_ms(1_000);
    for host in 1..=shape.hosts {
        world.drift(host, [-1000, 0, 1000][usize::from(host % 3)]);
    }
    lives(&mut world, shape, kind);
    world.each_path(|_, path| *path = super::network::QUIET);
    world.run_ms(8_000);
    let truth = &world.truth;
    assert!(
        truth.orders.is_empty() && truth.downs.is_empty() && truth.resets.is_empty(),
        "L3: seed {seed}, {kind:?}, {shape:?}: ordered {:?}, called down {:?}, reset {:?}\n{}",
        truth.orders,
        truth.downs,
        truth.resets,
        world.story()
    );
    let peace = world.at_peace();
    assert!(peace, "L3: seed {seed}, {kind:?}, {shape:?}: {}\n{}", world.unrest(), world.story());
    world.now
}

fn lives(world: &mut World, shape: Shape, kind: Calm) {
    let dead_ms = u64::from(world.config().timing.host_dead_ms);
    match kind {
        Calm::LossyLink => {
            lossy(world);
            world.run_ms(10_000);
        }
        Calm::DeadLink => {
            world.each_path(|(_, _, link), path| {
                path.cut = link == 0;
                path.spread = 20_000;
            });
            world.run_ms(10_000);
        }
        Calm::Stalls => stalls(world, shape, Stop::Loop, dead_ms * 8 / 10),
        Calm::Pauses => stalls(world, shape, Stop::Clock, dead_ms * 8 / 10),
        Calm::LeaderDies => {
            for _ in 0..3 {
                let leader = world.leader().unwrap_or(1);
                world.kill_appliance(leader);
                let back = world.run_until_true(5_000, World::all_admitted);
                assert!(back, "L3: {kind:?}: {}\n{}", world.unrest(), world.story());
                world.run_ms(REST_MS);
            }
        }
        Calm::RollingRestart => {
            for host in 1..=shape.hosts {
                world.kill_appliance(host);
                let back = world.run_until_true(5_000, World::all_admitted);
                assert!(back, "L3: {kind:?}: {}\n{}", world.unrest(), world.story());
                world.run_ms(REST_MS);
            }
        }
        Calm::ColdStart => cold_starts(world, shape),
        Calm::DlmCuts => dlm_cuts(world),
        Calm::AllAtOnce => {
            lossy(world);
            stalls(world, shape, Stop::Loop, dead_ms / 2);
        }
    }
}

/// All appliances restart at once, twice: the volumes are shared by the same nodes before and after.
fn cold_starts(world: &mut World, shape: Shape) {
    let nodes: Vec<u8> = world.guests.keys().collect();
    for &node in &nodes {
        world.wants(node, 1, true);
        if node % 2 == 0 {
            world.wants(node, 2, true);
        }
    }
    let peace = world.run_until_true(30_000, World::at_peace);
    assert!(peace, "L3: volumes are not open: {}\n{}", world.unrest(), world.story());
    let number = |world: &World| world.truth.newest().map_or(0, |view| view.cluster.number);
    for _ in 0..2 {
        let (before, starts) = (number(world), world.disk.starts);
        for host in 1..=shape.hosts {
            world.kill_appliance(host);
            let apart = world.random() % 20_000;
            world.run_until(world.now + apart);
        }
        let settled = |world: &World| {
            world.truth.newest().is_some_and(|view| view.stage == Stage::Settled && view.cluster.number > before)
        };
        let anew = world.run_until_true(8_000, |world| settled(world) && world.at_peace());
        assert!(anew, "L3: {} of {before}: {}\n{}", number(world), world.unrest(), world.story());
        world.run_ms(500);
        assert!(world.disk.starts > starts, "L3: no volume went through a barrier\n{}", world.story());
        world.run_ms(REST_MS);
    }
}

/// Every node has a volume open with all others, and now one of them does not reach some, now all are apart.
fn dlm_cuts(world: &mut World) {
    lossy(world);
    let nodes: Vec<u8> = world.guests.values().map(|guest| guest.node).collect();
    for &node in &nodes {
        world.wants(node, 1, true);
        let slow = (world.random() % 1_000_000, world.random() % 1_000_000);
        let peers = &mut world.guests.get_mut(&node).expect("a configured node").dlm.peers;
        (peers.slow, peers.slow_back) = slow;
    }
    world.run_ms(3_000);
    let cut_ms = u64::from(world.config().timing.dlm_cut_ms);
    for _ in 0..3 {
        let (one, other): (Vec<u8>, Vec<u8>) = match world.random() % 4 {
            0 => (nodes.clone(), nodes.clone()),
            by => nodes.iter().partition(|&&node| u64::from(node) % (by + 1) == 0),
        };
        world.part_wires(&one, &other, true);
        // Less than the time, though the start was noticed a second sooner than the end.
        let span = cut_ms - 1_200 - world.random() % 4_000;
        world.run_ms(span);
        world.mend_wires();
        let pause = 1_100 + world.random() % 1_000;
        world.run_ms(pause);
    }
}

fn lossy(world: &mut World) {
    world.each_path(|(_, _, link), path| {
        if link == 0 {
            path.loss = 300;
        }
        (path.duplicate, path.late, path.late_by, path.corrupt) = (20, 20, 3_000_000, if link == 0 { 20 } else { 0 });
        path.spread = 5_000;
    });
}

/// One appliance after another stands, each several times, for up to so long.
fn stalls(world: &mut World, shape: Shape, how: Stop, most_ms: u64) {
    for _ in 0..4 {
        let host = u8::try_from(world.random() % u64::from(shape.hosts)).expect("few hosts") + 1;
        for _ in 0..1 + world.random() % 3 {
            let span = most_ms * 1000 * (1 + world.random() % 4) / 4;
            world.stop_appliance(host, how);
            world.run_until(world.now + span);
            world.resume_appliance(host);
            let pause = 200 + world.random() % 1_000;
            world.run_ms(pause);
        }
    }
}
