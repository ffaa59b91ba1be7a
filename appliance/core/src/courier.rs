//! The courier: which peers still are to get the present state, piece by piece.
//!
//! Owns one cursor instead of a queue, so that sending the largest state to 254 hosts needs no room at all. Whoever lost a
//! piece is marked again by its owner's timer.

use crate::agreement::acceptor::Encoded;
use crate::id::HostId;
use crate::limits::ID_SLOTS;
use crate::wire::message::{Message, Slot};

/// Why a peer gets the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Proposal,
    Fetched,
}

/// The courier.
#[derive(Debug)]
pub struct Courier {
    due: [Due; ID_SLOTS],
    /// How many are due.
    count: usize,
    host: usize,
    piece: usize,
}

impl Courier {
    /// Nobody is to get anything; all zero.
    pub const IDLE: Self = Self { due: [Due::Nothing; ID_SLOTS], count: 0, host: 0, piece: 0 };

    /// Begins anew: what was on its way is outdated.
    pub fn clear(&mut self) {
        *self = Self::IDLE;
    }

    fn mark(&mut self, to: HostId, due: Due) {
        let place = &mut self.due[to.index()];
        self.count += usize::from(*place == Due::Nothing);
        *place = due;
    }

    /// This host is to get the proposal.
    pub fn propose(&mut self, to: HostId) {
        self.mark(to, Due::Proposal);
    }

    /// This candidate asked for what we accepted.
    pub fn lend(&mut self, to: HostId) {
        self.mark(to, Due::Fetched);
    }

    /// Whether anybody is to get anything.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.count > 0
    }

    /// The next piece to send: to whom, its head, its bytes.
    pub fn next<'e>(&mut self, encoded: &'e Encoded, slot: Slot) -> Option<(HostId, Message, &'e [u8])> {
        while self.count > 0 {
            let due = self.due[self.host];
            if due != Due::Nothing {
                let to = HostId::new(u8::try_from(self.host).unwrap_or(0));
                if let Some((head, bytes)) = encoded.piece(self.piece, slot, due == Due::Fetched) {
                    self.piece += 1;
                    return Some((to, Message::Piece(head), bytes));
                }
                self.due[self.host] = Due::Nothing;
                self.count -= 1;
            }
            self.piece = 0;
            self.host = (self.host + 1) % ID_SLOTS;
        }
        None
    }
}
