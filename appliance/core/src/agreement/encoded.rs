//! The accepted state as bytes, and the way to the next one.
//!
//! Owns two buffers in turns: while one holds what was accepted, the next state is built in the other, beside it. So what
//! changed is found by walking both, and nothing that was refused leaves a trace.

use super::delta::{self, Delta};
use crate::state::{STATE_BYTES_MAX, State, digest};
use crate::wire::message::{PIECE_BYTES, Piece, Slot};
use crate::wire::{Error, Result};

/// A version and the digest of its content: how a delta names its base (SAFETY A5). Not under which ballot it was
/// accepted: what the bytes are is all that a delta depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Which version; zero: nothing.
    pub version: u64,
    /// Its digest.
    pub digest: u64,
}

/// The accepted state, encoded.
#[derive(Debug)]
pub struct Encoded {
    bytes: [[u8; STATE_BYTES_MAX]; 2],
    /// Which of the two is accepted.
    present: usize,
    length: usize,
    /// What it is.
    pub content: Content,
    /// What is being built beside it: its length, and what it is.
    next: (usize, Content),
}

impl Encoded {
    /// Nothing was accepted; all zero.
    pub const EMPTY: Self = Self {
        bytes: [[0; STATE_BYTES_MAX]; 2],
        present: 0,
        length: 0,
        content: Content { version: 0, digest: 0 },
        next: (0, Content { version: 0, digest: 0 }),
    };

    /// The accepted bytes, and the buffer beside them.
    const fn sides(&mut self) -> (&[u8; STATE_BYTES_MAX], &mut [u8; STATE_BYTES_MAX]) {
        let [first, second] = &mut self.bytes;
        if self.present == 0 { (first, second) } else { (second, first) }
    }

    /// Builds the next state from a state. What changed goes into `delta`.
    pub fn build(&mut self, state: &State, delta: &mut Delta) {
        let (base, length) = (self.content, self.length);
        let (accepted, next) = self.sides();
        let written = state.encode(next);
        let digest = delta.make(base, &accepted[..length], &next[..written]);
        self.next = (written, Content { version: state.version, digest });
    }

    /// Builds the next state from bytes that came whole, if their digest is this one.
    ///
    /// # Errors
    /// It is not.
    pub fn build_whole(&mut self, bytes: &[u8], content: Content) -> Result<()> {
        let place = self.sides().1.get_mut(..bytes.len()).ok_or(Error)?;
        place.copy_from_slice(bytes);
        self.next = (bytes.len(), content);
        if digest(bytes) == content.digest { Ok(()) } else { Err(Error) }
    }

    /// Builds the next state from a delta on the accepted one. The digest of what comes out.
    ///
    /// # Errors
    /// The bytes are no delta.
    pub fn build_changed(&mut self, changes: &[u8], content: Content) -> Result<u64> {
        let (base, length) = (self.content, self.length);
        let (accepted, next) = self.sides();
        let (written, digest) = delta::apply(base.digest, &accepted[..length], changes, next)?;
        self.next = (written, content);
        Ok(digest)
    }

    /// Whether the accepted bytes have the digest that they are said to have.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        digest(&self.bytes[self.present][..self.length]) == self.content.digest
    }

    /// What is being built.
    #[must_use]
    pub fn next(&self) -> &[u8] {
        &self.bytes[1 - self.present][..self.next.0]
    }

    /// What was built is accepted.
    pub const fn turn(&mut self) {
        self.present = 1 - self.present;
        (self.length, self.content) = self.next;
    }

    /// Piece number `index` of the accepted state: its head and bytes.
    #[must_use]
    pub fn piece(&self, index: usize, slot: Slot, fetched: bool) -> Option<(Piece, &[u8])> {
        let start = index.checked_mul(PIECE_BYTES)?;
        let bytes = self.bytes[self.present][..self.length].get(start..).filter(|rest| !rest.is_empty())?;
        let bytes = &bytes[..bytes.len().min(PIECE_BYTES)];
        let total = u32::try_from(self.length).ok()?;
        let offset = u32::try_from(start).ok()?;
        Some((Piece { slot, digest: self.content.digest, total, offset, fetched }, bytes))
    }
}
