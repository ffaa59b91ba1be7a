//! What may happen to the world: power, crashes, freezes, sick guests, people who meddle.

use super::event::Event;
use super::guest::Writer;
use super::host::{Power, Stop};
use super::{Micros, Mood, World};
use palisade_core::io::MonitorEvent;

impl World {
    /// Powers every host on.
    pub fn power_all(&mut self) {
        for host in self.hosts.keys().collect::<Vec<_>>() {
            self.plug(host);
            for outlet in self.outlets.values_mut().filter(|outlet| outlet.host == host) {
                outlet.on = true;
            }
            self.power_on(host);
        }
    }

    /// Powers a host on: its guard starts at once, its appliance soon after.
    pub fn power_on(&mut self, host: u8) {
        let boot = self.random() | 1;
        let (now, fed) = (self.now, self.is_fed(host));
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::On || !h.supply || !fed {
            return;
        }
        h.power_on(now, boot);
        self.note(|| format!("host {host} powers on"));
        self.boot_guard(host, boot);
    }

    /// Cuts a host's power: everything on it is gone at once.
    pub fn power_off(&mut self, host: u8) {
        self.note(|| format!("host {host} loses power"));
        let now = self.now;
        self.hosts.get_mut(&host).expect("a configured host").power_off(now);
        for guest in self.guests.values_mut().filter(|guest| guest.host == host) {
            guest.end();
            guest.reaped = true;
        }
        self.writers.retain(|writer| writer.host != host);
        self.end_operators(host);
    }

    /// A host loses its supply: its BMC is dead too, unless BMCs have a supply of their own.
    pub fn unplug(&mut self, host: u8) {
        self.hosts.get_mut(&host).expect("a configured host").supply = false;
        self.power_off(host);
    }

    /// Its supply is back; as its firmware is set, it stays off until somebody turns it on.
    pub fn plug(&mut self, host: u8) {
        self.hosts.get_mut(&host).expect("a configured host").supply = true;
    }

    /// Freezes a host and all on it, or lets it go on. Its clocks go on: nobody scheduled it.
    pub fn freeze(&mut self, host: u8, frozen: bool) {
        self.stand(host, frozen, false);
    }

    /// Suspends a host, or wakes it: all clocks but `CLOCK_BOOTTIME` stand still meanwhile.
    pub fn suspend(&mut self, host: u8, suspended: bool) {
        self.stand(host, suspended, true);
    }

    fn stand(&mut self, host: u8, frozen: bool, clocks_too: bool) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::Off || h.frozen == frozen {
            return;
        }
        h.frozen = frozen;
        let boot = h.boot;
        if clocks_too && h.stopped != Some(Stop::Clock) {
            h.tsc.stand(now, frozen);
        }
        self.note(|| format!("host {host} stands: {frozen}, clocks too: {clocks_too}"));
        let mut awake = Vec::new();
        for guest in self.guests.values_mut().filter(|guest| guest.host == host) {
            guest.frozen = frozen;
            if clocks_too && guest.mood != Mood::Paused {
                guest.clock.stand(now, frozen);
            }
            guest.wake = 0;
            self.wires.stand(now, guest.node, guest.frozen || guest.mood == Mood::Paused);
            awake.push((guest.node, guest.vm));
        }
        if frozen {
            return;
        }
        self.guard_turn(host, boot, None);
        for (node, vm) in awake {
            self.node_tick(node, vm);
        }
        self.hand_over(host);
    }

    /// A VM's process ends: its memory at once, its requests a little later. When it is gone.
    pub(super) fn vm_exits(&mut self, node: u8) -> Micros {
        let drain = 50 + self.random() % 3_000;
        let now = self.now;
        let guest = self.guests.get_mut(&node).expect("a configured node");
        if !guest.is_running() {
            // A process that exits already is gone no sooner for being killed.
            return if guest.reaped { now } else { guest.gone_at.max(now) };
        }
        guest.gone_at = now + drain;
        let (host, vm, boot, incarnation) = (guest.host, guest.vm, guest.boot, guest.incarnation);
        guest.end();
        if incarnation != 0 && self.hosts[&host].disks_qualify {
            // The process is not gone before its requests are.
            self.writers.push(Writer { node, incarnation, host, until: Some(now + drain) });
        }
        self.linger(host, node, incarnation);
        self.at(now + drain, Event::Reaped { host, boot, node, vm });
        now + drain
    }

    /// What the host still holds for a VM whose disks do not qualify (SAFETY E5).
    pub(super) fn linger(&mut self, host: u8, node: u8, incarnation: u64) {
        if incarnation != 0 && !self.hosts[&host].disks_qualify {
            let until = Some(self.now + 10_000 + self.random() % 20_000_000);
            self.writers.push(Writer { node, incarnation, host, until });
        }
    }

    pub(super) fn start_vm(&mut self, host: u8, node: u8, counter: u32) {
        self.note(|| format!("guard {host} starts node {node}, run {counter}"));
        let now = self.now;
        self.vms += 1;
        let vm = self.vms;
        let (boot, guards, drift) = (self.hosts[&host].boot, self.hosts[&host].guards, self.hosts[&host].drift);
        let guest = self.guests.get_mut(&node).expect("a configured node");
        assert!(!guest.is_running() && guest.reaped, "E4: node {node} has two VMs under one guard");
        guest.start(now, vm, counter, boot, guards, drift);
        let boots_in = 1_000_000 + self.random() % 500_000;
        self.at(now + boots_in, Event::NodeBooted { node, vm, boots: 0 });
    }

    /// A guest resets itself within its run, and boots again.
    pub fn reset_guest(&mut self, node: u8) {
        self.note(|| format!("node {node} resets itself"));
        let guest = self.guests.get_mut(&node).expect("a configured node");
        if !guest.is_running() || matches!(guest.mood, Mood::Reset | Mood::Paused) {
            return;
        }
        guest.mood = Mood::Well;
        let (host, incarnation, vm) = (guest.host, guest.incarnation, guest.vm);
        guest.reset();
        let boots = guest.boots;
        self.linger(host, node, incarnation);
        let life = self.hosts[&host].life;
        self.monitor(host, life, node, MonitorEvent::Reset, 100);
        self.at(self.now + 1_000_000, Event::NodeBooted { node, vm, boots });
    }

    /// Somebody says `cont` to a VM: what was paused goes on, what was reset boots.
    pub fn cont(&mut self, node: u8) {
        self.note(|| format!("somebody continues node {node}"));
        let now = self.now;
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let vm = guest.vm;
        match guest.mood {
            Mood::Paused => {
                guest.mood = Mood::Well;
                guest.clock.stand(now, false);
                guest.wake = 0;
                self.wires.stand(now, node, guest.frozen);
                self.node_tick(node, vm);
            }
            Mood::Reset => {
                guest.mood = Mood::Well;
                guest.clock.stand(now, false);
                let boots = guest.boots;
                self.at(now + 1_000_000, Event::NodeBooted { node, vm, boots });
            }
            _ => {}
        }
    }

    /// Somebody starts a second VM of a node by hand, where no guard knows of it: it has no channel, but it may write.
    pub fn start_by_hand(&mut self, node: u8, host: u8) {
        let incarnation = self.random() | 1;
        self.note(|| format!("somebody starts node {node} by hand on host {host}: {incarnation:x}"));
        if self.hosts[&host].power == Power::On {
            self.writers.push(Writer { node, incarnation, host, until: None });
        }
    }

    /// A node says that it leaves.
    pub fn bye(&mut self, node: u8) {
        self.note(|| format!("node {node} leaves"));
        // A guest that is paused, hangs or is gone says nothing.
        if self.guests[&node].mood != Mood::Well {
            return;
        }
        self.guest_says(node, &palisade_core::wire::node::Message::Bye);
        self.guests.get_mut(&node).expect("a configured node").left = true;
    }

    /// A node says that it is dying, and goes on all the same.
    pub fn gasp(&mut self, node: u8) {
        use palisade_core::wire::node::{Gasp, Message};
        self.note(|| format!("node {node} gasps"));
        if matches!(self.guests[&node].mood, Mood::Paused | Mood::Reset | Mood::Gone) {
            return;
        }
        self.guest_says(node, &Message::LastGasp { reason: Gasp::Other });
    }

    /// A guest's shim says something of its own accord.
    pub fn guest_says(&mut self, node: u8, message: &palisade_core::wire::node::Message) {
        self.guests.get_mut(&node).expect("a configured node").says(message);
        self.after_guest(node);
    }

    /// A host's clocks run fast by so many parts per million from now on.
    pub fn drift(&mut self, host: u8, ppm: i64) {
        let now = self.now;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        h.drift = ppm;
        h.clock.drifts(now, ppm);
        h.tsc.drifts(now, ppm);
        for guest in self.guests.values_mut().filter(|guest| guest.host == host) {
            guest.clock.drifts(now, -ppm);
        }
    }

    /// An appliance's clock jumps forward.
    pub fn jump(&mut self, host: u8, by: Micros) {
        let now = self.now;
        self.note(|| format!("the clock of the appliance of host {host} jumps by {by} us"));
        let h = self.hosts.get_mut(&host).expect("a configured host");
        h.tsc.jump(now, by);
        h.deadline = 0;
        let life = h.life;
        self.at(now + 1, Event::Tick { host, life });
    }
}
