//! What a person has to look after: devices and how their last trial went, holds, and the marks of hosts and nodes.
//!
//! Owns these layouts of STATUS.

use crate::fencing::drill::Trial;
use crate::id::HostId;
use crate::limits::{LEVEL_DEVICES_MAX, NAME_MAX, WHO_BYTES};
use crate::state::HoldKind;
use crate::who::Who;
use crate::wire::node::Target;
use crate::wire::{Error, Fields, Result, put};

/// No level that could fence its host was proven lately.
pub const UNPROTECTED: u8 = 1;
/// A person works on it.
pub const MAINTENANCE: u8 = 2;
/// Its configuration says that it is left alone.
pub const DISABLED: u8 = 4;
/// It stands still on purpose.
pub const PAUSED: u8 = 8;
/// It keeps dying, and is held off.
pub const QUARANTINE: u8 = 16;

/// The words for marks, in the order of their bits.
pub const MARKS: [(u8, &str); 5] = [
    (UNPROTECTED, "UNPROTECTED"),
    (MAINTENANCE, "maintenance"),
    (DISABLED, "disabled"),
    (PAUSED, "paused"),
    (QUARANTINE, "quarantine"),
];

/// One configured device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Its name, padded with zeros.
    pub name: [u8; NAME_MAX],
    /// How its last trial went, as the leader knows.
    pub trial: Trial,
    /// Who tried it.
    pub executor: HostId,
    /// How long ago, milliseconds; `u32::MAX`: never.
    pub age_ms: u32,
    /// The hosts that it switches.
    pub covers: [u8; LEVEL_DEVICES_MAX],
}

impl DeviceEntry {
    /// Bytes of one entry.
    pub const BYTES: usize = NAME_MAX + 12;

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        let length = self.name.iter().position(|&byte| byte == 0).unwrap_or(NAME_MAX);
        core::str::from_utf8(&self.name[..length]).unwrap_or("?")
    }

    /// Writes the entry.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, self.name);
        put(b, NAME_MAX, [self.trial as u8, self.executor.get(), 0, 0]);
        put(b, NAME_MAX + 4, self.age_ms.to_le_bytes());
        put(b, NAME_MAX + 8, self.covers);
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or an unknown result.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let b = Fields(bytes);
        if bytes.len() < Self::BYTES {
            return Err(Error);
        }
        Ok(Self {
            name: b.array(0),
            trial: Trial::from_wire(b.u8(NAME_MAX)).ok_or(Error)?,
            executor: HostId::new(b.u8(NAME_MAX + 1)),
            age_ms: b.u32(NAME_MAX + 4),
            covers: b.array(NAME_MAX + 8),
        })
    }
}

/// One hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldEntry {
    /// What it does.
    pub kind: HoldKind,
    /// To whom.
    pub target: Target,
    /// How long it still lasts, milliseconds; zero: it is over.
    pub left_ms: u32,
    /// Who asked for it.
    pub who: Who,
}

impl HoldEntry {
    /// Bytes of one entry.
    pub const BYTES: usize = 8 + WHO_BYTES;

    /// Writes the entry.
    pub fn emit(&self, b: &mut [u8]) {
        let (node, host) = match self.target {
            Target::Node(node) => (node.get(), 0),
            Target::Host(host) => (0, host.get()),
        };
        put(b, 0, [node, host, self.kind as u8, 0]);
        put(b, 4, self.left_ms.to_le_bytes());
        put(b, 8, self.who.0);
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or about nobody.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let b = Fields(bytes);
        if bytes.len() < Self::BYTES {
            return Err(Error);
        }
        Ok(Self {
            kind: HoldKind::from_wire(b.u8(2)).ok_or(Error)?,
            target: Target::read(&b)?,
            left_ms: b.u32(4),
            who: Who::from_wire(b.array(8)).ok_or(Error)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_their_bytes() {
        let mut name = [0; NAME_MAX];
        name[..4].copy_from_slice(b"bmc1");
        let device =
            DeviceEntry { name, trial: Trial::Failed, executor: HostId::new(3), age_ms: 4, covers: [1, 2, 0, 0] };
        let mut bytes = [0xa5; 64];
        device.emit(&mut bytes);
        assert_eq!((DeviceEntry::parse(&bytes), device.name()), (Ok(device), "bmc1"));
        let hold = HoldEntry {
            kind: HoldKind::Maintenance,
            target: Target::Host(HostId::new(7)),
            left_ms: 9,
            who: Who::new("ann").unwrap_or_default(),
        };
        hold.emit(&mut bytes);
        assert_eq!(HoldEntry::parse(&bytes), Ok(hold));
        assert!(HoldEntry::parse(&bytes[..31]).is_err() && DeviceEntry::parse(&bytes[..43]).is_err());
    }
}
