//! Cuts between the DLMs of nodes that the appliances see well (SAFETY F6).
//!
//! Owns what such a report means and when it means nothing. The DLM has no failure detector: if two nodes of a group cannot
//! reach each other, their locks hang for ever, and appliances, which are not on that network, see both alive. So nodes say
//! whose DLM does not answer (`desk`), the leader hears it of all (`reports`), and where a cut lasted `dlm_cut_ms` without a
//! break it judges who goes (`judge`): the fewer (`sides`). Must never be proof of anything, nor let anybody stop its own
//! node uncommitted: both ends of a cut would, and nobody would be left. The argument is in docs/PROTOCOL.md.

pub mod desk;
pub mod judge;
pub mod reports;
mod sides;

use crate::config::Config;
use crate::fencing::hold::is_spared;
use crate::id::NodeId;
use crate::state::groups::Phase;
use crate::state::{Stage, State};
use crate::wire::node::{NodeState, Target};

/// Whether that one of these does not answer the other can mean a cut now. A lockspace that is stopped does not answer, so
/// no barrier is open in any group that they share; a condemned member has opened one. Nor does a VM that stands still on
/// purpose, or on which somebody works (SAFETY H3, H4).
#[must_use]
pub fn counts(config: &Config, view: &State, one: NodeId, other: NodeId) -> bool {
    if one == other || ![one, other].iter().all(|&node| is_to_answer(config, view, node)) {
        return false;
    }
    let mut shared = false;
    for (group, row) in view.groups.iter() {
        let runs = |&node: &NodeId| {
            let incarnation = view.node(node).incarnation;
            let standing = view.groups.standing(group, node);
            standing.is_some_and(|member| member.standing.is_in_set() && member.incarnation == incarnation)
        };
        if [one, other].iter().all(runs) {
            if row.phase != Phase::Idle {
                return false;
            }
            shared = true;
        }
    }
    shared
}

fn is_to_answer(config: &Config, view: &State, node: NodeId) -> bool {
    let row = view.node(node);
    let paused = view.holds.pauses(node, row.incarnation, row.run);
    view.stage == Stage::Settled
        && row.state == NodeState::Up
        && !paused
        && !is_spared(config, view, Target::Node(node))
}

#[cfg(test)]
mod tests;
