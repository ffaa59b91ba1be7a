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
use crate::state::State;

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

    /// The other one, where there are exactly two and this is one of them (SAFETY D4).
    #[must_use]
    pub fn other_of_two(&self, me: HostId) -> Option<HostId> {
        self.all().find(|&host| host != me).filter(|_| self.count == 2 && self.votes(me))
    }

    /// How many commit what follows on this view, or elect a leader who carries it on: a quorum; where there are exactly two
    /// and the view says that one of them was proven off, the other one alone (SAFETY D1).
    #[must_use]
    pub fn needed(&self, view: &State) -> usize {
        let off = self.count == 2 && self.all().any(|host| view.host(host).is_off());
        if off { 1 } else { self.quorum() }
    }

    /// All voters, by number.
    pub fn all(&self) -> impl Iterator<Item = HostId> {
        (0..=u8::MAX).map(HostId::new).filter(|host| self.votes(*host))
    }
}

#[cfg(test)]
fn voters(count: u8) -> Voters {
    let mut voters = Voters::EMPTY;
    for host in 1..=count {
        voters.votes[usize::from(host)] = true;
    }
    voters.count = usize::from(count);
    voters
}

#[cfg(test)]
mod of_two {
    use super::*;
    use crate::fencing::Class;
    use crate::state::Evidence;
    use crate::status::Reason;
    use crate::wire::node::Target;
    use std::boxed::Box;

    fn without_two(class: Class) -> Box<State> {
        let mut state = Box::new(State::EMPTY);
        state.admit(HostId::new(1), 11, 0);
        state.admit(HostId::new(2), 12, 0);
        state.confirm(Target::Host(HostId::new(2)), Reason::Silent, &Evidence::by_itself(class), 5);
        state
    }

    #[test]
    fn one_of_two_suffices_only_if_the_other_one_is_without_power() {
        for (class, needed) in [
            (Class::PowerOff, 1),
            (Class::Operator, 1),
            (Class::StorageCut, 2),
            (Class::VmGone, 2),
            (Class::LeaseExpired, 2),
        ] {
            assert_eq!(voters(2).needed(&without_two(class)), needed, "{class}");
            assert_eq!(voters(3).needed(&without_two(class)), 2, "{class}");
        }
        let mut state = without_two(Class::PowerOff);
        state.admit(HostId::new(2), 13, 0);
        assert_eq!(voters(2).needed(&state), 2, "it is admitted again");
        assert_eq!(voters(2).other_of_two(HostId::new(1)), Some(HostId::new(2)));
        assert_eq!(voters(3).other_of_two(HostId::new(1)), None, "D4");
    }
}
