//! The checkers: they know what is true in the world, and what was claimed in it.
//!
//! Each panics with a sentence as soon as its invariant breaks. They read the world's truth; of the cores they read only
//! what those declared committed.

use super::{Guest, Micros};
use palisade_core::fencing::Action;
use palisade_core::state::{STATE_BYTES_MAX, State, digest};
use palisade_core::status::{Role, Summary};
use palisade_core::wire::node::Message;
use std::collections::{BTreeMap, BTreeSet};

/// What is true, and what was claimed.
#[derive(Default)]
pub struct Truth {
    /// Incarnations of nodes that can write now.
    writers: BTreeMap<(u8, u64), ()>,
    /// Committed states by version, which holds the cluster incarnation's number, and its random part: digest.
    line: BTreeMap<(u64, u32), u64>,
    /// What each appliance's life committed last.
    last: BTreeMap<(u8, u32), (u64, u32)>,
    /// Appliances' lives that lead.
    leading: BTreeSet<(u8, u32)>,
    /// How often an appliance came to lead.
    pub elections: u64,
    /// Every NODE_DOWN that a node was told: when, by whom received, about whom, which incarnation.
    pub downs: Vec<(Micros, u8, u8, u64)>,
    /// Nodes that were reset, or killed by their guard's lease.
    pub resets: Vec<(Micros, u8)>,
    /// Orders that devices of hosts got: when, by which executor, about which host, what.
    pub orders: Vec<(Micros, u8, u8, Action)>,
    /// Appliances that are on the larger side of a cut, if there is one: only they may give orders (S4).
    pub quorum_side: Option<Vec<u8>>,
}

impl Truth {
    /// Takes in who can write.
    pub fn sync(&mut self, guests: &BTreeMap<u8, Guest>) {
        self.writers = guests
            .values()
            .filter(|guest| guest.can_write())
            .map(|guest| ((guest.node, guest.incarnation), ()))
            .collect();
    }

    /// S2: nobody is told that an incarnation is down while it can write.
    pub fn told(&mut self, now: Micros, who: u8, message: &Message) {
        let Message::NodeDown(event) = message else { return };
        let key = (event.node.get(), event.incarnation);
        assert!(
            !self.writers.contains_key(&key),
            "S2: node {who} was told at {now} us that node {} ({:x}) is down, and it can write",
            key.0,
            key.1
        );
        self.downs.push((now, who, key.0, key.1));
    }

    /// S1: committed views form one line, and every member's views only move forward.
    pub fn committed(&mut self, now: Micros, host: u8, life: u32, summary: &Summary, view: &State) {
        if summary.role != Role::Leader {
            self.leading.remove(&(host, life));
        } else if self.leading.insert((host, life)) {
            self.elections += 1;
        }
        if view.version == 0 {
            return;
        }
        let key = (summary.version, view.cluster.random);
        let before = self.last.insert((host, life), key);
        if before == Some(key) {
            return;
        }
        assert!(before.is_none_or(|before| before < key), "S1: host {host} went back to {key:?} at {now} us");
        let mut bytes = Box::new([0; STATE_BYTES_MAX]);
        let length = view.encode(&mut bytes);
        let sum = digest(&bytes[..length]);
        let known = *self.line.entry(key).or_insert(sum);
        assert_eq!(known, sum, "S1: host {host} committed another state as {key:?} at {now} us");
    }

    /// S4: a side without quorum orders nothing.
    pub fn ordered(&mut self, now: Micros, executor: u8, target: u8, action: Action) {
        if let Some(side) = &self.quorum_side {
            assert!(side.contains(&executor), "S4: host {executor} ordered {action:?} of {target} at {now} us");
        }
        self.orders.push((now, executor, target, action));
    }

    /// How many states were committed.
    #[must_use]
    pub fn views(&self) -> usize {
        self.line.len()
    }

    /// How many were told that this node is down, since a time.
    #[must_use]
    pub fn told_down(&self, node: u8, since: Micros) -> usize {
        self.downs.iter().filter(|(at, _, about, _)| *about == node && *at >= since).count()
    }
}
