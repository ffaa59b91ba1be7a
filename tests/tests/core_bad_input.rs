//! What the core does with bytes that nobody honest sent: it counts and drops them, and goes on.
#![allow(clippy::unwrap_used)]

use palisade_core::config::Config;
use palisade_core::engine::{Boot, Engine};
use palisade_core::id::{Cluster, HostId, NodeId};
use palisade_core::io::{Input, Output, Road};
use palisade_core::limits::FRAME_MAX;
use palisade_core::status::{COUNTER_NAMES, Counter};
use palisade_core::time::Instant;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Message, Refusal, Section};
use palisade_tests::sim::config;

/// One appliance, and a clock for it. Where it has the only vote it leads at once.
struct Alone {
    engine: Box<Engine>,
    now: u64,
    said: Vec<(Road, Message)>,
    datagrams: Vec<(u8, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Alone {
    fn new(config: &'static Config, host: u8, incarnation: u64) -> Self {
        let mut engine = Box::new(Engine::new());
        let boot = Boot { host: HostId::new(host), incarnation, entropy: [host; 32], config_hash: 7 };
        engine.start(Instant::from_micros(1000), config, boot);
        Self { engine, now: 1000, said: Vec::new(), datagrams: Vec::new(), payload: Vec::new() }
    }

    fn feed(&mut self, input: Input<'_>) {
        let now = Instant::from_micros(self.now);
        self.engine.handle(now, input);
        loop {
            match self.engine.poll(now) {
                Output::Deadline(_) => break,
                Output::Session { road, bytes } => {
                    let mut reader = Reader::new();
                    let frame = reader.next(&mut &*bytes).expect("one frame");
                    self.payload = frame.payload.to_vec();
                    self.said.push((road, Message::parse(&frame).unwrap()));
                }
                Output::Datagram { to, bytes, .. } => self.datagrams.push((to.get(), bytes.to_vec())),
                _ => {}
            }
        }
    }

    fn run_ms(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1000;
            self.feed(Input::Tick);
        }
    }

    fn say(&mut self, road: Road, session: u32, message: &Message) -> Vec<Message> {
        let mut buffer = [0; FRAME_MAX];
        let bytes = message.frame(session, 1, &[]).emit(&mut buffer).to_vec();
        self.said.clear();
        self.feed(Input::Session { road, bytes: &bytes });
        self.said.iter().filter(|(to, _)| *to == road).map(|(_, message)| *message).collect()
    }

    fn counter(&mut self, counter: Counter) -> u64 {
        self.feed(Input::Opened { connection: 9, cid: 2 });
        let ask = Message::Status { section: Section::Counters, first: 0 };
        let told = self.say(Road::Vsock(9), 0, &ask);
        assert!(matches!(told[..], [Message::StatusPart { count, .. }] if usize::from(count) == COUNTER_NAMES.len()));
        let at = counter as usize * 8;
        u64::from_le_bytes(self.payload[at..at + 8].try_into().unwrap())
    }
}

#[test]
fn the_only_vote_leads_and_serves_only_its_own_node() {
    let mut alone = Alone::new(config::cluster_with_votes(2, 1), 1, 5);
    let hello = |node| Message::Hello { node: NodeId::new(node), incarnation: 77, nonce: 3, served: Cluster::NONE };
    let early = alone.say(Road::Channel(0), 0, &hello(1));
    assert_eq!(early, [Message::Error { refusal: Refusal::NotAdmitted }], "no lead yet");
    alone.run_ms(500);
    assert_eq!(alone.engine.version(), Cluster::first_version(1));
    let other = alone.say(Road::Channel(0), 0, &hello(2));
    assert_eq!(other, [Message::Error { refusal: Refusal::WrongNode }], "its channel gives it number 1");
    assert_eq!(alone.counter(Counter::SessionsRefused), 1);
    // Zero is no incarnation, and one is the name of whoever runs there.
    for nobody in [0, 1] {
        let hello = Message::Hello { node: NodeId::new(1), incarnation: nobody, nonce: 3, served: Cluster::NONE };
        let refused = alone.say(Road::Channel(0), 0, &hello);
        assert_eq!(refused, [Message::Error { refusal: Refusal::BadRequest }], "incarnation {nobody}");
    }
    let welcome = alone.say(Road::Channel(0), 0, &hello(1));
    assert!(matches!(welcome[..], [Message::Welcome { nonce: 3, .. }]), "{welcome:?}");
}

#[test]
fn beats_of_another_session_open_nothing() {
    let mut alone = Alone::new(config::cluster_with_votes(2, 1), 1, 5);
    alone.run_ms(500);
    let hello = Message::Hello { node: NodeId::new(1), incarnation: 77, nonce: 3, served: Cluster::NONE };
    alone.say(Road::Channel(0), 0, &hello);
    let stale = alone.say(Road::Channel(0), 1234, &Message::Beat { stamp: 1 });
    assert_eq!(stale, [Message::Error { refusal: Refusal::NoSession }]);
    assert_eq!(alone.counter(Counter::FramesStale), 1);
}

#[test]
fn an_unknown_cid_is_refused() {
    let mut alone = Alone::new(config::cluster_with_votes(2, 1), 1, 5);
    alone.feed(Input::Opened { connection: 1, cid: 4711 });
    assert_eq!(alone.counter(Counter::SessionsRefused), 1);
}

#[test]
fn garbage_truncated_foreign_and_replayed_datagrams_are_counted_and_dropped() {
    let config = config::cluster(3);
    let mut victim = Alone::new(config, 1, 5);
    let mut peer = Alone::new(config, 2, 6);
    let carry = |from: &mut Alone, to: &mut Alone, number: u8| {
        for (_, bytes) in std::mem::take(&mut from.datagrams).into_iter().filter(|(to, _)| *to == number) {
            to.feed(Input::Datagram { link: 0, bytes: &bytes });
        }
    };
    for _ in 0..5 {
        victim.run_ms(60);
        peer.run_ms(60);
        carry(&mut victim, &mut peer, 2);
        carry(&mut peer, &mut victim, 1);
    }
    peer.run_ms(200);
    let recorded: Vec<Vec<u8>> =
        std::mem::take(&mut peer.datagrams).into_iter().filter(|(to, _)| *to == 1).map(|(_, bytes)| bytes).collect();
    assert!(!recorded.is_empty());
    for bytes in &recorded {
        let mut forged = bytes.clone();
        *forged.last_mut().unwrap() ^= 1;
        victim.feed(Input::Datagram { link: 0, bytes: &forged });
        victim.feed(Input::Datagram { link: 0, bytes });
        victim.feed(Input::Datagram { link: 1, bytes });
        victim.feed(Input::Datagram { link: 0, bytes: &bytes[..bytes.len() / 2] });
    }
    let count = u64::try_from(recorded.len()).unwrap();
    assert!(victim.counter(Counter::DatagramsReplayed) >= count, "the second copy counts for nothing");
    assert!(victim.counter(Counter::DatagramsForeign) >= count, "forged");
    let mut short = 0;
    for length in 0..80 {
        victim.feed(Input::Datagram { link: 0, bytes: &vec![0x50; length] });
        short += 1;
    }
    assert!(victim.counter(Counter::DatagramsShort) >= short);
    let mut reborn = Alone::new(config, 1, 55);
    for bytes in &recorded {
        reborn.feed(Input::Datagram { link: 0, bytes });
    }
    assert!(reborn.counter(Counter::DatagramsStale) >= count, "they name the dead receiver (SAFETY A7)");
}

#[test]
fn random_streams_on_channel_and_guard_link_change_nothing() {
    let mut alone = Alone::new(config::cluster_with_votes(2, 1), 1, 5);
    alone.run_ms(500);
    let mut seed = 0x1234_5678_9abc_def0_u64;
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..200)
            .map(|_| {
                // xorshift64: any sequence will do that is the same in each run.
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                if seed.is_multiple_of(5) { b'P' } else { seed.to_le_bytes()[2] }
            })
            .collect();
        alone.feed(Input::Session { road: Road::Channel(0), bytes: &bytes });
        alone.feed(Input::Guard { bytes: &bytes });
    }
    alone.run_ms(1_000);
    assert_eq!(alone.engine.version(), Cluster::first_version(1), "no view came of it");
    assert!(alone.counter(Counter::BytesSkipped) > 100_000);
}
