//! What an election and a cold start need to be told beside ballots: how a candidate stands, and what living sessions know.
//!
//! Owns the layouts. A session's report is level-triggered: its pages are sent in turn until the adoption is committed
//! (SAFETY B4).

use super::fields::{Reader, Writer};
use crate::id::{Cluster, Incarnation, NodeId};
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
    /// Its entries.
    pub known: [Known; KNOWN_MAX],
}

pub(super) fn emit<'w, 'b>(report: &Report, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    w.u8(super::kind::REPORT).u8(report.node.get()).u64(report.incarnation).cluster(report.cluster).u64(report.version);
    w.u8(report.page).u8(report.pages);
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
        known: [Known::NONE; KNOWN_MAX],
    };
    for known in &mut report.known {
        *known = Known { node: NodeId::new(r.u8()), dead: r.flag()?, incarnation: r.u64() };
    }
    if report.page < report.pages { Ok(report) } else { Err(Error) }
}
