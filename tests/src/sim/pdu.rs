//! Outlets of power distribution units: a host with outlets has power as long as one of them is on.
//!
//! A device whose name begins with `pdu` is one outlet, and feeds the host that it covers. A BMC without power is silent.

use super::{Bmc, Event, Micros, Power, World};
use palisade_core::config::Config;
use palisade_core::fencing::{Action, Class, Verdict};
use palisade_core::io::Request;
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

    /// Does what an order to an outlet says; what is answered, and after how long.
    pub(super) fn drive_outlet(&mut self, host: u8, device: u16, request: &Request) -> (Verdict, Micros) {
        let outlet = self.outlets[&device];
        if request.action != Action::Status {
            self.truth.ordered(self.now, host, outlet.host, request.action);
        }
        match (outlet.mood, request.action) {
            (Bmc::Refuses, _) => (Verdict::Failed, 2_000),
            (Bmc::Dead, _) => (Verdict::Unknown, request.timeout.since(request.valid_until).as_micros() + 3_000_000),
            (Bmc::Works(span), Action::Status) => (if outlet.on { Verdict::SeenOn } else { Verdict::SeenOff }, span),
            (Bmc::Works(span), action) => {
                let on = action == Action::On;
                self.at(self.now + span / 2, Event::OutletActs { device, on });
                (if on { Verdict::Unknown } else { Verdict::Confirmed(Class::PowerOff) }, span)
            }
        }
    }

    /// An outlet is switched, by whomever.
    pub fn outlet_acts(&mut self, device: u16, on: bool) {
        self.note(format!("outlet {device} is {}", if on { "on" } else { "off" }));
        if let Some(outlet) = self.outlets.get_mut(&device) {
            outlet.on = on;
            let host = outlet.host;
            if !self.is_fed(host) && self.hosts[&host].power == Power::On {
                self.power_off(host);
            }
        }
    }
}
