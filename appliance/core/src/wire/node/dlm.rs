//! The DLM's part of the node protocol: DLM_ADDRESS and CUT.
//!
//! Owns kinds 37 and 38. DLM traffic runs from node to node over a network that appliances do not see: they tell each node
//! where the others' DLMs listen, and are told which of them do not answer. A CUT is a level, repeated while it lasts, and
//! never proof of anything (SAFETY F6).

use crate::config::Ip;
use crate::id::{Incarnation, NodeId};
use crate::wire::{Error, Fields, Result, put};

mod kind {
    pub const DLM_ADDRESS: u8 = 37;
    pub const CUT: u8 = 38;
}

mod field {
    pub const NODE: usize = 0;
    pub const FAMILY: usize = 1;
    pub const PORT: usize = 2;
    pub const ADDRESS: usize = 24;
    pub const STATE: usize = 2;
    pub const INCARNATION: usize = 8;
    pub const SILENT: usize = 16;
}

/// One message about DLMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dlm {
    /// Appliance -> node: there this node's DLM listens. The receiver's own is among them.
    Address {
        /// Whose.
        node: NodeId,
        /// TCP port; 0: the DLM's default.
        port: u16,
        /// Where.
        address: Ip,
    },
    /// Node -> appliance: this node's DLM does not answer mine.
    Cut {
        /// Whose.
        node: NodeId,
        /// It does not answer; otherwise it does again.
        cut: bool,
        /// Which incarnation of it, as last told.
        incarnation: Incarnation,
        /// For how long it has not, milliseconds, by the sender's clock.
        silent_ms: u64,
    },
}

impl Dlm {
    /// The message in a body of this kind; `None`: not a kind of this room.
    pub(super) fn parse(number: u8, body: &Fields<'_>) -> Option<Result<Self>> {
        Some(match number {
            kind::DLM_ADDRESS => address(body),
            kind::CUT => cut(body),
            _ => return None,
        })
    }

    pub(super) fn emit_body(&self, body: &mut [u8]) -> u8 {
        match *self {
            Self::Address { node, port, address } => {
                put(body, field::NODE, [node.get()]);
                put(body, field::PORT, port.to_le_bytes());
                match address {
                    Ip::V4(octets) => {
                        put(body, field::FAMILY, [4]);
                        put(body, field::ADDRESS, octets);
                    }
                    Ip::V6(octets) => {
                        put(body, field::FAMILY, [6]);
                        put(body, field::ADDRESS, octets);
                    }
                }
                kind::DLM_ADDRESS
            }
            Self::Cut { node, cut, incarnation, silent_ms } => {
                put(body, field::NODE, [node.get()]);
                put(body, field::STATE, [u8::from(cut)]);
                put(body, field::INCARNATION, incarnation.to_le_bytes());
                put(body, field::SILENT, silent_ms.to_le_bytes());
                kind::CUT
            }
        }
    }
}

fn address(body: &Fields<'_>) -> Result<Dlm> {
    let node = NodeId::new(body.u8(field::NODE));
    let address = match body.u8(field::FAMILY) {
        4 => Ip::V4(body.array(field::ADDRESS)),
        6 => Ip::V6(body.array(field::ADDRESS)),
        _ => return Err(Error),
    };
    if node.is_some() { Ok(Dlm::Address { node, port: body.u16(field::PORT), address }) } else { Err(Error) }
}

fn cut(body: &Fields<'_>) -> Result<Dlm> {
    let node = NodeId::new(body.u8(field::NODE));
    let (state, incarnation) = (body.u8(field::STATE), body.u64(field::INCARNATION));
    if state > 1 || !node.is_some() || incarnation == 0 {
        return Err(Error);
    }
    Ok(Dlm::Cut { node, cut: state == 1, incarnation, silent_ms: body.u64(field::SILENT) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::node::Message;

    #[test]
    fn each_message_survives_its_frame() {
        let node = NodeId::new(7);
        for dlm in [
            Dlm::Address { node, port: 0, address: Ip::V4([192, 168, 7, 1]) },
            Dlm::Address { node, port: 21_064, address: Ip::V6([0xfd; 16]) },
            Dlm::Cut { node, cut: true, incarnation: 5, silent_ms: u64::MAX },
            Dlm::Cut { node, cut: false, incarnation: u64::MAX, silent_ms: 0 },
        ] {
            let message = Message::Dlm(dlm);
            let mut frame = message.frame(1, 2, &[]);
            assert_eq!(Message::parse(&frame), Ok(message));
            frame.body[field::NODE] = 0;
            assert_eq!(Message::parse(&frame), Err(Error), "about nobody");
        }
    }

    #[test]
    fn the_layout_is_the_one_of_the_protocol_page() {
        let node = NodeId::new(9);
        let told = Message::Dlm(Dlm::Address { node, port: 0x0102, address: Ip::V4([10, 7, 0, 9]) });
        let frame = told.frame(1, 2, &[]);
        assert_eq!(
            (frame.kind, &frame.body[..4], &frame.body[24..30]),
            (37, &[9, 4, 2, 1][..], &[10, 7, 0, 9, 0, 0][..])
        );
        let said = Message::Dlm(Dlm::Cut { node, cut: true, incarnation: 0x1122, silent_ms: 0x3344 });
        let frame = said.frame(1, 2, &[]);
        assert_eq!((frame.kind, &frame.body[..4]), (38, &[9, 0, 1, 0][..]));
        assert_eq!((&frame.body[8..10], &frame.body[16..18]), (&[0x22, 0x11][..], &[0x44, 0x33][..]));
    }

    #[test]
    fn what_the_fields_do_not_allow_is_no_message() {
        let node = NodeId::new(9);
        let mut told = Message::Dlm(Dlm::Address { node, port: 0, address: Ip::V4([10, 7, 0, 9]) }).frame(1, 2, &[]);
        told.body[field::FAMILY] = 5;
        assert_eq!(Message::parse(&told), Err(Error), "a family that there is not");
        let cut = Message::Dlm(Dlm::Cut { node, cut: true, incarnation: 5, silent_ms: 0 });
        let mut said = cut.frame(1, 2, &[]);
        said.body[field::STATE] = 2;
        assert_eq!(Message::parse(&said), Err(Error), "neither cut nor not");
        let mut said = cut.frame(1, 2, &[]);
        said.body[field::INCARNATION] = 0;
        assert_eq!(Message::parse(&said), Err(Error), "no incarnation");
    }
}
