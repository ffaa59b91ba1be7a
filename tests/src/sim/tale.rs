//! What a shim remembers of the cluster incarnation that it serves, and reports after a cold start.

use palisade_core::fencing::Class;
use palisade_core::id::{Cluster, NodeId};
use palisade_core::limits::FRAME_PAYLOAD_MAX;
use palisade_core::wire::node::{Account, Message, NodeEvent, NodeState, Tale, ViewNode};
use std::collections::BTreeMap;

/// Entries of one part of a report.
const ENTRIES: usize = FRAME_PAYLOAD_MAX / ViewNode::BYTES;

/// A shim's memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// The cluster incarnation, as a WELCOME named it last.
    pub served: Cluster,
    /// The highest version that it was told.
    version: u64,
    /// Of each other node what it was told last.
    known: BTreeMap<u8, ViewNode>,
}

impl Memory {
    /// The parts of a report about nodes, each with its payload. `tells`: of how many volumes and services there is more.
    pub fn report(&self, node: u8, tells: (u8, u8)) -> Vec<(Message, Vec<u8>)> {
        if !self.served.is_some() {
            return Vec::new();
        }
        let entries: Vec<ViewNode> = self.known.values().copied().collect();
        let parts: Vec<&[ViewNode]> = if entries.is_empty() { vec![&[]] } else { entries.chunks(ENTRIES).collect() };
        let count = u8::try_from(parts.len()).expect("255 nodes fit");
        let tells = Some(tells);
        let tale = |part| Tale { node: NodeId::new(node), part, parts: count, version: self.version, tells };
        let payload = |entries: &[ViewNode]| {
            let mut payload = vec![0; entries.len() * ViewNode::BYTES];
            for (place, entry) in payload.chunks_exact_mut(ViewNode::BYTES).zip(entries) {
                entry.emit(place);
            }
            payload
        };
        (0..)
            .zip(parts)
            .map(|(part, entries)| (Message::Report(Account::Nodes(tale(part))), payload(entries)))
            .collect()
    }

    /// Something came in its session. What it was told by it without being told so in as many words: a VIEW says of a node
    /// that was up that its incarnation is down, or was followed by another, which is as good as NODE_DOWN.
    pub fn hear(&mut self, node: u8, message: &Message, payload: &[u8]) -> Vec<Message> {
        let mut told = Vec::new();
        match message {
            Message::View { version, .. } => {
                for entry in payload.chunks_exact(ViewNode::BYTES).filter_map(|bytes| ViewNode::parse(bytes).ok()) {
                    told.extend(self.compare(*version, entry));
                    self.learn(node, *version, entry);
                }
            }
            Message::NodeUp(event) => self.learn_event(node, event, NodeState::Up),
            Message::NodeDown(event) => self.learn_event(node, event, NodeState::Down),
            _ => {}
        }
        told
    }

    fn learn_event(&mut self, node: u8, event: &NodeEvent, state: NodeState) {
        let NodeEvent { node: about, host, incarnation, version, .. } = *event;
        self.learn(node, version, ViewNode { node: about, state, host, class: 0, incarnation });
    }

    /// Remembers what it was told of another node. A death is never taken back.
    pub fn learn(&mut self, node: u8, version: u64, entry: ViewNode) {
        self.version = self.version.max(version);
        let about = entry.node.get();
        let known = self.known.get(&about);
        let dead = known.is_some_and(|it| it.state == NodeState::Down && it.incarnation == entry.incarnation);
        if about != node && matches!(entry.state, NodeState::Up | NodeState::Down) && !dead {
            self.known.insert(about, entry);
        }
    }

    fn compare(&self, version: u64, entry: ViewNode) -> Option<Message> {
        let before = self.known.get(&entry.node.get()).filter(|before| before.state == NodeState::Up)?;
        // Another incarnation says that this one is over, and not how: it may have left.
        let down = entry.state == NodeState::Down && entry.incarnation == before.incarnation;
        let ViewNode { node, host, incarnation, .. } = *before;
        let class = Class::from_wire(entry.class).or(Some(Class::VmGone));
        down.then_some(Message::NodeDown(NodeEvent { node, host, class, incarnation, version }))
    }
}
