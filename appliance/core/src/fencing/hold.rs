//! What spares a target for a while, and when that ends: pauses, maintenance, quarantine.
//!
//! Owns these judgements; the rows are `state::Holds`, and since when they count is `ages`. A hold suppresses accusations and
//! orders, never the need of proof (SAFETY H3): what is proven by itself is proven. Quarantine delays a JOIN and a start, has
//! a cap, and never holds the last candidate (H2).

use crate::config::Config;
use crate::decide::Facts;
use crate::id::{HostId, NodeId};
use crate::limits::{FLAP_MS, HOLDS_MAX, QUARANTINE_MAX_MS, QUARANTINE_MS};
use crate::state::{Evidence, Flap, Hold, HoldKind, Stage, State};
use crate::status::Reason;
use crate::time::Duration;
use crate::wire::node::{NodeState, Target};

/// Whether the target is neither to be accused nor ordered off: a person works on it, or the configuration says so; a node
/// also if that is so of its host.
#[must_use]
pub fn is_spared(config: &Config, view: &State, target: Target) -> bool {
    let host = match target {
        Target::Host(host) => host,
        Target::Node(node) if view.node(node).host.is_some() => view.node(node).host,
        // Nobody ever saw it: it belongs where the configuration says.
        Target::Node(node) => config.node(node).map_or(HostId::NONE, |node| HostId::new(node.host)),
    };
    let off = match target {
        Target::Node(node) => config.node(node).is_some_and(|node| node.disabled),
        Target::Host(_) => false,
    };
    let host_off = config.host(host).is_some_and(|host| host.disabled);
    off || host_off || view.holds.maintains(target) || view.holds.maintains(Target::Host(host))
}

/// Whether the guard is not to start this node now.
#[must_use]
pub fn is_kept_down(config: &Config, view: &State, node: NodeId) -> bool {
    is_quarantined(view, node) || is_spared(config, view, Target::Node(node))
}

/// Whether this node keeps dying and is held off: never during a cold start (SAFETY H2).
#[must_use]
pub fn is_quarantined(view: &State, node: NodeId) -> bool {
    view.stage == Stage::Settled && view.holds.is_held_off(node)
}

/// Confirms a node, and notes whether it died soon after it had come up. What an operator wanted is no flapping.
pub fn bury(facts: &Facts<'_>, next: &mut State, node: NodeId, reason: Reason, evidence: &Evidence) {
    let row = *next.node(node);
    let version = next.version;
    next.confirm(Target::Node(node), reason, evidence, version);
    let asked = reason == Reason::Operator || row.record.reason == Reason::Operator;
    let soon = facts.ages.up_for(facts.now, node, row.incarnation) < Duration::from_millis(u64::from(FLAP_MS));
    let flaps = soon && !asked && next.stage == Stage::Settled;
    let deaths = if flaps { next.holds.flap(node).deaths.saturating_add(1) } else { 0 };
    next.holds.set_flap(node, Flap { deaths, held: deaths > 0 });
}

/// How long a node that died soon so many times is held off.
fn quarantine(deaths: u8) -> Duration {
    let doubled = u64::from(QUARANTINE_MS) << deaths.saturating_sub(1).min(16);
    Duration::from_millis(doubled.min(u64::from(QUARANTINE_MAX_MS)))
}

/// Ends what is over. Whether anything was.
pub fn end(facts: &Facts<'_>, next: &mut State) -> bool {
    let mut changed = false;
    let mut holds: heapless::Vec<Hold, HOLDS_MAX> = heapless::Vec::new();
    holds.extend(next.holds.iter().copied());
    for hold in holds {
        let over = facts.ages.hold_for(facts.now, &hold) >= Duration::from_millis(u64::from(hold.duration_ms));
        changed |= match hold.kind {
            HoldKind::Pause => end_pause(next, &hold, over),
            HoldKind::Maintenance if over => next.holds.remove(hold.kind, hold.target),
            _ => false,
        };
    }
    for node in facts.config.nodes.iter().map(|node| NodeId::new(node.id)) {
        changed |= end_quarantine(facts, next, node);
    }
    changed
}

/// A pause that is over accuses again, but stays until its run is gone: that silence was no sign of a lease's end (H4).
fn end_pause(next: &mut State, hold: &Hold, over: bool) -> bool {
    let Target::Node(node) = hold.target else { return false };
    let row = next.node(node);
    if !row.may_write() || row.incarnation != hold.incarnation || row.run != hold.run {
        return next.holds.remove(hold.kind, hold.target);
    }
    over && !hold.over && next.holds.set(Hold { over: true, ..*hold })
}

fn end_quarantine(facts: &Facts<'_>, next: &mut State, node: NodeId) -> bool {
    let flap = next.holds.flap(node);
    if flap.deaths == 0 {
        return false;
    }
    let row = next.node(node);
    let lived = facts.ages.up_for(facts.now, node, row.incarnation) >= Duration::from_millis(u64::from(FLAP_MS));
    let is_last = !next.nodes().any(|(other, row)| other != node && row.state == NodeState::Up);
    let served = facts.ages.held_for(facts.now, node) >= quarantine(flap.deaths);
    let then = match (row.state, flap.held) {
        (NodeState::Up, _) if lived => Flap { deaths: 0, held: false },
        (_, true) if served || is_last => Flap { held: false, ..flap },
        _ => return false,
    };
    next.holds.set_flap(node, then);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarantine_grows_and_has_a_cap() {
        let spans: std::vec::Vec<u64> = [1, 2, 3, 7, 8, 255].map(|deaths| quarantine(deaths).as_millis()).to_vec();
        assert_eq!(spans, [1000, 2000, 4000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn nobody_is_in_quarantine_during_a_cold_start() {
        let mut view = std::boxed::Box::new(State::EMPTY);
        let node = NodeId::new(3);
        view.holds.set_flap(node, Flap { deaths: 3, held: true });
        assert!(is_quarantined(&view, node));
        for stage in [Stage::Collecting, Stage::Fencing] {
            view.stage = stage;
            assert!(!is_quarantined(&view, node));
        }
    }
}
