//! The command lines of the VMs.
//!
//! Owns how a host's description becomes QEMU's arguments. The appliance's devices sit where `palisade_core::board` says,
//! since their slot is all that tells the unikernel what each is for. QEMU runs in the state directory, so its sockets
//! have short names. The appliance is the client of every console (`reconnect=1`): it is back on all of them 20 ms after
//! a restart, where a server would wait for its peers up to a second.

use crate::host::{Accelerator, Cache, Disk, Format, Host, Netdev, Node, Source, names};
use palisade_core::board;
use palisade_core::config::{self, Config};
use palisade_core::id::HostId;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// MiB of translated code that TCG keeps: QEMU's default of 1 GiB would be locked too, and takes seconds to clear.
const APPLIANCE_TB_MIB: u32 = 16;
/// As above, for a whole Linux.
const NODE_TB_MIB: u32 = 64;

/// Arguments under construction.
struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }
    fn pair(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

/// Within a list of options a comma is written twice.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// The appliance's VM. `lock`: the host allows locked memory.
#[must_use]
pub fn appliance(host: &Host, config: &Config, lock: bool) -> Vec<String> {
    let mut arguments = Arguments(Vec::new());
    let about = config.host(HostId::new(host.host));
    let vsock = host.vsock.is_some() && about.is_some_and(|about| about.cid != 0);
    let own = &host.appliance;
    machine(
        &mut arguments,
        host,
        (&format!("palisade-appliance-{}", host.host), own.memory_mib, APPLIANCE_TB_MIB, vsock),
    );
    processors(&mut arguments, host, 1);
    arguments.flag("-no-reboot");
    memory_lock(&mut arguments, lock && host.lock_memory);
    arguments.pair("-kernel", own.image.to_string_lossy());
    arguments.pair("-fw_cfg", format!("name={},file={}", board::FW_CFG_CONFIG, escaped(&host.config)));
    arguments.pair("-fw_cfg", format!("name={},string={}", board::FW_CFG_HOST, host.host));
    arguments.pair("-device", format!("isa-debug-exit,iobase={:#x}", board::EXIT_PORT));
    arguments.pair("-serial", format!("file:{}", names::APPLIANCE_SERIAL));
    arguments.pair("-object", "rng-random,id=entropy,filename=/dev/urandom");
    arguments.pair("-device", format!("virtio-rng-pci,rng=entropy,addr={:#x}", board::ENTROPY_SLOT));
    if let Some(about) = about {
        nics(&mut arguments, host, about);
        if vsock {
            vsock_device(&mut arguments, names::APPLIANCE_VHOST, Some(board::VSOCK_SLOT));
        }
    }
    console(&mut arguments, "guard", names::GUARD_SOCKET, board::GUARD_SLOT);
    for (slot, node) in (0_u8..).zip(&config.local_nodes(HostId::new(host.host))) {
        let number = node.get();
        console(&mut arguments, &format!("channel{number}"), &names::channel(number), board::CHANNEL_SLOT + slot);
        console(&mut arguments, &format!("monitor{number}"), &names::monitor(number), board::MONITOR_SLOT + slot);
    }
    arguments.0.extend(own.extra.iter().cloned());
    arguments.0
}

/// A node's VM. `lock`: the host allows locked memory.
#[must_use]
pub fn node(host: &Host, config: &Config, node: &Node, lock: bool) -> Vec<String> {
    let mut arguments = Arguments(Vec::new());
    let cid = config.nodes.iter().find(|about| about.id == node.id).map_or(0, |about| about.cid);
    let vsock = host.vsock.is_some() && cid != 0;
    let shared = vsock || node.disks.iter().any(|disk| matches!(disk.source, Source::VhostUser(_)));
    machine(&mut arguments, host, (&format!("palisade-node-{}", node.id), node.memory_mib, NODE_TB_MIB, shared));
    memory_lock(&mut arguments, lock && node.lock_memory.unwrap_or(host.lock_memory));
    processors(&mut arguments, host, node.cpus);
    for (option, path) in [("-kernel", &node.kernel), ("-initrd", &node.initrd)] {
        if let Some(path) = path {
            arguments.pair(option, path.to_string_lossy());
        }
    }
    if node.kernel.is_some() && !node.append.is_empty() {
        arguments.pair("-append", &node.append);
    }
    // A panic stops the guest, and the appliance sees it on QMP, within 10 ms.
    arguments.pair("-device", "pvpanic-pci");
    arguments.pair("-action", "panic=pause");
    arguments.pair("-serial", format!("file:{}", names::serial(node.id)));
    arguments.pair("-chardev", listening("channel", &names::channel(node.id)));
    port(&mut arguments, "channel", board::NODE_CHANNEL_SLOT);
    arguments.pair("-chardev", listening("monitor", &names::monitor(node.id)));
    arguments.pair("-mon", "chardev=monitor,mode=control");
    if node.operator_monitor {
        arguments.pair("-chardev", listening("operator", &names::operator(node.id)));
        arguments.pair("-mon", "chardev=operator,mode=control");
    }
    for (at, nic) in node.nics.iter().enumerate() {
        arguments.pair("-netdev", netdev(&format!("nic{at}"), &nic.netdev));
        arguments.pair("-device", format!("virtio-net-pci,netdev=nic{at},mac={},romfile=", nic.mac));
    }
    for (at, disk) in node.disks.iter().enumerate() {
        disk_device(&mut arguments, at, disk);
    }
    if vsock {
        vsock_device(&mut arguments, &names::vhost(node.id), None);
    }
    arguments.0.extend(node.extra.iter().cloned());
    arguments.0
}

/// The vsock devices of all VMs: who has a CID has one. One group: the VMs of a host reach each other by CID.
#[must_use]
pub fn vsock(host: &Host, config: &Config) -> Vec<String> {
    let mut arguments = Arguments(Vec::new());
    for (cid, uds, socket) in vsock_devices(host, config) {
        arguments.pair("--vm", format!("guest-cid={cid},uds-path={uds},socket={socket},groups=palisade"));
    }
    arguments.0
}

/// The sockets where VMs meet their vsock devices.
#[must_use]
pub fn vsock_sockets(host: &Host, config: &Config) -> Vec<String> {
    vsock_devices(host, config).map(|(_, _, socket)| socket).collect()
}

fn vsock_devices<'a>(host: &'a Host, config: &'a Config) -> impl Iterator<Item = (u32, String, String)> + 'a {
    let cid = config.host(HostId::new(host.host)).map_or(0, |about| about.cid);
    let appliance = (cid, names::APPLIANCE_VSOCK.to_owned(), names::APPLIANCE_VHOST.to_owned());
    let local = config.nodes.iter().filter(|about| about.host == host.host);
    let nodes = local.map(|about| (about.cid, names::vsock(about.id), names::vhost(about.id)));
    std::iter::once(appliance).chain(nodes).filter(|(cid, _, _)| *cid != 0)
}

/// What every VM has: name, memory in MiB, translation cache in MiB, and whether other processes share its memory.
fn machine(arguments: &mut Arguments, host: &Host, (name, mib, tb_mib, shared): (&str, u32, u32, bool)) {
    arguments.pair("-name", name);
    for flag in ["-nodefaults", "-no-user-config"] {
        arguments.flag(flag);
    }
    arguments.pair("-display", "none");
    arguments.pair("-m", mib.to_string());
    if shared {
        arguments.pair("-object", format!("memory-backend-memfd,id=ram,size={mib}M,share=on"));
        arguments.pair("-machine", "pc,memory-backend=ram");
    } else {
        arguments.pair("-machine", "pc");
    }
    match host.accelerator {
        Accelerator::Tcg => {
            arguments.pair("-cpu", "max");
            arguments.pair("-accel", format!("tcg,tb-size={tb_mib}"));
        }
        Accelerator::Kvm => {
            arguments.pair("-cpu", "host");
            arguments.pair("-accel", "kvm");
        }
    }
    if host.sandbox {
        arguments.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }
}

/// For a machine that can have no second processor QEMU's emulator leaves out the guest's memory barriers and the locks of its
/// instructions. But a device is another thread: a driver then writes what it has and reads whether the device wants to be
/// told in the wrong order, neither tells the other, and the queue stands still until something else moves it. A place for
/// a second processor is enough to keep them.
fn processors(arguments: &mut Arguments, host: &Host, count: u32) {
    match host.accelerator {
        Accelerator::Tcg => arguments.pair("-smp", format!("cpus={count},maxcpus={}", count.max(2))),
        Accelerator::Kvm => arguments.pair("-smp", count.to_string()),
    }
}

fn memory_lock(arguments: &mut Arguments, lock: bool) {
    if lock {
        arguments.pair("-overcommit", "mem-lock=on");
    }
}

/// The appliance's NICs. Their option ROMs would only try to boot from the network.
fn nics(arguments: &mut Arguments, host: &Host, about: &config::Host) {
    let mut nic = |id: &str, behind: &Netdev, mac: &config::Mac, slot: u8| {
        arguments.pair("-netdev", netdev(id, behind));
        arguments.pair("-device", format!("virtio-net-pci,netdev={id},mac={mac},addr={slot:#x},romfile="));
    };
    for ((at, behind), link) in (0_u8..).zip(&host.appliance.links).zip(&about.links) {
        nic(&format!("link{at}"), behind, &link.mac, board::LINK_SLOT + at);
    }
    if let (Some(behind), Some(management)) = (&host.appliance.management, &about.management) {
        nic("management", behind, &management.mac, board::MANAGEMENT_SLOT);
    }
}

fn netdev(id: &str, behind: &Netdev) -> String {
    match behind {
        Netdev::Dgram { local, remote } => format!(
            "dgram,id={id},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            escaped(local),
            escaped(remote)
        ),
        Netdev::User { hostfwd } => {
            let forwards: String = hostfwd.iter().map(|rule| format!(",hostfwd={rule}")).collect();
            format!("user,id={id}{forwards}")
        }
        Netdev::Tap { ifname } => format!("tap,id={id},ifname={ifname},script=no,downscript=no"),
    }
}

fn vsock_device(arguments: &mut Arguments, socket: &str, slot: Option<u8>) {
    let place = slot.map_or(String::new(), |slot| format!(",addr={slot:#x}"));
    arguments.pair("-chardev", format!("socket,id=vsock,path={socket}"));
    arguments.pair("-device", format!("vhost-user-vsock-pci,chardev=vsock{place}"));
}

/// One console port of the appliance.
fn console(arguments: &mut Arguments, id: &str, socket: &str, slot: u8) {
    arguments.pair("-chardev", format!("socket,id={id},path={socket},reconnect=1"));
    port(arguments, id, slot);
}

/// One virtio console with one port, without multiport: the simplest that there is to drive.
fn port(arguments: &mut Arguments, id: &str, slot: u8) {
    arguments.pair("-device", format!("virtio-serial-pci,id={id}-bus,max_ports=1,addr={slot:#x}"));
    arguments.pair("-device", format!("virtconsole,bus={id}-bus.0,chardev={id}"));
}

fn listening(id: &str, socket: &str) -> String {
    format!("socket,id={id},path={socket},server=on,wait=off")
}

/// One disk, by -blockdev: there, a file name is only ever a file name.
fn disk_device(arguments: &mut Arguments, at: usize, disk: &Disk) {
    if let Source::VhostUser(socket) = &disk.source {
        arguments.pair("-chardev", format!("socket,id=disk{at}-socket,path={}", escaped(socket)));
        arguments.pair("-device", format!("vhost-user-blk-pci,chardev=disk{at}-socket"));
        return;
    }
    let (direct, no_flush, write_cache) = match disk.cache {
        Cache::None => ("on", "off", "on"),
        Cache::Directsync => ("on", "off", "off"),
        Cache::Writeback => ("off", "off", "on"),
        Cache::Writethrough => ("off", "off", "off"),
        Cache::Unsafe => ("off", "on", "on"),
    };
    let read_only = if disk.read_only { "on" } else { "off" };
    let (locking, share) = if disk.share { (",locking=off", ",share-rw=on") } else { ("", "") };
    let common = format!("read-only={read_only},cache.direct={direct},cache.no-flush={no_flush}");
    let below = match &disk.source {
        Source::File(path) => {
            let aio = match disk.aio {
                crate::host::Aio::Threads => "threads",
                crate::host::Aio::Native => "native",
                crate::host::Aio::IoUring => "io_uring",
            };
            let device = std::fs::metadata(path).is_ok_and(|about| about.file_type().is_block_device());
            let driver = if device { "host_device" } else { "file" };
            format!("driver={driver},filename={},aio={aio}{locking},{common}", escaped(path))
        }
        Source::Blockdev(options) => options.clone(),
        Source::VhostUser(_) => return,
    };
    let format = match disk.format {
        Format::Raw => "raw",
        Format::Qcow2 => "qcow2",
    };
    arguments.pair("-blockdev", format!("{below},node-name=disk{at}-file"));
    arguments.pair("-blockdev", format!("driver={format},file=disk{at}-file,node-name=disk{at},{common}"));
    let serial = if disk.serial.is_empty() { String::new() } else { format!(",serial={}", disk.serial) };
    arguments.pair("-device", format!("virtio-blk-pci,drive=disk{at},write-cache={write_cache}{share}{serial}"));
}
