//! Operators: people on a host who talk to its appliance by vsock, in the frames of `palisadectl`.
//!
//! Owns what they ask and what they were promised: what was accepted is committed, and is never lost (SAFETY I3).

use super::World;
use super::event::{Arrival, Event};
use palisade_core::id::{HostId, NodeId};
use palisade_core::limits::FRAME_MAX;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Message, Target};

/// The connection that operators use, and from which CID they come.
pub(super) const CONNECTION: u8 = 23;
pub(super) const CID: u32 = 2;

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Fence this node.
    FenceNode(u8),
    /// Fence this host.
    FenceHost(u8),
    /// Ask for everything that STATUS tells.
    Status,
}

impl World {
    /// An operator on a host wants something.
    pub fn operator(&mut self, host: u8, wish: Wish) {
        self.note(|| format!("an operator on host {host}: {wish:?}"));
        let life = self.hosts[&host].life;
        let opened = Event::Arrives { host, life, what: Arrival::Opened(CONNECTION, CID) };
        self.at(self.now + 100, opened);
        self.at(self.now + 300, Event::Operator { host, asks: wish });
    }

    /// An operator says that a node is off as which it is not, so that all believe him.
    pub fn lie_about(&mut self, host: u8, node: u8) {
        let guest = self.guests.get_mut(&node).expect("a configured node");
        guest.lied_about = true;
        let incarnation = guest.incarnation;
        self.truth.lied.insert((node, incarnation));
        let wish = palisade_core::wire::node::Wish::Acknowledge;
        let word = super::operator::of_node(wish, node, 0);
        self.operate(host, palisade_core::wire::node::Operation { force: true, incarnation, ..word });
    }

    /// Whoever lied was believed by now, or is not any more. Of whom it was believed may still stand somewhere, and run on.
    pub fn forget_lies(&mut self) {
        for guest in self.guests.values_mut() {
            guest.lied_about &= self.truth.confirmed.contains_key(&(guest.node, guest.incarnation));
        }
    }

    pub(super) fn operator_asks(&mut self, host: u8, wish: Wish) {
        let life = self.hosts[&host].life;
        let ask = |section| Message::Status { section, first: 0 };
        use palisade_core::wire::node::Section as S;
        let words: Vec<Message> = match wish {
            Wish::FenceNode(node) => vec![Message::Fence { target: Target::Node(NodeId::new(node)) }],
            Wish::FenceHost(host) => vec![Message::Fence { target: Target::Host(HostId::new(host)) }],
            Wish::Status => [S::Summary, S::Hosts, S::Nodes, S::History, S::Counters].map(ask).to_vec(),
        };
        for word in words {
            let mut buffer = [0; FRAME_MAX];
            let bytes = word.frame(0, 1, &[]).emit(&mut buffer).to_vec();
            self.at(self.now, Event::Arrives { host, life, what: Arrival::Vsock(CONNECTION, bytes) });
        }
    }

    pub(super) fn operator_hears(&mut self, host: u8, _connection: u8, bytes: &[u8]) {
        let mut reader = Reader::new();
        let Some(frame) = reader.next(&mut &*bytes) else { return };
        let Ok(message) = Message::parse(&frame) else { return };
        if matches!(message, Message::StatusPart { .. }) {
            self.payloads.push(frame.payload.to_vec());
        }
        self.note(|| format!("the operator on host {host} is told {message:?}"));
        self.answered(host, &message);
        if let Message::FenceReply { target, version } = message {
            self.truth.promised(self.now, host, target, version);
        }
    }

    /// An appliance is gone, and its connections with it.
    pub(super) fn end_operators(&mut self, host: u8) {
        let life = self.hosts[&host].life;
        self.at(self.now, Event::Arrives { host, life, what: Arrival::Closed(CONNECTION) });
    }
}
