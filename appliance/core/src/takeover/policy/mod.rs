//! Who gets a service: the policies.
//!
//! Owns the shape that they share and the one list of them below. A policy only orders the candidates; which nodes those are
//! is not its business: they live, belong to the group or cluster, and their appliances hold the guarantees (DESIGN §1,
//! rule 4).
//!
//! Adding a policy is one file that offers `rank`, and one line in `policies!` at the end of this file.

use crate::id::NodeId;

/// A node that may get the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its place among those that the configuration names for the service, from zero.
    pub place: u16,
    /// How many services and recoveries it owns.
    pub load: u16,
}

/// Builds everything that has one arm for each policy.
macro_rules! policies {
    ($($(#[$doc:meta])* $kind:ident => $module:ident, $word:literal;)+) => {
        $(mod $module;)+

        /// How an owner is chosen.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
        pub enum Policy {
            $($(#[$doc])* #[serde(rename = $word)] $kind,)+
        }

        impl Policy {
            /// All policies that there are.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The word for it in the configuration.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$kind => $word,)+ }
            }

            fn rank(self, candidate: &Candidate) -> u16 {
                match self { $(Self::$kind => $module::rank(candidate),)+ }
            }
        }
    };
}

impl Policy {
    /// The candidate with the least rank; among equals, the one with the lowest number.
    pub fn choose(self, candidates: impl Iterator<Item = Candidate>) -> Option<NodeId> {
        candidates.min_by_key(|candidate| (self.rank(candidate), candidate.node)).map(|candidate| candidate.node)
    }
}

policies! {
    /// The lowest number.
    #[default]
    Lowest => lowest, "lowest";
    /// The first one in the order of the configuration.
    Preference => preference, "preference";
    /// The one that owns least.
    LeastLoaded => least_loaded, "least-loaded";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_orders_by_its_own_measure_and_equals_by_number() {
        let candidate = |node, place, load| Candidate { node: NodeId::new(node), place, load };
        let candidates = [candidate(3, 0, 2), candidate(2, 1, 0), candidate(1, 2, 1)];
        for (policy, chosen) in [(Policy::Lowest, 1), (Policy::Preference, 3), (Policy::LeastLoaded, 2)] {
            assert_eq!(policy.choose(candidates.into_iter()), Some(NodeId::new(chosen)), "{}", policy.word());
        }
        for &policy in Policy::ALL {
            let equals = [candidate(9, 4, 4), candidate(8, 4, 4)];
            assert_eq!(policy.choose(equals.into_iter()), Some(NodeId::new(8)));
            assert_eq!(policy.choose([].into_iter()), None);
        }
    }
}
