//! The I/O ports that the appliance uses, by name.
//!
//! Owns port access. A port that is not named here cannot be reached, and none of the named ones makes a device write to
//! memory by itself, so reading and writing them is safe. (The one exception, fw_cfg's DMA, is in fwcfg.rs.)

use core::marker::PhantomData;

use palisade_core::board;
use x86_64::instructions::port::{Port as Raw, PortRead, PortWrite};

/// One port of one width.
#[derive(Clone, Copy)]
pub struct Port<T>(u16, PhantomData<T>);

/// COM1's data register.
pub const SERIAL_DATA: Port<u8> = Port(0x3f8, PhantomData);
/// COM1's interrupt enable register.
pub const SERIAL_INTERRUPTS: Port<u8> = Port(0x3f9, PhantomData);
/// COM1's FIFO control register.
pub const SERIAL_FIFO: Port<u8> = Port(0x3fa, PhantomData);
/// COM1's line status register.
pub const SERIAL_STATUS: Port<u8> = Port(0x3fd, PhantomData);
/// PCI configuration mechanism 1: which register.
pub const PCI_ADDRESS: Port<u32> = Port(0xcf8, PhantomData);
/// PCI configuration mechanism 1: its value.
pub const PCI_DATA: Port<u32> = Port(0xcfc, PhantomData);
/// The ACPI power management timer, as QEMU's firmware places it on `pc` and `q35`.
pub const POWER_TIMER: Port<u32> = Port(0x608, PhantomData);
/// QEMU's `isa-debug-exit`.
pub const EXIT: Port<u32> = Port(board::EXIT_PORT, PhantomData);

impl<T: PortRead> Port<T> {
    /// Reads the register.
    pub fn read(self) -> T {
        let mut port = Raw::<T>::new(self.0);
        // SAFETY: only the ports above exist, and reading them changes no memory.
        unsafe { port.read() }
    }
}

impl<T: PortWrite> Port<T> {
    /// Writes the register.
    pub fn write(self, value: T) {
        let mut port = Raw::<T>::new(self.0);
        // SAFETY: only the ports above exist, and writing them changes no memory. (A PCI command register may let a
        // device master the bus; until its driver gives it addresses, it has none to write to.)
        unsafe { port.write(value) }
    }
}
