//! Who gets what: the change of the takeovers' rows that the view and the reports call for.
//!
//! Owns the judgement, a pure function, and nothing else. Runs after nodes and groups are decided in the same view, so the
//! owner of a dead member's recovery is named in the very view that tells its death. Rules: SAFETY I1, DESIGN §1 rule 4.

use super::Policy;
use super::policy::Candidate;
use crate::config::Config;
use crate::decide::Facts;
use crate::groups::{Life, life};
use crate::id::NodeId;
use crate::limits::{GROUPS_MAX, ID_SLOTS, NODES_MAX, RETRY_MAX_MS, RETRY_MS};
use crate::rule::Rule;
use crate::state::State;
use crate::state::groups::{GroupNumber, Membership, Phase, Standing};
use crate::state::takeovers::{Progress, Service, TakeoverRow};
use crate::status::Reason;
use crate::time::Duration;
use crate::wire::node::{NodeState, Target};
use heapless::Vec;

/// Changes `next`, in which nodes and groups are decided already. `changed`: something of those was. Whether anything changed.
pub fn decide(facts: &Facts<'_>, next: &mut State, changed: bool) -> bool {
    if !changed && facts.takeovers.is_settled(next.version.wrapping_sub(1)) {
        return false;
    }
    let mut changed = forget(facts, next);
    for group in (1u8..).take(GROUPS_MAX) {
        if next.groups.get(group).phase == Phase::Starting {
            changed |= recoveries(facts, next, group);
        }
    }
    for place in (0u8..).take(facts.config.services.len()) {
        let service = Service::Named(place);
        changed |= match next.takeovers.get(service, NodeId::NONE).copied() {
            Some(row) => advance(facts, next, &row),
            None => next.takeovers.put(TakeoverRow::waiting(service, NodeId::NONE, 0)),
        };
    }
    changed
}

/// Takes out what is about nothing any more: a group without its deaths, a service that is not configured. In a group at rest
/// that keeps deaths nobody runs, so whoever was given a recovery is among its dead: it is given anew when the group starts.
fn forget(facts: &Facts<'_>, next: &mut State) -> bool {
    let services = facts.config.services.len();
    let (groups, takeovers) = (&next.groups, &mut next.takeovers);
    let before = takeovers.rows().len();
    takeovers.retain(|row| match row.service {
        Service::Recovery(group) => {
            let fate = groups.fate(group, row.dead).filter(|fate| fate.standing == Standing::Dead);
            groups.get(group).phase != Phase::Idle && fate.is_some_and(|fate| fate.incarnation == row.dead_incarnation)
        }
        Service::Named(place) => usize::from(place) < services,
    });
    takeovers.rows().len() != before
}

/// Every member of a group that died is recovered by one that lives. Where there is no room for one more, it waits, and its
/// group with it.
fn recoveries(facts: &Facts<'_>, next: &mut State, group: GroupNumber) -> bool {
    let mut dead: Vec<Membership, NODES_MAX> = Vec::new();
    for row in next.groups.members(group).iter().filter(|row| row.standing == Standing::Dead) {
        let _fits = dead.push(*row);
    }
    let mut changed = false;
    for death in &dead {
        let service = Service::Recovery(group);
        let row = next.takeovers.get(service, death.node).filter(|row| row.dead_incarnation == death.incarnation);
        let row = row.copied().unwrap_or(TakeoverRow::waiting(service, death.node, death.incarnation));
        changed |= advance(facts, next, &row);
    }
    changed
}

/// One step of one takeover.
fn advance(facts: &Facts<'_>, next: &mut State, row: &TakeoverRow) -> bool {
    if row.progress == Progress::Waiting {
        return assign(facts, next, row);
    }
    match owner_life(next, row) {
        Life::Gone => {
            let (dead, dead_incarnation) = match row.service {
                Service::Recovery(_) => (row.dead, row.dead_incarnation),
                // A named service goes from owner to owner.
                Service::Named(_) => (row.owner, row.owner_incarnation),
            };
            let waiting = TakeoverRow { token: row.token, ..TakeoverRow::waiting(row.service, dead, dead_incarnation) };
            assign(facts, next, &waiting) || next.takeovers.put(waiting)
        }
        Life::Condemned => false,
        Life::Lives if row.progress == Progress::Taken => false,
        Life::Lives => answered(facts, next, row),
    }
}

/// Whether the owner may still act. One that left the cluster in peace gave everything up.
fn owner_life(next: &State, row: &TakeoverRow) -> Life {
    let node = next.node(row.owner);
    let left = node.state == NodeState::Left && node.incarnation == row.owner_incarnation;
    if left { Life::Gone } else { life(next, row.owner, row.owner_incarnation) }
}

/// What the owner said, or that it says nothing (SAFETY I1).
fn answered(facts: &Facts<'_>, next: &mut State, row: &TakeoverRow) -> bool {
    match facts.takeovers.word(row) {
        Some(true) => taken(next, row),
        Some(false) => {
            log::warn!("{} failed at {:?} of {}", row.owner, row.service, row.dead);
            let failures = row.failures.saturating_add(1);
            let waiting = TakeoverRow::waiting(row.service, row.dead, row.dead_incarnation);
            next.takeovers.put(TakeoverRow { failed: row.owner, failures, token: row.token, ..waiting })
        }
        None => {
            let bound_ms = match row.service {
                Service::Recovery(_) => facts.config.timing.recover_ms,
                Service::Named(_) => facts.config.timing.takeover_ms,
            };
            let silent = facts.now.since(facts.takeovers.since(row, facts.now));
            if silent < Duration::from_millis(u64::from(bound_ms)) {
                return false;
            }
            if !facts.rules.holds(Rule::I1) {
                return assign(facts, next, &TakeoverRow { owner: NodeId::NONE, failed: row.owner, ..*row });
            }
            let version = next.version;
            next.condemn(Target::Node(row.owner), Reason::OwnerSilent, version);
            true
        }
    }
}

/// It has it. A recovery is over with that: its group remembers that it was done.
fn taken(next: &mut State, row: &TakeoverRow) -> bool {
    if let Service::Recovery(group) = row.service {
        if let Some(&fate) = next.groups.fate(group, row.dead) {
            next.groups.put(Membership { standing: Standing::Recovered, ..fate });
        }
        next.takeovers.retain(|other| (other.service, other.dead) != (row.service, row.dead));
        return true;
    }
    next.takeovers.put(TakeoverRow { progress: Progress::Taken, failed: NodeId::NONE, failures: 0, ..*row })
}

/// How long a row waits although there is a candidate, ms. After a failure there is a pause; and a service that nobody ever
/// had waits a while for all that could have it, or whoever boots first gets everything.
fn pause_ms(facts: &Facts<'_>, next: &State, row: &TakeoverRow) -> u32 {
    if row.failures > 0 {
        return RETRY_MS.saturating_mul(1 << row.failures.min(6)).min(RETRY_MAX_MS);
    }
    let Service::Named(place) = row.service else { return 0 };
    let service = facts.config.services.get(usize::from(place)).filter(|_| !row.dead.is_some());
    let mut owners = service.into_iter().flat_map(|service| facts.config.owners(service));
    let is_missing = |node: NodeId| next.node(node).state != NodeState::Up;
    if owners.any(is_missing) { facts.config.timing.barrier_ms } else { 0 }
}

/// Whether a new leader has not heard yet from all whom the policy of a named service orders. Not for long: a member says
/// all there is as soon as it follows. A recovery is better begun by anybody at once.
fn is_deaf(facts: &Facts<'_>, next: &State, row: &TakeoverRow) -> bool {
    let Service::Named(place) = row.service else { return false };
    let service = facts.config.services.get(usize::from(place));
    let mut owners = service.into_iter().flat_map(|service| facts.config.owners(service));
    let period = Duration::from_millis(u64::from(facts.config.timing.heartbeat_ms));
    owners.any(|node| {
        let seen = facts.watch.seen(next.node(node).host);
        let lives = next.node(node).state == NodeState::Up;
        lives && seen.incarnation == 0 && facts.now.since(seen.silent_since()) < period
    })
}

/// Names an owner, if there is a candidate: after a failure another one, if there is one.
fn assign(facts: &Facts<'_>, next: &mut State, row: &TakeoverRow) -> bool {
    let waits = facts.now.since(facts.takeovers.since(row, facts.now));
    if waits < Duration::from_millis(u64::from(pause_ms(facts, next, row))) || is_deaf(facts, next, row) {
        return false;
    }
    let candidates = candidates(facts, next, row);
    let policy = match row.service {
        Service::Recovery(_) => Policy::LeastLoaded,
        Service::Named(place) => facts.config.services.get(usize::from(place)).map_or(Policy::Lowest, |s| s.policy),
    };
    let others = candidates.iter().copied().filter(|candidate| candidate.node != row.failed);
    let chosen = policy.choose(others).or_else(|| policy.choose(candidates.iter().copied()));
    let Some(owner) = chosen else { return false };
    let owner_incarnation = next.node(owner).incarnation;
    log::info!("{owner} gets {:?} of {}", row.service, row.dead);
    let token = next.version;
    next.takeovers.put(TakeoverRow { owner, owner_incarnation, token, progress: Progress::Ordered, ..*row })
}

/// The nodes that may own it: alive, of the group or cluster, and their appliances hold the guarantees.
fn candidates(facts: &Facts<'_>, next: &State, row: &TakeoverRow) -> Vec<Candidate, NODES_MAX> {
    let mut load = [0u16; ID_SLOTS];
    for row in next.takeovers.rows().iter().filter(|row| row.progress != Progress::Waiting) {
        load[row.owner.index()] += 1;
    }
    let mut found: Vec<Candidate, NODES_MAX> = Vec::new();
    let mut consider = |node: NodeId| {
        let place = u16::try_from(found.len()).unwrap_or(u16::MAX);
        let lives = next.node(node).state == NodeState::Up;
        if lives && holds_guarantees(facts, next, node) {
            let _fits = found.push(Candidate { node, place, load: load[node.index()] });
        }
    };
    match row.service {
        Service::Recovery(group) => {
            let members = next.groups.members(group).iter();
            members.filter(|member| member.standing == Standing::Member).for_each(|member| consider(member.node));
        }
        Service::Named(place) => {
            let config: &Config = facts.config;
            if let Some(service) = config.services.get(usize::from(place)) {
                config.owners(service).for_each(consider);
            }
        }
    }
    found
}

/// Whether the appliance of a node's host promises what ours does: sealed memory, the same program, the same configuration.
fn holds_guarantees(facts: &Facts<'_>, next: &State, node: NodeId) -> bool {
    let own = &facts.watch.seen(facts.me).beat;
    let beat = &facts.watch.seen(next.node(node).host).beat;
    beat.sealed && (beat.release, beat.config_hash) == (own.release, own.config_hash)
}
