//! Everything that leaves or enters an appliance as bytes, one file per protocol.
//!
//! Owns layouts only. A parser never panics and never trusts a length; its caller can only drop what fails, so all
//! failures are the one `Error`. Layouts are little-endian and written down in docs/PROTOCOL.md.

pub mod datagram;
pub mod frame;
pub mod guard;
pub mod message;
pub mod node;

/// The bytes are not what they claim to be: the caller counts and drops them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

/// The result of a parser.
pub type Result<T> = core::result::Result<T, Error>;

/// Reads fixed-size little-endian fields at given offsets. Out of range reads as zero: callers check the length first.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    pub fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
    }
    pub fn u8(&self, at: usize) -> u8 {
        self.array::<1>(at)[0]
    }
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}

/// Writes bytes at an offset. Out of range writes nothing: layouts are constants, their tests hold them.
pub(crate) fn put<const N: usize>(buffer: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = buffer.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = bytes;
    }
}
