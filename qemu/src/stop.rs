//! Whether a person wants all of this to end.
//!
//! Owns one flag. Everything that waits looks at it, so that Ctrl-C ends the run in order: waits give up, values are
//! dropped, children die.

use crate::sys::Interrupts;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static WANTED: AtomicBool = AtomicBool::new(false);
const STEP: Duration = Duration::from_millis(50);

/// The sentence with which a wait gives up.
pub const SENTENCE: &str = "a person ended the run";

/// Turns Ctrl-C and SIGTERM into the flag. Call it in the main thread before any other thread starts. A second Ctrl-C
/// ends the process at once; its children die with it.
///
/// # Errors
/// The signals cannot be held or the thread cannot start.
pub fn listen() -> io::Result<()> {
    let interrupts = Interrupts::hold()?;
    let body = move || {
        if interrupts.wait().is_ok() {
            WANTED.store(true, Ordering::Relaxed);
            eprintln!("\nEnding all VMs. Press Ctrl-C again to leave at once.");
        }
        if interrupts.wait().is_ok() {
            std::process::exit(130);
        }
    };
    std::thread::Builder::new().name("interrupts".into()).spawn(body).map(drop)
}

/// Whether a person wants the end.
#[must_use]
pub fn wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Sleeps, unless the end is wanted.
///
/// # Errors
/// A person ended the run.
pub fn sleep(time: Duration) -> Result<(), String> {
    let end = Instant::now() + time;
    while !wanted() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(STEP));
    }
    Err(SENTENCE.to_owned())
}
