//! Which values of host.json make sense, and what `vm-gone` is worth for each node.
//!
//! Owns every rule about a host's description. Nothing is started while one is broken. A sentence names the field, its
//! value, the rule, and what to do.

use crate::host::{Aio, Appliance, Cache, Disk, Format, Host, Netdev, Node, Source};
use crate::sys;
use palisade_core::config::{Config, Mac};
use palisade_core::id::HostId;
use std::ffi::CString;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The appliance image that has doors for deliberate faults holds these bytes.
pub const FAULTS_MARK: &[u8] = b"palisade-faults-image";
/// Bytes of a unix socket's path.
const SOCKET_PATH_MAX: usize = 107;
/// Characters of a network device's name.
const IFNAME_MAX: usize = 15;

/// QEMU arguments that the guard cannot live with, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("-daemonize", "the guard must be the parent of the VM, or its exit proves nothing"),
    ("-runas", "the guard starts QEMU as the user that it has itself"),
    ("-chroot", "QEMU's sockets are in the state directory"),
    ("-incoming", "a node that migrates is not supported, since its exit would prove nothing (SAFETY E3)"),
    ("-loadvm", "the old memory of a node must never run again (SAFETY E3)"),
    ("-readconfig", "the guard must see every option"),
    ("-snapshot", "a node's writes must reach its disks"),
    ("-action", "the guard sets it"),
    ("-no-shutdown", "a VM that is over must exit"),
];

/// QEMU arguments that may give a node a disk of which `vm-gone` proves nothing.
const UNKNOWN_DISKS: &[&str] = &[
    "-drive",
    "-blockdev",
    "-hda",
    "-hdb",
    "-hdc",
    "-hdd",
    "-sd",
    "-pflash",
    "-mtdblock",
    "-fda",
    "-fdb",
    "-fsdev",
    "-virtfs",
];

/// Devices whose writes pass another process or the hardware directly.
const UNKNOWN_DEVICES: &[&str] = &["vfio", "vhost-user-blk", "vhost-user-fs", "vhost-user-scsi", "vhost-scsi", "nvme"];

/// The broken rules.
#[derive(Debug, Default)]
pub struct Faults(pub Vec<String>);

impl Faults {
    fn require(&mut self, holds: bool, field: impl Display, value: impl Display, rule: &str, remedy: &str) {
        if !holds {
            self.0.push(format!("{field} is {value}: {rule}; {remedy}"));
        }
    }

    fn file(&mut self, field: impl Display, path: &Path) {
        if let Err(error) = std::fs::File::open(path) {
            let rule = format!("it cannot be read: {error}");
            self.require(false, field, path.display(), &rule, "correct the path, or make it readable");
        }
    }

    fn program(&mut self, field: &str, path: &Path) {
        let path_c = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        let runs = path.is_file() && sys::executable(&path_c);
        self.require(
            runs,
            field,
            path.display(),
            "it is no program that can be executed",
            "install it, or correct the path",
        );
    }
}

/// Every rule that `host` breaks. Its paths are absolute already.
#[must_use]
pub fn faults(host: &Host, config: &Config) -> Vec<String> {
    let mut faults = Faults::default();
    faults.program("qemu", &host.qemu);
    if let Some(vsock) = &host.vsock {
        faults.program("vsock.program", &vsock.program);
    }
    let Some(about) = config.host(HostId::new(host.host)) else {
        let rule = "the cluster's configuration has no host with this number";
        faults.require(false, "host", host.host, rule, "correct it, or add the host to the configuration");
        return faults.0;
    };
    appliance(&mut faults, &host.appliance, about, config.allow_faults);
    placement(&mut faults, host, config);
    for (at, described) in host.nodes.iter().enumerate() {
        node(&mut faults, at, described);
    }
    faults.0
}

fn appliance(faults: &mut Faults, own: &Appliance, about: &palisade_core::config::Host, allow_faults: bool) {
    if !own.start {
        return;
    }
    image(faults, &own.image, allow_faults);
    let rule = "an appliance needs between 32 and 1024 MiB";
    faults.require((32..=1024).contains(&own.memory_mib), "appliance.memory_mib", own.memory_mib, rule, "write 32");
    let rule = format!("the configuration gives host {} {} links, and each is one NIC", about.id, about.links.len());
    let same = own.links.len() == about.links.len();
    faults.require(
        same,
        "appliance.links",
        format!("{} long", own.links.len()),
        &rule,
        "make the two lists equally long",
    );
    for (at, behind) in own.links.iter().enumerate() {
        netdev(faults, &format!("appliance.links[{at}]"), behind);
    }
    let (given, wanted) = (own.management.is_some(), about.management.is_some());
    let rule = "it must be given exactly when the configuration gives the host a `management` NIC";
    let value = if given { "given" } else { "not given" };
    faults.require(given == wanted, "appliance.management", value, rule, "give both, or neither");
    if let Some(behind) = &own.management {
        netdev(faults, "appliance.management", behind);
    }
    arguments(faults, "appliance.extra", &own.extra);
}

fn image(faults: &mut Faults, path: &Path, allow_faults: bool) {
    let field = "appliance.image";
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let rule = format!("it cannot be read: {error}");
            return faults.require(
                false,
                field,
                path.display(),
                &rule,
                "build it with `cargo image`, or correct the path",
            );
        }
    };
    let elf = bytes.starts_with(b"\x7fELF");
    faults.require(elf, field, path.display(), "it is no ELF file", "name the image that `cargo image` builds");
    let deliberate = bytes.windows(FAULTS_MARK.len()).any(|window| window == FAULTS_MARK);
    let rule = "it is the test image with doors for deliberate faults, which `allow_faults` in the configuration does not allow";
    faults.require(!deliberate || allow_faults, field, path.display(), rule, "name the ordinary image");
}

/// The nodes described must be those that the configuration places here: the slots of the appliance count on it.
fn placement(faults: &mut Faults, host: &Host, config: &Config) {
    let local = config.local_nodes(HostId::new(host.host));
    for (at, described) in host.nodes.iter().enumerate() {
        let field = format!("nodes[{at}].id");
        let placed = local.iter().any(|node| node.get() == described.id);
        let rule = format!("the configuration places no such node on host {}", host.host);
        faults.require(
            placed,
            &field,
            described.id,
            &rule,
            "correct it, or change the node's `host` in the configuration",
        );
        let first = host.nodes.iter().position(|other| other.id == described.id) == Some(at);
        faults.require(first, &field, described.id, "this node is described twice", "remove one of the two");
    }
    for node in &local {
        let described = host.nodes.iter().any(|other| other.id == node.get());
        let rule = format!("the configuration places {node} on host {}", host.host);
        faults.require(described, "nodes", format!("without {node}"), &rule, "describe its VM here");
    }
}

fn node(faults: &mut Faults, at: usize, own: &Node) {
    let field = |name: &str| format!("nodes[{at}].{name}");
    let rule = "a node needs at least 16 MiB, and not more than 4194304";
    let fits = (16..=4_194_304).contains(&own.memory_mib);
    faults.require(fits, field("memory_mib"), own.memory_mib, rule, "write what its system needs, such as 256");
    let rule = "a node has between 1 and 255 processors";
    faults.require((1..=255).contains(&own.cpus), field("cpus"), own.cpus, rule, "write 1");
    let adjust = own.oom_score_adj;
    let rule = "the kernel takes values from -1000 to 1000";
    faults.require((-1000..=1000).contains(&adjust), field("oom_score_adj"), adjust, rule, "write -500");
    for (name, path) in [("kernel", &own.kernel), ("initrd", &own.initrd)] {
        if let Some(path) = path {
            faults.file(field(name), path);
        }
    }
    let lonely = own.initrd.is_some() && own.kernel.is_none();
    faults.require(
        !lonely,
        field("initrd"),
        "given",
        "it is loaded with a `kernel` only",
        "give the kernel too, or remove it",
    );
    for (nic_at, nic) in own.nics.iter().enumerate() {
        let rule = "it is no Ethernet address";
        let remedy = "write one like 52:54:00:00:01:01";
        faults.require(Mac::parse(&nic.mac).is_some(), field(&format!("nics[{nic_at}].mac")), &nic.mac, rule, remedy);
        netdev(faults, &field(&format!("nics[{nic_at}].netdev")), &nic.netdev);
    }
    for (disk_at, own) in own.disks.iter().enumerate() {
        disk(faults, &field(&format!("disks[{disk_at}]")), own);
    }
    arguments(faults, &field("extra"), &own.extra);
}

fn disk(faults: &mut Faults, field: &str, own: &Disk) {
    match &own.source {
        Source::File(path) => faults.file(format!("{field}.source.file"), path),
        Source::VhostUser(path) => {
            socket(faults, &format!("{field}.source.vhost_user"), path);
            let rule = "a vhost-user process cannot be told to be read-only, or to read qcow2";
            let plain = !own.read_only && own.format == Format::Raw;
            faults.require(plain, field, "vhost_user", rule, "remove `read_only` and `format`");
        }
        Source::Blockdev(options) => {
            let named = !options.contains("node-name=") && options.contains("driver=");
            let rule = "it must name a `driver=` and no `node-name=`, which the guard gives";
            faults.require(named, format!("{field}.source.blockdev"), options, rule, "write it like driver=nbd,...");
        }
    }
    let direct = matches!(own.cache, Cache::None | Cache::Directsync);
    let rule = "the kernel's AIO needs a cache of `none` or `directsync`";
    faults.require(
        own.aio != Aio::Native || direct,
        format!("{field}.aio"),
        "native",
        rule,
        "write `\"cache\": \"none\"`",
    );
    let plain = own.serial.len() <= 20 && own.serial.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let rule = "a serial number has at most 20 letters, digits and dashes";
    faults.require(plain, format!("{field}.serial"), &own.serial, rule, "shorten it");
}

fn netdev(faults: &mut Faults, field: &str, behind: &Netdev) {
    match behind {
        Netdev::Dgram { local, remote } => {
            socket(faults, &format!("{field}.dgram.local"), local);
            socket(faults, &format!("{field}.dgram.remote"), remote);
        }
        Netdev::User { hostfwd } => {
            let plain = hostfwd.iter().all(|rule| !rule.contains(','));
            let rule = "a rule with a comma would be two options";
            faults.require(
                plain,
                format!("{field}.user.hostfwd"),
                format!("{hostfwd:?}"),
                rule,
                "write one rule per element",
            );
        }
        Netdev::Tap { ifname } => {
            let named = (1..=IFNAME_MAX).contains(&ifname.len()) && !ifname.contains([',', '/']);
            let rule = "it is no name of a network device";
            faults.require(named, format!("{field}.tap.ifname"), ifname, rule, "name a tap device that exists");
        }
    }
}

fn socket(faults: &mut Faults, field: &str, path: &Path) {
    let short = path.as_os_str().len() <= SOCKET_PATH_MAX;
    let rule = format!("a unix socket's path has at most {SOCKET_PATH_MAX} bytes");
    faults.require(short, field, path.display(), &rule, "use a shorter directory, such as one in /run");
}

/// An option's name, with one dash.
fn option(argument: &str) -> &str {
    if argument.starts_with("--") { &argument[1..] } else { argument }
}

fn arguments(faults: &mut Faults, field: &str, extra: &[String]) {
    for (at, argument) in extra.iter().enumerate() {
        let bad = FORBIDDEN.iter().find(|(name, _)| *name == option(argument));
        let rule = bad.map_or("", |(_, why)| *why);
        faults.require(bad.is_none(), format!("{field}[{at}]"), argument, rule, "remove it");
    }
}

/// Why `vm-gone` and `vm-stopped` prove nothing about a node's disks (SAFETY E5); `None`: they do.
#[must_use]
pub fn unproved_disk(node: &Node) -> Option<String> {
    let bad = node.disks.iter().enumerate().find(|(_, disk)| !disk.qualifies());
    if let Some((at, disk)) = bad {
        let why = match (&disk.source, disk.aio) {
            (Source::VhostUser(_), _) => "is written by another process, which outlives the VM",
            (Source::Blockdev(_), _) => "is not opened through the host's kernel, so its writes may arrive later",
            (Source::File(_), Aio::IoUring) => "uses io_uring, whose requests may outlive the process",
            (Source::File(_), _) => "passes the host's page cache, which the host writes out later",
        };
        return Some(format!(
            "disks[{at}] {why}; use a file or device with cache `none` or `directsync` and aio `threads` or `native`"
        ));
    }
    let mut before = "";
    for (at, argument) in node.extra.iter().enumerate() {
        let device = before == "-device" && UNKNOWN_DEVICES.iter().any(|device| argument.contains(device));
        if UNKNOWN_DISKS.contains(&option(argument)) || device {
            return Some(format!(
                "extra[{at}] ({argument}) may add a disk that the guard knows nothing about; describe it under `disks`"
            ));
        }
        before = option(argument);
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn node_with(json: &str) -> Node {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn disks_of_which_vm_gone_proves_nothing_are_named() {
        for (json, expected) in [
            (r#"{"id":1}"#, None),
            (r#"{"id":1,"disks":[{"source":{"file":"/d"}}]}"#, None),
            (r#"{"id":1,"disks":[{"source":{"file":"/d"},"cache":"directsync","aio":"native"}]}"#, None),
            (r#"{"id":1,"disks":[{"source":{"file":"/d"},"cache":"unsafe","read_only":true}]}"#, None),
            (r#"{"id":1,"disks":[{"source":{"file":"/d"},"cache":"writeback"}]}"#, Some("page cache")),
            (r#"{"id":1,"disks":[{"source":{"file":"/d"},"aio":"io_uring"}]}"#, Some("io_uring")),
            (r#"{"id":1,"disks":[{"source":{"vhost_user":"/s"}}]}"#, Some("another process")),
            (r#"{"id":1,"disks":[{"source":{"blockdev":"driver=nbd"}}]}"#, Some("host's kernel")),
            (r#"{"id":1,"extra":["-cdrom","/x.iso","-device","virtio-balloon-pci"]}"#, None),
            (r#"{"id":1,"extra":["-drive","file=rbd:x"]}"#, Some("extra[0]")),
            (r#"{"id":1,"extra":["--blockdev","driver=iscsi"]}"#, Some("extra[0]")),
            (r#"{"id":1,"extra":["-device","vfio-pci,host=1:0.0"]}"#, Some("extra[1]")),
        ] {
            let why = unproved_disk(&node_with(json));
            assert_eq!(why.is_some(), expected.is_some(), "{json}: {why:?}");
            assert!(why.unwrap_or_default().contains(expected.unwrap_or_default()), "{json}");
        }
    }

    #[test]
    fn arguments_that_would_undo_the_guard_are_refused() {
        for argument in ["-daemonize", "--daemonize", "-incoming", "-loadvm"] {
            let mut faults = Faults::default();
            arguments(&mut faults, "nodes[0].extra", &["-S".into(), argument.into()]);
            let [sentence] = faults.0.as_slice() else { panic!("{argument} passed") };
            assert!(sentence.starts_with(&format!("nodes[0].extra[1] is {argument}: ")), "{sentence}");
        }
    }
}
