//! The unikernel's entry: the kernel calls `main` once it has booted.
//!
//! Owns the order of the start. It must never allocate, and never return.

#![no_std]
#![no_main]

mod serial;

use core::ffi::{c_char, c_int};
use core::fmt;

use serial::Serial;

/// The kernel calls this on a stack of 1 MiB, with interrupts on.
///
/// # Safety
/// Called once, by the kernel.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char, _env: *const *const c_char) {
    hermit::palisade::seal();
    let heap = hermit::palisade::heap();
    let mut serial = Serial::new();
    serial.line(format_args!(
        "palisade: heap sealed, {} of {} bytes used, peak {}",
        heap.used_at_seal, heap.size, heap.peak
    ));
    serial.line(format_args!("palisade: PASS"));
    serial::exit(serial::Exit::Clean)
}

/// The kernel and every crate log through this.
#[unsafe(no_mangle)]
fn palisade_log(record: &log::Record<'_>) {
    Serial::new().line(format_args!("{}: {}", record.level(), record.args()));
}

/// The last words: of a panic, a processor exception, an allocation after the seal.
#[unsafe(no_mangle)]
fn palisade_epitaph(words: fmt::Arguments<'_>) -> ! {
    Serial::new().line(format_args!("palisade: EPITAPH {words}"));
    serial::exit(serial::Exit::Fault)
}
