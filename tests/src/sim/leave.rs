//! A host that is taken away in peace: its nodes close their volumes and shut down, then an operator says that it leaves.
//!
//! Owns the order of these steps, as a person's script would have it. What the cluster makes of it is the core's.

use super::World;
use super::operator::of_host;
use palisade_core::id::NodeId;
use palisade_core::wire::node::{Message, NodeState, Wish};

impl World {
    /// The nodes of a host close their volumes.
    pub fn close_all(&mut self, host: u8) {
        for node in self.nodes_on(host) {
            for volume in self.guests[&node].dlm.wants.iter().copied().collect::<Vec<_>>() {
                self.wants(node, volume, false);
            }
        }
    }

    /// The nodes of a host that have no volume open any more say BYE and end.
    pub fn shut_down_nodes(&mut self, host: u8) {
        for node in self.nodes_on(host) {
            if self.guests[&node].dlm.is_closed() {
                self.bye(node);
            }
        }
    }

    /// Whether no node of a host is a member in the newest view.
    #[must_use]
    pub fn is_cleared(&self, host: u8) -> bool {
        let Some(view) = self.truth.newest() else { return false };
        let is_over = |node: u8| matches!(view.node(NodeId::new(node)).state, NodeState::Left | NodeState::Down);
        self.guests.values().filter(|guest| guest.host == host).all(|guest| is_over(guest.node))
    }

    /// All of it: what the appliance of `at` answers to the request.
    pub fn takes_away(&mut self, host: u8, at: u8) -> Option<Message> {
        self.close_all(host);
        let closed = |w: &Self| w.nodes_on(host).iter().all(|node| w.guests[node].dlm.is_closed());
        self.run_until_true(10_000, closed);
        self.shut_down_nodes(host);
        self.run_until_true(5_000, |world| world.is_cleared(host));
        self.operate(at, of_host(Wish::Leave, host, 0));
        self.answer_of(at, 6_000)
    }

    fn nodes_on(&self, host: u8) -> Vec<u8> {
        self.guests.values().filter(|guest| guest.host == host).map(|guest| guest.node).collect()
    }
}
