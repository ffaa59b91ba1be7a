//! Groups: the nodes that have one volume's DLM lockspace open, and the barrier through which each change of them goes.
//!
//! Owns the judgement (`barrier`), what the leader was told (`reports`) and what an appliance's own nodes said (`desk`). The
//! rows are the state's. Must never let a member start before the view that fixes its set is committed (SAFETY G1), nor
//! forget a death that a member has not recovered from (G2). The argument is in docs/PROTOCOL.md.
//!
//! ```text
//!              a joiner, a leaver, or a member that is condemned or dead
//!      idle ------------------------------------------------------------> stopping: STOP to joiners, members, leavers
//!       ^                                                                    |  further changes come in with it
//!       | all STARTED and RECOVERED,                                         | all that live STOPPED,
//!       | all recoveries TAKEN: fates are forgotten                          | all others Confirmed
//!       |                                                                    v
//!       `------------------------------------------------------- starting: START with set and fates to the members
//!                                                                            |
//!                                  a member is condemned or dead: stopping again, under a new generation
//! ```

pub mod barrier;
pub mod desk;
pub mod reports;

#[cfg(test)]
mod tests;

use crate::id::{Incarnation, NodeId};
use crate::state::State;
use crate::wire::node::NodeState;

/// What the view says about the life of one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// A member of the cluster.
    Lives,
    /// Condemned: enough to stop, not to start.
    Condemned,
    /// Confirmed: it can no longer write. Another incarnation in its row says so too, since that came after the proof.
    Gone,
}

/// What the view says about the life of this incarnation.
#[must_use]
pub fn life(view: &State, node: NodeId, incarnation: Incarnation) -> Life {
    let row = view.node(node);
    match row.state {
        _ if row.incarnation != incarnation => Life::Gone,
        NodeState::Up => Life::Lives,
        NodeState::Down => Life::Gone,
        // Who left the cluster stands in no group (SAFETY G6).
        NodeState::Condemned | NodeState::Left | NodeState::Unknown => Life::Condemned,
    }
}
