//! Configurations for simulated clusters, read by the real parser and held to the real rules.

use palisade_core::config::{Config, check, parse};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Made already, by hosts and votes: thousands of runs share a dozen of them.
static MADE: Mutex<BTreeMap<(u8, u8), &'static Config>> = Mutex::new(BTreeMap::new());

/// A cluster of so many hosts with one node and one BMC each.
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
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = made.get(&(hosts, votes)) {
        return config;
    }
    let config = Box::leak(Box::new(Config::new()));
    if let Err(error) = parse::parse(json(hosts, votes).as_bytes(), config) {
        panic!("{error}");
    }
    if let Err(broken) = check::check(config) {
        panic!("{broken}");
    }
    made.insert((hosts, votes), config);
    config
}

/// The same, as a person would write it.
#[must_use]
pub fn json(hosts: u8, votes: u8) -> String {
    let (mut h, mut n, mut d) = (String::new(), String::new(), String::new());
    for id in 1..=hosts {
        let comma = if id == 1 { "" } else { "," };
        let vote = id <= votes;
        let _ = write!(
            h,
            r#"{comma}{{"id":{id},"name":"host{id}","vote":{vote},"links":[{{"mac":"52:54:00:01:00:{id:02x}","ip":"10.1.0.{id}"}},
            {{"mac":"52:54:00:02:00:{id:02x}","ip":"10.2.0.{id}"}}],"levels":[["bmc{id}"]],
            "management":{{"mac":"52:54:00:03:00:{id:02x}","ip":"10.3.0.{id}","prefix":24}}}}"#
        );
        let _ = write!(n, r#"{comma}{{"id":{id},"name":"n{id}","host":{id}}}"#);
        let _ = write!(
            d,
            r#"{comma}{{"name":"bmc{id}","covers":[{id}],"timeout_ms":3000,
            "method":{{"ipmi":{{"address":"10.3.0.254","user":"u","password":"p"}}}}}}"#
        );
    }
    let secret = "5a".repeat(32);
    format!(r#"{{"name":"sim","epoch":1,"secret":"{secret}","hosts":[{h}],"nodes":[{n}],"devices":[{d}]}}"#)
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
    let mut text = json(hosts, hosts);
    let mut outlets = String::new();
    for id in 1..=hosts {
        text = text.replace(&format!(r#"[["bmc{id}"]]"#), &format!(r#"[["bmc{id}"],["pdu{id}a","pdu{id}b"]]"#));
        for feed in ["a", "b"] {
            let _ = write!(
                outlets,
                r#",{{"name":"pdu{id}{feed}","covers":[{id}],"timeout_ms":3000,
                "method":{{"ipmi":{{"address":"10.3.0.253","user":"u","password":"p"}}}}}}"#
            );
        }
    }
    let end = text.rfind("]}").unwrap_or(text.len());
    text.insert_str(end, &outlets);
    read(&change(text))
}
