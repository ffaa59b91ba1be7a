//! What may happen to the world: power, crashes, freezes, sick guests.

use super::{Event, Mood, Power, World};

impl World {
    /// Powers every host on.
    pub fn power_all(&mut self) {
        for host in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.power_on(host);
        }
    }

    /// Powers a host on: its guard starts at once, its appliance soon after.
    pub fn power_on(&mut self, host: u8) {
        let boot = self.random() | 1;
        let h = self.hosts.get_mut(&host).expect("a configured host");
        if h.power == Power::On {
            return;
        }
        h.power_on(boot);
        self.note(format!("host {host} powers on"));
        let delay = 250_000 + self.random() % 100_000;
        self.at(self.now + delay, Event::BootAppliance { host, boot });
        self.at(self.now, Event::GuardTick { host, boot });
    }

    /// Cuts a host's power: everything on it is gone at once.
    pub fn power_off(&mut self, host: u8) {
        self.note(format!("host {host} loses power"));
        self.hosts.get_mut(&host).expect("a configured host").power_off();
        for guest in self.guests.values_mut().filter(|guest| guest.host == host) {
            guest.end();
        }
        self.truth.sync(&self.guests);
    }

    /// Freezes a host and all on it, or lets it go on.
    pub fn freeze(&mut self, host: u8, frozen: bool) {
        self.note(format!("host {host} frozen: {frozen}"));
        let life = {
            let h = self.hosts.get_mut(&host).expect("a configured host");
            h.frozen = frozen;
            h.life
        };
        let boot = self.hosts[&host].boot;
        for guest in self.guests.values_mut().filter(|guest| guest.host == host) {
            guest.frozen = frozen;
        }
        if !frozen {
            self.at(self.now, Event::Tick { host, life });
            self.at(self.now, Event::GuardTick { host, boot });
            let nodes: Vec<(u8, u32)> =
                self.guests.values().filter(|g| g.host == host).map(|g| (g.node, g.run)).collect();
            for (node, run) in nodes {
                self.at(self.now, Event::NodeTick { node, run });
            }
        }
        self.truth.sync(&self.guests);
    }

    /// Kills an appliance alone; its guard starts it again at once.
    pub fn kill_appliance(&mut self, host: u8) {
        self.note(format!("the appliance of host {host} is killed"));
        let h = self.hosts.get_mut(&host).expect("a configured host");
        h.engine = None;
        h.life += 1;
        let boot = h.boot;
        let delay = 250_000 + self.random() % 200_000;
        self.at(self.now + delay, Event::BootAppliance { host, boot });
    }

    /// Does something to a node's guest.
    pub fn hit(&mut self, node: u8, mood: Mood) {
        self.note(format!("node {node}: {mood:?}"));
        let guest = self.guests.get_mut(&node).expect("a configured node");
        guest.mood = mood;
        let host = guest.host;
        match mood {
            Mood::Gone => self.vm_exits(node),
            Mood::Panicked => {
                let h = &self.hosts[&host];
                let (life, slot) = (h.life, h.slot(node));
                self.at(self.now + 500, Event::Monitor { host, life, slot, panicked: true });
            }
            _ => {}
        }
        self.truth.sync(&self.guests);
    }

    pub(super) fn vm_exits(&mut self, node: u8) {
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let (host, run) = (guest.host, guest.run);
        guest.end();
        self.truth.sync(&self.guests);
        let frames = self.hosts.get_mut(&host).map(|h| h.exited(node, run)).unwrap_or_default();
        self.guard_says(host, frames);
    }

    /// A guest resets itself within its run, and boots again.
    pub fn reset_guest(&mut self, node: u8) {
        self.note(format!("node {node} resets itself"));
        let guest = self.guests.get_mut(&node).expect("a configured node");
        guest.reset();
        let (run, host) = (guest.run, guest.host);
        self.truth.sync(&self.guests);
        let h = &self.hosts[&host];
        let (life, slot) = (h.life, h.slot(node));
        self.at(self.now, Event::Monitor { host, life, slot, panicked: false });
        self.at(self.now + 1_000_000, Event::NodeBooted { node, run });
    }
}
