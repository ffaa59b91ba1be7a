//! From node to node: where a node is, and the messages between them.
//!
//! Owns what `messaging` has to be told: which session is whose end, who is where, and who may speak. A member speaks to
//! members under the incarnations of the newest committed view, and no one else's message is carried (SAFETY I2, F4).

use super::Engine;
use crate::id::{HostId, Incarnation, NodeId};
use crate::io::Road;
use crate::messaging::{Endpoint, Peer, Refused, Route, Said, endpoint_of};
use crate::rule::Rule;
use crate::sessions::Received;
use crate::status::Counter;
use crate::time::Instant;
use crate::wire::message::{Ends, Stream};
use crate::wire::node::{Address, Mail, Message as Word, NodeState, Refusal};

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

    /// What is due for messages, whatever came in.
    pub(super) fn serve_messages(&mut self, now: Instant) {
        let sessions = &self.sessions;
        self.messaging.sync(|end| {
            let session = sessions.get(end.road);
            session.open && session.id == end.session
        });
        let view = &self.acceptor.committed;
        let stands = |node, host: Option<HostId>, incarnation| {
            let row = view.node(node);
            row.state == NodeState::Up && row.incarnation == incarnation && host.is_none_or(|host| host == row.host)
        };
        // Who is known to have been replaced answers no more: its streams end now, and not only after their silence.
        let (peers, ends) = (&self.peers, self.rules.holds(Rule::I2));
        let replaced = |peer: Peer| ends && peers.incarnation(peer.host).is_some_and(|it| it != peer.appliance);
        self.messaging.judge(view.version, stands, replaced, &mut self.outbox);
        let next = self.messaging.tick(now, &mut self.outbox);
        self.due(next);
    }

    /// A session opened: it is its node's end on this kind of road.
    pub(super) fn bind_end(&mut self, road: Road) {
        let session = self.sessions.get(road);
        let (node, incarnation, session) = (session.node, session.incarnation, session.id);
        if let Some(slot) = self.local.slot(node) {
            self.messaging.bind(endpoint_of(road, slot), Endpoint { node, road, session, incarnation });
        }
    }

    /// The end that the session on a road is.
    fn end_on(&self, road: Road) -> Option<usize> {
        let session = self.sessions.get(road);
        let endpoint = endpoint_of(road, self.local.slot(session.node)?);
        let end = &self.messaging.endpoints()[endpoint];
        (end.session != 0 && end.session == session.id && end.road == road).then_some(endpoint)
    }

    /// Whether this is a SEND of a session that cannot be taken whatever room there is, because its number is not the next one.
    /// It takes no token: a sender that repeats all that is under way would spend them on what comes before or after the
    /// one that is waited for, and get nothing through for ever.
    pub(super) fn is_out_of_turn(&self, road: Road, received: &Received) -> bool {
        let Some(Word::Mail(Mail::Send { to, epoch, number })) = received.message else { return false };
        let end = self.end_on(road).filter(|_| received.session == self.sessions.get(road).id);
        end.is_some_and(|endpoint| !self.messaging.senders.expects(endpoint, to, epoch, number))
    }

    /// A SEND too many.
    pub(super) fn refuse_send(&mut self, now: Instant, road: Road, session: u32, send: (NodeId, u32, u64)) {
        let Some(endpoint) = self.end_on(road).filter(|_| session == self.sessions.get(road).id) else {
            return self.say_error(now, road, Refusal::NoSession);
        };
        let (to, epoch, number) = send;
        if let Some(mail) = self.messaging.senders.refuse(endpoint, to, epoch, number) {
            self.messaging.say(endpoint, mail, &mut self.outbox);
        }
    }

    /// A node speaks about messages, in its session.
    pub(super) fn on_mail(&mut self, now: Instant, road: Road, mail: Mail, bytes: &[u8]) {
        let Some(endpoint) = self.end_on(road) else { return self.refuse(now, road, Refusal::BadRequest) };
        match mail {
            Mail::Send { to, epoch, number } => self.on_send(now, endpoint, (to, epoch, number), bytes),
            Mail::Ack { peer, number, stream } => match self.messaging.receivers.ack(endpoint, peer, stream, number) {
                Ok(Some(said)) => said.post(&mut self.outbox),
                Ok(None) => {}
                Err(()) => {
                    self.count(Counter::FramesUnsound);
                    self.say_error(now, road, Refusal::BadRequest);
                }
            },
            _ => self.count(Counter::FramesUnsound),
        }
    }

    fn on_send(&mut self, now: Instant, endpoint: usize, send: (NodeId, u32, u64), bytes: &[u8]) {
        let to = send.0;
        let end = self.messaging.endpoints()[endpoint];
        let config = self.config();
        if to == end.node || config.node(to).is_none() || !config.share_cluster(end.node, to) {
            return self.say_error(now, end.road, Refusal::BadRequest);
        }
        let own = self.view().node(end.node);
        if own.state != NodeState::Up || own.incarnation != end.incarnation {
            // Not a member yet.
            return self.refuse_send(now, end.road, end.session, send);
        }
        let route = self.route(to);
        match self.messaging.senders.send(now, endpoint, send, bytes, route) {
            Ok(()) | Err(Refused::Again) => {}
            Err(Refused::Answer(mail)) => self.messaging.say(endpoint, mail, &mut self.outbox),
            Err(Refused::Bad) => self.say_error(now, end.road, Refusal::BadRequest),
        }
    }

    fn route(&self, to: NodeId) -> Route {
        let row = self.view().node(to);
        if row.state != NodeState::Up {
            return Route::Nowhere;
        }
        let peer = |appliance| Route::To(Peer { host: row.host, appliance }, row.incarnation);
        self.peers.incarnation(row.host).map_or(Route::Unknown, peer)
    }

    /// Another appliance speaks about a stream.
    pub(super) fn on_stream(
        &mut self,
        now: Instant,
        from: HostId,
        appliance: Incarnation,
        stream: Stream,
        bytes: &[u8],
    ) {
        let peer = Peer { host: from, appliance };
        if self.condemned {
            return;
        }
        let heard = match stream {
            Stream::Open { stream, ends, sender, receiver, first } => {
                return self.on_open(peer, ends, receiver, (stream, sender, first));
            }
            Stream::Carry { stream, token, ends, number } => {
                return self.on_carry(peer, ends, (stream, token, number), bytes);
            }
            Stream::Acked { stream, token, number } => self.messaging.senders.acked(now, peer, stream, token, number),
            Stream::Over { stream } => self.messaging.senders.over(peer, stream),
        };
        if let Some((endpoint, mail)) = heard {
            self.messaging.say(endpoint, mail, &mut self.outbox);
        }
    }

    fn end_of(&self, ends: Ends) -> Option<usize> {
        let slot = self.local.slot(ends.to)?;
        Some(endpoint_of(if ends.user { Road::Vsock(0) } else { Road::Channel(slot) }, slot))
    }

    /// Whether an end is anybody to whom messages are still brought: not who is condemned, dead, or has left (SAFETY F4, I2).
    fn may_hear(&self, endpoint: usize) -> bool {
        let end = &self.messaging.endpoints()[endpoint];
        let row = self.view().node(end.node);
        row.incarnation != end.incarnation || row.state == NodeState::Up || !self.rules.holds(Rule::F4Mail)
    }

    fn on_open(&mut self, peer: Peer, ends: Ends, receiver: Incarnation, open: (u64, Incarnation, u64)) {
        let (stream, sender, _) = open;
        let over = Said { to: peer, stream: Stream::Over { stream } };
        let listens = |&endpoint: &usize| {
            let end = &self.messaging.endpoints()[endpoint];
            end.session != 0 && end.incarnation == receiver
        };
        let Some(endpoint) = self.end_of(ends).filter(listens).filter(|&it| self.may_hear(it)) else {
            return over.post(&mut self.outbox);
        };
        let row = self.view().node(ends.from);
        if row.incarnation != sender {
            // Perhaps it is a member in a view that has not come yet; the question will come again.
            return;
        }
        if row.state != NodeState::Up || row.host != peer.host {
            return over.post(&mut self.outbox);
        }
        let token = self.entropy.next();
        if let Some(stream) = self.messaging.receivers.open(endpoint, peer, ends.from, open, token) {
            Said { to: peer, stream }.post(&mut self.outbox);
        }
    }

    fn on_carry(&mut self, peer: Peer, ends: Ends, carry: (u64, u64, u64), bytes: &[u8]) {
        let row = self.view().node(ends.from);
        let speaks = |&endpoint: &usize| {
            let sender = self.messaging.receivers.sender(endpoint, ends.from);
            // What is condemned speaks no more (SAFETY F4).
            let up = row.state == NodeState::Up || !self.rules.holds(Rule::F4Mail);
            up && row.incarnation == sender && row.host == peer.host
        };
        match self.end_of(ends).filter(|&it| self.may_hear(it)).filter(speaks) {
            Some(endpoint) => self.messaging.take(peer, ends.from, endpoint, carry, bytes, &mut self.outbox),
            None => Said { to: peer, stream: Stream::Over { stream: carry.0 } }.post(&mut self.outbox),
        }
    }
}
