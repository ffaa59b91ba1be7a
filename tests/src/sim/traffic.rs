//! Traffic: messages between guests, and whatever else tests say to appliances on both roads.
//!
//! Owns how it gets into the world and out of it. What a shim makes of messages is in `mail`.

use super::World;
use super::event::{Arrival, Event};
use palisade_core::id::NodeId;
use palisade_core::limits::FRAME_MAX;
use palisade_core::status::Counter;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Mail, Message, Section};

/// The connection on which tests ask for counters.
const COUNTERS: u8 = 22;
/// Operators' connection.
const OPERATORS: u8 = 23;

impl World {
    /// A guest wants to send a message to another one; messages have growing names.
    pub fn post(&mut self, from: u8, to: u8) {
        self.letters.named += 1;
        let name = self.letters.named;
        self.guests.get_mut(&from).expect("a configured node").mail.post(to, name);
        self.node_wakes(from);
    }

    /// A guest asks where another one is.
    pub fn ask_address(&mut self, asker: u8, about: u8) {
        self.guest_says(asker, &Message::Mail(Mail::Address { node: NodeId::new(about) }));
    }

    /// Messages of which their senders have not heard the end.
    #[must_use]
    pub fn letters_waiting(&self) -> usize {
        self.guests.values().map(|guest| guest.mail.waiting()).sum()
    }

    /// Who waits for what.
    #[must_use]
    pub fn letters_unrest(&self) -> String {
        let waits = self.guests.values().filter(|guest| guest.mail.waiting() > 0);
        waits.map(|guest| format!("node {} {}", guest.node, guest.mail.unrest())).collect()
    }

    pub(super) fn learn_letters(&mut self, node: u8) {
        let guest = self.guests.get_mut(&node).expect("a configured node");
        let own = guest.incarnation;
        for fact in guest.mail.facts() {
            self.letters.learn(self.now, node, own, fact);
        }
    }

    /// Somebody connects to an appliance by vsock.
    pub fn connect(&mut self, host: u8, connection: u8, cid: u32) {
        self.heard.remove(&(host, connection));
        let life = self.hosts[&host].life;
        self.at(self.now, Event::Arrives { host, life, what: Arrival::Opened(connection, cid) });
    }

    /// And says something.
    pub fn vsock_says(&mut self, host: u8, connection: u8, session: u32, message: &Message, payload: &[u8]) {
        let life = self.hosts[&host].life;
        let mut buffer = [0; FRAME_MAX];
        let bytes = message.frame(session, 1, payload).emit(&mut buffer).to_vec();
        self.at(self.now, Event::Arrives { host, life, what: Arrival::Vsock(connection, bytes) });
    }

    /// What was said on a connection since the last time: session, message, payload.
    pub fn vsock_heard(&mut self, host: u8, connection: u8) -> Vec<(u32, Message, Vec<u8>)> {
        let bytes = self.heard.remove(&(host, connection)).unwrap_or_default();
        let (mut reader, mut rest, mut heard) = (Reader::new(), bytes.as_slice(), Vec::new());
        while let Some(frame) = reader.next(&mut rest) {
            heard.extend(Message::parse(&frame).map(|message| (frame.session, message, frame.payload.to_vec())));
        }
        heard
    }

    pub(super) fn vsock_hears(&mut self, host: u8, connection: u8, bytes: &[u8]) {
        if connection == OPERATORS {
            return self.operator_hears(host, connection, bytes);
        }
        self.heard.entry((host, connection)).or_default().extend_from_slice(bytes);
    }

    /// A counter of an appliance, as STATUS tells it.
    pub fn counter(&mut self, host: u8, counter: Counter) -> u64 {
        self.connect(host, COUNTERS, 2);
        self.run_ms(1);
        self.vsock_says(host, COUNTERS, 0, &Message::Status { section: Section::Counters, first: 0 }, &[]);
        self.run_ms(1);
        let heard = self.vsock_heard(host, COUNTERS);
        let (_, message, payload) = heard.first().expect("an answer");
        assert!(matches!(message, Message::StatusPart { section: Section::Counters, .. }), "{message:?}");
        let (values, _) = payload.as_chunks::<8>();
        u64::from_le_bytes(values[counter as usize])
    }
}
