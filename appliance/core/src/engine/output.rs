//! What leaves, and in which order: strictly by class, heartbeat > state > fencing > sessions > messages > queries.
//!
//! Owns the order alone. Each call of `poll` begins at the top again, so what a higher class has to say never waits behind
//! more than the one output that the driver is carrying out (DESIGN §1 rule 3).

use super::Engine;
use crate::id::HostId;
use crate::io::{Output, Traffic};
use crate::limits::{FRAME_PAYLOAD_MAX, PIECES_PER_TURN};
use crate::outbox::{Class, Letter};
use crate::status::Counter;
use crate::time::Instant;
use crate::wire::node::{Group, Message as Word};

impl Engine {
    /// The next output; `Deadline` when there is no more.
    pub fn poll(&mut self, now: Instant) -> Output<'_> {
        if let Some((to, length, traffic)) = self.next_datagram(now) {
            return Output::Datagram { to, traffic, bytes: &self.datagram[..length] };
        }
        if let Some(message) = self.outbox.next_guard() {
            self.guard_sequence = self.guard_sequence.wrapping_add(1);
            let bytes = message.frame(self.guard_sequence).emit(&mut self.frame);
            return Output::Guard { bytes };
        }
        if let Some(request) = self.outbox.next_request() {
            return Output::Device(request);
        }
        for class in [Class::Sessions, Class::Messages, Class::Queries] {
            while let Some(word) = self.outbox.next_word(class) {
                let mut payload = [0; FRAME_PAYLOAD_MAX];
                let Some((message, length)) = self.fill(now, &word.message, &mut payload) else { continue };
                let emitted = self.sessions.emit(word.road, &message, &payload[..length], &mut self.frame);
                if let Some(length) = emitted {
                    return Output::Session { road: word.road, bytes: &self.frame[..length] };
                }
            }
        }
        // A connection ends after all that was to be said on it.
        if let Some(connection) = self.outbox.next_close() {
            return Output::Close { connection };
        }
        if self.courier.is_busy() {
            self.deadline = now;
        }
        Output::Deadline(self.deadline.max(now))
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
