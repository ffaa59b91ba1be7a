//! The truth about the node that real cores fence: what no appliance can see.
//!
//! Owns which incarnation of it can write, which were ever condemned by a committed view, and what was told of it; the
//! invariants of fencing are held against that. Must never ask a core what it believes: it sees committed views and words.

use palisade_core::id::{Incarnation, NodeId};
use palisade_core::state::State;
use palisade_core::wire::node::{NodeEvent, NodeState};
use std::collections::BTreeSet;

/// The node, and what became known of it.
pub struct Outside {
    /// Which node.
    pub node: NodeId,
    /// The incarnation that can write; zero: none.
    pub writes: Incarnation,
    condemned: BTreeSet<Incarnation>,
    /// Versions that were committed, and which incarnation they say may write.
    alive: BTreeSet<(u64, Incarnation)>,
    /// What sessions were told: since which version, and of which incarnation.
    told: BTreeSet<(u64, Incarnation)>,
}

impl Outside {
    /// Nothing runs yet.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        Self { node, writes: 0, condemned: BTreeSet::new(), alive: BTreeSet::new(), told: BTreeSet::new() }
    }

    /// An engine holds this committed.
    pub fn committed(&mut self, view: &State) {
        let row = view.node(self.node);
        if matches!(row.state, NodeState::Condemned | NodeState::Down) {
            self.condemned.insert(row.incarnation);
        }
        if row.may_write() && self.alive.insert((view.version, row.incarnation)) {
            self.hold_against_told();
        }
    }

    /// A node of this host is told of a death.
    ///
    /// # Panics
    /// S2: it is not true; or it was lost already.
    pub fn told(&mut self, host: u8, event: &NodeEvent) {
        if event.node != self.node {
            return;
        }
        let incarnation = event.incarnation;
        assert!(self.writes != incarnation, "S2: host {host} tells that {incarnation} is down, which can write");
        self.told.insert((event.version, incarnation));
        self.hold_against_told();
    }

    /// What was told stays true in every committed view of that version or a later one.
    fn hold_against_told(&self) {
        for &(since, incarnation) in &self.told {
            let lost = self.alive.iter().find(|(version, may)| *version >= since && *may == incarnation);
            assert!(lost.is_none(), "lost: {incarnation} was told down in version {since}, and not so in {lost:?}");
        }
    }

    /// The device switches the node's host off: it cannot tell which incarnation runs there.
    ///
    /// # Panics
    /// S4: no committed view condemned that one.
    pub fn hit(&mut self, executor: u8) {
        let just = self.writes == 0 || self.condemned.contains(&self.writes);
        assert!(just, "S4: host {executor} has {} switched off, whom no committed view condemned", self.writes);
        self.writes = 0;
    }
}
