//! Writing and reading the fields of a message one after another.

use super::Slot;
use crate::id::{Ballot, Cluster, HostId, NodeId};
use crate::wire::node::Target;
use crate::wire::{Error, Fields, Result, put};

/// Writes fields one after another behind the kind byte.
pub(super) struct Writer<'b> {
    pub buffer: &'b mut [u8],
    pub at: usize,
}

impl Writer<'_> {
    pub fn bytes<const N: usize>(&mut self, bytes: [u8; N]) -> &mut Self {
        put(self.buffer, self.at, bytes);
        self.at += N;
        self
    }
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes([value])
    }
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(value.to_le_bytes())
    }
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(value.to_le_bytes())
    }
    pub fn ballot(&mut self, ballot: Ballot) -> &mut Self {
        self.u32(ballot.round).u8(ballot.host.get())
    }
    pub fn slot(&mut self, slot: Slot) -> &mut Self {
        self.ballot(slot.ballot).u64(slot.version)
    }
    pub fn cluster(&mut self, cluster: Cluster) -> &mut Self {
        self.u32(cluster.number).u32(cluster.random)
    }
    pub fn target(&mut self, target: Target) -> &mut Self {
        match target {
            Target::Node(node) => self.u8(0).u8(node.get()),
            Target::Host(host) => self.u8(1).u8(host.get()),
        }
    }
}

/// Reads fields one after another; past the end it reads zeros, which the final length check refuses.
pub(super) struct Reader<'a> {
    pub fields: Fields<'a>,
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { fields: Fields(bytes), at: 0 }
    }
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.fields.array(self.at);
        self.at += N;
        bytes
    }
    pub fn u8(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }
    pub fn flag(&mut self) -> Result<bool> {
        match self.u8() {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error),
        }
    }
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
    pub fn ballot(&mut self) -> Ballot {
        Ballot { round: self.u32(), host: HostId::new(self.u8()) }
    }
    pub fn slot(&mut self) -> Slot {
        Slot { ballot: self.ballot(), version: self.u64() }
    }
    pub fn cluster(&mut self) -> Cluster {
        Cluster { number: self.u32(), random: self.u32() }
    }
    pub fn target(&mut self) -> Result<Target> {
        match (self.u8(), self.u8()) {
            (_, 0) => Err(Error),
            (0, node) => Ok(Target::Node(NodeId::new(node))),
            (1, host) => Ok(Target::Host(HostId::new(host))),
            _ => Err(Error),
        }
    }
}
