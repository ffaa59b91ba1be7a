//! A proposal as a delta, and the answer of whoever holds another base.

use super::fields::{Reader, Writer};
use super::piece::PIECE_AT;
use super::{Message, PIECE_BYTES, Slot};
use crate::wire::{Error, Fields, Result};

/// One piece of a delta that proposes a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Under which ballot and version the result is proposed.
    pub slot: Slot,
    /// Digest of the result.
    pub digest: u64,
    /// The version of the state that it changes.
    pub base_version: u64,
    /// The digest of that state (SAFETY A5).
    pub base_digest: u64,
    /// Bytes of the whole delta.
    pub total: u32,
    /// The piece begins there.
    pub offset: u32,
}

pub(super) fn emit(head: &Proposal, mut w: Writer<'_>, piece: &[u8]) -> usize {
    assert!(piece.len() <= PIECE_BYTES, "pieces are cut to PIECE_BYTES by whoever cuts them");
    w.u8(super::kind::DELTA).slot(head.slot).u64(head.digest).u64(head.base_version).u64(head.base_digest);
    w.u32(head.total).u32(head.offset);
    w.buffer[PIECE_AT..PIECE_AT + piece.len()].copy_from_slice(piece);
    PIECE_AT + piece.len()
}

pub(super) fn parse(bytes: &[u8]) -> Result<(Message, &[u8])> {
    let mut r = Reader { fields: Fields(bytes), at: 1 };
    let head = Proposal {
        slot: r.slot(),
        digest: r.u64(),
        base_version: r.u64(),
        base_digest: r.u64(),
        total: r.u32(),
        offset: r.u32(),
    };
    let piece = bytes.get(PIECE_AT..).ok_or(Error)?;
    if piece.len() > PIECE_BYTES { Err(Error) } else { Ok((Message::Delta(head), piece)) }
}
