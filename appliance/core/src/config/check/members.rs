//! Rules about hosts and nodes: numbers, names, votes, placement, CIDs.
//!
//! Owns nothing else; what they are attached to is `links`, how they are fenced is `devices`.

use super::{CID_MIN, Checked, require};
use crate::config::{Config, Host, Ip, Node};
use crate::id::NodeId;
use crate::limits::LOCAL_NODES_MAX;
use core::net::IpAddr;

pub(super) fn hosts(config: &Config) -> Checked {
    let hosts = &config.hosts;
    require!(!hosts.is_empty(), ("hosts"), "empty", "a cluster needs at least one host", "describe one");
    for (index, host) in hosts.iter().enumerate() {
        let Host { id, name, .. } = host;
        require!(*id != 0, ("hosts[{index}].id"), id, "a host's number is 1 to 255", "give it a number");
        require!(!name.is_empty(), ("hosts[{index}].name"), "empty", "a host needs a name", "write one");
        let earlier = &hosts[..index];
        require!(
            earlier.iter().all(|other| other.id != *id),
            ("hosts[{index}].id"),
            id,
            "another host has this number",
            "give each host its own",
        );
        require!(
            earlier.iter().all(|other| other.name != *name),
            ("hosts[{index}].name"),
            name,
            "another host has this name",
            "give each host its own",
        );
    }
    Ok(())
}

pub(super) fn votes(config: &Config) -> Checked {
    let votes = config.votes();
    require!(
        votes > 0,
        ("hosts"),
        "without a vote",
        "nobody could decide anything",
        "set `vote` on an odd number of hosts"
    );
    require!(
        votes % 2 == 1 || votes == 2,
        ("hosts"),
        format_args!("a list with {votes} votes"),
        "an even number of votes can split into halves that both stand still",
        "add a witness (a host with a vote and no nodes), or take the vote from one host",
    );
    Ok(())
}

pub(super) fn nodes(config: &Config) -> Checked {
    for (index, node) in config.nodes.iter().enumerate() {
        let Node { id, name, host, .. } = node;
        require!(*id != 0, ("nodes[{index}].id"), id, "a node's number is 1 to 255", "give it its OCFS2 node number");
        require!(!name.is_empty(), ("nodes[{index}].name"), "empty", "a node needs a name", "write one");
        let earlier = &config.nodes[..index];
        require!(
            earlier.iter().all(|other| other.id != *id),
            ("nodes[{index}].id"),
            id,
            "another node has this number",
            "give each node its own",
        );
        require!(
            earlier.iter().all(|other| other.name != *name),
            ("nodes[{index}].name"),
            name,
            "another node has this name",
            "give each node its own",
        );
        require!(
            config.hosts.iter().any(|other| other.id == *host),
            ("nodes[{index}].host"),
            host,
            "no host has this number",
            "name the host that the node runs on",
        );
        require!(
            earlier.iter().filter(|other| other.host == *host).count() < LOCAL_NODES_MAX,
            ("nodes[{index}].host"),
            host,
            "an appliance serves at most 8 nodes",
            "put the node on another host",
        );
    }
    Ok(())
}

/// Where the nodes' DLMs listen. That network is the nodes' own: nothing here knows more of it than these addresses.
pub(super) fn dlms(config: &Config) -> Checked {
    let all = config.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node.id, node.dlm?)));
    for (index, id, ip) in all.clone() {
        require!(
            is_one_machine(ip),
            ("nodes[{index}].dlm"),
            ip,
            "this is no address of a single machine that other nodes can reach without more words",
            "use the node's address on the network of the DLMs, for example 192.168.7.1",
        );
        let mut earlier = all.clone().take_while(|(other, _, _)| *other < index);
        require!(
            earlier.clone().all(|(_, _, other)| other != ip),
            ("nodes[{index}].dlm"),
            ip,
            "another node has this address",
            "give each node its own",
        );
        let meet = |other: u8| config.share_cluster(NodeId::new(id), NodeId::new(other));
        require!(
            earlier.all(|(_, other, address)| address.is_like(ip) || !meet(other)),
            ("nodes[{index}].dlm"),
            ip,
            "another node of its cluster has an address of the other family, and a DLM speaks only one",
            "give all nodes of a cluster IPv4 addresses, or all IPv6",
        );
    }
    Ok(())
}

fn is_one_machine(ip: Ip) -> bool {
    let none = ip.address().is_unspecified() || ip.address().is_loopback() || ip.address().is_multicast();
    let limited = match ip.address() {
        IpAddr::V4(address) => address.octets()[0] == 0 || address.octets()[0] >= 224,
        // A link-local address says nothing without the name of an interface.
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !none && !limited
}

pub(super) fn cids(config: &Config) -> Checked {
    let hosts = config.hosts.iter().enumerate().map(|(index, host)| ("hosts", index, host.cid));
    let nodes = config.nodes.iter().enumerate().map(|(index, node)| ("nodes", index, node.cid));
    let all = hosts.chain(nodes).filter(|(_, _, cid)| *cid != 0);
    for (place, (list, index, cid)) in all.clone().enumerate() {
        require!(
            (CID_MIN..u32::MAX).contains(&cid),
            ("{list}[{index}].cid"),
            cid,
            "a CID of a VM is 3 or more, and not the largest number",
            "choose another, or 0 for no vsock",
        );
        require!(
            all.clone().take(place).all(|(_, _, other)| other != cid),
            ("{list}[{index}].cid"),
            cid,
            "another VM has this CID, and a session speaks for whoever has it",
            "give each its own",
        );
    }
    Ok(())
}
