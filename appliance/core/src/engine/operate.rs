//! Operators' requests: from the session that brings one to the leader that judges it, and back.
//!
//! Owns those that wait here. A request is sent to whoever leads until it is answered, and answered only when its effect is
//! committed (SAFETY I3); whoever waits too long is told BUSY, which promises nothing either way.

use super::Engine;
use crate::decide::can_fence;
use crate::fencing::operate::{self, Judgement};
use crate::id::HostId;
use crate::io::Road;
use crate::limits::RESEND_MS;
use crate::state::Stage;
use crate::status::HostState;
use crate::time::{Duration, Instant};
use crate::who::Who;
use crate::wire::message::{Message, Operated};
use crate::wire::node::{Message as Word, NodeState, Operation, Refusal, Target, Wish};

/// How long a request may wait for its commit.
const REQUEST_SPAN: Duration = Duration::from_millis(5000);

/// Requests under way at a time.
pub(super) const REQUESTS_MAX: usize = 8;

/// A request that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    number: u64,
    operation: Operation,
    road: Road,
    /// It came as FENCE, and is answered as such.
    plain: bool,
    until: Instant,
    resend_at: Instant,
}

impl Engine {
    /// FENCE: the oldest of them, from whoever is root on the host or in a node.
    pub(super) fn on_fence(&mut self, now: Instant, road: Road, target: Target) {
        let (wish, who) = (Wish::Fence, Who::NONE);
        let operation = Operation { wish, target, force: false, duration_ms: 0, incarnation: 0, who };
        self.begin_request(now, road, operation, true);
    }

    /// OPERATE: from the host only; a node is not to speak for others.
    pub(super) fn on_operate(&mut self, now: Instant, road: Road, operation: Operation) {
        let operator = matches!(road, Road::Vsock(_)) && !self.sessions.get(road).node.is_some();
        if !operator {
            return self.refuse(now, road, Refusal::BadRequest);
        }
        self.begin_request(now, road, operation, false);
    }

    fn begin_request(&mut self, now: Instant, road: Road, mut operation: Operation, plain: bool) {
        let present = operate::present(self.view(), operation.target);
        if operation.incarnation == 0 {
            operation.incarnation = present;
        }
        let fence = operation.wish == Wish::Fence;
        if operation.incarnation != present || fence && !self.may_be_fenced(operation.target) {
            return self.say_error(now, road, Refusal::BadRequest);
        }
        let number = self.entropy.next().max(1);
        let request = Request { number, operation, road, plain, until: now + REQUEST_SPAN, resend_at: now };
        if self.requests.push(request).is_err() {
            return self.outbox.say(road, Word::Busy);
        }
        self.repeat_requests(now);
    }

    /// Whether there is anything to fence. What is condemned is fenced already.
    fn may_be_fenced(&self, target: Target) -> bool {
        match target {
            Target::Node(node) => matches!(self.view().node(node).state, NodeState::Up | NodeState::Condemned),
            Target::Host(host) => {
                let state = self.view().host(host).state;
                matches!(state, HostState::Member | HostState::Condemned) && can_fence(self.config(), host)
            }
        }
    }

    /// Sends what waits to whoever leads, now and then; gives up what waited too long.
    pub(super) fn repeat_requests(&mut self, now: Instant) {
        let leader = if self.proposer.leads() { self.me } else { self.follower.leader.host };
        let mut next = Instant::FAR;
        for request in &mut self.requests {
            if now >= request.resend_at && leader.is_some() {
                request.resend_at = now + Self::span(RESEND_MS);
                let (request, operation) = (request.number, request.operation);
                self.outbox.send(leader, Message::Operate { request, operation });
            }
            next = next.min(request.resend_at.max(now + Self::span(1))).min(request.until);
        }
        while let Some(at) = self.requests.iter().position(|request| now >= request.until) {
            let request = self.requests.swap_remove(at);
            self.outbox.say(request.road, Word::Busy);
        }
        self.due(next);
    }

    /// A view was committed: it may be what was waited for.
    pub(super) fn ask_again(&mut self, now: Instant) {
        for request in &mut self.requests {
            request.resend_at = now;
        }
    }

    /// Whoever asked is gone.
    pub(super) fn forget_requests(&mut self, road: Road) {
        self.requests.retain(|request| request.road != road);
    }

    /// A leader's judgement came back.
    pub(super) fn on_operated(&mut self, now: Instant, number: u64, answer: Operated) {
        let Some(at) = self.requests.iter().position(|request| request.number == number) else { return };
        let Request { road, plain, operation, .. } = self.requests.swap_remove(at);
        match answer {
            Operated::Done(version) if plain => {
                self.outbox.say(road, Word::FenceReply { target: operation.target, version });
            }
            Operated::Done(version) => self.outbox.say(road, Word::OperateReply { target: operation.target, version }),
            Operated::Refused(refusal) => self.say_error(now, road, refusal),
            Operated::Busy => self.outbox.say(road, Word::Busy),
        }
    }

    /// An operator's word, from whichever appliance he told it: judged by the committed view, and carried out by a commit.
    pub(super) fn on_request(&mut self, now: Instant, from: HostId, request: u64, operation: &Operation) {
        if self.hear_operator(now, operation) {
            return;
        }
        // While a cold start collects reports nothing else is decided; it is sent again.
        let collects = self.view().stage == Stage::Collecting;
        if !self.proposer.leads() || !self.proposer.established || collects {
            return;
        }
        let answer = match operate::judge(self.config(), self.view(), request, operation) {
            Judgement::Done => Operated::Done(self.view().version),
            Judgement::Refused(refusal) => Operated::Refused(refusal),
            // It is sent again.
            Judgement::Due if self.proposer.in_flight || self.committed_just_now(now) => return,
            Judgement::Due => {
                log::warn!("{} wants {:?} of {}", operation.who, operation.wish, operation.target);
                let mut carried_out = false;
                self.change_view(now, |facts, next| {
                    carried_out = operate::apply(facts, next, request, operation);
                    carried_out
                });
                if carried_out {
                    return;
                }
                Operated::Busy
            }
        };
        self.outbox.send(from, Message::Operated { request, answer });
    }
}
