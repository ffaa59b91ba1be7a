//! The engine: one parent that decides, over leaves that compute.
//!
//! Owns all state of one appliance and the order in which things happen. `handle` takes one input in, `poll` lets outputs
//! out. The rooms: `member` (following, voting, accepting), `lead` (leading), `node` (sessions and the guard), `report`
//! (STATUS). Must never read a clock, allocate, or do I/O.

mod alone;
mod care;
mod changes;
mod check;
mod cold;
mod dlm;
mod groups;
mod lead;
mod leave;
mod member;
mod messages;
mod node;
mod operate;
mod output;
mod parts;
mod report;
mod stall;

use crate::agreement::Voters;
use crate::agreement::acceptor::Acceptor;
use crate::agreement::election::Election;
use crate::agreement::proposer::Proposer;
use crate::cold::{Cold, Tales};
use crate::config::{Config, Timing};
use crate::courier::Courier;
use crate::entropy::Entropy;
use crate::fencing::ages::Ages;
use crate::fencing::attempt::Answer;
use crate::fencing::brake::Brake;
use crate::fencing::drill::Drills;
use crate::fencing::executor::Executor;
use crate::fencing::harness::Harness;
use crate::groups::desk::Desk;
use crate::groups::reports::Reports;
use crate::heartbeat::{Follower, Watch};
use crate::id::{HostId, Incarnation};
use crate::io::{Input, Road};
use crate::limits::{DATAGRAM_MAX, FRAME_MAX, LOCAL_NODES_MAX};
use crate::local::Local;
use crate::messaging::Messaging;
use crate::outbox::Outbox;
use crate::peers::Peers;
use crate::rule::Rules;
use crate::sessions::Sessions;
use crate::status::{COUNTERS, Counter, Platform, Role};
use crate::takeover;
use crate::time::{Duration, Instant};
use crate::wire::datagram::MESSAGE_MAX;
use crate::wire::message::{LocalNode, Message};
use heapless::Vec;

/// What an appliance knows when it boots.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// Whose appliance it is.
    pub host: HostId,
    /// Drawn at random, not zero.
    pub incarnation: Incarnation,
    /// Drawn at random.
    pub entropy: [u8; 32],
    /// `config::config_hash` of the configuration's bytes.
    pub config_hash: u64,
}

/// One appliance.
#[derive(Debug)]
pub struct Engine {
    config: Option<&'static Config>,
    me: HostId,
    incarnation: Incarnation,
    config_hash: u64,
    started: Instant,
    timing: Timing,
    /// Which safety rules it obeys: all, but for a test.
    rules: Rules,
    voters: Voters,
    entropy: Entropy,
    peers: Peers,
    acceptor: Acceptor,
    /// The other one of two hosts, while it is proven off (SAFETY D).
    alone: alone::Alone,
    /// When it committed last as the leader.
    committed_at: Instant,
    election: Election,
    proposer: Proposer,
    follower: Follower,
    watch: Watch,
    harness: Harness,
    /// What the leader was told about groups.
    reports: Reports,
    /// What it was told about takeovers.
    takeovers: takeover::reports::Reports,
    /// What our own nodes said about groups, and to which leader that was told.
    desk: Desk,
    /// What our own nodes said about what they were given.
    owners: takeover::desk::Desk,
    reported_to: HostId,
    executor: Executor,
    local: Local,
    sessions: Sessions,
    outbox: Outbox,
    messaging: Messaging,
    courier: Courier,
    /// What local sessions know of the time before a cold start, and what the leader heard of it.
    tales: Tales,
    cold: Cold,
    requests: Vec<operate::Request, { operate::REQUESTS_MAX }>,
    /// Since when what the view says has been so.
    ages: Ages,
    brake: Brake,
    drills: Drills,
    counters: [u64; COUNTERS],
    platform: Platform,
    /// When it was admitted under this incarnation.
    admitted_at: Option<Instant>,
    /// From when its vote counts (SAFETY B1).
    vote_from: Instant,
    /// It was told that it is condemned (SAFETY F5).
    condemned: bool,
    /// Its condemnation is carried out: it is to restart.
    restart: bool,
    /// The facts changed: the leader looks again.
    dirty: bool,
    /// Something changed that the leader should hear at once.
    urgent: bool,
    /// What the last heartbeat said about our nodes.
    locals_told: [LocalNode; LOCAL_NODES_MAX],
    /// The deadline that `poll` returned last.
    deadline: Instant,
    /// When it last noticed a stall of its own, while it led.
    stalled_at: Option<Instant>,
    /// The newest instant that the driver told, and whether it told an older one since.
    newest: Instant,
    went_back: bool,
    /// When the last heartbeat went out.
    beat_at: Instant,
    /// When the sessions are told the view again, and how many outputs had been dropped at the last time.
    view_at: Instant,
    dlm: dlm::Dlms,
    dropped_then: u64,
    /// Pieces that left since the last input.
    pieces: usize,
    /// Messages of nodes that left since the last input.
    carried: usize,
    guard_sequence: u32,
    guard_reader: crate::wire::frame::Reader,
    node_timer: Instant,
    harness_timer: Instant,
    /// When it was elected last.
    lead_since: Instant,
    /// The moment of silence of a local node that the leader was told of at once.
    silence_told: Instant,
    /// The stamp that a quorum echoed, and for which period it was found.
    quorum_echo: Instant,
    lease_timer: Instant,
    datagram: [u8; DATAGRAM_MAX],
    frame: [u8; FRAME_MAX],
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An appliance that has not started; all zero, so that a static of it costs no byte of the image.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            config: None,
            me: HostId::NONE,
            incarnation: 0,
            config_hash: 0,
            started: Instant::ZERO,
            timing: Timing::ZERO,
            rules: Rules::ALL,
            voters: Voters::EMPTY,
            entropy: Entropy::UNKEYED,
            peers: Peers::EMPTY,
            acceptor: Acceptor::EMPTY,
            alone: alone::Alone::NOT,
            committed_at: Instant::ZERO,
            election: Election::EMPTY,
            proposer: Proposer::EMPTY,
            follower: Follower::EMPTY,
            watch: Watch::EMPTY,
            harness: Harness::EMPTY,
            reports: Reports::EMPTY,
            takeovers: takeover::reports::Reports::EMPTY,
            desk: Desk::EMPTY,
            owners: takeover::desk::Desk::EMPTY,
            reported_to: HostId::NONE,
            executor: Executor::EMPTY,
            local: Local::EMPTY,
            sessions: Sessions::EMPTY,
            outbox: Outbox::EMPTY,
            messaging: Messaging::EMPTY,
            courier: Courier::IDLE,
            tales: Tales::EMPTY,
            cold: Cold::EMPTY,
            requests: Vec::new(),
            ages: Ages::EMPTY,
            brake: Brake::EMPTY,
            drills: Drills::EMPTY,
            counters: [0; COUNTERS],
            platform: Platform::ZERO,
            admitted_at: None,
            vote_from: Instant::ZERO,
            condemned: false,
            restart: false,
            dirty: false,
            urgent: false,
            locals_told: [LocalNode::NONE; LOCAL_NODES_MAX],
            deadline: Instant::ZERO,
            stalled_at: None,
            newest: Instant::ZERO,
            went_back: false,
            beat_at: Instant::ZERO,
            view_at: Instant::ZERO,
            dlm: dlm::Dlms::EMPTY,
            dropped_then: 0,
            pieces: 0,
            carried: 0,
            guard_sequence: 0,
            guard_reader: crate::wire::frame::Reader::new(),
            node_timer: Instant::ZERO,
            harness_timer: Instant::ZERO,
            lead_since: Instant::ZERO,
            silence_told: Instant::ZERO,
            quorum_echo: Instant::ZERO,
            lease_timer: Instant::ZERO,
            datagram: [0; DATAGRAM_MAX],
            frame: [0; FRAME_MAX],
        }
    }

    /// Starts without memory, under a fresh incarnation.
    pub fn start(&mut self, now: Instant, config: &'static Config, boot: Boot) {
        assert!(self.config.is_none() && boot.incarnation != 0, "an engine starts once, as somebody");
        self.config = Some(config);
        self.me = boot.host;
        self.incarnation = boot.incarnation;
        self.config_hash = boot.config_hash;
        self.started = now;
        self.deadline = now;
        self.timing = config.timing;
        self.voters.start(config);
        self.entropy.key(boot.entropy);
        self.peers.start(config, boot.host, boot.incarnation);
        self.acceptor.start(boot.host, boot.incarnation, self.rules);
        self.election.rules = self.rules;
        self.proposer.rules = self.rules;
        self.watch.rules = self.rules;
        self.messaging.senders.rules = self.rules;
        self.local.start(config, boot.host);
        self.sessions.start(&config.local_nodes(boot.host));
        self.vote_from = now + self.promise();
        self.follower.was_led(now);
        // Everybody else may be there already: the first question needs no jitter, standing does.
        self.election.not_before = now + self.jitter();
        self.outbox.guard(crate::wire::guard::Message::Appliance { incarnation: boot.incarnation });
    }

    /// Switches rules off, before the start, to see that a checker notices.
    #[cfg(feature = "rules-off")]
    pub const fn obey(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// What the driver knows about memory and losses.
    pub const fn set_platform(&mut self, platform: Platform) {
        self.platform = platform;
    }

    /// Whether the appliance is to restart: it was condemned, and all that it was condemned for is done (SAFETY F5).
    #[must_use]
    pub const fn wants_restart(&self) -> bool {
        self.restart
    }

    /// Takes one input in.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let now = self.steady(now);
        self.notice_stall(now);
        self.pieces = 0;
        self.carried = 0;
        match input {
            Input::Tick => {}
            Input::Datagram { bytes, .. } => self.on_datagram(now, bytes),
            Input::Opened { connection, cid } => self.on_opened(connection, cid),
            Input::Session { road, bytes } => self.on_session(now, road, bytes),
            Input::Closed { connection } => {
                self.sessions.closed(connection);
                self.forget_requests(Road::Vsock(connection));
            }
            Input::Guard { bytes } => self.on_guard(now, bytes),
            Input::Monitor { slot, event } => {
                if self.local.take_monitor(slot, event) {
                    log::info!("{}: monitor says {event:?}", self.local.node(slot));
                    self.urgent = true;
                }
            }
            Input::Device { job, verdict } => self.on_device(now, job, verdict),
        }
        self.tick(now);
    }

    /// What is due by now, whatever came in.
    fn tick(&mut self, now: Instant) {
        self.deadline = now + Duration::from_millis(1000);
        self.ask_peers(now);
        self.follow_up(now);
        self.lead_on(now);
        self.serve(now);
        self.serve_groups(now);
        self.serve_cuts(now);
        self.serve_messages(now);
        self.deadline = self.deadline.max(now);
    }

    fn on_datagram(&mut self, now: Instant, bytes: &[u8]) {
        let Some(config) = self.config else { return };
        let mut text = [0; MESSAGE_MAX];
        let opened = match self.peers.open(now, config, bytes, &mut text) {
            Ok(opened) => opened,
            Err(counter) => return self.count(counter),
        };
        self.count(Counter::DatagramsTaken);
        let Ok((message, piece)) = Message::parse(opened.text) else {
            return self.count(Counter::DatagramsUnsound);
        };
        self.on_message(now, opened.from, opened.incarnation, &message, piece);
    }

    fn on_message(&mut self, now: Instant, from: HostId, incarnation: Incarnation, message: &Message, piece: &[u8]) {
        match *message {
            Message::Hello { nonce } => {
                self.outbox.send_to_incarnation(from, incarnation, Message::HelloAnswer { nonce });
            }
            Message::HelloAnswer { .. } => self.on_known(from, incarnation),
            Message::Heartbeat(ref beat) => self.on_heartbeat(now, from, incarnation, beat),
            Message::Answer { number, ballot, stamp, committed, cluster } => {
                self.on_answer(now, from, number, ballot, stamp, (committed, cluster));
            }
            Message::Ask { number, promised } => self.on_ask(now, from, number, promised),
            Message::AskAnswer { .. } => self.on_ask_answer(now, from, message),
            Message::Vote { ballot, standing } => self.on_vote(now, from, ballot, standing),
            Message::VoteAnswer { .. } => self.on_vote_answer(now, from, incarnation, message),
            Message::Fetch { ballot, slot } => {
                if ballot == self.acceptor.promised && slot == self.acceptor.slot && ballot.host == from {
                    self.courier.lend(from);
                }
            }
            Message::Piece(ref head) => self.on_piece(now, from, head, piece),
            Message::Delta(ref head) => self.on_delta(now, from, head, piece),
            Message::NeedWhole { slot } => {
                if self.proposer.leads() && slot == self.acceptor.slot {
                    self.courier.propose_whole(from);
                }
            }
            Message::Accept { slot, digest } => self.on_accept(now, from, incarnation, slot, digest),
            Message::Commit { slot, cluster, named } => self.on_commit(now, from, slot, cluster, named),
            Message::Order(ref order) => self.on_order(now, from, order),
            Message::OrderAnswer { ballot, attempt, verdict, tried } => {
                if ballot == self.proposer.ballot && self.proposer.leads() {
                    let answer = Answer { attempt, from, verdict, tried };
                    if self.drills.answered(now, self.config(), &answer) {
                        return;
                    }
                    self.dirty |= self.harness.answered(now, self.config(), self.rules, &answer);
                    self.harness_timer = now;
                }
            }
            Message::Report(_) | Message::VolumePage(_) | Message::ServicePage(_) => {
                self.on_page(from, incarnation, message);
            }
            Message::Condemned { version } => self.on_condemned(version),
            Message::GroupReport(ref report) => self.on_group_report(from, incarnation, report),
            Message::Stream(stream) => self.on_stream(now, from, incarnation, stream, piece),
            Message::TakeoverReport(ref report) => self.on_takeover_report(from, incarnation, report),
            Message::CutReport(ref report) => self.on_cut_report(now, from, incarnation, report),
            Message::Operate { request, ref operation } => self.on_request(now, from, request, operation),
            Message::Operated { request, answer } => self.on_operated(now, request, answer),
        }
    }

    fn count(&mut self, counter: Counter) {
        self.counters[counter as usize] += 1;
    }

    fn config(&self) -> &'static Config {
        self.config.expect("invariant: nothing is handled before start")
    }

    const fn promise(&self) -> Duration {
        Duration::from_millis(self.timing.promise_ms as u64)
    }

    const fn span(millis: u32) -> Duration {
        Duration::from_millis(millis as u64)
    }

    fn jitter(&mut self) -> Duration {
        let width = u64::from(self.timing.election_jitter_ms.max(1)) * 1000;
        Duration::from_micros(self.entropy.next() % width)
    }

    /// What this appliance is in the cluster.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.proposer.leads() && self.proposer.established {
            Role::Leader
        } else if self.proposer.leads() || self.election.phase == crate::agreement::election::Phase::Voting {
            Role::Candidate
        } else if self.follower.leader.round == 0 {
            Role::Alone
        } else if self.admitted_at.is_some() {
            Role::Member
        } else {
            Role::Joining
        }
    }

    /// The newest committed version that it knows.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.acceptor.committed.version
    }

    /// Under which incarnation it lives.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// What it accepted last, as its heartbeats tell: ballot and version.
    #[must_use]
    pub const fn accepted(&self) -> (crate::id::Ballot, u64) {
        (self.acceptor.slot.ballot, self.acceptor.slot.version)
    }

    /// The committed view.
    #[must_use]
    pub const fn view(&self) -> &crate::state::State {
        &self.acceptor.committed
    }

    fn due(&mut self, at: Instant) {
        self.deadline = self.deadline.min(at);
    }
}
