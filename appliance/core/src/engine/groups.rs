//! Groups: between the local nodes, the view and the leader.
//!
//! Owns the order of things and no state of its own. What a node is told follows from a committed view (SAFETY A2, G1).

use super::Engine;
use crate::groups::desk::Local;
use crate::id::{HostId, Incarnation, NodeId, Volume};
use crate::io::Road;
use crate::limits::{FRAME_PAYLOAD_MAX, LOCAL_NODES_MAX};
use crate::rule::Rule;
use crate::state::groups::{Membership, Phase};
use crate::state::{Stage, State};
use crate::status::{Counter, HostState};
use crate::time::Instant;
use crate::wire::message::{GroupReport, Message, TakeoverReport};
use crate::wire::node::{Group, Message as Word, START_ENTRIES, StartNode, Takeover};
use heapless::Vec;

impl Engine {
    /// The local nodes that have an open session on their channel.
    fn present(&self) -> Vec<Local, LOCAL_NODES_MAX> {
        let roads = (0u8..).take(LOCAL_NODES_MAX).map(Road::Channel);
        let sessions = roads.map(|road| (road, self.sessions.get(road))).filter(|(_, session)| session.open);
        let locals = sessions.filter(|(_, session)| session.node.is_some() && session.incarnation != 0);
        locals.map(|(road, session)| Local { road, node: session.node, incarnation: session.incarnation }).collect()
    }

    /// The view that steps follow from: what is committed.
    const fn steps_view(&self) -> &State {
        if self.rules.holds(Rule::G1) { &self.acceptor.committed } else { &self.acceptor.accepted }
    }

    pub(super) fn on_group(&mut self, now: Instant, road: Road, node: NodeId, incarnation: Incarnation, said: &Group) {
        let local = Local { road, node, incarnation };
        let (config, view) = (self.config(), &self.acceptor.committed);
        let answer = match *said {
            // What a memory says is nobody's present: the node asks again.
            Group::Join { .. } | Group::Leave { .. } if view.stage == Stage::Collecting => None,
            Group::Join { cluster, volume } => {
                self.desk.steps.hurry();
                self.desk.join(config, view, &local, cluster, volume)
            }
            Group::Leave { volume } => self.desk.leave(view, &local, volume),
            Group::Stopped { .. } | Group::Started { .. } | Group::Recovered { .. } => {
                let view = if self.rules.holds(Rule::G1) { view } else { &self.acceptor.accepted };
                self.desk.answer(view, &local, said);
                None
            }
            Group::Stop { .. } | Group::Start { .. } => return self.count(Counter::FramesUnsound),
        };
        match answer {
            Some(Word::Error { refusal }) => self.say_error(now, road, refusal),
            Some(word) => self.outbox.say(road, word),
            None => {}
        }
        self.serve_groups(now);
    }

    /// A view was committed: its groups are what counts now.
    pub(super) fn groups_committed(&mut self, now: Instant) {
        let locals = self.present();
        self.desk.committed(&self.acceptor.committed, &locals, &mut self.outbox);
        if self.proposer.leads() {
            self.reports.committed(now, &self.acceptor.committed);
            self.takeovers.committed(now, &self.acceptor.committed);
        }
        self.owners.committed(&self.acceptor.committed);
        self.dlm.desk.committed(now, self.config(), &self.acceptor.committed);
    }

    /// What is due towards local nodes and leader about groups. Where no barrier is open and nobody wants anything, nothing
    /// is.
    pub(super) fn serve_groups(&mut self, now: Instant) {
        // Before a cold start is settled nothing is started and nothing given (SAFETY B4).
        let settled = self.acceptor.committed.stage == Stage::Settled;
        if !settled {
            self.desk.steps.done(now, false);
            self.owners.orders.done(now, false);
        }
        if self.desk.steps.is_due(now) {
            let locals = self.present();
            let view = if self.rules.holds(Rule::G1) { &self.acceptor.committed } else { &self.acceptor.accepted };
            self.desk.tell_steps(now, view, &locals, &mut self.outbox);
        }
        let leader = if self.proposer.leads() { self.me } else { self.follower.leader.host };
        if self.reported_to != leader {
            self.reported_to = leader;
            self.desk.reports.hurry();
            self.owners.reports.hurry();
        }
        if self.desk.reports.is_due(now) && leader.is_some() {
            let outbox = &mut self.outbox;
            let view = if self.rules.holds(Rule::G1) { &self.acceptor.committed } else { &self.acceptor.accepted };
            self.desk.report(now, view, |report| outbox.send(leader, Message::GroupReport(report)));
        }
        if self.owners.orders.is_due(now) {
            let locals = self.present();
            self.owners.tell(now, self.config(), &self.acceptor.committed, &locals, &mut self.outbox);
        }
        if self.owners.reports.is_due(now) && leader.is_some() {
            let outbox = &mut self.outbox;
            self.owners.report(now, |report| outbox.send(leader, Message::TakeoverReport(report)));
        }
        self.due(self.desk.steps.at().min(self.owners.orders.at()));
        if leader.is_some() {
            self.due(self.desk.reports.at().min(self.owners.reports.at()));
        }
    }

    /// An owner answers.
    pub(super) fn on_takeover(
        &mut self,
        now: Instant,
        road: Road,
        node: NodeId,
        incarnation: Incarnation,
        said: &Takeover,
    ) {
        let (given, taken) = match said {
            Takeover::Taken(given) => (given, true),
            Takeover::Failed(given) => (given, false),
            Takeover::Give(_) => return self.count(Counter::FramesUnsound),
        };
        let local = Local { road, node, incarnation };
        self.owners.answer(self.config(), &self.acceptor.committed, &local, given, taken);
        self.serve_groups(now);
    }

    /// What an appliance reports of its own nodes, and of no others.
    pub(super) fn on_takeover_report(&mut self, from: HostId, appliance: Incarnation, report: &TakeoverReport) {
        if self.proposer.leads() && self.speaks_for(from, appliance, report.node, report.incarnation) {
            self.dirty |= self.takeovers.take(report);
        }
    }

    /// What an appliance reports of its own nodes, and of no others.
    pub(super) fn on_group_report(&mut self, from: HostId, appliance: Incarnation, report: &GroupReport) {
        if self.proposer.leads() && self.speaks_for(from, appliance, report.node, report.incarnation) {
            self.dirty |= self.reports.take(from, appliance, report);
        }
    }

    /// Whether this appliance is a member and serves this incarnation of a node.
    pub(super) fn speaks_for(
        &self,
        from: HostId,
        appliance: Incarnation,
        node: NodeId,
        incarnation: Incarnation,
    ) -> bool {
        let (host, row) = (self.view().host(from), self.view().node(node));
        let member = host.state == HostState::Member && host.incarnation == appliance;
        member && row.host == from && row.incarnation == incarnation && !self.is_condemned(node, incarnation)
    }

    /// The payload of a part of START. `None`: the view has gone on, and the frame says nothing any more.
    pub(super) fn start_part(
        &self,
        volume: Volume,
        generation: u64,
        part: u16,
        payload: &mut [u8; FRAME_PAYLOAD_MAX],
    ) -> Option<usize> {
        let view = self.steps_view();
        let group = view.groups.of(volume)?;
        let row = view.groups.get(group);
        if row.phase != Phase::Starting || row.generation != generation {
            return None;
        }
        let entry = |row: &Membership| {
            row.standing.fate().map(|fate| StartNode { node: row.node, fate, incarnation: row.incarnation })
        };
        let entries = view.groups.members(group).iter().filter_map(entry);
        let mut length = 0;
        for entry in entries.skip(usize::from(part) * START_ENTRIES).take(START_ENTRIES) {
            entry.emit(payload.get_mut(length..length + StartNode::BYTES)?);
            length += StartNode::BYTES;
        }
        Some(length)
    }
}
