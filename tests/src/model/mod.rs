//! Agreement, fencing and NODE_DOWN as an explicit-state model: a few appliances, one node, a network that may do
//! anything, no clocks.
//!
//! Owns the rules as small steps, in the words of `palisade_core::agreement`, and the truth that the steps are held
//! against: what was committed, and whether the node can write, whatever an appliance believes of it. It must never be
//! wiser than the core: where they differ, the model may do *more* (a vote carries the whole state instead of a slot to
//! fetch, a leader gives up whenever it likes, anybody is suspected at any time), never less. `replay` walks its paths with
//! real cores, fences too. Rules: SAFETY A2-A4, A7, B1, F1, F2, F4; the argument is in docs/PROTOCOL.md.
//!
//! ```text
//! Stand -> Grant ... -> Win -> (Accept ... -> Commit -> Propose)*      and at any time Learn, Restart
//! Propose(condemned) ... Commit -> Fence -> Drive -> Propose(NODE_DOWN) ... Commit -> Propose(up)
//! ```
//!
//! A message that may come late, twice or never is a fact that stays: what was asked for is in `stood`, what was proposed
//! and committed in `proposals`, what was ordered in `orders`; answers lie with the one who may count them, to be counted
//! in any combination. A datagram for a dead incarnation is dropped (A7), so answers go with the life that asked for them.
//! What can have no effect any more is forgotten, so that two states that behave alike are one.

mod cores;
mod fencing;
mod outside;
pub mod replay;
mod words;

pub use words::{Appliance, Ballot, Bounds, Broken, Granted, Node, Order, Part, Proposal, Slot, Step, View, Without};

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World<const N: usize> {
    /// The appliances, by number from 0.
    pub appliances: [Appliance<N>; N],
    /// Ballots for which votes were asked, with the candidate's incarnation.
    pub stood: Vec<(Ballot, u8)>,
    /// Proposals, by slot.
    pub proposals: Vec<Proposal<N>>,
    /// Orders that may still come.
    pub orders: Vec<Order>,
    /// Restarts that may still come.
    pub restarts: u8,
    /// The truth: the incarnation of the node that can write; zero: none.
    pub writes: u8,
    /// The truth: what was committed, by version from 1.
    pub truth: [Option<View<N>>; VERSIONS_MAX],
    /// The oldest NODE_DOWN that was told, by version and incarnation.
    pub told: Option<(u8, u8)>,
    /// What went wrong.
    pub broken: Broken,
}

/// Versions that a world has room for.
pub const VERSIONS_MAX: usize = 6;

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

    /// It leads nothing, and what was answered to it as a leader is void.
    const fn follow(&mut self) {
        self.part = Part::Follows;
        self.proof = 0;
    }

    /// What it accepted is committed.
    const fn learn(&mut self, me: u8) {
        self.committed = self.accepted.named;
        self.known = self.accepted.node;
        self.admitted = self.committed[me as usize] == self.incarnation;
    }

    /// Whether it would accept this (SAFETY A3, A4).
    fn takes(&self, me: u8, slot: Slot, view: &View<N>, bounds: &Bounds) -> bool {
        let upwards = slot > self.slot || (bounds.lacks(Without::GreaterOnly) && slot != self.slot);
        slot.ballot.host != me && slot.ballot >= self.promised && view.named[at(me)] == self.incarnation && upwards
    }

    /// Whether it would learn something from the commit of what it accepted.
    fn learns(&self, me: u8, proposal: &Proposal<N>) -> bool {
        let View { named, node, .. } = proposal.view;
        let is_admitted = named[at(me)] == self.incarnation;
        let news = self.committed != named || self.known != node || self.admitted != is_admitted;
        proposal.committed && proposal.slot == self.slot && self.slot.ballot >= self.promised && news
    }
}

impl<const N: usize> World<N> {
    /// After a first boot: host 0 leads under (1, 0), and everybody knows that version 1 is committed.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        let ballot = Ballot { round: 1, host: 0 };
        let view = View { version: 1, decided: ballot, node: Node::Up(1), named: [1; N] };
        let slot = Slot { ballot, version: 1 };
        let appliance = Appliance {
            incarnation: 1,
            promised: ballot,
            slot,
            accepted: view,
            committed: view.named,
            known: view.node,
            admitted: true,
            proof: 0,
            part: Part::Follows,
        };
        let mut world = Self {
            appliances: [appliance; N],
            stood: Vec::new(),
            proposals: vec![Proposal { slot, view, committed: true }],
            orders: Vec::new(),
            restarts: bounds.restarts,
            writes: 1,
            told: None,
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
        self.fences(bounds, steps);
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

    /// What a leader may decide: about the node, something else, or to admit an incarnation that it met.
    fn proposes(&self, host: u8, ballot: Ballot, bounds: &Bounds, steps: &mut Vec<Step<N>>) {
        let last = self.appliances[at(host)].accepted;
        if last.version >= bounds.versions {
            return;
        }
        let next = View { version: last.version + 1, decided: ballot, ..last };
        steps.push(Step::Propose(host, next));
        if let Some(node) = self.decides(host, last.node, bounds) {
            steps.push(Step::Propose(host, View { node, ..next }));
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
            Step::Propose(host, view) => world.propose(host, view, bounds),
            Step::Accept(host, slot, view) => world.accept(host, slot, view),
            Step::Commit(host) => world.commit(host),
            Step::Learn(host) => {
                world.appliances[at(host)].learn(host);
                world.tell(world.appliances[at(host)].accepted);
            }
            Step::Restart(host) => world.restart(host),
            Step::Fence(_, order) => world.orders.push(order),
            Step::Drive(order) => world.drive(order),
            Step::Expire(order) => world.expire(order, bounds),
        }
        if let Step::Propose(_, view) | Step::Accept(_, _, view) = step
            && bounds.lacks(Without::DownCommitted)
        {
            world.tell(view);
        }
        world.forget(bounds);
        world
    }

    fn stand(&mut self, ballot: Ballot) {
        let appliance = &mut self.appliances[at(ballot.host)];
        appliance.proof = 0;
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
        appliance.follow();
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
            appliance.learn(host);
            self.has_effect(view);
            self.tell(view);
        } else {
            self.send(host);
        }
    }

    fn propose(&mut self, host: u8, view: View<N>, bounds: &Bounds) {
        self.settle(view.node, bounds);
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
        appliance.follow();
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
        appliance.learn(host);
        appliance.part = Part::Leads { ballot: slot.ballot, established: true, truly: true, acks: None };
        self.proposals.retain(|it| it.slot != slot || it.view != view);
        self.proposals.push(Proposal { slot, view, committed: true });
        self.has_effect(view);
        self.tell(view);
    }

    /// Somebody acts on this view: it is held against all that were acted on before.
    fn has_effect(&mut self, view: View<N>) {
        for other in self.truth.iter().flatten() {
            self.broken.two_views |= other.version == view.version && *other != view;
            let (older, newer) = if other.version < view.version { (*other, view) } else { (view, *other) };
            self.broken.down_lost |= older.version < newer.version && older.node.rank() > newer.node.rank();
        }
        self.truth[at(view.version)] = Some(view);
        self.hold_against_told();
    }

    fn restart(&mut self, host: u8) {
        let appliance = &mut self.appliances[at(host)];
        let nothing = View { version: 0, decided: Ballot::default(), node: Node::Up(0), named: [0; N] };
        *appliance = Appliance {
            incarnation: appliance.incarnation + 1,
            promised: Ballot::default(),
            slot: Slot::default(),
            accepted: nothing,
            committed: [0; N],
            known: nothing.node,
            admitted: false,
            proof: 0,
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
        self.forget_orders();
        self.proposals.sort_unstable();
        self.stood.sort_unstable();
        self.stood.dedup();
    }
}
