//! Cuts on the network of the DLMs, in a story: between some nodes or all, in one direction or both, for a moment or for long.
//!
//! Owns what is drawn. A long one costs nodes, and a node of a host whose disks do not qualify costs that host's memory: where there is
//! one, cuts are short.

use super::{Heal, Micros, Story};

impl Story {
    /// How soon each shim notices.
    pub(super) fn shims_begin(&mut self) {
        for node in self.world.guests.values().map(|guest| guest.node).collect::<Vec<_>>() {
            let slow = (self.random(1_000_000), self.random(1_000_000));
            let peers = &mut self.world.guests.get_mut(&node).expect("a node").dlm.peers;
            (peers.slow, peers.slow_back) = slow;
        }
    }

    /// Perhaps a cut. What ends it.
    pub(super) fn wires(&mut self) -> Vec<(Micros, Heal)> {
        if self.random(5) != 0 {
            return Vec::new();
        }
        let nodes: Vec<u8> = self.world.guests.values().map(|guest| guest.node).collect();
        let node = nodes[usize::try_from(self.random(nodes.len() as u64)).expect("small")];
        let others: Vec<u8> = nodes.iter().copied().filter(|&other| other != node).collect();
        match self.random(5) {
            0 if !others.is_empty() => {
                self.count("DLM: one direction cut");
                let other = others[usize::try_from(self.random(others.len() as u64)).expect("small")];
                self.world.cut_wire(node, other, true);
            }
            1 => {
                self.count("DLM: one node cut off");
                self.world.part_wires(&[node], &others, true);
            }
            2 => {
                self.count("DLM: two parts");
                let by = 2 + self.random(3);
                let (one, other): (Vec<u8>, Vec<u8>) = nodes.iter().partition(|&&node| u64::from(node) % by == 0);
                self.world.part_wires(&one, &other, true);
            }
            3 => {
                self.count("DLM: all apart");
                self.world.part_wires(&nodes, &nodes, true);
            }
            _ if self.tainted.is_empty() => {
                self.count("DLM: a shim that lies");
                self.world.begin_to_lie(node);
            }
            _ => {}
        }
        let lasts = match self.random(3) {
            0 if self.tainted.is_empty() => 9_000_000 + self.random(8_000_000),
            1 => self.random(8_000_000),
            _ => self.random(500_000),
        };
        vec![(self.world.now + lasts, Heal::Wires)]
    }
}
