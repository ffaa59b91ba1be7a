//! From node to node: where a node is.

use super::Engine;
use crate::id::{HostId, NodeId};
use crate::io::Road;
use crate::time::Instant;
use crate::wire::node::{Address, Mail, Message as Word, Refusal};

impl Engine {
    /// Where a configured node is, by the newest committed view.
    pub(super) fn on_address(&mut self, now: Instant, road: Road, node: NodeId) {
        let Some(configured) = self.config().node(node) else {
            return self.say_error(now, road, Refusal::BadRequest);
        };
        let row = self.view().node(node);
        let address = Address {
            node,
            host: if row.host.is_some() { row.host } else { HostId::new(configured.host) },
            state: row.state,
            incarnation: row.incarnation,
            cid: configured.cid,
            version: self.version(),
        };
        self.outbox.say(road, Word::Mail(Mail::AddressReply(address)));
    }
}
