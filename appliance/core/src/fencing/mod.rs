//! The words of fencing: verdicts, evidence classes, what a device is asked to do.
//!
//! Owns the words only. `harness` is the leader's side (who is to drive which device next), with `lane` (the walk through the
//! levels) and `choose` (by whom); `executor` is the side of whoever drives it; the methods, outside the core, know how.
//! Rules: SAFETY E, F.

pub(crate) mod ages;
pub(crate) mod attempt;
pub(crate) mod bound;
pub(crate) mod brake;
mod choose;
pub mod drill;
pub(crate) mod executor;
pub(crate) mod harness;
pub(crate) mod hold;
mod lane;
pub(crate) mod lease;
pub(crate) mod operate;

/// What kind of positive evidence says that the target can no longer write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// The VM's process is gone: known from the kernel by the guard that started it.
    VmGone = 1,
    /// Stopped, drained *and reset*: the old memory can never run on (SAFETY E1).
    VmStopped = 2,
    /// The power was read back as off.
    PowerOff = 3,
    /// The way to the storage was cut.
    StorageCut = 4,
    /// The guard's lease ran out (only where configured, SAFETY C4).
    LeaseExpired = 5,
    /// A person says so, and is recorded as saying so.
    Operator = 6,
}

impl Class {
    /// The class with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::VmGone,
            2 => Self::VmStopped,
            3 => Self::PowerOff,
            4 => Self::StorageCut,
            5 => Self::LeaseExpired,
            6 => Self::Operator,
            _ => return None,
        })
    }

    /// The word for it in events, history and documents.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::VmGone => "vm-gone",
            Self::VmStopped => "vm-stopped",
            Self::PowerOff => "power-off",
            Self::StorageCut => "storage-cut",
            Self::LeaseExpired => "lease-expired",
            Self::Operator => "operator",
        }
    }
}

/// Whether this evidence about a host is about its appliance too: what that remembered is lost (SAFETY D1).
#[must_use]
pub const fn suffices_alone(class: Class) -> bool {
    matches!(class, Class::PowerOff | Class::Operator)
}

impl core::fmt::Display for Class {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.word())
    }
}

/// How one attempt ended. Only `Confirmed` lets recovery begin. The last two answer `Action::Status` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Positive evidence of this class.
    Confirmed(Class),
    /// The device refused, or the target is seen to live.
    Failed,
    /// Nothing is known. A timeout is this.
    Unknown,
    /// A read said off. No proof by itself: it may be older than the last sign of life (SAFETY E7).
    SeenOff,
    /// A read said on.
    SeenOn,
}

/// What a device is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// Make the target unable to write, and prove it.
    Off = 1,
    /// Let the target start again. Only after `Confirmed` is committed (SAFETY F2).
    On = 2,
    /// Look, change nothing.
    Status = 3,
}

impl Action {
    /// The action with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Off,
            2 => Self::On,
            3 => Self::Status,
            _ => return None,
        })
    }
}
