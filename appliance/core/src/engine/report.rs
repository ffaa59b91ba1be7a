//! What is told on request: the parts of VIEW, and the sections of STATUS.

use super::Engine;
use crate::id::{HostId, NodeId};
use crate::limits::FRAME_PAYLOAD_MAX;
use crate::outbox::Class;
use crate::state::Stage;
use crate::status::{
    Counter, DeviceEntry, GroupEntry, HistoryEntry, HoldEntry, HostEntry, MemberEntry, NodeEntry, Reason, Summary,
    TakeoverEntry,
};
use crate::takeover;
use crate::time::Instant;
use crate::wire::node::{Message, NodeState, Section, Target, ViewNode};

/// Entries of a VIEW in one frame.
const VIEW_ENTRIES: usize = FRAME_PAYLOAD_MAX / ViewNode::BYTES;

/// Collects entries of a section, as many as fit, from `first` on.
struct Page<'p> {
    payload: &'p mut [u8; FRAME_PAYLOAD_MAX],
    first: usize,
    width: usize,
    count: usize,
    total: usize,
}

impl<'p> Page<'p> {
    fn new(payload: &'p mut [u8; FRAME_PAYLOAD_MAX], first: u16, width: usize) -> Self {
        Self { payload, first: usize::from(first), width, count: 0, total: 0 }
    }

    fn add(&mut self, write: impl FnOnce(&mut [u8])) {
        let at = self.total;
        self.total += 1;
        if at < self.first {
            return;
        }
        let start = (at - self.first) * self.width;
        if let Some(place) = self.payload.get_mut(start..start + self.width) {
            write(place);
            self.count += 1;
        }
    }

    fn end(self, section: Section) -> (Message, usize) {
        let word = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
        let (first, count, total) = (word(self.first), word(self.count), word(self.total));
        (Message::StatusPart { section, first, count, total }, self.count * self.width)
    }
}

impl Engine {
    pub(super) fn view_parts(&self) -> u16 {
        let parts = self.view().nodes().count().div_ceil(VIEW_ENTRIES).max(1);
        u16::try_from(parts).unwrap_or(1)
    }

    pub(super) fn view_part(&self, part: u16, payload: &mut [u8; FRAME_PAYLOAD_MAX]) -> (Message, usize) {
        let view = self.view();
        let nodes = view.nodes().skip(usize::from(part) * VIEW_ENTRIES).take(VIEW_ENTRIES);
        let mut length = 0;
        for (node, row) in nodes {
            // Until a cold start is settled nobody is told of a death (SAFETY B4).
            let hidden = view.stage != Stage::Settled && row.state == NodeState::Down;
            let state = if hidden { NodeState::Condemned } else { row.state };
            let class = if state == NodeState::Down { row.class } else { 0 };
            let entry = ViewNode { node, state, host: row.host, class, incarnation: row.incarnation };
            entry.emit(&mut payload[length..length + ViewNode::BYTES]);
            length += ViewNode::BYTES;
        }
        let ballot = self.acceptor.committed_slot.ballot;
        (Message::View { version: view.version, ballot, part, parts: self.view_parts() }, length)
    }

    pub(super) fn status_part(
        &self,
        now: Instant,
        section: Section,
        first: u16,
        payload: &mut [u8; FRAME_PAYLOAD_MAX],
    ) -> (Message, usize) {
        match section {
            Section::Summary => {
                let mut page = Page::new(payload, first, Summary::BYTES);
                page.add(|place| self.summary(now).emit(place));
                page.end(section)
            }
            Section::Hosts => {
                let mut page = Page::new(payload, first, HostEntry::BYTES);
                // What a page does not show is not looked up: an entry asks for all its devices.
                for host in &self.config().hosts {
                    page.add(|place| self.host_entry(now, HostId::new(host.id)).emit(place));
                }
                page.end(section)
            }
            Section::Nodes => {
                let mut page = Page::new(payload, first, NodeEntry::BYTES);
                for node in &self.config().nodes {
                    let (id, home) = (NodeId::new(node.id), HostId::new(node.host));
                    page.add(|place| self.node_entry(now, id, home).emit(place));
                }
                page.end(section)
            }
            Section::History => {
                let mut page = Page::new(payload, first, HistoryEntry::BYTES);
                for entry in self.open_records() {
                    page.add(|place| entry.emit(place));
                }
                for entry in self.view().history() {
                    page.add(|place| entry.emit(place));
                }
                page.end(section)
            }
            Section::Groups | Section::Members | Section::Takeovers => self.groups_part(section, first, payload),
            Section::Counters => {
                let mut page = Page::new(payload, first, 8);
                for (index, &value) in self.counters.iter().enumerate() {
                    let dropped = index.checked_sub(Counter::HeartbeatsDropped as usize);
                    let value = match dropped.and_then(|class| Class::ALL.get(class)) {
                        Some(&class) => self.outbox.dropped(class),
                        None if index == Counter::BytesSkipped as usize => self.sessions.skipped(),
                        None if index == Counter::OrdersTwice as usize => self.executor.twice,
                        _ => value,
                    };
                    page.add(|place| place.copy_from_slice(&value.to_le_bytes()));
                }
                page.end(section)
            }
            Section::Devices => {
                let mut page = Page::new(payload, first, DeviceEntry::BYTES);
                for (index, device) in self.config().devices.iter().enumerate() {
                    page.add(|place| self.device_entry(now, index, device).emit(place));
                }
                page.end(section)
            }
            Section::Holds => {
                let mut page = Page::new(payload, first, HoldEntry::BYTES);
                for hold in self.view().holds.iter() {
                    page.add(|place| self.hold_entry(now, hold).emit(place));
                }
                page.end(section)
            }
        }
    }

    fn groups_part(&self, section: Section, first: u16, payload: &mut [u8; FRAME_PAYLOAD_MAX]) -> (Message, usize) {
        let view = self.view();
        let few = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        let width = match section {
            Section::Groups => GroupEntry::BYTES,
            Section::Members => MemberEntry::BYTES,
            _ => TakeoverEntry::BYTES,
        };
        let mut page = Page::new(payload, first, width);
        match section {
            Section::Groups => view.groups.iter().for_each(|(group, row)| {
                let rows = view.groups.members(group);
                let members = few(rows.iter().filter(|row| row.standing.is_in_set()).count());
                let fates = few(rows.iter().filter(|row| row.standing.is_over()).count());
                let (phase, generation, cluster, volume) = (row.phase, row.generation, row.cluster, row.volume);
                let entry = GroupEntry { group, phase, members, fates, generation, cluster, volume };
                page.add(|place| entry.emit(place));
            }),
            Section::Members => view.groups.memberships().iter().for_each(|row| {
                let (group, node, standing, incarnation) = (row.group, row.node, row.standing, row.incarnation);
                page.add(|place| MemberEntry { group, node, standing, incarnation }.emit(place));
            }),
            _ => view.takeovers.rows().iter().for_each(|row| {
                let Some(given) = takeover::given(self.config(), view, row) else { return };
                let entry = TakeoverEntry {
                    what: given.what,
                    dead: row.dead,
                    owner: row.owner,
                    progress: row.progress,
                    failures: row.failures,
                    dead_incarnation: row.dead_incarnation,
                    owner_incarnation: row.owner_incarnation,
                    token: row.token,
                };
                page.add(|place| entry.emit(place));
            }),
        }
        page.end(section)
    }

    /// This appliance in short.
    #[must_use]
    pub fn summary(&self, now: Instant) -> Summary {
        let config = self.config();
        let leads = self.proposer.leads();
        let leader = if leads { self.me } else { self.follower.leader.host };
        Summary {
            host: self.me,
            role: self.role(),
            leader,
            quorum: leads && self.proposer.established || self.follower.holds_lease(now, self.promise()),
            votes: u8::try_from(self.voters.count()).unwrap_or(u8::MAX),
            incarnation: self.incarnation,
            boot: self.local.boot,
            ballot: self.acceptor.promised,
            cluster: self.view().cluster.number,
            version: self.view().version,
            uptime_us: now.since(self.started).as_micros(),
            epoch: config.epoch,
            config_hash: self.config_hash,
            platform: self.platform,
        }
    }

    fn host_entry(&self, now: Instant, host: HostId) -> HostEntry {
        let row = self.view().host(host);
        let heard = if host == self.me { Some(now) } else { self.peers.heard(host) };
        let heard_ms = heard.map_or(u32::MAX, |at| u32::try_from(now.since(at).as_millis()).unwrap_or(u32::MAX));
        let marks = self.marks(now, Target::Host(host), host);
        HostEntry { host, state: row.state, incarnation: row.incarnation, heard_ms, marks }
    }

    fn node_entry(&self, now: Instant, node: NodeId, home: HostId) -> NodeEntry {
        let row = self.view().node(node);
        let host = if row.host.is_some() { row.host } else { home };
        let class = if row.state == NodeState::Down { row.class } else { 0 };
        let marks = self.marks(now, Target::Node(node), host);
        NodeEntry { node, state: row.state, host, class, incarnation: row.incarnation, run: row.run, marks }
    }

    /// Records that wait for their proof.
    fn open_records(&self) -> impl Iterator<Item = HistoryEntry> {
        let view = self.view();
        let nodes = view.nodes().map(|(node, row)| (Target::Node(node), node, row.host, row.incarnation, row.record));
        let hosts =
            view.hosts().map(|(host, row)| (Target::Host(host), NodeId::NONE, host, row.incarnation, row.record));
        nodes.chain(hosts).filter(|(.., record)| record.reason != Reason::None).map(
            |(target, node, host, incarnation, record)| HistoryEntry {
                node,
                host,
                reason: record.reason,
                incarnation,
                decided_version: record.decided,
                attempts: if self.proposer.leads() { self.harness.attempts(target) } else { 0 },
                ..HistoryEntry::default()
            },
        )
    }
}
