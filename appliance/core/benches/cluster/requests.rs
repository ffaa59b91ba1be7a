//! A thousand requests as a node and its operators make them: JOIN and LEAVE, SEND, STATUS, ADDRESS.
//!
//! Owns the mix. Between two rounds the node does what a shim does, so that every request is one that is carried out: a
//! barrier goes through, a message is acknowledged. Only the requests themselves are measured.

use super::{Call, Cluster, Meter, node};
use palisade_core::id::{Label, Volume};
use palisade_core::io::{Input, Road};
use palisade_core::limits::FRAME_MAX;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Group, Mail, Message as Word, Section};

/// Rounds, and requests of each kind in one: fewer than a stream may have under way, and than a bucket holds.
const ROUNDS: u64 = 50;
const OF_EACH: u64 = 5;
/// Kinds of requests.
const KINDS: u64 = 4;
/// Requests in all.
pub const REQUESTS: u64 = ROUNDS * OF_EACH * KINDS;
/// Bytes of a message.
const MESSAGE: [u8; 100] = [7; 100];

fn volume() -> Volume {
    Label::named("bench")
}

impl Cluster {
    /// What `REQUESTS` of the node of `at` cost, and of operators there; it writes to the node of `to`. Nanoseconds in all.
    pub fn requests(&mut self, at: usize, to: usize) -> f64 {
        let mut nanos = 0.0;
        self.forget_said();
        for connection in 0..8 {
            let opened = Input::Opened { connection, cid: 2 };
            self.hosts[at].call(self.now, Call::Local, opened, &mut self.sent);
        }
        let (mut acked, mut barriers) = (0, 0);
        for round in 0..ROUNDS {
            self.interval();
            self.hosts[at].meter = Meter::default();
            for number in 1..=OF_EACH {
                // A shim repeats JOIN and LEAVE until they are done.
                let group = if round.is_multiple_of(2) {
                    Group::Join { cluster: Label::NONE, volume: volume() }
                } else {
                    Group::Leave { volume: volume() }
                };
                self.asks(at, Road::Channel(0), &Word::Group(group), &[]);
                let send = Mail::Send { to: node(to), epoch: 0, number: round * OF_EACH + number };
                self.asks(at, Road::Channel(0), &Word::Mail(send), &MESSAGE);
                let connection = u8::try_from(number).expect("invariant: few of each");
                let section = if round.is_multiple_of(2) { Section::Nodes } else { Section::Summary };
                self.asks(at, Road::Vsock(connection), &Word::Status { section, first: 0 }, &[]);
                self.asks(at, Road::Vsock(connection), &Word::Mail(Mail::Address { node: node(to) }), &[]);
            }
            nanos += self.hosts[at].meter.nanos(Call::Local);
            self.settle();
            while self.shims_answer(at, &mut acked, &mut barriers) | self.shims_answer(to, &mut acked, &mut barriers) {
                self.settle();
            }
        }
        assert!(acked == ROUNDS * OF_EACH, "each message was acknowledged, not only {acked}");
        assert!(barriers == ROUNDS, "the node joined and left each time, not only {barriers} times");
        nanos
    }

    fn asks(&mut self, at: usize, road: Road, word: &Word, payload: &[u8]) {
        let session = if matches!(road, Road::Channel(_)) { self.hosts[at].session } else { 0 };
        let mut buffer = [0; FRAME_MAX];
        let bytes = word.frame(session, 1, payload).emit(&mut buffer);
        self.hosts[at].call(self.now, Call::Local, Input::Session { road, bytes }, &mut self.sent);
    }

    fn forget_said(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.said.clear());
    }

    /// What the node of a host answers to what it was told. Whether it said anything.
    fn shims_answer(&mut self, at: usize, acked: &mut u64, barriers: &mut u64) -> bool {
        let said = std::mem::take(&mut self.hosts[at].said);
        let (mut reader, mut bytes, mut answers) = (Reader::new(), said.as_slice(), Vec::new());
        while let Some(frame) = reader.next(&mut bytes) {
            match Word::parse(&frame) {
                Ok(Word::Group(Group::Stop { volume, generation })) => {
                    answers.push(Group::Stopped { volume, generation })
                }
                Ok(Word::Group(Group::Start { volume, generation, .. })) => {
                    *barriers += 1;
                    answers.extend([Group::Started { volume, generation }, Group::Recovered { volume, generation }]);
                }
                Ok(Word::Group(Group::Leave { .. })) => *barriers += 1,
                Ok(Word::Mail(Mail::Recv { from, number, stream, .. })) => {
                    self.asks(at, Road::Channel(0), &Word::Mail(Mail::Ack { peer: from, number, stream }), &[]);
                }
                Ok(Word::Mail(Mail::Ack { number, .. })) => *acked = number.max(*acked),
                Ok(Word::Mail(Mail::Busy { .. }) | Word::Busy) => panic!("nothing is too much"),
                _ => {}
            }
        }
        for &answer in &answers {
            self.asks(at, Road::Channel(0), &Word::Group(answer), &[]);
        }
        !said.is_empty()
    }
}
