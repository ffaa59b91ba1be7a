//! A guest: a node with a shim that speaks the real node protocol, and writes as long as it can.

use super::Micros;
use palisade_core::id::NodeId;
use palisade_core::limits::FRAME_MAX;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Message, Refusal};

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

/// One node's guest.
#[derive(Debug)]
pub struct Guest {
    /// Its number.
    pub node: u8,
    /// Its host.
    pub host: u8,
    /// The run of its VM; zero: none yet.
    pub run: u32,
    /// How it is.
    pub mood: Mood,
    /// Its host stands still.
    pub frozen: bool,
    /// Whether QMP `stop` ever returns.
    pub storage_answers: bool,
    /// Its boot; zero: still booting.
    pub incarnation: u64,
    session: u32,
    hello_at: Micros,
    beat_at: Micros,
    lease_end: Option<Micros>,
    reader: Reader,
    pub(super) out: Vec<Vec<u8>>,
}

const BEAT: Micros = 200_000;
const HELLO: Micros = 100_000;

impl Guest {
    pub(super) fn new(node: u8, host: u8) -> Self {
        Self {
            node,
            host,
            run: 0,
            mood: Mood::Gone,
            frozen: false,
            storage_answers: true,
            incarnation: 0,
            session: 0,
            hello_at: 0,
            beat_at: 0,
            lease_end: None,
            reader: Reader::new(),
            out: Vec::new(),
        }
    }

    /// Its VM's process exists.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.run != 0 && self.mood != Mood::Gone
    }

    /// Whether this incarnation may still write, in truth: its memory may run, now or later.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.incarnation != 0 && !matches!(self.mood, Mood::Gone | Mood::Reset)
    }

    pub(super) fn start(&mut self, run: u32) {
        let (node, host) = (self.node, self.host);
        *self = Self { run, mood: Mood::Well, ..Self::new(node, host) };
    }

    pub(super) fn booted(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        self.session = 0;
        self.lease_end = None;
        self.hello_at = 0;
        self.mood = Mood::Well;
    }

    pub(super) fn end(&mut self) {
        self.mood = Mood::Gone;
        self.incarnation = 0;
        self.out.clear();
    }

    pub(super) fn stop_and_reset(&mut self) {
        self.mood = Mood::Reset;
        self.incarnation = 0;
    }

    fn say(&mut self, message: &Message) {
        let mut buffer = [0; FRAME_MAX];
        self.out.push(message.frame(self.session, 0, &[]).emit(&mut buffer).to_vec());
    }

    /// Time passes. Whether it resets itself now: its lease is over.
    pub(super) fn tick(&mut self, now: Micros) -> bool {
        if self.mood != Mood::Well || self.incarnation == 0 || self.frozen {
            return false;
        }
        if self.lease_end.is_some_and(|end| now >= end) {
            self.reset();
            return true;
        }
        if self.session == 0 && now >= self.hello_at {
            self.hello_at = now + HELLO;
            let node = NodeId::new(self.node);
            self.say(&Message::Hello { node, incarnation: self.incarnation, nonce: self.incarnation });
        } else if self.session != 0 && now >= self.beat_at {
            self.beat_at = now + BEAT;
            self.say(&Message::Beat { stamp: now });
        }
        false
    }

    pub(super) fn reset(&mut self) {
        self.incarnation = 0;
        self.session = 0;
        self.lease_end = None;
    }

    /// Takes bytes from the channel; what it was told about nodes.
    pub(super) fn take(&mut self, now: Micros, mut bytes: &[u8]) -> Vec<Message> {
        let mut told = Vec::new();
        if self.mood != Mood::Well || self.incarnation == 0 || self.frozen {
            return told;
        }
        let mut heard = Vec::new();
        while let Some(frame) = self.reader.next(&mut bytes) {
            heard.extend(Message::parse(&frame).map(|message| (frame.session, message)));
        }
        for (session, message) in heard {
            match message {
                Message::Welcome { nonce, .. } if nonce == self.incarnation => {
                    self.session = session;
                    self.beat_at = now;
                    self.tick(now);
                }
                Message::Lease { stamp, lease_ms } if session == self.session => {
                    let end = stamp + u64::from(lease_ms) * 1000;
                    self.lease_end = self.lease_end.max(Some(end));
                }
                Message::Error { refusal: Refusal::NoSession } => {
                    self.session = 0;
                    self.hello_at = now;
                    self.tick(now);
                }
                Message::NodeUp(_) | Message::NodeSuspect(_) | Message::NodeDown(_) if session == self.session => {
                    told.push(message);
                }
                Message::Error { refusal: Refusal::Condemned | Refusal::ClusterOver } => {
                    self.lease_end = Some(now);
                }
                _ => {}
            }
        }
        told
    }
}
