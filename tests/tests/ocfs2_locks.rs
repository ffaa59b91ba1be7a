//! POSIX locks (fcntl) on one OCFS2 volume hold between its nodes, end with whoever held them, and are lost with nobody else.
//!
//! Owns two nodes, of which node 1 grants while it lives, and what their processes are told. Prints what a lock costs. Must
//! never assert a tight time: the machine is shared. Needs QEMU and minutes: `cargo verify` runs it.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod ocfs2_support;

use ocfs2_support::{SOME, WHOLE, all, kill, room, settle, writing};
use palisade_qemu::cluster::Cluster;
use palisade_qemu::event::{Event, Kind, Who};
use palisade_qemu::plan::Plan;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
/// Long enough for a lock to be given by mistake.
const A_WHILE: Duration = Duration::from_secs(1);

/// What a node's shell answers.
fn answer(cluster: &Cluster, node: u8, line: &str) -> String {
    cluster.shell(node, line, SOON).unwrap().trim().to_owned()
}

fn idle(cluster: &Cluster, node: u8) {
    answer(cluster, node, "volume idle");
}

fn is_locked(node: u8) -> impl Fn(&Event) -> bool {
    move |event| event.who == Who::Node(node) && event.text == "LOCKED"
}

/// Starts a process that locks these bytes, waits for them if it must, and keeps them. From where on the journal tells.
fn begin_hold(cluster: &Cluster, node: u8, bytes: &str) -> usize {
    let place = cluster.journal().place();
    let arguments = format!("hold --file /mnt/lock --lock posix --bytes {bytes} --ms 600000");
    answer(cluster, node, &format!("palisade-write {arguments} >/dev/ttyS1 2>&1 &"));
    place
}

fn hold(cluster: &Cluster, node: u8, bytes: &str) {
    let place = begin_hold(cluster, node, bytes);
    cluster.journal().wait(place, SOON, "the lock", is_locked(node)).unwrap();
}

/// Whether these bytes can be had at once.
fn attempt(cluster: &Cluster, node: u8, bytes: &str) -> String {
    answer(cluster, node, &format!("palisade-checker try --file /mnt/lock --lock posix --bytes {bytes}"))
}

/// Who stands against it: the process, and its bytes.
fn find(cluster: &Cluster, node: u8, bytes: &str) -> (i64, String) {
    let said = answer(cluster, node, &format!("palisade-checker find --file /mnt/lock --bytes {bytes}"));
    let rest = said.strip_prefix("HELD pid=").unwrap_or_else(|| panic!("{said}"));
    let (pid, rest) = rest.split_once(' ').unwrap();
    (pid.parse().unwrap(), rest.to_owned())
}

fn start_without(cluster: &Cluster, place: usize, survivor: u8, dead: u8) -> Event {
    let start = |event: &Event| {
        event.who == Who::Node(survivor) && event.kind == Kind::GroupStart && !event.set().contains(&dead)
    };
    cluster.journal().wait(place, WHOLE, "GROUP_START without the dead node", start).unwrap()
}

/// A node that was killed has mounted again.
fn mounted(cluster: &Cluster, place: usize, node: u8) {
    let says = |event: &Event| event.who == Who::Node(node) && event.text.starts_with("MOUNTED");
    cluster.journal().wait(place, WHOLE, "the mount of who was killed", says).unwrap();
    cluster.wait_all_up(WHOLE).unwrap();
}

/// What the shims count of it; nothing may have been counted that must never be.
fn counted(cluster: &Cluster) {
    for node in all(cluster) {
        let said = answer(cluster, node, "grep -E '^(locks|mail)' /sys/kernel/debug/palisade/state");
        println!("node {node}: {}", said.replace('\n', " "));
        for word in ["conflicts=0", "blurred=0", "frozen=0"] {
            assert!(said.contains(word), "node {node}: {said}");
        }
    }
}

fn ranges(cluster: &Cluster) {
    hold(cluster, 2, "10-19");
    for (bytes, said) in [("10-19", "TAKEN"), ("0-10", "TAKEN"), ("19-30", "TAKEN"), ("0-9", "FREE"), ("20-30", "FREE")]
    {
        for node in [1, 2] {
            assert_eq!(attempt(cluster, node, bytes), said, "{bytes} on node {node}");
        }
    }
    let (there, here) = (find(cluster, 1, "0-99"), find(cluster, 2, "0-99"));
    assert_eq!((&there.1[..], &here.1[..]), ("first=10 last=19", "first=10 last=19"));
    assert!(here.0 > 0 && there.0 == -here.0, "of another node it is a number below zero: {there:?}, {here:?}");
    // Who waits gets it when the holder is no more.
    let place = begin_hold(cluster, 1, "15-24");
    std::thread::sleep(A_WHILE);
    assert_eq!(cluster.journal().find(place, is_locked(1)), None, "node 2 has some of it");
    idle(cluster, 2);
    cluster.journal().wait(place, SOON, "the lock that node 1 waits for", is_locked(1)).unwrap();
    // Who is killed while it waits ends at once, and leaves nothing behind.
    let place = begin_hold(cluster, 2, "0-99");
    std::thread::sleep(A_WHILE);
    assert_eq!(cluster.journal().find(place, is_locked(2)), None, "node 1 has some of it");
    idle(cluster, 2);
    assert_eq!(attempt(cluster, 2, "0-14"), "FREE");
    idle(cluster, 1);
    for node in [2, 1] {
        assert_eq!(attempt(cluster, node, "0-99"), "FREE");
    }
}

fn umount_and_mount(cluster: &Cluster) {
    hold(cluster, 2, "0-9");
    cluster.unmount(2).unwrap();
    hold(cluster, 1, "0-4");
    assert_eq!(attempt(cluster, 1, "5-9"), "FREE", "who is gone holds nothing");
    cluster.mount(2).unwrap();
    assert_eq!(attempt(cluster, 2, "0-4"), "TAKEN");
    assert_eq!(attempt(cluster, 2, "5-9"), "FREE");
    idle(cluster, 1);
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn posix_locks_hold_in_the_whole_cluster_and_end_with_their_holder_alone() {
    let cluster = room(Plan::one_host("plocks", 2));
    let journal = cluster.journal();
    all(&cluster).into_iter().for_each(|node| idle(&cluster, node));
    ranges(&cluster);
    for (node, what) in [(2, "asks node 1"), (1, "grants itself")] {
        let line = "palisade-checker time --file /mnt/times --lock posix --count 300";
        println!("node {node}, which {what}: {}", answer(&cluster, node, line));
    }
    // The checker's log proves that no two had the lock.
    for node in all(&cluster) {
        cluster.write_on(node, "--lock posix --pause-ms 0").unwrap();
    }
    cluster.wait_writes(journal.place(), &all(&cluster), 5 * SOME, WHOLE).unwrap();
    all(&cluster).into_iter().for_each(|node| idle(&cluster, node));
    umount_and_mount(&cluster);
    counted(&cluster);
    // The holder's node dies: its lock is free with the START without it, and not before.
    hold(&cluster, 2, "0-9");
    let place = begin_hold(&cluster, 1, "5-14");
    std::thread::sleep(A_WHILE);
    assert_eq!(journal.find(place, is_locked(1)), None, "node 2 has some of it");
    let deed = journal.inject("node 2, which holds the lock, gets SIGKILL");
    kill(&cluster, 2);
    let start = start_without(&cluster, place, 1, 2);
    let got = journal.wait(place, WHOLE, "the lock of the dead node", is_locked(1)).unwrap();
    assert!(got.at >= start.at, "{} before {}", got.text, start.text);
    println!("node 1 has the dead node's lock {} ms after its death", got.at.saturating_sub(deed).as_millis());
    mounted(&cluster, place, 2);
    // The arbiter's node dies: what others hold is kept, by the next arbiter and by the one after.
    all(&cluster).into_iter().for_each(|node| idle(&cluster, node));
    hold(&cluster, 2, "0-9");
    let place = journal.place();
    journal.inject("node 1, which grants, gets SIGKILL");
    kill(&cluster, 1);
    start_without(&cluster, place, 2, 1);
    assert_eq!(attempt(&cluster, 2, "0-9"), "TAKEN");
    assert_eq!(attempt(&cluster, 2, "10-19"), "FREE");
    mounted(&cluster, place, 1);
    assert_eq!(attempt(&cluster, 1, "0-9"), "TAKEN");
    assert_eq!(attempt(&cluster, 1, "10-19"), "FREE");
    idle(&cluster, 2);
    assert_eq!(attempt(&cluster, 1, "0-9"), "FREE");
    counted(&cluster);
    cluster.write_on(2, "").unwrap();
    writing(&cluster);
    settle(&cluster);
}
