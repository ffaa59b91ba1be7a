//! Messages between guests: a shim's half of them, and what is true about them.
//!
//! Owns a model of a shim that speaks as docs/PROTOCOL.md tells it to, and the checker of SAFETY I2, which knows what was
//! sent and what came. Each message has a name of its own and is sent in one epoch of one session only unless its sender
//! repeats it, so the checker sees at once what an appliance repeated of its own accord.

use super::Micros;
use palisade_core::id::NodeId;
use palisade_core::wire::node::Mail;
use std::collections::{BTreeMap, VecDeque};

/// Messages that a sender has under way to one node before it waits: more than an appliance takes.
const AHEAD: usize = 12;
/// How long a sender waits for an answer before it sends again.
const AGAIN: u64 = 250_000;
/// How long it waits after it was turned away.
const PAUSE: u64 = 20_000;

/// A frame that a shim wants to send: what, and its payload.
pub type Said = (Mail, Vec<u8>);

/// What a sender has with one node.
#[derive(Debug, Default)]
struct Line {
    epoch: u32,
    /// The next number that is free.
    next: u64,
    /// Number and name of what is under way.
    flight: VecDeque<(u64, u64)>,
    /// Names of what is still to be sent.
    queue: VecDeque<u64>,
    /// Nothing is sent before.
    wait: u64,
    /// When what is under way is sent again.
    again: u64,
}

/// What a sender does with messages of which it does not know whether they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Habit {
    /// It gives them up.
    #[default]
    Drop,
    /// It repeats them with their numbers.
    Repeat,
}

/// What became of messages, as seen by one guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It sent this one, by name, for the first time.
    Sent { to: u8, name: u64, repeats: bool },
    /// Its appliance brought this one, in this stream.
    Brought { from: u8, incarnation: u64, name: u64, stream: u64 },
    /// It took this one: the first time that it saw this number.
    Taken { from: u8, incarnation: u64, name: u64 },
    /// It was told that this one has been taken.
    Acked { to: u8, name: u64 },
    /// It was told that this one may be lost.
    Gone { to: u8, name: u64 },
}

/// A shim's half.
#[derive(Debug, Default)]
pub struct Mailman {
    /// What it does after GONE.
    pub habit: Habit,
    /// It takes nothing: a receiver that does not read.
    pub deaf: bool,
    lines: BTreeMap<u8, Line>,
    /// Stream and next number, by sender.
    streams: BTreeMap<u8, (u64, u64)>,
    /// The last number of each sender's incarnation: kept beyond the stream's end (SAFETY I2).
    last: BTreeMap<(u8, u64), u64>,
    /// How often it was turned away.
    pub busy: u64,
    facts: Vec<Fact>,
}

impl Mailman {
    /// It wants to send a message with this name.
    pub fn post(&mut self, to: u8, name: u64) {
        self.lines.entry(to).or_default().queue.push_back(name);
    }

    /// How many messages it has not heard the end of.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lines.values().map(|line| line.flight.len() + line.queue.len()).sum()
    }

    /// What it waits for, for a person.
    #[must_use]
    pub fn unrest(&self) -> String {
        let waits = self.lines.iter().filter(|(_, line)| !line.flight.is_empty() || !line.queue.is_empty());
        waits.map(|(to, line)| format!("to {to}: {line:?}; ")).collect()
    }

    /// When it has something to say; `u64::MAX`: nothing.
    #[must_use]
    pub fn due(&self) -> u64 {
        let busy = self.lines.values().filter(|line| !line.flight.is_empty() || !line.queue.is_empty());
        let due = |line: &Line| {
            let fresh = if line.queue.is_empty() || line.flight.len() >= AHEAD { u64::MAX } else { 0 };
            let again = if line.flight.is_empty() { u64::MAX } else { line.again };
            fresh.min(again).max(line.wait)
        };
        busy.map(due).min().unwrap_or(u64::MAX)
    }

    /// Its node boots: it has forgotten everything.
    pub fn boot(&mut self) {
        *self = Self { habit: self.habit, ..Self::default() };
    }

    /// What happened since the last time.
    pub fn facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// A new session: every stream of the old one has ended.
    pub fn welcome(&mut self) {
        let (habit, facts) = (self.habit, &mut self.facts);
        for (to, line) in &mut self.lines {
            line.end(habit, *to, u64::MAX, 0, facts);
        }
        self.streams.clear();
    }

    /// Time passes: what it sends now.
    pub fn tick(&mut self, now: u64) -> Vec<Said> {
        let mut said = Vec::new();
        for (to, line) in &mut self.lines {
            let again = now >= line.again && !line.flight.is_empty();
            if now < line.wait {
                continue;
            }
            if again {
                said.extend(line.flight.iter().map(|&(number, name)| line.frame(*to, number, name)));
            }
            while line.flight.len() < AHEAD
                && let Some(name) = line.queue.pop_front()
            {
                line.next += 1;
                line.flight.push_back((line.next, name));
                said.push(line.frame(*to, line.next, name));
                self.facts.push(Fact::Sent { to: *to, name, repeats: self.habit == Habit::Repeat });
            }
            if again || !said.is_empty() {
                line.again = now + AGAIN;
            }
        }
        said
    }

    /// The appliance says something: what it answers.
    pub fn take(&mut self, now: u64, mail: Mail, payload: &[u8]) -> Option<Said> {
        match mail {
            Mail::Recv { from, incarnation, number, stream, first } if !self.deaf => {
                return self.on_recv(from.get(), incarnation, (number, stream, first), payload);
            }
            Mail::Ack { peer, number, .. } => {
                let line = self.lines.entry(peer.get()).or_default();
                while let Some(&(_, name)) = line.flight.front().filter(|(first, _)| *first <= number) {
                    line.flight.pop_front();
                    self.facts.push(Fact::Acked { to: peer.get(), name });
                }
                line.wait = 0;
            }
            Mail::Busy { to, number } => {
                self.busy += 1;
                let line = self.lines.entry(to.get()).or_default();
                while let Some(&(_, name)) = line.flight.back().filter(|(last, _)| *last >= number) {
                    line.flight.pop_back();
                    line.queue.push_front(name);
                    line.next -= 1;
                }
                line.wait = now + PAUSE;
            }
            Mail::Gone { to, epoch, number } => {
                let line = self.lines.entry(to.get()).or_default();
                if epoch != line.epoch {
                    line.end(self.habit, to.get(), number, epoch, &mut self.facts);
                    line.wait = now + PAUSE;
                }
            }
            _ => {}
        }
        None
    }

    fn on_recv(
        &mut self,
        from: u8,
        incarnation: u64,
        (number, stream, first): (u64, u64, u64),
        payload: &[u8],
    ) -> Option<Said> {
        let name = u64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
        assert!(payload == body(name), "node {from}'s message {name} came with other bytes");
        self.facts.push(Fact::Brought { from, incarnation, name, stream });
        let place = self.streams.entry(from).or_insert((stream, first));
        if place.0 != stream {
            *place = (stream, first);
        }
        if number == place.1 {
            place.1 += 1;
            let last = self.last.entry((from, incarnation)).or_default();
            if number > *last {
                *last = number;
                self.facts.push(Fact::Taken { from, incarnation, name });
            }
        }
        let number = place.1 - 1;
        (number >= first).then(|| (Mail::Ack { peer: NodeId::new(from), number, stream }, Vec::new()))
    }
}

/// The bytes of a message; their number differs with its name.
pub fn body(name: u64) -> Vec<u8> {
    let length = 8 + usize::try_from(name % 440).expect("small");
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.resize(length, name.to_le_bytes()[0]);
    bytes
}

impl Line {
    fn frame(&self, to: u8, number: u64, name: u64) -> Said {
        (Mail::Send { to: NodeId::new(to), epoch: self.epoch, number }, body(name))
    }

    /// The stream has ended. `acked`: nothing above is known; all of it if the session ended.
    fn end(&mut self, habit: Habit, to: u8, acked: u64, epoch: u32, facts: &mut Vec<Fact>) {
        self.epoch = epoch;
        self.wait = 0;
        self.again = 0;
        if acked != u64::MAX {
            while let Some(&(_, name)) = self.flight.front().filter(|(first, _)| *first <= acked) {
                self.flight.pop_front();
                facts.push(Fact::Acked { to, name });
            }
        }
        if habit == Habit::Drop {
            facts.extend(self.flight.drain(..).map(|(_, name)| Fact::Gone { to, name }));
        }
    }
}

/// What is true about messages.
#[derive(Debug, Default)]
pub struct Letters {
    /// From which incarnation of whom to whom, and whether its sender may repeat it; by name.
    sent: BTreeMap<u64, (u8, u64, u8, bool)>,
    /// In which stream it was brought to which incarnation.
    brought: BTreeMap<(u64, u64), u64>,
    /// Which incarnation took it.
    taken: BTreeMap<u64, Vec<u64>>,
    /// The newest name, by sender's and receiver's incarnation: names of one sender grow.
    newest: BTreeMap<(u64, u64), u64>,
    /// How many have a name.
    pub(super) named: u64,
    /// How many were taken, acknowledged, given up.
    pub counts: (u64, u64, u64),
}

impl Letters {
    /// A guest tells what happened to it.
    ///
    /// # Panics
    /// When it must not have happened (SAFETY I2).
    pub fn learn(&mut self, now: Micros, node: u8, own: u64, fact: Fact) {
        match fact {
            Fact::Sent { to, name, repeats } => {
                self.sent.insert(name, (node, own, to, repeats));
            }
            Fact::Brought { from, incarnation, name, stream } => {
                let &(sender, sent_by, to, repeats) = self.sent.get(&name).expect("nobody sent that");
                assert!((sender, sent_by, to) == (from, incarnation, node), "{now}: message {name} went astray");
                let first = *self.brought.entry((name, own)).or_insert(stream);
                assert!(first == stream || repeats, "{now}: message {name} was repeated by an appliance (SAFETY I2)");
            }
            Fact::Taken { incarnation, name, .. } => {
                let newest = self.newest.entry((incarnation, own)).or_default();
                assert!(name > *newest, "{now}: node {node} takes message {name} after {newest} (SAFETY I2)");
                *newest = name;
                self.taken.entry(name).or_default().push(own);
                self.counts.0 += 1;
            }
            Fact::Acked { name, .. } => {
                assert!(self.taken.contains_key(&name), "{now}: message {name} is acknowledged, but nobody took it");
                self.counts.1 += 1;
            }
            Fact::Gone { .. } => self.counts.2 += 1,
        }
    }
}
