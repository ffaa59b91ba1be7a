//! Numbers that nobody can guess: nonces, session ids, election jitter.
//!
//! Owns a counter under a key that the driver drew from the entropy device at boot. The same key gives the same numbers,
//! which is what makes a simulated run repeatable.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A deterministic generator: HMAC-SHA256 of a counter.
#[derive(Debug)]
pub struct Entropy {
    key: [u8; 32],
    counter: u64,
}

impl Entropy {
    /// A generator that nobody keyed yet.
    pub const UNKEYED: Self = Self { key: [0; 32], counter: 0 };

    /// Starts over under a fresh key.
    pub const fn key(&mut self, key: [u8; 32]) {
        *self = Self { key, counter: 0 };
    }

    /// The next number; never zero.
    pub fn next(&mut self) -> u64 {
        self.counter += 1;
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).expect("invariant: HMAC takes keys of any length");
        mac.update(&self.counter.to_le_bytes());
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        let (first, _) = bytes.split_first_chunk::<8>().expect("invariant: 32 bytes hold 8");
        u64::from_le_bytes(*first).max(1)
    }
}
