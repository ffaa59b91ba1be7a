//! Statics that are claimed once.
//!
//! Owns the only way in which this image turns a static into a mutable reference. A static is claimed by its one owner
//! while booting and stays his: nothing of any size passes over the stack, and nothing is ever given back. Claiming
//! twice is our own mistake and stops the machine. Rule: docs/DEADLOCK-RULES.md, rule 1.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A static with one owner.
pub struct Once<T> {
    claimed: AtomicBool,
    place: UnsafeCell<T>,
}

// SAFETY: the machine has one CPU and one task; what an interrupt handler runs is the kernel's and touches none of
// these; and `claim` hands the content out at most once.
unsafe impl<T> Sync for Once<T> {}

impl<T> Once<T> {
    /// The static's first content. All zero where the content is large, so that it costs no bytes in the image.
    pub const fn new(content: T) -> Self {
        Self { claimed: AtomicBool::new(false), place: UnsafeCell::new(content) }
    }

    /// The content, for the first who asks.
    #[expect(clippy::mut_from_ref, reason = "the flag sees to it that there is one reference")]
    pub fn claim(&'static self) -> &'static mut T {
        assert!(!self.claimed.swap(true, Ordering::AcqRel), "invariant: a static is claimed once");
        // SAFETY: the flag lets exactly one caller come here, so this is the only reference there will ever be.
        unsafe { &mut *self.place.get() }
    }

    /// Where the content lies. Says nothing about who may touch it.
    pub const fn address(&'static self) -> *const T {
        self.place.get()
    }
}
