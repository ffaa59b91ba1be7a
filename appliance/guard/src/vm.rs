//! What the duty loop holds of each VM, and the words for its end.
//!
//! Owns the pairing of a process with its runs (a node) or its restarts (what is kept running). Must never allocate: all
//! of it is used on duty. That a process is gone is only ever what the kernel says (SAFETY E2).

use crate::child::{Process, Program};
use crate::restart::Restart;
use crate::runs::Runs;
use crate::say;

/// A node: its runs and its process.
#[derive(Debug)]
pub struct Node {
    /// The runs.
    pub runs: Runs,
    /// How its VM is started.
    pub program: Program,
    /// Its VM.
    pub process: Option<Process>,
    /// When its last VM ended, on the host's clock; zero: there was none.
    pub gone_us: u64,
}

/// A process that is kept running: the appliance's VM, or the vsock devices.
#[derive(Debug)]
pub struct Kept {
    /// What to call it.
    pub name: &'static str,
    /// How it is started.
    pub program: Program,
    /// It.
    pub process: Option<Process>,
    /// When it is started again.
    pub restart: Restart,
    /// When it ended last, on the host's clock; zero: it did not yet.
    pub gone_us: u64,
    /// When it is due, on the host's clock; zero: at once.
    pub due_us: u64,
    /// Whether its exit status has the meanings of `board`.
    pub appliance: bool,
}

/// An exit status as a person reads it.
#[derive(Debug)]
pub struct Status(pub i32);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            127 => f.write_str("exit status 127 (its program could not be executed)"),
            signal if signal < 0 => write!(f, "ended by signal {}", -signal),
            status => write!(f, "exit status {status}"),
        }
    }
}

/// An error of the kernel by its number: its words would be allocated.
#[derive(Debug)]
pub struct Errno<'a>(pub &'a std::io::Error);

impl std::fmt::Display for Errno<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "errno {}", self.0.raw_os_error().unwrap_or(0))
    }
}

/// Kills a node's VM, if there is one; its end is seen by `gone`.
pub fn kill(node: &Node, why: &str) {
    let (number, counter) = (node.runs.node(), node.runs.counter());
    match node.process.as_ref().map(Process::kill) {
        None => {}
        Some(Ok(())) => say!("{number} run {counter} killed by {why}"),
        Some(Err(error)) => say!("{number} run {counter} cannot be killed: {}", Errno(&error)),
    }
}

/// The exit status of a process that the kernel says is gone; it is reaped and forgotten.
pub fn gone(process: &mut Option<Process>) -> Option<i32> {
    match process.as_ref()?.reap() {
        Ok(None) => None,
        Ok(Some(status)) => {
            *process = None;
            Some(status)
        }
        Err(error) => {
            say!("a process cannot be waited for: {}", Errno(&error));
            None
        }
    }
}
