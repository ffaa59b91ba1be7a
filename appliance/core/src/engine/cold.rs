//! Cold starts in the engine: founding one, reporting to it, and finding that one has passed us by.
//!
//! Owns what the engine does about cluster incarnations; the judgement is in `crate::cold`. Rules: SAFETY B2-B7.

use super::Engine;
use crate::id::{Ballot, Cluster, HostId, Incarnation};
use crate::io::Road;
use crate::limits::{LOCAL_NODES_MAX, SESSIONS_MAX};
use crate::state::Stage;
use crate::status::{Counter, HostState};
use crate::time::Instant;
use crate::wire::message::{Message, Slot, Standing};
use crate::wire::node::{Account, Message as Word, NodeState, Refusal, ViewNode, VolumeTale};

/// Pages about volumes and services that leave for each local node with a heartbeat: the usual report in one.
const ACCOUNTS_PER_BEAT: usize = 8;

impl Engine {
    /// Builds the first view of a new cluster incarnation over the memory that the votes brought, if they brought any. It
    /// names exactly those who voted: they promised its ballot and lost nothing since (SAFETY B2).
    pub(super) fn found(&mut self, standing: Standing) {
        self.acceptor.take_held();
        let held = self.acceptor.scratch.cluster.number;
        let number = held.max(self.election.number_voted()).min(Cluster::NUMBER_MAX - 1) + 1;
        let [a, b, c, d, ..] = self.entropy.next().to_le_bytes();
        let cluster = Cluster { number, random: u32::from_le_bytes([a, b, c, d]).max(1) };
        let election = &self.election;
        self.acceptor.scratch.found(cluster, self.rules, |host| election.voted(host));
        let word = if standing == Standing::Cold { "cold start" } else { "first boot" };
        log::warn!("{word}: begins cluster incarnation {cluster}");
    }

    /// Whoever is heard voted, or had time to: whom a cold view does not name has to end his nodes (SAFETY B5), so
    /// everybody gets his chance.
    pub(super) fn all_voted(&self, now: Instant) -> bool {
        let half = Self::span(self.timing.election_max_ms / 2);
        let recent = |host: HostId| {
            self.peers.heard(host).is_some_and(|heard| now.since(heard) < self.promise()) || host == self.me
        };
        let hosts = || self.config().hosts.iter().map(|host| HostId::new(host.id));
        now.since(self.election.started) >= half
            || hosts().all(|host| !recent(host) || self.election.voted(host).is_some())
    }

    /// What a leader tells of its newest commit.
    pub(super) fn send_commit(&mut self, to: HostId) {
        let view = &self.acceptor.committed;
        let row = view.host(to);
        let named = row.counts() && self.peers.incarnation(to) == Some(row.incarnation);
        let commit = Message::Commit { slot: self.acceptor.committed_slot, cluster: view.cluster, named };
        self.outbox.send(to, commit);
    }

    /// A leader serves another cluster incarnation than we remember, and does not name us: a higher number means that ours
    /// is over. A lower one is to be raised, which it does once it hears of ours (SAFETY B5). A ballot of its own that is ours
    /// too was given under an earlier incarnation of that leader, which commits nothing any more.
    pub(super) fn meet(&mut self, now: Instant, slot: Slot, cluster: Cluster, named: bool) {
        let ours = self.acceptor.accepted.cluster;
        let over = cluster.differs(ours) && cluster.number > ours.number && slot.ballot >= self.acceptor.slot.ballot;
        if self.acceptor.memory && !named && over {
            self.void(now, cluster);
        }
    }

    /// Our cluster incarnation is over: we are empty from this moment, but for what we promised. Nothing is renewed, the
    /// nodes are told to reset themselves and end by their leases otherwise; then we ask to be admitted (SAFETY B5).
    fn void(&mut self, now: Instant, cluster: Cluster) {
        log::warn!("cluster incarnation {cluster} has begun without us: ours, {}, is over", self.view().cluster);
        self.end_sessions(Refusal::ClusterOver);
        self.acceptor.void();
        self.admitted_at = None;
        self.vote_from = now + self.promise();
        self.requests.clear();
    }

    /// Ends every session of a node, with this reason.
    fn end_sessions(&mut self, refusal: Refusal) {
        let mut roads = [None; SESSIONS_MAX];
        for (place, road) in roads.iter_mut().zip(self.sessions.open_roads()) {
            *place = Some(road).filter(|&road| self.sessions.get(road).node.is_some());
        }
        for road in roads.into_iter().flatten() {
            self.outbox.say(road, Word::Error { refusal });
            self.sessions.end(road);
        }
    }

    /// A view is about to be committed. Another cluster incarnation, another stage or number of it: sessions begin anew, so
    /// that they report, or learn what they serve now.
    pub(super) fn greet_anew(&mut self) {
        let (old, new) = (&self.acceptor.committed, &self.acceptor.accepted);
        let collects = (new.stage == Stage::Collecting) != (old.stage == Stage::Collecting);
        if old.version != 0 && (old.cluster != new.cluster || collects) {
            self.end_sessions(Refusal::NoSession);
        }
    }

    /// A part of a session's report came.
    pub(super) fn on_account(&mut self, slot: u8, account: &Account, payload: &[u8]) {
        match account {
            Account::Nodes(tale) => {
                let entries = payload.chunks_exact(ViewNode::BYTES).filter_map(|bytes| ViewNode::parse(bytes).ok());
                let known = entries.filter(|entry| entry.state != NodeState::Unknown && entry.incarnation != 0);
                self.tales.take(slot, tale, known);
            }
            Account::Volume(tale) => match VolumeTale::read_payload(payload) {
                Ok((generations, entries)) => self.tales.take_volume(slot, tale, generations, entries),
                Err(_) => self.count(Counter::FramesUnsound),
            },
            Account::Service(tale) => self.tales.take_service(slot, tale),
        }
        self.urgent |= self.view().stage == Stage::Collecting;
    }

    /// With each heartbeat, while reports are collected: some of each local session's report to the leader.
    pub(super) fn send_tales(&mut self, now: Instant) {
        if self.view().stage != Stage::Collecting {
            return;
        }
        let leader = if self.proposer.leads() { self.proposer.ballot } else { self.follower.leader };
        for slot in (0u8..).take(LOCAL_NODES_MAX) {
            let session = self.sessions.get(Road::Channel(slot));
            let (node, open) = (session.node, session.open && session.incarnation != 0);
            if open && leader != Ballot::NONE && self.tales.is_complete(slot, session.incarnation) {
                if let Some(report) = self.tales.page(slot, node) {
                    self.outbox.send(leader.host, Message::Report(report));
                }
                for _ in 0..ACCOUNTS_PER_BEAT {
                    let Some(account) = self.tales.account(slot, node) else { break };
                    self.outbox.send(leader.host, account);
                }
            } else if open && self.tales.is_overdue(now, slot) {
                self.outbox.say(Road::Channel(slot), Word::Error { refusal: Refusal::NoSession });
                self.sessions.end(Road::Channel(slot));
            }
        }
    }

    /// A page of what a session says of a volume or a service.
    pub(super) fn on_page(&mut self, from: HostId, appliance: Incarnation, message: &Message) {
        if self.hears_tales(from, appliance) {
            self.dirty |= match message {
                Message::Report(report) => self.cold.take(from, report),
                Message::VolumePage(page) => self.cold.take_volume(page),
                Message::ServicePage(page) => self.cold.take_service(page),
                _ => false,
            };
        }
    }

    /// Whether we lead a cold start that collects, and this appliance is one of it.
    fn hears_tales(&self, from: HostId, appliance: Incarnation) -> bool {
        let row = self.view().host(from);
        let sound = row.incarnation == appliance && row.state == HostState::Member;
        self.proposer.established && sound && self.view().stage == Stage::Collecting
    }

    /// Whether the lease of a session goes on although its node is no member of the view: a cold start is collecting, and
    /// it has reported (SAFETY B4).
    pub(super) fn outlives_cold(&self, slot: u8) -> bool {
        let session = self.sessions.get(Road::Channel(slot));
        let (node, incarnation) = (session.node, session.incarnation);
        self.view().stage == Stage::Collecting
            && self.tales.has_served(slot, incarnation)
            && self.tales.is_complete(slot, incarnation)
            && !self.is_condemned(node, incarnation)
    }
}
