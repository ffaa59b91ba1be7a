//! The log: lines in a fixed ring, written to the serial port as far as it takes them.
//!
//! Owns the ring, the rate limit and the count of what was dropped. It must never wait for the port: a line that does
//! not fit the ring is dropped and counted, and so is one above the rate. Every record of every crate comes here, the
//! kernel's too. Line: `[  seconds.micros] LEVEL target: message`.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use log::{Level, Record};

use crate::serial;

/// Bytes of the ring: the lines of two seconds at the rate limit.
const RING: usize = 32 * 1024;
/// Bytes of a line; the rest is cut.
const LINE_MAX: usize = 240;
/// Lines per second in the long run. A serial file takes more; a person does not.
const PER_SECOND: u64 = 100;
/// Lines at once, after a quiet time.
const BURST: u64 = 200;
/// Of these, kept for warnings and errors.
const RESERVED: u64 = 50;
/// How often the log says that lines were dropped, microseconds.
const SAY_EVERY_US: u64 = 1_000_000;
/// Bytes that go to the port in one turn of the loop: a quarter of a millisecond under emulation.
const TURN: usize = 256;

/// Microseconds of our clock, as of its last reading.
static NOW: AtomicU64 = AtomicU64::new(0);
/// Bytes that were dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);
static LOG: Lock = Lock { busy: AtomicBool::new(false), content: UnsafeCell::new(Log::new()) };

/// The log, and whether somebody holds it: an interrupt handler that logs meanwhile loses its line.
struct Lock {
    busy: AtomicBool,
    content: UnsafeCell<Log>,
}

// SAFETY: `with` lets one caller at a time come to the content.
unsafe impl Sync for Lock {}

impl Lock {
    fn with<R>(&self, work: impl FnOnce(&mut Log) -> R) -> Option<R> {
        if self.busy.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: the flag was free and is ours until it is given back below.
        let log = unsafe { &mut *self.content.get() };
        let result = work(log);
        self.busy.store(false, Ordering::Release);
        Some(result)
    }
}

struct Log {
    bytes: [u8; RING],
    /// Where the next byte goes in, counted from the start of time.
    head: usize,
    /// Where the next byte comes out.
    tail: usize,
    /// Thousandths of lines that are to be made up for before the burst is whole again.
    spent: u64,
    repaid_at: u64,
    /// Lines dropped since the log last said so.
    silenced: u32,
    /// When it last said so, microseconds.
    said_at: u64,
}

impl Log {
    const fn new() -> Self {
        Self { bytes: [0; RING], head: 0, tail: 0, spent: 0, repaid_at: 0, silenced: 0, said_at: 0 }
    }

    fn allow(&mut self, level: Level) -> bool {
        let now = NOW.load(Ordering::Relaxed);
        let gained = now.saturating_sub(self.repaid_at).saturating_mul(PER_SECOND) / 1000;
        if gained > 0 {
            self.spent = self.spent.saturating_sub(gained);
            self.repaid_at = now;
        }
        let limit = if level <= Level::Warn { BURST } else { BURST - RESERVED };
        if self.spent + 1000 > limit * 1000 {
            return false;
        }
        self.spent += 1000;
        true
    }

    fn take(&mut self, level: Level, target: &str, words: fmt::Arguments<'_>) {
        let mut line = Line::new();
        let now = NOW.load(Ordering::Relaxed);
        // What does not fit the line is cut.
        let _ = write!(line, "[{:5}.{:06}] {level:5} {target}: {words}", now / 1_000_000, now % 1_000_000);
        if !self.allow(level) || !self.push(line.end()) {
            self.silenced = self.silenced.saturating_add(1);
            count(line.length);
        }
    }

    fn push(&mut self, line: &[u8]) -> bool {
        if RING - (self.head - self.tail) < line.len() {
            return false;
        }
        for byte in line {
            self.bytes[self.head % RING] = *byte;
            self.head += 1;
        }
        true
    }

    fn drain(&mut self, most: usize) -> bool {
        let mut left = most;
        while left > 0 && self.tail < self.head {
            let room = serial::room().min(left);
            if room == 0 {
                return false;
            }
            let start = self.tail % RING;
            let end = (start + room).min(RING).min(start + (self.head - self.tail));
            serial::put(&self.bytes[start..end]);
            self.tail += end - start;
            left -= end - start;
        }
        let now = NOW.load(Ordering::Relaxed);
        if self.silenced > 0 && self.tail == self.head && now.saturating_sub(self.said_at) > SAY_EVERY_US {
            self.said_at = now;
            let mut line = Line::new();
            let silenced = core::mem::take(&mut self.silenced);
            let _ = write!(line, "palisade: {silenced} lines of the log were dropped");
            self.push(line.end());
        }
        self.tail < self.head
    }
}

/// One line in the making.
struct Line {
    bytes: [u8; LINE_MAX + 1],
    length: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; LINE_MAX + 1], length: 0 }
    }

    fn end(&mut self) -> &[u8] {
        self.bytes[self.length] = b'\n';
        &self.bytes[..=self.length]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.length == LINE_MAX {
                return Err(fmt::Error);
            }
            // One record is one line.
            self.bytes[self.length] = if byte == b'\n' { b' ' } else { byte };
            self.length += 1;
        }
        Ok(())
    }
}

fn count(bytes: usize) {
    DROPPED.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
}

/// Takes a record.
pub fn take(record: &Record<'_>) {
    let target = record.target().rsplit("::").next().unwrap_or_default();
    if LOG.with(|log| log.take(record.level(), target, *record.args())).is_none() {
        count(LINE_MAX);
    }
}

/// Tells the log what time it is.
pub fn set_now(micros: u64) {
    NOW.store(micros, Ordering::Relaxed);
}

/// The time as of the last reading of the clock, microseconds.
pub fn now() -> u64 {
    NOW.load(Ordering::Relaxed)
}

/// Bytes that were dropped so far.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Writes to the port what it takes, at most a turn's worth. True: more is waiting, and the port may take it.
pub fn drain() -> bool {
    LOG.with(|log| log.drain(TURN)).unwrap_or(false)
}

/// Whether anything is waiting for the port.
pub fn is_empty() -> bool {
    LOG.with(|log| log.head == log.tail).unwrap_or(true)
}

/// Writes all that the port takes without waiting; for the last words.
pub fn flush() {
    LOG.with(|log| log.drain(RING));
}
