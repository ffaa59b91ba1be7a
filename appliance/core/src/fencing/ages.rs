//! Since when, by our own clock, what the view says has been so.
//!
//! Owns these instants. Every appliance keeps them, not the leader alone: so the next leader goes on counting where the last
//! one stopped, and what is counted survives a leader change although no clock crosses the wire.

use crate::id::{Incarnation, NodeId};
use crate::limits::{HOLDS_MAX, ID_SLOTS};
use crate::state::{Hold, State};
use crate::time::{Duration, Instant};
use crate::wire::node::NodeState;

/// The instants.
#[derive(Debug)]
pub struct Ages {
    /// Which incarnation of a node is up, and since when.
    up: [(Incarnation, Instant); ID_SLOTS],
    /// Since when a node is held off; the origin: it is not.
    held: [Instant; ID_SLOTS],
    /// Since when the hold of this request is granted.
    holds: [(u64, Instant); HOLDS_MAX],
}

impl Ages {
    /// Nothing was seen; all zero.
    pub const EMPTY: Self = Self {
        up: [(0, Instant::ZERO); ID_SLOTS],
        held: [Instant::ZERO; ID_SLOTS],
        holds: [(0, Instant::ZERO); HOLDS_MAX],
    };

    /// A view was committed.
    pub fn note(&mut self, now: Instant, view: &State) {
        for (node, row) in view.nodes() {
            let up = &mut self.up[node.index()];
            if row.state == NodeState::Up && up.0 != row.incarnation {
                *up = (row.incarnation, now);
            }
            let held = &mut self.held[node.index()];
            match (view.holds.is_held_off(node), *held == Instant::ZERO) {
                (true, true) => *held = now,
                (false, false) => *held = Instant::ZERO,
                _ => {}
            }
        }
        let mut holds = [(0, Instant::ZERO); HOLDS_MAX];
        for (place, hold) in holds.iter_mut().zip(view.holds.iter()) {
            *place = (hold.request, now - self.hold_for(now, hold));
        }
        self.holds = holds;
    }

    /// How long this incarnation has been up.
    #[must_use]
    pub fn up_for(&self, now: Instant, node: NodeId, incarnation: Incarnation) -> Duration {
        let (known, since) = self.up[node.index()];
        if known == incarnation { now.since(since) } else { Duration::ZERO }
    }

    /// How long a node has been held off.
    #[must_use]
    pub fn held_for(&self, now: Instant, node: NodeId) -> Duration {
        let since = self.held[node.index()];
        if since == Instant::ZERO { Duration::ZERO } else { now.since(since) }
    }

    /// How long a hold has been granted.
    #[must_use]
    pub fn hold_for(&self, now: Instant, hold: &Hold) -> Duration {
        let known = self.holds.iter().find(|(request, since)| *request == hold.request && *since != Instant::ZERO);
        known.map_or(Duration::ZERO, |(_, since)| now.since(*since))
    }
}
