//! S5: a fenced incarnation never speaks again. From the commit of the decision on its appliance, as soon as that knows of
//! it, renews no lease of it and gives it no session.
//!
//! Owns the look at what appliances say on channels.

use super::Key;
use crate::sim::{Guest, Micros};
use palisade_core::id::NodeId;
use palisade_core::state::State;
use palisade_core::wire::frame::Frame;
use palisade_core::wire::node::{Message, NodeState};

/// An appliance whose view this is says these bytes to a node. What was decided in this very turn may cross.
pub fn check(now: Micros, before: Key, view: &State, guest: &Guest, bytes: &[u8]) {
    let row = view.node(NodeId::new(guest.node));
    let known = before == (view.version, view.cluster.random);
    let over = matches!(row.state, NodeState::Condemned | NodeState::Down) && row.incarnation == guest.incarnation;
    if !over || !known || guest.incarnation == 0 {
        return;
    }
    let message = Frame::parse(bytes).and_then(|frame| Message::parse(&frame));
    let serves = match message {
        Ok(Message::Lease { .. }) => true,
        Ok(Message::Welcome { nonce, .. }) => nonce == guest.incarnation,
        _ => false,
    };
    assert!(!serves, "S5: {message:?} for node {} ({:x}) at {now} us, which is fenced", guest.node, guest.incarnation);
}
