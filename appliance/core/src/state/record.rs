//! Fencing records as the view holds them, and what closes them.
//!
//! Owns the two types. A record is reserved with its row, so no decision is refused for lack of room (SAFETY I3).

use crate::fencing::Class;
use crate::id::HostId;
use crate::status::Reason;
use crate::who::Who;

/// An open fencing record: it exists exactly while its target is condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Why.
    pub reason: Reason,
    /// The version that committed the decision.
    pub decided: u64,
}

impl Record {
    /// None is open; all zero.
    pub const NONE: Self = Self { reason: Reason::None, decided: 0 };
}

/// What proves a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Its class.
    pub class: Class,
    /// Who obtained it; none if it came by itself.
    pub executor: HostId,
    /// With which device, as in `HistoryEntry`; zero: none.
    pub device: u16,
    /// Whose word it is, or who asked for the fence.
    pub who: Who,
    /// How many attempts it took.
    pub attempts: u8,
    /// How long, from the decision, microseconds.
    pub took_us: u32,
}

impl Evidence {
    /// Evidence that came by itself.
    #[must_use]
    pub const fn by_itself(class: Class) -> Self {
        Self { class, executor: HostId::NONE, device: 0, who: Who::NONE, attempts: 0, took_us: 0 }
    }
}
