//! Lines for people, on standard output: the serial console of the node.
//!
//! Owns one thread that writes and a bounded queue before it. Must never make its callers wait: a console that nobody
//! reads would stop the beats. What does not fit is dropped, and the next line that fits says how many were.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::event::line;
use crate::sys;

/// Lines that wait: more than one view, one status and a burst of events.
const LINES_MAX: usize = 256;

/// A handle to the writer.
#[derive(Clone, Debug)]
pub struct Console {
    lines: SyncSender<String>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    dropped: AtomicUsize,
}

impl Console {
    /// Starts the writer.
    #[must_use]
    pub fn start() -> Self {
        let (lines, receiver) = sync_channel(LINES_MAX);
        let counts = Arc::new(Counts::default());
        let theirs = Arc::clone(&counts);
        thread::spawn(move || write_all(&receiver, &theirs));
        Self { lines, counts }
    }

    /// Prints a line with head and time.
    pub fn tell(&self, text: &str) {
        let dropped = self.counts.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 && !self.send(line(sys::now(), &format!("DROPPED lines={dropped}"))) {
            self.counts.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        if !self.send(line(sys::now(), text)) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all lines have left the machine, but not longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let stdout = std::io::stdout().as_raw_fd();
        while Instant::now() < end && (self.counts.waiting.load(Ordering::Acquire) > 0 || sys::unsent_bytes(stdout) > 0)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&self, line: String) -> bool {
        self.counts.waiting.fetch_add(1, Ordering::AcqRel);
        let sent = self.lines.try_send(line).is_ok();
        if !sent {
            self.counts.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        sent
    }
}

fn write_all(lines: &Receiver<String>, counts: &Counts) {
    for mut line in lines {
        line.push('\n');
        // One call for one line keeps it in one piece. A console that is gone is nothing that a line could tell.
        let mut stdout = std::io::stdout().lock();
        let _gone = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        counts.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
