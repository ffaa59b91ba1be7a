//! One volume of this node: what is wanted of it, how far it is, and whether it may run with a set.
//!
//! Owns the judgement of a START (SAFETY G2). Must never guess a fate.

use palisade_core::id::{Incarnation, Label, NodeId, Volume};
use palisade_core::time::Instant;
use palisade_core::wire::node::{Fate, Group, StartNode};

use crate::event::Why;

/// What this node wants of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    In,
    Out,
    /// Out first: what was asked for is not taken back, since nobody knows how far it came.
    OutThenIn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Joining,
    Stopped,
    Running,
}

/// A volume that this node has, had or wants open.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) volume: Volume,
    pub(super) wish: Wish,
    pub(super) phase: Phase,
    /// The highest that a STOP named; kept when the volume is closed (SAFETY G5).
    pub(super) generation: u64,
    /// The generation of the last START that was done.
    pub(super) started: u64,
    /// What the last START that was done said: what the lockspace knows. Empty before the first.
    pub(super) known: Vec<StartNode>,
    /// The parts of the START that is coming in.
    pub(super) parts: Vec<Option<Vec<StartNode>>>,
    pub(super) ask_at: Instant,
}

/// What a complete START means for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Run,
    /// Nobody may run with it: it contradicts itself, or it does not name us and nothing of ours runs.
    Drop,
    Reset(Why),
}

impl Member {
    pub(super) const fn new(volume: Volume) -> Self {
        Self {
            volume,
            wish: Wish::Out,
            phase: Phase::Closed,
            generation: 0,
            started: 0,
            known: Vec::new(),
            parts: Vec::new(),
            ask_at: Instant::FAR,
        }
    }

    /// What is to be asked, and asked again.
    pub(super) fn question(&self) -> Option<Group> {
        match (self.phase, self.wish) {
            // A cold start may have forgotten a joiner that stopped: it asks until it is started.
            (Phase::Joining | Phase::Stopped, Wish::In) if self.known.is_empty() => {
                Some(Group::Join { cluster: Label::NONE, volume: self.volume })
            }
            (Phase::Closed, _) | (_, Wish::In) => None,
            (_, Wish::Out | Wish::OutThenIn) => Some(Group::Leave { volume: self.volume }),
        }
    }

    /// Keeps a part; all entries when none is missing. Another number of parts is another START of the same generation:
    /// none of what came before counts.
    pub(super) fn collect(&mut self, part: usize, parts: usize, entries: Vec<StartNode>) -> Option<Vec<StartNode>> {
        if self.parts.len() != parts {
            self.parts = vec![None; parts];
        }
        *self.parts.get_mut(part)? = Some(entries);
        if self.parts.iter().any(Option::is_none) {
            return None;
        }
        Some(std::mem::take(&mut self.parts).into_iter().flatten().flatten().collect())
    }

    /// Whether this node may run with these entries (SAFETY G2). Who was in the set that runs must be in the new one, or
    /// its fate must be told; nobody guesses that it left.
    pub(super) fn judge(&self, node: NodeId, incarnation: Incarnation, entries: &[StartNode]) -> Judgement {
        for (index, entry) in entries.iter().enumerate() {
            let contradicts = |other: &StartNode| {
                let same = (other.node, other.incarnation) == (entry.node, entry.incarnation);
                let both = other.node == entry.node && other.fate == Fate::Member && entry.fate == Fate::Member;
                same || both
            };
            if entries.iter().take(index).any(contradicts) {
                return Judgement::Drop;
            }
        }
        let is_named = |node, incarnation| entries.iter().any(|e| (e.node, e.incarnation) == (node, incarnation));
        let us = StartNode { node, incarnation, fate: Fate::Member };
        if !entries.contains(&us) {
            // The others run without us, while we may still use locks of the set before.
            let ran = !self.known.is_empty() && self.wish == Wish::In;
            return if ran { Judgement::Reset(Why::NotInSet) } else { Judgement::Drop };
        }
        let mut members = self.known.iter().filter(|entry| entry.fate == Fate::Member);
        if members.all(|entry| is_named(entry.node, entry.incarnation)) {
            Judgement::Run
        } else {
            Judgement::Reset(Why::FateMissing)
        }
    }
}
