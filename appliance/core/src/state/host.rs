//! What the view says about one host.
//!
//! Owns the row and its bytes.

use super::record::Record;
use super::row::{Kind, Row, Sink};
use crate::fencing::Class;
use crate::id::{BootId, HostId, Incarnation};
use crate::status::{HostState, Reason};
use crate::wire::{Error, Result, put};

/// Bytes of the row's body.
pub(super) const BODY_BYTES: usize = 28;

/// What the view says about one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRow {
    /// Where it stands.
    pub state: HostState,
    /// Its appliance (SAFETY A4).
    pub incarnation: Incarnation,
    /// Its boot (SAFETY E9).
    pub boot: BootId,
    /// Why it is condemned.
    pub record: Record,
    /// The class of the evidence that it is down; zero otherwise.
    pub class: u8,
    /// It was turned on again after that, as often as it is tried: from now on its power is a person's affair.
    pub turned_on: bool,
}

impl HostRow {
    /// Nothing is said; all zero.
    pub const NONE: Self =
        Self { state: HostState::Out, incarnation: 0, boot: 0, record: Record::NONE, class: 0, turned_on: false };

    /// Whether its appliance counts in elections and acceptances under its incarnation: it was admitted, and not Confirmed
    /// off. A condemned one keeps its vote (SAFETY F5), and one that is out of the view lost no memory.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.incarnation != 0 && !matches!(self.state, HostState::Down)
    }

    /// Whether it was switched off, or a person said so: what its appliance promised and accepted went with that. Other
    /// evidence is about its nodes only (SAFETY D1).
    #[must_use]
    pub const fn is_off(&self) -> bool {
        matches!(self.state, HostState::Down)
            && (self.class == Class::PowerOff as u8 || self.class == Class::Operator as u8)
    }

    pub(super) fn encode(&self, host: HostId, sink: &mut Sink<'_>) {
        let b = sink.row(Kind::Host, [0, 0, host.get()]);
        put(b, 0, [self.state as u8, self.record.reason as u8, self.class, u8::from(self.turned_on)]);
        put(b, 4, self.incarnation.to_le_bytes());
        put(b, 12, self.boot.to_le_bytes());
        put(b, 20, self.record.decided.to_le_bytes());
    }

    pub(super) fn decode(row: &Row<'_>) -> Result<Self> {
        let b = row.body;
        Ok(Self {
            state: HostState::from_wire(b.u8(0)).ok_or(Error)?,
            record: Record { reason: Reason::from_wire(b.u8(1)).ok_or(Error)?, decided: b.u64(20) },
            class: b.u8(2),
            turned_on: b.u8(3) == 1,
            incarnation: b.u64(4),
            boot: b.u64(12),
        })
    }
}
