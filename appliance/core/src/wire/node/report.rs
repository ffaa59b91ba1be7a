//! What a session knows of the time before a cold start: REPORT (SAFETY B4).
//!
//! Owns the kind and its layout. The payload holds entries as in VIEW: which incarnations the node was told to be down, and
//! which it thinks are up.
//!
//! ```text
//! node                                        appliance
//!  | HELLO(cluster incarnation served last) ->  |
//!  | <------- WELCOME(cluster incarnation)      |   none: a cold start is collecting; what was served before stays known
//!  | REPORT(part of parts) ... -------------->  |   at once, if anything was served before
//! ```

use super::{field, kind};
use crate::id::{Cluster, NodeId};
use crate::wire::{Error, Fields, Result, put};

/// A part of a report; entries in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tale {
    /// Whose.
    pub node: NodeId,
    /// First part: 0.
    pub part: u8,
    /// How many parts, at most 8.
    pub parts: u8,
    /// The highest version, generation or token that it was ever told.
    pub version: u64,
}

impl Tale {
    pub(super) fn parse(body: &Fields<'_>) -> Result<Self> {
        let tale = Self {
            node: NodeId::new(body.u8(field::NODE)),
            part: body.u8(field::PART),
            parts: body.u8(field::PARTS),
            version: body.u64(field::VERSION),
        };
        // Half of all numbers are left to us: no guest can make the next cold start run out of them.
        let sound = tale.part < tale.parts && tale.parts <= 8;
        let honest = Cluster::number_of(tale.version) <= Cluster::NUMBER_MAX / 2;
        if sound && honest { Ok(tale) } else { Err(Error) }
    }

    pub(super) fn emit_body(&self, body: &mut [u8]) -> u8 {
        put(body, field::NODE, [self.node.get()]);
        put(body, field::PART, [self.part]);
        put(body, field::PARTS, [self.parts]);
        put(body, field::VERSION, self.version.to_le_bytes());
        kind::REPORT
    }
}
