//! What the engine wants sent, until the driver takes it.
//!
//! Owns the queues, one per class, so that no request ever stands before membership (DESIGN §1). A full queue drops and
//! counts; whatever matters is sent again by its owner's timer.

use crate::id::{HostId, Incarnation};
use crate::io::{Request, Road};
use crate::limits::OUTPUTS_MAX;
use crate::wire::guard;
use crate::wire::message::Message;
use crate::wire::node;
use heapless::Deque;

/// A message on its way to a peer.
#[derive(Clone, Copy, Debug)]
pub struct Letter {
    /// The peer.
    pub to: HostId,
    /// Its incarnation, where it is not the one that we know best.
    pub receiver: Option<Incarnation>,
    /// What it says.
    pub message: Message,
}

/// A frame on its way to a session.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// On which road.
    pub road: Road,
    /// What it says. Payloads are made when it leaves.
    pub message: node::Message,
}

/// All queues.
#[derive(Debug)]
pub struct Outbox {
    letters: Deque<Letter, OUTPUTS_MAX>,
    words: Deque<Word, OUTPUTS_MAX>,
    guard: Deque<guard::Message, 64>,
    requests: Deque<Request, 16>,
    closes: Deque<u8, 32>,
    /// How many outputs found their queue full.
    pub dropped: u64,
}

impl Outbox {
    /// Nothing to send; all zero.
    pub const EMPTY: Self = Self {
        letters: Deque::new(),
        words: Deque::new(),
        guard: Deque::new(),
        requests: Deque::new(),
        closes: Deque::new(),
        dropped: 0,
    };

    /// Sends a message to a peer.
    pub fn send(&mut self, to: HostId, message: Message) {
        let letter = Letter { to, receiver: None, message };
        self.dropped += u64::from(self.letters.push_back(letter).is_err());
    }

    /// Sends a message to this very incarnation of a peer.
    pub fn send_to_incarnation(&mut self, to: HostId, receiver: Incarnation, message: Message) {
        let letter = Letter { to, receiver: Some(receiver), message };
        self.dropped += u64::from(self.letters.push_back(letter).is_err());
    }

    /// Sends a frame to a session.
    pub fn say(&mut self, road: Road, message: node::Message) {
        self.dropped += u64::from(self.words.push_back(Word { road, message }).is_err());
    }

    /// Sends a frame to the guard.
    pub fn guard(&mut self, message: guard::Message) {
        self.dropped += u64::from(self.guard.push_back(message).is_err());
    }

    /// Has a device driven. Whether there was room.
    pub fn request(&mut self, request: Request) -> bool {
        let fits = self.requests.push_back(request).is_ok();
        self.dropped += u64::from(!fits);
        fits
    }

    /// Ends a vsock connection.
    pub fn close(&mut self, connection: u8) {
        self.dropped += u64::from(self.closes.push_back(connection).is_err());
    }

    pub(crate) fn next_letter(&mut self) -> Option<Letter> {
        self.letters.pop_front()
    }

    pub(crate) fn next_word(&mut self) -> Option<Word> {
        self.words.pop_front()
    }

    pub(crate) fn next_guard(&mut self) -> Option<guard::Message> {
        self.guard.pop_front()
    }

    pub(crate) fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    pub(crate) fn next_close(&mut self) -> Option<u8> {
        self.closes.pop_front()
    }
}
