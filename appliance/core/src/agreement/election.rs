//! Asking, standing and winning.
//!
//! Owns the candidate's side. A candidate first asks without raising its round, and does not stand while anybody heard a
//! leader within P (SAFETY A6). It takes the greatest accepted state among its votes (A3) and counts only votes whose
//! incarnation that state names (A4). Without memory it stands only for a first boot: all votes, none with memory (B1, D2).
//!
//! ```text
//! idle --no leader for P--> asking --a quorum heard none, jitter over--> voting --quorum--> won
//!   ^                         | somebody heard one: follow it              | refused, or election_max_ms over
//!   +-------------------------+--------------------------------------------+
//! ```

use super::Voters;
use crate::id::{Ballot, HostId, Incarnation};
use crate::limits::ID_SLOTS;
use crate::rule::{Rule, Rules};
use crate::state::State;
use crate::time::{Duration, Instant};
use crate::wire::message::Slot;
use core::cmp::Ordering;

/// Where a candidate stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It is none.
    #[default]
    Idle,
    /// It asks who heard a leader.
    Asking,
    /// It asks for votes.
    Voting,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u32,
    memory: bool,
    may_vote: bool,
}

#[derive(Clone, Copy, Debug)]
struct Granted {
    ballot: Ballot,
    incarnation: Incarnation,
    slot: Slot,
    digest: u64,
    memory: bool,
}

/// What an election needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but time.
    Wait,
    /// Stand for election now; `true`: as a first boot.
    Stand(bool),
    /// Won, with the state that is held already; `true`: as a first boot.
    Won(bool),
    /// The greatest state is this host's: fetch it.
    Fetch(HostId, Slot),
}

/// The candidate.
#[derive(Debug)]
pub struct Election {
    /// Which rules it obeys.
    pub rules: Rules,
    /// Where it stands.
    pub phase: Phase,
    /// Names the present question.
    pub number: u32,
    /// When to ask, or ask again.
    pub next_at: Instant,
    /// Not to stand before this: jitter, or punishment (SAFETY A8).
    pub not_before: Instant,
    /// When it stood, and until when votes count.
    pub started: Instant,
    /// The ballot that it stands under.
    pub ballot: Ballot,
    first_boot: bool,
    /// The highest round seen anywhere.
    pub round: u32,
    asked: [Asked; ID_SLOTS],
    granted: [Granted; ID_SLOTS],
}

impl Election {
    /// No candidate; all zero.
    pub const EMPTY: Self = Self {
        rules: Rules::ALL,
        phase: Phase::Idle,
        number: 0,
        next_at: Instant::ZERO,
        not_before: Instant::ZERO,
        started: Instant::ZERO,
        ballot: Ballot::NONE,
        first_boot: false,
        round: 0,
        asked: [Asked { number: 0, memory: false, may_vote: false }; ID_SLOTS],
        granted: [Granted { ballot: Ballot::NONE, incarnation: 0, slot: Slot::NONE, digest: 0, memory: false };
            ID_SLOTS],
    };

    /// Gives up. `not_before`: when it may stand again.
    pub fn rest(&mut self, not_before: Instant) {
        self.phase = Phase::Idle;
        self.not_before = self.not_before.max(not_before);
    }

    /// Begins a new question.
    pub fn ask(&mut self, next_at: Instant) -> u32 {
        self.phase = Phase::Asking;
        self.number = self.number.wrapping_add(1).max(1);
        self.next_at = next_at;
        self.number
    }

    /// Somebody answered that it heard no leader.
    pub fn heard_none(&mut self, host: HostId, number: u32, memory: bool, may_vote: bool) {
        self.asked[host.index()] = Asked { number, memory, may_vote };
    }

    /// Whether to stand, given what was answered so far. `may_vote`: our own vote counts by now; `memory`: we hold state.
    #[must_use]
    pub fn stands(&self, now: Instant, me: HostId, voters: &Voters, memory: bool, may_vote: bool) -> Step {
        if self.phase != Phase::Asking || now < self.not_before || !voters.votes(me) {
            return Step::Wait;
        }
        let (mut able, mut empty) = (usize::from(memory && may_vote), usize::from(!memory));
        for host in voters.all().filter(|&host| host != me) {
            let answer = &self.asked[host.index()];
            let counts = answer.number == self.number;
            able += usize::from(counts && answer.memory && answer.may_vote);
            empty += usize::from(counts && !answer.memory);
        }
        if memory && may_vote && able >= voters.quorum() {
            Step::Stand(false)
        } else if empty == voters.count() {
            Step::Stand(true)
        } else {
            Step::Wait
        }
    }

    /// Stands under a ballot above every one seen.
    pub fn stand(&mut self, now: Instant, me: HostId, promised: Ballot, first_boot: bool) -> Ballot {
        self.round = self.round.max(promised.round) + 1;
        self.ballot = Ballot { round: self.round, host: me };
        self.phase = Phase::Voting;
        self.started = now;
        self.first_boot = first_boot;
        self.ballot
    }

    /// Somebody voted for us, holding this.
    pub fn grant(&mut self, host: HostId, incarnation: Incarnation, slot: Slot, digest: u64, memory: bool) {
        self.granted[host.index()] = Granted { ballot: self.ballot, incarnation, slot, digest, memory };
    }

    /// The incarnation that voted for us, if it did.
    #[must_use]
    pub fn voted(&self, host: HostId) -> Option<Incarnation> {
        let vote = &self.granted[host.index()];
        (vote.ballot == self.ballot && vote.incarnation != 0).then_some(vote.incarnation)
    }

    /// Which of two states is the newer one (SAFETY A3).
    fn newer(&self, a: Slot, b: Slot) -> Ordering {
        let by_version = || a.version.cmp(&b.version).then(b.ballot.cmp(&a.ballot));
        if self.rules.holds(Rule::A3) { a.cmp(&b) } else { by_version() }
    }

    /// Whether the votes suffice. `held`: the state that we could adopt, with its slot and digest.
    #[must_use]
    pub fn outcome(&self, now: Instant, promise: Duration, voters: &Voters, held: (Slot, u64, &State)) -> Step {
        if self.phase != Phase::Voting || now.since(self.started) >= promise {
            return Step::Wait;
        }
        let votes = || voters.all().filter_map(|host| self.voted(host).map(|inc| (host, inc)));
        if self.first_boot {
            let all = votes().filter(|(host, _)| !self.granted[host.index()].memory).count() == voters.count();
            return if all { Step::Won(true) } else { Step::Wait };
        }
        let of = |host: HostId| &self.granted[host.index()];
        let with_memory = || votes().filter(|(host, _)| of(*host).memory);
        if with_memory().count() < voters.quorum() {
            return Step::Wait;
        }
        let newer = |a: &(HostId, Incarnation), b: &(HostId, Incarnation)| self.newer(of(a.0).slot, of(b.0).slot);
        let Some((newest, _)) = with_memory().max_by(newer) else {
            return Step::Wait;
        };
        let (slot, digest, state) = held;
        if of(newest).slot != slot || of(newest).digest != digest {
            return Step::Fetch(newest, of(newest).slot);
        }
        let named = |&(host, incarnation): &(HostId, Incarnation)| {
            let is_named = state.host(host).counts() && state.host(host).incarnation == incarnation;
            is_named || !self.rules.holds(Rule::A4)
        };
        if with_memory().filter(named).count() >= voters.quorum() { Step::Won(false) } else { Step::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    const P: Duration = Duration::from_millis(1000);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    fn host(number: u8) -> HostId {
        HostId::new(number)
    }

    fn voters() -> Voters {
        let mut config = Box::new(crate::config::Config::new());
        for id in 1..=3 {
            let (name, links, levels) = (crate::config::Name::new(), heapless::Vec::new(), heapless::Vec::new());
            let entry = crate::config::Host {
                id,
                name,
                vote: true,
                links,
                management: None,
                cid: 0,
                levels,
                race: false,
                trust_lease: false,
                disabled: false,
            };
            assert!(config.hosts.push(entry).is_ok());
        }
        let mut voters = Voters::EMPTY;
        voters.start(&config);
        voters
    }

    fn state(version: u64, incarnations: [u64; 3]) -> Box<State> {
        let mut state = Box::new(State::EMPTY);
        state.version = version;
        for (number, incarnation) in (1..).zip(incarnations) {
            state.admit(host(number), incarnation, 0);
        }
        state
    }

    fn slot(round: u32, number: u8, version: u64) -> Slot {
        Slot { ballot: Ballot { round, host: host(number) }, version }
    }

    #[test]
    fn takes_the_greatest_ballot_and_version_among_its_votes_not_the_greatest_version() {
        let voters = voters();
        let held = state(11, [1, 2, 3]);
        let mut election = Box::new(Election::EMPTY);
        election.stand(at(0), host(1), Ballot { round: 2, host: host(2) }, false);
        election.grant(host(1), 1, slot(1, 1, 12), 7, true);
        let step = |e: &Election| e.outcome(at(1), P, &voters, (slot(1, 1, 12), 7, &held));
        assert_eq!(step(&election), Step::Wait, "one vote is no quorum");
        election.grant(host(3), 3, slot(2, 2, 11), 8, true);
        assert_eq!(step(&election), Step::Fetch(host(3), slot(2, 2, 11)), "A3: version 12 of ballot 1 is older");
        let fetched = election.outcome(at(1), P, &voters, (slot(2, 2, 11), 8, &held));
        assert_eq!(fetched, Step::Won(false));
        assert_eq!(election.outcome(at(1000), P, &voters, (slot(2, 2, 11), 8, &held)), Step::Wait, "older than P");
    }

    #[test]
    fn a_vote_from_before_an_amnesia_does_not_count() {
        let voters = voters();
        let held = state(11, [1, 22, 3]);
        let mut election = Box::new(Election::EMPTY);
        election.stand(at(0), host(1), Ballot::NONE, false);
        election.grant(host(1), 1, slot(1, 1, 11), 7, true);
        election.grant(host(2), 2, slot(1, 1, 10), 6, true);
        assert_eq!(election.outcome(at(1), P, &voters, (slot(1, 1, 11), 7, &held)), Step::Wait, "A4");
    }

    #[test]
    fn without_memory_only_all_empty_votes_suffice() {
        let voters = voters();
        let mut election = Box::new(Election::EMPTY);
        let number = election.ask(at(0));
        election.heard_none(host(2), number, false, false);
        assert_eq!(election.stands(at(0), host(1), &voters, false, false), Step::Wait, "two of three empty");
        election.heard_none(host(3), number, true, true);
        assert_eq!(election.stands(at(0), host(1), &voters, false, false), Step::Wait, "one has memory");
        election.heard_none(host(3), number, false, false);
        assert_eq!(election.stands(at(0), host(1), &voters, false, false), Step::Stand(true));
        election.not_before = at(5);
        assert_eq!(election.stands(at(4), host(1), &voters, false, false), Step::Wait);
    }
}
