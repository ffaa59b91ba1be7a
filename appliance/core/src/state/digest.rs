//! The digest by which two encoded states are told apart.
//!
//! Owns the sum. The digest of a state is the sum, modulo 2^64, of the hashes of its head and of each of its rows, so that a
//! change of the view costs as many hashes as rows that changed, however many there are. A hash is the first eight bytes of
//! SHA-256, and covers a row's kind and key; a key comes once in a state, so a state is a set of distinct items, and two
//! different sets have the same sum with probability 2^-64, as if each sum were drawn by lot. That tells states apart which
//! differ by accident (SAFETY A5). Against malice the digest need not stand: a datagram that carries it is sealed.

use super::HEAD_BYTES;
use super::row;
use crate::wire::Fields;
use sha2::{Digest as _, Sha256};

/// The hash of one item: a head, or a row with its kind and key.
#[must_use]
pub fn hash(item: &[u8]) -> u64 {
    let hash: [u8; 32] = Sha256::digest(item).into();
    Fields(&hash).u64(0)
}

/// The digest of an encoded state. Bytes that are no row count as one item: they make another digest, too.
#[must_use]
pub fn digest(encoded: &[u8]) -> u64 {
    let (head, mut rest) = encoded.split_at(encoded.len().min(HEAD_BYTES));
    let mut sum = hash(head);
    while let Ok(Some(row)) = row::cut(&mut rest) {
        sum = sum.wrapping_add(hash(row));
    }
    if rest.is_empty() { sum } else { sum.wrapping_add(hash(rest)) }
}
