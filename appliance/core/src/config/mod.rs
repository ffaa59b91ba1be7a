//! What a person writes about a cluster, as static data.
//!
//! Owns the types. `parse` reads them from JSON in place (nothing of this size may pass over a 1 MiB stack), `check` says
//! which rule a value breaks. The same file goes to every host; only the host's number differs. See docs/OPERATING.md.

pub mod check;
mod clusters;
pub mod parse;
mod text;

use crate::id::{HostId, NodeId};
use crate::limits::{
    self, CLUSTERS_MAX, DEVICES_MAX, EXECUTORS_MAX, HOSTS_MAX, LEVEL_DEVICES_MAX, LEVELS_MAX, LINKS_MAX,
    LOCAL_NODES_MAX, NAME_MAX, NODES_MAX, PASSWORD_MAX, SERVICES_MAX,
};
pub use clusters::{Cluster, Service, ShortName};
use heapless::{String, Vec};
use serde::Deserialize;
pub use text::{Ip, Ipv4, Mac, Secret};

/// A name of a host, node or device.
pub type Name = String<NAME_MAX>;
/// Devices that must all be Confirmed.
pub type Level = Vec<Name, LEVEL_DEVICES_MAX>;
/// Levels in the order in which they are tried.
pub type Levels = Vec<Level, LEVELS_MAX>;

/// The device name that means the node's own QMP monitor, through its own appliance.
pub const DEVICE_QMP: &str = "qmp";
/// The device name that means the guard of the node's host, through its own appliance.
pub const DEVICE_GUARD: &str = "guard";

/// A whole cluster.
#[derive(Debug)]
pub struct Config {
    /// What people call it.
    pub name: Name,
    /// Raised by the operator with each change; hosts with different epochs say so in STATUS.
    pub epoch: u32,
    /// The key that all appliances share; everything on the wire is sealed under keys derived from it.
    pub secret: Secret,
    /// All times.
    pub timing: Timing,
    /// The hosts, by number.
    pub hosts: Vec<Host, HOSTS_MAX>,
    /// The nodes, by number.
    pub nodes: Vec<Node, NODES_MAX>,
    /// The fencing devices.
    pub devices: Vec<Device, DEVICES_MAX>,
    /// The clusters; none: all nodes are one, with the name of the whole.
    pub clusters: Vec<Cluster, CLUSTERS_MAX>,
    /// The named services.
    pub services: Vec<Service, SERVICES_MAX>,
    /// Accept a test image with doors for deliberate faults. Never set it where data matters.
    pub allow_faults: bool,
}

/// All times, milliseconds. What is not given has its default from `limits`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// See `limits::HEARTBEAT_MS`; the others likewise.
    pub heartbeat_ms: u32,
    /// Silence after which a host is accused.
    pub host_dead_ms: u32,
    /// P.
    pub promise_ms: u32,
    /// Random part of an election.
    pub election_jitter_ms: u32,
    /// Bound of an election.
    pub election_max_ms: u32,
    /// Time between two beats of a node.
    pub beat_ms: u32,
    /// Silence after which a node is accused.
    pub node_dead_ms: u32,
    /// Node lease.
    pub node_lease_ms: u32,
    /// Guard lease.
    pub guard_lease_ms: u32,
    /// Bound of an appliance's restart.
    pub restart_ms: u32,
    /// Bound of an admission.
    pub admission_ms: u32,
    /// When a cold start may be considered.
    pub cold_ms: u32,
    /// How long a cold start waits for reports.
    pub start_wait_ms: u32,
    /// Time between two stamps of the guard.
    pub stamp_ms: u32,
    /// A larger gap means that the appliance was stopped.
    pub stamp_gap_max_ms: u32,
    /// Validity of an order.
    pub order_ms: u32,
    /// When the brake lets all go that wait.
    pub brake_ms: u32,
    /// How often each device is tried.
    pub drill_ms: u32,
    /// Not a time: how many accusations by silence may be unconfirmed at a time.
    pub fence_at_once_max: u32,
    /// Bound of stopping and of starting a group.
    pub barrier_ms: u32,
    /// Bound of a member's recovery.
    pub recover_ms: u32,
    /// Bound of an owner's silence.
    pub takeover_ms: u32,
    /// How long a cut between two DLMs may last.
    pub dlm_cut_ms: u32,
}

impl Timing {
    /// No times at all: what an engine holds before it starts.
    pub(crate) const ZERO: Self = Self {
        heartbeat_ms: 0,
        host_dead_ms: 0,
        promise_ms: 0,
        election_jitter_ms: 0,
        election_max_ms: 0,
        beat_ms: 0,
        node_dead_ms: 0,
        node_lease_ms: 0,
        guard_lease_ms: 0,
        restart_ms: 0,
        admission_ms: 0,
        cold_ms: 0,
        start_wait_ms: 0,
        stamp_ms: 0,
        stamp_gap_max_ms: 0,
        order_ms: 0,
        brake_ms: 0,
        drill_ms: 0,
        fence_at_once_max: 0,
        barrier_ms: 0,
        recover_ms: 0,
        takeover_ms: 0,
        dlm_cut_ms: 0,
    };

    /// The defaults of `limits`.
    pub const DEFAULT: Self = Self {
        heartbeat_ms: limits::HEARTBEAT_MS,
        host_dead_ms: limits::HOST_DEAD_MS,
        promise_ms: limits::PROMISE_MS,
        election_jitter_ms: limits::ELECTION_JITTER_MS,
        election_max_ms: limits::ELECTION_MAX_MS,
        beat_ms: limits::BEAT_MS,
        node_dead_ms: limits::NODE_DEAD_MS,
        node_lease_ms: limits::NODE_LEASE_MS,
        guard_lease_ms: limits::GUARD_LEASE_MS,
        restart_ms: limits::RESTART_MS,
        admission_ms: limits::ADMISSION_MS,
        cold_ms: limits::COLD_MS,
        start_wait_ms: limits::START_WAIT_MS,
        stamp_ms: limits::STAMP_MS,
        stamp_gap_max_ms: limits::STAMP_GAP_MAX_MS,
        order_ms: limits::ORDER_MS,
        brake_ms: limits::BRAKE_MS,
        drill_ms: limits::DRILL_MS,
        fence_at_once_max: limits::FENCE_AT_ONCE_MAX,
        barrier_ms: limits::BARRIER_MS,
        recover_ms: limits::RECOVER_MS,
        takeover_ms: limits::TAKEOVER_MS,
        dlm_cut_ms: limits::DLM_CUT_MS,
    };
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One host and its appliance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// 1..=255.
    pub id: u8,
    /// What people call it.
    pub name: Name,
    /// Whether its appliance votes. A witness votes and has no nodes.
    #[serde(default = "yes")]
    pub vote: bool,
    /// Its appliance's NICs on the cluster links, in the same order on every host.
    pub links: Vec<Link, LINKS_MAX>,
    /// Its appliance's NIC for devices, if it can reach any.
    #[serde(default)]
    pub management: Option<Management>,
    /// Its appliance's vsock CID.
    #[serde(default)]
    pub cid: u32,
    /// How the host is fenced: configured devices only.
    #[serde(default)]
    pub levels: Levels,
    /// All its levels start at once, and the first proof counts.
    #[serde(default)]
    pub race: bool,
    /// That its guard's lease ran out is a proof (SAFETY C4).
    #[serde(default)]
    pub trust_lease: bool,
    /// It is never accused nor ordered off, a cold start included (SAFETY H3).
    #[serde(default)]
    pub disabled: bool,
}

/// One end of a cluster link. Peers take the MAC address from here and never ask by ARP.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Ethernet address.
    pub mac: Mac,
    /// IPv4 address; a link is one /24.
    pub ip: Ipv4,
}

/// The NIC for devices.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Management {
    /// Ethernet address.
    pub mac: Mac,
    /// IPv4 address.
    pub ip: Ipv4,
    /// Prefix length.
    pub prefix: u8,
    /// Router, if devices are behind one.
    #[serde(default)]
    pub gateway: Option<Ipv4>,
}

/// One node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The OCFS2 node number, 1..=255.
    pub id: u8,
    /// What people call it.
    pub name: Name,
    /// The host that it runs on.
    pub host: u8,
    /// Its vsock CID; 0: no vsock.
    #[serde(default)]
    pub cid: u32,
    /// How it is fenced while its host lives: `qmp` and `guard`. When these run out its host is fenced.
    #[serde(default = "node_levels")]
    pub levels: Levels,
    /// Whether the appliance has the guard start it.
    #[serde(default = "yes")]
    pub start: bool,
    /// All its levels start at once, and the first proof counts.
    #[serde(default)]
    pub race: bool,
    /// It is never started, accused nor ended, a cold start included (SAFETY H3).
    #[serde(default)]
    pub disabled: bool,
    /// Where its DLM listens for the other nodes'; none: it mounts nothing.
    #[serde(default)]
    pub dlm: Option<Ip>,
}

/// One configured fencing device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The name that levels use.
    pub name: Name,
    /// The hosts that it switches, and so all nodes on them.
    pub covers: Vec<u8, LEVEL_DEVICES_MAX>,
    /// Who can reach it. Empty: every host that has a management NIC and is not covered.
    #[serde(default)]
    pub executors: Vec<u8, EXECUTORS_MAX>,
    /// How long one attempt may take.
    #[serde(default = "device_attempt_ms")]
    pub timeout_ms: u32,
    /// Wait that long before an attempt.
    #[serde(default)]
    pub delay_ms: u32,
    /// So many more attempts, by another executor where there is one, before its level counts as failed.
    #[serde(default)]
    pub retries: u8,
    /// What it proves when it reads off.
    #[serde(default)]
    pub class: Proof,
    /// The protocol and its parameters.
    pub method: Method,
}

/// What a configured device proves.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// What it switches has no power.
    #[default]
    PowerOff,
    /// What it switches has no way to the storage; the machine may run on.
    StorageCut,
}

/// A fencing method and its parameters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A BMC, by IPMI 2.0 RMCP+.
    Ipmi(Ipmi),
}

/// Parameters of a BMC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ipmi {
    /// The BMC's address as the appliance sees it.
    pub address: Ipv4,
    /// UDP port.
    #[serde(default = "ipmi_port")]
    pub port: u16,
    /// User name, at most 16 bytes.
    pub user: String<16>,
    /// Password, at most 20 bytes.
    pub password: String<PASSWORD_MAX>,
    /// The weakest cipher suite to accept: 17, or 3 for old BMCs.
    #[serde(default = "ipmi_suite")]
    pub suite_min: u8,
}

const fn yes() -> bool {
    true
}
/// The fast proof first; the guard where QMP hangs with the storage.
fn node_levels() -> Levels {
    let mut levels = Levels::new();
    for device in [DEVICE_QMP, DEVICE_GUARD] {
        let mut level = Level::new();
        let _fits = level.push(Name::try_from(device).unwrap_or_default());
        let _fits = levels.push(level);
    }
    levels
}
const fn ipmi_port() -> u16 {
    623
}
const fn ipmi_suite() -> u8 {
    3
}
const fn device_attempt_ms() -> u32 {
    limits::DEVICE_ATTEMPT_MS
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// An empty configuration, which `parse` fills.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            name: String::new(),
            epoch: 0,
            secret: Secret([0; 32]),
            timing: Timing::DEFAULT,
            hosts: Vec::new(),
            nodes: Vec::new(),
            devices: Vec::new(),
            clusters: Vec::new(),
            services: Vec::new(),
            allow_faults: false,
        }
    }

    /// The host with this number.
    #[must_use]
    pub fn host(&self, id: HostId) -> Option<&Host> {
        by_number(&self.hosts, id.get(), |host| host.id)
    }

    /// The node with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        by_number(&self.nodes, id.get(), |node| node.id)
    }

    /// The device with this name, and its place in `devices`.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<(usize, &Device)> {
        self.devices.iter().enumerate().find(|(_, device)| device.name == name)
    }

    /// The nodes of a host, by number: their place in this list is their *slot*, which says at which ports of the
    /// appliance VM their channel and monitor are (`board`).
    #[must_use]
    pub fn local_nodes(&self, host: HostId) -> Vec<NodeId, LOCAL_NODES_MAX> {
        let mut slots: Vec<NodeId, LOCAL_NODES_MAX> = Vec::new();
        for node in self.nodes.iter().filter(|node| node.host == host.get()) {
            let id = NodeId::new(node.id);
            let at = slots.iter().position(|&other| other > id).unwrap_or(slots.len());
            let _fits = slots.insert(at, id);
        }
        slots
    }

    /// How many hosts vote.
    #[must_use]
    pub fn votes(&self) -> usize {
        self.hosts.iter().filter(|host| host.vote).count()
    }
}

/// The element with this number in a list that is sorted by number, as `parse` leaves it. Most clusters number from 1
/// without a gap: then its place is known, and the leader's look at every host and node costs no search in each.
fn by_number<T>(list: &[T], number: u8, of: impl Fn(&T) -> u8) -> Option<&T> {
    let usual = usize::from(number).checked_sub(1)?;
    if let Some(element) = list.get(usual).filter(|element| of(element) == number) {
        return Some(element);
    }
    list.binary_search_by_key(&number, of).ok().and_then(|at| list.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_by_its_number_with_gaps_and_without() {
        for list in [&[1, 2, 3, 4, 255][..], &[2, 3, 9], &[255], &[]] {
            for number in 0..=u8::MAX {
                let found = by_number(list, number, |&element| element);
                assert_eq!(
                    found,
                    list.iter().find(|&&element| element == number && number != 0),
                    "{number} in {list:?}"
                );
            }
        }
    }
}
