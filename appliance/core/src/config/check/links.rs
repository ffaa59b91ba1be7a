//! Rules about NICs: cluster links and the management network.
//!
//! Owns nothing else. Appliances never ask for an address by ARP on a cluster link, so a wrong one here is a silent peer.

use super::{Checked, require};
use crate::config::{Config, Ipv4, Link, Mac, Management};
use core::fmt;

pub(super) fn links(config: &Config) -> Checked {
    let Some(first) = config.hosts.first() else { return Ok(()) };
    for (h, host) in config.hosts.iter().enumerate() {
        require!(
            host.links.len() == first.links.len() && !host.links.is_empty(),
            ("hosts[{h}].links"),
            format_args!("a list of {}", host.links.len()),
            "every host has the same number of cluster links, 1 to 4",
            "describe each link on every host, in the same order",
        );
        for (l, link) in host.links.iter().enumerate() {
            one_link(config, (h, l), *link)?;
            require!(
                first.links.get(l).is_some_and(|of_first| network(of_first.ip) == network(link.ip)),
                ("hosts[{h}].links[{l}].ip"),
                link.ip,
                "a cluster link is one /24 network, the same on every host",
                "use addresses that differ in the last number only",
            );
            require!(
                host.links[..l].iter().all(|other| network(other.ip) != network(link.ip)),
                ("hosts[{h}].links[{l}].ip"),
                link.ip,
                "two cluster links are in the same /24 network, so one cannot stand in for the other",
                "give each link its own network",
            );
        }
        if let Some(nic) = &host.management {
            management(config, h, nic)?;
        }
    }
    Ok(())
}

fn one_link(config: &Config, (h, l): (usize, usize), link: Link) -> Checked {
    unicast(format_args!("hosts[{h}].links[{l}]"), link.mac, link.ip)?;
    require!(
        link.ip.0[3] != 255,
        ("hosts[{h}].links[{l}].ip"),
        link.ip,
        "this is the broadcast address of its /24 network",
        "use a last number from 0 to 254: 255 hosts have room",
    );
    let earlier = config.hosts[..h].iter().flat_map(|host| &host.links).chain(&config.hosts[h].links[..l]);
    for other in earlier {
        require!(
            other.mac != link.mac,
            ("hosts[{h}].links[{l}].mac"),
            link.mac,
            "another link has this Ethernet address",
            "give each NIC its own",
        );
        require!(
            other.ip != link.ip,
            ("hosts[{h}].links[{l}].ip"),
            link.ip,
            "another link has this IPv4 address",
            "give each NIC its own",
        );
    }
    Ok(())
}

fn management(config: &Config, h: usize, nic: &Management) -> Checked {
    unicast(format_args!("hosts[{h}].management"), nic.mac, nic.ip)?;
    let earlier = config.hosts[..h].iter().filter_map(|host| host.management.as_ref().map(|other| other.mac));
    let all = config.hosts.iter().flat_map(|host| &host.links).map(|link| link.mac).chain(earlier);
    for mac in all {
        require!(
            mac != nic.mac,
            ("hosts[{h}].management.mac"),
            nic.mac,
            "another NIC has this Ethernet address",
            "give each NIC its own",
        );
    }
    require!(
        (1..=30).contains(&nic.prefix),
        ("hosts[{h}].management.prefix"),
        nic.prefix,
        "the prefix length of a network with room for a device is 1 to 30",
        "write the one of the management network, often 24",
    );
    require!(
        usable(nic.ip, nic.prefix),
        ("hosts[{h}].management.ip"),
        nic.ip,
        "this is the address of its network, or the broadcast address there",
        "use an address inside the network",
    );
    if let Some(gateway) = nic.gateway {
        require!(
            usable(gateway, nic.prefix)
                && masked(gateway, nic.prefix) == masked(nic.ip, nic.prefix)
                && gateway != nic.ip,
            ("hosts[{h}].management.gateway"),
            gateway,
            "a router is another address in the same network",
            "correct it, or leave it out if the devices are in that network",
        );
    }
    Ok(())
}

fn unicast(place: fmt::Arguments<'_>, mac: Mac, ip: Ipv4) -> Checked {
    require!(
        mac.0[0] & 1 == 0 && mac != Mac([0; 6]),
        ("{place}.mac"),
        mac,
        "this is no Ethernet address of a single NIC",
        "use one whose first number is even, for example 52:54:00:..",
    );
    require!(
        is_unicast(ip),
        ("{place}.ip"),
        ip,
        "this is no IPv4 address of a single machine",
        "use one from your own network, for example 10.1.0.1",
    );
    Ok(())
}

pub(super) fn is_unicast(ip: Ipv4) -> bool {
    (1..=223).contains(&ip.0[0]) && ip.0[0] != 127
}

fn network(ip: Ipv4) -> u32 {
    masked(ip, 24)
}

/// The network part; a prefix of 1 to 32.
fn masked(ip: Ipv4, prefix: u8) -> u32 {
    u32::from_be_bytes(ip.0) & u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// Neither the network's own address nor its broadcast address.
fn usable(ip: Ipv4, prefix: u8) -> bool {
    let rest = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let machine = u32::from_be_bytes(ip.0) & rest;
    machine != 0 && machine != rest
}
