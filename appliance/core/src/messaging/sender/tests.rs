//! The sender's half, alone: what it carries, takes and refuses, with the other half's words made up.

use super::*;
use crate::id::HostId;
use std::boxed::Box;
use std::vec::Vec;

const PEER: Peer = Peer { host: HostId::new(2), appliance: 22 };
const ROUTE: Route = Route::To(PEER, 70);
const TO: NodeId = NodeId::new(7);

struct Host {
    senders: Box<Senders>,
    endpoints: [Endpoint; ENDPOINTS_MAX],
    now: Instant,
}

impl Host {
    fn new() -> Self {
        let endpoints = [Endpoint { node: NodeId::new(1), ..Endpoint::NONE }; ENDPOINTS_MAX];
        Self { senders: Box::new(Senders::EMPTY), endpoints, now: Instant::from_micros(1_000_000) }
    }

    fn send(&mut self, to: NodeId, epoch: u32, number: u64) -> Result<(), Refused> {
        let bytes = number.to_le_bytes();
        let sent = self.senders.send(self.now, 0, (to, epoch, number), &bytes, ROUTE);
        assert!(self.senders.is_sound());
        sent
    }

    /// All that leaves now; the number of each message is in its bytes.
    fn leave(&mut self) -> Vec<Stream> {
        let mut left = Vec::new();
        while let Some((said, bytes)) = self.senders.next(&self.endpoints) {
            if let Stream::Carry { number, .. } = said.stream {
                assert_eq!(bytes, number.to_le_bytes());
            }
            left.push(said.stream);
        }
        left
    }

    fn numbers(&mut self) -> Vec<u64> {
        let number = |stream| if let Stream::Carry { number, .. } = stream { Some(number) } else { None };
        self.leave().into_iter().filter_map(number).collect()
    }

    fn pass(&mut self, millis: u64) -> Vec<Mail> {
        self.now += Duration::from_millis(millis);
        let mut told = Vec::new();
        self.senders.tick(self.now, |_, mail| told.push(mail));
        assert!(self.senders.is_sound());
        told
    }

    fn acked(&mut self, stream: u64, token: u64, number: u64) -> Option<Mail> {
        let told = self.senders.acked(self.now, PEER, stream, token, number);
        assert!(self.senders.is_sound());
        told.map(|(_, mail)| mail)
    }

    /// A stream that the other half has opened under token 9.
    fn open(&mut self, to: NodeId, first: u64) -> u64 {
        assert_eq!(self.send(to, 0, first), Ok(()));
        let [Stream::Open { stream, first: says, .. }] = self.leave()[..] else { panic!("one OPEN") };
        assert_eq!(says, first);
        assert_eq!(self.acked(stream, 9, first - 1), None);
        stream
    }
}

fn busy(to: NodeId, number: u64) -> Result<(), Refused> {
    Err(Refused::Answer(Mail::Busy { to, number }))
}

fn gone(epoch: u32, number: u64) -> Mail {
    Mail::Gone { to: TO, epoch, number }
}

#[test]
fn carried_in_order_until_acknowledged() {
    let mut host = Host::new();
    let stream = host.open(TO, 5);
    assert_eq!(host.send(TO, 0, 6), Ok(()));
    assert_eq!(host.numbers(), [5, 6]);
    assert_eq!(host.send(TO, 0, 6), Err(Refused::Again));
    assert_eq!(host.acked(stream, 9, 5), Some(Mail::Ack { peer: TO, number: 5, stream: 0 }));
    assert_eq!(host.acked(stream, 9, 5), None, "no news");
    host.pass(49);
    assert_eq!(host.numbers(), []);
    host.pass(1);
    assert_eq!(host.numbers(), [6], "carried again");
    assert_eq!(host.acked(stream, 9, 7), None, "nobody sent that");
    assert_eq!(host.send(TO, 0, 5), Err(Refused::Answer(Mail::Ack { peer: TO, number: 5, stream: 0 })));
    assert_eq!(host.acked(stream, 9, 6), Some(Mail::Ack { peer: TO, number: 6, stream: 0 }));
    assert_eq!(host.pass(60_000), [], "nobody waits for anything");
    assert_eq!(host.numbers(), []);
}

#[test]
fn a_full_window_is_busy_and_nothing_after_it_passes() {
    let mut host = Host::new();
    let stream = host.open(TO, 1);
    let window = u64::try_from(STREAM_WINDOW).unwrap_or(0);
    for number in 2..=window {
        assert_eq!(host.send(TO, 0, number), Ok(()));
    }
    assert_eq!(host.send(TO, 0, window + 1), busy(TO, window + 1));
    assert!(host.acked(stream, 9, 1).is_some());
    assert_eq!(host.send(TO, 0, window + 2), busy(TO, window + 2), "the refused one comes first");
    assert_eq!(host.send(TO, 0, window + 1), Ok(()));
}

#[test]
fn a_receiver_that_does_not_read_blocks_only_its_own_stream() {
    let mut host = Host::new();
    for deaf in 10..30 {
        let mut number = 1;
        while host.send(NodeId::new(deaf), 0, number).is_ok() {
            number += 1;
        }
    }
    let streams = host.senders.streams[0].iter().filter(|stream| stream.load() > 0).count();
    assert_eq!(streams, STREAMS_OF_SENDER, "each found a place");
    assert_eq!(host.send(TO, 0, 1), busy(TO, 1), "all streams wait");
    assert_eq!(host.senders.send(host.now, 1, (TO, 0, 1), b"x", ROUTE), Ok(()), "another sender is not concerned");
}

#[test]
fn an_idle_stream_makes_place_and_its_numbers_go_on() {
    let mut host = Host::new();
    let stream = host.open(TO, 3);
    host.acked(stream, 9, 3);
    for other in 10..10 + u8::try_from(STREAMS_OF_SENDER).unwrap_or(0) {
        assert_eq!(host.send(NodeId::new(other), 0, 1), Ok(()));
        host.now += Duration::from_millis(1);
    }
    assert_eq!(host.acked(stream, 9, 3), None, "it is over");
    assert_eq!(host.send(TO, 0, 3), Err(Refused::Answer(Mail::Ack { peer: TO, number: 3, stream: 0 })));
    assert_eq!(host.send(TO, 0, 5), busy(TO, 5), "a gap");
    assert_eq!(host.send(TO, 0, 4), busy(TO, 4), "all streams wait");
}

#[test]
fn an_end_is_told_and_late_sends_do_not_begin_the_next_stream() {
    let mut host = Host::new();
    let stream = host.open(TO, 1);
    assert_eq!(host.send(TO, 0, 2), Ok(()));
    host.acked(stream, 9, 1);
    assert_eq!(host.senders.over(PEER, stream), Some((0, gone(1, 1))));
    assert_eq!(host.senders.over(PEER, stream), None, "once");
    assert_eq!(host.send(TO, 0, 3), Err(Refused::Answer(gone(1, 1))), "it was on its way");
    assert_eq!(host.numbers(), [], "nothing is repeated across the end");
    assert_eq!(host.send(TO, 1, 2), Ok(()), "the sender may repeat");
}

#[test]
fn whatever_changes_ends_the_stream() {
    for route in [Route::Nowhere, Route::To(PEER, 71), Route::To(Peer { appliance: 23, ..PEER }, 70)] {
        let mut host = Host::new();
        host.open(TO, 1);
        let answer = host.senders.send(host.now, 0, (TO, 0, 2), b"x", route);
        assert_eq!(answer, Err(Refused::Answer(gone(1, 0))), "{route:?}");
    }
    let mut host = Host::new();
    let stream = host.open(TO, 1);
    assert_eq!(host.acked(stream, 10, 0), Some(gone(1, 0)), "the receiver began anew");
    let mut host = Host::new();
    host.open(TO, 1);
    host.senders.forget(0);
    assert!(host.senders.is_sound() && host.numbers().is_empty());
    let mut host = Host::new();
    host.open(TO, 1);
    let mut told = Vec::new();
    host.senders.judge(|_, to, _, _| to != TO, |_, mail| told.push(mail));
    assert_eq!(told, [gone(1, 0)]);
}

#[test]
fn silence_of_the_other_appliance_ends_the_stream() {
    let mut host = Host::new();
    host.open(TO, 1);
    let mut carried = host.numbers().len();
    let mut told = Vec::new();
    for _ in 0..1200 {
        told.extend(host.pass(10));
        carried += host.numbers().len();
    }
    assert_eq!(told, [gone(1, 0)]);
    assert!((10..30).contains(&carried), "{carried}: the pause doubles up to its bound");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut host = Host::new();
    assert_eq!(host.send(TO, 0, 0), Err(Refused::Bad));
    assert_eq!(host.send(TO, 0, u64::MAX), Err(Refused::Bad));
    assert_eq!(host.send(TO, 7, 1), Err(Refused::Answer(gone(0, 0))), "an epoch that never was");
    assert_eq!(host.senders.refuse(0, TO, 0, 5), Some(Mail::Busy { to: TO, number: 5 }));
    assert_eq!(host.send(TO, 0, 6), busy(TO, 6));
    assert_eq!(host.send(TO, 0, 4), Err(Refused::Bad), "it goes back");
    assert_eq!(host.send(TO, 0, 5), Ok(()));
    assert_eq!(host.senders.refuse(0, TO, 0, 5), None, "it was taken: its number is not free");
    assert_eq!(host.acked(0, 9, 5), None);
    assert_eq!(host.acked(u64::MAX, 9, 5), None);
}
