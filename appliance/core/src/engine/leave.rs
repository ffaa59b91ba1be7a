//! A host that leaves in peace, and the leader that does: it hands over at once.
//!
//! Owns the hand-over. The view that says that its leader's host left ends that lead: the leader steps down in the turn that
//! commits it, so whoever learns of the commit owes that leader no promise any more (SAFETY A1: a promise protects a lead,
//! and nothing else rests on it), and does not wait until it falls silent. One of those that stay asks at once; the others
//! leave it the time to win.

use super::Engine;
use crate::id::{Ballot, HostId};
use crate::limits::HANDOVER_MS;
use crate::state::State;
use crate::status::HostState;
use crate::time::{Duration, Instant};

impl Engine {
    /// Whether the lead under this ballot ended by a view of its own: nobody follows it any more.
    pub(super) fn has_handed_over(&self, ballot: Ballot) -> bool {
        self.acceptor.committed_slot.ballot == ballot && has_left(self.view(), ballot.host)
    }

    /// Whether this appliance's host left: it stays out of everything but votes, and acceptances.
    pub(super) fn left(&self) -> bool {
        has_left(self.view(), self.me) && self.view().host(self.me).incarnation == self.incarnation
    }

    /// A view was committed: it may have ended its leader's lead.
    pub(super) fn hand_over(&mut self, now: Instant) {
        let ballot = self.acceptor.committed_slot.ballot;
        if self.proposer.leads() || !self.has_handed_over(ballot) {
            return;
        }
        log::info!("the leader, {}, left: another one is elected", ballot.host);
        self.follower.release(now);
        let view = &self.acceptor.committed;
        let first = self.voters.all().find(|&voter| view.host(voter).state == HostState::Member);
        let jitter = self.jitter();
        let pause = if first == Some(self.me) { Duration::ZERO } else { Self::span(HANDOVER_MS) + jitter };
        self.election.rest(now + pause);
    }
}

fn has_left(view: &State, host: HostId) -> bool {
    view.host(host).state == HostState::Left
}
