//! What STATUS says of a node.
//!
//! Owns the layout.

use crate::id::{HostId, Incarnation, NodeId, Run};
use crate::wire::node::NodeState;
use crate::wire::{Error, Fields, Result, put};

/// One node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeEntry {
    /// Which.
    pub node: NodeId,
    /// Where it stands.
    pub state: NodeState,
    /// On which host.
    pub host: HostId,
    /// The evidence class if it is down, else zero.
    pub class: u8,
    /// Which incarnation this is about.
    pub incarnation: Incarnation,
    /// Which run.
    pub run: Run,
    /// See `MARKS`.
    pub marks: u8,
}

impl NodeEntry {
    /// Bytes of one entry.
    pub const BYTES: usize = 28;

    /// Writes the entry.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, [self.node.get(), self.state as u8, self.host.get(), self.class]);
        put(b, 24, [self.marks, 0, 0, 0]);
        put(b, 4, self.run.counter.to_le_bytes());
        put(b, 8, self.incarnation.to_le_bytes());
        put(b, 16, self.run.boot.to_le_bytes());
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or an unknown state.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let b = Fields(bytes);
        if bytes.len() < Self::BYTES {
            return Err(Error);
        }
        let state = NodeState::from_wire(b.u8(1))?;
        Ok(Self {
            node: NodeId::new(b.u8(0)),
            state,
            host: HostId::new(b.u8(2)),
            class: b.u8(3),
            incarnation: b.u64(8),
            run: Run { boot: b.u64(16), counter: b.u32(4) },
            marks: b.u8(24),
        })
    }
}
