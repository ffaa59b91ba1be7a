//! The serial port, for what must be said before the log works and when it no longer does.
//!
//! Owns the port while booting and while dying. It must never wait for a reader without a bound: a line that does not
//! fit is cut.

use core::fmt::{self, Write};

use x86_64::instructions::port::Port;

/// COM1.
const PORT: u16 = 0x3f8;
/// Line status register: the transmit holding register is empty.
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// Reads of the line status before a byte is given up. A file takes a byte at once; an unread socket never does.
const TRIES_PER_BYTE: u32 = 2_000;
/// Longest line in bytes, so that last words end soon.
const LINE_MAX: usize = 400;

/// QEMU's `isa-debug-exit`: the exit code is `value * 2 + 1`.
const EXIT_PORT: u16 = 0xf4;

/// How the machine ends. Without the exit device QEMU keeps running, halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// QEMU's exit code 1.
    Fault,
    /// QEMU's exit code 3.
    Clean,
}

/// A writer that gives up instead of waiting.
pub struct Serial {
    room: usize,
}

impl Serial {
    pub fn new() -> Self {
        Self { room: LINE_MAX }
    }

    /// One line, cut at `LINE_MAX` bytes.
    pub fn line(&mut self, words: fmt::Arguments<'_>) {
        self.room = LINE_MAX;
        // A cut line is the best that can be done here.
        let _ = self.write_fmt(words);
        let _ = Self::put(b'\n');
    }

    fn put(byte: u8) -> fmt::Result {
        for _ in 0..TRIES_PER_BYTE {
            let mut status = Port::<u8>::new(PORT + 5);
            // SAFETY: reading COM1's line status has no side effect on memory.
            let ready = unsafe { status.read() };
            if ready & TRANSMIT_EMPTY != 0 {
                let mut data = Port::<u8>::new(PORT);
                // SAFETY: writing COM1's data register only sends a byte.
                unsafe { data.write(byte) };
                return Ok(());
            }
        }
        Err(fmt::Error)
    }
}

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.room == 0 {
                return Err(fmt::Error);
            }
            self.room -= 1;
            Self::put(byte)?;
        }
        Ok(())
    }
}

/// Ends the machine.
pub fn exit(how: Exit) -> ! {
    let value: u32 = match how {
        Exit::Fault => 0,
        Exit::Clean => 1,
    };
    let mut port = Port::<u32>::new(EXIT_PORT);
    // SAFETY: the port belongs to the exit device, or to nobody.
    unsafe { port.write(value) };
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}
