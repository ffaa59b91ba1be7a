//! The nodes' part: their sessions, the guard that starts and ends them, what they are told, and operators' fences.

use super::Engine;
use crate::cold;
use crate::fencing::Verdict;
use crate::fencing::executor::Reply;
use crate::id::{Cluster, HostId, Incarnation, NodeId, WHOEVER};
use crate::io::Road;
use crate::limits::{FRAME_PAYLOAD_MAX, RESEND_MS, SESSIONS_MAX, VIEW_AGAIN_MS};
use crate::local::News;
use crate::outbox::Class;
use crate::rule::Rule;
use crate::sessions::Received;
use crate::state::{Stage, State};
use crate::status::{Counter, HistoryEntry, HostState};
use crate::throttle::Demand;
use crate::time::Instant;
use crate::wire::guard;
use crate::wire::message::{Message, Order};
use crate::wire::node::{Mail, Message as Word, NodeEvent, NodeState, Refusal, Target};

impl Engine {
    /// What is due towards nodes and guard, whatever came in.
    pub(super) fn serve(&mut self, now: Instant) {
        let dead = Self::span(self.timing.node_dead_ms);
        let silent_at = self.local.silent_at(dead);
        if now < silent_at {
            self.due(silent_at);
        } else if self.silence_told != silent_at {
            self.silence_told = silent_at;
            self.urgent = true;
        }
        if self.condemned {
            if now >= self.node_timer {
                let all_ended = self.local.kill_all(&mut self.outbox);
                self.restart |= all_ended && !self.votes_on();
                self.node_timer = now + Self::span(RESEND_MS);
            }
            self.due(self.node_timer);
        } else if self.holds_membership(now) && self.view().stage != Stage::Collecting {
            if now >= self.node_timer {
                let (config, executor) = (self.config(), &self.executor);
                let busy = |node| executor.is_busy_with(node);
                let view = &self.acceptor.committed;
                self.node_timer = self.local.start_nodes(now, config, view, dead, busy, &mut self.outbox);
            }
            self.due(self.node_timer);
        }
        self.tell_again(now);
        self.serve_addresses(now);
        self.repeat_requests(now);
    }

    /// Tells every open session the whole view again, now and then and after anything found its queue full: an event is
    /// said once, and a pipe that was full then must not hide a death for ever.
    fn tell_again(&mut self, now: Instant) {
        let dropped = self.outbox.dropped(Class::Sessions);
        if now >= self.view_at || dropped != self.dropped_then {
            self.view_at = now + Self::span(VIEW_AGAIN_MS);
            self.dropped_then = dropped;
            let mut roads = [None; SESSIONS_MAX];
            for (place, road) in roads.iter_mut().zip(self.sessions.open_roads()) {
                *place = Some(road);
            }
            for road in roads.into_iter().flatten() {
                self.say_view(road);
            }
        }
        self.due(self.view_at);
    }

    /// Whether it is one of two, condemned, and not yet proven off: then the other one decides nothing without its vote
    /// (SAFETY D1, F5), and it goes on as an appliance that serves nobody.
    fn votes_on(&self) -> bool {
        self.voters.other_of_two(self.me).is_some() && self.view().host(self.me).state == HostState::Condemned
    }

    /// Admitted, not condemned, and within the membership lease (SAFETY C2); a leader within its lead's.
    fn holds_membership(&self, now: Instant) -> bool {
        let leads = self.proposer.leads() && self.proposer.established;
        let member = self.view().host(self.me).state == HostState::Member;
        // The one act without a commit (SAFETY D1).
        let alone = self.is_alone() && self.proposer.leads();
        alone || self.admitted_at.is_some() && member && (leads || self.follower.holds_lease(now, self.promise()))
    }

    pub(super) fn on_guard(&mut self, now: Instant, mut bytes: &[u8]) {
        loop {
            let Some(frame) = self.guard_reader.next(&mut bytes) else { return };
            let Ok(message) = guard::Message::parse(&frame) else {
                self.count(Counter::GuardFramesUnsound);
                continue;
            };
            match message {
                guard::Message::Stamp { boot, clock } => {
                    let gap = Self::span(self.timing.stamp_gap_max_ms);
                    self.urgent |= self.local.boot != boot;
                    if self.local.take_stamp(now, boot, clock, gap) {
                        self.on_stopped(now);
                    }
                    if !self.rules.holds(Rule::C2) {
                        let snapshot = self.snapshot(now);
                        self.renew(&snapshot);
                    }
                }
                guard::Message::Run(report) => {
                    let news = self.local.take_report(now, &report, &mut self.outbox);
                    if let News::Run(slot) = news {
                        self.sessions.end(Road::Channel(slot));
                        self.dlm.desk.close(slot);
                    }
                    if news != News::None {
                        log::info!("guard: {} run {} is {:?}", report.node, report.counter, report.state);
                        self.urgent = true;
                        self.node_timer = now;
                    }
                }
                _ => self.count(Counter::GuardFramesUnsound),
            }
        }
    }

    /// The host's clock went on without ours: we were stopped. Leadership, candidacy, collected votes and accusations are
    /// dropped at once (SAFETY C5), and so is the membership lease, which was counted by the clock that stood still.
    fn on_stopped(&mut self, now: Instant) {
        log::warn!("the guard's clock says that this appliance was stopped");
        self.count(Counter::Stalls);
        self.distrust(now);
        self.step_down(now, "it was stopped");
        // What was asked for before gives no lease after it.
        if self.rules.holds(Rule::C3) {
            self.follower.lapse();
        }
        let pause = now + self.jitter();
        self.election.rest(pause);
    }

    pub(super) fn on_opened(&mut self, connection: u8, cid: u32) {
        let config = self.config();
        if !self.sessions.opened(connection, cid, config) {
            log::warn!("vsock: CID {cid} is nobody's; refused");
            self.count(Counter::SessionsRefused);
            self.sessions.closed(connection);
            self.outbox.close(connection);
        }
    }

    pub(super) fn on_session(&mut self, now: Instant, road: Road, mut bytes: &[u8]) {
        let mut payload = [0; FRAME_PAYLOAD_MAX];
        while let Some(received) = self.sessions.next(road, &mut bytes, &mut payload) {
            self.count(Counter::FramesTaken);
            self.on_word(now, road, received, &payload[..received.length]);
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, road: Road, refusal: Refusal) {
        self.count(Counter::SessionsRefused);
        self.say_error(now, road, refusal);
    }

    /// Tells a session what is wrong, but not more often than a sound one needs.
    pub(super) fn say_error(&mut self, now: Instant, road: Road, refusal: Refusal) {
        if self.sessions.admits(now, road, Demand::Refusal) {
            self.outbox.say(road, Word::Error { refusal });
        } else {
            self.count(Counter::RefusalsThrottled);
        }
    }

    /// This was too much: nothing of it is accepted.
    fn turn_away(&mut self, now: Instant, road: Road, demand: Demand, received: &Received) {
        let counter = match demand {
            Demand::Session => return self.count(Counter::HellosThrottled),
            Demand::Query => Counter::QueriesThrottled,
            Demand::Operator => Counter::OperatorsThrottled,
            Demand::Message => Counter::MessagesThrottled,
            Demand::Refusal => Counter::RefusalsThrottled,
        };
        self.count(counter);
        if let Some(Word::Mail(Mail::Send { to, epoch, number })) = received.message {
            return self.refuse_send(now, road, received.session, (to, epoch, number));
        }
        self.outbox.say(road, Word::Busy);
    }

    fn on_word(&mut self, now: Instant, road: Road, received: Received, payload: &[u8]) {
        let Some(message) = received.message else { return self.count(Counter::FramesUnsound) };
        if let Some(demand) = Demand::of(&message)
            && !self.is_out_of_turn(road, &received)
            && !self.sessions.admits(now, road, demand)
        {
            return self.turn_away(now, road, demand, &received);
        }
        match message {
            Word::Hello { node, incarnation, nonce, served } => {
                return self.on_hello(now, road, (node, incarnation, served), nonce);
            }
            // Queries need no session: they change nothing, and an operator has none.
            Word::Status { section, first } => {
                return self.outbox.say(road, Word::StatusPart { section, first, count: 0, total: 0 });
            }
            Word::Mail(Mail::Address { node }) => return self.on_address(now, road, node),
            Word::Fence { target } if matches!(road, Road::Vsock(_)) => return self.on_fence(now, road, target),
            Word::Operate(operation) => return self.on_operate(now, road, operation),
            Word::Fence { .. } => return self.refuse(now, road, Refusal::BadRequest),
            _ => {}
        }
        let session = self.sessions.get(road);
        if session.id == 0 || received.session != session.id {
            self.count(Counter::FramesStale);
            return self.say_error(now, road, Refusal::NoSession);
        }
        let (node, incarnation) = (session.node, session.incarnation);
        if self.is_condemned(node, incarnation) {
            return self.refuse(now, road, Refusal::Condemned);
        }
        match (message, road) {
            (Word::Report(ref account), Road::Channel(slot)) => self.on_account(slot, account, payload),
            (Word::Beat { stamp }, _) => self.on_beat(now, road, node, incarnation, stamp),
            (Word::Bye | Word::LastGasp { .. }, Road::Channel(slot)) => {
                if self.local.farewell(slot, message == Word::Bye) {
                    log::info!("{node} says {message:?}");
                    self.urgent = true;
                }
            }
            (Word::Group(ref said), Road::Channel(_)) => self.on_group(now, road, node, incarnation, said),
            (Word::Dlm(ref said), Road::Channel(slot)) => self.on_dlm(now, (slot, node), said),
            (Word::Takeover(ref said), Road::Channel(_)) => self.on_takeover(now, road, node, incarnation, said),
            (Word::Bye, Road::Vsock(connection)) => self.outbox.close(connection),
            (Word::Mail(mail), _) => self.on_mail(now, road, mail, payload),
            _ => self.count(Counter::FramesUnsound),
        }
    }

    fn on_hello(&mut self, now: Instant, road: Road, who: (NodeId, Incarnation, Cluster), nonce: u64) {
        let (node, incarnation, served) = who;
        let speaks_for = self.sessions.get(road).node;
        if node != speaks_for {
            log::warn!("a session of {speaks_for} claims to be {node}; refused");
            return self.refuse(now, road, Refusal::WrongNode);
        }
        // Of whoever has such a number no death could be told.
        if node.is_some() && incarnation <= WHOEVER {
            log::warn!("{node} says that its incarnation is {incarnation}, which nobody's can be; refused");
            return self.refuse(now, road, Refusal::BadRequest);
        }
        if self.admitted_at.is_none() {
            return self.say_error(now, road, Refusal::NotAdmitted);
        }
        if node.is_some() && self.is_condemned(node, incarnation) {
            return self.refuse(now, road, Refusal::Condemned);
        }
        if node.is_some() && !cold::may_serve(self.view(), node, incarnation, served) {
            return self.refuse(now, road, Refusal::ClusterOver);
        }
        if let Road::Channel(slot) = road {
            self.tales.begin(now, slot, incarnation, served);
            self.dlm.desk.close(slot);
        }
        let [a, b, c, d, ..] = self.entropy.next().to_le_bytes();
        let id = u32::from_le_bytes([a, b, c, d]).max(1);
        self.sessions.welcome(road, id, incarnation);
        let welcome = Word::Welcome {
            nonce,
            host: self.me,
            node,
            beat_ms: self.timing.beat_ms,
            lease_ms: self.timing.node_lease_ms,
            cluster: if self.view().stage == Stage::Collecting { Cluster::NONE } else { self.view().cluster },
        };
        self.outbox.say(road, welcome);
    }

    fn on_beat(&mut self, now: Instant, road: Road, node: NodeId, incarnation: Incarnation, stamp: u64) {
        let opens = !self.sessions.get(road).open;
        self.sessions.get_mut(road).open = true;
        if let Road::Channel(slot) = road {
            if opens {
                log::info!("{node} incarnation {incarnation:x} has a session");
                self.local.bind(now, slot, incarnation);
                self.local.calm(slot);
                self.urgent = true;
            }
            self.local.beat(now, slot, stamp);
        }
        if opens {
            self.desk.steps.hurry();
            self.bind_end(road);
            self.owners.orders.hurry();
            self.say_view(road);
        }
    }

    /// Tells a session the whole committed view.
    pub(super) fn say_view(&mut self, road: Road) {
        let view = self.view();
        if view.stage == Stage::Collecting {
            return; // It is a memory, and nobody's present.
        }
        let (version, ballot) = (view.version, self.acceptor.committed_slot.ballot);
        let parts = self.view_parts();
        for part in 0..parts {
            self.outbox.say(road, Word::View { version, ballot, part, parts });
        }
        if let Road::Channel(slot) = road {
            self.tell_addresses(slot);
        }
    }

    /// What the state that is about to be committed changes for nodes goes to every open session: NODE_DOWN only on a
    /// committed Confirmed.
    pub(super) fn tell_changes(&mut self) {
        let (old, new) = (&self.acceptor.committed, &self.acceptor.accepted);
        if old.version == 0 {
            // The first view that this appliance holds is no news about anybody; no session is open yet.
            return;
        }
        let settled = new.stage == Stage::Settled;
        if settled && old.stage != Stage::Settled {
            tell_deaths(&self.sessions, &mut self.outbox, new);
        }
        for (node, row) in new.nodes() {
            let before = old.node(node);
            if row == before {
                continue;
            }
            let event =
                |incarnation, class| NodeEvent { node, host: row.host, class, incarnation, version: new.version };
            if settled && row.dead != before.dead && row.dead != 0 {
                let class = crate::fencing::Class::from_wire(row.class);
                log::warn!("{node} is down: {}", class.map_or("no class", crate::fencing::Class::word));
                broadcast(&self.sessions, &mut self.outbox, node, Word::NodeDown(event(row.dead, class)));
            }
            // A member that missed versions still tells of every death; but who was followed by another may have left.
            let skipped = before.may_write() && before.incarnation != row.incarnation && before.incarnation != row.dead;
            let of = |entry: &&HistoryEntry| entry.node == node && entry.incarnation == before.incarnation;
            if let Some(proven) = new.history().find(of).filter(|_| skipped && settled) {
                let class = crate::fencing::Class::from_wire(proven.class);
                broadcast(&self.sessions, &mut self.outbox, node, Word::NodeDown(event(before.incarnation, class)));
            }
            let raised =
                row.state == NodeState::Up && (before.state != NodeState::Up || before.incarnation != row.incarnation);
            if raised {
                log::info!("{node} is up as incarnation {:x}", row.incarnation);
                broadcast(&self.sessions, &mut self.outbox, node, Word::NodeUp(event(row.incarnation, None)));
            }
            if row.state == NodeState::Condemned && before.state != NodeState::Condemned {
                log::warn!("{node} is condemned: {}", row.record.reason.word());
                broadcast(&self.sessions, &mut self.outbox, node, Word::NodeSuspect(event(row.incarnation, None)));
            }
        }
        for (host, row) in new.hosts() {
            let before = old.host(host);
            if row.state != before.state {
                match row.state {
                    HostState::Condemned => log::warn!("{host} is condemned: {}", row.record.reason.word()),
                    HostState::Down => {
                        let class = crate::fencing::Class::from_wire(row.class);
                        log::warn!("{host} is down: {}", class.map_or("no class", crate::fencing::Class::word));
                    }
                    HostState::Member => log::info!("{host} is a member"),
                    HostState::Out => log::warn!("{host} is out of the view"),
                    HostState::Left => log::info!("{host} left"),
                }
            } else if row.incarnation != before.incarnation && row.state == HostState::Member {
                log::info!("{host} is a member again, as another appliance");
            }
        }
        super::changes::log(self.config(), old, new);
    }

    /// An order came. Refused below our promise, without a living membership lease, and about our own host (SAFETY F1,
    /// F5); its validity counts from the heartbeat that it answers.
    pub(super) fn on_order(&mut self, now: Instant, from: HostId, order: &Order) {
        let own = from == self.me;
        let ballot = if own { self.proposer.ballot } else { self.follower.leader };
        let about_us = order.target == Target::Host(self.me);
        let sent = if own { Some(now) } else { self.follower.sent(order.answers) };
        let lives = order.ballot == ballot && order.ballot >= self.acceptor.promised && order.ballot.host == from;
        let strict = self.rules.holds(Rule::F1);
        if about_us || strict && (!lives || self.condemned || !self.holds_membership(now)) {
            return self.count(Counter::OrdersRefused);
        }
        let from_sent = if strict { sent } else { Some(now) };
        let valid_until = from_sent.map_or(Instant::ZERO, |sent| sent + Self::span(self.timing.order_ms));
        let config = self.config();
        let reply = self.executor.take(now, config, &self.local, order, valid_until, &mut self.outbox);
        let (verdict, tried) = match reply {
            Reply::Now(verdict) => (verdict, true),
            Reply::Declined => {
                self.count(Counter::OrdersRefused);
                (Verdict::Unknown, false)
            }
            Reply::Later => return,
        };
        let answer = Message::OrderAnswer { ballot: order.ballot, attempt: order.attempt, verdict, tried };
        self.outbox.send(from, answer);
    }
}

/// A cold start is over, and nobody may write any more whom nobody knows: whatever deaths are known are told, to whomever
/// they may have been told before (SAFETY B4).
fn tell_deaths(sessions: &crate::sessions::Sessions, outbox: &mut crate::outbox::Outbox, view: &State) {
    for (node, row) in view.nodes().filter(|(_, row)| row.dead != 0) {
        let class = crate::fencing::Class::from_wire(row.class);
        let event = NodeEvent { node, host: row.host, class, incarnation: row.dead, version: view.version };
        broadcast(sessions, outbox, node, Word::NodeDown(event));
    }
}

/// To every open session but the node's own.
fn broadcast(sessions: &crate::sessions::Sessions, outbox: &mut crate::outbox::Outbox, about: NodeId, word: Word) {
    for road in sessions.open_roads() {
        if sessions.get(road).node != about {
            outbox.say(road, word);
        }
    }
}
