//! Who stays: the largest set of members that reach each other.
//!
//! Owns the choice, a pure function. A network that is cut into parts leaves the largest part; among parts of a size first the
//! one in which nobody accuses without being accused, then the leader's, then the one with the lowest number (SAFETY F6).
//!
//! A set is grown from each member in turn, and takes the others in by how few they fail to reach, the fewest first. Of any
//! network in which to reach is transitive this finds each part, whole; a unit test compares it with the best there is for
//! every picture of six nodes. What it finds is always mutually reachable, and nobody could be added to it. The cost is at most
//! the square of the members in set operations.

use crate::id::NodeId;
use crate::limits::{ID_SLOTS, NODES_MAX};
use crate::nodes::NodeSet;
use heapless::Vec;

/// Who does not reach whom among the members of one group.
#[derive(Debug)]
pub(super) struct Picture {
    /// The members.
    pub members: NodeSet,
    /// Those of them that run on the leader's host.
    pub home: NodeSet,
    /// By node: whom it says that it does not reach.
    accuses: [NodeSet; ID_SLOTS],
    /// By node: with whom there is a cut, whoever of both says so.
    apart: [NodeSet; ID_SLOTS],
    /// By node: whom it has not reached for `dlm_cut_ms` without a break, as it says.
    long: [NodeSet; ID_SLOTS],
    /// By node: the same, for so long that the other end's word is not waited for any more.
    overdue: [NodeSet; ID_SLOTS],
    /// Some member says that a long cut is over.
    pub ends: bool,
}

impl Picture {
    /// All reach all.
    pub(super) const fn new(members: NodeSet, home: NodeSet) -> Self {
        Self {
            members,
            home,
            accuses: [NodeSet::EMPTY; ID_SLOTS],
            apart: [NodeSet::EMPTY; ID_SLOTS],
            long: [NodeSet::EMPTY; ID_SLOTS],
            overdue: [NodeSet::EMPTY; ID_SLOTS],
            ends: false,
        }
    }

    /// `one` says that it does not reach `other`; `long`: for `dlm_cut_ms` without a break; `overdue`: for `CUT_SPREAD_MS` more.
    pub(super) const fn accuse(&mut self, one: NodeId, other: NodeId, long: bool, overdue: bool) {
        self.accuses[one.index()].insert(other);
        self.apart[one.index()].insert(other);
        self.apart[other.index()].insert(one);
        if long {
            self.long[one.index()].insert(other);
        }
        if overdue {
            self.overdue[one.index()].insert(other);
        }
    }

    /// With whom there is a cut.
    pub(super) const fn apart(&self, node: NodeId) -> &NodeSet {
        &self.apart[node.index()]
    }

    /// With whom this one has had a cut for long: both ends say that there is one, or one has said so for longer.
    pub(super) fn long(&self, node: NodeId) -> NodeSet {
        let is_long = |other: &NodeId| {
            let says = |one: NodeId, of: NodeId, sets: &[NodeSet; ID_SLOTS]| sets[one.index()].contains(of);
            let either = |sets: &[NodeSet; ID_SLOTS]| says(node, *other, sets) || says(*other, node, sets);
            let both = says(node, *other, &self.accuses) && says(*other, node, &self.accuses);
            either(&self.overdue) || both && either(&self.long)
        };
        self.apart(node).iter().filter(is_long).collect()
    }

    /// Whether some cut is so old that nobody is waited for any more.
    pub(super) fn is_overdue(&self) -> bool {
        self.members.iter().any(|node| !self.overdue[node.index()].is_empty())
    }

    /// Whether anybody has had a cut for long.
    pub(super) fn is_long(&self) -> bool {
        self.members.iter().any(|node| !self.long(node).is_empty())
    }

    /// Who stays.
    pub(super) fn stay(&self) -> NodeSet {
        let mut order: Vec<(u32, NodeId), NODES_MAX> = Vec::new();
        for node in self.members.iter() {
            let entry = (self.apart[node.index()].len(), node);
            let at = order.iter().position(|other| *other > entry).unwrap_or(order.len());
            let _fits = order.insert(at, entry);
        }
        let mut best = NodeSet::EMPTY;
        for seed in self.members.iter() {
            let found = self.grow(seed, &order);
            if self.rank(&found) > self.rank(&best) {
                best = found;
            }
        }
        best
    }

    /// The set that grows from one member.
    fn grow(&self, seed: NodeId, order: &[(u32, NodeId)]) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        set.insert(seed);
        for &(_, node) in order {
            if !self.apart[node.index()].meets(&set) {
                set.insert(node);
            }
        }
        set
    }

    /// Greater is better; of equals the one that was found first stays, which has the lowest number.
    fn rank(&self, set: &NodeSet) -> (u32, core::cmp::Reverse<usize>, bool) {
        (set.len(), core::cmp::Reverse(self.unanswered(set)), set.meets(&self.home))
    }

    /// How many of a set accuse somebody outside who does not accuse them: of a cut both ends know, so that is the word of one
    /// against the others.
    fn unanswered(&self, set: &NodeSet) -> usize {
        let outside = self.members.without(set);
        let alone = |node: &NodeId| {
            let accused = self.accuses[node.index()].both(&outside);
            accused.iter().any(|other| !self.accuses[other.index()].contains(*node))
        };
        set.iter().filter(alone).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec as List;

    fn nodes(numbers: &[u8]) -> NodeSet {
        numbers.iter().copied().map(NodeId::new).collect()
    }

    /// Members 1 to `last`; each pair is cut both ways.
    fn picture(last: u8, cuts: &[(u8, u8)]) -> Box<Picture> {
        let mut picture = Box::new(Picture::new((1..=last).map(NodeId::new).collect(), NodeSet::EMPTY));
        for &(one, other) in cuts {
            picture.accuse(NodeId::new(one), NodeId::new(other), true, true);
            picture.accuse(NodeId::new(other), NodeId::new(one), true, true);
        }
        picture
    }

    /// All pairs between two parts.
    fn between(one: &[u8], other: &[u8]) -> List<(u8, u8)> {
        one.iter().flat_map(|&a| other.iter().map(move |&b| (a, b))).collect()
    }

    #[test]
    fn the_larger_part_stays_whoever_leads() {
        assert_eq!(picture(3, &between(&[1], &[2, 3])).stay(), nodes(&[2, 3]));
        assert_eq!(picture(5, &between(&[1, 5], &[2, 3, 4])).stay(), nodes(&[2, 3, 4]));
        let mut of_leader = picture(3, &between(&[1], &[2, 3]));
        of_leader.home = nodes(&[1]);
        assert_eq!(of_leader.stay(), nodes(&[2, 3]));
        let three = [between(&[1, 2], &[3, 4, 5]), between(&[1, 2, 3, 4, 5], &[6, 7, 8, 9])].concat();
        assert_eq!(picture(9, &three).stay(), nodes(&[6, 7, 8, 9]));
    }

    #[test]
    fn of_equal_parts_the_leaders_stays_and_then_the_one_with_the_lowest_number() {
        let halves = between(&[1, 4], &[2, 3]);
        assert_eq!(picture(4, &halves).stay(), nodes(&[1, 4]));
        let mut of_leader = picture(4, &halves);
        of_leader.home = nodes(&[3]);
        assert_eq!(of_leader.stay(), nodes(&[2, 3]));
        assert_eq!(picture(2, &[(1, 2)]).stay(), nodes(&[1]));
        let all_alone = [between(&[1], &[2, 3]), between(&[2], &[3])].concat();
        assert_eq!(picture(3, &all_alone).stay(), nodes(&[1]), "a switch that broke leaves one");
    }

    #[test]
    fn who_accuses_and_is_not_accused_does_not_stay_for_it() {
        for liar in 1..=4 {
            let mut lies = picture(4, &[]);
            lies.home = nodes(&[liar]);
            let others = (1..=4).filter(|&node| node != liar);
            others.clone().for_each(|other| lies.accuse(NodeId::new(liar), NodeId::new(other), true, true));
            assert_eq!(lies.stay(), others.map(NodeId::new).collect());
        }
        for (liar, other) in [(1, 2), (2, 1)] {
            let mut lies = picture(2, &[]);
            lies.home = nodes(&[liar]);
            lies.accuse(NodeId::new(liar), NodeId::new(other), true, true);
            assert_eq!(lies.stay(), nodes(&[other]), "one word against another");
        }
        let mut sick = picture(4, &[]);
        [1, 2, 4].iter().for_each(|&node| sick.accuse(NodeId::new(node), NodeId::new(3), true, true));
        assert_eq!(sick.stay(), nodes(&[1, 2, 4]), "the majority's word counts although it is not returned");
    }

    #[test]
    fn of_every_picture_of_six_nodes_as_many_stay_as_can() {
        let pairs: List<(u8, u8)> = (1..=6).flat_map(|a| (a + 1..=6).map(move |b| (a, b))).collect();
        for which in 0_u32..1 << pairs.len() {
            let cuts: List<(u8, u8)> =
                pairs.iter().enumerate().filter(|(bit, _)| which >> bit & 1 == 1).map(|(_, &pair)| pair).collect();
            let stay = picture(6, &cuts).stay();
            let fits = |set: u8| cuts.iter().all(|&(a, b)| set >> (a - 1) & set >> (b - 1) & 1 == 0);
            let most = (0_u8..64).filter(|&set| fits(set)).map(u8::count_ones).max();
            let apart = |&(a, b): &(u8, u8)| !(stay.contains(NodeId::new(a)) && stay.contains(NodeId::new(b)));
            assert!(cuts.iter().all(apart), "{cuts:?}: {stay:?} do not reach each other");
            assert_eq!(Some(stay.len()), most, "{cuts:?}");
        }
    }

    #[test]
    fn a_split_of_255_nodes_is_found_whole() {
        let (few, many): (List<u8>, List<u8>) = (1..=u8::MAX).partition(|node| node % 5 < 2);
        assert_eq!(picture(255, &between(&few, &many)).stay(), nodes(&many));
    }
}
