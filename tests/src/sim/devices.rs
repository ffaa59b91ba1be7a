//! Devices: what an order does to the world, when, and what is answered.

use super::{Bmc, Event, Micros, Power, World};
use palisade_core::fencing::{Action, Class, Verdict};
use palisade_core::io::{DeviceRef, Request};

impl World {
    pub(super) fn drive(&mut self, host: u8, life: u32, request: &Request) {
        self.note(format!("host {host} drives {:?} {:?} {:?}", request.device, request.action, request.run));
        let (verdict, delay) = match (request.device, request.action) {
            (DeviceRef::Monitor(slot), Action::Off) => {
                let node = self.hosts[&host].node(slot);
                let guest = self.guests.get_mut(&node).expect("a configured node");
                if guest.run == request.run.counter && guest.is_running() && guest.storage_answers {
                    guest.stop_and_reset();
                    (Verdict::Confirmed(Class::VmStopped), 2_000)
                } else {
                    (Verdict::Unknown, 2_000)
                }
            }
            (DeviceRef::Guard(slot), Action::Off) => {
                let node = self.hosts[&host].node(slot);
                if self.guests[&node].run == request.run.counter && self.guests[&node].is_running() {
                    self.vm_exits(node);
                }
                (Verdict::Confirmed(Class::VmGone), 2_000)
            }
            (DeviceRef::Configured(index), _) if self.outlets.contains_key(&index) => {
                self.drive_outlet(host, index, request)
            }
            (DeviceRef::Configured(index), _) => {
                let target = self.config.devices[usize::from(index)].covers[0];
                self.drive_bmc(host, target, request)
            }
            _ => (Verdict::Failed, 2_000),
        };
        self.truth.sync(&self.guests);
        self.at(self.now + delay, Event::DeviceDone { host, life, job: request.job, verdict });
    }

    fn drive_bmc(&mut self, host: u8, target: u8, request: &Request) -> (Verdict, Micros) {
        let action = request.action;
        if action != Action::Status {
            self.truth.ordered(self.now, host, target, action);
        }
        let bmc = if self.is_fed(target) { self.bmcs[&target] } else { Bmc::Dead };
        match bmc {
            Bmc::Refuses => (Verdict::Failed, 2_000),
            Bmc::Dead => (Verdict::Unknown, request.timeout.since(request.valid_until).as_micros() + 3_000_000),
            Bmc::Works(span) if action == Action::Status => {
                let is_on = self.hosts[&target].power == Power::On;
                (if is_on { Verdict::SeenOn } else { Verdict::SeenOff }, span)
            }
            Bmc::Works(span) => {
                let on = action == Action::On;
                self.at(self.now + span / 2, Event::BmcActs { host: target, on });
                (if on { Verdict::Unknown } else { Verdict::Confirmed(Class::PowerOff) }, span)
            }
        }
    }
}
