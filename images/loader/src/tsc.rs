//! How fast the time stamp counter runs, measured against the ACPI power management timer.
//!
//! Owns that measurement. It must end even if the timer stands still.
//!
//! A reading of both clocks is a bracket: counter, timer, counter. Whoever steals the CPU in between widens the bracket,
//! so of some readings the narrowest is kept, and of some windows the one whose two brackets are narrowest together.

use core::arch::x86_64::_rdtsc;

use crate::port;

/// Port of the timer on QEMU's `pc` and `q35`, as its firmware sets it.
const TIMER_PORT: u16 = 0x608;
/// Ticks per second (ACPI 6.5, 4.8.2.1).
const TIMER_HZ: u64 = 3_579_545;
/// The timer has at least 24 bits.
const TIMER_MASK: u32 = 0x00ff_ffff;
/// One window: 5 ms.
const WINDOW_TICKS: u32 = 17_898;
const WINDOWS: usize = 3;
/// Readings of which the narrowest counts.
const READINGS: usize = 4;
/// Timer reads after which a window is given up. A read takes a microsecond, under emulation as on hardware.
const READS_MAX: u32 = 4_000_000;

#[derive(Clone, Copy)]
struct Reading {
    ticks: u32,
    tsc: u64,
    width: u64,
}

/// Frequency of the counter in kHz, or nothing if the timer does not run.
pub fn khz() -> Option<u32> {
    let mut best: Option<(u64, u64)> = None;
    for _ in 0..WINDOWS {
        let (width, khz) = window()?;
        if best.is_none_or(|(narrowest, _)| width < narrowest) {
            best = Some((width, khz));
        }
    }
    best.and_then(|(_, khz)| u32::try_from(khz).ok())
}

fn window() -> Option<(u64, u64)> {
    let start = read();
    for _ in 0..READS_MAX {
        if since(timer(), start.ticks) >= WINDOW_TICKS {
            let end = read();
            let ticks = u64::from(since(end.ticks, start.ticks));
            let cycles = end.tsc - start.tsc;
            return Some((start.width + end.width, cycles * TIMER_HZ / (ticks * 1000)));
        }
    }
    None
}

fn read() -> Reading {
    let mut best = read_once();
    for _ in 1..READINGS {
        let next = read_once();
        if next.width < best.width {
            best = next;
        }
    }
    best
}

fn read_once() -> Reading {
    let before = counter();
    let ticks = timer();
    let after = counter();
    Reading { ticks, tsc: before + (after - before) / 2, width: after - before }
}

fn counter() -> u64 {
    // SAFETY: reading the time stamp counter is always allowed in ring 0.
    unsafe { _rdtsc() }
}

fn timer() -> u32 {
    port::read_u32(TIMER_PORT) & TIMER_MASK
}

fn since(now: u32, then: u32) -> u32 {
    now.wrapping_sub(then) & TIMER_MASK
}
