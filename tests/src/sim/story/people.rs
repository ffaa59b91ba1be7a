//! People in a story: what they see to be off they say, they work on hosts, and now and then one of them is wrong.
//!
//! Owns their acknowledgements (class `operator`) and holds. Whoever speaks the truth names an incarnation that he saw end;
//! a lie is a fault of its own, about one node, and the checkers hold nobody to what follows from it for that node.

use super::{Bmc, Ends, Heal, Power, RISK, Story};
use crate::sim::operator::{of_host, of_node};
use palisade_core::id::HostId;
use palisade_core::status::HostState;
use palisade_core::wire::node::{NodeState, Operation, Wish};

impl Story {
    /// A host and its BMC die, and somebody who stands beside it says so.
    pub(super) fn operator_acknowledges(&mut self, host: u8, patience: bool) -> Ends {
        let speaker = host % self.shape.hosts + 1;
        if !self.may_forget(host, patience) {
            return Vec::new();
        }
        self.count("host and its BMC die, and an operator acknowledges it");
        self.world.bmcs.insert(host, Bmc::Dead);
        self.world.power_off(host);
        let pause = 100_000 + self.random(2_500_000);
        self.pass(pause);
        // Somebody may have turned it on meanwhile; the appliance fills in the incarnation that it knows.
        let incarnation = self.world.truth.newest().map_or(0, |view| view.host(HostId::new(host)).incarnation);
        if self.world.hosts[&host].power == Power::Off && incarnation != 0 {
            let force = self.random(2) == 0;
            let word = Operation { force, incarnation, ..of_host(Wish::Acknowledge, host, 0) };
            self.world.operate(speaker, word);
            self.asked = self.world.now + RISK;
        }
        let off_for = 500_000 + self.random(9_000_000);
        vec![(self.world.now + off_for, Heal::Power(host))]
    }

    /// Somebody looks at what is condemned, and says of one that it is off, if it is.
    pub(super) fn person_acknowledges(&mut self) {
        let Some(view) = self.world.truth.newest() else { return };
        let is_off = |host: u8| self.world.hosts[&host].power == Power::Off;
        let host = view.hosts().find(|(host, row)| row.state == HostState::Condemned && is_off(host.get()));
        let is_over = |node: u8, incarnation: u64| {
            let writes =
                self.world.writers.iter().any(|writer| (writer.node, writer.incarnation) == (node, incarnation));
            let guest = &self.world.guests[&node];
            !(writes || guest.incarnation == incarnation && guest.runs_on())
        };
        let node = view.nodes().find(|(node, row)| {
            row.state == NodeState::Condemned && row.run.is_some() && is_over(node.get(), row.incarnation)
        });
        let word = match (host, node) {
            (Some((host, row)), _) => {
                Operation { incarnation: row.incarnation, ..of_host(Wish::Acknowledge, host.get(), 0) }
            }
            (None, Some((node, row))) => {
                Operation { incarnation: row.incarnation, ..of_node(Wish::Acknowledge, node.get(), 0) }
            }
            (None, None) => return,
        };
        let Some(speaker) = self.world.leader() else { return };
        self.count("operator acknowledges what is condemned");
        self.world.operate(speaker, word);
        self.pass(1_000_000);
    }

    /// Somebody says that a node is off which is well.
    pub(super) fn operator_lies(&mut self, host: u8, node: u8, patience: bool) {
        let works = |story: &Self| story.world.guests[&node].works() && story.world.guests[&node].has_session();
        if works(self) && self.may_hit(node, patience) && works(self) && !self.has_left(node) {
            self.count("operator lies about a node");
            self.world.lie_about(host, node);
            self.asked = self.world.now + RISK;
        }
    }

    /// Somebody works on a host, or says that he is done; it may die meanwhile.
    pub(super) fn operator_maintains_a_host(&mut self, host: u8, patience: bool) {
        let speaker = self.one_of(self.shape.hosts);
        let duration_ms = u32::try_from(500 + self.random(4_000)).expect("small");
        let wish = if self.random(3) == 0 { Wish::Release } else { Wish::Maintain };
        self.count("operator works on a host, or is done");
        self.world.operate(speaker, Operation { force: true, ..of_host(wish, host, duration_ms) });
        self.asked = self.world.now + RISK;
        if self.random(2) == 0 && self.may_forget(host, patience) {
            self.count("a host dies while somebody works on it");
            self.world.kill_appliance(host);
        }
    }
}
