//! The courier: which peers still are to get the present state, piece by piece.
//!
//! Owns one cursor instead of a queue, so that sending the largest state to 254 hosts needs no room at all. A proposal goes
//! as a delta to everybody; whoever does not hold its base says so, and gets the whole state (SAFETY A5). Whoever lost a piece
//! is marked again by its owner's timer.

use crate::agreement::delta::Delta;
use crate::agreement::encoded::Encoded;
use crate::id::HostId;
use crate::limits::ID_SLOTS;
use crate::wire::message::{Message, Slot};

/// Why a peer gets the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// The proposal, as a delta if there is one.
    Changes,
    /// The proposal, whole.
    Whole,
    /// What was accepted here, whole.
    Fetched,
}

/// The courier.
#[derive(Debug)]
pub struct Courier {
    due: [Due; ID_SLOTS],
    /// Who cannot use the delta.
    lacks_base: [bool; ID_SLOTS],
    /// How many are due.
    count: usize,
    host: usize,
    piece: usize,
}

impl Courier {
    /// Nobody is to get anything; all zero.
    pub const IDLE: Self =
        Self { due: [Due::Nothing; ID_SLOTS], lacks_base: [false; ID_SLOTS], count: 0, host: 0, piece: 0 };

    /// Begins anew: what was on its way is outdated.
    pub fn clear(&mut self) {
        *self = Self::IDLE;
    }

    fn mark(&mut self, to: HostId, due: Due) {
        let place = &mut self.due[to.index()];
        if *place == due {
            return;
        }
        self.count += usize::from(*place == Due::Nothing);
        *place = due;
        if self.host == to.index() {
            self.piece = 0;
        }
    }

    /// This host is to get the proposal.
    pub fn propose(&mut self, to: HostId) {
        self.mark(to, if self.lacks_base[to.index()] { Due::Whole } else { Due::Changes });
    }

    /// This host does not hold the base of the delta: it is to get the proposal whole.
    pub fn propose_whole(&mut self, to: HostId) {
        self.lacks_base[to.index()] = true;
        self.propose(to);
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
    pub fn next<'e>(
        &mut self,
        encoded: &'e Encoded,
        delta: &'e Delta,
        slot: Slot,
    ) -> Option<(HostId, Message, &'e [u8])> {
        while self.count > 0 {
            let due = self.due[self.host];
            if due != Due::Nothing {
                let to = HostId::new(u8::try_from(self.host).unwrap_or(0));
                let piece = if due == Due::Changes && delta.is_some() {
                    let piece = delta.piece(self.piece, slot, encoded.content.digest);
                    piece.map(|(head, bytes)| (Message::Delta(head), bytes))
                } else {
                    let piece = encoded.piece(self.piece, slot, due == Due::Fetched);
                    piece.map(|(head, bytes)| (Message::Piece(head), bytes))
                };
                if let Some((message, bytes)) = piece {
                    self.piece += 1;
                    return Some((to, message, bytes));
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
