//! DLMs: where they listen, told to each local node (SAFETY F6).
//!
//! Owns how far the telling is. Appliances do not see the network of the DLMs; the configuration says where they are. Told
//! again with each VIEW, a few frames in a turn: however many nodes there are, nothing else of the sessions waits for it.

use super::Engine;
use crate::id::NodeId;
use crate::io::Road;
use crate::limits::{ADDRESSES_PER_TURN, LOCAL_NODES_MAX, RESEND_MS};
use crate::time::Instant;
use crate::wire::node::{Dlm, Message as Word};

/// How far the addresses are told.
#[derive(Debug)]
pub(super) struct Telling {
    /// By channel: so many nodes of the configuration are still to be looked at, counted from its end.
    left: [u8; LOCAL_NODES_MAX],
    /// Not before: one turn's worth is on its way.
    next_at: Instant,
}

impl Telling {
    /// Nothing is to be told; all zero.
    pub(super) const NOTHING: Self = Self { left: [0; LOCAL_NODES_MAX], next_at: Instant::ZERO };
}

impl Engine {
    /// The node on this channel is told all addresses; if it is being told, it hears the rest first.
    pub(super) fn tell_addresses(&mut self, slot: u8) {
        let all = u8::try_from(self.config().nodes.len()).unwrap_or(u8::MAX);
        if let Some(left) = self.telling.left.get_mut(usize::from(slot)).filter(|left| **left == 0) {
            *left = all;
        }
    }

    /// Tells what is due, so much in a turn.
    pub(super) fn serve_addresses(&mut self, now: Instant) {
        for (slot, left) in (0u8..).zip(&mut self.telling.left).filter(|(_, left)| **left > 0) {
            if !self.sessions.get(Road::Channel(slot)).open {
                *left = 0;
            }
        }
        if self.telling.left == [0; LOCAL_NODES_MAX] {
            return;
        }
        if now < self.telling.next_at {
            return self.due(self.telling.next_at);
        }
        let config = self.config();
        let mut room = ADDRESSES_PER_TURN;
        for (slot, left) in (0u8..).zip(&mut self.telling.left) {
            let road = Road::Channel(slot);
            let session = self.sessions.get(road);
            while *left > 0 && room > 0 {
                let node = config.nodes.len().checked_sub(usize::from(*left)).and_then(|at| config.nodes.get(at));
                *left -= 1;
                let Some((node, address)) = node.and_then(|node| Some((NodeId::new(node.id), node.dlm?))) else {
                    continue;
                };
                if node == session.node || config.share_cluster(node, session.node) {
                    room -= 1;
                    self.outbox.say(road, Word::Dlm(Dlm::Address { node, port: 0, address }));
                }
            }
        }
        self.telling.next_at = now + Self::span(RESEND_MS);
        if self.telling.left != [0; LOCAL_NODES_MAX] {
            self.due(self.telling.next_at);
        }
    }
}
