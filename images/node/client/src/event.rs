//! What the client tells people: one line per event.
//!
//! Owns the words of the lines, which the demo and the tests read, and nothing else. A line is
//! `palisade-node: <seconds since boot> EVENT key=value ...`; values hold no blanks; incarnations are 16 hex digits.

use std::fmt;

use palisade_core::fencing::Class;
use palisade_core::id::{Ballot, HostId, Incarnation, NodeId, Volume};
use palisade_core::state::groups::{Phase, Standing};
use palisade_core::state::takeovers::Progress;
use palisade_core::status::{
    COUNTER_NAMES, GroupEntry, HistoryEntry, HostEntry, HostState, MemberEntry, NodeEntry, Summary, TakeoverEntry,
};
use palisade_core::time::Instant;
use palisade_core::wire::node::{
    Fate, Given, NodeEvent, NodeState, Refusal, Section, StartNode, Target, ViewNode, What,
};

use crate::label::Shown;

/// Why the node resets itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The lease was not renewed.
    LeaseEnded,
    /// This incarnation was fenced, or is about to be.
    Condemned,
    /// The cluster incarnation that it belonged to is over.
    ClusterOver,
    /// Somebody of the set that ran is neither in the new one nor is its fate told (SAFETY G2).
    FateMissing,
    /// The others run on without this node.
    NotInSet,
    /// The client was started again while this boot had volumes open or services: it does not know them any more.
    Forgotten,
}

/// Something that people want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client asks for a session.
    Hello { node: NodeId, incarnation: Incarnation, why: &'static str },
    /// The appliance gave one.
    Session { session: u32, host: HostId, incarnation: Incarnation, beat_ms: u32, lease_ms: u32, cluster: u32 },
    /// The first lease of a session.
    Lease { until: Instant, lease_ms: u32 },
    /// A part of the committed view.
    View { version: u64, ballot: Ballot, part: u16, parts: u16, nodes: Vec<ViewNode> },
    /// A node is a member.
    NodeUp(NodeEvent),
    /// A node is accused.
    NodeSuspect(NodeEvent),
    /// A node can no longer write.
    NodeDown(NodeEvent),
    /// The appliance refuses.
    Refused(Refusal),
    /// The appliance has no room for a request.
    Busy,
    /// Entries of a status section.
    Status { section: Section, first: u16, is_last: bool, payload: Vec<u8> },
    /// The decision to fence is committed.
    Fence { target: Target, version: u64 },
    /// A volume is to be opened.
    GroupJoin { volume: Volume },
    /// The lockspace of a volume is stopped.
    GroupStop { volume: Volume, generation: u64 },
    /// It runs, with this set and these fates.
    GroupStart { volume: Volume, generation: u64, entries: Vec<StartNode> },
    /// Its locks are granted again.
    GroupRecovered { volume: Volume, generation: u64 },
    /// It is closed.
    GroupLeft { volume: Volume },
    /// Something of somebody else is to be taken over.
    Takeover(Given),
    /// It is here.
    Taken(Given),
    /// It cannot be.
    Failed(Given),
    /// The node resets itself now.
    Reset(Why),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { node, incarnation, why } => {
                write!(f, "HELLO node={} incarnation={incarnation:016x} why={why}", node.get())
            }
            Self::Session { session, host, incarnation, beat_ms, lease_ms, cluster } => write!(
                f,
                "SESSION session={session} host={} incarnation={incarnation:016x} beat_ms={beat_ms} \
                 lease_ms={lease_ms} cluster={cluster}",
                host.get()
            ),
            Self::Lease { until, lease_ms } => write!(f, "LEASE first lease_ms={lease_ms} until={}", Seconds(*until)),
            Self::View { version, ballot, part, parts, nodes } => {
                write!(f, "VIEW version={version} ballot={ballot} part={}/{parts}", u32::from(*part) + 1)?;
                nodes.iter().try_for_each(|node| write!(f, " {}", Place(node)))
            }
            Self::NodeUp(event) => write!(f, "NODE_UP {}", About(event)),
            Self::NodeSuspect(event) => write!(f, "NODE_SUSPECT {}", About(event)),
            Self::NodeDown(event) => write!(f, "NODE_DOWN {}", About(event)),
            Self::Refused(refusal) => write!(f, "ERROR refusal={}", refusal_word(*refusal)),
            Self::Busy => f.write_str("BUSY"),
            // `status_lines` gives one line per entry; this is for logs that want a single one.
            Self::Status { section, first, .. } => write!(f, "STATUS_PART section={section:?} first={first}"),
            Self::Fence { target, version } => write!(f, "FENCE {} version={version}", Named(*target)),
            Self::GroupJoin { volume } => write!(f, "GROUP_JOIN volume={}", Shown(*volume)),
            Self::GroupStop { volume, generation } => {
                write!(f, "GROUP_STOP volume={} generation={generation}", Shown(*volume))
            }
            Self::GroupStart { volume, generation, entries } => {
                write!(f, "GROUP_START volume={} generation={generation} {}", Shown(*volume), Entries(entries))
            }
            Self::GroupRecovered { volume, generation } => {
                write!(f, "GROUP_RECOVERED volume={} generation={generation}", Shown(*volume))
            }
            Self::GroupLeft { volume } => write!(f, "GROUP_LEFT volume={}", Shown(*volume)),
            Self::Takeover(given) => write!(f, "TAKEOVER {}", Gift(given)),
            Self::Taken(given) => write!(f, "TAKEN {}", Gift(given)),
            Self::Failed(given) => write!(f, "FAILED {}", Gift(given)),
            Self::Reset(why) => write!(f, "RESET why={}", why.word()),
        }
    }
}

impl Event {
    /// The lines of the event, without head; a status has one for each entry.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Status { section, first, payload, .. } => status_lines(*section, *first, payload),
            other => vec![other.to_string()],
        }
    }

    /// Whether an answer ends with this.
    #[must_use]
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Status { is_last: false, .. })
    }

    /// Whether this may be the answer to a request.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Fence { .. } | Self::Refused(Refusal::BadRequest) | Self::Busy)
    }
}

impl Why {
    const fn word(self) -> &'static str {
        match self {
            Self::LeaseEnded => "lease-ended",
            Self::Condemned => "condemned",
            Self::ClusterOver => "cluster-over",
            Self::FateMissing => "fate-missing",
            Self::NotInSet => "not-in-set",
            Self::Forgotten => "forgotten",
        }
    }
}

/// A line as it is printed.
#[must_use]
pub fn line(now: Instant, text: &str) -> String {
    format!("palisade-node: {} {text}", Seconds(now))
}

/// The entries of a VIEW's payload; those that do not parse are left out.
#[must_use]
pub fn view_nodes(payload: &[u8]) -> Vec<ViewNode> {
    payload.chunks(ViewNode::BYTES).filter_map(|bytes| ViewNode::parse(bytes).ok()).collect()
}

/// One line for each entry of a status section.
#[must_use]
pub fn status_lines(section: Section, first: u16, payload: &[u8]) -> Vec<String> {
    let parts = |bytes| payload.chunks_exact(bytes);
    match section {
        Section::Summary => Summary::parse(payload).iter().map(summary_line).collect(),
        Section::Hosts => parts(HostEntry::BYTES).filter_map(|b| HostEntry::parse(b).ok()).map(host_line).collect(),
        Section::Nodes => parts(NodeEntry::BYTES).filter_map(|b| NodeEntry::parse(b).ok()).map(node_line).collect(),
        Section::History => {
            parts(HistoryEntry::BYTES).filter_map(|b| HistoryEntry::parse(b).ok()).map(history_line).collect()
        }
        // What only an operator looks after is not asked from here.
        Section::Devices | Section::Holds => Vec::new(),
        Section::Groups => parts(GroupEntry::BYTES).filter_map(|b| GroupEntry::parse(b).ok()).map(group_line).collect(),
        Section::Members => {
            parts(MemberEntry::BYTES).filter_map(|b| MemberEntry::parse(b).ok()).map(member_line).collect()
        }
        Section::Takeovers => {
            parts(TakeoverEntry::BYTES).filter_map(|b| TakeoverEntry::parse(b).ok()).map(takeover_line).collect()
        }
        Section::Counters => parts(8)
            .zip(usize::from(first)..)
            .map(|(bytes, index)| {
                let value = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                let name = COUNTER_NAMES.get(index).copied().unwrap_or("unknown");
                format!("STATUS_COUNTER value={value} name={}", name.replace(' ', "_"))
            })
            .collect(),
    }
}

fn summary_line(s: &Summary) -> String {
    format!(
        "STATUS host={} role={} leader={} quorum={} votes={} incarnation={:016x} ballot={} cluster={} version={} \
         uptime_us={} allocations_since_seal={} heap_bytes={} stack_high_water_bytes={} stack_bytes={} dropped_bytes={} \
         boot_us={}",
        s.host.get(),
        s.role.word(),
        s.leader.get(),
        if s.quorum { "yes" } else { "no" },
        s.votes,
        s.incarnation,
        s.ballot,
        s.cluster,
        s.version,
        s.uptime_us,
        s.platform.allocations_since_seal,
        s.platform.heap_bytes,
        s.platform.stack_high_water_bytes,
        s.platform.stack_bytes,
        s.platform.dropped_bytes,
        s.platform.boot_us
    )
}

fn host_line(h: HostEntry) -> String {
    let state = match h.state {
        HostState::Out => "out",
        HostState::Member => "member",
        HostState::Condemned => "condemned",
        HostState::Down => "down",
        HostState::Left => "left",
    };
    let heard = if h.heard_ms == u32::MAX { "never".to_owned() } else { h.heard_ms.to_string() };
    format!("STATUS_HOST host={} state={state} incarnation={:016x} heard_ms={heard}", h.host.get(), h.incarnation)
}

fn node_line(n: NodeEntry) -> String {
    format!(
        "STATUS_NODE node={} state={} host={} class={} incarnation={:016x} run={:016x}:{}",
        n.node.get(),
        state_word(n.state),
        n.host.get(),
        class_word(n.class),
        n.incarnation,
        n.run.boot,
        n.run.counter
    )
}

fn group_line(g: GroupEntry) -> String {
    let phase = match g.phase {
        Phase::Idle => "idle",
        Phase::Stopping => "stopping",
        Phase::Starting => "starting",
    };
    let GroupEntry { group, members, fates, generation, volume, .. } = g;
    let volume = Shown(volume);
    format!(
        "STATUS_GROUP group={group} volume={volume} phase={phase} generation={generation} members={members} fates={fates}"
    )
}

fn member_line(m: MemberEntry) -> String {
    let standing = match m.standing {
        Standing::Joining => "joining",
        Standing::Member => "member",
        Standing::Leaving => "leaving",
        Standing::Dead => "dead",
        Standing::Recovered => "recovered",
        Standing::Left => "left",
        Standing::NeverStarted => "never-started",
    };
    let (node, incarnation) = (m.node.get(), m.incarnation);
    format!("STATUS_MEMBER group={} node={node} standing={standing} incarnation={incarnation:016x}", m.group)
}

fn takeover_line(t: TakeoverEntry) -> String {
    let TakeoverEntry { what, dead, dead_incarnation: incarnation, token, .. } = t;
    let progress = match t.progress {
        Progress::Waiting => "waiting",
        Progress::Ordered => "ordered",
        Progress::Taken => "taken",
    };
    let given = Given { what, dead, incarnation, token };
    format!("STATUS_TAKEOVER {} progress={progress} owner={} failures={}", Gift(&given), t.owner.get(), t.failures)
}

fn history_line(h: HistoryEntry) -> String {
    format!(
        "STATUS_HISTORY node={} host={} reason={} class={} executor={} attempts={} incarnation={:016x} decided={} \
         confirmed={} took_us={}",
        h.node.get(),
        h.host.get(),
        h.reason.word().replace(' ', "-"),
        class_word(h.class),
        h.executor.get(),
        h.attempts,
        h.incarnation,
        h.decided_version,
        h.confirmed_version,
        h.took_us
    )
}

/// The word for a refusal.
#[must_use]
pub const fn refusal_word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongNode => "wrong-node",
        Refusal::Condemned => "condemned",
        Refusal::NoSession => "no-session",
        Refusal::NotAdmitted => "not-admitted",
        Refusal::BadRequest => "bad-request",
        Refusal::NotYet => "not-yet",
        Refusal::ClusterOver => "cluster-over",
        Refusal::InGroup => "in-group",
        Refusal::NotCondemned => "not-condemned",
        Refusal::TooLong => "too-long",
        Refusal::NodesUp => "nodes-up",
        Refusal::LastQuorum => "last-quorum",
    }
}

const fn state_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Unknown => "unknown",
        NodeState::Up => "up",
        NodeState::Condemned => "condemned",
        NodeState::Down => "down",
        NodeState::Left => "left",
    }
}

fn class_word(class: u8) -> &'static str {
    Class::from_wire(class).map_or("-", Class::word)
}

/// `seconds.micros`.
struct Seconds(Instant);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// `node2=up@2`, or `node2=down@2/vm-gone`.
struct Place<'a>(&'a ViewNode);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ViewNode { node, state, host, class, .. } = self.0;
        write!(f, "node{}={}@{}", node.get(), state_word(*state), host.get())?;
        Class::from_wire(*class).map_or(Ok(()), |class| write!(f, "/{class}"))
    }
}

/// `set=1:00..01,2:00..02 fates=3:dead:00..03`; a dash where there is nobody.
struct Entries<'a>(&'a [StartNode]);

impl fmt::Display for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |is_set: bool| {
            let of = self.0.iter().filter(|entry| (entry.fate == Fate::Member) == is_set);
            let words: Vec<String> = of.map(|entry| entry_word(entry, is_set)).collect();
            if words.is_empty() { "-".to_owned() } else { words.join(",") }
        };
        write!(f, "set={} fates={}", list(true), list(false))
    }
}

fn entry_word(entry: &StartNode, is_set: bool) -> String {
    let fate = match entry.fate {
        Fate::Member => "member",
        Fate::Dead => "dead",
        Fate::Left => "left",
        Fate::NeverStarted => "never-started",
    };
    let (node, incarnation) = (entry.node.get(), entry.incarnation);
    if is_set { format!("{node}:{incarnation:016x}") } else { format!("{node}:{fate}:{incarnation:016x}") }
}

/// The keys of TAKEOVER, TAKEN and FAILED.
struct Gift<'a>(&'a Given);

impl fmt::Display for Gift<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Given { what, dead, incarnation, token } = *self.0;
        match what {
            What::Recovery(volume) => write!(f, "what=recovery:{}", Shown(volume))?,
            What::Named(name) => write!(f, "what=service:{}", Shown(name))?,
        }
        if dead.is_some() {
            write!(f, " dead={} incarnation={incarnation:016x}", dead.get())?;
        }
        write!(f, " token={token}")
    }
}

/// The keys of NODE_UP, NODE_SUSPECT and NODE_DOWN.
struct About<'a>(&'a NodeEvent);

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeEvent { node, host, class, incarnation, version } = self.0;
        write!(f, "node={} host={}", node.get(), host.get())?;
        class.map_or(Ok(()), |class| write!(f, " class={class}"))?;
        write!(f, " incarnation={incarnation:016x} version={version}")
    }
}

/// `node=2` or `host=2`.
pub struct Named(pub Target);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Node(node) => write!(f, "node={}", node.get()),
            Target::Host(host) => write!(f, "host={}", host.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_the_demo_reads() {
        let event = NodeEvent {
            node: NodeId::new(2),
            host: HostId::new(3),
            class: Some(Class::VmStopped),
            incarnation: 0xabc,
            version: 9,
        };
        let now = Instant::from_micros(12_000_345);
        assert_eq!(
            line(now, &Event::NodeDown(event).to_string()),
            "palisade-node: 12.000345 NODE_DOWN node=2 host=3 class=vm-stopped incarnation=0000000000000abc version=9"
        );
        assert_eq!(
            Event::NodeUp(NodeEvent { class: None, ..event }).to_string(),
            "NODE_UP node=2 host=3 incarnation=0000000000000abc version=9"
        );
        let down =
            ViewNode { node: NodeId::new(2), state: NodeState::Down, host: HostId::new(3), class: 1, incarnation: 1 };
        let up =
            ViewNode { node: NodeId::new(1), state: NodeState::Up, host: HostId::new(1), class: 0, incarnation: 1 };
        let view = Event::View {
            version: 7,
            ballot: Ballot { round: 4, host: HostId::new(1) },
            part: 0,
            parts: 1,
            nodes: vec![up, down],
        };
        assert_eq!(view.to_string(), "VIEW version=7 ballot=4.1 part=1/1 node1=up@1 node2=down@3/vm-gone");
    }

    #[test]
    fn a_view_s_payload_is_read_and_what_is_left_over_is_not() {
        let node =
            ViewNode { node: NodeId::new(1), state: NodeState::Up, host: HostId::new(1), class: 0, incarnation: 5 };
        let mut payload = [0; 2 * ViewNode::BYTES + 3];
        node.emit(&mut payload);
        node.emit(&mut payload[ViewNode::BYTES..]);
        assert_eq!(view_nodes(&payload), [node, node]);
    }

    #[test]
    fn groups_and_takeovers_have_status_lines() {
        use palisade_core::id::Label;
        let (volume, cluster) = (Label::named("shared"), Label::named("main"));
        let entry =
            GroupEntry { group: 1, phase: Phase::Starting, members: 2, fates: 1, generation: 9, cluster, volume };
        let mut payload = [0; GroupEntry::BYTES];
        entry.emit(&mut payload);
        assert_eq!(
            status_lines(Section::Groups, 0, &payload),
            ["STATUS_GROUP group=1 volume=shared phase=starting generation=9 members=2 fates=1"]
        );
        assert!(status_lines(Section::Groups, 0, &payload[..20]).is_empty(), "too short");
        let entry = MemberEntry { group: 1, node: NodeId::new(3), standing: Standing::NeverStarted, incarnation: 5 };
        let mut payload = [0; MemberEntry::BYTES];
        entry.emit(&mut payload);
        assert_eq!(
            status_lines(Section::Members, 0, &payload),
            ["STATUS_MEMBER group=1 node=3 standing=never-started incarnation=0000000000000005"]
        );
        let entry = TakeoverEntry {
            what: What::Named(Label::named("web")),
            dead: NodeId::new(2),
            dead_incarnation: 6,
            owner: NodeId::new(1),
            owner_incarnation: 7,
            token: 10,
            progress: Progress::Taken,
            failures: 0,
        };
        let mut payload = [0; TakeoverEntry::BYTES];
        entry.emit(&mut payload);
        assert_eq!(
            status_lines(Section::Takeovers, 0, &payload),
            ["STATUS_TAKEOVER what=service:web dead=2 incarnation=0000000000000006 token=10 progress=taken owner=1 \
              failures=0"]
        );
    }
}
