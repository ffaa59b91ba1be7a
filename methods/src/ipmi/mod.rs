//! Method `ipmi`: switch a host through its BMC, IPMI 2.0 RMCP+ over UDP, and read its power back.
//!
//! Owns one attempt: log in with mutual authentication, order, read back, log out. Must never take silence for power
//! off: a BMC shares its host's power supply, so no answer is `Unknown`. Off is always ordered, whatever was read before
//! (SAFETY E7), and only a read that follows the acknowledged order within the same session confirms. One attempt is one
//! order: retries are the harness's (SAFETY F1). The caller owns the socket: it gives only datagrams of the BMC's address.
//!
//! Evidence: `power-off`. Deadlock rules: obeyed; an attempt has all its memory from the start.
//!
//! ```text
//!             open session      RAKP 1         RAKP 3         set privilege     chassis control    chassis status
//!   start ──► Open ──────────► Rakp1 ───────► Rakp3 ───────► Privilege ──────► Control ─────────► Status ──┐ poll
//!               ▲  no suite 17:   │ code wrong:   │ code wrong                    ▲ refused now,     │  ▲   │
//!               │  once more with 3               ▼                               └──────────────────┘  └───┘
//!               │                 └──► Refuse ──► Done ◄── reply or 2 tries ── Close ◄── outcome is known
//!               └── no reply after several tries: a new session, SESSIONS_MAX times
//! ```
//!
//! Loss. Every phase repeats its request with a growing wait. Before the session a repetition carries a new tag, and
//! RAKP 2 counts only for the newest: a BMC may draw a new random number for each RAKP 1, and an older one no longer
//! fits. Inside the session a repetition carries a new session sequence number, because a BMC drops one that it has
//! seen; its message sequence stays, because it is the same request.
//!
//! Files: `take` the answers, `wire` bytes, `crypto` codes and keys, `params` parameters and sentences.

mod crypto;
mod params;
mod take;
#[cfg(test)]
mod tests;
mod wire;

use core::fmt;

use palisade_core::time::{Duration, Instant};

pub use self::crypto::{ENTROPY_LEN, Suite};
pub use self::params::{Level, POLL_MS, Params, ParamsError, REPLY_MS, Suites, TOTAL_MAX_MS, TOTAL_MS, Timing, Why};
pub use self::wire::{DATAGRAM_MAX, PASSWORD_MAX, USER_MAX};

use self::crypto::{Keys, Random};
use self::take::Window;
use self::wire::{Command, PayloadType, status};
use crate::{Action, Class, Method, Outcome, Profile, Verdict};

/// The UDP port of a BMC.
pub const PORT: u16 = 623;

/// Most datagrams of one attempt. Off and read back takes 7; the rest is for loss and for a slow chassis.
pub const DATAGRAMS_MAX: u32 = 400;

/// Most sessions of one attempt: slots of a BMC are few, and one that was left half open blocks a slot for a minute.
pub const SESSIONS_MAX: u32 = 4;

/// Repetitions of one request before the session is given up and begun anew.
const TRIES_MAX: u32 = 4;

/// Repetitions of Close Session: it is a courtesy, and nothing waits for it.
const CLOSE_TRIES_MAX: u32 = 2;

/// Wait after "no session slot", ms: slots come free by time-outs of seconds.
const SLOT_PAUSE_MS: u64 = 1_000;

/// Static memory of one attempt, bytes; a change that doubles it should be noticed.
const MEMORY_MAX: usize = 768;
const _: () = assert!(size_of::<Attempt>() <= MEMORY_MAX);

/// What this method promises.
pub const PROFILE: Profile = Profile {
    name: "ipmi",
    class: Class::PowerOff,
    obeys_deadlock_rules: true,
    messages_max: DATAGRAMS_MAX,
    message_bytes_max: DATAGRAM_MAX,
    attempt_max: Duration::from_millis(TOTAL_MAX_MS),
    memory: size_of::<Attempt>(),
};

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Rakp1,
    Rakp3,
    /// Tells the BMC to forget a session whose code was wrong: one datagram without a reply.
    Refuse,
    Privilege,
    Control,
    Status,
    Close,
    Done,
}

/// Counters of one attempt, for a person who looks for a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams sent.
    pub sent: u32,
    /// Datagrams that were answers to what is under way.
    pub taken: u32,
    /// Datagrams that were dropped: damaged, forged, late, repeated, or not for this session.
    pub dropped: u32,
}

/// One attempt.
pub struct Attempt {
    params: Params,
    action: Action,
    random: Random,
    deadline: Instant,
    phase: Phase,
    /// When the request of this phase goes out (again).
    next_send: Instant,
    /// How often it went out.
    tries: u32,
    sessions: u32,
    suite: Suite,
    tag: u8,
    console_id: u32,
    bmc_id: u32,
    console_random: [u8; 16],
    bmc_random: [u8; 16],
    guid: [u8; 16],
    keys: Option<Keys>,
    sequence: u32,
    window: Window,
    message_sequence: u8,
    /// Completion code with which the order was refused for now.
    refused: Option<u8>,
    /// What stands in the way at the moment, for the sentence if the time runs out.
    obstacle: Option<Why>,
    power: Option<bool>,
    counters: Counters,
    outcome: Option<Outcome>,
}

impl Attempt {
    /// Starts an attempt. `entropy` must be fresh random bytes for each attempt: session id, challenge and
    /// initialisation vectors come from it.
    #[must_use]
    pub fn start(now: Instant, params: &Params, action: Action, entropy: &[u8; ENTROPY_LEN]) -> Self {
        let total = params.timing.total.min(Duration::from_millis(TOTAL_MAX_MS));
        let mut attempt = Self {
            params: params.clone(),
            action,
            random: Random::new(entropy),
            deadline: now + total,
            phase: Phase::Open,
            next_send: now,
            tries: 0,
            sessions: 0,
            suite: params.suites.first(),
            tag: 0,
            console_id: 0,
            bmc_id: 0,
            console_random: [0; 16],
            bmc_random: [0; 16],
            guid: [0; 16],
            keys: None,
            sequence: 0,
            window: Window::default(),
            message_sequence: 0,
            refused: None,
            obstacle: None,
            power: None,
            counters: Counters::default(),
            outcome: None,
        };
        attempt.begin_session(now);
        attempt
    }

    /// What was sent, taken and dropped so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The cipher suite that is in use, or was last.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// A new session from the start, with numbers of its own.
    fn begin_session(&mut self, at: Instant) {
        self.sessions += 1;
        self.console_id = self.random.draw_id();
        self.console_random = self.random.draw();
        self.keys = None;
        self.sequence = 0;
        self.window = Window::default();
        self.refused = None;
        self.begin(Phase::Open, at);
    }

    fn begin(&mut self, phase: Phase, at: Instant) {
        self.phase = phase;
        self.tries = 0;
        self.next_send = at;
        // Six bits. A reply of 64 requests ago cannot pass for a new one: its session sequence is too old by then.
        self.message_sequence = (self.message_sequence + 1) & 0x3f;
    }

    fn in_session(&self) -> bool {
        matches!(self.phase, Phase::Privilege | Phase::Control | Phase::Status)
    }

    /// The end is known. What is left is a courtesy to the BMC, and nobody waits for it.
    fn end(&mut self, now: Instant, verdict: Verdict, why: Why) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(Outcome { verdict, power: self.power, detail: why.into() });
        match self.phase {
            _ if self.in_session() => self.begin(Phase::Close, now),
            Phase::Rakp1 | Phase::Rakp3 if why == Why::WrongPassword || why == Why::WrongKey => {
                self.begin(Phase::Refuse, now);
            }
            _ => self.phase = Phase::Done,
        }
    }

    fn run_timers(&mut self, now: Instant) {
        let exhausted = self.counters.sent >= DATAGRAMS_MAX;
        if self.outcome.is_none() && (now >= self.deadline || exhausted) {
            let (verdict, why) = self.verdict_without_time();
            self.end(now, verdict, why);
        }
        if self.counters.sent >= DATAGRAMS_MAX + CLOSE_TRIES_MAX {
            self.phase = Phase::Done;
        }
        if self.phase == Phase::Done || now < self.next_send {
            return;
        }
        match self.phase {
            Phase::Close if self.tries >= CLOSE_TRIES_MAX => self.phase = Phase::Done,
            Phase::Refuse if self.tries >= 1 => self.phase = Phase::Done,
            Phase::Rakp1 | Phase::Rakp3 | Phase::Privilege | Phase::Control | Phase::Status
                if self.tries >= TRIES_MAX =>
            {
                self.begin_again(now, now);
            }
            _ => {}
        }
    }

    /// The session is lost or was never made: a new one, or none if there were too many.
    fn begin_again(&mut self, now: Instant, at: Instant) {
        if self.sessions >= SESSIONS_MAX {
            let (verdict, why) = self.verdict_without_time();
            self.end(now, verdict, why);
        } else {
            self.begin_session(at);
        }
    }

    /// Time or tries are used up. Only what was positively read makes this more than `Unknown`.
    fn verdict_without_time(&self) -> (Verdict, Why) {
        let acknowledged = self.phase == Phase::Status && self.refused.is_none();
        match (self.action, self.power, self.refused) {
            (Action::Off, Some(true), None) if acknowledged => (Verdict::Failed, Why::StillOn),
            (Action::On, Some(false), None) if acknowledged => (Verdict::Failed, Why::StillOff),
            (_, _, Some(code)) => (Verdict::Failed, Why::Completion(code)),
            _ if self.obstacle.is_some() => (Verdict::Unknown, self.obstacle.unwrap_or(Why::NoSession)),
            _ if self.counters.taken == 0 => (Verdict::Unknown, Why::NoAnswer),
            _ if self.in_session() => (Verdict::Unknown, Why::FellSilent),
            _ => (Verdict::Unknown, Why::NoSession),
        }
    }

    fn reply_wait(&self) -> Duration {
        self.params.timing.reply.times(1 << self.tries.saturating_sub(1).min(2))
    }

    fn role(&self) -> u8 {
        // 0x10: the user is looked up by name alone, whatever level he has.
        0x10 | self.params.level as u8
    }

    fn emit(&mut self, out: &mut [u8]) -> wire::Result<usize> {
        match self.phase {
            Phase::Open => {
                let (console_id, algorithms) = (self.console_id, self.suite.algorithms());
                let request = wire::OpenRequest { tag: self.next_tag(), level: 0, console_id, algorithms };
                emit_plain(out, PayloadType::OpenRequest, |payload| request.emit(payload))
            }
            Phase::Rakp1 => {
                let (tag, role) = (self.next_tag(), self.role());
                let (bmc_id, random, user) = (self.bmc_id, &self.console_random, &self.params.user[..]);
                let rakp1 = wire::Rakp1 { tag, bmc_id, random, role, user };
                emit_plain(out, PayloadType::Rakp1, |payload| rakp1.emit(payload))
            }
            Phase::Rakp3 => {
                let tag = self.next_tag();
                let code = self.rakp3_code();
                let rakp3 = wire::Rakp3 { tag, status: status::OK, bmc_id: self.bmc_id, code: code.as_bytes() };
                emit_plain(out, PayloadType::Rakp3, |payload| rakp3.emit(payload))
            }
            Phase::Refuse => {
                let (tag, status) = (self.next_tag(), status::INVALID_INTEGRITY_CHECK);
                let rakp3 = wire::Rakp3 { tag, status, bmc_id: self.bmc_id, code: &[] };
                emit_plain(out, PayloadType::Rakp3, |payload| rakp3.emit(payload))
            }
            Phase::Privilege => self.emit_request(out, wire::SET_PRIVILEGE, &[self.params.level as u8]),
            Phase::Control => self.emit_request(out, wire::CHASSIS_CONTROL, &[u8::from(self.action == Action::On)]),
            Phase::Status => self.emit_request(out, wire::CHASSIS_STATUS, &[]),
            Phase::Close => self.emit_request(out, wire::CLOSE_SESSION, &self.bmc_id.to_le_bytes()),
            Phase::Done => Err(wire::Error),
        }
    }

    fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    fn emit_request(&mut self, out: &mut [u8], command: Command, data: &[u8]) -> wire::Result<usize> {
        let iv = self.random.draw();
        self.sequence += 1;
        let mut message = [0; 16];
        let len = wire::Request { command, sequence: self.message_sequence, data }.emit(&mut message)?;
        let keys = self.keys.as_ref().ok_or(wire::Error)?;
        keys.seal(out, self.bmc_id, self.sequence, &iv, &message[..len])
    }

    fn user_parts(&self) -> ([u8; 2], &[u8]) {
        // At most USER_MAX bytes.
        ([self.role(), u8::try_from(self.params.user.len()).unwrap_or(0)], &self.params.user)
    }

    fn rakp2_holds(&self, claim: &[u8]) -> bool {
        let (head, user) = self.user_parts();
        let (console_id, bmc_id) = (self.console_id.to_le_bytes(), self.bmc_id.to_le_bytes());
        let parts: [&[u8]; 7] = [&console_id, &bmc_id, &self.console_random, &self.bmc_random, &self.guid, &head, user];
        crypto::verify(self.suite, &self.params.password, &parts, claim, self.suite.code_len())
    }

    fn rakp3_code(&self) -> crypto::Code {
        let (head, user) = self.user_parts();
        let console_id = self.console_id.to_le_bytes();
        crypto::code(self.suite, &self.params.password, &[&self.bmc_random, &console_id, &head, user])
    }

    fn derive_keys(&self) -> Keys {
        let (head, user) = self.user_parts();
        let key = self.params.kg.as_ref().map_or(&self.params.password[..], |kg| &kg[..]);
        Keys::derive(self.suite, key, &[&self.console_random, &self.bmc_random, &head, user])
    }
}

fn emit_plain(
    out: &mut [u8],
    payload_type: PayloadType,
    payload: impl FnOnce(&mut [u8]) -> wire::Result<usize>,
) -> wire::Result<usize> {
    let body = out.get_mut(wire::HEADER_LEN..).ok_or(wire::Error)?;
    let len = payload(body)?;
    let start = wire::emit_header(out, payload_type, false, 0, 0, len)?;
    Ok(start + len)
}

impl Method for Attempt {
    fn handle(&mut self, now: Instant, bytes: &[u8]) {
        self.run_timers(now);
        match self.take(now, bytes) {
            Ok(()) => self.counters.taken += 1,
            Err(wire::Error) => self.counters.dropped = self.counters.dropped.saturating_add(1),
        }
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        assert!(out.len() >= DATAGRAM_MAX, "the caller's buffer holds any datagram");
        self.run_timers(now);
        if self.phase == Phase::Done || now < self.next_send {
            return None;
        }
        let len = self.emit(out).ok()?;
        self.counters.sent += 1;
        self.tries += 1;
        self.next_send = now + self.reply_wait();
        Some(len)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match (self.phase, self.outcome) {
            (Phase::Done, _) => None,
            (_, None) => Some(self.deadline.min(self.next_send)),
            (_, Some(_)) => Some(self.next_send),
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Attempt");
        out.field("action", &self.action).field("phase", &self.phase).field("suite", &self.suite);
        out.field("power", &self.power).field("outcome", &self.outcome).field("counters", &self.counters);
        out.finish_non_exhaustive()
    }
}
