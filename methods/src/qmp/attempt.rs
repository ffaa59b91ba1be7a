//! One attempt at one VM through its monitor: the order of commands, and what each answer is worth.
//!
//! Owns the sequence only; lines, ids and the connection are the monitor's (mod.rs). Must never end `Confirmed` on
//! anything but the whole sequence, and must never say `cont` unless On was asked for (SAFETY E1). Rules: SAFETY E1, E3.
//!
//! ```text
//!  Off:    stop ─► query-status ─► query-migrate ─► system_reset ─► query-status ⟲ ─► query-migrate ─► Confirmed
//!           ▲       not running     none active      returns         RESET was seen,    as before
//!           └─── it runs again: somebody continued it, STOPS_MAX times ── prelaunch
//!  On:     cont ─► query-status ⟲ running          Status:  query-status
//! ```
//!
//! Why each step. The *return* of `stop` comes after block I/O is drained; the STOP event comes before. Stopped alone is
//! reversible: any other client of the VM may continue it. `system_reset` makes it final, because no instruction of the
//! old memory runs after it, whoever continues the machine. A VM that is being migrated has a second life that none of
//! this touches, so a migration under way, or one that completes in the meantime, proves nothing here. One that
//! completed before is how this VM came here.

use core::fmt;

use palisade_core::time::{Duration, Instant};

use super::line::{Event, Migration, RunState};
use crate::{Action, Class, Verdict};

/// How often a VM that somebody continues behind our back is stopped again before the attempt fails.
pub const STOPS_MAX: u32 = 3;

/// Most commands of one attempt. The sequence takes six; the rest is waiting for the reset.
pub const COMMANDS_MAX: u32 = 200;

/// Wait before a state is asked for again, ms. A reset takes under 1 ms.
pub const AGAIN_MS: u64 = 5;

/// What the monitor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Capabilities,
    /// Without it QEMU keeps migrations to itself (SAFETY E3).
    MigrationEvents,
    Stop,
    QueryStatus,
    QueryMigrate,
    SystemReset,
    Cont,
}

impl Command {
    /// The command without its id.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Capabilities => r#""execute":"qmp_capabilities""#,
            Self::MigrationEvents => concat!(
                r#""execute":"migrate-set-capabilities","arguments":"#,
                r#"{"capabilities":[{"capability":"events","state":true}]}"#
            ),
            Self::Stop => r#""execute":"stop""#,
            Self::QueryStatus => r#""execute":"query-status""#,
            Self::QueryMigrate => r#""execute":"query-migrate""#,
            Self::SystemReset => r#""execute":"system_reset""#,
            Self::Cont => r#""execute":"cont""#,
        }
    }
}

/// Why an attempt ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The whole sequence held.
    StoppedAndReset,
    /// On: continued, and read as running.
    Continued,
    /// Status: it runs, or not.
    State(RunState),
    /// The monitor did not answer at all.
    NotConnected,
    /// `stop` did not return.
    StopHangs,
    /// Another answer did not come.
    FellSilent,
    /// The connection ended.
    ConnectionLost,
    /// Another QEMU answers: the one that was meant is gone, which the guard must say, or was never here.
    AnotherQemu,
    /// QEMU ends instead of resetting.
    Ends,
    /// QEMU refused this command.
    Refused(Command),
    /// It was continued again and again by somebody else.
    ContinuedBySomebody,
    /// A migration is under way or just completed.
    Migrating,
    /// Continued, but it does not run.
    DoesNotRun,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StoppedAndReset => "stopped, drained and reset: the old memory can never run on",
            Self::Continued => "the VM runs",
            Self::State(RunState::Running) => "the VM runs",
            Self::State(state) => return write!(f, "the VM does not run (state {state:?})"),
            Self::NotConnected => {
                "the VM's monitor does not answer; look whether the VM runs and its monitor is joined here"
            }
            Self::StopHangs => "stop has not returned in time; the VM's storage may hang on the host",
            Self::FellSilent => "the monitor fell silent in the middle",
            Self::ConnectionLost => "the connection to the monitor ended; whether the VM did too is the guard's to say",
            Self::AnotherQemu => "another QEMU answers now; that the one before is gone is the guard's to say",
            Self::Ends => "QEMU ends instead of resetting the VM; that it is gone is the guard's to say",
            Self::Refused(command) => return write!(f, "QEMU refuses {command:?}"),
            Self::ContinuedBySomebody => {
                "somebody else continues the VM each time; find out who holds its other monitors"
            }
            Self::Migrating => {
                "the VM is being migrated, or has just been; whether it runs elsewhere is not known here"
            }
            Self::DoesNotRun => "continued, but the VM does not run",
        })
    }
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Say this at once, or `AGAIN_MS` later.
    Say(Command),
    SayLater(Command),
    /// Nothing: another answer decides.
    Wait,
    End(Verdict, Why),
}

/// What a command's return said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Of `query-status`; `None` if it could not be understood.
    pub state: Option<RunState>,
    /// Of `query-migrate`.
    pub migration: Migration,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    action: Action,
    pub(super) deadline: Instant,
    pub(super) power: Option<bool>,
    said: u32,
    stops: u32,
    /// `query-migrate` before the reset.
    before: Option<Migration>,
    reset_said: bool,
    reset_seen: bool,
}

impl Attempt {
    pub(super) fn new(now: Instant, action: Action, total: Duration) -> Self {
        Self {
            action,
            deadline: now + total,
            power: None,
            said: 0,
            stops: 0,
            before: None,
            reset_said: false,
            reset_seen: false,
        }
    }

    /// The first command, once the monitor listens.
    pub(super) fn first(&mut self) -> Next {
        match self.action {
            Action::Off => self.stop(),
            Action::On => self.say(Command::Cont),
            Action::Status => self.say(Command::QueryStatus),
        }
    }

    fn stop(&mut self) -> Next {
        if self.stops >= STOPS_MAX {
            return Next::End(Verdict::Failed, Why::ContinuedBySomebody);
        }
        self.stops += 1;
        self.before = None;
        self.reset_said = false;
        self.reset_seen = false;
        self.say(Command::Stop)
    }

    fn say(&mut self, command: Command) -> Next {
        self.said += 1;
        if self.said > COMMANDS_MAX { Next::End(Verdict::Unknown, Why::FellSilent) } else { Next::Say(command) }
    }

    fn say_later(&mut self, command: Command) -> Next {
        match self.say(command) {
            Next::Say(command) => Next::SayLater(command),
            other => other,
        }
    }

    /// `command` has been carried out.
    pub(super) fn on_return(&mut self, command: Command, answer: Answer) -> Next {
        match command {
            Command::Stop | Command::Cont => self.say(Command::QueryStatus),
            Command::SystemReset => {
                self.reset_said = true;
                self.say(Command::QueryStatus)
            }
            Command::QueryStatus => self.on_state(answer.state),
            Command::QueryMigrate => self.on_migration(answer.migration),
            Command::Capabilities | Command::MigrationEvents => Next::Wait,
        }
    }

    fn on_state(&mut self, state: Option<RunState>) -> Next {
        let Some(state) = state else {
            return Next::End(Verdict::Unknown, Why::Refused(Command::QueryStatus));
        };
        self.power = Some(state == RunState::Running);
        match (self.action, state) {
            (Action::Status, _) => Next::End(Verdict::Unknown, Why::State(state)),
            (Action::On, RunState::Running) => Next::End(Verdict::Unknown, Why::Continued),
            (Action::On, _) => self.say_later(Command::QueryStatus),
            (Action::Off, RunState::Running) => self.stop(),
            (Action::Off, RunState::Migrating) => Next::End(Verdict::Failed, Why::Migrating),
            (Action::Off, RunState::Prelaunch) if self.reset_said && self.reset_seen => self.say(Command::QueryMigrate),
            (Action::Off, _) if self.reset_said => self.say_later(Command::QueryStatus),
            (Action::Off, _) => self.say(Command::QueryMigrate),
        }
    }

    fn on_migration(&mut self, migration: Migration) -> Next {
        match (self.before, migration) {
            (_, Migration::Active) => Next::End(Verdict::Failed, Why::Migrating),
            (None, settled) => {
                self.before = Some(settled);
                // From here on a RESET is one of a stopped VM: what was seen before belongs to its life.
                self.reset_seen = false;
                self.say(Command::SystemReset)
            }
            (Some(before), after) if before == after => {
                Next::End(Verdict::Confirmed(Class::VmStopped), Why::StoppedAndReset)
            }
            (Some(_), _) => Next::End(Verdict::Failed, Why::Migrating),
        }
    }

    /// QEMU refused `command`.
    pub(super) fn on_refused(&self, command: Command) -> Next {
        Next::End(Verdict::Failed, Why::Refused(command))
    }

    /// Something happened meanwhile.
    pub(super) fn on_event(&mut self, event: Event) -> Next {
        let resetting = self.action == Action::Off && self.before.is_some();
        match event {
            Event::Reset { .. } if resetting => {
                self.reset_seen = true;
                Next::Wait
            }
            Event::ShutDown { .. } if resetting => Next::End(Verdict::Unknown, Why::Ends),
            Event::Migration(_) if self.action == Action::Off => Next::End(Verdict::Failed, Why::Migrating),
            _ => Next::Wait,
        }
    }

    /// The time is up while `waiting` had been said.
    pub(super) fn on_deadline(&self, waiting: Option<Command>) -> Why {
        match (self.action, waiting) {
            (_, Some(Command::Stop)) => Why::StopHangs,
            (Action::On, _) if self.power == Some(false) => Why::DoesNotRun,
            _ if self.said == 0 => Why::NotConnected,
            _ => Why::FellSilent,
        }
    }
}
