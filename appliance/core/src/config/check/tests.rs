//! One broken configuration for each rule, and a look at the sources that no rule is without one.

use super::*;
use crate::config::parse::tests::{SAMPLE, maximal, read};
use crate::config::{Ip, Ipv4, Mac, Method, Name, Secret};
use std::boxed::Box;
use std::string::{String as Text, ToString};
use std::vec::Vec as List;

type Change = fn(&mut Config);

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap_or_default()
}

fn ipmi(config: &mut Config) -> &mut crate::config::Ipmi {
    let Method::Ipmi(ipmi) = &mut config.devices[1].method;
    ipmi
}

/// What is changed in the sample, which field must be named, and a piece of the rule.
const BROKEN: &[(Change, &str, &str)] = &[
    (|c| c.name.clear(), "name", "a cluster needs a name"),
    (|c| c.secret = Secret([0; 32]), "secret", "anybody could guess"),
    // Times.
    (|c| c.timing.order_ms = 0, "timing.order_ms", "1 to 600000"),
    (|c| c.timing.fence_at_once_max = 0, "timing.fence_at_once_max", "may be open at a time"),
    (|c| c.timing.cold_ms = 600_001, "timing.cold_ms", "1 to 600000"),
    (|c| c.timing.heartbeat_ms = 251, "timing.heartbeat_ms", "4 * heartbeat_ms"),
    (|c| c.timing.promise_ms = 1002, "timing.promise_ms", "promise_ms <="),
    (|c| c.timing.election_jitter_ms = 500, "timing.election_jitter_ms", "election_jitter_ms <"),
    (|c| c.timing.node_lease_ms = 3801, "timing.node_lease_ms", "node_lease_ms >="),
    (|c| c.timing.guard_lease_ms = 5699, "timing.guard_lease_ms", "guard_lease_ms >="),
    (|c| c.timing.cold_ms = 2000, "timing.cold_ms", "cold_ms > promise_ms"),
    (|c| c.timing.cold_ms = 3500, "timing.cold_ms", "cold_ms + promise_ms"),
    (|c| c.timing.start_wait_ms = 5999, "timing.start_wait_ms", "start_wait_ms >="),
    (|c| c.timing.admission_ms = 301, "timing.restart_ms", "restart_ms + admission_ms"),
    (|c| c.timing.stamp_gap_max_ms = 400, "timing.stamp_gap_max_ms", "2 * stamp_ms"),
    (|c| c.timing.node_dead_ms = 600, "timing.node_dead_ms", "3 * beat_ms"),
    (|c| c.timing.node_dead_ms = 5000, "timing.node_dead_ms", "node_dead_ms <"),
    (|c| c.timing.barrier_ms = 3702, "timing.barrier_ms", "barrier_ms >"),
    (|c| c.timing.recover_ms = 4999, "timing.recover_ms", "recover_ms >="),
    (|c| c.timing.takeover_ms = 4999, "timing.takeover_ms", "takeover_ms >="),
    (|c| c.timing.dlm_cut_ms = 3702, "timing.dlm_cut_ms", "dlm_cut_ms > 2 *"),
    (
        |c| {
            (c.timing.host_dead_ms, c.timing.promise_ms, c.timing.election_max_ms) = (800, 800, 300);
            (c.timing.restart_ms, c.timing.dlm_cut_ms) = (500, 3000);
        },
        "timing.dlm_cut_ms",
        "3000 must hold",
    ),
    // Hosts and votes.
    (|c| c.hosts.clear(), "hosts", "at least one host"),
    (|c| c.hosts[0].id = 0, "hosts[0].id", "1 to 255"),
    (|c| c.hosts[0].name.clear(), "hosts[0].name", "needs a name"),
    (|c| c.hosts[2].id = 1, "hosts[2].id", "another host has this number"),
    (|c| c.hosts[2].name = name("h1"), "hosts[2].name", "another host has this name"),
    (|c| c.hosts.iter_mut().for_each(|host| host.vote = false), "hosts", "nobody could decide"),
    (even_votes, "hosts", "an even number of votes"),
    // Links.
    (|c| c.hosts[1].links.truncate(1), "hosts[1].links", "the same number of cluster links"),
    (|c| c.hosts.iter_mut().for_each(|host| host.links.clear()), "hosts[0].links", "the same number of cluster links"),
    (
        |c| c.hosts[1].links[0].mac = Mac([1, 0, 0, 0, 0, 1]),
        "hosts[1].links[0].mac",
        "no Ethernet address of a single NIC",
    ),
    (|c| c.hosts[1].links[0].mac = Mac([0; 6]), "hosts[1].links[0].mac", "no Ethernet address of a single NIC"),
    (|c| c.hosts[1].links[0].ip = Ipv4([224, 0, 0, 1]), "hosts[1].links[0].ip", "no IPv4 address of a single machine"),
    (|c| c.hosts[1].links[0].ip = Ipv4([127, 0, 0, 1]), "hosts[1].links[0].ip", "no IPv4 address of a single machine"),
    (|c| c.hosts[1].links[0].ip.0[3] = 255, "hosts[1].links[0].ip", "broadcast address of its /24"),
    (|c| c.hosts[1].links[0].mac = c.hosts[0].links[1].mac, "hosts[1].links[0].mac", "another link has this Ethernet"),
    (|c| c.hosts[1].links[1].mac = c.hosts[1].links[0].mac, "hosts[1].links[1].mac", "another link has this Ethernet"),
    (|c| c.hosts[1].links[0].ip = c.hosts[0].links[0].ip, "hosts[1].links[0].ip", "another link has this IPv4"),
    (|c| c.hosts[1].links[0].ip.0[2] = 7, "hosts[1].links[0].ip", "one /24 network, the same on every host"),
    (
        |c| c.hosts.iter_mut().for_each(|host| host.links[1].ip = Ipv4([10, 1, 0, host.id + 100])),
        "hosts[0].links[1].ip",
        "two cluster links are in the same /24",
    ),
    // Management network.
    (|c| nic(c).mac = Mac([3, 0, 0, 0, 0, 1]), "hosts[1].management.mac", "no Ethernet address of a single NIC"),
    (|c| nic(c).mac = c.hosts[2].links[0].mac, "hosts[1].management.mac", "another NIC has this Ethernet"),
    (|c| c.hosts[2].management = c.hosts[1].management, "hosts[2].management.mac", "another NIC has this Ethernet"),
    (|c| nic(c).prefix = 31, "hosts[1].management.prefix", "1 to 30"),
    (|c| nic(c).prefix = 0, "hosts[1].management.prefix", "1 to 30"),
    (|c| nic(c).ip.0[3] = 255, "hosts[1].management.ip", "address of its network"),
    (|c| nic(c).gateway = Some(Ipv4([192, 168, 8, 1])), "hosts[1].management.gateway", "another address in the same"),
    // Nodes.
    (|c| c.nodes[0].id = 0, "nodes[0].id", "1 to 255"),
    (|c| c.nodes[0].name.clear(), "nodes[0].name", "needs a name"),
    (|c| c.nodes[2].id = 1, "nodes[2].id", "another node has this number"),
    (|c| c.nodes[2].name = name("n1"), "nodes[2].name", "another node has this name"),
    (|c| c.nodes[2].host = 9, "nodes[2].host", "no host has this number"),
    (nine_nodes, "nodes[8].host", "at most 8 nodes"),
    // CIDs.
    (|c| c.nodes[0].cid = 2, "nodes[0].cid", "3 or more"),
    (|c| c.hosts[0].cid = u32::MAX, "hosts[0].cid", "3 or more"),
    (|c| c.nodes[1].cid = 12, "nodes[1].cid", "another VM has this CID"),
    // DLMs.
    (|c| dlm(c, 0, "127.0.0.1"), "nodes[0].dlm", "no address of a single machine"),
    (|c| dlm(c, 0, "255.255.255.255"), "nodes[0].dlm", "no address of a single machine"),
    (|c| dlm(c, 0, "fe80::1"), "nodes[0].dlm", "no address of a single machine"),
    (|c| dlm(c, 0, "::ffff:10.7.0.1"), "nodes[0].dlm", "no address of a single machine"),
    (|c| [0, 2].into_iter().for_each(|at| dlm(c, at, "10.7.0.1")), "nodes[2].dlm", "another node has this address"),
    (
        |c| {
            dlm(c, 0, "10.7.0.1");
            dlm(c, 1, "fd00::7:2");
        },
        "nodes[1].dlm",
        "an address of the other family",
    ),
    // Devices.
    (|c| c.devices[1].name.clear(), "devices[1].name", "needs a name"),
    (|c| c.devices[1].name = name("qmp"), "devices[1].name", "this name is taken"),
    (|c| c.devices[1].name = name("guard"), "devices[1].name", "this name is taken"),
    (|c| c.devices[1].name = name("bmc1"), "devices[1].name", "another device has this name"),
    (|c| c.devices[1].timeout_ms = 199, "devices[1].timeout_ms", "200 to 120000"),
    (|c| c.devices[1].timeout_ms = 120_001, "devices[1].timeout_ms", "200 to 120000"),
    (|c| c.devices[1].delay_ms = 60_001, "devices[1].delay_ms", "more than a minute"),
    (|c| c.devices[1].retries = 6, "devices[1].retries", "wait too long"),
    (|c| c.devices[1].covers.clear(), "devices[1].covers", "at least one host"),
    (|c| c.devices[1].covers[0] = 9, "devices[1].covers[0]", "no host has this number"),
    (|c| c.devices[1].covers.extend([2]), "devices[1].covers[1]", "listed twice"),
    (|c| c.devices[0].executors[1] = 9, "devices[0].executors[1]", "no host has this number"),
    (|c| c.devices[0].executors[1] = 1, "devices[0].executors[1]", "cannot prove its own death"),
    (|c| c.hosts[2].management = None, "devices[0].executors[1]", "has no management NIC"),
    (|c| c.devices[0].executors[1] = 2, "devices[0].executors[1]", "listed twice"),
    (
        |c| {
            c.devices[0].executors.clear();
            c.hosts.iter_mut().skip(1).for_each(|host| host.management = None);
        },
        "devices[0].executors",
        "nobody can reach the device",
    ),
    (|c| ipmi(c).address = Ipv4([0; 4]), "devices[1].method.ipmi.address", "no IPv4 address"),
    (|c| ipmi(c).port = 0, "devices[1].method.ipmi.port", "port 0"),
    (|c| ipmi(c).user.clear(), "devices[1].method.ipmi.user", "anonymous"),
    (|c| ipmi(c).password.clear(), "devices[1].method.ipmi.password", "without a password"),
    (|c| ipmi(c).suite_min = 0, "devices[1].method.ipmi.suite_min", "only the cipher suites"),
    // Levels.
    (|c| c.hosts[1].levels[0].clear(), "hosts[1].levels[0]", "a level without a device"),
    (|c| c.hosts[1].levels[0].extend([name("bmc2")]), "hosts[1].levels[0][1]", "twice in this level"),
    (|c| c.hosts[1].levels[0][0] = name("bmc9"), "hosts[1].levels[0][0]", "has this name and covers this host"),
    (|c| c.hosts[1].levels[0][0] = name("bmc1"), "hosts[1].levels[0][0]", "has this name and covers this host"),
    (|c| c.hosts[1].levels[0][0] = name("qmp"), "hosts[1].levels[0][0]", "has this name and covers this host"),
    (|c| c.hosts[1].levels.clear(), "hosts[1].levels", "could never be fenced"),
    (unequal_race, "hosts[1].race", "only levels that cover the same hosts may race"),
    (|c| c.nodes[0].levels[0][0] = name("bmc1"), "nodes[0].levels[0][0]", "qmp and guard"),
    (|c| c.nodes[0].levels[0].clear(), "nodes[0].levels[0]", "a level without a device"),
    // Clusters and services.
    (|c| c.clusters[0].name.clear(), "clusters[0].name", "a cluster of nodes needs a name"),
    (|c| c.clusters[1].name = short("mail"), "clusters[1].name", "another cluster has this name"),
    (|c| c.clusters[1].nodes.clear(), "clusters[1].nodes", "shares nothing"),
    (|c| c.clusters[1].nodes[1] = 9, "clusters[1].nodes[1]", "no node has this number"),
    (|c| c.clusters[1].nodes[1] = 2, "clusters[1].nodes[1]", "twice in this cluster"),
    (|c| c.services[0].name.clear(), "services[0].name", "a service needs a name"),
    (|c| c.services[1].name = short("queue"), "services[1].name", "another service has this name"),
    (|c| c.services[0].cluster = short("news"), "services[0].cluster", "no cluster has this name"),
    (|c| c.services[0].cluster.clear(), "services[0].cluster", "there are several clusters"),
    (|c| c.services[0].nodes[0] = 3, "services[0].nodes[0]", "no node of the service's cluster"),
    (|c| c.services[0].nodes[1] = 2, "services[0].nodes[1]", "twice for this service"),
];

fn dlm(config: &mut Config, node: usize, text: &str) {
    config.nodes[node].dlm = Ip::parse(text);
    assert!(config.nodes[node].dlm.is_some(), "{text} can be read");
}

fn short(text: &str) -> crate::config::ShortName {
    crate::config::ShortName::try_from(text).unwrap_or_default()
}

fn nic(config: &mut Config) -> &mut crate::config::Management {
    config.hosts[1].management.get_or_insert(crate::config::Management {
        mac: Mac::default(),
        ip: Ipv4::default(),
        prefix: 0,
        gateway: None,
    })
}

/// The sample with a fourth host that votes.
fn even_votes(config: &mut Config) {
    let four = SAMPLE.replace(
        "\"hosts\": [",
        r#""hosts": [{"id": 4, "name": "h4", "links": [{"mac": "52:54:00:01:00:04", "ip": "10.1.0.4"}, {"mac": "52:54:00:02:00:04", "ip": "10.2.0.4"}]},"#,
    );
    *config = *read(&four);
}

/// The sample where host 2 races its own BMC with a device that switches host 3 as well.
fn unequal_race(config: &mut Config) {
    config.devices[2].covers.extend([2]);
    config.hosts[1].levels.extend([super::super::Level::from_iter([name("bmc3")])]);
    config.hosts[1].race = true;
}

/// The sample with nine nodes on host 1.
fn nine_nodes(config: &mut Config) {
    let nodes: List<_> = (11..20).map(|id| std::format!(r#"{{"id": {id}, "name": "n{id}", "host": 1}}"#)).collect();
    let start = SAMPLE.find("\"nodes\": [").map_or(0, |at| at + 10);
    let end = SAMPLE.find("\"devices\"").unwrap_or(start);
    *config = *read(&std::format!("{}{}],{}", &SAMPLE[..start], nodes.join(","), &SAMPLE[end..]));
}

#[test]
fn what_is_right_passes() {
    assert_eq!(check(&read(SAMPLE)).map_err(|broken| broken.to_string()), Ok(()));
    assert_eq!(check(&read(&maximal())).map_err(|broken| broken.to_string()), Ok(()));
    let mut defaults = read(SAMPLE);
    defaults.timing = crate::config::Timing::DEFAULT;
    assert_eq!(check(&defaults).map_err(|broken| broken.to_string()), Ok(()));
}

#[test]
fn each_broken_rule_names_its_field() {
    for (change, field, rule) in BROKEN {
        let mut config = read(SAMPLE);
        change(&mut config);
        let broken = check(&config).err();
        let said = broken.as_ref().map_or_else(Text::new, ToString::to_string);
        assert!(broken.is_some_and(|b| b.field == *field && b.rule.contains(rule)), "{field}, {rule}: {said}");
    }
}

#[test]
fn no_rule_is_without_a_broken_configuration() {
    let mut seen: List<&str> = List::new();
    for (change, _, _) in BROKEN {
        let mut config = read(SAMPLE);
        change(&mut config);
        seen.extend(check(&config).err().map(|broken| broken.rule));
    }
    let sources = [
        include_str!("../check.rs"),
        include_str!("times.rs"),
        include_str!("members.rs"),
        include_str!("links.rs"),
        include_str!("devices.rs"),
        include_str!("clusters.rs"),
    ];
    let mut rules = 0;
    for block in sources.iter().flat_map(|source| source.split("require!(").flat_map(|s| s.split("relation!(")).skip(1))
    {
        let block = block.split(");\n").next().unwrap_or(block);
        let literals: List<&str> = block.split('"').skip(1).step_by(2).collect();
        assert!(literals.iter().any(|literal| seen.contains(literal)), "no test breaks {literals:?}");
        rules += 1;
    }
    assert!(rules > 50, "only {rules} rules were found in the sources");
}

#[test]
fn a_sentence_names_field_value_rule_and_remedy() {
    let mut config = read(SAMPLE);
    config.nodes[2].host = 9;
    let said = check(&config).map_err(|broken| broken.to_string());
    assert_eq!(
        said,
        Err("nodes[2].host is 9: no host has this number; name the host that the node runs on".to_string())
    );
}

#[test]
fn two_votes_are_allowed_with_a_warning() {
    let mut config = read(SAMPLE);
    assert!(warnings(&config).is_empty());
    config.hosts[2].vote = false;
    assert_eq!(check(&config), Ok(()));
    // Host 2 waits for its own device's time first: 1001 + 5000 + 10000 and the validity of both orders.
    assert_eq!(warnings(&config).as_slice(), [Warning::TwoVotes, Warning::TwoVotesSlow(2, 20_001)]);
    (config.timing.node_lease_ms, config.timing.guard_lease_ms) = (20_001, 20_701);
    assert_eq!(warnings(&config).len(), 2, "a lease that ends at that moment is too short");
    (config.timing.node_lease_ms, config.timing.guard_lease_ms) = (20_002, 20_702);
    assert_eq!(warnings(&config).as_slice(), [Warning::TwoVotes]);
    assert_eq!(check(&config), Ok(()));
}

#[test]
fn warnings_name_what_they_are_about() {
    let mut config = read(SAMPLE);
    for host in &mut config.hosts {
        host.links.truncate(1);
    }
    config.allow_faults = true;
    config.nodes[1].levels.clear();
    config.nodes.pop();
    config.clusters.pop();
    config.services.pop();
    config.hosts[2].levels.clear();
    assert_eq!(check(&config), Ok(()));
    assert_eq!(
        warnings(&config).as_slice(),
        [Warning::OneLink, Warning::FaultsAllowed, Warning::NodeWithoutLevels(2), Warning::DeviceUnused(2)]
    );
}

#[test]
fn clusters_that_never_meet_may_use_different_families_and_a_node_without_dlm_is_named() {
    let mut config = read(SAMPLE);
    dlm(&mut config, 0, "10.7.0.1");
    dlm(&mut config, 2, "fd00::7:3");
    assert_eq!(check(&config), Ok(()), "node 1 and node 3 share no cluster");
    assert_eq!(warnings(&config).as_slice(), [Warning::NodeWithoutDlm(2)]);
}

#[test]
fn a_sentence_is_never_too_long_for_its_place() {
    let mut config: Box<Config> = read(&maximal());
    config.devices[511].method = Method::Ipmi(crate::config::Ipmi {
        address: Ipv4([10, 0, 0, 1]),
        port: 1,
        user: "u".try_into().unwrap_or_default(),
        password: "p".try_into().unwrap_or_default(),
        suite_min: 9,
    });
    assert!(check(&config).is_err_and(|b| b.field == "devices[511].method.ipmi.suite_min" && b.value == "9"));
    let mut config = read(&maximal());
    config.nodes[254].levels[1][0] = name(&"x".repeat(32));
    assert!(check(&config).is_err_and(|b| b.field == "nodes[254].levels[1][0]" && b.value == *"x".repeat(32)));
}
