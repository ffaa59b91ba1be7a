//! Whoever owns least: the services of a dead node spread over the living ones.

use super::Candidate;

pub(super) fn rank(candidate: &Candidate) -> u16 {
    candidate.load
}
