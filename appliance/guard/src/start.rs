//! From a checked plan to duty: proves earlier runs gone, prepares everything, and hands over.
//!
//! Owns the order of SAFETY E4: the guard's lock, kill and emptiness of the earlier cgroup, the VMs' lock; only then is
//! anything started or reported. Everything that allocates happens here.

use crate::cgroup::Group;
use crate::child::{Launcher, Program};
use crate::counters::{Counters, Recorder};
use crate::duty::Duty;
use crate::host::names;
use crate::lease::Lease;
use crate::link::Link;
use crate::load::Plan;
use crate::restart::Restart;
use crate::runs::Runs;
use crate::vm::{Kept, Node};
use crate::{lock, memory, qemu, rules, say, sys};
use palisade_core::id::NodeId;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long earlier processes may take to end before this guard gives up (and its unit starts another).
const GONE_WAIT: Duration = Duration::from_secs(30);
/// How long the vsock process may take to listen.
const VSOCK_WAIT: Duration = Duration::from_secs(3);

/// Runs a host until it is told to end. True: every process is gone.
///
/// # Errors
/// A sentence for a person; nothing of this guard's runs then.
pub fn run(plan: &Plan) -> Result<bool, String> {
    let (host, config) = (&plan.host, &plan.config);
    let signals =
        sys::signal_fd(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1]).map_err(failed("signals"))?;
    enter(&host.state)?;
    let _only_guard = lock::guard()?;
    let lock_vms = memory::protect(host.lock_memory);
    let _vm_lock = prove_gone(host.host, &host.state)?;
    let counters = Counters::load(plan.boot)?;
    let group = Group::make(host.host, &host.state)
        .inspect_err(|error| {
            say!(
                "cgroup: REFUSED: {error}; the lock and the kernel's parent-death signal still end VMs with their guard"
            );
        })
        .ok();
    if let Some(group) = &group {
        say!("cgroup: VMs are born in {}", group.path().display());
    }
    let duty = prepare(plan, &counters, lock_vms);
    let (nodes, kept) = duty.map_err(failed("the state directory"))?;
    let mut duty = Duty {
        boot: plan.boot,
        stamp_ms: config.timing.stamp_ms,
        order_ms: config.timing.order_ms,
        launcher: Launcher::new(group.as_ref().map(AsFd::as_fd)).map_err(failed("/dev/null"))?,
        nodes,
        kept,
        link: Link::listen().map_err(failed("the guard's socket"))?,
        lease: Lease::new(config.timing.guard_lease_ms),
        recorder: Recorder::start(counters).map_err(failed("the counters"))?,
        signals,
        timer: sys::timer_fd().map_err(failed("a timer"))?,
    };
    begin_vsock(plan, &mut duty);
    let all_gone = duty.run();
    if all_gone && let Some(group) = group {
        group.remove();
    }
    Ok(all_gone)
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// Makes the state directory and goes there: QEMU's sockets have short names.
fn enter(state: &Path) -> Result<(), String> {
    let named = |error| format!("state is {}: {error}; correct the path, or make its parent writable", state.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(named)?;
    std::env::set_current_dir(state).map_err(named)?;
    if !sys::on_tmpfs(c".") {
        say!("state is {}: on a disk, so starts wait for it; a directory in /run does not", state.display());
    }
    Ok(())
}

/// Kills what an earlier guard started, and waits for the proof. The lock is then held, and inherited by what is started.
fn prove_gone(host: u8, state: &Path) -> Result<File, String> {
    let lock = lock::vms()?;
    let earlier = Group::earlier(host, state);
    let begin = Instant::now();
    let mut said = begin;
    loop {
        earlier.iter().for_each(Group::kill);
        let empty = earlier.iter().all(Group::is_empty);
        if empty && lock::take(&lock)? {
            break;
        }
        let now = Instant::now();
        let waiting = if empty { "their lock is held" } else { "their cgroup is not empty" };
        if now - begin >= GONE_WAIT {
            return Err(format!(
                "processes of an earlier guard do not end ({waiting}); nothing is started while they may still write; a \
                 process in state D waits for its storage: repair that, or reboot the host"
            ));
        }
        if now - said >= Duration::from_secs(1) {
            said = now;
            say!("waiting for the end of an earlier guard's processes: {waiting}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    earlier.iter().for_each(Group::remove);
    sys::inheritable(lock.as_fd()).map_err(failed("the VMs' lock"))?;
    say!("every earlier run is gone: no process holds their lock");
    Ok(lock)
}

/// All nodes, and what is kept running, ready to start.
fn prepare(plan: &Plan, counters: &Counters, lock: bool) -> std::io::Result<(Vec<Node>, Vec<Kept>)> {
    let (host, config) = (&plan.host, &plan.config);
    let sockets = if host.vsock.is_some() { qemu::vsock_sockets(host, config) } else { Vec::new() };
    let mut nodes = Vec::new();
    for own in &host.nodes {
        let number = NodeId::new(own.id);
        let unproved = rules::unproved_disk(own);
        if let Some(why) = &unproved {
            say!("{number}: vm-gone and vm-stopped are no proof: {why}");
        }
        let arguments = qemu::node(host, config, own, lock);
        let log = format!("node-{}.log", own.id);
        let program = Program::prepare(&host.qemu, &arguments, &log, Some(own.oom_score_adj))?
            .with_socket(sockets.iter().find(|name| **name == names::vhost(own.id)))?;
        let runs = Runs::new(number, plan.boot, unproved.is_none(), counters.of(number));
        nodes.push(Node { runs, program, process: None, gone_us: 0 });
    }
    let mut kept = Vec::new();
    let mut keep = |name, program, appliance| {
        kept.push(Kept { name, program, process: None, restart: Restart::default(), gone_us: 0, due_us: 0, appliance });
    };
    let devices = qemu::vsock(host, config);
    if let Some(vsock) = host.vsock.as_ref().filter(|_| !devices.is_empty()) {
        keep("vhost-device-vsock", Program::prepare(&vsock.program, &devices, "vsock.log", None)?, false);
    }
    if host.appliance.start {
        let arguments = qemu::appliance(host, config, lock);
        let program = Program::prepare(&host.qemu, &arguments, "appliance.log", None)?
            .with_socket(sockets.iter().find(|name| *name == names::APPLIANCE_VHOST))?;
        keep("the appliance", program, true);
    }
    Ok((nodes, kept))
}

/// The vsock devices must listen before a VM is started: QEMU does not come back to them.
fn begin_vsock(plan: &Plan, duty: &mut Duty<'_>) {
    let Some(vsock) = duty.kept.iter_mut().find(|kept| !kept.appliance) else { return };
    let sockets = qemu::vsock_sockets(&plan.host, &plan.config);
    for socket in &sockets {
        let _ = std::fs::remove_file(socket);
    }
    let until = Instant::now() + VSOCK_WAIT;
    vsock.restart.on_start(sys::boottime_us());
    match duty.launcher.start(&vsock.program) {
        Ok(process) => vsock.process = Some(process),
        Err(error) => return say!("{} cannot be started: {error}", vsock.name),
    }
    let listens = |name: &String| std::fs::metadata(name).is_ok_and(|about| about.file_type().is_socket());
    while !sockets.iter().all(listens) {
        if Instant::now() >= until {
            return say!("{} does not listen: vsock.log may say why", vsock.name);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    say!("{} listens: {} devices", vsock.name, sockets.len());
}
