//! The agreement part as an explicit-state model: a few appliances, a network that may do anything, no clocks.
//!
//! Owns the rules as small steps, in the words of `palisade_core::agreement`, and the truth that the steps are held
//! against: what was committed, whatever an appliance believes of it. It must never be wiser than the core: where they
//! differ, the model may do *more* (a vote carries the whole state instead of a slot to fetch, a leader gives up whenever
//! it likes), never less. Rules: SAFETY A3, A4, A7, B1; the argument is in docs/PROTOCOL.md.
//!
//! ```text
//! Stand -> Grant ... -> Win -> (Accept ... -> Commit -> Propose)*      and at any time Learn, Restart
//! ```
//!
//! A message that may come late, twice or never is a fact that stays: what was asked for is in `stood`, what was proposed
//! and committed in `proposals`; answers lie with the one who may count them, to be counted in any combination. A
//! datagram for a dead incarnation is dropped (A7), so answers go with the life that asked for them.
//! What can have no effect any more is forgotten, so that two states that behave alike are one.

use std::fmt;

/// A round, and whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Counts elections.
    pub round: u8,
    /// Who stands, or leads.
    pub host: u8,
}

/// Ballot and version. Version 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Whose proposal.
    pub ballot: Ballot,
    /// Of what.
    pub version: u8,
}

/// A whole replicated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View<const N: usize> {
    /// Counts the decisions.
    pub version: u8,
    /// The ballot under which the latest decision was made: it tells two views of one version apart.
    pub decided: Ballot,
    /// A node is down: the decision that must never be lost.
    pub node_down: bool,
    /// The incarnation that it names, of each host.
    pub named: [u8; N],
}

/// A vote, as the candidate holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Granted<const N: usize> {
    incarnation: u8,
    slot: Slot,
    accepted: View<N>,
}

/// What an appliance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part<const N: usize> {
    /// A member.
    Follows,
    /// A candidate, and the votes that were sent to it.
    Voting(Ballot, [Option<Granted<N>>; N]),
    /// A leader. `established`: it holds that a view was committed under its ballot; `truly`: it was. `acks`: who
    /// accepted what is under way.
    Leads { ballot: Ballot, established: bool, truly: bool, acks: Option<[bool; N]> },
}

/// One appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Appliance<const N: usize> {
    /// Its life; a restart begins the next one.
    pub incarnation: u8,
    /// No lower ballot is answered.
    pub promised: Ballot,
    /// What it accepted last; version 0: it has no memory.
    pub slot: Slot,
    /// The state that it accepted last.
    pub accepted: View<N>,
    /// Whom the view names that it knows to be committed.
    pub committed: [u8; N],
    /// It knows of a committed view that names this incarnation.
    pub admitted: bool,
    /// What it is.
    pub part: Part<N>,
}

/// A state that was proposed and may still come to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal<const N: usize> {
    slot: Slot,
    view: View<N>,
    committed: bool,
}

/// What the checker found wrong. Once wrong, always wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken {
    /// S1: two different views of one version were committed.
    pub two_views: bool,
    /// A committed NODE_DOWN is missing from a later committed view.
    pub down_lost: bool,
    /// A leader decided something before a view was committed under its ballot.
    pub acted_early: bool,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World<const N: usize> {
    /// The appliances, by number from 0.
    pub appliances: [Appliance<N>; N],
    /// Ballots for which votes were asked, with the candidate's incarnation.
    pub stood: Vec<(Ballot, u8)>,
    /// Proposals, by slot.
    pub proposals: Vec<Proposal<N>>,
    /// Restarts that may still come.
    pub restarts: u8,
    /// The truth: what was committed, by version from 1.
    pub truth: [Option<View<N>>; VERSIONS_MAX],
    /// What went wrong.
    pub broken: Broken,
}

/// Versions that a world has room for.
pub const VERSIONS_MAX: usize = 4;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<const N: usize> {
    /// A host asks for votes under this ballot.
    Stand(Ballot),
    /// A voter hears it, and grants it to that incarnation.
    Grant(u8, Ballot, u8),
    /// A candidate counts votes of which this is the newest.
    Win(u8, Slot, View<N>),
    /// A leader proposes its next view.
    Propose(u8, View<N>),
    /// A host hears a proposal and accepts it.
    Accept(u8, Slot, View<N>),
    /// A leader counts a quorum of acceptances.
    Commit(u8),
    /// A host hears that what it accepted is committed.
    Learn(u8),
    /// An appliance dies and starts without memory.
    Restart(u8),
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.host)
    }
}

impl<const N: usize> fmt::Display for View<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = if self.node_down { ", NODE_DOWN" } else { "" };
        write!(f, "view {} of {} (names {:?}{node})", self.version, self.decided, self.named)
    }
}

impl<const N: usize> fmt::Display for Step<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stand(ballot) => write!(f, "{} stands under {ballot}", ballot.host),
            Self::Grant(voter, ballot, _) => write!(f, "{voter} votes for {ballot}"),
            Self::Win(host, slot, view) => write!(f, "{host} wins with {view}, accepted under {}", slot.ballot),
            Self::Propose(host, view) => write!(f, "{host} proposes {view}"),
            Self::Accept(host, slot, view) => write!(f, "{host} accepts {view} under {}", slot.ballot),
            Self::Commit(host) => write!(f, "{host} counts a quorum: committed"),
            Self::Learn(host) => write!(f, "{host} hears of the commit"),
            Self::Restart(host) => write!(f, "{host} restarts without memory"),
        }
    }
}

/// A rule that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// A3: an acceptor takes only what is greater than what it holds.
    GreaterOnly,
    /// A3: the newest state is the one with the greatest ballot and version, not with the greatest version.
    NewestByBallot,
    /// A3: what was adopted is committed under the new ballot before any other act.
    CommitFirst,
    /// A4: a vote counts only for the incarnation that the newest state names.
    NamedVotes,
    /// B1: whom a proposal admits is not counted for it.
    QuorumOfOthers,
    /// B1: to have accepted a view that admits it is not enough to vote: that view may never be committed, and must not
    /// outvote one that was.
    AdmittedVotes,
}

/// How far the model goes, and which rule it leaves out.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The elections that may happen, beside the one under (1, 0) that everything begins with.
    pub ballots: Vec<Ballot>,
    /// The greatest version.
    pub versions: u8,
    /// How often an appliance may restart.
    pub restarts: u8,
    /// Whose.
    pub restarting: Vec<u8>,
    /// Left out.
    pub without: Option<Without>,
}

impl Bounds {
    /// Elections by anybody of `hosts` up to this round, restarts of anybody.
    #[must_use]
    pub fn all(hosts: u8, rounds: u8, versions: u8, restarts: u8) -> Self {
        let of = |round| (0..hosts).map(move |host| Ballot { round, host });
        let ballots = (2..=rounds).flat_map(of).collect();
        Self { ballots, versions, restarts, restarting: (0..hosts).collect(), without: None }
    }

    /// The same without this rule.
    #[must_use]
    pub fn without(mut self, rule: Without) -> Self {
        self.without = Some(rule);
        self
    }

    fn lacks(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }
}

fn at(host: u8) -> usize {
    usize::from(host)
}

fn hosts<const N: usize>() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).take(N)
}

const fn quorum<const N: usize>() -> usize {
    N / 2 + 1
}

impl<const N: usize> Appliance<N> {
    const fn memory(&self) -> bool {
        self.slot.version != 0
    }

    fn may_vote(&self, bounds: &Bounds) -> bool {
        self.memory() && (self.admitted || bounds.lacks(Without::AdmittedVotes))
    }

    /// Whether it would accept this (SAFETY A3, A4).
    fn takes(&self, me: u8, slot: Slot, view: &View<N>, bounds: &Bounds) -> bool {
        let upwards = slot > self.slot || (bounds.lacks(Without::GreaterOnly) && slot != self.slot);
        slot.ballot.host != me && slot.ballot >= self.promised && view.named[at(me)] == self.incarnation && upwards
    }

    /// Whether it would learn something from the commit of what it accepted.
    fn learns(&self, me: u8, proposal: &Proposal<N>) -> bool {
        let news =
            self.committed != proposal.view.named || self.admitted != (proposal.view.named[at(me)] == self.incarnation);
        proposal.committed && proposal.slot == self.slot && self.slot.ballot >= self.promised && news
    }
}

impl<const N: usize> World<N> {
    /// After a first boot: host 0 leads under (1, 0), and everybody knows that version 1 is committed.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        let ballot = Ballot { round: 1, host: 0 };
        let view = View { version: 1, decided: ballot, node_down: false, named: [1; N] };
        let slot = Slot { ballot, version: 1 };
        let appliance = Appliance {
            incarnation: 1,
            promised: ballot,
            slot,
            accepted: view,
            committed: view.named,
            admitted: true,
            part: Part::Follows,
        };
        let mut world = Self {
            appliances: [appliance; N],
            stood: Vec::new(),
            proposals: vec![Proposal { slot, view, committed: true }],
            restarts: bounds.restarts,
            truth: [None; VERSIONS_MAX],
            broken: Broken::default(),
        };
        world.appliances[0].part = Part::Leads { ballot, established: true, truly: true, acks: None };
        world.truth[1] = Some(view);
        world.forget(bounds);
        world
    }

    /// What may happen next.
    pub fn steps(&self, bounds: &Bounds, steps: &mut Vec<Step<N>>) {
        for (host, appliance) in hosts::<N>().zip(&self.appliances) {
            if appliance.may_vote(bounds) {
                let own = bounds.ballots.iter().filter(|ballot| ballot.host == host && **ballot > appliance.promised);
                steps.extend(own.map(|&ballot| Step::Stand(ballot)));
                let grants =
                    self.stood.iter().filter(|(ballot, _)| ballot.host != host && *ballot > appliance.promised);
                steps.extend(grants.map(|&(ballot, incarnation)| Step::Grant(host, ballot, incarnation)));
            }
            let heard = self.proposals.iter().filter(|it| appliance.takes(host, it.slot, &it.view, bounds));
            steps.extend(heard.map(|it| Step::Accept(host, it.slot, it.view)));
            if self.proposals.iter().any(|it| appliance.learns(host, it)) {
                steps.push(Step::Learn(host));
            }
            match &appliance.part {
                Part::Follows => {}
                Part::Voting(_, granted) => Self::wins(host, granted, bounds, steps),
                Part::Leads { established, acks, ballot, .. } => match acks {
                    Some(acks) if Self::is_committed(appliance, acks, bounds) => steps.push(Step::Commit(host)),
                    None if *established => self.proposes(host, *ballot, bounds, steps),
                    Some(_) | None => {}
                },
            }
            if self.restarts > 0 && bounds.restarting.contains(&host) {
                steps.push(Step::Restart(host));
            }
        }
    }

    /// Every newest state with which a combination of the votes wins (SAFETY A3, A4).
    fn wins(host: u8, granted: &[Option<Granted<N>>; N], bounds: &Bounds, steps: &mut Vec<Step<N>>) {
        for chosen in 0..1_u32 << N {
            let votes = || (0..N).filter(|at| chosen >> at & 1 == 1).map(|at| (at, granted[at]));
            if !votes().all(|(_, vote)| vote.is_some()) {
                continue;
            }
            let votes = || votes().filter_map(|(at, vote)| vote.map(|vote| (at, vote)));
            let order = |vote: &Granted<N>| match bounds.lacks(Without::NewestByBallot) {
                true => (Slot { ballot: Ballot::default(), ..vote.slot }, vote.accepted),
                false => (vote.slot, vote.accepted),
            };
            let Some(greatest) = votes().map(|(_, vote)| order(&vote).0).max() else { continue };
            for (_, newest) in votes().filter(|(_, vote)| order(vote).0 == greatest) {
                let named = |at: usize, vote: &Granted<N>| newest.accepted.named[at] == vote.incarnation;
                let counts = votes().filter(|(at, vote)| named(*at, vote) || bounds.lacks(Without::NamedVotes));
                let step = Step::Win(host, newest.slot, newest.accepted);
                if counts.count() >= quorum::<N>() && !steps.contains(&step) {
                    steps.push(step);
                }
            }
        }
    }

    /// Whether a quorum accepted what is under way (SAFETY B1).
    fn is_committed(leader: &Appliance<N>, acks: &[bool; N], bounds: &Bounds) -> bool {
        let admitted_here = |at: usize| leader.committed[at] != leader.accepted.named[at];
        let counts = |at: &usize| acks[*at] && (bounds.lacks(Without::QuorumOfOthers) || !admitted_here(*at));
        (0..N).filter(counts).count() >= quorum::<N>()
    }

    /// What a leader may decide: that the node is down, something else, or to admit an incarnation that it met.
    fn proposes(&self, host: u8, ballot: Ballot, bounds: &Bounds, steps: &mut Vec<Step<N>>) {
        let last = self.appliances[at(host)].accepted;
        if last.version >= bounds.versions {
            return;
        }
        let next = View { version: last.version + 1, decided: ballot, ..last };
        steps.push(Step::Propose(host, next));
        if !last.node_down {
            steps.push(Step::Propose(host, View { node_down: true, ..next }));
        }
        for (other, appliance) in self.appliances.iter().enumerate() {
            for incarnation in last.named[other] + 1..=appliance.incarnation {
                let mut view = next;
                view.named[other] = incarnation;
                steps.push(Step::Propose(host, view));
            }
        }
    }

    /// The world after a step.
    #[must_use]
    pub fn after(&self, step: Step<N>, bounds: &Bounds) -> Self {
        let mut world = self.clone();
        match step {
            Step::Stand(ballot) => world.stand(ballot),
            Step::Grant(voter, ballot, incarnation) => world.grant(voter, ballot, incarnation),
            Step::Win(host, _, view) => world.win(host, view, bounds),
            Step::Propose(host, view) => world.propose(host, view),
            Step::Accept(host, slot, view) => world.accept(host, slot, view),
            Step::Commit(host) => world.commit(host),
            Step::Learn(host) => {
                let appliance = &mut world.appliances[at(host)];
                appliance.committed = appliance.accepted.named;
                appliance.admitted = appliance.committed[at(host)] == appliance.incarnation;
            }
            Step::Restart(host) => world.restart(host),
        }
        world.forget(bounds);
        world
    }

    fn stand(&mut self, ballot: Ballot) {
        let appliance = &mut self.appliances[at(ballot.host)];
        let Appliance { incarnation, slot, accepted, .. } = *appliance;
        let mut granted = [None; N];
        granted[at(ballot.host)] = Some(Granted { incarnation, slot, accepted });
        appliance.promised = ballot;
        appliance.part = Part::Voting(ballot, granted);
        self.stood.push((ballot, incarnation));
    }

    fn grant(&mut self, voter: u8, ballot: Ballot, asked: u8) {
        let appliance = &mut self.appliances[at(voter)];
        appliance.promised = ballot;
        appliance.part = Part::Follows;
        let Appliance { incarnation, slot, accepted, .. } = *appliance;
        let candidate = &mut self.appliances[at(ballot.host)];
        let reaches = candidate.incarnation == asked;
        if let Part::Voting(stands, granted) = &mut candidate.part
            && *stands == ballot
            && reaches
        {
            granted[at(voter)] = Some(Granted { incarnation, slot, accepted });
        }
    }

    /// Adopts, and proposes again under its own ballot before anything else (SAFETY A3).
    fn win(&mut self, host: u8, view: View<N>, bounds: &Bounds) {
        let appliance = &mut self.appliances[at(host)];
        let ballot = appliance.promised;
        appliance.slot = Slot { ballot, version: view.version };
        appliance.accepted = view;
        appliance.part = Part::Leads { ballot, established: true, truly: false, acks: None };
        if bounds.lacks(Without::CommitFirst) {
            appliance.committed = view.named;
            self.has_effect(view);
        } else {
            self.send(host);
        }
    }

    fn propose(&mut self, host: u8, view: View<N>) {
        let appliance = &mut self.appliances[at(host)];
        if let Part::Leads { truly, .. } = appliance.part {
            self.broken.acted_early |= !truly;
        }
        appliance.slot.version = view.version;
        appliance.accepted = view;
        self.send(host);
    }

    /// What the leader accepted goes to everybody.
    fn send(&mut self, host: u8) {
        let appliance = &mut self.appliances[at(host)];
        let mut own = [false; N];
        own[at(host)] = true;
        if let Part::Leads { acks, .. } = &mut appliance.part {
            *acks = Some(own);
        }
        self.proposals.push(Proposal { slot: appliance.slot, view: appliance.accepted, committed: false });
    }

    fn accept(&mut self, host: u8, slot: Slot, view: View<N>) {
        let appliance = &mut self.appliances[at(host)];
        appliance.promised = slot.ballot;
        appliance.slot = slot;
        appliance.accepted = view;
        appliance.part = Part::Follows;
        let leader = &mut self.appliances[at(slot.ballot.host)];
        let current = leader.slot == slot && leader.accepted == view;
        if let Part::Leads { acks: Some(acks), .. } = &mut leader.part
            && current
        {
            acks[at(host)] = true;
        }
    }

    fn commit(&mut self, host: u8) {
        let appliance = &mut self.appliances[at(host)];
        let (slot, view) = (appliance.slot, appliance.accepted);
        appliance.committed = view.named;
        appliance.admitted = view.named[at(host)] == appliance.incarnation;
        appliance.part = Part::Leads { ballot: slot.ballot, established: true, truly: true, acks: None };
        self.proposals.retain(|it| it.slot != slot || it.view != view);
        self.proposals.push(Proposal { slot, view, committed: true });
        self.has_effect(view);
    }

    /// Somebody acts on this view: it is held against all that were acted on before.
    fn has_effect(&mut self, view: View<N>) {
        for other in self.truth.iter().flatten() {
            self.broken.two_views |= other.version == view.version && *other != view;
            self.broken.down_lost |= other.version < view.version && other.node_down && !view.node_down;
            self.broken.down_lost |= other.version > view.version && view.node_down && !other.node_down;
        }
        self.truth[at(view.version)] = Some(view);
    }

    fn restart(&mut self, host: u8) {
        let appliance = &mut self.appliances[at(host)];
        let nothing = View { version: 0, decided: Ballot::default(), node_down: false, named: [0; N] };
        *appliance = Appliance {
            incarnation: appliance.incarnation + 1,
            promised: Ballot::default(),
            slot: Slot::default(),
            accepted: nothing,
            committed: [0; N],
            admitted: false,
            part: Part::Follows,
        };
        self.restarts -= 1;
    }

    /// Forgets messages that nobody can take any more: slots and promises only grow within a life, and a proposal names
    /// the life that may accept it.
    fn forget(&mut self, bounds: &Bounds) {
        let all = || hosts::<N>().zip(&self.appliances);
        self.proposals.retain(|it| {
            let waits = |host: u8, appliance: &Appliance<N>| {
                appliance.takes(host, it.slot, &it.view, bounds) || appliance.learns(host, it)
            };
            bounds.lacks(Without::GreaterOnly) || all().any(|(host, appliance)| waits(host, appliance))
        });
        let amnesia = self.restarts > 0;
        self.stood.retain(|(ballot, _)| {
            let deaf = |host: u8, appliance: &Appliance<N>| host == ballot.host || appliance.promised >= *ballot;
            amnesia || !all().all(|(host, appliance)| deaf(host, appliance))
        });
        self.proposals.sort_unstable();
        self.stood.sort_unstable();
        self.stood.dedup();
    }
}
