//! S6 and the evidence: what was committed is not lost, and what a view says of a node was true.
//!
//! Owns which change of a row may follow which: a decision is never withdrawn (SAFETY F4), a member ends only by proof or by
//! its own word, a closed record is in the history, and an incarnation that a view raises lives on the host, in the run,
//! that the view names (SAFETY E2, E3).

use super::{Facts, line::NOBODY};
use crate::sim::Guest;
use palisade_core::id::{HostId, NodeId, WHOEVER};
use palisade_core::state::{Stage, State};
use palisade_core::status::{HostState, Reason};
use palisade_core::wire::node::NodeState;
use std::collections::BTreeMap;

/// Where an incarnation of a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Born {
    host: u8,
    boot: u64,
    run: u32,
}

impl Born {
    /// Where this guest lives.
    pub const fn of(guest: &Guest) -> Self {
        Self { host: guest.host, boot: guest.boot, run: guest.run }
    }

    /// On which host.
    pub const fn host(&self) -> u8 {
        self.host
    }
}

/// Holds a view against the one before it.
pub fn check(facts: &Facts<'_>, born: &BTreeMap<(u8, u64), Born>, before: &State, view: &State) {
    let now = facts.now;
    assert_eq!(view.version, before.version + 1, "S6: a version between was never declared, at {now} us");
    for node in facts.config.nodes.iter().map(|node| NodeId::new(node.id)) {
        if view.node(node) != before.node(node) {
            node_row(now, born, before, view, node);
        }
    }
    for host in facts.config.hosts.iter().map(|host| HostId::new(host.id)) {
        host_row(now, before, view, host);
    }
}

fn node_row(now: u64, born: &BTreeMap<(u8, u64), Born>, before: &State, view: &State, node: NodeId) {
    let (old, new) = (before.node(node), view.node(node));
    let same = old.incarnation == new.incarnation;
    let died = new.dead == old.incarnation && old.incarnation != NOBODY;
    // Who comes up in the very view that condemns its host is condemned with it, by name (SAFETY F3).
    let covered = !same && new.record.reason == Reason::Covered && view.host(new.host).state == HostState::Condemned;
    let fits = match (old.state, new.state) {
        // Whoever may write ends by proof, even if another incarnation follows in the same view.
        (NodeState::Up, NodeState::Up | NodeState::Condemned) => same || died,
        (NodeState::Up, NodeState::Left) => same,
        (NodeState::Up, NodeState::Down) => died,
        (NodeState::Condemned, NodeState::Condemned) => same || died,
        (NodeState::Condemned, NodeState::Down | NodeState::Up) => died || old.incarnation == WHOEVER,
        (NodeState::Condemned, NodeState::Left) | (_, NodeState::Unknown) => old.state == new.state,
        (NodeState::Unknown | NodeState::Left | NodeState::Down, NodeState::Up) => {
            !same || old.state != NodeState::Down
        }
        // A cold start condemns whoever it does not know to live; somebody it knew of keeps his name.
        (NodeState::Unknown | NodeState::Left | NodeState::Down, NodeState::Condemned) => {
            covered || before.stage == Stage::Collecting && new.record.reason == Reason::ColdStart
        }
        (NodeState::Unknown | NodeState::Left | NodeState::Down, _) => true,
    };
    assert!(fits, "S6: {node} went from {old:?} to {new:?} at {now} us");
    let kept = |of: &State| of.history().any(|entry| entry.node == node && entry.incarnation == old.incarnation);
    assert!(!died || old.dead == new.dead || kept(view), "S6: the death of {node} is not in the history at {now} us");
    let raised = new.state == NodeState::Up && (old.state != NodeState::Up || !same)
        || covered && new.state == NodeState::Condemned && old.state != NodeState::Up;
    if raised {
        let said = Born { host: new.host.get(), boot: new.run.boot, run: new.run.counter };
        let truth = born.get(&(node.get(), new.incarnation));
        assert_eq!(truth, Some(&said), "E2: {node} is not where the view says, at {now} us");
    }
}

fn host_row(now: u64, before: &State, view: &State, host: HostId) {
    let (old, new) = (before.host(host), view.host(host));
    let same = old.incarnation == new.incarnation;
    let fits = match (old.state, new.state) {
        (HostState::Condemned, HostState::Condemned) => same,
        // A cold start accounts for each node by itself: of a host it keeps the decision while that incarnation stands.
        (HostState::Condemned, HostState::Member) => before.stage == Stage::Collecting && !same,
        (HostState::Condemned, HostState::Out) => false,
        (HostState::Out | HostState::Down, HostState::Condemned) => {
            before.stage == Stage::Fencing && new.record.reason == Reason::ColdStart
        }
        // A host that is down comes back only as another appliance.
        (HostState::Down, HostState::Member) => !same,
        // Nothing that could write is left behind, and what left comes back only as another appliance.
        (HostState::Member, HostState::Left) => {
            same && !view.nodes().any(|(_, row)| row.host == host && row.may_write())
        }
        (HostState::Left, HostState::Left) => same,
        (HostState::Left, HostState::Member) => {
            !same || before.stage != Stage::Settled || before.cluster != view.cluster
        }
        (HostState::Left, HostState::Condemned | HostState::Down) => false,
        _ => true,
    };
    assert!(fits, "S6: {host} went from {old:?} to {new:?} at {now} us");
}
