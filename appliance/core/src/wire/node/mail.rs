//! Messages from node to node, and where a node is: SEND, RECV, ACK, GONE, ADDRESS, ADDRESS_REPLY, and the BUSY that refuses
//! a SEND.
//!
//! Owns these kinds and their layouts; what they mean is in `messaging`. The bytes of a message are the frame's payload.
//! Rules: SAFETY I2, DESIGN §6.
//!
//! ```text
//! sender                      its appliance        the receiver's               receiver
//!  | SEND(to, epoch, number) -->|                     |                            |
//!  |                            |==== datagrams =====>| RECV(from, stream, number)>|
//!  | <---- ACK(to, number) -----|<====================| <---- ACK(from, stream, number)
//!  | <---- BUSY(to, number)     | nothing was taken   |                            |
//!  | <---- GONE(to, number, epoch): the stream ended, `number` was the last acknowledged one
//! ```

use super::{NodeState, field, kind};
use crate::id::{HostId, Incarnation, NodeId};
use crate::wire::{Fields, Result, put};

mod at {
    pub const EPOCH: usize = 4;
    pub const NUMBER: usize = 16;
    pub const STREAM: usize = 24;
    pub const FIRST: usize = 32;
    pub const CID: usize = 28;
}

/// One message about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// Node -> appliance: bring this to that node. Sent again, with the same number, until it is acknowledged.
    Send {
        /// To whom.
        to: NodeId,
        /// How often the streams of this session to that node have ended, as GONE told it; zero at first.
        epoch: u32,
        /// Counts the messages of this session to that node, from any number above zero on, without gaps.
        number: u64,
    },
    /// Appliance -> node: this came for you. Said again until it is acknowledged.
    Recv {
        /// From whom.
        from: NodeId,
        /// Under which incarnation of it.
        incarnation: Incarnation,
        /// The sender's number.
        number: u64,
        /// Which stream it belongs to: numbers below the last one of the same sender's incarnation are to be dropped.
        stream: u64,
        /// With which number the stream began.
        first: u64,
    },
    /// Both ways: this number and all before it have been taken by the receiver.
    Ack {
        /// Towards the appliance: who sent it. Towards the node: to whom it was sent.
        peer: NodeId,
        /// The number.
        number: u64,
        /// Towards the appliance: the stream, as RECV told it. Towards the node: zero.
        stream: u64,
    },
    /// Appliance -> node: the stream to that node has ended; what came after this number may have arrived or not, and is
    /// not repeated.
    Gone {
        /// To whom the stream went.
        to: NodeId,
        /// SENDs to that node name this epoch from now on.
        epoch: u32,
        /// The last number that was acknowledged in this session; zero: none.
        number: u64,
    },
    /// Appliance -> node: this SEND was not taken, nor is any later one; the number is free.
    Busy {
        /// To whom it was to go.
        to: NodeId,
        /// Its number.
        number: u64,
    },
    /// Anybody -> appliance: where is this node?
    Address {
        /// Which.
        node: NodeId,
    },
    /// Appliance -> asker: there.
    AddressReply(Address),
}

/// Where a node is, in the newest committed view that the answering appliance holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Which node.
    pub node: NodeId,
    /// On which host; where it belongs, if it was never seen.
    pub host: HostId,
    /// Where it stands.
    pub state: NodeState,
    /// Which incarnation this is about; zero: none.
    pub incarnation: Incarnation,
    /// Its vsock CID on that host.
    pub cid: u32,
    /// The version of the view.
    pub version: u64,
}

impl Mail {
    /// Reads the message of a kind; `None`: not a kind of this room.
    pub(super) fn parse(number: u8, body: &Fields<'_>) -> Result<Option<Self>> {
        let node = NodeId::new(body.u8(field::NODE));
        let (epoch, count) = (body.u32(at::EPOCH), body.u64(at::NUMBER));
        Ok(Some(match number {
            kind::SEND => Self::Send { to: node, epoch, number: count },
            kind::RECV => Self::Recv {
                from: node,
                incarnation: body.u64(field::INCARNATION),
                number: count,
                stream: body.u64(at::STREAM),
                first: body.u64(at::FIRST),
            },
            kind::ACK => Self::Ack { peer: node, number: count, stream: body.u64(at::STREAM) },
            kind::GONE => Self::Gone { to: node, epoch, number: count },
            kind::BUSY if node.is_some() => Self::Busy { to: node, number: count },
            kind::ADDRESS => Self::Address { node },
            kind::ADDRESS_REPLY => Self::AddressReply(Address {
                node,
                host: HostId::new(body.u8(field::HOST)),
                state: NodeState::from_wire(body.u8(field::CODE))?,
                incarnation: body.u64(field::INCARNATION),
                cid: body.u32(at::CID),
                version: body.u64(field::VERSION),
            }),
            _ => return Ok(None),
        }))
    }

    /// Writes the body; returns the kind.
    pub(super) fn emit_body(&self, body: &mut [u8]) -> u8 {
        let (node, number, kind) = match *self {
            Self::Send { to, epoch, number } => {
                put(body, at::EPOCH, epoch.to_le_bytes());
                (to, number, kind::SEND)
            }
            Self::Recv { from, incarnation, number, stream, first } => {
                put(body, field::INCARNATION, incarnation.to_le_bytes());
                put(body, at::STREAM, stream.to_le_bytes());
                put(body, at::FIRST, first.to_le_bytes());
                (from, number, kind::RECV)
            }
            Self::Ack { peer, number, stream } => {
                put(body, at::STREAM, stream.to_le_bytes());
                (peer, number, kind::ACK)
            }
            Self::Gone { to, epoch, number } => {
                put(body, at::EPOCH, epoch.to_le_bytes());
                (to, number, kind::GONE)
            }
            Self::Busy { to, number } => (to, number, kind::BUSY),
            Self::Address { node } => (node, 0, kind::ADDRESS),
            Self::AddressReply(address) => {
                put(body, field::HOST, [address.host.get(), address.state as u8]);
                put(body, field::INCARNATION, address.incarnation.to_le_bytes());
                put(body, at::CID, address.cid.to_le_bytes());
                (address.node, address.version, kind::ADDRESS_REPLY)
            }
        };
        put(body, field::NODE, [node.get()]);
        put(body, at::NUMBER, number.to_le_bytes());
        kind
    }
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    #[test]
    fn each_message_survives_its_frame() {
        let node = NodeId::new(7);
        let address = Address {
            node,
            host: HostId::new(8),
            state: NodeState::Up,
            incarnation: u64::MAX,
            cid: u32::MAX,
            version: 1 << 50,
        };
        for mail in [
            Mail::Send { to: node, epoch: u32::MAX, number: 1 << 40 },
            Mail::Recv { from: node, incarnation: 2, number: 3, stream: 4, first: u64::MAX },
            Mail::Ack { peer: node, number: 5, stream: 6 },
            Mail::Gone { to: node, epoch: 7, number: 8 },
            Mail::Busy { to: node, number: 9 },
            Mail::Address { node },
            Mail::AddressReply(address),
        ] {
            let message = Message::Mail(mail);
            assert_eq!(Message::parse(&message.frame(1, 2, b"payload")), Ok(message));
        }
    }

    #[test]
    fn a_busy_about_nobody_is_a_plain_busy() {
        assert_eq!(Message::parse(&Message::Busy.frame(1, 2, &[])), Ok(Message::Busy));
    }
}
