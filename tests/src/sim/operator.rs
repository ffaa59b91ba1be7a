//! An operator at a host: one vsock connection to its appliance.

use super::World;
use super::event::{Arrival, Event};
use super::operators::{CID, CONNECTION};
use palisade_core::id::{HostId, NodeId};
use palisade_core::limits::FRAME_MAX;
use palisade_core::who::Who;
use palisade_core::wire::node::{Message, Operation, Target, Wish};

/// A wish of Ann's about a node.
#[must_use]
pub fn of_node(wish: Wish, node: u8, duration_ms: u32) -> Operation {
    let who = Who::new("ann@console").expect("short");
    Operation { wish, target: Target::Node(NodeId::new(node)), force: false, duration_ms, incarnation: 0, who }
}

/// A wish of Ann's about a host.
#[must_use]
pub fn of_host(wish: Wish, host: u8, duration_ms: u32) -> Operation {
    Operation { target: Target::Host(HostId::new(host)), ..of_node(wish, 1, duration_ms) }
}

impl World {
    /// Says it to the appliance of this host.
    pub fn operate(&mut self, host: u8, operation: Operation) {
        self.say_as_operator(host, &Message::Operate(operation));
    }

    /// Says anything as an operator.
    pub fn say_as_operator(&mut self, host: u8, message: &Message) {
        self.answers.clear();
        self.note(|| format!("an operator says {message:?} to host {host}"));
        let mut buffer = [0; FRAME_MAX];
        let bytes = message.frame(0, 1, &[]).emit(&mut buffer).to_vec();
        let life = self.hosts[&host].life;
        for (delay, what) in [(100, Arrival::Opened(CONNECTION, CID)), (300, Arrival::Vsock(CONNECTION, bytes))] {
            self.at(self.now + delay, Event::Arrives { host, life, what });
        }
    }

    /// What that appliance answers within so many milliseconds; events are passed over.
    pub fn answer_of(&mut self, host: u8, within_ms: u64) -> Option<Message> {
        self.run_until_true(within_ms, |world| world.answers.iter().any(|(_, by, _)| *by == host));
        self.answers.iter().find(|(_, by, _)| *by == host).map(|(.., message)| *message)
    }

    pub(super) fn answered(&mut self, host: u8, message: &Message) {
        if !matches!(
            message,
            Message::View { .. } | Message::NodeUp(_) | Message::NodeDown(_) | Message::NodeSuspect(_)
        ) {
            self.answers.push((self.now, host, *message));
        }
    }
}
