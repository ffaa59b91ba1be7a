//! The guard's own memory: locked, counted, and the last that the kernel takes.
//!
//! Owns the counting allocator and what is asked of the kernel at the start. Once the guard is on duty, detection, kill
//! and lease must never allocate (DESIGN §1, rules 1 and 2); the count since then is logged and tested to be zero.

use crate::{say, sys};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with every request counted.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call goes to the system's allocator as it is; counting touches no memory of its callers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// Requests to the allocator so far. Only counts in a program whose allocator is `Counting`.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Bytes of stack that are touched before the lock: several times what the duty loop needs.
const STACK_BYTES: usize = 256 * 1024;

/// Protects the guard from memory pressure; says, item by item, what was refused, and goes on. Returns whether the VMs
/// may lock their memory too.
pub fn protect(lock: bool) -> bool {
    match std::fs::write("/proc/self/oom_score_adj", "-1000") {
        Ok(()) => say!("memory: the kernel takes the guard and its children last (oom_score_adj -1000)"),
        Err(error) => say!(
            "memory: REFUSED: oom_score_adj -1000: {error}; under memory pressure the kernel may end the guard and with \
             it all VMs of this host; run it as root or with OOMScoreAdjust=-1000 in its unit"
        ),
    }
    if !lock {
        say!("memory: not locked, as `lock_memory` is false; under memory pressure anything here may wait for a disk");
        return false;
    }
    // Who may lock memory at all is not bound by the limit.
    let unlimited = if may_lock() { Ok(()) } else { sys::unlimited_lock() };
    if let Err(error) = &unlimited {
        say!(
            "memory: REFUSED: no limit on locked memory: {error}; the VMs start without mem-lock; set \
             LimitMEMLOCK=infinity in the unit"
        );
    }
    touch_stack();
    match sys::lock_memory() {
        Ok(()) => say!("memory: the guard's memory is locked"),
        Err(error) => say!(
            "memory: REFUSED: mlockall: {error}; under memory pressure detection and kill may wait for a disk; run it as \
             root or with LimitMEMLOCK=infinity"
        ),
    }
    unlimited.is_ok()
}

/// Whether this process, and so its children, have CAP_IPC_LOCK.
fn may_lock() -> bool {
    const CAP_IPC_LOCK: u64 = 1 << 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits & CAP_IPC_LOCK != 0)
}

#[inline(never)]
fn touch_stack() {
    let mut stack = [0_u8; STACK_BYTES];
    std::hint::black_box(&mut stack);
}
