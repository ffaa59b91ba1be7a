//! What one BMC needs to be talked to, and the sentences in which an attempt at it ends.
//!
//! Owns limits and defaults of the method. Must never print a secret. Rule: docs/METHODS.md.

use core::fmt;

use heapless::Vec;
use palisade_core::time::Duration;

use super::crypto::Suite;
use super::wire::{PASSWORD_MAX, USER_MAX, completion};

/// First wait for a reply, ms; it doubles with each repetition up to four times this. Real BMCs take 5 to 300 ms.
pub const REPLY_MS: u64 = 400;

/// Wait between two reads of the power state, and after "busy", ms.
pub const POLL_MS: u64 = 100;

/// Default time for a whole attempt, ms. Switching off takes 0 to 5 s on real machines.
pub const TOTAL_MS: u64 = 15_000;

/// Longest time that may be configured for a whole attempt, ms.
pub const TOTAL_MAX_MS: u64 = 120_000;

/// Which cipher suites may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suites {
    /// 17, and 3 if the BMC says that it has no 17. That answer is not authenticated, so whoever can forge it can bring
    /// the session down to 3, which is still sound; he cannot bring it lower.
    #[default]
    Prefer17,
    /// 17 or nothing.
    Only17,
    /// 3 at once, for a BMC that is known to have no 17: saves one round trip.
    Only3,
}

impl Suites {
    pub(super) const fn first(self) -> Suite {
        match self {
            Self::Prefer17 | Self::Only17 => Suite::Seventeen,
            Self::Only3 => Suite::Three,
        }
    }

    pub(super) const fn after_refusal_of(self, suite: Suite) -> Option<Suite> {
        match (self, suite) {
            (Self::Prefer17, Suite::Seventeen) => Some(Suite::Three),
            _ => None,
        }
    }
}

/// The privilege level that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Enough to switch a chassis; some BMCs let a user log in at this level only.
    Operator = 3,
    /// What most BMC users have.
    #[default]
    Administrator = 4,
}

/// Times of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// First wait for a reply.
    pub reply: Duration,
    /// Wait between two reads of the power state.
    pub poll: Duration,
    /// How long the BMC may show a state that is no longer true: a read within this time after the order was
    /// acknowledged is not used (SAFETY E7). Zero for a BMC that reads its power-good line.
    pub lag: Duration,
    /// The whole attempt.
    pub total: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            reply: Duration::from_millis(REPLY_MS),
            poll: Duration::from_millis(POLL_MS),
            lag: Duration::ZERO,
            total: Duration::from_millis(TOTAL_MS),
        }
    }
}

/// What one BMC needs to be talked to.
#[derive(Clone)]
pub struct Params {
    pub(super) user: Vec<u8, USER_MAX>,
    pub(super) password: Vec<u8, PASSWORD_MAX>,
    pub(super) kg: Option<[u8; PASSWORD_MAX]>,
    /// Which cipher suites may be used.
    pub suites: Suites,
    /// The privilege level that is asked for.
    pub level: Level,
    /// Times of one attempt.
    pub timing: Timing,
}

/// Why parameters are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamsError {
    /// The user name is longer than the protocol carries.
    UserTooLong,
    /// The password is longer than the protocol uses: a BMC would silently cut it.
    PasswordTooLong,
    /// A key of a length that is not the specification's.
    KeyLength,
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserTooLong => write!(f, "a BMC user name has at most {USER_MAX} bytes; use a shorter one"),
            Self::PasswordTooLong => write!(
                f,
                "a BMC password has at most {PASSWORD_MAX} bytes over RMCP+, a BMC cuts what is longer; set a shorter one"
            ),
            Self::KeyLength => write!(f, "the BMC key Kg has exactly {PASSWORD_MAX} bytes"),
        }
    }
}

impl Params {
    /// User and password, everything else at its default.
    pub fn new(user: &[u8], password: &[u8]) -> Result<Self, ParamsError> {
        Ok(Self {
            user: Vec::from_slice(user).map_err(|_| ParamsError::UserTooLong)?,
            password: Vec::from_slice(password).map_err(|_| ParamsError::PasswordTooLong)?,
            kg: None,
            suites: Suites::default(),
            level: Level::default(),
            timing: Timing::default(),
        })
    }

    /// With the BMC's own key, for BMCs where one is set ("two-key log-in").
    pub fn with_kg(mut self, kg: &[u8]) -> Result<Self, ParamsError> {
        self.kg = Some(kg.try_into().map_err(|_| ParamsError::KeyLength)?);
        Ok(self)
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Params");
        out.field("suites", &self.suites).field("level", &self.level).field("timing", &self.timing);
        out.finish_non_exhaustive()
    }
}

/// Why an attempt ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Off was ordered, acknowledged, and then read back.
    ReadBackOff,
    /// On was ordered, acknowledged, and then read back.
    ReadBackOn,
    /// Status: the chassis is on.
    ReadOn,
    /// Status: the chassis is off.
    ReadOff,
    /// Nothing came back at all.
    NoAnswer,
    /// It answered, but no session came about.
    NoSession,
    /// A session was there, then it fell silent.
    FellSilent,
    /// All session slots are taken.
    NoSlot,
    /// Busy until the time was up.
    StillBusy,
    /// Off was acknowledged, but the chassis still reads on.
    StillOn,
    /// On was acknowledged, but the chassis still reads off.
    StillOff,
    /// RAKP 2 carries a code that this password does not give.
    WrongPassword,
    /// RAKP 4 carries a code that this session's keys do not give.
    WrongKey,
    /// The BMC refuses our code in RAKP 3.
    CodeRefused,
    /// The BMC does not know this user.
    WrongUser,
    /// The user may not have the level that is asked for.
    WrongLevel,
    /// The BMC has none of the cipher suites that are allowed.
    NoSuite,
    /// The BMC answered with other algorithms than were proposed.
    OtherSuite,
    /// An RMCP+ status code that ends the attempt.
    Status(u8),
    /// A completion code that ends the attempt.
    Completion(u8),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadBackOff => "ordered off, and the chassis was then read as off",
            Self::ReadBackOn => "ordered on, and the chassis was then read as on",
            Self::ReadOn => "the chassis is on",
            Self::ReadOff => "the chassis is off",
            Self::NoAnswer => {
                "the BMC does not answer at all, which proves nothing about its host; check address, port and cable, and \
                 that IPMI over LAN is enabled"
            }
            Self::NoSession => "the BMC answers, but no session came about in time; the network may lose much",
            Self::FellSilent => "the BMC fell silent within the session",
            Self::NoSlot => "all sessions of the BMC are in use; close some, or wait until they time out",
            Self::StillBusy => "the BMC said that it is busy until the time was up",
            Self::StillOn => "the BMC acknowledged off, but the chassis still reads on",
            Self::StillOff => "the BMC acknowledged on, but the chassis still reads off",
            Self::WrongPassword => "the BMC's code does not fit the password; correct the password of this device",
            Self::WrongKey => "the BMC's code does not fit the session keys; set the BMC's key Kg if it has one",
            Self::CodeRefused => "the BMC refuses our code; correct password or key Kg of this device",
            Self::WrongUser => "the BMC does not know this user, or the user may not log in from the LAN",
            Self::WrongLevel => "the BMC user has no right to switch the chassis; give it operator or administrator rights",
            Self::NoSuite => "the BMC has none of the allowed cipher suites; enable suite 17 or 3 there",
            Self::OtherSuite => "the BMC answered with a cipher suite that was not proposed",
            Self::Status(code) => return write!(f, "the BMC refused the session with RMCP+ status {code:#04x}"),
            Self::Completion(completion::NOT_IN_PRESENT_STATE) => {
                "the BMC refuses the order in the present state (completion code 0xd5)"
            }
            Self::Completion(code) => return write!(f, "the BMC refused the command with completion code {code:#04x}"),
        })
    }
}
