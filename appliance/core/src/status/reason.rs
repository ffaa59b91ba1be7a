//! Why a target is fenced: the reasons, their numbers on the wire, and the words for them.
//!
//! Owns the list. A number never changes its meaning: records outlive an appliance.

/// Why a target is fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// No record.
    #[default]
    None = 0,
    /// Its heartbeats or beats ceased.
    Silent = 1,
    /// Its kernel panicked.
    Panicked = 2,
    /// Its VM's process is gone.
    VmGone = 3,
    /// A newer incarnation of it came (SAFETY E8).
    Replaced = 4,
    /// Its host booted anew (SAFETY E9).
    HostRebooted = 5,
    /// Its host is being fenced, and the device covers it.
    Covered = 6,
    /// An operator asked.
    Operator = 7,
    /// It said that it is dying.
    LastGasp = 8,
    /// A node on it could not be fenced alone.
    NodeUnfenced = 9,
    /// It did not do a step of its group's barrier in time (SAFETY G4).
    Stuck = 10,
    /// It said BYE with a volume open (SAFETY G6).
    LeftMounted = 11,
    /// It owned a service and said nothing of it in time (SAFETY I1).
    OwnerSilent = 12,
    /// Its DLM and others of its group do not reach each other (SAFETY F6).
    CutOff = 13,
    /// A cold start knows nothing of it (SAFETY B4).
    ColdStart = 20,
}

impl Reason {
    /// The reason with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Silent,
            2 => Self::Panicked,
            3 => Self::VmGone,
            4 => Self::Replaced,
            5 => Self::HostRebooted,
            6 => Self::Covered,
            7 => Self::Operator,
            8 => Self::LastGasp,
            9 => Self::NodeUnfenced,
            10 => Self::Stuck,
            11 => Self::LeftMounted,
            12 => Self::OwnerSilent,
            13 => Self::CutOff,
            20 => Self::ColdStart,
            _ => return None,
        })
    }

    /// The words for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Silent => "silent",
            Self::Panicked => "panicked",
            Self::VmGone => "vm exited",
            Self::Replaced => "replaced",
            Self::HostRebooted => "host rebooted",
            Self::Covered => "host fenced",
            Self::Operator => "operator",
            Self::LastGasp => "last gasp",
            Self::NodeUnfenced => "a node on it could not be fenced alone",
            Self::Stuck => "stuck in a group's barrier",
            Self::LeftMounted => "left with a volume open",
            Self::OwnerSilent => "silent about a service that it got",
            Self::CutOff => "its DLM is cut off from its group",
            Self::ColdStart => "unknown after a cold start",
        }
    }
}
