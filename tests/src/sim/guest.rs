//! A guest: a node with a shim that speaks the real node protocol, and writes as long as it can.
//!
//! Owns one VM, its shim, and what it was told. What it may do to the shared disk is the truth that S2 is held against.

use super::Micros;
use super::clock::Clock;
use super::dlm::Dlm;
use super::mail::Mailman;
use super::tale::Memory;
use palisade_core::id::NodeId;
use palisade_core::limits::FRAME_MAX;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Message, NodeState, Refusal, ViewNode};
use std::collections::BTreeMap;

/// How a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It works.
    Well,
    /// All its processors spin with interrupts off: I/O under way goes on, it may come back.
    Hung,
    /// Its kernel panicked.
    Panicked,
    /// Its VM's process is gone.
    Gone,
    /// Stopped, drained and reset.
    Reset,
    /// Its VM was stopped by somebody and stands still; it may be continued.
    Paused,
}

/// Something that may still write to the shared disk and is no guest: a request that the host holds, or a second VM.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// For which node.
    pub node: u8,
    /// Which incarnation's data.
    pub incarnation: u64,
    /// On which host: it ends with its power.
    pub host: u8,
    /// Until when; `None`: until its host is off.
    pub until: Option<Micros>,
}

/// One node's guest.
#[derive(Debug)]
pub struct Guest {
    /// Its number.
    pub node: u8,
    /// Its host.
    pub host: u8,
    /// The run of its VM; zero: none yet.
    pub run: u32,
    /// The host's boot under which it was started.
    pub boot: u64,
    /// How it is.
    pub mood: Mood,
    /// Its host stands still.
    pub frozen: bool,
    /// Whether QMP `stop` ever returns.
    pub storage_answers: bool,
    /// Its boot; zero: still booting.
    pub incarnation: u64,
    /// No two VMs of a run of the world share this.
    pub(super) vm: u32,
    /// Boots within this VM.
    pub(super) boots: u32,
    /// The guard that started it, and whether the kernel has called it gone.
    pub(super) guard: u32,
    pub(super) reaped: bool,
    /// When its process is gone, once it exits.
    pub(super) gone_at: Micros,
    pub(super) clock: Clock,
    /// What it knows of the other nodes: state and incarnation.
    pub known: BTreeMap<u8, (NodeState, u64)>,
    /// Its half of the messages between nodes.
    pub mail: Mailman,
    /// What it reports after a cold start.
    pub(super) memory: Memory,
    /// An operator said that this incarnation is off, and it is not.
    pub lied_about: bool,
    /// It said BYE: it has no volume any more, and nothing to say.
    pub left: bool,
    /// Its volumes.
    pub dlm: Dlm,
    session: u32,
    hello_at: u64,
    beat_at: u64,
    lease_end: Option<u64>,
    reader: Reader,
    pub(super) out: Vec<Vec<u8>>,
    /// When it is woken, true time.
    pub(super) wake: Micros,
}

const BEAT: u64 = 200_000;
const HELLO: u64 = 100_000;

impl Guest {
    pub(super) fn new(node: u8, host: u8) -> Self {
        Self {
            node,
            host,
            run: 0,
            boot: 0,
            mood: Mood::Gone,
            frozen: false,
            storage_answers: true,
            incarnation: 0,
            vm: 0,
            boots: 0,
            guard: 0,
            reaped: true,
            gone_at: 0,
            clock: Clock::new(0, 0, 0),
            known: BTreeMap::new(),
            mail: Mailman::default(),
            memory: Memory::default(),
            lied_about: false,
            left: false,
            dlm: Dlm::default(),
            session: 0,
            hello_at: 0,
            beat_at: 0,
            lease_end: None,
            reader: Reader::new(),
            out: Vec::new(),
            wake: 0,
        }
    }

    /// Its VM's process exists.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.run != 0 && self.mood != Mood::Gone
    }

    /// Whether others may be held to it that this incarnation can write: it can, and no operator said that it is off.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.runs_on() && !self.lied_about
    }

    /// Whether this incarnation may still write, in truth: its memory may run, now or later.
    #[must_use]
    pub fn runs_on(&self) -> bool {
        self.incarnation != 0 && !self.left && !matches!(self.mood, Mood::Gone | Mood::Reset)
    }

    /// Whether its lease was renewed: what ends before the beat after the next may end before anybody renews it.
    #[must_use]
    pub fn is_leased(&self, now: Micros) -> bool {
        self.lease_end.is_some_and(|end| end >= self.clock.at(now) + 2 * BEAT)
    }

    /// Whether it has a session with its appliance.
    #[must_use]
    pub const fn has_session(&self) -> bool {
        self.session != 0
    }

    /// Its VM is started. `vm`: the number of it; the rest says by whom.
    pub(super) fn start(&mut self, now: Micros, vm: u32, run: u32, boot: u64, guard: u32, drift: i64) {
        let clock = Clock::new(now, 0, drift);
        let mut fresh = Self::new(self.node, self.host);
        fresh.mail.habit = self.mail.habit;
        self.dlm.lose();
        let dlm = std::mem::take(&mut self.dlm);
        *self = Self { dlm, run, boot, mood: Mood::Well, vm, guard, reaped: false, clock, ..fresh };
    }

    pub(super) fn booted(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        self.dlm.lose();
        (self.left, self.lied_about) = (false, false);
        self.session = 0;
        self.lease_end = None;
        self.hello_at = 0;
        self.mood = Mood::Well;
        self.known.clear();
        self.mail.boot();
        self.memory = Memory::default();
        self.reader = Reader::new();
    }

    pub(super) fn end(&mut self) {
        self.mood = Mood::Gone;
        self.incarnation = 0;
        self.dlm.lose();
        self.out.clear();
    }

    pub(super) fn stop_and_reset(&mut self) {
        self.mood = Mood::Reset;
        self.reset();
    }

    /// Its memory is lost; it boots again if its VM goes on.
    pub(super) fn reset(&mut self) {
        self.incarnation = 0;
        self.dlm.lose();
        self.session = 0;
        self.lease_end = None;
        self.boots += 1;
    }

    fn say(&mut self, message: &Message) {
        self.say_with(message, &[]);
    }

    fn say_with(&mut self, message: &Message, payload: &[u8]) {
        let mut buffer = [0; FRAME_MAX];
        self.out.push(message.frame(self.session, 0, payload).emit(&mut buffer).to_vec());
    }

    /// Its shim says something of its own accord.
    pub(super) fn says(&mut self, message: &Message) {
        if self.mood == Mood::Well && self.session != 0 && !self.frozen {
            self.say(message);
        }
    }

    pub(super) fn works(&self) -> bool {
        self.mood == Mood::Well && self.incarnation != 0 && !self.frozen && !self.left
    }

    /// Time passes. Whether it resets itself now: its lease is over.
    pub(super) fn tick(&mut self, now: Micros) -> bool {
        if !self.works() {
            return false;
        }
        let own = self.clock.at(now);
        if self.lease_end.is_some_and(|end| own >= end) {
            self.reset();
            return true;
        }
        if self.session == 0 && own >= self.hello_at {
            self.hello_at = own + HELLO;
            let node = NodeId::new(self.node);
            let (incarnation, served) = (self.incarnation, self.memory.served);
            self.say(&Message::Hello { node, incarnation, nonce: incarnation, served });
        } else if self.session != 0 && own >= self.beat_at {
            self.beat_at = own + BEAT;
            self.say(&Message::Beat { stamp: own });
        }
        if self.session != 0 {
            for (mail, payload) in self.mail.tick(own) {
                self.say_with(&Message::Mail(mail), &payload);
            }
        }
        false
    }

    /// When it wants to be woken, true time; `None` while it stands.
    pub(super) fn due(&self) -> Option<Micros> {
        let own = if self.session == 0 { self.hello_at } else { self.beat_at.min(self.mail.due()) };
        let volumes = if self.session == 0 { u64::MAX } else { self.dlm.due() };
        let own = own.min(self.lease_end.unwrap_or(u64::MAX)).min(volumes);
        self.clock.when(own).filter(|_| self.works())
    }

    /// Takes bytes from the channel; what it was told about nodes, and whether that calls them down.
    pub(super) fn take(&mut self, now: Micros, mut bytes: &[u8]) -> Vec<Message> {
        let mut told = Vec::new();
        if !self.works() {
            return told;
        }
        let mut heard = Vec::new();
        let mut entries = Vec::new();
        while let Some(frame) = self.reader.next(&mut bytes) {
            let Ok(message) = Message::parse(&frame) else { continue };
            if matches!(message, Message::View { .. }) && frame.session == self.session {
                entries.extend(frame.payload.chunks(ViewNode::BYTES).filter_map(|entry| ViewNode::parse(entry).ok()));
            }
            if frame.session == self.session {
                self.dlm.hear(&message, frame.payload);
                told.extend(self.memory.hear(self.node, &message, frame.payload));
            }
            heard.push((frame.session, message, frame.payload.to_vec()));
        }
        for entry in entries {
            self.known.insert(entry.node.get(), (entry.state, entry.incarnation));
        }
        let own = self.clock.at(now);
        for (session, message, payload) in heard {
            match message {
                Message::Welcome { nonce, cluster, .. } if nonce == self.incarnation => {
                    self.session = session;
                    let mut report = self.memory.report(self.node, self.dlm.tells());
                    if !report.is_empty() {
                        report.extend(self.dlm.accounts(self.node));
                    }
                    for (part, payload) in report {
                        let mut buffer = [0; FRAME_MAX];
                        self.out.push(part.frame(session, 0, &payload).emit(&mut buffer).to_vec());
                    }
                    if cluster.is_some() {
                        self.memory.served = cluster;
                    }
                    self.beat_at = own;
                    self.mail.welcome();
                    self.tick(now);
                }
                Message::Lease { stamp, lease_ms } if session == self.session => {
                    let end = stamp + u64::from(lease_ms) * 1000;
                    self.lease_end = self.lease_end.max(Some(end));
                }
                Message::Error { refusal: Refusal::NoSession } if self.session != 0 => {
                    self.session = 0;
                    self.hello_at = own;
                    self.tick(now);
                }
                Message::NodeUp(event) if session == self.session => {
                    self.known.insert(event.node.get(), (NodeState::Up, event.incarnation));
                    told.push(message);
                }
                Message::NodeDown(event) if session == self.session => {
                    self.known.insert(event.node.get(), (NodeState::Down, event.incarnation));
                    told.push(message);
                }
                Message::Mail(mail) if session == self.session => {
                    if let Some((answer, payload)) = self.mail.take(own, mail, &payload) {
                        self.say_with(&Message::Mail(answer), &payload);
                    }
                }
                Message::NodeSuspect(_) if session == self.session => told.push(message),
                Message::Error { refusal: Refusal::Condemned | Refusal::ClusterOver } => {
                    self.lease_end = Some(own);
                }
                _ => {}
            }
        }
        told
    }
}
