//! The takeover's part of the node protocol: TAKEOVER, TAKEN, FAILED.
//!
//! Owns kinds 24 to 26. All three carry the same fields: an answer is about one token of one service, and means nothing to
//! another. Rules: SAFETY I1.

use crate::id::{Incarnation, Label, NodeId, Volume};
use crate::wire::{Error, Fields, Result, put};

mod kind {
    pub const TAKEOVER: u8 = 24;
    pub const TAKEN: u8 = 25;
    pub const FAILED: u8 = 26;
}

mod field {
    pub const DEAD: usize = 0;
    pub const SERVICE: usize = 2;
    pub const INCARNATION: usize = 8;
    pub const TOKEN: usize = 16;
    pub const LABEL: usize = 24;
}

/// What is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// DLM recovery and journal replay of this volume.
    Recovery(Volume),
    /// The service that the configuration calls so.
    Named(Label),
}

/// A service that was given to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Which.
    pub what: What,
    /// Whose it was; none: nobody's, it is placed for the first time.
    pub dead: NodeId,
    /// Which incarnation of it (SAFETY I1).
    pub incarnation: Incarnation,
    /// The version of the view that names the owner. Only grows.
    pub token: u64,
}

/// One message about a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Appliance -> owner: it is yours. Repeated until answered.
    Give(Given),
    /// Owner -> appliance: I have it; a recovery: it is done.
    Taken(Given),
    /// Owner -> appliance: I cannot, and have nothing of it.
    Failed(Given),
}

impl Takeover {
    /// The message in a body of this kind; `None`: not a kind of this room.
    pub(super) fn parse(number: u8, body: &Fields<'_>) -> Option<Result<Self>> {
        let make = match number {
            kind::TAKEOVER => Self::Give,
            kind::TAKEN => Self::Taken,
            kind::FAILED => Self::Failed,
            _ => return None,
        };
        Some(Given::read(body).map(make))
    }

    pub(super) fn emit_body(&self, body: &mut [u8]) -> u8 {
        let (number, given) = match self {
            Self::Give(given) => (kind::TAKEOVER, given),
            Self::Taken(given) => (kind::TAKEN, given),
            Self::Failed(given) => (kind::FAILED, given),
        };
        given.write(body);
        number
    }
}

impl Given {
    pub(super) fn read(body: &Fields<'_>) -> Result<Self> {
        let label = Label(body.array(field::LABEL));
        let what = match body.u8(field::SERVICE) {
            1 if label.is_some() => What::Recovery(label),
            2 if label.is_some() => What::Named(label),
            _ => return Err(Error),
        };
        let dead = NodeId::new(body.u8(field::DEAD));
        Ok(Self { what, dead, incarnation: body.u64(field::INCARNATION), token: body.u64(field::TOKEN) })
    }

    pub(super) fn write(&self, body: &mut [u8]) {
        let (code, label) = match self.what {
            What::Recovery(volume) => (1, volume),
            What::Named(name) => (2, name),
        };
        put(body, field::DEAD, [self.dead.get()]);
        put(body, field::SERVICE, [code]);
        put(body, field::INCARNATION, self.incarnation.to_le_bytes());
        put(body, field::TOKEN, self.token.to_le_bytes());
        put(body, field::LABEL, label.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::node::Message;

    #[test]
    fn each_message_survives_its_frame() {
        let dead = NodeId::new(3);
        let recovery = Given { what: What::Recovery(Label([9; 16])), dead, incarnation: 5, token: 1 << 40 };
        let named = Given { what: What::Named(Label::named("queue")), dead: NodeId::NONE, incarnation: 0, token: 7 };
        for takeover in [Takeover::Give(recovery), Takeover::Taken(named), Takeover::Failed(recovery)] {
            let message = Message::Takeover(takeover);
            let mut frame = message.frame(1, 2, &[]);
            assert_eq!(Message::parse(&frame), Ok(message));
            frame.body[field::SERVICE] = 3;
            assert_eq!(Message::parse(&frame), Err(Error));
        }
    }
}
