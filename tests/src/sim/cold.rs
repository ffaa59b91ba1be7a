//! What stories of cold starts and barriers need: memories that are wrong or missing, datagrams and frames that are lost at the
//! worst moment.

use super::World;
use super::event::{Arrival, Event};
use palisade_core::id::{HostId, NodeId};
use palisade_core::time::Instant;
use palisade_core::wire::frame::Frame;
use palisade_core::wire::node::{Group, Message, NodeState, ViewNode};

impl World {
    /// A node was told, once, that this incarnation of another one is down.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn remember_death(&mut self, node: u8, about: u8, incarnation: u64) {
        let host = HostId::new(self.guests[&about].host);
        let entry = ViewNode { node: NodeId::new(about), state: NodeState::Down, host, class: 1, incarnation };
        self.guests.get_mut(&node).expect("a configured node").memory.learn(node, 0, entry);
    }

    /// The incarnation of a host's appliance, if one runs.
    #[must_use]
    pub fn incarnation(&self, host: u8) -> Option<u64> {
        self.hosts[&host].engine.as_ref().map(|engine| engine.summary(Instant::ZERO).incarnation)
    }

    /// Whether this host's appliance holds a view that names the present appliance of that host.
    #[must_use]
    pub fn names(&self, host: u8, about: u8) -> bool {
        let named = self.hosts[&host].view().map(|view| view.host(HostId::new(about)).incarnation);
        named.is_some() && named == self.incarnation(about)
    }

    /// All appliances lose their memory at once.
    pub fn forget_all(&mut self) {
        for host in self.hosts.keys().collect::<Vec<_>>() {
            self.kill_appliance(host);
        }
    }

    /// Whether a guest takes no step of any barrier: its worker hangs.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn deafen(&mut self, node: u8, deaf: bool) {
        self.guests.get_mut(&node).expect("a configured node").dlm.stuck = deaf;
    }

    /// Whatever is on its way to a host is lost.
    pub fn lose_datagrams_to(&mut self, host: u8) {
        self.queue
            .lose(|event| matches!(event, Event::Arrives { host: to, what: Arrival::Datagram(..), .. } if *to == host));
    }

    /// This part of any START that is on its way to a node is lost. How many were.
    pub fn lose_start(&mut self, node: u8, part: u16) -> usize {
        let mut lost = 0;
        self.queue.lose(|event| {
            let Event::ToNode { node: to, bytes, .. } = event else { return false };
            let message = Frame::parse(bytes).and_then(|frame| Message::parse(&frame));
            let is_it =
                matches!(message, Ok(Message::Group(Group::Start { part: of, .. })) if of == part && *to == node);
            lost += usize::from(is_it);
            is_it
        });
        lost
    }
}
