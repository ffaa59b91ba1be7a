//! Each message over its bytes and back.

use super::*;
use crate::fencing::{Action, Class};
use crate::id::{HostId, Label, NodeId, Run};
use crate::wire::node::{Fate, Given, StartNode, Target, VolumeState, What};

fn samples() -> std::vec::Vec<Message> {
    let ballot = Ballot { round: 7, host: HostId::new(3) };
    let slot = Slot { ballot, version: 1 << 33 };
    let cluster = Cluster { number: 5, random: 77 };
    let mut known = [Known::NONE; KNOWN_MAX];
    known[3] = Known { node: NodeId::new(7), dead: true, incarnation: 70 };
    let mut beat = Heartbeat { number: 9, ballot, echo: 5, memory: true, accepted: slot, ..Heartbeat::default() };
    beat.locals[7] = LocalNode {
        node: NodeId::new(8),
        health: Health::Left,
        disks_qualify: true,
        after_reset: true,
        reported: true,
        counter: 1,
        gone_through: 2,
        bound: 3,
        incarnation: 4,
    };
    let order = Order {
        ballot,
        version: 2,
        attempt: 3,
        answers: 4,
        action: Action::On,
        device: LOCAL_GUARD,
        target: Target::Node(NodeId::new(5)),
        run: Run { boot: 6, counter: 7 },
    };
    std::vec![
        Message::Hello { nonce: 1 },
        Message::HelloAnswer { nonce: 2 },
        Message::Heartbeat(beat),
        Message::Answer { number: 1, ballot, stamp: 2, committed: slot, cluster },
        Message::Ask { number: 4, promised: ballot },
        Message::AskAnswer {
            number: 4,
            leader: ballot,
            promised: ballot,
            memory: true,
            may_vote: false,
            leaderless_ms: 2500,
            cluster,
            accepted: slot,
            committed: slot,
        },
        Message::Vote { ballot, standing: Standing::Cold },
        Message::VoteAnswer {
            ballot,
            granted: true,
            promised: ballot,
            accepted: slot,
            digest: 1,
            elector: false,
            cluster,
            committed: slot,
        },
        Message::Fetch { ballot, slot },
        Message::Accept { slot, digest: 8 },
        Message::Commit { slot, cluster, named: true },
        Message::NeedWhole { slot },
        Message::Order(order),
        Message::OrderAnswer { ballot, attempt: 1, verdict: Verdict::Confirmed(Class::PowerOff), tried: true },
        Message::OrderAnswer { ballot, attempt: 1, verdict: Verdict::Unknown, tried: false },
        Message::Condemned { version: 3 },
        Message::GroupReport(GroupReport {
            number: 1,
            wish: Wish::Leave,
            cluster: crate::id::Label::named("mail"),
            stopped: 1 << 40,
            started: 3,
            recovered: 4,
            ..GroupReport::new(NodeId::new(5), 6, crate::id::Label([7; 16]))
        }),
        Message::TakeoverReport(TakeoverReport {
            node: NodeId::new(1),
            incarnation: 2,
            service: crate::state::takeovers::Service::Named(31),
            dead: NodeId::new(3),
            token: 4,
            taken: true,
        }),
        Message::Operate {
            request: 1,
            operation: Operation {
                wish: crate::wire::node::Wish::Pause,
                target: Target::Host(HostId::new(2)),
                force: true,
                duration_ms: 3,
                incarnation: 9,
                who: crate::who::Who::new("ann").unwrap_or_default(),
            },
        },
        Message::Operated { request: 1, answer: Operated::Done(1 << 40) },
        Message::Operated { request: 1, answer: Operated::Refused(crate::wire::node::Refusal::TooLong) },
        Message::Operated { request: 1, answer: Operated::Busy },
        Message::Report(Report { cluster, version: 8, page: 1, pages: 2, known, ..Report::default() }),
        Message::Report(Report { tells: Some((2, 3)), pages: 1, ..Report::default() }),
        Message::VolumePage(VolumePage {
            node: NodeId::new(7),
            incarnation: 8,
            cluster: Label::named("mail"),
            volume: Label([7; 16]),
            state: VolumeState::Stopped,
            recovered: true,
            stopped: 1 << 41,
            started: 1 << 40,
            total: 510,
            told: [StartNode { node: NodeId::new(3), fate: Fate::Left, incarnation: u64::MAX }; TOLD_MAX],
        }),
        Message::ServicePage(ServicePage {
            node: NodeId::new(7),
            incarnation: 8,
            given: Given { what: What::Named(Label::named("one")), dead: NodeId::NONE, incarnation: 0, token: 9 },
            taken: true,
        }),
    ]
}

#[test]
fn each_message_survives_its_bytes_and_no_shorter_or_longer_ones_pass() {
    for message in samples() {
        let mut buffer = [0; MESSAGE_MAX];
        let length = message.emit(&mut buffer, &[]);
        assert_eq!(Message::parse(&buffer[..length]), Ok((message, [].as_slice())));
        assert!(Message::parse(&buffer[..length - 1]).is_err(), "{message:?}");
        assert!(Message::parse(&buffer[..=length]).is_err(), "{message:?}");
    }
}

#[test]
fn a_piece_carries_its_bytes() {
    let head = Piece { slot: Slot::default(), digest: 1, total: 2, offset: 3, fetched: true };
    let mut buffer = [0xa5; MESSAGE_MAX];
    let length = Message::Piece(head).emit(&mut buffer, b"bytes");
    assert_eq!(Message::parse(&buffer[..length]), Ok((Message::Piece(head), b"bytes".as_slice())));
    let head = Proposal {
        slot: Slot::default(),
        digest: 1,
        base_version: 2,
        base_digest: 3,
        total: u32::MAX,
        offset: u32::MAX - 1,
    };
    let length = Message::Delta(head).emit(&mut buffer, b"other");
    assert_eq!(Message::parse(&buffer[..length]), Ok((Message::Delta(head), b"other".as_slice())));
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        let mut bytes = [0; 320];
        for byte in &mut bytes {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed.to_le_bytes()[0];
        }
        bytes[0] %= 36;
        let _ = Message::parse(&bytes[..usize::from(bytes[1])]);
    }
}
