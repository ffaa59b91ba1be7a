//! One long story, drawn from a seed: safety with faults, then liveness without.
//!
//! Owns how a story goes: steps with one to three faults each, what ends them, and the peace after. Which faults there are
//! is in `faults`. In three stories of four never fewer than a quorum of votes are left with memory, nor two appliances without
//! memory: that would be a cold start. In the fourth any number may lose it at any time. What is wrong is the checkers' to say; the story itself demands that all is up in the end (L1), that all
//! appliances and nodes know the same (L2), and that few were killed for nothing.

mod faults;
mod leave;
mod people;
mod wires;

use super::check::Key;
use super::config::Shape;
use super::coverage::Coverage;
use super::{Bmc, Habit, Host, Micros, Mood, Pipe, Power, Stop, Trace, World};
use palisade_core::fencing::Action;
use palisade_core::status::HostState;
use palisade_core::wire::node::NodeState;
use std::collections::{BTreeMap, BTreeSet};

/// Steps of a story.
const STEPS: u64 = 4;
/// Silence shorter than this is nobody's death: `host_dead_ms` is 1000, less a heartbeat.
const SHORT_MS: u64 = 700;
/// Messages between guests at a time.
const LETTERS: u64 = 3;
/// Whoever waits for a message's end in peace hears it within this: what a stream may be silent, and some more.
const LETTERS_MS: u64 = palisade_core::limits::STREAM_SILENCE_MS as u64 + 5_000;
/// How long a fault may take to cost its victim's memory: an operator's order waits five seconds for a leader.
const RISK: Micros = 8_000_000;
/// Members that a device may switch off in one story although nobody wants that any more (SAFETY F1: an order that is out
/// when the leader changes, a BMC that acts after its attempt was given up).
const FALSE_KILLS_MAX: usize = 4;

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Microseconds of true time.
    pub micros: u64,
    /// How often each kind of fault and event happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// What was reached.
    pub coverage: Coverage,
}

/// Every so many seeds there are only two hosts with nodes, and mostly two votes.
const TWO_EVERY: u64 = 16;

/// How many hosts the run of this seed has: 2 to 16, mostly few, because the cost grows with their square.
#[must_use]
pub fn hosts_of(seed: u64) -> u8 {
    const HOSTS: [u8; 32] =
        [3, 3, 5, 3, 4, 3, 7, 5, 3, 6, 3, 3, 5, 4, 3, 9, 5, 3, 8, 3, 5, 3, 4, 11, 3, 5, 3, 7, 10, 3, 3, 0];
    const MANY: [u8; 5] = [12, 13, 14, 15, 16];
    let pick = |list: &[u8], number: u64| list[usize::try_from(number).unwrap_or(0) % list.len()];
    if seed % TWO_EVERY == 1 {
        return pick(&[2, 2, 3, 2, 3], seed / TWO_EVERY);
    }
    match pick(&HOSTS, seed % 32) {
        0 => pick(&MANY, seed / 32 % 5),
        hosts => hosts,
    }
}

/// What the cluster of this seed looks like, if nobody says how many hosts and nodes it has.
#[must_use]
pub fn shape_of(seed: u64, hosts: Option<u8>, nodes: Option<u8>) -> Shape {
    let hosts = hosts.unwrap_or_else(|| hosts_of(seed));
    let few = match seed % 11 {
        3 => 2,
        7 => 3,
        10 if hosts <= 4 => 8,
        _ => 1,
    };
    let room = u8::MAX / hosts;
    // Two hosts with nodes: alone, with a third one that has no vote, or with a witness that has one.
    let of_two = hosts == 2 || (hosts == 3 && seed % TWO_EVERY == 1);
    let witness = if of_two {
        hosts == 3 && (seed / TWO_EVERY).is_multiple_of(2)
    } else {
        hosts.is_multiple_of(2) && seed.is_multiple_of(3)
    };
    let votes = match hosts {
        _ if of_two && !witness => 2,
        _ if hosts.is_multiple_of(2) => hosts - 1,
        _ => hosts,
    };
    let nodes = nodes.unwrap_or(few).clamp(1, room.clamp(1, 8));
    Shape { hosts, votes, nodes, witness, outlets: seed % 5 == 1 && hosts <= 170, services: seed % 3 == 1 }
}

/// What ends it, and when.
type Ends = Vec<(Micros, Heal)>;

/// What ends a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heal {
    Network,
    Wires,
    Freeze(u8),
    Suspend(u8),
    Appliance(u8),
    Cont(u8),
    Reboot(u8),
    Power(u8),
}

/// Whatever happens in the first half, all is up in the end.
///
/// # Panics
/// When a checker finds its invariant broken, or not all is up in the end.
#[must_use]
pub fn faults_then_peace(hosts: u8, seed: u64, trace: Trace) -> Report {
    told(shape_of(seed, Some(hosts), None), seed, trace)
}

/// The same, in a cluster of this shape.
///
/// # Panics
/// As above.
#[must_use]
pub fn told(shape: Shape, seed: u64, trace: Trace) -> Report {
    at_the_edge(shape, seed, None, trace)
}

/// The same, where what comes to an appliance close to one of its timers comes exactly so many microseconds after it.
///
/// # Panics
/// As above.
#[must_use]
pub fn at_the_edge(shape: Shape, seed: u64, snap: Option<i64>, trace: Trace) -> Report {
    let mut world = World::traced(shape.config(), seed, trace);
    world.snap = snap;
    let (counts, at_risk, tainted, ends) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new(), Vec::new());
    let forgets = seed % 4 == 1;
    let mut story = Story { world, shape, seed, forgets, counts, at_risk, asked: 0, split: false, ends, tainted };
    story.begins();
    for _ in 0..STEPS {
        story.step();
    }
    story.ends();
    story.report()
}

struct Story {
    world: World,
    shape: Shape,
    seed: u64,
    /// Any number of memories may be lost.
    forgets: bool,
    counts: BTreeMap<&'static str, u64>,
    /// Hosts that may be fenced by what goes on, and until when: nobody counts on their memory.
    at_risk: BTreeMap<u8, Micros>,
    /// What operators asked for may still be under way until then.
    asked: Micros,
    /// A minority is cut off.
    split: bool,
    /// What ends, and when.
    ends: Vec<(Micros, Heal)>,
    /// Hosts whose nodes' disks do not qualify: a sick guest there costs the host.
    tainted: BTreeSet<u8>,
}

impl Story {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn random(&mut self, below: u64) -> u64 {
        self.world.random() % below.max(1)
    }

    fn one_of(&mut self, numbers: u8) -> u8 {
        u8::try_from(self.random(u64::from(numbers))).expect("few") + 1
    }

    /// As `World::run_until_true`, in coarser steps: what is asked for here costs more than what happens meanwhile.
    fn wait(&mut self, millis: u64, holds: impl Fn(&World) -> bool) -> bool {
        for _ in 0..millis / 20 {
            if holds(&self.world) {
                return true;
            }
            self.world.run_ms(20);
        }
        holds(&self.world)
    }

    fn begins(&mut self) {
        for host in 1..=self.shape.hosts {
            if self.random(12) == 0 {
                self.tainted.insert(host);
                self.world.hosts.get_mut(&host).expect("a host").disks_qualify = false;
            }
        }
        self.world.bmc_apart = self.random(2) == 0;
        self.world.workloads_begin();
        self.shims_begin();
        for node in self.world.guests.keys().collect::<Vec<_>>() {
            let habit = if self.random(2) == 0 { Habit::Drop } else { Habit::Repeat };
            self.world.guests.get_mut(&node).expect("a node").mail.habit = habit;
        }
        self.world.power_all();
        let up = self.wait(15_000, World::all_up);
        assert!(up, "seed {}: not all up in the beginning\n{}", self.seed, self.world.story());
        // Two votes are a quorum only together: nobody waits for the other one to be admitted.
        self.world.one_without_memory = self.shape.votes > 2 && !self.forgets;
        for host in 1..=self.shape.hosts {
            self.world.drift(host, i64::from(host % 3) * 1000 - 1000);
            self.mend_bmc(host);
        }
        if self.random(8) == 0 {
            self.count("edges");
            self.world.snap = Some([-1, 0, 1][usize::try_from(self.random(3)).expect("small")]);
        }
    }

    fn mend_bmc(&mut self, host: u8) {
        let span = 5_000 + self.random(1_500_000);
        self.world.bmcs.insert(host, Bmc::Works(span));
    }

    fn mend_bmcs(&mut self) {
        for host in 1..=self.shape.hosts {
            if !matches!(self.world.bmcs[&host], Bmc::Works(_)) {
                self.mend_bmc(host);
            }
        }
    }

    /// Some guests have something to say to others, and ask where somebody is.
    fn letters(&mut self) {
        let nodes = u8::try_from(self.world.guests.keys().count()).expect("at most 255 nodes");
        for _ in 0..LETTERS {
            let (from, to) = (self.one_of(nodes), self.one_of(nodes));
            if self.world.guests[&from].has_session() && from != to {
                self.world.post(from, to);
                self.world.ask_address(from, to);
            }
        }
    }

    fn step(&mut self) {
        self.world.workloads_change();
        self.letters();
        if self.random(2) == 0 {
            self.mend_bmcs();
        }
        let faults = [1, 1, 1, 2, 2, 3][usize::try_from(self.random(6)).expect("small")];
        match faults {
            2 => self.count("two faults at the same time"),
            3 => self.count("three faults at the same time"),
            _ => {}
        }
        let of_wires = self.wires();
        self.ends.extend(of_wires);
        for _ in 0..faults {
            let of_fault = self.fault(self.ends.is_empty());
            self.ends.extend(of_fault);
            self.letters();
            let apart = self.random(4) * self.random(200_000);
            self.pass(apart);
        }
        let any_short = !self.ends.is_empty();
        while let Some(end) = self.ends.iter().map(|(at, _)| *at).max() {
            self.pass(end.saturating_sub(self.world.now));
        }
        // Two short silences in a row are a long one: between them he is heard.
        let least = if any_short { 300 } else { 0 };
        let pause = least + self.random(2_000);
        self.world.run_ms(pause);
    }

    /// Time passes, and what ends meanwhile ends in time.
    fn pass(&mut self, span: Micros) {
        let until = self.world.now + span;
        self.ends.sort_unstable_by(|one, other| other.cmp(one));
        while let Some((at, heal)) = self.ends.pop_if(|(at, _)| *at <= until) {
            self.world.run_until(at.max(self.world.now));
            self.heal(heal);
        }
        self.world.run_until(until);
    }

    fn heal(&mut self, heal: Heal) {
        match heal {
            Heal::Network => {
                self.world.truth.quorum_side = None;
                self.split = false;
                self.world.each_path(|_, path| {
                    path.cut = false;
                    (path.late, path.corrupt) = (0, 0);
                });
            }
            Heal::Wires => self.world.mend_wires(),
            Heal::Freeze(host) => self.world.freeze(host, false),
            Heal::Suspend(host) => self.world.suspend(host, false),
            Heal::Appliance(host) => self.world.resume_appliance(host),
            Heal::Cont(node) => self.world.cont(node),
            Heal::Reboot(node) if self.world.guests[&node].mood == Mood::Panicked => self.world.reset_guest(node),
            Heal::Reboot(_) => {}
            Heal::Power(host) => {
                self.world.plug(host);
                self.world.power_on(host);
            }
        }
    }

    /// Whether this appliance may lose its memory, perhaps after a while; a person helps where nothing else does.
    fn may_forget(&mut self, victim: u8, patience: bool) -> bool {
        if self.forgets {
            return self.world.hosts[&victim].power == Power::On && !self.world.hosts[&victim].stands();
        }
        let (votes, tainted, at_risk) = (self.shape.votes, self.tainted.clone(), self.at_risk.clone());
        let spare = move |world: &World| {
            let is_safe =
                |host: u8| at_risk.get(&host).is_none_or(|until| *until < world.now) && !tainted.contains(&host);
            let remember = |host: u8| host != victim && is_safe(host) && world.remembers(host);
            let runs = world.hosts[&victim].power == Power::On && !world.hosts[&victim].stands();
            let count = (1..=votes).filter(|&host| remember(host) && !is_condemned(world, host)).count();
            // Of two votes one goes on alone (SAFETY D1); who has no vote needs both of them.
            let needed = if votes == 2 && victim <= votes { 1 } else { usize::from(votes / 2) + 1 };
            runs && count >= needed
        };
        let mut may = if patience { self.wait(10_000, &spare) } else { spare(&self.world) };
        if !may && patience {
            if self.random(2) == 0 {
                self.person_acknowledges();
            }
            self.mend_bmcs();
            self.person_helps();
            may = self.wait(10_000, &spare);
        }
        if may {
            self.at_risk.insert(victim, self.world.now + RISK);
        }
        may
    }

    /// A host that died with no member node on it is never fenced (SAFETY D5), so a person resets it; and a person looks
    /// after guests that somebody paused, and that nobody serves.
    fn person_helps(&mut self) {
        let stands: Vec<u8> = self.world.hosts.values().filter(|host| host.stands()).map(|host| host.id).collect();
        // Who left, and ended before it was back, is started again only with its host.
        let lost = |guest: &&super::Guest| {
            self.world.truth.newest().is_some_and(|view| {
                let left = view.node(palisade_core::id::NodeId::new(guest.node)).state == NodeState::Left;
                left && (guest.left || guest.mood != Mood::Well)
            })
        };
        let left: Vec<u8> = self.world.guests.values().filter(lost).map(|guest| guest.host).collect();
        for host in stands.into_iter().chain(left) {
            self.world.power_off(host);
            self.world.power_on(host);
            self.wait(10_000, World::all_admitted);
        }
        self.world.power_all();
        let paused = |guest: &&super::Guest| guest.mood == Mood::Paused;
        for node in self.world.guests.values().filter(paused).map(|guest| guest.node).collect::<Vec<_>>() {
            self.world.cont(node);
        }
    }

    fn ends(&mut self) {
        self.world.truth.quorum_side = None;
        self.world.each_path(|_, path| *path = super::network::QUIET);
        for host in self.world.hosts.values_mut() {
            host.pipe = Pipe::Drops;
            host.pipe_delay = 160;
        }
        self.mend_bmcs();
        self.world.mend_wires();
        self.world.workers_go_on();
        self.world.run_until(self.asked.max(self.world.now));
        self.world.forget_lies();
        if !self.wait(30_000, World::at_peace) {
            self.person_helps();
        }
        let peace = self.wait(240_000, World::at_peace);
        assert!(
            peace,
            "L1: seed {}, {:?}: not all up in the end: {}\n{}",
            self.seed,
            self.shape,
            self.world.unrest(),
            self.world.story()
        );
        // Sessions are told the whole view again within two seconds, should an event have been lost with a pipe.
        self.world.run_ms(2_500);
        let lasts = self.world.at_peace();
        assert!(
            lasts,
            "L1: seed {}, {:?}: all was up, and did not stay so: {}\n{}",
            self.seed,
            self.shape,
            self.world.unrest(),
            self.world.story()
        );
        self.all_know_the_same();
        let read = self.wait(LETTERS_MS, |world| world.letters_waiting() == 0);
        let waits = self.world.letters_unrest();
        assert!(read, "S6: seed {}: neither taken nor given up: {waits}\n{}", self.seed, self.world.story());
        let kills = &self.world.truth.false_kills;
        assert!(kills.len() <= FALSE_KILLS_MAX, "F1: seed {}: killed for nothing: {kills:?}", self.seed);
    }

    /// L2: all appliances hold the same view, and all nodes know it.
    fn all_know_the_same(&self) {
        let mut versions: Vec<Key> = Vec::new();
        for host in self.world.hosts.values() {
            versions.extend(host.view().map(|view| (view.version, view.cluster.random)));
        }
        versions.dedup();
        assert_eq!(
            versions.len(),
            1,
            "L2: seed {}: in peace, views are {versions:?}\n{}",
            self.seed,
            self.world.story()
        );
        for guest in self.world.guests.values() {
            for other in self.world.guests.values().filter(|other| other.node != guest.node) {
                let known = guest.known.get(&other.node);
                let right = known == Some(&(NodeState::Up, other.incarnation));
                let (who, whom) = (guest.node, other.node);
                assert!(right, "L2: seed {}: node {who} believes that {whom} is {known:x?}", self.seed);
            }
        }
    }

    fn report(mut self) -> Report {
        let truth = &self.world.truth;
        let orders = |wanted: Action| truth.orders.iter().filter(|(_, _, _, action)| *action == wanted).count();
        let events = [
            ("elections", usize::try_from(truth.elections).unwrap_or(usize::MAX)),
            ("views", truth.views()),
            ("NODE_DOWN told", truth.downs.len()),
            ("resets by leases", truth.resets.len()),
            ("BMC orders: off", orders(Action::Off)),
            ("BMC orders: on", orders(Action::On)),
            ("killed for nothing", truth.false_kills.len()),
            ("both of two switched off", truth.both_off.len()),
            ("operators that lied and were believed", usize::try_from(truth.lies).unwrap_or(usize::MAX)),
            ("operators' fences committed", truth.promises.len()),
            ("members' starts", usize::try_from(self.world.disk.starts).unwrap_or(usize::MAX)),
            ("services given", usize::try_from(truth.owners.given).unwrap_or(usize::MAX)),
            ("owners that failed", usize::try_from(truth.owners.failures).unwrap_or(usize::MAX)),
        ];
        let (taken, acked, gone) = self.world.letters.counts;
        let letters = [("messages taken", taken), ("messages acknowledged", acked), ("messages given up", gone)];
        for (what, count) in letters {
            *self.counts.entry(what).or_default() += count;
        }
        for (what, count) in events {
            *self.counts.entry(what).or_default() += u64::try_from(count).unwrap_or(u64::MAX);
        }
        let coverage = std::mem::take(&mut self.world.truth.coverage);
        Report { micros: self.world.now, counts: self.counts, coverage }
    }
}

/// Whether this host is condemned in any view: it will restart without memory as soon as it learns of it.
fn is_condemned(world: &World, host: u8) -> bool {
    let state = |h: &Host| h.view().map(|view| view.host(palisade_core::id::HostId::new(host)).state);
    world.hosts.values().any(|h| state(h) == Some(HostState::Condemned))
}
