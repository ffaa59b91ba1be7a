//! The lowest number: needs no knowledge, so every appliance would choose the same.

use super::Candidate;

pub(super) fn rank(candidate: &Candidate) -> u16 {
    u16::from(candidate.node.get())
}
