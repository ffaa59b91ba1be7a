//! The sender's half: what local nodes have under way.
//!
//! Owns the streams from this host, what each local sender and receiver have counted together, and when which stream carries
//! again. A stream's messages go back to the first one that is not acknowledged (go-back-n): the other half keeps none.
//!
//! *Room.* A sender's places are shared by its streams, but a stream with nothing under way always finds one: so a receiver
//! that does not read holds at most `STREAM_WINDOW` places, and blocks only its own streams.
//!
//! *Epochs.* A sender does not wait for an answer before it sends the next message. So when a stream ends, or a message is
//! refused, later ones may be on their way already, and must not be taken for the beginning of the next stream. After GONE a
//! SEND has to name the new epoch; after BUSY it has to be the very number that was refused.

use super::mailbox::Mailbox;
use super::outgoing::{Outgoing, Pair};
use super::{Endpoint, Peer, Said};
use crate::id::{Incarnation, NodeId};
use crate::limits::{
    CARRY_AGAIN_MAX_MS, ENDPOINTS_MAX, ID_SLOTS, MAILBOX, RESEND_MS, STREAM_SILENCE_MS, STREAM_WINDOW, STREAMS_MAX,
    STREAMS_OF_SENDER,
};
use crate::rule::{Rule, Rules};
use crate::time::{Duration, Instant};
use crate::wire::message::{Ends, Stream};
use crate::wire::node::Mail;
use heapless::Deque;

const AGAIN_MIN: Duration = Duration::from_millis(RESEND_MS as u64);
const AGAIN_MAX: Duration = Duration::from_millis(CARRY_AGAIN_MAX_MS as u64);
const SILENCE: Duration = Duration::from_millis(STREAM_SILENCE_MS as u64);
/// A stream's number holds its place in its low bits.
const PLACE_BITS: u32 = 16;
const _: () = assert!(STREAMS_MAX < 1 << PLACE_BITS);

/// Where a stream has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The node is there.
    To(Peer, Incarnation),
    /// Its appliance is not known yet.
    Unknown,
    /// The node is no member.
    Nowhere,
}

/// Why a SEND was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing new: it is under way.
    Again,
    /// Answer this.
    Answer(Mail),
    /// It makes no sense.
    Bad,
}

/// All streams from this host.
#[derive(Debug)]
pub struct Senders {
    pairs: [[Pair; ID_SLOTS]; ENDPOINTS_MAX],
    streams: [[Outgoing; STREAMS_OF_SENDER]; ENDPOINTS_MAX],
    mailboxes: [Mailbox; ENDPOINTS_MAX],
    /// Streams that have something to carry, in the order in which they take turns.
    ready: Deque<(u8, u8), STREAMS_MAX>,
    /// Counts the streams.
    count: u64,
    /// No stream is due before.
    timer: Instant,
    /// Which rules hold.
    pub rules: Rules,
}

impl Senders {
    /// No streams; all zero.
    pub const EMPTY: Self = Self {
        pairs: [[Pair::NEW; ID_SLOTS]; ENDPOINTS_MAX],
        streams: [[Outgoing::NONE; STREAMS_OF_SENDER]; ENDPOINTS_MAX],
        mailboxes: [const { Mailbox::EMPTY }; ENDPOINTS_MAX],
        ready: Deque::new(),
        count: 0,
        timer: Instant::ZERO,
        rules: Rules::ALL,
    };

    /// A local end begins anew: it has counted nothing, and what was under way is not carried again.
    pub fn forget(&mut self, endpoint: usize) {
        self.pairs[endpoint] = [Pair::NEW; ID_SLOTS];
        for stream in &mut self.streams[endpoint] {
            *stream = Outgoing { queued: stream.queued, ..Outgoing::NONE };
        }
        self.mailboxes[endpoint] = Mailbox::EMPTY;
    }

    /// A local sender wants something brought to a node.
    ///
    /// # Errors
    /// It was not taken.
    pub fn send(
        &mut self,
        now: Instant,
        endpoint: usize,
        (to, epoch, number): (NodeId, u32, u64),
        bytes: &[u8],
        route: Route,
    ) -> Result<(), Refused> {
        let busy = Err(Refused::Answer(Mail::Busy { to, number }));
        self.is_next(endpoint, to, epoch, number)?;
        let pair = self.pairs[endpoint][to.index()];
        if !self.rules.holds(Rule::I2) {
            self.follow(endpoint, pair, route);
        }
        if self.moved(endpoint, pair, route) || (pair.stream == 0 && route == Route::Nowhere) {
            return Err(Refused::Answer(self.end(endpoint, to)));
        }
        if pair.stream == 0 && !self.begin(now, endpoint, to, number, route) {
            self.await_number(endpoint, to, number);
            return busy;
        }
        let place = usize::from(self.pairs[endpoint][to.index()].stream - 1);
        if !self.has_room(endpoint, place) {
            return busy;
        }
        let Some(kept) = self.mailboxes[endpoint].keep(bytes) else { return busy };
        let stream = &mut self.streams[endpoint][place];
        if !stream.waits() {
            stream.heard = now;
            stream.carry_at = now + AGAIN_MIN;
        }
        stream.places[Outgoing::place(number)] = kept;
        stream.next = number + 1;
        stream.used = now;
        self.timer = self.timer.min(stream.carry_at);
        self.queue(endpoint, place);
        Ok(())
    }

    /// What to make of a SEND that is not the next one between these two.
    fn is_next(&self, endpoint: usize, to: NodeId, epoch: u32, number: u64) -> Result<(), Refused> {
        let pair = &self.pairs[endpoint][to.index()];
        if epoch != pair.epoch {
            return Err(Refused::Answer(Mail::Gone { to, epoch: pair.epoch, number: pair.acked }));
        }
        if number == 0 || number == u64::MAX {
            return Err(Refused::Bad);
        }
        if number <= pair.acked {
            return Err(Refused::Answer(Mail::Ack { peer: to, number: pair.acked, stream: 0 }));
        }
        let expected = match pair.stream {
            0 if pair.expected == 0 => number,
            0 => pair.expected,
            place => self.streams[endpoint][usize::from(place - 1)].next,
        };
        match number.cmp(&expected) {
            core::cmp::Ordering::Equal => Ok(()),
            core::cmp::Ordering::Greater => Err(Refused::Answer(Mail::Busy { to, number })),
            core::cmp::Ordering::Less if pair.stream != 0 => Err(Refused::Again),
            core::cmp::Ordering::Less => Err(Refused::Bad),
        }
    }

    /// Whether a SEND is the next one between these two.
    #[must_use]
    pub fn expects(&self, endpoint: usize, to: NodeId, epoch: u32, number: u64) -> bool {
        self.is_next(endpoint, to, epoch, number).is_ok()
    }

    /// There is too much of this SEND, whatever it says: what to answer, if anything. One that was taken before is not
    /// refused, only passed over; after one that is refused none may begin a stream.
    pub fn refuse(&mut self, endpoint: usize, to: NodeId, epoch: u32, number: u64) -> Option<Mail> {
        match self.is_next(endpoint, to, epoch, number) {
            Ok(()) => {
                self.await_number(endpoint, to, number);
                Some(Mail::Busy { to, number })
            }
            Err(Refused::Answer(mail)) => Some(mail),
            Err(Refused::Again | Refused::Bad) => None,
        }
    }

    fn await_number(&mut self, endpoint: usize, to: NodeId, number: u64) {
        let pair = &mut self.pairs[endpoint][to.index()];
        if pair.stream == 0 {
            pair.expected = number;
        }
    }

    /// The stream that there is goes to somebody who is not there any more.
    fn moved(&self, endpoint: usize, pair: Pair, route: Route) -> bool {
        let Some(place) = pair.stream.checked_sub(1) else { return false };
        let stream = &self.streams[endpoint][usize::from(place)];
        match route {
            Route::To(peer, receiver) => stream.peer() != peer || stream.receiver != receiver,
            Route::Unknown => false,
            Route::Nowhere => true,
        }
    }

    /// The stream goes on to whoever is there now, and what was not acknowledged is carried again: what rule I2 forbids.
    fn follow(&mut self, endpoint: usize, pair: Pair, route: Route) {
        let (Some(place), Route::To(peer, receiver)) = (pair.stream.checked_sub(1), route) else { return };
        let stream = &mut self.streams[endpoint][usize::from(place)];
        if stream.peer() != peer {
            let (host, appliance, first) = (peer.host, peer.appliance, stream.acked + 1);
            *stream = Outgoing { host, appliance, receiver, token: 0, first, sent: stream.acked, ..*stream };
        }
    }

    /// Begins a stream, in the place of one that is idle if need be. `false`: there is no place, or no way yet.
    fn begin(&mut self, now: Instant, endpoint: usize, to: NodeId, first: u64, route: Route) -> bool {
        let Route::To(peer, receiver) = route else { return false };
        let streams = &mut self.streams[endpoint];
        let idle = streams.iter().enumerate().filter(|(_, stream)| !stream.waits());
        // One that never was has `used` zero and is taken first.
        let Some(place) = idle.min_by_key(|(_, stream)| (stream.stream != 0, stream.used)).map(|(at, _)| at) else {
            return false;
        };
        let old = streams[place];
        if old.stream != 0 {
            let pair = &mut self.pairs[endpoint][old.to.index()];
            pair.stream = 0;
            pair.expected = old.next;
        }
        self.count += 1;
        let at = u64::try_from(endpoint * STREAMS_OF_SENDER + place).unwrap_or(0);
        streams[place] = Outgoing {
            stream: self.count << PLACE_BITS | at,
            to,
            host: peer.host,
            appliance: peer.appliance,
            receiver,
            acked: first - 1,
            sent: first - 1,
            next: first,
            first,
            carry_at: now,
            pause: AGAIN_MIN,
            heard: now,
            used: now,
            queued: old.queued,
            ..Outgoing::NONE
        };
        self.timer = self.timer.min(now);
        self.pairs[endpoint][to.index()].stream = u8::try_from(place + 1).unwrap_or(0);
        true
    }

    fn has_room(&self, endpoint: usize, place: usize) -> bool {
        let streams = &self.streams[endpoint];
        let load = streams[place].load();
        let free = self.mailboxes[endpoint].room();
        if load == 0 {
            return free > 0;
        }
        let lazy = streams.iter().filter(|stream| stream.load() == 0).count();
        load < STREAM_WINDOW && free > lazy
    }

    fn queue(&mut self, endpoint: usize, place: usize) {
        let stream = &mut self.streams[endpoint][place];
        let (Ok(e), Ok(p)) = (u8::try_from(endpoint), u8::try_from(place)) else { return };
        if !stream.queued {
            stream.queued = true;
            let fits = self.ready.push_back((e, p)).is_ok();
            assert!(fits, "each stream waits once");
        }
    }

    /// Ends the stream to a node, or just begins a new epoch: what the sender is to be told.
    pub fn end(&mut self, endpoint: usize, to: NodeId) -> Mail {
        let pair = &mut self.pairs[endpoint][to.index()];
        if let Some(place) = pair.stream.checked_sub(1) {
            let stream = &mut self.streams[endpoint][usize::from(place)];
            for number in stream.acked + 1..stream.next {
                self.mailboxes[endpoint].free(stream.places[Outgoing::place(number)]);
            }
            *stream = Outgoing { queued: stream.queued, ..Outgoing::NONE };
        }
        pair.end();
        Mail::Gone { to, epoch: pair.epoch, number: pair.acked }
    }

    /// The stream with this number, if it goes to that appliance.
    fn find(&self, stream: u64, peer: Peer) -> Option<(usize, usize)> {
        let at = usize::try_from(stream & ((1 << PLACE_BITS) - 1)).ok()?;
        let (endpoint, place) = (at / STREAMS_OF_SENDER, at % STREAMS_OF_SENDER);
        let found = self.streams.get(endpoint)?.get(place)?;
        (stream != 0 && found.stream == stream && found.peer() == peer).then_some((endpoint, place))
    }

    /// The other half says that it has taken all up to a number, or that it draws this token. Whom to tell what.
    pub fn acked(&mut self, now: Instant, peer: Peer, stream: u64, token: u64, number: u64) -> Option<(usize, Mail)> {
        let (endpoint, place) = self.find(stream, peer)?;
        let found = &mut self.streams[endpoint][place];
        if found.token != 0 && found.token != token {
            // The receiver began anew, and may or may not have what was carried before.
            let to = found.to;
            return Some((endpoint, self.end(endpoint, to)));
        }
        if number >= found.next || token == 0 {
            return None;
        }
        found.heard = now;
        if found.token == 0 {
            found.token = token;
            found.sent = found.acked;
            found.pause = AGAIN_MIN;
            found.carry_at = now + AGAIN_MIN;
            self.queue(endpoint, place);
        }
        let found = &mut self.streams[endpoint][place];
        if number <= found.acked {
            return None;
        }
        for done in found.acked + 1..=number {
            self.mailboxes[endpoint].free(found.places[Outgoing::place(done)]);
        }
        found.acked = number;
        found.sent = found.sent.max(number);
        found.pause = AGAIN_MIN;
        found.carry_at = now + AGAIN_MIN;
        self.timer = self.timer.min(found.carry_at);
        let to = found.to;
        self.pairs[endpoint][to.index()].acked = number;
        Some((endpoint, Mail::Ack { peer: to, number, stream: 0 }))
    }

    /// The other half says that there is no such stream. Whom to tell what.
    pub fn over(&mut self, peer: Peer, stream: u64) -> Option<(usize, Mail)> {
        let (endpoint, place) = self.find(stream, peer)?;
        let to = self.streams[endpoint][place].to;
        Some((endpoint, self.end(endpoint, to)))
    }

    /// Ends every stream that does not stand any more; the engine tells the senders.
    pub fn judge(
        &mut self,
        mut stands: impl FnMut(usize, NodeId, Peer, Incarnation) -> bool,
        mut tell: impl FnMut(usize, Mail),
    ) {
        for endpoint in 0..ENDPOINTS_MAX {
            for place in 0..STREAMS_OF_SENDER {
                let stream = self.streams[endpoint][place];
                if stream.stream != 0 && !stands(endpoint, stream.to, stream.peer(), stream.receiver) {
                    tell(endpoint, self.end(endpoint, stream.to));
                }
            }
        }
    }

    /// What is due: streams that nobody answers go back to what was not acknowledged, or end. When to look again.
    pub fn tick(&mut self, now: Instant, mut tell: impl FnMut(usize, Mail)) -> Instant {
        if now < self.timer {
            return self.timer;
        }
        let mut next = Instant::FAR;
        for endpoint in 0..ENDPOINTS_MAX {
            for place in 0..STREAMS_OF_SENDER {
                let stream = &mut self.streams[endpoint][place];
                if !stream.waits() {
                    continue;
                }
                if now.since(stream.heard) >= SILENCE {
                    let to = stream.to;
                    tell(endpoint, self.end(endpoint, to));
                    continue;
                }
                if now >= stream.carry_at {
                    stream.sent = stream.acked;
                    stream.carry_at = now + stream.pause;
                    stream.pause = (stream.pause + stream.pause).min(AGAIN_MAX);
                    self.queue(endpoint, place);
                }
                next = next.min(self.streams[endpoint][place].carry_at);
            }
        }
        self.timer = next;
        next
    }

    /// Whether anything waits to be carried.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next thing to say to another appliance, and the bytes that it carries.
    pub fn next(&mut self, endpoints: &[Endpoint; ENDPOINTS_MAX]) -> Option<(Said, &[u8])> {
        // Each round takes one out or says something.
        for _ in 0..STREAMS_MAX {
            let (e, p) = self.ready.pop_front()?;
            let (endpoint, place) = (usize::from(e), usize::from(p));
            let stream = &mut self.streams[endpoint][place];
            stream.queued = false;
            if stream.stream == 0 {
                continue;
            }
            let ends = Ends { from: endpoints[endpoint].node, to: stream.to, user: endpoint >= ENDPOINTS_MAX / 2 };
            let (to, number) = (stream.peer(), stream.stream);
            if stream.token == 0 {
                let (sender, receiver, first) = (endpoints[endpoint].incarnation, stream.receiver, stream.first);
                return Some((
                    Said { to, stream: Stream::Open { stream: number, ends, sender, receiver, first } },
                    &[],
                ));
            }
            if stream.sent + 1 >= stream.next {
                continue;
            }
            stream.sent += 1;
            let (token, sent) = (stream.token, stream.sent);
            let kept = stream.places[Outgoing::place(sent)];
            if sent + 1 < stream.next {
                self.queue(endpoint, place);
            }
            let said = Said { to, stream: Stream::Carry { stream: number, token, ends, number: sent } };
            return Some((said, self.mailboxes[endpoint].get(kept)));
        }
        None
    }

    /// Whether no more is under way than there is room for; for the simulator.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.streams.iter().zip(&self.mailboxes).all(|(streams, mailbox)| {
            let load: usize = streams.iter().map(Outgoing::load).sum();
            let lazy = streams.iter().filter(|stream| stream.load() == 0).count();
            load + mailbox.room() == MAILBOX && mailbox.room() >= lazy
        })
    }
}

#[cfg(test)]
mod tests;
