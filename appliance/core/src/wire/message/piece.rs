//! PIECE as bytes: a part of a state, for an acceptor or a candidate.
//!
//! Owns how much of a state one datagram carries.

use super::fields::{Reader, Writer};
use super::{Message, Slot, kind};
use crate::wire::datagram::MESSAGE_MAX;
use crate::wire::{Error, Fields, Result};

/// Bytes of state in one piece.
pub const PIECE_BYTES: usize = 1200;
/// Where its bytes begin, in a delta too.
pub(super) const PIECE_AT: usize = 48;
const _: () = assert!(PIECE_AT + PIECE_BYTES <= MESSAGE_MAX);

/// One piece of an encoded state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Under which ballot and version it is proposed, or was accepted.
    pub slot: Slot,
    /// Digest of the whole encoded state.
    pub digest: u64,
    /// Bytes of the whole encoded state.
    pub total: u32,
    /// The piece begins there.
    pub offset: u32,
    /// For a candidate that fetches it, not a proposal.
    pub fetched: bool,
}

pub(super) fn emit(head: &Piece, mut w: Writer<'_>, piece: &[u8]) -> usize {
    assert!(piece.len() <= PIECE_BYTES, "pieces are cut to PIECE_BYTES by whoever cuts them");
    w.u8(kind::PIECE).slot(head.slot).u64(head.digest).u32(head.total).u32(head.offset).flag(head.fetched);
    w.buffer[PIECE_AT..PIECE_AT + piece.len()].copy_from_slice(piece);
    PIECE_AT + piece.len()
}

pub(super) fn parse(bytes: &[u8]) -> Result<(Message, &[u8])> {
    let mut r = Reader { fields: Fields(bytes), at: 1 };
    let head = Piece { slot: r.slot(), digest: r.u64(), total: r.u32(), offset: r.u32(), fetched: r.flag()? };
    let piece = bytes.get(PIECE_AT..).ok_or(Error)?;
    if piece.len() > PIECE_BYTES { Err(Error) } else { Ok((Message::Piece(head), piece)) }
}
