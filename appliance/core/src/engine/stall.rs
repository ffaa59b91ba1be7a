//! Our own stalls: a clock that went back, a loop that stood, and whom we then believe less (SAFETY A8).
//!
//! Owns what is dropped when we were deaf. Whoever counts somebody's silence forgives here, so that a stall of ours is
//! nobody's death.

use super::Engine;
use crate::limits::STALL_HEARTBEATS;
use crate::status::Counter;
use crate::time::{Duration, Instant};

impl Engine {
    /// A clock that went back stands still until it has caught up: whatever counts on time waits, and nothing is sooner over.
    /// By how much it went back we were blind, so it is a stall too.
    pub(super) fn steady(&mut self, now: Instant) -> Instant {
        let back = self.newest.since(now);
        self.newest = self.newest.max(now);
        if back >= Self::span(self.timing.heartbeat_ms) && !core::mem::replace(&mut self.went_back, true) {
            self.count(Counter::Stalls);
            log::warn!("own clock went back by {} ms", back.as_millis());
            self.distrust(self.newest);
        }
        self.went_back &= back != Duration::ZERO;
        self.newest
    }

    /// A stall of our own makes us distrust our accusations, once; a second one soon after makes a leader step down
    /// (SAFETY A8).
    pub(super) fn notice_stall(&mut self, now: Instant) {
        if now.since(self.deadline) < Self::span(self.timing.heartbeat_ms).times(u64::from(STALL_HEARTBEATS)) {
            return;
        }
        self.count(Counter::Stalls);
        log::warn!("own loop stalled for {} ms", now.since(self.deadline).as_millis());
        self.deadline = now;
        self.distrust(now);
    }

    /// Silence counts anew, once. A member that goes on stalling accuses all the same: it only takes in first what waited for
    /// it meanwhile; a leader leaves it to others.
    pub(super) fn distrust(&mut self, now: Instant) {
        let span = Duration::from_millis(u64::from(crate::limits::DISTRUST_MS));
        let again = self.stalled_at.is_some_and(|before| now.since(before) < span);
        self.stalled_at = Some(now);
        let beats = Self::span(self.timing.beat_ms).times(2);
        let dead = Self::span(self.timing.node_dead_ms);
        self.local.forgive(if again { now + beats - dead } else { now });
        self.watch.forgive(now);
        self.reports.forgive(now);
        self.takeovers.forgive(now);
        self.dlm.forgive(now);
        self.brake.restart();
        if again && self.proposer.leads() {
            self.step_down(now, "stalled twice");
            self.election.not_before = now + span;
        }
    }
}
