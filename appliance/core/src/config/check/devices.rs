//! Rules about fencing devices and the levels that name them.
//!
//! Owns nothing else. Must never let a host with nodes pass that nothing could fence (DESIGN §5).

use super::{ATTEMPT_MS, Checked, DELAY_MAX_MS, links::is_unicast, require};
use crate::config::{Config, DEVICE_GUARD, DEVICE_QMP, Device, Host, Level, Levels, Method};
use crate::limits::RETRIES_MAX;

pub(super) fn devices(config: &Config) -> Checked {
    for (index, device) in config.devices.iter().enumerate() {
        let name = &device.name;
        require!(!name.is_empty(), ("devices[{index}].name"), "empty", "a device needs a name", "write one");
        require!(
            name != DEVICE_QMP && name != DEVICE_GUARD,
            ("devices[{index}].name"),
            name,
            "this name is taken: it means what a node's own host can do",
            "choose another",
        );
        require!(
            config.devices[..index].iter().all(|other| other.name != *name),
            ("devices[{index}].name"),
            name,
            "another device has this name",
            "give each device its own",
        );
        require!(
            ATTEMPT_MS.contains(&device.timeout_ms),
            ("devices[{index}].timeout_ms"),
            device.timeout_ms,
            "one attempt takes 200 to 120000 milliseconds",
            "write the longest that the device was seen to need, or leave it out for the default",
        );
        require!(
            device.delay_ms <= DELAY_MAX_MS,
            ("devices[{index}].delay_ms"),
            device.delay_ms,
            "recovery would wait for more than a minute before the first attempt",
            "write at most 60000",
        );
        require!(
            device.retries <= RETRIES_MAX,
            ("devices[{index}].retries"),
            device.retries,
            "the next level would wait too long",
            "write at most 5",
        );
        covered(config, index, device)?;
        executors(config, index, device)?;
        method(index, &device.method)?;
    }
    Ok(())
}

fn covered(config: &Config, index: usize, device: &Device) -> Checked {
    require!(
        !device.covers.is_empty(),
        ("devices[{index}].covers"),
        "empty",
        "a device switches at least one host",
        "list the numbers of the hosts that lose their power with it",
    );
    for (c, host) in device.covers.iter().enumerate() {
        require!(
            config.hosts.iter().any(|other| other.id == *host),
            ("devices[{index}].covers[{c}]"),
            host,
            "no host has this number",
            "correct it",
        );
        require!(
            !device.covers[..c].contains(host),
            ("devices[{index}].covers[{c}]"),
            host,
            "the host is listed twice",
            "list it once",
        );
    }
    Ok(())
}

fn executors(config: &Config, index: usize, device: &Device) -> Checked {
    for (e, id) in device.executors.iter().enumerate() {
        let host = config.hosts.iter().find(|host| host.id == *id);
        require!(host.is_some(), ("devices[{index}].executors[{e}]"), id, "no host has this number", "correct it");
        require!(
            !device.covers.contains(id),
            ("devices[{index}].executors[{e}]"),
            id,
            "a host cannot prove its own death",
            "list hosts that the device does not cover",
        );
        require!(
            host.is_some_and(|host| host.management.is_some()),
            ("devices[{index}].executors[{e}]"),
            id,
            "the host has no management NIC, so its appliance cannot reach the device",
            "give the host `management`, or take it out of the list",
        );
        require!(
            !device.executors[..e].contains(id),
            ("devices[{index}].executors[{e}]"),
            id,
            "the host is listed twice",
            "list it once",
        );
    }
    let can = |host: &Host| host.management.is_some() && !device.covers.contains(&host.id);
    require!(
        !device.executors.is_empty() || config.hosts.iter().any(can),
        ("devices[{index}].executors"),
        "empty",
        "no other host has a management NIC, so nobody can reach the device",
        "give another host `management`",
    );
    Ok(())
}

fn method(index: usize, method: &Method) -> Checked {
    let Method::Ipmi(ipmi) = method;
    require!(
        is_unicast(ipmi.address),
        ("devices[{index}].method.ipmi.address"),
        ipmi.address,
        "this is no IPv4 address of a single machine",
        "write the BMC's address as an appliance reaches it",
    );
    require!(
        ipmi.port != 0,
        ("devices[{index}].method.ipmi.port"),
        ipmi.port,
        "nothing listens on port 0",
        "leave it out for 623",
    );
    require!(
        !ipmi.user.is_empty(),
        ("devices[{index}].method.ipmi.user"),
        "empty",
        "an anonymous user may be anybody",
        "make a user of its own on the BMC, with the privilege of an operator or more",
    );
    require!(
        !ipmi.password.is_empty(),
        ("devices[{index}].method.ipmi.password"),
        "empty",
        "without a password anybody can switch the host, and nobody can tell a false BMC",
        "set one on the BMC",
    );
    require!(
        ipmi.suite_min == 3 || ipmi.suite_min == 17,
        ("devices[{index}].method.ipmi.suite_min"),
        ipmi.suite_min,
        "only the cipher suites 3 and 17 authenticate, check and encrypt",
        "write 17, or 3 for a BMC that does not know it",
    );
    Ok(())
}

pub(super) fn levels(config: &Config) -> Checked {
    for (index, host) in config.hosts.iter().enumerate() {
        shape("hosts", index, &host.levels)?;
        for (l, d, name) in named(&host.levels) {
            require!(
                config.devices.iter().any(|device| device.name == *name && device.covers.contains(&host.id)),
                ("hosts[{index}].levels[{l}][{d}]"),
                name,
                "no configured device has this name and covers this host",
                "correct the name, or the device's `covers`",
            );
        }
        require!(
            !host.levels.is_empty() || config.nodes.iter().all(|node| node.host != host.id),
            ("hosts[{index}].levels"),
            "empty",
            "the host has nodes and could never be fenced, so recovery would wait for ever when it dies",
            "name a device that covers it",
        );
        require!(
            !host.race || levels_cover_the_same(config, &host.levels),
            ("hosts[{index}].race"),
            true,
            "only levels that cover the same hosts may race: the slower one would still switch off what it alone covers",
            "remove `race`, or name devices that cover the same hosts in each level",
        );
    }
    for (index, node) in config.nodes.iter().enumerate() {
        shape("nodes", index, &node.levels)?;
        for (l, d, name) in named(&node.levels) {
            require!(
                name == DEVICE_QMP || name == DEVICE_GUARD,
                ("nodes[{index}].levels[{l}][{d}]"),
                name,
                "a node's own levels are what its host can do for it alone: qmp and guard",
                "name configured devices in the host's levels; they are used when the node's are exhausted",
            );
        }
    }
    Ok(())
}

/// Whether each level switches the same hosts as the first (SAFETY F3).
fn levels_cover_the_same(config: &Config, levels: &Levels) -> bool {
    let covers = |level: &Level, host: u8| {
        let mut devices = level.iter().filter_map(|name| config.device(name));
        devices.any(|(_, device)| device.covers.contains(&host))
    };
    let same = |level: &Level| {
        config.hosts.iter().all(|h| covers(level, h.id) == levels.first().is_some_and(|l| covers(l, h.id)))
    };
    levels.iter().all(same)
}

/// Every name in the levels, with its place.
fn named(levels: &Levels) -> impl Iterator<Item = (usize, usize, &str)> {
    levels
        .iter()
        .enumerate()
        .flat_map(|(l, level)| level.iter().enumerate().map(move |(d, name)| (l, d, name.as_str())))
}

fn shape(list: &str, index: usize, levels: &Levels) -> Checked {
    for (l, level) in levels.iter().enumerate() {
        require!(
            !level.is_empty(),
            ("{list}[{index}].levels[{l}]"),
            "empty",
            "a level without a device would prove nothing",
            "name its devices, or remove it",
        );
        for (d, name) in level.iter().enumerate() {
            require!(
                !level[..d].contains(name),
                ("{list}[{index}].levels[{l}][{d}]"),
                name,
                "the device stands twice in this level",
                "name it once",
            );
        }
    }
    Ok(())
}
