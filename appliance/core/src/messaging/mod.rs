//! Messages from node to node: ordered, and at most once between two incarnations (SAFETY I2).
//!
//! Owns the streams of this appliance, both halves of them, and the ends that they come from and go to. Decides nothing about
//! nodes: who is where, and who may speak, is told to it. Costs O(1) for each frame and datagram.
//!
//! A *stream* belongs to (sending node, its incarnation, its session; receiving node, its incarnation, its session; both
//! appliances' incarnations). A session is in it because only a session remembers what it has seen: a program that starts
//! again begins anew. When any of them changes the stream ends, the sender is told GONE(the last acknowledged number), and
//! nothing of it is ever carried again. Within a stream a message is carried until the receiving *node* acknowledges it.
//!
//! ```text
//! sender          its appliance                                receiver's appliance          receiver
//!   | SEND(n) ------> | keeps it                                       |                         |
//!   |                 | OPEN(stream, first) -------------------------> | draws a token           |
//!   |                 | <------------------ ACKED(token, first - 1) -- |                         |
//!   |                 | CARRY(token, n; bytes), again and again -----> | RECV(n) --------------> |
//!   | <------ ACK(n)  | frees it <----------------- ACKED(token, n) -- | <--------------- ACK(n) |
//!   | <----- GONE(n)  | <------------------------------ OVER(stream) - | no such stream          |
//! ```
//!
//! An *end* is a local node's shim, or its user space; messages go from shim to shim and from user space to user space. The
//! end in user space is the vsock session that opened last.

mod mailbox;
mod outgoing;
mod receiver;
mod sender;

pub use receiver::{Carried, Receivers};
pub use sender::{Refused, Route, Senders};

use crate::id::{HostId, Incarnation, NodeId};
use crate::io::Road;
use crate::limits::{ENDPOINTS_MAX, FRAME_PAYLOAD_MAX, LOCAL_NODES_MAX, RECV_OUT_MAX};
use crate::outbox::Outbox;
use crate::time::Instant;
use crate::wire::message::{Message, Stream};
use crate::wire::node::{Mail, Message as Word};
use heapless::{Deque, Vec};

/// An appliance that the other half of a stream is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whose.
    pub host: HostId,
    /// Which incarnation of it.
    pub appliance: Incarnation,
}

/// Something to be said to another appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// To which.
    pub to: Peer,
    /// What.
    pub stream: Stream,
}

impl Said {
    /// Says it.
    pub fn post(self, outbox: &mut Outbox) {
        outbox.send_to_incarnation(self.to.host, self.to.appliance, Message::Stream(self.stream));
    }
}

/// One local end.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Which node.
    pub node: NodeId,
    /// The road of its session.
    pub road: Road,
    /// Its session; zero: there is none.
    pub session: u32,
    /// The node's incarnation.
    pub incarnation: Incarnation,
}

impl Endpoint {
    const NONE: Self = Self { node: NodeId::NONE, road: Road::Channel(0), session: 0, incarnation: 0 };
}

/// The place of the end that a session on this road is, of the local node in this slot.
#[must_use]
pub fn endpoint_of(road: Road, slot: u8) -> usize {
    let slot = usize::from(slot).min(LOCAL_NODES_MAX - 1);
    match road {
        Road::Channel(_) => slot,
        Road::Vsock(_) => LOCAL_NODES_MAX + slot,
    }
}

/// A message on its way to a session.
#[derive(Debug)]
pub struct Parcel {
    /// Its road.
    pub road: Road,
    /// Which session it is for: a later one on the same road is another end.
    pub session: u32,
    /// What is said.
    pub mail: Mail,
    /// The message.
    pub bytes: Vec<u8, FRAME_PAYLOAD_MAX>,
}

/// Everything about messages.
#[derive(Debug)]
pub struct Messaging {
    endpoints: [Endpoint; ENDPOINTS_MAX],
    /// The streams from here.
    pub senders: Senders,
    /// The streams to here.
    pub receivers: Receivers,
    parcels: Deque<Parcel, RECV_OUT_MAX>,
    /// The view that the streams were judged by last.
    judged: u64,
}

impl Messaging {
    /// No streams; all zero.
    pub const EMPTY: Self = Self {
        endpoints: [Endpoint::NONE; ENDPOINTS_MAX],
        senders: Senders::EMPTY,
        receivers: Receivers::EMPTY,
        parcels: Deque::new(),
        judged: 0,
    };

    /// The ends.
    #[must_use]
    pub const fn endpoints(&self) -> &[Endpoint; ENDPOINTS_MAX] {
        &self.endpoints
    }

    /// A session is the end from now on: whatever the one before had under way has ended with it.
    pub fn bind(&mut self, endpoint: usize, end: Endpoint) {
        self.unbind(endpoint);
        self.endpoints[endpoint] = end;
    }

    /// The session of an end is over.
    pub fn unbind(&mut self, endpoint: usize) {
        self.endpoints[endpoint] = Endpoint::NONE;
        self.senders.forget(endpoint);
        self.receivers.forget(endpoint);
    }

    /// Ends without a living session are none any more.
    pub fn sync(&mut self, lives: impl Fn(&Endpoint) -> bool) {
        for endpoint in 0..ENDPOINTS_MAX {
            if self.endpoints[endpoint].session != 0 && !lives(&self.endpoints[endpoint]) {
                self.unbind(endpoint);
            }
        }
    }

    /// Ends the streams between nodes that do not both stand in a view; looks at each view once. `stands` is asked about a
    /// node, its host if that is known, and its incarnation.
    pub fn judge(
        &mut self,
        version: u64,
        stands: impl Fn(NodeId, Option<HostId>, Incarnation) -> bool,
        replaced: impl Fn(Peer) -> bool,
        outbox: &mut Outbox,
    ) {
        if version == self.judged {
            return;
        }
        self.judged = version;
        let endpoints = &self.endpoints;
        let both = |endpoint: usize, to, peer: Peer, receiver| {
            let end = &endpoints[endpoint];
            !replaced(peer) && stands(to, Some(peer.host), receiver) && stands(end.node, None, end.incarnation)
        };
        self.senders.judge(both, |endpoint, mail| say(endpoints, endpoint, mail, outbox));
    }

    /// What is due by now; when to look again.
    pub fn tick(&mut self, now: Instant, outbox: &mut Outbox) -> Instant {
        let endpoints = &self.endpoints;
        self.senders.tick(now, |endpoint, mail| say(endpoints, endpoint, mail, outbox))
    }

    /// Tells an end something.
    pub fn say(&self, endpoint: usize, mail: Mail, outbox: &mut Outbox) {
        say(&self.endpoints, endpoint, mail, outbox);
    }

    /// The next thing to say to another appliance, and the bytes that it carries.
    pub fn next(&mut self) -> Option<(Said, &[u8])> {
        self.senders.next(&self.endpoints)
    }

    /// Whether anything of it waits to leave.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.senders.is_busy() || !self.parcels.is_empty()
    }

    /// A message came for a local end. Without room for it nothing happened: it will be carried again.
    pub fn take(
        &mut self,
        peer: Peer,
        from: NodeId,
        endpoint: usize,
        carry: (u64, u64, u64),
        bytes: &[u8],
        outbox: &mut Outbox,
    ) {
        if self.parcels.is_full() {
            return outbox.drop_message();
        }
        let (stream, token, number) = carry;
        match self.receivers.carry(endpoint, peer, from, stream, token, number) {
            Carried::Early => {}
            Carried::Answer(stream) => Said { to: peer, stream }.post(outbox),
            Carried::Say(mail) => {
                let Endpoint { road, session, .. } = self.endpoints[endpoint];
                let mut parcel = Parcel { road, session, mail, bytes: Vec::new() };
                let fits = parcel.bytes.extend_from_slice(bytes).is_ok() && self.parcels.push_back(parcel).is_ok();
                assert!(fits, "room was found before, and no parser lets a longer message in");
            }
        }
    }

    /// The next message for a session.
    pub fn next_parcel(&mut self) -> Option<Parcel> {
        self.parcels.pop_front()
    }
}

fn say(endpoints: &[Endpoint; ENDPOINTS_MAX], endpoint: usize, mail: Mail, outbox: &mut Outbox) {
    let end = &endpoints[endpoint];
    if end.session != 0 {
        outbox.say(end.road, Word::Mail(mail));
    }
}
