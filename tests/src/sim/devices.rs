//! Devices: what an order does to the world, when, and what is answered.
//!
//! Owns monitors, BMCs and switched outlets, with all that real ones do: slow, mute, late, refusing, failing half way,
//! acting after their attempt was given up, and reading a state that was. The drivers' part is here too: an attempt that has
//! not ended by its timeout is Unknown, and what disks that do not qualify leave behind proves nothing (SAFETY E5).

use super::event::{Arrival, Event};
use super::{Micros, Mood, Power, World};
use palisade_core::fencing::{Action, Class, Verdict};
use palisade_core::io::{DeviceRef, MonitorEvent, Request};
use palisade_core::rule::Rule;

/// How a host's BMC behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bmc {
    /// Does what it is told, after this long.
    Works(Micros),
    /// Never answers.
    Dead,
    /// Refuses everything.
    Refuses,
    /// Cuts its host's storage, and says so; the host runs on.
    Cuts,
    /// Does it at once, and never says so in time.
    Mute,
    /// Does it, but so late that the attempt was given up before.
    ActsLate(Micros),
    /// Does it, and says that it failed.
    HalfWay,
    /// Does it at once; what it reads back lags so long.
    Lags(Micros),
    /// Does what it is told; what it reads is stale, and always off.
    ReadsOff,
}

/// What a device does to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    On,
    Off,
    Outlet(u16, bool),
}

impl Act {
    const fn hits(self) -> bool {
        matches!(self, Self::Off | Self::Outlet(_, false))
    }
}

impl World {
    pub(super) fn drive(&mut self, host: u8, life: u32, request: &Request) {
        self.note(|| format!("host {host} drives {:?} {:?} {:?}", request.device, request.action, request.run));
        let timeout = self.hosts[&host].tsc.when(request.timeout.as_micros()).unwrap_or(self.now);
        let answer = match request.device {
            DeviceRef::Monitor(slot) => match self.monitor_stops(host, life, slot, request) {
                Some(answer) => answer,
                None => return,
            },
            DeviceRef::Guard(slot) => self.guard_kills(host, slot, request),
            DeviceRef::Configured(index) => {
                let covers = &self.config.devices[usize::from(index)].covers;
                if request.action != Action::Status {
                    for &target in covers {
                        let executor = (host, self.incarnation(host).unwrap_or(0));
                        self.truth.ordered(self.now, executor, target, request.action);
                    }
                }
                if self.outlets.contains_key(&index) {
                    self.outlet(index, request.action)
                } else {
                    self.bmc(covers, request.action, timeout)
                }
            }
        };
        let (when, verdict) = match answer {
            Some((when, verdict)) if when <= timeout => (when, verdict),
            _ => (timeout, Verdict::Unknown),
        };
        let what = Arrival::Device(request.job, verdict);
        self.at(when, Event::Arrives { host, life, what });
    }

    /// QMP `stop`, which drains, and `system_reset`. When it answers what, if ever; `None`: that is known after the drain.
    fn monitor_stops(&mut self, host: u8, life: u32, slot: u8, request: &Request) -> Option<Option<(Micros, Verdict)>> {
        let node = self.hosts[&host].node(slot);
        let guest = &self.guests[&node];
        let is_it = guest.run == request.run.counter && guest.boot == request.run.boot && guest.is_running();
        if request.action != Action::Off || !is_it {
            return Some(Some((self.now + 1_000, Verdict::Failed)));
        }
        if !guest.storage_answers || guest.frozen {
            return Some(None);
        }
        let vm = guest.vm;
        let drained = self.now + 300 + self.random() % 2_500;
        // `stop` holds the processors at once; only after the drain and the reset is the old memory gone (SAFETY E1).
        let resets = self.rules.holds(Rule::E1);
        self.at(drained, Event::Drained { node, vm, resets, life, job: request.job });
        None
    }

    /// The drain is over, and the monitor answers, unless the process ended meanwhile: that closes its socket and proves nothing.
    pub(super) fn drained(&mut self, node: u8, vm: u32, resets: bool, life: u32, job: u32) {
        let guest = &self.guests[&node];
        let host = guest.host;
        let proves = guest.vm == vm && guest.is_running() && self.hosts[&host].disks_qualify;
        let verdict = if proves { Verdict::Confirmed(Class::VmStopped) } else { Verdict::Unknown };
        self.at(self.now + 100, Event::Arrives { host, life, what: Arrival::Device(job, verdict) });
        let guest = self.guests.get_mut(&node).expect("a configured node");
        if guest.vm == vm && guest.is_running() && !resets {
            guest.mood = Mood::Paused;
        } else if guest.vm == vm && guest.is_running() {
            let (host, incarnation) = (guest.host, guest.incarnation);
            guest.stop_and_reset();
            self.linger(host, node, incarnation);
            let life = self.hosts[&host].life;
            self.monitor(host, life, node, MonitorEvent::Reset, 50);
        }
    }

    fn guard_kills(&mut self, host: u8, slot: u8, request: &Request) -> Option<(Micros, Verdict)> {
        let node = self.hosts[&host].node(slot);
        let guest = &self.guests[&node];
        if request.action != Action::Off {
            return Some((self.now + 100, Verdict::Failed));
        }
        if self.hosts[&host].guard.is_none() || self.hosts[&host].frozen {
            return None;
        }
        let is_it = guest.run == request.run.counter && guest.boot == request.run.boot;
        let gone = if is_it { self.vm_exits(node) } else { self.now };
        let qualify = self.hosts[&host].disks_qualify;
        let verdict = if qualify { Verdict::Confirmed(Class::VmGone) } else { Verdict::Unknown };
        Some((gone + 1_000, verdict))
    }

    /// A BMC switches what it covers; it is the first one's, and lives on its supply.
    fn bmc(&mut self, covers: &[u8], action: Action, timeout: Micros) -> Option<(Micros, Verdict)> {
        let (now, own) = (self.now, covers[0]);
        if (!self.hosts[&own].supply && !self.bmc_apart) || !self.is_fed(own) {
            return None;
        }
        let (act, confirmed) = match action {
            Action::On => (Act::On, Verdict::Unknown),
            Action::Off => (Act::Off, Verdict::Confirmed(Class::PowerOff)),
            Action::Status => {
                let is_on = self.hosts[&own].power == Power::On;
                let span = match self.bmcs[&own] {
                    Bmc::Works(span) => span,
                    Bmc::HalfWay | Bmc::Lags(_) => 5_000,
                    Bmc::ReadsOff => return Some((now + 5_000, Verdict::SeenOff)),
                    _ => return None,
                };
                return Some((now + span, if is_on { Verdict::SeenOn } else { Verdict::SeenOff }));
            }
        };
        let (acts_at, answer) = match self.bmcs[&own] {
            Bmc::Works(span) => (now + span / 2, Some((now + span, confirmed))),
            Bmc::Dead => return None,
            Bmc::Cuts => return Some((now + 5_000, confirmed)),
            Bmc::Refuses => return Some((now + 2_000, Verdict::Failed)),
            Bmc::Mute => (now + 5_000, None),
            Bmc::ActsLate(by) => (timeout + by, None),
            Bmc::HalfWay => (now + 5_000, Some((now + 20_000, Verdict::Failed))),
            Bmc::Lags(span) => (now + 5_000, Some((now + 5_000 + span, confirmed))),
            Bmc::ReadsOff => (now + 5_000, Some((now + 10_000, confirmed))),
        };
        for &host in covers {
            self.at(acts_at, Event::Act { host, act });
        }
        answer
    }

    pub(super) fn acts(&mut self, host: u8, act: Act) {
        match act {
            Act::On => self.power_on(host),
            Act::Off => {
                self.truth.hit(self.now, &self.hosts, host);
                self.power_off(host);
            }
            Act::Outlet(outlet, on) => self.outlet_acts(outlet, on),
        }
    }

    /// Whether a device is still going to switch this host off.
    pub(super) fn is_doomed(&self, host: u8) -> bool {
        self.queue.any(|event| matches!(event, Event::Act { host: target, act } if *target == host && act.hits()))
    }

    /// Whether a device is still going to switch any host off.
    pub(super) fn is_anybody_doomed(&self) -> bool {
        self.queue.any(|event| matches!(event, Event::Act { act, .. } if act.hits()))
    }

    /// Does something to a node's guest.
    pub fn hit(&mut self, node: u8, mood: Mood) {
        self.note(|| format!("node {node}: {mood:?}"));
        let now = self.now;
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let host = guest.host;
        match mood {
            Mood::Gone => {
                self.vm_exits(node);
            }
            Mood::Panicked => {
                guest.mood = mood;
                let life = self.hosts[&host].life;
                self.monitor(host, life, node, MonitorEvent::Panicked, 500);
            }
            Mood::Paused => {
                guest.mood = mood;
                guest.clock.stand(now, true);
                self.wires.stand(now, node, true);
            }
            Mood::Well | Mood::Hung | Mood::Reset => guest.mood = mood,
        }
    }
}
