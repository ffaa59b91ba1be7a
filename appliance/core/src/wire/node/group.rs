//! The group's part of the node protocol: JOIN, LEAVE and the barrier.
//!
//! Owns kinds 17 to 23, and the entries of a START. Every frame names its volume, so one session speaks of all its volumes.
//! Rules: docs/PROTOCOL.md (the barrier), SAFETY G1, G2, G5.
//!
//! ```text
//! node                                          appliance
//!  | JOIN(cluster, volume) --------------------> |   repeated until START comes; BUSY, ERROR(not yet): go on repeating
//!  | <---------------- STOP(volume, generation)  |   to joiners, members and leavers
//!  | STOPPED(volume, generation) --------------> |   a volume that is not open here is stopped
//!  | <- START(volume, generation, set and fates) |   to all in the set; each part of it is repeated until answered
//!  | STARTED(volume, generation) --------------> |
//!  | RECOVERED(volume, generation) ------------> |   the DLM has recovered, and locks are granted again
//!  | LEAVE(volume) ----------------------------> |   repeated until LEAVE comes back; STOP comes in between
//!  | <--------------------------- LEAVE(volume)  |   you are not in this group, or not any more
//! ```

use crate::id::{Incarnation, Label, NodeId, Volume};
use crate::limits::FRAME_PAYLOAD_MAX;
use crate::wire::{Error, Fields, Result, put};

mod kind {
    pub const JOIN: u8 = 17;
    pub const LEAVE: u8 = 18;
    pub const STOP: u8 = 19;
    pub const STOPPED: u8 = 20;
    pub const START: u8 = 21;
    pub const STARTED: u8 = 22;
    pub const RECOVERED: u8 = 23;
}

mod field {
    pub const PART: usize = 4;
    pub const PARTS: usize = 6;
    pub const CLUSTER: usize = 8;
    pub const GENERATION: usize = 16;
    pub const VOLUME: usize = 24;
}

/// Entries of a START in one frame.
pub const START_ENTRIES: usize = FRAME_PAYLOAD_MAX / StartNode::BYTES;

/// One message about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Node -> appliance: this incarnation wants to open the volume.
    Join {
        /// The cluster that the volume names; none: the only one that the node is in.
        cluster: Label,
        /// The volume.
        volume: Volume,
    },
    /// Node -> appliance: it wants to close the volume. Appliance -> node: it is not in the group.
    Leave {
        /// The volume.
        volume: Volume,
    },
    /// Appliance -> node: stop the lockspace.
    Stop {
        /// The volume.
        volume: Volume,
        /// The version of the view that opened the barrier (SAFETY G1).
        generation: u64,
    },
    /// Node -> appliance: it is stopped.
    Stopped {
        /// The volume.
        volume: Volume,
        /// From STOP.
        generation: u64,
    },
    /// Appliance -> node: a part of the node set and the fates; entries in the payload.
    Start {
        /// The volume.
        volume: Volume,
        /// That of the STOP before it.
        generation: u64,
        /// First part: 0.
        part: u16,
        /// How many parts.
        parts: u16,
    },
    /// Node -> appliance: it runs with that set.
    Started {
        /// The volume.
        volume: Volume,
        /// From START.
        generation: u64,
    },
    /// Node -> appliance: its DLM has recovered with that set.
    Recovered {
        /// The volume.
        volume: Volume,
        /// From START.
        generation: u64,
    },
}

impl Group {
    /// The message in a body of this kind; `None`: not a kind of this room.
    pub(super) fn parse(number: u8, body: &Fields<'_>) -> Option<Result<Self>> {
        let volume = Label(body.array(field::VOLUME));
        let generation = body.u64(field::GENERATION);
        let message = match number {
            kind::JOIN => Self::Join { cluster: Label(body.array(field::CLUSTER)), volume },
            kind::LEAVE => Self::Leave { volume },
            kind::STOP => Self::Stop { volume, generation },
            kind::STOPPED => Self::Stopped { volume, generation },
            kind::START => {
                Self::Start { volume, generation, part: body.u16(field::PART), parts: body.u16(field::PARTS) }
            }
            kind::STARTED => Self::Started { volume, generation },
            kind::RECOVERED => Self::Recovered { volume, generation },
            _ => return None,
        };
        Some(if volume.is_some() { Ok(message) } else { Err(Error) })
    }

    pub(super) fn emit_body(&self, body: &mut [u8]) -> u8 {
        let (number, volume, generation) = match *self {
            Self::Join { cluster, volume } => {
                put(body, field::CLUSTER, cluster.0);
                put(body, field::VOLUME, volume.0);
                return kind::JOIN;
            }
            Self::Leave { volume } => (kind::LEAVE, volume, 0),
            Self::Stop { volume, generation } => (kind::STOP, volume, generation),
            Self::Stopped { volume, generation } => (kind::STOPPED, volume, generation),
            Self::Start { volume, generation, part, parts } => {
                put(body, field::PART, part.to_le_bytes());
                put(body, field::PARTS, parts.to_le_bytes());
                (kind::START, volume, generation)
            }
            Self::Started { volume, generation } => (kind::STARTED, volume, generation),
            Self::Recovered { volume, generation } => (kind::RECOVERED, volume, generation),
        };
        put(body, field::GENERATION, generation.to_le_bytes());
        put(body, field::VOLUME, volume.0);
        number
    }
}

/// What a START says about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// It is in the set.
    Member = 1,
    /// It died: its comm goes before the start, so that the DLM recovers and the journal is replayed.
    Dead = 2,
    /// It left: its comm stays, and nothing is to be recovered.
    Left = 3,
    /// It was to join and never started: its comm goes.
    NeverStarted = 4,
}

impl Fate {
    /// The fate with this number on the wire.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        [Self::Member, Self::Dead, Self::Left, Self::NeverStarted].into_iter().find(|fate| *fate as u8 == number)
    }
}

/// One entry of a START. An entry with a fate may be about an earlier incarnation of a node that is in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartNode {
    /// The node.
    pub node: NodeId,
    /// Member, or what became of it.
    pub fate: Fate,
    /// Which incarnation.
    pub incarnation: Incarnation,
}

impl StartNode {
    /// Bytes of one entry in a payload.
    pub const BYTES: usize = 12;

    /// Writes the entry.
    pub fn emit(&self, buffer: &mut [u8]) {
        put(buffer, 0, [self.node.get(), self.fate as u8, 0, 0]);
        put(buffer, 4, self.incarnation.to_le_bytes());
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, nobody's, or an unknown fate.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields(bytes);
        let node = NodeId::new(fields.u8(0));
        let fate = Fate::from_wire(fields.u8(1)).ok_or(Error)?;
        if bytes.len() < Self::BYTES || !node.is_some() {
            return Err(Error);
        }
        Ok(Self { node, fate, incarnation: fields.u64(4) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::node::Message;

    #[test]
    fn each_message_survives_its_frame_and_names_a_volume() {
        let volume = Label([7; 16]);
        let generation = 1 << 41;
        for group in [
            Group::Join { cluster: Label::named("mail"), volume },
            Group::Leave { volume },
            Group::Stop { volume, generation },
            Group::Stopped { volume, generation },
            Group::Start { volume, generation, part: 1, parts: 14 },
            Group::Started { volume, generation },
            Group::Recovered { volume, generation },
        ] {
            let message = Message::Group(group);
            let mut frame = message.frame(1, 2, &[]);
            assert_eq!(Message::parse(&frame), Ok(message));
            frame.body[field::VOLUME..].fill(0);
            assert_eq!(Message::parse(&frame), Err(Error), "no volume");
        }
    }

    #[test]
    fn an_entry_of_start_survives_its_bytes() {
        let entry = StartNode { node: NodeId::new(9), fate: Fate::Dead, incarnation: u64::MAX - 1 };
        let mut bytes = [0xa5; StartNode::BYTES];
        entry.emit(&mut bytes);
        assert_eq!(bytes, [9, 2, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(StartNode::parse(&bytes), Ok(entry));
        assert_eq!(StartNode::parse(&bytes[..11]), Err(Error));
        assert_eq!(StartNode::parse(&[9, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Error));
    }
}
