//! The guard as a process, with real QEMUs: what it promises to the appliance and to the next guard.
//!
//! Owns one story per rule; the names say which. Needs Linux, root (for the cgroup) and `qemu-system-x86_64`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{BOOT_ID, World, ending, host, image, lives, signal, wait_for};
use palisade_core::wire::guard::{Message, RunState};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[test]
fn a_node_is_started_by_an_order_after_its_acknowledgement_and_its_exit_is_known() {
    let mut world = World::new("order");
    let mut appliance = world.started();
    appliance.until(1, RunState::None, 0);
    appliance.until(2, RunState::None, 0);
    assert_eq!(appliance.boot, BOOT_ID);
    appliance.order_start(1, 0);
    let report = appliance.until(1, RunState::Starting, 1);
    assert_eq!((report.gone_through, report.boot, report.disks_qualify), (0, BOOT_ID, true));
    appliance.ack(1, 2);
    appliance.ack(2, 1);
    appliance.stay(Duration::from_millis(300));
    assert_eq!(appliance.run(1).state, RunState::Starting, "announced until its own counter is acknowledged");
    assert!(!world.state("node-1.channel").exists(), "nothing was executed");
    appliance.ack(1, 1);
    appliance.until(1, RunState::Running, 1);
    let pid = world.process("node 1 run 1");
    assert!(lives(pid));
    wait_for("the node's sockets", || world.state("node-1.monitor").exists().then_some(()));
    // A repeated order and a repeated ACK change nothing.
    appliance.order_start(1, 0);
    appliance.ack(1, 1);
    appliance.stay(Duration::from_millis(200));
    assert_eq!((appliance.run(1).state, world.process("node 1 run 1")), (RunState::Running, pid));

    let before = Instant::now();
    signal(pid, libc::SIGKILL);
    let report = appliance.until(1, RunState::Exited, 1);
    println!("the exit was known after {:?}", before.elapsed());
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!((report.gone_through, report.status), (1, -9));
    assert_eq!(appliance.run(2).state, RunState::None);
}

#[test]
fn a_kill_of_another_run_does_nothing() {
    let mut world = World::new("kill");
    let mut appliance = world.started();
    appliance.start(1, 1);
    let pid = world.process("node 1 run 1");
    for counter in [0, 2] {
        appliance.kill(1, counter);
    }
    appliance.kill(2, 1);
    appliance.stay(Duration::from_millis(200));
    assert!(lives(pid) && appliance.run(1).state == RunState::Running);
    appliance.kill(1, 1);
    let report = appliance.until(1, RunState::Exited, 1);
    assert_eq!((report.gone_through, report.status), (1, -9));
    assert!(!lives(pid));
    // An order for the run that was ended does nothing to the next.
    appliance.start(1, 2);
    appliance.kill(1, 1);
    appliance.stay(Duration::from_millis(200));
    assert_eq!((appliance.run(1).state, appliance.run(1).gone_through), (RunState::Running, 1));
}

#[test]
fn a_start_of_a_living_fenced_vm_ends_it_first() {
    let mut world = World::new("again");
    let mut appliance = world.started();
    appliance.start(1, 1);
    let pid = world.process("node 1 run 1");
    appliance.order_start(1, 1);
    let report = appliance.until(1, RunState::Starting, 2);
    assert_eq!(report.gone_through, 1);
    assert!(!lives(pid));
    appliance.ack(1, 2);
    appliance.until(1, RunState::Running, 2);
}

#[test]
fn the_end_of_the_lease_kills_every_node_and_a_new_lease_allows_a_start() {
    let mut world = World::new("lease");
    let mut appliance = world.started();
    appliance.start(1, 1);
    appliance.start(2, 1);
    appliance.leases = false;
    // A lease never gets shorter, and a stamp from the future counts for nothing.
    let last = appliance.clock;
    appliance.send(&Message::Lease { clock: last, lease_ms: 6000 });
    appliance.send(&Message::Lease { clock: last, lease_ms: 10 });
    appliance.send(&Message::Lease { clock: last + 60_000_000, lease_ms: 6000 });
    appliance.stay(Duration::from_secs(4));
    assert_eq!(appliance.run(1).state, RunState::Running);
    for node in [1, 2] {
        let report = appliance.until(node, RunState::Exited, 1);
        assert_eq!((report.gone_through, report.status), (1, -9));
    }
    let late_us = appliance.clock.saturating_sub(last + 6_000_000);
    println!("at most {} ms after the lease, everything is gone", late_us / 1000);
    assert!(appliance.clock + 400_000 > last + 6_000_000 && late_us < 2_000_000);
    assert!(world.log().contains("REFUSED: a lease from the stamp"));
    // Without a lease an order waits.
    appliance.send(&Message::Start { node: palisade_core::id::NodeId::new(1), after: 1 });
    appliance.stay(Duration::from_millis(400));
    assert_eq!(appliance.run(1).counter, 1);
    appliance.leases = true;
    appliance.until(1, RunState::Starting, 2);
}

#[test]
fn a_guard_and_vm_that_were_stopped_past_the_lease_gain_nothing() {
    let mut world = World::new("stopped");
    let mut appliance = world.started();
    appliance.lease_ms = 1500;
    appliance.start(1, 1);
    let (guard, pid) = (world.pid(), world.process("node 1 run 1"));
    signal(guard, libc::SIGSTOP);
    signal(pid, libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(2));
    assert!(lives(pid));
    // A lease that was sent before the stop is read after it, and is over all the same.
    appliance.send(&Message::Lease { clock: appliance.clock, lease_ms: 1500 });
    appliance.leases = false;
    let before = Instant::now();
    signal(guard, libc::SIGCONT);
    assert_eq!(appliance.until(1, RunState::Exited, 1).gone_through, 1);
    println!("killed, although stopped, {:?} after the guard went on", before.elapsed());
    assert!(before.elapsed() < Duration::from_secs(1));
    assert!(!lives(pid) && world.log().contains("killed by the lease"));
}

#[test]
fn vms_die_with_their_guard_and_the_next_proves_them_gone_and_counts_on() {
    let mut world = World::new("guard-dies");
    let mut appliance = world.started();
    appliance.start(1, 1);
    appliance.start(2, 1);
    appliance.kill(2, 1);
    appliance.until(2, RunState::Exited, 1);
    appliance.start(2, 2);
    let pids = [world.process("node 1 run 1"), world.process("node 2 run 2")];
    world.kill_guard();
    wait_for("the VMs' end", || pids.iter().all(|&pid| !lives(pid)).then_some(()));
    let mut appliance = world.started();
    let (one, two) = (appliance.until(1, RunState::Exited, 1), appliance.until(2, RunState::Exited, 2));
    assert_eq!((one.gone_through, two.gone_through), (1, 2));
    appliance.start(2, 3);
    // The host boots: its earlier runs are gone with that boot, and the counters count anew.
    world.kill_guard();
    world.write("boot_id", "11111111-1111-1111-1111-111111111111");
    let mut appliance = world.started();
    let report = appliance.until(2, RunState::None, 0);
    assert_eq!((report.boot, report.gone_through), (0x1111_1111_1111_1111, 0));
}

#[test]
fn a_vm_that_outlives_its_guard_is_killed_before_anything_is_started() {
    let mut world = World::new("orphan");
    let mut appliance = world.started();
    appliance.start(1, 1);
    let pid = world.process("node 1 run 1");
    let cgroup = std::fs::read_to_string(world.state("cgroup")).unwrap();
    world.kill_guard();
    wait_for("the VM's end", || (!lives(pid)).then_some(()));
    // A process that the kernel did not end with the guard: in the cgroup, with the lock.
    let lock = world.state("vm.lock");
    let script = format!("echo $$ > {cgroup}/cgroup.procs; exec flock --no-fork {} sleep 1000", lock.display());
    let mut orphan = ending("sh", &["-c", &script]);
    let holds = || std::fs::read_to_string("/proc/locks").unwrap().contains(&format!(" {} ", orphan.0.id()));
    wait_for("the orphan's lock", || holds().then_some(()));
    let mut appliance = world.started();
    assert_eq!(appliance.until(1, RunState::Exited, 1).gone_through, 1);
    assert!(!orphan.0.wait().unwrap().success());
}

#[test]
fn a_process_that_holds_the_lock_keeps_a_new_guard_from_everything() {
    let mut world = World::new("lock");
    world.started();
    world.end_guard();
    // Not in the cgroup, so the guard cannot end it; it may be a VM.
    let lock = world.state("vm.lock");
    let holder = ending("flock", &["--no-fork", lock.to_str().unwrap(), "sleep", "1000"]);
    std::thread::sleep(Duration::from_millis(300));
    world.start();
    wait_for("a sentence", || world.log().contains("waiting for the end of an earlier guard's").then_some(()));
    let early = std::os::unix::net::UnixStream::connect(world.state("guard.sock"));
    assert!(early.is_err(), "it reports nothing");
    drop(holder);
    world.connect().until(1, RunState::None, 0);
}

#[test]
fn a_second_guard_refuses_and_harms_nothing() {
    let mut world = World::new("second");
    let mut appliance = world.started();
    appliance.start(1, 1);
    let (pid, guard) = (world.process("node 1 run 1"), world.pid());
    let second = world.once("run");
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(75), "{said}");
    assert!(said.contains(&format!("another guard (process {guard}) holds this state directory")), "{said}");
    assert!(lives(pid));
    appliance.until(1, RunState::Running, 1);
}

#[test]
fn the_appliance_alone_is_restarted_at_once_and_the_nodes_go_on() {
    let mut world = World::new("appliance");
    // A QEMU that stays in its firmware stands for the appliance: its kernel is no PVH or bzImage, only an ELF.
    let mut described = host();
    world.write("stand-in", "#!/bin/sh\nexec sleep 1000\n");
    world.write("image", "\x7fELF");
    let script = world.dir.join("stand-in");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    described["qemu"] = script.to_str().unwrap().into();
    described["appliance"] =
        serde_json::json!({ "image": "image", "links": [{ "dgram": { "local": "a", "remote": "b" } }] });
    world.write("host.json", &described.to_string());
    let mut appliance = world.started();
    appliance.start(1, 1);
    let node = world.process("node 1 run 1");
    let first = wait_for("the appliance", || {
        world.log().contains("the appliance started").then(|| world.process("the appliance"))
    });
    let before = Instant::now();
    signal(first, libc::SIGKILL);
    let second = wait_for("its restart", || Some(world.process("the appliance")).filter(|pid| *pid != first));
    println!("restarted after {:?}", before.elapsed());
    assert!(before.elapsed() < Duration::from_secs(1));
    // The new one takes the link over, and learns all.
    let mut next = world.connect();
    assert_eq!(next.until(1, RunState::Running, 1).gone_through, 0);
    wait_for("the old link's end", || (!appliance.listen()).then_some(()));
    assert!(lives(node));
    // A crash loop is slowed down.
    signal(second, libc::SIGKILL);
    wait_for("a pause", || world.log().contains("restart in 100 ms").then_some(()));
}

/// Where the appliance's VM is a real QEMU with every device of `board` and a program of our own in place of the image.
fn with_image(name: &str, exit: Option<u8>) -> World {
    let world = World::new(name);
    std::fs::write(world.dir.join("image"), image(exit)).unwrap();
    let mut described = host();
    described["appliance"] =
        serde_json::json!({ "image": "image", "links": [{ "dgram": { "local": "a", "remote": "b" } }] });
    world.write("host.json", &described.to_string());
    world
}

#[test]
fn the_appliance_vm_starts_connects_and_comes_back() {
    let mut world = with_image("vm", None);
    world.start();
    let connections = |world: &World| world.log().matches("console is connected").count();
    wait_for("the console", || (connections(&world) == 1).then_some(()));
    let before = Instant::now();
    signal(world.process("the appliance"), libc::SIGKILL);
    wait_for("the console again", || (connections(&world) == 2).then_some(()));
    println!("killed, restarted and connected after {:?}", before.elapsed());
    assert_eq!(world.end_guard(), 0);
    assert!(world.log().contains("end: allocations since the start of duty: 0"));
}

#[test]
fn an_appliance_that_refuses_its_configuration_is_not_restarted_in_a_loop() {
    let mut world = with_image("refuses", Some(2));
    world.start();
    wait_for("a sentence", || {
        world.log().contains("REFUSES its configuration: its serial log says why; next try in 5000 ms").then_some(())
    });
}

#[test]
fn an_appliance_in_fail_stop_is_restarted_at_once() {
    let mut world = with_image("fail-stop", Some(0));
    world.start();
    wait_for("a sentence", || world.log().contains("ended in fail-stop").then_some(()));
    wait_for("its restart", || (world.log().matches("the appliance started").count() >= 2).then_some(()));
}

#[test]
fn a_node_has_the_disks_and_monitors_that_were_described() {
    let mut world = World::new("devices");
    std::fs::File::create(world.dir.join("a,volume")).unwrap().set_len(1 << 20).unwrap();
    let mut described = host();
    described["nodes"][0]["operator_monitor"] = true.into();
    described["nodes"][0]["disks"] = serde_json::json!([
        { "source": { "file": "a,volume" }, "share": true, "aio": "native", "cache": "directsync", "serial": "VOL-1" },
        { "source": { "file": "a,volume" }, "share": true, "read_only": true, "cache": "writeback" },
        { "source": { "blockdev": "driver=null-co,size=1048576" } },
    ]);
    described["nodes"][0]["nics"] = serde_json::json!([
        { "mac": "52:54:00:00:05:01", "netdev": { "user": {} } },
        { "mac": "52:54:00:00:05:02", "netdev": { "dgram": { "local": "n1", "remote": "s1" } } },
    ]);
    world.write("host.json", &described.to_string());
    let mut appliance = world.started();
    appliance.start(1, 1);
    assert!(!appliance.run(1).disks_qualify && appliance.run(2).disks_qualify);
    let monitor = wait_for("the operator's monitor", || UnixStream::connect(world.state("node-1.operator")).ok());
    let mut lines = BufReader::new(monitor.try_clone().unwrap()).lines();
    let mut ask = |question: &str| {
        (&monitor).write_all(question.as_bytes()).unwrap();
        lines.by_ref().map(Result::unwrap).find(|line| line.contains("\"return\"")).unwrap()
    };
    ask("{\"execute\":\"qmp_capabilities\"}");
    let blocks: serde_json::Value = serde_json::from_str(&ask("{\"execute\":\"query-block\"}")).unwrap();
    let inserted = |at: usize, field: &str| blocks["return"][at]["inserted"][field].clone();
    assert_eq!(inserted(0, "cache")["direct"], true);
    assert_eq!(inserted(0, "cache")["writeback"], false);
    assert_eq!((inserted(1, "ro"), inserted(1, "cache")["direct"].clone()), (true.into(), false.into()));
    assert_eq!(inserted(2, "drv"), "raw");
    // Of one processor, with room for two: without that the emulator leaves out the barriers that a driver's queues live by.
    let places: serde_json::Value = serde_json::from_str(&ask("{\"execute\":\"query-hotpluggable-cpus\"}")).unwrap();
    let places = places["return"].as_array().unwrap();
    assert_eq!((places.len(), places.iter().filter(|place| place.get("qom-path").is_some()).count()), (2, 1));
}

#[test]
fn a_told_end_ends_the_nodes_first_and_says_so() {
    let mut world = World::new("end");
    let mut appliance = world.started();
    appliance.start(1, 1);
    let pid = world.process("node 1 run 1");
    signal(world.pid(), libc::SIGTERM);
    assert_eq!(appliance.until(1, RunState::Exited, 1).gone_through, 1);
    assert!(!lives(pid));
    assert_eq!(world.guard.take().unwrap().wait().unwrap().code(), Some(0));
}

#[test]
fn nothing_is_allocated_on_duty() {
    let mut world = World::new("allocations");
    let mut appliance = world.started();
    // Everything that happens on duty: starts, refused orders, an exit, kills, garbage, a new appliance, a status, a lease's end.
    for counter in 1..=3 {
        appliance.start(1, counter);
        appliance.start(2, counter);
        appliance.kill(1, 99);
        appliance.kill(7, 1);
        appliance.kill(1, counter);
        signal(world.process(&format!("node 2 run {counter}")), libc::SIGKILL);
        appliance.until(1, RunState::Exited, counter);
        appliance.until(2, RunState::Exited, counter);
        signal(world.pid(), libc::SIGUSR1);
        appliance.send(&Message::Appliance { incarnation: 5 });
        appliance.send(&Message::Stamp { boot: 1, clock: 1 });
        appliance = world.connect();
    }
    appliance.start(1, 4);
    appliance.leases = false;
    appliance.until(1, RunState::Exited, 4);
    assert_eq!(world.end_guard(), 0);
    let log = world.log();
    assert!(log.contains("killed by the lease"), "{log}");
    assert!(log.contains("end: allocations since the start of duty: 0, log lines lost: 0"), "{log}");
}
