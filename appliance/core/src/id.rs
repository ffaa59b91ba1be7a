//! Who is who: the numbers by which hosts, nodes, boots and runs are told apart.
//!
//! Owns no state. Zero is never a valid number of any kind here, so that zeroed memory names nobody.

/// A physical machine and the appliance on it, 1..=255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(u8);

/// A guest that mounts OCFS2: its OCFS2 and DLM node number, 1..=255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u8);

macro_rules! number {
    ($name:ident, $word:literal) => {
        impl $name {
            /// Nobody.
            pub const NONE: Self = Self(0);

            #[doc = concat!("The ", $word, " with this number; `NONE` for zero.")]
            #[must_use]
            pub const fn new(number: u8) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u8 {
                self.0
            }

            /// The number as a table index.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// Whether this names somebody.
            #[must_use]
            pub const fn is_some(self) -> bool {
                self.0 != 0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!($word, " {}"), self.0)
            }
        }
    };
}

number!(HostId, "host");
number!(NodeId, "node");

/// A number that changes at each boot of an appliance or a node and never comes back. Zero: none known.
pub type Incarnation = u64;

/// Changes when a host's kernel boots (SAFETY E9). Zero: not known.
pub type BootId = u64;

/// One start of a node's VM: the boot of the host that it ran on, and that boot's count of starts (SAFETY E2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Run {
    /// The host boot under which the VM was started; zero: no run.
    pub boot: BootId,
    /// Counts the starts of this node's VM under that boot, from 1.
    pub counter: u32,
}

impl Run {
    /// No run.
    pub const NONE: Self = Self { boot: 0, counter: 0 };

    /// Whether this names a run.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.counter != 0
    }
}

/// The right to lead: greater ballots win, rounds before hosts (SAFETY A3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Raised by each election.
    pub round: u32,
    /// Who stands.
    pub host: HostId,
}

impl Ballot {
    /// Lower than every ballot that anybody stood under.
    pub const NONE: Self = Self { round: 0, host: HostId::NONE };
}

impl core::fmt::Display for Ballot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.round, self.host.get())
    }
}
