//! Windows into devices' registers.
//!
//! Owns volatile access to memory-mapped registers. A window is opened once with its bounds; every access is checked
//! against them, so its users need no `unsafe`.

use core::ptr::{read_volatile, with_exposed_provenance_mut, write_volatile};

/// A device's registers: `bytes` of them from `base` on.
#[derive(Debug)]
pub struct Window {
    base: usize,
    bytes: usize,
}

impl Window {
    /// Opens a window.
    ///
    /// # Safety
    /// The range holds device registers, is mapped for ever, and no Rust object lies in it.
    pub const unsafe fn new(base: usize, bytes: usize) -> Self {
        Self { base, bytes }
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        let inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.bytes);
        assert!(inside, "invariant: a register lies within its window");
        let address = self.base + offset;
        assert!(address.is_multiple_of(align_of::<T>()), "invariant: a register is aligned");
        with_exposed_provenance_mut(address)
    }

    /// How many bytes there are.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reads an 8-bit register.
    pub fn read_u8(&self, offset: usize) -> u8 {
        let register = self.at::<u8>(offset);
        // SAFETY: `at` checked bounds and alignment; whoever opened the window promised registers.
        unsafe { read_volatile(register) }
    }

    /// Writes an 8-bit register.
    pub fn write_u8(&self, offset: usize, value: u8) {
        let register = self.at::<u8>(offset);
        // SAFETY: as in `read_u8`; a register is not memory that Rust knows.
        unsafe { write_volatile(register, value) }
    }

    /// Reads a 16-bit register.
    pub fn read_u16(&self, offset: usize) -> u16 {
        let register = self.at::<u16>(offset);
        // SAFETY: as in `read_u8`.
        unsafe { read_volatile(register) }
    }

    /// Reads a 32-bit register.
    pub fn read_u32(&self, offset: usize) -> u32 {
        let register = self.at::<u32>(offset);
        // SAFETY: as in `read_u8`.
        unsafe { read_volatile(register) }
    }

    /// Writes a 16-bit register.
    pub fn write_u16(&self, offset: usize, value: u16) {
        let register = self.at::<u16>(offset);
        // SAFETY: as in `write_u8`.
        unsafe { write_volatile(register, value) }
    }

    /// Writes a 32-bit register.
    pub fn write_u32(&self, offset: usize, value: u32) {
        let register = self.at::<u32>(offset);
        // SAFETY: as in `write_u8`.
        unsafe { write_volatile(register, value) }
    }
}
