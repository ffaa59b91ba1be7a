//! The guard of a host: the real rules of `palisade-guard` about runs and the lease, with simulated processes.
//!
//! Owns what a guard knows and when it speaks, and what it does to VMs. A guard that is killed leaves orphans; the next one
//! kills them, waits until they are gone, and only then reports and starts anything (SAFETY E4).

use super::event::{Arrival, Event};
use super::{Micros, Power, World};
use palisade_core::config::Config;
use palisade_core::id::NodeId;
use palisade_core::limits::FRAME_MAX;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::guard::Message;
use palisade_guard::lease::Lease;
use palisade_guard::runs::{Heard, Runs, Step};

/// How often all reports are repeated.
const REPORT: u64 = 1_000_000;
/// How often one is that waits for its acknowledgement.
const RESEND: u64 = 50_000;
/// Pieces of a loop turn: how soon after a stamp is due it is given.
const GRAIN: u64 = 100;

/// What a guard wants done.
#[derive(Debug)]
pub(super) enum Act {
    Say(Vec<u8>),
    Kill { node: u8, counter: u32 },
    Record { node: u8, counter: u32 },
    Exec { node: u8, counter: u32 },
    LeaseOver,
}

/// A guard on duty.
#[derive(Debug)]
pub struct Guard {
    boot: u64,
    runs: Vec<Runs>,
    lease: Lease,
    reader: Reader,
    stamp_every: u64,
    order_valid: u64,
    stamp_at: u64,
    report_at: u64,
    resend_at: u64,
    /// When it is woken, true time.
    wake: Micros,
}

fn frame(message: &Message) -> Act {
    let mut buffer = [0; FRAME_MAX];
    Act::Say(message.frame(0).emit(&mut buffer).to_vec())
}

impl Guard {
    fn new(config: &Config, boot: u64, nodes: impl Iterator<Item = (u8, bool, u32)>) -> Self {
        let runs = nodes.map(|(node, qualify, counter)| Runs::new(NodeId::new(node), boot, qualify, counter));
        Self {
            boot,
            runs: runs.collect(),
            lease: Lease::new(config.timing.guard_lease_ms),
            reader: Reader::new(),
            stamp_every: u64::from(config.timing.stamp_ms) * 1000,
            order_valid: u64::from(config.timing.order_ms) * 1000,
            stamp_at: 0,
            report_at: 0,
            resend_at: 0,
            wake: 0,
        }
    }

    fn find(&mut self, node: NodeId) -> Option<&mut Runs> {
        self.runs.iter_mut().find(|runs| runs.node() == node)
    }

    fn say_stamp(&mut self, own: u64, acts: &mut Vec<Act>) {
        self.lease.on_stamp(own);
        acts.push(frame(&Message::Stamp { boot: self.boot, clock: own }));
    }

    fn say_reports(&self, acts: &mut Vec<Act>) {
        acts.extend(self.runs.iter().map(|runs| frame(&Message::Run(runs.report()))));
    }

    fn hear(&mut self, own: u64, mut bytes: &[u8], acts: &mut Vec<Act>) {
        let mut heard = Vec::new();
        while let Some(frame) = self.reader.next(&mut bytes) {
            heard.extend(Message::parse(&frame));
        }
        for message in heard {
            match message {
                Message::Appliance { .. } => {
                    self.runs.iter_mut().for_each(Runs::forget_order);
                    self.say_stamp(own, acts);
                    self.say_reports(acts);
                }
                Message::Lease { clock, lease_ms } => {
                    self.lease.handle(own, clock, lease_ms);
                }
                Message::Start { node, after } => {
                    let until = own + self.order_valid;
                    let Some(runs) = self.find(node) else { continue };
                    if runs.on_start(after, until) == Heard::Known {
                        acts.push(frame(&Message::Run(runs.report())));
                    }
                }
                Message::Ack { node, counter } => {
                    let leased = self.lease.in_force(own);
                    let Some(runs) = self.find(node) else { continue };
                    if leased && runs.on_ack(counter) {
                        runs.on_exec(true);
                        acts.push(Act::Exec { node: node.get(), counter });
                        acts.push(frame(&Message::Run(runs.report())));
                    }
                }
                Message::Kill { node, counter } => {
                    let Some(runs) = self.find(node) else { continue };
                    if runs.on_kill(counter) {
                        acts.push(Act::Kill { node: node.get(), counter });
                    }
                    acts.push(frame(&Message::Run(runs.report())));
                }
                Message::Stamp { .. } | Message::Run(_) => {}
            }
        }
    }

    /// Goes round its loop once.
    fn turn(&mut self, own: u64, acts: &mut Vec<Act>) {
        if self.lease.poll_end(own) {
            acts.push(Act::LeaseOver);
            for runs in &mut self.runs {
                let counter = runs.counter();
                if runs.on_lease_end() {
                    acts.push(Act::Kill { node: runs.node().get(), counter });
                }
                acts.push(frame(&Message::Run(runs.report())));
            }
        }
        let leased = self.lease.in_force(own);
        for runs in &mut self.runs {
            while let Some(step) = runs.poll(own, leased) {
                let node = runs.node().get();
                match step {
                    Step::Kill => acts.push(Act::Kill { node, counter: runs.counter() }),
                    Step::Record(counter) => acts.push(Act::Record { node, counter }),
                    Step::Forgot => {}
                }
            }
        }
        if own >= self.stamp_at {
            self.say_stamp(own, acts);
            self.stamp_at = own + self.stamp_every;
        }
        if own >= self.report_at {
            self.say_reports(acts);
            self.report_at = own + REPORT;
        }
        if own >= self.resend_at {
            let waiting = self.runs.iter().filter(|runs| runs.awaits_ack());
            acts.extend(waiting.map(|runs| frame(&Message::Run(runs.report()))));
            self.resend_at = own + RESEND;
        }
    }

    /// When it goes round again, by its own clock.
    fn due(&self) -> u64 {
        let waits = self.runs.iter().any(Runs::awaits_ack);
        let resend = if waits { self.resend_at } else { u64::MAX };
        let lease = self.lease.deadline_us().unwrap_or(u64::MAX);
        self.stamp_at.min(self.report_at).min(resend).min(lease)
    }

    /// Whether its nodes may live now, by its own clock.
    #[must_use]
    pub fn is_leased(&self, own: u64) -> bool {
        self.lease.in_force(own)
    }
}

impl World {
    /// The guard goes round its loop, after having heard something, or because something is due.
    pub(super) fn guard_turn(&mut self, host: u8, boot: u64, heard: Option<&[u8]>) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::Off || h.boot != boot || h.frozen {
            return;
        }
        let own = h.clock.at(now);
        let Some(guard) = &mut h.guard else { return };
        let mut acts = Vec::new();
        if let Some(bytes) = heard {
            guard.hear(own, bytes, &mut acts);
        }
        guard.turn(own, &mut acts);
        let due = guard.due();
        let wake = h.clock.when(due).map_or(now + GRAIN, |when| when.max(now + GRAIN));
        if guard.wake <= now || wake < guard.wake {
            guard.wake = wake;
            self.at(wake, Event::GuardTurn { host, boot });
        }
        self.guard_acts(host, acts);
    }

    fn guard_acts(&mut self, host: u8, acts: Vec<Act>) {
        let (boot, life) = (self.hosts[&host].boot, self.hosts[&host].life);
        for act in acts {
            match act {
                Act::Say(bytes) => {
                    let when = self.piped(host, 0);
                    let when = self.snapped(host, when);
                    self.at(when, Event::Arrives { host, life, what: Arrival::Guard(bytes) });
                }
                Act::LeaseOver => self.note(|| format!("guard {host}: its lease is over")),
                Act::Kill { node, counter } => {
                    self.note(|| format!("guard {host} kills node {node}, run {counter}"));
                    let guest = &self.guests[&node];
                    if guest.run == counter && guest.boot == boot && guest.is_running() {
                        if self.hosts[&host].guard.as_ref().is_some_and(|guard| guard.lease.deadline_us().is_none()) {
                            self.truth.resets.push((self.now, node));
                        }
                        self.vm_exits(node);
                    }
                }
                Act::Record { node, counter } => {
                    self.hosts.get_mut(&host).expect("a configured host").counters.insert(node, counter);
                    let life = self.hosts[&host].guards;
                    let delay = 50 + self.random() % 3_000;
                    self.at(self.now + delay, Event::Recorded { host, boot, life, node });
                }
                Act::Exec { node, counter } => self.start_vm(host, node, counter),
            }
        }
    }

    pub(super) fn recorded(&mut self, host: u8, boot: u64, life: u32, node: u8) {
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.boot != boot || h.guards != life {
            return;
        }
        let Some(guard) = &mut h.guard else { return };
        if let Some(runs) = guard.find(NodeId::new(node)) {
            runs.on_recorded(true);
        }
        guard.resend_at = 0;
        self.guard_turn(host, boot, None);
    }

    /// The kernel says that a VM's process is gone: to the guard that started it.
    pub(super) fn reaped(&mut self, host: u8, boot: u64, node: u8, vm: u32) {
        let guest = self.guests.get_mut(&node).expect("a configured node");
        if guest.vm != vm || guest.host != host || guest.boot != boot {
            return;
        }
        guest.reaped = true;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::Off || h.boot != boot {
            return;
        }
        let starter = guest.guard == h.guards;
        let Some(guard) = h.guard.as_mut().filter(|_| starter) else { return };
        let Some(runs) = guard.find(NodeId::new(node)) else { return };
        runs.on_exit(-9);
        let report = frame(&Message::Run(runs.report()));
        self.guard_acts(host, vec![report]);
        self.guard_turn(host, boot, None);
    }

    /// A guard begins: it proves all earlier runs gone before it says or starts anything.
    pub(super) fn boot_guard(&mut self, host: u8, boot: u64) {
        let (now, config) = (self.now, self.config);
        let h = &self.hosts[&host];
        if h.power == Power::Off || h.boot != boot || h.guard.is_some() {
            return;
        }
        if h.frozen {
            return self.at(now + 50_000, Event::BootGuard { host, boot });
        }
        // Everything in the cgroup of the earlier guard is killed, the appliance too.
        if h.engine.is_some() {
            let h = self.hosts.get_mut(&host).expect("a configured host");
            h.end_appliance();
            self.end_operators(host);
        }
        let orphans = |w: &Self| -> Vec<u8> {
            w.guests.values().filter(|g| g.host == host && g.boot == boot && !g.reaped).map(|g| g.node).collect()
        };
        for node in orphans(self) {
            if self.guests[&node].is_running() {
                self.note(|| format!("the new guard of host {host} kills the orphan of node {node}"));
                self.vm_exits(node);
            }
        }
        if !orphans(self).is_empty() {
            return self.at(now + 5_000, Event::BootGuard { host, boot });
        }
        let h = self.hosts.get_mut(&host).expect("a configured host");
        h.guards += 1;
        let (slots, qualify, counters) = (h.slots.clone(), h.disks_qualify, &h.counters);
        let nodes = slots.iter().map(|&node| (node, qualify, counters.get(&node).copied().unwrap_or(0)));
        h.guard = Some(Guard::new(config, boot, nodes));
        self.note(|| format!("the guard of host {host} is on duty"));
        self.guard_turn(host, boot, None);
        let delay = 250_000 + self.random() % 100_000;
        self.start_appliance_in(host, delay);
    }

    /// Kills a guard alone: its VMs are orphans until another one begins.
    pub fn kill_guard(&mut self, host: u8, back_in: Micros) {
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.guard.take().is_none() {
            return;
        }
        let boot = h.boot;
        self.note(|| format!("the guard of host {host} is killed"));
        self.at(self.now + back_in, Event::BootGuard { host, boot });
    }
}
