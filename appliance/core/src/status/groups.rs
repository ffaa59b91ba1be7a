//! STATUS about groups, their members and takeovers.
//!
//! Owns the three entries and their bytes. They say what the committed view says; what a step still waits for follows from
//! the nodes' own entries and from the phase.

use crate::id::{Incarnation, Label, NodeId, Volume};
use crate::state::groups::{Phase, Standing};
use crate::state::takeovers::Progress;
use crate::wire::node::What;
use crate::wire::{Error, Fields, Result, put};

/// One group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEntry {
    /// Its number.
    pub group: u8,
    /// How far its barrier is.
    pub phase: Phase,
    /// How many are in its set.
    pub members: u8,
    /// How many fates not every member has recovered from.
    pub fates: u8,
    /// The version of the view that opened its last barrier.
    pub generation: u64,
    /// Its cluster.
    pub cluster: Label,
    /// Its volume.
    pub volume: Volume,
}

impl GroupEntry {
    /// Bytes of one entry.
    pub const BYTES: usize = 48;

    /// Writes the entry.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, [self.group, self.phase as u8, self.members, self.fates]);
        put(b, 8, self.generation.to_le_bytes());
        put(b, 16, self.cluster.0);
        put(b, 32, self.volume.0);
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or an unknown phase.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let b = Fields(bytes);
        let phase = Phase::from_wire(b.u8(1)).filter(|_| bytes.len() >= Self::BYTES).ok_or(Error)?;
        let (group, members, fates) = (b.u8(0), b.u8(2), b.u8(3));
        let (cluster, volume) = (Label(b.array(16)), Label(b.array(32)));
        Ok(Self { group, phase, members, fates, generation: b.u64(8), cluster, volume })
    }
}

/// One node in one group, or its fate there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberEntry {
    /// The group's number.
    pub group: u8,
    /// The node.
    pub node: NodeId,
    /// Where it stands.
    pub standing: Standing,
    /// Which incarnation.
    pub incarnation: Incarnation,
}

impl MemberEntry {
    /// Bytes of one entry.
    pub const BYTES: usize = 16;

    /// Writes the entry.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, [self.group, self.node.get(), self.standing as u8]);
        put(b, 8, self.incarnation.to_le_bytes());
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or an unknown standing.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let b = Fields(bytes);
        let standing = Standing::from_wire(b.u8(2)).filter(|_| bytes.len() >= Self::BYTES).ok_or(Error)?;
        Ok(Self { group: b.u8(0), node: NodeId::new(b.u8(1)), standing, incarnation: b.u64(8) })
    }
}

/// One takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeoverEntry {
    /// What.
    pub what: What,
    /// Whose it was; none: nobody's.
    pub dead: NodeId,
    /// Whose it is; none: it waits.
    pub owner: NodeId,
    /// How far it is.
    pub progress: Progress,
    /// How often an owner failed in a row.
    pub failures: u8,
    /// Which incarnation it was.
    pub dead_incarnation: Incarnation,
    /// Which incarnation it is.
    pub owner_incarnation: Incarnation,
    /// The version of the view that named the owner.
    pub token: u64,
}

impl TakeoverEntry {
    /// Bytes of one entry.
    pub const BYTES: usize = 48;

    /// Writes the entry.
    pub fn emit(&self, b: &mut [u8]) {
        let (code, label) = match self.what {
            What::Recovery(volume) => (1, volume),
            What::Named(name) => (2, name),
        };
        put(b, 0, [code, self.dead.get(), self.owner.get(), self.progress as u8, self.failures]);
        put(b, 8, self.dead_incarnation.to_le_bytes());
        put(b, 16, self.owner_incarnation.to_le_bytes());
        put(b, 24, self.token.to_le_bytes());
        put(b, 32, label.0);
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// Too short, or an unknown service or progress.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let b = Fields(bytes);
        let label = Label(b.array(32));
        let what = match b.u8(0) {
            1 if bytes.len() >= Self::BYTES => What::Recovery(label),
            2 if bytes.len() >= Self::BYTES => What::Named(label),
            _ => return Err(Error),
        };
        Ok(Self {
            what,
            dead: NodeId::new(b.u8(1)),
            owner: NodeId::new(b.u8(2)),
            progress: Progress::from_wire(b.u8(3)).ok_or(Error)?,
            failures: b.u8(4),
            dead_incarnation: b.u64(8),
            owner_incarnation: b.u64(16),
            token: b.u64(24),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_survive_their_bytes() {
        let mut bytes = [0; 48];
        let (cluster, volume) = (Label::named("mail"), Label([7; 16]));
        let group =
            GroupEntry { group: 1, phase: Phase::Starting, members: 2, fates: 3, generation: 4, cluster, volume };
        group.emit(&mut bytes);
        assert_eq!(GroupEntry::parse(&bytes), Ok(group));
        assert!(GroupEntry::parse(&bytes[..47]).is_err());
        let member = MemberEntry { group: 1, node: NodeId::new(2), standing: Standing::Dead, incarnation: 3 };
        member.emit(&mut bytes);
        assert_eq!(MemberEntry::parse(&bytes), Ok(member));
        let takeover = TakeoverEntry {
            what: What::Recovery(volume),
            dead: NodeId::new(1),
            owner: NodeId::new(2),
            progress: Progress::Ordered,
            failures: 3,
            dead_incarnation: 4,
            owner_incarnation: 5,
            token: 6,
        };
        takeover.emit(&mut bytes);
        assert_eq!(TakeoverEntry::parse(&bytes), Ok(takeover));
        assert!(TakeoverEntry::parse(&bytes[..40]).is_err());
    }
}
