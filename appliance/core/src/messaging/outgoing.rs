//! One stream from here, and what its two nodes have counted together.
//!
//! Owns the two records and what follows from one alone; `sender` decides.

use super::Peer;
use crate::id::{HostId, Incarnation, NodeId};
use crate::limits::STREAM_WINDOW;
use crate::time::{Duration, Instant};

/// What one local sender and one node have counted together, as long as the sender's session lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// The place of the stream among the sender's, from 1 on; zero: none.
    pub stream: u8,
    /// How often a stream of theirs has ended.
    pub epoch: u32,
    /// The only number that may come next although there is no stream; zero: any.
    pub expected: u64,
    /// The newest one that was acknowledged.
    pub acked: u64,
}

impl Pair {
    pub const NEW: Self = Self { stream: 0, epoch: 0, expected: 0, acked: 0 };

    pub fn end(&mut self) {
        self.stream = 0;
        self.epoch = self.epoch.wrapping_add(1);
        self.expected = 0;
    }
}

/// One stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    /// Its number; zero: there is none.
    pub stream: u64,
    pub to: NodeId,
    pub host: HostId,
    pub appliance: Incarnation,
    pub receiver: Incarnation,
    /// What the other half drew; zero: it has not answered yet.
    pub token: u64,
    pub acked: u64,
    /// The newest number that left since it went back.
    pub sent: u64,
    /// The number that is to be accepted next.
    pub next: u64,
    /// The first message's number.
    pub first: u64,
    pub carry_at: Instant,
    pub pause: Duration,
    /// When the other half was heard, or began to be needed.
    pub heard: Instant,
    /// When it was used last.
    pub used: Instant,
    /// It waits in `ready`.
    pub queued: bool,
    pub places: [u8; STREAM_WINDOW],
}

impl Outgoing {
    pub const NONE: Self = Self {
        stream: 0,
        to: NodeId::NONE,
        host: HostId::NONE,
        appliance: 0,
        receiver: 0,
        token: 0,
        acked: 0,
        sent: 0,
        next: 0,
        first: 0,
        carry_at: Instant::ZERO,
        pause: Duration::ZERO,
        heard: Instant::ZERO,
        used: Instant::ZERO,
        queued: false,
        places: [0; STREAM_WINDOW],
    };

    /// How many messages are under way.
    pub fn load(&self) -> usize {
        usize::try_from(self.next - self.acked).unwrap_or(1) - usize::from(self.stream != 0)
    }

    /// A stream that waits for the other half.
    pub fn waits(&self) -> bool {
        self.stream != 0 && (self.token == 0 || self.load() > 0)
    }

    pub fn place(number: u64) -> usize {
        usize::try_from(number % STREAM_WINDOW as u64).unwrap_or(0)
    }

    pub fn peer(&self) -> Peer {
        Peer { host: self.host, appliance: self.appliance }
    }
}
