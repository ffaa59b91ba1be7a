//! The loop that a guard lives in: it waits, and does what the kernel, the appliance and the clock ask for.
//!
//! Owns the processes and who is told what when. From `Duty::run` on it must never allocate and never wait for a disk,
//! the appliance or a reader of its log: detection, kill and lease go on however little memory the host has. Decisions
//! are `runs`, `lease` and `restart`; this file only carries them out. Rules: SAFETY C3, C5, E2, E4, F1.

use crate::child::Launcher;
use crate::counters::Recorder;
use crate::lease::{Lease, Renewal};
use crate::link::Link;
use crate::runs::{Heard, Step};
use crate::vm::{Errno, Kept, Node, Status, gone, kill};
use crate::{log, memory, say, sys};
use palisade_core::board;
use palisade_core::id::{BootId, NodeId};
use palisade_core::limits::{LOCAL_NODES_MAX, RESEND_MS};
use palisade_core::wire::guard::Message;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// All reports are repeated that often, µs.
const REPORT_US: u64 = 1_000_000;
/// After the last node is gone, the appliance has that long to pass the proofs on before it ends too, µs.
const LAST_WORD_US: u64 = 300_000;
/// Whether a process's socket is there again is looked at so often, µs.
const SOCKET_LOOK_US: u64 = 5_000;
/// A guard that was told to end waits that long for its processes, µs; then they are the next guard's.
const END_US: u64 = 20_000_000;

/// What the duty loop works with; all of it made before.
#[derive(Debug)]
pub struct Duty<'a> {
    /// The host's boot.
    pub boot: BootId,
    /// Time between two stamps, ms.
    pub stamp_ms: u32,
    /// For how long an order to start is good, ms.
    pub order_ms: u32,
    /// Starts processes.
    pub launcher: Launcher<'a>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The appliance's VM and the vsock devices.
    pub kept: Vec<Kept>,
    /// The road to the appliance.
    pub link: Link,
    /// The lease of all node VMs.
    pub lease: Lease,
    /// Writes counters down.
    pub recorder: Recorder,
    /// Signals: end, or say how things are.
    pub signals: OwnedFd,
    /// The clock's alarm.
    pub timer: OwnedFd,
}

/// Descriptors to wait on beside those of processes.
const FIXED: usize = 5;
/// All descriptors to wait on.
const FDS: usize = FIXED + LOCAL_NODES_MAX + 2;

/// When what is due.
#[derive(Debug, Default)]
struct Due {
    stamp_us: u64,
    report_us: u64,
    resend_us: u64,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Not,
    /// The nodes are ending.
    Nodes {
        give_up_us: u64,
    },
    /// The nodes are gone, and the appliance says so.
    LastWord {
        until_us: u64,
        give_up_us: u64,
    },
    /// Everything is ending.
    Rest {
        give_up_us: u64,
    },
}

impl Duty<'_> {
    /// Serves until a signal ends it. True: every process is gone.
    pub fn run(&mut self) -> bool {
        let before = memory::allocations();
        let mut due = Due::default();
        let mut end = End::Not;
        say!("on duty: {} nodes, host boot {:016x}", self.nodes.len(), self.boot);
        loop {
            let now = sys::boottime_us();
            self.reap(now, end == End::Not);
            self.signals(now, &mut end, before);
            self.hear(now);
            if self.lease.poll_end(now) {
                say!("the lease of the nodes has ended by the host's clock");
                self.end_nodes("the lease");
            }
            if end == End::Not {
                self.keep(now);
                self.carry_out(now, &mut due);
            }
            self.tell(now, &mut due);
            if let Some(all_gone) = self.poll_end(now, &mut end) {
                let lost = log::lost();
                say!(
                    "end: allocations since the start of duty: {}, log lines lost: {lost}",
                    memory::allocations() - before
                );
                return all_gone;
            }
            self.link.flush();
            self.wait(&due, end);
        }
    }

    /// Waits for the first of everything.
    fn wait(&self, due: &Due, end: End) {
        let mut wake_us = due.stamp_us.min(due.report_us);
        if self.nodes.iter().any(|node| node.runs.awaits_ack()) {
            wake_us = wake_us.min(due.resend_us);
        }
        if let Some(end_us) = self.lease.deadline_us() {
            wake_us = wake_us.min(end_us);
        }
        match end {
            End::Not => {
                for kept in self.kept.iter().filter(|kept| kept.process.is_none()) {
                    wake_us = wake_us.min(kept.due_us);
                }
            }
            End::Nodes { give_up_us } | End::Rest { give_up_us } => wake_us = wake_us.min(give_up_us),
            End::LastWord { until_us, .. } => wake_us = wake_us.min(until_us),
        }
        let timed = sys::set_timer(self.timer.as_fd(), wake_us);
        let mut fds = [watch(-1, 0); FDS];
        let outward = if self.link.wants_to_write() { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
        fds[0] = watch(self.timer.as_raw_fd(), libc::POLLIN);
        fds[1] = watch(self.signals.as_raw_fd(), libc::POLLIN);
        fds[2] = watch(self.link.listener_fd(), libc::POLLIN);
        fds[3] = watch(self.link.stream_fd(), outward);
        fds[4] = watch(self.recorder.as_fd().as_raw_fd(), libc::POLLIN);
        let processes = self.nodes.iter().map(|node| &node.process).chain(self.kept.iter().map(|kept| &kept.process));
        for (place, process) in fds[FIXED..].iter_mut().zip(processes) {
            *place = watch(process.as_ref().map_or(-1, AsRawFd::as_raw_fd), libc::POLLIN);
        }
        // Without a timer, or with a poll that fails, the loop still goes round often enough for the stamps.
        let often = i32::try_from(self.stamp_ms).unwrap_or(i32::MAX);
        if let Err(error) = sys::poll(&mut fds, timed.is_err().then_some(often)) {
            say!("poll: {}", Errno(&error));
        }
    }

    /// Finds out which processes are gone. The kernel says so, nobody guesses (SAFETY E2).
    fn reap(&mut self, now: u64, restarts: bool) {
        for node in &mut self.nodes {
            if let Some(status) = gone(&mut node.process) {
                node.runs.on_exit(status);
                node.gone_us = now;
                say!("{} run {} is gone: {}", node.runs.node(), node.runs.counter(), Status(status));
                self.link.send(&Message::Run(node.runs.report()));
            }
        }
        for kept in &mut self.kept {
            let Some(status) = gone(&mut kept.process) else { continue };
            kept.gone_us = now;
            if !restarts {
                say!("{} is gone: {}", kept.name, Status(status));
                continue;
            }
            let pause_ms = kept.restart.on_exit(now, status);
            kept.due_us = now + pause_ms * 1000;
            if !kept.appliance {
                say!(
                    "{} is gone: {}; restart in {pause_ms} ms; running VMs have no vsock until they are restarted",
                    kept.name,
                    Status(status)
                );
            } else if status == board::EXIT_REFUSED {
                say!("the appliance REFUSES its configuration: its serial log says why; next try in {pause_ms} ms");
            } else if status == board::EXIT_FAIL_STOP {
                say!(
                    "the appliance ended in fail-stop, or QEMU could not start it: its serial log has the epitaph, its log \
                     QEMU's words; restart in {pause_ms} ms"
                );
            } else {
                say!("the appliance is gone: {}; restart in {pause_ms} ms", Status(status));
            }
        }
    }

    fn signals(&mut self, now: u64, end: &mut End, allocations_before: u64) {
        while let Some(signal) = sys::next_signal(self.signals.as_fd()) {
            if signal == libc::SIGUSR1 {
                self.status(now, allocations_before);
            } else if *end == End::Not {
                say!("told to end (signal {signal}): the nodes end first");
                *end = End::Nodes { give_up_us: now + END_US };
                self.end_nodes("the guard's end");
            }
        }
    }

    fn status(&self, now: u64, allocations_before: u64) {
        for node in &self.nodes {
            let report = node.runs.report();
            let pid = node.process.as_ref().map_or(0, |process| process.pid);
            say!(
                "status: {} {:?} run {}, gone through {}, process {pid}, disks qualify: {}",
                report.node,
                report.state,
                report.counter,
                report.gone_through,
                report.disks_qualify
            );
        }
        let left_ms = self.lease.deadline_us().map_or(0, |end_us| end_us.saturating_sub(now) / 1000);
        let allocations = memory::allocations() - allocations_before;
        say!(
            "status: lease {left_ms} ms, frames dropped {} unknown {}, log lines lost {}, allocations since the start of duty: {allocations}",
            self.link.dropped,
            self.link.unknown,
            log::lost()
        );
    }

    /// Takes a connection, and what the appliance says.
    fn hear(&mut self, now: u64) {
        if self.link.accept() {
            say!("the appliance's console is connected");
            self.greet(now);
        }
        let mut fresh = true;
        while let Some(message) = self.link.next(&mut fresh) {
            match message {
                Message::Appliance { incarnation } => {
                    say!("the appliance is there: incarnation {incarnation:016x}");
                    // Orders that were given before are an earlier appliance's.
                    self.nodes.iter_mut().for_each(|node| node.runs.forget_order());
                    self.greet(now);
                }
                Message::Lease { clock, lease_ms } => self.on_lease(now, clock, lease_ms),
                Message::Start { node, after } => self.on_start(now, node, after),
                Message::Ack { node, counter } => self.on_ack(now, node, counter),
                Message::Kill { node, counter } => self.on_kill(node, counter),
                // Ours only.
                Message::Stamp { .. } | Message::Run(_) => self.link.unknown += 1,
            }
        }
    }

    fn greet(&mut self, now: u64) {
        self.stamp(now);
        self.report();
    }

    fn stamp(&mut self, now: u64) {
        self.lease.on_stamp(now);
        self.link.send(&Message::Stamp { boot: self.boot, clock: now });
    }

    fn report(&mut self) {
        for node in &self.nodes {
            self.link.send(&Message::Run(node.runs.report()));
        }
    }

    fn on_lease(&mut self, now: u64, clock: u64, lease_ms: u32) {
        match self.lease.handle(now, clock, lease_ms) {
            Renewal::Renewed => {}
            Renewal::Began => say!("the nodes have a lease, {lease_ms} ms from the stamp {clock}"),
            Renewal::NotIssued => say!("REFUSED: a lease from the stamp {clock}, which this guard did not issue"),
            Renewal::TooLate => say!("a lease from the stamp {clock} ended before it arrived"),
        }
    }

    fn on_start(&mut self, now: u64, node: NodeId, after: u32) {
        let leased = self.lease.in_force(now);
        let Some(found) = self.nodes.iter_mut().find(|found| found.runs.node() == node) else {
            return say!("REFUSED: start {node}, which is not on this host");
        };
        let until_us = now + u64::from(self.order_ms) * 1000;
        if found.runs.on_start(after, until_us) == Heard::Known {
            // Whoever repeats an order has missed the report.
            self.link.send(&Message::Run(found.runs.report()));
        } else {
            let wait = if leased { "" } else { "; it waits for a lease" };
            say!("ordered: start {node} after run {after}{wait}");
        }
    }

    fn on_ack(&mut self, now: u64, node: NodeId, counter: u32) {
        // Without a lease nothing would bound the node's life; the run is announced until there is one.
        let leased = self.lease.in_force(now);
        let Some(found) = self.nodes.iter_mut().find(|found| found.runs.node() == node) else { return };
        // The run is announced, and acknowledged, again and again; one of these times all is ready.
        if !leased || !found.program.may_start(now, found.gone_us) || !found.runs.on_ack(counter) {
            return;
        }
        match self.launcher.start(&found.program) {
            Ok(process) => {
                say!("{node} run {counter} started: process {}", process.pid);
                found.process = Some(process);
                found.runs.on_exec(true);
            }
            Err(error) => {
                say!("{node} run {counter} cannot be started: {}", Errno(&error));
                found.runs.on_exec(false);
            }
        }
        self.link.send(&Message::Run(found.runs.report()));
    }

    fn on_kill(&mut self, node: NodeId, counter: u32) {
        let Some(found) = self.nodes.iter_mut().find(|found| found.runs.node() == node) else {
            return say!("REFUSED: kill {node}, which is not on this host");
        };
        if counter == found.runs.counter() {
            if found.runs.on_kill(counter) {
                kill(found, "an order");
            }
        } else {
            say!("ordered: kill {node} run {counter}; nothing done, the newest is run {}", found.runs.counter());
        }
        self.link.send(&Message::Run(found.runs.report()));
    }

    /// Ends every node.
    fn end_nodes(&mut self, why: &str) {
        for node in &mut self.nodes {
            if node.runs.on_lease_end() {
                kill(node, why);
            }
            self.link.send(&Message::Run(node.runs.report()));
        }
    }

    /// Carries the orders on.
    fn carry_out(&mut self, now: u64, due: &mut Due) {
        while let Some((node, written)) = self.recorder.poll() {
            let Some(found) = self.nodes.iter_mut().find(|found| found.runs.node() == node) else { continue };
            found.runs.on_recorded(written);
            if written {
                say!("{node} run {} is announced; it waits for the appliance's word", found.runs.counter());
                due.resend_us = now;
            } else {
                say!("{node}: its counter cannot be written to the state directory, so it is not started");
            }
        }
        let leased = self.lease.in_force(now);
        for node in &mut self.nodes {
            while let Some(step) = node.runs.poll(now, leased) {
                match step {
                    Step::Kill => kill(node, "the order to start it anew"),
                    Step::Record(counter) if self.recorder.record(node.runs.node(), counter) => {}
                    Step::Record(_) => node.runs.on_recorded(false),
                    Step::Forgot => {
                        say!("{}: an order to start was not possible in time and is forgotten", node.runs.node())
                    }
                }
            }
        }
    }

    /// Starts what is kept running.
    fn keep(&mut self, now: u64) {
        for kept in self.kept.iter_mut().filter(|kept| kept.process.is_none() && kept.due_us <= now) {
            if !kept.program.may_start(now, kept.gone_us) {
                kept.due_us = now + SOCKET_LOOK_US;
                continue;
            }
            kept.restart.on_start(now);
            match self.launcher.start(&kept.program) {
                Ok(process) => {
                    say!("{} started: process {}", kept.name, process.pid);
                    kept.process = Some(process);
                }
                Err(error) => {
                    let pause_ms = kept.restart.on_exit(now, board::EXIT_REFUSED);
                    kept.due_us = now + pause_ms * 1000;
                    say!("{} cannot be started: {}; next try in {pause_ms} ms", kept.name, Errno(&error));
                }
            }
        }
    }

    /// Says what is due.
    fn tell(&mut self, now: u64, due: &mut Due) {
        if now >= due.stamp_us {
            self.stamp(now);
            due.stamp_us = now + u64::from(self.stamp_ms) * 1000;
        }
        if now >= due.report_us {
            self.report();
            due.report_us = now + REPORT_US;
        }
        if now >= due.resend_us {
            for node in self.nodes.iter().filter(|node| node.runs.awaits_ack()) {
                self.link.send(&Message::Run(node.runs.report()));
            }
            due.resend_us = now + u64::from(RESEND_MS) * 1000;
        }
    }

    /// Goes on with the end. `Some(true)`: every process is gone.
    fn poll_end(&mut self, now: u64, end: &mut End) -> Option<bool> {
        let nodes_gone = self.nodes.iter().all(|node| node.process.is_none());
        let all_gone = nodes_gone && self.kept.iter().all(|kept| kept.process.is_none());
        match *end {
            End::Not => return None,
            End::Nodes { give_up_us } if nodes_gone => {
                let heard = self.link.stream_fd() >= 0 && !self.nodes.is_empty();
                *end = End::LastWord { until_us: if heard { now + LAST_WORD_US } else { now }, give_up_us };
            }
            End::LastWord { until_us, give_up_us } if now >= until_us => {
                for process in self.kept.iter().filter_map(|kept| kept.process.as_ref()) {
                    if let Err(error) = process.kill() {
                        say!("process {} cannot be killed: {}", process.pid, Errno(&error));
                    }
                }
                *end = End::Rest { give_up_us };
            }
            End::Rest { .. } if all_gone => return Some(true),
            End::Nodes { give_up_us } | End::Rest { give_up_us } if now >= give_up_us => return Some(false),
            End::Nodes { .. } | End::LastWord { .. } | End::Rest { .. } => return None,
        }
        self.poll_end(now, end)
    }
}

const fn watch(fd: RawFd, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}
