//! The steps of a fence, walked by real cores: a decision, an order, a device, a proof, and the node's return.
//!
//! Owns the host beside the model's own, which has no vote: its node is the model's node, and its device is what an order
//! drives. Each executor reaches that device by a way of its own, and the ways race: so orders to several are out at once, as
//! in the model. A fence needs a reason, which is here an operator's word. A device does what is said here, when it is said;
//! what came of it is held against the truth by `outside`.

use super::super::cores::{Cores, Letter};
use super::super::{Node, Order, View};
use super::{Done, Walk, at, done, hosts, proposed};
use crate::sim::config;
use palisade_core::config::Config;
use palisade_core::fencing::{Action, Class, Verdict};
use palisade_core::id::{HostId, Incarnation, NodeId};
use palisade_core::io::{Input, Request, Road};
use palisade_core::status::{HostState, Role};
use palisade_core::wire::message::{self, Message};
use palisade_core::wire::node::{Message as Word, NodeState, Target};

/// The connection of an operator, and the CID of the host that he comes from.
const OPERATOR: (u8, u32) = (0, 2);
/// What the model's incarnation 0 would be here.
const INCARNATION: Incarnation = 0x100;
/// A turn of those who talk while time passes.
const TURN: u64 = 20_000;
/// More of them than an order is out, or a host needs to be admitted.
const ROUNDS: usize = 400;

/// So many hosts that vote, and one with a node that each executor can switch off.
pub(super) fn config(votes: u8, executors: &[u8]) -> &'static Config {
    let target = votes + 1;
    let names: Vec<(String, u8)> = executors.iter().map(|host| (format!("by{}", host + 1), host + 1)).collect();
    let levels: Vec<String> = names.iter().map(|(name, _)| format!(r#"["{name}"]"#)).collect();
    let method = r#""method":{"ipmi":{"address":"10.3.0.254","user":"u","password":"p"}}"#;
    let device = |(name, host): &(String, u8)| {
        format!(r#",{{"name":"{name}","covers":[{target}],"executors":[{host}],"timeout_ms":3000,{method}}}"#)
    };
    let devices: String = names.iter().map(device).collect();
    let (old, new) = (format!(r#"[["bmc{target}"]]"#), format!(r#"[{}],"race":true"#, levels.join(",")));
    let text = config::json(target, votes).replace(&old, &new);
    let end = text.rfind(']').expect("devices come last");
    config::read(&format!("{}{devices}{}", &text[..end], &text[end..]))
}

/// The node that may be fenced becomes a member; every other host has a node that is told what happens, and is no member.
pub(super) fn begin_nodes(cores: &mut Cores) {
    for host in cores.all() {
        cores.new_boot(host);
        cores.runs(host, NodeId::new(host + 1), 0);
    }
    cores.all_is_well(1_000_000);
    for host in cores.all() {
        let node = NodeId::new(host + 1);
        if node == cores.outside.node {
            cores.runs(host, node, 1);
            cores.outside.writes = INCARNATION + 1;
        }
        cores.begin_node(host, node, INCARNATION + 1);
    }
    cores.all_is_well(1_000_000);
    let row = *cores.view(0).node(cores.outside.node);
    assert!((row.state, row.incarnation) == (NodeState::Up, INCARNATION + 1), "the node is a member: {row:?}");
    assert!(cores.view(0).nodes().filter(|(_, row)| row.may_write()).count() == 1, "and no other is");
}

impl<const N: usize> Walk<N> {
    /// The host whose node is fenced.
    fn target(&self) -> u8 {
        self.target.expect("a fence has a target")
    }

    /// What an engine holds committed of the node.
    pub(super) fn says_of_node(&self, host: u8) -> Node {
        let row = self.cores.view(host).node(self.cores.outside.node);
        let incarnation = u8::try_from(row.incarnation.saturating_sub(INCARNATION)).unwrap_or(0);
        match row.state {
            NodeState::Condemned => Node::Condemned(incarnation),
            NodeState::Down => Node::Down(incarnation),
            _ => Node::Up(incarnation),
        }
    }

    /// A leader decides something about the node.
    pub(super) fn propose_node(&mut self, host: u8, view: &View<N>, mut slot: message::Slot) -> Done {
        match view.node {
            Node::Condemned(_) => {
                let (connection, cid) = OPERATOR;
                self.cores.feed(host, Input::Opened { connection, cid });
                let target = Target::Host(HostId::new(self.target() + 1));
                self.cores.says(host, Road::Vsock(connection), &Word::Fence { target });
            }
            // What executors answered comes now.
            Node::Down(_) => {
                self.cores.deliver(|it| it.to == host && matches!(it.message, Message::OrderAnswer { .. }));
            }
            Node::Up(incarnation) => {
                self.turn_on(host)?;
                self.begin_again(host, INCARNATION + Incarnation::from(incarnation));
                let version = self.cores.version(host) + 1;
                self.returned = Some((view.version, version - slot.version));
                slot.version = version;
            }
        }
        self.is_proposed(host, view, slot)
    }

    /// Whether this is the model's order.
    fn is_order(&self, order: &Order) -> impl Fn(&Letter) -> bool + use<N> {
        let (from, to) = (order.ballot.host, order.executor.0);
        let (ballot, about) = (self.ballots[&order.ballot], Target::Host(HostId::new(self.target() + 1)));
        move |it: &Letter| {
            let is_off = |order: &message::Order| (order.action, order.target) == (Action::Off, about);
            it.is(from, to)
                && matches!(it.message, Message::Order(ref order) if order.ballot == ballot && is_off(order))
        }
    }

    /// A leader orders.
    pub(super) fn order(&mut self, host: u8, order: &Order) -> Done {
        let is_it = self.is_order(order);
        self.cores.pass(host, 100);
        done(self.cores.has(is_it), "it orders nothing")
    }

    /// The executor gets the order, and begins to drive its device, or not.
    fn obeys(&mut self, order: &Order) -> Option<Request> {
        let executor = order.executor.0;
        let is_it = self.is_order(order);
        self.cores.deliver(is_it);
        let is_its = |(host, request): &(u8, Request)| *host == executor && request.action == Action::Off;
        let place = self.cores.requests.iter().position(is_its)?;
        Some(self.cores.requests.remove(place).1)
    }

    /// The device acts, and says so.
    pub(super) fn drive(&mut self, order: &Order) -> Done {
        let executor = order.executor.0;
        // Whoever stands promised more than the orderer's ballot.
        if let Some(ballot) = self.to_stand.iter().copied().find(|ballot| ballot.host == executor) {
            self.stand(ballot)?;
        }
        let request = self.obeys(order).ok_or("it does not obey")?;
        self.acts(executor, &request);
        Ok(())
    }

    /// The device says nothing in time, and does nothing.
    pub(super) fn expire(&mut self, order: &Order) -> Done {
        let request = self.obeys(order).ok_or("it takes no such order")?;
        let verdict = Verdict::Unknown;
        self.cores.feed(order.executor.0, Input::Device { job: request.job, verdict });
        Ok(())
    }

    /// A device does what it is asked to do, and its answer is what it did.
    fn acts(&mut self, executor: u8, request: &Request) {
        let target = self.target();
        match request.action {
            Action::Off => {
                self.cores.outside.hit(executor);
                self.cores.power_off(target);
            }
            Action::On if !self.cores.is_fed(target) => {
                self.cores.restart(target);
                self.cores.new_boot(target);
            }
            Action::On | Action::Status => {}
        }
        let verdict = match request.action {
            Action::Off | Action::On => Verdict::Confirmed(Class::PowerOff),
            Action::Status if self.cores.is_fed(target) => Verdict::SeenOn,
            Action::Status => Verdict::SeenOff,
        };
        self.cores.feed(executor, Input::Device { job: request.job, verdict });
    }

    /// A leader has the node's host turned on, and that host's appliance is a member again.
    fn turn_on(&mut self, host: u8) -> Done {
        let target = self.target();
        let last = self.world.appliances[at(host)].slot;
        let with = hosts::<N>().find(|&it| it != host && self.world.appliances[at(it)].slot == last);
        let with = with.ok_or("nobody accepted what was committed")?;
        let is_on = |it: &Letter| {
            it.from == host && matches!(it.message, Message::Order(ref order) if order.action == Action::On)
        };
        // Time passes only when no order that is out would be obeyed in the model.
        let waits = self.world.orders.iter().all(|order| !self.world.is_live(order));
        for _ in 0..ROUNDS {
            if !waits || self.cores.has(is_on) {
                break;
            }
            self.talk(host, with);
        }
        self.cores.deliver(is_on);
        let place = self.cores.requests.iter().position(|(_, request)| request.action == Action::On);
        let (executor, request) = place.map(|at| self.cores.requests.remove(at)).ok_or("it does not turn it on")?;
        self.acts(executor, &request);
        for _ in 0..ROUNDS {
            let row = self.cores.view(host).host(HostId::new(target + 1));
            if (row.state, row.incarnation) == (HostState::Member, self.cores.incarnation(target))
                && self.cores.role(target) == Role::Member
            {
                return Ok(());
            }
            self.cores.pass(target, TURN);
            self.cores.pass(host, 100);
            self.agree(host, with);
            self.cores.deliver(|it| it.is(host, target) || it.is(target, host));
        }
        Err("its host is no member again")
    }

    /// What a leader proposes is accepted by this other one, and so committed.
    fn agree(&mut self, host: u8, with: u8) {
        use Message as M;
        for _ in 0..4 {
            self.cores
                .deliver(|it| it.is(host, with) && (proposed(it).is_some() || matches!(it.message, M::Commit { .. })));
            self.cores.deliver(|it| it.is(with, host) && matches!(it.message, M::Accept { .. } | M::NeedWhole { .. }));
        }
    }

    /// The node's VM is started as this incarnation.
    fn start_node(&mut self, incarnation: Incarnation) {
        let (target, node) = (self.target(), self.cores.outside.node);
        self.cores.runs(target, node, 1);
        self.cores.outside.writes = incarnation;
        self.cores.begin_node(target, node, incarnation);
    }

    /// The node runs again, and the leader hears of it.
    fn begin_again(&mut self, host: u8, incarnation: Incarnation) {
        let (target, known) = (self.target(), self.cores.version(host));
        self.start_node(incarnation);
        for _ in 0..ROUNDS {
            if self.cores.has(|it| it.from == host && proposed(it).is_some_and(|slot| slot.version > known)) {
                return;
            }
            self.cores.pass(target, TURN);
            self.cores.pass(host, 100);
            self.meet(host, target);
        }
    }

    /// Time passes for all who have power, and nothing comes but what they say all the time, and what is decided.
    fn talk(&mut self, host: u8, with: u8) {
        for other in self.cores.all() {
            self.cores.pass(other, TURN);
        }
        for other in hosts::<N>().filter(|&other| other != host) {
            self.meet(host, other);
        }
        self.agree(host, with);
    }

    /// Everything arrives, every device works, and the node is started where its host is a member again.
    pub(super) fn devices_work(&mut self) {
        let (target, node) = (self.target(), self.cores.outside.node);
        for _ in 0..ROUNDS {
            self.cores.all_is_well(3 * TURN);
            for (executor, request) in std::mem::take(&mut self.cores.requests) {
                self.acts(executor, &request);
            }
            let admitted = self.cores.is_fed(target) && self.cores.role(target) == Role::Member;
            if admitted && self.cores.outside.writes == 0 {
                self.start_node(self.cores.view(target).node(node).incarnation + 1);
            }
        }
    }
}
