//! The closed records that are remembered across a leader change.
//!
//! Owns a ring. An entry keeps its place until another takes it, so that a new entry is one changed row.

use super::row::{Kind, Row, Sink};
use crate::limits::HISTORY_MAX;
use crate::status::HistoryEntry;
use crate::wire::{Error, Result};

/// Bytes of the row's body.
pub(super) const BODY_BYTES: usize = HistoryEntry::BYTES;

/// The last closed records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    entries: [HistoryEntry; HISTORY_MAX],
    /// How many were ever closed.
    pub(super) closed: u64,
}

impl History {
    /// None yet; all zero.
    pub const EMPTY: Self = Self { entries: [HistoryEntry::NONE; HISTORY_MAX], closed: 0 };

    fn len(&self) -> usize {
        usize::try_from(self.closed).unwrap_or(HISTORY_MAX).min(HISTORY_MAX)
    }

    /// Where the entry `back` closings ago stands.
    fn place(&self, back: usize) -> usize {
        let size = HISTORY_MAX as u64;
        let newest = usize::try_from(self.closed.wrapping_sub(1) % size).unwrap_or(0);
        (newest + HISTORY_MAX - back) % HISTORY_MAX
    }

    /// Closed records, newest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &HistoryEntry> {
        (0..self.len()).map(|back| &self.entries[self.place(back)])
    }

    /// Writes an entry over the oldest.
    pub fn push(&mut self, entry: HistoryEntry) {
        self.closed += 1;
        self.entries[self.place(0)] = entry;
    }

    pub(super) fn copy_from(&mut self, other: &Self) {
        self.entries.copy_from_slice(&other.entries);
        self.closed = other.closed;
    }

    pub(super) fn clear(&mut self) {
        self.entries.fill(HistoryEntry::NONE);
        self.closed = 0;
    }

    pub(super) fn encode(&self, sink: &mut Sink<'_>) {
        for (place, entry) in (0u8..).zip(&self.entries).take(self.len()) {
            entry.emit(sink.row(Kind::History, [0, 0, place]));
        }
    }

    pub(super) fn decode(&mut self, row: &Row<'_>) -> Result<()> {
        let place = self.entries.get_mut(usize::from(row.key[2])).ok_or(Error)?;
        *place = HistoryEntry::parse(row.body.0)?;
        Ok(())
    }
}
