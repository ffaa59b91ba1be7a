//! What the guard last said of each local node's VM.
//!
//! Owns these facts for the device attempts (the engine keeps its own). Everything is the guard's word; nothing is
//! concluded from silence.

use palisade_core::id::{NodeId, Run};
use palisade_core::limits::LOCAL_NODES_MAX;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::guard::{Message, RunReport, RunState};

/// Where the run that an attempt names stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the newest run, and it is there.
    Present,
    /// It is proved gone, and its disks are such that this means that no write is left.
    Gone,
    /// Neither is known.
    Unclear,
}

/// The facts, by slot.
pub struct Runs {
    reader: Reader,
    nodes: [NodeId; LOCAL_NODES_MAX],
    reports: [Option<RunReport>; LOCAL_NODES_MAX],
}

impl Runs {
    pub const fn new() -> Self {
        Self { reader: Reader::new(), nodes: [NodeId::NONE; LOCAL_NODES_MAX], reports: [None; LOCAL_NODES_MAX] }
    }

    /// These nodes, in the order of their slots.
    pub fn serve(&mut self, nodes: &[NodeId]) {
        for (place, node) in self.nodes.iter_mut().zip(nodes) {
            *place = *node;
        }
    }

    /// Reads on in the guard's stream up to the next report; returns its slot. `None`: the stream is used up.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<usize> {
        while let Some(frame) = self.reader.next(bytes) {
            let Ok(Message::Run(report)) = Message::parse(&frame) else { continue };
            let Some(slot) = self.nodes.iter().position(|node| *node == report.node) else { continue };
            self.reports[slot] = Some(report);
            return Some(slot);
        }
        None
    }

    fn report(&self, slot: usize) -> Option<&RunReport> {
        self.reports.get(slot)?.as_ref()
    }

    /// Every run of the slot's node up to this one is gone, and has no write left anywhere.
    pub fn proven_gone(&self, slot: usize) -> Option<Run> {
        let report = self.report(slot).filter(|report| report.disks_qualify && report.gone_through > 0)?;
        Some(Run { boot: report.boot, counter: report.gone_through })
    }

    /// Whether a gone or stopped VM of this slot's node has no write left anywhere.
    pub fn disks_qualify(&self, slot: usize) -> bool {
        self.report(slot).is_some_and(|report| report.disks_qualify)
    }

    /// Where a run of this node stands. A run of another boot of this host is gone with all its I/O: this guard runs
    /// under the present one (SAFETY E9).
    pub fn standing(&self, slot: usize, node: NodeId, run: Run) -> Standing {
        let Some(report) = self.report(slot).filter(|report| report.node == node && run.is_some()) else {
            return Standing::Unclear;
        };
        if run.boot != report.boot {
            return if report.boot == 0 || run.boot == 0 { Standing::Unclear } else { Standing::Gone };
        }
        if report.gone_through >= run.counter {
            return if report.disks_qualify { Standing::Gone } else { Standing::Unclear };
        }
        let is_there = matches!(report.state, RunState::Running | RunState::Starting);
        if report.counter == run.counter && is_there { Standing::Present } else { Standing::Unclear }
    }
}
