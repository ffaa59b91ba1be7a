//! What the leader has under way: one proposal at a time, and who accepted it.
//!
//! Owns the acknowledgements. Counts one only if it comes from a voter under the incarnation that the proposal names
//! (SAFETY A4), and never that of an appliance which this very proposal admits (B1), unless it voted in the election:
//! a vote is given only by who knows that its admission is committed, which the new leader itself may not have heard yet.

use super::Voters;
use crate::id::{Ballot, HostId, Incarnation};
use crate::limits::ID_SLOTS;
use crate::rule::{Rule, Rules};
use crate::state::State;
use crate::time::Instant;

/// The proposer.
#[derive(Debug)]
pub struct Proposer {
    /// Which rules it obeys.
    pub rules: Rules,
    /// Under which ballot it leads; none: it does not.
    pub ballot: Ballot,
    /// Whether a state was committed under that ballot: before, it may act on nothing (SAFETY A3).
    pub established: bool,
    /// A proposal is under way.
    pub in_flight: bool,
    /// When it is sent again to those who did not answer.
    pub resend_at: Instant,
    /// When it began to lead: votes answer requests not older than this.
    pub since: Instant,
    /// Who voted for it, as which incarnation.
    electors: [Incarnation; ID_SLOTS],
    /// Who accepted it, as which incarnation.
    acks: [Incarnation; ID_SLOTS],
}

impl Proposer {
    /// Leads nothing; all zero.
    pub const EMPTY: Self = Self {
        rules: Rules::ALL,
        ballot: Ballot::NONE,
        established: false,
        in_flight: false,
        resend_at: Instant::ZERO,
        since: Instant::ZERO,
        electors: [0; ID_SLOTS],
        acks: [0; ID_SLOTS],
    };

    /// Leads under this ballot.
    pub const fn begin(&mut self, ballot: Ballot, since: Instant) {
        self.ballot = ballot;
        self.since = since;
        self.established = false;
        self.in_flight = false;
        self.electors = [0; ID_SLOTS];
    }

    /// This host voted for it, as this incarnation.
    pub const fn elected_by(&mut self, host: HostId, incarnation: Incarnation) {
        self.electors[host.index()] = incarnation;
    }

    /// Whether this host voted for it as this incarnation.
    #[must_use]
    pub const fn is_elector(&self, host: HostId, incarnation: Incarnation) -> bool {
        self.electors[host.index()] == incarnation && incarnation != 0
    }

    /// Leads no more.
    pub const fn end(&mut self) {
        self.ballot = Ballot::NONE;
        self.established = false;
        self.in_flight = false;
    }

    /// Whether it leads.
    #[must_use]
    pub const fn leads(&self) -> bool {
        self.ballot.round != 0
    }

    /// A proposal goes out; the leader itself accepted it already.
    pub fn propose(&mut self, me: HostId, incarnation: Incarnation, resend_at: Instant) {
        self.in_flight = true;
        self.resend_at = resend_at;
        self.acks.fill(0);
        self.acks[me.index()] = incarnation;
    }

    /// A host accepted what is under way.
    pub const fn ack(&mut self, host: HostId, incarnation: Incarnation) {
        self.acks[host.index()] = incarnation;
    }

    /// Whether this host accepted as the incarnation that the proposal names.
    #[must_use]
    pub fn has(&self, host: HostId, proposal: &State) -> bool {
        let (row, ack) = (proposal.host(host), self.acks[host.index()]);
        row.incarnation != 0 && (ack == row.incarnation || ack != 0 && !self.rules.holds(Rule::A4))
    }

    /// Whether a quorum accepted: `needed` voters.
    #[must_use]
    pub fn is_committed(&self, voters: &Voters, proposal: &State, committed: &State, needed: usize) -> bool {
        let first = proposal.is_founding();
        let counted = voters.all().filter(|&host| {
            let incarnation = proposal.host(host).incarnation;
            let admitted_here =
                committed.host(host).incarnation != incarnation && self.electors[host.index()] != incarnation;
            let counts = first || !admitted_here || !self.rules.holds(Rule::B1);
            self.has(host, proposal) && proposal.host(host).counts() && counts
        });
        self.in_flight && counted.count() >= needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    fn state(incarnations: &[u64]) -> Box<State> {
        let mut state = Box::new(State::EMPTY);
        state.version = 7;
        for (host, &incarnation) in (1..).zip(incarnations) {
            state.admit(HostId::new(host), incarnation, 0);
        }
        state
    }

    #[test]
    fn counts_neither_the_empty_appliance_that_is_being_admitted_nor_an_older_incarnation() {
        let (committed, proposal) = (state(&[11, 12, 13]), state(&[11, 12, 99]));
        let voters = super::super::voters(3);
        let mut proposer = Proposer::EMPTY;
        proposer.begin(Ballot { round: 1, host: HostId::new(1) }, Instant::ZERO);
        proposer.propose(HostId::new(1), 11, Instant::ZERO);
        proposer.ack(HostId::new(3), 99);
        assert!(!proposer.is_committed(&voters, &proposal, &committed, 2), "it must not count itself in (B1)");
        proposer.ack(HostId::new(2), 5);
        assert!(!proposer.is_committed(&voters, &proposal, &committed, 2), "an acceptance from before an amnesia (A4)");
        proposer.ack(HostId::new(2), 12);
        assert!(proposer.is_committed(&voters, &proposal, &committed, 2));
    }

    #[test]
    fn counts_who_voted_although_the_leader_has_not_heard_of_its_admission() {
        let (committed, proposal) = (state(&[11, 12, 13]), state(&[11, 12, 99]));
        let voters = super::super::voters(3);
        let mut proposer = Proposer::EMPTY;
        proposer.begin(Ballot { round: 2, host: HostId::new(1) }, Instant::ZERO);
        proposer.elected_by(HostId::new(3), 99);
        proposer.propose(HostId::new(1), 11, Instant::ZERO);
        proposer.ack(HostId::new(3), 99);
        assert!(proposer.is_committed(&voters, &proposal, &committed, 2), "its vote says that it was admitted");
    }
}
