//! The words of the model: ballots, views, votes, orders, steps, and which rule a run leaves out.
//!
//! Owns the types and how they are told. No step is taken here. The names are those of `palisade_core::agreement` where a
//! thing is the same.

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

/// What a view says of the one node. The order of their ranks is the only way there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// This incarnation is a member.
    Up(u8),
    /// It is to be fenced; that is never withdrawn (SAFETY F4).
    Condemned(u8),
    /// There is proof that it cannot write.
    Down(u8),
}

impl Node {
    /// The incarnation that it is about.
    #[must_use]
    pub const fn incarnation(self) -> u8 {
        match self {
            Self::Up(incarnation) | Self::Condemned(incarnation) | Self::Down(incarnation) => incarnation,
        }
    }

    /// How far the node's life has come.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Up(incarnation) => 3 * incarnation,
            Self::Condemned(incarnation) => 3 * incarnation + 1,
            Self::Down(incarnation) => 3 * incarnation + 2,
        }
    }
}

/// A whole replicated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View<const N: usize> {
    /// Counts the decisions.
    pub version: u8,
    /// The ballot under which the latest decision was made: it tells two views of one version apart.
    pub decided: Ballot,
    /// The node.
    pub node: Node,
    /// The incarnation that it names, of each host.
    pub named: [u8; N],
}

/// A vote, as the candidate holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Granted<const N: usize> {
    /// Of the voter.
    pub incarnation: u8,
    /// What it had accepted.
    pub slot: Slot,
    /// The same, whole.
    pub accepted: View<N>,
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
    /// What that view says of the node.
    pub known: Node,
    /// It knows of a committed view that names this incarnation.
    pub admitted: bool,
    /// The incarnation of the node for which a device's word of proof came to it as a leader; zero: none.
    pub proof: u8,
    /// What it is.
    pub part: Part<N>,
}

/// A state that was proposed and may still come to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal<const N: usize> {
    /// Where.
    pub slot: Slot,
    /// What.
    pub view: View<N>,
    /// A quorum accepted it, and the leader says so.
    pub committed: bool,
}

/// An order to a device that cannot tell which incarnation it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// Under which ballot.
    pub ballot: Ballot,
    /// Who is to drive the device, and which life of it (SAFETY A7).
    pub executor: (u8, u8),
    /// Which incarnation of the node it is meant for.
    pub target: u8,
}

/// What the checker found wrong. Once wrong, always wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken {
    /// S1: two different views of one version were committed.
    pub two_views: bool,
    /// A committed NODE_DOWN, or one that was told, is missing from a later committed view.
    pub down_lost: bool,
    /// A leader decided something before a view was committed under its ballot.
    pub acted_early: bool,
    /// S2: an appliance told NODE_DOWN of a node that could write.
    pub told_alive: bool,
    /// S4: a device hit an incarnation that no committed view condemned.
    pub unjust: bool,
}

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
    /// A leader orders this.
    Fence(u8, Order),
    /// An executor obeys: the node cannot write any more.
    Drive(Order),
    /// An order comes to nothing: its validity is over before it came, or the device says nothing in time.
    Expire(Order),
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.host)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(incarnation) => write!(f, "node {incarnation} up"),
            Self::Condemned(incarnation) => write!(f, "node {incarnation} condemned"),
            Self::Down(incarnation) => write!(f, "NODE_DOWN {incarnation}"),
        }
    }
}

impl<const N: usize> fmt::Display for View<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "view {} of {} (names {:?}, {})", self.version, self.decided, self.named, self.node)
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
            Self::Fence(host, order) => {
                write!(f, "{host} orders {} under {} to fence node {}", order.executor.0, order.ballot, order.target)
            }
            Self::Drive(order) => write!(f, "{} obeys the order of {}", order.executor.0, order.ballot),
            Self::Expire(order) => write!(f, "the order of {} to {} comes to nothing", order.ballot, order.executor.0),
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
    /// A2: a fence is ordered only after the decision was committed under the orderer's ballot.
    OrderCommitted,
    /// A2, F1: an order is refused by whoever promised a higher ballot.
    OrderAtPromise,
    /// F2: a node is turned on only after every order of its record was answered or is over.
    OnAfterOrders,
    /// NODE_DOWN needs a proof: a timeout is none.
    DownConfirmed,
    /// NODE_DOWN is told when the proof is committed, not when it is accepted.
    DownCommitted,
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
    /// Who can drive the device of the node. Nobody: the node's death is proven by itself, and nothing is ordered.
    pub executors: Vec<u8>,
    /// Left out.
    pub without: Option<Without>,
}

impl Bounds {
    /// Elections by anybody of `hosts` up to this round, restarts of anybody, no orders.
    #[must_use]
    pub fn all(hosts: u8, rounds: u8, versions: u8, restarts: u8) -> Self {
        let of = |round| (0..hosts).map(move |host| Ballot { round, host });
        let ballots = (2..=rounds).flat_map(of).collect();
        let (restarting, executors) = ((0..hosts).collect(), Vec::new());
        Self { ballots, versions, restarts, restarting, executors, without: None }
    }

    /// The same, where these hosts can drive the node's device.
    #[must_use]
    pub fn fencing(mut self, executors: &[u8]) -> Self {
        self.executors = executors.to_vec();
        self
    }

    /// The same without this rule.
    #[must_use]
    pub fn without(mut self, rule: Without) -> Self {
        self.without = Some(rule);
        self
    }

    pub(super) fn lacks(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }
}
