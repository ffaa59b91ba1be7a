//! What this node was told of the others, for its report after a cold start (SAFETY B4).
//!
//! Owns the highest version and the last word about each other node. Must never forget a death before a later incarnation
//! is up.

use std::collections::BTreeMap;

use palisade_core::id::NodeId;
use palisade_core::limits::FRAME_PAYLOAD_MAX;
use palisade_core::wire::node::{NodeEvent, NodeState, Tale, ViewNode};

/// Entries of one part of a report.
const ENTRIES: usize = FRAME_PAYLOAD_MAX / ViewNode::BYTES;

/// What was told, by whichever appliance.
#[derive(Debug, Default)]
pub struct Known {
    version: u64,
    nodes: BTreeMap<NodeId, ViewNode>,
}

impl Known {
    /// Remembers what `us` was told of another node.
    pub fn learn(&mut self, us: NodeId, version: u64, entry: ViewNode) {
        self.version = self.version.max(version);
        let dead = self
            .nodes
            .get(&entry.node)
            .is_some_and(|known| known.state == NodeState::Down && known.incarnation == entry.incarnation);
        if entry.node != us && matches!(entry.state, NodeState::Up | NodeState::Down) && !dead {
            self.nodes.insert(entry.node, entry);
        }
    }

    /// The same, of one node.
    pub fn learn_event(&mut self, us: NodeId, event: &NodeEvent, state: NodeState) {
        let NodeEvent { node, host, incarnation, version, class } = *event;
        let class = class.map_or(0, |class| class as u8);
        self.learn(us, version, ViewNode { node, state, host, class, incarnation });
    }

    /// The report in its parts; `highest` is the highest number that a volume or service brought, `tells` of how many there
    /// is more to say.
    #[must_use]
    pub fn tales(&self, us: NodeId, highest: u64, tells: (u8, u8)) -> Vec<(Tale, Vec<u8>)> {
        let entries: Vec<ViewNode> = self.nodes.values().copied().collect();
        let parts: Vec<&[ViewNode]> = if entries.is_empty() { vec![&[]] } else { entries.chunks(ENTRIES).collect() };
        let count = u8::try_from(parts.len()).unwrap_or(u8::MAX);
        let version = self.version.max(highest);
        let tales = (0u8..).zip(parts).map(|(part, entries)| {
            let payload = entries.iter().flat_map(|entry| {
                let mut bytes = [0; ViewNode::BYTES];
                entry.emit(&mut bytes);
                bytes
            });
            (Tale { node: us, part, parts: count, version, tells: Some(tells) }, payload.collect())
        });
        tales.collect()
    }
}
