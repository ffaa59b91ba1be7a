//! Sessions: who is at the other end of a channel or a vsock connection, and as what it may speak.
//!
//! Owns the session table: framing, session ids, whom a road speaks for. Decides nothing about nodes. A session speaks for
//! the node that the configuration gives its channel or CID, and for no other; frames of an earlier session are dropped
//! (SAFETY G5).
//!
//! ```text
//! closed --HELLO--> welcomed --BEAT with the new id--> open --HELLO--> welcomed ...
//! ```

use crate::config::Config;
use crate::id::{Incarnation, NodeId};
use crate::io::Road;
use crate::limits::{FRAME_MAX, FRAME_PAYLOAD_MAX, LOCAL_NODES_MAX, SESSIONS_MAX};
use crate::throttle::{Demand, Throttle};
use crate::time::Instant;
use crate::wire::frame::Reader;
use crate::wire::node::Message;

/// The CID of the host itself: operators come from there.
const CID_HOST: u32 = 2;

/// One end of a road.
#[derive(Debug)]
pub struct Session {
    /// A vsock connection exists; a channel always does.
    connected: bool,
    /// For whom it speaks; none: an operator.
    pub node: NodeId,
    /// The session id that WELCOME named; zero: none yet.
    pub id: u32,
    /// The incarnation that said HELLO.
    pub incarnation: Incarnation,
    /// A frame with the id came back: events go out.
    pub open: bool,
    sequence: u32,
    reader: Reader,
}

impl Session {
    const CLOSED: Self = Self {
        connected: false,
        node: NodeId::NONE,
        id: 0,
        incarnation: 0,
        open: false,
        sequence: 0,
        reader: Reader::new(),
    };
}

/// A frame that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Under which session id.
    pub session: u32,
    /// What it says; `None`: sound as a frame, but no message of this protocol.
    pub message: Option<Message>,
    /// Bytes of its payload.
    pub length: usize,
}

/// All sessions of one appliance.
#[derive(Debug)]
pub struct Sessions {
    table: [Session; SESSIONS_MAX],
    throttle: Throttle,
}

fn index(road: Road) -> usize {
    match road {
        Road::Channel(slot) => usize::from(slot).min(LOCAL_NODES_MAX - 1),
        Road::Vsock(connection) => (LOCAL_NODES_MAX + usize::from(connection)).min(SESSIONS_MAX - 1),
    }
}

impl Sessions {
    /// Nobody; all zero.
    pub const EMPTY: Self = Self { table: [Session::CLOSED; SESSIONS_MAX], throttle: Throttle::FULL };

    /// Gives each channel to its node.
    pub fn start(&mut self, nodes: &[NodeId]) {
        for (session, &node) in self.table.iter_mut().zip(nodes) {
            session.connected = true;
            session.node = node;
        }
    }

    /// A vsock connection was accepted. Whether its CID may speak: a configured node's, or the host's.
    pub fn opened(&mut self, connection: u8, cid: u32, config: &Config) -> bool {
        let node = config.nodes.iter().find(|node| node.cid == cid && cid > CID_HOST);
        let session = self.get_mut(Road::Vsock(connection));
        *session = Session { connected: true, ..Session::CLOSED };
        session.node = node.map_or(NodeId::NONE, |node| NodeId::new(node.id));
        cid == CID_HOST || node.is_some()
    }

    /// A vsock connection ended.
    pub fn closed(&mut self, connection: u8) {
        *self.get_mut(Road::Vsock(connection)) = Session::CLOSED;
    }

    /// A road's session is over; whoever is at its other end is told so when it speaks next.
    pub fn end(&mut self, road: Road) {
        let session = self.get_mut(road);
        session.id = 0;
        session.open = false;
    }

    /// The session on a road.
    #[must_use]
    pub fn get(&self, road: Road) -> &Session {
        &self.table[index(road)]
    }

    /// The same, to change.
    pub fn get_mut(&mut self, road: Road) -> &mut Session {
        &mut self.table[index(road)]
    }

    /// Whether a road may ask for this now; takes a token of its bucket if so.
    pub fn admits(&mut self, now: Instant, road: Road, demand: Demand) -> bool {
        self.throttle.take(now, index(road), demand)
    }

    /// The next frame in what came on a road, its payload copied out. `None`: used up.
    pub fn next(&mut self, road: Road, bytes: &mut &[u8], payload: &mut [u8; FRAME_PAYLOAD_MAX]) -> Option<Received> {
        let frame = self.get_mut(road).reader.next(bytes)?;
        let length = frame.payload.len();
        payload[..length].copy_from_slice(frame.payload);
        Some(Received { session: frame.session, message: Message::parse(&frame).ok(), length })
    }

    /// Bytes that were skipped on all roads because no frame checked there.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.table.iter().map(|session| session.reader.skipped).sum()
    }

    /// Begins a session on a road; the one before is over.
    pub fn welcome(&mut self, road: Road, id: u32, incarnation: Incarnation) {
        let session = self.get_mut(road);
        session.id = id;
        session.incarnation = incarnation;
        session.open = false;
        session.sequence = 0;
    }

    /// All roads whose session is open: events go there.
    pub fn open_roads(&self) -> impl Iterator<Item = Road> {
        let roads = self.table.iter().enumerate().filter(|(_, session)| session.open && session.connected);
        roads.filter_map(|(at, _)| {
            let number = u8::try_from(at).ok()?;
            let slots = u8::try_from(LOCAL_NODES_MAX).ok()?;
            Some(number.checked_sub(slots).map_or(Road::Channel(number), Road::Vsock))
        })
    }

    /// Writes the frame of a message; returns its length. `None`: the connection is gone.
    pub fn emit(
        &mut self,
        road: Road,
        message: &Message,
        payload: &[u8],
        buffer: &mut [u8; FRAME_MAX],
    ) -> Option<usize> {
        let session = self.get_mut(road);
        if !session.connected {
            return None;
        }
        session.sequence = session.sequence.wrapping_add(1);
        Some(message.frame(session.id, session.sequence, payload).emit(buffer).len())
    }
}
