//! What operators ask: the sections of STATUS, and whom FENCE names.
//!
//! Owns the numbers and layouts of both on the wire.

use super::field;
use crate::id::{HostId, NodeId};
use crate::wire::{Error, Fields, Result, put};

/// What a STATUS asks for, and a STATUS_PART brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Section {
    /// One `status::Summary`.
    Summary = 0,
    /// `status::HostEntry` each.
    Hosts = 1,
    /// `status::NodeEntry` each.
    Nodes = 2,
    /// `status::HistoryEntry` each, newest first; open records before closed ones.
    History = 3,
    /// `status::Counter` values, in the order of `status::COUNTER_NAMES`.
    Counters = 4,
    /// `status::DeviceEntry` each.
    Devices = 5,
    /// `status::HoldEntry` each.
    Holds = 6,
    /// `status::GroupEntry` each.
    Groups = 7,
    /// `status::MemberEntry` each, by group and node.
    Members = 8,
    /// `status::TakeoverEntry` each.
    Takeovers = 9,
}

impl Section {
    /// The section with this number on the wire.
    pub(super) fn from_wire(number: u8) -> Result<Self> {
        use Section::{Counters, Devices, Groups, History, Holds, Hosts, Members, Nodes, Summary, Takeovers};
        let all = [Summary, Hosts, Nodes, History, Counters, Devices, Holds, Groups, Members, Takeovers];
        all.into_iter().find(|s| *s as u8 == number).ok_or(Error)
    }
}

/// What an operator wants fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One node.
    Node(NodeId),
    /// One host, and so every node on it.
    Host(HostId),
}

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

impl Target {
    pub(crate) fn read(body: &Fields<'_>) -> Result<Self> {
        match (body.u8(field::NODE), body.u8(field::HOST)) {
            (node, 0) if node != 0 => Ok(Self::Node(NodeId::new(node))),
            (0, host) if host != 0 => Ok(Self::Host(HostId::new(host))),
            _ => Err(Error),
        }
    }

    pub(super) fn write(self, body: &mut [u8], kind: u8) -> u8 {
        match self {
            Self::Node(node) => put(body, field::NODE, [node.get()]),
            Self::Host(host) => put(body, field::HOST, [host.get()]),
        }
        kind
    }
}
