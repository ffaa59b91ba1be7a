//! One node's side of the node protocol, as a pure state machine.
//!
//! Owns the session, the lease and their deadlines. Must never read a clock, do I/O or wait: frames and `now` come in,
//! frames, events and the order to reset come out of `poll`. What is about groups it passes on. Rules: DESIGN §6, SAFETY
//! C3 (the lease counts from the stamp that the node sent), F4 (condemned), G5 (session ids).
//!
//! ```text
//!             WELCOME(our nonce)                 lease over, ERROR(condemned), ERROR(cluster over)
//!   Asking ----------------------> Open                    from either ----------> Over
//!     ^   <----------------------   |  BEAT every beat_ms; LEASE moves the lease's end
//!     |  ERROR(no session), silence |
//!     +-----------------------------+  the lease runs on
//! ```

mod known;

use std::collections::VecDeque;

use palisade_core::id::{Ballot, Cluster, Incarnation, NodeId};
use palisade_core::time::{Duration, Instant};
use palisade_core::wire::frame::Frame;
use palisade_core::wire::node::{Account, Dlm, Gasp, Message, NodeState, Refusal};

use crate::event::{Event, Why, view_nodes};
use crate::group::{Act, Groups};
use known::Known;

/// How often HELLO is repeated. An appliance that has just restarted finds its nodes again within this time.
const HELLO: Duration = Duration::from_millis(100);
/// The same after ERROR(wrong node): a person must change something first.
const HELLO_REFUSED: Duration = Duration::from_millis(1000);
/// The shortest time between two beats, whatever WELCOME asks for: a zero would make the loop spin.
const BEAT_MIN_MS: u32 = 10;
/// So long before the lease's end the node resets itself: the last word and the last line take this time at most, and
/// the reset must come before the end, not after it.
pub const PARTING: Duration = Duration::from_millis(20);

/// What the state machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this message in a frame with this session and sequence.
    Send {
        /// The message.
        message: Message,
        /// The frame's session.
        session: u32,
        /// The frame's sequence.
        sequence: u32,
        /// What follows the fixed part.
        payload: Vec<u8>,
    },
    /// Tell people.
    Event(Event),
    /// Keep the lease's end for a client that is restarted within this boot.
    KeepLease(Instant),
    /// Keep whether this boot holds volumes or services, for the same.
    KeepHeld(bool),
    /// Reset the machine at once.
    Reset(Why),
}

/// What an earlier client of the same boot left behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remains {
    /// The end of its lease.
    pub lease_end: Option<Instant>,
    /// Whether it held volumes or services.
    pub held: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asking { next_hello: Instant, every: Duration },
    Open { session: u32, next_beat: Instant, beat: Duration, patience: Duration },
    Over,
}

/// The client of one node.
#[derive(Debug)]
pub struct Client {
    node: NodeId,
    incarnation: Incarnation,
    nonce: u64,
    phase: Phase,
    sequence: u32,
    /// When the last frame of this session came.
    heard: Instant,
    /// When the node must have reset itself; none before the first lease: a node without a lease writes nothing.
    lease_end: Option<Instant>,
    lease_told: bool,
    refusal_told: Option<Refusal>,
    /// The view that was told last in this session, with its last part: the appliance repeats it now and then.
    view_told: Option<(u64, Ballot, u16)>,
    /// Requests that may still be answered.
    requests: u32,
    groups: Groups,
    /// The cluster incarnation that it serves, as a WELCOME named it last.
    served: Cluster,
    known: Known,
    outputs: VecDeque<Output>,
    /// Frames that were dropped: another session, another nonce, an impossible stamp.
    pub dropped: u64,
}

impl Client {
    /// A client that will ask for a session; `nonce` must be random. A boot that held volumes or services is reset: what
    /// the client before knew of them is lost, and whatever this one said in its place could be wrong.
    #[must_use]
    pub fn new(now: Instant, node: NodeId, incarnation: Incarnation, nonce: u64, remains: Remains) -> Self {
        let mut client = Self {
            node,
            incarnation,
            nonce,
            phase: Phase::Over,
            sequence: 0,
            heard: now,
            lease_end: remains.lease_end,
            lease_told: false,
            refusal_told: None,
            view_told: None,
            requests: 0,
            groups: Groups::new(node, incarnation),
            served: Cluster::NONE,
            known: Known::default(),
            outputs: VecDeque::new(),
            dropped: 0,
        };
        if remains.held {
            client.reset(Why::Forgotten);
        } else {
            client.ask_for_session(now, "start");
        }
        client
    }

    /// Takes one frame from the channel.
    pub fn on_frame(&mut self, now: Instant, frame: &Frame<'_>) {
        self.check_lease(now);
        let (Ok(message), false) = (Message::parse(frame), self.is_over()) else {
            self.dropped += 1;
            return;
        };
        match message {
            Message::Welcome { nonce, node, .. } if nonce == self.nonce && node == self.node => {
                self.on_welcome(now, frame.session, message);
            }
            Message::Error { refusal } if self.concerns_us(frame.session) => self.on_error(now, refusal),
            _ if frame.session == 0 || Some(frame.session) != self.session() => self.dropped += 1,
            _ => {
                self.heard = now;
                self.on_message(now, message, frame.payload);
                self.serve_groups(now);
            }
        }
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Instant) {
        self.check_lease(now);
        match self.phase {
            Phase::Asking { next_hello, every } if now >= next_hello => {
                let hello = Message::Hello {
                    node: self.node,
                    incarnation: self.incarnation,
                    nonce: self.nonce,
                    served: self.served,
                };
                self.send(hello);
                self.phase = Phase::Asking { next_hello: now + every, every };
            }
            Phase::Open { patience, .. } if now.since(self.heard) >= patience => {
                self.ask_for_session(now, "silence");
                self.on_time(now);
            }
            Phase::Open { session, next_beat, beat, patience } if now >= next_beat => {
                self.send(Message::Beat { stamp: now.as_micros() });
                self.phase = Phase::Open { session, next_beat: now + beat, beat, patience };
            }
            _ => {}
        }
        self.serve_groups(now);
    }

    /// The groups of this node: what is open here, and what is to be.
    pub fn groups(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// Carries out what the groups want done. Without a session they say nothing, and ask again in the next one.
    fn serve_groups(&mut self, now: Instant) {
        if self.session().is_some() {
            self.groups.on_time(now);
        }
        while let Some(act) = self.groups.poll() {
            match act {
                _ if self.is_over() => {}
                Act::Say(message) if self.session().is_some() => self.send(message),
                Act::Say(_) => {}
                Act::Tell(event) => self.tell(event),
                Act::Hold(held) => self.outputs.push_back(Output::KeepHeld(held)),
                Act::Reset(why) => self.reset(why),
            }
        }
    }

    /// Sends a request over the session. False: there is none.
    #[must_use]
    pub fn request(&mut self, message: Message) -> bool {
        let open = self.session().is_some();
        if open {
            self.requests += 1;
            self.send(message);
        }
        open
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `on_time` wants to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let due = match self.phase {
            Phase::Asking { next_hello, .. } => next_hello,
            Phase::Open { next_beat, patience, .. } => next_beat.min(self.heard + patience).min(self.groups.deadline()),
            Phase::Over => return Instant::FAR,
        };
        self.lease_end.map_or(due, |end| due.min(end - PARTING))
    }

    fn session(&self) -> Option<u32> {
        match self.phase {
            Phase::Open { session, .. } => Some(session),
            Phase::Asking { .. } | Phase::Over => None,
        }
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// An ERROR is about our session, or about a HELLO or BEAT for which the appliance knows no session. Bytes that were
    /// left in the pipe by an earlier session name that session.
    fn concerns_us(&self, session: u32) -> bool {
        session == 0 || self.session() == Some(session)
    }

    fn on_welcome(&mut self, now: Instant, session: u32, welcome: Message) {
        let Message::Welcome { host, beat_ms, lease_ms, cluster, .. } = welcome else { return };
        if session == 0 || self.session() == Some(session) {
            self.dropped += 1;
            return;
        }
        let beat_ms = beat_ms.max(BEAT_MIN_MS);
        let beat = Duration::from_millis(u64::from(beat_ms));
        // Silence for half a lease leaves the other half to find the appliance again.
        let patience = Duration::from_millis(u64::from(lease_ms / 2)).max(beat.times(4));
        self.phase = Phase::Open { session, next_beat: now, beat, patience };
        self.heard = now;
        self.sequence = 0;
        self.lease_told = false;
        self.refusal_told = None;
        self.view_told = None;
        self.requests = 0;
        self.groups.on_session(now);
        let incarnation = self.incarnation;
        self.tell(Event::Session { session, host, incarnation, beat_ms, lease_ms, cluster: cluster.number });
        if self.served.is_some() {
            self.report();
        }
        if cluster.is_some() {
            self.served = cluster;
        }
        // The first BEAT opens the session.
        self.on_time(now);
    }

    /// Says what it knows of the time before, should a cold start ask for that (SAFETY B4).
    fn report(&mut self) {
        let session = self.session().unwrap_or(0);
        let tales = self.known.tales(self.node, self.groups.highest(), self.groups.tells());
        let tales = tales.into_iter().map(|(tale, payload)| (Account::Nodes(tale), payload));
        for (account, payload) in tales.chain(self.groups.accounts(self.node)).collect::<Vec<_>>() {
            self.sequence = self.sequence.wrapping_add(1);
            let message = Message::Report(account);
            self.outputs.push_back(Output::Send { message, session, sequence: self.sequence, payload });
        }
    }

    fn on_error(&mut self, now: Instant, refusal: Refusal) {
        self.heard = now;
        if self.refusal_told != Some(refusal) {
            self.refusal_told = Some(refusal);
            self.tell(Event::Refused(refusal));
        }
        match refusal {
            Refusal::Condemned => self.reset(Why::Condemned),
            Refusal::ClusterOver => self.reset(Why::ClusterOver),
            Refusal::NoSession if self.session().is_some() => self.ask_for_session(now, "no-session"),
            Refusal::WrongNode => {
                self.phase = Phase::Asking { next_hello: now + HELLO_REFUSED, every: HELLO_REFUSED };
            }
            // A request may be refused again with the same words, and each refusal of one is news; that of a repeated
            // JOIN is not.
            Refusal::BadRequest if self.requests > 0 => {
                self.requests -= 1;
                self.refusal_told = None;
            }
            _ => {}
        }
    }

    fn on_message(&mut self, now: Instant, message: Message, payload: &[u8]) {
        match message {
            Message::Lease { stamp, lease_ms } => self.on_lease(now, stamp, lease_ms),
            Message::View { version, ballot, part, parts } => {
                for entry in view_nodes(payload) {
                    self.known.learn(self.node, version, entry);
                }
                let told =
                    self.view_told.is_some_and(|(of, under, last)| (of, under) == (version, ballot) && part <= last);
                if !told {
                    self.view_told = Some((version, ballot, part));
                    self.tell(Event::View { version, ballot, part, parts, nodes: view_nodes(payload) });
                }
            }
            Message::NodeUp(event) => {
                self.known.learn_event(self.node, &event, NodeState::Up);
                self.tell(Event::NodeUp(event));
            }
            Message::NodeSuspect(event) => self.tell(Event::NodeSuspect(event)),
            Message::NodeDown(event) => {
                self.known.learn_event(self.node, &event, NodeState::Down);
                self.tell(Event::NodeDown(event));
            }
            Message::Busy if self.requests > 0 => {
                self.requests -= 1;
                self.tell(Event::Busy);
            }
            // To a JOIN, which is repeated.
            Message::Busy => {}
            Message::StatusPart { section, first, count, total } => {
                let next = first.saturating_add(count);
                let is_last = count == 0 || next >= total;
                self.tell(Event::Status { section, first, is_last, payload: payload.to_vec() });
                if is_last {
                    self.requests = self.requests.saturating_sub(1);
                } else {
                    self.send(Message::Status { section, first: next });
                }
            }
            Message::FenceReply { target, version } => {
                self.requests = self.requests.saturating_sub(1);
                self.tell(Event::Fence { target, version });
            }
            Message::Group(group) => self.groups.on_group(now, group, payload),
            Message::Takeover(takeover) => self.groups.on_takeover(takeover),
            // It has no DLM.
            Message::Dlm(Dlm::Address { .. }) => {}
            _ => self.dropped += 1,
        }
    }

    /// The lease counts from the stamp, by our own clock: how long the answer took, and who was paused on the way, does
    /// not lengthen it. It never gets shorter either: an answer may be overtaken.
    fn on_lease(&mut self, now: Instant, stamp: u64, lease_ms: u32) {
        let stamp = Instant::from_micros(stamp);
        if stamp > now {
            self.dropped += 1;
            return;
        }
        let end = stamp + Duration::from_millis(u64::from(lease_ms));
        if self.lease_end.is_none_or(|known| end > known) {
            self.lease_end = Some(end);
            self.outputs.push_back(Output::KeepLease(end));
        }
        if !self.lease_told {
            self.lease_told = true;
            self.tell(Event::Lease { until: end, lease_ms });
        }
        self.check_lease(now);
    }

    fn check_lease(&mut self, now: Instant) {
        if !self.is_over() && self.lease_end.is_some_and(|end| now >= end - PARTING) {
            self.reset(Why::LeaseEnded);
        }
    }

    fn ask_for_session(&mut self, now: Instant, why: &'static str) {
        // A WELCOME for an earlier HELLO names an earlier nonce.
        self.nonce = self.nonce.wrapping_add(1);
        self.phase = Phase::Asking { next_hello: now, every: HELLO };
        self.sequence = 0;
        self.tell(Event::Hello { node: self.node, incarnation: self.incarnation, why });
    }

    fn reset(&mut self, why: Why) {
        match why {
            Why::LeaseEnded => self.send(Message::LastGasp { reason: Gasp::LeaseEnded }),
            Why::FateMissing | Why::NotInSet | Why::Forgotten => self.send(Message::LastGasp { reason: Gasp::Other }),
            Why::Condemned | Why::ClusterOver => {}
        }
        self.phase = Phase::Over;
        self.tell(Event::Reset(why));
        self.outputs.push_back(Output::Reset(why));
    }

    fn send(&mut self, message: Message) {
        self.sequence = self.sequence.wrapping_add(1);
        let session = self.session().unwrap_or(0);
        self.outputs.push_back(Output::Send { message, session, sequence: self.sequence, payload: Vec::new() });
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests;
