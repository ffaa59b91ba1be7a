//! What the engine's memory goes to, for a person who decides what to make smaller.
//!
//! Owns a list. It says sizes and nothing else; what is not in it is the rest.

use super::Engine;
use crate::agreement::acceptor::Acceptor;
use crate::agreement::election::Election;
use crate::agreement::encoded::Encoded;
use crate::agreement::proposer::Proposer;
use crate::courier::Courier;
use crate::fencing::executor::Executor;
use crate::fencing::harness::Harness;
use crate::groups::{desk::Desk, reports::Reports};
use crate::heartbeat::{Follower, Watch};
use crate::local::Local;
use crate::messaging::Messaging;
use crate::outbox::Outbox;
use crate::peers::Peers;
use crate::sessions::Sessions;
use crate::state::State;

/// How many parts.
const PARTS: usize = 18;

impl Engine {
    /// Each large part of an engine and its bytes.
    #[must_use]
    pub const fn parts() -> [(&'static str, usize); PARTS] {
        let states = 3 * size_of::<State>();
        [
            ("state: accepted, committed, next", states),
            ("state: its bytes, and beside them the next ones", size_of::<Encoded>()),
            ("state: pieces and changes on their way", size_of::<Acceptor>() - states - size_of::<Encoded>()),
            ("outbox", size_of::<Outbox>()),
            ("leader: what each host said last", size_of::<Watch>()),
            ("leader: progress of each fence", size_of::<Harness>()),
            ("leader: what nodes said about groups", size_of::<Reports>()),
            ("leader: who accepted, who voted", size_of::<Proposer>()),
            ("leader: who is to get what", size_of::<Courier>()),
            ("candidate", size_of::<Election>()),
            ("member: towards its leader", size_of::<Follower>()),
            ("member: device attempts", size_of::<Executor>()),
            ("member: its nodes", size_of::<Local>()),
            ("member: its nodes' groups", size_of::<Desk>()),
            ("messages of nodes", size_of::<Messaging>()),
            ("sessions", size_of::<Sessions>()),
            ("peers: incarnations, keys, windows", size_of::<Peers>()),
            ("all together", size_of::<Self>()),
        ]
    }
}
