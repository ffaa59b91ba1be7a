//! The order of the configuration: a person knows best where a service runs well.

use super::Candidate;

pub(super) fn rank(candidate: &Candidate) -> u16 {
    candidate.place
}
