//! What an election and a cold start need to be told beside ballots: how a candidate stands, and what living sessions know.
//!
//! Owns the layouts. A session's report is level-triggered: its pages are sent in turn until the adoption is committed
//! (SAFETY B4).

use super::fields::{Reader, Writer};
use crate::id::{Cluster, Incarnation, Label, NodeId, Volume};
use crate::wire::node::{Fate, Given, StartNode, VolumeState, What};
use crate::wire::{Error, Result};

/// How a candidate stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// With the memory of a quorum: its state is carried on.
    #[default]
    Ordinary = 0,
    /// Nobody has any memory and all voters say so: nothing can be overtaken, so nobody waits (SAFETY B2).
    FirstBoot = 1,
    /// The last resort: no voter had a leader for `cold_ms`, and too few have memory (SAFETY B2).
    Cold = 2,
}

impl Standing {
    pub(super) const fn from_wire(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Self::Ordinary,
            1 => Self::FirstBoot,
            2 => Self::Cold,
            _ => return Err(Error),
        })
    }
}

/// Nodes that one page of a report names.
pub const KNOWN_MAX: usize = 16;

/// What a session was told of another node last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The node; none: the entry is empty.
    pub node: NodeId,
    /// This incarnation was told to be down; otherwise it is thought to be up.
    pub dead: bool,
    /// Which incarnation.
    pub incarnation: Incarnation,
}

impl Known {
    /// An empty entry.
    pub const NONE: Self = Self { node: NodeId::NONE, dead: false, incarnation: 0 };
}

/// A page of what a local session reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whose session.
    pub node: NodeId,
    /// As which incarnation.
    pub incarnation: Incarnation,
    /// The cluster incarnation that it served last; none: it never served any.
    pub cluster: Cluster,
    /// The highest version, generation or token that it was ever told.
    pub version: u64,
    /// Which page, from 0.
    pub page: u8,
    /// How many there are.
    pub pages: u8,
    /// Of how many volumes and services it tells besides; `None`: it tells nothing of them.
    pub tells: Option<(u8, u8)>,
    /// Its entries.
    pub known: [Known; KNOWN_MAX],
}

pub(super) fn emit<'w, 'b>(report: &Report, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    w.u8(super::kind::REPORT).u8(report.node.get()).u64(report.incarnation).cluster(report.cluster).u64(report.version);
    let (volumes, services) = report.tells.unwrap_or_default();
    w.u8(report.page).u8(report.pages).flag(report.tells.is_some()).u8(volumes).u8(services);
    for known in &report.known {
        w.u8(known.node.get()).flag(known.dead).u64(known.incarnation);
    }
    w
}

pub(super) fn parse(r: &mut Reader<'_>) -> Result<Report> {
    let mut report = Report {
        node: NodeId::new(r.u8()),
        incarnation: r.u64(),
        cluster: r.cluster(),
        version: r.u64(),
        page: r.u8(),
        pages: r.u8(),
        tells: tells(r)?,
        known: [Known::NONE; KNOWN_MAX],
    };
    for known in &mut report.known {
        *known = Known { node: NodeId::new(r.u8()), dead: r.flag()?, incarnation: r.u64() };
    }
    if report.page < report.pages { Ok(report) } else { Err(Error) }
}

fn tells(r: &mut Reader<'_>) -> Result<Option<(u8, u8)>> {
    let (tells, of) = (r.flag()?, (r.u8(), r.u8()));
    Ok(tells.then_some(of))
}

/// Entries of a START that one page tells of.
pub const TOLD_MAX: usize = 12;

/// A page of what a local session reports of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumePage {
    /// Whose session.
    pub node: NodeId,
    /// As which incarnation.
    pub incarnation: Incarnation,
    /// The cluster, as in JOIN.
    pub cluster: Label,
    /// The volume.
    pub volume: Volume,
    /// How it is there.
    pub state: VolumeState,
    /// It has recovered with the last START.
    pub recovered: bool,
    /// The generation of the last STOP.
    pub stopped: u64,
    /// The generation of the last START.
    pub started: u64,
    /// How many entries that START had.
    pub total: u16,
    /// Some of them; an entry that names nobody is empty.
    pub told: [StartNode; TOLD_MAX],
}

impl VolumePage {
    /// An empty entry.
    pub const NOBODY: StartNode = StartNode { node: NodeId::NONE, fate: Fate::Member, incarnation: 0 };

    pub(super) fn emit<'w, 'b>(&self, kind: u8, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        w.u8(kind).u8(self.node.get()).u64(self.incarnation).bytes(self.cluster.0).bytes(self.volume.0);
        w.u8(self.state as u8).flag(self.recovered).u64(self.stopped).u64(self.started);
        w.bytes(self.total.to_le_bytes());
        for told in &self.told {
            w.u8(told.node.get()).u8(told.fate as u8).u64(told.incarnation);
        }
        w
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let mut page = Self {
            node: NodeId::new(r.u8()),
            incarnation: r.u64(),
            cluster: Label(r.bytes()),
            volume: Label(r.bytes()),
            state: VolumeState::from_wire(r.u8())?,
            recovered: r.flag()?,
            stopped: r.u64(),
            started: r.u64(),
            total: r.u16(),
            told: [Self::NOBODY; TOLD_MAX],
        };
        for told in &mut page.told {
            let (node, fate, incarnation) = (NodeId::new(r.u8()), r.u8(), r.u64());
            *told = StartNode { node, fate: Fate::from_wire(fate).ok_or(Error)?, incarnation };
        }
        if page.node.is_some() && page.volume.is_some() { Ok(page) } else { Err(Error) }
    }
}

/// What a local session reports of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePage {
    /// Whose session.
    pub node: NodeId,
    /// As which incarnation.
    pub incarnation: Incarnation,
    /// As it was given.
    pub given: Given,
    /// It has it; otherwise it did not answer yet.
    pub taken: bool,
}

impl ServicePage {
    pub(super) fn emit<'w, 'b>(&self, kind: u8, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        let Given { what, dead, incarnation, token } = self.given;
        let (code, label) = match what {
            What::Recovery(volume) => (1, volume),
            What::Named(name) => (2, name),
        };
        w.u8(kind).u8(self.node.get()).u64(self.incarnation).u8(code).bytes(label.0);
        w.u8(dead.get()).u64(incarnation).u64(token).flag(self.taken)
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let (node, holder, code, label) = (NodeId::new(r.u8()), r.u64(), r.u8(), Label(r.bytes()));
        let what = match code {
            1 => What::Recovery(label),
            2 => What::Named(label),
            _ => return Err(Error),
        };
        let given = Given { what, dead: NodeId::new(r.u8()), incarnation: r.u64(), token: r.u64() };
        let page = Self { node, incarnation: holder, given, taken: r.flag()? };
        if page.node.is_some() && label.is_some() { Ok(page) } else { Err(Error) }
    }
}
