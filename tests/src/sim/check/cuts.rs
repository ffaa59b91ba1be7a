//! SAFETY F6: who is condemned because its DLM is cut off.
//!
//! Owns two sentences. Nobody goes for a cut that was shorter than `dlm_cut_ms`, less what a shim needs to notice its end (L3).
//! And somebody always stays: of those with whom it had a volume open, at least one lives in the same view.

use super::Facts;
use crate::sim::wires::NOTICE;
use palisade_core::state::State;
use palisade_core::status::Reason;
use palisade_core::wire::node::NodeState;

pub(super) fn check(facts: &Facts<'_>, before: &State, view: &State) {
    let goes = |node: palisade_core::id::NodeId| {
        let (old, new) = (before.node(node), view.node(node));
        let now = new.state == NodeState::Condemned && new.record.reason == Reason::CutOff;
        now && (old.state != NodeState::Condemned || old.incarnation != new.incarnation)
    };
    let gone: Vec<_> = view.nodes().map(|(node, _)| node).filter(|&node| goes(node)).collect();
    for &node in &gone {
        let groups = before.groups.memberships().iter().filter(|row| row.node == node && !row.standing.is_over());
        let of_groups = groups.flat_map(|own| before.groups.members(own.group));
        let peers = of_groups.filter(|row| row.node != node && !row.standing.is_over()).map(|row| row.node.get());
        let least = u64::from(facts.config.timing.dlm_cut_ms) * 998;
        let long = |peer: u8| {
            let lied = facts.wires.lied(peer) || facts.wires.lied(node.get());
            lied || facts.wires.parted(facts.now, node.get(), peer, NOTICE) + NOTICE >= least
        };
        assert!(
            peers.into_iter().any(long),
            "L3: {node} is condemned for a cut at {} us, and there was none of {least} us",
            facts.now
        );
    }
    for &node in &gone {
        let groups = before.groups.memberships().iter().filter(|row| row.node == node && !row.standing.is_over());
        let mut peers = groups.flat_map(|own| before.groups.members(own.group)).filter(|row| !row.standing.is_over());
        assert!(
            peers.any(|row| view.node(row.node).state == NodeState::Up),
            "F6: at {} us a cut condemns {node} and all with whom it had a volume open, and nobody stays",
            facts.now
        );
    }
}
