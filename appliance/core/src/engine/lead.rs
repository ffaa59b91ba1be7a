//! The leader's part: proposals and their commit, the lease of its lead, answering heartbeats, deciding, fencing.

use super::Engine;
use super::alone::Alone;
use crate::decide::{self, Facts};
use crate::fencing::Verdict;
use crate::fencing::harness::Scene;
use crate::heartbeat::leader_lease;
use crate::id::{HostId, Incarnation};
use crate::limits::RESEND_MS;
use crate::rule::Rule;
use crate::state::{Stage, State};
use crate::status::HostState;
use crate::time::Instant;
use crate::wire::message::{Heartbeat, Message, Slot, Standing};
use crate::wire::node::NodeState;

impl Engine {
    /// Won: adopts the greatest state of its votes and proposes it again under its own ballot, before anything else
    /// (SAFETY A3). A first boot or a cold start proposes the first view of a new cluster incarnation instead.
    pub(super) fn begin_lead(&mut self, now: Instant, standing: Standing) {
        let ballot = self.election.ballot;
        let won_at = self.election.started;
        if standing == Standing::Ordinary {
            self.acceptor.take_held();
        } else {
            self.found(standing);
        }
        let version = self.acceptor.scratch.version;
        let old_leader = self.acceptor.slot.ballot.host;
        self.acceptor.adopt(Slot { ballot, version });
        self.election.rest(now);
        self.proposer.begin(ballot, won_at);
        self.alone = Alone::NOT;
        for voter in self.voters.all() {
            if let Some(incarnation) = self.election.voted(voter) {
                self.proposer.elected_by(voter, incarnation);
            }
        }
        self.watch.begin(now);
        self.cold.begin(now);
        self.quorum_echo = Instant::ZERO;
        self.harness.begin(now);
        self.drills.begin(now);
        self.reports.begin(now);
        self.takeovers.begin();
        self.dlm.reports.begin(now);
        self.brake.restart();
        self.lead_since = now;
        self.keep_silence_of(now, old_leader);
        log::info!("leads under ballot {ballot}");
        self.propose(now);
    }

    /// The old leader was silent for P already when its voters elected another: that silence counts.
    fn keep_silence_of(&mut self, now: Instant, old_leader: HostId) {
        if old_leader == self.me || !old_leader.is_some() {
            return;
        }
        if let Some(heard) = self.peers.heard(old_leader) {
            self.watch.silent_from(old_leader, heard.min(now));
        }
    }

    pub(super) fn step_down(&mut self, now: Instant, why: &str) {
        if !self.proposer.leads() {
            return;
        }
        log::warn!("leads no more: {why}");
        self.proposer.end();
        self.alone = Alone::NOT;
        self.follower.was_led(now);
        self.courier.clear();
        self.follower.forsake();
        let pause = now + self.jitter();
        self.election.rest(pause);
    }

    fn propose(&mut self, now: Instant) {
        self.proposer.propose(self.me, self.incarnation, now + Self::span(RESEND_MS));
        self.courier.clear();
        self.mark_laggards();
        self.consider_commit(now);
    }

    /// Everybody whom the proposal names and who did not accept it gets it (again).
    fn mark_laggards(&mut self) {
        for (host, row) in self.acceptor.accepted.hosts() {
            let lacks = self.peers.incarnation(host) == Some(row.incarnation)
                && !self.proposer.has(host, &self.acceptor.accepted);
            if host != self.me && row.counts() && lacks {
                // An appliance without memory has no base; of all others the delta itself finds out.
                let seen = self.watch.seen(host);
                if seen.incarnation == row.incarnation && !seen.beat.memory {
                    self.courier.propose_whole(host);
                } else {
                    self.courier.propose(host);
                }
            }
        }
    }

    pub(super) fn on_accept(&mut self, now: Instant, from: HostId, incarnation: Incarnation, slot: Slot, digest: u64) {
        let current = slot == self.acceptor.slot && digest == self.acceptor.encoded.content.digest;
        if !self.proposer.leads() || slot.ballot != self.proposer.ballot || !current {
            return;
        }
        self.proposer.ack(from, incarnation);
        if self.proposer.in_flight {
            self.consider_commit(now);
        } else {
            self.send_commit(from);
        }
    }

    pub(super) fn consider_commit(&mut self, now: Instant) {
        let early = !self.proposer.established && !self.rules.holds(Rule::A3Commit);
        let (proposal, committed) = (&self.acceptor.accepted, &self.acceptor.committed);
        if !early && !self.proposer.is_committed(&self.voters, proposal, committed, self.needed()) {
            return;
        }
        self.proposer.in_flight = false;
        self.proposer.established = true;
        self.committed_at = now;
        let needed = self.voters.needed(&self.acceptor.committed);
        self.commit(now);
        if needed < self.voters.needed(&self.acceptor.committed) {
            // The other one of two is a member again, and has no stamp yet to echo; its vote counts only P after this.
            self.proposer.since = now;
        }
        for host in &self.config().hosts {
            if host.id != self.me.get() {
                self.send_commit(HostId::new(host.id));
            }
        }
        self.dirty = true;
        self.harness_timer = now;
        // Out of the view it was only not heard for a while: it admits itself again.
        match self.view().host(self.me).state {
            HostState::Condemned | HostState::Down => self.step_down(now, "it is condemned itself"),
            HostState::Left => {
                self.step_down(now, "its host leaves");
                self.hand_over(now);
            }
            HostState::Member | HostState::Out => {}
        }
    }

    pub(super) fn on_heartbeat(&mut self, now: Instant, from: HostId, incarnation: Incarnation, beat: &Heartbeat) {
        if !self.proposer.leads() && self.has_handed_over(beat.ballot) && beat.ballot.host == self.me {
            // It does not know yet.
            return self.send_commit(from);
        }
        if !self.proposer.leads() || beat.ballot != self.proposer.ballot {
            return;
        }
        if self.is_foreign(from, incarnation, beat) {
            return self.send_commit(from);
        }
        let row = *self.view().host(from);
        let fenced = row.incarnation == incarnation && matches!(row.state, HostState::Condemned | HostState::Down);
        let of_two = self.voters.other_of_two(self.me) == Some(from);
        if fenced {
            // It is answered with nothing but the notice (SAFETY F4); what it says of its nodes may still prove them gone.
            let version = self.view().version;
            self.outbox.send(from, Message::Condemned { version });
        }
        if fenced && of_two && row.state == HostState::Down {
            self.send_commit(from);
        }
        // Of two votes a condemned one is needed until it is proven off: it renews nothing (SAFETY D1, F5).
        if !fenced || of_two && row.state == HostState::Condemned {
            let committed = self.acceptor.committed_slot;
            let answer = Message::Answer {
                number: beat.number,
                ballot: self.proposer.ballot,
                stamp: now.as_micros(),
                committed,
                cluster: self.view().cluster,
            };
            self.outbox.send(from, answer);
            self.watch.answered(now, from);
        }
        self.dirty |= self.watch.take(now, from, incarnation, beat);
        let behind = beat.accepted < self.acceptor.slot && !self.proposer.in_flight;
        if behind && self.acceptor.accepted.host(from).incarnation == incarnation {
            self.courier.propose(from);
        }
    }

    /// Whether this heartbeat remembers another cluster incarnation, under an incarnation that ours does not name. Ours is
    /// raised above it, if need be; then its sender finds that its own is over (SAFETY B5).
    fn is_foreign(&mut self, from: HostId, incarnation: Incarnation, beat: &Heartbeat) -> bool {
        let row = self.acceptor.accepted.host(from);
        let named = row.counts() && row.incarnation == incarnation;
        let foreign = beat.memory && beat.cluster.differs(self.acceptor.accepted.cluster);
        if foreign && self.proposer.established {
            self.dirty |= self.cold.meet(beat.cluster.number);
        }
        foreign && !named
    }

    /// What a leader does at each turn.
    pub(super) fn lead_on(&mut self, now: Instant) {
        if !self.proposer.leads() {
            return;
        }
        self.look_at_own(now);
        self.go_on_alone(now);
        if !self.proposer.leads() {
            return;
        }
        if !self.holds_lead(now) {
            return self.step_down(now, "no quorum answers");
        }
        if self.proposer.in_flight {
            if now >= self.proposer.resend_at {
                self.proposer.resend_at = now + Self::span(RESEND_MS);
                self.mark_laggards();
            }
            self.due(self.proposer.resend_at);
        } else if self.dirty && self.committed_just_now(now) {
            self.due(now + Self::span(1));
        } else if self.dirty {
            self.dirty = false;
            if self.proposer.established {
                let mut waits = false;
                self.change_view(now, |facts, next| decide::decide(facts, next, &mut waits));
                self.brake.note(now, waits);
            }
        }
        self.fence(now);
    }

    /// Whether the lead's lease runs: P after the quorum's stamp, less drift (SAFETY A1). The stamp is found once in a
    /// heartbeat, and once more before the lead is given up.
    fn holds_lead(&mut self, now: Instant) -> bool {
        let lease = leader_lease(self.promise());
        let ends = |echo: Instant| echo.max(self.proposer.since) + lease;
        if now >= ends(self.quorum_echo) || self.lease_timer != self.watch.next_at {
            self.lease_timer = self.watch.next_at;
            let needed = if self.is_alone() && !self.proposer.established { 1 } else { self.needed() };
            self.quorum_echo = self.watch.quorum_echo(now, needed, self.echoing());
            if self.proposer.established
                && let Some(snapshot) = self.watch.renew(self.quorum_echo)
            {
                self.renew(&snapshot);
            }
        }
        let ends = self.quorum_echo.max(self.proposer.since) + lease;
        self.due(ends);
        now < ends
    }

    /// The voters whose echoes keep the lead: those that could accept what it proposes. One that lost its memory follows,
    /// too, but a leader who counted it would go on for ever without being able to commit anything.
    fn echoing(&self) -> impl Iterator<Item = HostId> {
        let counts = |host: &HostId| {
            let incarnation = self.watch.seen(*host).incarnation;
            let row = self.view().host(*host);
            let named = self.proposer.established && row.counts() && row.incarnation == incarnation;
            incarnation != 0 && (named || self.proposer.is_elector(*host, incarnation))
        };
        self.voters.all().filter(counts)
    }

    /// The leader's heartbeat to itself, and its look around once in a period.
    fn look_at_own(&mut self, now: Instant) {
        let due = now >= self.watch.next_at;
        if !due && !self.urgent {
            return self.due(self.watch.next_at);
        }
        self.urgent = false;
        let mut beat = self.heartbeat(now);
        beat.ballot = self.proposer.ballot;
        self.locals_told = beat.locals;
        self.send_tales(now);
        self.dirty |= self.watch.take_own(now, self.me, self.incarnation, &beat) || due;
        if due {
            let snapshot = self.snapshot(now);
            self.watch.snapshot(now, snapshot);
            self.watch.next_at = now + Self::span(self.timing.heartbeat_ms);
        }
        self.due(self.watch.next_at);
    }

    /// Builds the next view from the committed one and proposes it, if there is anything to change. `change` leaves the
    /// view as it was where it finds nothing.
    pub(super) fn change_view(&mut self, now: Instant, change: impl FnOnce(&Facts<'_>, &mut State) -> bool) {
        if !self.proposer.established || self.proposer.in_flight {
            return;
        }
        let facts = Facts {
            now,
            me: self.me,
            config: self.config(),
            watch: &self.watch,
            harness: &self.harness,
            groups: &self.reports,
            takeovers: &self.takeovers,
            cuts: &self.dlm.reports,
            ages: &self.ages,
            since: self.lead_since,
            released: self.brake.releases(self.config(), self.quorum_echo),
            rules: self.rules,
            cold: &self.cold,
        };
        if change(&facts, self.acceptor.next()) {
            let slot = Slot { ballot: self.proposer.ballot, version: self.acceptor.scratch.version };
            self.acceptor.adopt(slot);
            if !self.rules.holds(Rule::A3Down) {
                self.tell_changes();
            }
            self.propose(now);
        } else {
            self.reports.settle(&self.acceptor.committed);
            self.takeovers.settle(&self.acceptor.committed);
        }
    }

    fn fence(&mut self, now: Instant) {
        let early = !self.rules.holds(Rule::A2);
        let collects = self.view().stage == Stage::Collecting;
        if (!self.proposer.established || collects) && !early {
            return;
        }
        if now < self.harness_timer && !early {
            return self.due(self.harness_timer);
        }
        let scene = Scene {
            now,
            me: self.me,
            ballot: self.proposer.ballot,
            config: self.config(),
            view: if early { &self.acceptor.accepted } else { &self.acceptor.committed },
            watch: &self.watch,
            echo: if early { now } else { self.quorum_echo },
        };
        self.harness_timer = self.harness.poll(&scene, &mut self.outbox);
        self.harness_timer = self.harness_timer.min(self.drills.poll(&scene, &mut self.outbox));
        self.due(self.harness_timer);
    }

    /// An attempt ended here: its orderer is told.
    pub(super) fn on_device(&mut self, now: Instant, job: u32, verdict: Verdict) {
        // A start may have waited for this attempt to end (SAFETY F2).
        self.node_timer = now;
        if let Some((ballot, attempt)) = self.executor.answered(job, verdict) {
            self.outbox.send(ballot.host, Message::OrderAnswer { ballot, attempt, verdict, tried: true });
        }
    }

    /// Whether this incarnation of a node may still be served: a member, or one that is to become one.
    pub(super) fn is_condemned(&self, node: crate::id::NodeId, incarnation: Incarnation) -> bool {
        let row = self.view().node(node);
        let over = row.incarnation == incarnation && matches!(row.state, NodeState::Condemned | NodeState::Down);
        (over || row.dead == incarnation) && incarnation != 0
    }
}
