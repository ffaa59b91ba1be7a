//! Configurations for simulated clusters, read by the real parser and held to the real rules.

use palisade_core::config::{Config, check, parse};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Made already: thousands of runs share a few dozen of them.
static MADE: Mutex<BTreeMap<Shape, &'static Config>> = Mutex::new(BTreeMap::new());

/// What a cluster looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Hosts, numbered from 1.
    pub hosts: u8,
    /// So many of the first vote.
    pub votes: u8,
    /// Nodes of each host.
    pub nodes: u8,
    /// The last host is a witness: it has no node, and no level.
    pub witness: bool,
    /// Behind its BMC, each host has two outlets as a second level.
    pub outlets: bool,
    /// There are two named services.
    pub services: bool,
}

/// The named services.
const SERVICES: &str = r#","services":[{"name":"one"},{"name":"two","policy":"least-loaded"}]"#;

impl Shape {
    /// So many hosts with one node and one BMC each; all vote, if their number is odd.
    #[must_use]
    pub const fn of(hosts: u8) -> Self {
        let votes = if hosts.is_multiple_of(2) { hosts - 1 } else { hosts };
        Self { hosts, votes, nodes: 1, witness: false, outlets: false, services: false }
    }

    fn of_host(&self, id: u8) -> u8 {
        if self.witness && id == self.hosts { 0 } else { self.nodes }
    }

    /// The configuration, read and checked.
    ///
    /// # Panics
    /// If the real rules refuse it.
    #[must_use]
    pub fn config(&self) -> &'static Config {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = made.get(self) {
            return config;
        }
        let config = Box::leak(Box::new(Config::new()));
        if let Err(error) = parse::parse(self.json().as_bytes(), config) {
            panic!("{error}");
        }
        if let Err(broken) = check::check(config) {
            panic!("{broken}");
        }
        made.insert(*self, config);
        config
    }

    /// The same, as a person would write it.
    #[must_use]
    pub fn json(&self) -> String {
        let (mut hosts, mut nodes, mut devices) = (String::new(), String::new(), String::new());
        let mut node = 0_u8;
        for id in 1..=self.hosts {
            let comma = if id == 1 { "" } else { "," };
            let (vote, ip) = (id <= self.votes, id - 1);
            let levels = match (self.of_host(id), self.outlets) {
                (0, _) => String::new(),
                (_, false) => format!(r#","levels":[["bmc{id}"]]"#),
                (_, true) => format!(r#","levels":[["bmc{id}"],["pdu{id}a","pdu{id}b"]]"#),
            };
            let _ = write!(
                hosts,
                r#"{comma}{{"id":{id},"name":"host{id}","vote":{vote},"links":[{{"mac":"52:54:00:01:00:{id:02x}",
                "ip":"10.1.0.{ip}"}},{{"mac":"52:54:00:02:00:{id:02x}","ip":"10.2.0.{ip}"}}]{levels},
                "management":{{"mac":"52:54:00:03:00:{id:02x}","ip":"10.3.1.{ip}","prefix":16}}}}"#
            );
            for _ in 0..self.of_host(id) {
                node += 1;
                let comma = if node == 1 { "" } else { "," };
                let _ = write!(
                    nodes,
                    r#"{comma}{{"id":{node},"name":"n{node}","host":{id},"cid":{},"dlm":"10.7.0.{node}"}}"#,
                    1000 + u32::from(node)
                );
            }
            let wanted = if self.of_host(id) == 0 { 0 } else { 1 + 2 * u8::from(self.outlets) };
            for (name, feed) in [("bmc", ""), ("pdu", "a"), ("pdu", "b")].iter().take(usize::from(wanted)) {
                let comma = if devices.is_empty() { "" } else { "," };
                let _ = write!(
                    devices,
                    r#"{comma}{{"name":"{name}{id}{feed}","covers":[{id}],"timeout_ms":3000,
                    "method":{{"ipmi":{{"address":"10.3.0.254","user":"u","password":"p"}}}}}}"#
                );
            }
        }
        let services = if self.services { SERVICES } else { "" };
        let secret = "5a".repeat(32);
        format!(
            r#"{{"name":"sim","epoch":1,"secret":"{secret}","hosts":[{hosts}],"nodes":[{nodes}],"devices":[{devices}]{services}}}"#
        )
    }
}

/// A cluster of so many hosts with one node, one vote and one BMC each.
///
/// # Panics
/// If the real rules refuse it.
#[must_use]
pub fn cluster(hosts: u8) -> &'static Config {
    cluster_with_votes(hosts, hosts)
}

/// The same, where only the first `votes` hosts vote.
///
/// # Panics
/// If the real rules refuse it.
#[must_use]
pub fn cluster_with_votes(hosts: u8, votes: u8) -> &'static Config {
    Shape { votes, ..Shape::of(hosts) }.config()
}

/// The same, as a person would write it.
#[must_use]
pub fn json(hosts: u8, votes: u8) -> String {
    Shape { votes, ..Shape::of(hosts) }.json()
}

/// Read by the real parser, held to the real rules, and kept.
///
/// # Panics
/// If the real rules refuse it.
#[must_use]
pub fn read(json: &str) -> &'static Config {
    let config = Box::leak(Box::new(Config::new()));
    if let Err(error) = parse::parse(json.as_bytes(), config) {
        panic!("{error}");
    }
    if let Err(broken) = check::check(config) {
        panic!("{broken}");
    }
    config
}

/// A cluster where each host has a BMC and, as its second level, two outlets; with further changes in the text.
///
/// # Panics
/// If the real rules refuse it.
#[must_use]
pub fn cluster_with_outlets(hosts: u8, change: impl Fn(String) -> String) -> &'static Config {
    let shape = Shape { votes: hosts, outlets: true, ..Shape::of(hosts) };
    read(&change(shape.json()))
}
