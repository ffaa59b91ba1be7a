//! Engines on a perfect wire, with drivers that can do only so much in a turn: what floods are let loose on.
//!
//! Owns a driver's turn as `appliance/src/machine.rs` has it: by class on the way in, and no more than a bounded number of
//! outputs on the way out, far fewer than a real one manages. No random number: two runs differ only by what is put into
//! them, so a flood that changes a heartbeat by a turn is seen. Each host has one node, whose shim is sound whatever else its guests do.

use crate::sim::{Mailman, body};
use palisade_core::config::Config;
use palisade_core::engine::{Boot, Engine};
use palisade_core::fencing::{Class, Verdict};
use palisade_core::id::{Cluster, HostId, NodeId};
use palisade_core::io::{Input, Output, Road, Traffic};
use palisade_core::limits::{FRAME_MAX, STREAM_WINDOW};
use palisade_core::time::Instant;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::guard::{Message as GuardMessage, RunReport, RunState};
use palisade_core::wire::node::{Mail, Message};
use std::collections::VecDeque;

/// Datagrams of one class in one turn.
const LINK_TURN: usize = 32;
/// Pieces of one road in one turn.
const ROAD_TURN: usize = 8;
/// Outputs that a driver manages in one turn of a millisecond.
const OUTPUTS_TURN: usize = 32;
const BEAT_MS: u64 = 200;
const BOOT: u64 = 77;

/// One of the engine's two ways to say what is to be done.
type Poll = for<'e> fn(&'e mut Engine, Instant) -> Output<'e>;

/// One host.
pub struct Side {
    engine: Box<Engine>,
    /// Its number, and its node's.
    pub host: u8,
    deadline: u64,
    inbox: [VecDeque<Vec<u8>>; 3],
    roads: VecDeque<(Road, Vec<u8>)>,
    outbox: Vec<(u8, Traffic, Vec<u8>)>,
    devices: Vec<u32>,
    run: u32,
    state: RunState,
    session: u32,
    reader: Reader,
    /// Its shim's half of messages.
    pub mail: Mailman,
    /// The epoch and the last acknowledged number of somebody who sends without waiting for any answer.
    greedy: (u32, u64),
    /// What its shim was told.
    pub told: Vec<Message>,
    /// What was said on vsock.
    pub heard: Vec<(u8, u32, Message)>,
}

/// All of them.
pub struct Wire {
    /// Milliseconds.
    pub now: u64,
    /// By host, from 1 on.
    pub sides: Vec<Side>,
    /// Each datagram of membership that left: when, from whom, to whom.
    pub beats: Vec<(u64, u8, u8)>,
}

fn bytes_of(message: &Message, session: u32, payload: &[u8]) -> Vec<u8> {
    let mut buffer = [0; FRAME_MAX];
    message.frame(session, 1, payload).emit(&mut buffer).to_vec()
}

fn guard_bytes(message: &GuardMessage) -> Vec<u8> {
    let mut buffer = [0; FRAME_MAX];
    message.frame(1).emit(&mut buffer).to_vec()
}

const fn class_of(traffic: Traffic) -> usize {
    match traffic {
        Traffic::Membership => 0,
        Traffic::State => 1,
        Traffic::Messages => 2,
    }
}

impl Side {
    fn new(config: &'static Config, host: u8) -> Self {
        let mut engine = Box::new(Engine::new());
        let boot =
            Boot { host: HostId::new(host), incarnation: u64::from(host) + 100, entropy: [host; 32], config_hash: 7 };
        engine.start(Instant::from_micros(1000), config, boot);
        Self {
            engine,
            host,
            deadline: 0,
            inbox: Default::default(),
            roads: VecDeque::new(),
            outbox: Vec::new(),
            devices: Vec::new(),
            run: 0,
            state: RunState::None,
            session: 0,
            reader: Reader::new(),
            mail: Mailman::default(),
            greedy: (0, 0),
            told: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn incarnation(&self) -> u64 {
        u64::from(self.host) * 1000 + u64::from(self.run)
    }

    /// Its shim's session.
    #[must_use]
    pub const fn session(&self) -> u32 {
        self.session
    }

    /// Somebody says something on a road, session as given.
    pub fn says(&mut self, road: Road, session: u32, message: &Message, payload: &[u8]) {
        self.roads.push_back((road, bytes_of(message, session, payload)));
    }

    /// So many messages to this node over the channel, as the protocol wants them: in order, from the first one on that is not
    /// acknowledged, twice as many as a stream may have under way, and again and again.
    pub fn sends_greedily(&mut self, to: u8, count: usize) {
        let (epoch, acked) = self.greedy;
        let window = u64::try_from(STREAM_WINDOW).expect("small");
        for number in (acked + 1..=acked + 2 * window).cycle().take(count) {
            let send = Message::Mail(Mail::Send { to: NodeId::new(to), epoch, number });
            let name = number << 8 | u64::from(self.host);
            self.says(Road::Channel(0), self.session, &send, &body(name));
        }
    }

    /// Bytes come on a road.
    pub fn sends(&mut self, road: Road, bytes: Vec<u8>) {
        self.roads.push_back((road, bytes));
    }

    fn feed(&mut self, now: u64, input: Input<'_>, budget: &mut usize) {
        self.feed_and(now, input, budget, Engine::poll);
    }

    fn feed_and(&mut self, now: u64, input: Input<'_>, budget: &mut usize, poll: Poll) {
        let clock = Instant::from_micros(now * 1000);
        self.engine.handle(clock, input);
        self.deadline = now;
        while *budget > 0 {
            *budget -= 1;
            match poll(&mut self.engine, clock) {
                Output::Deadline(at) => {
                    *budget += 1;
                    self.deadline = at.as_micros().div_ceil(1000);
                    break;
                }
                Output::Datagram { to, traffic, bytes } => self.outbox.push((to.get(), traffic, bytes.to_vec())),
                Output::Session { road: Road::Channel(_), bytes } => {
                    let bytes = bytes.to_vec();
                    self.shim_hears(now, &bytes);
                }
                Output::Session { road: Road::Vsock(connection), bytes } => {
                    let frame = Reader::new().next(&mut &*bytes).map(|frame| (frame.session, Message::parse(&frame)));
                    if let Some((session, Ok(message))) = frame {
                        self.heard.push((connection, session, message));
                    }
                }
                Output::Guard { bytes } => {
                    let bytes = bytes.to_vec();
                    self.guard_hears(&bytes);
                }
                Output::Device(request) => self.devices.push(request.job),
                Output::Close { .. } => {}
            }
        }
        self.engine.check();
    }

    fn guard_hears(&mut self, mut bytes: &[u8]) {
        let mut reader = Reader::new();
        while let Some(frame) = reader.next(&mut bytes) {
            match GuardMessage::parse(&frame) {
                Ok(GuardMessage::Start { after, .. }) if after >= self.run => {
                    self.run = after + 1;
                    self.state = RunState::Starting;
                    self.session = 0;
                }
                Ok(GuardMessage::Ack { counter, .. }) if counter == self.run => self.state = RunState::Running,
                _ => {}
            }
        }
    }

    fn shim_hears(&mut self, now: u64, mut bytes: &[u8]) {
        while let Some(frame) = self.reader.next(&mut bytes) {
            let Ok(message) = Message::parse(&frame) else { continue };
            match message {
                Message::Welcome { nonce, .. } if nonce == u64::from(self.run) => {
                    self.session = frame.session;
                    self.mail.welcome();
                    self.roads
                        .push_back((Road::Channel(0), bytes_of(&Message::Beat { stamp: now }, self.session, &[])));
                }
                Message::Mail(mail) if !matches!(mail, Mail::AddressReply(_)) => {
                    match mail {
                        Mail::Ack { number, .. } => self.greedy.1 = number,
                        Mail::Gone { epoch, number, .. } => self.greedy = (epoch, number),
                        _ => {}
                    }
                    if let Some((answer, payload)) = self.mail.take(now * 1000, mail, frame.payload) {
                        let bytes = bytes_of(&Message::Mail(answer), self.session, &payload);
                        self.roads.push_back((Road::Channel(0), bytes));
                    }
                }
                other => self.told.push(other),
            }
        }
    }

    /// What the sound ones on this host say of their own accord. Before everything else, as if each had a road of its own.
    fn lives(&mut self, now: u64, budget: &mut usize) {
        if now.is_multiple_of(BEAT_MS) {
            let stamp = guard_bytes(&GuardMessage::Stamp { boot: BOOT + u64::from(self.host), clock: now * 1000 + 1 });
            self.feed(now, Input::Guard { bytes: &stamp }, budget);
            let report = RunReport {
                node: NodeId::new(self.host),
                boot: BOOT + u64::from(self.host),
                state: self.state,
                counter: self.run,
                gone_through: self.run.saturating_sub(1),
                disks_qualify: true,
                status: 0,
            };
            self.feed(now, Input::Guard { bytes: &guard_bytes(&GuardMessage::Run(report)) }, budget);
            if self.state != RunState::Running {
                return;
            }
            let node = NodeId::new(self.host);
            let says = match self.session {
                0 => Message::Hello {
                    node,
                    incarnation: self.incarnation(),
                    nonce: u64::from(self.run),
                    served: Cluster::NONE,
                },
                _ => Message::Beat { stamp: now },
            };
            self.roads.push_front((Road::Channel(0), bytes_of(&says, self.session, &[])));
        }
        if self.session != 0 {
            for (mail, payload) in self.mail.tick(now * 1000) {
                self.roads.push_back((Road::Channel(0), bytes_of(&Message::Mail(mail), self.session, &payload)));
            }
        }
    }

    fn turn(&mut self, now: u64) {
        let mut budget = OUTPUTS_TURN;
        for class in 0..2 {
            for _ in 0..LINK_TURN {
                let Some(bytes) = self.inbox[class].pop_front() else { break };
                self.feed_and(now, Input::Datagram { link: 0, bytes: &bytes }, &mut budget, Engine::poll_urgent);
            }
        }
        self.lives(now, &mut budget);
        for job in std::mem::take(&mut self.devices) {
            self.session = 0;
            let verdict = Verdict::Confirmed(Class::VmStopped);
            self.feed(now, Input::Device { job, verdict }, &mut budget);
        }
        for _ in 0..2 * ROAD_TURN {
            let Some((road, bytes)) = self.roads.pop_front() else { break };
            self.feed(now, Input::Session { road, bytes: &bytes }, &mut budget);
        }
        for _ in 0..LINK_TURN {
            let Some(bytes) = self.inbox[2].pop_front() else { break };
            self.feed(now, Input::Datagram { link: 0, bytes: &bytes }, &mut budget);
        }
        if now >= self.deadline {
            self.feed(now, Input::Tick, &mut budget);
        }
    }
}

impl Wire {
    /// All hosts of a configuration, just booted.
    #[must_use]
    pub fn new(config: &'static Config) -> Self {
        let sides = config.hosts.iter().map(|host| Side::new(config, host.id)).collect();
        Self { now: 1, sides, beats: Vec::new() }
    }

    /// Lets so many milliseconds pass; `flood` is asked in each what else comes.
    pub fn run(&mut self, millis: u64, mut flood: impl FnMut(u64, &mut Side)) {
        for _ in 0..millis {
            self.now += 1;
            for side in &mut self.sides {
                // What a driver has not taken in yet waits in a ring: its writer has to wait too.
                if side.roads.len() < 4 * ROAD_TURN {
                    flood(self.now, side);
                }
                side.turn(self.now);
            }
            for at in 0..self.sides.len() {
                let from = self.sides[at].host;
                for (to, traffic, bytes) in std::mem::take(&mut self.sides[at].outbox) {
                    if traffic == Traffic::Membership {
                        self.beats.push((self.now, from, to));
                    }
                    let inbox = &mut self.sides[usize::from(to) - 1].inbox[class_of(traffic)];
                    if inbox.len() < 2 * LINK_TURN {
                        inbox.push_back(bytes);
                    }
                }
            }
        }
    }

    /// Whether every node is a member for every appliance.
    #[must_use]
    pub fn all_up(&self) -> bool {
        self.sides.iter().all(|side| {
            self.sides.iter().all(|other| {
                let row = side.engine.view().node(NodeId::new(other.host));
                row.incarnation == other.incarnation() && row.may_write()
            })
        })
    }

    /// Connects to an appliance.
    pub fn connect(&mut self, host: u8, connection: u8, cid: u32) {
        let (now, mut budget) = (self.now, OUTPUTS_TURN);
        self.sides[usize::from(host) - 1].feed(now, Input::Opened { connection, cid }, &mut budget);
    }
}
