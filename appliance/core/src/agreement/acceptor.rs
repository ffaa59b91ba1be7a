//! What this appliance promised, what it accepted, and what it knows to be committed.
//!
//! Owns the states. Accepts only upwards and never below its promise (SAFETY A3), only proposals that name its own
//! incarnation (A4), and only whole states whose digest fits (A5: there are no deltas yet, so none can be misapplied).
//! A member's committed states only move forward (S1).

use crate::id::{Ballot, HostId, Incarnation};
use crate::rule::{Rule, Rules};
use crate::state::{STATE_BYTES_MAX, State, digest};
use crate::wire::message::{PIECE_BYTES, Piece, Slot};

/// Pieces of the largest state.
pub const PIECES_MAX: usize = STATE_BYTES_MAX.div_ceil(PIECE_BYTES);
const _: () = assert!(PIECES_MAX <= 32, "the pieces that came are bits of a u32");

/// One state, encoded, with its place and digest.
#[derive(Debug)]
pub struct Encoded {
    bytes: [u8; STATE_BYTES_MAX],
    length: usize,
    /// Its digest.
    pub digest: u64,
}

impl Encoded {
    const EMPTY: Self = Self { bytes: [0; STATE_BYTES_MAX], length: 0, digest: 0 };

    fn set(&mut self, state: &State) {
        self.length = state.encode(&mut self.bytes);
        self.digest = digest(&self.bytes[..self.length]);
    }

    /// Piece number `index`: its head and bytes.
    #[must_use]
    pub fn piece(&self, index: usize, slot: Slot, fetched: bool) -> Option<(Piece, &[u8])> {
        let start = index.checked_mul(PIECE_BYTES)?;
        let bytes = self.bytes[..self.length].get(start..)?;
        let bytes = &bytes[..bytes.len().min(PIECE_BYTES)];
        let total = u32::try_from(self.length).ok()?;
        let offset = u32::try_from(start).ok()?;
        Some((Piece { slot, digest: self.digest, total, offset, fetched }, bytes))
    }
}

/// A state that comes in pieces. One at a time: a greater slot, or a fetched one instead of a proposal, displaces it.
#[derive(Debug)]
struct Assembly {
    /// From whom, which slot, which digest, fetched or proposed; from nobody: nothing is being put together.
    head: (HostId, Slot, u64, bool),
    bytes: [u8; STATE_BYTES_MAX],
    total: usize,
    got: u32,
}

impl Assembly {
    const EMPTY: Self =
        Self { head: (HostId::NONE, Slot::NONE, 0, false), bytes: [0; STATE_BYTES_MAX], total: 0, got: 0 };

    /// Takes a piece. Whether the state is whole and its digest fits.
    fn take(&mut self, from: HostId, piece: &Piece, bytes: &[u8]) -> bool {
        let head = (from, piece.slot, piece.digest, piece.fetched);
        let (Ok(total), Ok(offset)) = (usize::try_from(piece.total), usize::try_from(piece.offset)) else {
            return false;
        };
        if self.head != head {
            self.head = head;
            self.total = total;
            self.got = 0;
        }
        let pieces = total.div_ceil(PIECE_BYTES);
        let index = offset / PIECE_BYTES;
        let expected = total.saturating_sub(offset).min(PIECE_BYTES);
        let sound = total <= STATE_BYTES_MAX
            && total == self.total
            && offset % PIECE_BYTES == 0
            && index < pieces
            && bytes.len() == expected;
        let Some(place) = self.bytes.get_mut(offset..offset + bytes.len()).filter(|_| sound) else {
            return false;
        };
        place.copy_from_slice(bytes);
        self.got |= 1 << index;
        let all = u32::MAX >> (32 - pieces);
        let whole = self.got == all && digest(&self.bytes[..total]) == piece.digest;
        if self.got == all {
            self.head = Self::EMPTY.head;
        }
        whole
    }
}

/// What became of a proposal or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// More pieces are to come, or it was not for us.
    Nothing,
    /// Accepted, now or before: say so.
    Accepted,
    /// A state that was fetched is whole, in `scratch`.
    Fetched,
}

/// What `scratch` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scratch {
    /// Nothing that anybody relies on.
    Anything,
    /// The state that was accepted elsewhere at this slot, with its digest: fetched, to be adopted.
    Fetched(Slot, u64),
    /// The state committed at this slot, under the next version: whoever looks for a change and finds none leaves it so.
    Next(Slot),
}

/// The acceptor.
#[derive(Debug)]
pub struct Acceptor {
    me: HostId,
    incarnation: Incarnation,
    rules: Rules,
    /// No lower ballot is answered any more.
    pub promised: Ballot,
    /// Whether it holds any state (SAFETY B1).
    pub memory: bool,
    /// What it accepted last.
    pub slot: Slot,
    /// The state accepted last.
    pub accepted: State,
    /// The same, encoded.
    pub encoded: Encoded,
    /// What it knows to be committed.
    pub committed_slot: Slot,
    /// The state known to be committed.
    pub committed: State,
    /// A state on its way in, or being built.
    pub scratch: State,
    /// What `scratch` holds, for as long as nothing else was put there.
    holds: Scratch,
    assembly: Assembly,
}

impl Acceptor {
    /// Without memory; all zero.
    pub const EMPTY: Self = Self {
        me: HostId::NONE,
        incarnation: 0,
        rules: Rules::ALL,
        promised: Ballot::NONE,
        memory: false,
        slot: Slot::NONE,
        accepted: State::EMPTY,
        encoded: Encoded::EMPTY,
        committed_slot: Slot::NONE,
        committed: State::EMPTY,
        scratch: State::EMPTY,
        holds: Scratch::Anything,
        assembly: Assembly::EMPTY,
    };

    /// Starts as this incarnation, without memory.
    pub const fn start(&mut self, me: HostId, incarnation: Incarnation, rules: Rules) {
        self.me = me;
        self.incarnation = incarnation;
        self.rules = rules;
    }

    /// Promises a ballot. Whether it may: it is not below what was promised.
    pub fn promise(&mut self, ballot: Ballot) -> bool {
        if ballot < self.promised {
            return false;
        }
        self.promised = ballot;
        true
    }

    /// Takes a piece of a state.
    pub fn take(&mut self, from: HostId, piece: &Piece, bytes: &[u8]) -> Taken {
        if piece.fetched {
            if !self.assembly.take(from, piece, bytes) || !self.decode() {
                return Taken::Nothing;
            }
            self.holds = Scratch::Fetched(piece.slot, piece.digest);
            return Taken::Fetched;
        }
        if from != piece.slot.ballot.host || piece.slot.ballot < self.promised {
            return Taken::Nothing;
        }
        if self.memory && piece.slot == self.slot && piece.digest == self.encoded.digest {
            return Taken::Accepted;
        }
        if self.memory && piece.slot <= self.slot && self.rules.holds(Rule::A3Upwards) {
            return Taken::Nothing;
        }
        if !self.assembly.take(from, piece, bytes) || !self.decode() {
            return Taken::Nothing;
        }
        let row = self.scratch.host(self.me);
        let names_us = row.counts() && row.incarnation == self.incarnation || !self.rules.holds(Rule::A4);
        if !names_us || self.scratch.version != piece.slot.version {
            return Taken::Nothing;
        }
        self.promised = piece.slot.ballot;
        self.adopt(piece.slot);
        Taken::Accepted
    }

    /// The state that a candidate could adopt, with its slot and digest: the fetched one, if it still is in `scratch`, or
    /// the one that was accepted.
    #[must_use]
    pub fn held(&self) -> (Slot, u64, &State) {
        match self.holds {
            Scratch::Fetched(slot, digest) => (slot, digest, &self.scratch),
            _ => (self.slot, self.encoded.digest, &self.accepted),
        }
    }

    /// Puts the state of `held` into `scratch`, to be adopted.
    pub fn take_held(&mut self) {
        if !matches!(self.holds, Scratch::Fetched(..)) {
            self.scratch.clone_from(&self.accepted);
        }
        self.forget_scratch();
    }

    /// What was put into `scratch` is over: an election's fetched state, or a view that was to be changed.
    pub const fn forget_scratch(&mut self) {
        self.holds = Scratch::Anything;
    }

    /// The committed state under the next version, to be changed. A leader looks much more often than it finds something
    /// to change, so the copy of what it looked at last serves again. After a change it must be adopted.
    pub fn next(&mut self) -> &mut State {
        if self.holds != Scratch::Next(self.committed_slot) {
            self.scratch.clone_from(&self.committed);
            self.scratch.version += 1;
            self.holds = Scratch::Next(self.committed_slot);
        }
        &mut self.scratch
    }

    fn decode(&mut self) -> bool {
        self.forget_scratch();
        let total = self.assembly.total;
        self.scratch.decode(&self.assembly.bytes[..total]).is_ok()
    }

    /// Accepts the state in `scratch` at this slot: a proposal that passed, or the leader's own.
    pub fn adopt(&mut self, slot: Slot) {
        assert!(slot.ballot >= self.promised, "an acceptor never accepts below its promise");
        let upwards = !self.memory || slot > self.slot || !self.rules.holds(Rule::A3Upwards);
        assert!(upwards, "an acceptor accepts only upwards");
        self.forget_scratch();
        self.accepted.clone_from(&self.scratch);
        self.encoded.set(&self.accepted);
        self.slot = slot;
        self.memory = true;
    }

    /// Whether this word of a leader says that what we accepted is committed, and we did not know.
    #[must_use]
    pub fn learns(&self, slot: Slot) -> bool {
        self.memory && slot == self.slot && self.committed_slot != slot && slot.ballot >= self.promised
    }

    /// What was accepted is committed.
    pub fn commit(&mut self) {
        let forward = self.slot.version >= self.committed.version || !self.rules.holds(Rule::A3Upwards);
        assert!(forward, "committed states only move forward");
        self.committed.clone_from(&self.accepted);
        self.committed_slot = self.slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    fn ballot(round: u32, host: u8) -> Ballot {
        Ballot { round, host: HostId::new(host) }
    }

    /// An acceptor for host 1, incarnation 11, and the pieces of a state that names it.
    fn given(round: u32, leader: u8, version: u64) -> (Box<Acceptor>, Piece, std::vec::Vec<u8>) {
        let mut acceptor = Box::new(Acceptor::EMPTY);
        acceptor.start(HostId::new(1), 11, Rules::ALL);
        let mut state = Box::new(State::EMPTY);
        state.version = version;
        state.admit(HostId::new(1), 11, 0);
        let mut encoded = Box::new(Encoded::EMPTY);
        encoded.set(&state);
        let slot = Slot { ballot: ballot(round, leader), version };
        let (piece, bytes) = encoded.piece(0, slot, false).expect("one piece");
        (acceptor, piece, bytes.to_vec())
    }

    #[test]
    fn accepts_only_upwards_and_not_below_its_promise() {
        let (mut acceptor, piece, bytes) = given(2, 2, 5);
        let from = HostId::new(2);
        assert_eq!(acceptor.take(from, &piece, &bytes), Taken::Accepted);
        assert_eq!(acceptor.take(from, &piece, &bytes), Taken::Accepted, "a repeated proposal is answered again");
        let (_, lower, bytes_lower) = given(2, 2, 4);
        assert_eq!(acceptor.take(from, &lower, &bytes_lower), Taken::Nothing, "a late duplicate rolls nothing back");
        assert!(acceptor.promise(ballot(3, 3)) && !acceptor.promise(ballot(2, 9)));
        let (_, higher, bytes_higher) = given(2, 2, 6);
        assert_eq!(acceptor.take(from, &higher, &bytes_higher), Taken::Nothing, "a higher ballot was promised");
        assert_eq!(acceptor.slot.version, 5);
    }

    #[test]
    fn refuses_a_proposal_that_names_another_incarnation_of_it() {
        let (mut acceptor, piece, bytes) = given(2, 2, 5);
        acceptor.start(HostId::new(1), 12, Rules::ALL);
        assert_eq!(acceptor.take(HostId::new(2), &piece, &bytes), Taken::Nothing);
        assert!(!acceptor.memory);
    }

    #[test]
    fn takes_no_proposal_from_another_than_its_leader_and_none_that_was_changed() {
        let (mut acceptor, piece, mut bytes) = given(2, 2, 5);
        assert_eq!(acceptor.take(HostId::new(3), &piece, &bytes), Taken::Nothing);
        bytes[30] ^= 1;
        assert_eq!(acceptor.take(HostId::new(2), &piece, &bytes), Taken::Nothing);
        let wild = Piece { total: u32::MAX, offset: u32::MAX, ..piece };
        assert_eq!(acceptor.take(HostId::new(2), &wild, &bytes), Taken::Nothing);
    }

    #[test]
    fn a_fetched_state_is_forgotten_as_soon_as_another_takes_its_place() {
        let (mut acceptor, piece, bytes) = given(2, 2, 5);
        let fetched = Piece { fetched: true, ..piece };
        assert_eq!(acceptor.take(HostId::new(3), &fetched, &bytes), Taken::Fetched);
        assert_eq!(acceptor.held().0, piece.slot);
        acceptor.start(HostId::new(1), 12, Rules::ALL);
        let (_, refused, bytes_refused) = given(3, 2, 6);
        assert_eq!(
            acceptor.take(HostId::new(2), &refused, &bytes_refused),
            Taken::Nothing,
            "it names another incarnation"
        );
        assert_eq!(acceptor.held().0, Slot::NONE, "nothing is held, least of all the refused state under a wrong name");
    }

    #[test]
    fn learns_of_a_commit_only_what_it_accepted() {
        let (mut acceptor, piece, bytes) = given(2, 2, 5);
        assert_eq!(acceptor.take(HostId::new(2), &piece, &bytes), Taken::Accepted);
        assert!(!acceptor.learns(Slot { version: 6, ..piece.slot }));
        assert!(acceptor.learns(piece.slot));
        acceptor.commit();
        assert!(!acceptor.learns(piece.slot));
    }
}
