//! What an appliance tells the leader of its nodes' groups and takeovers.
//!
//! Owns both reports. Each says all there is to say about its node and volume, or its token, and is repeated until the view
//! reflects it: no report is lost with a datagram, a leader or an appliance.

use super::fields::{Reader, Writer};
use crate::id::{Incarnation, Label, NodeId, Volume};
use crate::state::takeovers::Service;
use crate::wire::{Error, Result};

/// What a node wants of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Wish {
    /// Nothing that it did not get.
    #[default]
    None = 0,
    /// To be a member.
    Join = 1,
    /// To be none.
    Leave = 2,
}

/// What a node said about one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// Counts the reports of this appliance: one that was overtaken is known by it.
    pub number: u32,
    /// The node.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// What it wants.
    pub wish: Wish,
    /// The cluster, for a JOIN.
    pub cluster: Label,
    /// The volume.
    pub volume: Volume,
    /// The last generation that it stopped for.
    pub stopped: u64,
    /// The last generation that it started with.
    pub started: u64,
    /// The last generation that it recovered with.
    pub recovered: u64,
}

impl GroupReport {
    /// Nothing yet, about this node and volume.
    #[must_use]
    pub const fn new(node: NodeId, incarnation: Incarnation, volume: Volume) -> Self {
        Self {
            number: 0,
            node,
            incarnation,
            wish: Wish::None,
            cluster: Label::NONE,
            volume,
            stopped: 0,
            started: 0,
            recovered: 0,
        }
    }
}

/// What an owner said about a service that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeoverReport {
    /// The owner.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// The service.
    pub service: Service,
    /// Whose it was.
    pub dead: NodeId,
    /// Under which token.
    pub token: u64,
    /// It has it; otherwise it failed.
    pub taken: bool,
}

pub(super) fn emit_group<'w, 'b>(kind: u8, report: &GroupReport, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    w.u8(kind).u32(report.number).u8(report.node.get()).u64(report.incarnation).u8(report.wish as u8);
    w.bytes(report.cluster.0).bytes(report.volume.0).u64(report.stopped).u64(report.started).u64(report.recovered)
}

pub(super) fn parse_group(r: &mut Reader<'_>) -> Result<GroupReport> {
    let report = GroupReport {
        number: r.u32(),
        node: NodeId::new(r.u8()),
        incarnation: r.u64(),
        wish: match r.u8() {
            0 => Wish::None,
            1 => Wish::Join,
            2 => Wish::Leave,
            _ => return Err(Error),
        },
        cluster: Label(r.bytes()),
        volume: Label(r.bytes()),
        stopped: r.u64(),
        started: r.u64(),
        recovered: r.u64(),
    };
    if report.node.is_some() && report.volume.is_some() { Ok(report) } else { Err(Error) }
}

pub(super) fn emit_takeover<'w, 'b>(kind: u8, report: &TakeoverReport, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    w.u8(kind).u8(report.node.get()).u64(report.incarnation).u8(report.service.code());
    w.u8(report.dead.get()).u64(report.token).flag(report.taken)
}

pub(super) fn parse_takeover(r: &mut Reader<'_>) -> Result<TakeoverReport> {
    Ok(TakeoverReport {
        node: NodeId::new(r.u8()),
        incarnation: r.u64(),
        service: Service::from_code(r.u8()).ok_or(Error)?,
        dead: NodeId::new(r.u8()),
        token: r.u64(),
        taken: r.flag()?,
    })
}
