//! What the virtio crate asks of the machine below it.
//!
//! Owns the pages of the rings themselves, and the rule which addresses a device may see. Statics are identity mapped,
//! the stack and the kernel's heap are not: every buffer that goes to a device is checked to lie in `memory::ARENA`.
//! Nothing is ever given back: devices live as long as the machine.

use core::cell::UnsafeCell;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

use palisade_core::limits::{LINKS_MAX, LOCAL_NODES_MAX};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::memory;

/// Queues of all devices that there can be: two per NIC and console, three of the vsock, one of the entropy device.
const QUEUES_MAX: usize = 2 * (LINKS_MAX + 1) + 2 * (1 + 2 * LOCAL_NODES_MAX) + 3 + 1;
/// Pages that one queue takes at most: descriptors and available ring of a NIC take two, its used ring one.
const QUEUE_PAGES: usize = 3;
const PAGES: usize = QUEUES_MAX * QUEUE_PAGES;
/// End of the addresses that the loader mapped one to one. Registers above cannot be reached.
pub const MAPPED_END: u64 = 1 << 32;

#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

struct Pool {
    pages: UnsafeCell<[Page; PAGES]>,
    taken: AtomicUsize,
}

// SAFETY: pages are only reached through `dma_alloc`, which gives each to one owner.
unsafe impl Sync for Pool {}

static POOL: Pool =
    Pool { pages: UnsafeCell::new([const { Page([0; PAGE_SIZE]) }; PAGES]), taken: AtomicUsize::new(0) };

/// Pages of ring memory that are in use, and that there are.
pub fn pages() -> (usize, usize) {
    (POOL.taken.load(Ordering::Relaxed), PAGES)
}

/// The machine, as the virtio crate sees it.
#[derive(Debug)]
pub struct Machine;

// SAFETY: `dma_alloc` gives out page-aligned, zeroed, identity-mapped statics, each once; `mmio_phys_to_virt` checks
// that the registers lie where the loader mapped everything one to one; `share` maps nothing, it checks.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = POOL.taken.fetch_add(pages, Ordering::Relaxed);
        assert!(first + pages <= PAGES, "invariant: the pool holds pages for every queue");
        let start = POOL.pages.get().cast::<Page>().wrapping_add(first).cast::<u8>();
        let start = NonNull::new(start).expect("invariant: a static has an address");
        (physical(start.as_ptr().expose_provenance()), start)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // Only a start that is about to be refused gives a device up; its pages are never handed out again.
        0
    }

    unsafe fn mmio_phys_to_virt(registers: PhysAddr, size: usize) -> NonNull<u8> {
        let end = u64::try_from(size).ok().and_then(|size| registers.checked_add(size));
        assert!(end.is_some_and(|end| end <= MAPPED_END), "invariant: pci.rs refused registers above 4 GiB");
        let address = usize::try_from(registers).expect("invariant: addresses have 64 bits");
        NonNull::new(with_exposed_provenance_mut(address)).expect("invariant: no registers at zero")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        let address = buffer.cast::<u8>().as_ptr().expose_provenance();
        assert!(memory::is_shared(address, buffer.len()), "invariant: devices only see the arena");
        physical(address)
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// A static's physical address: the loader mapped memory one to one.
fn physical(address: usize) -> PhysAddr {
    u64::try_from(address).expect("invariant: addresses have 64 bits")
}
