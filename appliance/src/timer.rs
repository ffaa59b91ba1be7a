//! Sleeping until an interrupt or a moment: the local APIC's one-shot timer and `hlt`.
//!
//! Owns the timer's registers and the order that makes sleeping safe: interrupts off, look once more, arm, and then
//! `sti; hlt` as one step, so that an interrupt which comes after the look ends the sleep. It never goes through the
//! kernel's scheduler, which would allocate.

use x86_64::instructions::interrupts;
use x86_64::registers::model_specific::Msr;

use crate::clock::{self, Clock};
use crate::mmio::Window;

/// The timer's interrupt vector: one that the kernel does not use. Its handler acknowledges it and returns.
const VECTOR: u32 = 0x51;
/// Where the APIC's registers are, unless it is in x2APIC mode (Intel SDM 3A, 11.4.1 and 11.12).
const REGISTERS: usize = 0xfee0_0000;
const REGISTERS_BYTES: usize = 0x1000;
/// Base MSR, and its bit for x2APIC mode.
const BASE: Msr = Msr::new(0x1b);
const X2APIC: u64 = 1 << 10;
/// First MSR of x2APIC mode: register `r` is MSR `0x800 + r / 16`.
const X2APIC_MSRS: u32 = 0x800;

const TIMER: u32 = 0x320;
const INITIAL: u32 = 0x380;
const CURRENT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;
const DIVIDE_BY_8: u32 = 0b0010;
const MASKED: u32 = 1 << 16;

/// How long the timer's rate is measured, microseconds, and how often; the best counts. QEMU's runs at 125 per microsecond.
const MEASURE_US: u64 = 300;
const MEASUREMENTS: usize = 3;
/// The longest sleep, microseconds: the counter has 32 bits.
const SLEEP_MAX_US: u64 = 5_000_000;

enum Registers {
    Memory(Window),
    Model,
}

/// The timer.
pub struct Timer {
    registers: Registers,
    /// Counts per second.
    hertz: u64,
}

impl Timer {
    /// Measures the timer's rate. `None`: it does not count.
    pub fn start(clock: &Clock) -> Option<Self> {
        // SAFETY: every 64-bit CPU has this MSR, and reading it changes nothing.
        let base = unsafe { BASE.read() };
        let registers = if base & X2APIC == 0 {
            // SAFETY: the APIC's registers are there, identity mapped by the loader, and no Rust object is.
            Registers::Memory(unsafe { Window::new(REGISTERS, REGISTERS_BYTES) })
        } else {
            Registers::Model
        };
        let mut timer = Self { registers, hertz: 0 };
        timer.write(DIVIDE, DIVIDE_BY_8);
        timer.write(TIMER, MASKED | VECTOR);
        timer.hertz = (0..MEASUREMENTS).map(|_| timer.measure(clock)).max()?;
        timer.write(INITIAL, 0);
        timer.write(TIMER, VECTOR);
        (timer.hertz > 0).then_some(timer)
    }

    /// Counts per second. The time is taken around the counts: whoever steals the CPU in between makes the result too
    /// small, and then a sleep too short, never too long.
    fn measure(&mut self, clock: &Clock) -> u64 {
        let from = clock.now();
        self.write(INITIAL, u32::MAX);
        clock::spin(clock, MEASURE_US);
        let counts = u64::from(u32::MAX - self.read(CURRENT));
        let micros = clock.now().since(from).as_micros().max(1);
        counts * 1_000_000 / micros
    }

    /// Sleeps until an interrupt or for `micros`, unless there is something to do: `is_dry` looks, with interrupts off.
    /// True: slept.
    pub fn sleep(&mut self, micros: u64, is_dry: impl FnOnce() -> bool) -> bool {
        interrupts::disable();
        let sleeps = micros > 0 && is_dry();
        if sleeps {
            let counts = micros.min(SLEEP_MAX_US) * self.hertz / 1_000_000;
            self.write(INITIAL, u32::try_from(counts).unwrap_or(u32::MAX).max(1));
            interrupts::enable_and_hlt();
        } else {
            interrupts::enable();
        }
        sleeps
    }

    fn write(&mut self, register: u32, value: u32) {
        match &self.registers {
            Registers::Memory(window) => window.write_u32(offset(register), value),
            Registers::Model => {
                let mut msr = Msr::new(X2APIC_MSRS + register / 16);
                // SAFETY: in x2APIC mode these MSRs are the timer's registers, and only we use the timer once the
                // kernel has booted. A vector that nobody registered is acknowledged and ignored.
                unsafe { msr.write(u64::from(value)) };
            }
        }
    }

    fn read(&self, register: u32) -> u32 {
        match &self.registers {
            Registers::Memory(window) => window.read_u32(offset(register)),
            Registers::Model => {
                let msr = Msr::new(X2APIC_MSRS + register / 16);
                // SAFETY: as in `write`.
                let value = unsafe { msr.read() };
                u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
            }
        }
    }
}

fn offset(register: u32) -> usize {
    usize::try_from(register).expect("invariant: addresses have 64 bits")
}
