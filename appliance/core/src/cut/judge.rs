//! The judgement: who goes when members of a group do not reach each other.
//!
//! Owns it, a pure function of the view and the leader's facts, and nothing else. Who is condemned has had a cut for
//! `dlm_cut_ms` with somebody who stays; whose cut is younger is only looked at to choose the side, since not all notice one cut at
//! the same time, and is waited for, for `CUT_SPREAD_MS` at most; so is the other end's word about the same cut. Nothing is judged
//! while a cut of the group ends. A side waits as a whole at the brake, and for its proof
//! like anybody condemned (SAFETY F6, H1).

use super::counts;
use super::sides::Picture;
use crate::decide::{Facts, hears_quorum, is_present};
use crate::fencing::brake::Ration;
use crate::groups::{Life, life};
use crate::id::NodeId;
use crate::limits::{CUT_SPREAD_MS, GROUPS_MAX};
use crate::nodes::NodeSet;
use crate::rule::Rule;
use crate::state::State;
use crate::state::groups::{GroupNumber, Phase};
use crate::status::{HistoryEntry, Reason};
use crate::time::Duration;
use crate::wire::message::Health;
use crate::wire::node::Target;

/// Half of the silence that accuses: what was heard within it is fresh.
fn fresh(facts: &Facts<'_>) -> Duration {
    Duration::from_millis(u64::from(facts.config.timing.host_dead_ms / 2))
}

/// Changes `next`, in which hosts and nodes are decided already, and groups are not. Whether anything changed.
pub fn decide(facts: &Facts<'_>, next: &mut State, ration: &mut Ration) -> bool {
    if facts.cuts.is_quiet(facts.now, fresh(facts)) || !hears_quorum(facts, next) {
        return false;
    }
    let mut changed = false;
    // Who stays in one group may have to go for another one: that is decided first, since without him nobody goes here.
    let mut all = [Sides::NONE; GROUPS_MAX];
    for (group, sides) in (1u8..).zip(&mut all) {
        *sides = divide(facts, next, group).unwrap_or(Sides::NONE);
    }
    let waits = |at: usize| all.iter().enumerate().any(|(other, sides)| other != at && sides.go.meets(&all[at].stay));
    // Where each waits for another one the first does not.
    let free = (0..GROUPS_MAX).find(|&at| !all[at].go.is_empty() && !waits(at));
    let first = free.or_else(|| all.iter().position(|sides| !sides.go.is_empty()));
    for ((group, at), sides) in (1u8..).zip(0..).zip(&all).filter(|(_, sides)| !sides.go.is_empty()) {
        // A member that was condemned just now opens a barrier in this very view.
        if (Some(at) == first || !waits(at)) && is_whole(next, group) && ration.take_side(sides.go.len()) {
            for node in sides.go.iter() {
                log::warn!("the DLM of {node} is cut off from its group");
                next.condemn(Target::Node(node), Reason::CutOff, next.version);
            }
            changed = true;
        }
    }
    changed
}

/// What is to become of a group: who stays, and who goes now.
#[derive(Clone, Copy)]
struct Sides {
    stay: NodeSet,
    go: NodeSet,
}

impl Sides {
    const NONE: Self = Self { stay: NodeSet::EMPTY, go: NodeSet::EMPTY };
}

fn is_whole(next: &State, group: GroupNumber) -> bool {
    next.groups.members(group).iter().all(|row| life(next, row.node, row.incarnation) == Life::Lives)
}

/// Who goes, and for whom, if anybody goes now.
fn divide(facts: &Facts<'_>, next: &State, group: GroupNumber) -> Option<Sides> {
    let row = next.groups.get(group);
    if !row.volume.is_some() || row.phase != Phase::Idle || !is_whole(next, group) {
        return None;
    }
    let picture = picture(facts, next, group, &|one, other| counts(facts.config, next, one, other));
    if picture.ends || !picture.is_long() {
        return None;
    }
    let stay = picture.stay();
    let outside = picture.members.without(&stay);
    let strict = facts.rules.holds(Rule::F6);
    let due = |node: &NodeId| picture.long(*node).meets(&stay) || !strict && !picture.long(*node).is_empty();
    let go: NodeSet = if strict { outside } else { picture.members }.iter().filter(due).collect();
    // A side goes as a whole: alone, one of it would leave the others in a barrier in which nobody can recover.
    let late = outside.without(&go).iter().any(|node| picture.apart(node).meets(&stay));
    (!late || picture.is_overdue()).then_some(Sides { stay, go })
}

/// Which of those that are late in a barrier are to go for it. Members that do not reach each other all wait for each other: then
/// the same go that would go without a barrier, so that somebody is left; otherwise all who are late.
pub fn of_late(facts: &Facts<'_>, next: &State, group: GroupNumber, late: &NodeSet) -> NodeSet {
    if facts.cuts.is_quiet(facts.now, fresh(facts)) || !facts.rules.holds(Rule::F6) {
        return *late;
    }
    let lives = |node: NodeId| life(next, node, next.node(node).incarnation) == Life::Lives;
    let going = late.without(&picture(facts, next, group, &|one, other| lives(one) && lives(other)).stay());
    if going.is_empty() { *late } else { going }
}

/// Whether a node that wants to join does not reach those who are in the group, or about to be, as far as anybody says: with it
/// nobody could recover. Who was fenced for that is not let in before the others had time to say so (SAFETY F6, G4).
pub fn is_apart(facts: &Facts<'_>, next: &State, group: GroupNumber, node: NodeId) -> bool {
    let row = next.node(node);
    let others = next.groups.members(group).iter().filter(|other| other.node != node && !other.standing.is_over());
    let others: NodeSet = others.map(|other| other.node).collect();
    let was_cut = |entry: &&HistoryEntry| {
        let reason = matches!(entry.reason, Reason::CutOff | Reason::Stuck);
        reason && entry.node == node && entry.incarnation == row.dead
    };
    let young = facts.ages.up_for(facts.now, node, row.incarnation) < Duration::from_millis(u64::from(CUT_SPREAD_MS));
    if !others.is_empty() && young && next.history().any(|entry| was_cut(&entry)) {
        return true;
    }
    if facts.cuts.is_quiet(facts.now, fresh(facts)) {
        return false;
    }
    let said = |one: NodeId| facts.cuts.of(facts.now, one, next.node(one).incarnation, fresh(facts));
    let own = said(node).is_some_and(|word| word.cuts.any.meets(&others));
    own || others.iter().any(|other| said(other).is_some_and(|word| word.cuts.any.contains(node)))
}

/// What the members of a group say of each other, as far as it counts.
fn picture(facts: &Facts<'_>, next: &State, group: GroupNumber, counts: &dyn Fn(NodeId, NodeId) -> bool) -> Picture {
    let generation = next.groups.get(group).generation;
    let rows = next.groups.members(group).iter().filter(|row| row.standing.is_in_set());
    let members: NodeSet = rows.map(|row| row.node).collect();
    let home = members.iter().filter(|&node| next.node(node).host == facts.me).collect();
    let mut picture = Picture::new(members, home);
    for one in members.iter().filter(|&node| sees(facts, next, node)) {
        let word = facts.cuts.of(facts.now, one, next.node(one).incarnation, fresh(facts));
        // Its appliance knew of this barrier when it judged.
        let Some(word) = word.filter(|word| word.version >= generation) else { continue };
        // What ends is not noticed by all at the same time either: what is left of it now means nothing.
        picture.ends |= word.cuts.again.meets(&members);
        for other in word.cuts.any.both(&members).iter() {
            if sees(facts, next, other) && counts(one, other) {
                picture.accuse(one, other, word.cuts.long.contains(other), word.cuts.overdue.contains(other));
            }
        }
    }
    picture
}

/// Whether its appliance is heard, and sees this node alive: otherwise other rules are about it.
fn sees(facts: &Facts<'_>, next: &State, node: NodeId) -> bool {
    let row = next.node(node);
    let seen = facts.watch.seen(row.host);
    let heard = row.host == facts.me || facts.now.since(seen.silent_since()) < fresh(facts);
    let admitted = next.host(row.host).incarnation == seen.incarnation && is_present(facts, row.host);
    let told = seen.beat.locals.iter().find(|local| local.node == node);
    heard && admitted && told.is_some_and(|local| local.health == Health::Live && local.incarnation == row.incarnation)
}
