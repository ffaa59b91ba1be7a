//! Input and output ports: the timer, the serial port, QEMU's exit device.
//!
//! Owns all port access of the loader. It must never wait for the serial port without a bound.

use core::arch::asm;
use core::fmt;

const SERIAL: u16 = 0x3f8;
/// Line status: the transmit holding register is empty.
const TRANSMIT_EMPTY: u8 = 1 << 5;
const TRIES_PER_BYTE: u32 = 2_000;
/// QEMU's `isa-debug-exit`: exit code 1 for value 0.
const EXIT: u16 = 0xf4;

pub fn read_u32(port: u16) -> u32 {
    let value;
    // SAFETY: the loader reads only the power management timer this way, which has no side effect.
    unsafe { asm!("in eax, dx", out("eax") value, in("dx") port, options(nomem, nostack, preserves_flags)) };
    value
}

fn read_u8(port: u16) -> u8 {
    let value;
    // SAFETY: the loader reads only the serial port's line status this way, which has no side effect on memory.
    unsafe { asm!("in al, dx", out("al") value, in("dx") port, options(nomem, nostack, preserves_flags)) };
    value
}

fn write_u8(port: u16, value: u8) {
    // SAFETY: the loader writes only the serial port's data register this way.
    unsafe { asm!("out dx, al", in("al") value, in("dx") port, options(nomem, nostack, preserves_flags)) };
}

/// Says why the machine cannot start, and ends it.
pub fn stop(words: fmt::Arguments<'_>) -> ! {
    // A cut line is the best that can be done here.
    let _ = fmt::write(&mut Serial, format_args!("palisade loader: {words}\r\n"));
    // SAFETY: the port belongs to the exit device, or to nobody.
    unsafe { asm!("out dx, eax", in("eax") 0_u32, in("dx") EXIT, options(nomem, nostack, preserves_flags)) };
    loop {
        // SAFETY: stopping the processor is what is wanted.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let ready = (0..TRIES_PER_BYTE).any(|_| read_u8(SERIAL + 5) & TRANSMIT_EMPTY != 0);
            if !ready {
                return Err(fmt::Error);
            }
            write_u8(SERIAL, byte);
        }
        Ok(())
    }
}
