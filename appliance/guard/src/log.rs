//! What the guard says, one line per event, with the host's clock in front.
//!
//! Owns the line buffer. Must never allocate and never wait: a reader of stderr that does not read costs the line, which
//! is counted. It writes to a file, a pipe or the journal's socket as it finds it.

use crate::sys;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of one line. Below PIPE_BUF, so a line is never torn.
const LINE_BYTES: usize = 1024;

static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines that nobody read in time.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// One line under construction. What does not fit is cut.
struct Line {
    bytes: [u8; LINE_BYTES],
    filled: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays free for the end of the line.
        let room = LINE_BYTES - 1 - self.filled;
        let mut take = text.len().min(room);
        while !text.is_char_boundary(take) {
            take -= 1;
        }
        self.bytes[self.filled..self.filled + take].copy_from_slice(&text.as_bytes()[..take]);
        self.filled += take;
        Ok(())
    }
}

/// Writes one line. Use the `say!` macro.
pub fn line(words: fmt::Arguments<'_>) {
    let now = sys::boottime_us();
    let mut line = Line { bytes: [0; LINE_BYTES], filled: 0 };
    let _ = write!(line, "[{}.{:06}] guard: ", now / 1_000_000, now % 1_000_000);
    let _ = line.write_fmt(words);
    line.bytes[line.filled] = b'\n';
    if !sys::write_if_ready(sys::STDERR, &line.bytes[..=line.filled]) {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says what happened, as `format!` would put it.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { $crate::log::line(format_args!($($words)*)) };
}
