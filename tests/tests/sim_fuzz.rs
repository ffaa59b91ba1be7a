//! Random sequences of operations on the core: valid and invalid inputs, in any order, at any time, against one engine and
//! against a cluster. Nothing panics, the inner invariants hold after each, and in the cluster all the others too.

use palisade_core::engine::{Boot, Engine};
use palisade_core::fencing::{Class, Verdict};
use palisade_core::id::HostId;
use palisade_core::io::{Input, MonitorEvent, Output, Road};
use palisade_core::limits::{DATAGRAM_MAX, FRAME_MAX, OUTPUTS_MAX};
use palisade_core::time::Instant;
use palisade_core::wire::frame::{BODY_BYTES, Frame};
use palisade_tests::sim::{Arrival, Bytes, World, config};

/// A sequence that is the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap_or(0)
    }

    fn slot(&mut self) -> u8 {
        u8::try_from(self.roll(9)).unwrap_or(0)
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.roll(most);
        (0..length).map(|_| self.byte()).collect()
    }

    /// A frame whose check is right, whatever it says: small numbers mostly, so that they mean something.
    fn frame(&mut self, kinds: std::ops::Range<u8>) -> Vec<u8> {
        let mut body = [0; BODY_BYTES];
        for byte in &mut body {
            *byte = if self.roll(4) == 0 { self.byte() } else { u8::try_from(self.roll(4)).unwrap_or(0) };
        }
        let kind = kinds.start + u8::try_from(self.roll(u64::from(kinds.end - kinds.start))).unwrap_or(0);
        let payload = if self.roll(4) == 0 { self.bytes(449) } else { Vec::new() };
        let session = u32::try_from(self.roll(3)).unwrap_or(0);
        let mut buffer = [0; FRAME_MAX];
        let frame = Frame { kind, session, sequence: 1, body, payload: &payload };
        let mut bytes = frame.emit(&mut buffer).to_vec();
        if self.roll(8) == 0 {
            bytes.truncate(usize::try_from(self.roll(512)).unwrap_or(0).min(bytes.len()));
        }
        bytes
    }

    fn verdict(&mut self) -> Verdict {
        match self.roll(4) {
            0 => Verdict::Failed,
            1 => Verdict::Unknown,
            _ => Class::from_wire(u8::try_from(self.roll(7)).unwrap_or(0)).map_or(Verdict::Unknown, Verdict::Confirmed),
        }
    }

    fn monitor(&mut self) -> MonitorEvent {
        match self.roll(4) {
            0 => MonitorEvent::Connected,
            1 => MonitorEvent::Panicked,
            2 => MonitorEvent::Reset,
            _ => MonitorEvent::Shutdown,
        }
    }
}

/// What an engine answered: datagrams, and by when it wants to be woken.
fn turn(engine: &mut Engine, now: u64, input: Input<'_>) -> (Vec<Vec<u8>>, u64) {
    let now = Instant::from_micros(now);
    engine.handle(now, input);
    let mut datagrams = Vec::new();
    for _ in 0..4 * OUTPUTS_MAX {
        match engine.poll(now) {
            Output::Deadline(at) => {
                assert!(at >= now, "a deadline that is over");
                engine.check();
                return (datagrams, at.as_micros());
            }
            Output::Datagram { bytes, .. } => {
                assert!(bytes.len() <= DATAGRAM_MAX);
                datagrams.push(bytes.to_vec());
            }
            Output::Session { bytes, .. } | Output::Guard { bytes } => assert!(bytes.len() <= FRAME_MAX),
            Output::Close { .. } | Output::Device(_) => {}
        }
    }
    panic!("one input has no end of outputs");
}

fn alone(seed: u64, votes: u8) {
    let mut dice = Dice(seed * 2 + 1);
    let mut engine = Box::new(Engine::new());
    let boot = Boot { host: HostId::new(1), incarnation: 5, entropy: [7; 32], config_hash: 7 };
    let mut now = 1_000;
    engine.start(Instant::from_micros(now), config::cluster_with_votes(3, votes), boot);
    let mut recorded: Vec<Vec<u8>> = Vec::new();
    let mut wake = now;
    for _ in 0..4_000 {
        now = match dice.roll(8) {
            0 => wake.max(now),
            1 => wake.max(now) + 1,
            2 => now + dice.roll(3_000_000),
            _ => now + dice.roll(2_000),
        };
        let (bytes, connection) = (dice.frame(0..40), dice.slot() * 3);
        let guard = dice.frame(62..74);
        let input = match dice.roll(10) {
            0 | 1 => Input::Tick,
            2 => Input::Guard { bytes: &guard },
            3 => Input::Session { road: Road::Channel(dice.slot()), bytes: &bytes },
            4 => Input::Session { road: Road::Vsock(connection), bytes: &bytes },
            5 => Input::Opened { connection, cid: u32::try_from(dice.roll(5)).unwrap_or(0) },
            6 => Input::Closed { connection },
            7 => Input::Monitor { slot: dice.slot(), event: dice.monitor() },
            8 => Input::Device { job: u32::try_from(dice.roll(20)).unwrap_or(0), verdict: dice.verdict() },
            _ => match recorded.len() {
                0 => Input::Tick,
                // What it said itself, damaged or not, comes back.
                count => {
                    let at = usize::try_from(dice.roll(64)).unwrap_or(0) % count;
                    Input::Datagram { link: 0, bytes: &recorded[at] }
                }
            },
        };
        let (said, at) = turn(&mut engine, now, input);
        wake = at;
        recorded.extend(said);
        recorded.truncate(64);
    }
}

#[test]
fn an_engine_alone_survives_whatever_comes() {
    for seed in 0..150 {
        alone(seed, if seed % 2 == 0 { 1 } else { 3 });
    }
}

/// Something that nobody honest sent, and that claims nothing which only a guard or a monitor may claim.
fn mischief(dice: &mut Dice) -> Arrival {
    match dice.roll(7) {
        0 => Arrival::Datagram(0, Bytes::from(dice.bytes(1_500))),
        1 | 2 => Arrival::Vsock(u8::try_from(dice.roll(24)).unwrap_or(0), dice.frame(0..40)),
        3 => Arrival::Opened(u8::try_from(dice.roll(24)).unwrap_or(0), u32::try_from(dice.roll(5)).unwrap_or(0)),
        4 => Arrival::Closed(u8::try_from(dice.roll(24)).unwrap_or(0)),
        5 => Arrival::Device(1_000_000 + u32::try_from(dice.roll(9)).unwrap_or(0), dice.verdict()),
        _ => Arrival::Node(0, dice.frame(0..40)),
    }
}

#[test]
fn a_cluster_survives_mischief_on_every_road() {
    for seed in 0..40 {
        let mut dice = Dice(seed * 2 + 77);
        let mut world = World::new(config::cluster(3), seed);
        world.power_all();
        assert!(world.run_until_true(15_000, World::all_up), "seed {seed}: not all up\n{}", world.story());
        for _ in 0..600 {
            let host = u8::try_from(dice.roll(3)).unwrap_or(0) + 1;
            let what = mischief(&mut dice);
            world.inject(host, what);
            let pause = dice.roll(20_000);
            world.run_until(world.now + pause);
        }
        let peace = world.run_until_true(200_000, World::at_peace);
        assert!(peace, "seed {seed}: {}\n{}", world.unrest(), world.story());
    }
}
