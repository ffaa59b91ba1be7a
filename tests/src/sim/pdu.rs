//! Outlets of power distribution units: a host with outlets has power as long as one of them is on.
//!
//! A device whose name begins with `pdu` is one outlet, and feeds the host that it covers. A BMC without power is silent.

use super::devices::Act;
use super::event::Event;
use super::{Bmc, Micros, Power, World};
use palisade_core::config::Config;
use palisade_core::fencing::{Action, Class, Verdict};
use std::collections::BTreeMap;

/// One outlet.
#[derive(Clone, Copy, Debug)]
pub struct Outlet {
    /// The host that it feeds.
    pub host: u8,
    /// It gives power.
    pub on: bool,
    /// How its controller behaves.
    pub mood: Bmc,
}

pub(super) fn outlets(config: &Config) -> BTreeMap<u16, Outlet> {
    let devices = (0u16..).zip(&config.devices).filter(|(_, device)| device.name.starts_with("pdu"));
    let outlet = |host| Outlet { host, on: true, mood: Bmc::Works(5_000) };
    devices.map(|(index, device)| (index, outlet(device.covers[0]))).collect()
}

impl World {
    /// Whether power reaches this host's sockets.
    #[must_use]
    pub fn is_fed(&self, host: u8) -> bool {
        let mut own = self.outlets.values().filter(|outlet| outlet.host == host).peekable();
        own.peek().is_none() || own.any(|outlet| outlet.on)
    }

    /// Does what an order to an outlet says; when it answers what, if ever.
    pub(super) fn outlet(&mut self, device: u16, action: Action) -> Option<(Micros, Verdict)> {
        let outlet = self.outlets[&device];
        let now = self.now;
        match (outlet.mood, action) {
            (Bmc::Refuses, _) => Some((now + 2_000, Verdict::Failed)),
            (Bmc::Works(span), Action::Status) => {
                Some((now + span, if outlet.on { Verdict::SeenOn } else { Verdict::SeenOff }))
            }
            (Bmc::Works(span), action) => {
                let on = action == Action::On;
                self.at(now + span / 2, Event::Act { host: outlet.host, act: Act::Outlet(device, on) });
                Some((now + span, if on { Verdict::Unknown } else { Verdict::Confirmed(Class::PowerOff) }))
            }
            _ => None,
        }
    }

    /// An outlet is switched, by whomever.
    pub fn outlet_acts(&mut self, device: u16, on: bool) {
        self.note(|| format!("outlet {device} is {}", if on { "on" } else { "off" }));
        if let Some(outlet) = self.outlets.get_mut(&device) {
            outlet.on = on;
            let host = outlet.host;
            if !self.is_fed(host) && self.hosts[&host].power == Power::On {
                self.truth.hit(self.now, &self.hosts, host);
                self.power_off(host);
            }
        }
    }
}
