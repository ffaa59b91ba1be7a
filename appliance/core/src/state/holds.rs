//! What holds the harness or a node back for a while: pauses, maintenance, quarantine; and who asked for an open fence.
//!
//! Owns the rows. They say for how long, never until when: clocks of different appliances are not comparable, so each counts
//! from when it saw the row committed (`fencing::ages`), and the leader's count ends it by a commit. Rules: SAFETY H2-H4.

use super::row::{Kind, Row, Sink};
use crate::id::{HostId, Incarnation, NodeId, Run};
use crate::limits::{HOLDS_MAX, ID_SLOTS, WHO_BYTES};
use crate::who::Who;
use crate::wire::node::Target;
use crate::wire::{Error, Fields, Result, put};

/// Bytes of the body of a hold's row.
pub(super) const HOLD_BODY_BYTES: usize = 48 + WHO_BYTES;
/// Bytes of the body of a flap's row.
pub(super) const FLAP_BODY_BYTES: usize = 4;

/// What a hold does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum HoldKind {
    /// No hold.
    #[default]
    None = 0,
    /// This run of a node stands still on purpose: its silence is not accused (SAFETY H4).
    Pause = 1,
    /// A person works on the target: it is neither accused nor ordered off (SAFETY H3).
    Maintenance = 2,
    /// Holds nothing: who asked for the fence that is open.
    Asked = 3,
}

impl HoldKind {
    /// The kind with this number on the wire.
    pub(crate) const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Pause,
            2 => Self::Maintenance,
            3 => Self::Asked,
            _ => return None,
        })
    }

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Pause => "pause",
            Self::Maintenance => "maintenance",
            Self::Asked => "fence",
        }
    }
}

/// One of them. At most one of a kind for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What it does.
    pub kind: HoldKind,
    /// To whom.
    pub target: Target,
    /// A pause belongs to this incarnation ...
    pub incarnation: Incarnation,
    /// ... in this run.
    pub run: Run,
    /// For how long, milliseconds.
    pub duration_ms: u32,
    /// The request that it comes from: the same one again is granted already.
    pub request: u64,
    /// The version that granted it.
    pub granted: u64,
    /// Its time is over; what remains of a pause is that silence is no lease proof.
    pub over: bool,
    /// Who asked.
    pub who: Who,
}

impl Hold {
    const NONE: Self = Self {
        kind: HoldKind::None,
        target: Target::Node(NodeId::NONE),
        incarnation: 0,
        run: Run::NONE,
        duration_ms: 0,
        request: 0,
        granted: 0,
        over: false,
        who: Who::NONE,
    };

    fn key(&self) -> [u8; 3] {
        key(self.kind, self.target)
    }

    fn encode(&self, sink: &mut Sink<'_>) {
        let b = sink.row(Kind::Hold, self.key());
        put(b, 0, self.incarnation.to_le_bytes());
        put(b, 8, self.run.boot.to_le_bytes());
        put(b, 16, self.run.counter.to_le_bytes());
        put(b, 20, self.duration_ms.to_le_bytes());
        put(b, 24, self.request.to_le_bytes());
        put(b, 32, self.granted.to_le_bytes());
        put(b, 40, [u8::from(self.over)]);
        put(b, 48, self.who.0);
    }

    fn decode(row: &Row<'_>) -> Result<Self> {
        let b: &Fields<'_> = &row.body;
        let target = match row.key {
            [_, 0, node] if node != 0 => Target::Node(NodeId::new(node)),
            [_, 1, host] if host != 0 => Target::Host(HostId::new(host)),
            _ => return Err(Error),
        };
        Ok(Self {
            kind: HoldKind::from_wire(row.key[0]).ok_or(Error)?,
            target,
            incarnation: b.u64(0),
            run: Run { boot: b.u64(8), counter: b.u32(16) },
            duration_ms: b.u32(20),
            request: b.u64(24),
            granted: b.u64(32),
            over: b.u8(40) == 1,
            who: Who::from_wire(b.array(48)).ok_or(Error)?,
        })
    }
}

fn key(kind: HoldKind, target: Target) -> [u8; 3] {
    match target {
        Target::Node(node) => [kind as u8, 0, node.get()],
        Target::Host(host) => [kind as u8, 1, host.get()],
    }
}

/// How a node keeps dying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// How often it died soon after it had come up, one time after the other.
    pub deaths: u8,
    /// It is held off for now: it may not join, nor be started.
    pub held: bool,
}

impl Flap {
    const NONE: Self = Self { deaths: 0, held: false };
}

/// All holds of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds {
    /// In ascending order of their keys; those in use first.
    holds: [Hold; HOLDS_MAX],
    count: usize,
    flaps: [Flap; ID_SLOTS],
}

impl Holds {
    /// None; all zero.
    pub const EMPTY: Self = Self { holds: [Hold::NONE; HOLDS_MAX], count: 0, flaps: [Flap::NONE; ID_SLOTS] };

    /// All that there are.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Hold> {
        self.holds[..self.count].iter()
    }

    /// The hold of this kind on a target.
    #[must_use]
    pub fn get(&self, kind: HoldKind, target: Target) -> Option<&Hold> {
        let wanted = key(kind, target);
        self.iter().find(|hold| hold.key() == wanted)
    }

    /// Whether silence of this very run is not to be accused.
    #[must_use]
    pub fn pauses(&self, node: NodeId, incarnation: Incarnation, run: Run) -> bool {
        self.pause(node, incarnation, run).is_some_and(|hold| !hold.over)
    }

    /// The pause of this very run, over or not.
    #[must_use]
    pub fn pause(&self, node: NodeId, incarnation: Incarnation, run: Run) -> Option<&Hold> {
        let hold = self.get(HoldKind::Pause, Target::Node(node))?;
        (hold.incarnation == incarnation && hold.run == run).then_some(hold)
    }

    /// Whether a person works on the target.
    #[must_use]
    pub fn maintains(&self, target: Target) -> bool {
        self.get(HoldKind::Maintenance, target).is_some()
    }

    /// Adds a hold, or replaces the one of its kind on its target. Whether there was room.
    #[must_use]
    pub fn set(&mut self, hold: Hold) -> bool {
        let at = self.holds[..self.count].partition_point(|other| other.key() < hold.key());
        let replaces = self.holds[..self.count].get(at).is_some_and(|other| other.key() == hold.key());
        if !replaces {
            if self.count >= HOLDS_MAX {
                return false;
            }
            self.holds.copy_within(at..self.count, at + 1);
            self.count += 1;
        }
        self.holds[at] = hold;
        true
    }

    /// Takes a hold away. Whether there was one.
    pub fn remove(&mut self, kind: HoldKind, target: Target) -> bool {
        let wanted = key(kind, target);
        let Some(at) = self.iter().position(|hold| hold.key() == wanted) else { return false };
        self.holds.copy_within(at + 1..self.count, at);
        self.count -= 1;
        self.holds[self.count] = Hold::NONE;
        true
    }

    /// How a node keeps dying.
    #[must_use]
    pub const fn flap(&self, node: NodeId) -> Flap {
        self.flaps[node.index()]
    }

    /// Notes how a node keeps dying.
    pub const fn set_flap(&mut self, node: NodeId, flap: Flap) {
        self.flaps[node.index()] = flap;
    }

    /// Quarantine: whether this node may not join a group yet (SAFETY H2). Whoever asks for a group's JOIN lets its last
    /// candidate pass nevertheless.
    #[must_use]
    pub const fn is_held_off(&self, node: NodeId) -> bool {
        self.flaps[node.index()].held
    }

    pub(super) fn copy_from(&mut self, other: &Self) {
        self.holds.copy_from_slice(&other.holds);
        self.count = other.count;
        self.flaps.copy_from_slice(&other.flaps);
    }

    pub(super) fn clear(&mut self) {
        self.holds.fill(Hold::NONE);
        self.count = 0;
        self.flaps.fill(Flap::NONE);
    }

    pub(super) fn encode(&self, sink: &mut Sink<'_>) {
        for hold in self.iter() {
            hold.encode(sink);
        }
        for (node, flap) in (0..=u8::MAX).zip(&self.flaps).filter(|(_, flap)| **flap != Flap::NONE) {
            put(sink.row(Kind::Flap, [0, 0, node]), 0, [flap.deaths, u8::from(flap.held)]);
        }
    }

    pub(super) fn decode_hold(&mut self, row: &Row<'_>) -> Result<()> {
        if self.set(Hold::decode(row)?) { Ok(()) } else { Err(Error) }
    }

    pub(super) fn decode_flap(&mut self, at: usize, row: &Row<'_>) {
        self.flaps[at] = Flap { deaths: row.body.u8(0), held: row.body.u8(1) == 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(kind: HoldKind, target: Target) -> Hold {
        Hold { kind, target, incarnation: 5, duration_ms: 7, ..Hold::NONE }
    }

    #[test]
    fn one_of_a_kind_for_a_target_in_order_and_no_more_than_fit() {
        let mut holds = Holds::EMPTY;
        let node = |number| Target::Node(NodeId::new(number));
        for number in [9, 3, 200, 3] {
            assert!(holds.set(hold(HoldKind::Pause, node(number))));
        }
        assert!(holds.set(hold(HoldKind::Maintenance, node(3))));
        assert!(holds.set(hold(HoldKind::Pause, Target::Host(HostId::new(1)))));
        assert_eq!(holds.iter().len(), 5);
        assert!(holds.iter().is_sorted_by_key(Hold::key));
        assert!(holds.remove(HoldKind::Pause, node(9)) && !holds.remove(HoldKind::Pause, node(9)));
        assert!(holds.maintains(node(3)) && !holds.maintains(node(200)));
        let mut number = 0;
        while holds.set(hold(
            HoldKind::Maintenance,
            node({
                number += 1;
                number
            }),
        )) {}
        assert_eq!(holds.iter().len(), HOLDS_MAX);
    }

    #[test]
    fn a_pause_is_that_of_one_run() {
        let mut holds = Holds::EMPTY;
        let (node, run) = (NodeId::new(2), Run { boot: 1, counter: 4 });
        assert!(holds.set(Hold { run, ..hold(HoldKind::Pause, Target::Node(node)) }));
        assert!(holds.pauses(node, 5, run));
        assert!(!holds.pauses(node, 6, run) && !holds.pauses(node, 5, Run { counter: 5, ..run }));
        assert!(holds.set(Hold { run, over: true, ..hold(HoldKind::Pause, Target::Node(node)) }));
        assert!(!holds.pauses(node, 5, run) && holds.pause(node, 5, run).is_some());
    }
}
