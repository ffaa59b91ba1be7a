//! L1: how long after a death its NODE_DOWN arrives.
//!
//! Owns the measurement. Its premises (a quorum is connected, some level works, the brake's batch, no leader change on the
//! way unless that is meant) are the story's affair: it says when the death was and within which bound all must know.

use super::Truth;
use crate::sim::Micros;

/// A death that is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    /// When.
    pub at: Micros,
    /// Who.
    pub node: u8,
    /// As which incarnation.
    pub incarnation: u64,
}

impl Truth {
    /// When each of those who were told of a death was told it, after the death.
    #[must_use]
    pub fn told_after(&self, death: Death) -> Vec<Micros> {
        let about = |told: &&(Micros, u8, u8, u64)| (told.2, told.3) == (death.node, death.incarnation);
        let mut first: std::collections::BTreeMap<u8, Micros> = std::collections::BTreeMap::new();
        for (at, who, ..) in self.downs.iter().filter(about) {
            first.entry(*who).or_insert(at.saturating_sub(death.at));
        }
        first.into_values().collect()
    }
}
