//! A small world with true time, in which several real cores run: the deterministic test network.
//!
//! Owns the world: hosts, guards, guests, links, devices, and the order of events. One `u64` seed makes a run, so a failure
//! replays. The appliances are `palisade_core::engine::Engine`, the same code as in the unikernel; everything else is a
//! model of what is outside. Checkers (`check`) know the truth and never ask the core for it.

pub mod check;
pub mod config;
mod devices;
mod faults;
mod guest;
mod host;
mod journal;
mod pdu;
pub mod story;

pub use guest::{Guest, Mood};
pub use host::{Host, Power};
pub use pdu::Outlet;

use check::Truth;
use palisade_core::config::Config;
use palisade_core::engine::Boot;
use palisade_core::fencing::Verdict;
use palisade_core::id::{HostId, NodeId};
use palisade_core::io::{Input, MonitorEvent, Output, Request, Road};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Microseconds of true time.
pub type Micros = u64;

/// What the network does to one direction of one link.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Per thousand.
    pub loss: u64,
    /// Per thousand.
    pub duplicate: u64,
    /// At least this.
    pub delay: Micros,
    /// And up to this more, which reorders.
    pub spread: Micros,
    /// Nothing passes.
    pub cut: bool,
}

const QUIET: Path = Path { loss: 0, duplicate: 0, delay: 50, spread: 100, cut: false };

/// How a host's BMC behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bmc {
    /// Does what it is told, after this long.
    Works(Micros),
    /// Never answers.
    Dead,
    /// Refuses everything.
    Refuses,
}

/// What becomes of the notes that tell what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Nothing: the quickest. A run that fails is run again.
    Off,
    /// The last ones are kept for `World::story`.
    Kept,
    /// Each is printed when it is made, so that a run that panics shows all of them.
    Printed,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick { host: u8, life: u32 },
    Datagram { to: u8, bytes: Vec<u8> },
    FromGuard { host: u8, life: u32, bytes: Vec<u8> },
    ToGuard { host: u8, boot: u64, bytes: Vec<u8> },
    FromNode { node: u8, life: u32, bytes: Vec<u8> },
    ToNode { node: u8, bytes: Vec<u8> },
    DeviceDone { host: u8, life: u32, job: u32, verdict: Verdict },
    BmcActs { host: u8, on: bool },
    OutletActs { device: u16, on: bool },
    BootAppliance { host: u8, boot: u64 },
    GuardTick { host: u8, boot: u64 },
    NodeTick { node: u8, run: u32 },
    NodeBooted { node: u8, run: u32 },
    Monitor { host: u8, life: u32, slot: u8, panicked: bool },
}

/// The world.
pub struct World {
    /// True time.
    pub now: Micros,
    seed: u64,
    config: &'static Config,
    queue: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    serial: u64,
    /// By host number.
    pub hosts: BTreeMap<u8, Host>,
    /// By node number.
    pub guests: BTreeMap<u8, Guest>,
    /// By (from, to, link).
    pub paths: BTreeMap<(u8, u8, u8), Path>,
    /// By host number.
    pub bmcs: BTreeMap<u8, Bmc>,
    /// By the place of their device in the configuration.
    pub outlets: BTreeMap<u16, Outlet>,
    /// What is true, and what was claimed.
    pub truth: Truth,
    /// No appliance boots while another one that runs is not admitted: at most one at a time is without memory.
    pub one_without_memory: bool,
    notes: VecDeque<String>,
    trace: Trace,
}

impl World {
    /// A world in which every host of the configuration is powered off.
    #[must_use]
    pub fn new(config: &'static Config, seed: u64) -> Self {
        Self::traced(config, seed, Trace::Kept)
    }

    /// The same, with another treatment of its notes. What happens does not depend on it.
    #[must_use]
    pub fn traced(config: &'static Config, seed: u64, trace: Trace) -> Self {
        let hosts: BTreeMap<u8, Host> = config.hosts.iter().map(|h| (h.id, Host::new(h.id, config))).collect();
        let guests = config.nodes.iter().map(|n| (n.id, Guest::new(n.id, n.host))).collect();
        let bmcs = config.hosts.iter().map(|h| (h.id, Bmc::Works(5_000))).collect();
        let mut paths = BTreeMap::new();
        for from in hosts.keys() {
            for to in hosts.keys() {
                for link in 0..2 {
                    paths.insert((*from, *to, link), QUIET);
                }
            }
        }
        let outlets = pdu::outlets(config);
        journal::install(trace != Trace::Off);
        let (queue, notes, truth) = (BinaryHeap::new(), VecDeque::new(), Truth::default());
        let (now, serial, one_without_memory) = (0, 0, false);
        Self {
            now,
            seed,
            config,
            queue,
            serial,
            hosts,
            guests,
            paths,
            bmcs,
            outlets,
            truth,
            one_without_memory,
            notes,
            trace,
        }
    }

    /// The next number of the seed's sequence.
    pub fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn at(&mut self, when: Micros, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse((when, self.serial, event)));
    }

    fn note(&mut self, text: String) {
        let millis = self.now as f64 / 1000.0;
        match self.trace {
            Trace::Off => {}
            Trace::Printed => println!("{millis:10.3} ms  {text}"),
            Trace::Kept => {
                if self.notes.len() > 4000 {
                    self.notes.pop_front();
                }
                self.notes.push_back(format!("{millis:10.3} ms  {text}"));
            }
        }
    }

    /// The last things that happened, for a failed assertion.
    #[must_use]
    pub fn story(&self) -> String {
        let skip = self.notes.len().saturating_sub(120);
        self.notes.iter().skip(skip).cloned().collect::<Vec<_>>().join("\n")
    }

    /// Every path of a link from and to a host.
    pub fn each_path(&mut self, mut change: impl FnMut((u8, u8, u8), &mut Path)) {
        for (key, path) in &mut self.paths {
            change(*key, path);
        }
    }

    fn guard_says(&mut self, host: u8, frames: Vec<Vec<u8>>) {
        let life = self.hosts[&host].life;
        for bytes in frames {
            let delay = 100 + self.random() % 200;
            self.at(self.now + delay, Event::FromGuard { host, life, bytes });
        }
    }

    /// Lets the world run until this time.
    pub fn run_until(&mut self, end: Micros) {
        while let Some(Reverse((when, _, event))) = self.queue.pop_if_before(end) {
            self.now = self.now.max(when);
            self.step(event);
        }
        self.now = end;
    }

    /// Lets the world run on for some milliseconds.
    pub fn run_ms(&mut self, millis: u64) {
        self.run_until(self.now + millis * 1000);
    }

    /// Runs until this holds, at most so long. Whether it came to hold.
    pub fn run_until_true(&mut self, millis: u64, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + millis * 1000;
        while self.now < end {
            if holds(self) {
                return true;
            }
            self.run_until((self.now + 1000).min(end));
        }
        holds(self)
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Tick { host, life } => {
                if self.hosts[&host].life == life {
                    self.feed(host, Input::Tick);
                }
            }
            Event::Datagram { to, bytes } => self.feed(to, Input::Datagram { link: 0, bytes: &bytes }),
            Event::FromGuard { host, life, bytes } => {
                if self.hosts[&host].life == life {
                    self.feed(host, Input::Guard { bytes: &bytes });
                }
            }
            Event::ToGuard { host, boot, bytes } => self.guard_hears(host, boot, &bytes),
            Event::FromNode { node, life, bytes } => {
                let host = self.guests[&node].host;
                let slot = self.hosts[&host].slot(node);
                if self.hosts[&host].life == life {
                    self.feed(host, Input::Session { road: Road::Channel(slot), bytes: &bytes });
                }
            }
            Event::ToNode { node, bytes } => {
                let now = self.now;
                let guest = self.guests.get_mut(&node).expect("a configured node");
                let told = guest.take(now, &bytes);
                for claim in told {
                    self.note(format!("node {node} is told {claim:?}"));
                    self.truth.told(self.now, node, &claim);
                }
                self.after_guest(node);
            }
            Event::DeviceDone { host, life, job, verdict } => {
                if self.hosts[&host].life == life {
                    self.feed(host, Input::Device { job, verdict });
                }
            }
            Event::BmcActs { host, on } => {
                if on {
                    self.power_on(host);
                } else {
                    self.power_off(host);
                }
            }
            Event::OutletActs { device, on } => self.outlet_acts(device, on),
            Event::BootAppliance { host, boot } => self.boot_appliance(host, boot),
            Event::GuardTick { host, boot } => self.guard_tick(host, boot),
            Event::NodeTick { node, run } => self.node_tick(node, run),
            Event::NodeBooted { node, run } => {
                let incarnation = self.random() | 1;
                let guest = self.guests.get_mut(&node).expect("a configured node");
                if guest.run == run && guest.is_running() {
                    guest.booted(incarnation);
                    self.at(self.now, Event::NodeTick { node, run });
                }
                self.truth.sync(&self.guests);
            }
            Event::Monitor { host, life, slot, panicked } => {
                if self.hosts[&host].life == life {
                    let event = if panicked { MonitorEvent::Panicked } else { MonitorEvent::Reset };
                    self.feed(host, Input::Monitor { slot, event });
                }
            }
        }
    }

    fn boot_appliance(&mut self, host: u8, boot: u64) {
        let incarnation = self.random() | 1;
        let entropy = std::array::from_fn(|_| self.random().to_le_bytes()[0]);
        let (now, config) = (self.now, self.config);
        let must_wait = self.one_without_memory
            && self.hosts.values().any(|h| h.id != host && h.engine.is_some() && !h.is_admitted());
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::Off || h.boot != boot || h.engine.is_some() {
            return;
        }
        if must_wait {
            self.at(now + 50_000, Event::BootAppliance { host, boot });
            return;
        }
        h.boot_engine(now, config, Boot { host: HostId::new(host), incarnation, entropy, config_hash: 1 });
        self.note(format!("the appliance of host {host} is incarnation {incarnation:x}"));
        self.feed(host, Input::Tick);
        // A monitor that is joined anew tells the present state: an old panic is not lost.
        let life = self.hosts[&host].life;
        let panicked: Vec<u8> =
            self.guests.values().filter(|g| g.host == host && g.mood == Mood::Panicked).map(|g| g.node).collect();
        for node in panicked {
            let slot = self.hosts[&host].slot(node);
            self.at(self.now + 20_000, Event::Monitor { host, life, slot, panicked: true });
        }
    }

    fn guard_tick(&mut self, host: u8, boot: u64) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::Off || h.boot != boot || h.frozen {
            return;
        }
        let frames = h.guard_tick(now);
        let lease_over = h.lease_is_over(now);
        self.guard_says(host, frames);
        if lease_over {
            let running: Vec<u8> =
                self.guests.values().filter(|g| g.host == host && g.is_running()).map(|g| g.node).collect();
            for node in running {
                self.note(format!("guard {host}: lease over, kills node {node}"));
                self.truth.resets.push((now, node));
                self.vm_exits(node);
            }
        }
        self.at(now + 50_000, Event::GuardTick { host, boot });
    }

    fn guard_hears(&mut self, host: u8, boot: u64, bytes: &[u8]) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::Off || h.boot != boot || h.frozen {
            return;
        }
        let (frames, kills, starts) = h.guard_takes(now, bytes);
        self.guard_says(host, frames);
        for (node, counter) in kills {
            if self.guests[&node].run == counter && self.guests[&node].is_running() {
                self.vm_exits(node);
            }
        }
        for (node, counter) in starts {
            self.note(format!("guard {host} starts node {node}, run {counter}"));
            let guest = self.guests.get_mut(&node).expect("a configured node");
            guest.start(counter);
            let boots_in = 1_000_000 + self.random() % 500_000;
            self.at(now + boots_in, Event::NodeBooted { node, run: counter });
        }
    }

    fn node_tick(&mut self, node: u8, run: u32) {
        let now = self.now;
        let guest = self.guests.get_mut(&node).expect("a configured node");
        if guest.run != run || !guest.is_running() || guest.frozen {
            return;
        }
        let resets = guest.tick(now);
        self.after_guest(node);
        if resets {
            self.note(format!("node {node} resets itself"));
            self.truth.resets.push((now, node));
            let h = &self.hosts[&self.guests[&node].host];
            let (host, life, slot) = (h.id, h.life, h.slot(node));
            self.at(now, Event::Monitor { host, life, slot, panicked: false });
            self.at(now + 1_000_000, Event::NodeBooted { node, run });
        }
        self.truth.sync(&self.guests);
        self.at(now + 50_000, Event::NodeTick { node, run });
    }

    fn after_guest(&mut self, node: u8) {
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let (host, out) = (guest.host, std::mem::take(&mut guest.out));
        let life = self.hosts[&host].life;
        for bytes in out {
            let delay = 60 + self.random() % 100;
            self.at(self.now + delay, Event::FromNode { node, life, bytes });
        }
    }

    /// Feeds an input to an appliance, and carries out what comes of it.
    fn feed(&mut self, host: u8, input: Input<'_>) {
        let now = self.now;
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.engine.is_some()) else { return };
        if h.frozen {
            return;
        }
        let outs = h.turn(now, input);
        let life = h.life;
        let said = journal::take();
        let (summary, view) = h.seen();
        self.truth.committed(now, host, life, &summary, view);
        for line in said {
            self.note(format!("host {host}: {line}"));
        }
        for out in outs {
            self.carry(host, life, out);
        }
        if self.hosts[&host].engine.as_ref().is_some_and(|engine| engine.wants_restart()) {
            self.kill_appliance(host);
        }
    }

    fn carry(&mut self, host: u8, life: u32, out: Out) {
        match out {
            Out::Datagram { to, bytes } => self.send(host, to, &bytes),
            Out::Node { slot, bytes } => {
                let node = self.hosts[&host].node(slot);
                let delay = 60 + self.random() % 100;
                self.at(self.now + delay, Event::ToNode { node, bytes });
            }
            Out::Guard { bytes } => {
                let delay = 60 + self.random() % 100;
                let boot = self.hosts[&host].boot;
                self.at(self.now + delay, Event::ToGuard { host, boot, bytes });
            }
            Out::Device(request) => self.drive(host, life, &request),
            Out::Deadline(at) => self.at(at.max(self.now + 1), Event::Tick { host, life }),
        }
    }

    fn send(&mut self, from: u8, to: u8, bytes: &[u8]) {
        for link in 0..2 {
            let path = self.paths[&(from, to, link)];
            let copies = 1 + u64::from(self.random() % 1000 < path.duplicate);
            for _ in 0..copies {
                if path.cut || self.random() % 1000 < path.loss {
                    continue;
                }
                let delay = path.delay + self.random() % path.spread.max(1);
                self.at(self.now + delay, Event::Datagram { to, bytes: bytes.to_vec() });
            }
        }
    }

    /// The appliance that leads, if exactly one believes so.
    #[must_use]
    pub fn leader(&self) -> Option<u8> {
        let mut leaders = self.hosts.values().filter(|h| h.leads() && !h.frozen).map(|h| h.id);
        leaders.next().filter(|_| leaders.next().is_none())
    }

    /// Whether every appliance that runs is admitted under its present incarnation, and every host has one.
    #[must_use]
    pub fn all_admitted(&self) -> bool {
        self.hosts.values().all(|h| h.power == Power::On && !h.frozen && h.is_admitted())
    }

    /// Whether every node is a member in the view of every appliance that runs.
    #[must_use]
    pub fn all_up(&self) -> bool {
        self.leader().is_some()
            && self.hosts.values().filter(|h| h.engine.is_some()).all(|h| {
                self.guests.values().all(|guest| {
                    let row = h.view().map(|view| *view.node(NodeId::new(guest.node)));
                    row.is_some_and(|row| row.incarnation == guest.incarnation && guest.incarnation != 0)
                })
            })
    }
}

/// An output, copied out of the engine.
enum Out {
    Datagram { to: u8, bytes: Vec<u8> },
    Node { slot: u8, bytes: Vec<u8> },
    Guard { bytes: Vec<u8> },
    Device(Request),
    Deadline(Micros),
}

impl Out {
    fn copy(output: &Output<'_>, true_time: impl Fn(u64) -> Micros) -> Option<Self> {
        Some(match *output {
            Output::Datagram { to, bytes, .. } => Self::Datagram { to: to.get(), bytes: bytes.to_vec() },
            Output::Session { road: Road::Channel(slot), bytes } => Self::Node { slot, bytes: bytes.to_vec() },
            Output::Session { .. } | Output::Close { .. } => return None,
            Output::Guard { bytes } => Self::Guard { bytes: bytes.to_vec() },
            Output::Device(request) => Self::Device(request),
            Output::Deadline(at) => Self::Deadline(true_time(at.as_micros())),
        })
    }
}

trait PopBefore {
    type Item;
    fn pop_if_before(&mut self, end: Micros) -> Option<Self::Item>;
}

impl PopBefore for BinaryHeap<Reverse<(Micros, u64, Event)>> {
    type Item = Reverse<(Micros, u64, Event)>;
    fn pop_if_before(&mut self, end: Micros) -> Option<Self::Item> {
        if self.peek().is_some_and(|Reverse((when, ..))| *when <= end) { self.pop() } else { None }
    }
}
