//! The replicated state: what a view says about hosts, nodes and fences, all of it.
//!
//! Owns the rows, their encoding and digest, and the ways in which a row may change. Decides nothing: `decide` says which
//! change is due, `agreement` commits it. The state is small and bounded, so it travels whole and needs no log (DESIGN
//! §4). A row's record is reserved with the row, so no decision is refused for lack of room (SAFETY I3).
//!
//! ```text
//! node:  unknown --HELLO--> up --accused--> condemned --Confirmed--> down --HELLO of a later run--> up
//!                            |  `--proof came by itself--------------> down
//!                            `--BYE--> left --HELLO--> up
//! host:  out --asks--> member --accused--> condemned --Confirmed--> down --asks--> member
//! ```

use crate::fencing::Class;
use crate::id::{BootId, HostId, Incarnation, NodeId, Run};
use crate::limits::{HISTORY_MAX, HOSTS_MAX, ID_SLOTS, NODES_MAX};
use crate::status::{HistoryEntry, HostState, Reason};
use crate::wire::node::{NodeState, Target};
use crate::wire::{Error, Fields, Result, put};
use heapless::Deque;
use sha2::{Digest, Sha256};

/// An open fencing record: it exists exactly while its target is condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Why.
    pub reason: Reason,
    /// The version that committed the decision.
    pub decided: u64,
}

impl Record {
    const NONE: Self = Self { reason: Reason::None, decided: 0 };
}

/// What the view says about one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRow {
    /// Where it stands.
    pub state: HostState,
    /// Its appliance (SAFETY A4).
    pub incarnation: Incarnation,
    /// Its boot (SAFETY E9).
    pub boot: BootId,
    /// Why it is condemned.
    pub record: Record,
    /// The class of the evidence that it is down; zero otherwise.
    pub class: u8,
    /// It was turned on again after that, as often as it is tried: from now on its power is a person's affair.
    pub turned_on: bool,
}

impl HostRow {
    const NONE: Self =
        Self { state: HostState::Out, incarnation: 0, boot: 0, record: Record::NONE, class: 0, turned_on: false };
    const BYTES: usize = 32;

    /// Whether its appliance counts in elections and acceptances under its incarnation: it was admitted, and not Confirmed
    /// off. A condemned one keeps its vote (SAFETY F5), and one that is out of the view lost no memory.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.incarnation != 0 && !matches!(self.state, HostState::Down)
    }
}

/// What the view says about one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Where it stands.
    pub state: NodeState,
    /// The host that it is or was on.
    pub host: HostId,
    /// The incarnation that the state is about.
    pub incarnation: Incarnation,
    /// The run that the incarnation is bound to (SAFETY E2).
    pub run: Run,
    /// The incarnation that was Confirmed last, and by which class.
    pub dead: Incarnation,
    /// See `dead`.
    pub class: u8,
    /// Why it is condemned.
    pub record: Record,
}

impl NodeRow {
    const NONE: Self = Self {
        state: NodeState::Unknown,
        host: HostId::NONE,
        incarnation: 0,
        run: Run::NONE,
        dead: 0,
        class: 0,
        record: Record::NONE,
    };
    const BYTES: usize = 48;

    /// Whether this incarnation may still write: a member that was not Confirmed.
    #[must_use]
    pub const fn may_write(&self) -> bool {
        matches!(self.state, NodeState::Up | NodeState::Condemned)
    }
}

/// The version that a first boot commits.
pub const FOUNDING_VERSION: u64 = 1;
/// Bytes before the rows.
const HEAD_BYTES: usize = 24;
/// The largest encoded state.
pub const STATE_BYTES_MAX: usize =
    HEAD_BYTES + HOSTS_MAX * HostRow::BYTES + NODES_MAX * NodeRow::BYTES + HISTORY_MAX * HistoryEntry::BYTES;
const FORMAT: u8 = 1;

/// One version of everything.
#[derive(Clone, Debug)]
pub struct State {
    /// Which cluster incarnation this is.
    pub cluster: u32,
    /// Counts the committed states.
    pub version: u64,
    hosts: [HostRow; ID_SLOTS],
    nodes: [NodeRow; ID_SLOTS],
    history: Deque<HistoryEntry, HISTORY_MAX>,
}

impl State {
    /// Nothing was ever committed; all zero.
    pub const EMPTY: Self = Self {
        cluster: 0,
        version: 0,
        hosts: [HostRow::NONE; ID_SLOTS],
        nodes: [NodeRow::NONE; ID_SLOTS],
        history: Deque::new(),
    };

    /// The row of a host.
    #[must_use]
    pub const fn host(&self, host: HostId) -> &HostRow {
        &self.hosts[host.index()]
    }

    /// The row of a node.
    #[must_use]
    pub const fn node(&self, node: NodeId) -> &NodeRow {
        &self.nodes[node.index()]
    }

    /// All hosts that the view says anything about.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &HostRow)> {
        (0..=u8::MAX).map(HostId::new).zip(&self.hosts).filter(|(_, row)| **row != HostRow::NONE)
    }

    /// All nodes that the view says anything about.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeRow)> {
        (0..=u8::MAX).map(NodeId::new).zip(&self.nodes).filter(|(_, row)| **row != NodeRow::NONE)
    }

    /// Closed records, newest first.
    pub fn history(&self) -> impl ExactSizeIterator<Item = &HistoryEntry> {
        self.history.iter().rev()
    }

    /// Admits an appliance under its incarnation.
    pub const fn admit(&mut self, host: HostId, incarnation: Incarnation, boot: BootId) {
        self.hosts[host.index()] = HostRow { state: HostState::Member, incarnation, boot, ..HostRow::NONE };
    }

    /// A host that was fenced by its power was turned on again.
    pub const fn turn_on(&mut self, host: HostId) {
        self.hosts[host.index()].turned_on = true;
    }

    /// The appliance told its host's boot only after it was admitted.
    pub const fn learn_boot(&mut self, host: HostId, boot: BootId) {
        self.hosts[host.index()].boot = boot;
    }

    /// A silent host without a member node is just out of the view (SAFETY D5).
    pub const fn leave_out(&mut self, host: HostId) {
        self.hosts[host.index()].state = HostState::Out;
    }

    /// A node is a member under this incarnation.
    pub const fn raise(&mut self, node: NodeId, host: HostId, incarnation: Incarnation, run: Run) {
        let row = &mut self.nodes[node.index()];
        row.state = NodeState::Up;
        row.host = host;
        row.incarnation = incarnation;
        row.run = run;
    }

    /// A node left in peace.
    pub const fn release(&mut self, node: NodeId) {
        self.nodes[node.index()].state = NodeState::Left;
    }

    /// Opens the record of a target that may still write. `version` is the one that will commit it.
    pub const fn condemn(&mut self, target: Target, reason: Reason, version: u64) {
        let record = Record { reason, decided: version };
        match target {
            Target::Node(node) => {
                let row = &mut self.nodes[node.index()];
                row.state = NodeState::Condemned;
                row.record = record;
            }
            Target::Host(host) => {
                let row = &mut self.hosts[host.index()];
                row.state = HostState::Condemned;
                row.record = record;
            }
        }
    }

    /// Closes the record of a target on evidence, and writes it into the history. A target that was never condemned
    /// gets its whole record here: the proof came by itself, with `reason`.
    pub fn confirm(&mut self, target: Target, reason: Reason, evidence: &Evidence, version: u64) {
        let class = evidence.class as u8;
        let (record, node, host, incarnation) = match target {
            Target::Node(node) => {
                let row = &mut self.nodes[node.index()];
                row.state = NodeState::Down;
                row.dead = row.incarnation;
                row.class = class;
                (core::mem::replace(&mut row.record, Record::NONE), node, row.host, row.incarnation)
            }
            Target::Host(host) => {
                let row = &mut self.hosts[host.index()];
                row.state = HostState::Down;
                row.class = class;
                (core::mem::replace(&mut row.record, Record::NONE), NodeId::NONE, host, row.incarnation)
            }
        };
        let open = record.reason != Reason::None;
        let entry = HistoryEntry {
            node,
            host,
            reason: if open { record.reason } else { reason },
            class,
            executor: evidence.executor,
            attempts: evidence.attempts,
            incarnation,
            decided_version: if open { record.decided } else { version },
            confirmed_version: version,
            took_us: evidence.took_us,
        };
        if self.history.is_full() {
            let _oldest = self.history.pop_front();
        }
        let _fits = self.history.push_back(entry);
    }

    /// Writes the state; returns its length.
    pub fn encode(&self, buffer: &mut [u8; STATE_BYTES_MAX]) -> usize {
        buffer[..HEAD_BYTES].fill(0);
        put(buffer, 0, [FORMAT]);
        put(buffer, 4, self.cluster.to_le_bytes());
        put(buffer, 8, self.version.to_le_bytes());
        let mut at = HEAD_BYTES;
        let (mut hosts, mut nodes) = (0u8, 0u8);
        for (host, row) in self.hosts() {
            encode_host(&mut buffer[at..at + HostRow::BYTES], host, row);
            at += HostRow::BYTES;
            hosts += 1;
        }
        for (node, row) in self.nodes() {
            encode_node(&mut buffer[at..at + NodeRow::BYTES], node, row);
            at += NodeRow::BYTES;
            nodes += 1;
        }
        for entry in &self.history {
            buffer[at..at + HistoryEntry::BYTES].fill(0);
            entry.emit(&mut buffer[at..at + HistoryEntry::BYTES]);
            at += HistoryEntry::BYTES;
        }
        let entries = u8::try_from(self.history.len()).unwrap_or(0);
        put(buffer, 16, [hosts, nodes, entries]);
        at
    }

    /// Reads a state over this one.
    ///
    /// # Errors
    /// Anything that `encode` does not write. This state is then undefined and must not be used.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<()> {
        let head = Fields(bytes);
        let [format, hosts, nodes, entries] = [0, 16, 17, 18].map(|at| head.u8(at));
        let expected = HEAD_BYTES
            + usize::from(hosts) * HostRow::BYTES
            + usize::from(nodes) * NodeRow::BYTES
            + usize::from(entries) * HistoryEntry::BYTES;
        if format != FORMAT || bytes.len() != expected || usize::from(entries) > HISTORY_MAX {
            return Err(Error);
        }
        self.cluster = head.u32(4);
        self.version = head.u64(8);
        self.hosts.fill(HostRow::NONE);
        self.nodes.fill(NodeRow::NONE);
        self.history.clear();
        let mut at = HEAD_BYTES;
        for _ in 0..hosts {
            let row = Fields(bytes.get(at..at + HostRow::BYTES).ok_or(Error)?);
            self.hosts[usize::from(row.u8(0))] = decode_host(&row)?;
            at += HostRow::BYTES;
        }
        for _ in 0..nodes {
            let row = Fields(bytes.get(at..at + NodeRow::BYTES).ok_or(Error)?);
            self.nodes[usize::from(row.u8(0))] = decode_node(&row)?;
            at += NodeRow::BYTES;
        }
        for _ in 0..entries {
            let entry = HistoryEntry::parse(bytes.get(at..at + HistoryEntry::BYTES).ok_or(Error)?)?;
            self.history.push_back(entry).map_err(|_| Error)?;
            at += HistoryEntry::BYTES;
        }
        Ok(())
    }
}

/// What proves a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Its class.
    pub class: Class,
    /// Who obtained it; none if it came by itself.
    pub executor: HostId,
    /// How many attempts it took.
    pub attempts: u8,
    /// How long, from the decision, microseconds.
    pub took_us: u32,
}

impl Evidence {
    /// Evidence that came by itself.
    #[must_use]
    pub const fn by_itself(class: Class) -> Self {
        Self { class, executor: HostId::NONE, attempts: 0, took_us: 0 }
    }
}

/// The digest by which two encoded states are told apart.
#[must_use]
pub fn digest(encoded: &[u8]) -> u64 {
    let hash: [u8; 32] = Sha256::digest(encoded).into();
    Fields(&hash).u64(0)
}

fn encode_host(b: &mut [u8], host: HostId, row: &HostRow) {
    put(b, 0, [host.get(), row.state as u8, row.record.reason as u8, row.class]);
    put(b, 4, row.incarnation.to_le_bytes());
    put(b, 12, row.boot.to_le_bytes());
    put(b, 20, row.record.decided.to_le_bytes());
    put(b, 28, [u8::from(row.turned_on), 0, 0, 0]);
}

fn decode_host(b: &Fields<'_>) -> Result<HostRow> {
    Ok(HostRow {
        state: HostState::from_wire(b.u8(1)).ok_or(Error)?,
        incarnation: b.u64(4),
        boot: b.u64(12),
        record: Record { reason: Reason::from_wire(b.u8(2)).ok_or(Error)?, decided: b.u64(20) },
        class: b.u8(3),
        turned_on: b.u8(28) == 1,
    })
}

fn encode_node(b: &mut [u8], node: NodeId, row: &NodeRow) {
    put(b, 0, [node.get(), row.state as u8, row.host.get(), row.class]);
    put(b, 4, row.run.counter.to_le_bytes());
    put(b, 8, row.incarnation.to_le_bytes());
    put(b, 16, row.run.boot.to_le_bytes());
    put(b, 24, row.dead.to_le_bytes());
    put(b, 32, row.record.decided.to_le_bytes());
    put(b, 40, [row.record.reason as u8, 0, 0, 0, 0, 0, 0, 0]);
}

fn decode_node(b: &Fields<'_>) -> Result<NodeRow> {
    Ok(NodeRow {
        state: NodeState::from_wire(b.u8(1))?,
        host: HostId::new(b.u8(2)),
        incarnation: b.u64(8),
        run: Run { boot: b.u64(16), counter: b.u32(4) },
        dead: b.u64(24),
        class: b.u8(3),
        record: Record { reason: Reason::from_wire(b.u8(40)).ok_or(Error)?, decided: b.u64(32) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn a_full_state_survives_its_bytes() {
        let mut state = Box::new(State::EMPTY);
        state.cluster = 3;
        for number in 1..=255 {
            let (host, node) = (HostId::new(number), NodeId::new(number));
            state.admit(host, u64::from(number) + 1000, 7);
            state.raise(node, host, u64::from(number) + 2000, Run { boot: 7, counter: 2 });
            state.version += 1;
            let version = state.version;
            state.condemn(Target::Node(node), Reason::Silent, version);
            if number % 2 == 0 {
                let evidence = Evidence { class: Class::VmStopped, executor: host, attempts: 1, took_us: 9 };
                state.confirm(Target::Node(node), Reason::Silent, &evidence, version + 1);
            }
        }
        let mut bytes = Box::new([0xa5; STATE_BYTES_MAX]);
        let length = state.encode(&mut bytes);
        assert_eq!(length, STATE_BYTES_MAX);
        let mut copy = Box::new(State::EMPTY);
        assert_eq!(copy.decode(&bytes[..length]), Ok(()));
        let mut again = Box::new([0x5a; STATE_BYTES_MAX]);
        assert_eq!(copy.encode(&mut again), length);
        assert_eq!(digest(&bytes[..length]), digest(&again[..length]));
        assert_eq!(copy.history().next().map(|entry| entry.node.get()), Some(254));
        for cut in 0..length {
            assert!(copy.decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_second_death_of_a_node_is_about_its_second_incarnation() {
        let mut state = Box::new(State::EMPTY);
        let (host, node) = (HostId::new(1), NodeId::new(1));
        let evidence = Evidence::by_itself(Class::VmGone);
        state.raise(node, host, 5, Run { boot: 1, counter: 1 });
        state.confirm(Target::Node(node), Reason::VmGone, &evidence, 2);
        assert_eq!((state.node(node).dead, state.node(node).may_write()), (5, false));
        state.raise(node, host, 6, Run { boot: 1, counter: 2 });
        assert!(state.node(node).may_write(), "the first proof says nothing about incarnation 6");
        assert_eq!(state.node(node).dead, 5);
    }
}
