//! The replicated state: what a view says about hosts, nodes and fences, all of it.
//!
//! Owns the sections and the ways in which they may change; each section's row is in a file of its own. Decides nothing:
//! `decide` says which change is due, `agreement` commits it. The state is small and bounded, so that it can travel whole and
//! needs no log (DESIGN §4).
//!
//! ```text
//! node:  unknown --HELLO--> up --accused--> condemned --Confirmed--> down --HELLO of a later run--> up
//!                            |  `--proof came by itself--------------> down
//!                            `--BYE--> left --HELLO--> up
//! host:  out --asks--> member --accused--> condemned --Confirmed--> down --asks--> member
//!                            `--an operator takes it away--> left --asks as another appliance--> member
//! ```

pub mod digest;
pub mod groups;
mod history;
mod holds;
mod host;
mod node;
mod record;
pub mod row;
pub mod takeovers;

use crate::id::{BootId, Cluster, HostId, Incarnation, NodeId, Run, WHOEVER};
use crate::limits::{
    GROUPS_MAX, HISTORY_MAX, HOLDS_MAX, HOSTS_MAX, ID_SLOTS, MEMBERSHIPS_MAX, NODES_MAX, TAKEOVERS_MAX,
};
use crate::rule::{Rule, Rules};
use crate::status::{HistoryEntry, HostState, Reason};
use crate::who::Who;
use crate::wire::node::{NodeState, Target};
use crate::wire::{Error, Fields, Result, put};
pub use digest::digest;
use groups::Groups;
use history::History;
pub use holds::{Flap, Hold, HoldKind, Holds};
pub use host::HostRow;
pub use node::NodeRow;
pub use record::{Evidence, Record};
use row::{Key, Kind, Row, Rows, Sink};
use takeovers::Takeovers;

/// Bytes before the rows.
pub const HEAD_BYTES: usize = 40;
/// The largest encoded state.
pub const STATE_BYTES_MAX: usize = HEAD_BYTES
    + HOSTS_MAX * Kind::Host.bytes()
    + NODES_MAX * Kind::Node.bytes()
    + HISTORY_MAX * Kind::History.bytes()
    + GROUPS_MAX * Kind::Group.bytes()
    + MEMBERSHIPS_MAX * Kind::Membership.bytes()
    + TAKEOVERS_MAX * Kind::Takeover.bytes()
    + HOLDS_MAX * Kind::Hold.bytes()
    + NODES_MAX * Kind::Flap.bytes();
const FORMAT: u8 = 4;

/// How far a cluster incarnation has come (SAFETY B4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Who runs is known; everything may be decided.
    #[default]
    Settled = 0,
    /// A cold start is committed and living sessions report: nothing is decided but who is admitted.
    Collecting = 1,
    /// The living were adopted; whoever else may write is being fenced, and until that is Confirmed nobody is told of a
    /// death and nothing is started.
    Fencing = 2,
}

impl Stage {
    const fn from_wire(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Self::Settled,
            1 => Self::Collecting,
            2 => Self::Fencing,
            _ => return Err(Error),
        })
    }
}

/// One version of everything.
#[derive(Clone, Debug)]
pub struct State {
    /// Which cluster incarnation this is.
    pub cluster: Cluster,
    /// Counts the committed states, above the number of the cluster incarnation (SAFETY B4).
    pub version: u64,
    /// How far it has come since it began.
    pub stage: Stage,
    /// The number of the cluster incarnation whose memory it carries on, and its random part; none: it had none.
    pub before: Cluster,
    hosts: [HostRow; ID_SLOTS],
    nodes: [NodeRow; ID_SLOTS],
    history: History,
    /// Groups and who is in them.
    pub groups: Groups,
    /// Takeovers.
    pub takeovers: Takeovers,
    /// What holds nodes and hosts, or the harness, back.
    pub holds: Holds,
}

impl State {
    /// Nothing was ever committed; all zero.
    pub const EMPTY: Self = Self {
        cluster: Cluster::NONE,
        version: 0,
        stage: Stage::Settled,
        before: Cluster::NONE,
        hosts: [HostRow::NONE; ID_SLOTS],
        nodes: [NodeRow::NONE; ID_SLOTS],
        history: History::EMPTY,
        groups: Groups::EMPTY,
        takeovers: Takeovers::EMPTY,
        holds: Holds::EMPTY,
    };

    /// Begins a cluster incarnation: this is its first view. What the rows say of nodes stays as a memory (SAFETY B7); of
    /// hosts only the boot does, so that nobody votes in it but whoever is admitted to it (A4). `voters`: the appliances
    /// that voted for it, by host. They are its members; a condemned one stays condemned (F4, F5).
    pub fn found(&mut self, cluster: Cluster, rules: Rules, voters: impl Fn(HostId) -> Option<Incarnation>) {
        // Nobody was ever welcomed under one that was still collecting.
        if self.stage != Stage::Collecting {
            self.before = self.cluster;
        }
        self.cluster = cluster;
        self.version = Cluster::first_version(cluster.number);
        self.stage = Stage::Collecting;
        for (host, row) in (0..=u8::MAX).map(HostId::new).zip(&mut self.hosts) {
            let voted = voters(host);
            let same = voted == Some(row.incarnation);
            *row = match (voted, row.state) {
                (Some(_), HostState::Condemned) if same && rules.holds(Rule::F4) => *row,
                (Some(_), HostState::Down) if same => HostRow { boot: row.boot, ..HostRow::NONE },
                (Some(incarnation), _) => {
                    HostRow { state: HostState::Member, incarnation, boot: row.boot, ..HostRow::NONE }
                }
                (None, _) => HostRow { boot: row.boot, ..HostRow::NONE },
            };
        }
    }

    /// Raises the number of its cluster incarnation, and the version with it: somebody remembers a higher one (SAFETY B4).
    pub fn renumber(&mut self, number: u32) {
        self.cluster.number = number.min(Cluster::NUMBER_MAX);
        self.version = Cluster::first_version(self.cluster.number) - 1 + Cluster::count_of(self.version);
    }

    /// Opens the record of whatever may run as this node. `incarnation`: whom we know of; `run`: the newest run that is
    /// known; none: everything on that host (SAFETY B4, B7).
    pub const fn suspect(&mut self, node: NodeId, host: HostId, incarnation: Incarnation, run: Run) {
        let row = &mut self.nodes[node.index()];
        row.state = NodeState::Condemned;
        row.host = host;
        row.incarnation = incarnation;
        row.run = run;
        row.record = Record { reason: Reason::ColdStart, decided: self.version };
    }

    /// Nobody is known who runs on a host: its record is about whoever does.
    pub const fn expect_nobody(&mut self, host: HostId) {
        self.hosts[host.index()].incarnation = WHOEVER;
    }

    /// A member of an earlier cluster incarnation of whom only reports tell. Its end is still to be proven.
    pub const fn recall(&mut self, node: NodeId, host: HostId, incarnation: Incarnation) {
        let row = &mut self.nodes[node.index()];
        row.state = NodeState::Up;
        row.host = host;
        row.incarnation = incarnation;
        row.run = Run::NONE;
    }

    /// Whether this is the first view of a cluster incarnation. It has no predecessor: whom it names elected its leader.
    #[must_use]
    pub const fn is_founding(&self) -> bool {
        Cluster::count_of(self.version) == 1
    }

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
        self.history.iter()
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

    /// A host is taken away in peace: nothing on it may write.
    pub const fn leave(&mut self, host: HostId) {
        self.hosts[host.index()].state = HostState::Left;
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
                // Whoever it was, the last death with a name is still the last one with a name.
                row.dead = if row.incarnation == WHOEVER { row.dead } else { row.incarnation };
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
        let asked = self.holds.get(HoldKind::Asked, target).map_or(Who::NONE, |hold| hold.who);
        self.holds.remove(HoldKind::Asked, target);
        let entry = HistoryEntry {
            node,
            host,
            reason: if open { record.reason } else { reason },
            class,
            executor: evidence.executor,
            device: evidence.device,
            who: if evidence.who.is_some() { evidence.who } else { asked },
            attempts: evidence.attempts,
            incarnation,
            decided_version: if open { record.decided } else { version },
            confirmed_version: version,
            took_us: evidence.took_us,
        };
        self.history.push(entry);
    }

    /// Writes the state; returns its length.
    pub fn encode(&self, buffer: &mut [u8; STATE_BYTES_MAX]) -> usize {
        self.encode_head(buffer);
        let mut sink = Sink::new(buffer, HEAD_BYTES);
        for (host, row) in self.hosts() {
            row.encode(host, &mut sink);
        }
        for (node, row) in self.nodes() {
            row.encode(node, &mut sink);
        }
        self.history.encode(&mut sink);
        self.groups.encode(&mut sink);
        self.takeovers.encode(&mut sink);
        self.holds.encode(&mut sink);
        sink.written()
    }

    fn encode_head(&self, buffer: &mut [u8; STATE_BYTES_MAX]) {
        buffer[..HEAD_BYTES].fill(0);
        put(buffer, 0, [FORMAT, self.stage as u8]);
        put(buffer, 4, self.cluster.number.to_le_bytes());
        put(buffer, 8, self.version.to_le_bytes());
        put(buffer, 16, self.history.closed.to_le_bytes());
        put(buffer, 24, self.cluster.random.to_le_bytes());
        put(buffer, 28, self.before.number.to_le_bytes());
        put(buffer, 32, self.before.random.to_le_bytes());
    }

    /// Reads a state over this one.
    ///
    /// # Errors
    /// Anything that `encode` does not write. This state is then undefined and must not be used.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<()> {
        let (head, rows) = bytes.split_at_checked(HEAD_BYTES).ok_or(Error)?;
        self.clear();
        self.decode_head(head)?;
        let mut rows = Rows::new(rows);
        while let Some(row) = rows.read()? {
            self.decode_row(&row)?;
        }
        Ok(())
    }

    /// Becomes a copy of another, in place: a clone would pass over the stack, which has no room for such things.
    pub fn copy_from(&mut self, other: &Self) {
        let Self { cluster, version, stage, before, hosts, nodes, history, groups, takeovers, holds } = other;
        self.cluster = *cluster;
        self.version = *version;
        self.stage = *stage;
        self.before = *before;
        self.hosts.copy_from_slice(hosts);
        self.nodes.copy_from_slice(nodes);
        self.history.copy_from(history);
        self.groups.copy_from(groups);
        self.takeovers.copy_from(takeovers);
        self.holds.copy_from(holds);
    }

    /// Whether this is the other under the next version, with nothing changed.
    #[must_use]
    pub fn only_follows(&self, other: &Self) -> bool {
        let Self { cluster, version, stage, before, hosts, nodes, history, groups, takeovers, holds } = other;
        self.version == version + 1
            && (self.cluster, self.stage, self.before) == (*cluster, *stage, *before)
            && (&self.hosts, &self.nodes) == (hosts, nodes)
            && (&self.history, &self.groups, &self.takeovers, &self.holds) == (history, groups, takeovers, holds)
    }

    /// Begins anew, as `EMPTY`.
    pub fn clear(&mut self) {
        self.cluster = Cluster::NONE;
        self.version = 0;
        self.stage = Stage::Settled;
        self.before = Cluster::NONE;
        self.hosts.fill(HostRow::NONE);
        self.nodes.fill(NodeRow::NONE);
        self.history.clear();
        self.groups.clear();
        self.takeovers.clear();
        self.holds.clear();
    }

    fn decode_head(&mut self, head: &[u8]) -> Result<()> {
        let head = Fields(head);
        self.cluster = Cluster { number: head.u32(4), random: head.u32(24) };
        self.stage = Stage::from_wire(head.u8(1))?;
        self.before = Cluster { number: head.u32(28), random: head.u32(32) };
        self.version = head.u64(8);
        self.history.closed = head.u64(16);
        if head.u8(0) == FORMAT { Ok(()) } else { Err(Error) }
    }

    fn decode_row(&mut self, row: &Row<'_>) -> Result<()> {
        match row.kind {
            Kind::Host => self.hosts[numbered(row.key)?] = HostRow::decode(row)?,
            Kind::Node => self.nodes[numbered(row.key)?] = NodeRow::decode(row)?,
            Kind::History => self.history.decode(row)?,
            Kind::Group => self.groups.decode_group(row)?,
            Kind::Membership => self.groups.decode_member(row)?,
            Kind::Takeover => self.takeovers.decode(row)?,
            Kind::Hold => self.holds.decode_hold(row)?,
            Kind::Flap => self.holds.decode_flap(numbered(row.key)?, row),
        }
        Ok(())
    }
}

/// The number of a host or node whose row this is: never nobody's.
fn numbered(key: Key) -> Result<usize> {
    match key {
        [0, 0, number] if number != 0 => Ok(usize::from(number)),
        _ => Err(Error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fencing::Class;
    use std::boxed::Box;

    #[test]
    fn a_full_state_survives_its_bytes() {
        let mut state = Box::new(State::EMPTY);
        state.cluster = Cluster { number: 3, random: 4 };
        for number in 1..=255 {
            let (host, node) = (HostId::new(number), NodeId::new(number));
            state.admit(host, u64::from(number) + 1000, 7);
            state.raise(node, host, u64::from(number) + 2000, Run { boot: 7, counter: 2 });
            state.version += 1;
            let version = state.version;
            state.condemn(Target::Node(node), Reason::Silent, version);
            if number % 2 == 0 {
                let evidence =
                    Evidence { executor: host, attempts: 1, took_us: 9, ..Evidence::by_itself(Class::VmStopped) };
                state.confirm(Target::Node(node), Reason::Silent, &evidence, version + 1);
            }
        }
        fill_groups(&mut state);
        for number in 1..=255 {
            state.holds.set_flap(NodeId::new(number), Flap { deaths: 1, held: true });
            let full = state.holds.iter().len() == HOLDS_MAX;
            let hold = Hold {
                kind: HoldKind::Pause,
                target: Target::Node(NodeId::new(number)),
                incarnation: 1,
                run: Run { boot: 2, counter: 3 },
                duration_ms: 4,
                request: 5,
                granted: 6,
                over: true,
                who: Who::new("ann").unwrap_or_default(),
            };
            assert_ne!(state.holds.set(hold), full);
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
            // Between two rows a shorter state ends; its digest is another.
            let ended = copy.decode(&bytes[..cut]).is_ok();
            assert!(!ended || digest(&bytes[..cut]) != digest(&bytes[..length]));
        }
        let (first, second) = (HEAD_BYTES, HEAD_BYTES + Kind::Host.bytes());
        bytes.copy_within(first..second, second);
        assert!(copy.decode(&bytes[..length]).is_err(), "a row comes once");
    }

    /// All groups, memberships and takeovers that there can be.
    fn fill_groups(state: &mut State) {
        use groups::{Membership, Phase, Standing};
        use takeovers::{Progress, Service, TakeoverRow};
        for number in 1..=u8::try_from(GROUPS_MAX).unwrap_or(0) {
            let group = state.groups.create(crate::id::Label::named("mail"), crate::id::Label([number; 16]));
            assert_eq!(group, Some(number));
            *state.groups.get_mut(number) =
                groups::GroupRow { phase: Phase::Starting, generation: 1 << 41, ..*state.groups.get(number) };
            for node in 1..=32 {
                let incarnation = u64::from(node);
                let row = Membership { group: number, node: NodeId::new(node), standing: Standing::Dead, incarnation };
                assert!(state.groups.put(row));
                assert!(state.groups.put(Membership {
                    standing: Standing::Member,
                    incarnation: incarnation + 1,
                    ..row
                }));
            }
        }
        let full = Membership { group: 1, node: NodeId::new(33), standing: Standing::Left, incarnation: 1 };
        assert!(!state.groups.has_room() && !state.groups.put(full));
        assert!(state.groups.create(crate::id::Label::NONE, crate::id::Label([99; 16])).is_none());
        for place in 0..32 {
            let row = TakeoverRow::waiting(Service::Named(place), NodeId::new(9), 4);
            assert!(state.takeovers.put(TakeoverRow { token: 5, progress: Progress::Taken, failures: 3, ..row }));
            let (dead, group) = (NodeId::new(place + 1), Service::Recovery(1 + place % 16));
            assert!(state.takeovers.put(TakeoverRow::waiting(group, dead, 6)));
            assert!(state.takeovers.put(TakeoverRow::waiting(group, NodeId::new(place + 101), 6)));
        }
        assert!(!state.takeovers.put(TakeoverRow::waiting(Service::Recovery(1), NodeId::new(200), 6)));
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
