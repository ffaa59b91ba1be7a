//! What the engine wants sent, until the driver takes it.
//!
//! Owns the queues, one per class, so that no request ever stands before membership (DESIGN §1). A queue is its class's own:
//! nothing of a lower class ever takes its room, so what a flood drops is the flood's. A full queue drops and counts;
//! whatever matters is sent again by its owner's timer.

use crate::id::{HostId, Incarnation};
use crate::io::{Request, Road, Traffic};
use crate::limits::{
    CLOSES_OUT_MAX, FENCING_OUT_MAX, GUARD_OUT_MAX, JOBS_MAX, MAIL_OUT_MAX, OUTPUTS_MAX, QUERIES_OUT_MAX, STATE_OUT_MAX,
};
use crate::wire::guard;
use crate::wire::message::Message;
use crate::wire::node;
use heapless::Deque;

/// The classes, highest first: of what is queued the higher leaves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Heartbeats, elections, commits.
    Heartbeat,
    /// State transfer.
    State,
    /// Orders, their answers, the guard, devices.
    Fencing,
    /// What sessions are told of their own accord: leases, views, deaths, groups.
    Sessions,
    /// Messages from node to node.
    Messages,
    /// Answers to whoever asked, and refusals.
    Queries,
}

/// How many classes there are.
pub const CLASSES: usize = 6;

impl Class {
    /// All of them.
    pub const ALL: [Self; CLASSES] =
        [Self::Heartbeat, Self::State, Self::Fencing, Self::Sessions, Self::Messages, Self::Queries];

    /// The class of a message to a peer.
    const fn of_letter(message: &Message) -> Self {
        match message {
            Message::Order(_) | Message::OrderAnswer { .. } | Message::Operate { .. } | Message::Operated { .. } => {
                Self::Fencing
            }
            _ => match message.traffic() {
                Traffic::Membership => Self::Heartbeat,
                Traffic::State => Self::State,
                Traffic::Messages => Self::Messages,
            },
        }
    }

    /// The class of a frame to a session.
    const fn of_word(message: &node::Message) -> Self {
        match message {
            node::Message::StatusPart { .. }
            | node::Message::OperateReply { .. }
            | node::Message::Busy
            | node::Message::Error { .. }
            | node::Message::Mail(node::Mail::AddressReply(_) | node::Mail::Busy { .. }) => Self::Queries,
            node::Message::Mail(_) => Self::Messages,
            _ => Self::Sessions,
        }
    }
}

/// A message on its way to a peer.
#[derive(Clone, Copy, Debug)]
pub struct Letter {
    /// The peer.
    pub to: HostId,
    /// Its incarnation, where it is not the one that we know best.
    pub receiver: Option<Incarnation>,
    /// What it says.
    pub message: Message,
}

/// A frame on its way to a session.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// On which road.
    pub road: Road,
    /// What it says. Payloads are made when it leaves.
    pub message: node::Message,
}

/// All queues.
#[derive(Debug)]
pub struct Outbox {
    heartbeat: Deque<Letter, OUTPUTS_MAX>,
    state: Deque<Letter, STATE_OUT_MAX>,
    fencing: Deque<Letter, FENCING_OUT_MAX>,
    guard: Deque<guard::Message, GUARD_OUT_MAX>,
    requests: Deque<Request, JOBS_MAX>,
    sessions: Deque<Word, OUTPUTS_MAX>,
    closes: Deque<u8, CLOSES_OUT_MAX>,
    carriers: Deque<Letter, MAIL_OUT_MAX>,
    messages: Deque<Word, MAIL_OUT_MAX>,
    queries: Deque<Word, QUERIES_OUT_MAX>,
    dropped: [u64; CLASSES],
}

impl Outbox {
    /// Nothing to send; all zero.
    pub const EMPTY: Self = Self {
        heartbeat: Deque::new(),
        state: Deque::new(),
        fencing: Deque::new(),
        guard: Deque::new(),
        requests: Deque::new(),
        sessions: Deque::new(),
        closes: Deque::new(),
        carriers: Deque::new(),
        messages: Deque::new(),
        queries: Deque::new(),
        dropped: [0; CLASSES],
    };

    /// How many outputs of a class found their queue full.
    #[must_use]
    pub const fn dropped(&self, class: Class) -> u64 {
        self.dropped[class as usize]
    }

    fn lost(&mut self, class: Class, fits: bool) {
        self.dropped[class as usize] += u64::from(!fits);
    }

    fn post(&mut self, letter: Letter) {
        let class = Class::of_letter(&letter.message);
        let fits = match class {
            Class::Heartbeat => self.heartbeat.push_back(letter).is_ok(),
            Class::State => self.state.push_back(letter).is_ok(),
            Class::Messages => self.carriers.push_back(letter).is_ok(),
            _ => self.fencing.push_back(letter).is_ok(),
        };
        self.lost(class, fits);
    }

    /// Sends a message to a peer.
    pub fn send(&mut self, to: HostId, message: Message) {
        self.post(Letter { to, receiver: None, message });
    }

    /// Sends a message to this very incarnation of a peer.
    pub fn send_to_incarnation(&mut self, to: HostId, receiver: Incarnation, message: Message) {
        self.post(Letter { to, receiver: Some(receiver), message });
    }

    /// Sends a frame to a session.
    pub fn say(&mut self, road: Road, message: node::Message) {
        let (class, word) = (Class::of_word(&message), Word { road, message });
        let fits = match class {
            Class::Queries => self.queries.push_back(word).is_ok(),
            Class::Messages => self.messages.push_back(word).is_ok(),
            _ => self.sessions.push_back(word).is_ok(),
        };
        self.lost(class, fits);
    }

    /// Sends a frame to the guard.
    pub fn guard(&mut self, message: guard::Message) {
        let fits = self.guard.push_back(message).is_ok();
        self.lost(Class::Fencing, fits);
    }

    /// Has a device driven. Whether there was room.
    pub fn request(&mut self, request: Request) -> bool {
        let fits = self.requests.push_back(request).is_ok();
        self.lost(Class::Fencing, fits);
        fits
    }

    /// A message found no room on its way to a session.
    pub fn drop_message(&mut self) {
        self.lost(Class::Messages, false);
    }

    /// Ends a vsock connection.
    pub fn close(&mut self, connection: u8) {
        let fits = self.closes.push_back(connection).is_ok();
        self.lost(Class::Sessions, fits);
    }

    /// The next letter of a class that has letters.
    pub(crate) fn next_letter(&mut self, class: Class) -> Option<Letter> {
        match class {
            Class::Heartbeat => self.heartbeat.pop_front(),
            Class::State => self.state.pop_front(),
            Class::Fencing => self.fencing.pop_front(),
            Class::Messages => self.carriers.pop_front(),
            _ => None,
        }
    }

    /// The next frame of a class that has frames.
    pub(crate) fn next_word(&mut self, class: Class) -> Option<Word> {
        match class {
            Class::Sessions => self.sessions.pop_front(),
            Class::Messages => self.messages.pop_front(),
            Class::Queries => self.queries.pop_front(),
            _ => None,
        }
    }

    /// Whether anything of the classes from sessions down waits.
    pub(crate) fn holds_words(&self) -> bool {
        let words = [self.sessions.is_empty(), self.messages.is_empty(), self.queries.is_empty()];
        !words.into_iter().all(|is_empty| is_empty) || !self.carriers.is_empty() || !self.closes.is_empty()
    }

    pub(crate) fn next_guard(&mut self) -> Option<guard::Message> {
        self.guard.pop_front()
    }

    pub(crate) fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    pub(crate) fn next_close(&mut self) -> Option<u8> {
        self.closes.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::node::{Refusal, Section};
    use std::boxed::Box;

    #[test]
    fn a_flood_of_queries_takes_no_room_of_what_nodes_are_told() {
        let mut outbox = Box::new(Outbox::EMPTY);
        let road = Road::Vsock(1);
        for _ in 0..100 * OUTPUTS_MAX {
            let section = Section::Hosts;
            outbox.say(road, node::Message::StatusPart { section, first: 0, count: 0, total: 0 });
            outbox.say(road, node::Message::Error { refusal: Refusal::NoSession });
        }
        assert!(outbox.dropped(Class::Queries) > 0);
        outbox.say(Road::Channel(0), node::Message::Lease { stamp: 1, lease_ms: 2 });
        assert_eq!(outbox.dropped(Class::Sessions), 0);
        assert!(outbox.next_word(Class::Sessions).is_some());
    }

    #[test]
    fn each_message_goes_to_its_class() {
        let slot = crate::wire::message::Slot::NONE;
        let commit = Message::Commit { slot, cluster: crate::id::Cluster::NONE, named: false };
        let answer = Message::OrderAnswer {
            ballot: crate::id::Ballot::NONE,
            attempt: 1,
            verdict: crate::fencing::Verdict::Failed,
            tried: true,
        };
        assert_eq!(Class::of_letter(&commit), Class::Heartbeat);
        assert_eq!(Class::of_letter(&answer), Class::Fencing);
        let ack = node::Mail::Ack { peer: crate::id::NodeId::new(1), number: 1, stream: 0 };
        assert_eq!(Class::of_word(&node::Message::Mail(ack)), Class::Messages);
    }
}
