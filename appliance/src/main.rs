//! The unikernel: the kernel boots and calls `main`, which never returns.
//!
//! Owns the order of the start: claim the statics, read the configuration, find the devices, draw entropy, seal the heap,
//! and run the loop. What is wrong with the world ends in a sentence on the serial port and `EXIT_REFUSED`; what is wrong
//! with us ends in last words and `EXIT_FAIL_STOP`. Nothing here allocates, before the seal or after.
//!
//! `unsafe` is in `cell`, `port`, `mmio`, `hal`, `ring`, `pci`, `fwcfg`, `clock`, `timer`, `stack`, `log` and here, each
//! for the one thing that its first lines name. Everything else is safe code on top of them.

#![no_std]
#![no_main]

mod boot;
mod cell;
mod clock;
mod console;
mod devices;
mod entropy;
#[cfg(feature = "faults")]
mod faults;
mod fwcfg;
mod hal;
mod log;
mod machine;
mod memory;
mod mmio;
mod net;
mod pci;
mod port;
mod ring;
mod serial;
mod stack;
mod timer;
mod transport;
mod vsock;

use core::ffi::{c_char, c_int};
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use serial::Exit;

/// The kernel calls this once, on a stack of 1 MiB, with interrupts on.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char, _env: *const *const c_char) {
    boot::start().run()
}

/// The kernel and every crate log through this.
#[unsafe(no_mangle)]
fn palisade_log(record: &::log::Record<'_>) {
    log::take(record);
}

/// The end of the machine: of a panic, a processor exception, an allocation after the seal, a corrupt ring.
#[unsafe(no_mangle)]
fn palisade_epitaph(words: fmt::Arguments<'_>) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    x86_64::instructions::interrupts::disable();
    // Last words that themselves fail are no reason to start anew.
    if !DYING.swap(true, Ordering::AcqRel) {
        log::flush();
        serial::break_line();
        serial::say(format_args!("palisade: EPITAPH after {} us: {words}", log::now()));
    }
    serial::exit(Exit::FailStop)
}
