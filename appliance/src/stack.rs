//! How deep the stack has been.
//!
//! Owns the paint below the stack pointer and the search for the deepest place where it came off. The search is cut into
//! steps, one per turn of the loop, and costs nothing that could be felt. Rule: docs/DEADLOCK-RULES.md, rule 1.

use core::ptr::{read_volatile, with_exposed_provenance_mut, write_volatile};

/// What an untouched word holds.
const PAINT: u64 = 0xa5a5_5a5a_a5a5_5a5a;
const WORD: usize = size_of::<u64>();
/// Bytes below the painter's own frame that are left alone: its callees and an interrupt's frame lie there.
const MARGIN: usize = 16 * 1024;
/// Bytes that one step looks at.
const STEP: usize = 8 * 1024;

/// The main stack.
pub struct Stack {
    start: usize,
    end: usize,
    /// Everything below is painted, as far as was seen.
    untouched_to: usize,
    cursor: usize,
}

impl Stack {
    /// Paints what lies below the present stack pointer.
    pub fn paint() -> Self {
        let range = hermit::palisade::main_stack();
        let here = 0_u8;
        let pointer = (&raw const here).expose_provenance();
        assert!(range.contains(&pointer), "invariant: we run on the main stack");
        let untouched_to = (pointer - MARGIN).max(range.start) / WORD * WORD;
        for address in (range.start..untouched_to).step_by(WORD) {
            let word = with_exposed_provenance_mut::<u64>(address);
            // SAFETY: the word belongs to our own stack, far below the pointer: nothing that lives is there.
            unsafe { write_volatile(word, PAINT) };
        }
        Self { start: range.start, end: range.end, untouched_to, cursor: range.start }
    }

    /// One step of the search, from the far end towards the part that is known to have been used.
    pub fn step(&mut self) {
        let end = (self.cursor + STEP).min(self.untouched_to);
        for address in (self.cursor..end).step_by(WORD) {
            let word = with_exposed_provenance_mut::<u64>(address);
            // SAFETY: the word belongs to our own stack; a value of any kind may be read.
            if unsafe { read_volatile(word) } != PAINT {
                self.untouched_to = address;
                break;
            }
        }
        self.cursor = if end >= self.untouched_to { self.start } else { end };
    }

    /// The deepest that the stack was seen to be, bytes.
    pub fn high_water(&self) -> u32 {
        u32::try_from(self.end - self.untouched_to).unwrap_or(u32::MAX)
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u32 {
        u32::try_from(self.end - self.start).unwrap_or(u32::MAX)
    }
}
