//! What the VMM tells a PVH guest: memory map, command line, ACPI root.
//!
//! Owns the reading of `hvm_start_info` (Xen, `xen/include/public/arch-x86/hvm/start_info.h`). It must trust no pointer
//! without its magic number, and it copies nothing: the caller does.

use core::slice;

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u32 = 0x336e_c578;
/// Type of a memory map entry that is ordinary memory.
const RAM: u32 = 1;
/// Most memory map entries that are read; QEMU gives fewer than ten.
const ENTRIES_MAX: u32 = 64;
/// Longest command line that is read, in bytes.
const COMMAND_LINE_MAX: usize = 1024;

#[repr(C)]
struct Raw {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    modules_address: u64,
    command_line_address: u64,
    rsdp_address: u64,
    memory_map_address: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
struct RawRegion {
    start: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

/// One piece of ordinary memory, in physical addresses.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub start: u64,
    pub end: u64,
}

pub struct StartInfo {
    raw: &'static Raw,
}

impl StartInfo {
    /// `address` is what the VMM left in `ebx`.
    ///
    /// # Errors
    /// A sentence, if there is no start information of version 1 or later at that address.
    pub fn at(address: usize) -> Result<Self, &'static str> {
        // SAFETY: the first 4 GiB are mapped, and whatever lies there can be read as plain integers.
        let raw = unsafe { &*core::ptr::with_exposed_provenance::<Raw>(address) };
        if raw.magic != MAGIC {
            return Err("this is not a PVH start: start the image with qemu-system-x86_64 -kernel");
        }
        if raw.version == 0 {
            return Err("the VMM passes no memory map: PVH start information of version 1 is needed");
        }
        Ok(Self { raw })
    }

    /// Physical address of the ACPI root, or 0.
    pub fn rsdp(&self) -> u64 {
        self.raw.rsdp_address
    }

    /// Ordinary memory below 4 GiB.
    pub fn memory(&self) -> impl Iterator<Item = Region> {
        let entries = self.raw.memory_map_entries.min(ENTRIES_MAX);
        let address = usize::try_from(self.raw.memory_map_address).unwrap_or(0);
        let table = if address == 0 {
            &[][..]
        } else {
            let first = core::ptr::with_exposed_provenance::<RawRegion>(address);
            // SAFETY: the VMM's table of that many plain integers; the first 4 GiB are mapped.
            unsafe { slice::from_raw_parts(first, usize::try_from(entries).unwrap_or(0)) }
        };
        table
            .iter()
            .filter(|region| region.kind == RAM)
            .map(|region| Region { start: region.start, end: region.start.saturating_add(region.bytes).min(1 << 32) })
            .filter(|region| region.start < region.end)
    }

    /// The command line, cut at `COMMAND_LINE_MAX` and at the first byte that is not UTF-8.
    pub fn command_line(&self) -> &'static str {
        let address = usize::try_from(self.raw.command_line_address).unwrap_or(0);
        if address == 0 {
            return "";
        }
        let first = core::ptr::with_exposed_provenance::<u8>(address);
        // SAFETY: the first 4 GiB are mapped and readable, and the line ends at its zero byte.
        let bytes = unsafe { slice::from_raw_parts(first, COMMAND_LINE_MAX) };
        let line = bytes.split(|byte| *byte == 0).next().unwrap_or(&[]);
        match core::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}
