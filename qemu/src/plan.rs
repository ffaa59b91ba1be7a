//! A cluster as data: hosts, nodes, links, times. And the two kinds of file that follow from it.
//!
//! Owns the addresses of the simulated machine room and the JSON of the cluster's configuration. Must never run anything.

use crate::switch::{Mac, PortPlan};
use palisade_core::config::Timing;
use palisade_guard::host as guard;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where QEMU's user network shows this machine's loopback to a guest: there the BMCs answer.
const LOOPBACK_SEEN_BY_GUESTS: &str = "10.0.2.2";
/// The address that QEMU's user network expects its guest to have.
const MANAGEMENT_IP: &str = "10.0.2.15";
/// Every BMC's user.
pub const BMC_USER: &str = "admin";
/// Every BMC's password: these BMCs listen on loopback only, for the time of a run.
pub const BMC_PASSWORD: &str = "secret12";
/// Memory of a node's VM, MiB. Little, since the kernel's freeing of it delays the news of a killed VM.
const NODE_MIB: u32 = 160;
/// With a volume, its file system and its DLM.
const NODE_MOUNTED_MIB: u32 = 192;

/// What every node's kernel is told. Without `no_timer_check` it panics while it boots if the emulated timer is late, as on a
/// machine that has other things to do.
pub const KERNEL_WORDS: &str = "console=ttyS0 quiet panic=0 no_timer_check";

/// The fw_cfg file through which the test image is told its fault.
const FAULT_FILE: &str = "opt/palisade/fault";

/// The name of the cluster in the configuration; a volume carries it too.
pub const CLUSTER: &str = "main";
/// The UUID of the volume of every run: no two runs see one disk.
pub const VOLUME: &str = "0c0de0f5a11b4d0e8f0c0de0f5a11b4d";

/// A whole machine room.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the cluster is called, and its run directory.
    pub name: String,
    /// The hosts, each with an appliance and a BMC.
    pub hosts: Vec<HostPlan>,
    /// The nodes.
    pub nodes: Vec<NodePlan>,
    /// The volume that every node opens when it boots.
    pub volume: String,
    /// Who speaks for the nodes.
    pub stack: Stack,
    /// A disk with programs for the nodes, which they only read.
    pub workload: Option<PathBuf>,
    /// The services that run on one of the nodes each, on that with the lowest number that can.
    pub services: Vec<String>,
    /// Redundant links between the hosts.
    pub links: u8,
    /// All times.
    pub timing: Timing,
    /// Deliberate faults of appliances: the host, and what the test image's door is told, such as `allocate:20000`.
    pub faults: Vec<(u8, String)>,
}

/// Who speaks for a node, and what becomes of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// The client: a volume is a name, and there is no disk.
    Client,
    /// The shim: a volume is an OCFS2 volume on a disk that all nodes share, known by its UUID.
    Shim {
        /// A node mounts it when it boots and begins to write, with so much time between two writes.
        pause_ms: u32,
    },
}

/// One host.
#[derive(Clone, Copy, Debug)]
pub struct HostPlan {
    /// Its number.
    pub id: u8,
    /// Whether its appliance votes.
    pub vote: bool,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Its number.
    pub id: u8,
    /// Where it runs.
    pub host: u8,
    /// The local methods, level by level, before its host is fenced.
    pub levels: Vec<Vec<String>>,
    /// Who drives its DLM, if it has a volume.
    pub driver: Driver,
    /// Its memory, MiB; else as much as it needs.
    pub memory_mib: Option<u32>,
}

/// Who drives a node's DLM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The shim.
    Shim,
    /// To compare it with: the client, a process that is locked in memory and starts no other.
    Locked,
    /// The client, with a shell for each step.
    Shell,
}

impl Driver {
    /// What the node's kernel is told.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shim => "shim",
            Self::Locked => "locked",
            Self::Shell => "shell",
        }
    }
}

/// What a host needs to boot its VMs.
#[derive(Clone, Debug)]
pub struct Artefacts {
    /// The appliance's image.
    pub image: PathBuf,
    /// The guard's program.
    pub guard: PathBuf,
    /// The nodes' kernel.
    pub kernel: PathBuf,
    /// The nodes' initial RAM disk.
    pub initrd: PathBuf,
    /// vhost-device-vsock, if there is one.
    pub vsock: Option<PathBuf>,
    /// What runs the guests' instructions.
    pub accelerator: guard::Accelerator,
}

impl Plan {
    /// The cluster of the main job: three hosts with one node each, two links, all times `factor` times the defaults.
    #[must_use]
    pub fn three_hosts(name: &str, factor: u32) -> Self {
        let node = |id| NodePlan {
            id,
            host: id,
            levels: vec![vec!["qmp".into()], vec!["guard".into()]],
            driver: Driver::Shim,
            memory_mib: None,
        };
        Self {
            name: name.to_owned(),
            hosts: (1..=3).map(|id| HostPlan { id, vote: true }).collect(),
            nodes: (1..=3).map(node).collect(),
            volume: "shared".to_owned(),
            stack: Stack::Client,
            workload: None,
            services: vec!["web".to_owned()],
            links: 2,
            timing: scaled(Timing::DEFAULT, factor),
            faults: Vec::new(),
        }
    }

    /// One host with so many nodes, and one without a vote that could switch it off: what dies there is a node.
    #[must_use]
    pub fn one_host(name: &str, nodes: u8) -> Self {
        let three = Self::three_hosts(name, 1);
        let node = |id| NodePlan { id, host: 1, ..three.nodes[0].clone() };
        let hosts = vec![three.hosts[0], HostPlan { id: 2, vote: false }];
        Self { hosts, nodes: (1..=nodes).map(node).collect(), ..three }
    }

    /// The same machine room with a real volume: OCFS2 on a disk that all nodes share. They mount it as soon as they have
    /// booted and write to it, with a pause between two writes.
    #[must_use]
    pub fn with_volume(self, pause_ms: u32) -> Self {
        Self { volume: VOLUME.to_owned(), stack: Stack::Shim { pause_ms }, ..self }
    }

    /// Whether the nodes share a disk with a volume.
    #[must_use]
    pub fn has_volume(&self) -> bool {
        matches!(self.stack, Stack::Shim { .. })
    }

    /// The nodes of a host.
    pub fn nodes_of(&self, host: u8) -> impl Iterator<Item = &NodePlan> {
        self.nodes.iter().filter(move |node| node.host == host)
    }

    /// The cluster's configuration: what every appliance reads. `bmc_port`: the UDP port of a host's BMC.
    #[must_use]
    pub fn configuration(&self, secret: &str, bmc_port: impl Fn(u8) -> u16) -> Value {
        let host = |host: &HostPlan| {
            let link = |link| json!({ "mac": text(link_mac(link, host.id)), "ip": format!("10.1.{link}.{}", host.id) });
            json!({
                "id": host.id,
                "name": format!("host{}", host.id),
                "vote": host.vote,
                "links": (0..self.links).map(link).collect::<Vec<_>>(),
                "management": { "mac": text([0x52, 0x54, 0, 2, 0, host.id]), "ip": MANAGEMENT_IP, "prefix": 24 },
                "cid": appliance_cid(host.id),
                "levels": [[bmc_name(host.id)]],
            })
        };
        let node = |node: &NodePlan| {
            json!({
                "id": node.id,
                "name": format!("node{}", node.id),
                "host": node.host,
                "cid": node_cid(node.id),
                "levels": node.levels,
                "dlm": dlm_ip(node.id),
            })
        };
        let device = |host: &HostPlan| {
            json!({
                "name": bmc_name(host.id),
                "covers": [host.id],
                "method": { "ipmi": {
                    "address": LOOPBACK_SEEN_BY_GUESTS,
                    "port": bmc_port(host.id),
                    "user": BMC_USER,
                    "password": BMC_PASSWORD,
                } },
            })
        };
        json!({
            "name": self.name,
            "epoch": 1,
            "secret": secret,
            "timing": timing_json(&self.timing),
            "hosts": self.hosts.iter().map(host).collect::<Vec<_>>(),
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
            "devices": self.hosts.iter().map(device).collect::<Vec<_>>(),
            "clusters": [{
                "name": CLUSTER,
                "nodes": self.nodes.iter().map(|node| node.id).collect::<Vec<_>>(),
            }],
            "services": self.services.iter().map(|name| json!({ "name": name, "policy": "lowest" })).collect::<Vec<_>>(),
            "allow_faults": !self.faults.is_empty(),
        })
    }

    /// What the guard of a host reads. `run`: the run's directory.
    #[must_use]
    pub fn host_file(&self, id: u8, run: &Path, with: &Artefacts) -> guard::Host {
        let links = self.ports(run).into_iter().filter(|port| port.host == id);
        let door = |what: &String| ["-fw_cfg".to_owned(), format!("name={FAULT_FILE},string={what}")];
        let appliance = guard::Appliance {
            start: true,
            image: with.image.clone(),
            memory_mib: 32,
            links: links.map(|port| guard::Netdev::Dgram { local: port.vm, remote: port.switch }).collect(),
            management: Some(guard::Netdev::User { hostfwd: Vec::new() }),
            extra: self.faults.iter().filter(|(host, _)| *host == id).flat_map(|(_, what)| door(what)).collect(),
        };
        guard::Host {
            host: id,
            config: configuration_path(run),
            state: state_dir(run, id),
            qemu: "qemu-system-x86_64".into(),
            accelerator: with.accelerator,
            lock_memory: true,
            sandbox: false,
            boot_id: boot_id_path(run, id),
            appliance,
            vsock: with.vsock.clone().map(|program| guard::Vsock { program }),
            nodes: self.nodes_of(id).map(|node| self.node_file(node, run, with)).collect(),
        }
    }

    /// All NICs on the links.
    #[must_use]
    pub fn ports(&self, run: &Path) -> Vec<PortPlan> {
        let port = |link: u8, host: u8| PortPlan {
            link,
            host,
            mac: link_mac(link, host),
            vm: run.join(format!("l{link}h{host}.vm")),
            switch: run.join(format!("l{link}h{host}.sw")),
        };
        (0..self.links).flat_map(|link| self.hosts.iter().map(move |host| port(link, host.id))).collect()
    }

    /// The link of the nodes' own network, on which their DLMs talk.
    #[must_use]
    pub fn dlm_link(&self) -> u8 {
        self.links
    }

    /// The nodes' NICs on their own network; a port's `host` is the node's number there.
    #[must_use]
    pub fn node_ports(&self, run: &Path) -> Vec<PortPlan> {
        let link = self.dlm_link();
        let port = |node: &NodePlan| PortPlan {
            link,
            host: node.id,
            mac: [0x52, 0x54, 0, 3, 0, node.id],
            vm: run.join(format!("n{}.vm", node.id)),
            switch: run.join(format!("n{}.sw", node.id)),
        };
        if self.has_volume() { self.nodes.iter().map(port).collect() } else { Vec::new() }
    }

    fn node_file(&self, node: &NodePlan, run: &Path, with: &Artefacts) -> guard::Node {
        let append =
            format!("{KERNEL_WORDS} palisade.node={} palisade.appliance_cid={}", node.id, appliance_cid(node.host));
        let plain = guard::Node {
            id: node.id,
            memory_mib: NODE_MIB,
            cpus: 1,
            kernel: Some(with.kernel.clone()),
            initrd: Some(with.initrd.clone()),
            append: format!("{append} palisade.volumes={}", self.volume),
            disks: Vec::new(),
            nics: Vec::new(),
            operator_monitor: false,
            lock_memory: None,
            oom_score_adj: 0,
            extra: Vec::new(),
        };
        let Stack::Shim { pause_ms } = self.stack else { return plain };
        let ports = self.node_ports(run).into_iter().filter(|port| port.host == node.id);
        let nic = |port: PortPlan| guard::Nic {
            mac: text(port.mac),
            netdev: guard::Netdev::Dgram { local: port.vm, remote: port.switch },
        };
        let disk = |(path, read_only)| guard::Disk {
            source: guard::Source::File(path),
            format: guard::Format::Raw,
            cache: guard::Cache::None,
            aio: guard::Aio::Threads,
            read_only,
            share: true,
            serial: String::new(),
        };
        let workload = self.workload.clone().map(|path| (path, true));
        let address = dlm_ip(node.id);
        guard::Node {
            memory_mib: node.memory_mib.unwrap_or(NODE_MOUNTED_MIB),
            append: format!(
                "{append} palisade.stack={} palisade.dlm={address} palisade.nodes={} palisade.volumes={} \
                 palisade.work={pause_ms}",
                node.driver.word(),
                self.nodes.iter().map(|node| node.id.to_string()).collect::<Vec<_>>().join(","),
                self.volume,
            ),
            disks: [(volume_path(run), false)].into_iter().chain(workload).map(disk).collect(),
            nics: ports.map(nic).collect(),
            operator_monitor: true,
            extra: vec!["-serial".to_owned(), format!("file:{}", work_name(node.id))],
            ..plain
        }
    }
}

/// Where the cluster's configuration lies in a run's directory.
#[must_use]
pub fn configuration_path(run: &Path) -> PathBuf {
    run.join("cluster.json")
}

/// Where the disk that all nodes share lies in a run's directory.
#[must_use]
pub fn volume_path(run: &Path) -> PathBuf {
    run.join("volume.img")
}

/// Where, in its guard's state directory, what a node's writers say goes.
#[must_use]
pub fn work_name(node: u8) -> String {
    format!("node-{node}.work")
}

/// The state directory of a host's guard.
#[must_use]
pub fn state_dir(run: &Path, host: u8) -> PathBuf {
    run.join(format!("h{host}"))
}

/// The file that stands for the kernel's boot id on a simulated host.
#[must_use]
pub fn boot_id_path(run: &Path, host: u8) -> PathBuf {
    run.join(format!("h{host}.boot"))
}

fn bmc_name(host: u8) -> String {
    format!("bmc{host}")
}

fn link_mac(link: u8, host: u8) -> Mac {
    [0x52, 0x54, 0, 1, link, host]
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn appliance_cid(host: u8) -> u32 {
    1000 + u32::from(host)
}

/// Where a node's DLM listens: the nodes' own network.
#[must_use]
pub fn dlm_ip(node: u8) -> String {
    format!("10.7.0.{node}")
}

fn node_cid(node: u8) -> u32 {
    2000 + u32::from(node)
}

/// All times, as many times as long: their relations stay true.
#[must_use]
pub fn scaled(timing: Timing, factor: u32) -> Timing {
    let by = |ms: u32| ms.saturating_mul(factor);
    Timing {
        heartbeat_ms: by(timing.heartbeat_ms),
        host_dead_ms: by(timing.host_dead_ms),
        promise_ms: by(timing.promise_ms),
        election_jitter_ms: by(timing.election_jitter_ms),
        election_max_ms: by(timing.election_max_ms),
        beat_ms: by(timing.beat_ms),
        node_dead_ms: by(timing.node_dead_ms),
        node_lease_ms: by(timing.node_lease_ms),
        guard_lease_ms: by(timing.guard_lease_ms),
        restart_ms: by(timing.restart_ms),
        admission_ms: by(timing.admission_ms),
        cold_ms: by(timing.cold_ms),
        start_wait_ms: by(timing.start_wait_ms),
        stamp_ms: by(timing.stamp_ms),
        stamp_gap_max_ms: by(timing.stamp_gap_max_ms),
        order_ms: by(timing.order_ms),
        brake_ms: by(timing.brake_ms),
        drill_ms: by(timing.drill_ms),
        fence_at_once_max: timing.fence_at_once_max,
        barrier_ms: by(timing.barrier_ms),
        recover_ms: by(timing.recover_ms),
        takeover_ms: by(timing.takeover_ms),
        dlm_cut_ms: by(timing.dlm_cut_ms),
    }
}

fn timing_json(timing: &Timing) -> Value {
    json!({
        "heartbeat_ms": timing.heartbeat_ms,
        "host_dead_ms": timing.host_dead_ms,
        "promise_ms": timing.promise_ms,
        "election_jitter_ms": timing.election_jitter_ms,
        "election_max_ms": timing.election_max_ms,
        "beat_ms": timing.beat_ms,
        "node_dead_ms": timing.node_dead_ms,
        "node_lease_ms": timing.node_lease_ms,
        "guard_lease_ms": timing.guard_lease_ms,
        "restart_ms": timing.restart_ms,
        "admission_ms": timing.admission_ms,
        "cold_ms": timing.cold_ms,
        "start_wait_ms": timing.start_wait_ms,
        "stamp_ms": timing.stamp_ms,
        "stamp_gap_max_ms": timing.stamp_gap_max_ms,
        "order_ms": timing.order_ms,
        "brake_ms": timing.brake_ms,
        "drill_ms": timing.drill_ms,
        "fence_at_once_max": timing.fence_at_once_max,
        "barrier_ms": timing.barrier_ms,
        "recover_ms": timing.recover_ms,
        "takeover_ms": timing.takeover_ms,
        "dlm_cut_ms": timing.dlm_cut_ms,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use palisade_core::config::{Config, parse};

    #[test]
    fn the_core_reads_the_configuration_that_a_plan_gives() {
        let small = Plan::one_host("scenes", 3).with_volume(20).configuration(&"5a".repeat(32), |_| 6000).to_string();
        let mut config = Box::new(Config::new());
        parse::parse(small.as_bytes(), &mut config).unwrap();
        for factor in [1, 4] {
            let plan = Plan::three_hosts("scenes", factor);
            let json = plan.configuration(&"5a".repeat(32), |host| 6000 + u16::from(host)).to_string();
            let mut config = Box::new(Config::new());
            parse::parse(json.as_bytes(), &mut config).unwrap();
            assert_eq!(config.timing, plan.timing);
            assert_eq!((config.hosts.len(), config.nodes.len(), config.devices.len()), (3, 3, 3));
            assert_eq!((config.clusters[0].nodes.len(), config.services[0].name.as_str()), (3, "web"));
            assert_eq!(config.nodes[2].dlm.map(|ip| ip.to_string()), Some("10.7.0.3".to_owned()));
            assert_eq!(config.hosts[2].links[1].mac.to_string(), "52:54:00:01:01:03");
        }
    }

    #[test]
    fn nodes_with_a_volume_share_its_disk_and_a_network_of_their_own() {
        let plan = Plan::three_hosts("scenes", 1).with_volume(20);
        let with = Artefacts {
            image: PathBuf::new(),
            guard: PathBuf::new(),
            kernel: PathBuf::new(),
            initrd: PathBuf::new(),
            vsock: None,
            accelerator: guard::Accelerator::Tcg,
        };
        for host in 1..=3 {
            let file = plan.host_file(host, Path::new("/r"), &with);
            let node = &file.nodes[0];
            assert!(node.disks[0].share && node.disks[0].qualifies());
            assert!(node.append.contains("palisade.stack=shim") && node.append.contains("palisade.work=20"));
            assert_eq!((node.nics.len(), file.appliance.links.len()), (1, 2));
        }
        assert_eq!(plan.node_ports(Path::new("/r")).len(), 3);
        assert_eq!(Plan::three_hosts("scenes", 1).node_ports(Path::new("/r")).len(), 0);
    }

    #[test]
    fn every_port_has_sockets_and_an_address_of_its_own() {
        let ports = Plan::three_hosts("scenes", 1).ports(Path::new("/r"));
        assert_eq!(ports.len(), 6);
        let mut names: Vec<_> = ports.iter().flat_map(|port| [port.vm.clone(), port.switch.clone()]).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 12);
    }
}
