//! Nodes with one OCFS2 volume that are paused, forgotten by their appliance, or cut from each other alone; and locks.
//!
//! Owns the demand that nothing acknowledged is lost and nobody writes under an identity that is over. Needs QEMU and
//! minutes: `cargo verify` runs it.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod ocfs2_support;

use ocfs2_support::{SOME, WHOLE, all, back, death, room, settle, writing};
use palisade_guard::host::names;
use palisade_qemu::cluster::Cluster;
use palisade_qemu::event::{Event, Kind, Who};
use palisade_qemu::plan::{self, Plan};
use palisade_qemu::sys::{self, Signal};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What a person's monitor of a node answers to one command.
fn monitor(cluster: &Cluster, node: u8, command: &str) -> String {
    let host = cluster.plan().nodes.iter().find(|known| known.id == node).unwrap().host;
    let stream = UnixStream::connect(plan::state_dir(cluster.run_path(), host).join(names::operator(node))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut ask = |word: &str| {
        (&stream).write_all(format!("{{\"execute\":\"{word}\"}}\n").as_bytes()).unwrap();
        let is_answer = |line: &String| line.contains("\"return\"") || line.contains("\"error\"");
        answers.by_ref().map(Result::unwrap).find(is_answer).expect("QEMU answers")
    };
    ask("qmp_capabilities");
    ask(command)
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn long_who_is_paused_beyond_its_lease_writes_nothing_more_and_who_is_let_down_resets() {
    let cluster = room(Plan::one_host("paused", 2));
    let journal = cluster.journal();
    let place = journal.place();
    // SHIM trap 7: a lease inside the guest stands still with it, so the proof comes from the host.
    let dead = death(&cluster, &[2], "vm-stopped", "a person stops node 2's VM", |cluster| {
        monitor(cluster, 2, "stop");
    });
    journal.inject("a person lets node 2's VM run on");
    monitor(&cluster, 2, "cont");
    back(&cluster);
    let late = journal.since(place).into_iter().skip_while(|event| event.kind != Kind::NodeDown).find(|event| {
        event.who == Who::Node(2) && event.incarnation == dead.incarnation && event.kind != Kind::Written
    });
    assert_eq!(late, None, "the old incarnation says nothing more");
    // Nobody renews: the appliance stands still, and its nodes end by themselves before their guard has to end them. A node
    // that resets itself says nothing; that it writes no more is seen.
    let place = journal.place();
    let pid = cluster.host(1).unwrap().appliance_pid().unwrap();
    journal.inject("the QEMU of appliance 1 stands still");
    sys::signal(pid, Signal::Stop).unwrap();
    let killed = |event: &Event| event.who == Who::Guard(1) && event.text.contains("killed by the lease");
    let killed = journal.wait(place, WHOLE, "the guard's end of the lease", killed).unwrap();
    let written = journal.since(place).into_iter().filter(|event| event.kind == Kind::Written && event.at <= killed.at);
    let last = written.map(|event| event.at).max().expect("they wrote at first");
    assert!(last + Duration::from_millis(300) < killed.at, "no node wrote until its guard ended it");
    sys::signal(pid, Signal::Continue).unwrap();
    back(&cluster);
    settle(&cluster);
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn locks_hold_between_nodes_and_end_with_their_holder() {
    let cluster = room(Plan::one_host("locks", 2));
    let journal = cluster.journal();
    let soon = Duration::from_secs(30);
    let answer = |node, line: &str| cluster.shell(node, line, soon).unwrap().trim().to_owned();
    for node in [1, 2] {
        answer(node, "volume idle");
    }
    let hold = |node, mode: &str| {
        let place = journal.place();
        let line = format!("palisade-write hold --file /mnt/lock --lock {mode} --ms 600000 >/dev/ttyS1 2>&1 &");
        answer(node, &line);
        let has = |event: &Event| event.who == Who::Node(node) && event.text == "LOCKED";
        journal.wait(place, soon, "the lock", has).unwrap();
    };
    let attempt = |node, mode: &str| answer(node, &format!("palisade-checker try --file /mnt/lock --lock {mode}"));
    hold(2, "flock");
    assert_eq!(attempt(1, "flock"), "TAKEN", "flock holds in the whole cluster");
    assert_eq!(attempt(2, "flock"), "TAKEN");
    answer(2, "volume idle");
    assert_eq!(attempt(1, "flock"), "FREE");
    // So do POSIX locks: ocfs2_locks has more of them.
    hold(2, "posix");
    assert_eq!(attempt(2, "posix"), "TAKEN");
    assert_eq!(attempt(1, "posix"), "TAKEN");
    answer(2, "volume idle");
    // Who waits for the lock of a node that dies gets it.
    hold(2, "flock");
    let place = journal.place();
    answer(1, "palisade-write hold --file /mnt/lock --lock flock --ms 1000 >/dev/ttyS1 2>&1 &");
    std::thread::sleep(Duration::from_secs(1));
    let has = |event: &Event| event.who == Who::Node(1) && event.text == "LOCKED";
    assert_eq!(journal.find(place, has), None, "node 2 has it");
    let deed = journal.inject("node 2, which holds the lock, gets SIGKILL");
    ocfs2_support::kill(&cluster, 2);
    let got = journal.wait(place, WHOLE, "the lock of the dead node", has).unwrap();
    println!("node 1 has the dead node's lock {} ms after its death", got.at.saturating_sub(deed).as_millis());
    cluster.wait_all_up(WHOLE).unwrap();
    cluster.write_on(1, "").unwrap();
    writing(&cluster);
    settle(&cluster);
}

/// OCFS2 then cancels what the DLM may have granted in the same moment; the next request meets a DLM that still waits for the
/// answer to the cancel, and says EBUSY, which OCFS2 does not survive. The shim asks again.
#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn who_is_killed_while_it_waits_for_a_lock_does_no_harm() {
    let cluster = room(Plan::one_host("killed", 2));
    for _ in 0..25 {
        for node in all(&cluster) {
            cluster.shell(node, "volume idle", WHOLE).unwrap();
            cluster.write_on(node, "--pause-ms 0").unwrap();
        }
    }
    for node in all(&cluster) {
        let said = cluster.shell(node, "dmesg | grep -c 'kernel BUG' || true", WHOLE).unwrap();
        assert_eq!(said.trim(), "0", "node {node}'s kernel is whole");
    }
    settle(&cluster);
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn a_cut_between_the_nodes_alone_ends_with_the_loss_of_one_side() {
    let cluster = room(Plan::one_host("cut", 2));
    let journal = cluster.journal();
    let place = journal.place();
    let deed = journal.inject("the nodes' own network is cut; the appliances see everybody");
    cluster.switch().cut_link(cluster.plan().dlm_link());
    let condemned = |event: &Event| event.kind == Kind::Condemned && event.node != 0;
    let lost = journal.wait(place, WHOLE, "the decision who goes", condemned).unwrap().node;
    // As many nodes on each side, one host for both: the higher number goes (SAFETY F6).
    assert_eq!(lost, 2);
    let start = journal.wait(place, WHOLE, "GROUP_START without the lost side", |event| {
        event.who == Who::Node(1) && event.kind == Kind::GroupStart && !event.set().contains(&2)
    });
    let start = start.unwrap();
    assert_eq!(start.fate_of(2).map(|(fate, _)| fate), Some("dead"));
    let time = palisade_qemu::work::goes_on(journal, 1, deed, start.at, WHOLE).unwrap();
    println!("node 1's write returned {} ms after the cut", time.as_millis());
    cluster.wait_writes(journal.place(), &[1], SOME, WHOLE).unwrap();
    journal.inject("the nodes' network is whole again");
    cluster.switch().heal();
    back(&cluster);
    settle(&cluster);
}
