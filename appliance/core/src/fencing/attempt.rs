//! The number of an attempt, and what its executor says about it.
//!
//! Owns both. The number says whose the attempt is, so that an answer is found without a search.

use super::Verdict;
use crate::id::{HostId, NodeId};
use crate::limits::{ID_SLOTS, LEVELS_MAX};
use crate::wire::node::Target;

/// Bits of an attempt's number that say whose it is; the rest counts.
pub const TAG_BITS: u32 = 12;
/// The highest of them: it is a drill, and its place is below. Otherwise it is for a target, in one of its lanes.
pub const DRILL: u32 = 1 << (TAG_BITS - 1);
const _: () = assert!(2 * ID_SLOTS * LEVELS_MAX == 1 << (TAG_BITS - 1));

/// What an executor said about an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Which.
    pub attempt: u32,
    /// Who.
    pub from: HostId,
    /// What came of it.
    pub verdict: Verdict,
    /// The device was asked; otherwise somebody else may try.
    pub tried: bool,
}

impl core::fmt::Display for Answer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}{}", self.verdict, if self.tried { "" } else { ", untried," })
    }
}

/// The number that says whose an attempt is.
pub fn tag(target: Target, lane: usize) -> u32 {
    let index = match target {
        Target::Node(node) => node.index(),
        Target::Host(host) => ID_SLOTS + host.index(),
    };
    u32::try_from(index * LEVELS_MAX + lane).unwrap_or(0)
}

/// Whose attempt this is, and of which lane.
pub fn whose(attempt: u32) -> Option<(Target, usize)> {
    if attempt == 0 || attempt & DRILL != 0 {
        return None;
    }
    let tag = usize::try_from(attempt % (1 << TAG_BITS)).ok()?;
    let (index, lane) = (tag / LEVELS_MAX, tag % LEVELS_MAX);
    let number = u8::try_from(index % ID_SLOTS).ok()?;
    let is_node = index < ID_SLOTS;
    Some((if is_node { Target::Node(NodeId::new(number)) } else { Target::Host(HostId::new(number)) }, lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempts_number_says_whose_it_is_and_a_drills_is_nobodys() {
        for serial in 1..5_u32 {
            for number in [1, 255] {
                for target in [Target::Node(NodeId::new(number)), Target::Host(HostId::new(number))] {
                    for lane in 0..LEVELS_MAX {
                        let attempt = serial << TAG_BITS | tag(target, lane);
                        assert_eq!(whose(attempt), Some((target, lane)));
                    }
                }
            }
            assert_eq!(whose(serial << TAG_BITS | DRILL | 3), None);
        }
        assert_eq!(whose(0), None);
    }
}
