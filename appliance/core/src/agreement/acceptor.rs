//! What this appliance promised, what it accepted, and what it knows to be committed.
//!
//! Owns the states. Accepts only upwards and never below its promise (SAFETY A3), only proposals that name its own
//! incarnation (A4), and only what has the digest that the proposal names, however it came: whole, or as a delta on just what
//! is accepted here (A5). A member's committed states only move forward (S1).

use super::assembly::{Assembly, Whole};
use super::delta::{DELTA_BYTES_MAX, Delta};
use super::encoded::{Content, Encoded};
use crate::id::{Ballot, HostId, Incarnation};
use crate::rule::{Rule, Rules};
use crate::state::{STATE_BYTES_MAX, State};
use crate::wire::message::{Piece, Proposal, Slot};

/// What became of a proposal or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// More pieces are to come, or it was not for us.
    Nothing,
    /// Accepted, now or before: say so.
    Accepted,
    /// A state that was fetched is whole, in `scratch`.
    Fetched,
    /// It is a delta on another base than what was accepted here: the whole state must come.
    NeedsWhole,
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
    /// What changed from what was accepted before to what this appliance adopted as a leader.
    pub delta: Delta,
    whole: Assembly<STATE_BYTES_MAX>,
    changes: Assembly<DELTA_BYTES_MAX>,
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
        delta: Delta::NONE,
        whole: Assembly::EMPTY,
        changes: Assembly::EMPTY,
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
        let refused = if piece.fetched { None } else { self.refuses(from, piece.slot, piece.digest) };
        if let Some(taken) = refused {
            return taken;
        }
        let Ok(total) = usize::try_from(piece.total) else { return Taken::Nothing };
        let whole = Whole { slot: piece.slot, digest: piece.digest, fetched: piece.fetched, total };
        let Some(bytes) = self.whole.take(whole, piece.offset, bytes) else { return Taken::Nothing };
        let content = Content { version: piece.slot.version, digest: piece.digest };
        if self.encoded.build_whole(bytes, content).is_err() || !self.decode_next() {
            return Taken::Nothing;
        }
        if piece.fetched {
            self.holds = Scratch::Fetched(piece.slot, piece.digest);
            return Taken::Fetched;
        }
        self.accept_next(piece.slot)
    }

    /// Takes a piece of a delta. It changes what was accepted, and nothing else (SAFETY A5).
    pub fn take_delta(&mut self, from: HostId, piece: &Proposal, bytes: &[u8]) -> Taken {
        if let Some(taken) = self.refuses(from, piece.slot, piece.digest) {
            return taken;
        }
        let base = Content { version: piece.base_version, digest: piece.base_digest };
        if !self.memory || self.encoded.content != base && self.rules.holds(Rule::A5) {
            return if piece.offset == 0 { Taken::NeedsWhole } else { Taken::Nothing };
        }
        let Ok(total) = usize::try_from(piece.total) else { return Taken::Nothing };
        let whole = Whole { slot: piece.slot, digest: piece.digest, fetched: false, total };
        let Some(changes) = self.changes.take(whole, piece.offset, bytes) else { return Taken::Nothing };
        let content = Content { version: piece.slot.version, digest: piece.digest };
        let built = self.encoded.build_changed(changes, content);
        let fits = built.is_ok_and(|digest| digest == content.digest || !self.rules.holds(Rule::A5));
        if !fits || !self.decode_next() {
            return Taken::NeedsWhole;
        }
        self.accept_next(piece.slot)
    }

    /// What becomes of a proposal that needs no look at its content: not its leader's, below our promise, accepted already, or
    /// not above what was accepted (SAFETY A3).
    fn refuses(&self, from: HostId, slot: Slot, digest: u64) -> Option<Taken> {
        if from != slot.ballot.host || slot.ballot < self.promised {
            return Some(Taken::Nothing);
        }
        if self.memory && slot == self.slot && digest == self.encoded.content.digest {
            return Some(Taken::Accepted);
        }
        let downwards = self.memory && slot <= self.slot && self.rules.holds(Rule::A3Upwards);
        downwards.then_some(Taken::Nothing)
    }

    /// What was built beside the accepted state goes into `scratch`.
    fn decode_next(&mut self) -> bool {
        self.forget_scratch();
        self.scratch.decode(self.encoded.next()).is_ok()
    }

    /// Accepts what was built and decoded, if it is what its slot says and names this incarnation.
    fn accept_next(&mut self, slot: Slot) -> Taken {
        let row = self.scratch.host(self.me);
        let names_us = row.counts() && row.incarnation == self.incarnation || !self.rules.holds(Rule::A4);
        // Between two cluster incarnations the number decides: neither knew of the other's ballots (SAFETY B5).
        let (ours, theirs) = (self.accepted.cluster, self.scratch.cluster);
        let over = self.memory && theirs.differs(ours) && theirs.number <= ours.number;
        if !names_us || over || self.scratch.version != slot.version {
            return Taken::Nothing;
        }
        self.promised = slot.ballot;
        self.turn(slot);
        Taken::Accepted
    }

    /// The state that a candidate could adopt, with its slot and digest: the fetched one, if it still is in `scratch`, or
    /// the one that was accepted.
    #[must_use]
    pub fn held(&self) -> (Slot, u64, &State) {
        match self.holds {
            Scratch::Fetched(slot, digest) => (slot, digest, &self.scratch),
            _ => (self.slot, self.encoded.content.digest, &self.accepted),
        }
    }

    /// Puts the state of `held` into `scratch`, to be adopted at once. What was fetched is what most hold already: the
    /// delta is to be on that, not on what was accepted here.
    pub fn take_held(&mut self) {
        if matches!(self.holds, Scratch::Fetched(..)) {
            self.encoded.build(&self.scratch, &mut self.delta);
            self.encoded.turn();
        } else {
            self.scratch.copy_from(&self.accepted);
        }
        self.forget_scratch();
    }

    /// What was fetched, or is being fetched, is for an election that is over.
    pub fn forget_fetched(&mut self) {
        self.forget_scratch();
        self.whole.forget();
    }

    /// What `scratch` held is over.
    const fn forget_scratch(&mut self) {
        self.holds = Scratch::Anything;
    }

    /// The committed state under the next version, to be changed. A leader looks much more often than it finds something
    /// to change, so the copy of what it looked at last serves again. After a change it must be adopted.
    pub fn next(&mut self) -> &mut State {
        if self.holds != Scratch::Next(self.committed_slot) {
            self.scratch.copy_from(&self.committed);
            self.scratch.version += 1;
            self.holds = Scratch::Next(self.committed_slot);
        }
        &mut self.scratch
    }

    /// Accepts the leader's own state, in `scratch`, at this slot.
    pub fn adopt(&mut self, slot: Slot) {
        self.encoded.build(&self.scratch, &mut self.delta);
        self.turn(slot);
    }

    fn turn(&mut self, slot: Slot) {
        assert!(slot.ballot >= self.promised, "an acceptor never accepts below its promise");
        let upwards = !self.memory || slot > self.slot || !self.rules.holds(Rule::A3Upwards);
        assert!(upwards, "an acceptor accepts only upwards");
        self.forget_scratch();
        self.accepted.copy_from(&self.scratch);
        self.encoded.turn();
        self.slot = slot;
        self.memory = true;
    }

    /// Whether this word of a leader says that what we accepted is committed, and we did not know.
    #[must_use]
    pub fn learns(&self, slot: Slot) -> bool {
        self.memory && slot == self.slot && self.committed_slot != slot && slot.ballot >= self.promised
    }

    /// Whether what another appliance accepted, and knows to be committed, says that what we accepted is committed. A
    /// leader proposes its next version only when the one before is committed.
    #[must_use]
    pub fn overhears(&self, accepted: Slot, committed: Slot) -> bool {
        let follows = |slot: Slot| slot.ballot == self.slot.ballot && slot.version > self.slot.version;
        let says = committed == self.slot || follows(committed) || follows(accepted);
        self.memory && says && self.committed_slot != self.slot
    }

    /// Forgets every state: its cluster incarnation is over. What was promised stands (SAFETY B5).
    pub fn void(&mut self) {
        self.memory = false;
        self.slot = Slot::NONE;
        self.accepted.clear();
        self.committed.clear();
        self.committed_slot = Slot::NONE;
        self.encoded.build(&self.accepted, &mut self.delta);
        self.encoded.turn();
        self.forget_fetched();
    }

    /// Whether the bytes of what was accepted have the digest that was found from changes, and what was looked at without
    /// finding a change was left unchanged; for the simulator.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let looked = self.holds == Scratch::Next(self.committed_slot);
        let encoded = !self.memory || self.encoded.is_sound() || !self.rules.holds(Rule::A5);
        encoded && (!looked || self.scratch.only_follows(&self.committed))
    }

    /// What was accepted is committed.
    pub fn commit(&mut self) {
        let forward = self.slot.version >= self.committed.version || !self.rules.holds(Rule::A3Upwards);
        assert!(forward, "committed states only move forward");
        self.committed.copy_from(&self.accepted);
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
        let mut delta = Delta::NONE;
        encoded.build(&state, &mut delta);
        encoded.turn();
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

    /// A leader of host 2, whose first state was accepted by the acceptor of host 1, whole.
    fn leader_and_member() -> (Box<Acceptor>, Box<Acceptor>) {
        let (mut leader, mut member) = (Box::new(Acceptor::EMPTY), Box::new(Acceptor::EMPTY));
        leader.start(HostId::new(2), 22, Rules::ALL);
        member.start(HostId::new(1), 11, Rules::ALL);
        let state = &mut leader.scratch;
        state.version = 1;
        state.admit(HostId::new(1), 11, 0);
        state.admit(HostId::new(2), 22, 0);
        leader.adopt(Slot { ballot: ballot(1, 2), version: 1 });
        assert!(!leader.delta.is_some(), "the first state has no base");
        assert_eq!(whole_to(&leader, &mut member), Taken::Accepted);
        leader.commit();
        (leader, member)
    }

    fn whole_to(leader: &Acceptor, member: &mut Acceptor) -> Taken {
        let pieces = (0..).map_while(|index| leader.encoded.piece(index, leader.slot, false));
        pieces.map(|(head, bytes)| member.take(leader.slot.ballot.host, &head, bytes)).last().expect("pieces")
    }

    fn delta_to(leader: &Acceptor, member: &mut Acceptor) -> Taken {
        let digest = leader.encoded.content.digest;
        let pieces = (0..).map_while(|index| leader.delta.piece(index, leader.slot, digest));
        pieces.map(|(head, bytes)| member.take_delta(leader.slot.ballot.host, &head, bytes)).last().expect("a delta")
    }

    fn change(leader: &mut Acceptor, round: u32, boot: u64) {
        let version = {
            let next = leader.next();
            next.learn_boot(HostId::new(2), boot);
            next.version
        };
        leader.adopt(Slot { ballot: ballot(round, 2), version });
    }

    fn same(one: &Acceptor, other: &Acceptor) -> bool {
        let bytes = |acceptor: &Acceptor| {
            let mut bytes = Box::new([0; STATE_BYTES_MAX]);
            let length = acceptor.accepted.encode(&mut bytes);
            bytes[..length].to_vec()
        };
        one.encoded.content == other.encoded.content && bytes(one) == bytes(other)
    }

    #[test]
    fn a_delta_on_what_was_accepted_makes_the_same_state() {
        let (mut leader, mut member) = leader_and_member();
        for step in 0..100 {
            change(&mut leader, 1, 70 + step);
            assert_eq!(delta_to(&leader, &mut member), Taken::Accepted);
            assert_eq!(delta_to(&leader, &mut member), Taken::Accepted, "a repeated proposal is answered again");
            assert!(same(&leader, &member));
            leader.commit();
        }
        let digest = state_digest(&leader.accepted);
        assert_eq!(leader.encoded.content.digest, digest, "the sum of changes is the sum of all");
    }

    fn state_digest(state: &State) -> u64 {
        let mut bytes = Box::new([0; STATE_BYTES_MAX]);
        let length = state.encode(&mut bytes);
        crate::state::digest(&bytes[..length])
    }

    #[test]
    fn a_new_leader_proposes_again_what_most_hold_with_a_delta_that_changes_nothing() {
        let (mut leader, mut member) = leader_and_member();
        leader.take_held();
        leader.promised = ballot(2, 2);
        leader.adopt(Slot { ballot: ballot(2, 2), version: 1 });
        assert_eq!(delta_to(&leader, &mut member), Taken::Accepted);
        assert_eq!(member.slot.ballot, ballot(2, 2));
        // What was fetched is the base, not what the new leader had accepted itself.
        let (mut behind, _) = leader_and_member();
        change(&mut leader, 2, 7);
        assert_eq!(delta_to(&leader, &mut member), Taken::Accepted);
        let fetched = (0..).map_while(|index| leader.encoded.piece(index, leader.slot, true));
        let taken = fetched.map(|(head, bytes)| behind.take(HostId::new(2), &head, bytes)).last();
        assert_eq!(taken, Some(Taken::Fetched));
        behind.take_held();
        behind.adopt(Slot { ballot: ballot(3, 2), version: 2 });
        assert_eq!(delta_to(&behind, &mut member), Taken::Accepted);
        assert!(same(&behind, &member));
    }

    #[test]
    fn a_delta_on_another_base_is_refused_and_the_whole_state_taken() {
        let (mut leader, mut member) = leader_and_member();
        change(&mut leader, 1, 7);
        leader.commit();
        change(&mut leader, 1, 8);
        assert_eq!(delta_to(&leader, &mut member), Taken::NeedsWhole, "it missed version 2");
        assert_eq!(member.slot.version, 1);
        assert_eq!(whole_to(&leader, &mut member), Taken::Accepted);
        assert!(same(&leader, &member));

        // The same version with another content: what an old leader proposed and never committed (A5).
        let (mut old, mut member) = leader_and_member();
        change(&mut old, 1, 66);
        assert_eq!(delta_to(&old, &mut member), Taken::Accepted);
        let (mut leader, _) = leader_and_member();
        change(&mut leader, 2, 7);
        leader.commit();
        change(&mut leader, 2, 8);
        assert_eq!(delta_to(&leader, &mut member), Taken::NeedsWhole);
        assert_eq!(member.accepted.host(HostId::new(2)).boot, 66);
        let mut empty = Box::new(Acceptor::EMPTY);
        empty.start(HostId::new(1), 11, Rules::ALL);
        assert_eq!(delta_to(&leader, &mut empty), Taken::NeedsWhole, "nothing is no base");
    }

    #[test]
    fn a_delta_is_held_to_the_same_rules_as_a_whole_state() {
        let (mut leader, mut member) = leader_and_member();
        change(&mut leader, 1, 7);
        assert!(member.promise(ballot(2, 3)));
        assert_eq!(delta_to(&leader, &mut member), Taken::Nothing, "below its promise (A3)");
        let (mut leader, mut member) = leader_and_member();
        member.start(HostId::new(1), 12, Rules::ALL);
        change(&mut leader, 1, 7);
        assert_eq!(delta_to(&leader, &mut member), Taken::Nothing, "it names another incarnation (A4)");
        let (mut leader, mut member) = leader_and_member();
        change(&mut leader, 1, 7);
        let digest = leader.encoded.content.digest;
        let (head, bytes) = leader.delta.piece(0, leader.slot, digest).expect("one piece");
        assert_eq!(member.take_delta(HostId::new(3), &head, bytes), Taken::Nothing, "not its leader's");
        let mut changed = bytes.to_vec();
        changed[40] ^= 1;
        assert_eq!(member.take_delta(HostId::new(2), &head, &changed), Taken::NeedsWhole);
        assert_eq!(member.slot.version, 1);
        assert_eq!(member.take_delta(HostId::new(2), &head, bytes), Taken::Accepted, "a bad one leaves no trace");
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
