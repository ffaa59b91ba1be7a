//! L1, measured: the time from a death to the NODE_DOWN on every survivor, in simulated time.
//!
//! Owns the measurement, for clusters of any size: VMs that exit, kernels that panic, hosts that lose their power, and among
//! these the leader's. Nothing else goes wrong meanwhile, so each has its bound (DESIGN §8).

use super::check::Death;
use super::config::Shape;
use super::{Bmc, Micros, Mood, Trace, World};

/// Ways to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The VM's process ends.
    Exit,
    /// The guest's kernel panics.
    Panic,
    /// The host loses its power; its BMC answers in 100 ms.
    Power,
    /// The same happens to the leader's host.
    Leader,
}

/// All ways.
pub const WAYS: [Way; 4] = [Way::Exit, Way::Panic, Way::Power, Way::Leader];

/// How long a BMC takes here.
const BMC: Micros = 100_000;

/// How long each survivor waited for each of so many deaths, sorted, microseconds.
///
/// # Panics
/// When somebody is not told within ten seconds.
#[must_use]
pub fn measure(hosts: u8, way: Way, deaths: usize, seed: u64) -> Vec<Micros> {
    let votes = if hosts.is_multiple_of(2) { hosts - 1 } else { hosts };
    let mut world = World::traced(Shape { votes, ..Shape::of(hosts) }.config(), seed, Trace::Off);
    world.power_all();
    assert!(world.run_until_true(60_000, World::all_up), "{hosts} hosts are not all up: {}", world.unrest());
    for host in 1..=hosts {
        world.bmcs.insert(host, Bmc::Works(BMC));
    }
    let mut waited = Vec::new();
    for round in 0..deaths {
        let jitter = 500 + world.random() % 500;
        world.run_ms(jitter);
        let leader = world.leader().expect("somebody leads");
        let member = (1..=hosts).filter(|&host| host != leader).nth(round % usize::from(hosts - 1)).expect("another");
        let node = if way == Way::Leader { leader } else { member };
        let death = Death { at: world.now, node, incarnation: world.guests[&node].incarnation };
        match way {
            Way::Exit => world.hit(node, Mood::Gone),
            Way::Panic => world.hit(node, Mood::Panicked),
            Way::Power | Way::Leader => world.power_off(node),
        }
        let all = |w: &World| w.truth.told_after(death).len() == usize::from(hosts) - 1;
        assert!(world.run_until_true(10_000, all), "{hosts} hosts, {way:?}: not all were told of node {node}");
        waited.extend(world.truth.told_after(death));
        // Who dies so often is held off for a while each time (SAFETY H2).
        assert!(world.run_until_true(300_000, World::all_up), "{hosts} hosts: not all up again: {}", world.unrest());
    }
    waited.sort_unstable();
    waited
}

/// The value below which so many of a hundred lie.
#[must_use]
pub fn percentile(sorted: &[Micros], percent: usize) -> Micros {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or(0)
}
