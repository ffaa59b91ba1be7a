//! The bytes of what one local sender has under way.
//!
//! Owns the places. A place is taken when a message is accepted and given back when it is acknowledged or its stream ends.

use crate::limits::{FRAME_PAYLOAD_MAX, MAILBOX};

#[derive(Clone, Copy, Debug)]
struct Place {
    length: u16,
    bytes: [u8; FRAME_PAYLOAD_MAX],
}

/// The places of one sender.
#[derive(Debug)]
pub struct Mailbox {
    /// Bit i: place i is taken.
    taken: u32,
    places: [Place; MAILBOX],
}

impl Mailbox {
    /// All free; all zero.
    pub const EMPTY: Self = Self { taken: 0, places: [Place { length: 0, bytes: [0; FRAME_PAYLOAD_MAX] }; MAILBOX] };

    /// How many places are free.
    pub fn room(&self) -> usize {
        usize::try_from(self.taken.count_zeros()).unwrap_or(0)
    }

    /// Keeps a copy; where. `None`: there is no room, or it is too long.
    pub fn keep(&mut self, message: &[u8]) -> Option<u8> {
        let at = u8::try_from(self.taken.trailing_ones()).ok()?;
        let place = self.places.get_mut(usize::from(at))?;
        place.bytes.get_mut(..message.len())?.copy_from_slice(message);
        place.length = u16::try_from(message.len()).ok()?;
        self.taken |= 1 << at;
        Some(at)
    }

    /// What is kept there.
    pub fn get(&self, at: u8) -> &[u8] {
        let place = self.places.get(usize::from(at));
        place.and_then(|place| place.bytes.get(..usize::from(place.length))).unwrap_or_default()
    }

    /// Gives a place back.
    pub fn free(&mut self, at: u8) {
        self.taken &= !1_u32.checked_shl(u32::from(at)).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_and_given_back() {
        let mut mailbox = Mailbox::EMPTY;
        for at in 0..MAILBOX {
            assert_eq!(mailbox.keep(&[u8::try_from(at).unwrap_or(0); 3]).map(usize::from), Some(at));
        }
        assert_eq!((mailbox.room(), mailbox.keep(b"x")), (0, None));
        mailbox.free(7);
        assert_eq!(mailbox.keep(&[9; FRAME_PAYLOAD_MAX]), Some(7));
        assert_eq!((mailbox.get(7).len(), mailbox.get(6)), (FRAME_PAYLOAD_MAX, &[6; 3][..]));
        mailbox.free(0);
        assert_eq!(mailbox.keep(&[0; FRAME_PAYLOAD_MAX + 1]), None);
        assert_eq!(mailbox.room(), 1);
    }
}
