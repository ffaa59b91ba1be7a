//! The core's whole contact with the world: what goes in and what comes out.
//!
//! Owns the types. The driver calls `handle(now, Input)` and then `poll(now)` until it returns a `Deadline`; it calls
//! again at that instant with `Input::Tick`, or earlier with what happened.

use crate::fencing::{Action, Verdict};
use crate::id::{HostId, NodeId, Run};
use crate::time::Instant;

/// On which of its two roads a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// The channel of the local node in this slot.
    Channel(u8),
    /// The vsock connection with this number, below `limits::VSOCK_SESSIONS_MAX`.
    Vsock(u8),
}

/// What a local node's QMP monitor said of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorEvent {
    /// The monitor speaks: its QEMU lives.
    Connected,
    /// The guest's kernel panicked (pvpanic).
    Panicked,
    /// The guest was reset within its run (SAFETY E8).
    Reset,
    /// The VM's process is about to end.
    Shutdown,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Nothing but the passing of time.
    Tick,
    /// A datagram came in on a cluster link.
    Datagram {
        /// Which link.
        link: u8,
        /// Its UDP payload.
        bytes: &'a [u8],
    },
    /// A vsock connection was accepted.
    Opened {
        /// Its number.
        connection: u8,
        /// The peer's CID: it decides for whom the session speaks. 2 is the host.
        cid: u32,
    },
    /// Bytes of a session.
    Session {
        /// Whose.
        road: Road,
        /// A piece of the stream.
        bytes: &'a [u8],
    },
    /// A vsock connection ended. Suspicion at most.
    Closed {
        /// Its number.
        connection: u8,
    },
    /// Bytes from the guard.
    Guard {
        /// A piece of the stream.
        bytes: &'a [u8],
    },
    /// A local node's monitor reported something.
    Monitor {
        /// The local node's slot.
        slot: u8,
        /// What.
        event: MonitorEvent,
    },
    /// A device attempt ended.
    Device {
        /// From the request.
        job: u32,
        /// How.
        verdict: Verdict,
    },
}

/// Which class of traffic a datagram belongs to; each has its port and socket, so that none waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Heartbeats, elections, commits.
    Membership,
    /// State transfer and fencing orders.
    State,
    /// Messages from node to node.
    Messages,
}

/// Which device an attempt drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRef {
    /// The QMP monitor of the local node in this slot.
    Monitor(u8),
    /// The guard, about the local node in this slot.
    Guard(u8),
    /// `config.devices[index]`.
    Configured(u16),
}

/// One attempt at one device. The driver makes it once and answers with `Input::Device`; retries are new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the attempt in its answer.
    pub job: u32,
    /// What to drive.
    pub device: DeviceRef,
    /// What to do.
    pub action: Action,
    /// The node that it is about, or none if it is about a host.
    pub node: NodeId,
    /// The run that it is about: a local device does nothing to another one (SAFETY F1).
    pub run: Run,
    /// Not to be begun after this instant, and `Unknown` if it has not ended by `timeout`.
    pub valid_until: Instant,
    /// When the attempt has to end.
    pub timeout: Instant,
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// Send to a peer, on every link.
    Datagram {
        /// The peer.
        to: HostId,
        /// Its class.
        traffic: Traffic,
        /// UDP payload, sealed.
        bytes: &'a [u8],
    },
    /// Send to a session's other end. What does not fit is dropped and counted by the driver.
    Session {
        /// Whose.
        road: Road,
        /// One frame.
        bytes: &'a [u8],
    },
    /// End a vsock connection.
    Close {
        /// Its number.
        connection: u8,
    },
    /// Send to the guard.
    Guard {
        /// One frame.
        bytes: &'a [u8],
    },
    /// Make one attempt at a device.
    Device(Request),
    /// Nothing more to do before this instant.
    Deadline(Instant),
}
