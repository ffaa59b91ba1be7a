//! The receiver's half: what came in for the nodes of this host.
//!
//! Owns one stream for each local end and each node that may send to it, so that no sender ever stands before a full table.
//! Nothing is kept here but numbers: what the node did not take is carried again by the sender's appliance.
//!
//! A stream exists under a token that is drawn here when it begins. So a datagram that was late for longer than its stream
//! lived, or than this half remembers it, finds no stream, and nothing is said twice (SAFETY I2).

use super::{Peer, Said};
use crate::id::{HostId, Incarnation, NodeId};
use crate::limits::{ENDPOINTS_MAX, ID_SLOTS};
use crate::wire::message::Stream;
use crate::wire::node::Mail;

/// One stream; all zero: none.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    /// What was drawn for it; zero: no stream.
    token: u64,
    /// Its number at the sender's appliance.
    stream: u64,
    host: HostId,
    appliance: Incarnation,
    sender: Incarnation,
    first: u64,
    /// The newest number that the node was told.
    told: u64,
    /// The newest number that the node took.
    acked: u64,
}

impl Incoming {
    const NONE: Self =
        Self { token: 0, stream: 0, host: HostId::NONE, appliance: 0, sender: 0, first: 0, told: 0, acked: 0 };

    fn is_from(&self, peer: Peer) -> bool {
        self.token != 0 && self.host == peer.host && self.appliance == peer.appliance
    }

    const fn answer(&self) -> Stream {
        Stream::Acked { stream: self.stream, token: self.token, number: self.acked }
    }
}

/// What comes of a CARRY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It is the node's turn: say this.
    Say(Mail),
    /// Answer this to the sender's appliance.
    Answer(Stream),
    /// It came before one that is missing, and will come again.
    Early,
}

/// All streams to the nodes of this host.
#[derive(Debug)]
pub struct Receivers {
    streams: [[Incoming; ID_SLOTS]; ENDPOINTS_MAX],
}

impl Receivers {
    /// None; all zero.
    pub const EMPTY: Self = Self { streams: [[Incoming::NONE; ID_SLOTS]; ENDPOINTS_MAX] };

    /// A local end begins anew: whoever sent to the one before has to open a stream again.
    pub fn forget(&mut self, endpoint: usize) {
        self.streams[endpoint] = [Incoming::NONE; ID_SLOTS];
    }

    /// A stream begins. What to answer; `None`: a late word about one that is long over.
    pub fn open(
        &mut self,
        endpoint: usize,
        peer: Peer,
        from: NodeId,
        (stream, sender, first): (u64, Incarnation, u64),
        token: u64,
    ) -> Option<Stream> {
        let place = &mut self.streams[endpoint][from.index()];
        if place.is_from(peer) && stream <= place.stream {
            return (stream == place.stream).then(|| place.answer());
        }
        let before = first.saturating_sub(1);
        let (host, appliance) = (peer.host, peer.appliance);
        *place = Incoming { token, stream, host, appliance, sender, first, told: before, acked: before };
        Some(place.answer())
    }

    /// A message came.
    pub fn carry(
        &mut self,
        endpoint: usize,
        peer: Peer,
        from: NodeId,
        stream: u64,
        token: u64,
        number: u64,
    ) -> Carried {
        let place = &mut self.streams[endpoint][from.index()];
        if !place.is_from(peer) || place.stream != stream || place.token != token {
            return Carried::Answer(Stream::Over { stream });
        }
        if number <= place.acked {
            return Carried::Answer(place.answer());
        }
        if number > place.told + 1 {
            return Carried::Early;
        }
        place.told = place.told.max(number);
        let (incarnation, first) = (place.sender, place.first);
        Carried::Say(Mail::Recv { from, incarnation, number, stream: token, first })
    }

    /// Under which incarnation the sender of a stream was opened; zero: no stream.
    pub fn sender(&self, endpoint: usize, from: NodeId) -> Incarnation {
        self.streams[endpoint][from.index()].sender
    }

    /// The node took a message. To whom to say what, if that is news; `Err`: it was never told that number. An acknowledgement
    /// that names another stream is late, which its node cannot know.
    pub fn ack(&mut self, endpoint: usize, from: NodeId, token: u64, number: u64) -> Result<Option<Said>, ()> {
        let place = &mut self.streams[endpoint][from.index()];
        if place.token == 0 || place.token != token {
            return Ok(None);
        }
        if number > place.told || number < place.first {
            return Err(());
        }
        if number <= place.acked {
            return Ok(None);
        }
        place.acked = number;
        let said = Said { to: Peer { host: place.host, appliance: place.appliance }, stream: place.answer() };
        Ok(Some(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    const PEER: Peer = Peer { host: HostId::new(2), appliance: 22 };
    const FROM: NodeId = NodeId::new(7);

    fn recv(number: u64) -> Carried {
        Carried::Say(Mail::Recv { from: FROM, incarnation: 70, number, stream: 99, first: 5 })
    }

    fn opened() -> Box<Receivers> {
        let mut receivers = Box::new(Receivers::EMPTY);
        let answer = receivers.open(1, PEER, FROM, (1000, 70, 5), 99);
        assert_eq!(answer, Some(Stream::Acked { stream: 1000, token: 99, number: 4 }));
        receivers
    }

    #[test]
    fn in_order_and_each_until_it_is_taken() {
        let mut receivers = opened();
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 99, 6), Carried::Early);
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 99, 5), recv(5));
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 99, 6), recv(6));
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 99, 5), recv(5), "not taken yet");
        let said = receivers.ack(1, FROM, 99, 5).map(|said| said.map(|said| said.stream));
        assert_eq!(said, Ok(Some(Stream::Acked { stream: 1000, token: 99, number: 5 })));
        assert_eq!(receivers.ack(1, FROM, 99, 5), Ok(None), "no news");
        let again = receivers.carry(1, PEER, FROM, 1000, 99, 5);
        assert_eq!(again, Carried::Answer(Stream::Acked { stream: 1000, token: 99, number: 5 }));
        assert_eq!(receivers.ack(1, FROM, 99, 7), Err(()), "it was never told");
    }

    #[test]
    fn what_is_older_than_the_stream_finds_none() {
        let mut receivers = opened();
        let over = Carried::Answer(Stream::Over { stream: 1000 });
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 98, 5), over, "another token");
        let reborn = Peer { appliance: 23, ..PEER };
        assert_eq!(receivers.carry(1, reborn, FROM, 1000, 99, 5), over, "another appliance");
        assert_eq!(receivers.open(1, PEER, FROM, (999, 70, 1), 100), None, "a late OPEN");
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 99, 5), recv(5));
        receivers.forget(1);
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 99, 5), over, "another session of the receiver");
        assert!(receivers.open(1, PEER, FROM, (1000, 70, 5), 101).is_some());
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 99, 5), over, "a late CARRY under the old token");
    }

    #[test]
    fn only_what_was_told_can_be_taken() {
        let mut receivers = opened();
        for number in [4, 5, u64::MAX] {
            assert_eq!(receivers.ack(1, FROM, 99, number), Err(()));
        }
    }

    #[test]
    fn what_is_acknowledged_of_a_stream_that_is_over_is_late_and_no_mistake() {
        let mut receivers = opened();
        for (token, number) in [(98, 5), (0, 0)] {
            assert_eq!(receivers.ack(1, FROM, token, number), Ok(None));
        }
        assert_eq!(receivers.ack(0, FROM, 0, 0), Ok(None), "no stream at all");
        assert_eq!(receivers.carry(1, PEER, FROM, 1000, 99, 5), recv(5), "nothing was taken");
    }
}
