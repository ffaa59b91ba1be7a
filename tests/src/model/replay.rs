//! Walks a path of the model with real cores: the same messages arrive, the same appliances restart, the same orders reach
//! the device.
//!
//! Owns the translation of each step into what a core needs for it. Where the model acts at will, a core needs a reason: to
//! stand, nobody may have heard a leader, so clocks go on; to decide something, there must be a fact, so the leader's own
//! host boots anew; to admit somebody, he must have been met. A step that a core does not take ends the walk: that is how a
//! rule shows that it holds. What a core does and the model does not say (HELLO, heartbeats) is done when a step needs it.
//! The steps of a fence are in `fence`.

mod fence;

use super::cores::{Cores, Letter};
use super::{Ballot, Bounds, Part, Slot, Step, View, Without, World, at, hosts};
use crate::sim::config;
use palisade_core::id as core_id;
use palisade_core::rule::{Rule, Rules};
use palisade_core::status::Role;
use palisade_core::wire::message::{self, Message};
use std::collections::BTreeMap;

/// Longer than P twice: a last heartbeat may promise anew.
const LONGER_THAN_P: u64 = 2_200_000;
/// Longer than the time after which what was not answered is sent again.
const RESEND: u64 = 51_000;

/// A core did not do what the model did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which step of the path, from 0.
    pub step: usize,
    /// What it was.
    pub what: String,
    /// Why.
    pub why: String,
    /// Whether all agree soon after, when everything arrives that is still on its way and nothing fails any more.
    pub agree: bool,
}

/// Walks this path with cores that obey these rules.
///
/// # Errors
/// A core refused a step.
///
/// # Panics
/// An invariant broke: S1, S2, S4, or that no NODE_DOWN is lost.
pub fn replay<const N: usize>(path: &[Step<N>], bounds: &Bounds, rules: Rules) -> Result<(), Refused> {
    let mut walk = Walk::<N>::new(bounds, rules);
    for (step, action) in path.iter().enumerate() {
        if let Err(why) = walk.step(*action) {
            let (what, why) = (action.to_string(), why.to_owned());
            return Err(Refused { step, what, why, agree: walk.peace() });
        }
        walk.world = walk.world.after(*action, bounds);
        walk.cores.letters.retain(|letter| !is_small_talk(letter) || matches!(letter.message, Message::Commit { .. }));
    }
    Ok(())
}

struct Walk<const N: usize> {
    world: World<N>,
    cores: Cores,
    /// What the model's ballots are here.
    ballots: BTreeMap<Ballot, core_id::Ballot>,
    /// The version that is here what version 0 is in the model.
    base: u64,
    /// The digests of the model's views.
    digests: BTreeMap<View<N>, u64>,
    /// Who stands in the model and does not here yet: it matters only when somebody answers.
    to_stand: Vec<Ballot>,
    /// The host beside the model's whose node is fenced, if any is.
    target: Option<u8>,
    /// The model's version with which that node is a member again, and how many more it took here: its host is one first.
    returned: Option<(u8, u64)>,
}

type Done = Result<(), &'static str>;

fn done(is_done: bool, why: &'static str) -> Done {
    if is_done { Ok(()) } else { Err(why) }
}

/// Where the state is that a letter carries to be accepted, and its digest.
fn carried(letter: &Letter) -> Option<(message::Slot, u64)> {
    match letter.message {
        Message::Piece(head) if !head.fetched => Some((head.slot, head.digest)),
        Message::Delta(head) => Some((head.slot, head.digest)),
        _ => None,
    }
}

fn is_whole(letter: &Letter) -> bool {
    matches!(letter.message, Message::Piece(head) if !head.fetched)
}

fn proposed(letter: &Letter) -> Option<message::Slot> {
    carried(letter).map(|(slot, _)| slot)
}

/// What two appliances say to each other all the time.
fn is_small_talk(letter: &Letter) -> bool {
    use Message as M;
    matches!(
        letter.message,
        M::Hello { .. }
            | M::HelloAnswer { .. }
            | M::Ask { .. }
            | M::AskAnswer { .. }
            | M::Heartbeat(_)
            | M::Answer { .. }
            | M::Commit { .. }
    )
}

impl<const N: usize> Walk<N> {
    /// As the model begins: host 0 leads, version 1 is committed and everybody knows; its proposal may come once more.
    fn new(bounds: &Bounds, rules: Rules) -> Self {
        let hosts = u8::try_from(N).expect("few hosts");
        let target = (!bounds.executors.is_empty()).then_some(hosts);
        let config = match target {
            Some(_) => fence::config(hosts, &bounds.executors),
            None => config::cluster_with_votes(hosts, hosts),
        };
        let mut cores = Cores::new(config, rules);
        // Only the clock of host 0 goes on until it leads.
        for _ in 0..100 {
            if cores.role(0) == Role::Leader {
                break;
            }
            cores.pass(0, 20_000);
            for _ in 0..8 {
                cores.deliver(|_| true);
            }
        }
        cores.all_is_well(3_000_000);
        if target.is_some() {
            fence::begin_nodes(&mut cores);
        }
        if bounds.lacks(Without::GreaterOnly) {
            Self::elect_again(&mut cores);
        } else {
            cores.new_boot(0);
        }
        cores.pass(0, RESEND);
        let mut seen = vec![false; cores.all().count()];
        cores.deliver(|letter| proposed(letter).is_some() && !std::mem::replace(&mut seen[at(letter.to)], true));
        cores.deliver(|letter| matches!(letter.message, Message::NeedWhole { .. }));
        cores.pass(0, RESEND);
        cores.deliver(|letter| is_whole(letter) && !std::mem::replace(&mut seen[at(letter.to)], false));
        cores.deliver(|letter| matches!(letter.message, Message::Accept { .. }));
        cores.deliver(|letter| matches!(letter.message, Message::Commit { .. }));
        cores.letters.retain(|letter| proposed(letter).is_some());
        let summary = cores.summary(0);
        assert!(cores.all().all(|host| cores.version(host) == summary.version), "all know the first view");
        let ballots = BTreeMap::from([(Ballot { round: 1, host: 0 }, summary.ballot)]);
        let world = World::<N>::new(bounds);
        let first = cores.letters.iter().find_map(carried).map(|(_, digest)| digest);
        let digests = BTreeMap::from([(world.appliances[0].accepted, first.expect("it may come once more"))]);
        let base = summary.version - 1;
        Self { world, cores, ballots, digests, base, to_stand: Vec::new(), target, returned: None }
    }

    /// Host 0 is elected once more, and host 1 has missed something: so what host 1 is to accept comes as a whole state. A
    /// change of another one would not do harm late (SAFETY A5).
    fn elect_again(cores: &mut Cores) {
        cores.new_boot(0);
        cores.deliver(|letter| proposed(letter).is_some() && letter.to != 1);
        cores.deliver(|letter| letter.to != 1);
        cores.deliver(|letter| letter.to != 1);
        for host in cores.all() {
            cores.pass(host, LONGER_THAN_P);
        }
        cores.letters.clear();
        for _ in 0..100 {
            if cores.has(|letter| letter.from == 0 && proposed(letter).is_some()) {
                return;
            }
            cores.pass(0, 20_000);
            for _ in 0..4 {
                use Message as M;
                cores.deliver(|it| {
                    it.from == 0 && matches!(it.message, M::Ask { .. } | M::Vote { .. } | M::Fetch { .. })
                });
                cores.deliver(|it| {
                    it.to == 0 && !matches!(it.message, M::Ask { .. } | M::Vote { .. } | M::Heartbeat(_))
                });
            }
        }
        panic!("host 0 is not elected");
    }

    /// Everything arrives, and nothing fails any more: whether all agree, and are members.
    fn peace(&mut self) -> bool {
        self.cores.all_is_well(12_000_000);
        if self.target.is_some() {
            self.devices_work();
        }
        let version = self.cores.version(0);
        let leaders = self.cores.all().filter(|&host| self.cores.role(host) == Role::Leader).count();
        let member = |host| matches!(self.cores.role(host), Role::Leader | Role::Member);
        leaders == 1 && self.cores.all().all(|host| self.cores.version(host) == version && member(host))
    }

    fn slot(&self, slot: Slot) -> message::Slot {
        let more = self.returned.filter(|(since, _)| slot.version >= *since).map_or(0, |(_, more)| more);
        let version = self.base + u64::from(slot.version) + more;
        message::Slot { ballot: self.ballots[&slot.ballot], version }
    }

    fn step(&mut self, step: Step<N>) -> Done {
        match step {
            Step::Stand(ballot) => {
                self.to_stand.push(ballot);
                Ok(())
            }
            Step::Grant(voter, ballot, _) => self.grant(voter, ballot),
            Step::Win(host, slot, view) => self.win(host, slot, &view),
            Step::Propose(host, view) => self.propose(host, &view),
            Step::Accept(host, slot, _) => self.accept(host, slot),
            Step::Commit(host) => self.commit(host),
            Step::Learn(host) => self.learn(host),
            Step::Restart(host) => {
                self.cores.restart(host);
                Ok(())
            }
            Step::Fence(host, order) => self.order(host, &order),
            Step::Drive(order) => self.drive(&order),
            Step::Expire(order) => self.expire(&order),
        }
    }

    /// Whoever leads or follows does so no more: its clock goes on, and nothing comes.
    fn let_go(&mut self, host: u8) {
        match self.cores.role(host) {
            Role::Candidate if !matches!(self.world.appliances[at(host)].part, Part::Leads { .. }) => {}
            _ => self.cores.pass(host, LONGER_THAN_P),
        }
    }

    /// Two appliances learn who the other one is, and say what they say all the time. Answers of a life that one of them
    /// will know to be over come before that, or never (SAFETY A7).
    fn meet(&mut self, one: u8, other: u8) {
        for (from, to) in [(one, other), (other, one)] {
            let life = self.cores.incarnation(from);
            let is_answer =
                |it: &Letter| matches!(it.message, Message::VoteAnswer { granted: true, .. } | Message::Accept { .. });
            self.cores.deliver(|it| it.is(from, to) && it.sender != life && is_answer(it));
        }
        for _ in 0..4 {
            self.cores.deliver(|letter| (letter.is(one, other) || letter.is(other, one)) && is_small_talk(letter));
        }
    }

    /// Does what the model did when it let this host stand.
    fn stand(&mut self, ballot: Ballot) -> Done {
        let Some(place) = self.to_stand.iter().position(|it| *it == ballot) else { return Ok(()) };
        self.to_stand.remove(place);
        let me = ballot.host;
        self.let_go(me);
        let leads = |world: &World<N>, host: u8| matches!(world.appliances[at(host)].part, Part::Leads { .. });
        let others: Vec<u8> = hosts::<N>().filter(|&it| it != me && !leads(&self.world, it)).collect();
        for &other in &others {
            self.let_go(other);
        }
        for _ in 0..60 {
            self.cores.pass(me, 20_000);
            if let Some(stood) = self.stands(me) {
                if self.ballots.iter().all(|(model, core)| (*model < ballot) == (*core < stood)) {
                    self.ballots.insert(ballot, stood);
                    return Ok(());
                }
                self.learn_of_higher(me, ballot);
            }
            for &other in &others {
                self.cores.deliver(|it| it.is(me, other) && matches!(it.message, Message::Ask { .. }));
                let none = core_id::Ballot::NONE;
                let says_none = |it: &Letter| matches!(it.message, Message::AskAnswer { leader, .. } if leader == none);
                self.cores.deliver(|it| it.is(other, me) && says_none(it));
            }
        }
        Err("it does not stand")
    }

    /// The ballot under which it asks for votes now.
    fn stands(&self, host: u8) -> Option<core_id::Ballot> {
        let asks = self.cores.letters.iter().filter(|letter| letter.from == host);
        let ballots = asks.filter_map(|letter| match letter.message {
            Message::Vote { ballot, .. } => Some(ballot),
            _ => None,
        });
        ballots.max().filter(|ballot| *ballot == self.cores.summary(host).ballot)
    }

    /// Its ballot is too low: who promised a higher one tells it.
    fn learn_of_higher(&mut self, me: u8, ballot: Ballot) {
        let lower: Vec<u8> = self.ballots.keys().filter(|it| **it < ballot).map(|it| it.host).collect();
        for other in lower {
            self.cores.deliver(|it| it.is(me, other) && matches!(it.message, Message::Vote { .. }));
            self.cores.deliver(|it| it.is(other, me) && matches!(it.message, Message::VoteAnswer { .. }));
        }
        self.cores.letters.retain(|it| it.from != me || !matches!(it.message, Message::Vote { .. }));
    }

    fn grant(&mut self, voter: u8, ballot: Ballot) -> Done {
        self.stand(ballot)?;
        let core = self.ballots[&ballot];
        self.let_go(voter);
        let asked =
            |it: &Letter| it.to == voter && matches!(it.message, Message::Vote { ballot, .. } if ballot == core);
        self.cores.deliver(asked);
        let given = |it: &Letter| {
            it.from == voter
                && matches!(it.message, Message::VoteAnswer { ballot, granted: true, .. } if ballot == core)
        };
        done(self.cores.has(given), "it does not vote")
    }

    fn win(&mut self, host: u8, slot: Slot, view: &View<N>) -> Done {
        let ballot = match self.world.appliances[at(host)].part {
            Part::Voting(ballot, _) => ballot,
            _ => return Err("it does not stand"),
        };
        self.stand(ballot)?;
        let (core, newest) = (self.ballots[&ballot], self.slot(slot));
        let vote = |it: &Letter| match it.message {
            Message::VoteAnswer { ballot, granted: true, accepted, .. } if ballot == core && it.to == host => {
                Some(accepted)
            }
            _ => None,
        };
        // First those that the model counts by the rule, then those that it counts without it.
        self.cores.deliver(|it| vote(it).is_some_and(|accepted| accepted <= newest));
        self.fetch(host);
        if !self.leads(host, core) {
            self.cores.deliver(|it| vote(it).is_some_and(|accepted| accepted.version <= newest.version));
            self.fetch(host);
        }
        done(self.leads(host, core) && self.adopts(host, core, view), "it does not win so")
    }

    /// A candidate gets the newest state.
    fn fetch(&mut self, host: u8) {
        self.cores.deliver(|it| it.from == host && matches!(it.message, Message::Fetch { .. }));
        self.cores.deliver(|it| it.to == host && matches!(it.message, Message::Piece(head) if head.fetched));
    }

    fn leads(&self, host: u8, ballot: core_id::Ballot) -> bool {
        self.cores.role(host) == Role::Leader && self.cores.summary(host).ballot == ballot
            || self.cores.has(|it| it.from == host && proposed(it).is_some_and(|slot| slot.ballot == ballot))
    }

    /// Whether this is what it proposes first under its ballot, or commits at once.
    fn adopts(&self, host: u8, ballot: core_id::Ballot, view: &View<N>) -> bool {
        let sent = self.cores.letters.iter().filter(|it| it.from == host).filter_map(carried);
        let mut own = sent.filter(|(slot, _)| slot.ballot == ballot).peekable();
        if own.peek().is_none() {
            return self.cores.version(host) == self.base + u64::from(view.version);
        }
        own.all(|(_, digest)| self.digests.get(view) == Some(&digest))
    }

    fn propose(&mut self, host: u8, view: &View<N>) -> Done {
        let last = self.world.appliances[at(host)];
        let newcomer = (0..N).find(|&other| last.accepted.named[other] != view.named[other]);
        let target = message::Slot { ballot: self.ballots[&last.slot.ballot], ..self.slot(last.slot) };
        let target = message::Slot { version: target.version + 1, ..target };
        let is_out = |cores: &Cores| cores.has(|it| it.from == host && proposed(it) == Some(target));
        let turn = self.target.filter(|_| view.node != last.accepted.node);
        match newcomer.and_then(|other| u8::try_from(other).ok()) {
            None if turn.is_some() => return self.propose_node(host, view, target),
            None => self.cores.new_boot(host),
            Some(other) => {
                for _ in 0..60 {
                    if is_out(&self.cores) {
                        break;
                    }
                    self.cores.pass(other, 20_000);
                    self.cores.pass(host, 100);
                    self.meet(host, other);
                }
            }
        }
        self.is_proposed(host, view, target)
    }

    /// Whether this slot went out, as this view.
    fn is_proposed(&mut self, host: u8, view: &View<N>, target: message::Slot) -> Done {
        let sent = self.cores.letters.iter().filter(|it| it.from == host).filter_map(carried);
        let digest = sent.filter(|(slot, _)| *slot == target).map(|(_, digest)| digest).next();
        self.digests.extend(digest.map(|digest| (*view, digest)));
        done(digest.is_some(), "it does not propose that")
    }

    fn accept(&mut self, host: u8, slot: Slot) -> Done {
        let (leader, core) = (slot.ballot.host, self.slot(slot));
        if matches!(self.world.appliances[at(host)].part, Part::Leads { .. }) {
            self.let_go(host);
        }
        let is_it = |it: &Letter| it.is(leader, host) && proposed(it) == Some(core);
        if !self.cores.has(is_it) {
            for _ in 0..10 {
                self.cores.pass(host, 20_000);
                self.meet(leader, host);
            }
            self.cores.pass(leader, RESEND);
        }
        self.cores.deliver(is_it);
        // It may hold another base than the leader thought (SAFETY A5).
        self.cores.deliver(|it| it.is(host, leader) && matches!(it.message, Message::NeedWhole { .. }));
        self.cores.deliver(is_it);
        let said =
            |it: &Letter| it.is(host, leader) && matches!(it.message, Message::Accept { slot, .. } if slot == core);
        done(self.cores.has(said), "it does not accept")
    }

    fn commit(&mut self, host: u8) -> Done {
        let leader = self.world.appliances[at(host)];
        let slot = self.slot(leader.slot);
        let said = |it: &Letter| it.to == host && matches!(it.message, Message::Accept { slot: of, .. } if of == slot);
        self.cores.deliver(said);
        let is_so = self.cores.role(host) == Role::Leader && self.cores.version(host) == slot.version;
        done(is_so, "it counts no quorum")?;
        let same = self.target.is_none() || self.says_of_node(host) == leader.accepted.node;
        done(same, "it says something else of the node")
    }

    fn learn(&mut self, host: u8) -> Done {
        let slot = self.slot(self.world.appliances[at(host)].slot);
        let said = |it: &Letter| it.to == host && matches!(it.message, Message::Commit { slot: of, .. } if of == slot);
        self.cores.deliver(said);
        done(self.cores.version(host) == slot.version, "it does not hear of the commit")
    }
}

/// The hook of the core for a rule of the model.
#[must_use]
pub const fn hook(without: super::Without) -> Rule {
    use super::Without as W;
    match without {
        W::GreaterOnly => Rule::A3Upwards,
        W::NewestByBallot => Rule::A3,
        W::CommitFirst => Rule::A3Commit,
        W::NamedVotes => Rule::A4,
        W::QuorumOfOthers => Rule::B1,
        W::AdmittedVotes => Rule::B1Vote,
        W::OrderCommitted => Rule::A2,
        W::OrderAtPromise => Rule::F1,
        W::OnAfterOrders => Rule::F2,
        W::DownConfirmed => Rule::Proof,
        W::DownCommitted => Rule::A3Down,
    }
}
