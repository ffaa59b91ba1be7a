//! The loader: unpacks the unikernel that it carries, tells it what the VMM said, and jumps into it.
//!
//! Owns the machine from QEMU's first instruction to the kernel's. It must leave nothing that the kernel still needs
//! above 2 MiB, and it must say in a sentence why it stops when it stops.
//!
//! ```text
//!   1 MiB  this loader, page tables, stacks, device tree, boot information   the kernel keeps these
//!   2 MiB  the unikernel, unpacked                                           its statics end below 24 MiB
//!  24 MiB  the unikernel as a file                                           free memory after the jump
//! ```

#![no_std]
#![no_main]

mod fdt;
mod port;
mod start;
mod start_info;
mod tsc;

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::mem::MaybeUninit;
use core::ptr::addr_of_mut;

use hermit_entry::boot_info::{BootInfo, DeviceTreeAddress, HardwareInfo, PlatformInfo, RawBootInfo, SerialPortBase};
use hermit_entry::elf::{KernelObject, LoadedKernel};

use start_info::StartInfo;

/// Where the unikernel is unpacked: the kernel wants a 2 MiB boundary.
const KERNEL_START: u64 = 0x20_0000;
/// Where the unikernel lies as a file (`link.ld`), so where the unikernel's statics must end.
const KERNEL_END_MAX: u64 = 0x180_0000;
/// The unikernel inside, the kernel's heap and its stacks come after that. QEMU keeps some of 32 MiB for ACPI.
const MEMORY_END_MIN: u64 = 0x1e0_0000;
/// The kernel maps memory in pages of this size and rounds outwards, so memory is offered in whole ones.
const LARGE_PAGE: u64 = 0x20_0000;
/// COM1.
const SERIAL: SerialPortBase = SerialPortBase::new(0x3f8).expect("not zero");
/// The kernel takes a pointer to the lowest address of a stack of 32 KiB.
const KERNEL_STACK_BYTES: usize = 32 * 1024;
const TREE_BYTES: usize = 8 * 1024;

/// Program headers are read in place, so the file must be aligned.
#[repr(C, align(4096))]
struct Aligned<Bytes>(Bytes);

const IMAGE_BYTES: usize = include_bytes!(env!("PALISADE_ELF")).len();
#[unsafe(link_section = ".image")]
static IMAGE: Aligned<[u8; IMAGE_BYTES]> = Aligned(*include_bytes!(env!("PALISADE_ELF")));

// What the kernel goes on using after the jump. `link.ld` puts these below 2 MiB.
#[unsafe(link_section = ".low")]
static mut KERNEL_STACK: Aligned<[u8; KERNEL_STACK_BYTES]> = Aligned([0; KERNEL_STACK_BYTES]);
#[unsafe(link_section = ".low")]
static mut TREE: [u8; TREE_BYTES] = [0; TREE_BYTES];
#[unsafe(link_section = ".low")]
static mut BOOT_INFO: MaybeUninit<RawBootInfo> = MaybeUninit::uninit();

extern "C" fn loader(start_info: usize) -> ! {
    match prepare(start_info) {
        Ok(kernel) => enter(&kernel),
        Err(why) => port::stop(format_args!("{why}")),
    }
}

/// Everything but the jump.
fn prepare(start_info: usize) -> Result<LoadedKernel, &'static str> {
    let info = StartInfo::at(start_info)?;
    let memory = info
        .memory()
        .find(|region| region.start <= KERNEL_START && MEMORY_END_MIN <= region.end)
        .ok_or("there is too little memory: give the VM 32 MiB or more")?;
    if !has_fsgsbase() {
        return Err("the processor lacks FSGSBASE: start QEMU with -cpu max or -cpu host");
    }
    let kernel = KernelObject::parse(&IMAGE.0).map_err(|_| "the unikernel inside this image cannot be read")?;
    let size = kernel.mem_size();
    let end = KERNEL_START + u64::try_from(size).unwrap_or(u64::MAX >> 1);
    if end > KERNEL_END_MAX {
        return Err("the unikernel's statics reach beyond 24 MiB, where its file lies");
    }
    let address = usize::try_from(KERNEL_START).map_err(|_| "no 64-bit address space")?;
    let place = core::ptr::with_exposed_provenance_mut::<MaybeUninit<u8>>(address);
    // SAFETY: ordinary memory, as the memory map says; between the low part and the loader, so nobody else's.
    let place = unsafe { core::slice::from_raw_parts_mut(place, size) };
    let loaded = kernel.load_kernel(place, KERNEL_START);

    let khz = tsc::khz().ok_or("the ACPI timer at port 0x608 does not run: use machine type pc or q35")?;
    let tree = addr_of_mut!(TREE);
    // SAFETY: one CPU, called once: this is the only reference to this static.
    let tree = unsafe { &mut *tree };
    describe(tree, &info, memory.end, khz).map_err(|_| "the device tree does not fit: shorten the command line")?;
    Ok(loaded)
}

/// The kernel keeps its per-processor data behind these instructions.
fn has_fsgsbase() -> bool {
    extended_features().is_some_and(|ebx| ebx & 1 != 0)
}

/// Leaf 7 of the processor's identification, register EBX.
#[allow(unused_unsafe, reason = "the intrinsics became safe after the oldest compiler that is supported")]
fn extended_features() -> Option<u32> {
    // SAFETY: every processor with a 64-bit mode has this instruction.
    let leaves = unsafe { __cpuid(0) }.eax;
    // SAFETY: as above.
    (leaves >= 7).then(|| unsafe { __cpuid_count(7, 0) }.ebx)
}

/// The device tree that the kernel reads.
fn describe(buffer: &mut [u8], info: &StartInfo, memory_end: u64, khz: u32) -> Result<(), fdt::Error> {
    let mut tree = fdt::Writer::new(buffer)?;
    tree.begin("")?;
    tree.text("compatible", "palisade,pvh")?;
    tree.text("model", "palisade,pvh")?;
    tree.number("#address-cells", 2)?;
    tree.number("#size-cells", 2)?;

    tree.begin("memory@0")?;
    tree.text("device_type", "memory")?;
    tree.range(0, memory_end / LARGE_PAGE * LARGE_PAGE)?;
    tree.end()?;

    tree.begin("chosen")?;
    tree.text("bootargs", info.command_line())?;
    tree.end()?;

    tree.begin("hermit,rsdp@0")?;
    tree.range(info.rsdp(), 1)?;
    tree.end()?;

    tree.begin("hermit,tsc")?;
    tree.number("khz", khz)?;
    tree.end()?;

    tree.end()?;
    tree.finish()
}

/// The jump. Everything that the kernel reads from now on lies below 2 MiB.
fn enter(kernel: &LoadedKernel) -> ! {
    let tree = u64::try_from(addr_of_mut!(TREE).expose_provenance()).unwrap_or(0);
    let range = &kernel.load_info.kernel_image_addr_range;
    let info = RawBootInfo::from(BootInfo {
        hardware_info: HardwareInfo {
            phys_addr_range: 0..KERNEL_END_MAX,
            serial_port_base: Some(SERIAL),
            device_tree: DeviceTreeAddress::new(tree),
        },
        load_info: hermit_entry::boot_info::LoadInfo {
            kernel_image_addr_range: range.clone(),
            tls_info: kernel.load_info.tls_info,
        },
        platform_info: PlatformInfo::Fdt,
    });
    let place = addr_of_mut!(BOOT_INFO);
    // SAFETY: one CPU, called once: this is the only reference to this static.
    let place = unsafe { &mut *place };
    let info: *const RawBootInfo = place.write(info);
    let stack = addr_of_mut!(KERNEL_STACK);
    start::close_page_zero();
    // SAFETY: the entry point that the kernel's own file names, called as its interface says: boot information in the
    // first argument, CPU 0 in the second, the lowest address of its stack in the stack pointer.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "jmp {entry}",
            stack = in(reg) stack,
            entry = in(reg) kernel.entry_point,
            in("rdi") info,
            in("rsi") 0_u64,
            options(noreturn),
        )
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    port::stop(format_args!("{info}"))
}
