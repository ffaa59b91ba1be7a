//! The runs of one node: which start of its VM is the newest, and what became of it.
//!
//! Owns the counter and its order of events. Pure: it says what to do next and is told what was done; time is an
//! argument. It must never have two VMs of a node at once, never start one that the appliance does not know by number
//! (SAFETY E2), and never call a run gone whose process the kernel has not called gone (SAFETY E4).
//!
//! ```text
//!          START              recorded            ACK                exit
//!   Idle ---------> Recording ---------> Starting ---------> Running ------> Idle
//!                                           | KILL, lease end                 (Exited)
//!                                           +-------------------------------> Idle
//! ```

use palisade_core::id::{BootId, NodeId};
use palisade_core::wire::guard::{RunReport, RunState};

/// The status of a run that was ended before its program began, or of which only the end is known: as if by SIGKILL.
pub const STATUS_KILLED: i32 = -9;

/// Where the newest run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No process.
    Idle,
    /// No process yet; its counter is on its way to the state directory.
    Recording { counter: u32 },
    /// No process yet; the appliance must acknowledge the counter.
    Starting,
    /// The process lives, or has been killed and is not yet reaped.
    Running { killed: bool },
}

/// An order to start that could not be carried out at once.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    after: u32,
    until_us: u64,
}

/// The runs of one node's VM.
#[derive(Debug)]
pub struct Runs {
    node: NodeId,
    boot: BootId,
    disks_qualify: bool,
    /// The newest run that was announced.
    counter: u32,
    status: i32,
    phase: Phase,
    wanted: Option<Wanted>,
}

/// What the owner of the processes has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Kill the VM; its exit will be told with `on_exit`.
    Kill,
    /// Write this counter down, then call `on_recorded`.
    Record(u32),
    /// An order ran out of its validity before it could be carried out.
    Forgot,
}

/// What became of a START.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It will be carried out.
    Accepted,
    /// A repetition: it was carried out, or is being carried out.
    Known,
}

impl Runs {
    /// The runs of a node of which an earlier guard has started `counter`, all proved gone (SAFETY E4).
    #[must_use]
    pub const fn new(node: NodeId, boot: BootId, disks_qualify: bool, counter: u32) -> Self {
        Self { node, boot, disks_qualify, counter, status: STATUS_KILLED, phase: Phase::Idle, wanted: None }
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The newest run's counter; zero: none.
    #[must_use]
    pub const fn counter(&self) -> u32 {
        self.counter
    }

    /// Whether the appliance must still acknowledge the newest run.
    #[must_use]
    pub const fn awaits_ack(&self) -> bool {
        matches!(self.phase, Phase::Starting)
    }

    /// A START came in; valid until `until_us`.
    pub fn on_start(&mut self, after: u32, until_us: u64) -> Heard {
        if after < self.counter || matches!(self.phase, Phase::Recording { .. } | Phase::Starting) {
            return Heard::Known;
        }
        let again = self.wanted.is_some_and(|wanted| wanted.after == after);
        self.wanted = Some(Wanted { after, until_us });
        if again { Heard::Known } else { Heard::Accepted }
    }

    /// Forgets an order that was not carried out: whoever gave it is gone.
    pub const fn forget_order(&mut self) {
        self.wanted = None;
    }

    /// What to do next; `leased` says whether the lease is in force. Call until `None`.
    pub fn poll(&mut self, now_us: u64, leased: bool) -> Option<Step> {
        let wanted = self.wanted?;
        if now_us >= wanted.until_us {
            self.wanted = None;
            return Some(Step::Forgot);
        }
        if !leased {
            return None;
        }
        match self.phase {
            Phase::Idle => {
                // An appliance that knows a later run than our records do is believed: a number is never used twice.
                let counter = self.counter.max(wanted.after).checked_add(1)?;
                self.wanted = None;
                self.phase = Phase::Recording { counter };
                Some(Step::Record(counter))
            }
            Phase::Running { killed: false } => {
                self.phase = Phase::Running { killed: true };
                Some(Step::Kill)
            }
            Phase::Running { killed: true } | Phase::Recording { .. } | Phase::Starting => None,
        }
    }

    /// The counter is written down, or could not be: then nothing was started, and the order has to be repeated.
    pub fn on_recorded(&mut self, written: bool) {
        let Phase::Recording { counter } = self.phase else { return };
        if written {
            self.counter = counter;
            self.phase = Phase::Starting;
        } else {
            self.phase = Phase::Idle;
        }
    }

    /// An ACK came in. True: start the program now and say with `on_exec` how that went.
    #[must_use]
    pub fn on_ack(&self, counter: u32) -> bool {
        counter == self.counter && self.phase == Phase::Starting
    }

    /// The program was started, or could not be.
    pub const fn on_exec(&mut self, started: bool) {
        if started {
            self.phase = Phase::Running { killed: false };
        } else {
            self.end(STATUS_KILLED);
        }
    }

    /// A KILL came in. True: kill the VM.
    pub fn on_kill(&mut self, counter: u32) -> bool {
        counter == self.counter && self.on_lease_end()
    }

    /// The lease ended, or the guard ends. True: kill the VM.
    pub const fn on_lease_end(&mut self) -> bool {
        self.wanted = None;
        match self.phase {
            Phase::Running { .. } => {
                self.phase = Phase::Running { killed: true };
                true
            }
            Phase::Starting => {
                self.end(STATUS_KILLED);
                false
            }
            Phase::Idle | Phase::Recording { .. } => false,
        }
    }

    /// The kernel says that the process is gone.
    pub const fn on_exit(&mut self, status: i32) {
        self.end(status);
    }

    const fn end(&mut self, status: i32) {
        self.status = status;
        self.phase = Phase::Idle;
    }

    /// All that the appliance has to know.
    #[must_use]
    pub fn report(&self) -> RunReport {
        let state = match self.phase {
            Phase::Idle | Phase::Recording { .. } if self.counter == 0 => RunState::None,
            Phase::Idle | Phase::Recording { .. } => RunState::Exited,
            Phase::Starting => RunState::Starting,
            Phase::Running { .. } => RunState::Running,
        };
        let lives = matches!(state, RunState::Starting | RunState::Running);
        RunReport {
            node: self.node,
            boot: self.boot,
            state,
            counter: self.counter,
            gone_through: if lives { self.counter - 1 } else { self.counter },
            disks_qualify: self.disks_qualify,
            status: if state == RunState::Exited { self.status } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u64 = 1000;

    fn fresh(counter: u32) -> Runs {
        Runs::new(NodeId::new(2), 7, true, counter)
    }

    fn running() -> Runs {
        let mut runs = fresh(0);
        assert_eq!(runs.on_start(0, LATER), Heard::Accepted);
        assert_eq!(runs.poll(0, true), Some(Step::Record(1)));
        runs.on_recorded(true);
        assert!(runs.on_ack(1));
        runs.on_exec(true);
        runs
    }

    fn seen(runs: &Runs) -> (RunState, u32, u32) {
        let report = runs.report();
        (report.state, report.counter, report.gone_through)
    }

    #[test]
    fn a_run_is_recorded_announced_and_acknowledged_before_it_execs() {
        let mut runs = fresh(0);
        assert_eq!(seen(&runs), (RunState::None, 0, 0));
        runs.on_start(0, LATER);
        assert_eq!(runs.poll(0, true), Some(Step::Record(1)));
        assert_eq!(seen(&runs), (RunState::None, 0, 0), "not announced before it is written down");
        assert!(!runs.on_ack(1));
        runs.on_recorded(true);
        assert_eq!(seen(&runs), (RunState::Starting, 1, 0));
        assert!(!runs.on_ack(0) && !runs.on_ack(2) && runs.on_ack(1));
        runs.on_exec(true);
        assert_eq!(seen(&runs), (RunState::Running, 1, 0));
        assert!(!runs.on_ack(1), "a repeated ACK starts nothing");
        runs.on_exit(-9);
        assert_eq!(seen(&runs), (RunState::Exited, 1, 1));
        assert_eq!(runs.report().status, -9);
    }

    #[test]
    fn a_repeated_or_old_start_is_harmless() {
        let mut runs = running();
        assert_eq!(runs.on_start(0, LATER), Heard::Known);
        assert_eq!(runs.poll(0, true), None);
        runs.on_exit(0);
        assert_eq!(runs.on_start(0, LATER), Heard::Known);
        assert_eq!(runs.poll(0, true), None);
    }

    #[test]
    fn a_fenced_vm_is_gone_before_the_next_is_started() {
        let mut runs = running();
        assert_eq!(runs.on_start(1, LATER), Heard::Accepted);
        assert_eq!(runs.poll(0, true), Some(Step::Kill));
        assert_eq!(runs.on_start(1, LATER), Heard::Known);
        assert_eq!(runs.poll(0, true), None, "killed once, and nothing starts beside it");
        runs.on_exit(-9);
        assert_eq!(runs.poll(0, true), Some(Step::Record(2)));
        runs.on_recorded(true);
        assert_eq!(seen(&runs), (RunState::Starting, 2, 1));
    }

    #[test]
    fn an_order_without_a_lease_waits_and_runs_out() {
        let mut runs = fresh(4);
        runs.on_start(4, LATER);
        assert_eq!(runs.poll(0, false), None);
        assert_eq!(runs.poll(LATER, true), Some(Step::Forgot));
        assert_eq!(runs.poll(LATER, true), None);
        runs.on_start(4, 2 * LATER);
        assert_eq!(runs.poll(LATER, true), Some(Step::Record(5)));
    }

    #[test]
    fn a_kill_is_about_one_run_only() {
        let mut runs = running();
        assert!(!runs.on_kill(0) && !runs.on_kill(2));
        assert_eq!(seen(&runs), (RunState::Running, 1, 0));
        assert!(runs.on_kill(1));
        assert_eq!(seen(&runs), (RunState::Running, 1, 0), "killed is not gone");
        runs.on_exit(-9);
        assert!(!runs.on_kill(1));
    }

    #[test]
    fn a_start_that_was_not_acknowledged_ends_without_a_process() {
        let mut runs = fresh(0);
        runs.on_start(0, LATER);
        runs.poll(0, true);
        runs.on_recorded(true);
        assert!(!runs.on_kill(1), "there is nothing to kill");
        assert_eq!(seen(&runs), (RunState::Exited, 1, 1));
        assert!(!runs.on_ack(1));
    }

    #[test]
    fn a_counter_that_could_not_be_written_was_never_used() {
        let mut runs = fresh(3);
        runs.on_start(3, LATER);
        assert_eq!(runs.poll(0, true), Some(Step::Record(4)));
        runs.on_recorded(false);
        assert_eq!(seen(&runs), (RunState::Exited, 3, 3));
        runs.on_start(3, LATER);
        assert_eq!(runs.poll(0, true), Some(Step::Record(4)));
    }

    #[test]
    fn an_appliance_that_knows_a_later_run_is_believed() {
        let mut runs = fresh(0);
        runs.on_start(9, LATER);
        assert_eq!(runs.poll(0, true), Some(Step::Record(10)));
        runs.on_recorded(true);
        assert_eq!(seen(&runs), (RunState::Starting, 10, 9));
    }

    #[test]
    fn the_end_of_the_lease_ends_everything() {
        let mut runs = running();
        runs.on_start(1, LATER);
        assert!(runs.on_lease_end());
        runs.on_exit(-9);
        assert_eq!(runs.poll(0, true), None, "orders of before the end are void");
    }
}
