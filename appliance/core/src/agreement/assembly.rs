//! What comes in pieces, put together again.
//!
//! Owns one buffer and the marks of what came. Pieces may come late, twice, and in any order; what is whole is handed out only
//! if its size fits. Nothing here is believed: whoever takes it checks the digest.

use crate::wire::message::{PIECE_BYTES, Slot};

/// Pieces of the largest thing that is put together.
pub const PIECES_MAX: usize = u128::BITS as usize;

/// What a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Under which ballot and version.
    pub slot: Slot,
    /// Its digest, or that of what it leads to.
    pub digest: u64,
    /// It was fetched; otherwise it is proposed.
    pub fetched: bool,
    /// Bytes of it.
    pub total: usize,
}

/// One thing that comes in pieces, of at most `N` bytes.
#[derive(Debug)]
pub struct Assembly<const N: usize> {
    /// What; total zero: nothing.
    whole: Whole,
    bytes: [u8; N],
    /// Bit i: piece i came.
    got: u128,
    /// Pieces of something lesser that came since the last piece of this.
    ignored: usize,
}

impl<const N: usize> Assembly<N> {
    /// Nothing came; all zero.
    pub const EMPTY: Self = Self {
        whole: Whole { slot: Slot::NONE, digest: 0, fetched: false, total: 0 },
        bytes: [0; N],
        got: 0,
        ignored: 0,
    };
    const FITS: () = assert!(N <= PIECES_MAX * PIECE_BYTES, "the pieces that came are bits of `got`");

    /// Takes the piece that begins at `offset`. The bytes, if that makes it whole; then the next one begins.
    pub fn take(&mut self, whole: Whole, offset: u32, piece: &[u8]) -> Option<&[u8]> {
        const { Self::FITS };
        let offset = usize::try_from(offset).ok()?;
        let (pieces, index) = (whole.total.div_ceil(PIECE_BYTES), offset / PIECE_BYTES);
        let sound = whole.total <= N
            && offset.is_multiple_of(PIECE_BYTES)
            && index < pieces
            && piece.len() == (whole.total - offset).min(PIECE_BYTES);
        if !sound || !self.begin(whole) {
            return None;
        }
        self.bytes[offset..offset + piece.len()].copy_from_slice(piece);
        self.got |= 1 << index;
        self.ignored = 0;
        if self.got != u128::MAX >> (PIECES_MAX - pieces) {
            return None;
        }
        self.forget();
        Some(&self.bytes[..whole.total])
    }

    /// Whether pieces of this are taken now. What is greater displaces what is lesser, and the other way round only after
    /// the greater has been silent for long: two leaders, of whom one is over, must not keep displacing each other's
    /// pieces, and one that died half-way must not stand in the way of another for ever.
    fn begin(&mut self, whole: Whole) -> bool {
        if self.whole == whole {
            return true;
        }
        let waits = self.whole.total != 0 && self.whole.fetched == whole.fetched && self.whole.slot > whole.slot;
        if waits && self.ignored < PIECES_MAX {
            self.ignored += 1;
            return false;
        }
        self.whole = whole;
        self.got = 0;
        self.ignored = 0;
        true
    }

    /// Begins anew.
    pub const fn forget(&mut self) {
        self.whole = Self::EMPTY.whole;
        self.got = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Ballot, HostId};
    use std::boxed::Box;

    const BYTES: usize = 5 * PIECE_BYTES - 100;

    fn whole(round: u32, version: u64) -> Whole {
        let slot = Slot { ballot: Ballot { round, host: HostId::new(1) }, version };
        Whole { slot, digest: u64::from(round) * 100 + version, fetched: false, total: BYTES }
    }

    fn content(of: Whole) -> std::vec::Vec<u8> {
        (0..of.total).map(|at| (at as u64 * 7 + of.digest).to_le_bytes()[0]).collect()
    }

    fn offer(assembly: &mut Assembly<{ PIECE_BYTES * 6 }>, of: Whole, index: usize) -> Option<std::vec::Vec<u8>> {
        let (bytes, start) = (content(of), index * PIECE_BYTES);
        let piece = &bytes[start..(start + PIECE_BYTES).min(of.total)];
        assembly.take(of, u32::try_from(start).expect("small"), piece).map(<[u8]>::to_vec)
    }

    #[test]
    fn pieces_come_late_twice_and_in_any_order() {
        let mut assembly = Box::new(Assembly::EMPTY);
        let one = whole(1, 5);
        for index in [3, 3, 0, 4, 0, 2] {
            assert_eq!(offer(&mut assembly, one, index), None);
        }
        assert_eq!(offer(&mut assembly, one, 1), Some(content(one)));
        assert_eq!(offer(&mut assembly, one, 1), None, "a duplicate after the end begins anew and harms nothing");
    }

    #[test]
    fn pieces_of_two_leaders_interleaved_make_the_greater_whole() {
        let mut assembly = Box::new(Assembly::EMPTY);
        let (lesser, greater) = (whole(1, 9), whole(2, 8));
        for index in 0..4 {
            assert_eq!(offer(&mut assembly, lesser, index), None);
            assert_eq!(offer(&mut assembly, greater, index), None);
        }
        assert_eq!(offer(&mut assembly, lesser, 4), None);
        assert_eq!(offer(&mut assembly, greater, 4), Some(content(greater)));
    }

    #[test]
    fn a_leader_that_died_half_way_does_not_stand_in_the_way_for_ever() {
        let mut assembly = Box::new(Assembly::EMPTY);
        let (dead, living) = (whole(2, 1), whole(1, 2));
        assert_eq!(offer(&mut assembly, dead, 0), None);
        let rounds = (0..PIECES_MAX).find(|_| (0..5).any(|index| offer(&mut assembly, living, index).is_some()));
        assert!(rounds.is_some(), "it is sent again and again, and comes through");
    }

    #[test]
    fn what_does_not_fit_is_not_taken() {
        let mut assembly: Box<Assembly<{ PIECE_BYTES * 6 }>> = Box::new(Assembly::EMPTY);
        let one = whole(1, 5);
        let bytes = [0; PIECE_BYTES];
        for (of, offset, length) in [
            (one, 7, PIECE_BYTES),
            (one, 0, PIECE_BYTES - 1),
            (one, 4 * 1200, PIECE_BYTES),
            (one, 5 * 1200, 0),
            (one, u32::MAX, 0),
            (Whole { total: 0, ..one }, 0, 0),
            (Whole { total: usize::MAX, ..one }, 0, PIECE_BYTES),
        ] {
            assert_eq!(assembly.take(of, offset, &bytes[..length]), None);
        }
    }
}
