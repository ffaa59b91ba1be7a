//! The shared disk's journals, as far as their replay matters.
//!
//! Owns which incarnations left which journals dirty. Must never decide who replays them.

use std::collections::{BTreeMap, BTreeSet};

/// The journals of all volumes: which incarnations left them dirty, by volume and node.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    journals: BTreeMap<(u8, u8), BTreeSet<u64>>,
    /// In which line of cluster incarnations an incarnation of a node opened its first journal (`Truth::root`).
    pub(super) lines: BTreeMap<u64, u32>,
    /// How often a member started.
    pub starts: u64,
}

impl Disk {
    pub(super) fn open(&mut self, volume: u8, node: u8, incarnation: u64) {
        self.journals.entry((volume, node)).or_default().insert(incarnation);
    }

    /// Somebody mounts what nobody has open: as OCFS2 does, it replays what it finds dirty itself. Only what was
    /// left before all memory was lost counts on that.
    pub(super) fn mount_first(&mut self, volume: u8, line: u32) {
        let (journals, lines) = (&mut self.journals, &self.lines);
        for (_, dirty) in journals.iter_mut().filter(|((of, _), _)| *of == volume) {
            dirty.retain(|incarnation| lines.get(incarnation) == Some(&line));
        }
    }

    pub(super) fn close(&mut self, volume: u8, node: u8, incarnation: u64) {
        if let Some(dirty) = self.journals.get_mut(&(volume, node)) {
            dirty.remove(&incarnation);
        }
    }

    /// A node's journal is replayed: what incarnations before this one left. Zero: all of it.
    pub(super) fn replay(&mut self, volume: u8, node: u8, present: u64) {
        if let Some(dirty) = self.journals.get_mut(&(volume, node)) {
            dirty.retain(|&incarnation| incarnation == present);
        }
    }

    /// Who left a volume's journals dirty.
    pub fn dirty(&self, volume: u8) -> impl Iterator<Item = (u8, u64)> + '_ {
        let journals = self.journals.iter().filter(move |((of, _), _)| *of == volume);
        journals.flat_map(|((_, node), dirty)| dirty.iter().map(|&incarnation| (*node, incarnation)))
    }
}
