//! The heartbeat, and what it says about each local node.

use super::Slot;
use super::fields::{Reader, Writer};
use crate::id::{Ballot, BootId, Cluster, Incarnation, NodeId};
use crate::limits::LOCAL_NODES_MAX;
use crate::wire::{Error, Fields, Result, put};

/// How a local node is, as its own appliance sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// No session, and none was lost: not started, or still booting.
    #[default]
    Idle = 0,
    /// Its incarnation beats.
    Live = 1,
    /// Its incarnation ceased to beat.
    Silent = 2,
    /// Its kernel panicked.
    Panicked = 3,
    /// It said that it is dying.
    Gasped = 4,
    /// It left in peace.
    Left = 5,
}

/// One local node in a heartbeat. It says all there is, each time: no report is lost with a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalNode {
    /// The node; none: the slot is empty.
    pub node: NodeId,
    /// How it is.
    pub health: Health,
    /// A gone or stopped VM of it has no write left anywhere (SAFETY E5).
    pub disks_qualify: bool,
    /// The session of this incarnation began after a RESET in its run (SAFETY E8).
    pub after_reset: bool,
    /// The guard has reported about it: otherwise the counts say nothing.
    pub reported: bool,
    /// The newest run that the guard reported.
    pub counter: u32,
    /// Every run up to this one is gone, says the guard (SAFETY E2).
    pub gone_through: u32,
    /// The run whose channel `incarnation` came on.
    pub bound: u32,
    /// Which incarnation `health` is about; zero: none.
    pub incarnation: Incarnation,
}

impl LocalNode {
    /// An empty slot.
    pub const NONE: Self = Self {
        node: NodeId::NONE,
        health: Health::Idle,
        disks_qualify: false,
        after_reset: false,
        reported: false,
        counter: 0,
        gone_through: 0,
        bound: 0,
        incarnation: 0,
    };
    /// Whether no run of it is left on its host, says the guard, nor any write of one (SAFETY E4, E5).
    #[must_use]
    pub const fn proves_none(&self) -> bool {
        self.reported && self.gone_through >= self.counter && (self.counter == 0 || self.disks_qualify)
    }

    const BYTES: usize = 24;

    fn emit(&self, b: &mut [u8]) {
        let flags = u8::from(self.disks_qualify) | u8::from(self.after_reset) << 1 | u8::from(self.reported) << 7;
        put(b, 0, [self.node.get(), self.health as u8, flags]);
        put(b, 4, self.counter.to_le_bytes());
        put(b, 8, self.gone_through.to_le_bytes());
        put(b, 12, self.bound.to_le_bytes());
        put(b, 16, self.incarnation.to_le_bytes());
    }

    fn parse(b: &Fields<'_>, at: usize) -> Result<Self> {
        Ok(Self {
            node: NodeId::new(b.u8(at)),
            health: match b.u8(at + 1) {
                0 => Health::Idle,
                1 => Health::Live,
                2 => Health::Silent,
                3 => Health::Panicked,
                4 => Health::Gasped,
                5 => Health::Left,
                _ => return Err(Error),
            },
            disks_qualify: b.u8(at + 2) & 1 != 0,
            after_reset: b.u8(at + 2) & 2 != 0,
            reported: b.u8(at + 2) & 0x80 != 0,
            counter: b.u32(at + 4),
            gone_through: b.u32(at + 8),
            bound: b.u32(at + 12),
            incarnation: b.u64(at + 16),
        })
    }
}

/// A member's heartbeat: it lives, what it holds, and how its nodes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Counts this member's heartbeats; the answer names it.
    pub number: u32,
    /// Whom it follows; a promise not to vote for another for P (SAFETY A1).
    pub ballot: Ballot,
    /// The newest stamp of that leader's clock that it holds; zero: none yet.
    pub echo: u64,
    /// Whether it holds any state (SAFETY B1).
    pub memory: bool,
    /// The (ballot, version) that it accepted last.
    pub accepted: Slot,
    /// The newest committed version that it knows.
    pub committed: u64,
    /// The cluster incarnation of what it accepted last.
    pub cluster: Cluster,
    /// The host's boot (SAFETY E9); zero: no guard has spoken.
    pub boot: BootId,
    /// All memory static, heap sealed: it may own services (DESIGN §1 rule 4).
    pub sealed: bool,
    /// `limits::RELEASE` of its program.
    pub release: u32,
    /// Hash of its configuration.
    pub config_hash: u64,
    /// Its nodes.
    pub locals: [LocalNode; LOCAL_NODES_MAX],
}

impl Heartbeat {
    /// Says nothing; all zero.
    pub const NONE: Self = Self {
        number: 0,
        ballot: Ballot::NONE,
        echo: 0,
        memory: false,
        accepted: Slot::NONE,
        committed: 0,
        cluster: Cluster::NONE,
        boot: 0,
        sealed: false,
        release: 0,
        config_hash: 0,
        locals: [LocalNode::NONE; LOCAL_NODES_MAX],
    };
}

pub(super) fn emit(beat: &Heartbeat, mut w: Writer<'_>) -> usize {
    w.u8(super::kind::HEARTBEAT).u32(beat.number).ballot(beat.ballot).u64(beat.echo).flag(beat.memory);
    w.slot(beat.accepted)
        .u64(beat.committed)
        .cluster(beat.cluster)
        .u64(beat.boot)
        .flag(beat.sealed)
        .u32(beat.release)
        .u64(beat.config_hash);
    for local in &beat.locals {
        let mut bytes = [0; LocalNode::BYTES];
        local.emit(&mut bytes);
        w.bytes(bytes);
    }
    w.at
}

pub(super) fn parse(r: &mut Reader<'_>) -> Result<Heartbeat> {
    let mut beat = Heartbeat {
        number: r.u32(),
        ballot: r.ballot(),
        echo: r.u64(),
        memory: r.flag()?,
        accepted: r.slot(),
        committed: r.u64(),
        cluster: r.cluster(),
        boot: r.u64(),
        sealed: r.flag()?,
        release: r.u32(),
        config_hash: r.u64(),
        locals: [LocalNode::default(); LOCAL_NODES_MAX],
    };
    for local in &mut beat.locals {
        *local = LocalNode::parse(&r.fields, r.at)?;
        r.at += LocalNode::BYTES;
    }
    Ok(beat)
}
