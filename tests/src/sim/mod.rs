//! A small world with true time, in which several real cores run: the deterministic test network.
//!
//! Owns the world and the order of events; each file beside owns one part of it. One `u64` seed makes a run, so a failure
//! replays. The appliances are `palisade_core::engine::Engine`, the same code as in the unikernel; the guards obey the real
//! rules of `palisade_guard`; everything else is a model of what is outside. Checkers (`check`) know the truth and never ask
//! the core for it.

mod appliance;
pub mod calm;
pub mod check;
mod clock;
mod cold;
pub mod config;
pub mod coverage;
mod crash;
mod devices;
pub mod dlm;
mod event;
mod faults;
mod guard;
mod guest;
mod host;
mod journal;
mod leave;
mod mail;
mod memory;
mod network;
pub mod node_down;
pub mod operator;
mod operators;
mod pdu;
pub mod story;
mod table;
mod tale;
mod traffic;
mod wires;

pub use appliance::RING_MAX;
pub use crash::{Crash, Votes};
pub use devices::Bmc;
pub use event::Arrival;
pub use guest::{Guest, Mood, Writer};
pub use host::{Host, Pipe, Power, Stop};
pub use mail::{Fact, Habit, Letters, Mailman, body};
pub use network::{Path, Paths};
pub use operators::Wish;
pub use pdu::Outlet;
pub use table::Table;
pub use wires::Wires;

use check::Truth;
use event::{Event, Queue};
use palisade_core::config::Config;
use palisade_core::id::NodeId;
use palisade_core::io::MonitorEvent;
use palisade_core::rule::Rules;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Microseconds of true time.
pub type Micros = u64;
/// Bytes on a wire.
pub type Bytes = Rc<[u8]>;

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

/// The world.
pub struct World {
    /// True time.
    pub now: Micros,
    seed: u64,
    config: &'static Config,
    queue: Queue,
    /// By host number.
    pub hosts: Table<Host>,
    /// By node number.
    pub guests: Table<Guest>,
    /// What else may write.
    pub writers: Vec<Writer>,
    /// The network.
    pub paths: Paths,
    /// The network of the DLMs.
    pub wires: Wires,
    /// By host number.
    pub bmcs: Table<Bmc>,
    /// By the place of their device in the configuration.
    pub outlets: BTreeMap<u16, Outlet>,
    /// What operators were answered since one spoke last: when, by which host.
    pub answers: Vec<(Micros, u8, palisade_core::wire::node::Message)>,
    /// The payloads of their answers.
    pub payloads: Vec<Vec<u8>>,
    /// BMCs have a supply of their own.
    pub bmc_apart: bool,
    /// The shared volumes.
    pub disk: dlm::Disk,
    /// What is true, and what was claimed.
    pub truth: Truth,
    /// What is true about messages between nodes.
    pub letters: Letters,
    /// An appliance that crashes between two outputs.
    pub crash: Option<Crash>,
    /// Who voted for whom, where that is counted.
    pub votes: Option<Votes>,
    /// What was heard on connections that tests opened, by host and connection.
    pub heard: BTreeMap<(u8, u8), Vec<u8>>,
    /// No appliance boots while another one that runs is not admitted: at most one at a time is without memory.
    pub one_without_memory: bool,
    /// What comes to an appliance close to a timer of its own comes exactly so many microseconds after that timer's
    /// instant: `Some(-1)`, `Some(0)`, `Some(1)` (edges).
    pub snap: Option<i64>,
    /// Which safety rules the engines that boot from now on obey.
    pub rules: Rules,
    vms: u32,
    notes: VecDeque<String>,
    trace: Trace,
}

/// How close to a timer is close.
const SNAP_WITHIN: Micros = 2_000;

impl World {
    /// A world in which every host of the configuration is powered off.
    #[must_use]
    pub fn new(config: &'static Config, seed: u64) -> Self {
        Self::traced(config, seed, Trace::Kept)
    }

    /// The same, with another treatment of its notes. What happens does not depend on it.
    #[must_use]
    pub fn traced(config: &'static Config, seed: u64, trace: Trace) -> Self {
        journal::install(trace != Trace::Off);
        let last = config.hosts.iter().map(|host| host.id).max().unwrap_or(0);
        Self {
            now: 0,
            seed,
            config,
            queue: Queue::default(),
            hosts: config.hosts.iter().map(|h| (h.id, Host::new(h.id, config))).collect(),
            guests: config.nodes.iter().map(|n| (n.id, Guest::new(n.id, n.host))).collect(),
            writers: Vec::new(),
            paths: Paths::new(last),
            wires: Wires::default(),
            bmcs: config.hosts.iter().map(|h| (h.id, Bmc::Works(5_000))).collect(),
            outlets: pdu::outlets(config),
            answers: Vec::new(),
            payloads: Vec::new(),
            bmc_apart: true,
            disk: dlm::Disk::default(),
            truth: Truth::new(config),
            letters: Letters::default(),
            crash: None,
            votes: None,
            heard: BTreeMap::new(),
            one_without_memory: false,
            snap: None,
            rules: Rules::ALL,
            vms: 0,
            notes: VecDeque::new(),
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

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &'static Config {
        self.config
    }

    fn at(&mut self, when: Micros, event: Event) {
        self.queue.push(when, event);
    }

    /// An instant, moved to the edge of the appliance's timer that it is close to, if that is wanted.
    fn snapped(&self, host: u8, when: Micros) -> Micros {
        let Some(by) = self.snap else { return when };
        let timer = self.hosts[&host].deadline;
        let is_close = timer > self.now + 1 && timer.abs_diff(when) <= SNAP_WITHIN;
        if is_close { timer.saturating_add_signed(by) } else { when }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.trace == Trace::Off {
            return;
        }
        let line = format!("{:10.3} ms  {}", self.now as f64 / 1000.0, text());
        if self.trace == Trace::Printed {
            println!("{line}");
            return;
        }
        if self.notes.len() > 4000 {
            self.notes.pop_front();
        }
        self.notes.push_back(line);
    }

    /// The last things that happened, for a failed assertion.
    #[must_use]
    pub fn story(&self) -> String {
        let skip = self.notes.len().saturating_sub(120);
        self.notes.iter().skip(skip).cloned().collect::<Vec<_>>().join("\n")
    }

    /// Lets the world run until this time.
    pub fn run_until(&mut self, end: Micros) {
        while let Some((when, event)) = self.queue.pop(end) {
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
            Event::Tick { host, life } => self.tick(host, life),
            Event::Arrives { host, life, what } => self.arrives(host, life, what),
            Event::ToGuard { host, boot, life, bytes } => {
                let h = &self.hosts[&host];
                // What an earlier appliance said may still be read: an order names its run, so it does no harm.
                if h.life == life || h.pipe == Pipe::Keeps {
                    self.guard_turn(host, boot, Some(&bytes));
                }
            }
            Event::ToNode { node, life, bytes } => self.node_hears(node, life, bytes),
            Event::Act { host, act } => self.acts(host, act),
            Event::BootAppliance { host, boot, life } => self.boot_appliance(host, boot, life),
            Event::BootGuard { host, boot } => self.boot_guard(host, boot),
            Event::GuardTurn { host, boot } => self.guard_turn(host, boot, None),
            Event::Recorded { host, boot, life, node } => self.recorded(host, boot, life, node),
            Event::Reaped { host, boot, node, vm } => self.reaped(host, boot, node, vm),
            Event::Drained { node, vm, resets, life, job } => self.drained(node, vm, resets, life, job),
            Event::NodeTick { node, vm } => self.node_tick(node, vm),
            Event::NodeBooted { node, vm, boots } => {
                let incarnation = self.random() | 1;
                let now = self.now;
                let guest = self.guests.get_mut(&node).expect("a configured node");
                let is_it = guest.vm == vm && guest.boots == boots && guest.is_running();
                if is_it && guest.incarnation == 0 {
                    if guest.frozen || guest.mood == Mood::Paused {
                        return self.at(now + 100_000, Event::NodeBooted { node, vm, boots });
                    }
                    if guest.mood != Mood::Well {
                        return;
                    }
                    guest.booted(incarnation);
                    self.truth.born(&self.guests[&node]);
                    self.node_tick(node, vm);
                }
            }
            Event::Operator { host, asks } => self.operator_asks(host, asks),
        }
    }

    /// Something comes to an appliance that nobody honest sent.
    pub fn inject(&mut self, host: u8, what: Arrival) {
        let life = self.hosts[&host].life;
        self.at(self.now, Event::Arrives { host, life, what });
    }

    fn node_hears(&mut self, node: u8, life: u32, mut bytes: Vec<u8>) {
        let now = self.now;
        let host = self.guests[&node].host;
        let h = &self.hosts[&host];
        match h.pipe {
            _ if h.life == life => {}
            Pipe::Drops => return,
            Pipe::Keeps => {}
            Pipe::Cuts => {
                let cut = usize::try_from(self.random() % 1000).unwrap_or(0) % bytes.len().max(1);
                bytes.drain(..cut);
            }
        }
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let told = guest.take(now, &bytes);
        for claim in told {
            self.note(|| format!("node {node} is told {claim:?}"));
            let facts = check::Facts {
                now,
                config: self.config,
                hosts: &self.hosts,
                guests: &self.guests,
                writers: &self.writers,
                wires: &self.wires,
            };
            self.truth.told(&facts, node, &claim);
        }
        self.dlm_turn(node);
        self.after_guest(node);
        self.node_wakes(node);
    }

    fn node_tick(&mut self, node: u8, vm: u32) {
        let now = self.now;
        let guest = self.guests.get_mut(&node).expect("a configured node");
        if guest.vm != vm || !guest.is_running() {
            return;
        }
        if guest.wake <= now {
            guest.wake = 0;
        }
        let incarnation = guest.incarnation;
        let resets = guest.tick(now);
        self.dlm_turn(node);
        self.after_guest(node);
        if resets {
            self.note(|| format!("node {node} resets itself: its lease is over"));
            self.truth.resets.push((now, node));
            let guest = &self.guests[&node];
            let (host, boots) = (guest.host, guest.boots);
            let life = self.hosts[&host].life;
            self.linger(host, node, incarnation);
            self.monitor(host, life, node, MonitorEvent::Reset, 100);
            self.at(now + 1_000_000, Event::NodeBooted { node, vm, boots });
        }
        self.node_wakes(node);
    }

    /// A guest wants to be woken when something of its own is due.
    fn node_wakes(&mut self, node: u8) {
        let now = self.now;
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let Some(due) = guest.due() else { return };
        let due = due.max(now + 1);
        if guest.wake <= now || due < guest.wake {
            guest.wake = due;
            let vm = guest.vm;
            self.at(due, Event::NodeTick { node, vm });
        }
    }

    fn after_guest(&mut self, node: u8) {
        self.learn_letters(node);
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let (host, out) = (guest.host, std::mem::take(&mut guest.out));
        let life = self.hosts[&host].life;
        let slot = self.hosts[&host].slot(node);
        for bytes in out {
            let when = self.piped(host, 2 + 2 * usize::from(slot));
            let when = self.snapped(host, when);
            self.at(when, Event::Arrives { host, life, what: event::Arrival::Node(slot, bytes) });
        }
    }

    /// The appliance that leads, if exactly one believes so.
    #[must_use]
    pub fn leader(&self) -> Option<u8> {
        let mut leaders = self.hosts.values().filter(|h| h.leads() && !h.stands()).map(|h| h.id);
        leaders.next().filter(|_| leaders.next().is_none())
    }

    /// Whether every appliance that runs is admitted under its present incarnation, and every host has one.
    #[must_use]
    pub fn all_admitted(&self) -> bool {
        self.hosts.values().all(|h| h.power == Power::On && !h.stands() && h.is_admitted())
    }

    /// Whether every node is a member in the view of every appliance that runs.
    #[must_use]
    pub fn all_up(&self) -> bool {
        let is_up = |h: &Host, guest: &Guest| {
            let row = h.view().map(|view| view.node(NodeId::new(guest.node)));
            row.is_some_and(|row| row.incarnation == guest.incarnation && guest.incarnation != 0 && row.may_write())
        };
        self.leader().is_some()
            && self.hosts.values().filter(|h| h.engine.is_some()).all(|h| self.guests.values().all(|g| is_up(h, g)))
    }

    /// Whether an appliance that runs here remembers what it promised: every other one that remembers counts on it.
    #[must_use]
    pub fn remembers(&self, host: u8) -> bool {
        let h = &self.hosts[&host];
        let is_out = self.hosts.values().filter(|other| other.is_admitted()).any(|other| {
            let (row, own) = (other.view().map(|view| *view.host(palisade_core::id::HostId::new(host))), h.view());
            own.is_none() || row.is_some_and(|row| !row.counts())
        });
        // An order may still be under way to a host that was reset by a person and is a member again.
        let runs = h.power == Power::On && !h.stands() && h.guard.is_some();
        runs && h.is_admitted() && !is_out && !self.is_doomed(host)
    }

    /// Whether every appliance and every node works, and every appliance's view says so.
    #[must_use]
    pub fn at_peace(&self) -> bool {
        self.guests.values().all(|guest| guest.mood == Mood::Well && !guest.frozen)
            && self.hosts.values().all(|host| host.guard.is_some())
            && self.all_admitted()
            && self.all_up()
            && self.volumes_settled()
            && self.guests.values().all(|guest| guest.is_leased(self.now))
            // Who still accuses somebody of a cut that is over may be believed.
            && self.guests.values().all(|guest| guest.dlm.peers.all_answer())
            && !self.is_anybody_doomed()
    }

    /// What is not as it is in peace, for a person.
    #[must_use]
    pub fn unrest(&self) -> String {
        let mut text = format!("leads: {:?}", self.leader());
        for host in self.hosts.values() {
            if host.power == Power::Off || host.stands() || !host.is_admitted() || host.guard.is_none() {
                let state = (host.power, host.frozen, host.stopped, host.is_admitted(), host.guard.is_some());
                text += &format!("; host {} is {state:?}", host.id);
            }
        }
        for guest in self.guests.values() {
            let knows = |host: &Host| {
                host.view().map(|view| view.node(NodeId::new(guest.node)).incarnation) == Some(guest.incarnation)
            };
            let strangers: Vec<u8> = self.hosts.values().filter(|host| !knows(host)).map(|host| host.id).collect();
            if guest.mood != Mood::Well || guest.frozen || !strangers.is_empty() {
                let state = (guest.mood, guest.frozen, guest.run, guest.incarnation, guest.has_session(), guest.left);
                text += &format!("; node {} is {state:x?}, and not up for {strangers:?}", guest.node);
            }
        }
        text + &self.volumes_unrest()
    }
}
