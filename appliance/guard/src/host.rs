//! What a person writes about one host: `host.json`.
//!
//! Owns the types only. What a value may be is in `rules`; what becomes of it is in `qemu`. What the whole cluster must
//! agree on (addresses, numbers, CIDs, times) is in the cluster's configuration and never repeated here, so the two
//! cannot disagree. Relative paths count from the directory of host.json.
//!
//! ```json
//! {
//!   "host": 1,
//!   "config": "/etc/palisade/cluster.json",
//!   "state": "/run/palisade/host-1",
//!   "appliance": {
//!     "image": "/usr/lib/palisade/palisade.elf",
//!     "links": [{ "dgram": { "local": "/run/switch/a1", "remote": "/run/switch/s1" } }],
//!     "management": { "user": {} }
//!   },
//!   "vsock": { "program": "/usr/bin/vhost-device-vsock" },
//!   "nodes": [
//!     {
//!       "id": 1,
//!       "memory_mib": 256,
//!       "kernel": "/boot/vmlinuz",
//!       "initrd": "/boot/node.cpio",
//!       "append": "console=ttyS0 panic=0",
//!       "disks": [{ "source": { "file": "/dev/shared/volume" }, "share": true }],
//!       "nics": [{ "mac": "52:54:00:00:01:01", "netdev": { "user": {} } }]
//!     }
//!   ]
//! }
//! ```

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One host: its appliance, its nodes, and what runs them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// This host's number in the cluster's configuration.
    pub host: u8,
    /// The cluster's configuration, the same file on every host.
    pub config: PathBuf,
    /// Where sockets, locks, counters and serial logs are. It must be this host's alone. Best on a tmpfs (`/run`):
    /// nothing in it outlives the host's boot, and a slow disk then delays nothing. The names in it are in `names`.
    pub state: PathBuf,
    /// QEMU; a name without `/` is looked up in PATH.
    #[serde(default = "qemu")]
    pub qemu: PathBuf,
    /// What runs the guests' instructions.
    #[serde(default)]
    pub accelerator: Accelerator,
    /// Lock the memory of the guard and of the VMs, so that no page of them has to come back from a disk.
    #[serde(default = "yes")]
    pub lock_memory: bool,
    /// QEMU's own seccomp filter.
    #[serde(default)]
    pub sandbox: bool,
    /// The file with the host's boot id. Tests that play several hosts on one machine name another one.
    #[serde(default = "boot_id")]
    pub boot_id: PathBuf,
    /// The appliance's VM.
    pub appliance: Appliance,
    /// The road for requests. Without it no VM has a vsock device, whatever CID the configuration gives it.
    #[serde(default)]
    pub vsock: Option<Vsock>,
    /// The nodes: exactly those that the configuration places on this host.
    #[serde(default)]
    pub nodes: Vec<Node>,
}

/// What runs a guest's instructions.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// QEMU's translator: works everywhere.
    #[default]
    Tcg,
    /// The processor.
    Kvm,
}

/// The appliance's VM.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Appliance {
    /// False on a host whose appliance is started by something else, which then connects to the guard's socket.
    #[serde(default = "yes")]
    pub start: bool,
    /// The image that `cargo image` builds. Not needed where `start` is false.
    #[serde(default)]
    pub image: PathBuf,
    /// Memory, MiB.
    #[serde(default = "appliance_mib")]
    pub memory_mib: u32,
    /// What is behind the NICs on the cluster links, in the order of the configuration.
    #[serde(default)]
    pub links: Vec<Netdev>,
    /// What is behind the NIC for BMCs and other devices.
    #[serde(default)]
    pub management: Option<Netdev>,
    /// More QEMU arguments.
    #[serde(default)]
    pub extra: Vec<String>,
}

/// What is behind a NIC.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Netdev {
    /// Ethernet frames as datagrams between two unix sockets; starts without its peer and survives its restarts.
    Dgram {
        /// Ours; QEMU makes it.
        local: PathBuf,
        /// The peer's, such as a port of the switch.
        remote: PathBuf,
    },
    /// QEMU's own network: reaches what the host reaches, is reached by nothing unless a port is forwarded.
    User {
        /// QEMU's `hostfwd` rules, such as `udp:127.0.0.1:7000-:623`.
        #[serde(default)]
        hostfwd: Vec<String>,
    },
    /// A tap device that exists already, such as a port of a bridge.
    Tap {
        /// Its name.
        ifname: String,
    },
}

/// The vsock devices of all VMs of the host: one process that joins them, without a kernel module.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// vhost-device-vsock 0.3; a name without `/` is looked up in PATH.
    #[serde(default = "vsock_program")]
    pub program: PathBuf,
}

/// One node's VM. It is started only by an order of the appliance.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The node's number in the configuration.
    pub id: u8,
    /// Memory, MiB.
    #[serde(default = "node_mib")]
    pub memory_mib: u32,
    /// Virtual processors.
    #[serde(default = "one")]
    pub cpus: u32,
    /// A kernel to boot; without one the firmware boots the first disk.
    #[serde(default)]
    pub kernel: Option<PathBuf>,
    /// Its initial RAM disk.
    #[serde(default)]
    pub initrd: Option<PathBuf>,
    /// Its command line.
    #[serde(default)]
    pub append: String,
    /// Its disks, in the guest's order.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Its NICs, in the guest's order. Palisade itself needs none in a node.
    #[serde(default)]
    pub nics: Vec<Nic>,
    /// A second QMP socket, for people and tests. The first belongs to the appliance alone.
    #[serde(default)]
    pub operator_monitor: bool,
    /// Lock this VM's memory. Not given: as the host's `lock_memory`.
    #[serde(default)]
    pub lock_memory: Option<bool>,
    /// How willing the kernel is to end this VM when memory runs out, -1000..=1000. A node may die for the host (its
    /// death is proved and recovered from); guard and appliance never do, they have -1000.
    #[serde(default = "node_oom")]
    pub oom_score_adj: i32,
    /// More QEMU arguments.
    #[serde(default)]
    pub extra: Vec<String>,
}

/// A node's NIC.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Ethernet address.
    pub mac: String,
    /// What is behind it.
    pub netdev: Netdev,
}

/// A node's disk. The defaults are such that a dead VM proves its writes dead too (SAFETY E5).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Where its blocks are.
    pub source: Source,
    /// How they are laid out there.
    #[serde(default)]
    pub format: Format,
    /// Whose caches a write passes.
    #[serde(default)]
    pub cache: Cache,
    /// How requests reach the host's kernel.
    #[serde(default)]
    pub aio: Aio,
    /// The guest cannot write to it.
    #[serde(default)]
    pub read_only: bool,
    /// Several VMs open it at once: no image lock. What a volume of OCFS2 needs.
    #[serde(default)]
    pub share: bool,
    /// The serial number that the guest sees.
    #[serde(default)]
    pub serial: String,
}

/// Where a disk's blocks are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A file or block device that the host's kernel opens.
    File(PathBuf),
    /// The socket of a vhost-user-blk process. `vm-gone` proves nothing about such a disk.
    VhostUser(PathBuf),
    /// Another `-blockdev` driver with its options, such as `driver=nbd,...`, without `node-name`. `vm-gone` proves
    /// nothing about such a disk.
    Blockdev(String),
}

/// How a disk's blocks are laid out.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One after the other.
    #[default]
    Raw,
    /// QEMU's own.
    Qcow2,
}

/// Whose caches a write passes; QEMU's words.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// Not the host's; the disk's own, until the guest flushes.
    #[default]
    None,
    /// None at all.
    Directsync,
    /// The host's and the disk's, until the guest flushes.
    Writeback,
    /// The host's, flushed after each write.
    Writethrough,
    /// The host's, never flushed.
    Unsafe,
}

/// How requests reach the host's kernel; QEMU's words.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aio {
    /// System calls of QEMU's threads: they end before the process does.
    #[default]
    Threads,
    /// The kernel's AIO: an exit waits for it.
    Native,
    /// Requests may outlive the process.
    IoUring,
}

/// The names in the state directory. QEMU and the guard run in that directory and use them as they are.
pub mod names {
    /// The guard's socket, to which the appliance's VM connects.
    pub const GUARD_SOCKET: &str = "guard.sock";
    /// What the appliance's VM writes to its serial port.
    pub const APPLIANCE_SERIAL: &str = "appliance.serial";
    /// The unix socket through which this host reaches its appliance's vsock ports (`CONNECT port`).
    pub const APPLIANCE_VSOCK: &str = "appliance.vsock";
    /// Where the appliance's VM meets its vsock device.
    pub const APPLIANCE_VHOST: &str = "appliance.vhost";
    /// The last counter of each node's runs.
    pub const COUNTERS: &str = "counters";
    /// Held by the guard alone: one guard per state directory.
    pub const GUARD_LOCK: &str = "guard.lock";
    /// Held by the guard and every process that it started, until the last of them is gone (SAFETY E4).
    pub const VM_LOCK: &str = "vm.lock";
    /// The path of the cgroup of the processes that the guard started.
    pub const CGROUP: &str = "cgroup";

    /// A node's channel socket; its VM listens.
    #[must_use]
    pub fn channel(node: u8) -> String {
        format!("node-{node}.channel")
    }
    /// A node's QMP socket for the appliance; its VM listens.
    #[must_use]
    pub fn monitor(node: u8) -> String {
        format!("node-{node}.monitor")
    }
    /// A node's QMP socket for people and tests; its VM listens.
    #[must_use]
    pub fn operator(node: u8) -> String {
        format!("node-{node}.operator")
    }
    /// What a node writes to its first serial port.
    #[must_use]
    pub fn serial(node: u8) -> String {
        format!("node-{node}.serial")
    }
    /// The unix socket through which this host reaches a node's vsock ports.
    #[must_use]
    pub fn vsock(node: u8) -> String {
        format!("node-{node}.vsock")
    }
    /// Where a node's VM meets its vsock device.
    #[must_use]
    pub fn vhost(node: u8) -> String {
        format!("node-{node}.vhost")
    }
}

impl Disk {
    /// Whether no write of a dead VM can still arrive there (SAFETY E5): nothing is written, or only through the host's
    /// kernel, past its page cache, by requests that end with the process.
    #[must_use]
    pub fn qualifies(&self) -> bool {
        let through_kernel = matches!(self.source, Source::File(_));
        let direct = matches!(self.cache, Cache::None | Cache::Directsync);
        let ends_with_process = matches!(self.aio, Aio::Threads | Aio::Native);
        self.read_only || (through_kernel && direct && ends_with_process)
    }
}

fn qemu() -> PathBuf {
    "qemu-system-x86_64".into()
}
fn boot_id() -> PathBuf {
    "/proc/sys/kernel/random/boot_id".into()
}
fn vsock_program() -> PathBuf {
    "vhost-device-vsock".into()
}
const fn yes() -> bool {
    true
}
const fn appliance_mib() -> u32 {
    32
}
const fn node_mib() -> u32 {
    256
}
const fn one() -> u32 {
    1
}
const fn node_oom() -> i32 {
    -500
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_example_on_top_is_read_and_written_again() {
        let source = include_str!("host.rs");
        let inside = |line: &&str| line.starts_with("//! ");
        let lines = source.lines().skip_while(|line| *line != "//! ```json").skip(1);
        let example: String =
            lines.take_while(|line| *line != "//! ```").filter(inside).map(|line| &line[4..]).collect();
        let host: Host = serde_json::from_str(&example).unwrap();
        let again: Host = serde_json::from_str(&serde_json::to_string(&host).unwrap()).unwrap();
        assert_eq!(format!("{host:?}"), format!("{again:?}"));
        assert!(host.lock_memory && host.appliance.start && host.nodes[0].disks[0].qualifies());
    }

    #[test]
    fn only_direct_writes_through_the_host_kernel_qualify() {
        let file = || Source::File("/dev/x".into());
        let disk = |source, cache, aio| Disk {
            source,
            cache,
            aio,
            format: Format::Raw,
            read_only: false,
            share: false,
            serial: String::new(),
        };
        for (cache, aio, expected) in [
            (Cache::None, Aio::Threads, true),
            (Cache::None, Aio::Native, true),
            (Cache::Directsync, Aio::Threads, true),
            (Cache::Directsync, Aio::Native, true),
            (Cache::None, Aio::IoUring, false),
            (Cache::Directsync, Aio::IoUring, false),
            (Cache::Writeback, Aio::Threads, false),
            (Cache::Writethrough, Aio::Threads, false),
            (Cache::Unsafe, Aio::Threads, false),
        ] {
            assert_eq!(disk(file(), cache, aio).qualifies(), expected, "{cache:?} {aio:?}");
        }
        for source in [Source::VhostUser("s".into()), Source::Blockdev("driver=nbd".into())] {
            let mut disk = disk(source, Cache::None, Aio::Threads);
            assert!(!disk.qualifies(), "{disk:?}");
            disk.read_only = true;
            assert!(disk.qualifies());
        }
    }
}
