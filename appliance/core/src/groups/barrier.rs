//! The barrier: which change of the groups' rows the view and the reports call for.
//!
//! Owns the judgement, a pure function, and nothing else. A condemned member is enough to stop; a start waits until everybody
//! who was in the set has stopped or is Confirmed, so that nobody runs with an older set when the new one begins (SAFETY
//! S7 in DESIGN §7). Rules: G1 to G6, E8, H2.

use super::{Life, life};
use crate::cut::judge::{is_apart, of_late};
use crate::decide::Facts;
use crate::fencing::hold::is_quarantined;
use crate::id::{NodeId, Volume};
use crate::nodes::NodeSet;
use crate::rule::Rule;
use crate::state::State;
use crate::state::groups::{GroupNumber, GroupRow, Membership, Phase, Standing};
use crate::state::takeovers::{Progress, Service};
use crate::status::Reason;
use crate::time::{Duration, Instant};
use crate::wire::message::{GroupReport, Wish};
use crate::wire::node::{NodeState, Target};
use heapless::Vec;

/// Changes `next`, in which hosts and nodes are decided already. `changed`: something of those was. Whether anything changed.
pub fn decide(facts: &Facts<'_>, next: &mut State, changed: bool) -> bool {
    if !changed && facts.groups.is_settled(next.version.wrapping_sub(1)) {
        return false;
    }
    let mut changed = false;
    for report in facts.groups.wishes() {
        changed |= match report.wish {
            Wish::Join => admit(facts, next, report),
            Wish::Leave => release(facts, next, report),
            Wish::None => false,
        };
    }
    for group in (1u8..).take(crate::limits::GROUPS_MAX) {
        let row = *next.groups.get(group);
        // A barrier that this view opens has its first step when it is committed.
        if row.volume.is_some() && row.generation != next.version {
            changed |= match row.phase {
                Phase::Idle => open_for_lost(next, group),
                Phase::Stopping => stopping(facts, next, group, &row),
                Phase::Starting => open_for_lost(next, group) || starting(facts, next, group, &row),
            };
        }
    }
    changed
}

/// Everybody who may write is known again after a cold start: every group that was adopted goes through a whole barrier
/// (SAFETY B4).
pub fn reopen(next: &mut State) {
    let generation = next.version;
    for group in (1u8..).take(crate::limits::GROUPS_MAX) {
        let row = next.groups.get_mut(group);
        if row.volume.is_some() {
            row.phase = Phase::Stopping;
            row.generation = generation;
        }
    }
}

/// Opens a barrier: its generation is the version of the view that does so (SAFETY G1).
fn open(next: &mut State, group: GroupNumber) {
    let generation = next.version;
    let row = next.groups.get_mut(group);
    if row.phase != Phase::Stopping {
        row.phase = Phase::Stopping;
        row.generation = generation;
    }
}

/// Takes a joiner in: it comes with the open barrier, or opens one. While a group starts, it waits.
fn admit(facts: &Facts<'_>, next: &mut State, report: &GroupReport) -> bool {
    let (node, incarnation) = (report.node, report.incarnation);
    let Some(cluster) = facts.config.cluster_of(node, report.cluster) else { return false };
    let lives = next.node(node).state == NodeState::Up && next.node(node).incarnation == incarnation;
    if !lives || !may_join(next, node, report.volume) || !next.groups.has_room() {
        return false;
    }
    let group = match next.groups.of(report.volume) {
        Some(group) => group,
        None => match next.groups.create(cluster, report.volume) {
            Some(group) => group,
            None => return false,
        },
    };
    let row = *next.groups.get(group);
    let clear = row.phase != Phase::Starting && is_clear(facts, next, group, node);
    if row.cluster != cluster || !clear || is_apart(facts, next, group, node) {
        return false;
    }
    log::info!("{node} joins volume {}", row.volume);
    open(next, group);
    next.groups.put(Membership { group, node, standing: Standing::Joining, incarnation })
}

/// Whether nothing of this number is in the group, nor was and is not recovered from (SAFETY G3, E8). Where no member runs
/// there is nobody who could take the newcomer for the old one: its fate is told with the start, and the newcomer recovers.
fn is_clear(facts: &Facts<'_>, next: &mut State, group: GroupNumber, node: NodeId) -> bool {
    if !facts.rules.holds(Rule::G3) {
        next.groups.rewrite(group, |row| (row.node != node).then_some(*row));
        return true;
    }
    let runs = next.groups.members(group).iter().any(|row| row.standing.is_in_set());
    let stands = next.groups.standing(group, node).is_some();
    !stands && (!runs || next.groups.fate(group, node).is_none())
}

/// Whether a node may join this volume now: not while it is in quarantine, unless nobody else has it open or is about to
/// (SAFETY H2).
fn may_join(next: &State, node: NodeId, volume: Volume) -> bool {
    let stands = |row: &&Membership| row.node != node && !row.standing.is_over();
    let others =
        || next.groups.of(volume).is_some_and(|group| next.groups.members(group).iter().any(|row| stands(&row)));
    !is_quarantined(next, node) || !others()
}

/// Lets a member go: with the open barrier, or through one of its own. Whoever owns a recovery here stays until it is done.
fn release(_facts: &Facts<'_>, next: &mut State, report: &GroupReport) -> bool {
    let Some(group) = next.groups.of(report.volume) else { return false };
    let Some(&row) = next.groups.standing(group, report.node) else { return false };
    let owes = next.takeovers.rows().iter().any(|takeover| {
        takeover.service == Service::Recovery(group)
            && takeover.owner == report.node
            && takeover.progress == Progress::Ordered
    });
    let member = row.standing == Standing::Member && row.incarnation == report.incarnation;
    if !member || owes || next.groups.get(group).phase == Phase::Starting {
        return false;
    }
    log::info!("{} leaves volume {}", report.node, report.volume);
    open(next, group);
    next.groups.put(Membership { standing: Standing::Leaving, ..row })
}

/// Suspicion is enough to stop: a member that is condemned or gone opens a barrier.
fn open_for_lost(next: &mut State, group: GroupNumber) -> bool {
    let rows = next.groups.members(group).iter().filter(|row| !row.standing.is_over());
    let lost = rows.into_iter().any(|row| life(next, row.node, row.incarnation) != Life::Lives);
    if lost {
        open(next, group);
    }
    lost
}

/// Waits for everybody to stop, then fixes set and fates.
fn stopping(facts: &Facts<'_>, next: &mut State, group: GroupNumber, row: &GroupRow) -> bool {
    let stopped = |report: &GroupReport| report.stopped == row.generation;
    let waits = next.groups.members(group).iter().any(|member| match life(next, member.node, member.incarnation) {
        _ if member.standing.is_over() => false,
        Life::Lives => !said(facts, row, member).is_some_and(stopped),
        // A joiner was never started: nothing of it can run with any set, so nobody waits for its proof.
        Life::Condemned => member.standing != Standing::Joining,
        Life::Gone => false,
    });
    if waits {
        let time = (facts.groups.since(group), facts.config.timing.barrier_ms);
        return condemn_late(facts, next, group, time, stopped);
    }
    start(facts, next, group);
    true
}

/// Fixes the set and the fates, in one view (SAFETY G1, G2). Everybody who stood here has stopped or is Confirmed.
fn start(facts: &Facts<'_>, next: &mut State, group: GroupNumber) {
    if !facts.rules.holds(Rule::G2) {
        next.groups.rewrite(group, |row| (!row.standing.is_over()).then_some(*row));
    }
    let mut over: Vec<Membership, { crate::limits::NODES_MAX }> = Vec::new();
    for row in next.groups.members(group) {
        let standing = match (row.standing, life(next, row.node, row.incarnation)) {
            (Standing::Joining, Life::Gone | Life::Condemned) => Standing::NeverStarted,
            (Standing::Leaving, Life::Lives) => Standing::Left,
            (Standing::Member | Standing::Leaving, Life::Gone) => Standing::Dead,
            _ => continue,
        };
        let _fits = over.push(Membership { standing, ..*row });
    }
    next.groups.rewrite(group, |row| match row.standing {
        _ if over.iter().any(|fate| (fate.node, fate.incarnation) == (row.node, row.incarnation)) => None,
        Standing::Joining => Some(Membership { standing: Standing::Member, ..*row }),
        _ => Some(*row),
    });
    for fate in over {
        // Dead wins: one journal belongs to the number, so a death also speaks for what an earlier incarnation left.
        let earlier = next.groups.fate(group, fate.node).map(|row| row.standing);
        let death = matches!(earlier, Some(Standing::Dead | Standing::Recovered));
        if fate.standing == Standing::Dead || !death {
            let _room = next.groups.put(fate);
        }
    }
    next.groups.get_mut(group).phase = Phase::Starting;
    if next.groups.members(group).iter().all(|row| row.standing.is_over()) {
        settle(next, group, false);
    }
}

/// Waits for everybody to start and recover, and for the owners of the recoveries; then the fates are forgotten.
fn starting(facts: &Facts<'_>, next: &mut State, group: GroupNumber, row: &GroupRow) -> bool {
    let timing = &facts.config.timing;
    let started = |report: &GroupReport| report.started == row.generation;
    let recovered = |report: &GroupReport| report.recovered == row.generation;
    let all = |done: &dyn Fn(&GroupReport) -> bool| {
        let mut members = next.groups.members(group).iter().filter(|member| member.standing == Standing::Member);
        members.all(|member| said(facts, row, member).is_some_and(done))
    };
    if !all(&started) {
        return condemn_late(facts, next, group, (facts.groups.since(group), timing.barrier_ms), started);
    }
    // Until each of the dead is recovered nothing of them is granted to anybody: only the owner is late then, and that is
    // for the takeover to say (SAFETY I1).
    if next.groups.has_dead(group) {
        return false;
    }
    if !all(&recovered) {
        return condemn_late(facts, next, group, (facts.groups.clear_since(group), timing.recover_ms), recovered);
    }
    settle(next, group, true);
    true
}

/// Ends the barrier. What everybody has recovered from is forgotten; in a group in which nobody runs, the dead are kept for
/// whoever comes next (SAFETY G2).
fn settle(next: &mut State, group: GroupNumber, recovered: bool) {
    next.groups.rewrite(group, |row| match row.standing {
        Standing::Dead | Standing::Recovered if recovered => None,
        Standing::Left | Standing::NeverStarted => None,
        _ => Some(*row),
    });
    next.groups.get_mut(group).phase = Phase::Idle;
    next.groups.forget_empty();
}

/// What a member said about its group, if its appliance told us since we lead.
fn said<'f>(facts: &Facts<'f>, row: &GroupRow, member: &Membership) -> Option<&'f GroupReport> {
    facts.groups.of(member.node, member.incarnation, row.volume)
}

/// A step has its time; then whoever lives and did not do it is sick (SAFETY G4).
fn condemn_late(
    facts: &Facts<'_>,
    next: &mut State,
    group: GroupNumber,
    (begun, bound_ms): (Instant, u32),
    done: impl Fn(&GroupReport) -> bool,
) -> bool {
    let bound = Duration::from_millis(u64::from(bound_ms));
    if facts.now.since(begun) < bound {
        return false;
    }
    let row = *next.groups.get(group);
    let mut late = NodeSet::EMPTY;
    for member in next.groups.members(group).iter().filter(|member| !member.standing.is_over()) {
        let lives = life(next, member.node, member.incarnation) == Life::Lives;
        // Who came in while the others stopped has its own time.
        let came = facts.groups.granted(member.node, row.volume).max(begun);
        let is_late = facts.now.since(came) >= bound;
        if lives && is_late && !said(facts, &row, member).is_some_and(&done) {
            late.insert(member.node);
        }
    }
    if row.phase == Phase::Starting {
        // Whoever is cut off keeps the others from starting too: not all go for it (SAFETY F6).
        late = of_late(facts, next, group, &late);
    }
    let version = next.version;
    for node in late.iter() {
        next.condemn(Target::Node(node), Reason::Stuck, version);
    }
    !late.is_empty()
}
