//! `palisadectl status` against a stand-in for vhost-device-vsock and an appliance, good and bad.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ended, Scratch, palisadectl};
use palisade_core::fencing::Class;
use palisade_core::fencing::drill::Trial;
use palisade_core::id::{Ballot, HostId, Label, NodeId, Run};
use palisade_core::limits::FRAME_MAX;
use palisade_core::state::HoldKind;
use palisade_core::state::groups::{Phase, Standing};
use palisade_core::state::takeovers::Progress;
use palisade_core::status::{
    COUNTERS, DeviceEntry, GroupEntry, HistoryEntry, HoldEntry, HostEntry, HostState, MemberEntry, NodeEntry, Reason,
    Role, Summary, TakeoverEntry, UNPROTECTED,
};
use palisade_core::who::Who;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Message, NodeState, Operation, Refusal, Section, Target, What, Wish};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

/// Serves one connection with `serve` and asks for the status meanwhile.
fn ask(serve: impl FnOnce(UnixStream) + Send + 'static, options: &[&str]) -> Ended {
    let scratch = Scratch::new();
    let path = scratch.path("vsock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    let mut arguments = vec!["status", "--socket", &path];
    arguments.extend(options);
    let ended = palisadectl(&arguments);
    server.join().unwrap();
    ended
}

fn accept(stream: &mut UnixStream) {
    let mut line = String::new();
    // A reader of one byte: what follows the line is not to be swallowed.
    BufReader::with_capacity(1, &mut *stream).read_line(&mut line).unwrap();
    assert_eq!(line, "CONNECT 7640\n");
    stream.write_all(b"OK 1024\n").unwrap();
}

/// Every entry of a section as bytes, and the bytes of one.
fn section(section: Section) -> (Vec<u8>, usize) {
    let mut bytes = vec![0; 40_000];
    let mut count = 0;
    let size = match section {
        Section::Summary => {
            let summary = Summary {
                host: HostId::new(2),
                role: Role::Member,
                leader: HostId::new(3),
                quorum: true,
                votes: 3,
                ballot: Ballot { round: 4, host: HostId::new(3) },
                version: 17,
                ..Summary::default()
            };
            summary.emit(&mut bytes);
            count = 1;
            Summary::BYTES
        }
        Section::Hosts => {
            for host in 1..=255 {
                let entry = HostEntry {
                    host: HostId::new(host),
                    state: HostState::Member,
                    incarnation: 0xab00 + u64::from(host),
                    heard_ms: if host == 255 { u32::MAX } else { 12 },
                    marks: if host == 3 { UNPROTECTED } else { 0 },
                };
                entry.emit(&mut bytes[count * HostEntry::BYTES..]);
                count += 1;
            }
            HostEntry::BYTES
        }
        Section::Nodes => {
            let entry = NodeEntry {
                node: NodeId::new(2),
                state: NodeState::Down,
                host: HostId::new(2),
                class: Class::VmStopped as u8,
                incarnation: 5,
                run: Run { boot: 6, counter: 7 },
                marks: 0,
            };
            entry.emit(&mut bytes);
            count = 1;
            NodeEntry::BYTES
        }
        Section::History => {
            let entry = HistoryEntry {
                node: NodeId::new(2),
                host: HostId::new(2),
                reason: Reason::Panicked,
                class: Class::VmStopped as u8,
                executor: HostId::new(2),
                attempts: 1,
                incarnation: 5,
                decided_version: 15,
                confirmed_version: 16,
                took_us: 4200,
                device: 1,
                who: Who::new("ann").unwrap(),
            };
            entry.emit(&mut bytes);
            count = 1;
            HistoryEntry::BYTES
        }
        Section::Devices => {
            let mut name = [0; 32];
            name[..4].copy_from_slice(b"bmc2");
            let (trial, executor) = (Trial::On, HostId::new(3));
            DeviceEntry { name, trial, executor, age_ms: 61_000, covers: [2, 0, 0, 0] }.emit(&mut bytes);
            count = 1;
            DeviceEntry::BYTES
        }
        Section::Holds => {
            let target = Target::Host(HostId::new(9));
            let who = Who::new("bob").unwrap();
            HoldEntry { kind: HoldKind::Maintenance, target, left_ms: 7000, who }.emit(&mut bytes);
            count = 1;
            HoldEntry::BYTES
        }
        Section::Groups => {
            let entry = GroupEntry {
                group: 1,
                phase: Phase::Starting,
                members: 2,
                fates: 1,
                generation: 0x123,
                cluster: Label::named("mail"),
                volume: Label([0xab; 16]),
            };
            entry.emit(&mut bytes);
            count = 1;
            GroupEntry::BYTES
        }
        Section::Members => {
            for (node, standing) in [(1, Standing::Member), (2, Standing::Dead), (3, Standing::Member)] {
                let entry = MemberEntry { group: 1, node: NodeId::new(node), standing, incarnation: 5 };
                entry.emit(&mut bytes[count * MemberEntry::BYTES..]);
                count += 1;
            }
            MemberEntry::BYTES
        }
        Section::Takeovers => {
            let entry = TakeoverEntry {
                what: What::Named(Label::named("queue")),
                dead: NodeId::new(2),
                owner: NodeId::new(3),
                progress: Progress::Ordered,
                failures: 0,
                dead_incarnation: 5,
                owner_incarnation: 6,
                token: 0x124,
            };
            entry.emit(&mut bytes);
            count = 1;
            TakeoverEntry::BYTES
        }
        Section::Counters => {
            bytes[..8].copy_from_slice(&77_u64.to_le_bytes());
            count = COUNTERS;
            8
        }
    };
    bytes.truncate(count * size);
    (bytes, size)
}

fn send(stream: &mut UnixStream, message: Message, payload: &[u8]) {
    let mut buffer = [0; FRAME_MAX];
    // One byte at a time now and then: frames may come in any pieces.
    for piece in message.frame(0, 1, payload).emit(&mut buffer).chunks(37) {
        let _ = stream.write_all(piece);
    }
}

/// Answers as an appliance does: BUSY first, then each section in parts, with something unasked between them.
fn appliance(mut stream: UnixStream) {
    accept(&mut stream);
    let mut reader = Reader::new();
    let mut bytes = [0; 512];
    let mut busy = true;
    loop {
        let length = stream.read(&mut bytes).unwrap_or(0);
        if length == 0 {
            return;
        }
        let mut rest = &bytes[..length];
        while let Some(frame) = reader.next(&mut rest) {
            let Ok(Message::Status { section: asked, first }) = Message::parse(&frame) else {
                panic!("not a question")
            };
            if std::mem::take(&mut busy) {
                send(&mut stream, Message::Busy, &[]);
                continue;
            }
            let (entries, size) = section(asked);
            let total = entries.len() / size;
            let first = usize::from(first);
            let count = (448 / size).min(total - first);
            let part = Message::StatusPart {
                section: asked,
                first: u16::try_from(first).unwrap(),
                count: u16::try_from(count).unwrap(),
                total: u16::try_from(total).unwrap(),
            };
            send(&mut stream, Message::Bye, &[]);
            let _ = stream.write_all(b"PFgarbage");
            send(&mut stream, part, &entries[first * size..(first + count) * size]);
        }
    }
}

#[test]
fn a_table_for_a_person() {
    let ended = ask(appliance, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    for piece in [
        "host 2: member, leader 3, with quorum, view 17 under ballot 4.3",
        " 255  member     000000000000abff  -",
        "   3  member     000000000000ab03  12 ms ago  UNPROTECTED",
        "bmc2                              works (on)           3  61 s ago",
        "  maintenance   host 9           7 s  bob",
        "   2  down          2  7           0000000000000005  vm-stopped",
        "  node 2 on host 2    panicked        vm-stopped       2    1  bmc2      4.2 ms, 15 -> 16  ann",
        "abababababababababababababababab  mail              starting  123               1 2 (dead, not recovered) 3",
        "queue                                             3  ordered     2  124",
        "            77  datagrams sent",
    ] {
        assert!(ended.out.contains(piece), "{piece}: {}", ended.said());
    }
}

#[test]
fn json_for_a_program() {
    let ended = ask(appliance, &["--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let value: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(value["role"], "member");
    assert_eq!(value["hosts"].as_array().unwrap().len(), 255);
    assert_eq!(value["hosts"][254]["heard_ms"], serde_json::Value::Null);
    assert_eq!(value["nodes"][0]["class"], "vm-stopped");
    assert_eq!(value["groups"][0]["nodes"][1]["standing"], "dead, not recovered");
    assert_eq!(value["takeovers"][0]["service"], "queue");
    assert_eq!(value["counters"]["datagrams sent"], 77);
    assert_eq!(value["allocations_since_seal"], 0);
}

#[test]
fn each_failure_has_its_sentence() {
    let none = palisadectl(&["status", "--socket", "no/such/socket"]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("does not exist; name the `uds-path`"), "{}", none.said());

    let scratch = Scratch::new();
    let path = scratch.path("dead");
    drop(UnixListener::bind(&path).unwrap());
    let dead = palisadectl(&["status", "--socket", &path]);
    assert!(dead.code == Some(1) && dead.err.contains("nothing listens at"), "{}", dead.said());

    let closed = ask(drop, &[]);
    assert!(closed.code == Some(1) && closed.err.contains("closed the connection"), "{}", closed.said());

    let other = ask(|mut stream| drop(stream.write_all(b"SSH-2.0-OpenSSH\r\n")), &[]);
    assert!(other.code == Some(1) && other.err.contains("refuses port 7640: SSH-2.0"), "{}", other.said());

    let endless = ask(|mut stream| drop(stream.write_all(&[b'x'; 200])), &[]);
    assert!(endless.err.contains("does not speak vsock"), "{}", endless.said());

    let silent = ask(
        |mut stream| {
            accept(&mut stream);
            let _ = stream.read_to_end(&mut Vec::new());
        },
        &["--timeout-ms", "300"],
    );
    assert!(silent.code == Some(1) && silent.err.contains("no answer in time"), "{}", silent.said());

    let busy = ask(
        |mut stream| {
            accept(&mut stream);
            let mut bytes = [0; 64];
            while stream.read(&mut bytes).is_ok_and(|length| length > 0) {
                send(&mut stream, Message::Busy, &[]);
            }
        },
        &["--timeout-ms", "300"],
    );
    assert!(busy.code == Some(1) && busy.err.contains("no answer in time"), "{}", busy.said());

    let refused = ask(
        |mut stream| {
            accept(&mut stream);
            send(&mut stream, Message::Error { refusal: Refusal::NotAdmitted }, &[]);
            let _ = stream.read_to_end(&mut Vec::new());
        },
        &[],
    );
    assert!(refused.err.contains("was not admitted to the cluster yet"), "{}", refused.said());
}

#[test]
fn counts_that_lie_are_refused() {
    for (count, total) in [(u16::MAX, 1), (1, 1), (0, 5)] {
        let ended = ask(
            move |mut stream| {
                accept(&mut stream);
                let part = Message::StatusPart { section: Section::Summary, first: 0, count, total };
                send(&mut stream, part, &[0; 20]);
                let _ = stream.read_to_end(&mut Vec::new());
            },
            &["--timeout-ms", "2000"],
        );
        assert_eq!(ended.code, Some(1), "{}", ended.said());
        assert!(ended.err.contains("not sound") || ended.err.contains("does not send it"), "{}", ended.said());
    }
}

/// Answers one OPERATE with this, after BUSY, and gives back what was asked.
fn operated(arguments: &[&str], answer: Message) -> (Ended, Operation) {
    let scratch = Scratch::new();
    let path = scratch.path("vsock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        accept(&mut stream);
        let mut reader = Reader::new();
        let mut bytes = [0; 512];
        let mut busy = true;
        loop {
            let length = stream.read(&mut bytes).unwrap();
            assert!(length > 0, "it hung up without an answer");
            let mut rest = &bytes[..length];
            while let Some(frame) = reader.next(&mut rest) {
                let Ok(Message::Operate(operation)) = Message::parse(&frame) else { panic!("not a request") };
                if std::mem::take(&mut busy) {
                    send(&mut stream, Message::Busy, &[]);
                    continue;
                }
                send(&mut stream, answer, &[]);
                return operation;
            }
        }
    });
    let mut all = arguments.to_vec();
    all.extend(["--socket", &path, "--who", "ann"]);
    let ended = palisadectl(&all);
    (ended, server.join().unwrap())
}

#[test]
fn a_request_is_asked_again_while_the_appliance_is_busy_and_answered_when_it_is_committed() {
    let target = Target::Node(NodeId::new(7));
    let done = Message::OperateReply { target, version: 99 };
    for (line, wish, duration_ms, force, said) in [
        ("fence node 7", Wish::Fence, 0, false, "node 7 is condemned"),
        ("pause node 7 --for 90s", Wish::Pause, 90_000, false, "not accused for 90 s"),
        ("resume node 7", Wish::Resume, 0, false, "the pause is over"),
        ("maintenance node 7 --for 2h --force", Wish::Maintain, 7_200_000, true, "for 7200 s"),
        ("maintenance node 7 --end", Wish::Release, 0, false, "the maintenance is over"),
        ("acknowledge node 7 --force", Wish::Acknowledge, 0, true, "because you say so"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (ended, asked) = operated(&words, done);
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.said());
        assert!(ended.out.contains(said) && ended.out.contains("view 99"), "{line}: {}", ended.said());
        let who = Who::new("ann").unwrap();
        assert_eq!(asked, Operation { wish, target, force, duration_ms, incarnation: 0, who }, "{line}");
    }
}

#[test]
fn each_refusal_of_a_request_has_its_sentence() {
    for (refusal, sentence) in [
        (Refusal::InGroup, "say --force and mean it"),
        (Refusal::NotCondemned, "saw with your own eyes"),
        (Refusal::TooLong, "at most 7 days"),
        (Refusal::BadRequest, "another incarnation is there by now"),
        (Refusal::NodesUp, "shut them down first"),
        (Refusal::LastQuorum, "no quorum of votes would be left"),
    ] {
        let (ended, _) = operated(&["acknowledge", "node", "7"], Message::Error { refusal });
        assert!(ended.code == Some(1) && ended.err.contains(sentence), "{}", ended.said());
    }
}
