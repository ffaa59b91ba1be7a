//! One node's side of the node protocol, as a pure state machine.
//!
//! Owns the session, the lease and their deadlines. Must never read a clock, do I/O or wait: frames and `now` come in,
//! frames, events and the order to reset come out of `poll`. What is about groups it passes on. Rules: DESIGN §6, SAFETY C3 (the lease counts from the stamp
//! that the node sent), F4 (condemned), G5 (session ids).
//!
//! ```text
//!             WELCOME(our nonce)                 lease over, ERROR(condemned), ERROR(cluster over)
//!   Asking ----------------------> Open                    from either ----------> Over
//!     ^   <----------------------   |  BEAT every beat_ms; LEASE moves the lease's end
//!     |  ERROR(no session), silence |
//!     +-----------------------------+  the lease runs on
//! ```

use std::collections::{BTreeMap, VecDeque};

use palisade_core::id::{Ballot, Cluster, Incarnation, NodeId};
use palisade_core::limits::FRAME_PAYLOAD_MAX;
use palisade_core::time::{Duration, Instant};
use palisade_core::wire::frame::Frame;
use palisade_core::wire::node::{Gasp, Message, NodeEvent, NodeState, Refusal, Tale, ViewNode};

use crate::event::{Event, Why, view_nodes};
use crate::group::{Act, Groups};

/// How often HELLO is repeated. An appliance that has just restarted finds its nodes again within this time.
const HELLO: Duration = Duration::from_millis(100);
/// The same after ERROR(wrong node): a person must change something first.
const HELLO_REFUSED: Duration = Duration::from_millis(1000);
/// The shortest time between two beats, whatever WELCOME asks for: a zero would make the loop spin.
const BEAT_MIN_MS: u32 = 10;
/// Entries of one part of a report.
const ENTRIES: usize = FRAME_PAYLOAD_MAX / ViewNode::BYTES;
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
    /// The highest version that it was told, and of each other node what it was told last: what it reports after a cold
    /// start.
    version: u64,
    known: BTreeMap<NodeId, ViewNode>,
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
            version: 0,
            known: BTreeMap::new(),
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
        let entries: Vec<ViewNode> = self.known.values().copied().collect();
        let parts: Vec<&[ViewNode]> = if entries.is_empty() { vec![&[]] } else { entries.chunks(ENTRIES).collect() };
        let count = u8::try_from(parts.len()).unwrap_or(u8::MAX);
        for (part, entries) in (0u8..).zip(parts) {
            let mut payload = vec![0; entries.len() * ViewNode::BYTES];
            for (place, entry) in payload.chunks_exact_mut(ViewNode::BYTES).zip(entries) {
                entry.emit(place);
            }
            self.sequence = self.sequence.wrapping_add(1);
            let version = self.version.max(self.groups.highest());
            let tale = Tale { node: self.node, part, parts: count, version };
            let (message, session) = (Message::Report(tale), self.session().unwrap_or(0));
            self.outputs.push_back(Output::Send { message, session, sequence: self.sequence, payload });
        }
    }

    /// Remembers what it was told of another node. A death stays known until a later incarnation is up.
    fn learn(&mut self, version: u64, entry: ViewNode) {
        self.version = self.version.max(version);
        let dead = self
            .known
            .get(&entry.node)
            .is_some_and(|known| known.state == NodeState::Down && known.incarnation == entry.incarnation);
        if entry.node != self.node && matches!(entry.state, NodeState::Up | NodeState::Down) && !dead {
            self.known.insert(entry.node, entry);
        }
    }

    fn learn_event(&mut self, event: &NodeEvent, state: NodeState) {
        let NodeEvent { node, host, incarnation, version, class } = *event;
        let class = class.map_or(0, |class| class as u8);
        self.learn(version, ViewNode { node, state, host, class, incarnation });
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
                    self.learn(version, entry);
                }
                let told =
                    self.view_told.is_some_and(|(of, under, last)| (of, under) == (version, ballot) && part <= last);
                if !told {
                    self.view_told = Some((version, ballot, part));
                    self.tell(Event::View { version, ballot, part, parts, nodes: view_nodes(payload) });
                }
            }
            Message::NodeUp(event) => {
                self.learn_event(&event, NodeState::Up);
                self.tell(Event::NodeUp(event));
            }
            Message::NodeSuspect(event) => self.tell(Event::NodeSuspect(event)),
            Message::NodeDown(event) => {
                self.learn_event(&event, NodeState::Down);
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
mod tests {
    use super::*;
    use palisade_core::fencing::Class;
    use palisade_core::id::{HostId, Volume};
    use palisade_core::wire::node::Group;

    const NODE: NodeId = NodeId::new(1);
    const INCARNATION: u64 = 77;
    const CLUSTER: Cluster = Cluster { number: 1, random: 5 };
    const LEASE_MS: u32 = 5000;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn sent(client: &mut Client) -> Vec<(Message, u32)> {
        outputs(client)
            .into_iter()
            .filter_map(|o| match o {
                Output::Send { message, session, .. } => Some((message, session)),
                _ => None,
            })
            .collect()
    }

    fn outputs(client: &mut Client) -> Vec<Output> {
        std::iter::from_fn(|| client.poll()).collect()
    }

    fn resets(client: &mut Client) -> Vec<Why> {
        outputs(client).into_iter().filter_map(|o| if let Output::Reset(why) = o { Some(why) } else { None }).collect()
    }

    fn nonce(client: &mut Client, now: Instant) -> u64 {
        client.on_time(now);
        match sent(client).as_slice() {
            [(Message::Hello { nonce, node, incarnation, .. }, 0)] => {
                assert_eq!((*node, *incarnation), (NODE, INCARNATION));
                *nonce
            }
            other => panic!("expected one HELLO, got {other:?}"),
        }
    }

    fn welcome(nonce: u64) -> Message {
        Message::Welcome { nonce, host: HostId::new(1), node: NODE, beat_ms: 200, lease_ms: LEASE_MS, cluster: CLUSTER }
    }

    fn give(client: &mut Client, now: Instant, session: u32, message: Message) {
        client.on_frame(now, &message.frame(session, 1, &[]));
    }

    fn fresh() -> Client {
        Client::new(at(1000), NODE, INCARNATION, 10, Remains::default())
    }

    fn opened(session: u32) -> Client {
        let mut client = fresh();
        let nonce = nonce(&mut client, at(1000));
        give(&mut client, at(1001), session, welcome(nonce));
        assert_eq!(sent(&mut client), [(Message::Beat { stamp: 1_001_000 }, session)]);
        client
    }

    #[test]
    fn hello_is_repeated_until_welcome_and_beats_follow() {
        let mut client = fresh();
        let first = nonce(&mut client, at(1000));
        client.on_time(at(1050));
        assert_eq!(sent(&mut client), []);
        assert_eq!(client.deadline(), at(1100));
        assert_eq!(nonce(&mut client, at(1100)), first, "a late answer to the first HELLO must count");
        give(&mut client, at(1101), 5, welcome(first));
        assert_eq!(sent(&mut client), [(Message::Beat { stamp: 1_101_000 }, 5)]);
        assert_eq!(client.deadline(), at(1301));
        client.on_time(at(1301));
        assert_eq!(sent(&mut client), [(Message::Beat { stamp: 1_301_000 }, 5)]);
    }

    #[test]
    fn a_welcome_with_another_nonce_or_node_is_ignored() {
        let mut client = fresh();
        let nonce = nonce(&mut client, at(1000));
        give(&mut client, at(1001), 5, welcome(nonce + 1));
        let other = Message::Welcome {
            nonce,
            host: HostId::new(1),
            node: NodeId::new(2),
            beat_ms: 1,
            lease_ms: 1,
            cluster: CLUSTER,
        };
        give(&mut client, at(1001), 5, other);
        assert_eq!(sent(&mut client), []);
        assert_eq!(client.dropped, 2);
    }

    #[test]
    fn the_newest_welcome_counts() {
        let mut client = fresh();
        let nonce = nonce(&mut client, at(1000));
        give(&mut client, at(1001), 5, welcome(nonce));
        give(&mut client, at(1002), 6, welcome(nonce));
        give(&mut client, at(1002), 6, welcome(nonce));
        let report = Message::Report(Tale { node: NODE, part: 0, parts: 1, version: 0 });
        assert_eq!(
            sent(&mut client),
            [(Message::Beat { stamp: 1_001_000 }, 5), (report, 6), (Message::Beat { stamp: 1_002_000 }, 6)]
        );
        give(&mut client, at(1003), 5, Message::Lease { stamp: 1_001_000, lease_ms: LEASE_MS });
        assert_eq!(client.lease_end, None, "an older session is dead");
    }

    #[test]
    fn the_lease_counts_from_the_stamp_and_ends_in_a_reset() {
        let mut client = opened(5);
        give(&mut client, at(1900), 5, Message::Lease { stamp: 1_001_000, lease_ms: LEASE_MS });
        assert_eq!(client.lease_end, Some(at(6001)));
        let told = outputs(&mut client);
        assert!(told.contains(&Output::Event(Event::Lease { until: at(6001), lease_ms: LEASE_MS })), "{told:?}");
        give(&mut client, at(1950), 5, Message::Lease { stamp: 900_000, lease_ms: LEASE_MS });
        assert_eq!(client.lease_end, Some(at(6001)), "an overtaken answer takes nothing away");
        give(&mut client, at(1950), 5, Message::Lease { stamp: 1_951_000, lease_ms: LEASE_MS });
        assert_eq!(client.lease_end, Some(at(6001)), "a stamp from the future is not ours");
        client.on_time(at(5980));
        assert_eq!(resets(&mut client), []);
        client.on_time(at(5981));
        let last = outputs(&mut client);
        assert!(
            matches!(
                last[0],
                Output::Send { message: Message::LastGasp { reason: Gasp::LeaseEnded }, session: 0 | 5, .. }
            ),
            "{last:?}"
        );
        assert_eq!(last.last(), Some(&Output::Reset(Why::LeaseEnded)));
        client.on_time(at(9000));
        assert_eq!(outputs(&mut client), [], "nothing is said after the last word");
        assert_eq!(client.deadline(), Instant::FAR);
    }

    #[test]
    fn a_lease_that_comes_too_late_revives_nobody() {
        let mut client = opened(5);
        give(&mut client, at(1100), 5, Message::Lease { stamp: 1_001_000, lease_ms: LEASE_MS });
        drop(outputs(&mut client));
        give(&mut client, at(7000), 5, Message::Lease { stamp: 6_900_000, lease_ms: LEASE_MS });
        assert_eq!(resets(&mut client), [Why::LeaseEnded]);
    }

    #[test]
    fn without_a_lease_there_is_nothing_to_reset() {
        let mut client = opened(5);
        client.on_time(at(60_000));
        assert_eq!(resets(&mut client), []);
    }

    #[test]
    fn a_restarted_client_inherits_the_lease() {
        let mut client =
            Client::new(at(2000), NODE, INCARNATION, 1, Remains { lease_end: Some(at(3000)), held: false });
        client.on_time(at(2980));
        assert_eq!(resets(&mut client), [Why::LeaseEnded]);
    }

    #[test]
    fn no_session_means_hello_again_with_a_new_nonce_while_the_lease_runs_on() {
        let mut client = opened(5);
        give(&mut client, at(1100), 5, Message::Lease { stamp: 1_001_000, lease_ms: LEASE_MS });
        drop(outputs(&mut client));
        give(&mut client, at(1200), 4, Message::Error { refusal: Refusal::NoSession });
        assert_eq!(client.session(), Some(5), "an error about another session is not about us");
        give(&mut client, at(1200), 0, Message::Error { refusal: Refusal::NoSession });
        drop(outputs(&mut client));
        assert_eq!(nonce(&mut client, at(1200)), 12);
        give(&mut client, at(1201), 6, welcome(11));
        assert_eq!(client.session(), None);
        client.on_time(at(5990));
        assert_eq!(resets(&mut client), [Why::LeaseEnded]);
    }

    #[test]
    fn the_condemned_and_those_of_an_ended_cluster_reset_themselves() {
        for (refusal, why) in [(Refusal::Condemned, Why::Condemned), (Refusal::ClusterOver, Why::ClusterOver)] {
            let mut client = opened(5);
            give(&mut client, at(1100), 5, Message::Error { refusal });
            assert_eq!(resets(&mut client), [why]);
        }
    }

    #[test]
    fn silence_of_the_appliance_is_answered_with_hello() {
        let mut client = opened(5);
        client.on_time(at(3400));
        assert_eq!(client.session(), Some(5));
        drop(outputs(&mut client));
        assert_eq!(nonce(&mut client, at(3501)), 12);
    }

    #[test]
    fn a_refusal_is_told_once_and_asking_goes_on() {
        let mut client = fresh();
        let first = nonce(&mut client, at(1000));
        for _ in 0..3 {
            give(&mut client, at(1001), 0, Message::Error { refusal: Refusal::NotYet });
        }
        assert_eq!(outputs(&mut client), [Output::Event(Event::Refused(Refusal::NotYet))]);
        assert_eq!(nonce(&mut client, at(1100)), first);
    }

    #[test]
    fn events_of_this_session_are_told_and_others_are_not() {
        let mut client = opened(5);
        let event = NodeEvent {
            node: NodeId::new(2),
            host: HostId::new(2),
            class: Some(Class::VmGone),
            incarnation: 3,
            version: 4,
        };
        give(&mut client, at(1100), 4, Message::NodeDown(event));
        assert_eq!(outputs(&mut client), []);
        give(&mut client, at(1100), 5, Message::NodeDown(event));
        assert_eq!(outputs(&mut client), [Output::Event(Event::NodeDown(event))]);
    }

    #[test]
    fn status_is_asked_on_until_all_parts_are_here() {
        let mut client = opened(5);
        let section = palisade_core::wire::node::Section::Nodes;
        give(&mut client, at(1100), 5, Message::StatusPart { section, first: 0, count: 3, total: 5 });
        assert_eq!(sent(&mut client), [(Message::Status { section, first: 3 }, 5)]);
        give(&mut client, at(1100), 5, Message::StatusPart { section, first: 3, count: 2, total: 5 });
        assert_eq!(sent(&mut client), []);
    }

    fn stop(generation: u64) -> Message {
        Message::Group(Group::Stop { volume: Volume::named("shared"), generation })
    }

    fn stopped(generation: u64) -> Message {
        Message::Group(Group::Stopped { volume: Volume::named("shared"), generation })
    }

    #[test]
    fn groups_speak_only_in_a_session_and_go_on_in_the_next() {
        let volume = Volume::named("shared");
        let join = Message::Group(Group::Join { cluster: Volume::NONE, volume });
        let mut client = fresh();
        assert_eq!(client.groups().join(at(1000), volume), Ok(()));
        let first = nonce(&mut client, at(1000));
        give(&mut client, at(1001), 5, welcome(first));
        assert_eq!(sent(&mut client), [(Message::Beat { stamp: 1_001_000 }, 5), (join, 5)]);
        assert_eq!(client.deadline(), at(1201));
        give(&mut client, at(1100), 4, stop(9));
        assert_eq!(sent(&mut client), [], "a step that an earlier session was told");
        give(&mut client, at(1100), 5, stop(3));
        assert_eq!(sent(&mut client), [(stopped(3), 5)]);
        give(&mut client, at(1150), 0, Message::Error { refusal: Refusal::NoSession });
        drop(outputs(&mut client));
        let second = nonce(&mut client, at(1150));
        give(&mut client, at(1160), 6, welcome(second));
        drop(outputs(&mut client));
        give(&mut client, at(1170), 6, stop(3));
        assert_eq!(sent(&mut client), [(stopped(3), 6)], "another appliance, or the same one without memory");
    }

    #[test]
    fn a_client_that_is_started_again_in_a_boot_that_held_something_resets_it() {
        let mut client = Client::new(at(2000), NODE, INCARNATION, 1, Remains { lease_end: None, held: true });
        assert_eq!(client.groups().join(at(2000), Volume::named("shared")), Ok(()));
        client.on_time(at(2000));
        let told = outputs(&mut client);
        let said: Vec<_> = told.iter().filter(|output| matches!(output, Output::Send { .. })).collect();
        let gasp = Message::LastGasp { reason: Gasp::Other };
        assert_eq!(said, [&Output::Send { message: gasp, session: 0, sequence: 1, payload: Vec::new() }]);
        assert_eq!(told.last(), Some(&Output::Reset(Why::Forgotten)));
    }

    #[test]
    fn what_is_held_is_kept_before_it_is_said() {
        let mut client = opened(5);
        assert_eq!(client.groups().join(at(1100), Volume::named("shared")), Ok(()));
        client.on_time(at(1100));
        let all = outputs(&mut client);
        let place = |wanted: fn(&Output) -> bool| all.iter().position(wanted);
        let kept = place(|output| *output == Output::KeepHeld(true));
        let said = place(|output| matches!(output, Output::Send { message: Message::Group(_), .. }));
        assert!(kept.is_some() && kept < said, "{all:?}");
    }

    #[test]
    fn a_repeated_join_that_is_refused_is_told_once_and_each_refused_request_is_told() {
        let mut client = opened(5);
        let refused = |client: &mut Client| {
            give(client, at(1100), 5, Message::Error { refusal: Refusal::BadRequest });
            outputs(client).contains(&Output::Event(Event::Refused(Refusal::BadRequest)))
        };
        let status = Message::Status { section: palisade_core::wire::node::Section::Nodes, first: 0 };
        assert!(client.request(status) && client.request(status));
        assert!(refused(&mut client) && refused(&mut client));
        assert!(refused(&mut client) && !refused(&mut client), "of a JOIN");
        give(&mut client, at(1100), 5, Message::Busy);
        assert_eq!(outputs(&mut client), []);
    }
}
