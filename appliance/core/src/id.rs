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

/// Not an incarnation that anybody draws: whatever runs there, if anything does. A cold start condemns it where nobody
/// knows better (SAFETY B4).
pub const WHOEVER: Incarnation = 1;

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

/// A short name of a cluster or a service, or a volume's number: what fits into every frame that names one. All zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub [u8; LABEL_BYTES]);

/// Bytes of a label: OCFS2 names a cluster in 16 characters and a volume by a UUID.
pub const LABEL_BYTES: usize = 16;

/// A volume: the UUID of its file system.
pub type Volume = Label;

impl Label {
    /// None.
    pub const NONE: Self = Self([0; LABEL_BYTES]);

    /// The label that a name makes; what is beyond 16 bytes is cut.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut bytes = [0; LABEL_BYTES];
        for (place, byte) in bytes.iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        Self(bytes)
    }

    /// Whether it names anything.
    #[must_use]
    pub fn is_some(&self) -> bool {
        *self != Self::NONE
    }

    /// The name that it was made of, where it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(LABEL_BYTES);
        core::str::from_utf8(self.0.get(..end)?).ok()
    }
}

/// As a UUID: 32 hexadecimal digits.
impl core::fmt::Display for Label {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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

/// A cluster incarnation: what a cold start begins (SAFETY B4). Zero: none was ever begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster {
    /// Orders them: a cold start takes one more than the highest that anybody reports.
    pub number: u32,
    /// Drawn at random: tells two that took the same number apart.
    pub random: u32,
}

impl Cluster {
    /// None.
    pub const NONE: Self = Self { number: 0, random: 0 };

    /// The highest number: versions are made of it, and more is nobody's honest word.
    pub const NUMBER_MAX: u32 = (1 << (64 - Self::COUNT_BITS)) - 1;

    /// Bits of a version below the number of its cluster incarnation: at a view in each millisecond, 34 years.
    const COUNT_BITS: u32 = 40;

    /// The first version of the cluster incarnation with this number. Versions, generations and tokens of a later one are
    /// above all of an earlier one by themselves (SAFETY B4).
    #[must_use]
    pub const fn first_version(number: u32) -> u64 {
        (number as u64) << Self::COUNT_BITS | 1
    }

    /// The number of the cluster incarnation that a version belongs to.
    #[must_use]
    pub fn number_of(version: u64) -> u32 {
        u32::try_from(version >> Self::COUNT_BITS).unwrap_or(Self::NUMBER_MAX)
    }

    /// Which view of its cluster incarnation a version is, from 1.
    #[must_use]
    pub const fn count_of(version: u64) -> u64 {
        version & ((1 << Self::COUNT_BITS) - 1)
    }

    /// Whether this is another cluster incarnation than that.
    #[must_use]
    pub fn differs(self, other: Self) -> bool {
        self.random != other.random
    }

    /// Whether anything was begun.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.number != 0
    }
}

impl core::fmt::Display for Cluster {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}-{:08x}", self.number, self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_a_later_cluster_incarnation_is_above_every_one_of_an_earlier() {
        let last = Cluster::first_version(4) - 2;
        assert!(last < Cluster::first_version(4) && last > Cluster::first_version(3) + 1_000_000_000_000);
        assert_eq!((Cluster::number_of(last), Cluster::count_of(Cluster::first_version(9))), (3, 1));
        assert_eq!(Cluster::number_of(Cluster::first_version(Cluster::NUMBER_MAX)), Cluster::NUMBER_MAX);
    }
}
