//! The checkers: they know what is true in the world, and what was claimed in it.
//!
//! Owns the truth, and hands each claim to the checkers whose invariant it touches; each has a file of its own and panics
//! with a sentence as soon as that breaks. They read the world's truth; of the cores they read only what those declared
//! committed, accepted, or said on a wire.

mod cuts;
mod deaths;
pub mod groups;
mod kills;
mod line;
mod quorum;
mod rows;
mod speech;
mod writers;

use super::coverage::Coverage;
use super::{Guest, Host, Micros, Power, Table, Wires, Writer};
use palisade_core::config::Config;
use palisade_core::fencing::{Action, Class};
use palisade_core::id::{Ballot, HostId, Incarnation};
use palisade_core::state::State;
use palisade_core::status::{HostState, Role};
use palisade_core::wire::node::{Message, NodeState, Target};
use std::collections::{BTreeMap, BTreeSet};

pub use deaths::Death;
pub use line::Key;

/// What is true at this moment.
pub struct Facts<'w> {
    /// True time.
    pub now: Micros,
    /// The configuration.
    pub config: &'static Config,
    /// All hosts.
    pub hosts: &'w Table<Host>,
    /// All guests.
    pub guests: &'w Table<Guest>,
    /// What else may write.
    pub writers: &'w [Writer],
    /// The network of the DLMs.
    pub wires: &'w Wires,
}

impl Facts<'_> {
    /// Whether this incarnation of a node may still write: its memory may run, or its host holds I/O of it.
    #[must_use]
    pub fn can_write(&self, node: u8, incarnation: u64) -> bool {
        let guest = self.guests.get(&node).is_some_and(|guest| guest.incarnation == incarnation && guest.runs_on());
        let is_it = |writer: &&Writer| writer.node == node && writer.incarnation == incarnation;
        guest || self.writers.iter().filter(is_it).any(|writer| writer.until.is_none_or(|until| until > self.now))
    }
}

/// What is true, and what was claimed.
pub struct Truth {
    /// Who owns which service.
    pub owners: groups::Owners,
    line: line::Line,
    quorum: quorum::Quorum,
    born: BTreeMap<(u8, u64), rows::Born>,
    /// When the decision about a host was committed first.
    condemned_at: BTreeMap<u8, Micros>,
    /// When a view made the present appliance of a host a member first.
    member_at: BTreeMap<u8, Micros>,
    /// The random part of the last cluster incarnation that began without the memory of any other one.
    pub root: u32,
    /// Every incarnation that a committed view called down: when that was.
    pub confirmed: BTreeMap<(u8, u64), Micros>,
    /// How often an appliance came to lead.
    pub elections: u64,
    /// Every NODE_DOWN that a node was told: when, by whom received, about whom, which incarnation.
    pub downs: Vec<(Micros, u8, u8, u64)>,
    /// Nodes that were reset, or killed by their guard's lease.
    pub resets: Vec<(Micros, u8)>,
    /// Orders that devices of hosts got: when, by which executor, about which host, what.
    pub orders: Vec<(Micros, u8, u8, Action)>,
    /// Appliances that are on the larger side of a cut, if there is one: only they may give orders (S4).
    pub quorum_side: Option<Vec<u8>>,
    /// Devices that switched a host off which was a member at that moment: when, which host (F1 duplicates).
    pub false_kills: Vec<(Micros, u8)>,
    /// Of two votes both were switched off by devices, and nobody is left to turn one on again (SAFETY D3): when.
    pub both_off: Vec<Micros>,
    /// Of which incarnations an operator said that they are off, and they were not: what follows is his.
    pub lied: BTreeSet<(u8, u64)>,
    /// How often a view called somebody down because an operator said so, who was not.
    pub lies: u64,
    /// What operators were promised: when, by which host, about whom, in which version.
    pub promises: Vec<(Micros, u8, Target, u64)>,
    /// What was reached.
    pub coverage: Coverage,
    /// Of two votes: when a device switched it off last.
    switched: BTreeMap<u8, Micros>,
    leading: BTreeSet<(u8, u32)>,
    /// Every appliance that a committed view ever named as a member.
    admitted: BTreeSet<(u8, Incarnation)>,
}

impl Truth {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(config: &'static Config) -> Self {
        Self {
            owners: groups::Owners::default(),
            line: line::Line::default(),
            quorum: quorum::Quorum::new(config),
            born: BTreeMap::new(),
            condemned_at: BTreeMap::new(),
            member_at: BTreeMap::new(),
            root: 0,
            confirmed: BTreeMap::new(),
            elections: 0,
            downs: Vec::new(),
            resets: Vec::new(),
            orders: Vec::new(),
            quorum_side: None,
            false_kills: Vec::new(),
            both_off: Vec::new(),
            lied: BTreeSet::new(),
            lies: 0,
            promises: Vec::new(),
            coverage: Coverage::default(),
            switched: BTreeMap::new(),
            leading: BTreeSet::new(),
            admitted: BTreeSet::new(),
        }
    }

    /// A guest booted: from now on this incarnation may write.
    pub fn born(&mut self, guest: &Guest) {
        self.born.insert((guest.node, guest.incarnation), rows::Born::of(guest));
    }

    /// An appliance became something else.
    pub fn role(&mut self, host: u8, life: u32, before: Role, now: Role) {
        self.coverage.role(before, now);
        if now == Role::Leader && self.leading.insert((host, life)) {
            self.elections += 1;
        } else if now != Role::Leader {
            self.leading.remove(&(host, life));
        }
    }

    /// An appliance accepted a state.
    pub fn accepted(&mut self, host: u8, incarnation: u64, slot: (Ballot, u64)) {
        self.quorum.accepted(host, incarnation, slot);
    }

    /// An appliance declares a view committed.
    pub fn committed(&mut self, facts: &Facts<'_>, host: &Host, view: &State) {
        if view.version == 0 || !self.line.declared(facts.now, host, view, || self.quorum.chosen()) {
            return;
        }
        if self.line.just_forgot() {
            self.owners.forget_tokens();
        }
        let before = self.line.newest();
        self.quorum.committed(facts, host, before, view);
        let members = view.hosts().filter(|(_, row)| row.state == HostState::Member);
        self.admitted.extend(members.map(|(host, row)| (host.get(), row.incarnation)));
        if let Some(before) = before.filter(|before| before.cluster == view.cluster) {
            rows::check(facts, &self.born, before, view);
        }
        if !view.before.is_some() {
            self.root = view.cluster.random;
        }
        self.note_changes(facts, view);
        self.line.set_newest(view);
    }

    /// What this view changes is what is held against the truth.
    fn note_changes(&mut self, facts: &Facts<'_>, view: &State) {
        let empty = Box::new(State::EMPTY);
        let before = self.line.newest().unwrap_or(&empty);
        self.coverage.view(before, view);
        cuts::check(facts, before, view);
        let mut dead = Vec::new();
        for (node, row) in view.nodes() {
            let old = before.node(node);
            if row.dead != old.dead && row.dead != 0 {
                dead.push((node.get(), row.dead, row.class));
            }
            if row.state == NodeState::Down && (old.state != NodeState::Down || old.incarnation != row.incarnation) {
                dead.push((node.get(), row.incarnation, row.class));
            }
        }
        let mut hosts = Vec::new();
        for (host, row) in view.hosts() {
            let old = before.host(host);
            if row.state == HostState::Member && (old.state != row.state || old.incarnation != row.incarnation) {
                self.member_at.insert(host.get(), facts.now);
            }
            if row.state == HostState::Condemned && old.state != HostState::Condemned {
                hosts.push((host, true));
            } else if row.state == HostState::Down && old.state != HostState::Down {
                hosts.push((host, false));
            }
        }
        for (node, incarnation, class) in dead {
            if class == Class::Operator as u8 && self.lied.contains(&(node, incarnation)) {
                self.lies += u64::from(!self.confirmed.contains_key(&(node, incarnation)));
            } else {
                writers::confirmed(facts, node, incarnation);
            }
            self.confirmed.entry((node, incarnation)).or_insert(facts.now);
        }
        for (host, condemned) in hosts {
            if condemned {
                self.condemned_at.insert(host.get(), facts.now);
            } else {
                // One of two is switched off before anything is committed (SAFETY D1): since it was a member.
                let of_two = self.quorum.is_one_of_two(host.get());
                let since = if of_two { &self.member_at } else { &self.condemned_at };
                let since = since.get(&host.get()).copied().unwrap_or(0);
                writers::host_down(facts, &self.confirmed, &self.lied, host, since);
            }
        }
    }

    /// A node is told something about another one.
    pub fn told(&mut self, facts: &Facts<'_>, who: u8, message: &Message) {
        let Message::NodeDown(event) = message else { return };
        let (about, version) = (event.node, event.version);
        assert!(
            self.line.reaches(version),
            "S6: node {who} is told at {} us that {about} is down in version {version}, which nobody committed",
            facts.now
        );
        let key = (event.node.get(), event.incarnation);
        if event.class != Some(Class::Operator) || !self.lied.contains(&key) {
            writers::told(facts, who, key);
        }
        self.downs.push((facts.now, who, key.0, key.1));
    }

    /// An appliance says something to a node of its host. `before`: what it had declared committed before this turn.
    pub fn says(&self, now: Micros, before: Key, view: Option<&State>, guest: &Guest, bytes: &[u8]) {
        let Some(view) = view else { return };
        speech::check(now, before, view, &self.born, guest, bytes);
    }

    /// A device of a host gets an order, by this appliance.
    pub fn ordered(&mut self, now: Micros, (executor, life): (u8, Incarnation), target: u8, action: Action) {
        if let Some(side) = &self.quorum_side {
            assert!(side.contains(&executor), "S4: host {executor} ordered {action:?} of {target} at {now} us");
        }
        if action == Action::Off {
            // With two votes one side may do so without a view, but only with the memory of what was committed (SAFETY D2).
            let admitted = self.quorum.is_one_of_two(target) && self.admitted.contains(&(executor, life));
            let known = self.condemned_at.contains_key(&target) && !self.quorum.is_one_of_two(target);
            assert!(
                known || admitted,
                "S4: host {executor} ordered {target} off at {now} us, and no view ever condemned it, or admitted {life:x}"
            );
        }
        self.orders.push((now, executor, target, action));
    }

    /// A device switches a host off.
    pub fn hit(&mut self, now: Micros, hosts: &Table<Host>, host: u8) {
        let host = &hosts[&host];
        let id = HostId::new(host.id);
        let is_off = |other: &&Host| other.power == Power::Off && other.off_at == self.switched.get(&other.id).copied();
        if host.power == Power::On && self.quorum.is_one_of_two(host.id) {
            let voters = hosts.values().filter(|other| other.id != host.id && self.quorum.is_one_of_two(other.id));
            self.both_off.extend(voters.filter(is_off).map(|_| now));
            self.switched.insert(host.id, now);
        }
        // Of two votes one is switched off without a view; who may do that is looked at when it orders it.
        if kills::is_false(self.line.newest(), host, id) && !self.quorum.is_one_of_two(host.id) {
            self.false_kills.push((now, host.id));
        }
    }

    /// An operator is promised that a target is fenced.
    pub fn promised(&mut self, now: Micros, host: u8, target: Target, version: u64) {
        self.line.promised(now, target, version);
        self.promises.push((now, host, target, version));
    }

    /// How many states were committed.
    #[must_use]
    pub fn views(&self) -> usize {
        self.line.len()
    }

    /// Whether there was ever a cold start.
    #[must_use]
    pub fn began_anew(&self) -> bool {
        self.line.begun() > 1
    }

    /// The newest view that anybody declared committed.
    #[must_use]
    pub fn newest(&self) -> Option<&State> {
        self.line.newest()
    }

    /// How many were told that this node is down, since a time.
    #[must_use]
    pub fn told_down(&self, node: u8, since: Micros) -> usize {
        self.downs.iter().filter(|(at, _, about, _)| *about == node && *at >= since).count()
    }
}
