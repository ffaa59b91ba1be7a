//! What the view says about groups: which volumes are mounted, by whom, and which fates are still to be told.
//!
//! Owns both kinds of rows. A node has at most two rows in a group: one where it stands, and one with the fate of an earlier
//! incarnation that not every member has recovered from. The rows of a group stand together, by node. Decides nothing.

use super::row::{Key, Kind, Row, Sink};
use crate::id::{Incarnation, Label, NodeId, Volume};
use crate::limits::{GROUPS_MAX, MEMBERSHIPS_MAX};
use crate::wire::node::Fate;
use crate::wire::{Error, Result, put};
use heapless::Vec;

/// Bytes of a group's row's body.
pub(super) const GROUP_BYTES: usize = 44;
/// Bytes of a membership's row's body.
pub(super) const MEMBER_BYTES: usize = 12;

/// A group by its number, 1..=`GROUPS_MAX`.
pub type GroupNumber = u8;

/// How far a group's barrier is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// No barrier: all members run with one set, and have recovered.
    #[default]
    Idle = 0,
    /// Members stop; the dead wait for their proof.
    Stopping = 1,
    /// Set and fates are fixed; members start and recover.
    Starting = 2,
}

impl Phase {
    /// The phase with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Idle,
            1 => Self::Stopping,
            2 => Self::Starting,
            _ => return None,
        })
    }
}

/// What the view says about one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Its cluster.
    pub cluster: Label,
    /// Its volume; none: no group has this number.
    pub volume: Volume,
    /// How far its barrier is.
    pub phase: Phase,
    /// The version of the view that opened the last barrier (SAFETY G1).
    pub generation: u64,
}

impl GroupRow {
    /// No group; all zero.
    pub const NONE: Self = Self { cluster: Label::NONE, volume: Label::NONE, phase: Phase::Idle, generation: 0 };
}

/// Where a node stands in a group, or what became of an earlier incarnation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// It comes in with the open barrier.
    Joining = 1,
    /// It is in the set.
    Member = 2,
    /// It is in the set, and goes with the open barrier.
    Leaving = 3,
    /// It died in the set; its recovery was not taken yet.
    Dead = 4,
    /// It died in the set, and its owner has recovered it.
    Recovered = 5,
    /// It left.
    Left = 6,
    /// It was to join and died before it started.
    NeverStarted = 7,
}

impl Standing {
    /// The standing with this number on the wire.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        use Standing::{Dead, Joining, Leaving, Left, Member, NeverStarted, Recovered};
        [Joining, Member, Leaving, Dead, Recovered, Left, NeverStarted].into_iter().find(|s| *s as u8 == number)
    }

    /// Whether it is over: the row is a fate.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Dead | Self::Recovered | Self::Left | Self::NeverStarted)
    }

    /// Whether it is in the set that runs, or ran until the barrier opened (SAFETY G6).
    #[must_use]
    pub const fn is_in_set(self) -> bool {
        matches!(self, Self::Member | Self::Leaving)
    }

    /// What a START says of it; `None`: nothing, it was not started with.
    #[must_use]
    pub const fn fate(self) -> Option<Fate> {
        match self {
            Self::Member => Some(Fate::Member),
            Self::Dead | Self::Recovered => Some(Fate::Dead),
            Self::Left => Some(Fate::Left),
            Self::NeverStarted => Some(Fate::NeverStarted),
            Self::Joining | Self::Leaving => None,
        }
    }
}

/// What the view says about one node in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: GroupNumber,
    /// The node.
    pub node: NodeId,
    /// Where it stands.
    pub standing: Standing,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
}

impl Membership {
    const fn key(&self) -> Key {
        [self.group, self.node.get(), self.standing.is_over() as u8]
    }
}

/// All groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    rows: [GroupRow; GROUPS_MAX],
    members: Vec<Membership, MEMBERSHIPS_MAX>,
}

impl Groups {
    /// None; all zero.
    pub const EMPTY: Self = Self { rows: [GroupRow::NONE; GROUPS_MAX], members: Vec::new() };

    /// The row of a group.
    #[must_use]
    pub fn get(&self, group: GroupNumber) -> &GroupRow {
        usize::from(group).checked_sub(1).and_then(|place| self.rows.get(place)).unwrap_or(&GroupRow::NONE)
    }

    /// The same, to change; only of a group that there is.
    pub fn get_mut(&mut self, group: GroupNumber) -> &mut GroupRow {
        &mut self.rows[usize::from(group) - 1]
    }

    /// All groups that there are.
    pub fn iter(&self) -> impl Iterator<Item = (GroupNumber, &GroupRow)> {
        (1u8..).zip(&self.rows).filter(|(_, row)| row.volume.is_some())
    }

    /// The group of a volume.
    #[must_use]
    pub fn of(&self, volume: Volume) -> Option<GroupNumber> {
        self.iter().find(|(_, row)| row.volume == volume).map(|(group, _)| group)
    }

    /// Whether any barrier is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.rows.iter().any(|row| row.phase != Phase::Idle)
    }

    /// All rows of a group, by node; of one node, where it stands comes first.
    #[must_use]
    pub fn members(&self, group: GroupNumber) -> &[Membership] {
        let from = self.members.partition_point(|row| row.group < group);
        let to = self.members.partition_point(|row| row.group <= group);
        self.members.get(from..to).unwrap_or_default()
    }

    /// All rows of all groups.
    #[must_use]
    pub fn memberships(&self) -> &[Membership] {
        &self.members
    }

    fn find(&self, key: Key) -> core::result::Result<usize, usize> {
        let at = self.members.partition_point(|row| row.key() < key);
        if self.members.get(at).is_some_and(|row| row.key() == key) { Ok(at) } else { Err(at) }
    }

    fn row(&self, key: Key) -> Option<&Membership> {
        self.find(key).ok().and_then(|at| self.members.get(at))
    }

    /// Where a node stands in a group, if it does.
    #[must_use]
    pub fn standing(&self, group: GroupNumber, node: NodeId) -> Option<&Membership> {
        self.row([group, node.get(), 0])
    }

    /// The fate of an earlier incarnation of a node that is still to be told.
    #[must_use]
    pub fn fate(&self, group: GroupNumber, node: NodeId) -> Option<&Membership> {
        self.row([group, node.get(), 1])
    }

    /// Whether somebody's death is not recovered from yet.
    #[must_use]
    pub fn has_dead(&self, group: GroupNumber) -> bool {
        self.members(group).iter().any(|row| row.standing == Standing::Dead)
    }

    /// Whether a node stands in any group under this incarnation.
    #[must_use]
    pub fn stands(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let rows = self.iter().filter_map(|(group, _)| self.standing(group, node));
        rows.into_iter().any(|row| row.incarnation == incarnation)
    }

    /// The number of a new group. `None`: there is no room.
    pub fn create(&mut self, cluster: Label, volume: Volume) -> Option<GroupNumber> {
        let (number, row) = (1u8..).zip(&mut self.rows).find(|(_, row)| !row.volume.is_some())?;
        *row = GroupRow { cluster, volume, ..GroupRow::NONE };
        Some(number)
    }

    /// Whether another membership has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.members.is_full()
    }

    /// Writes a row, over the one with its key if there is one. Whether there was room.
    pub fn put(&mut self, row: Membership) -> bool {
        match self.find(row.key()) {
            Ok(at) => {
                self.members[at] = row;
                true
            }
            Err(at) => self.members.insert(at, row).is_ok(),
        }
    }

    /// Changes each row of a group, or takes it out: what `change` returns is written in its place. No row may change its
    /// node, and none may become a fate here that is there already.
    pub fn rewrite(&mut self, group: GroupNumber, mut change: impl FnMut(&Membership) -> Option<Membership>) {
        self.members.retain_mut(|row| {
            if row.group != group {
                return true;
            }
            let changed = change(row);
            if let Some(changed) = changed {
                *row = changed;
            }
            changed.is_some()
        });
    }

    /// Forgets groups without rows.
    pub fn forget_empty(&mut self) {
        for number in (1u8..).take(GROUPS_MAX) {
            if self.members(number).is_empty() {
                *self.get_mut(number) = GroupRow::NONE;
            }
        }
    }

    pub(super) fn copy_from(&mut self, other: &Self) {
        self.rows.copy_from_slice(&other.rows);
        self.members.clear();
        let _fits = self.members.extend_from_slice(&other.members);
    }

    pub(super) fn clear(&mut self) {
        self.rows.fill(GroupRow::NONE);
        self.members.clear();
    }

    pub(super) fn encode(&self, sink: &mut Sink<'_>) {
        for (number, row) in self.iter() {
            let b = sink.row(Kind::Group, [0, 0, number]);
            put(b, 0, [row.phase as u8]);
            put(b, 4, row.generation.to_le_bytes());
            put(b, 12, row.cluster.0);
            put(b, 28, row.volume.0);
        }
        for row in &self.members {
            let b = sink.row(Kind::Membership, row.key());
            put(b, 0, [row.standing as u8]);
            put(b, 4, row.incarnation.to_le_bytes());
        }
    }

    pub(super) fn decode_group(&mut self, row: &Row<'_>) -> Result<()> {
        let place = match row.key {
            [0, 0, number] => usize::from(number).checked_sub(1).and_then(|place| self.rows.get_mut(place)),
            _ => None,
        };
        let b = row.body;
        let phase = Phase::from_wire(b.u8(0)).ok_or(Error)?;
        let decoded = GroupRow { cluster: Label(b.array(12)), volume: Label(b.array(28)), phase, generation: b.u64(4) };
        if !decoded.volume.is_some() {
            return Err(Error);
        }
        *place.ok_or(Error)? = decoded;
        Ok(())
    }

    pub(super) fn decode_member(&mut self, row: &Row<'_>) -> Result<()> {
        let standing = Standing::from_wire(row.body.u8(0)).ok_or(Error)?;
        let [group, node, _] = row.key;
        let decoded = Membership { group, node: NodeId::new(node), standing, incarnation: row.body.u64(4) };
        let sound = decoded.key() == row.key && node != 0 && self.get(group).volume.is_some();
        if !sound || !self.put(decoded) {
            return Err(Error);
        }
        Ok(())
    }
}
