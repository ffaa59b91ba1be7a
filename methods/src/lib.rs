//! Fencing methods: the ways in which one attempt at one target is carried out and proved.
//!
//! Owns the shape that all methods share (`Method`), the words in which an attempt ends (`Outcome`), and the one list
//! of methods below. Must never do I/O, read a clock, draw random numbers or allocate: bytes, facts, time and entropy
//! are arguments, so the same code runs in the unikernel, in `palisadectl device` and in tests. It decides no policy:
//! which device, in what order and how often is the harness's business (palisade-core), and it sees a *run* or a host
//! only as far as the caller names it. Rules: docs/METHODS.md, SAFETY E and F1.
//!
//! ```text
//!   start(now, ..) ──► running ──► outcome() is Some ──► is_done()
//!                      ▲    │            │                  nothing more to send: the place may be used again
//!            handle()  │    │ poll_transmit(), poll_timeout()
//!                      └────┘
//! ```
//!
//! One attempt never retries for ever: each file states its bound of messages, time and memory in its `PROFILE`. An
//! attempt that is cut short by its own time limit is `Unknown`, never `Confirmed`.
//!
//! Adding a method is one file that offers `PROFILE`, a `Why` and one type that implements `Method`, and one line in
//! `methods!` at the end of this file.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

use core::fmt;

pub use palisade_core::fencing::{Action, Class, Verdict};
use palisade_core::time::{Duration, Instant};

pub mod guard;
pub mod ipmi;
pub mod qmp;

/// What a method promises, whatever it is configured to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The word for it in the configuration.
    pub name: &'static str,
    /// The class of the evidence that a `Confirmed` of this method carries.
    pub class: Class,
    /// Whether the way to the target and back stands on static memory only. A method that says no cannot be the only
    /// level of a node (docs/DEADLOCK-RULES.md).
    pub obeys_deadlock_rules: bool,
    /// Most messages (datagrams, lines, frames) that one attempt sends.
    pub messages_max: u32,
    /// Longest message that it sends or takes in, bytes.
    pub message_bytes_max: usize,
    /// Longest time for which an attempt may be configured to run.
    pub attempt_max: Duration,
    /// Static memory of one instance, bytes.
    pub memory: usize,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is known about the target's ability to write. Only `Action::Off` ever ends `Confirmed`: what `Status` reads
    /// may be older than the last sign of life, so a read alone is no proof (SAFETY E7).
    pub verdict: Verdict,
    /// The last state that was read within this attempt: `Some(true)` is on or running. `None`: nothing was read.
    pub power: Option<bool>,
    /// Why, as a sentence for a person.
    pub detail: Detail,
}

impl Outcome {
    /// Whether the attempt did what it was asked to do.
    #[must_use]
    pub const fn did(&self, action: Action) -> bool {
        match action {
            Action::Off => matches!(self.verdict, Verdict::Confirmed(_)),
            Action::On => matches!(self.power, Some(true)) && matches!(self.verdict, Verdict::Unknown),
            Action::Status => self.power.is_some() && matches!(self.verdict, Verdict::Unknown),
        }
    }

    /// What the engine is answered: of a look also what was seen, which proves nothing by itself.
    #[must_use]
    pub const fn answer(&self, action: Action) -> Verdict {
        match (action, self.power) {
            (Action::Status, Some(on)) if self.did(action) => {
                if on {
                    Verdict::SeenOn
                } else {
                    Verdict::SeenOff
                }
            }
            _ => self.verdict,
        }
    }
}

/// One attempt of one method. Times are arguments; whoever drives it calls `poll_transmit` until it returns `None`,
/// after each input and when `poll_timeout` has come.
pub trait Method {
    /// Takes in bytes from the target's side: one datagram, or any piece of a stream. A method that hears facts instead
    /// of bytes leaves this as it is.
    fn handle(&mut self, now: Instant, bytes: &[u8]) {
        let _ = (now, bytes);
    }

    /// Writes the next message to send into `out` and returns its length; `None`: nothing to send at `now`. Timers that
    /// are due at `now` run first. `out` holds at least `Profile::message_bytes_max` bytes.
    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize>;

    /// When `poll_transmit` wants to be called again if nothing arrives before.
    fn poll_timeout(&self) -> Option<Instant>;

    /// How the attempt ended, as soon as that is known. It does not change afterwards.
    fn outcome(&self) -> Option<Outcome>;

    /// Whether nothing is left to send or to wait for: after the outcome a method may still have a session to close.
    fn is_done(&self) -> bool;
}

/// Builds everything that has one arm for each method.
macro_rules! methods {
    ($($(#[$doc:meta])* $kind:ident => $module:ident :: $type:ident,)+) => {
        /// Which method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            /// All methods that there are.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// What this method promises.
            #[must_use]
            pub const fn profile(self) -> &'static Profile {
                match self {
                    $(Self::$kind => &$module::PROFILE,)+
                }
            }
        }

        /// Why an attempt ended as it did: a sentence for a person, in the words of its method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Detail {
            $($(#[$doc])* $kind($module::Why),)+
        }

        impl fmt::Display for Detail {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$kind(why) => write!(f, "{}: {why}", $module::PROFILE.name),)+
                }
            }
        }

        $(
            impl From<$module::Why> for Detail {
                fn from(why: $module::Why) -> Self {
                    Self::$kind(why)
                }
            }
        )+

        /// Any method, for a driver that does not care which. It is meant to live in a static: its size is that of
        /// the largest method, and a box would need an allocator.
        #[allow(clippy::large_enum_variant)]
        #[derive(Debug)]
        pub enum AnyMethod {
            $($(#[$doc])* $kind($module::$type),)+
        }

        impl AnyMethod {
            /// Which method this is.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)+
                }
            }
        }

        impl Method for AnyMethod {
            fn handle(&mut self, now: Instant, bytes: &[u8]) {
                match self {
                    $(Self::$kind(method) => Method::handle(method, now, bytes),)+
                }
            }

            fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
                match self {
                    $(Self::$kind(method) => Method::poll_transmit(method, now, out),)+
                }
            }

            fn poll_timeout(&self) -> Option<Instant> {
                match self {
                    $(Self::$kind(method) => Method::poll_timeout(method),)+
                }
            }

            fn outcome(&self) -> Option<Outcome> {
                match self {
                    $(Self::$kind(method) => Method::outcome(method),)+
                }
            }

            fn is_done(&self) -> bool {
                match self {
                    $(Self::$kind(method) => Method::is_done(method),)+
                }
            }
        }
    };
}

methods! {
    /// Stop and reset through the node's QEMU monitor.
    Qmp => qmp::Monitor,
    /// Switch a host off through its BMC.
    Ipmi => ipmi::Attempt,
    /// Kill a run through the guard that started it.
    Guard => guard::Attempt,
}

impl Kind {
    /// The method that the configuration calls `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.profile().name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn each_method_has_its_own_name_and_is_found_by_it() {
        for kind in Kind::ALL {
            assert_eq!(Kind::by_name(kind.profile().name), Some(*kind));
        }
        assert_eq!(Kind::by_name("telepathy"), None);
    }

    #[test]
    fn a_status_read_is_never_a_proof() {
        let read = Outcome { verdict: Verdict::Unknown, power: Some(false), detail: ipmi::Why::ReadOff.into() };
        assert!(read.did(Action::Status));
        assert!(!read.did(Action::Off));
        assert!(!read.did(Action::On));
        assert_eq!(read.answer(Action::Status), Verdict::SeenOff);
        assert_eq!(read.answer(Action::Off), Verdict::Unknown);
    }

    #[test]
    fn a_detail_names_its_method() {
        let detail = Detail::from(ipmi::Why::NoAnswer);
        assert!(detail.to_string().starts_with("ipmi: "));
    }
}
