//! Our clock: microseconds since the start of our code, from the time stamp counter.
//!
//! Owns the rate of the counter. The kernel's idea of it is measured once and is wrong under load, so once a second the
//! counter is compared with the ACPI power management timer, whose rate is fixed (3.579545 MHz), and the clock is made to
//! run a little faster or slower until it agrees: it never jumps and never runs backwards. It runs off by at most
//! `limits::DRIFT_PER_MILLE`. Whether the *machine* stood still this clock cannot know: the guard's stamps tell (SAFETY C5).

use core::arch::x86_64::_rdtsc;

use palisade_core::time::Instant;

use crate::{log, port};

/// Ticks of the timer per second (ACPI 6.5, 4.8.2.1).
const TIMER_HZ: u64 = 3_579_545;
/// The timer has at least 24 bits: it wraps after 4.7 s.
const TIMER_BITS: u32 = 24;
const TIMER_MASK: u32 = (1 << TIMER_BITS) - 1;
/// The rate is kept as microseconds per 2^40 counts.
const RATE_BITS: u32 = 40;
/// Time between two comparisons, microseconds; the first one comes sooner, for the first rate is measured in a hurry.
const COMPARE_US: u64 = 1_000_000;
const FIRST_COMPARE_US: u64 = 50_000;
/// Ticks of the first measurement: 2 ms, so 1e-3 off at worst.
const FIRST_TICKS: u32 = 7_159;
/// Reads of the timer after which the first measurement is given up. One takes a microsecond.
const FIRST_READS: u32 = 1_000_000;
/// Readings of which the narrowest counts.
const READINGS: usize = 3;
/// A pair of readings farther apart than this, microseconds, says too little; it is tried again in the next turn.
const WIDTH_MAX_US: u64 = 200;
/// How much faster or slower the clock may be made to run, microseconds per second.
const SLEW_MAX: i64 = 500;

/// Both clocks at the same time, give or take `width` counts.
#[derive(Clone, Copy)]
struct Reading {
    ticks: u32,
    counts: u64,
    width: u64,
}

/// The clock.
pub struct Clock {
    /// A moment: these counts are this many microseconds.
    anchor_counts: u64,
    anchor_us: u64,
    rate: u64,
    last: Reading,
    /// Ticks of the timer since the start.
    ticks: u64,
    compare_at: u64,
}

impl Clock {
    /// Starts the clock at zero. `None`: the power management timer does not run.
    pub fn start() -> Option<Self> {
        let first = read();
        for _ in 0..FIRST_READS {
            if since(timer(), first.ticks) < FIRST_TICKS {
                continue;
            }
            let last = read();
            let ticks = u64::from(since(last.ticks, first.ticks));
            let rate = rate(ticks, last.counts - first.counts)?;
            return Some(Self {
                anchor_counts: first.counts,
                anchor_us: 0,
                rate,
                last,
                ticks,
                compare_at: FIRST_COMPARE_US,
            });
        }
        None
    }

    /// What time it is. Tells the log, too.
    pub fn now(&self) -> Instant {
        let micros = self.at(counter());
        log::set_now(micros);
        Instant::from_micros(micros)
    }

    fn at(&self, counts: u64) -> u64 {
        self.anchor_us + scale(counts.saturating_sub(self.anchor_counts), self.rate)
    }

    /// Compares with the power management timer if it is time to. To be called in each turn of the loop.
    pub fn discipline(&mut self) {
        let now = self.at(counter());
        if now < self.compare_at {
            return;
        }
        let reading = read();
        if scale(reading.width, self.rate) > WIDTH_MAX_US {
            return;
        }
        let counts = reading.counts.saturating_sub(self.last.counts);
        let ticks = self.ticks_in(counts, since(reading.ticks, self.last.ticks));
        let Some(measured) = rate(ticks, counts) else { return };
        self.ticks += ticks;
        let now = self.at(reading.counts);
        let truth = to_micros(self.ticks);
        let error = truth.checked_signed_diff(now).unwrap_or(0).clamp(-SLEW_MAX, SLEW_MAX);
        let million = 1_000_000_u64.saturating_add_signed(error);
        self.anchor_us = now;
        self.anchor_counts = reading.counts;
        self.rate = multiply(measured, million, 1_000_000);
        self.last = reading;
        self.compare_at = now + COMPARE_US;
    }

    /// The timer's ticks in this many counts: it may have wrapped meanwhile, and the counter knows how often.
    fn ticks_in(&self, counts: u64, shown: u32) -> u64 {
        let shown = u64::from(shown);
        let expected = multiply(scale(counts, self.rate), TIMER_HZ, 1_000_000);
        let half = 1 << (TIMER_BITS - 1);
        let wraps = (expected + half).saturating_sub(shown) >> TIMER_BITS;
        shown + (wraps << TIMER_BITS)
    }
}

/// Reads the counter until so many microseconds have passed, by `clock`. For measurements while booting only.
pub fn spin(clock: &Clock, micros: u64) {
    let end = clock.at(counter()) + micros;
    while clock.at(counter()) < end {
        core::hint::spin_loop();
    }
}

fn scale(counts: u64, rate: u64) -> u64 {
    multiply(counts, rate, 1 << RATE_BITS)
}

/// Microseconds per 2^40 counts.
fn rate(ticks: u64, counts: u64) -> Option<u64> {
    if ticks == 0 || counts == 0 {
        return None;
    }
    let micros = (u128::from(ticks) * 1_000_000) << RATE_BITS;
    u64::try_from(micros / (u128::from(TIMER_HZ) * u128::from(counts))).ok().filter(|rate| *rate > 0)
}

fn to_micros(ticks: u64) -> u64 {
    multiply(ticks, 1_000_000, TIMER_HZ)
}

/// `a * b / c` without overflow on the way; for spans of less than 500,000 years.
fn multiply(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b) / u128::from(c)).unwrap_or(u64::MAX)
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
    let width = after.saturating_sub(before);
    Reading { ticks, counts: before + width / 2, width }
}

fn counter() -> u64 {
    // SAFETY: reading the time stamp counter is always allowed in ring 0.
    unsafe { _rdtsc() }
}

fn timer() -> u32 {
    port::POWER_TIMER.read() & TIMER_MASK
}

const fn since(now: u32, then: u32) -> u32 {
    now.wrapping_sub(then) & TIMER_MASK
}
