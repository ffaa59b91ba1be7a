//! Method `qmp`: stop and reset one local node's VM through its QEMU monitor, and hear what happens to it.
//!
//! Owns one monitor connection for the life of the appliance: its lines, its ids, the events, and at most one attempt at
//! a time. Must never send a command of its own accord that changes the VM: only an attempt that was started does
//! (SAFETY E1), and must never take an answer for another command's: ids are made of the appliance's incarnation and a
//! counter, so not even the next appliance on the same connection uses one again (SAFETY E2). Rules: SAFETY E1 to E3,
//! E5; docs/METHODS.md.
//!
//! Evidence: `vm-stopped`, for disks that the guard found fit (SAFETY E5). Deadlock rules: obeyed; all memory is in the
//! struct. QMP is root on the host: the bytes go over a console port that is joined to the monitor on the same host, and
//! never over a network. A monitor has one client: the node's `-qmp` socket is ours alone.
//!
//! ```text
//!   reset() ─► Deaf ── greeting ─► capabilities ─► migration events ─► query-status ─► Ready ── attempts
//!               ▲  └ silent for PROBE_MS: say capabilities unasked            ▲            │
//!               └──────────── no answer ──────────────────────────────────────┘            │
//!                                       ▲                          greeting: another QEMU  │
//!                                       └──────────────────────────────────────────────────┘
//! ```
//!
//! The port does not say that the other end went away and came back; the greeting does, as the first line of each
//! connection. An attempt that meets one ends `Unknown`: it was about the QEMU before. On the other hand an appliance
//! that restarts may find a connection whose greeting was read by the one before it, perhaps in the middle of a command:
//! so after a silence it says a byte that resets QEMU's reader, and negotiates again.
//!
//! Files: `line` reads a line, `attempt` is the sequence of commands.

mod attempt;
mod line;
#[cfg(test)]
mod tests;

use core::fmt::Write;

use heapless::{Deque, String};
use palisade_core::time::{Duration, Instant};

use self::attempt::{Answer, Attempt, Next};
pub use self::attempt::{COMMANDS_MAX, Command, STOPS_MAX, Why};
use self::line::Message;
pub use self::line::{Event, Migration, RunState};
use crate::{Action, Class, Method, Outcome, Profile, Verdict};

/// Longest line that is read, bytes. QEMU's greeting has about 200, events and answers to our commands less than 900; a
/// longer line is skipped and counted.
pub const LINE_MAX: usize = 4096;

/// Longest line that is sent, bytes.
pub const COMMAND_LINE_MAX: usize = 192;

/// Events that wait to be fetched. Whoever drives this fetches them after each `handle`; what does not fit is counted.
pub const EVENTS_MAX: usize = 16;

/// Silence after which a monitor is spoken to unasked, ms, and again after each such time.
pub const PROBE_MS: u64 = 500;

/// Default time for an attempt, ms. The sequence takes about 5 ms; draining I/O takes as long as the storage takes.
pub const TOTAL_MS: u64 = 1_000;

/// Longest time that may be configured for an attempt, ms.
pub const TOTAL_MAX_MS: u64 = 60_000;

/// Resets QEMU's JSON reader, whatever half a command stands in it.
const READER_RESET: u8 = 0xff;

/// What this method promises.
pub const PROFILE: Profile = Profile {
    name: "qmp",
    class: Class::VmStopped,
    obeys_deadlock_rules: true,
    messages_max: COMMANDS_MAX,
    message_bytes_max: COMMAND_LINE_MAX,
    attempt_max: Duration::from_millis(TOTAL_MAX_MS),
    memory: size_of::<Monitor>(),
};

/// What the monitor reports, and when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When the line was read.
    pub at: Instant,
    /// What it says.
    pub what: What,
}

/// The kinds of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A QEMU introduced itself: a VM was started, or the connection is new. Says nothing about the one before.
    Greeting,
    /// The monitor listens, and the VM is in this state: what happened while nobody listened shows here.
    Ready(Option<RunState>),
    /// Something happened to the VM.
    Event(Event),
}

/// Counters, for a person who looks for a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines that were no JSON.
    pub bad_lines: u32,
    /// Lines longer than `LINE_MAX`.
    pub long_lines: u32,
    /// Answers to nothing that is asked: late, or of another's command.
    pub strays: u32,
    /// Notices that found no room.
    pub lost_notices: u32,
    /// Greetings: how many QEMUs or connections there were.
    pub greetings: u32,
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Nothing has been heard since the port was opened.
    Deaf,
    /// Capabilities, migration events, state: one after the other.
    Negotiating,
    Ready,
}

/// A command that was said or will be.
#[derive(Clone, Copy, Debug)]
struct Pending {
    command: Command,
    number: u64,
    not_before: Instant,
    said: bool,
    /// Precede it with `READER_RESET`.
    reset_reader: bool,
}

/// One node's monitor.
#[derive(Debug)]
pub struct Monitor {
    incarnation: u64,
    /// Numbers commands; part of their ids.
    number: u64,
    link: Link,
    probe_at: Instant,
    pending: Option<Pending>,
    attempt: Option<Attempt>,
    outcome: Option<Outcome>,
    notices: Deque<Notice, EVENTS_MAX>,
    counters: Counters,
    line: [u8; LINE_MAX],
    line_len: usize,
    /// The line was too long: skip to its end.
    skipping: bool,
}

impl Monitor {
    /// A monitor whose port was just opened. `incarnation` is the appliance's own and makes ids unique.
    #[must_use]
    pub const fn new(now: Instant, incarnation: u64) -> Self {
        Self {
            incarnation,
            number: 0,
            link: Link::Deaf,
            probe_at: Instant::from_micros(now.as_micros().saturating_add(PROBE_MS * 1000)),
            pending: None,
            attempt: None,
            outcome: None,
            notices: Deque::new(),
            counters: Counters { bad_lines: 0, long_lines: 0, strays: 0, lost_notices: 0, greetings: 0 },
            line: [0; LINE_MAX],
            line_len: 0,
            skipping: false,
        }
    }

    /// The port was closed or opened again: what was under way is lost.
    pub fn reset(&mut self, now: Instant) {
        self.end(Verdict::Unknown, Why::ConnectionLost);
        self.deafen(now);
        self.line_len = 0;
        self.skipping = false;
    }

    /// Starts an attempt that takes at most `total`; `false` if one is still under way. The outcome of the one before
    /// is forgotten. The caller has made sure that the VM on this port is the run that is meant (SAFETY F1).
    #[must_use]
    pub fn start(&mut self, now: Instant, action: Action, total: Duration) -> bool {
        if self.attempt.is_some() {
            return false;
        }
        self.outcome = None;
        self.attempt = Some(Attempt::new(now, action, total.min(Duration::from_millis(TOTAL_MAX_MS))));
        if self.link == Link::Ready {
            self.begin_attempt(now);
        }
        true
    }

    /// Ends the attempt that is under way: the run that it is about is not the one that is there any more. Nothing more is
    /// said for it, a greeting that it waited for included (SAFETY F1).
    pub fn abandon(&mut self) {
        self.end(Verdict::Unknown, Why::AnotherQemu);
    }

    /// The next notice.
    pub fn poll_event(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether the monitor listens.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.link == Link::Ready
    }

    /// What went wrong so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn note(&mut self, at: Instant, what: What) {
        if self.notices.push_back(Notice { at, what }).is_err() {
            self.counters.lost_notices = self.counters.lost_notices.saturating_add(1);
        }
    }

    fn end(&mut self, verdict: Verdict, why: Why) {
        if let Some(attempt) = self.attempt.take() {
            self.outcome = Some(Outcome { verdict, power: attempt.power, detail: why.into() });
            // The answer to what was said for it is nobody's any more.
            self.pending = None;
        }
    }

    fn say(&mut self, not_before: Instant, command: Command) {
        self.number += 1;
        self.pending = Some(Pending { command, number: self.number, not_before, said: false, reset_reader: false });
    }

    fn deafen(&mut self, now: Instant) {
        self.link = Link::Deaf;
        self.pending = None;
        self.probe_at = now + Duration::from_millis(PROBE_MS);
    }

    fn negotiate(&mut self, now: Instant, command: Command) {
        self.link = Link::Negotiating;
        self.probe_at = now + Duration::from_millis(PROBE_MS);
        self.say(now, command);
    }

    fn begin_attempt(&mut self, now: Instant) {
        if let Some(attempt) = &mut self.attempt {
            let next = attempt.first();
            self.follow(now, next);
        }
    }

    fn follow(&mut self, now: Instant, next: Next) {
        match next {
            Next::Say(command) => self.say(now, command),
            Next::SayLater(command) => self.say(now + Duration::from_millis(attempt::AGAIN_MS), command),
            Next::Wait => {}
            Next::End(verdict, why) => self.end(verdict, why),
        }
    }

    fn take_byte(&mut self, now: Instant, byte: u8) {
        match byte {
            b'\n' if self.skipping => {
                self.skipping = false;
                self.line_len = 0;
            }
            b'\n' => {
                let len = core::mem::take(&mut self.line_len);
                self.take_line(now, len);
            }
            _ if self.skipping => {}
            _ => match self.line.get_mut(self.line_len) {
                Some(place) => {
                    *place = byte;
                    self.line_len += 1;
                }
                None => {
                    self.skipping = true;
                    self.counters.long_lines = self.counters.long_lines.saturating_add(1);
                }
            },
        }
    }

    fn take_line(&mut self, now: Instant, len: usize) {
        let line = self.line[..len].trim_ascii();
        if line.is_empty() {
            return;
        }
        match line::parse(line) {
            Ok(Message::Greeting) => self.on_greeting(now),
            Ok(Message::Event(event)) => self.on_event(now, event),
            Ok(Message::Return { id, status, running }) => {
                let answer = Answer { state: line::run_state(status, running), migration: line::migration(status) };
                match self.match_pending(id) {
                    Some(command) => self.on_return(now, command, answer),
                    None => self.counters.strays = self.counters.strays.saturating_add(1),
                }
            }
            Ok(Message::Refused { id }) => match id.and_then(|id| self.match_pending(id)) {
                Some(command) => self.on_refused(now, command),
                None => self.counters.strays = self.counters.strays.saturating_add(1),
            },
            Ok(Message::Other) => {}
            Err(line::Error) => self.counters.bad_lines = self.counters.bad_lines.saturating_add(1),
        }
    }

    /// The command that `id` answers, if it is the one that was said last.
    fn match_pending(&self, id: &[u8]) -> Option<Command> {
        let pending = self.pending.filter(|pending| pending.said)?;
        (self.id(pending.number).as_bytes() == id).then_some(pending.command)
    }

    fn id(&self, number: u64) -> String<40> {
        let mut id = String::new();
        write!(id, "{:016x}-{number}", self.incarnation).expect("invariant: 16 + 1 + 20 characters fit");
        id
    }

    fn on_greeting(&mut self, now: Instant) {
        self.counters.greetings = self.counters.greetings.saturating_add(1);
        self.note(now, What::Greeting);
        // An attempt that has waited for the first greeting goes on. Once anything was said, a probe too, a greeting may be
        // that of another run's QEMU, which the attempt was not ordered for (SAFETY F1).
        if self.link != Link::Deaf || self.counters.greetings > 1 {
            self.end(Verdict::Unknown, Why::AnotherQemu);
        }
        self.negotiate(now, Command::Capabilities);
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        if event != Event::Other {
            self.note(now, What::Event(event));
        }
        if let Some(attempt) = &mut self.attempt {
            let next = attempt.on_event(event);
            self.follow(now, next);
        }
    }

    fn on_return(&mut self, now: Instant, command: Command, answer: Answer) {
        self.pending = None;
        match (self.link, command) {
            (Link::Ready, _) => {
                if let Some(attempt) = &mut self.attempt {
                    let next = attempt.on_return(command, answer);
                    self.follow(now, next);
                }
            }
            (_, Command::Capabilities) => self.negotiate(now, Command::MigrationEvents),
            (_, Command::MigrationEvents) => self.negotiate(now, Command::QueryStatus),
            _ => {
                self.link = Link::Ready;
                self.note(now, What::Ready(answer.state));
                self.begin_attempt(now);
            }
        }
    }

    fn on_refused(&mut self, now: Instant, command: Command) {
        self.pending = None;
        match (self.link, command) {
            (Link::Ready, _) => {
                if let Some(attempt) = &mut self.attempt {
                    let next = attempt.on_refused(command);
                    self.follow(now, next);
                }
            }
            // Negotiated already, by an appliance before us.
            (_, Command::Capabilities) => self.negotiate(now, Command::MigrationEvents),
            // An old QEMU, or a migration under way: the attempt asks for itself.
            (_, Command::MigrationEvents) => self.negotiate(now, Command::QueryStatus),
            _ => self.deafen(now),
        }
    }

    fn run_timers(&mut self, now: Instant) {
        if let Some(attempt) = self.attempt.filter(|attempt| now >= attempt.deadline) {
            let waiting = self.pending.map(|pending| pending.command);
            self.end(Verdict::Unknown, attempt.on_deadline(waiting.filter(|_| self.link == Link::Ready)));
        }
        if self.link != Link::Ready && now >= self.probe_at {
            self.negotiate(now, Command::Capabilities);
            if let Some(pending) = &mut self.pending {
                pending.reset_reader = true;
            }
        }
    }

    fn emit(&self, pending: &Pending, out: &mut [u8]) -> usize {
        let mut text: String<COMMAND_LINE_MAX> = String::new();
        writeln!(text, "{{{},\"id\":\"{}\"}}", pending.command.words(), self.id(pending.number))
            .expect("invariant: the longest command fits, see the test of all commands");
        let start = usize::from(pending.reset_reader);
        if pending.reset_reader {
            out[0] = READER_RESET;
        }
        out[start..start + text.len()].copy_from_slice(text.as_bytes());
        start + text.len()
    }
}

impl Method for Monitor {
    /// Takes in any piece of the stream.
    fn handle(&mut self, now: Instant, bytes: &[u8]) {
        self.run_timers(now);
        for byte in bytes {
            self.take_byte(now, *byte);
        }
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        assert!(out.len() >= COMMAND_LINE_MAX, "the caller's buffer holds any command");
        self.run_timers(now);
        let mut pending = self.pending.filter(|pending| !pending.said && now >= pending.not_before)?;
        let len = self.emit(&pending, out);
        pending.said = true;
        self.pending = Some(pending);
        Some(len)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let attempt = self.attempt.map(|attempt| attempt.deadline);
        let pending = self.pending.filter(|pending| !pending.said).map(|pending| pending.not_before);
        let probe = (self.link != Link::Ready).then_some(self.probe_at);
        [attempt, pending, probe].into_iter().flatten().min()
    }

    fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Whether no attempt is under way; the connection itself is never done.
    fn is_done(&self) -> bool {
        self.attempt.is_none()
    }
}
