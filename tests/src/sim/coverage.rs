//! Which states, and which changes from one to another, a run has reached: what no seed ever reaches is not tested.
//!
//! Owns the counters and the list of what is known to be reachable. It reads committed views and the roles that appliances
//! declare, nothing else.

use palisade_core::fencing::Class;
use palisade_core::state::groups::Phase;
use palisade_core::state::takeovers::{Progress, Service, TakeoverRow};
use palisade_core::state::{HoldKind, State};
use palisade_core::status::{HostState, Reason, Role};
use palisade_core::wire::node::{NodeState, Target};
use std::collections::BTreeMap;

/// What was reached, and how often.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    reached: BTreeMap<(&'static str, u8, u8), u64>,
}

const NODES: [(NodeState, &str); 5] = [
    (NodeState::Unknown, "unknown"),
    (NodeState::Up, "up"),
    (NodeState::Condemned, "condemned"),
    (NodeState::Down, "down"),
    (NodeState::Left, "left"),
];
const HOSTS: [(HostState, &str); 5] = [
    (HostState::Out, "out"),
    (HostState::Member, "member"),
    (HostState::Condemned, "condemned"),
    (HostState::Down, "down"),
    (HostState::Left, "left"),
];
const ROLES: [Role; 5] = [Role::Alone, Role::Joining, Role::Member, Role::Candidate, Role::Leader];

/// Changes that a view may bring to a node.
const NODE_EDGES: &[(NodeState, NodeState)] = &[
    (NodeState::Unknown, NodeState::Up),
    (NodeState::Up, NodeState::Up),
    (NodeState::Up, NodeState::Condemned),
    (NodeState::Up, NodeState::Down),
    (NodeState::Up, NodeState::Left),
    (NodeState::Condemned, NodeState::Down),
    (NodeState::Condemned, NodeState::Up),
    (NodeState::Down, NodeState::Up),
    // A cold start condemns whom it does not know to be gone.
    (NodeState::Down, NodeState::Condemned),
    (NodeState::Left, NodeState::Up),
    // Nobody knew of it before: a cold start fences whoever may be there, or buries it where its host says that nobody is.
    (NodeState::Unknown, NodeState::Condemned),
    (NodeState::Unknown, NodeState::Down),
    // So it does with one that left before.
    (NodeState::Left, NodeState::Condemned),
    (NodeState::Left, NodeState::Down),
];
/// Changes that a view may bring to a host.
const HOST_EDGES: &[(HostState, HostState)] = &[
    (HostState::Out, HostState::Member),
    (HostState::Member, HostState::Member),
    (HostState::Member, HostState::Condemned),
    (HostState::Member, HostState::Out),
    (HostState::Condemned, HostState::Down),
    // Of two votes one goes on alone, or an operator acknowledges; a cold start names exactly those who voted.
    (HostState::Member, HostState::Down),
    (HostState::Out, HostState::Down),
    (HostState::Condemned, HostState::Out),
    (HostState::Down, HostState::Member),
    (HostState::Member, HostState::Left),
    (HostState::Left, HostState::Member),
    // A cold start fences hosts whose nodes are not accounted for, names nobody who did not vote for it, and admits another
    // appliance of a condemned one.
    (HostState::Out, HostState::Condemned),
    (HostState::Down, HostState::Out),
    (HostState::Left, HostState::Out),
    (HostState::Out, HostState::Out),
    (HostState::Condemned, HostState::Member),
];
/// Changes of what an appliance is, from one turn to the next. From candidate to joining is the rarest, about one in ten
/// thousand runs: one without memory hears nothing of another one's election until the winner's first word.
const ROLE_EDGES: &[(Role, Role)] = &[
    (Role::Alone, Role::Joining),
    (Role::Alone, Role::Member),
    (Role::Alone, Role::Candidate),
    (Role::Joining, Role::Alone),
    (Role::Joining, Role::Member),
    (Role::Joining, Role::Candidate),
    // Its cluster incarnation is over.
    (Role::Member, Role::Joining),
    // It stood and won within the turn.
    (Role::Alone, Role::Leader),
    (Role::Member, Role::Alone),
    (Role::Member, Role::Candidate),
    (Role::Candidate, Role::Alone),
    (Role::Candidate, Role::Joining),
    (Role::Candidate, Role::Member),
    (Role::Candidate, Role::Leader),
    (Role::Leader, Role::Alone),
    (Role::Leader, Role::Candidate),
];
/// Changes that a view may bring to a group.
const GROUP_EDGES: &[(Phase, Phase)] = &[
    (Phase::Idle, Phase::Stopping),
    (Phase::Stopping, Phase::Starting),
    (Phase::Stopping, Phase::Idle),
    (Phase::Starting, Phase::Idle),
    (Phase::Starting, Phase::Stopping),
];
/// A takeover that is not, yet or any more.
const NEW: u8 = u8::MAX;
/// Changes that a view may bring to a takeover, by their names.
const TAKEOVER_EDGES: &[(u8, u8, &str)] = &[
    (NEW, Progress::Waiting as u8, "begins, and waits"),
    (NEW, Progress::Ordered as u8, "begins, and is ordered"),
    (NEW, Progress::Taken as u8, "begins, as its owner reports it"),
    (Progress::Waiting as u8, Progress::Ordered as u8, "waits -> ordered"),
    (Progress::Ordered as u8, Progress::Taken as u8, "ordered -> taken"),
    (Progress::Ordered as u8, Progress::Waiting as u8, "ordered -> waits"),
    (Progress::Taken as u8, Progress::Waiting as u8, "taken -> waits"),
    (Progress::Taken as u8, Progress::Ordered as u8, "taken -> ordered"),
    (Progress::Waiting as u8, NEW, "waits -> called off"),
    (Progress::Ordered as u8, NEW, "ordered -> called off"),
    (Progress::Taken as u8, NEW, "taken -> over"),
];
/// What may be held, and how that is called.
const HOLDS: &[(HoldKind, u8, &str)] = &[
    (HoldKind::Pause, 0, "pause of a node"),
    (HoldKind::Maintenance, 0, "maintenance of a node"),
    (HoldKind::Maintenance, 1, "maintenance of a host"),
];
/// Proofs that close a record, and why it was opened.
const PROOFS: &[(Reason, Class)] = &[
    (Reason::Silent, Class::VmGone),
    (Reason::Silent, Class::VmStopped),
    (Reason::Silent, Class::PowerOff),
    (Reason::Panicked, Class::VmGone),
    (Reason::Panicked, Class::VmStopped),
    (Reason::LastGasp, Class::VmStopped),
    (Reason::VmGone, Class::VmGone),
    (Reason::Replaced, Class::VmGone),
    (Reason::HostRebooted, Class::VmGone),
    (Reason::Covered, Class::PowerOff),
    (Reason::NodeUnfenced, Class::PowerOff),
    (Reason::Panicked, Class::PowerOff),
    (Reason::VmGone, Class::PowerOff),
    (Reason::Replaced, Class::PowerOff),
    (Reason::LastGasp, Class::VmGone),
    (Reason::LastGasp, Class::PowerOff),
    (Reason::Covered, Class::VmGone),
    (Reason::Replaced, Class::VmStopped),
    (Reason::NodeUnfenced, Class::VmGone),
    (Reason::Stuck, Class::VmGone),
    (Reason::Stuck, Class::VmStopped),
    (Reason::Stuck, Class::PowerOff),
    (Reason::CutOff, Class::VmStopped),
    (Reason::LeftMounted, Class::VmGone),
    (Reason::LeftMounted, Class::VmStopped),
    (Reason::LeftMounted, Class::PowerOff),
    (Reason::Operator, Class::VmGone),
    (Reason::Operator, Class::VmStopped),
    (Reason::Operator, Class::PowerOff),
    (Reason::Silent, Class::Operator),
    (Reason::Covered, Class::Operator),
    (Reason::Operator, Class::Operator),
    (Reason::ColdStart, Class::VmGone),
    (Reason::ColdStart, Class::VmStopped),
    (Reason::ColdStart, Class::PowerOff),
    (Reason::OwnerSilent, Class::VmStopped),
    (Reason::OwnerSilent, Class::VmGone),
    (Reason::OwnerSilent, Class::PowerOff),
    (Reason::Panicked, Class::Operator),
    (Reason::VmGone, Class::Operator),
    (Reason::LastGasp, Class::Operator),
    (Reason::NodeUnfenced, Class::Operator),
    (Reason::Stuck, Class::Operator),
    (Reason::LeftMounted, Class::Operator),
];

impl Coverage {
    fn reach(&mut self, kind: &'static str, from: u8, to: u8) {
        *self.reached.entry((kind, from, to)).or_default() += 1;
    }

    /// An appliance became something else.
    pub fn role(&mut self, before: Role, now: Role) {
        self.reach("role", before as u8, now as u8);
    }

    /// A view was committed after another.
    pub fn view(&mut self, before: &State, view: &State) {
        for (node, row) in view.nodes() {
            let old = before.node(node);
            if old != row && (old.state != row.state || old.incarnation != row.incarnation) {
                self.reach("node", old.state as u8, row.state as u8);
            }
        }
        for (host, row) in view.hosts() {
            let old = before.host(host);
            if old != row && (old.state != row.state || old.incarnation != row.incarnation) {
                self.reach("host", old.state as u8, row.state as u8);
            }
        }
        for (group, row) in view.groups.iter() {
            let old = before.groups.get(group).phase;
            if old != row.phase {
                self.reach("group", old as u8, row.phase as u8);
            }
        }
        self.takeovers(before, view);
        for hold in view.holds.iter().filter(|hold| before.holds.get(hold.kind, hold.target).is_none()) {
            self.reach("hold", hold.kind as u8, u8::from(matches!(hold.target, Target::Host(_))));
        }
        for entry in view.history().take_while(|entry| entry.confirmed_version == view.version) {
            self.reach("proof", entry.reason as u8, entry.class);
        }
    }

    fn takeovers(&mut self, before: &State, view: &State) {
        for row in view.takeovers.rows() {
            let old = before.takeovers.get(row.service, row.dead);
            // A named service has one row, and goes on from owner to owner.
            let same = |old: &&TakeoverRow| {
                matches!(row.service, Service::Named(_)) || old.dead_incarnation == row.dead_incarnation
            };
            let old = old.filter(same).map_or(NEW, |old| old.progress as u8);
            if old != row.progress as u8 {
                self.reach("takeover", old, row.progress as u8);
            }
        }
        let gone = |row: &&TakeoverRow| view.takeovers.get(row.service, row.dead).is_none();
        for row in before.takeovers.rows().iter().filter(gone) {
            self.reach("takeover", row.progress as u8, NEW);
        }
    }

    /// Takes in what another run reached.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.reached {
            *self.reached.entry(*what).or_default() += count;
        }
    }

    /// How many of the known ones were reached, how many are known, and the names of the others.
    #[must_use]
    pub fn sum(&self) -> (usize, usize, Vec<String>) {
        let known = known();
        let missing: Vec<String> =
            known.iter().filter(|(what, _)| !self.reached.contains_key(what)).map(|(_, name)| name.clone()).collect();
        (known.len() - missing.len(), known.len(), missing)
    }

    /// What was reached and is in no list: the lists are to be completed.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let known = known();
        let strangers = self.reached.iter().filter(|(what, _)| !known.contains_key(*what));
        strangers.map(|((kind, from, to), count)| format!("{kind} {from} -> {to} ({count} times)")).collect()
    }
}

fn known() -> BTreeMap<(&'static str, u8, u8), String> {
    let node = |state: NodeState| NODES.iter().find(|(other, _)| *other == state).map_or("?", |(_, name)| name);
    let host = |state: HostState| HOSTS.iter().find(|(other, _)| *other == state).map_or("?", |(_, name)| name);
    let mut all = BTreeMap::new();
    for &(from, to) in NODE_EDGES {
        all.insert(("node", from as u8, to as u8), format!("node {} -> {}", node(from), node(to)));
    }
    for &(from, to) in HOST_EDGES {
        all.insert(("host", from as u8, to as u8), format!("host {} -> {}", host(from), host(to)));
    }
    for &(from, to) in ROLE_EDGES {
        all.insert(("role", from as u8, to as u8), format!("role {} -> {}", from.word(), to.word()));
    }
    for &(reason, class) in PROOFS {
        all.insert(("proof", reason as u8, class as u8), format!("proof {} by {}", reason.word(), class.word()));
    }
    for &(from, to) in GROUP_EDGES {
        all.insert(("group", from as u8, to as u8), format!("group {from:?} -> {to:?}"));
    }
    for &(from, to, name) in TAKEOVER_EDGES {
        all.insert(("takeover", from, to), format!("takeover {name}"));
    }
    for &(kind, of_host, name) in HOLDS {
        all.insert(("hold", kind as u8, of_host), name.to_owned());
    }
    debug_assert!(ROLES.len() == 5);
    all
}
