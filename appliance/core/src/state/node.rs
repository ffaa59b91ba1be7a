//! What the view says about one node.
//!
//! Owns the row and its bytes.

use super::record::Record;
use super::row::{Kind, Row, Sink};
use crate::id::{HostId, Incarnation, NodeId, Run};
use crate::status::Reason;
use crate::wire::node::NodeState;
use crate::wire::{Error, Result, put};

/// Bytes of the row's body.
pub(super) const BODY_BYTES: usize = 44;

/// What the view says about one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Where it stands.
    pub state: NodeState,
    /// The host that it is or was on.
    pub host: HostId,
    /// The incarnation that the state is about.
    pub incarnation: Incarnation,
    /// The run that the incarnation is bound to (SAFETY E2).
    pub run: Run,
    /// The incarnation that was Confirmed last, and by which class.
    pub dead: Incarnation,
    /// See `dead`.
    pub class: u8,
    /// Why it is condemned.
    pub record: Record,
}

impl NodeRow {
    /// Nothing is said; all zero.
    pub const NONE: Self = Self {
        state: NodeState::Unknown,
        host: HostId::NONE,
        incarnation: 0,
        run: Run::NONE,
        dead: 0,
        class: 0,
        record: Record::NONE,
    };

    /// Whether this incarnation may still write: a member that was not Confirmed.
    #[must_use]
    pub const fn may_write(&self) -> bool {
        matches!(self.state, NodeState::Up | NodeState::Condemned)
    }

    pub(super) fn encode(&self, node: NodeId, sink: &mut Sink<'_>) {
        let b = sink.row(Kind::Node, [0, 0, node.get()]);
        put(b, 0, [self.state as u8, self.host.get(), self.class, self.record.reason as u8]);
        put(b, 4, self.run.counter.to_le_bytes());
        put(b, 8, self.incarnation.to_le_bytes());
        put(b, 16, self.run.boot.to_le_bytes());
        put(b, 24, self.dead.to_le_bytes());
        put(b, 32, self.record.decided.to_le_bytes());
    }

    pub(super) fn decode(row: &Row<'_>) -> Result<Self> {
        let b = row.body;
        Ok(Self {
            state: NodeState::from_wire(b.u8(0))?,
            host: HostId::new(b.u8(1)),
            class: b.u8(2),
            record: Record { reason: Reason::from_wire(b.u8(3)).ok_or(Error)?, decided: b.u64(32) },
            incarnation: b.u64(8),
            run: Run { boot: b.u64(16), counter: b.u32(4) },
            dead: b.u64(24),
        })
    }
}
