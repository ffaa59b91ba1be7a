//! What an operator asks of the cluster, judged by the leader.
//!
//! Owns which request makes sense, what it changes, and when it is done already. A request is repeated until it is answered;
//! since its effect is looked for in the committed view, the same one again, or to the next leader, does nothing twice
//! (SAFETY I3). An acknowledgement is a proof of the class `operator`: it needs a condemned target, or force.

use super::Class;
use super::hold::bury;
use crate::config::Config;
use crate::decide::{self, Facts, can_fence, condemn};
use crate::id::{HostId, Incarnation, NodeId, Run};
use crate::limits::{MAINTENANCE_MAX_MS, PAUSE_MAX_MS};
use crate::state::{Evidence, Hold, HoldKind, State};
use crate::status::{HostState, Reason};
use crate::wire::node::{NodeState, Operation, Refusal, Target, Wish};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The committed view is as it was asked to be.
    Done,
    /// It is to be carried out.
    Due,
    /// It makes no sense; for this reason.
    Refused(Refusal),
}

/// The incarnation of the target that the view knows.
#[must_use]
pub fn present(view: &State, target: Target) -> Incarnation {
    match target {
        Target::Node(node) => view.node(node).incarnation,
        Target::Host(host) => view.host(host).incarnation,
    }
}

/// Judges a request by the committed view.
#[must_use]
pub fn judge(config: &Config, view: &State, request: u64, operation: &Operation) -> Judgement {
    let target = operation.target;
    let known = match target {
        Target::Node(node) => config.node(node).is_some(),
        Target::Host(host) => config.host(host).is_some(),
    };
    if !known {
        return Judgement::Refused(Refusal::BadRequest);
    }
    let kind = match operation.wish {
        Wish::Fence => return fence(config, view, operation),
        Wish::Acknowledge => return acknowledge(view, operation),
        Wish::Leave => return leave(config, view, operation),
        Wish::Pause | Wish::Resume => HoldKind::Pause,
        Wish::Maintain | Wish::Release => HoldKind::Maintenance,
    };
    let hold = view.holds.get(kind, target);
    if matches!(operation.wish, Wish::Resume | Wish::Release) {
        return if hold.is_some() { Judgement::Due } else { Judgement::Done };
    }
    if hold.is_some_and(|hold| hold.request == request) {
        return Judgement::Done;
    }
    let most = if operation.wish == Wish::Pause { PAUSE_MAX_MS } else { MAINTENANCE_MAX_MS };
    if !(1..=most).contains(&operation.duration_ms) {
        return Judgement::Refused(Refusal::TooLong);
    }
    match (operation.wish, target) {
        (Wish::Pause, Target::Host(_)) => Judgement::Refused(Refusal::BadRequest),
        (Wish::Pause, Target::Node(node)) => {
            let row = view.node(node);
            let same = row.state == NodeState::Up && row.incarnation == operation.incarnation;
            if same { Judgement::Due } else { Judgement::Refused(Refusal::BadRequest) }
        }
        (_, target) if !operation.force && is_in_group(config, view, target) => Judgement::Refused(Refusal::InGroup),
        _ => Judgement::Due,
    }
}

/// Whether recovery would wait for the target if it died now: it is in a group, or a host of one that is.
fn is_in_group(config: &Config, view: &State, target: Target) -> bool {
    let mounts = |node| view.node(node).may_write() && view.groups.stands(node, view.node(node).incarnation);
    match target {
        Target::Node(node) => mounts(node),
        Target::Host(host) => {
            let mut nodes = config.nodes.iter().map(|node| NodeId::new(node.id));
            nodes.any(|node| view.node(node).host == host && mounts(node))
        }
    }
}

fn fence(config: &Config, view: &State, operation: &Operation) -> Judgement {
    let same = present(view, operation.target) == operation.incarnation && operation.incarnation != 0;
    let due = match operation.target {
        Target::Node(node) => view.node(node).state == NodeState::Up,
        Target::Host(host) => view.host(host).state == HostState::Member,
    };
    let possible = match operation.target {
        Target::Node(_) => true,
        Target::Host(host) => can_fence(config, host),
    };
    match (same, due) {
        // Another incarnation is there: this one is over.
        (false, _) | (true, false) => Judgement::Done,
        (true, true) if possible => Judgement::Due,
        (true, true) => Judgement::Refused(Refusal::BadRequest),
    }
}

/// A host leaves when nothing of it is a member any more, and only if a quorum of votes stays (SAFETY D5: who is missed by
/// nobody is not fenced).
fn leave(config: &Config, view: &State, operation: &Operation) -> Judgement {
    let Target::Host(host) = operation.target else { return Judgement::Refused(Refusal::BadRequest) };
    let row = view.host(host);
    if row.incarnation != operation.incarnation || !matches!(row.state, HostState::Member | HostState::Left) {
        return Judgement::Refused(Refusal::BadRequest);
    }
    if row.state == HostState::Left {
        return Judgement::Done;
    }
    let mut nodes = config.nodes.iter().map(|node| view.node(NodeId::new(node.id)));
    if nodes.any(|row| row.host == host && row.may_write()) {
        return Judgement::Refused(Refusal::NodesUp);
    }
    let stays = decide::staying(config, view, host).count() >= decide::needed(config, view);
    if stays { Judgement::Due } else { Judgement::Refused(Refusal::LastQuorum) }
}

fn acknowledge(view: &State, operation: &Operation) -> Judgement {
    if present(view, operation.target) != operation.incarnation {
        return Judgement::Done;
    }
    let (condemned, alive) = match operation.target {
        Target::Node(node) => {
            let state = view.node(node).state;
            (state == NodeState::Condemned, state == NodeState::Up)
        }
        Target::Host(host) => {
            let state = view.host(host).state;
            (state == HostState::Condemned, matches!(state, HostState::Member | HostState::Out))
        }
    };
    match (condemned, alive) {
        (true, _) => Judgement::Due,
        (_, true) if operation.force => Judgement::Due,
        (_, true) => Judgement::Refused(Refusal::NotCondemned),
        _ => Judgement::Done,
    }
}

/// Carries a request out that is due. Whether there was room.
pub fn apply(facts: &Facts<'_>, next: &mut State, request: u64, operation: &Operation) -> bool {
    let target = operation.target;
    let hold = |kind, incarnation, run, granted| Hold {
        kind,
        target,
        incarnation,
        run,
        duration_ms: operation.duration_ms,
        request,
        granted,
        over: false,
        who: operation.who,
    };
    let version = next.version;
    match operation.wish {
        Wish::Fence => {
            let done = condemn(facts.config, next, target, Reason::Operator);
            if done {
                // Whoever wants it fenced does not want it spared; and where there is no room, only the name is lost.
                let _ended = next.holds.remove(HoldKind::Maintenance, target);
                let named = operation.who.is_some();
                let _named = named && next.holds.set(hold(HoldKind::Asked, operation.incarnation, Run::NONE, version));
            }
            done
        }
        Wish::Pause => match target {
            Target::Node(node) => {
                let row = *next.node(node);
                next.holds.set(hold(HoldKind::Pause, row.incarnation, row.run, version))
            }
            Target::Host(_) => false,
        },
        Wish::Maintain => next.holds.set(hold(HoldKind::Maintenance, operation.incarnation, Run::NONE, version)),
        Wish::Leave => match target {
            Target::Host(host) if decide::stays_without(facts, next, host) => {
                next.leave(host);
                true
            }
            _ => false,
        },
        Wish::Resume => next.holds.remove(HoldKind::Pause, target),
        Wish::Release => next.holds.remove(HoldKind::Maintenance, target),
        Wish::Acknowledge => {
            let evidence = Evidence { who: operation.who, ..Evidence::by_itself(Class::Operator) };
            confirm(facts, next, target, &evidence);
            true
        }
    }
}

fn confirm(facts: &Facts<'_>, next: &mut State, target: Target, evidence: &Evidence) {
    match target {
        Target::Node(node) => bury(facts, next, node, Reason::Operator, evidence),
        Target::Host(host) => confirm_host(facts, next, host, evidence),
    }
}

/// A host that is off took all its nodes with it.
fn confirm_host(facts: &Facts<'_>, next: &mut State, host: HostId, evidence: &Evidence) {
    for node in facts.config.nodes.iter().map(|node| NodeId::new(node.id)) {
        if next.node(node).host == host && next.node(node).may_write() {
            bury(facts, next, node, Reason::Covered, evidence);
        }
    }
    let version = next.version;
    next.confirm(Target::Host(host), Reason::Operator, evidence, version);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::tests::{SAMPLE, read};
    use crate::id::Label;
    use crate::state::groups::{Membership, Standing};
    use crate::who::Who;
    use std::boxed::Box;

    #[test]
    fn h3_maintenance_of_a_node_in_a_group_or_of_its_host_needs_force() {
        let config = read(SAMPLE);
        let mut view = Box::new(State::EMPTY);
        let (node, host) = (NodeId::new(2), HostId::new(2));
        view.raise(node, host, 5, Run { boot: 1, counter: 1 });
        let operation = |target, force| Operation {
            wish: Wish::Maintain,
            target,
            force,
            duration_ms: 1000,
            incarnation: 5,
            who: Who::NONE,
        };
        let judge = |view: &State, target, force| super::judge(&config, view, 1, &operation(target, force));
        for target in [Target::Node(node), Target::Host(host)] {
            assert_eq!(judge(&view, target, false), Judgement::Due, "it has nothing mounted");
        }
        let group = view.groups.create(Label::NONE, Label([1; 16])).unwrap_or(0);
        view.groups.put(Membership { group, node, standing: Standing::Member, incarnation: 5 });
        for target in [Target::Node(node), Target::Host(host)] {
            assert_eq!(judge(&view, target, false), Judgement::Refused(Refusal::InGroup));
            assert_eq!(judge(&view, target, true), Judgement::Due);
        }
    }
}
