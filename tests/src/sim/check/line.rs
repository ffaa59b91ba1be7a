//! S1: committed views form one line, and every member's views only move forward.
//!
//! Owns the line: (cluster number, version) and the digest of each state that anybody declared committed. As soon as a later
//! cluster incarnation has committed anything, an earlier one never decides anything again: a leader that stood still may learn
//! then of what a quorum had accepted before, and of nothing else. Where nobody is left who remembers the
//! earlier one, the later one may begin with the same number: the random part tells them apart, and whoever is met who does
//! remember raises it.

use crate::sim::{Host, Micros};
use palisade_core::id::Incarnation;
use palisade_core::state::{STATE_BYTES_MAX, State, digest};
use palisade_core::wire::node::Target;
use std::collections::{BTreeMap, BTreeSet};

/// Names a state: its version, which holds the number of the cluster incarnation, and that one's random part.
pub type Key = (u64, u32);

/// All committed states.
#[derive(Default)]
pub struct Line {
    /// Digest by version, which holds the cluster incarnation's number, and its random part.
    states: BTreeMap<Key, u64>,
    /// The random parts of the cluster incarnations, in the order in which they first committed, and their newest versions.
    begun: Vec<(u32, u64)>,
    /// Which versions a quorum had accepted when the newest of them began, and who did.
    chosen: BTreeSet<(u64, u8)>,
    /// What was declared last began the newest of them.
    fresh: bool,
    /// What each appliance's life declared last.
    last: BTreeMap<(u8, u32), Key>,
    newest: Option<Box<State>>,
    scratch: Option<Box<[u8; STATE_BYTES_MAX]>>,
}

impl Line {
    /// An appliance declares this committed. Whether it is the first. `chosen`: as `Quorum::chosen`.
    pub fn declared(
        &mut self,
        now: Micros,
        host: &Host,
        view: &State,
        chosen: impl FnOnce() -> BTreeSet<(u64, u8)>,
    ) -> bool {
        let key = (view.version, view.cluster.random);
        let before = self.last.insert((host.id, host.life), key);
        if before == Some(key) {
            return false;
        }
        assert!(before.is_none_or(|before| before < key), "S1: host {} went back to {key:?} at {now} us", host.id);
        let bytes = self.scratch.get_or_insert_with(|| Box::new([0; STATE_BYTES_MAX]));
        let length = view.encode(bytes);
        let sum = digest(&bytes[..length]);
        if let Some(known) = self.states.get(&key) {
            assert_eq!(*known, sum, "S1: host {} committed another state as {key:?} at {now} us", host.id);
            return false;
        }
        match self.begun.iter().position(|(random, _)| *random == key.1) {
            None => {
                self.begun.push((key.1, key.0));
                self.chosen = chosen();
                self.fresh = true;
            }
            Some(at) => {
                self.fresh = false;
                let newest = self.begun[at].1;
                assert!(newest < key.0, "S1: host {} committed {key:?} at {now} us, after {newest} was", host.id);
                let is_last = at + 1 == self.begun.len();
                let learns = self.chosen.contains(&(key.0, host.id));
                assert!(
                    is_last || learns,
                    "S1: host {} committed {key:?} at {now} us, after another one began",
                    host.id
                );
                self.begun[at].1 = key.0;
                if !is_last {
                    self.states.insert(key, sum);
                    return false;
                }
            }
        }
        self.states.insert(key, sum);
        true
    }

    /// How many cluster incarnations have committed anything.
    pub fn begun(&self) -> usize {
        self.begun.len()
    }

    /// Whether the newest cluster incarnation has just begun, with no higher number than an earlier one had: whoever began it
    /// knew nothing of that one.
    pub fn just_forgot(&self) -> bool {
        let number = |version: u64| palisade_core::id::Cluster::number_of(version);
        let earlier = |last: u64| self.begun.iter().rev().skip(1).any(|(_, it)| number(*it) >= number(last));
        self.fresh && self.begun.last().is_some_and(|(_, last)| earlier(*last))
    }

    /// Whether this version, or a later one, is committed.
    pub fn reaches(&self, version: u64) -> bool {
        self.states.keys().any(|(known, _)| *known >= version)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// The newest.
    pub fn newest(&self) -> Option<&State> {
        self.newest.as_deref()
    }

    /// This one is the newest from now on.
    pub fn set_newest(&mut self, view: &State) {
        match &mut self.newest {
            Some(newest) => newest.as_mut().clone_from(view),
            None => self.newest = Some(Box::new(view.clone())),
        }
    }

    /// S6: what an operator was promised is committed.
    pub fn promised(&self, now: Micros, target: Target, version: u64) {
        assert!(
            self.reaches(version),
            "S6: an operator was promised {target} in version {version} at {now} us, and it is not committed"
        );
    }
}

/// Zero means nobody.
pub const NOBODY: Incarnation = 0;
