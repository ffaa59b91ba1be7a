//! The member's part: knowing peers, asking and voting, accepting and learning, heartbeats and what their answers renew.

use super::Engine;
use crate::agreement::acceptor::Taken;
use crate::agreement::election::{Answer, Granted, Phase, Step};
use crate::heartbeat::Snapshot;
use crate::id::{Ballot, Cluster, HostId, Incarnation};
use crate::limits::{LOCAL_NODES_MAX, RELEASE, RESEND_MS, URGENT_MS};
use crate::rule::Rule;
use crate::status::{Counter, HostState};
use crate::time::{Duration, Instant};
use crate::wire::guard;
use crate::wire::message::{Heartbeat, LocalNode, Message, Piece, Proposal, Slot, Standing};
use crate::wire::node as protocol;

impl Engine {
    pub(super) fn ask_peers(&mut self, now: Instant) {
        let outbox = &mut self.outbox;
        let next = self.peers.questions(now, &mut self.entropy, |to, nonce| outbox.send(to, Message::Hello { nonce }));
        self.due(next);
    }

    /// A peer's incarnation was learned. A leader tells a newcomer that it leads; so does everybody whom it asks.
    pub(super) fn on_known(&mut self, from: HostId, incarnation: Incarnation) {
        log::debug!("{from} is incarnation {incarnation:x}");
        if self.proposer.leads() {
            self.send_commit(from);
        } else if self.election.phase == Phase::Asking && self.voters.votes(from) {
            // Only the newcomer is asked, under the question that is out: asking all again would cost n^3 at a first boot.
            let (number, promised) = (self.election.number, self.acceptor.promised);
            self.outbox.send(from, Message::Ask { number, promised });
        }
    }

    /// Without a leader: ask, stand, fetch, win. With one: beat.
    pub(super) fn follow_up(&mut self, now: Instant) {
        if self.proposer.leads() {
            return;
        }
        if self.follower.leader == Ballot::NONE {
            self.urgent = false;
        } else {
            let urgent_at = self.beat_at + Duration::from_millis(u64::from(URGENT_MS));
            let due_at = if self.urgent { urgent_at.min(self.follower.next_at) } else { self.follower.next_at };
            if now >= due_at {
                self.beat(now);
                self.beat_at = now;
                self.urgent = false;
                self.due(self.follower.next_at);
            } else {
                self.due(due_at);
            }
        }
        if self.follower.hears(now, self.promise()) {
            if self.election.phase != Phase::Idle {
                self.election.rest(now);
            }
            let lost_at = self.follower.lost_at(self.promise());
            return self.due(lost_at);
        }
        self.elect(now);
    }

    fn elect(&mut self, now: Instant) {
        if self.election.phase == Phase::Voting {
            let until = self.election.started + Self::span(self.timing.election_max_ms);
            if now < until {
                let half = self.election.started + Self::span(self.timing.election_max_ms / 2);
                let again = now >= self.election.next_at;
                if again {
                    // FETCH, or a piece of what it asks for, may be lost. The pieces that came are kept.
                    self.election.next_at = now + Self::span(RESEND_MS);
                }
                if self.election.standing != Standing::Ordinary {
                    self.due(half);
                }
                if again || self.election.standing != Standing::Ordinary {
                    self.consider_outcome(now);
                }
                return self.due(until.min(self.election.next_at));
            }
            let pause = now + self.jitter();
            self.election.rest(pause);
        }
        if self.election.phase == Phase::Idle {
            if self.follower.leader != Ballot::NONE {
                log::warn!("the leader, {}, is not heard any more", self.follower.leader.host);
                let pause = now + self.jitter();
                self.election.not_before = self.election.not_before.max(pause);
                if self.acceptor.memory {
                    self.follower.forsake();
                }
            }
            self.election.next_at = now;
        }
        if now >= self.election.next_at {
            let number = self.election.ask(now + Self::span(RESEND_MS));
            let ask = Message::Ask { number, promised: self.acceptor.promised };
            for voter in self.voters.all().filter(|&voter| voter != self.me) {
                self.outbox.send(voter, ask);
            }
        }
        self.consider_standing(now);
        self.due(self.election.next_at);
        if self.election.phase == Phase::Asking {
            self.consider_alone(now);
        }
    }

    fn consider_standing(&mut self, now: Instant) {
        if self.condemned || self.left() || self.view().host(self.me).state == HostState::Condemned {
            return;
        }
        let (own, cold) = (self.answer(now), Self::span(self.timing.cold_ms));
        match self.election.stands(now, self.me, &self.voters, own, cold, self.needed()) {
            Step::Stand(Standing::Cold) => {
                let jitter = self.jitter();
                if self.election.may_begin_cold(now, jitter) {
                    self.stand(now, Standing::Cold);
                }
            }
            Step::Stand(standing) => self.stand(now, standing),
            _ if now < self.election.not_before => self.due(self.election.not_before),
            _ => {}
        }
    }

    /// What we would answer to a candidate's question.
    fn answer(&self, now: Instant) -> Answer {
        let (cluster, leaderless) = (self.acceptor.accepted.cluster, self.follower.leaderless(now));
        Answer { cluster, may_vote: self.may_vote(now), leaderless }
    }

    /// Whether our vote counts now: not within P of our boot or admission (SAFETY B1), and not while a promise to another
    /// leader stands (A1).
    pub(super) fn may_vote(&self, now: Instant) -> bool {
        self.is_elector(now) && now >= self.follower.promise_until()
    }

    /// Whether it is one of those whose memory elections rest on. To have *accepted* a view that admits it is not enough:
    /// that view may never be committed, and must not outvote one that was (SAFETY B1). A founding view names who voted for it.
    fn is_elector(&self, now: Instant) -> bool {
        let founding = self.acceptor.accepted.is_founding();
        let admitted = self.admitted_at.is_some() || founding || !self.rules.holds(Rule::B1Vote);
        self.acceptor.memory && admitted && now >= self.vote_from
    }

    pub(super) fn stand(&mut self, now: Instant, standing: Standing) {
        let ballot = self.election.stand(now, self.me, self.acceptor.promised, standing);
        assert!(self.acceptor.promise(ballot), "a candidate's ballot is above all that it promised");
        self.follower.forsake();
        self.acceptor.forget_fetched();
        self.election.next_at = now + Self::span(RESEND_MS);
        self.count(Counter::Elections);
        log::info!("stands for election under ballot {ballot}, {standing:?}");
        let granted = self.granted(now);
        self.election.grant(self.me, granted);
        // A first boot or a cold start names everybody who votes for it, so everybody is asked.
        for host in self.config().hosts.iter().map(|host| HostId::new(host.id)) {
            if host != self.me && (self.voters.votes(host) || standing != Standing::Ordinary) {
                self.outbox.send(host, Message::Vote { ballot, standing });
            }
        }
        self.consider_outcome(now);
    }

    /// What our vote says.
    pub(super) fn granted(&self, now: Instant) -> Granted {
        Granted {
            incarnation: self.incarnation,
            slot: self.acceptor.slot,
            digest: self.acceptor.encoded.content.digest,
            elector: self.is_elector(now),
            cluster: self.acceptor.accepted.cluster,
        }
    }

    pub(super) fn on_ask(&mut self, now: Instant, from: HostId, number: u32, promised: Ballot) {
        if self.proposer.leads() && promised > self.proposer.ballot {
            // A voter promised a higher ballot that came to nothing: only under a new ballot can we lead it again.
            self.election.round = self.election.round.max(promised.round);
            let standing = if self.proposer.established { Standing::Ordinary } else { self.election.standing };
            self.step_down(now, "a voter promised a higher ballot");
            return self.stand(now, standing);
        }
        let leader = if self.proposer.leads() {
            self.proposer.ballot
        } else if self.follower.hears(now, self.promise()) {
            self.follower.leader
        } else {
            Ballot::NONE
        };
        let Answer { cluster, may_vote, leaderless } = self.answer(now);
        let answer = Message::AskAnswer {
            number,
            leader,
            promised: self.acceptor.promised,
            memory: self.acceptor.memory,
            may_vote,
            cluster,
            leaderless_ms: u32::try_from(leaderless.as_millis()).unwrap_or(u32::MAX),
            accepted: self.acceptor.slot,
            committed: self.acceptor.committed_slot,
        };
        self.outbox.send(from, answer);
    }

    pub(super) fn on_ask_answer(&mut self, now: Instant, from: HostId, answer: &Message) {
        let Message::AskAnswer {
            number, leader, promised, may_vote, leaderless_ms, cluster, accepted, committed, ..
        } = *answer
        else {
            return;
        };
        self.election.round = self.election.round.max(promised.round);
        self.overhear(now, (accepted, committed), cluster);
        if self.proposer.leads() || self.election.phase != Phase::Asking {
            return;
        }
        if leader != Ballot::NONE {
            if leader >= self.acceptor.promised && leader.host != self.me && !self.has_handed_over(leader) {
                self.follower.follow(now, leader, leader.host == from);
            }
            return;
        }
        let answer = Answer { cluster, may_vote, leaderless: Self::span(leaderless_ms) };
        self.election.heard_none(now, from, number, answer);
        self.consider_standing(now);
    }

    /// What another appliance accepted, and knows to be committed. Who knows of a commit tells, and be it by having accepted
    /// the same leader's next proposal: otherwise an appliance whose leader died before it told of its admission could not
    /// vote, where its vote is needed.
    fn overhear(&mut self, now: Instant, (accepted, committed): (Slot, Slot), cluster: Cluster) {
        let says = self.acceptor.overhears(accepted, committed) && self.is_of_ours(cluster);
        if says && !self.proposer.leads() {
            self.commit(now);
        }
    }

    pub(super) fn on_vote(&mut self, now: Instant, from: HostId, ballot: Ballot, standing: Standing) {
        self.election.round = self.election.round.max(ballot.round);
        let same_leader = self.follower.leader.host == from && self.follower.leader != Ballot::NONE;
        let free = now >= self.follower.promise_until() && !self.follower.hears(now, self.promise());
        let able = match standing {
            Standing::Ordinary => self.is_elector(now),
            Standing::FirstBoot => !self.acceptor.memory || !self.voters.votes(self.me),
            // A voter that heard a leader not long ago may yet hear the next one (SAFETY B2).
            Standing::Cold => {
                self.follower.leaderless(now) >= Self::span(self.timing.cold_ms) || !self.rules.holds(Rule::B2)
            }
        };
        let granted = ballot > self.acceptor.promised
            && ballot.host == from
            && !self.proposer.leads()
            && able
            && (free || same_leader);
        if granted {
            let _raised = self.acceptor.promise(ballot);
            self.follower.forsake();
            let pause = now + Self::span(self.timing.election_max_ms);
            self.election.rest(pause);
            log::info!("votes for {from} under ballot {ballot}");
        }
        let Granted { slot, digest, elector, cluster, .. } = self.granted(now);
        let answer = Message::VoteAnswer {
            ballot,
            granted,
            promised: self.acceptor.promised,
            accepted: slot,
            digest,
            elector,
            cluster,
            committed: self.acceptor.committed_slot,
        };
        self.outbox.send(from, answer);
    }

    pub(super) fn on_vote_answer(&mut self, now: Instant, from: HostId, incarnation: Incarnation, answer: &Message) {
        let Message::VoteAnswer { ballot, granted, promised, accepted, digest, elector, cluster, committed } = *answer
        else {
            return;
        };
        self.election.round = self.election.round.max(promised.round);
        self.overhear(now, (accepted, committed), cluster);
        if self.election.phase != Phase::Voting || ballot != self.election.ballot {
            return;
        }
        if granted {
            self.election.grant(from, Granted { incarnation, slot: accepted, digest, elector, cluster });
            self.consider_outcome(now);
        } else if promised > ballot {
            let pause = now + self.jitter();
            self.election.rest(pause);
        }
    }

    pub(super) fn consider_outcome(&mut self, now: Instant) {
        let all = self.all_voted(now);
        match self.election.outcome(now, self.promise(), &self.voters, self.acceptor.held(), all) {
            Step::Fetch(from, slot) => {
                self.outbox.send(from, Message::Fetch { ballot: self.election.ballot, slot });
            }
            Step::Won(standing) => self.begin_lead(now, standing),
            Step::Wait | Step::Stand(_) => {}
        }
    }

    pub(super) fn on_piece(&mut self, now: Instant, from: HostId, head: &Piece, bytes: &[u8]) {
        if self.proposer.leads() || (head.fetched && self.election.phase != Phase::Voting) {
            return;
        }
        let taken = self.acceptor.take(from, head, bytes);
        self.on_taken(now, from, taken, head.slot, head.digest);
    }

    pub(super) fn on_delta(&mut self, now: Instant, from: HostId, head: &Proposal, bytes: &[u8]) {
        if !self.proposer.leads() {
            let taken = self.acceptor.take_delta(from, head, bytes);
            self.on_taken(now, from, taken, head.slot, head.digest);
        }
    }

    fn on_taken(&mut self, now: Instant, from: HostId, taken: Taken, slot: Slot, digest: u64) {
        match taken {
            Taken::Nothing => {}
            Taken::Fetched => self.consider_outcome(now),
            Taken::NeedsWhole => self.outbox.send(from, Message::NeedWhole { slot }),
            Taken::Accepted => {
                self.courier.clear();
                self.election.rest(now);
                if !self.has_handed_over(slot.ballot) {
                    self.follower.follow(now, slot.ballot, true);
                }
                self.outbox.send(from, Message::Accept { slot, digest });
            }
        }
    }

    /// A leader's word: it leads, and this is committed.
    pub(super) fn on_commit(&mut self, now: Instant, from: HostId, slot: Slot, cluster: Cluster, named: bool) {
        if slot.ballot.host != from || slot.ballot < self.acceptor.promised || self.proposer.leads() {
            return;
        }
        self.meet(now, slot, cluster, named);
        if !self.has_handed_over(slot.ballot) {
            self.follower.follow(now, slot.ballot, true);
        }
        self.learn(now, slot, cluster);
    }

    /// Ballots and versions order what belongs to one cluster incarnation: one that knows nothing of another may use the same.
    fn is_of_ours(&self, cluster: Cluster) -> bool {
        !cluster.differs(self.acceptor.accepted.cluster)
    }

    fn learn(&mut self, now: Instant, slot: Slot, cluster: Cluster) {
        if self.acceptor.learns(slot) && self.is_of_ours(cluster) {
            self.commit(now);
        }
    }

    /// What was accepted is committed: it takes effect, and the sessions are told what changed.
    pub(super) fn commit(&mut self, now: Instant) {
        self.tell_changes();
        self.greet_anew();
        self.acceptor.commit();
        self.count(Counter::ViewsCommitted);
        let slot = self.acceptor.committed_slot;
        log::info!("view {} committed under ballot {}", slot.version, slot.ballot);
        let row = self.acceptor.committed.host(self.me);
        let admitted = row.counts() && row.incarnation == self.incarnation;
        if admitted && self.admitted_at.is_none() {
            self.admitted_at = Some(now);
            self.vote_from = self.vote_from.max(now + self.promise());
            log::info!("admitted as incarnation {:x}", self.incarnation);
        }
        self.groups_committed(now);
        self.ages.note(now, &self.acceptor.committed);
        self.ask_again(now);
        self.node_timer = now;
        // A view that changes nothing of what we say waits for the next period: all members hear of it at the same time.
        self.urgent |= admitted && self.locals(now) != self.locals_told;
        self.hand_over(now);
    }

    /// What there is to say about our nodes.
    fn locals(&self, now: Instant) -> [LocalNode; LOCAL_NODES_MAX] {
        let since = self.admitted_at.unwrap_or(now);
        self.local.table(now, self.view(), since, Self::span(self.timing.node_dead_ms))
    }

    pub(super) fn heartbeat(&self, now: Instant) -> Heartbeat {
        Heartbeat {
            ballot: self.follower.leader,
            memory: self.acceptor.memory,
            accepted: self.acceptor.slot,
            committed: self.acceptor.committed.version,
            cluster: self.acceptor.accepted.cluster,
            boot: self.local.boot,
            sealed: true,
            release: RELEASE,
            config_hash: self.config_hash,
            locals: self.locals(now),
            ..Heartbeat::NONE
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let spare = Self::span(self.timing.guard_lease_ms - self.timing.node_lease_ms);
        Snapshot { guard: self.local.clock, nodes: self.local.stamps(now, spare), ..Snapshot::default() }
    }

    fn beat(&mut self, now: Instant) {
        let mut beat = self.heartbeat(now);
        (beat.number, beat.echo) = self.follower.beat(now, self.promise(), self.snapshot(now));
        self.locals_told = beat.locals;
        self.send_tales(now);
        self.outbox.send(self.follower.leader.host, Message::Heartbeat(beat));
        let period = Self::span(self.timing.heartbeat_ms);
        if now >= self.follower.next_at {
            // In step with the clock, so that a late turn does not lengthen every period after it.
            let late = now.since(self.follower.next_at) >= period;
            self.follower.next_at = if late { now + period } else { self.follower.next_at + period };
        }
    }

    pub(super) fn on_answer(
        &mut self,
        now: Instant,
        from: HostId,
        number: u32,
        ballot: Ballot,
        stamp: u64,
        committed: (Slot, Cluster),
    ) {
        let (committed, cluster) = committed;
        if ballot != self.follower.leader || from != ballot.host || ballot < self.acceptor.promised {
            return;
        }
        let Some(snapshot) = self.follower.answered(now, self.promise(), number, stamp) else { return };
        if self.acceptor.promised < ballot {
            let _raised = self.acceptor.promise(ballot);
        }
        self.learn(now, committed, cluster);
        let snapshot = if self.rules.holds(Rule::C3) { snapshot } else { self.snapshot(now) };
        let row = self.view().host(self.me);
        let fenced = self.condemned || matches!(row.state, HostState::Condemned | HostState::Down);
        if self.admitted_at.is_some() && !fenced && !cluster.differs(self.view().cluster) {
            self.renew(&snapshot);
        }
    }

    /// Renews leases from what we held when we asked (SAFETY C2, C3).
    pub(super) fn renew(&mut self, snapshot: &Snapshot) {
        if snapshot.guard != 0 {
            let lease_ms = self.timing.guard_lease_ms;
            self.outbox.guard(guard::Message::Lease { clock: snapshot.guard, lease_ms });
        }
        for (slot, &(incarnation, stamp)) in (0u8..).zip(&snapshot.nodes) {
            let road = crate::io::Road::Channel(slot);
            let session = self.sessions.get(road);
            let row = self.view().node(session.node);
            let member = row.state == protocol::NodeState::Up && row.incarnation == incarnation;
            let lives = member || self.outlives_cold(slot);
            if incarnation != 0 && stamp != 0 && lives && session.open && session.incarnation == incarnation {
                let lease_ms = self.timing.node_lease_ms;
                self.outbox.say(road, protocol::Message::Lease { stamp, lease_ms });
            }
        }
    }

    /// A word to an incarnation that is condemned: ours (SAFETY F5). Its nodes are ended, their ends reported, and the
    /// appliance restarts.
    pub(super) fn on_condemned(&mut self, version: u64) {
        if !self.condemned && version > self.view().version.saturating_sub(1) {
            log::error!("this appliance is condemned by view {version}: its nodes are ended, then it restarts");
            self.condemned = true;
            self.node_timer = Instant::ZERO;
            self.urgent = true;
        }
    }
}
