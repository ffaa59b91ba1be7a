//! The appliances: real engines, fed with what arrives, and what they do carried out.
//!
//! Owns an appliance's turn, its pause with its bounded rings, and its restart. What an engine is is its own affair; here
//! is what the driver of the unikernel does, and what may happen to it.

use super::event::{Arrival, Event};
use super::host::{Host, Pipe, Power, Stop};
use super::{Bytes, Micros, Mood, World, journal};
use crate::sim::clock::Clock;
use palisade_core::engine::Boot;
use palisade_core::id::HostId;
use palisade_core::io::{Input, MonitorEvent, Output, Request, Road};
use palisade_core::rule::Rules;
use palisade_core::time::Instant;

/// What an appliance's rings hold while it stands: datagrams of a link, and pieces of a pipe. The oldest survive.
pub const RING_MAX: usize = 256;
/// Turns of an appliance between two looks at what is too large to be looked at after each.
const TURNS_BETWEEN_CHECKS: u32 = 512;
/// What its clock reads when it boots.
pub(super) const CLOCK_AT_BOOT: u64 = 1_000_000;

/// An output, copied out of the engine.
pub(super) enum Out {
    Datagram { to: u8, bytes: Bytes },
    Node { slot: u8, bytes: Vec<u8> },
    Vsock { connection: u8, bytes: Vec<u8> },
    Guard { bytes: Vec<u8> },
    Device(Request),
    Deadline(u64),
}

impl Out {
    fn copy(output: &Output<'_>) -> Option<Self> {
        Some(match *output {
            Output::Datagram { to, bytes, .. } => Self::Datagram { to: to.get(), bytes: bytes.into() },
            Output::Session { road: Road::Channel(slot), bytes } => Self::Node { slot, bytes: bytes.to_vec() },
            Output::Session { road: Road::Vsock(connection), bytes } => {
                Self::Vsock { connection, bytes: bytes.to_vec() }
            }
            Output::Close { .. } => return None,
            Output::Guard { bytes } => Self::Guard { bytes: bytes.to_vec() },
            Output::Device(request) => Self::Device(request),
            Output::Deadline(at) => Self::Deadline(at.as_micros()),
        })
    }
}

impl Arrival {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Datagram(link, bytes) => Input::Datagram { link: *link, bytes },
            Self::Guard(bytes) => Input::Guard { bytes: bytes.as_slice() },
            Self::Node(slot, bytes) => Input::Session { road: Road::Channel(*slot), bytes: bytes.as_slice() },
            Self::Monitor(slot, event) => Input::Monitor { slot: *slot, event: *event },
            Self::Device(job, verdict) => Input::Device { job: *job, verdict: *verdict },
            Self::Opened(connection, cid) => Input::Opened { connection: *connection, cid: *cid },
            Self::Vsock(connection, bytes) => {
                Input::Session { road: Road::Vsock(*connection), bytes: bytes.as_slice() }
            }
            Self::Closed(connection) => Input::Closed { connection: *connection },
        }
    }

    /// Which ring it waits in.
    const fn ring(&self) -> (u8, u8) {
        match self {
            Self::Datagram(link, _) => (0, *link),
            Self::Guard(_) => (1, 0),
            Self::Node(slot, _) => (2, *slot),
            _ => (3, 0),
        }
    }
}

impl Host {
    fn turn(&mut self, now: Micros, input: Input<'_>) -> Vec<Out> {
        let clock = Instant::from_micros(self.tsc.at(now));
        let engine = self.engine.as_mut().expect("it runs");
        engine.handle(clock, input);
        let mut outs = Vec::new();
        loop {
            let output = engine.poll(clock);
            let last = matches!(output, Output::Deadline(_));
            outs.extend(Out::copy(&output));
            if last {
                break;
            }
        }
        outs
    }

    /// The engine's inner invariants, after a turn.
    fn check(&mut self) {
        let engine = self.engine.as_ref().expect("it runs");
        engine.check();
        self.turns += 1;
        if self.turns.is_multiple_of(TURNS_BETWEEN_CHECKS) {
            engine.check_thoroughly();
        }
    }
}

impl World {
    /// Something comes to an appliance that lived as `life` when it was sent.
    pub(super) fn arrives(&mut self, host: u8, life: u32, mut what: Arrival) {
        let cut = self.random();
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.engine.is_none() {
            return;
        }
        if h.life != life {
            match (&mut what, h.pipe) {
                (Arrival::Datagram(..), _) | (Arrival::Guard(_) | Arrival::Node(..), Pipe::Keeps) => {}
                (Arrival::Guard(bytes) | Arrival::Node(_, bytes), Pipe::Cuts) => {
                    let at = usize::try_from(cut % 1000).unwrap_or(0) % bytes.len().max(1);
                    bytes.drain(..at);
                }
                _ => return,
            }
        }
        if h.stands() {
            let ring = what.ring();
            if h.ring.iter().filter(|other| other.ring() == ring).count() < RING_MAX {
                h.ring.push_back(what);
            }
            return;
        }
        self.feed(host, what.input());
    }

    pub(super) fn tick(&mut self, host: u8, life: u32) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.life != life || h.engine.is_none() || h.stands() {
            return;
        }
        if h.deadline <= now {
            h.deadline = 0;
        }
        self.feed(host, Input::Tick);
    }

    /// Feeds an input to an appliance, and carries out what comes of it.
    fn feed(&mut self, host: u8, input: Input<'_>) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        let outs = h.turn(now, input);
        if self.rules == Rules::ALL {
            h.check();
        }
        let life = h.life;
        for line in journal::take() {
            self.note(|| format!("host {host}: {line}"));
        }
        let (before, after) = self.look(host);
        for out in outs {
            if self.crashes_before(host, &out) {
                return self.kill_appliance(host);
            }
            self.overhears(host, &out);
            self.carry(host, life, before, out);
        }
        let h = self.hosts.get_mut(&host).expect("a configured host");
        h.seen = after;
        if h.engine.as_ref().is_some_and(|engine| engine.wants_restart()) {
            self.kill_appliance(host);
        }
    }

    /// Shows the checkers what an appliance declares. What it had declared before, and what it declares now.
    fn look(&mut self, host: u8) -> (super::check::Key, super::check::Key) {
        let h = self.hosts.get_mut(&host).expect("a configured host");
        let Some(engine) = &h.engine else { return ((0, 0), (0, 0)) };
        let (role, view) = (engine.role(), engine.view());
        let key = (view.version, view.cluster.random);
        let before = h.seen;
        let accepted = engine.accepted();
        if accepted != h.accepted {
            h.accepted = accepted;
            self.truth.accepted(host, engine.incarnation(), accepted);
        }
        if role != h.role {
            self.truth.role(host, h.life, h.role, role);
            h.role = role;
        }
        if key != before {
            let h = &self.hosts[&host];
            let facts = super::check::Facts {
                now: self.now,
                config: self.config,
                hosts: &self.hosts,
                guests: &self.guests,
                writers: &self.writers,
                wires: &self.wires,
            };
            let view = h.view().expect("it runs");
            self.truth.committed(&facts, h, view);
            self.judges_election(host);
        }
        (before, key)
    }

    fn carry(&mut self, host: u8, life: u32, before: super::check::Key, out: Out) {
        match out {
            Out::Datagram { to, bytes } => self.send(host, to, &bytes),
            Out::Node { slot, bytes } => {
                let node = self.hosts[&host].node(slot);
                let view = self.hosts[&host].view();
                self.truth.says(self.now, before, view, &self.guests[&node], &bytes);
                let when = self.piped(host, 3 + 2 * usize::from(slot));
                self.at(when, Event::ToNode { node, life, bytes });
            }
            Out::Vsock { connection, bytes } => self.vsock_hears(host, connection, &bytes),
            Out::Guard { bytes } => {
                let h = &self.hosts[&host];
                let boot = h.boot;
                let when = self.piped(host, 1);
                self.at(when, Event::ToGuard { host, boot, life, bytes });
            }
            Out::Device(request) => self.drive(host, life, &request),
            Out::Deadline(own) => {
                let now = self.now;
                let h = self.hosts.get_mut(&host).expect("a configured host");
                let Some(when) = h.tsc.when(own) else { return };
                let when = when.max(now + 1);
                // One timer at a time is enough: an earlier one that is still queued brings a harmless early tick.
                if h.deadline <= now || when < h.deadline {
                    h.deadline = when;
                    self.at(when, Event::Tick { host, life });
                }
            }
        }
    }

    /// When bytes that go into this pipe of a host now come out of it: in order.
    pub(super) fn piped(&mut self, host: u8, pipe: usize) -> Micros {
        let number = self.random();
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        let when = now + 60 + number % h.pipe_delay.max(1);
        h.pipes[pipe] = h.pipes[pipe].max(when);
        h.pipes[pipe]
    }

    pub(super) fn boot_appliance(&mut self, host: u8, boot: u64, life: u32) {
        let incarnation = self.random() | 1;
        let mut entropy = [0; 32];
        for part in entropy.chunks_mut(8) {
            part.copy_from_slice(&self.random().to_le_bytes());
        }
        let (now, config, rules) = (self.now, self.config, self.rules);
        let must_wait = self.one_without_memory
            && self.hosts.values().any(|h| h.id != host && h.engine.is_some() && !h.is_admitted());
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::Off || h.boot != boot || h.life != life || h.engine.is_some() || h.guard.is_none() {
            return;
        }
        if must_wait || h.frozen {
            return self.at(now + 50_000, Event::BootAppliance { host, boot, life });
        }
        h.life += 1;
        h.deadline = 0;
        h.tsc = Clock::new(now, CLOCK_AT_BOOT, h.drift);
        let mut engine = super::memory::take();
        engine.obey(rules);
        let about = Boot { host: HostId::new(host), incarnation, entropy, config_hash: 1 };
        engine.start(Instant::from_micros(CLOCK_AT_BOOT), config, about);
        h.engine = Some(engine);
        let life = h.life;
        self.note(|| format!("the appliance of host {host} is incarnation {incarnation:x}"));
        self.feed(host, Input::Tick);
        // A monitor that is joined anew tells the present state: an old panic is not lost.
        let of_host = self.guests.values().filter(|g| g.host == host && g.mood == Mood::Panicked);
        let panicked: Vec<u8> = of_host.map(|guest| guest.node).collect();
        for node in panicked {
            self.monitor(host, life, node, MonitorEvent::Panicked, 20_000);
        }
    }

    pub(super) fn monitor(&mut self, host: u8, life: u32, node: u8, event: MonitorEvent, delay: Micros) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        let (slot, last) = (h.slot(node), h.pipes.last_mut().expect("a pipe for monitors"));
        *last = (*last).max(now + delay);
        let when = *last;
        self.at(when, Event::Arrives { host, life, what: Arrival::Monitor(slot, event) });
    }

    /// Kills an appliance alone; its guard starts it again at once.
    pub fn kill_appliance(&mut self, host: u8) {
        self.note(|| format!("the appliance of host {host} is killed"));
        let h = self.hosts.get_mut(&host).expect("a configured host");
        h.end_appliance();
        self.end_operators(host);
        if self.hosts[&host].guard.is_some() {
            let delay = 250_000 + self.random() % 200_000;
            self.start_appliance_in(host, delay);
        }
    }

    pub(super) fn start_appliance_in(&mut self, host: u8, delay: Micros) {
        let h = &self.hosts[&host];
        let (boot, life) = (h.boot, h.life);
        self.at(self.now + delay, Event::BootAppliance { host, boot, life });
    }

    /// Stops an appliance alone.
    pub fn stop_appliance(&mut self, host: u8, how: Stop) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.engine.is_none() || h.stands() {
            return;
        }
        h.stopped = Some(how);
        if how == Stop::Clock {
            h.tsc.stand(now, true);
        }
        self.note(|| format!("the appliance of host {host} is stopped: {how:?}"));
    }

    /// Lets it go on.
    pub fn resume_appliance(&mut self, host: u8) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.stopped.take() == Some(Stop::Clock) {
            h.tsc.stand(now, false);
        }
        self.note(|| format!("the appliance of host {host} goes on"));
        self.hand_over(host);
    }

    /// An appliance that stood takes in what waited in its rings, and looks at its timers, in one order or the other.
    pub(super) fn hand_over(&mut self, host: u8) {
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.stands() || h.engine.is_none() {
            return;
        }
        let life = h.life;
        let waiting = std::mem::take(&mut h.ring);
        h.deadline = 0;
        if self.random().is_multiple_of(2) {
            self.tick(host, life);
        }
        for what in waiting {
            self.arrives(host, life, what);
        }
        self.tick(host, life);
    }
}
