//! What STATUS tells a person to look after: devices, holds, and the marks of hosts and nodes.

use super::Engine;
use crate::config::Device;
use crate::id::HostId;
use crate::limits::{LEVEL_DEVICES_MAX, NAME_MAX};
use crate::state::Hold;
use crate::status::{DISABLED, DeviceEntry, HoldEntry, MAINTENANCE, PAUSED, QUARANTINE, UNPROTECTED};
use crate::time::Instant;
use crate::wire::node::Target;

impl Engine {
    /// The marks of a target, and of the host that it is or is on.
    pub(super) fn marks(&self, now: Instant, target: Target, host: HostId) -> u8 {
        let (config, view) = (self.config(), self.view());
        let mark = |bit: u8, set: bool| if set { bit } else { 0 };
        let entry = config.host(host);
        // Devices are tried by the leader, and only it knows.
        let unprotected = entry.is_some_and(|entry| self.drills.is_unprotected(config, now, entry));
        let maintained = view.holds.maintains(target) || view.holds.maintains(Target::Host(host));
        let disabled = entry.is_some_and(|entry| entry.disabled);
        let common = mark(UNPROTECTED, self.proposer.leads() && unprotected) | mark(MAINTENANCE, maintained);
        let Target::Node(node) = target else { return common | mark(DISABLED, disabled) };
        let row = view.node(node);
        let own = config.node(node).is_some_and(|node| node.disabled);
        common
            | mark(DISABLED, disabled || own)
            | mark(PAUSED, view.holds.pauses(node, row.incarnation, row.run))
            | mark(QUARANTINE, view.holds.is_held_off(node))
    }

    pub(super) fn device_entry(&self, now: Instant, index: usize, device: &Device) -> DeviceEntry {
        let drilled = self.drills.of(index);
        let known = drilled.at != Instant::ZERO && self.proposer.leads();
        let age_ms = u32::try_from(now.since(drilled.at).as_millis()).unwrap_or(u32::MAX);
        let mut name = [0; NAME_MAX];
        name[..device.name.len()].copy_from_slice(device.name.as_bytes());
        let mut covers = [0; LEVEL_DEVICES_MAX];
        covers[..device.covers.len()].copy_from_slice(&device.covers);
        let (trial, executor) = if known { (drilled.trial, drilled.executor) } else { Default::default() };
        DeviceEntry { name, trial, executor, age_ms: if known { age_ms } else { u32::MAX }, covers }
    }

    pub(super) fn hold_entry(&self, now: Instant, hold: &Hold) -> HoldEntry {
        let past = u32::try_from(self.ages.hold_for(now, hold).as_millis()).unwrap_or(u32::MAX);
        let left_ms = if hold.over { 0 } else { hold.duration_ms.saturating_sub(past) };
        HoldEntry { kind: hold.kind, target: hold.target, left_ms, who: hold.who }
    }
}
