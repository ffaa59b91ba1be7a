//! The decision: which change of the view the facts call for.
//!
//! Owns the judgement and nothing else: a pure function from the committed view and the leader's facts to the next view. It
//! looks at all facts each time (they are levels, not events), so nothing is lost with a datagram or a leader. What it
//! writes takes effect only when it is committed. Rules: SAFETY D5, E1, E2, E5, E8, E9, F1, F3-F5; when in doubt, nobody
//! is down.

use crate::cold::{self, Cold};
use crate::config::Config;
use crate::cut;
use crate::fencing::ages::Ages;
use crate::fencing::brake::Ration;
use crate::fencing::harness::Harness;
use crate::fencing::{Class, hold, lease};
use crate::groups::{self, reports::Reports};
use crate::heartbeat::Watch;
use crate::id::{BootId, HostId, NodeId, Run};
use crate::limits::LEVEL_DEVICES_MAX;
use crate::rule::{Rule, Rules};
use crate::state::{Evidence, NodeRow, Stage, State};
use crate::status::{HostState, Reason};
use crate::takeover;
use crate::time::{Duration, Instant};
use crate::wire::message::{Health, LocalNode};
use crate::wire::node::{NodeState, Target};

/// What the leader knows.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Now.
    pub now: Instant,
    /// The leader.
    pub me: HostId,
    /// The configuration.
    pub config: &'a Config,
    /// Heartbeats.
    pub watch: &'a Watch,
    /// Proofs.
    pub harness: &'a Harness,
    /// What members' nodes said about groups.
    pub groups: &'a Reports,
    /// What owners said about services.
    pub takeovers: &'a takeover::reports::Reports,
    /// What members' nodes said about whom their DLMs reach.
    pub cuts: &'a cut::reports::Reports,
    /// Since when what the view says has been so.
    pub ages: &'a Ages,
    /// When this lead began.
    pub since: Instant,
    /// The brake lets all go.
    pub released: bool,
    /// Which rules hold.
    pub rules: Rules,
    /// What is known of the time before a cold start.
    pub cold: &'a Cold,
}

/// Changes `next`, which starts as the committed view with its version already raised. Whether anything changed; `waits`:
/// whether the brake holds an accusation back.
pub fn decide(facts: &Facts<'_>, next: &mut State, waits: &mut bool) -> bool {
    if next.stage == Stage::Collecting {
        return cold::collect(facts, next);
    }
    let mut ration = Ration::new(facts.config, next, facts.released);
    let mut changed = cold::rise(facts, next);
    changed |= hold::end(facts, next);
    for host in &facts.config.hosts {
        changed |= decide_host(facts, next, HostId::new(host.id), &mut ration);
    }
    for node in &facts.config.nodes {
        let (id, home) = (NodeId::new(node.id), HostId::new(node.host));
        changed |= decide_node(facts, next, id, home, &mut ration);
    }
    for host in &facts.config.hosts {
        changed |= close_host(facts, next, HostId::new(host.id));
    }
    changed |= cut::judge::decide(facts, next, &mut ration);
    *waits = ration.waits;
    changed |= cold::settle(facts, next);
    if next.stage != Stage::Settled {
        return changed;
    }
    changed |= groups::barrier::decide(facts, next, changed);
    takeover::assign::decide(facts, next, changed) || changed
}

/// Carries out an operator's word. Whether there is somebody to fence.
pub fn condemn(config: &Config, next: &mut State, target: Target, reason: Reason) -> bool {
    let version = next.version;
    match target {
        Target::Node(node) => {
            let due = next.node(node).state == NodeState::Up;
            if due {
                next.condemn(target, reason, version);
            }
            due
        }
        Target::Host(host) => {
            let last = is_last_of_two(config, next, host);
            let due = next.host(host).state == HostState::Member && can_fence(config, host) && !last;
            if due {
                condemn_all(config, next, host, reason);
            }
            due
        }
    }
}

/// Of exactly two votes never both are condemned (SAFETY H1): nobody would be left to turn one on again.
fn is_last_of_two(config: &Config, view: &State, host: HostId) -> bool {
    let votes = |id: HostId| config.host(id).is_some_and(|host| host.vote);
    let gone = |id: HostId| matches!(view.host(id).state, HostState::Condemned | HostState::Down);
    let mut others = config.hosts.iter().map(|host| HostId::new(host.id)).filter(|&id| id != host && votes(id));
    config.votes() == 2 && votes(host) && others.any(gone)
}

/// A device that covers the host covers its nodes: they are condemned by name with it (SAFETY F3).
fn condemn_all(config: &Config, next: &mut State, host: HostId, reason: Reason) {
    let version = next.version;
    next.condemn(Target::Host(host), reason, version);
    for node in config.nodes.iter().map(|node| NodeId::new(node.id)) {
        if next.node(node).host == host && next.node(node).state == NodeState::Up {
            next.condemn(Target::Node(node), Reason::Covered, version);
        }
    }
}

/// Whether a host has been silent for too long.
pub fn is_silent(facts: &Facts<'_>, host: HostId) -> bool {
    let dead = Duration::from_millis(u64::from(facts.config.timing.host_dead_ms));
    host != facts.me && facts.now.since(facts.watch.seen(host).silent_since()) >= dead
}

/// Whether a host is heard.
pub fn is_present(facts: &Facts<'_>, host: HostId) -> bool {
    facts.watch.seen(host).incarnation != 0 && !is_silent(facts, host)
}

/// Whether anything could ever prove that a host is off: without a level, a condemned host would stay condemned for ever.
pub fn can_fence(config: &Config, host: HostId) -> bool {
    config.host(host).is_some_and(|host| !host.levels.is_empty())
}

fn decide_host(facts: &Facts<'_>, next: &mut State, host: HostId, ration: &mut Ration) -> bool {
    let seen = facts.watch.seen(host);
    let row = *next.host(host);
    let dead = Duration::from_millis(u64::from(facts.config.timing.host_dead_ms));
    let silent = host != facts.me && facts.now.since(seen.silent_since()) >= dead;
    let present = seen.incarnation != 0 && !silent;
    let new_boot = seen.beat.boot != 0 && row.boot != 0 && seen.beat.boot != row.boot;
    let another = seen.incarnation != row.incarnation;
    let heard_since = seen.silent_since() >= facts.harness.quiet_at(Target::Host(host));
    let late = facts.harness.proof(facts.now, Target::Host(host), row.incarnation);
    match row.state {
        // It was switched off before anything was committed, and that is why this was (SAFETY D1).
        HostState::Out | HostState::Member if late.is_some() => {
            condemn_all(facts.config, next, host, Reason::Silent);
        }
        HostState::Out if present => next.admit(host, seen.incarnation, seen.beat.boot),
        // It had booted anew before the order was answered: off is off, and it is turned on again like any other.
        HostState::Down
            if row.class != Class::PowerOff as u8 && late.is_some_and(|late| late.class as u8 != row.class) =>
        {
            let version = next.version;
            if let Some(evidence) = late {
                next.confirm(Target::Host(host), Reason::Silent, &evidence, version);
            }
        }
        HostState::Down if present && another && heard_since => next.admit(host, seen.incarnation, seen.beat.boot),
        // Another appliance says nothing about its host: the boot stays what it was unless the guard says otherwise (E9).
        HostState::Member if present && another => {
            let boot = if seen.beat.boot == 0 { row.boot } else { seen.beat.boot };
            next.admit(host, seen.incarnation, boot);
        }
        HostState::Member if present && seen.beat.boot != 0 && seen.beat.boot != row.boot => {
            next.learn_boot(host, seen.beat.boot);
        }
        HostState::Member if silent => {
            if has_members(facts.config, next, host) {
                let spared = hold::is_spared(facts.config, next, Target::Host(host));
                let due = !spared && keeps_quorum(facts, next, host) && ration.take();
                return due && condemn(facts.config, next, Target::Host(host), Reason::Silent);
            }
            next.leave_out(host);
        }
        // It comes back as after a restart; the appliance that left goes on following, and is no member.
        HostState::Left if present && another => {
            let boot = if seen.beat.boot == 0 { row.boot } else { seen.beat.boot };
            next.admit(host, seen.incarnation, boot);
        }
        // The host itself booted anew: everything that ran under the old boot is gone (SAFETY E9, F1).
        HostState::Condemned if seen.incarnation != 0 && another && new_boot => {
            let evidence = Evidence::by_itself(Class::VmGone);
            let version = next.version;
            next.confirm(Target::Host(host), Reason::HostRebooted, &evidence, version);
        }
        HostState::Condemned if facts.harness.wants_wide(host, row.incarnation) => return widen(facts, next, host),
        HostState::Down if !row.turned_on && facts.harness.was_turned_on(host) => next.turn_on(host),
        _ => return false,
    }
    true
}

/// Nothing that covers this host alone could prove it: all that one of its devices covers is condemned by name, so that the
/// device may be used (SAFETY F3). Never the leader's own host, nor so many that no quorum would be left.
fn widen(facts: &Facts<'_>, next: &mut State, host: HostId) -> bool {
    let Some(entry) = facts.config.host(host) else { return false };
    let is_open = |view: &State, host: HostId| matches!(view.host(host).state, HostState::Condemned | HostState::Down);
    for (_, device) in entry.levels.iter().flatten().filter_map(|name| facts.config.device(name)) {
        let others = || device.covers.iter().map(|&host| HostId::new(host)).filter(|&other| !is_open(next, other));
        let stays = |host: &&crate::config::Host| {
            let id = HostId::new(host.id);
            host.vote && next.host(id).state == HostState::Member && others().all(|other| other != id)
        };
        let quorum = facts.config.votes() / 2 + 1;
        let may = others().all(|other| other != facts.me && can_fence(facts.config, other));
        if others().next().is_some() && may && facts.config.hosts.iter().filter(stays).count() >= quorum {
            let mut found: heapless::Vec<HostId, LEVEL_DEVICES_MAX> = heapless::Vec::new();
            found.extend(others());
            for other in found {
                condemn_all(facts.config, next, other, Reason::Covered);
            }
            return true;
        }
    }
    false
}

/// Whether a quorum of votes is left without this host: none of them accused already, and all heard just now, within half of
/// the silence that accuses. Otherwise no host is condemned. One reason is that it may be we who are not heard: such an
/// accusation could not be committed here, but a later leader that finds it accepted would have to commit it (SAFETY A3),
/// when the accused are well again. The other is that with them a quorum would lose its memory: hosts that have to be
/// fenced for the sake of a node wait until those before them are back.
fn keeps_quorum(facts: &Facts<'_>, next: &State, host: HostId) -> bool {
    let fresh = Duration::from_millis(u64::from(facts.config.timing.host_dead_ms / 2));
    let voters = || facts.config.hosts.iter().filter(|host| host.vote).map(|host| HostId::new(host.id));
    let heard = |other: &HostId| {
        let silent = facts.now.since(facts.watch.seen(*other).silent_since()) >= fresh;
        let accused = matches!(next.host(*other).state, HostState::Condemned | HostState::Down);
        *other != host && !accused && (*other == facts.me || !silent)
    };
    voters().filter(heard).count() >= needed(facts.config, next)
}

/// Whether a quorum of votes is left when this host leaves: those that neither left nor are accused, and were heard just now.
pub fn stays_without(facts: &Facts<'_>, view: &State, host: HostId) -> bool {
    let fresh = Duration::from_millis(u64::from(facts.config.timing.host_dead_ms / 2));
    let heard = |id: HostId| id == facts.me || facts.now.since(facts.watch.seen(id).silent_since()) < fresh;
    staying(facts.config, view, host).filter(|&id| heard(id)).count() >= needed(facts.config, view)
}

/// The votes of members, without this host's.
pub fn staying(config: &Config, view: &State, host: HostId) -> impl Iterator<Item = HostId> {
    let voters = config.hosts.iter().filter(|host| host.vote).map(|host| HostId::new(host.id));
    voters.filter(move |&id| id != host && view.host(id).state == HostState::Member)
}

/// How many votes a quorum is: where there are exactly two and one is proven off, the other one (SAFETY D1).
pub fn needed(config: &Config, view: &State) -> usize {
    let mut voters = config.hosts.iter().filter(|host| host.vote).map(|host| HostId::new(host.id));
    if config.votes() == 2 && voters.any(|id| view.host(id).is_off()) { 1 } else { config.votes() / 2 + 1 }
}

/// Whether this is one of exactly two votes, and the other one could go on alone once it is proven off (SAFETY D1): both are
/// heard just now, with a memory of their own, so that both accept the decision and know of it; the condemned one votes on until
/// that proof.
fn leaves_one_of_two(facts: &Facts<'_>, next: &State, host: HostId) -> bool {
    let fresh = Duration::from_millis(u64::from(facts.config.timing.host_dead_ms / 2));
    let voters = || facts.config.hosts.iter().filter(|host| host.vote).map(|host| HostId::new(host.id));
    let stays = |id: HostId| {
        let (seen, row) = (facts.watch.seen(id), next.host(id));
        let heard = facts.now.since(seen.silent_since()) < fresh && seen.beat.memory;
        row.state == HostState::Member && (id == facts.me || heard && seen.incarnation == row.incarnation)
    };
    voters().count() == 2 && voters().any(|id| id == host) && voters().all(stays)
}

/// Whether a quorum was heard just now: otherwise it may be we who are not.
pub fn hears_quorum(facts: &Facts<'_>, next: &State) -> bool {
    keeps_quorum(facts, next, HostId::NONE)
}

/// Closes a condemned host's record, and those of its nodes, once there is proof.
fn close_host(facts: &Facts<'_>, next: &mut State, host: HostId) -> bool {
    let row = *next.host(host);
    if row.state != HostState::Condemned {
        return false;
    }
    let version = next.version;
    let proof = facts.harness.proof(facts.now, Target::Host(host), row.incarnation);
    let expired = || lease::is_expired(facts, next, host).then(|| Evidence::by_itself(Class::LeaseExpired));
    if let Some(evidence) = proof.or_else(expired) {
        for node in facts.config.nodes.iter().map(|node| NodeId::new(node.id)) {
            if next.node(node).host == host && next.node(node).may_write() {
                hold::bury(facts, next, node, Reason::Covered, &evidence);
            }
        }
        next.confirm(Target::Host(host), row.record.reason, &evidence, version);
        return true;
    }
    // Accused by silence for the sake of its nodes, which are all proven gone meanwhile: nothing is left to cut off.
    let for_its_nodes = matches!(row.record.reason, Reason::Silent | Reason::ColdStart);
    if for_its_nodes && !has_members(facts.config, next, host) {
        next.confirm(Target::Host(host), row.record.reason, &Evidence::by_itself(Class::VmGone), version);
        return true;
    }
    false
}

fn has_members(config: &Config, view: &State, host: HostId) -> bool {
    let rows = config.nodes.iter().map(|node| view.node(NodeId::new(node.id)));
    rows.into_iter().any(|row| row.host == host && row.may_write())
}

fn decide_node(facts: &Facts<'_>, next: &mut State, node: NodeId, home: HostId, ration: &mut Ration) -> bool {
    let row = *next.node(node);
    let host = if row.may_write() { row.host } else { home };
    let seen = facts.watch.seen(host);
    let boot = seen.beat.boot;
    let told = seen.beat.locals.iter().find(|local| local.node == node && seen.incarnation != 0);
    let Some(local) = told else { return proven(facts, next, node, &row) };
    // That a run is gone is the guard's word, whichever appliance of that host passes it on. Accusing, and making
    // members, is for the admitted one.
    let admitted = next.host(host).incarnation == seen.incarnation;
    if row.may_write() {
        if let Some((reason, class)) = evidence(facts.rules, &row, local, boot, admitted) {
            hold::bury(facts, next, node, reason, &Evidence::by_itself(class));
            // What came after may be a member at once: the order within one view is fixed.
            if admitted {
                raise(next, node, host, local, boot);
            }
            return true;
        }
        return proven(facts, next, node, &row) || admitted && accuse(facts, next, node, &row, local, ration);
    }
    admitted && raise(next, node, host, local, boot)
}

/// What the guard and the channel prove by themselves about the incarnation in the view.
fn evidence(rules: Rules, row: &NodeRow, local: &LocalNode, boot: BootId, admitted: bool) -> Option<(Reason, Class)> {
    if boot == 0 {
        return None;
    }
    if !rules.holds(Rule::E2) && local.gone_through != 0 && local.disks_qualify {
        return Some((Reason::VmGone, Class::VmGone));
    }
    if !row.run.is_some() {
        // Nobody knows which run it was: none may be left.
        return local.proves_none().then_some((Reason::VmGone, Class::VmGone));
    }
    if boot != row.run.boot {
        return Some((Reason::HostRebooted, Class::VmGone));
    }
    if local.gone_through >= row.run.counter && local.disks_qualify {
        return Some((Reason::VmGone, Class::VmGone));
    }
    let replaced = local.incarnation != 0 && local.incarnation != row.incarnation;
    // What a host still holds for disks that do not qualify outlives a reset as it does a process (SAFETY E5).
    let after_reset = replaced && local.after_reset && local.disks_qualify && local.bound == row.run.counter;
    (admitted && after_reset && local.health == Health::Live).then_some((Reason::Replaced, Class::VmGone))
}

/// Closes a node's record on the harness's proof.
fn proven(facts: &Facts<'_>, next: &mut State, node: NodeId, row: &NodeRow) -> bool {
    if row.state != NodeState::Condemned {
        return false;
    }
    let Some(evidence) = facts.harness.proof(facts.now, Target::Node(node), row.incarnation) else { return false };
    hold::bury(facts, next, node, row.record.reason, &evidence);
    true
}

fn accuse(
    facts: &Facts<'_>,
    next: &mut State,
    node: NodeId,
    row: &NodeRow,
    local: &LocalNode,
    ration: &mut Ration,
) -> bool {
    let boot = facts.watch.seen(row.host).beat.boot;
    if row.state == NodeState::Condemned {
        // Its own host could not prove it: the host's own devices must, and they cover all its nodes.
        let member = next.host(row.host).state == HostState::Member;
        let due = member && facts.harness.is_exhausted(node);
        let spared = hold::is_spared(facts.config, next, Target::Host(row.host));
        let due = due && !spared && (keeps_quorum(facts, next, row.host) || leaves_one_of_two(facts, next, row.host));
        return due && condemn(facts.config, next, Target::Host(row.host), Reason::NodeUnfenced);
    }
    let same = local.incarnation == row.incarnation;
    let reason = match local.health {
        Health::Panicked if same || local.incarnation == 0 && local.counter == row.run.counter => Reason::Panicked,
        Health::Silent if same => Reason::Silent,
        Health::Gasped if same => Reason::LastGasp,
        // Who says BYE with a volume open did not leave: it may write (SAFETY G6).
        Health::Left if same && next.groups.stands(node, row.incarnation) => Reason::LeftMounted,
        Health::Left if same => {
            next.release(node);
            return true;
        }
        Health::Live if !same => Reason::Replaced,
        _ if boot == row.run.boot && local.gone_through >= row.run.counter => Reason::VmGone,
        // Whatever became of it since, another incarnation spoke: the older one is over (SAFETY E8).
        _ if local.incarnation != 0 && !same => Reason::Replaced,
        _ => return false,
    };
    // Somebody works on it; or it stands still on purpose, and silence is what was announced (SAFETY H3, H4).
    let paused = reason == Reason::Silent && next.holds.pauses(node, row.incarnation, row.run);
    if paused || hold::is_spared(facts.config, next, Target::Node(node)) {
        return false;
    }
    let version = next.version;
    let allowed = reason != Reason::Silent || ration.take();
    if allowed {
        next.condemn(Target::Node(node), reason, version);
    }
    allowed
}

/// Makes a live incarnation a member, if nothing older of this node may still write (SAFETY E2, E8).
fn raise(next: &mut State, node: NodeId, host: HostId, local: &LocalNode, boot: BootId) -> bool {
    let row = *next.node(node);
    let run = Run { boot, counter: local.bound };
    let live = local.health == Health::Live && local.incarnation != 0 && boot != 0 && run.is_some();
    let present = local.bound == local.counter && local.gone_through < local.bound;
    let member = next.host(host).state == HostState::Member;
    let later = match row.state {
        NodeState::Unknown | NodeState::Left => true,
        // In a run whose memory was reset for good, whoever speaks began after that, even if nobody here saw the reset.
        NodeState::Down => row.run != run || local.after_reset || row.class == Class::VmStopped as u8,
        NodeState::Up | NodeState::Condemned => false,
    };
    let due = live && present && member && later && local.incarnation != row.dead;
    if due {
        next.raise(node, host, local.incarnation, run);
    }
    due
}

#[cfg(test)]
pub mod tests;
