//! Asking, standing and winning.
//!
//! Owns the candidate's side. A candidate first asks without raising its round, and does not stand while anybody heard a
//! leader within P (SAFETY A6). It takes the greatest accepted state among its votes (A3) and counts only votes whose
//! incarnation that state names (A4). Without the memory of a quorum it stands only as a last resort (B2).
//!
//! ```text
//! idle --no leader for P--> asking --a quorum heard none, jitter over--> voting --quorum--> won
//!   ^                         | somebody heard one: follow it              | refused, or election_max_ms over
//!   +-------------------------+--------------------------------------------+
//! ```
//!
//! Three ways to stand:
//! - *ordinary*: a quorum of voters has memory that counts; the newest of it is carried on.
//! - *first boot*: all voters answer and none has memory. Nothing can be overtaken, so nobody waits.
//! - *cold*: a quorum of voters answers, each without a leader for `cold_ms`, and whoever does not answer has not for
//!   `cold_ms`; those with memory that counts are too few. The votes forbid every lower ballot a quorum, so the old line
//!   ends with them whatever the others remember. If the votes show that memory does suffice, it wins as an ordinary one.

use super::Voters;
use crate::id::{Ballot, Cluster, HostId, Incarnation};
use crate::limits::ID_SLOTS;
use crate::rule::{Rule, Rules};
use crate::state::State;
use crate::status::HostState;
use crate::time::{Duration, Instant};
use crate::wire::message::{Slot, Standing};
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

/// What a voter answered, or what we would answer ourselves.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The cluster incarnation of the state that it holds; none: it holds none.
    pub cluster: Cluster,
    /// Its vote counts by now.
    pub may_vote: bool,
    /// For how long it has heard no leader.
    pub leaderless: Duration,
}

impl Answer {
    const NONE: Self = Self { cluster: Cluster::NONE, may_vote: false, leaderless: Duration::ZERO };
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u32,
    /// When it answered any question; the origin: never.
    at: Instant,
    answer: Answer,
}

/// What a voter granted.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// As which incarnation.
    pub incarnation: Incarnation,
    /// What it accepted last.
    pub slot: Slot,
    /// The digest of that.
    pub digest: u64,
    /// It is one of those whose memory elections rest on.
    pub elector: bool,
    /// The cluster incarnation of that.
    pub cluster: Cluster,
}

impl Granted {
    const NONE: Self = Self { incarnation: 0, slot: Slot::NONE, digest: 0, elector: false, cluster: Cluster::NONE };
}

/// What an election needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but time.
    Wait,
    /// Stand for election now, in this way.
    Stand(Standing),
    /// Won in this way, with the state that is held already.
    Won(Standing),
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
    /// How it stands.
    pub standing: Standing,
    /// From when on it may stand for a cold start; the origin: it may not. Parts the candidates, who all come to it at once.
    cold_from: Instant,
    /// The highest round seen anywhere.
    pub round: u32,
    asked: [Asked; ID_SLOTS],
    granted: [(Ballot, Granted); ID_SLOTS],
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
        standing: Standing::Ordinary,
        cold_from: Instant::ZERO,
        round: 0,
        asked: [Asked { number: 0, at: Instant::ZERO, answer: Answer::NONE }; ID_SLOTS],
        granted: [(Ballot::NONE, Granted::NONE); ID_SLOTS],
    };

    /// Gives up. `not_before`: when it may stand again.
    pub fn rest(&mut self, not_before: Instant) {
        self.phase = Phase::Idle;
        self.cold_from = Instant::ZERO;
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
    pub fn heard_none(&mut self, now: Instant, host: HostId, number: u32, answer: Answer) {
        self.asked[host.index()] = Asked { number, at: now, answer };
    }

    /// Whether to stand, given what was answered so far. `own`: what we would answer ourselves; `cold`: how long all must
    /// have been without a leader for a cold start; `needed`: how many votes carry our own state on.
    #[must_use]
    pub fn stands(
        &self,
        now: Instant,
        me: HostId,
        voters: &Voters,
        own: Answer,
        cold: Duration,
        needed: usize,
    ) -> Step {
        if self.phase != Phase::Asking || now < self.not_before || !voters.votes(me) {
            return Step::Wait;
        }
        let of = |host: HostId| {
            let asked = &self.asked[host.index()];
            if host == me { Some(own) } else { (asked.number == self.number).then_some(asked.answer) }
        };
        let answers = || voters.all().filter_map(of);
        let has_memory = own.cluster.is_some();
        // Memory of another cluster incarnation is none that one election could carry on with ours.
        let able = answers().filter(|it| has_memory && it.may_vote && !it.cluster.differs(own.cluster)).count();
        if has_memory && own.may_vote && able >= needed {
            return Step::Stand(Standing::Ordinary);
        }
        if answers().filter(|answer| !answer.cluster.is_some()).count() == voters.count() {
            return Step::Stand(Standing::FirstBoot);
        }
        // Who answered a while ago and not now lost a datagram, and may yet make the memory of a quorum whole.
        let missing = |host: HostId| {
            let at = self.asked[host.index()].at;
            of(host).is_none() && at != Instant::ZERO && now.since(at) < cold
        };
        let waits = !self.rules.holds(Rule::B2)
            || answers().all(|answer| answer.leaderless >= cold) && !voters.all().any(missing);
        if waits && answers().count() >= voters.quorum() && able < voters.quorum() {
            return Step::Stand(Standing::Cold);
        }
        Step::Wait
    }

    /// A cold start is due. Whether to stand for it now; `jitter`: how long to wait when it first is.
    pub fn may_begin_cold(&mut self, now: Instant, jitter: Duration) -> bool {
        if self.cold_from == Instant::ZERO {
            self.cold_from = now + jitter;
        }
        now >= self.cold_from
    }

    /// Stands under a ballot above every one seen.
    pub fn stand(&mut self, now: Instant, me: HostId, promised: Ballot, standing: Standing) -> Ballot {
        self.round = self.round.max(promised.round) + 1;
        self.ballot = Ballot { round: self.round, host: me };
        self.phase = Phase::Voting;
        self.started = now;
        self.standing = standing;
        self.ballot
    }

    /// Somebody voted for us, holding this.
    pub fn grant(&mut self, host: HostId, granted: Granted) {
        self.granted[host.index()] = (self.ballot, granted);
    }

    /// The incarnation that voted for us, if it did.
    #[must_use]
    pub fn voted(&self, host: HostId) -> Option<Incarnation> {
        self.vote(host).map(|vote| vote.incarnation)
    }

    fn vote(&self, host: HostId) -> Option<&Granted> {
        let (ballot, vote) = &self.granted[host.index()];
        (*ballot == self.ballot && vote.incarnation != 0).then_some(vote)
    }

    /// The highest number of a cluster incarnation among the votes.
    #[must_use]
    pub fn number_voted(&self) -> u32 {
        (0..=u8::MAX).filter_map(|host| self.vote(HostId::new(host))).map(|vote| vote.cluster.number).max().unwrap_or(0)
    }

    /// Which of two states is the newer one (SAFETY A3).
    fn newer(&self, a: Slot, b: Slot) -> Ordering {
        let by_version = || a.version.cmp(&b.version).then(b.ballot.cmp(&a.ballot));
        if self.rules.holds(Rule::A3) { a.cmp(&b) } else { by_version() }
    }

    /// Whether this vote's state may be carried on: an elector's; for a cold start anybody's.
    fn may_carry(&self, voters: &Voters, host: HostId, vote: &Granted) -> bool {
        self.standing != Standing::Ordinary || vote.elector && voters.votes(host)
    }

    /// The cluster incarnation to carry on: our own; for a cold start the one with the highest number. States of two
    /// cluster incarnations are not compared by their ballots: the later one may have begun without knowing of the
    /// earlier one's last ballot.
    fn line<'v>(&self, votes: impl Iterator<Item = (HostId, &'v Granted)>) -> Cluster {
        let own = |host: HostId| self.standing == Standing::Ordinary && host == self.ballot.host;
        let key = |(host, vote): &(HostId, &Granted)| (own(*host), vote.cluster.number, vote.slot);
        votes.max_by_key(key).map_or(Cluster::NONE, |(_, vote)| vote.cluster)
    }

    /// Whether the votes suffice. `held`: the state that we could adopt, with its slot and digest; `all`: whoever is heard
    /// voted, or had time to.
    #[must_use]
    pub fn outcome(
        &self,
        now: Instant,
        promise: Duration,
        voters: &Voters,
        held: (Slot, u64, &State),
        all: bool,
    ) -> Step {
        if self.phase != Phase::Voting || now.since(self.started) >= promise {
            return Step::Wait;
        }
        let votes = || voters.all().filter_map(|host| self.vote(host).map(|vote| (host, vote)));
        let electors = || votes().filter(|(_, vote)| vote.elector);
        let enough = match self.standing {
            Standing::Ordinary => electors().count() >= voters.needed(held.2),
            Standing::FirstBoot => votes().filter(|(_, vote)| vote.slot == Slot::NONE).count() == voters.count(),
            Standing::Cold => votes().count() >= voters.quorum(),
        };
        if !enough {
            return Step::Wait;
        }
        // A cold start carries on what any memory says about deaths, so it looks at everybody's (SAFETY B7).
        let everybody = || (0..=u8::MAX).map(HostId::new).filter_map(|host| self.vote(host).map(|vote| (host, vote)));
        let with_state =
            || everybody().filter(|(host, vote)| vote.slot != Slot::NONE && self.may_carry(voters, *host, vote));
        let line = self.line(with_state());
        let newer = |a: &(HostId, &Granted), b: &(HostId, &Granted)| self.newer(a.1.slot, b.1.slot);
        let newest = with_state().filter(|(_, vote)| !vote.cluster.differs(line)).max_by(newer);
        let (slot, digest, state) = held;
        if let Some((host, vote)) = newest
            && (vote.slot != slot || vote.digest != digest)
        {
            return Step::Fetch(host, vote.slot);
        }
        // Who accepted a later cluster incarnation is nobody's witness for an earlier one, although that names him.
        let named = |(host, vote): &(HostId, &Granted)| {
            let row = state.host(*host);
            let named = row.counts() && row.incarnation == vote.incarnation || !self.rules.holds(Rule::A4);
            named && (!vote.cluster.differs(line) || vote.cluster.number < line.number)
        };
        if newest.is_some() && electors().filter(named).count() >= voters.needed(state) {
            // Those whom it names can do it without us, if it does not name us.
            let me = self.ballot.host;
            let names_us = self.vote(me).is_some_and(|vote| named(&(me, vote)));
            return if names_us { Step::Won(Standing::Ordinary) } else { Step::Wait };
        }
        // Whoever is Confirmed off votes for nothing any more, and who is condemned does not lead (SAFETY F5).
        let over = |(host, vote): &(HostId, &Granted)| is_named(state, *host, vote, HostState::Down);
        let condemned = |vote: &Granted| is_named(state, self.ballot.host, vote, HostState::Condemned);
        let barred = self.vote(self.ballot.host).is_none_or(condemned);
        if newest.is_some() && (barred || votes().filter(|vote| !over(vote)).count() < voters.quorum()) {
            return Step::Wait;
        }
        match self.standing {
            Standing::Ordinary => Step::Wait,
            standing if all => Step::Won(standing),
            _ => Step::Wait,
        }
    }
}

/// Whether a state says this of the very appliance that voted.
fn is_named(state: &State, host: HostId, vote: &Granted, as_what: HostState) -> bool {
    state.host(host).incarnation == vote.incarnation && state.host(host).state == as_what
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    const P: Duration = Duration::from_millis(1000);
    const CLUSTER: Cluster = Cluster { number: 1, random: 9 };

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

    fn granted(incarnation: u64, slot: Slot, digest: u64) -> Granted {
        Granted { incarnation, slot, digest, elector: true, cluster: CLUSTER }
    }

    fn slot(round: u32, number: u8, version: u64) -> Slot {
        Slot { ballot: Ballot { round, host: host(number) }, version }
    }

    #[test]
    fn takes_the_greatest_ballot_and_version_among_its_votes_not_the_greatest_version() {
        let voters = voters();
        let held = state(11, [1, 2, 3]);
        let mut election = Box::new(Election::EMPTY);
        election.stand(at(0), host(1), Ballot { round: 2, host: host(2) }, Standing::Ordinary);
        election.grant(host(1), granted(1, slot(1, 1, 12), 7));
        let step = |e: &Election| e.outcome(at(1), P, &voters, (slot(1, 1, 12), 7, &held), true);
        assert_eq!(step(&election), Step::Wait, "one vote is no quorum");
        election.grant(host(3), granted(3, slot(2, 2, 11), 8));
        assert_eq!(step(&election), Step::Fetch(host(3), slot(2, 2, 11)), "A3: version 12 of ballot 1 is older");
        let fetched = election.outcome(at(1), P, &voters, (slot(2, 2, 11), 8, &held), true);
        assert_eq!(fetched, Step::Won(Standing::Ordinary));
        assert_eq!(
            election.outcome(at(1000), P, &voters, (slot(2, 2, 11), 8, &held), true),
            Step::Wait,
            "older than P"
        );
    }

    #[test]
    fn a_vote_from_before_an_amnesia_does_not_count() {
        let voters = voters();
        let held = state(11, [1, 22, 3]);
        let mut election = Box::new(Election::EMPTY);
        election.stand(at(0), host(1), Ballot::NONE, Standing::Ordinary);
        election.grant(host(1), granted(1, slot(1, 1, 11), 7));
        election.grant(host(2), granted(2, slot(1, 1, 10), 6));
        assert_eq!(election.outcome(at(1), P, &voters, (slot(1, 1, 11), 7, &held), true), Step::Wait, "A4");
    }

    fn empty(leaderless_ms: u64) -> Answer {
        Answer { cluster: Cluster::NONE, may_vote: false, leaderless: Duration::from_millis(leaderless_ms) }
    }

    fn full(leaderless_ms: u64) -> Answer {
        Answer { cluster: CLUSTER, may_vote: true, ..empty(leaderless_ms) }
    }

    const COLD: Duration = Duration::from_millis(2500);

    #[test]
    fn a_first_boot_takes_all_empty_votes_and_waits_for_nothing() {
        let voters = voters();
        let mut election = Box::new(Election::EMPTY);
        let number = election.ask(at(9));
        election.heard_none(at(9), host(2), number, empty(5));
        let step = |e: &Election| e.stands(at(9), host(1), &voters, empty(5), COLD, voters.quorum());
        assert_eq!(step(&election), Step::Wait, "two of three empty");
        election.heard_none(at(9), host(3), number, full(5));
        assert_eq!(step(&election), Step::Wait, "one has memory");
        election.heard_none(at(9), host(3), number, empty(5));
        assert_eq!(step(&election), Step::Stand(Standing::FirstBoot));
        election.not_before = at(10);
        assert_eq!(step(&election), Step::Wait);
    }

    #[test]
    fn a_cold_start_waits_for_everybody_who_answers_and_for_who_answered_a_while_ago() {
        let voters = voters();
        let mut election = Box::new(Election::EMPTY);
        let number = election.ask(at(5000));
        let step = |e: &Election, own| e.stands(at(5000), host(1), &voters, own, COLD, voters.quorum());
        election.heard_none(at(5000), host(2), number, empty(2499));
        assert_eq!(step(&election, full(2500)), Step::Wait, "it heard a leader within cold_ms");
        election.heard_none(at(5000), host(2), number, empty(2500));
        assert_eq!(step(&election, full(2499)), Step::Wait, "we did");
        assert_eq!(step(&election, full(2500)), Step::Stand(Standing::Cold), "the third was never heard");
        election.heard_none(at(2501), host(3), number - 1, full(10));
        assert_eq!(step(&election, full(2500)), Step::Wait, "the third has memory and answered not long ago");
        election.heard_none(at(2500), host(3), number - 1, full(10));
        assert_eq!(step(&election, full(2500)), Step::Stand(Standing::Cold));
        election.heard_none(at(5000), host(3), number, full(3000));
        assert_eq!(step(&election, full(3000)), Step::Stand(Standing::Ordinary), "a quorum has memory");
    }

    #[test]
    fn cold_votes_that_show_enough_memory_win_as_ordinary_ones() {
        let voters = voters();
        let held = state(11, [1, 2, 3]);
        let mut election = Box::new(Election::EMPTY);
        election.stand(at(0), host(1), Ballot::NONE, Standing::Cold);
        election.grant(host(1), granted(1, slot(1, 1, 11), 7));
        election.grant(host(2), Granted { incarnation: 22, ..Granted::NONE });
        let step = |e: &Election, all| e.outcome(at(1), P, &voters, (slot(1, 1, 11), 7, &held), all);
        assert_eq!(step(&election, false), Step::Wait, "others may yet vote, and take part");
        assert_eq!(step(&election, true), Step::Won(Standing::Cold));
        election.grant(host(3), granted(3, slot(1, 1, 10), 6));
        assert_eq!(step(&election, true), Step::Won(Standing::Ordinary));
    }

    #[test]
    fn a_later_cluster_incarnation_is_not_overruled_by_the_higher_ballot_of_an_earlier_one() {
        let voters = voters();
        let later = Cluster { number: 2, random: 8 };
        let (old, new) = (state(11, [1, 2, 3]), state(12, [1, 22, 0]));
        let mut election = Box::new(Election::EMPTY);
        // Host 3 was cut off under ballot 5; hosts 1, with memory, and 2, without, began anew under ballot 2.
        election.stand(at(0), host(3), Ballot { round: 6, host: host(1) }, Standing::Ordinary);
        election.grant(host(3), granted(3, slot(5, 3, 11), 7));
        election.grant(host(1), Granted { cluster: later, ..granted(1, slot(2, 1, 12), 8) });
        let step = election.outcome(at(1), P, &voters, (slot(5, 3, 11), 7, &old), true);
        assert_eq!(step, Step::Wait, "its own state names host 1, but host 1 accepted a later one");
        election.stand(at(0), host(1), Ballot { round: 7, host: host(1) }, Standing::Ordinary);
        election.grant(host(3), granted(3, slot(5, 3, 11), 7));
        election.grant(host(1), Granted { cluster: later, ..granted(1, slot(2, 1, 12), 8) });
        election.grant(host(2), Granted { cluster: later, ..granted(22, slot(2, 1, 12), 8) });
        let step = election.outcome(at(1), P, &voters, (slot(2, 1, 12), 8, &new), true);
        assert_eq!(step, Step::Won(Standing::Ordinary), "and the vote of host 3 is in nobody's way");
    }
}
