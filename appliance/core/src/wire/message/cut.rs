//! What an appliance tells the leader of a node whose DLM does not reach others (SAFETY F6).
//!
//! Owns the layout. A report says all there is to say about its node, and is repeated while it lasts. It says under which ballot
//! and echoes the leader's newest stamp, so that the leader knows how fresh it is.

use super::fields::{Reader, Writer};
use crate::id::{Ballot, Incarnation, NodeId};
use crate::nodes::NodeSet;
use crate::wire::{Error, Result};

/// Whose DLM does not answer a node's: three sets, each a part of the one before, and whose does again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// All of them.
    pub any: NodeSet,
    /// Those for which that has counted for `dlm_cut_ms` without a break.
    pub long: NodeSet,
    /// Those for which it has for `CUT_SPREAD_MS` more.
    pub overdue: NodeSet,
    /// None of these: whose long cut ended within the last `CUT_SPREAD_MS`.
    pub again: NodeSet,
}

impl Cuts {
    /// All answer; all zero.
    pub const NONE: Self =
        Self { any: NodeSet::EMPTY, long: NodeSet::EMPTY, overdue: NodeSet::EMPTY, again: NodeSet::EMPTY };

    /// Whether it says nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    fn is_sound(&self, node: NodeId) -> bool {
        let nested = self.long.without(&self.any).is_empty() && self.overdue.without(&self.long).is_empty();
        nested && !self.any.contains(node) && !self.any.meets(&self.again)
    }
}

/// The report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutReport {
    /// Counts the reports of this appliance.
    pub number: u32,
    /// The leader whose stamp is echoed.
    pub ballot: Ballot,
    /// The newest stamp of that leader's clock.
    pub stamp: u64,
    /// The committed view that the appliance judged by.
    pub version: u64,
    /// Whose word it is.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// Whose DLM does not answer, each as the incarnation in that view.
    pub cuts: Cuts,
}

pub(super) fn emit<'w, 'b>(report: &CutReport, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    w.u8(super::kind::CUT_REPORT).u32(report.number).ballot(report.ballot).u64(report.stamp).u64(report.version);
    w.u8(report.node.get()).u64(report.incarnation);
    let Cuts { any, long, overdue, again } = report.cuts;
    w.bytes(any.to_bytes()).bytes(long.to_bytes()).bytes(overdue.to_bytes()).bytes(again.to_bytes())
}

pub(super) fn parse(r: &mut Reader<'_>) -> Result<CutReport> {
    let report = CutReport {
        number: r.u32(),
        ballot: r.ballot(),
        stamp: r.u64(),
        version: r.u64(),
        node: NodeId::new(r.u8()),
        incarnation: r.u64(),
        cuts: Cuts {
            any: NodeSet::from_bytes(r.bytes()),
            long: NodeSet::from_bytes(r.bytes()),
            overdue: NodeSet::from_bytes(r.bytes()),
            again: NodeSet::from_bytes(r.bytes()),
        },
    };
    if report.node.is_some() && report.cuts.is_sound(report.node) { Ok(report) } else { Err(Error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HostId;
    use crate::wire::datagram::MESSAGE_MAX;
    use crate::wire::message::Message;

    fn set(numbers: &[u8]) -> NodeSet {
        numbers.iter().copied().map(NodeId::new).collect()
    }

    fn round(report: CutReport) -> Result<Message> {
        let mut buffer = [0xa5; MESSAGE_MAX];
        let length = Message::CutReport(report).emit(&mut buffer, &[]);
        Message::parse(&buffer[..length]).map(|(message, _)| message)
    }

    #[test]
    fn a_report_survives_its_datagram_and_says_nothing_impossible() {
        let ballot = Ballot { round: 3, host: HostId::new(2) };
        let cuts = Cuts { any: set(&[1, 9, 255]), long: set(&[9, 255]), overdue: set(&[9]), again: set(&[7]) };
        let report = CutReport {
            number: 7,
            ballot,
            stamp: u64::MAX,
            version: 1 << 40,
            node: NodeId::new(4),
            incarnation: 5,
            cuts,
        };
        assert_eq!(round(report), Ok(Message::CutReport(report)));
        assert_eq!(round(CutReport { node: NodeId::NONE, ..report }), Err(Error));
        assert_eq!(round(CutReport { node: NodeId::new(9), ..report }), Err(Error), "cut off from itself");
        assert_eq!(round(CutReport { cuts: Cuts { long: set(&[9, 10]), ..cuts }, ..report }), Err(Error));
        assert_eq!(round(CutReport { cuts: Cuts { overdue: set(&[1]), ..cuts }, ..report }), Err(Error));
        assert_eq!(round(CutReport { cuts: Cuts { again: set(&[1]), ..cuts }, ..report }), Err(Error));
    }
}
