//! A hundred times too much of each class: it changes no heartbeat, and loses nothing that was accepted (S6, DESIGN §1 rule 3).
#![allow(clippy::unwrap_used)]

use palisade_core::id::{Cluster, NodeId};
use palisade_core::io::Road;
use palisade_core::limits::{FRAME_MAX, VSOCK_SESSIONS_MAX};
use palisade_core::wire::node::{Mail, Message, NodeState, Refusal, Section, Target};
use palisade_tests::flood::{Side, Wire};
use palisade_tests::scenarios::stage::{back, leader, nobody_was_hurt, whole};
use palisade_tests::sim::{Arrival, Mood, World, config};

/// Frames that come to each appliance in a millisecond of a flood: a sound user sends one now and then.
const FRAMES: usize = 100;
/// How long a flood goes on, ms.
const FLOOD_MS: u64 = 3000;

/// Three hosts in which all is up, and connections of operators and of each host's own node are open.
fn up() -> Wire {
    let config = config::cluster(3);
    let mut wire = Wire::new(config);
    wire.run(5000, |_, _| {});
    assert!(wire.all_up(), "the wire is perfect");
    for node in &config.nodes {
        for connection in 0..u8::try_from(VSOCK_SESSIONS_MAX).unwrap() {
            let cid = if connection < 8 { node.cid } else { 2 };
            wire.connect(node.host, connection, cid);
        }
    }
    wire
}

/// The same frame again and again, on all connections in turn.
fn spread(side: &mut Side, message: &Message, session: u32) {
    let mut buffer = [0; FRAME_MAX];
    let bytes = message.frame(session, 1, &[7; 100]).emit(&mut buffer).repeat(FRAMES / 8);
    for connection in 0..8 {
        let connection = connection * 3;
        side.sends(Road::Vsock(connection), bytes.clone());
    }
}

fn hello(side: &Side) -> Message {
    Message::Hello { node: NodeId::new(side.host), incarnation: 5, nonce: 6, served: Cluster::NONE }
}

fn junk(now: u64) -> Vec<u8> {
    let mut number = now;
    let step = |_| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        number.to_le_bytes()[7]
    };
    (0..4096).map(step).collect()
}

/// When, from whom, to whom.
type Beat = (u64, u8, u8);
type Flood = fn(u64, &mut Side);

/// What may come too often.
const FLOODS: [(&str, Flood); 13] = [
    ("nothing", |_, _| {}),
    ("summary", |_, side| spread(side, &Message::Status { section: Section::Summary, first: 0 }, 0)),
    ("counters", |_, side| spread(side, &Message::Status { section: Section::Counters, first: 0 }, 0)),
    ("address", |_, side| spread(side, &Message::Mail(Mail::Address { node: NodeId::new(2) }), 0)),
    ("fence", |_, side| spread(side, &Message::Fence { target: Target::Node(NodeId::new(99)) }, 0)),
    ("hello", |_, side| spread(side, &hello(side), 0)),
    ("stale beats", |_, side| spread(side, &Message::Beat { stamp: 1 }, 12345)),
    ("send", |now, side| {
        let to = NodeId::new(side.host % 3 + 1);
        spread(side, &Message::Mail(Mail::Send { to, epoch: 0, number: now }), 12345);
    }),
    ("acks", |now, side| {
        spread(side, &Message::Mail(Mail::Ack { peer: NodeId::new(1), number: now, stream: 1 }), 12345);
    }),
    ("junk", |now, side| side.sends(Road::Vsock(1), junk(now))),
    ("status on the channel", |_, side| {
        for _ in 0..FRAMES {
            side.says(Road::Channel(0), 0, &Message::Status { section: Section::Hosts, first: 0 }, &[]);
        }
    }),
    ("valid sends on the channel", |_, side| side.sends_greedily(side.host % 3 + 1, FRAMES)),
    ("fence on the channel", |_, side| {
        for _ in 0..FRAMES {
            side.says(Road::Channel(0), 0, &Message::Fence { target: Target::Node(NodeId::new(2)) }, &[]);
        }
    }),
];

#[test]
fn a_hundred_times_too_much_of_each_changes_no_heartbeat() {
    let mut calm: Vec<Beat> = Vec::new();
    for (name, flood) in FLOODS {
        let mut wire = up();
        wire.beats.clear();
        wire.run(FLOOD_MS, flood);
        if name == "nothing" {
            calm.clone_from(&wire.beats);
            calm.sort_by_key(|&(_, from, to)| (from, to));
            assert!(calm.len() > 100, "heartbeats and their answers");
        }
        wire.beats.sort_by_key(|&(_, from, to)| (from, to));
        assert_eq!(wire.beats.len(), calm.len(), "{name}: not one more, not one less");
        assert_eq!(wire.beats, calm, "{name}: each in its turn");
        assert!(wire.all_up(), "{name}");
        for side in &wire.sides {
            let bad = |message: &&Message| matches!(message, Message::NodeDown(_) | Message::NodeSuspect(_));
            assert_eq!(side.told.iter().find(bad), None, "{name}");
            let leases = side.told.iter().filter(|message| matches!(message, Message::Lease { .. })).count();
            assert!(leases >= 20, "{name}: {leases} leases");
        }
        if name.starts_with("valid") {
            let facts: Vec<_> = wire.sides.iter_mut().flat_map(|side| side.mail.facts()).collect();
            let taken = facts.iter().filter(|fact| matches!(fact, palisade_tests::sim::Fact::Taken { .. })).count();
            let busy: u64 = wire.sides.iter().map(|side| side.mail.busy).sum();
            assert!(taken > 1000 && busy > 1000, "{name}: {taken} were taken and {busy} turned away");
        }
    }
}

#[test]
fn what_is_too_much_is_refused_and_what_is_not_is_answered() {
    let mut wire = up();
    let (mut asked, section) = (0, Section::Nodes);
    wire.run(1000, |_, side| {
        if side.host == 1 {
            asked += 50;
            for _ in 0..50 {
                side.says(Road::Vsock(9), 0, &Message::Status { section, first: 0 }, &[]);
            }
        }
    });
    wire.run(100, |_, _| {});
    let heard = &wire.sides[0].heard;
    let answered = heard.iter().filter(|(.., message)| matches!(message, Message::StatusPart { .. })).count();
    let busy = heard.iter().filter(|(.., message)| *message == Message::Busy).count();
    assert_eq!(answered + busy, asked, "each question has an answer");
    assert!((400..=700).contains(&answered) && busy > 1000, "{answered} {busy}: a burst and the rate");
}

#[test]
fn messages_of_shims_all_arrive_whatever_user_space_does() {
    for (name, flood) in FLOODS {
        if name.ends_with("channel") {
            continue;
        }
        let mut wire = up();
        let mut posted = 0;
        wire.run(FLOOD_MS, |now, side| {
            if now.is_multiple_of(10) {
                posted += 1;
                side.mail.post(side.host % 3 + 1, now * 10 + u64::from(side.host));
            }
            flood(now, side);
        });
        wire.run(2000, |_, _| {});
        for side in &mut wire.sides {
            assert_eq!(side.mail.waiting(), 0, "{name}: each was acknowledged");
        }
        let facts: Vec<_> = wire.sides.iter_mut().flat_map(|side| side.mail.facts()).collect();
        let count = |of: fn(&palisade_tests::sim::Fact) -> bool| facts.iter().filter(|fact| of(fact)).count();
        assert_eq!(count(|fact| matches!(fact, palisade_tests::sim::Fact::Taken { .. })), posted, "{name}");
        assert_eq!(count(|fact| matches!(fact, palisade_tests::sim::Fact::Acked { .. })), posted, "{name}");
    }
}

#[test]
fn an_accepted_fence_is_carried_out_whatever_else_is_asked() {
    for (name, flood) in FLOODS {
        let mut wire = up();
        let target = Target::Node(NodeId::new(3));
        wire.sides[0].says(Road::Vsock(20), 0, &Message::Fence { target }, &[]);
        wire.run(1500, flood);
        let replied = |(_, _, message): &(u8, u32, Message)| matches!(message, Message::FenceReply { target: of, .. } if *of == target);
        assert!(wire.sides[0].heard.iter().any(replied), "{name}: accepted means committed (SAFETY I3)");
        let down = |message: &Message| matches!(message, Message::NodeDown(event) if event.node == NodeId::new(3));
        assert!(wire.sides[1].told.iter().any(down), "{name}: node 2 is told");
    }
}

/// What node 1's shim hears when it says this in its session.
fn answer(wire: &mut Wire, message: &Message, payload: &[u8]) -> Vec<Message> {
    let side = &mut wire.sides[0];
    let session = side.session();
    side.told.clear();
    side.says(Road::Channel(0), session, message, payload);
    wire.run(1, |_, _| {});
    let keep = |message: &Message| !matches!(message, Message::Lease { .. } | Message::View { .. });
    std::mem::take(&mut wire.sides[0].told).into_iter().filter(keep).collect()
}

#[test]
fn sends_that_make_no_sense_are_refused() {
    let mut wire = up();
    let refused = [Message::Error { refusal: Refusal::BadRequest }];
    let send = |to, number| Message::Mail(Mail::Send { to: NodeId::new(to), epoch: 0, number });
    assert_eq!(answer(&mut wire, &send(1, 1), b"x"), refused, "to itself");
    assert_eq!(answer(&mut wire, &send(0, 1), b"x"), refused, "to nobody");
    assert_eq!(answer(&mut wire, &send(99, 1), b"x"), refused, "to a node that is not configured");
    assert_eq!(answer(&mut wire, &send(2, 0), b"x"), refused, "number zero");
    let ack = Message::Mail(Mail::Ack { peer: NodeId::new(2), number: 1, stream: 77 });
    assert_eq!(answer(&mut wire, &ack, &[]), [], "of another stream: late, which a node cannot know");
    let recv = Mail::Recv { from: NodeId::new(2), incarnation: 1, number: 1, stream: 1, first: 1 };
    assert_eq!(answer(&mut wire, &Message::Mail(recv), b"x"), [], "an appliance's word: counted, no more");
    assert!(wire.all_up());
}

#[test]
fn a_send_under_another_session_is_refused() {
    let mut wire = up();
    let send = Message::Mail(Mail::Send { to: NodeId::new(2), epoch: 0, number: 1 });
    let side = &mut wire.sides[0];
    side.told.clear();
    let session = side.session().wrapping_add(1);
    side.says(Road::Channel(0), session, &send, b"x");
    wire.run(1, |_, _| {});
    assert!(wire.sides[0].told.contains(&Message::Error { refusal: Refusal::NoSession }));
}

#[test]
fn a_message_too_long_is_no_frame() {
    let mut wire = up();
    let mut buffer = [0; FRAME_MAX];
    let send = Message::Mail(Mail::Send { to: NodeId::new(2), epoch: 0, number: 1 });
    let session = wire.sides[0].session();
    let mut bytes = send.frame(session, 1, &[7; 448]).emit(&mut buffer).to_vec();
    bytes[4..6].copy_from_slice(&449_u16.to_le_bytes());
    bytes.push(7);
    wire.sides[0].sends(Road::Channel(0), bytes);
    wire.sides[0].mail.post(2, 1);
    wire.run(1000, |_, _| {});
    assert_eq!(wire.sides[0].mail.waiting(), 0, "the next sound frame is found");
    assert!(wire.all_up());
}

#[test]
fn an_address_is_told_to_anybody_and_only_of_configured_nodes() {
    let mut wire = up();
    let ask = |node| Message::Mail(Mail::Address { node: NodeId::new(node) });
    let told = answer(&mut wire, &ask(3), &[]);
    let [Message::Mail(Mail::AddressReply(address))] = told[..] else { panic!("{told:?}") };
    assert_eq!((address.node.get(), address.host.get(), address.state), (3, 3, NodeState::Up));
    assert_eq!((address.incarnation, address.cid), (3001, config::cluster(3).nodes[2].cid));
    assert!(address.version > 0);
    for node in [0, 4, 255] {
        assert_eq!(answer(&mut wire, &ask(node), &[]), [Message::Error { refusal: Refusal::BadRequest }]);
    }
    wire.sides[1].says(Road::Vsock(20), 0, &ask(1), &[]);
    wire.run(1, |_, _| {});
    let reply = |(.., message): &(u8, u32, Message)| matches!(message, Message::Mail(Mail::AddressReply(_)));
    assert!(wire.sides[1].heard.iter().any(reply), "an operator needs no session");
}

/// What comes on a vsock connection of an appliance in a millisecond of a flood.
type Bytes = fn(&mut World, u8) -> Vec<u8>;

fn frames(message: &Message, session: u32) -> Vec<u8> {
    let mut buffer = [0; FRAME_MAX];
    message.frame(session, 1, &[7; 100]).emit(&mut buffer).repeat(FRAMES)
}

/// The same on a world whose clocks differ and whose network loses, repeats and delays.
const ROUGH_FLOODS: [(&str, Bytes); 6] = [
    ("status", |_, _| frames(&Message::Status { section: Section::Nodes, first: 0 }, 0)),
    ("address", |_, host| frames(&Message::Mail(Mail::Address { node: NodeId::new(host) }), 0)),
    ("fence nobody", |_, _| frames(&Message::Fence { target: Target::Node(NodeId::new(99)) }, 0)),
    ("hello", |_, host| {
        let node = NodeId::new(host);
        frames(&Message::Hello { node, incarnation: 5, nonce: 6, served: Cluster::NONE }, 0)
    }),
    ("send", |_, host| {
        frames(&Message::Mail(Mail::Send { to: NodeId::new(host % 3 + 1), epoch: 0, number: 1 }), 12345)
    }),
    ("junk", |world, _| junk(world.random())),
];

/// Lets so many milliseconds pass; every appliance is flooded in each.
fn flooded(world: &mut World, millis: u64, bytes: Bytes) {
    for _ in 0..millis {
        for host in 1..=3 {
            let connection = u8::try_from(world.random() % 8).unwrap();
            let bytes = bytes(world, host);
            world.inject(host, Arrival::Vsock(connection, bytes));
        }
        world.run_ms(1);
    }
}

#[test]
fn floods_on_a_network_that_loses_cost_nobody_anything_and_save_nobody_who_died() {
    for (seed, (name, bytes)) in (1..).zip(ROUGH_FLOODS) {
        let mut world = whole(3, seed);
        for (host, connection) in (1..=3).flat_map(|host| (0..8).map(move |connection| (host, connection))) {
            world.inject(host, Arrival::Opened(connection, 2));
        }
        (1..=3).for_each(|host| world.drift(host, [-1000, 0, 1000][usize::from(host) % 3]));
        world.each_path(|(_, _, link), path| {
            (path.loss, path.corrupt) = if link == 0 { (300, 20) } else { (0, 0) };
            (path.duplicate, path.spread) = (20, 5_000);
        });
        let lead = leader(&world);
        for _ in 0..100 {
            for (from, to) in [(1, 2), (2, 3), (3, 1)] {
                world.post(from, to);
            }
            flooded(&mut world, 20, bytes);
        }
        nobody_was_hurt(&world);
        assert_eq!(leader(&world), lead, "{name}: nobody had to be elected");
        assert!(world.truth.elections <= 1, "{name}: {} elections", world.truth.elections);
        let since = world.now;
        world.hit(lead, Mood::Gone);
        flooded(&mut world, 150, bytes);
        assert_eq!(world.truth.told_down(lead, since), 2, "{name}: told within 150 ms\n{}", world.story());
        back(&mut world);
        assert_eq!(world.letters.counts.1 + world.letters.counts.2, 300, "{name}: {:?}", world.letters.counts);
    }
}
