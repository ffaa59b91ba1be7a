//! Method `guard`: have the guard kill one run of a local node, and hear from it that the run is gone.
//!
//! Owns one attempt: which run, when to ask again, when to give up. Must never take anything but the guard's own report
//! for a proof: an order that was sent, a channel that closed or a time that passed says nothing about a process. The
//! frames are the guard link's business; here come parsed facts in and orders out. Rules: SAFETY E2 (a verdict names the
//! run, and confirms it or earlier ones), E4 (a new guard first proves all earlier runs gone), E5 (which disks qualify
//! is the guard's to say: it takes the class away from the node, the harness does not offer the method then).
//!
//! Evidence: `vm-gone`. The guard holds a pidfd of the VM's process, so it knows the exit from the kernel. Deadlock
//! rules: obeyed; the guard is locked in memory and allocates nothing once it runs.
//!
//! ```text
//!   Off ──► Asking ── on_gone(run or a later one of the same boot) ──► Confirmed(VmGone)
//!             │  ▲ KILL again each `again`
//!             │  └─┘
//!             ├── on_refused ──► Failed
//!             └── time is up ──► Unknown
//! ```
//!
//! The run may be gone before the first KILL: the guard's report is kept by whoever drives this, and is given to the
//! attempt when it starts. A KILL names the run, so a late one cannot hit a run that was started after it (SAFETY F1).

use core::fmt;

use palisade_core::id::{NodeId, Run};
use palisade_core::time::{Duration, Instant};

use crate::{Action, Class, Method, Outcome, Profile, Verdict};

/// Most KILL orders of one attempt. The link is a local pipe that loses bytes only when one end restarts, so a handful
/// is plenty; the bound is there so that a deaf guard is not flooded.
pub const KILLS_MAX: u32 = 64;

/// Time between two KILL orders, ms. A guard answers within one loop turn; SIGKILL itself takes a few ms.
pub const AGAIN_MS: u64 = 100;

/// Default time for an attempt, ms: a process in uninterruptible sleep may take as long as its storage.
pub const TOTAL_MS: u64 = 2_000;

/// Longest time that may be configured for an attempt, ms.
pub const TOTAL_MAX_MS: u64 = 60_000;

/// What this method promises.
pub const PROFILE: Profile = Profile {
    name: "guard",
    class: Class::VmGone,
    obeys_deadlock_rules: true,
    messages_max: KILLS_MAX,
    message_bytes_max: 0,
    attempt_max: Duration::from_millis(TOTAL_MAX_MS),
    memory: size_of::<Attempt>(),
};

/// Why an attempt ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The guard reports the run as gone.
    Gone,
    /// The guard did not report in time.
    Silent,
    /// The guard knows this run as its own and refuses to kill it.
    Refused,
    /// This method only kills.
    OnlyKills,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the guard reports that the VM's process is gone",
            Self::Silent => {
                "the guard has not reported the VM's process as gone in time; look whether palisade-guard runs on that \
                 host and whether the process hangs in its storage"
            }
            Self::Refused => "the guard refuses to kill this VM; its log says why",
            Self::OnlyKills => {
                "this method can only kill a run; ask the guard for a start, and the monitor for a status"
            }
        })
    }
}

/// An order for the guard: kill this run of this node, and report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Whose VM.
    pub node: NodeId,
    /// Which start of it; the guard refuses to kill another.
    pub run: Run,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    target: Kill,
    deadline: Instant,
    next_kill: Instant,
    again: Duration,
    kills: u32,
    outcome: Option<Outcome>,
}

impl Attempt {
    /// Starts an attempt to end `run` of `node` within `total` (at most `TOTAL_MAX_MS`).
    #[must_use]
    pub fn start(now: Instant, action: Action, node: NodeId, run: Run, total: Duration) -> Self {
        let mut attempt = Self {
            target: Kill { node, run },
            deadline: now + total.min(Duration::from_millis(TOTAL_MAX_MS)),
            next_kill: now,
            again: Duration::from_millis(AGAIN_MS),
            kills: 0,
            outcome: None,
        };
        if action != Action::Off {
            attempt.end(Verdict::Failed, None, Why::OnlyKills);
        }
        attempt
    }

    /// The guard reports: every run of `node` up to and including `gone` is gone. Counts only for the run's own boot:
    /// counters of two boots do not compare, and what a later boot says about an earlier one is a matter of boot ids
    /// (SAFETY E9), not of this attempt.
    pub fn on_gone(&mut self, node: NodeId, gone: Run) {
        let Kill { node: target, run } = self.target;
        let same = node == target && gone.boot == run.boot && gone.boot != 0 && run.counter != 0;
        if same && gone.counter >= run.counter {
            self.end(Verdict::Confirmed(Class::VmGone), Some(false), Why::Gone);
        }
    }

    /// The guard says that it will not kill `run` of `node`.
    pub fn on_refused(&mut self, node: NodeId, run: Run) {
        if (Kill { node, run }) == self.target {
            self.end(Verdict::Failed, Some(true), Why::Refused);
        }
    }

    /// The order to send at `now`, if one is due. Call again after each fact and at `poll_timeout`.
    pub fn poll_kill(&mut self, now: Instant) -> Option<Kill> {
        if self.outcome.is_some() {
            return None;
        }
        if now >= self.deadline {
            self.end(Verdict::Unknown, None, Why::Silent);
            return None;
        }
        if now < self.next_kill || self.kills >= KILLS_MAX {
            return None;
        }
        self.kills += 1;
        self.next_kill = now + self.again;
        Some(self.target)
    }

    fn end(&mut self, verdict: Verdict, power: Option<bool>, why: Why) {
        if self.outcome.is_none() {
            self.outcome = Some(Outcome { verdict, power, detail: why.into() });
        }
    }
}

impl Method for Attempt {
    /// Orders leave through `poll_kill`, because frames belong to the guard link; here only the timers run.
    fn poll_transmit(&mut self, now: Instant, _out: &mut [u8]) -> Option<usize> {
        if self.outcome.is_none() && now >= self.deadline {
            self.end(Verdict::Unknown, None, Why::Silent);
        }
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.outcome {
            Some(_) => None,
            None if self.kills >= KILLS_MAX => Some(self.deadline),
            None => Some(self.deadline.min(self.next_kill)),
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    fn is_done(&self) -> bool {
        self.outcome.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::new(2);
    const RUN: Run = Run { boot: 0xb007, counter: 6 };

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn start() -> Attempt {
        Attempt::start(at(0), Action::Off, NODE, RUN, Duration::from_millis(TOTAL_MS))
    }

    #[test]
    fn the_report_of_this_run_confirms() {
        let mut attempt = start();
        assert_eq!(attempt.poll_kill(at(0)), Some(Kill { node: NODE, run: RUN }));
        assert_eq!(attempt.poll_kill(at(1)), None);
        assert_eq!(attempt.outcome(), None);
        attempt.on_gone(NODE, RUN);
        let outcome = attempt.outcome().expect("ended");
        assert_eq!(outcome.verdict, Verdict::Confirmed(Class::VmGone));
        assert_eq!(attempt.poll_timeout(), None);
        assert_eq!(attempt.poll_kill(at(500)), None);
    }

    #[test]
    fn a_report_of_an_earlier_run_another_node_or_another_boot_proves_nothing() {
        let mut attempt = start();
        attempt.on_gone(NODE, Run { counter: 5, ..RUN });
        attempt.on_gone(NodeId::new(3), RUN);
        attempt.on_gone(NODE, Run { boot: 0xb008, counter: 9 });
        attempt.on_gone(NODE, Run { boot: 0, counter: 9 });
        assert_eq!(attempt.outcome(), None);
        attempt.on_gone(NODE, Run { counter: 7, ..RUN });
        assert!(attempt.outcome().is_some_and(|o| o.did(Action::Off)));
    }

    #[test]
    fn no_run_at_all_is_never_confirmed() {
        let mut attempt = Attempt::start(at(0), Action::Off, NODE, Run::NONE, Duration::from_millis(50));
        attempt.on_gone(NODE, Run::NONE);
        attempt.on_gone(NODE, RUN);
        assert_eq!(attempt.outcome(), None);
    }

    #[test]
    fn asks_again_and_then_does_not_know() {
        let mut attempt = start();
        let mut kills = 0;
        let mut now = at(0);
        while attempt.outcome().is_none() {
            if attempt.poll_kill(now).is_some() {
                kills += 1;
            }
            if let Some(next) = attempt.poll_timeout() {
                assert!(next > now);
                now = next;
            }
        }
        assert_eq!(kills, TOTAL_MS / AGAIN_MS);
        assert_eq!(now, at(TOTAL_MS));
        assert_eq!(attempt.outcome().map(|o| o.verdict), Some(Verdict::Unknown));
        attempt.on_gone(NODE, RUN);
        assert_eq!(attempt.outcome().map(|o| o.verdict), Some(Verdict::Unknown), "an outcome does not change");
    }

    #[test]
    fn a_refusal_fails_and_other_actions_are_refused() {
        let mut attempt = start();
        attempt.on_refused(NODE, Run { counter: 5, ..RUN });
        assert_eq!(attempt.outcome(), None);
        attempt.on_refused(NODE, RUN);
        assert_eq!(attempt.outcome().map(|o| o.verdict), Some(Verdict::Failed));
        for action in [Action::On, Action::Status] {
            let attempt = Attempt::start(at(0), action, NODE, RUN, Duration::from_millis(50));
            assert!(attempt.is_done() && !attempt.outcome().is_some_and(|o| o.did(action)));
        }
    }

    #[test]
    fn the_number_of_orders_is_bounded() {
        let mut attempt = Attempt::start(at(0), Action::Off, NODE, RUN, Duration::from_millis(u64::MAX));
        let mut kills = 0;
        let mut now = at(0);
        while let Some(next) = attempt.poll_timeout() {
            now = now.max(next);
            kills += u32::from(attempt.poll_kill(now).is_some());
        }
        assert_eq!(kills, KILLS_MAX);
        assert_eq!(now, at(TOTAL_MAX_MS));
    }
}
