//! Files from the VMM: QEMU's fw_cfg (docs/specs/fw_cfg.rst of QEMU), by its DMA interface.
//!
//! Owns the device. Used while booting only, so waiting for it is allowed; QEMU carries a transfer out before the write
//! that starts it returns. A file that does not fit is an error, never cut.

use core::ptr::{read_volatile, write_volatile};

use x86_64::instructions::port::Port;

use crate::cell::Once;

/// Selects an item; the byte interface that reads its signature.
const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
/// The upper half of a transfer's address; writing the lower half starts it.
const DMA_HIGH: u16 = 0x514;
const DMA_LOW: u16 = 0x518;

const SIGNATURE: u16 = 0x0000;
const DIRECTORY: u16 = 0x0019;
/// Entries that the directory has at most. QEMU has about 40.
const ENTRIES_MAX: u32 = 256;
/// Bytes of an entry, and where its fields are.
const ENTRY: usize = 64;
const NAME: usize = 8;

const SELECT: u32 = 1 << 3;
const READ: u32 = 1 << 1;
const ERROR: u32 = 1 << 0;
/// Looks at a transfer's state before it is given up. QEMU needs none.
const LOOKS: u32 = 1_000_000;

/// What QEMU reads: all big-endian.
#[repr(C, align(16))]
struct Transfer {
    control: u32,
    length: u32,
    address: u64,
}

static TRANSFER: Once<Transfer> = Once::new(Transfer { control: 0, length: 0, address: 0 });
static ENTRY_BYTES: Once<[u8; ENTRY]> = Once::new([0; ENTRY]);

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such device, or no DMA.
    NoDevice,
    /// There is no such file.
    Missing,
    /// The file has so many bytes, which is too many.
    TooLarge(u32),
    /// The device reports an error.
    Broken,
}

/// The device.
pub struct Files {
    transfer: &'static mut Transfer,
    entry: &'static mut [u8; ENTRY],
}

impl Files {
    /// Finds the device. Without it there is no configuration.
    pub fn open() -> Result<Self, Error> {
        let mut selector = Port::<u16>::new(SELECTOR);
        let mut data = Port::<u8>::new(DATA);
        // SAFETY: selecting an item changes the device's state only.
        unsafe { selector.write(SIGNATURE) };
        let mut signature = [0; 4];
        for byte in &mut signature {
            // SAFETY: reading an item's next byte changes the device's state only.
            *byte = unsafe { data.read() };
        }
        if signature != *b"QEMU" {
            return Err(Error::NoDevice);
        }
        Ok(Self { transfer: TRANSFER.claim(), entry: ENTRY_BYTES.claim() })
    }

    /// Reads a whole file into a static: the device needs physical addresses, and only statics have the same.
    pub fn read(&mut self, name: &str, into: &'static mut [u8]) -> Result<&'static [u8], Error> {
        let (item, size) = self.find(name)?;
        let length = usize::try_from(size).map_err(|_| Error::TooLarge(size))?;
        let place = into.get_mut(..length).ok_or(Error::TooLarge(size))?;
        if !place.is_empty() {
            run(self.transfer, SELECT | READ | u32::from(item) << 16, place)?;
        }
        Ok(place)
    }

    /// The item and the size of the file of this name.
    fn find(&mut self, name: &str) -> Result<(u16, u32), Error> {
        let select = SELECT | READ | u32::from(DIRECTORY) << 16;
        run(self.transfer, select, &mut self.entry[..4])?;
        let count = u32::from_be_bytes(word(self.entry, 0));
        for _ in 0..count.min(ENTRIES_MAX) {
            run(self.transfer, READ, &mut self.entry[..])?;
            let found = self.entry[NAME..].split(|byte| *byte == 0).next();
            if found == Some(name.as_bytes()) {
                let [high, low, ..] = word(self.entry, 4);
                return Ok((u16::from_be_bytes([high, low]), u32::from_be_bytes(word(self.entry, 0))));
            }
        }
        Err(Error::Missing)
    }
}

fn word(entry: &[u8; ENTRY], at: usize) -> [u8; 4] {
    [entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]
}

/// Has the device carry out one transfer into `place`, which lies in a static.
fn run(transfer: &mut Transfer, control: u32, place: &mut [u8]) -> Result<(), Error> {
    let address = u64::try_from(place.as_mut_ptr().expose_provenance()).map_err(|_| Error::Broken)?;
    let length = u32::try_from(place.len()).map_err(|_| Error::Broken)?;
    transfer.length = length.to_be();
    transfer.address = address.to_be();
    let state = &raw mut transfer.control;
    // SAFETY: `state` points into the transfer, which is ours; volatile because QEMU looks at it.
    unsafe { write_volatile(state, control.to_be()) };
    let where_it_is = (&raw mut *transfer).expose_provenance();
    let low = u32::try_from(where_it_is).map_err(|_| Error::Broken)?;
    let mut high_port = Port::<u32>::new(DMA_HIGH);
    // SAFETY: half an address starts nothing.
    unsafe { high_port.write(0) };
    let mut low_port = Port::<u32>::new(DMA_LOW);
    // SAFETY: this starts the transfer: QEMU writes `length` bytes to `place` and the outcome to `transfer`. Both are
    // identity mapped statics that we hold mutably, and the loop below ends only when QEMU is done, or never touches
    // them again because the machine stops with an error.
    unsafe { low_port.write(low.to_be()) };
    for _ in 0..LOOKS {
        // SAFETY: as for the write above.
        let state = u32::from_be(unsafe { read_volatile(state) });
        if state & ERROR != 0 {
            return Err(Error::Broken);
        }
        if state == 0 {
            return Ok(());
        }
    }
    Err(Error::Broken)
}
