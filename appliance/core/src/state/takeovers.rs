//! What the view says about takeovers: who owns what, since which view, and how far it is.
//!
//! Owns the rows. A recovery's row is about one dead node in one group, and vanishes when its owner is done; a named service
//! has one row for as long as the configuration names it. The key holds the service, the row the dead *incarnation* (SAFETY
//! I1). Decides nothing.

use super::groups::GroupNumber;
use super::row::{Key, Kind, Row, Sink};
use crate::id::{Incarnation, NodeId};
use crate::limits::{GROUPS_MAX, SERVICES_MAX, TAKEOVERS_MAX};
use crate::wire::{Error, Result, put};
use heapless::Vec;

/// Bytes of the row's body.
pub(super) const BODY_BYTES: usize = 32;

/// What is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// DLM recovery and journal replay in this group.
    Recovery(GroupNumber),
    /// `config.services` at this place.
    Named(u8),
}

impl Service {
    /// As one number: recoveries first.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Recovery(group) => group,
            Self::Named(place) => 128 + place,
        }
    }

    /// The service with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code.checked_sub(128) {
            None => (1..=GROUPS_MAX).contains(&usize::from(code)).then_some(Self::Recovery(code)),
            Some(place) => (usize::from(place) < SERVICES_MAX).then_some(Self::Named(place)),
        }
    }
}

/// How far a takeover is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Progress {
    /// Nobody owns it: there is no candidate, or the last owner failed a moment ago.
    #[default]
    Waiting = 0,
    /// Its owner is named.
    Ordered = 1,
    /// Its owner has it.
    Taken = 2,
}

impl Progress {
    /// The progress with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Waiting,
            1 => Self::Ordered,
            2 => Self::Taken,
            _ => return None,
        })
    }
}

/// What the view says about one takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeoverRow {
    /// What.
    pub service: Service,
    /// Whose it was; none: nobody's.
    pub dead: NodeId,
    /// Which incarnation of it.
    pub dead_incarnation: Incarnation,
    /// Whose it is; none: it waits.
    pub owner: NodeId,
    /// Which incarnation of it.
    pub owner_incarnation: Incarnation,
    /// The version of the view that named the owner. Only grows.
    pub token: u64,
    /// How far it is.
    pub progress: Progress,
    /// Who failed last.
    pub failed: NodeId,
    /// How often an owner failed in a row.
    pub failures: u8,
}

impl TakeoverRow {
    /// A service that waits for its owner.
    #[must_use]
    pub const fn waiting(service: Service, dead: NodeId, dead_incarnation: Incarnation) -> Self {
        Self {
            service,
            dead,
            dead_incarnation,
            owner: NodeId::NONE,
            owner_incarnation: 0,
            token: 0,
            progress: Progress::Waiting,
            failed: NodeId::NONE,
            failures: 0,
        }
    }

    const fn key(&self) -> Key {
        Self::key_of(self.service, self.dead)
    }

    const fn key_of(service: Service, dead: NodeId) -> Key {
        match service {
            Service::Recovery(_) => [0, service.code(), dead.get()],
            Service::Named(_) => [0, service.code(), 0],
        }
    }
}

/// All takeovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeovers {
    rows: Vec<TakeoverRow, TAKEOVERS_MAX>,
}

impl Takeovers {
    /// None; all zero.
    pub const EMPTY: Self = Self { rows: Vec::new() };

    /// All rows, recoveries first.
    #[must_use]
    pub fn rows(&self) -> &[TakeoverRow] {
        &self.rows
    }

    fn find(&self, key: Key) -> core::result::Result<usize, usize> {
        let at = self.rows.partition_point(|row| row.key() < key);
        if self.rows.get(at).is_some_and(|row| row.key() == key) { Ok(at) } else { Err(at) }
    }

    /// The row of a recovery of this dead node, or of a named service, whoever's it was.
    #[must_use]
    pub fn get(&self, service: Service, dead: NodeId) -> Option<&TakeoverRow> {
        self.find(TakeoverRow::key_of(service, dead)).ok().and_then(|at| self.rows.get(at))
    }

    /// Writes a row, over the one with its key if there is one. Whether there was room: named services keep theirs.
    pub fn put(&mut self, row: TakeoverRow) -> bool {
        let recoveries = self.rows.partition_point(|other| other.service.code() < 128);
        match self.find(row.key()) {
            Ok(at) => {
                self.rows[at] = row;
                true
            }
            Err(at) => {
                let reserved =
                    matches!(row.service, Service::Recovery(_)) && recoveries >= TAKEOVERS_MAX - SERVICES_MAX;
                !reserved && self.rows.insert(at, row).is_ok()
            }
        }
    }

    /// Keeps only some of the rows.
    pub fn retain(&mut self, keep: impl FnMut(&TakeoverRow) -> bool) {
        self.rows.retain(keep);
    }

    pub(super) fn copy_from(&mut self, other: &Self) {
        self.rows.clear();
        let _fits = self.rows.extend_from_slice(&other.rows);
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }

    pub(super) fn encode(&self, sink: &mut Sink<'_>) {
        for row in &self.rows {
            let b = sink.row(Kind::Takeover, row.key());
            put(b, 0, [row.dead.get(), row.owner.get(), row.progress as u8, row.failed.get(), row.failures]);
            put(b, 8, row.dead_incarnation.to_le_bytes());
            put(b, 16, row.owner_incarnation.to_le_bytes());
            put(b, 24, row.token.to_le_bytes());
        }
    }

    pub(super) fn decode(&mut self, row: &Row<'_>) -> Result<()> {
        let b = row.body;
        let decoded = TakeoverRow {
            service: Service::from_code(row.key[1]).ok_or(Error)?,
            dead: NodeId::new(b.u8(0)),
            dead_incarnation: b.u64(8),
            owner: NodeId::new(b.u8(1)),
            owner_incarnation: b.u64(16),
            token: b.u64(24),
            progress: Progress::from_wire(b.u8(2)).ok_or(Error)?,
            failed: NodeId::new(b.u8(3)),
            failures: b.u8(4),
        };
        if decoded.key() != row.key || !self.put(decoded) {
            return Err(Error);
        }
        Ok(())
    }
}
