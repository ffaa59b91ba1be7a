//! Devices: what an order does to the world, when, and what is answered.

use super::{Bmc, Event, World};
use palisade_core::fencing::{Action, Class};
use palisade_core::io::{DeviceRef, Request};

impl World {
    pub(super) fn drive(&mut self, host: u8, life: u32, request: &Request) {
        self.note(format!("host {host} drives {:?} {:?} {:?}", request.device, request.action, request.run));
        let mut confirmed = None;
        let mut failed = false;
        let mut delay = 2_000;
        match (request.device, request.action) {
            (DeviceRef::Monitor(slot), Action::Off) => {
                let node = self.hosts[&host].node(slot);
                let guest = self.guests.get_mut(&node).expect("a configured node");
                if guest.run == request.run.counter && guest.is_running() && guest.storage_answers {
                    guest.stop_and_reset();
                    confirmed = Some(Class::VmStopped as u8);
                }
            }
            (DeviceRef::Guard(slot), Action::Off) => {
                let node = self.hosts[&host].node(slot);
                if self.guests[&node].run == request.run.counter && self.guests[&node].is_running() {
                    self.vm_exits(node);
                }
                confirmed = Some(Class::VmGone as u8);
            }
            (DeviceRef::Configured(index), action) => {
                let target = self.config.devices[usize::from(index)].covers[0];
                self.truth.ordered(self.now, host, target, action);
                match self.bmcs[&target] {
                    Bmc::Works(span) => {
                        let on = action == Action::On;
                        self.at(self.now + span / 2, Event::BmcActs { host: target, on });
                        confirmed = Some(Class::PowerOff as u8);
                        delay = span;
                    }
                    Bmc::Dead => delay = request.timeout.since(request.valid_until).as_micros() + 3_000_000,
                    Bmc::Refuses => failed = true,
                }
            }
            _ => failed = true,
        }
        self.truth.sync(&self.guests);
        self.at(self.now + delay, Event::DeviceDone { host, life, job: request.job, confirmed, failed });
    }
}
