//! A host that is taken away in peace in the middle of whatever else goes on, and brought back later.
//!
//! Owns the person's part: close, shut down, ask; and switch off only what was let go, or what would not do as told.

use super::{Ends, Heal, Story};
use crate::sim::World;
use crate::sim::operator::of_host;
use palisade_core::id::HostId;
use palisade_core::status::HostState;
use palisade_core::wire::node::Wish;
use std::collections::BTreeSet;

impl Story {
    /// As a fault: what ends it, and when.
    pub(super) fn takes_a_host_away(&mut self, host: u8, patience: bool) -> Ends {
        if !self.may_forget(host, patience) {
            self.count("(spared: memory)");
            return Vec::new();
        }
        let nodes = self.world.hosts[&host].nodes().to_vec();
        let wanted: Vec<BTreeSet<u8>> = nodes.iter().map(|node| self.world.guests[node].dlm.wants.clone()).collect();
        self.world.close_all(host);
        let closed = |world: &World, node: &u8| world.guests[node].dlm.is_closed();
        self.pass_until(60, |world| world.hosts[&host].nodes().iter().all(|node| closed(world, node)));
        self.world.shut_down_nodes(host);
        self.pass_until(30, |world| world.is_cleared(host));
        let at = self.one_of(self.shape.hosts);
        self.world.operate(at, of_host(Wish::Leave, host, 0));
        let left = |world: &World| {
            world.truth.newest().is_some_and(|view| view.host(HostId::new(host)).state == HostState::Left)
        };
        self.pass_until(40, left);
        self.count(if left(&self.world) { "host leaves in peace" } else { "host asked to leave, and switched off" });
        let pause = self.random(3) * self.random(1_000_000);
        self.pass(pause);
        self.world.power_off(host);
        for (node, wants) in nodes.into_iter().zip(wanted) {
            self.world.guests.get_mut(&node).expect("a node of this host").dlm.wants = wants;
        }
        vec![(self.world.now + self.random(8_000_000), Heal::Power(host))]
    }

    /// Time passes in steps of 50 ms until this holds, at most so many.
    fn pass_until(&mut self, steps: u32, holds: impl Fn(&World) -> bool) {
        for _ in 0..steps {
            if holds(&self.world) {
                return;
            }
            self.pass(50_000);
        }
    }
}
