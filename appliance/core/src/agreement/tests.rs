//! Random walks of the agreement leaves: no clocks, no engine, everything that a network and a power switch can do.
//!
//! Owns a world of a few hosts whose messages wait in one heap and are delivered in any order, twice, late or never, while
//! hosts restart without memory and stand for election as they like. What a leader commits is written down, and no version may
//! ever be committed with two contents, by a leader or by a member (S1). With a rule switched off, some walk must break
//! it: otherwise the walks would not show that the rule holds.

use super::Voters;
use super::acceptor::{Acceptor, Taken};
use super::election::{Election, Granted, Phase, Step};
use super::proposer::Proposer;
use crate::courier::Courier;
use crate::id::{Cluster, HostId, Incarnation};
use crate::rule::{Rule, Rules};
use crate::time::{Duration, Instant};
use crate::wire::message::{Message, Slot, Standing};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

const NOW: Instant = Instant::ZERO;
const P: Duration = Duration::from_millis(1000);
/// Messages under way at a time; more are lost.
const HEAP_MAX: usize = 60;
const STEPS: usize = 600;
/// Rows beside those of the voters, so that a whole state has several pieces.
const MORE_ROWS: u8 = 70;

struct Host {
    me: HostId,
    incarnation: Incarnation,
    acceptor: Box<Acceptor>,
    election: Box<Election>,
    proposer: Box<Proposer>,
    courier: Courier,
    admitted: bool,
}

struct Letter {
    from: HostId,
    sender: Incarnation,
    to: HostId,
    message: Message,
    bytes: Vec<u8>,
}

/// What walks of one kind came to.
#[derive(Debug, Default)]
struct Sum {
    broken: u32,
    commits: u32,
    leads: u32,
    deltas: u32,
    wholes: u32,
    refused: u32,
}

struct World {
    seed: u64,
    rules: Rules,
    voters: Voters,
    hosts: Vec<Host>,
    heap: Vec<Letter>,
    incarnations: Incarnation,
    committed: BTreeMap<u64, u64>,
    broken: Option<String>,
    sum: Sum,
}

impl Host {
    fn new(me: HostId, incarnation: Incarnation, rules: Rules) -> Self {
        let mut host = Self {
            me,
            incarnation,
            acceptor: Box::new(Acceptor::EMPTY),
            election: Box::new(Election::EMPTY),
            proposer: Box::new(Proposer::EMPTY),
            courier: Courier::IDLE,
            admitted: false,
        };
        host.acceptor.start(me, incarnation, rules);
        host.election.rules = rules;
        host.proposer.rules = rules;
        host
    }

    fn is_elector(&self) -> bool {
        let admitted = self.admitted || self.acceptor.accepted.is_founding();
        self.acceptor.memory && (admitted || !self.proposer.rules.holds(Rule::B1Vote))
    }

    fn granted(&self) -> Granted {
        Granted {
            incarnation: self.incarnation,
            slot: self.acceptor.slot,
            digest: self.acceptor.encoded.content.digest,
            elector: self.is_elector(),
            cluster: self.acceptor.accepted.cluster,
        }
    }
}

impl World {
    fn new(seed: u64, rules: Rules) -> Self {
        let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let size = if random(&mut seed).is_multiple_of(2) { 3 } else { 5 };
        let mut voters = Voters::EMPTY;
        let mut hosts = Vec::new();
        for id in 1..=size {
            voters.votes[usize::from(id)] = true;
            voters.count += 1;
            hosts.push(Host::new(HostId::new(id), u64::from(id), rules));
        }
        let (heap, committed, sum) = (Vec::new(), BTreeMap::new(), Sum::default());
        Self { seed, rules, voters, hosts, heap, incarnations: 100, committed, broken: None, sum }
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("small");
        usize::try_from(random(&mut self.seed) % end).expect("small")
    }

    fn at(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host.index() - 1]
    }

    fn send(&mut self, from: HostId, to: HostId, message: Message, bytes: &[u8]) {
        let sender = self.at(from).incarnation;
        if self.heap.len() >= HEAP_MAX {
            let lost = self.below(HEAP_MAX);
            self.heap.swap_remove(lost);
        }
        self.heap.push(Letter { from, sender, to, message, bytes: bytes.to_vec() });
    }

    fn walk(mut self) -> Self {
        self.stand(HostId::new(1), Standing::FirstBoot);
        for _ in 0..STEPS {
            let host = HostId::new(u8::try_from(1 + self.below(self.hosts.len())).expect("few"));
            match self.below(100) {
                0..2 => self.restart(host),
                2..6 => self.stand(host, Standing::Ordinary),
                6..16 => self.change(host),
                16..24 => self.again(host),
                _ => self.deliver(),
            }
            if self.broken.is_some() {
                break;
            }
        }
        self
    }

    /// The appliance dies and comes back empty, as long as a quorum keeps its memory.
    fn restart(&mut self, me: HostId) {
        let others = self.hosts.iter().filter(|host| host.me != me && host.is_elector()).count();
        if others >= self.voters.quorum() {
            self.incarnations += 1;
            let (incarnation, rules) = (self.incarnations, self.rules);
            *self.at(me) = Host::new(me, incarnation, rules);
        }
    }

    fn stand(&mut self, me: HostId, standing: Standing) {
        let host = self.at(me);
        if standing == Standing::Ordinary && !host.is_elector() {
            return;
        }
        host.proposer.end();
        host.courier.clear();
        host.election.round = host.election.round.max(host.acceptor.promised.round);
        let ballot = host.election.stand(NOW, me, host.acceptor.promised, standing);
        assert!(host.acceptor.promise(ballot));
        host.acceptor.forget_fetched();
        let granted = host.granted();
        host.election.grant(me, granted);
        for id in (1..).map(HostId::new).take(self.hosts.len()).filter(|&id| id != me) {
            self.send(me, id, Message::Vote { ballot, standing }, &[]);
        }
        self.outcome(me);
    }

    fn outcome(&mut self, me: HostId) {
        let (voters, host) = (&self.voters, &mut self.hosts[me.index() - 1]);
        let ballot = host.election.ballot;
        match host.election.outcome(NOW, P, voters, host.acceptor.held(), true) {
            Step::Fetch(from, slot) => self.send(me, from, Message::Fetch { ballot, slot }, &[]),
            Step::Won(standing) => {
                host.acceptor.take_held();
                if standing == Standing::FirstBoot {
                    let election = &host.election;
                    let voted = |id: HostId| (id.get() > 255 - MORE_ROWS).then_some(9).or(election.voted(id));
                    host.acceptor.scratch.found(Cluster { number: 1, random: 1 }, Rules::ALL, voted);
                }
                let version = host.acceptor.scratch.version;
                host.acceptor.adopt(Slot { ballot, version });
                host.election.rest(NOW);
                host.proposer.begin(ballot, NOW);
                for voter in voters.all() {
                    if let Some(incarnation) = host.election.voted(voter) {
                        host.proposer.elected_by(voter, incarnation);
                    }
                }
                self.sum.leads += 1;
                self.propose(me);
            }
            Step::Wait | Step::Stand(_) => {}
        }
    }

    fn propose(&mut self, me: HostId) {
        let size = self.hosts.len();
        let host = self.at(me);
        host.proposer.propose(me, host.incarnation, NOW);
        host.courier.clear();
        for id in (1..).map(HostId::new).take(size).filter(|&id| id != me) {
            host.courier.propose(id);
        }
        self.post(me);
        self.consider(me);
    }

    /// What the courier has to bring is under way.
    fn post(&mut self, me: HostId) {
        loop {
            let host = &mut self.hosts[me.index() - 1];
            let acceptor = &host.acceptor;
            let Some((to, message, bytes)) = host.courier.next(&acceptor.encoded, &acceptor.delta, acceptor.slot)
            else {
                return;
            };
            match message {
                Message::Delta(_) => self.sum.deltas += 1,
                _ => self.sum.wholes += 1,
            }
            let bytes = bytes.to_vec();
            self.send(me, to, message, &bytes);
        }
    }

    fn consider(&mut self, me: HostId) {
        let (voters, host) = (&self.voters, &mut self.hosts[me.index() - 1]);
        if !host.proposer.is_committed(voters, &host.acceptor.accepted, &host.acceptor.committed, voters.quorum()) {
            return;
        }
        host.proposer.in_flight = false;
        host.proposer.established = true;
        let slot = host.acceptor.slot;
        self.commit(me);
        self.sum.commits += 1;
        for id in (1..).map(HostId::new).take(self.hosts.len()).filter(|&id| id != me) {
            self.send(me, id, Message::Commit { slot, cluster: Cluster::NONE, named: true }, &[]);
        }
    }

    /// The only things that are checked: one content for each version, for everybody, and nobody goes back.
    fn commit(&mut self, me: HostId) {
        let host = self.at(me);
        if host.acceptor.slot.version < host.acceptor.committed.version {
            self.broken = Some(std::format!("{me} goes back"));
            return;
        }
        host.acceptor.commit();
        let row = host.acceptor.committed.host(me);
        host.admitted |= row.counts() && row.incarnation == host.incarnation;
        let version = host.acceptor.committed.version;
        let mut bytes = Box::new([0; crate::state::STATE_BYTES_MAX]);
        let length = host.acceptor.committed.encode(&mut bytes);
        let digest = crate::state::digest(&bytes[..length]);
        let truth = *self.committed.entry(version).or_insert(digest);
        if truth != digest {
            self.broken = Some(std::format!("{me} commits another version {version}"));
        }
    }

    /// A leader that may changes something: an appliance that came back is admitted, or some rows change.
    fn change(&mut self, me: HostId) {
        let newcomer = self.hosts.iter().find(|host| {
            let leader = &self.hosts[me.index() - 1];
            leader.acceptor.committed.host(host.me).incarnation != host.incarnation
        });
        let newcomer = newcomer.map(|host| (host.me, host.incarnation));
        let (many, what) = (1 + self.below(3), random(&mut self.seed));
        let host = self.at(me);
        if !host.proposer.established || host.proposer.in_flight {
            return;
        }
        let ballot = host.proposer.ballot;
        let next = host.acceptor.next();
        match newcomer {
            Some((id, incarnation)) => next.admit(id, incarnation, 0),
            None => {
                for (number, _) in (0..many).enumerate() {
                    let row = u8::try_from((what >> (8 * number)) % u64::from(MORE_ROWS)).expect("small");
                    next.learn_boot(HostId::new(255 - row), what);
                }
            }
        }
        let version = next.version;
        host.acceptor.adopt(Slot { ballot, version });
        self.propose(me);
    }

    /// A leader sends to somebody again.
    fn again(&mut self, me: HostId) {
        let to = HostId::new(u8::try_from(1 + self.below(self.hosts.len())).expect("few"));
        let whole = self.below(4) == 0;
        let host = self.at(me);
        if host.proposer.leads() && to != me {
            if whole {
                host.courier.propose_whole(to);
            } else {
                host.courier.propose(to);
            }
            self.post(me);
        }
    }

    fn deliver(&mut self) {
        if self.heap.is_empty() {
            return;
        }
        let at = self.below(self.heap.len());
        let fate = self.below(10);
        let letter = if fate == 0 {
            let Letter { from, sender, to, message, ref bytes } = self.heap[at];
            Letter { from, sender, to, message, bytes: bytes.clone() }
        } else {
            self.heap.swap_remove(at)
        };
        if fate != 1 {
            self.take(&letter);
        }
    }

    fn take(&mut self, letter: &Letter) {
        let (from, to) = (letter.from, letter.to);
        let host = self.at(to);
        match letter.message {
            Message::Vote { ballot, standing } => {
                host.election.round = host.election.round.max(ballot.round);
                let first_boot = standing == Standing::FirstBoot;
                let able = if first_boot { !host.acceptor.memory } else { host.is_elector() };
                if ballot > host.acceptor.promised && able {
                    assert!(host.acceptor.promise(ballot));
                    host.proposer.end();
                    host.courier.clear();
                    host.election.rest(NOW);
                    let (promised, accepted) = (host.acceptor.promised, host.acceptor.slot);
                    let Granted { digest, elector, cluster, .. } = host.granted();
                    let (granted, committed) = (true, host.acceptor.committed_slot);
                    let answer = Message::VoteAnswer {
                        ballot,
                        granted,
                        promised,
                        accepted,
                        digest,
                        elector,
                        cluster,
                        committed,
                    };
                    self.send(to, from, answer, &[]);
                }
            }
            Message::VoteAnswer { ballot, accepted, digest, elector, cluster, .. }
                if ballot == host.election.ballot && host.election.phase == Phase::Voting =>
            {
                let incarnation = letter.sender;
                host.election.grant(from, Granted { incarnation, slot: accepted, digest, elector, cluster });
                self.outcome(to);
            }
            Message::Fetch { ballot, slot } if ballot == host.acceptor.promised && slot == host.acceptor.slot => {
                host.courier.lend(from);
                self.post(to);
            }
            Message::Piece(ref head) if !host.proposer.leads() => {
                let voting = host.election.phase == Phase::Voting;
                if !head.fetched || voting {
                    let taken = host.acceptor.take(from, head, &letter.bytes);
                    self.taken(to, from, taken, head.slot, head.digest);
                }
            }
            Message::Delta(ref head) if !host.proposer.leads() => {
                let taken = host.acceptor.take_delta(from, head, &letter.bytes);
                self.taken(to, from, taken, head.slot, head.digest);
            }
            Message::NeedWhole { slot } if host.proposer.leads() && slot == host.acceptor.slot => {
                host.courier.propose_whole(from);
                self.post(to);
            }
            Message::Accept { slot, digest } => {
                let current = slot == host.acceptor.slot && digest == host.acceptor.encoded.content.digest;
                if host.proposer.leads() && slot.ballot == host.proposer.ballot && current {
                    host.proposer.ack(from, letter.sender);
                    self.consider(to);
                }
            }
            Message::Commit { slot, .. } => {
                let lives = slot.ballot.host == from && slot.ballot >= host.acceptor.promised;
                if lives && !host.proposer.leads() && host.acceptor.learns(slot) {
                    self.commit(to);
                }
            }
            _ => {}
        }
    }

    fn taken(&mut self, me: HostId, from: HostId, taken: Taken, slot: Slot, digest: u64) {
        match taken {
            Taken::Nothing => {}
            Taken::Fetched => self.outcome(me),
            Taken::NeedsWhole => {
                self.sum.refused += 1;
                self.send(me, from, Message::NeedWhole { slot }, &[]);
            }
            Taken::Accepted => {
                let host = self.at(me);
                host.courier.clear();
                host.election.rest(NOW);
                self.send(me, from, Message::Accept { slot, digest }, &[]);
            }
        }
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
}

fn walks(count: u64, rules: Rules, first_broken: bool) -> Sum {
    let mut sum = Sum::default();
    for seed in 1..=count {
        let world = World::new(seed, rules).walk();
        if let Some(sentence) = &world.broken {
            assert!(rules != Rules::ALL, "walk {seed}: {sentence}");
            sum.broken += 1;
            if first_broken {
                return sum;
            }
        }
        sum.commits += world.sum.commits;
        sum.leads += world.sum.leads;
        sum.deltas += world.sum.deltas;
        sum.wholes += world.sum.wholes;
        sum.refused += world.sum.refused;
    }
    sum
}

#[test]
fn no_walk_commits_two_contents_of_one_version() {
    let sum = walks(1500, Rules::ALL, false);
    assert!(sum.commits > 1500 && sum.leads > 1500, "the walks lead somewhere: {sum:?}");
    assert!(sum.deltas > 1500 && sum.refused > 1500, "deltas are used, and refused: {sum:?}");
}

#[test]
fn without_a_rule_some_walk_does() {
    for rule in [Rule::A3, Rule::A3Upwards, Rule::A4, Rule::A5, Rule::B1, Rule::B1Vote] {
        let sum = walks(20_000, Rules::without(rule), true);
        assert!(sum.broken > 0, "no walk needs {rule:?}");
    }
}
