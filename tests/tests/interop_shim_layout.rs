//! The numbers of the shim's `protocol.h` are those of the wire module: what a field is called, and where it stands.
//!
//! Owns the reading of the header. What the C does with it is for `interop_shim`.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use palisade_core::config::Ip;
use palisade_core::fencing::Class;
use palisade_core::id::{Ballot, Cluster, HostId, Label, NodeId};
use palisade_core::limits::{FRAME_BYTES, FRAME_MAX, FRAME_PAYLOAD_MAX};
use palisade_core::wire::frame::{BODY_BYTES, Frame, MAGIC, VERSION};
use palisade_core::wire::node::{
    Account, Dlm, Fate, Gasp, Given, Group, Mail, Message, NodeEvent, NodeState, Refusal, ServiceTale, StartNode,
    TOLD_ENTRIES, Takeover, Tale, ViewNode, VolumeState, VolumeTale, What,
};
use palisade_images::House;

const VOLUME: Label = Label([0xab; 16]);
/// What stands where: the name of an offset, and the bytes there.
type Fields = Vec<(&'static str, Vec<u8>)>;

/// The numbers of `protocol.h`.
fn header() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(House::here().root().join("appliance/shim/protocol.h")).unwrap();
    let define = |line: &str| {
        let mut words = line.strip_prefix("#define ")?.split_whitespace();
        let (name, value) = (words.next()?, words.next()?);
        let value = match value.as_bytes() {
            [b'\'', letter, b'\''] => u64::from(*letter),
            _ => value.parse().ok()?,
        };
        Some((name.to_owned(), value))
    };
    text.lines().filter_map(define).collect()
}

#[test]
fn the_header_has_the_numbers_of_the_wire_module() {
    let header = header();
    let seen = RefCell::new(BTreeSet::new());
    let number = |name: &str| {
        seen.borrow_mut().insert(name.to_owned());
        *header.get(name).unwrap_or_else(|| panic!("protocol.h has no {name}"))
    };
    let at = |name: &str| usize::try_from(number(name)).unwrap();
    for (name, value) in [
        ("PAL_MAGIC_0", usize::from(MAGIC[0])),
        ("PAL_MAGIC_1", usize::from(MAGIC[1])),
        ("PAL_VERSION", usize::from(VERSION)),
        ("PAL_FRAME_BYTES", FRAME_BYTES),
        ("PAL_PAYLOAD_MAX", FRAME_PAYLOAD_MAX),
        ("PAL_BODY_BYTES", BODY_BYTES),
        ("PAL_ENTRY_BYTES", ViewNode::BYTES),
        ("PAL_ENTRY_BYTES", StartNode::BYTES),
    ] {
        assert_eq!(at(name), value, "{name}");
    }
    let event = NodeEvent {
        node: NodeId::new(9),
        host: HostId::new(8),
        class: Some(Class::PowerOff),
        incarnation: 0x0102_0304_0506_0708,
        version: 0x1112_1314_1516_1718,
    };
    let given =
        Given { what: What::Named(VOLUME), dead: event.node, incarnation: event.incarnation, token: event.version };
    let generation = event.version;
    let cluster = Cluster { number: 0x2122_2324, random: 0x3132_3334 };
    let ballot = Ballot { round: 0x4142_4344, host: event.host };
    let (v, i) = (event.version, event.incarnation);
    let le = |value: u64, bytes: usize| value.to_le_bytes()[..bytes].to_vec();
    // Each message, the name of its kind, and where its fields must stand.
    let hello = Message::Hello { node: event.node, incarnation: i, nonce: v, served: Cluster { number: 5, random: 6 } };
    let welcome = Message::Welcome { nonce: v, host: event.host, node: event.node, beat_ms: 7, lease_ms: 8, cluster };
    let cases: Vec<(Message, &str, Fields)> = vec![
        (
            hello,
            "PAL_HELLO",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_INCARNATION", le(i, 8)),
                ("PAL_STAMP", le(v, 8)),
                ("PAL_CLUSTER", le(5, 4)),
                ("PAL_HELLO_RANDOM", le(6, 4)),
            ],
        ),
        (
            welcome,
            "PAL_WELCOME",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_HOST", vec![8]),
                ("PAL_STAMP", le(v, 8)),
                ("PAL_LEASE_MS", le(8, 4)),
                ("PAL_BEAT_MS", le(7, 4)),
                ("PAL_CLUSTER", le(0x2122_2324, 4)),
                ("PAL_WELCOME_RANDOM", le(0x3132_3334, 4)),
            ],
        ),
        (Message::Beat { stamp: v }, "PAL_BEAT", vec![("PAL_STAMP", le(v, 8))]),
        (
            Message::Lease { stamp: v, lease_ms: 8 },
            "PAL_LEASE",
            vec![("PAL_STAMP", le(v, 8)), ("PAL_LEASE_MS", le(8, 4))],
        ),
        (Message::Bye, "PAL_BYE", vec![]),
        (Message::LastGasp { reason: Gasp::LeaseEnded }, "PAL_LAST_GASP", vec![("PAL_CODE", vec![2])]),
        (Message::Error { refusal: Refusal::ClusterOver }, "PAL_ERROR", vec![("PAL_CODE", vec![7])]),
        (
            Message::View { version: v, ballot, part: 3, parts: 4 },
            "PAL_VIEW",
            vec![
                ("PAL_VIEW_VERSION", le(v, 8)),
                ("PAL_ROUND", le(0x4142_4344, 4)),
                ("PAL_HOST", vec![8]),
                ("PAL_PART", le(3, 2)),
                ("PAL_PARTS", le(4, 2)),
            ],
        ),
        (
            Message::NodeDown(event),
            "PAL_NODE_DOWN",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_HOST", vec![8]),
                ("PAL_CODE", vec![3]),
                ("PAL_INCARNATION", le(i, 8)),
                ("PAL_VIEW_VERSION", le(v, 8)),
            ],
        ),
        (Message::NodeUp(event), "PAL_NODE_UP", vec![("PAL_NODE", vec![9])]),
        (Message::NodeSuspect(event), "PAL_NODE_SUSPECT", vec![("PAL_NODE", vec![9])]),
        (
            Message::Group(Group::Join { cluster: Label([7; 16]), volume: VOLUME }),
            "PAL_JOIN",
            vec![("PAL_JOIN_CLUSTER", vec![7; 16]), ("PAL_VOLUME", vec![0xab; 16])],
        ),
        (Message::Group(Group::Leave { volume: VOLUME }), "PAL_LEAVE", vec![("PAL_VOLUME", vec![0xab; 16])]),
        (
            Message::Group(Group::Stop { volume: VOLUME, generation }),
            "PAL_STOP",
            vec![("PAL_GENERATION", le(v, 8)), ("PAL_VOLUME", vec![0xab; 16])],
        ),
        (Message::Group(Group::Stopped { volume: VOLUME, generation }), "PAL_STOPPED", vec![]),
        (
            Message::Group(Group::Start { volume: VOLUME, generation, part: 5, parts: 6 }),
            "PAL_START",
            vec![
                ("PAL_GENERATION", le(v, 8)),
                ("PAL_PART", le(5, 2)),
                ("PAL_PARTS", le(6, 2)),
                ("PAL_VOLUME", vec![0xab; 16]),
            ],
        ),
        (Message::Group(Group::Started { volume: VOLUME, generation }), "PAL_STARTED", vec![]),
        (Message::Group(Group::Recovered { volume: VOLUME, generation }), "PAL_RECOVERED", vec![]),
        (
            Message::Takeover(Takeover::Give(given)),
            "PAL_TAKEOVER",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_SERVICE", le(number("PAL_SERVICE_NAMED"), 1)),
                ("PAL_INCARNATION", le(i, 8)),
                ("PAL_TOKEN", le(v, 8)),
                ("PAL_LABEL", vec![0xab; 16]),
            ],
        ),
        (Message::Takeover(Takeover::Taken(given)), "PAL_TAKEN", vec![]),
        (Message::Takeover(Takeover::Failed(given)), "PAL_FAILED", vec![]),
        (
            Message::Mail(Mail::Send { to: event.node, epoch: 5, number: v }),
            "PAL_SEND",
            vec![("PAL_NODE", vec![9]), ("PAL_EPOCH", le(5, 4)), ("PAL_NUMBER", le(v, 8))],
        ),
        (
            Message::Mail(Mail::Recv { from: event.node, incarnation: i, number: v, stream: 6, first: 7 }),
            "PAL_RECV",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_INCARNATION", le(i, 8)),
                ("PAL_NUMBER", le(v, 8)),
                ("PAL_STREAM", le(6, 8)),
                ("PAL_FIRST", le(7, 8)),
            ],
        ),
        (
            Message::Mail(Mail::Ack { peer: event.node, number: v, stream: i }),
            "PAL_ACK",
            vec![("PAL_NODE", vec![9]), ("PAL_NUMBER", le(v, 8)), ("PAL_STREAM", le(i, 8))],
        ),
        (
            Message::Mail(Mail::Gone { to: event.node, epoch: 5, number: v }),
            "PAL_GONE",
            vec![("PAL_NODE", vec![9]), ("PAL_EPOCH", le(5, 4)), ("PAL_NUMBER", le(v, 8))],
        ),
        (
            Message::Mail(Mail::Busy { to: event.node, number: v }),
            "PAL_BUSY",
            vec![("PAL_NODE", vec![9]), ("PAL_NUMBER", le(v, 8))],
        ),
        (
            Message::Dlm(Dlm::Address { node: event.node, port: 0x0102, address: Ip::V4([1, 2, 3, 4]) }),
            "PAL_DLM_ADDRESS",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_ADDRESS_FAMILY", vec![4]),
                ("PAL_ADDRESS_PORT", le(0x0102, 2)),
                ("PAL_ADDRESS", vec![1, 2, 3, 4]),
            ],
        ),
        (
            Message::Report(Account::Nodes(Tale {
                node: event.node,
                part: 3,
                parts: 4,
                version: v,
                tells: Some((2, 5)),
            })),
            "PAL_REPORT",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_REPORT_PART", vec![3]),
                ("PAL_REPORT_PARTS", vec![4]),
                ("PAL_VIEW_VERSION", le(v, 8)),
                ("PAL_REPORT_TELLS", vec![1]),
                ("PAL_REPORT_VOLUMES", vec![2]),
                ("PAL_REPORT_SERVICES", vec![5]),
            ],
        ),
        (
            Message::Report(Account::Volume(VolumeTale {
                node: event.node,
                which: 1,
                state: VolumeState::Stopped,
                recovered: true,
                part: 3,
                parts: 4,
                cluster: Label([7; 16]),
                volume: VOLUME,
            })),
            "PAL_REPORT_GROUP",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_WHICH", vec![1]),
                ("PAL_GROUP_STATE", le(number("PAL_GROUP_STOPPED"), 1)),
                ("PAL_GROUP_FLAGS", le(number("PAL_GROUP_RECOVERED"), 1)),
                ("PAL_PART", le(3, 2)),
                ("PAL_PARTS", le(4, 2)),
                ("PAL_JOIN_CLUSTER", vec![7; 16]),
                ("PAL_VOLUME", vec![0xab; at("PAL_LABEL_BYTES")]),
            ],
        ),
        (
            Message::Report(Account::Service(ServiceTale {
                which: 1,
                given: Given { what: What::Recovery(VOLUME), ..given },
                taken: true,
            })),
            "PAL_REPORT_SERVICE",
            vec![
                ("PAL_WHICH", vec![1]),
                ("PAL_SERVICE", le(number("PAL_SERVICE_RECOVERY"), 1)),
                ("PAL_PROGRESS", le(number("PAL_PROGRESS_TAKEN"), 1)),
            ],
        ),
        (
            Message::Report(Account::Service(ServiceTale { which: 1, given, taken: false })),
            "PAL_REPORT_SERVICE",
            vec![("PAL_PROGRESS", le(number("PAL_PROGRESS_GIVEN"), 1))],
        ),
        (
            Message::Dlm(Dlm::Cut { node: event.node, cut: true, incarnation: i, silent_ms: v }),
            "PAL_CUT",
            vec![
                ("PAL_NODE", vec![9]),
                ("PAL_CUT_STATE", vec![1]),
                ("PAL_INCARNATION", le(i, 8)),
                ("PAL_CUT_MS", le(v, 8)),
            ],
        ),
    ];
    for (message, kind, fields) in cases {
        let frame = message.frame(1, 2, &[]);
        assert_eq!(u64::from(frame.kind), number(kind), "{kind}");
        for (name, value) in fields {
            assert_eq!(frame.body[at(name)..at(name) + value.len()], value[..], "{kind}: {name}");
        }
    }
    let mut buffer = [0; FRAME_MAX];
    let frame = Frame { kind: 5, session: 0x0102_0304, sequence: 0x0506_0708, body: [7; BODY_BYTES], payload: &[1; 9] };
    let bytes = frame.emit(&mut buffer);
    assert_eq!(bytes[at("PAL_AT_VERSION")], VERSION);
    assert_eq!(bytes[at("PAL_AT_KIND")], 5);
    assert_eq!(bytes[at("PAL_AT_LENGTH")..][..2], [9, 0]);
    assert_eq!(bytes[at("PAL_AT_SESSION")..][..4], [4, 3, 2, 1]);
    assert_eq!(bytes[at("PAL_AT_SEQUENCE")..][..4], [8, 7, 6, 5]);
    assert_eq!(bytes[at("PAL_AT_BODY")..][..BODY_BYTES], [7; BODY_BYTES]);
    assert_eq!(at("PAL_AT_CHECK") + 4, FRAME_BYTES);
    for (name, value) in [
        ("PAL_GROUP_JOINED", VolumeState::Joined as u64),
        ("PAL_GROUP_STARTED", VolumeState::Started as u64),
        ("PAL_STATE_UNKNOWN", NodeState::Unknown as u64),
        ("PAL_STATE_UP", NodeState::Up as u64),
        ("PAL_STATE_CONDEMNED", NodeState::Condemned as u64),
        ("PAL_STATE_DOWN", NodeState::Down as u64),
        ("PAL_STATE_LEFT", NodeState::Left as u64),
        ("PAL_FATE_MEMBER", Fate::Member as u64),
        ("PAL_FATE_DEAD", Fate::Dead as u64),
        ("PAL_FATE_LEFT", Fate::Left as u64),
        ("PAL_FATE_NEVER_STARTED", Fate::NeverStarted as u64),
        ("PAL_WRONG_NODE", Refusal::WrongNode as u64),
        ("PAL_CONDEMNED", Refusal::Condemned as u64),
        ("PAL_NO_SESSION", Refusal::NoSession as u64),
        ("PAL_NOT_ADMITTED", Refusal::NotAdmitted as u64),
        ("PAL_BAD_REQUEST", Refusal::BadRequest as u64),
        ("PAL_NOT_YET", Refusal::NotYet as u64),
        ("PAL_CLUSTER_OVER", Refusal::ClusterOver as u64),
        ("PAL_GASP_PANIC", Gasp::Panic as u64),
        ("PAL_GASP_LEASE", Gasp::LeaseEnded as u64),
        ("PAL_GASP_OTHER", Gasp::Other as u64),
    ] {
        assert_eq!(number(name), value, "{name}");
    }
    let mut entry = [0xa5; StartNode::BYTES];
    StartNode { node: NodeId::new(9), fate: Fate::Left, incarnation: i }.emit(&mut entry);
    assert_eq!((entry[at("PAL_ENTRY_NODE")], entry[at("PAL_ENTRY_STATE")]), (9, 3));
    assert_eq!(entry[at("PAL_ENTRY_INCARNATION")..], i.to_le_bytes());
    ViewNode { node: NodeId::new(9), state: NodeState::Down, host: HostId::new(8), class: 3, incarnation: i }
        .emit(&mut entry);
    assert_eq!((entry[at("PAL_ENTRY_HOST")], entry[at("PAL_ENTRY_CLASS")]), (8, 3));
    let (mut payload, told) = ([0; FRAME_PAYLOAD_MAX], [StartNode::parse(&entry).unwrap(); TOLD_ENTRIES]);
    let length = VolumeTale::emit_payload(&mut payload, (i, v), &told);
    assert_eq!(length, at("PAL_GROUP_HEAD") + at("PAL_GROUP_ENTRIES") * StartNode::BYTES);
    // What shims say to each other no appliance reads.
    let between_shims = ["PAL_MAIL_", "PAL_LINE", "PAL_ASK_", "PAL_ANSWER_"];
    let forgotten = header.keys().filter(|name| !between_shims.iter().any(|start| name.starts_with(start)));
    let forgotten: Vec<_> = forgotten.filter(|name| !seen.borrow().contains(*name)).collect();
    assert_eq!(forgotten, Vec::<&String>::new(), "nothing holds these");
}
