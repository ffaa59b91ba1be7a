//! What leaves, and in which order: strictly by class, heartbeat > state > fencing > sessions > messages > queries.
//!
//! Owns the order alone. Each call of `poll` begins at the top again, so what a higher class has to say never waits behind
//! more than the one output that the driver is carrying out (DESIGN §1 rule 3). What has not come in yet has nothing to say:
//! a driver that has more of the higher classes to take in lets only those out meanwhile (`poll_urgent`), or what an earlier
//! turn left over of the lower ones would leave before the answer to a heartbeat that waits in its ring.

use super::Engine;
use crate::id::HostId;
use crate::io::{Output, Request, Road, Traffic};
use crate::limits::{CARRIES_PER_TURN, FRAME_PAYLOAD_MAX, PIECES_PER_TURN};
use crate::outbox::{Class, Letter};
use crate::status::Counter;
use crate::time::Instant;
use crate::wire::guard;
use crate::wire::message::Message;
use crate::wire::node::{Group, Message as Word};

/// An output of the classes above sessions.
enum Urgent {
    /// To whom; its length in the buffer; its class.
    Datagram(HostId, usize, Traffic),
    Guard(guard::Message),
    Device(Request),
}

impl Engine {
    /// The next output; `Deadline` when there is no more.
    pub fn poll(&mut self, now: Instant) -> Output<'_> {
        let now = now.max(self.newest);
        if let Some(urgent) = self.next_urgent(now) {
            return self.show(urgent);
        }
        if let Some((road, length)) = self.next_word(now, Class::Sessions) {
            return Output::Session { road, bytes: &self.frame[..length] };
        }
        if let Some((to, length)) = self.next_carrier(now) {
            return Output::Datagram { to, traffic: Traffic::Messages, bytes: &self.datagram[..length] };
        }
        let word = self.next_parcel().or_else(|| self.next_word(now, Class::Messages));
        if let Some((road, length)) = word.or_else(|| self.next_word(now, Class::Queries)) {
            return Output::Session { road, bytes: &self.frame[..length] };
        }
        // A connection ends after all that was to be said on it.
        if let Some(connection) = self.outbox.next_close() {
            return Output::Close { connection };
        }
        if self.courier.is_busy() || self.messaging.senders.is_busy() {
            self.deadline = now;
        }
        Output::Deadline(self.deadline.max(now))
    }

    /// The same of the classes above sessions alone. `Deadline` says now while anything below waits: `poll` lets it out.
    pub fn poll_urgent(&mut self, now: Instant) -> Output<'_> {
        let now = now.max(self.newest);
        if let Some(urgent) = self.next_urgent(now) {
            return self.show(urgent);
        }
        if self.courier.is_busy() || self.messaging.is_busy() || self.outbox.holds_words() {
            self.deadline = now;
        }
        Output::Deadline(self.deadline.max(now))
    }

    fn next_urgent(&mut self, now: Instant) -> Option<Urgent> {
        let datagram = self.next_datagram(now).map(|(to, length, traffic)| Urgent::Datagram(to, length, traffic));
        let guard = || self.outbox.next_guard().map(Urgent::Guard);
        datagram.or_else(guard).or_else(|| self.outbox.next_request().map(Urgent::Device))
    }

    fn show(&mut self, urgent: Urgent) -> Output<'_> {
        match urgent {
            Urgent::Datagram(to, length, traffic) => Output::Datagram { to, traffic, bytes: &self.datagram[..length] },
            Urgent::Guard(message) => {
                self.guard_sequence = self.guard_sequence.wrapping_add(1);
                Output::Guard { bytes: message.frame(self.guard_sequence).emit(&mut self.frame) }
            }
            Urgent::Device(request) => Output::Device(request),
        }
    }

    /// The next datagram of the classes above sessions, sealed. What is for ourselves is taken in at once.
    fn next_datagram(&mut self, now: Instant) -> Option<(HostId, usize, Traffic)> {
        loop {
            let first = self.outbox.next_letter(Class::Heartbeat).or_else(|| self.outbox.next_letter(Class::State));
            if first.is_none()
                && let Some(piece) = self.next_piece()
            {
                return Some(piece);
            }
            let letter = first.or_else(|| self.outbox.next_letter(Class::Fencing))?;
            if letter.to == self.me {
                self.on_message(now, self.me, self.incarnation, &letter.message, &[]);
                self.tick(now);
            } else if let Some(length) = self.seal(&letter) {
                return Some((letter.to, length, letter.message.traffic()));
            }
        }
    }

    fn seal(&mut self, letter: &Letter) -> Option<usize> {
        let bytes = self.peers.seal(letter.to, letter.receiver, &letter.message, &[], &mut self.datagram)?;
        let length = bytes.len();
        self.count(Counter::DatagramsSent);
        Some(length)
    }

    /// The courier's next piece, sealed.
    fn next_piece(&mut self) -> Option<(HostId, usize, Traffic)> {
        while self.pieces < PIECES_PER_TURN {
            let (to, message, bytes) =
                self.courier.next(&self.acceptor.encoded, &self.acceptor.delta, self.acceptor.slot)?;
            self.pieces += 1;
            if let Some(sealed) = self.peers.seal(to, None, &message, bytes, &mut self.datagram) {
                let length = sealed.len();
                self.count(Counter::DatagramsSent);
                return Some((to, length, message.traffic()));
            }
        }
        None
    }

    /// The next frame of a class, made.
    fn next_word(&mut self, now: Instant, class: Class) -> Option<(Road, usize)> {
        loop {
            let word = self.outbox.next_word(class)?;
            let mut payload = [0; FRAME_PAYLOAD_MAX];
            let Some((message, length)) = self.fill(now, &word.message, &mut payload) else { continue };
            let emitted = self.sessions.emit(word.road, &message, &payload[..length], &mut self.frame);
            if let Some(length) = emitted {
                return Some((word.road, length));
            }
        }
    }

    /// The next message for a session, made. Of a session that is over nothing is left to say.
    fn next_parcel(&mut self) -> Option<(Road, usize)> {
        loop {
            let parcel = self.messaging.next_parcel()?;
            if parcel.session != self.sessions.get(parcel.road).id {
                continue;
            }
            let word = Word::Mail(parcel.mail);
            if let Some(length) = self.sessions.emit(parcel.road, &word, &parcel.bytes, &mut self.frame) {
                return Some((parcel.road, length));
            }
        }
    }

    /// The next datagram about messages, sealed: answers first, they make room. A receiver on this host hears it at once.
    fn next_carrier(&mut self, now: Instant) -> Option<(HostId, usize)> {
        loop {
            if let Some(letter) = self.outbox.next_letter(Class::Messages) {
                if letter.to == self.me {
                    self.on_message(now, self.me, self.incarnation, &letter.message, &[]);
                    self.tick(now);
                } else if let Some(length) = self.seal(&letter) {
                    return Some((letter.to, length));
                }
                continue;
            }
            if self.carried >= CARRIES_PER_TURN {
                return None;
            }
            self.carried += 1;
            let (said, bytes) = self.messaging.next()?;
            let (to, message) = (said.to, Message::Stream(said.stream));
            if to.host == self.me {
                let mut copy = [0; FRAME_PAYLOAD_MAX];
                let copy = &mut copy[..bytes.len()];
                copy.copy_from_slice(bytes);
                self.on_message(now, self.me, self.incarnation, &message, copy);
                self.tick(now);
            } else if let Some(sealed) =
                self.peers.seal(to.host, Some(to.appliance), &message, bytes, &mut self.datagram)
            {
                let length = sealed.len();
                self.count(Counter::DatagramsSent);
                return Some((to.host, length));
            }
        }
    }

    /// A message for sessions whose payload is made when it leaves. `None`: it says nothing any more.
    fn fill(&self, now: Instant, message: &Word, payload: &mut [u8; FRAME_PAYLOAD_MAX]) -> Option<(Word, usize)> {
        Some(match *message {
            Word::View { part, .. } => self.view_part(part, payload),
            Word::StatusPart { section, first, .. } => self.status_part(now, section, first, payload),
            Word::Group(Group::Start { volume, generation, part, .. }) => {
                (*message, self.start_part(volume, generation, part, payload)?)
            }
            other => (other, 0),
        })
    }
}
