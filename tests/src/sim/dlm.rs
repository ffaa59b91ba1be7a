//! What a guest's kernel does with its volumes: DLM, journals and named services, as far as fencing concerns them.
//!
//! Owns each guest's side of the groups (a model of the shim that obeys SAFETY G5). A journal is
//! dirty from the start of a member until it leaves, or until somebody replays it. Whoever got a recovery replays it;
//! the others wait, since OCFS2 grants nothing of a dead node before. What is wrong is the checkers' to say.

mod disk;
mod report;

pub use disk::Disk;

use super::World;
use super::check::groups::Running;
use super::wires::Peers;
use palisade_core::config::Ip;
use palisade_core::id::{Label, Volume};
use palisade_core::state::takeovers::Progress;
use palisade_core::wire::node::Dlm as Address;
use palisade_core::wire::node::{Fate, Given, Group, Message, StartNode, Takeover, What};
use std::collections::{BTreeMap, BTreeSet};

/// Time by the guest's own clock, microseconds.
type Own = u64;

/// How often a JOIN or LEAVE is said again.
const ASK: Own = 200_000;
/// How often something that is waited for is looked at again.
const LOOK: Own = 20_000;

/// How far a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Joining,
    Open,
    Leaving,
}

/// A volume in a guest.
#[derive(Clone, Debug)]
struct Mount {
    phase: Phase,
    ask_at: Own,
    /// The last generation that it stopped for.
    stopped: u64,
    /// With what it runs.
    running: Option<Running>,
    /// The set that it had last: whoever is missing from the next one needs a fate.
    set: BTreeMap<u8, u64>,
    /// The generation of the START with which it ran last, and all that it said.
    started: u64,
    told: Vec<StartNode>,
    /// Parts of a START that is not whole yet.
    parts: BTreeMap<u16, Vec<StartNode>>,
    /// Whose deaths its present START told.
    deaths: BTreeSet<u8>,
    recover_at: Own,
    recovered: u64,
}

impl Mount {
    const fn new() -> Self {
        Self {
            phase: Phase::Joining,
            ask_at: 0,
            stopped: 0,
            running: None,
            set: BTreeMap::new(),
            started: 0,
            told: Vec::new(),
            parts: BTreeMap::new(),
            deaths: BTreeSet::new(),
            recover_at: 0,
            recovered: 0,
        }
    }
}

/// A service that was given to a guest.
#[derive(Clone, Debug)]
struct Work {
    given: Given,
    done_at: Own,
    /// Answered: it is taken, or it failed.
    answer: Option<bool>,
}

/// Something that the channel brought.
#[derive(Clone, Debug)]
pub enum Heard {
    /// About a group; a START with its entries.
    Group(Group, Vec<StartNode>),
    /// About a takeover.
    Takeover(Takeover),
}

/// A guest's DLM.
#[derive(Clone, Debug, Default)]
pub struct Dlm {
    /// The volumes that its workload wants to have open; a boot does not change that.
    pub wants: BTreeSet<u8>,
    /// Where the nodes' DLMs listen, as it was told in this boot, and how often each was told.
    pub addresses: BTreeMap<u8, Ip>,
    /// See `addresses`.
    pub told: BTreeMap<u8, u32>,
    /// In which cluster it wants them, where it says so.
    clusters: BTreeMap<u8, Label>,
    /// Its worker hangs: the guest beats, and does no step of any barrier (SAFETY G4). A boot ends it.
    pub stuck: bool,
    /// It does nothing about what it was given, and says nothing. A boot ends it.
    pub slow: bool,
    /// Now and then it fails at what it was given; a boot does not change that.
    pub fails: bool,
    /// Whom it reaches.
    pub peers: Peers,
    mounts: BTreeMap<u8, Mount>,
    works: Vec<Work>,
    heard: Vec<Heard>,
    pub(super) say: Vec<Message>,
}

/// The volume with this number, as frames name it.
#[must_use]
pub const fn label(volume: u8) -> Volume {
    Label([volume; 16])
}

fn group(message: Group) -> Message {
    Message::Group(message)
}

impl Dlm {
    /// Its memory is lost: nothing is open any more, and nobody cleaned up.
    pub fn lose(&mut self) {
        *self = Self {
            wants: std::mem::take(&mut self.wants),
            clusters: std::mem::take(&mut self.clusters),
            fails: self.fails,
            peers: self.peers.booted(),
            ..Self::default()
        };
    }

    /// A frame came on the session.
    pub fn hear(&mut self, message: &Message, payload: &[u8]) {
        match message {
            Message::Group(group) => {
                let entries = payload.chunks_exact(StartNode::BYTES).map(StartNode::parse);
                self.heard.push(Heard::Group(*group, entries.map_while(Result::ok).collect()));
            }
            Message::Takeover(takeover) => self.heard.push(Heard::Takeover(*takeover)),
            Message::Dlm(Address::Address { node, address, .. }) => {
                *self.told.entry(node.get()).or_default() += 1;
                self.addresses.insert(node.get(), *address);
            }
            _ => {}
        }
    }

    /// With what this volume runs here, if it does.
    #[must_use]
    pub fn running(&self, volume: u8) -> Option<&Running> {
        self.mounts.get(&volume).and_then(|mount| mount.running.as_ref())
    }

    /// The set that each volume runs with, or ran with until it was stopped.
    pub fn sets(&self) -> impl Iterator<Item = (u8, &BTreeMap<u8, u64>)> {
        self.mounts.iter().map(|(&volume, mount)| (volume, &mount.set))
    }

    /// Whether it has just what it wants, and all of that runs and is recovered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_open = |volume: &u8| {
            let mount = self.mounts.get(volume);
            let done = |mount: &Mount| {
                mount.phase == Phase::Open
                    && mount.running.as_ref().is_some_and(|running| running.generation == mount.recovered)
            };
            mount.is_some_and(done)
        };
        self.wants.len() == self.mounts.len()
            && self.wants.iter().all(is_open)
            && self.works.iter().all(|work| work.answer.is_some())
    }

    /// Whether it has nothing open.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.mounts.is_empty()
    }

    /// When it is to be called again if nothing comes.
    #[must_use]
    pub fn due(&self) -> Own {
        if self.stuck {
            return Own::MAX;
        }
        let mut due = Own::MAX;
        for volume in &self.wants {
            if !self.mounts.contains_key(volume) {
                due = 0;
            }
        }
        for (volume, mount) in &self.mounts {
            if mount.phase != Phase::Open || !self.wants.contains(volume) {
                due = due.min(mount.ask_at);
            }
            if mount.running.as_ref().is_some_and(|running| running.generation != mount.recovered) {
                due = due.min(mount.recover_at);
            }
        }
        let works = self.works.iter().filter(|work| work.answer.is_none() && !self.slow).map(|work| work.done_at);
        works.fold(due.min(self.peers.due()), Own::min)
    }

    fn stop(&mut self, volume: u8, generation: u64) {
        let stopped = group(Group::Stopped { volume: label(volume), generation });
        let Some(mount) = self.mounts.get_mut(&volume) else { return self.say.push(stopped) };
        let runs = mount.running.as_ref().map(|running| running.generation);
        if generation < mount.stopped || runs == Some(generation) {
            return;
        }
        mount.stopped = generation;
        mount.running = None;
        mount.parts.clear();
        self.say.push(stopped);
    }

    /// A part of a START. The whole of it, once all parts are there.
    fn start(
        &mut self,
        volume: u8,
        generation: u64,
        (part, parts): (u16, u16),
        entries: Vec<StartNode>,
    ) -> Option<Vec<StartNode>> {
        let mount = self.mounts.get_mut(&volume)?;
        if generation != mount.stopped {
            return None;
        }
        if mount.running.is_some() {
            self.say.push(group(Group::Started { volume: label(volume), generation }));
            if mount.recovered == generation {
                self.say.push(group(Group::Recovered { volume: label(volume), generation }));
            }
            return None;
        }
        mount.parts.insert(part, entries);
        if mount.parts.len() < usize::from(parts) {
            return None;
        }
        Some(std::mem::take(&mut mount.parts).into_values().flatten().collect())
    }
}

impl World {
    /// A guest's DLM takes what came and does what is due.
    pub(super) fn dlm_turn(&mut self, node: u8) {
        let now = self.now;
        let guest = self.guests.get_mut(&node).expect("a configured node");
        if !guest.works() || !guest.has_session() || guest.dlm.stuck {
            return guest.dlm.heard.clear();
        }
        let own = guest.clock.at(now);
        let heard = std::mem::take(&mut guest.dlm.heard);
        for heard in heard {
            match heard {
                Heard::Group(message, entries) => self.dlm_hears(node, own, &message, entries),
                Heard::Takeover(Takeover::Give(given)) => self.is_given(node, own, given),
                Heard::Takeover(_) => {}
            }
        }
        self.mounts_turn(node, own);
        self.works_turn(node, own);
        self.wires_turn(node, own);
        let guest = self.guests.get_mut(&node).expect("a configured node");
        for message in std::mem::take(&mut guest.dlm.say) {
            guest.says(&message);
        }
    }

    fn dlm_hears(&mut self, node: u8, own: Own, message: &Group, entries: Vec<StartNode>) {
        let dlm = &mut self.guests.get_mut(&node).expect("a configured node").dlm;
        match *message {
            Group::Stop { volume, generation } => dlm.stop(volume.0[0], generation),
            Group::Start { volume, generation, part, parts } => {
                let volume = volume.0[0];
                if let Some(entries) = dlm.start(volume, generation, (part, parts), entries) {
                    self.dlm_starts(node, own, volume, generation, &entries);
                }
            }
            Group::Leave { volume } => {
                let volume = volume.0[0];
                if dlm.mounts.get(&volume).is_some_and(|mount| mount.phase == Phase::Leaving) {
                    dlm.mounts.remove(&volume);
                }
            }
            _ => {}
        }
    }

    fn dlm_starts(&mut self, node: u8, own: Own, volume: u8, generation: u64, entries: &[StartNode]) {
        let such = |fate: Fate| entries.iter().filter(move |entry| entry.fate == fate);
        let set: BTreeMap<u8, u64> = such(Fate::Member).map(|entry| (entry.node.get(), entry.incarnation)).collect();
        let deaths: BTreeSet<u8> = such(Fate::Dead).map(|entry| entry.node.get()).collect();
        let incarnation = self.guests[&node].incarnation;
        if set.get(&node) != Some(&incarnation) {
            return;
        }
        self.note(|| format!("node {node} starts volume {volume} at {generation:x} with {set:x?}, dead {deaths:?}"));
        self.disk.starts += 1;
        let line = self.truth.root;
        self.disk.lines.entry(incarnation).or_insert(line);
        // Where no memory is left of those before, nobody can name the dead.
        let fresh = |(node, _): (&u8, &u64)| {
            let mount = self.guests[node].dlm.mounts.get(&volume);
            mount.is_none_or(|mount| mount.phase == Phase::Joining && mount.set.is_empty())
        };
        if set.iter().all(fresh) {
            self.disk.mount_first(volume, line);
        }
        let running = Running { generation, set: set.clone() };
        let starter = (node, incarnation);
        self.mount_finds_journals(node, volume, generation, &set);
        let before = &self.guests[&node].dlm.mounts[&volume].set;
        let told: BTreeSet<u8> = entries.iter().filter(|e| e.fate != Fate::Member).map(|e| e.node.get()).collect();
        // Of whom an operator said that he is off, nothing is demanded any more.
        if !self.guests[&node].lied_about {
            let guests = self.guests.values();
            super::check::groups::starts(self.now, guests, &self.disk, starter, volume, &running, &deaths);
        }
        super::check::groups::knows_fates(self.now, starter, volume, before, &set, &told);
        let delay = match self.random() % 8 {
            0 => self.random() % 2_000_000,
            _ => self.random() % 50_000,
        };
        let mount = self.guests.get_mut(&node).and_then(|guest| guest.dlm.mounts.get_mut(&volume));
        let mount = mount.expect("it is being started");
        mount.set = set;
        mount.started = generation;
        mount.told = entries.to_vec();
        mount.running = Some(running);
        mount.deaths = deaths;
        mount.recover_at = own + delay;
        if mount.phase == Phase::Joining {
            mount.phase = Phase::Open;
        }
        if mount.phase == Phase::Open {
            self.disk.open(volume, node, incarnation);
        }
        let dlm = &mut self.guests.get_mut(&node).expect("a configured node").dlm;
        dlm.say.push(group(Group::Started { volume: label(volume), generation }));
    }

    /// OCFS2 looks at every slot when it mounts: of a volume that nobody in the set ran before, whoever mounts it finds what
    /// others left in their journals. That is what is left when a cold start forgot a group that nobody reported.
    fn mount_finds_journals(&mut self, node: u8, volume: u8, generation: u64, set: &BTreeMap<u8, u64>) {
        let mounts = |node: u8| self.guests[&node].dlm.mounts.get(&volume);
        let is_new = |mount: &Mount| mount.phase == Phase::Joining && mount.started == 0;
        let ran = |other: u8| mounts(other).is_some_and(|mount| mount.started != 0 && mount.started != generation);
        let all_new = mounts(node).is_some_and(is_new) && !set.keys().any(|&other| ran(other));
        if !all_new || !self.truth.began_anew() {
            return;
        }
        let writes = |dead: u8, left: u64| {
            let guest = &self.guests[&dead];
            guest.incarnation == left && guest.can_write()
        };
        let dirty: Vec<(u8, u64)> = self.disk.dirty(volume).filter(|&(dead, left)| !writes(dead, left)).collect();
        for (dead, left) in dirty {
            self.note(|| format!("node {node} mounts volume {volume} and finds the journal of node {dead} ({left:x})"));
            self.disk.close(volume, dead, left);
        }
    }

    fn mounts_turn(&mut self, node: u8, own: Own) {
        let apart: Vec<u8> =
            self.guests[&node].dlm.mounts.keys().copied().filter(|&volume| !self.reaches_all(node, volume)).collect();
        let disk = &mut self.disk;
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let incarnation = guest.incarnation;
        let dlm = &mut guest.dlm;
        for volume in dlm.wants.clone() {
            dlm.mounts.entry(volume).or_insert_with(Mount::new);
        }
        for (&volume, mount) in &mut dlm.mounts {
            let name = label(volume);
            let done = mount.running.as_ref().is_some_and(|running| running.generation == mount.recovered);
            if mount.phase == Phase::Open && !dlm.wants.contains(&volume) && done {
                // OCFS2 closes its journal before it leaves the lockspace.
                mount.phase = Phase::Leaving;
                disk.close(volume, node, incarnation);
            }
            if mount.phase != Phase::Open && own >= mount.ask_at {
                mount.ask_at = own + ASK;
                dlm.say.push(group(match mount.phase {
                    Phase::Leaving => Group::Leave { volume: name },
                    _ => Group::Join { cluster: dlm.clusters.get(&volume).copied().unwrap_or_default(), volume: name },
                }));
            } else if mount.phase == Phase::Open && own >= mount.ask_at {
                mount.ask_at = own + LOOK;
            }
            let Some(running) = mount.running.as_ref().filter(|_| !done && own >= mount.recover_at) else { continue };
            let waits = disk
                .dirty(volume)
                .any(|(dead, left)| mount.deaths.contains(&dead) && running.set.get(&dead) != Some(&left));
            mount.recover_at = own + LOOK;
            if !waits && !apart.contains(&volume) {
                mount.recovered = running.generation;
                dlm.say.push(group(Group::Recovered { volume: name, generation: running.generation }));
            }
        }
    }

    /// A guest is given a service. It never begins one below what it has seen of it, nor again what it failed at (SAFETY I1).
    fn is_given(&mut self, node: u8, own: Own, given: Given) {
        let incarnation = self.guests[&node].incarnation;
        let delay = self.random() % 30_000;
        let dlm = &mut self.guests.get_mut(&node).expect("a configured node").dlm;
        let known = dlm.works.iter_mut().find(|work| (work.given.what, work.given.dead) == (given.what, given.dead));
        match known {
            Some(work) if given.token < work.given.token => return,
            Some(work) if given.token == work.given.token => {
                if let Some(taken) = work.answer {
                    let make = if taken { Takeover::Taken } else { Takeover::Failed };
                    dlm.say.push(Message::Takeover(make(given)));
                }
                return;
            }
            Some(work) => *work = Work { given, done_at: own + delay, answer: None },
            None => dlm.works.push(Work { given, done_at: own + delay, answer: None }),
        }
        self.note(|| format!("node {node} is given {given:x?}"));
        self.truth.owners.given(self.now, self.guests.values(), (node, incarnation), &given);
    }

    fn works_turn(&mut self, node: u8, own: Own) {
        if self.guests[&node].dlm.slow {
            return;
        }
        let fails = self.guests[&node].dlm.fails && self.random().is_multiple_of(6);
        let incarnation = self.guests[&node].incarnation;
        let apart: Vec<u8> =
            self.guests[&node].dlm.mounts.keys().copied().filter(|&volume| !self.reaches_all(node, volume)).collect();
        let dlm = &mut self.guests.get_mut(&node).expect("a configured node").dlm;
        for work in dlm.works.iter_mut().filter(|work| work.answer.is_none() && own >= work.done_at) {
            let given = work.given;
            let taken = match given.what {
                _ if fails => false,
                What::Named(_) => true,
                What::Recovery(volume) => {
                    let volume = volume.0[0];
                    let dead = given.dead.get();
                    let mount = dlm.mounts.get(&volume).filter(|mount| mount.deaths.contains(&dead));
                    let Some(running) =
                        mount.and_then(|mount| mount.running.as_ref()).filter(|_| !apart.contains(&volume))
                    else {
                        work.done_at = own + LOOK;
                        continue;
                    };
                    self.disk.replay(volume, dead, running.set.get(&dead).copied().unwrap_or(0));
                    true
                }
            };
            work.answer = Some(taken);
            match given.what {
                _ if !taken => self.truth.owners.failed((node, incarnation), &given),
                What::Recovery(_) => self.truth.owners.recovered((node, incarnation), &given),
                What::Named(_) => {}
            }
            let make = if taken { Takeover::Taken } else { Takeover::Failed };
            dlm.say.push(Message::Takeover(make(given)));
        }
    }

    /// What is not settled about volumes, for a person.
    #[must_use]
    pub fn volumes_unrest(&self) -> String {
        let takeovers = self.truth.newest().map(|view| view.takeovers.rows()).unwrap_or_default();
        let open: Vec<_> = takeovers.iter().filter(|row| row.progress != Progress::Taken).collect();
        let takeovers = if open.is_empty() { String::new() } else { format!("; takeovers {open:x?}") };
        let unsettled = self.guests.values().filter(|guest| !guest.dlm.is_settled());
        takeovers
            + &unsettled.map(|guest| format!("; volumes of node {}: {:x?}", guest.node, guest.dlm)).collect::<String>()
    }

    /// Whether every guest has open just what it wants, with one set for each volume.
    #[must_use]
    pub fn volumes_settled(&self) -> bool {
        let mut sets: BTreeMap<u8, BTreeMap<u8, u64>> = BTreeMap::new();
        for guest in self.guests.values() {
            for &volume in &guest.dlm.wants {
                sets.entry(volume).or_default().insert(guest.node, guest.incarnation);
            }
        }
        let takeovers = self.truth.newest().map(|view| view.takeovers.rows()).unwrap_or_default();
        let all_taken = takeovers.iter().all(|row| row.progress == Progress::Taken);
        all_taken
            && self.guests.values().all(|guest| {
                let same = |volume: &u8| guest.dlm.running(*volume).map(|running| &running.set) == sets.get(volume);
                guest.dlm.is_settled() && guest.dlm.wants.iter().all(same)
            })
    }

    /// At first, every guest wants the first volume, and some the second.
    pub fn workloads_begin(&mut self) {
        for node in self.guests.values().map(|guest| guest.node).collect::<Vec<_>>() {
            self.wants(node, 1, true);
            self.guests.get_mut(&node).expect("a configured node").dlm.fails = true;
            if self.random().is_multiple_of(2) {
                self.wants(node, 2, true);
            }
        }
    }

    /// Now and then a workload opens or closes a volume, and a worker hangs.
    pub fn workloads_change(&mut self) {
        for node in self.guests.values().map(|guest| guest.node).collect::<Vec<_>>() {
            match self.random() % 12 {
                volume @ 1..=2 => {
                    let volume = u8::try_from(volume).expect("small");
                    let wanted = self.guests[&node].dlm.wants.contains(&volume);
                    self.wants(node, volume, !wanted);
                }
                3 if self.random().is_multiple_of(8) => {
                    self.note(|| format!("node {node}: the worker hangs"));
                    self.guests.get_mut(&node).expect("a configured node").dlm.stuck = true;
                }
                _ => {}
            }
        }
    }

    /// Workers that hang go on.
    pub fn workers_go_on(&mut self) {
        self.guests.values_mut().for_each(|guest| guest.dlm.stuck = false);
    }

    /// A guest's workload wants a volume, or wants it no more.
    pub fn wants(&mut self, node: u8, volume: u8, wanted: bool) {
        self.note(|| format!("node {node} wants volume {volume}: {wanted}"));
        let dlm = &mut self.guests.get_mut(&node).expect("a configured node").dlm;
        if wanted {
            dlm.wants.insert(volume);
        } else {
            dlm.wants.remove(&volume);
        }
        self.dlm_turn(node);
        self.after_guest(node);
        self.node_wakes(node);
    }

    /// A guest's workload wants a volume of this cluster.
    pub fn wants_in(&mut self, node: u8, volume: u8, cluster: &str) {
        let name = Label::named(cluster);
        self.guests.get_mut(&node).expect("a configured node").dlm.clusters.insert(volume, name);
        self.wants(node, volume, true);
    }

    /// How far a volume's barrier is in the newest view, and its generation; `None`: nobody has it open.
    #[must_use]
    pub fn barrier(&self, volume: u8) -> Option<(palisade_core::state::groups::Phase, u64)> {
        let view = self.truth.newest()?;
        let group = view.groups.of(label(volume))?;
        let row = view.groups.get(group);
        Some((row.phase, row.generation))
    }
}
