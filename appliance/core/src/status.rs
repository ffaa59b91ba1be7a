//! What STATUS tells: the layouts of its sections and the names of the counters.
//!
//! Owns layouts only; `Engine` fills them. Read by `palisadectl status`, the demo and the tests.

mod care;
mod groups;
mod node;
mod reason;

pub use care::{DISABLED, DeviceEntry, HoldEntry, MAINTENANCE, MARKS, PAUSED, QUARANTINE, UNPROTECTED};
pub use groups::{GroupEntry, MemberEntry, TakeoverEntry};
pub use node::NodeEntry;
pub use reason::Reason;

use crate::id::{Ballot, BootId, HostId, Incarnation, NodeId};
use crate::limits::WHO_BYTES;
use crate::who::Who;
use crate::wire::{Error, Fields, Result, put};

/// What an appliance is in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Knows no leader.
    #[default]
    Alone = 0,
    /// Follows a leader that has not admitted it yet.
    Joining = 1,
    /// Admitted.
    Member = 2,
    /// Stands for election.
    Candidate = 3,
    /// Leads.
    Leader = 4,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Joining => "joining",
            Self::Member => "member",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        }
    }

    const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Alone,
            1 => Self::Joining,
            2 => Self::Member,
            3 => Self::Candidate,
            4 => Self::Leader,
            _ => return None,
        })
    }
}

/// What the driver below the core reports about memory and itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// Allocations since the seal: zero, or the VM has stopped.
    pub allocations_since_seal: u64,
    /// Bytes of heap that boot used.
    pub heap_bytes: u32,
    /// The deepest that the stack ever was, bytes.
    pub stack_high_water_bytes: u32,
    /// Bytes of stack there are.
    pub stack_bytes: u32,
    /// Bytes that did not fit into a device or the serial port and were dropped.
    pub dropped_bytes: u64,
    /// Microseconds from the start of our code to the seal.
    pub boot_us: u32,
}

impl Platform {
    /// Nothing reported yet.
    pub const ZERO: Self = Self {
        allocations_since_seal: 0,
        heap_bytes: 0,
        stack_high_water_bytes: 0,
        stack_bytes: 0,
        dropped_bytes: 0,
        boot_us: 0,
    };
}

/// One appliance in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whose appliance.
    pub host: HostId,
    /// What it is.
    pub role: Role,
    /// Whom it follows.
    pub leader: HostId,
    /// Whether it has a quorum's answer within P.
    pub quorum: bool,
    /// Configured votes.
    pub votes: u8,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The host's boot.
    pub boot: BootId,
    /// The ballot that it promised.
    pub ballot: Ballot,
    /// The cluster incarnation's number.
    pub cluster: u32,
    /// The newest committed version that it holds.
    pub version: u64,
    /// Microseconds since it booted.
    pub uptime_us: u64,
    /// The configuration's epoch.
    pub epoch: u32,
    /// The configuration's hash.
    pub config_hash: u64,
    /// Memory and losses.
    pub platform: Platform,
}

impl Summary {
    /// Bytes of the section.
    pub const BYTES: usize = 112;

    /// Writes the section.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, [self.host.get(), self.role as u8, self.leader.get(), u8::from(self.quorum), self.votes]);
        put(b, 5, [self.ballot.host.get()]);
        put(b, 8, self.incarnation.to_le_bytes());
        put(b, 16, self.boot.to_le_bytes());
        put(b, 24, self.ballot.round.to_le_bytes());
        put(b, 28, self.cluster.to_le_bytes());
        put(b, 32, self.version.to_le_bytes());
        put(b, 40, self.uptime_us.to_le_bytes());
        put(b, 48, self.epoch.to_le_bytes());
        put(b, 56, self.config_hash.to_le_bytes());
        put(b, 64, self.platform.allocations_since_seal.to_le_bytes());
        put(b, 72, self.platform.heap_bytes.to_le_bytes());
        put(b, 76, self.platform.stack_high_water_bytes.to_le_bytes());
        put(b, 80, self.platform.stack_bytes.to_le_bytes());
        put(b, 84, self.platform.boot_us.to_le_bytes());
        put(b, 88, self.platform.dropped_bytes.to_le_bytes());
    }

    /// Reads the section.
    ///
    /// # Errors
    /// Too short, or an unknown role.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < Self::BYTES {
            return Err(Error);
        }
        let b = Fields(bytes);
        Ok(Self {
            host: HostId::new(b.u8(0)),
            role: Role::from_wire(b.u8(1)).ok_or(Error)?,
            leader: HostId::new(b.u8(2)),
            quorum: b.u8(3) != 0,
            votes: b.u8(4),
            incarnation: b.u64(8),
            boot: b.u64(16),
            ballot: Ballot { round: b.u32(24), host: HostId::new(b.u8(5)) },
            cluster: b.u32(28),
            version: b.u64(32),
            uptime_us: b.u64(40),
            epoch: b.u32(48),
            config_hash: b.u64(56),
            platform: Platform {
                allocations_since_seal: b.u64(64),
                heap_bytes: b.u32(72),
                stack_high_water_bytes: b.u32(76),
                stack_bytes: b.u32(80),
                boot_us: b.u32(84),
                dropped_bytes: b.u64(88),
            },
        })
    }
}

/// Where a host stands in the committed view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HostState {
    /// Not admitted.
    #[default]
    Out = 0,
    /// Admitted under its incarnation.
    Member = 1,
    /// The decision to fence it is committed.
    Condemned = 2,
    /// Confirmed off.
    Down = 3,
    /// An operator took it away; nothing ran there that could write.
    Left = 4,
}

impl HostState {
    /// The state with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Out,
            1 => Self::Member,
            2 => Self::Condemned,
            3 => Self::Down,
            4 => Self::Left,
            _ => return None,
        })
    }
}

/// One host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostEntry {
    /// Which.
    pub host: HostId,
    /// Where it stands.
    pub state: HostState,
    /// Its appliance's incarnation in the committed view.
    pub incarnation: Incarnation,
    /// Milliseconds since the answering appliance heard it; `u32::MAX`: never.
    pub heard_ms: u32,
    /// See `MARKS`.
    pub marks: u8,
}

impl HostEntry {
    /// Bytes of one entry.
    pub const BYTES: usize = 16;

    /// Writes the entry.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, [self.host.get(), self.state as u8, self.marks, 0]);
        put(b, 4, self.heard_ms.to_le_bytes());
        put(b, 8, self.incarnation.to_le_bytes());
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or an unknown state.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let b = Fields(bytes);
        let state = HostState::from_wire(b.u8(1)).ok_or(Error)?;
        if bytes.len() < Self::BYTES {
            return Err(Error);
        }
        Ok(Self { host: HostId::new(b.u8(0)), state, incarnation: b.u64(8), heard_ms: b.u32(4), marks: b.u8(2) })
    }
}

/// One fencing record, open or closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Fenced node, or none for a host's record.
    pub node: NodeId,
    /// The fenced host, or the node's host.
    pub host: HostId,
    /// Why.
    pub reason: Reason,
    /// Evidence class; zero while the record is open.
    pub class: u8,
    /// With which device: 0 none, `LOCAL_MONITOR` or `LOCAL_GUARD`, else its place among the configured ones plus one.
    pub device: u16,
    /// Who asked for it, or whose word the evidence is.
    pub who: Who,
    /// Who carried it out; none if the evidence came by itself.
    pub executor: HostId,
    /// Attempts made so far.
    pub attempts: u8,
    /// The incarnation that was fenced (of the node or of the host's appliance).
    pub incarnation: Incarnation,
    /// The view that committed the decision.
    pub decided_version: u64,
    /// The view that committed the verdict; zero while open.
    pub confirmed_version: u64,
    /// Microseconds from the decision to the verdict, by the clock of the leader that committed the verdict.
    pub took_us: u32,
}

impl HistoryEntry {
    /// No record; all zero.
    pub const NONE: Self = Self {
        node: NodeId::NONE,
        host: HostId::NONE,
        reason: Reason::None,
        class: 0,
        executor: HostId::NONE,
        device: 0,
        who: Who::NONE,
        attempts: 0,
        incarnation: 0,
        decided_version: 0,
        confirmed_version: 0,
        took_us: 0,
    };
    /// Bytes of one entry.
    pub const BYTES: usize = 40 + WHO_BYTES;

    /// Writes the entry.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, [self.node.get(), self.host.get(), self.reason as u8, self.class]);
        put(b, 4, [self.executor.get(), self.attempts]);
        put(b, 8, self.incarnation.to_le_bytes());
        put(b, 16, self.decided_version.to_le_bytes());
        put(b, 24, self.confirmed_version.to_le_bytes());
        put(b, 32, self.took_us.to_le_bytes());
        put(b, 36, self.device.to_le_bytes());
        put(b, 40, self.who.0);
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or an unknown reason.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let b = Fields(bytes);
        if bytes.len() < Self::BYTES {
            return Err(Error);
        }
        Ok(Self {
            node: NodeId::new(b.u8(0)),
            host: HostId::new(b.u8(1)),
            reason: Reason::from_wire(b.u8(2)).ok_or(Error)?,
            class: b.u8(3),
            executor: HostId::new(b.u8(4)),
            attempts: b.u8(5),
            incarnation: b.u64(8),
            decided_version: b.u64(16),
            confirmed_version: b.u64(24),
            took_us: b.u32(32),
            device: b.u16(36),
            who: Who::from_wire(b.array(40)).ok_or(Error)?,
        })
    }
}

macro_rules! counters {
    ($($name:ident: $text:literal,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Counter { $(#[doc = $text] $name,)* }

        /// The names of the counters, in the order of their section.
        pub const COUNTER_NAMES: &[&str] = &[$($text,)*];
    };
}

counters! {
    DatagramsSent: "datagrams sent",
    DatagramsTaken: "datagrams taken",
    DatagramsShort: "datagrams dropped: truncated or not ours",
    DatagramsForeign: "datagrams dropped: another cluster or forged",
    DatagramsStale: "datagrams dropped: another incarnation",
    DatagramsReplayed: "datagrams dropped: replayed or second copy",
    DatagramsUnsound: "datagrams dropped: sealed, but not sound",
    FramesTaken: "frames taken",
    FramesUnsound: "frames dropped: not sound",
    FramesStale: "frames dropped: another session",
    SessionsRefused: "sessions refused",
    OrdersRefused: "orders refused: outdated",
    HeartbeatsDropped: "outputs dropped: heartbeats and agreement",
    StateDropped: "outputs dropped: state",
    FencingDropped: "outputs dropped: fencing",
    SessionsDropped: "outputs dropped: sessions",
    MessagesDropped: "outputs dropped: messages",
    QueriesDropped: "outputs dropped: queries",
    Elections: "elections stood for",
    ViewsCommitted: "views committed",
    Stalls: "own stalls noticed",
    BytesSkipped: "bytes of sessions dropped: no frame checked there",
    OrdersTwice: "orders taken while the same was under way for another leader",
    GuardFramesUnsound: "guard frames dropped: not sound",
    HellosThrottled: "sessions dropped: asked for too often",
    QueriesThrottled: "busy: queries",
    OperatorsThrottled: "busy: operators' requests",
    MessagesThrottled: "busy: messages",
    RefusalsThrottled: "refusals not told: too many",
}

/// How many counters there are.
pub const COUNTERS: usize = COUNTER_NAMES.len();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Run;
    use crate::wire::node::NodeState;

    #[test]
    fn sections_survive_their_bytes() {
        let mut bytes = [0xa5; 128];
        let summary = Summary {
            host: HostId::new(3),
            role: Role::Leader,
            leader: HostId::new(3),
            quorum: true,
            votes: 5,
            incarnation: 6,
            boot: 7,
            ballot: Ballot { round: 8, host: HostId::new(9) },
            cluster: 10,
            version: 11,
            uptime_us: 12,
            epoch: 13,
            config_hash: 14,
            platform: Platform {
                allocations_since_seal: 15,
                heap_bytes: 16,
                stack_high_water_bytes: 17,
                stack_bytes: 18,
                dropped_bytes: 19,
                boot_us: 20,
            },
        };
        summary.emit(&mut bytes);
        assert_eq!(Summary::parse(&bytes), Ok(summary));
        let entry = HistoryEntry {
            node: NodeId::new(1),
            host: HostId::new(2),
            reason: Reason::Covered,
            class: 3,
            executor: HostId::new(4),
            attempts: 5,
            incarnation: 6,
            decided_version: 7,
            confirmed_version: 8,
            took_us: 9,
            device: 10,
            who: Who::new("ann").unwrap_or_default(),
        };
        entry.emit(&mut bytes);
        assert_eq!(HistoryEntry::parse(&bytes), Ok(entry));
        let node = NodeEntry {
            node: NodeId::new(1),
            state: NodeState::Left,
            host: HostId::new(2),
            class: 0,
            incarnation: 3,
            run: Run { boot: 4, counter: 5 },
            marks: UNPROTECTED | PAUSED,
        };
        node.emit(&mut bytes);
        assert_eq!(NodeEntry::parse(&bytes), Ok(node));
        let host =
            HostEntry { host: HostId::new(1), state: HostState::Down, incarnation: 2, heard_ms: 3, marks: MAINTENANCE };
        host.emit(&mut bytes);
        assert_eq!(HostEntry::parse(&bytes), Ok(host));
    }
}
