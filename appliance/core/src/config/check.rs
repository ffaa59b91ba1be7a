//! Says which rule a configuration breaks.
//!
//! Owns every rule about values that were read (`parse` owns what can be read at all). Must never change a value, guess
//! one, or let a configuration pass under which a host could never be fenced or two leaders could act. Works on any order
//! of the lists, so that the numbers in a sentence can be those of the file that a person reads.

mod clusters;
mod devices;
mod links;
mod members;
mod times;

use super::{Config, Device, Node};
use crate::fencing::bound::worst_device_time;
use crate::id::{HostId, NodeId};
use core::fmt::{self, Write};
use heapless::{String, Vec};
pub use times::{Relation, relations};

/// Characters of a place in a sentence: `devices[511].method.ipmi.suite_min` fits.
const FIELD_MAX: usize = 47;
/// Characters of a value in a sentence: every name fits.
const VALUE_MAX: usize = 36;
/// The shortest and the longest that one attempt at a device may take, ms. Below, no BMC answers; above, nobody waits.
const ATTEMPT_MS: core::ops::RangeInclusive<u32> = 200..=120_000;
/// The longest pause before an attempt, ms.
const DELAY_MAX_MS: u32 = 60_000;
/// The longest of all times, ms: beyond ten minutes a time is a typing error, and sums stay far from their type's end.
const TIME_MAX_MS: u32 = 600_000;
/// CIDs below belong to the hypervisor (0), to loopback (1) and to the host (2).
const CID_MIN: u32 = 3;

/// A rule that a configuration breaks, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where, like `hosts[2].links[0].ip`, counted from zero in the order of the lists.
    pub field: String<FIELD_MAX, u8>,
    /// What stands there.
    pub value: String<VALUE_MAX, u8>,
    /// What is wrong with it.
    pub rule: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl core::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}; {}", self.field, self.value, self.rule, self.remedy)
    }
}

/// What is allowed and still worth a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Exactly two votes.
    TwoVotes,
    /// Exactly two votes, and this host, by its number, may need so many milliseconds to prove the other one off, while its own
    /// nodes' leases end sooner.
    TwoVotesSlow(u8, u64),
    /// One cluster link only.
    OneLink,
    /// `allow_faults` is set.
    FaultsAllowed,
    /// A node, by its number, that has no level of its own.
    NodeWithoutLevels(u8),
    /// A device, by its place in the list, that no level uses.
    DeviceUnused(usize),
    /// A node, by its number, without `dlm`, where another one of its cluster has it.
    NodeWithoutDlm(u8),
}

/// How many warnings are kept: the first of each kind.
pub const WARNINGS_MAX: usize = 7;

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoVotes => f.write_str(
                "there are exactly two votes: when one host is lost, nothing is decided until its devices say that it is \
                 off; add a witness, an appliance with a vote and no nodes on any third machine",
            ),
            Self::TwoVotesSlow(host, ms) => write!(
                f,
                "host {host} may need {ms} ms to prove the other one off, and nobody renews leases meanwhile: its own nodes may reset \
                 themselves first; lower `timeout_ms` of the devices, or raise node_lease_ms and guard_lease_ms above that"
            ),
            Self::OneLink => f.write_str(
                "there is one cluster link only: when it fails, hosts are fenced; give each host a second one on another switch",
            ),
            Self::FaultsAllowed => f.write_str(
                "`allow_faults` is set: a test image with doors for deliberate faults would be started; remove it where data matters",
            ),
            Self::NodeWithoutLevels(node) => write!(
                f,
                "node {node} has no levels: to fence it, its whole host is fenced; give it [[\"guard\"], [\"qmp\"]]"
            ),
            Self::NodeWithoutDlm(node) => write!(
                f,
                "node {node} has no `dlm`: it can mount nothing with the others; give it its address on the network of the DLMs"
            ),
            Self::DeviceUnused(index) => {
                write!(f, "devices[{index}] is in no level: it is never used; name it in a host's levels or remove it")
            }
        }
    }
}

type Checked = Result<(), Broken>;

fn text<const N: usize>(arguments: fmt::Arguments<'_>) -> String<N, u8> {
    let mut text = String::new();
    // What does not fit is cut: a sentence with a short value is better than none.
    let _ = text.write_fmt(arguments);
    text
}

/// Refuses unless `holds`. A macro, so that place and value are put into words only when they are needed.
macro_rules! require {
    ($holds:expr, ($($field:tt)+), $value:expr, $rule:expr, $remedy:expr $(,)?) => {
        if !$holds {
            return Err($crate::config::check::Broken {
                field: $crate::config::check::text(format_args!($($field)+)),
                value: $crate::config::check::text(format_args!("{}", $value)),
                rule: $rule,
                remedy: $remedy,
            });
        }
    };
}
use require;

/// Checks every rule.
///
/// # Errors
/// The first rule that is broken.
pub fn check(config: &Config) -> Result<(), Broken> {
    require!(!config.name.is_empty(), ("name"), "empty", "a cluster needs a name", "write one");
    require!(
        config.secret.0 != [0; 32],
        ("secret"),
        "all zero",
        "anybody could guess the key that seals everything on the wire",
        "write 64 random hexadecimal digits, for example from `openssl rand -hex 32`",
    );
    times::times(&config.timing)?;
    members::hosts(config)?;
    links::links(config)?;
    members::votes(config)?;
    members::nodes(config)?;
    members::cids(config)?;
    members::dlms(config)?;
    devices::devices(config)?;
    devices::levels(config)?;
    clusters::clusters(config)?;
    clusters::services(config)
}

/// What is allowed and still worth a word; the first of each kind.
#[must_use]
pub fn warnings(config: &Config) -> Vec<Warning, WARNINGS_MAX> {
    let used =
        |device: &Device| config.hosts.iter().flat_map(|host| &host.levels).any(|level| level.contains(&device.name));
    let bare = config.nodes.iter().find(|node| node.levels.is_empty());
    let meet = |one: &Node, other: &Node| config.share_cluster(NodeId::new(one.id), NodeId::new(other.id));
    let listens = |to: &Node| config.nodes.iter().any(|node| node.dlm.is_some() && meet(to, node));
    let deaf = config.nodes.iter().find(|node| node.dlm.is_none() && listens(node));
    let unused = config.devices.iter().position(|device| !used(device));
    let all = [
        (config.votes() == 2).then_some(Warning::TwoVotes),
        slow_survivor(config),
        config.hosts.first().is_some_and(|host| host.links.len() == 1).then_some(Warning::OneLink),
        config.allow_faults.then_some(Warning::FaultsAllowed),
        bare.map(|node| Warning::NodeWithoutLevels(node.id)),
        unused.map(Warning::DeviceUnused),
        deaf.map(|node| Warning::NodeWithoutDlm(node.id)),
    ];
    all.into_iter().flatten().collect()
}

/// Of exactly two votes the one that needs longest to go on alone, if that is longer than a lease: first it waits, and who has the
/// higher number for the other one's devices too (SAFETY D3), and then its own order takes its time.
fn slow_survivor(config: &Config) -> Option<Warning> {
    let votes = || config.hosts.iter().filter(|host| host.vote).map(|host| host.id);
    let (low, high) = (votes().min()?, votes().max()?);
    let dead = u64::from(config.timing.host_dead_ms);
    let device = |host: u8| worst_device_time(config, HostId::new(host)).as_millis();
    let needs = [(high, dead + device(high) + device(low)), (low, dead + device(high))];
    let has_nodes = |host: u8| config.nodes.iter().any(|node| node.host == host);
    let (host, ms) = needs.into_iter().find(|(host, _)| has_nodes(*host))?;
    (config.votes() == 2 && ms >= u64::from(config.timing.node_lease_ms)).then_some(Warning::TwoVotesSlow(host, ms))
}

#[cfg(test)]
mod tests;
