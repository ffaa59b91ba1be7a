//! What becomes of groups and services when a cold start adopts the living (SAFETY B4).
//!
//! Owns that judgement, a pure function of the adopted nodes, the memory that the cold view carries on, and what sessions
//! reported. A group is what the later of both says of it: the memory, or the latest START that somebody ran with. Must never
//! forget a member that may have written, nor a fate that a member may not have recovered from: who is named and was not
//! adopted stays a member until its proof, and is dead then; who may have joined unseen is taken for dead. Tokens and
//! generations of the new cluster incarnation are above all that are reported, because its number is.

use super::volumes::{Own, Volumes};
use crate::decide::Facts;
use crate::id::{Incarnation, NodeId, Run, Volume, WHOEVER};
use crate::limits::{GROUPS_MAX, NODES_MAX};
use crate::rule::Rule;
use crate::state::State;
use crate::state::groups::{GroupNumber, Membership, Phase, Standing};
use crate::state::takeovers::{Progress, Service, TakeoverRow};
use crate::takeover::service_of;
use crate::wire::node::{Fate, Given, NodeState, What};
use heapless::Vec;

/// Groups and services after the nodes were adopted in `next`.
pub fn revive(facts: &Facts<'_>, next: &mut State) {
    if !facts.rules.holds(Rule::B4) {
        return;
    }
    let own = facts.cold.volumes.own();
    for (at, one) in own.iter().enumerate() {
        let first = !own.iter().take(at).any(|other| other.volume == one.volume && runs(next, other));
        if first && runs(next, one) && !group(facts, next, one.volume) {
            refuse(facts, next, one.volume);
        }
    }
    for number in (1u8..).take(GROUPS_MAX) {
        let volume = next.groups.get(number).volume;
        let reported = own.iter().any(|one| one.volume == volume && runs(next, one));
        if volume.is_some() && !reported {
            settle_rows(facts, next, number, volume);
        }
    }
    next.groups.forget_empty();
    services(facts, next);
}

/// Whether this is the word of an adopted node that was started with the volume.
fn runs(next: &State, own: &Own) -> bool {
    own.ran() && is_adopted(next, own.node, own.incarnation)
}

fn is_adopted(next: &State, node: NodeId, incarnation: Incarnation) -> bool {
    next.node(node).state == NodeState::Up && next.node(node).incarnation == incarnation
}

/// Rebuilds the group of a volume that some adopted node ran. Whether there was room for all of it.
fn group(facts: &Facts<'_>, next: &mut State, volume: Volume) -> bool {
    let volumes = &facts.cold.volumes;
    // What is remembered of an older cluster incarnation than the sessions served is older than what they say.
    let stale = facts.cold.newest > next.before;
    let best = volumes.best(volume).unwrap_or(0);
    let (memory, phase) = match next.groups.of(volume).map(|number| next.groups.get(number)) {
        Some(row) if !stale => (row.generation, row.phase),
        _ => (0, Phase::Idle),
    };
    let Some(number) = next.groups.of(volume).or_else(|| create(facts, next, volume)) else { return false };
    let mut fits = true;
    if best > memory {
        let keeps = !is_at_rest(volumes, next, volume, best);
        next.groups.rewrite(number, |_| None);
        next.groups.get_mut(number).phase = Phase::Idle;
        next.groups.get_mut(number).generation = best;
        for told in volumes.start(volume, best) {
            let standing = match told.fate {
                Fate::Member => Standing::Member,
                _ if !keeps => continue,
                Fate::Dead => Standing::Dead,
                Fate::Left => Standing::Left,
                Fate::NeverStarted => Standing::NeverStarted,
            };
            fits &= put(next, number, told.node, told.incarnation, standing);
        }
    }
    settle_rows(facts, next, number, volume);
    for own in volumes.own().iter().filter(|own| own.volume == volume) {
        // Whom a later START does not name was let go by one that it did not hear of: it asks until it is told that it has left.
        let is_named = next.groups.standing(number, own.node).is_some();
        if runs(next, own) && (is_named || own.started >= best.max(memory)) {
            fits &= stands(next, number, own.node, own.incarnation);
        }
    }
    // A barrier after the latest START that is known: somebody may have been started by it of whom nobody knows.
    let stops = volumes.own().iter().filter(|own| own.volume == volume && runs(next, own)).map(|own| own.stopped);
    let stopped = stops.max().unwrap_or(0);
    let known = best >= stopped || memory > stopped || memory == stopped && phase != Phase::Stopping;
    if !known {
        log::warn!("volume {volume}: a start may have gone unseen: whoever was not adopted is taken for dead in it");
        fits &= take_for_dead(facts, next, number);
    }
    fits
}

fn create(facts: &Facts<'_>, next: &mut State, volume: Volume) -> Option<GroupNumber> {
    let own = facts.cold.volumes.own().iter().filter(|own| own.volume == volume && runs(next, own));
    let cluster = own.into_iter().find_map(|own| facts.config.cluster_of(own.node, own.cluster))?;
    next.groups.create(cluster, volume)
}

/// Whether everybody whom this START named lives, runs with it and has recovered, and no recovery is under way: nobody needs
/// its fates any more.
fn is_at_rest(volumes: &Volumes, next: &State, volume: Volume, generation: u64) -> bool {
    let rests = |node: NodeId, incarnation: Incarnation| {
        let own = volumes.own_of(volume, node, incarnation);
        is_adopted(next, node, incarnation) && own.is_some_and(|own| own.rests(generation))
    };
    let mut members = volumes.start(volume, generation).filter(|told| told.fate == Fate::Member);
    let owed = volumes.claims().iter().any(|claim| claim.given.what == What::Recovery(volume) && !claim.taken);
    members.all(|told| rests(told.node, told.incarnation)) && !owed
}

/// Writes a row. Whether there was room; a death is written over no death.
fn put(next: &mut State, group: GroupNumber, node: NodeId, incarnation: Incarnation, standing: Standing) -> bool {
    next.groups.put(Membership { group, node, standing, incarnation })
}

/// An adopted node stands in its group under its present incarnation: an earlier one that stood there is dead.
fn stands(next: &mut State, group: GroupNumber, node: NodeId, incarnation: Incarnation) -> bool {
    match next.groups.standing(group, node).copied() {
        Some(row) if row.incarnation == incarnation => true,
        Some(row) => {
            put(next, group, node, row.incarnation, Standing::Dead)
                && put(next, group, node, incarnation, Standing::Member)
        }
        None => put(next, group, node, incarnation, Standing::Member),
    }
}

/// Brings the rows in line with what the adopted say of themselves. Of anybody else it is not known how far he came: whoever
/// was about to join may have been started.
fn settle_rows(facts: &Facts<'_>, next: &mut State, group: GroupNumber, volume: Volume) {
    let mut rows: Vec<Membership, NODES_MAX> = Vec::new();
    for row in next.groups.members(group).iter().filter(|row| !row.standing.is_over()) {
        let _fits = rows.push(*row);
    }
    for row in &rows {
        let (node, incarnation) = (row.node, row.incarnation);
        let own = facts.cold.volumes.own_of(volume, node, incarnation);
        let says = is_adopted(next, node, incarnation) && facts.cold.tells(node, incarnation);
        let standing = match (row.standing, own) {
            // It asks again.
            (Standing::Joining, None) if says => None,
            (Standing::Joining, Some(own)) if says && !own.ran() => None,
            (Standing::Member | Standing::Leaving, None) if says => Some(Standing::Left),
            // It asks again to leave.
            _ => Some(Standing::Member),
        };
        next.groups.rewrite(group, |it| if it == row { None } else { Some(*it) });
        if let Some(standing) = standing {
            let dead = next.groups.fate(group, node).is_some_and(|fate| fate.standing == Standing::Dead);
            if !standing.is_over() || !dead {
                let _room = put(next, group, node, incarnation, standing);
            }
        }
    }
}

/// Whoever of the group's cluster was not adopted, and does not stand in the group, is taken for a member that died.
fn take_for_dead(facts: &Facts<'_>, next: &mut State, group: GroupNumber) -> bool {
    let cluster = next.groups.get(group).cluster;
    let mut fits = true;
    for node in facts.config.nodes.iter().map(|node| NodeId::new(node.id)) {
        let of = facts.config.cluster_of(node, cluster) == Some(cluster);
        let lives = next.node(node).state == NodeState::Up;
        if of && !lives && next.groups.standing(group, node).is_none() {
            let incarnation = [next.node(node).incarnation, WHOEVER].into_iter().find(|&it| it != 0);
            fits &= put(next, group, node, incarnation.unwrap_or(WHOEVER), Standing::Dead);
        }
    }
    fits
}

/// There is no room for what a volume's members say, so none of them may go on: they are ended before anything is started.
fn refuse(facts: &Facts<'_>, next: &mut State, volume: Volume) {
    log::warn!("volume {volume}: no room for what its members report; they are fenced");
    let mut over: Vec<(NodeId, Incarnation), NODES_MAX> = Vec::new();
    for own in facts.cold.volumes.own().iter().filter(|own| own.volume == volume && runs(next, own)) {
        let _fits = over.push((own.node, own.incarnation));
    }
    for (node, incarnation) in over {
        let (host, run): (_, Run) = (next.node(node).host, next.node(node).run);
        next.suspect(node, host, incarnation, run);
    }
}

/// Who says that he has a service, or was given it, keeps it under his token: nobody else is given it while he may act (SAFETY
/// I1). Of two the later token counts.
fn services(facts: &Facts<'_>, next: &mut State) {
    let stale = facts.cold.newest > next.before;
    for claim in facts.cold.volumes.claims() {
        let Given { what, dead, incarnation, token } = claim.given;
        let Some(service) = service_of(facts.config, next, what) else { continue };
        if !is_adopted(next, claim.node, claim.incarnation) {
            continue;
        }
        if let Service::Recovery(group) = service {
            // It was given with a START that told the death, which its owner may not have seen.
            let stood = next.groups.standing(group, dead).copied().filter(|row| row.incarnation == incarnation);
            if let Some(row) = stood.filter(|_| !is_adopted(next, dead, incarnation)) {
                next.groups.rewrite(group, |it| if *it == row { None } else { Some(*it) });
                next.groups.put(Membership { standing: Standing::Dead, ..row });
            }
            let fate = next.groups.fate(group, dead).copied().filter(|fate| fate.incarnation == incarnation);
            let Some(fate) = fate.filter(|fate| fate.standing == Standing::Dead) else { continue };
            if claim.taken {
                next.groups.put(Membership { standing: Standing::Recovered, ..fate });
                continue;
            }
        }
        let progress = if claim.taken { Progress::Taken } else { Progress::Ordered };
        let (owner, owner_incarnation) = (claim.node, claim.incarnation);
        let row = TakeoverRow {
            owner,
            owner_incarnation,
            token,
            progress,
            ..TakeoverRow::waiting(service, dead, incarnation)
        };
        let known = next.takeovers.get(service, dead);
        let later = known.is_none_or(|known| known.token < token || known.token == token && claim.taken);
        let outdated = known.is_some_and(|known| stale && !is_claimed(facts, next, known));
        if later || outdated {
            next.takeovers.put(row);
        }
    }
}

/// Whether the row is somebody's own word.
fn is_claimed(facts: &Facts<'_>, next: &State, row: &TakeoverRow) -> bool {
    let same = |claim: &&super::volumes::Claim| {
        (claim.node, claim.incarnation, claim.given.token) == (row.owner, row.owner_incarnation, row.token)
    };
    facts.cold.volumes.claims().iter().filter(same).any(|claim| is_adopted(next, claim.node, claim.incarnation))
}

#[cfg(test)]
mod tests;
