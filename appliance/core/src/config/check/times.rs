//! Rules about times.
//!
//! Owns the time relations of DESIGN §4 and SAFETY C1. `limits` holds its defaults against the same function, so that
//! what is asserted and what is asked of a person cannot drift apart.

use super::{Broken, Checked, TIME_MAX_MS, require, text};
use crate::config::Timing;
use crate::limits::CUT_STALE_MS;

/// A relation between times that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The time that is out of relation.
    pub field: &'static str,
    /// Its value, ms.
    pub value_ms: u32,
    /// What has to hold, and why.
    pub rule: &'static str,
}

/// Returns the relation unless it holds.
macro_rules! relation {
    ($t:ident.$field:ident, $holds:expr, $rule:literal $(,)?) => {
        if !$holds {
            return Some(Relation { field: stringify!($field), value_ms: $t.$field, rule: $rule });
        }
    };
}

/// The first time relation of SAFETY C1 that does not hold. `limits` asserts it for the defaults, `check` asks it about
/// what a person wrote, so that the two cannot drift apart.
#[must_use]
pub const fn relations(t: &Timing) -> Option<Relation> {
    let (host_dead, election_max) = (wide(t.host_dead_ms), wide(t.election_max_ms));
    let (promise, restart, lease) = (wide(t.promise_ms), wide(t.restart_ms), wide(t.node_lease_ms));
    relation!(
        t.heartbeat_ms,
        4 * wide(t.heartbeat_ms) < host_dead,
        "4 * heartbeat_ms < host_dead_ms must hold, or a few lost heartbeats kill a host"
    );
    relation!(
        t.promise_ms,
        promise <= host_dead,
        "promise_ms <= host_dead_ms must hold, or a dead leader's promises outlast its accusation"
    );
    relation!(
        t.election_jitter_ms,
        t.election_jitter_ms < t.election_max_ms,
        "election_jitter_ms < election_max_ms must hold, since it is a part of it"
    );
    relation!(
        t.node_lease_ms,
        lease >= 2 * (host_dead + election_max) + restart + wide(t.heartbeat_ms),
        "node_lease_ms >= 2 * (host_dead_ms + election_max_ms) + restart_ms + heartbeat_ms must hold, or a leader's death resets nodes"
    );
    relation!(
        t.guard_lease_ms,
        wide(t.guard_lease_ms) >= lease + restart,
        "guard_lease_ms >= node_lease_ms + restart_ms must hold, or an appliance's restart kills nodes"
    );
    relation!(
        t.cold_ms,
        wide(t.cold_ms) > promise + 2 * election_max,
        "cold_ms > promise_ms + 2 * election_max_ms must hold, or a cold start overtakes an election"
    );
    relation!(
        t.cold_ms,
        wide(t.cold_ms) + promise + election_max < lease,
        "cold_ms + promise_ms + election_max_ms < node_lease_ms must hold, or a cold start finds nobody alive"
    );
    relation!(
        t.start_wait_ms,
        t.start_wait_ms >= t.guard_lease_ms,
        "start_wait_ms >= guard_lease_ms must hold, or a cold start fences who would end by himself"
    );
    relation!(
        t.restart_ms,
        restart + wide(t.admission_ms) < host_dead,
        "restart_ms + admission_ms < host_dead_ms must hold, or an appliance's restart fences its host"
    );
    relation!(
        t.stamp_gap_max_ms,
        2 * wide(t.stamp_ms) < wide(t.stamp_gap_max_ms),
        "2 * stamp_ms < stamp_gap_max_ms must hold, or one late stamp looks like a pause"
    );
    relation!(
        t.node_dead_ms,
        3 * wide(t.beat_ms) < wide(t.node_dead_ms),
        "3 * beat_ms < node_dead_ms must hold, or a few late beats kill a node"
    );
    relation!(
        t.node_dead_ms,
        t.node_dead_ms < t.node_lease_ms,
        "node_dead_ms < node_lease_ms must hold, or a node resets itself before it is accused"
    );
    group_relations(t)
}

/// Those of groups and takeovers.
const fn group_relations(t: &Timing) -> Option<Relation> {
    let (host_dead, election_max, restart) = (wide(t.host_dead_ms), wide(t.election_max_ms), wide(t.restart_ms));
    relation!(
        t.barrier_ms,
        wide(t.barrier_ms) > 2 * (host_dead + election_max) + restart,
        "barrier_ms > 2 * (host_dead_ms + election_max_ms) + restart_ms must hold, or a leader's death condemns members of a group"
    );
    relation!(
        t.recover_ms,
        t.recover_ms >= t.barrier_ms,
        "recover_ms >= barrier_ms must hold, since a member recovers after it started"
    );
    relation!(
        t.takeover_ms,
        t.takeover_ms >= t.barrier_ms,
        "takeover_ms >= barrier_ms must hold, or a leader's death condemns the owner of a service"
    );
    relation!(
        t.dlm_cut_ms,
        wide(t.dlm_cut_ms) > 2 * (host_dead + election_max) + restart,
        "dlm_cut_ms > 2 * (host_dead_ms + election_max_ms) + restart_ms must hold, or who is dead is taken for cut off"
    );
    relation!(
        t.dlm_cut_ms,
        t.dlm_cut_ms > CUT_STALE_MS,
        "dlm_cut_ms > 3000 must hold, or a word that nobody repeated is enough"
    );
    None
}

/// Sums of configured times must not wrap.
const fn wide(ms: u32) -> u64 {
    ms as u64
}

pub(super) fn times(timing: &Timing) -> Checked {
    let all = [
        ("heartbeat_ms", timing.heartbeat_ms),
        ("host_dead_ms", timing.host_dead_ms),
        ("promise_ms", timing.promise_ms),
        ("election_max_ms", timing.election_max_ms),
        ("beat_ms", timing.beat_ms),
        ("node_dead_ms", timing.node_dead_ms),
        ("node_lease_ms", timing.node_lease_ms),
        ("guard_lease_ms", timing.guard_lease_ms),
        ("restart_ms", timing.restart_ms),
        ("admission_ms", timing.admission_ms),
        ("cold_ms", timing.cold_ms),
        ("start_wait_ms", timing.start_wait_ms),
        ("stamp_ms", timing.stamp_ms),
        ("stamp_gap_max_ms", timing.stamp_gap_max_ms),
        ("order_ms", timing.order_ms),
        ("brake_ms", timing.brake_ms),
        ("drill_ms", timing.drill_ms),
        ("barrier_ms", timing.barrier_ms),
        ("recover_ms", timing.recover_ms),
        ("takeover_ms", timing.takeover_ms),
        ("dlm_cut_ms", timing.dlm_cut_ms),
    ];
    for (name, value) in all {
        require!(
            (1..=TIME_MAX_MS).contains(&value),
            ("timing.{name}"),
            value,
            "a time is 1 to 600000 milliseconds",
            "write milliseconds, or leave it out for the default",
        );
    }
    require!(
        (1..=255).contains(&timing.fence_at_once_max),
        ("timing.fence_at_once_max"),
        timing.fence_at_once_max,
        "1 to 255 accusations by silence may be open at a time",
        "write a small number, or leave it out for the default",
    );
    match relations(timing) {
        None => Ok(()),
        Some(relation) => Err(Broken {
            field: text(format_args!("timing.{}", relation.field)),
            value: text(format_args!("{}", relation.value_ms)),
            rule: relation.rule,
            remedy: "change one of the times in the rule, or leave them out for the defaults",
        }),
    }
}
