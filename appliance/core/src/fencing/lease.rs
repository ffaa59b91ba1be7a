//! The class `lease-expired`: what the end of a guard's lease proves, and when.
//!
//! Owns the time that has to pass, and who must not be judged by it. The guard kills its VMs when its lease, by the host's own
//! clock, runs out; nothing that stands still with a VM takes part (SAFETY C4). From the later of our election and our last
//! answer to that appliance it takes at most: P, in which an older answer could still renew; a guard lease from the stamp
//! that such an answer carried; another, since the leader before us may have answered as late as we were elected; the age of a
//! stamp; and the kill itself. A run that was paused or migrates may be continued elsewhere: its silence proves nothing (H4).

use crate::config::Config;
use crate::decide::Facts;
use crate::id::HostId;
use crate::limits::{DRIFT_PER_MILLE, GUARD_KILL_MS};
use crate::state::State;
use crate::time::Duration;

/// How long after the last renewal that could have reached it a guard has killed all its VMs, on a clock that may run fast.
#[must_use]
pub fn expires_after(config: &Config) -> Duration {
    let t = &config.timing;
    let sum = u64::from(t.promise_ms) + 2 * u64::from(t.guard_lease_ms) + u64::from(t.stamp_gap_max_ms);
    let sum = sum + u64::from(GUARD_KILL_MS);
    // Two clocks drift apart, one fast and one slow; one part more than that.
    Duration::from_millis(sum + sum * 3 * DRIFT_PER_MILLE / 1000 + 1)
}

/// Whether everything that ran on this condemned host was ended by its guard.
#[must_use]
pub fn is_expired(facts: &Facts<'_>, view: &State, host: HostId) -> bool {
    let trusted = facts.config.host(host).is_some_and(|entry| entry.trust_lease);
    // A boot is told by a guard only.
    if !trusted || view.host(host).boot == 0 {
        return false;
    }
    let last = facts.watch.seen(host).answered.max(facts.since);
    let mut nodes = view.nodes().filter(|(_, row)| row.host == host && row.may_write());
    let paused = nodes.any(|(node, row)| view.holds.pause(node, row.incarnation, row.run).is_some());
    !paused && facts.now >= last + expires_after(facts.config)
}
