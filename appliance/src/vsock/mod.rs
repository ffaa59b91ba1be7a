//! virtio-vsock (virtio 1.2, 5.10): the listening end of stream connections on `limits::PORT_VSOCK`.
//!
//! Owns the device and a fixed table of connections. It never opens one. A connection beyond the table is refused with
//! `Rst`, which the peer sees at once. What comes in is handed on in the same turn, so our credit is always whole; what
//! goes out waits for nothing: without the peer's credit, or room in the ring, a frame is dropped and counted. The
//! device itself is optional; a host without it has no requests by vsock and is otherwise complete.
//!
//! ```text
//!   free ── Request to our port ──► Response, open ── Rw ⇄ ──┬── Shutdown or Rst from the peer ──► (Rst) free
//!     ▲                                                      └── close() ──► Shutdown, Rst ──────────────┐
//!     └──────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod packet;

use palisade_core::board;
use palisade_core::limits::{PORT_VSOCK, VSOCK_SESSIONS_MAX};
use virtio_drivers::transport::Transport;

use self::packet::{HEADER, Op, Repr, SHUTDOWN_BOTH};
use crate::memory::{Pair, VSOCK_BYTES, VSOCK_EVENT_BYTES, VSOCK_EVENTS, VSOCK_RING};
use crate::pci::{Error, Kind};
use crate::ring::{Receiver, Sender};
use crate::transport::Device;

const FROM_HOST: u16 = 0;
const TO_HOST: u16 = 1;
const EVENTS: u16 = 2;
/// Packets that are looked at for one event: what means nothing is skipped, but not for ever.
const LOOK: usize = 16;
/// What we tell a peer that it may send ahead, bytes of one connection. All of it is handed on within a turn.
const CREDIT: u32 = 16 * 1024;
/// After so many bytes a peer is told that they are gone, so that it never runs dry.
const CREDIT_UPDATE: u32 = CREDIT / 4;

/// What happened on the device.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Somebody connected.
    Opened { connection: u8, cid: u32 },
    /// So many bytes came in.
    Bytes { connection: u8, length: usize },
    /// The peer is gone.
    Closed { connection: u8 },
}

/// One connection.
#[derive(Clone, Copy)]
struct Connection {
    cid: u64,
    port: u32,
    /// What the peer can take, as it last said.
    peer_alloc: u32,
    peer_forwarded: u32,
    /// Bytes that we sent; counters wrap.
    sent: u32,
    /// Bytes that came and were handed on.
    forwarded: u32,
    /// Of these, what the peer was told of.
    told: u32,
}

/// The device and its connections.
pub struct Vsock {
    device: Device,
    cid: u64,
    receive: Receiver<VSOCK_RING, VSOCK_BYTES>,
    send: Sender<VSOCK_RING, VSOCK_BYTES>,
    events: Receiver<VSOCK_EVENTS, VSOCK_EVENT_BYTES>,
    connections: [Option<Connection>; VSOCK_SESSIONS_MAX],
    /// The device was reset; connections are being given up one by one.
    is_reset: bool,
    /// Bytes that found no credit or no room.
    pub dropped: u64,
}

impl Vsock {
    /// Finds the device.
    pub fn start(
        buffers: &'static mut Pair<VSOCK_RING, VSOCK_BYTES>,
        events: &'static mut [[u8; VSOCK_EVENT_BYTES]; VSOCK_EVENTS],
    ) -> Result<Self, Error> {
        let mut device = Device::take(board::VSOCK_SLOT, Kind::Socket, &[FROM_HOST, EVENTS], 0)?;
        let mut receive = Receiver::new(&mut device, FROM_HOST, &mut buffers.receive)?;
        let send = Sender::new(&mut device, TO_HOST, &mut buffers.transmit)?;
        let mut events = Receiver::new(&mut device, EVENTS, events)?;
        device.finish_init();
        let cid = read_cid(&device)?;
        receive.kick(&mut device);
        events.kick(&mut device);
        Ok(Self {
            device,
            cid,
            receive,
            send,
            events,
            connections: [None; VSOCK_SESSIONS_MAX],
            is_reset: false,
            dropped: 0,
        })
    }

    /// Our CID.
    pub fn cid(&self) -> u64 {
        self.cid
    }

    /// Whether something waits.
    pub fn is_pending(&self) -> bool {
        self.is_reset || self.receive.is_pending() || self.events.is_pending()
    }

    /// What happened next; bytes are copied into `out`.
    pub fn receive(&mut self, out: &mut [u8; VSOCK_BYTES]) -> Option<Event> {
        if let Some(event) = self.take_reset() {
            return Some(event);
        }
        for _ in 0..LOOK {
            let filled = self.receive.pop()?;
            let mut event = None;
            if let Some((head, payload)) = Repr::parse(self.receive.bytes(&filled)) {
                if let Some(place) = out.get_mut(..payload.len()) {
                    place.copy_from_slice(payload);
                }
                let (what, reply) = answer(&mut self.connections, self.cid, &head, payload.len());
                event = what;
                if let Some(reply) = reply {
                    emit(&mut self.send, &reply, &[]);
                }
            }
            self.receive.post(filled);
            self.receive.kick(&mut self.device);
            self.send.kick(&mut self.device);
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// The only event is a transport reset: all connections are gone, and the CID may be another.
    fn take_reset(&mut self) -> Option<Event> {
        if let Some(filled) = self.events.pop() {
            self.events.post(filled);
            self.events.kick(&mut self.device);
            self.cid = read_cid(&self.device).unwrap_or(self.cid);
            self.is_reset = true;
        }
        if !self.is_reset {
            return None;
        }
        let open = self.connections.iter().position(Option::is_some);
        self.is_reset = open.is_some();
        open.map(|number| {
            self.connections[number] = None;
            Event::Closed { connection: number_of(number) }
        })
    }

    /// Sends one frame whole, or drops it.
    pub fn send(&mut self, connection: u8, frame: &[u8]) {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let open = self.connections.get_mut(usize::from(connection)).and_then(Option::as_mut);
        let sent = open.is_some_and(|connection| {
            if connection.room() < bytes {
                return false;
            }
            let head = connection.head(self.cid, Op::Rw);
            let sent = emit(&mut self.send, &head, frame);
            if sent {
                connection.sent = connection.sent.wrapping_add(bytes);
                connection.told = connection.forwarded;
            }
            sent
        });
        if !sent {
            self.dropped += u64::from(bytes);
        }
        self.send.kick(&mut self.device);
    }

    /// Ends a connection.
    pub fn close(&mut self, connection: u8) {
        let Some(ended) = self.connections.get_mut(usize::from(connection)).and_then(Option::take) else { return };
        let goodbye = Repr { flags: SHUTDOWN_BOTH, ..ended.head(self.cid, Op::Shutdown) };
        emit(&mut self.send, &goodbye, &[]);
        emit(&mut self.send, &ended.head(self.cid, Op::Rst), &[]);
        self.send.kick(&mut self.device);
    }
}

impl Connection {
    fn head(&self, cid: u64, op: Op) -> Repr {
        Repr {
            src_cid: cid,
            dst_cid: self.cid,
            src_port: PORT_VSOCK,
            dst_port: self.port,
            op: Some(op),
            flags: 0,
            buf_alloc: CREDIT,
            fwd_cnt: self.forwarded,
        }
    }

    /// How many bytes the peer can still take. What it says is not trusted to add up.
    fn room(&self) -> u32 {
        self.peer_alloc.saturating_sub(self.sent.wrapping_sub(self.peer_forwarded))
    }
}

/// Changes the table as a packet says; returns what happened, and the packet to answer with.
fn answer(
    connections: &mut [Option<Connection>; VSOCK_SESSIONS_MAX],
    cid: u64,
    head: &Repr,
    length: usize,
) -> (Option<Event>, Option<Repr>) {
    if head.dst_cid != cid {
        return (None, None);
    }
    let same = |open: &Option<Connection>| open.is_some_and(|c| c.cid == head.src_cid && c.port == head.src_port);
    let known = if head.dst_port == PORT_VSOCK { connections.iter().position(same) } else { None };
    let Some(number) = known else {
        return match head.op {
            Some(Op::Rst) => (None, None),
            Some(Op::Request) if head.dst_port == PORT_VSOCK => open(connections, cid, head),
            _ => (None, Some(refusal(cid, head))),
        };
    };
    match (head.op, &mut connections[number]) {
        (Some(Op::Rw | Op::CreditUpdate | Op::CreditRequest), Some(connection)) => {
            connection.on_packet(number, cid, head, length)
        }
        (op, gone) => {
            // The end, or something that a connection which is there does not say.
            *gone = None;
            let farewell = (op != Some(Op::Rst)).then(|| refusal(cid, head));
            (Some(Event::Closed { connection: number_of(number) }), farewell)
        }
    }
}

impl Connection {
    fn on_packet(&mut self, number: usize, cid: u64, head: &Repr, length: usize) -> (Option<Event>, Option<Repr>) {
        self.peer_alloc = head.buf_alloc;
        self.peer_forwarded = head.fwd_cnt;
        let mut event = None;
        if head.op == Some(Op::Rw) && length > 0 {
            self.forwarded = self.forwarded.wrapping_add(u32::try_from(length).unwrap_or(0));
            event = Some(Event::Bytes { connection: number_of(number), length });
        }
        let due = self.forwarded.wrapping_sub(self.told) >= CREDIT_UPDATE;
        let update = (due || head.op == Some(Op::CreditRequest)).then(|| {
            self.told = self.forwarded;
            self.head(cid, Op::CreditUpdate)
        });
        (event, update)
    }
}

fn open(
    connections: &mut [Option<Connection>; VSOCK_SESSIONS_MAX],
    cid: u64,
    head: &Repr,
) -> (Option<Event>, Option<Repr>) {
    let free = connections.iter().position(Option::is_none);
    let (Some(number), Ok(peer)) = (free, u32::try_from(head.src_cid)) else {
        return (None, Some(refusal(cid, head)));
    };
    let connection = Connection {
        cid: head.src_cid,
        port: head.src_port,
        peer_alloc: head.buf_alloc,
        peer_forwarded: head.fwd_cnt,
        sent: 0,
        forwarded: 0,
        told: 0,
    };
    connections[number] = Some(connection);
    let event = Event::Opened { connection: number_of(number), cid: peer };
    (Some(event), Some(connection.head(cid, Op::Response)))
}

fn refusal(cid: u64, head: &Repr) -> Repr {
    Repr {
        src_cid: cid,
        dst_cid: head.src_cid,
        src_port: head.dst_port,
        dst_port: head.src_port,
        op: Some(Op::Rst),
        flags: 0,
        buf_alloc: 0,
        fwd_cnt: 0,
    }
}

fn emit(send: &mut Sender<VSOCK_RING, VSOCK_BYTES>, head: &Repr, payload: &[u8]) -> bool {
    let sent = send.send_with(|buffer| match head.emit(payload, buffer) {
        Some(length) => (length, true),
        None => (0, false),
    });
    sent == Some(true)
}

fn read_cid(device: &Device) -> Result<u64, Error> {
    // The field is 64 bits wide and is only written while connections are down.
    Ok(u64::from_le_bytes(device.config(0)?))
}

fn number_of(index: usize) -> u8 {
    u8::try_from(index).expect("invariant: the table has fewer than 256 places")
}

const _: () = assert!(VSOCK_SESSIONS_MAX < 256);
const _: () = assert!(VSOCK_BYTES >= HEADER + palisade_core::limits::FRAME_MAX);
