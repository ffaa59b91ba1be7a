//! Agreement: how the appliances come to one line of committed states without a disk.
//!
//! Three leaves: `acceptor` (what this appliance promised, accepted and knows committed; with it `encoded`, `delta` and
//! `assembly`, the state's bytes, its changes and its pieces), `election` (asking, standing, winning) and `proposer` (what
//! the leader has under way). They know `wire`, `limits`, `time` and `state` only; the
//! engine composes them. Rules: SAFETY A1-A6, B1. The argument is in docs/PROTOCOL.md.

pub mod acceptor;
mod assembly;
pub mod delta;
pub mod election;
pub mod encoded;
pub mod proposer;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::id::HostId;
use crate::limits::ID_SLOTS;

/// Who votes.
#[derive(Debug)]
pub struct Voters {
    votes: [bool; ID_SLOTS],
    count: usize,
}

impl Voters {
    /// Nobody; all zero.
    pub const EMPTY: Self = Self { votes: [false; ID_SLOTS], count: 0 };

    /// Takes the voters from the configuration.
    pub fn start(&mut self, config: &Config) {
        for host in config.hosts.iter().filter(|host| host.vote) {
            self.votes[usize::from(host.id)] = true;
            self.count += 1;
        }
    }

    /// Whether a host votes.
    #[must_use]
    pub const fn votes(&self, host: HostId) -> bool {
        self.votes[host.index()]
    }

    /// How many vote.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// More than half of the configured votes.
    #[must_use]
    pub const fn quorum(&self) -> usize {
        self.count / 2 + 1
    }

    /// All voters, by number.
    pub fn all(&self) -> impl Iterator<Item = HostId> {
        (0..=u8::MAX).map(HostId::new).filter(|host| self.votes(*host))
    }
}
