//! Messages from node to node on their way between two appliances: OPEN, CARRY, ACKED, OVER.
//!
//! Owns these kinds and their layouts; what they mean is in `messaging`. Rule: SAFETY I2.

use super::fields::{Reader, Writer};
use super::kind;
use crate::id::{Incarnation, NodeId};
use crate::limits::FRAME_PAYLOAD_MAX;
use crate::wire::datagram::MESSAGE_MAX;
use crate::wire::{Error, Result};

/// Between which ends a stream runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The sending node.
    pub from: NodeId,
    /// The receiving node.
    pub to: NodeId,
    /// From user space to user space; else from shim to shim.
    pub user: bool,
}

/// One message about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Sender's appliance to the receiver's: a stream is to begin.
    Open {
        /// Its number; a later stream of the same appliance has a greater one.
        stream: u64,
        /// Between whom.
        ends: Ends,
        /// The sending node's incarnation.
        sender: Incarnation,
        /// The receiving node's, as the sender's view has it.
        receiver: Incarnation,
        /// The number of its first message.
        first: u64,
    },
    /// Sender's appliance to the receiver's: one message; its bytes follow.
    Carry {
        /// The stream.
        stream: u64,
        /// What the receiver's appliance drew for the stream, so that nothing older passes.
        token: u64,
        /// Between whom.
        ends: Ends,
        /// The message's number.
        number: u64,
    },
    /// Back: this number and all before it were taken. The first one, with the number before the first, opens the stream.
    Acked {
        /// The stream.
        stream: u64,
        /// The token.
        token: u64,
        /// The number.
        number: u64,
    },
    /// Back: there is no such stream here, or there is no such receiver.
    Over {
        /// The stream.
        stream: u64,
    },
}

/// Bytes before those of the message, in CARRY.
const CARRY_AT: usize = 28;
const _: () = assert!(CARRY_AT + FRAME_PAYLOAD_MAX <= MESSAGE_MAX);

impl Stream {
    /// Writes the message, and `bytes` behind it if it carries any; returns its length.
    pub(super) fn emit(&self, mut w: Writer<'_>, bytes: &[u8]) -> usize {
        match *self {
            Self::Open { stream, ends, sender, receiver, first } => {
                ends.emit(w.u8(kind::OPEN).u64(stream)).u64(sender).u64(receiver).u64(first);
            }
            Self::Carry { stream, token, ends, number } => {
                assert!(bytes.len() <= FRAME_PAYLOAD_MAX, "a mailbox holds no longer message");
                ends.emit(w.u8(kind::CARRY).u64(stream)).u64(token).u64(number);
                w.buffer[CARRY_AT..CARRY_AT + bytes.len()].copy_from_slice(bytes);
                return CARRY_AT + bytes.len();
            }
            Self::Acked { stream, token, number } => {
                w.u8(kind::ACKED).u64(stream).u64(token).u64(number);
            }
            Self::Over { stream } => {
                w.u8(kind::OVER).u64(stream);
            }
        }
        w.at
    }

    /// Reads the message of a kind, and the bytes that it carries.
    ///
    /// # Errors
    /// Not a kind of this room, wrong length, or a value that its field does not allow.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, &[u8])> {
        let mut r = Reader::new(bytes);
        let message = match r.u8() {
            kind::OPEN => Self::Open {
                stream: r.u64(),
                ends: Ends::parse(&mut r)?,
                sender: r.u64(),
                receiver: r.u64(),
                first: r.u64(),
            },
            kind::CARRY => {
                let (stream, ends) = (r.u64(), Ends::parse(&mut r)?);
                let carry = Self::Carry { stream, ends, token: r.u64(), number: r.u64() };
                let carried = bytes.get(CARRY_AT..).ok_or(Error)?;
                return if carried.len() > FRAME_PAYLOAD_MAX { Err(Error) } else { Ok((carry, carried)) };
            }
            kind::ACKED => Self::Acked { stream: r.u64(), token: r.u64(), number: r.u64() },
            kind::OVER => Self::Over { stream: r.u64() },
            _ => return Err(Error),
        };
        if r.at == bytes.len() { Ok((message, &[])) } else { Err(Error) }
    }
}

impl Ends {
    fn emit<'w, 'b>(self, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        w.u8(self.from.get()).u8(self.to.get()).flag(self.user)
    }

    fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let (from, to) = (NodeId::new(r.u8()), NodeId::new(r.u8()));
        let user = r.flag()?;
        if from.is_some() && to.is_some() && from != to { Ok(Self { from, to, user }) } else { Err(Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    const ENDS: Ends = Ends { from: NodeId::new(1), to: NodeId::new(255), user: true };

    #[test]
    fn each_message_survives_its_bytes_and_no_shorter_or_longer_ones_pass() {
        for stream in [
            Stream::Open { stream: 1 << 40, ends: ENDS, sender: 2, receiver: u64::MAX, first: 4 },
            Stream::Acked { stream: 5, token: 6, number: 7 },
            Stream::Over { stream: 8 },
        ] {
            let mut buffer = [0xa5; MESSAGE_MAX];
            let length = Message::Stream(stream).emit(&mut buffer, &[]);
            assert_eq!(Message::parse(&buffer[..length]), Ok((Message::Stream(stream), [].as_slice())));
            assert!(Message::parse(&buffer[..length - 1]).is_err(), "{stream:?}");
            assert!(Message::parse(&buffer[..=length]).is_err(), "{stream:?}");
        }
    }

    #[test]
    fn a_carried_message_may_be_empty_or_full_and_no_longer() {
        let carry = Message::Stream(Stream::Carry { stream: 1, token: 2, ends: ENDS, number: 3 });
        for bytes in [&[][..], &[7; FRAME_PAYLOAD_MAX][..]] {
            let mut buffer = [0xa5; MESSAGE_MAX];
            let length = carry.emit(&mut buffer, bytes);
            assert_eq!(Message::parse(&buffer[..length]), Ok((carry, bytes)));
        }
        let mut buffer = [0; MESSAGE_MAX];
        let length = carry.emit(&mut buffer, &[7; FRAME_PAYLOAD_MAX]);
        assert!(Message::parse(&buffer[..=length]).is_err());
        assert!(Message::parse(&buffer[..CARRY_AT - 1]).is_err());
    }

    #[test]
    fn nobody_sends_to_itself() {
        let open = Message::Stream(Stream::Over { stream: 8 });
        let mut buffer = [0; MESSAGE_MAX];
        let length = open.emit(&mut buffer, &[]);
        assert!(Message::parse(&buffer[..length]).is_ok());
        let ends = Ends { from: ENDS.to, ..ENDS };
        let open = Message::Stream(Stream::Open { stream: 1, ends, sender: 2, receiver: 3, first: 4 });
        let length = open.emit(&mut buffer, &[]);
        assert!(Message::parse(&buffer[..length]).is_err());
    }
}
