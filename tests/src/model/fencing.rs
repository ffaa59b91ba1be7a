//! The model's fence: what a leader decides about the node, who obeys an order, and what is told of it.
//!
//! Owns the truth about the node. Its device cannot tell which incarnation it hits, as a BMC cannot, so only the rules keep a
//! late order from a node that was turned on again (SAFETY F1, F2). The time that a leader waits before it turns a node on
//! is here the step `Expire`: an order whose executor has not promised the leader's ballot must be answered or over. A leader
//! orders others only: that one which was stopped and deposed drives no device itself is a matter of clocks (SAFETY C5).

use super::{Bounds, Node, Order, Part, Step, View, Without, World, at, hosts};

impl<const N: usize> World<N> {
    /// What this leader may decide about the node.
    pub(super) fn decides(&self, host: u8, node: Node, bounds: &Bounds) -> Option<Node> {
        if bounds.executors.is_empty() {
            // Proven by itself.
            return (node == Node::Up(1)).then_some(Node::Down(1));
        }
        match node {
            Node::Up(1) => Some(Node::Condemned(1)),
            Node::Up(_) => None,
            Node::Condemned(incarnation) => {
                (self.appliances[at(host)].proof == incarnation).then_some(Node::Down(incarnation))
            }
            Node::Down(incarnation) => {
                let over = self.orders.iter().all(|order| !self.is_live(order));
                (over || bounds.lacks(Without::OnAfterOrders)).then_some(Node::Up(incarnation + 1))
            }
        }
    }

    /// Whether its executor, if it obeys the rules, may still obey this order.
    pub(super) fn is_live(&self, order: &Order) -> bool {
        let executor = &self.appliances[at(order.executor.0)];
        executor.incarnation == order.executor.1 && order.ballot >= executor.promised
    }

    /// What may happen to the node next.
    pub(super) fn fences(&self, bounds: &Bounds, steps: &mut Vec<Step<N>>) {
        for (host, appliance) in hosts::<N>().zip(&self.appliances) {
            let Part::Leads { ballot, truly, acks, .. } = &appliance.part else { continue };
            // What was known before it won is not known under its own ballot: the node may have returned meanwhile.
            let established = *truly || acks.is_none();
            let early = bounds.lacks(Without::OrderCommitted);
            let decided = if early { appliance.accepted.node } else { appliance.known };
            let Node::Condemned(target) = decided else { continue };
            if !established && !early {
                continue;
            }
            for &executor in bounds.executors.iter().filter(|it| **it != host && appliance.proof != target) {
                let life = self.appliances[at(executor)].incarnation;
                let order = Order { ballot: *ballot, executor: (executor, life), target };
                if !self.orders.contains(&order) {
                    steps.push(Step::Fence(host, order));
                }
            }
        }
        for order in &self.orders {
            steps.push(Step::Expire(*order));
            let executor = &self.appliances[at(order.executor.0)];
            let lives = executor.incarnation == order.executor.1 && executor.admitted;
            if lives && (order.ballot >= executor.promised || bounds.lacks(Without::OrderAtPromise)) {
                steps.push(Step::Drive(*order));
            }
        }
    }

    /// The device acts, and the answer goes to the orderer.
    pub(super) fn drive(&mut self, order: Order) {
        let condemned = |view: &View<N>| view.node.incarnation() == self.writes && view.node != Node::Up(self.writes);
        self.broken.unjust |= self.writes != 0 && !self.truth.iter().flatten().any(condemned);
        self.writes = 0;
        self.orders.retain(|it| *it != order);
        self.prove(order);
    }

    /// An order comes to nothing: its validity was over before it came, or the device said nothing about it.
    pub(super) fn expire(&mut self, order: Order, bounds: &Bounds) {
        self.orders.retain(|it| *it != order);
        if bounds.lacks(Without::DownConfirmed) {
            self.prove(order);
        }
    }

    /// The orderer takes this for done.
    fn prove(&mut self, order: Order) {
        let leader = &mut self.appliances[at(order.ballot.host)];
        if let Part::Leads { ballot, .. } = leader.part
            && ballot == order.ballot
        {
            leader.proof = order.target;
        }
    }

    /// What a decision means for the node itself, outside.
    pub(super) fn settle(&mut self, node: Node, bounds: &Bounds) {
        match node {
            Node::Down(_) if bounds.executors.is_empty() => self.writes = 0,
            // It is turned on before it can be raised.
            Node::Up(incarnation) if incarnation > 1 => self.writes = incarnation,
            _ => {}
        }
    }

    /// An appliance tells its sessions what this view says of the node.
    pub(super) fn tell(&mut self, view: View<N>) {
        let Node::Down(told) = view.node else { return };
        self.broken.told_alive |= self.writes == told;
        self.told = self.told.min(Some((view.version, told))).or(Some((view.version, told)));
        self.hold_against_told();
    }

    /// Once told, every committed view of that version or a later one says so too.
    pub(super) fn hold_against_told(&mut self) {
        let Some((version, incarnation)) = self.told else { return };
        let lost = |view: &View<N>| view.version >= version && view.node.rank() < Node::Down(incarnation).rank();
        self.broken.down_lost |= self.truth.iter().flatten().any(lost);
    }

    /// Forgets orders for lives that are over.
    pub(super) fn forget_orders(&mut self) {
        let lives = |order: &Order| self.appliances[at(order.executor.0)].incarnation == order.executor.1;
        self.orders.retain(lives);
        self.orders.sort_unstable();
    }
}
