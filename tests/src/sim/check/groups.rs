//! S7 and S3: who runs a volume with whom, and who owns what.
//!
//! Owns both checkers. They read what the guests' kernels really do and what lies on the shared disk.

use crate::sim::dlm::Disk;
use crate::sim::{Guest, Micros};
use palisade_core::wire::node::{Given, What};
use std::collections::{BTreeMap, BTreeSet};

/// With what a started member runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The generation of its START.
    pub generation: u64,
    /// The node set: number and incarnation.
    pub set: BTreeMap<u8, u64>,
}

/// S7: a member starts. Nobody else may run with another generation or set, and every journal that somebody who is not in
/// the set left dirty must come with its death.
pub fn starts<'g>(
    now: Micros,
    guests: impl IntoIterator<Item = &'g Guest>,
    disk: &Disk,
    (node, incarnation): (u8, u64),
    volume: u8,
    running: &Running,
    deaths: &BTreeSet<u8>,
) {
    for other in guests.into_iter().filter(|other| other.node != node && other.can_write()) {
        let Some(theirs) = other.dlm.running(volume) else { continue };
        assert_eq!(
            theirs, running,
            "S7: node {node} starts volume {volume} at {now} us, while node {} runs it otherwise",
            other.node
        );
    }
    for (dead, left) in disk.dirty(volume) {
        assert!(
            running.set.get(&dead) == Some(&left) || deaths.contains(&dead),
            "S7: node {node} ({incarnation:x}) starts volume {volume} at {now} us, and was not told that node {dead} \
             ({left:x}) died: its journal is never replayed"
        );
    }
}

/// S7: whoever was in a member's set and is not in the next one needs a fate, or the shim resets (SAFETY G2).
pub fn knows_fates(
    now: Micros,
    (node, _): (u8, u64),
    volume: u8,
    before: &BTreeMap<u8, u64>,
    set: &BTreeMap<u8, u64>,
    told: &BTreeSet<u8>,
) {
    for (gone, incarnation) in before {
        assert!(
            set.get(gone) == Some(incarnation) || told.contains(gone),
            "S7: node {node} starts volume {volume} at {now} us without the fate of node {gone} ({incarnation:x})"
        );
    }
}

/// Who owns a service, as far as anybody was told.
#[derive(Clone, Debug)]
struct Holder {
    owner: (u8, u64),
    token: u64,
    /// The next one's token is greater than this.
    least: u64,
    failed: bool,
    /// It was a recovery, and is done.
    done: bool,
}

/// Who was given what.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// By service and dead incarnation: a named service has one owner, whoever's it was.
    holders: BTreeMap<([u8; 16], u8, u64), Holder>,
    /// How often a service was given to somebody.
    pub given: u64,
    /// How often an owner failed.
    pub failures: u64,
}

fn key(given: &Given) -> ([u8; 16], u8, u64) {
    match given.what {
        What::Recovery(volume) => (volume.0, given.dead.get(), given.incarnation),
        What::Named(name) => (name.0, 0, 0),
    }
}

impl Owners {
    /// S3: somebody is given a service. Whoever had it must have failed, or be unable to do anything any more.
    pub fn given<'g>(
        &mut self,
        now: Micros,
        guests: impl IntoIterator<Item = &'g Guest>,
        owner: (u8, u64),
        given: &Given,
    ) {
        if let Some(holder) = self.holders.get(&key(given)) {
            assert!(
                given.token > holder.least,
                "S3: {given:x?} comes to node {} at {now} us after {holder:x?}",
                owner.0
            );
            let works = |guest: &Guest| (guest.node, guest.incarnation) == holder.owner && guest.can_write();
            assert!(
                holder.failed || holder.done || holder.owner == owner || !guests.into_iter().any(works),
                "S3: {given:x?} comes to node {} at {now} us, and {holder:x?} has it",
                owner.0
            );
        }
        self.given += 1;
        self.holders
            .insert(key(given), Holder { owner, token: given.token, least: given.token, failed: false, done: false });
    }

    /// A cluster incarnation began that knows nothing of any earlier one: its tokens begin anew.
    pub fn forget_tokens(&mut self) {
        self.holders.values_mut().for_each(|holder| holder.least = 0);
    }

    /// An owner is done with a recovery: it owns nothing any more.
    pub fn recovered(&mut self, owner: (u8, u64), given: &Given) {
        let of = |holder: &&mut Holder| holder.owner == owner && holder.token == given.token;
        if let Some(holder) = self.holders.get_mut(&key(given)).filter(of) {
            holder.done = true;
        }
    }

    /// An owner says that it has nothing of it.
    pub fn failed(&mut self, owner: (u8, u64), given: &Given) {
        if let Some(holder) = self.holders.get_mut(&key(given)).filter(|holder| holder.owner == owner) {
            holder.failed |= holder.token == given.token;
            self.failures += 1;
        }
    }

    /// Who has this named service.
    #[must_use]
    pub fn owner(&self, service: &str) -> Option<u8> {
        let name = palisade_core::id::Label::named(service);
        self.holders.get(&(name.0, 0, 0)).filter(|holder| !holder.failed).map(|holder| holder.owner.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_core::id::{Label, NodeId};

    #[test]
    fn who_fails_at_what_he_got_before_all_memory_was_lost_has_it_no_more() {
        let given = |token| Given { what: What::Named(Label::named("two")), dead: NodeId::NONE, incarnation: 0, token };
        let mut owners = Owners::default();
        owners.given(1, [], (2, 7), &given(19));
        owners.forget_tokens();
        owners.failed((2, 7), &given(19));
        assert!(owners.holders.values().all(|holder| holder.failed), "seed 74281: {owners:?}");
        owners.given(2, [], (3, 8), &given(3));
    }
}
