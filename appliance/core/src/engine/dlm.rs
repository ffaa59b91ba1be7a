//! DLMs: where they listen, told to each local node; and whom they do not reach, told to the leader (SAFETY F6).
//!
//! Owns how far the telling is, and the order of things. Appliances do not see the network of the DLMs; the configuration says
//! where they are. Told again with each VIEW, a few frames in a turn: however many nodes there are, nothing else of the
//! sessions waits for it. What nodes say of cuts is kept by `cut::desk`; it goes to the leader, which judges.

use super::Engine;
use crate::cut::{desk::Desk, reports::Reports};
use crate::id::{HostId, Incarnation, NodeId};
use crate::io::Road;
use crate::limits::{ADDRESSES_PER_TURN, LOCAL_NODES_MAX, RESEND_MS};
use crate::status::Counter;
use crate::time::Instant;
use crate::wire::message::{CutReport, Message};
use crate::wire::node::{Dlm, Message as Word};

/// What an appliance knows of DLMs.
#[derive(Debug)]
pub(super) struct Dlms {
    telling: Telling,
    /// What our own nodes say.
    pub(super) desk: Desk,
    /// What the leader was told.
    pub(super) reports: Reports,
}

impl Dlms {
    /// Nothing; all zero.
    pub(super) const EMPTY: Self = Self { telling: Telling::NOTHING, desk: Desk::EMPTY, reports: Reports::EMPTY };

    /// It was we who were deaf.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.desk.forgive(now);
        self.reports.forgive(now);
    }
}

/// How far the addresses are told.
#[derive(Debug)]
struct Telling {
    /// By channel: so many nodes of the configuration are still to be looked at, counted from its end.
    left: [u8; LOCAL_NODES_MAX],
    /// Not before: one turn's worth is on its way.
    next_at: Instant,
}

impl Telling {
    /// Nothing is to be told; all zero.
    const NOTHING: Self = Self { left: [0; LOCAL_NODES_MAX], next_at: Instant::ZERO };
}

impl Engine {
    /// The node on this channel is told all addresses; if it is being told, it hears the rest first.
    pub(super) fn tell_addresses(&mut self, slot: u8) {
        let all = u8::try_from(self.config().nodes.len()).unwrap_or(u8::MAX);
        if let Some(left) = self.dlm.telling.left.get_mut(usize::from(slot)).filter(|left| **left == 0) {
            *left = all;
        }
    }

    /// Tells what is due, so much in a turn.
    pub(super) fn serve_addresses(&mut self, now: Instant) {
        for (slot, left) in (0u8..).zip(&mut self.dlm.telling.left).filter(|(_, left)| **left > 0) {
            if !self.sessions.get(Road::Channel(slot)).open {
                *left = 0;
            }
        }
        if self.dlm.telling.left == [0; LOCAL_NODES_MAX] {
            return;
        }
        if now < self.dlm.telling.next_at {
            return self.due(self.dlm.telling.next_at);
        }
        let config = self.config();
        let mut room = ADDRESSES_PER_TURN;
        for (slot, left) in (0u8..).zip(&mut self.dlm.telling.left) {
            let road = Road::Channel(slot);
            let session = self.sessions.get(road);
            while *left > 0 && room > 0 {
                let node = config.nodes.len().checked_sub(usize::from(*left)).and_then(|at| config.nodes.get(at));
                *left -= 1;
                let Some((node, address)) = node.and_then(|node| Some((NodeId::new(node.id), node.dlm?))) else {
                    continue;
                };
                if node == session.node || config.share_cluster(node, session.node) {
                    room -= 1;
                    self.outbox.say(road, Word::Dlm(Dlm::Address { node, port: 0, address }));
                }
            }
        }
        self.dlm.telling.next_at = now + Self::span(RESEND_MS);
        if self.dlm.telling.left != [0; LOCAL_NODES_MAX] {
            self.due(self.dlm.telling.next_at);
        }
    }

    /// A node says whose DLM does not answer.
    pub(super) fn on_dlm(&mut self, now: Instant, local: (u8, NodeId), said: &Dlm) {
        let Dlm::Cut { node, cut, incarnation, .. } = *said else { return self.count(Counter::FramesUnsound) };
        let about = (self.config(), &self.acceptor.committed);
        if !self.dlm.desk.hear(now, about, local, (node, incarnation), cut) {
            self.count(Counter::FramesStale);
        }
    }

    /// Tells the leader what local nodes say of cuts, while they say anything.
    pub(super) fn serve_cuts(&mut self, now: Instant) {
        let leads = self.proposer.leads();
        let ballot = if leads { self.proposer.ballot } else { self.follower.leader };
        let stamp = if leads { now.as_micros() } else { self.follower.stamp() };
        let due_at = self.dlm.desk.due_at();
        if now < due_at {
            return self.due(due_at);
        }
        if !ballot.host.is_some() || self.admitted_at.is_none() {
            return; // Who has nobody to tell is woken by other things.
        }
        let (span, beat) = (Self::span(self.timing.dlm_cut_ms), Self::span(self.timing.heartbeat_ms));
        let version = self.view().version;
        for slot in (0u8..).take(LOCAL_NODES_MAX) {
            let Some((number, node, cuts)) = self.dlm.desk.tell(now, slot, span) else { continue };
            let session = self.sessions.get(Road::Channel(slot));
            let incarnation = if session.node == node { session.incarnation } else { 0 };
            let report = CutReport { number, ballot, stamp, version, node, incarnation, cuts };
            self.outbox.send(ballot.host, Message::CutReport(report));
        }
        self.dlm.desk.told(now, beat, span);
        let due_at = self.dlm.desk.due_at();
        self.due(due_at);
    }

    /// What an appliance reports of its own nodes, and of no others.
    pub(super) fn on_cut_report(&mut self, now: Instant, from: HostId, appliance: Incarnation, report: &CutReport) {
        let ours = self.proposer.leads() && report.ballot == self.proposer.ballot;
        if ours && self.speaks_for(from, appliance, report.node, report.incarnation) {
            self.dirty |= self.dlm.reports.take(now, appliance, report);
        }
    }
}
