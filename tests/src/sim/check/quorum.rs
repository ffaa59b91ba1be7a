//! S4, the commit: a decision is committed only when a quorum of votes accepted it, as the incarnations that it names.
//!
//! Owns who accepted which (ballot, version). An acceptance of another incarnation than the view names is one from before an
//! amnesia (SAFETY A4), one of a host that is Confirmed off counts for nothing (S5).

use super::Facts;
use crate::sim::Host;
use palisade_core::config::Config;
use palisade_core::id::{Ballot, HostId, Incarnation};
use palisade_core::state::State;
use palisade_core::status::HostState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Acceptances that are remembered: more than are ever under way.
const KEPT: usize = 64;

/// Who accepted what.
pub struct Quorum {
    voters: Vec<u8>,
    accepted: BTreeMap<(u64, Ballot), Vec<(u8, Incarnation)>>,
    order: VecDeque<(u64, Ballot)>,
}

impl Quorum {
    /// Nobody accepted anything yet.
    pub fn new(config: &'static Config) -> Self {
        let voters = config.hosts.iter().filter(|host| host.vote).map(|host| host.id).collect();
        Self { voters, accepted: BTreeMap::new(), order: VecDeque::new() }
    }

    /// An appliance accepted a state.
    pub fn accepted(&mut self, host: u8, incarnation: Incarnation, (ballot, version): (Ballot, u64)) {
        let key = (version, ballot);
        self.accepted.entry(key).or_default().push((host, incarnation));
        // A cluster incarnation that knows of no earlier one begins with small versions: the oldest go first, not the smallest.
        self.order.retain(|known| *known != key);
        self.order.push_back(key);
        while self.order.len() > KEPT {
            let oldest = self.order.pop_front();
            oldest.and_then(|key| self.accepted.remove(&key));
        }
    }

    /// Which versions a quorum of votes has accepted, and who did: whoever of them learns of that later learns what was decided.
    pub fn chosen(&self) -> BTreeSet<(u64, u8)> {
        let by_quorum = |hosts: &[(u8, Incarnation)]| {
            let votes = self.voters.iter().filter(|voter| hosts.iter().any(|(host, _)| host == *voter));
            votes.count() > self.voters.len() / 2
        };
        let chosen = self.accepted.iter().filter(|(_, hosts)| by_quorum(hosts));
        chosen.flat_map(|(key, hosts)| hosts.iter().map(|(host, _)| (key.0, *host))).collect()
    }

    /// Whether there are exactly two votes, and one is this host's.
    pub fn is_one_of_two(&self, host: u8) -> bool {
        self.voters.len() == 2 && self.voters.contains(&host)
    }

    /// Somebody is the first to declare this committed.
    pub fn committed(&self, facts: &Facts<'_>, host: &Host, before: Option<&State>, view: &State) {
        let now = facts.now;
        let slot = host.accepted;
        if slot.1 != view.version {
            return;
        }
        let nobody = Vec::new();
        let accepted = self.accepted.get(&(slot.1, slot.0)).unwrap_or(&nobody);
        let counts = |voter: &&u8| {
            let row = view.host(HostId::new(**voter));
            row.counts() && accepted.contains(&(**voter, row.incarnation))
        };
        let count = self.voters.iter().filter(counts).count();
        // With two votes one side may go on alone, but only when the other one's memory is gone with its power (SAFETY D1).
        let alone = |voter: &u8| {
            let lives = |named| facts.hosts[voter].engine.as_ref().is_some_and(|it| it.incarnation() == named);
            let off = before.map(|view| view.host(HostId::new(*voter))).filter(|row| row.state == HostState::Down);
            // The view that admits it anew is the last one that is committed without it.
            let was_off = off.is_some_and(|row| !lives(row.incarnation));
            *voter != host.id && (was_off || !lives(view.host(HostId::new(*voter)).incarnation))
        };
        let alone = self.voters.len() == 2 && self.voters.iter().any(alone);
        let needed = if alone { 1 } else { self.voters.len() / 2 + 1 };
        assert!(
            count >= needed,
            "S4: host {} committed version {} under {} at {now} us, and {count} of {} votes accepted it: {accepted:?}",
            host.id,
            view.version,
            slot.0,
            self.voters.len()
        );
    }
}
