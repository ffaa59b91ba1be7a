//! The bound of L1: how long after its death a node's NODE_DOWN may take, if a quorum is connected and a level works.
//!
//! Owns the sum, and why each part is in it. It is a bound for checkers and for people who choose times, not what is usual.

use super::choose::{longest_attempt, span};
use crate::config::{Config, Level, Levels};
use crate::id::HostId;
use crate::limits::{DISTRUST_MS, LOCAL_ATTEMPT_MS, RESEND_MS, RETRY_MAX_MS, VIEW_AGAIN_MS};
use crate::time::Duration;

/// Rounds through the local levels before a node's host is fenced, and rounds through the host's: one may have begun before
/// the level that works did, and the next one meets it.
const ROUNDS: u64 = 2;

/// How long it may take until NODE_DOWN is told. `silent`: so many hosts and nodes fell silent together; `changes`: so many
/// leaders and executors are lost meanwhile.
#[must_use]
pub fn node_down_bound(config: &Config, silent: u32, changes: u32) -> Duration {
    let t = &config.timing;
    let ms = |millis: u32| Duration::from_millis(u64::from(millis));
    // Found: by its own appliance, or by the leader, who may have stalled and forgiven once (SAFETY A8).
    let found = ms(t.host_dead_ms.max(t.node_dead_ms)).times(2) + ms(t.heartbeat_ms).times(2);
    // Proven: by its host's devices at the worst, after all that its own host could try.
    let local = (ms(LOCAL_ATTEMPT_MS) + ms(t.order_ms)).times(2) + ms(RETRY_MAX_MS);
    let host = config.hosts.iter().map(|host| round(config, &host.levels)).max().unwrap_or(Duration::ZERO);
    // A level of several devices is read only when no `on` of an earlier leader can act (SAFETY E6).
    let quiet = ms(t.order_ms) + longest_attempt(config);
    let proven = local.times(ROUNDS) + host.times(ROUNDS) + quiet;
    // Three commits (suspicion, condemnation of its host, proof), each with its loss, and the word that a full pipe lost.
    let commits = ms(RESEND_MS).times(3 * 4) + ms(VIEW_AGAIN_MS);
    // A leader or executor that is lost: its silence, an election, and the next one finds and orders anew.
    let change = ms(t.promise_ms) + ms(t.election_jitter_ms) + ms(t.election_max_ms).times(2) + found + quiet;
    // The brake: the batches before it, or all after `brake_ms` (SAFETY H1); a stall makes it wait anew.
    let batches = silent.saturating_sub(1) / t.fence_at_once_max.max(1);
    let released = ms(t.brake_ms) + ms(t.promise_ms) + ms(DISTRUST_MS);
    let braked = (proven + commits).times(u64::from(batches)).min(released.times(u64::from(batches.min(1))));
    found + braked + proven + commits + change.times(u64::from(changes))
}

/// How long the devices of a host may take to switch it off, or to fail to: once through all of its levels.
#[must_use]
pub fn worst_device_time(config: &Config, host: HostId) -> Duration {
    let levels = config.host(host).map(|host| host.levels.iter()).into_iter().flatten();
    levels.map(|level| level_span(config, level)).fold(Duration::ZERO, core::ops::Add::add)
}

/// One way through all levels, and the pause behind it.
fn round(config: &Config, levels: &Levels) -> Duration {
    let spans = levels.iter().map(|level| level_span(config, level));
    spans.fold(Duration::from_millis(u64::from(RETRY_MAX_MS)), core::ops::Add::add)
}

/// Every device of a level acts, as often as it may, and is read again.
fn level_span(config: &Config, level: &Level) -> Duration {
    let order = Duration::from_millis(u64::from(config.timing.order_ms));
    let devices = level.iter().filter_map(|name| config.device(name)).map(|(_, device)| {
        let reads = u64::from(level.len() > 1);
        (span(device) + order).times(1 + u64::from(device.retries) + reads)
    });
    devices.fold(Duration::ZERO, core::ops::Add::add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::tests::{SAMPLE, read};

    #[test]
    fn the_bound_grows_with_batches_up_to_the_brakes_release_and_with_changes() {
        let config = read(SAMPLE);
        let at = |silent, changes| node_down_bound(&config, silent, changes).as_millis();
        assert!(at(1, 0) > u64::from(config.timing.host_dead_ms) + 10_000, "one device's attempt is in it");
        assert_eq!(at(1, 0), at(3, 0), "three go at once");
        assert!(at(4, 0) > at(3, 0));
        assert_eq!(at(4, 0), at(255, 0), "the brake lets all go");
        assert!(at(1, 1) > at(1, 0));
    }
}
