//! What a VIEW and the node events say about one node.
//!
//! Owns the entry of a VIEW's payload, the body of NODE_UP, NODE_SUSPECT and NODE_DOWN, and the states that they name.

use super::field;
use crate::fencing::Class;
use crate::id::{HostId, Incarnation, NodeId};
use crate::wire::{Error, Fields, Result, put};

/// Where a node stands, in VIEW and STATUS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeState {
    /// Never seen under this view.
    #[default]
    Unknown = 0,
    /// A member under its incarnation.
    Up = 1,
    /// The decision to fence its incarnation is committed; no proof yet.
    Condemned = 2,
    /// Its incarnation is Confirmed: it can no longer write.
    Down = 3,
    /// It left by itself.
    Left = 4,
}

impl NodeState {
    /// The state with this number on the wire.
    ///
    /// # Errors
    /// There is none.
    pub const fn from_wire(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Self::Unknown,
            1 => Self::Up,
            2 => Self::Condemned,
            3 => Self::Down,
            4 => Self::Left,
            _ => return Err(Error),
        })
    }
}

/// One node of a VIEW.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewNode {
    /// The node.
    pub node: NodeId,
    /// Where it stands.
    pub state: NodeState,
    /// On which host.
    pub host: HostId,
    /// The evidence class if it is down, else zero.
    pub class: u8,
    /// The incarnation that this is about.
    pub incarnation: Incarnation,
}

impl ViewNode {
    /// Bytes of one entry in a payload.
    pub const BYTES: usize = 12;

    /// Writes the entry.
    pub fn emit(&self, buffer: &mut [u8]) {
        put(buffer, 0, [self.node.get(), self.state as u8, self.host.get(), self.class]);
        put(buffer, 4, self.incarnation.to_le_bytes());
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or an unknown state.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < Self::BYTES {
            return Err(Error);
        }
        let fields = Fields(bytes);
        Ok(Self {
            node: NodeId::new(fields.u8(0)),
            state: NodeState::from_wire(fields.u8(1))?,
            host: HostId::new(fields.u8(2)),
            class: fields.u8(3),
            incarnation: fields.u64(4),
        })
    }
}

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEvent {
    /// The node.
    pub node: NodeId,
    /// Its host.
    pub host: HostId,
    /// The evidence, for NODE_DOWN.
    pub class: Option<Class>,
    /// Which incarnation.
    pub incarnation: Incarnation,
    /// The committed version that says so; a token that only grows.
    pub version: u64,
}

impl NodeEvent {
    pub(super) fn read(body: &Fields<'_>) -> Result<Self> {
        let class = body.u8(field::CODE);
        Ok(Self {
            node: NodeId::new(body.u8(field::NODE)),
            host: HostId::new(body.u8(field::HOST)),
            class: if class == 0 { None } else { Some(Class::from_wire(class).ok_or(Error)?) },
            incarnation: body.u64(field::INCARNATION),
            version: body.u64(field::VERSION),
        })
    }

    pub(super) fn write(&self, body: &mut [u8], kind: u8) -> u8 {
        put(body, field::NODE, [self.node.get(), self.host.get(), self.class.map_or(0, |class| class as u8)]);
        put(body, field::INCARNATION, self.incarnation.to_le_bytes());
        put(body, field::VERSION, self.version.to_le_bytes());
        kind
    }
}
