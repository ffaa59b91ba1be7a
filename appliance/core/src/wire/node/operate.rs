//! OPERATE and OPERATE_REPLY: what operators ask beyond STATUS and FENCE.
//!
//! Owns the layout. A request names whom it is about, by incarnation where the operator knows it; accepted means committed,
//! and only then is it answered (SAFETY I3).
//!
//! ```text
//! 0 node, or 1 host   2 wish   3 flags: 1 force   4 duration_ms u32   8 incarnation u64   16 who, 24 bytes
//! ```

use super::{Target, field};
use crate::id::Incarnation;
use crate::who::Who;
use crate::wire::frame::BODY_BYTES;
use crate::wire::{Error, Fields, Result, put};

const DURATION: usize = 4;
const FLAGS: usize = 3;
const WHO: usize = 16;
const _: () = assert!(WHO + crate::limits::WHO_BYTES == BODY_BYTES);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wish {
    /// Fence the target.
    Fence = 1,
    /// This run of a node stands still on purpose for so long (SAFETY H4).
    Pause = 2,
    /// The pause is over.
    Resume = 3,
    /// A person works on the target for so long: no accusation, no order (SAFETY H3).
    Maintain = 4,
    /// The maintenance is over.
    Release = 5,
    /// The operator saw that the target is off.
    Acknowledge = 6,
    /// A host is taken away in peace, until its appliance starts anew.
    Leave = 7,
}

impl Wish {
    /// The wish with this number on the wire.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        use Wish::{Acknowledge, Fence, Leave, Maintain, Pause, Release, Resume};
        [Fence, Pause, Resume, Maintain, Release, Acknowledge, Leave].into_iter().find(|wish| *wish as u8 == number)
    }
}

/// A request of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What.
    pub wish: Wish,
    /// About whom.
    pub target: Target,
    /// Although it is in use, or not condemned.
    pub force: bool,
    /// For how long, milliseconds.
    pub duration_ms: u32,
    /// Which incarnation; zero: the one that the view knows.
    pub incarnation: Incarnation,
    /// Who asks.
    pub who: Who,
}

impl Operation {
    pub(super) fn read(body: &Fields<'_>) -> Result<Self> {
        Ok(Self {
            wish: Wish::from_wire(body.u8(field::CODE)).ok_or(Error)?,
            target: Target::read(body)?,
            force: body.u8(FLAGS) & 1 != 0,
            duration_ms: body.u32(DURATION),
            incarnation: body.u64(field::INCARNATION),
            who: Who::from_wire(body.array(WHO)).ok_or(Error)?,
        })
    }

    pub(super) fn write(&self, body: &mut [u8], kind: u8) -> u8 {
        put(body, field::CODE, [self.wish as u8, u8::from(self.force)]);
        put(body, DURATION, self.duration_ms.to_le_bytes());
        put(body, field::INCARNATION, self.incarnation.to_le_bytes());
        put(body, WHO, self.who.0);
        self.target.write(body, kind)
    }
}
