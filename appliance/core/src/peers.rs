//! Who the other appliances are at this moment: incarnations, keys, sequences, replay windows.
//!
//! Owns what SAFETY A7 asks for. An incarnation is learned only by a nonce exchange that we began, so a recording of a
//! dead one never brings it back; every other datagram names our own incarnation, or is dropped. Nothing that fails is
//! answered. Costs O(1) for a datagram; unknown peers are asked with a growing pause.
//!
//! ```text
//! unknown --HELLO(nonce)--> ... <--ANSWER(nonce)-- known(incarnation)
//!    ^                                                 | a HELLO of another incarnation: ask again, keep the old
//!    +-------------------------------------------------+
//! ```

use crate::config::Config;
use crate::entropy::Entropy;
use crate::id::{HostId, Incarnation};
use crate::limits::{DATAGRAM_MAX, HEARTBEAT_MS, ID_SLOTS, REPLAY_WINDOW, RESEND_MS};
use crate::status::Counter;
use crate::time::{Duration, Instant};
use crate::wire::datagram::{Head, MESSAGE_MAX, SenderKey};
use crate::wire::message::Message;

/// What we know of one peer.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// It is in the configuration.
    configured: bool,
    /// Its incarnation; zero: not learned yet.
    incarnation: Incarnation,
    key: SenderKey,
    /// Bit i: sequence `newest - i` was taken.
    window: u128,
    newest: u64,
    /// Our own count towards it.
    sent: u64,
    /// The open question; zero: none.
    nonce: u64,
    /// We want to know who it is now.
    asking: bool,
    /// When it was asked last, and the pause before the next question.
    asked: Instant,
    pause: Duration,
    /// When it last said something that verified.
    heard: Option<Instant>,
}

impl Peer {
    const NONE: Self = Self {
        configured: false,
        incarnation: 0,
        key: SenderKey::NONE,
        window: 0,
        newest: 0,
        sent: 0,
        nonce: 0,
        asking: false,
        asked: Instant::ZERO,
        pause: Duration::ZERO,
        heard: None,
    };

    /// Whether this sequence was taken before, or is too old to tell.
    const fn was_taken(&self, sequence: u64) -> bool {
        let age = self.newest.saturating_sub(sequence);
        sequence == 0 || age >= REPLAY_WINDOW || (sequence <= self.newest && self.window >> age & 1 == 1)
    }

    /// Whether this sequence is new; marks it. Overtaken ones count once within the window.
    const fn take(&mut self, sequence: u64) -> bool {
        if self.was_taken(sequence) {
            return false;
        }
        if sequence > self.newest {
            let shift = sequence - self.newest;
            self.window = if shift >= REPLAY_WINDOW { 1 } else { self.window << shift | 1 };
            self.newest = sequence;
        } else {
            self.window |= 1 << (self.newest - sequence);
        }
        true
    }
}

const _: () = assert!(REPLAY_WINDOW == 128, "the window is a u128");

/// A datagram that verified.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'b> {
    /// Who sent it.
    pub from: HostId,
    /// As which incarnation.
    pub incarnation: Incarnation,
    /// The message in the clear.
    pub text: &'b [u8],
}

/// All peers of one appliance.
#[derive(Debug)]
pub struct Peers {
    me: HostId,
    incarnation: Incarnation,
    key: SenderKey,
    peers: [Peer; ID_SLOTS],
    /// When the next question may be due; the origin: somebody is to be asked for the first time.
    next_at: Instant,
}

/// Longest pause between two questions to a peer that does not answer.
const PAUSE_MAX: Duration = Duration::from_millis(10 * HEARTBEAT_MS as u64);
/// The first one.
const PAUSE_MIN: Duration = Duration::from_millis(RESEND_MS as u64);

impl Peers {
    /// Nobody; all zero.
    pub const EMPTY: Self = Self {
        me: HostId::NONE,
        incarnation: 0,
        key: SenderKey::NONE,
        peers: [Peer::NONE; ID_SLOTS],
        next_at: Instant::ZERO,
    };

    /// Starts as `me` under a fresh incarnation, and asks every configured peer.
    pub fn start(&mut self, config: &Config, me: HostId, incarnation: Incarnation) {
        self.me = me;
        self.incarnation = incarnation;
        self.key = SenderKey::derive(&config.secret.0, &config.name, me, incarnation);
        for host in config.hosts.iter().filter(|host| host.id != me.get()) {
            let peer = &mut self.peers[usize::from(host.id)];
            peer.configured = true;
            peer.asking = true;
        }
    }

    /// The incarnation of a peer, if it was learned.
    #[must_use]
    pub fn incarnation(&self, host: HostId) -> Option<Incarnation> {
        if host == self.me {
            return Some(self.incarnation);
        }
        Some(self.peers[host.index()].incarnation).filter(|&incarnation| incarnation != 0)
    }

    /// When a peer last said something that verified.
    #[must_use]
    pub fn heard(&self, host: HostId) -> Option<Instant> {
        self.peers[host.index()].heard
    }

    /// Seals a message for a peer. `None`: its incarnation is not known, and the message is no HELLO.
    pub fn seal<'b>(
        &mut self,
        to: HostId,
        receiver: Option<Incarnation>,
        message: &Message,
        piece: &[u8],
        buffer: &'b mut [u8; DATAGRAM_MAX],
    ) -> Option<&'b [u8]> {
        let peer = &mut self.peers[to.index()];
        let hello = matches!(message, Message::Hello { .. });
        let receiver = if hello { 0 } else { receiver.unwrap_or(peer.incarnation) };
        if !peer.configured || (receiver == 0 && !hello) {
            return None;
        }
        peer.sent += 1;
        let head = Head { from: self.me, to, sender: self.incarnation, receiver, sequence: peer.sent };
        Some(head.seal(&self.key, buffer, |place| message.emit(place, piece)))
    }

    /// Verifies a datagram.
    ///
    /// # Errors
    /// The counter under which it is dropped.
    pub fn open<'b>(
        &mut self,
        now: Instant,
        config: &Config,
        bytes: &[u8],
        buffer: &'b mut [u8; MESSAGE_MAX],
    ) -> Result<Opened<'b>, Counter> {
        let head = Head::parse(bytes).map_err(|_| Counter::DatagramsShort)?;
        let peer = &mut self.peers[head.from.index()];
        if head.to != self.me || !peer.configured || head.sender == 0 {
            return Err(Counter::DatagramsForeign);
        }
        let known = head.sender == peer.incarnation;
        if head.receiver != self.incarnation && head.receiver != 0 {
            return Err(Counter::DatagramsStale);
        }
        // Each datagram comes once on every link: the copies cost no deciphering. What claims a sequence that was taken
        // is dropped whoever sent it.
        if known && head.receiver != 0 && peer.was_taken(head.sequence) {
            return Err(Counter::DatagramsReplayed);
        }
        let key =
            if known { peer.key } else { SenderKey::derive(&config.secret.0, &config.name, head.from, head.sender) };
        let text = head.open(&key, bytes, buffer).map_err(|_| Counter::DatagramsForeign)?;
        let (message, _) = Message::parse(text).map_err(|_| Counter::DatagramsUnsound)?;
        match message {
            // Not fresh by itself, so it proves nothing and changes nothing but that we ask in turn.
            Message::Hello { .. } => {
                if !known {
                    peer.asking = true;
                    peer.pause = PAUSE_MIN;
                    self.next_at = Instant::ZERO;
                }
            }
            Message::HelloAnswer { nonce } if head.receiver != 0 => {
                if nonce == 0 || nonce != peer.nonce {
                    return Err(Counter::DatagramsReplayed);
                }
                peer.nonce = 0;
                peer.asking = false;
                if !known {
                    let sent = peer.sent;
                    *peer = Peer { configured: true, incarnation: head.sender, key, sent, ..Peer::NONE };
                }
                let _ = peer.take(head.sequence);
                peer.heard = Some(now);
            }
            _ if !known || head.receiver == 0 => return Err(Counter::DatagramsStale),
            _ => {
                if !peer.take(head.sequence) {
                    return Err(Counter::DatagramsReplayed);
                }
                peer.heard = Some(now);
            }
        }
        Ok(Opened { from: head.from, incarnation: head.sender, text })
    }

    /// The peers that are to be asked who they are now, and the nonces; and when to look again: a turn at which nobody is
    /// to be asked does not look at all of them.
    pub fn questions(&mut self, now: Instant, entropy: &mut Entropy, mut ask: impl FnMut(HostId, u64)) -> Instant {
        if now < self.next_at {
            return self.next_at;
        }
        let mut next = Instant::FAR;
        for (number, peer) in (0..=u8::MAX).zip(&mut self.peers) {
            if !peer.asking {
                continue;
            }
            if peer.nonce == 0 || now >= peer.asked + peer.pause {
                if peer.nonce == 0 {
                    peer.nonce = entropy.next();
                }
                peer.pause = (peer.pause + peer.pause).max(PAUSE_MIN).min(PAUSE_MAX);
                peer.asked = now;
                ask(HostId::new(number), peer.nonce);
            }
            next = next.min(peer.asked + peer.pause);
        }
        self.next_at = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    struct Side {
        peers: Box<Peers>,
        entropy: Entropy,
        host: HostId,
    }

    fn config() -> Box<Config> {
        let mut config = Box::new(Config::new());
        config.secret.0 = [7; 32];
        for id in [1, 2] {
            let host = crate::config::Host {
                id,
                name: crate::config::Name::new(),
                vote: true,
                links: heapless::Vec::new(),
                management: None,
                cid: 0,
                levels: heapless::Vec::new(),
                race: false,
                trust_lease: false,
                disabled: false,
            };
            assert!(config.hosts.push(host).is_ok());
        }
        config
    }

    fn side(config: &Config, host: u8, incarnation: u64) -> Side {
        let mut peers = Box::new(Peers::EMPTY);
        peers.start(config, HostId::new(host), incarnation);
        let mut entropy = Entropy::UNKEYED;
        entropy.key([host; 32]);
        Side { peers, entropy, host: HostId::new(host) }
    }

    fn send(side: &mut Side, to: HostId, message: &Message) -> Option<std::vec::Vec<u8>> {
        let mut buffer = [0; DATAGRAM_MAX];
        side.peers.seal(to, None, message, &[], &mut buffer).map(<[u8]>::to_vec)
    }

    fn take(side: &mut Side, config: &Config, bytes: &[u8]) -> Result<Message, Counter> {
        let mut buffer = [0; MESSAGE_MAX];
        let opened = side.peers.open(Instant::from_micros(1), config, bytes, &mut buffer)?;
        Message::parse(opened.text).map(|(message, _)| message).map_err(|_| Counter::DatagramsUnsound)
    }

    fn ask(number: u32) -> Message {
        Message::Ask { number, promised: crate::id::Ballot::NONE }
    }

    /// `who` learns who `whom` is.
    fn learn(config: &Config, who: &mut Side, whom: &mut Side) {
        let mut nonce = 0;
        who.peers.questions(Instant::from_micros(1), &mut who.entropy, |_, n| nonce = n);
        let hello = send(who, whom.host, &Message::Hello { nonce }).expect("a hello needs no incarnation");
        assert!(take(whom, config, &hello).is_ok());
        let receiver = who.peers.incarnation;
        let mut buffer = [0; DATAGRAM_MAX];
        let answer = whom.peers.seal(who.host, Some(receiver), &Message::HelloAnswer { nonce }, &[], &mut buffer);
        let answer = answer.expect("the receiver is named").to_vec();
        assert!(take(who, config, &answer).is_ok());
        assert_eq!(take(who, config, &answer), Err(Counter::DatagramsReplayed), "an answer counts once");
    }

    #[test]
    fn a_recording_of_a_dead_incarnation_revives_nobody() {
        let config = config();
        let (mut a, mut b) = (side(&config, 1, 11), side(&config, 2, 22));
        assert!(send(&mut a, HostId::new(2), &ask(1)).is_none(), "nobody known, nothing to say");
        learn(&config, &mut a, &mut b);
        learn(&config, &mut b, &mut a);
        let asked = send(&mut b, a.host, &ask(1)).expect("known by now");
        assert_eq!(take(&mut a, &config, &asked), Ok(ask(1)));
        assert_eq!(take(&mut a, &config, &asked), Err(Counter::DatagramsReplayed));

        let late = send(&mut b, a.host, &ask(2)).expect("known");
        let mut restarted = side(&config, 1, 12);
        assert_eq!(take(&mut restarted, &config, &late), Err(Counter::DatagramsStale), "it names the dead receiver");

        let mut reborn = side(&config, 2, 23);
        learn(&config, &mut reborn, &mut a);
        learn(&config, &mut a, &mut reborn);
        assert_eq!(a.peers.incarnation(HostId::new(2)), Some(23));
        assert_eq!(take(&mut a, &config, &late), Err(Counter::DatagramsStale), "its sender is over");
        assert_eq!(a.peers.incarnation(HostId::new(2)), Some(23));
    }

    #[test]
    fn overtaken_datagrams_count_once_within_the_window() {
        let mut peer = Peer::NONE;
        assert!(peer.take(200) && peer.take(199) && peer.take(73));
        assert!(!peer.take(199) && !peer.take(72) && !peer.take(0));
        assert!(peer.take(1000) && !peer.take(200));
    }
}
