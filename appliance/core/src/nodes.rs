//! A set of nodes.
//!
//! Owns the bits. One bit for each number that there is, so a set of any size costs the same, in memory and on the wire.

use crate::id::NodeId;

/// Bytes of a set on the wire.
pub const NODE_SET_BYTES: usize = 32;
const WORDS: usize = NODE_SET_BYTES / 8;

/// A set of nodes. Nobody is never in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSet([u64; WORDS]);

impl NodeSet {
    /// No node; all zero.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Takes a node in.
    pub const fn insert(&mut self, node: NodeId) {
        if node.is_some() {
            self.0[node.index() / 64] |= 1 << (node.index() % 64);
        }
    }

    /// Whether this node is in it.
    #[must_use]
    pub const fn contains(&self, node: NodeId) -> bool {
        self.0[node.index() / 64] & (1 << (node.index() % 64)) != 0
    }

    /// Whether no node is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// How many nodes are in it.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Those that are in both.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        let mut words = self.0;
        for (word, theirs) in words.iter_mut().zip(other.0) {
            *word &= theirs;
        }
        Self(words)
    }

    /// Those that are in this and not in the other one.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(other.0.map(|word| !word)).both(self)
    }

    /// Whether any node is in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        !self.both(other).is_empty()
    }

    /// Its nodes, by number.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + use<> {
        let set = *self;
        (1..=u8::MAX).map(NodeId::new).filter(move |&node| set.contains(node))
    }

    /// As the wire has it: node n is bit n % 8 of byte n / 8.
    #[must_use]
    pub fn to_bytes(self) -> [u8; NODE_SET_BYTES] {
        let mut bytes = [0; NODE_SET_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From the wire; the bit of nobody is dropped.
    #[must_use]
    pub fn from_bytes(bytes: [u8; NODE_SET_BYTES]) -> Self {
        let mut words = [0; WORDS];
        for (word, place) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*place);
        }
        words[0] &= !1;
        Self(words)
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::EMPTY;
        for node in nodes {
            set.insert(node);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u8]) -> NodeSet {
        numbers.iter().copied().map(NodeId::new).collect()
    }

    #[test]
    fn a_set_holds_just_what_was_put_in() {
        let some = set(&[0, 1, 63, 64, 200, 255]);
        assert!(some.iter().map(NodeId::get).eq([1, 63, 64, 200, 255]), "and never nobody");
        assert_eq!((some.len(), NodeSet::EMPTY.len()), (5, 0));
        let other = set(&[63, 65, 255]);
        assert_eq!(some.both(&other), set(&[63, 255]));
        assert_eq!(some.without(&other), set(&[1, 64, 200]));
        assert!(some.meets(&other) && !some.meets(&set(&[2])) && !some.contains(NodeId::NONE));
    }

    #[test]
    fn the_wire_has_a_bit_for_each() {
        let some = set(&[1, 9, 255]);
        let bytes = some.to_bytes();
        assert_eq!((bytes[0], bytes[1], bytes[31]), (2, 2, 128));
        assert_eq!(NodeSet::from_bytes(bytes), some);
        assert_eq!(NodeSet::from_bytes([0xff; NODE_SET_BYTES]).len(), 255, "nobody is in no set");
    }
}
