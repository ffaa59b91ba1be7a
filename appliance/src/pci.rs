//! Finding devices: PCI configuration space, slots, registers.
//!
//! Owns configuration mechanism 1 and the step from a slot to the registers of a virtio device. Which device is in which slot is
//! `palisade_core::board`'s table. A device that cannot be used is a sentence for a person, never a panic.

use core::fmt;

use palisade_core::board;

use crate::hal::MAPPED_END;
use crate::mmio::Window;
use crate::port;

/// An address with this bit starts a cycle on the PCI bus.
const ENABLE: u32 = 1 << 31;
/// Registers of the configuration space (PCI 3.0, 6.1): vendor and device, status and command, first base address,
/// first capability.
const IDENTITY: u8 = 0x00;
const COMMAND: u8 = 0x04;
const BASE: u8 = 0x10;
const CAPABILITIES: u8 = 0x34;
/// Memory space, bus master, no legacy interrupts.
const COMMAND_BITS: u32 = 1 << 1 | 1 << 2 | 1 << 10;
/// A list of capabilities has at most so many entries: a longer one is a loop.
const CAPABILITIES_MAX: usize = 48;
/// Capability id of MSI-X.
const MSIX: u8 = 0x11;
/// Capability id of a vendor's own: virtio's structures.
const VENDOR: u8 = 0x09;
/// virtio's vendor number.
const VIRTIO: u32 = 0x1af4;
/// virtio's structure types (virtio 1.2, 4.1.4).
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const DEVICE: u8 = 4;
/// Bytes of one entry of an MSI-X table, and its fields.
const ENTRY_BYTES: u32 = 16;
const ENTRY_ADDRESS: usize = 0;
const ENTRY_ADDRESS_HIGH: usize = 4;
const ENTRY_DATA: usize = 8;
const ENTRY_CONTROL: usize = 12;
/// An interrupt is a write to this address: CPU 0, fixed delivery.
const INTERRUPT_ADDRESS: u32 = 0xfee0_0000;
/// In the capability's first word: interrupts are on, and all of them are masked.
const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASK: u32 = 1 << 30;

/// What a virtio device is (virtio 1.2, chapter 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Network,
    Console,
    Entropy,
    Socket,
}

impl Kind {
    /// Its PCI device numbers: the modern one, and that of a device which also speaks the old interface.
    const fn numbers(self) -> [u32; 2] {
        match self {
            Self::Network => [0x1041, 0x1000],
            Self::Console => [0x1043, 0x1003],
            Self::Entropy => [0x1044, 0x1005],
            Self::Socket => [0x1053, 0x1012],
        }
    }
}

/// Why a slot's device cannot be used.
#[derive(Debug)]
pub enum Error {
    /// The slot is empty, or holds another kind of device.
    Missing,
    /// The device has no MSI-X, or not where it can be reached.
    NoInterrupts,
    /// The firmware placed its registers above 4 GiB, which the loader did not map.
    TooHigh,
    /// It does not agree to the modern interface, or does not come out of its reset.
    Refuses,
    /// A ring could not be set up.
    Ring(virtio_drivers::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is not there"),
            Self::NoInterrupts => f.write_str("it has no MSI-X interrupts"),
            Self::TooHigh => f.write_str("its registers lie above 4 GiB; give the VM less memory or older firmware"),
            Self::Refuses => f.write_str("it does not agree to virtio 1.0; give it disable-modern=off"),
            Self::Ring(why) => write!(f, "its rings cannot be set up: {why}"),
        }
    }
}

impl From<virtio_drivers::Error> for Error {
    fn from(why: virtio_drivers::Error) -> Self {
        Self::Ring(why)
    }
}

/// Where a virtio device's registers are.
pub struct Found {
    /// `virtio_pci_common_cfg`.
    pub common: Window,
    /// The notification area.
    pub notify: Window,
    /// Bytes from one queue's notification register to the next one's.
    pub notify_step: usize,
    /// The device's own configuration, if it has any.
    pub config: Option<Window>,
}

fn select(slot: u8, register: u8) {
    port::PCI_ADDRESS.write(ENABLE | u32::from(slot) << 11 | u32::from(register & 0xfc));
}

fn read(slot: u8, register: u8) -> u32 {
    select(slot, register);
    port::PCI_DATA.read()
}

fn write(slot: u8, register: u8, value: u32) {
    select(slot, register);
    port::PCI_DATA.write(value);
}

/// Whether nothing is in a slot.
pub fn is_empty(slot: u8) -> bool {
    read(slot, IDENTITY) == u32::MAX
}

/// The virtio device of this kind in this slot, with entry 0 of its MSI-X table aimed at `vector` and switched on.
pub fn find(slot: u8, kind: Kind, vector: u8) -> Result<Found, Error> {
    let identity = read(slot, IDENTITY);
    if identity & 0xffff != VIRTIO || !kind.numbers().contains(&(identity >> 16)) {
        return Err(Error::Missing);
    }
    write(slot, COMMAND, COMMAND_BITS);
    let (mut common, mut notify, mut config, mut msix) = (None, None, None, None);
    let mut at = low_byte(read(slot, CAPABILITIES)) & 0xfc;
    for _ in 0..CAPABILITIES_MAX {
        // The first 64 bytes are the header: zero ends the list.
        if !(0x40..=0xf0).contains(&at) {
            break;
        }
        let [id, next, _, structure] = read(slot, at).to_le_bytes();
        match (id, structure) {
            (VENDOR, COMMON) if common.is_none() => common = Some(at),
            (VENDOR, NOTIFY) if notify.is_none() && at <= 0xec => notify = Some(at),
            (VENDOR, DEVICE) if config.is_none() => config = Some(at),
            (MSIX, _) => msix = Some(at),
            _ => {}
        }
        at = next & 0xfc;
    }
    let msix = msix.ok_or(Error::NoInterrupts)?;
    let (common, notify) = common.zip(notify).ok_or(Error::Missing)?;

    let place = read(slot, msix + 4);
    let table = window(slot, low_byte(place) & 7, place & !7, ENTRY_BYTES)?;
    table.write_u32(ENTRY_ADDRESS, INTERRUPT_ADDRESS);
    table.write_u32(ENTRY_ADDRESS_HIGH, 0);
    table.write_u32(ENTRY_DATA, u32::from(vector));
    table.write_u32(ENTRY_CONTROL, 0);
    write(slot, msix, (read(slot, msix) | MSIX_ENABLE) & !MSIX_MASK);
    Ok(Found {
        notify_step: usize::try_from(read(slot, notify + 16)).map_err(|_| Error::Missing)?,
        common: structure(slot, common)?,
        notify: structure(slot, notify)?,
        config: config.map(|config| structure(slot, config)).transpose()?,
    })
}

/// The window of the virtio structure that a capability describes.
fn structure(slot: u8, capability: u8) -> Result<Window, Error> {
    let bar = low_byte(read(slot, capability + 4));
    window(slot, bar, read(slot, capability + 8), read(slot, capability + 12))
}

/// A window into the memory behind a base address register. Its size is not asked for: that would switch the device off
/// and on again, which costs a millisecond under emulation.
fn window(slot: u8, bar: u8, offset: u32, length: u32) -> Result<Window, Error> {
    if bar > 5 {
        return Err(Error::Missing);
    }
    let register = BASE + 4 * bar;
    let low = read(slot, register);
    if low & 1 == 1 {
        return Err(Error::Missing);
    }
    let is_wide = low & 0b110 == 0b100;
    let high = if is_wide && bar < 5 { read(slot, register + 4) } else { 0 };
    let base = u64::from(high) << 32 | u64::from(low & !0xf);
    let start = base.saturating_add(u64::from(offset));
    if base == 0 {
        return Err(Error::Missing);
    }
    if start.saturating_add(u64::from(length)) > MAPPED_END {
        return Err(Error::TooHigh);
    }
    let start = usize::try_from(start).map_err(|_| Error::TooHigh)?;
    let bytes = usize::try_from(length).map_err(|_| Error::TooHigh)?;
    // SAFETY: the device says that its registers are there, below 4 GiB, where the loader mapped all addresses one to
    // one for ever. The firmware places them above the VM's memory.
    Ok(unsafe { Window::new(start, bytes) })
}

fn low_byte(word: u32) -> u8 {
    let [byte, ..] = word.to_le_bytes();
    byte
}

/// What a person calls the device in a slot.
pub fn name(slot: u8) -> &'static str {
    match slot {
        board::MANAGEMENT_SLOT => "NIC for devices",
        board::VSOCK_SLOT => "vsock",
        board::ENTROPY_SLOT => "entropy device",
        board::GUARD_SLOT => "console of the guard",
        _ if slot >= board::MONITOR_SLOT => "console of a node's monitor",
        _ if slot >= board::CHANNEL_SLOT => "console of a node's channel",
        _ => "NIC of a cluster link",
    }
}
