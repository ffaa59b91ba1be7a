//! Why an appliance refuses (ERROR), and why a node says its last word (LAST_GASP).
//!
//! Owns the numbers of both on the wire.

use crate::wire::{Error, Result};

/// Why a frame or a session is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// This session speaks for another node, or for none.
    WrongNode = 1,
    /// This incarnation was fenced, or is about to be: it must reset itself (SAFETY F4).
    Condemned = 2,
    /// No such session: say HELLO again.
    NoSession = 3,
    /// The appliance was not admitted yet: try again.
    NotAdmitted = 4,
    /// The request names nobody, or a state in which it makes no sense.
    BadRequest = 5,
    /// The node's earlier incarnation is not Confirmed dead yet: try again (SAFETY E8).
    NotYet = 6,
    /// The cluster incarnation that this node belonged to is over (SAFETY B5).
    ClusterOver = 7,
    /// Recovery would wait for the target if it died now: only by force (SAFETY H3).
    InGroup = 8,
    /// The target is not condemned: only by force is it taken for off.
    NotCondemned = 9,
    /// Longer than may be asked for, or for no time at all.
    TooLong = 10,
    /// Nodes of the host are members: they are to be shut down first.
    NodesUp = 11,
    /// Without the host no quorum of votes would be left.
    LastQuorum = 12,
}

/// Why a node says its last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gasp {
    /// The kernel panics.
    Panic = 1,
    /// The node resets itself because its lease ended.
    LeaseEnded = 2,
    /// Anything else.
    Other = 3,
}

impl Gasp {
    /// The reason with this number on the wire.
    pub(super) fn from_wire(number: u8) -> Result<Self> {
        [Self::Panic, Self::LeaseEnded, Self::Other].into_iter().find(|g| *g as u8 == number).ok_or(Error)
    }
}

impl Refusal {
    /// The refusal with this number on the wire.
    pub(crate) fn from_wire(number: u8) -> Result<Self> {
        use Refusal::{
            BadRequest, ClusterOver, Condemned, InGroup, LastQuorum, NoSession, NodesUp, NotAdmitted, NotCondemned,
            NotYet, TooLong, WrongNode,
        };
        let all = [
            WrongNode,
            Condemned,
            NoSession,
            NotAdmitted,
            BadRequest,
            NotYet,
            ClusterOver,
            InGroup,
            NotCondemned,
            TooLong,
            NodesUp,
            LastQuorum,
        ];
        all.into_iter().find(|r| *r as u8 == number).ok_or(Error)
    }
}
