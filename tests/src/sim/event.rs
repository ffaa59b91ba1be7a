//! What is going to happen, and the queue of it.
//!
//! Owns the order: by time, then by the order in which things were put in. The heap holds small keys only; what happens
//! lies beside it.

use super::{Bytes, Micros};
use palisade_core::fencing::Verdict;
use palisade_core::io::MonitorEvent;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What comes to an appliance.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A datagram, on a link.
    Datagram(u8, Bytes),
    /// Bytes of the guard.
    Guard(Vec<u8>),
    /// Bytes of the node in a slot.
    Node(u8, Vec<u8>),
    /// A monitor's event.
    Monitor(u8, MonitorEvent),
    /// A device's answer to a job.
    Device(u32, Verdict),
    /// A vsock connection with this CID.
    Opened(u8, u32),
    /// Its bytes.
    Vsock(u8, Vec<u8>),
    /// Its end.
    Closed(u8),
}

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    Tick { host: u8, life: u32 },
    Arrives { host: u8, life: u32, what: Arrival },
    ToGuard { host: u8, boot: u64, life: u32, bytes: Vec<u8> },
    ToNode { node: u8, life: u32, bytes: Vec<u8> },
    Act { host: u8, act: super::devices::Act },
    BootAppliance { host: u8, boot: u64, life: u32 },
    BootGuard { host: u8, boot: u64 },
    GuardTurn { host: u8, boot: u64 },
    Recorded { host: u8, boot: u64, life: u32, node: u8 },
    Reaped { host: u8, boot: u64, node: u8, vm: u32 },
    Drained { node: u8, vm: u32, resets: bool, life: u32, job: u32 },
    NodeTick { node: u8, vm: u32 },
    NodeBooted { node: u8, vm: u32, boots: u32 },
    Operator { host: u8, asks: super::operators::Wish },
}

/// All that is going to happen.
#[derive(Debug, Default)]
pub(super) struct Queue {
    keys: BinaryHeap<Reverse<(Micros, u64, u32)>>,
    events: Vec<Option<Event>>,
    free: Vec<u32>,
    serial: u64,
}

impl Queue {
    /// Something will happen then.
    pub fn push(&mut self, when: Micros, event: Event) {
        self.serial += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            u32::try_from(self.events.len() - 1).expect("fewer events than that")
        });
        self.events[usize::try_from(place).expect("small")] = Some(event);
        self.keys.push(Reverse((when, self.serial, place)));
    }

    /// The next thing that happens until then.
    pub fn pop(&mut self, until: Micros) -> Option<(Micros, Event)> {
        if self.keys.peek().is_none_or(|Reverse((when, ..))| *when > until) {
            return None;
        }
        let Reverse((when, _, place)) = self.keys.pop()?;
        self.free.push(place);
        let event = self.events[usize::try_from(place).expect("small")].take().expect("its key was there");
        Some((when, event))
    }

    /// Whatever is such will not happen: a tick of nobody does instead.
    pub fn lose(&mut self, mut such: impl FnMut(&Event) -> bool) {
        for event in self.events.iter_mut().flatten().filter(|event| such(event)) {
            *event = Event::Tick { host: 1, life: u32::MAX };
        }
    }

    /// Whether anything that is to happen is such.
    pub fn any(&self, mut such: impl FnMut(&Event) -> bool) -> bool {
        self.events.iter().flatten().any(&mut such)
    }
}
