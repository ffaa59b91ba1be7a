//! The serial port, COM1: text for whoever follows the VM's serial file.
//!
//! Owns the port. Two ways lead here. The log's sink asks `room` and writes no more than that; it never waits. What must
//! be said while booting or dying goes through `say`, which waits for the port, but only so long: a line that does not
//! get out is cut. Input is switched off: a byte that comes in would only make the kernel work.

use core::fmt::{self, Write};

use palisade_core::board;

use crate::port;

/// Line status: the transmitter can take bytes.
const READY: u8 = 1 << 5;
/// Bytes that a 16550's FIFO takes at once when it is ready.
const FIFO: usize = 16;
/// FIFOs on, both emptied.
const FIFO_ON: u8 = 0b111;
/// Reads of the line status before a byte is given up, in `say`: some milliseconds. A file takes a byte at once.
const TRIES: u32 = 2_000;
/// Longest line of `say`, bytes, so that last words end soon.
const LINE_MAX: usize = 400;

/// How the machine ends, as `board` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Panic, allocation after the seal, corrupt ring.
    FailStop,
    /// A configuration or a machine that we cannot run with.
    Refused,
}

impl Exit {
    /// QEMU exits with `2 * value + 1`.
    const fn value(self) -> u32 {
        match self {
            Self::FailStop => 0,
            Self::Refused => 2,
        }
    }
}

const _: () = assert!(2 * Exit::FailStop.value() + 1 == board::EXIT_FAIL_STOP.cast_unsigned());
const _: () = assert!(2 * Exit::Refused.value() + 1 == board::EXIT_REFUSED.cast_unsigned());

/// Switches input interrupts off and the FIFO on.
pub fn start() {
    port::SERIAL_INTERRUPTS.write(0);
    port::SERIAL_FIFO.write(FIFO_ON);
}

/// How many bytes can be written now without waiting.
pub fn room() -> usize {
    if port::SERIAL_STATUS.read() & READY == 0 { 0 } else { FIFO }
}

/// Writes bytes for which there is room.
pub fn put(bytes: &[u8]) {
    for byte in bytes {
        port::SERIAL_DATA.write(*byte);
    }
}

/// Ends a line that somebody else may have begun.
pub fn break_line() {
    let _ = put_patiently(b'\n');
}

/// Says one line, cut if it is long or if nobody takes it.
pub fn say(words: fmt::Arguments<'_>) {
    let mut line = Line { room: LINE_MAX };
    // A cut line is the best that can be done here.
    let _ = line.write_fmt(words);
    let _ = put_patiently(b'\n');
}

struct Line {
    room: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.room = self.room.checked_sub(1).ok_or(fmt::Error)?;
            put_patiently(if byte == b'\n' { b' ' } else { byte })?;
        }
        Ok(())
    }
}

fn put_patiently(byte: u8) -> fmt::Result {
    for _ in 0..TRIES {
        if room() > 0 {
            port::SERIAL_DATA.write(byte);
            return Ok(());
        }
    }
    Err(fmt::Error)
}

/// Ends the machine. Without QEMU's exit device it stays halted, which says the same to nobody.
pub fn exit(how: Exit) -> ! {
    port::EXIT.write(how.value());
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// Says why the machine cannot run, and ends it so that nobody restarts it in vain.
pub fn refuse(why: fmt::Arguments<'_>) -> ! {
    say(format_args!("palisade: REFUSED {why}"));
    exit(Exit::Refused)
}
