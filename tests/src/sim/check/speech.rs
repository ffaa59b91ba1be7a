//! S5: a fenced incarnation never speaks again. From the commit of the decision on its appliance, as soon as that knows of
//! it, renews no lease of it, gives it no session, and brings it no message, nor any of it to others (SAFETY F4, I2).
//!
//! Owns the look at what appliances say on channels.

use super::Key;
use super::rows::Born;
use crate::sim::{Guest, Micros};
use palisade_core::id::NodeId;
use palisade_core::state::State;
use palisade_core::wire::frame::Frame;
use palisade_core::wire::node::{Address, Mail, Message, NodeState};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Where a frame has its kind, and the kinds that bring messages and addresses: few frames are looked into.
const KIND: usize = 3;
static KINDS: LazyLock<[u8; 2]> = LazyLock::new(|| {
    let recv = Mail::Recv { from: NodeId::new(1), incarnation: 0, number: 0, stream: 0, first: 0 };
    [recv, Mail::AddressReply(Address::default())].map(|mail| Message::Mail(mail).frame(0, 0, &[]).kind)
});

/// An appliance whose view this is says these bytes to a node. What was decided in this very turn may cross.
pub fn check(now: Micros, before: Key, view: &State, born: &BTreeMap<(u8, u64), Born>, guest: &Guest, bytes: &[u8]) {
    let row = view.node(NodeId::new(guest.node));
    let known = before == (view.version, view.cluster.random);
    let over = matches!(row.state, NodeState::Condemned | NodeState::Down) && row.incarnation == guest.incarnation;
    let mail = bytes.get(KIND).is_some_and(|kind| KINDS.contains(kind));
    if !known || guest.incarnation == 0 || !over && !mail {
        return;
    }
    let message = Frame::parse(bytes).and_then(|frame| Message::parse(&frame));
    let serves = match message {
        Ok(Message::Lease { .. } | Message::Mail(Mail::Recv { .. })) => true,
        Ok(Message::Welcome { nonce, .. }) => nonce == guest.incarnation,
        _ => false,
    };
    let (node, own) = (guest.node, guest.incarnation);
    assert!(!over || !serves, "S5: {message:?} for node {node} ({own:x}) at {now} us, which is fenced");
    match message {
        Ok(Message::Mail(Mail::Recv { from, incarnation, .. })) => {
            let sender = view.node(from);
            let lives = sender.state == NodeState::Up && sender.incarnation == incarnation;
            assert!(
                lives,
                "S5: a message of {from} ({incarnation:x}) for node {node} at {now} us, and that is {sender:?}"
            );
            let left = row.state == NodeState::Left && row.incarnation == own;
            assert!(!left, "I2: a message of {from} for node {node} at {now} us, which has left");
        }
        Ok(Message::Mail(Mail::AddressReply(at))) if at.state == NodeState::Up => {
            let there = born.get(&(at.node.get(), at.incarnation)).map(Born::host);
            assert_eq!(there, Some(at.host.get()), "{} is not where node {node} is told at {now} us", at.node);
        }
        _ => {}
    }
}
