//! Deltas: what changed from one state to the next, as rows.
//!
//! Owns how a delta is made and applied. It knows of rows only that they stand in ascending order of kind and key, so it
//! need not know the sections. A delta names the content of its base and of its result; whoever holds another base gets the
//! whole state (SAFETY A5). Both ends find the result's digest from the base's and the changed rows alone.
//!
//! ```text
//! 0 the result's head, whole   then in ascending order, for each changed row: the row as it is to be,
//!                              for each removed row: kind with the high bit set, key
//! ```

use super::encoded::Content;
use crate::limits::DELTA_PIECES_MAX;
use crate::state::digest::hash;
use crate::state::{HEAD_BYTES, STATE_BYTES_MAX, digest, row};
use crate::wire::message::{PIECE_BYTES, Proposal, Slot};
use crate::wire::{Error, Result};

/// The largest delta.
pub const DELTA_BYTES_MAX: usize = DELTA_PIECES_MAX * PIECE_BYTES;
/// Set in a row's kind: it is removed.
const REMOVED: u8 = 0x80;
/// Kind and key.
type Id = [u8; row::HEAD_BYTES];

/// The delta that leads to what the leader proposes.
#[derive(Debug)]
pub struct Delta {
    base: Content,
    bytes: [u8; DELTA_BYTES_MAX],
    /// Zero: there is none, or it would be too long.
    length: usize,
}

impl Delta {
    /// None; all zero.
    pub const NONE: Self = Self { base: Content { version: 0, digest: 0 }, bytes: [0; DELTA_BYTES_MAX], length: 0 };

    /// Whether there is one.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.length != 0
    }

    /// Makes the delta from `old`, whose content `base` names, to `new`. The digest of `new`.
    pub fn make(&mut self, base: Content, old: &[u8], new: &[u8]) -> u64 {
        self.length = 0;
        self.base = base;
        let (Some((old_head, mut old)), Some((head, mut rows))) =
            (old.split_at_checked(HEAD_BYTES), new.split_at_checked(HEAD_BYTES))
        else {
            return digest(new);
        };
        let mut sum = base.digest.wrapping_sub(hash(old_head)).wrapping_add(hash(head));
        let mut fits = self.add(head);
        while let Some((before, after)) = step(&mut old, &mut rows) {
            if before == after {
                continue;
            }
            sum = sum.wrapping_sub(before.map_or(0, hash)).wrapping_add(after.map_or(0, hash));
            fits = fits
                && match (before, after) {
                    (_, Some(row)) => self.add(row),
                    (Some(&[kind, a, b, c, ..]), None) => self.add(&[kind | REMOVED, a, b, c]),
                    _ => false,
                };
        }
        if !fits || !old.is_empty() || !rows.is_empty() {
            self.length = 0;
        }
        // Rows of a kind that this code does not know can come only from another version of it.
        if old.is_empty() && rows.is_empty() { sum } else { digest(new) }
    }

    /// Whether it still fits.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let Some(place) = self.bytes.get_mut(self.length..self.length + bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        self.length += bytes.len();
        true
    }

    /// Piece number `index`: its head and bytes.
    #[must_use]
    pub fn piece(&self, index: usize, slot: Slot, digest: u64) -> Option<(Proposal, &[u8])> {
        let start = index.checked_mul(PIECE_BYTES)?;
        let bytes = self.bytes[..self.length].get(start..).filter(|rest| !rest.is_empty())?;
        let bytes = &bytes[..bytes.len().min(PIECE_BYTES)];
        let total = u32::try_from(self.length).ok()?;
        let offset = u32::try_from(start).ok()?;
        let Content { version: base_version, digest: base_digest } = self.base;
        Some((Proposal { slot, digest, base_version, base_digest, total, offset }, bytes))
    }
}

/// A row on either side, or on one.
type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// The next row on either side: both, if it is the same kind and key.
fn step<'a>(old: &mut &'a [u8], new: &mut &'a [u8]) -> Option<Pair<'a>> {
    let (left, right) = (old.first_chunk::<4>(), new.first_chunk::<4>());
    let takes_old = left.is_some_and(|left| right.is_none_or(|right| left <= right));
    let takes_new = right.is_some_and(|right| left.is_none_or(|left| right <= left));
    let before = if takes_old { Some(row::cut(old).ok()??) } else { None };
    let after = if takes_new { Some(row::cut(new).ok()??) } else { None };
    (takes_old || takes_new).then_some((before, after))
}

/// Applies a delta to `base`, whose digest is `sum`; writes what comes out of it into `result`. Its length and digest. Whether the
/// base is the right one, and the digest the one that was meant, is for the caller to see.
///
/// # Errors
/// Half a row, an unknown kind, rows out of order, or more than a state may have.
pub fn apply(mut sum: u64, base: &[u8], delta: &[u8], result: &mut [u8; STATE_BYTES_MAX]) -> Result<(usize, u64)> {
    let (old_head, mut base) = base.split_at_checked(HEAD_BYTES).ok_or(Error)?;
    let (head, mut changes) = delta.split_at_checked(HEAD_BYTES).ok_or(Error)?;
    sum = sum.wrapping_sub(hash(old_head)).wrapping_add(hash(head));
    let mut written = 0;
    let mut write = |bytes: &[u8]| {
        let place = result.get_mut(written..written + bytes.len()).ok_or(Error)?;
        place.copy_from_slice(bytes);
        written += bytes.len();
        Ok(written)
    };
    write(head)?;
    let mut last: Option<Id> = None;
    while let Some(&[kind, a, b, c]) = changes.first_chunk() {
        let id = [kind & !REMOVED, a, b, c];
        if last.is_some_and(|last| last >= id) {
            return Err(Error);
        }
        last = Some(id);
        while base.first_chunk::<4>().is_some_and(|next| *next < id) {
            write(row::cut(&mut base)?.ok_or(Error)?)?;
        }
        if base.first_chunk() == Some(&id) {
            sum = sum.wrapping_sub(hash(row::cut(&mut base)?.ok_or(Error)?));
        }
        if kind & REMOVED == 0 {
            let row = row::cut(&mut changes)?.ok_or(Error)?;
            sum = sum.wrapping_add(hash(row));
            write(row)?;
        } else {
            changes = &changes[row::HEAD_BYTES..];
        }
    }
    if !changes.is_empty() {
        return Err(Error);
    }
    Ok((write(base)?, sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn encode(head: u8, rows: &BTreeMap<Id, u8>) -> Vec<u8> {
        let mut bytes = std::vec![head; HEAD_BYTES];
        for (id, &content) in rows {
            let kind = row::Kind::from_wire(id[0]).expect("known kinds");
            bytes.extend_from_slice(id);
            bytes.resize(bytes.len() + kind.bytes() - id.len(), content);
        }
        bytes
    }

    fn random(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn whatever_changed_a_delta_leads_from_the_one_to_the_other() {
        let (mut delta, mut result) = (Box::new(Delta::NONE), Box::new([0xa5; STATE_BYTES_MAX]));
        let mut seed = 0x9e37_79b9_7f4a_7c15;
        let mut rows: BTreeMap<Id, u8> = BTreeMap::new();
        let (mut made, mut too_long) = (0, 0);
        for round in 0..3000u32 {
            let old = encode(round.to_le_bytes()[0], &rows);
            let changes = if round % 100 == 0 { 300 } else { random(&mut seed) % 9 };
            for _ in 0..changes {
                let [kind, number, content, what, ..] = random(&mut seed).to_le_bytes();
                let id = [1 + kind % 3, 0, 0, number];
                if what % 3 == 0 {
                    rows.remove(&id);
                } else {
                    rows.insert(id, content);
                }
            }
            let new = encode((round + 1).to_le_bytes()[0], &rows);
            let base = Content { version: 1, digest: digest(&old) };
            let sum = delta.make(base, &old, &new);
            assert_eq!(sum, digest(&new));
            if !delta.is_some() {
                too_long += 1;
                continue;
            }
            made += 1;
            let (length, found) = apply(base.digest, &old, &delta.bytes[..delta.length], &mut result).expect("sound");
            assert_eq!((&result[..length], found), (&new[..], sum));
        }
        assert!(made > 2900 && too_long > 5, "{made} made, {too_long} too long");
    }

    #[test]
    fn bytes_that_are_no_delta_are_refused_or_show_in_the_digest() {
        let rows: BTreeMap<Id, u8> = (1..9).map(|number| ([1, 0, 0, number], number)).collect();
        let old = encode(1, &rows);
        let mut changed = rows.clone();
        changed.insert([1, 0, 0, 3], 77);
        changed.remove(&[1, 0, 0, 5]);
        let new = encode(2, &changed);
        let (mut delta, mut result) = (Box::new(Delta::NONE), Box::new([0; STATE_BYTES_MAX]));
        let base = Content { version: 1, digest: digest(&old) };
        let meant = delta.make(base, &old, &new);
        let bytes = delta.bytes[..delta.length].to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let found = apply(base.digest, &old, &wrong, &mut result);
            assert!(found.is_err() || found.is_ok_and(|(_, digest)| digest != meant), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            let found = apply(base.digest, &old, &bytes[..cut], &mut result);
            assert!(found.is_err() || found.is_ok_and(|(_, digest)| digest != meant), "cut at {cut}");
        }
    }
}
