//! What the tests with a real volume share: a room with nodes that write, ways to die, and the wait for what must follow.
//!
//! Owns the order of a death: all write, the deed, every survivor is started with that death and its write returns, the dead
//! node is back and all write again. Must never assert a tight time: the machine is shared.
#![allow(dead_code, reason = "each test takes what it needs")]

use palisade_qemu::cluster::Cluster;
use palisade_qemu::event::{Event, Kind, Who};
use palisade_qemu::journal::{Journal, Place};
use palisade_qemu::plan::{Artefacts, Plan};
use palisade_qemu::sys::{self, Signal};
use palisade_qemu::{prepare, show, stall, work};
use std::sync::Arc;
use std::time::Duration;

/// Ten times what a boot, a mount and the first writes take.
pub const WHOLE: Duration = Duration::from_secs(180);
/// Writes of each node before and after a deed.
pub const SOME: usize = 12;

/// Files that a node makes alone before it dies: the first ones come while others still take over the locks that it had.
const ALONE: usize = 60;

/// A room in which every node has mounted the volume, appends to the log, and makes files.
pub fn room(plan: Plan) -> Cluster {
    room_of(plan, |_| {})
}

/// The same of other parts than usual.
pub fn room_of(plan: Plan, change: impl FnOnce(&mut Artefacts)) -> Cluster {
    let mut artefacts = prepare::prepare(&|line| println!("{line}")).expect("what is needed can be had").artefacts;
    change(&mut artefacts);
    let factor = stall::factor(stall::measure(Duration::from_secs(2)));
    println!("the machine needs the factor {factor}");
    let plan = Plan { timing: palisade_qemu::plan::scaled(plan.timing, factor), ..plan.with_volume(20) };
    let cluster = Cluster::build(plan, &artefacts, Arc::new(Journal::new(true))).expect("the room can be built");
    let cluster = show::come_up(cluster).expect("all nodes mount");
    // A node that is in the group may still be at its mount.
    writing(&cluster);
    let place = cluster.journal().place();
    all(&cluster).into_iter().for_each(|node| create(&cluster, node));
    for node in all(&cluster) {
        let is_made = |event: &Event| event.who == Who::Node(node) && event.text.starts_with("CREATED ");
        cluster.journal().wait(place, WHOLE, "the first file of a node", is_made).expect("every node makes files");
    }
    cluster
}

/// All nodes.
pub fn all(cluster: &Cluster) -> Vec<u8> {
    cluster.plan().nodes.iter().map(|node| node.id).collect()
}

/// Waits until every node writes.
pub fn writing(cluster: &Cluster) {
    let place = cluster.journal().place();
    cluster.wait_writes(place, &all(cluster), SOME, WHOLE).expect("every node writes");
}

/// Ends a node's QEMU as the kernel ends a process.
pub fn kill(cluster: &Cluster, node: u8) {
    let host = cluster.plan().nodes.iter().find(|known| known.id == node).expect("the node is known").host;
    let pid = cluster.host(host).expect("its host is known").node_pid(node).expect("its QEMU runs");
    sys::signal(pid, Signal::Kill).expect("it can be killed");
}

/// What a death came to.
#[derive(Debug)]
pub struct Death {
    /// For each survivor, from the deed to the return of its write.
    pub goes_on: Vec<(u8, Duration)>,
    /// The incarnation that died.
    pub incarnation: u64,
}

/// Hurts `victims` while all write, and waits until the survivors go on with their deaths. The victims come back by
/// themselves; `back` waits for that.
pub fn death(cluster: &Cluster, victims: &[u8], class: &str, text: &str, deed: impl FnOnce(&Cluster)) -> Death {
    writing(cluster);
    let journal = cluster.journal();
    let place = journal.place();
    let at = journal.inject(text);
    deed(cluster);
    let mut goes_on = Vec::new();
    let mut incarnation = 0;
    for survivor in all(cluster).into_iter().filter(|node| !victims.contains(node)) {
        let mut last = Duration::ZERO;
        for victim in victims {
            let is_down = |e: &Event| e.who == Who::Node(survivor) && e.kind == Kind::NodeDown && e.node == *victim;
            let down = journal.wait(place, WHOLE, &format!("NODE_DOWN of {victim} on node {survivor}"), is_down);
            let down = down.expect("every survivor is told");
            assert_eq!(down.class, class, "{}", down.text);
            incarnation = down.incarnation;
            // Whatever the barrier was: the first START without it says that it died, or its journal is lost.
            let starts = |e: &Event| {
                e.who == Who::Node(survivor) && e.kind == Kind::GroupStart && e.at >= at && !e.set().contains(victim)
            };
            let start = journal.wait(place, WHOLE, &format!("GROUP_START without {victim} on node {survivor}"), starts);
            let start = start.expect("every survivor is started");
            assert_eq!(start.fate_of(*victim), Some(("dead", incarnation)), "{}", start.text);
            last = last.max(start.at);
        }
        let time = work::goes_on(journal, survivor, at, last, WHOLE).expect("the survivor's write returns");
        journal.note(&format!("node {survivor}'s write returned {} ms after: {text}", time.as_millis()));
        goes_on.push((survivor, time));
    }
    Death { goes_on, incarnation }
}

/// Makes a node make many files in a directory of its own, at which no other node looks, and nothing else: a lock that another
/// node wants makes OCFS2 write its whole journal to its place, and so nothing but the journal knows the last files. Returns,
/// when there are some, the place from which on they are told.
pub fn create_alone(cluster: &Cluster, node: u8) -> Place {
    cluster.shell(node, "volume idle", WHOLE).expect("its writers end");
    let journal = cluster.journal();
    let place = journal.place();
    cluster
        .shell(node, "volume create --dir /mnt/files-alone --pause-ms 20", WHOLE)
        .expect("the maker of files starts");
    cluster.wait_writes(place, &[node], ALONE, WHOLE).expect("it makes files");
    place
}

/// Of the files that a node was told to make since a place: how many another node does not find, and how many there were.
pub fn lost(cluster: &Cluster, place: Place, node: u8, seen_from: u8) -> (usize, usize) {
    let made = cluster.journal().since(place).into_iter();
    let made = made.filter(|event| event.who == Who::Node(node) && event.text.starts_with("CREATED "));
    let names: Vec<String> = made.filter_map(|event| event.value("name").map(str::to_owned)).collect();
    let there = cluster.files_on(seen_from).expect("the directories can be read");
    (names.iter().filter(|name| !there.contains(*name)).count(), names.len())
}

/// Waits until victims have mounted again and all write.
pub fn back(cluster: &Cluster) {
    cluster.wait_all_up(WHOLE).expect("all nodes are back and in the group");
    writing(cluster);
}

/// Makes a node that came back make files again: some in a second, since at the end every node reads them all.
pub fn create(cluster: &Cluster, node: u8) {
    cluster.shell(node, "volume create --pause-ms 300", WHOLE).expect("the maker of files starts");
}

/// Ends all writers, unmounts everywhere, and holds what lies on the disk against what was acknowledged.
pub fn settle(cluster: &Cluster) {
    let account = cluster.settle(&all(cluster)).expect("nothing that was acknowledged is lost");
    assert!(account.changes > 0, "the nodes took turns: {account:?}");
    let files = work::created(cluster.journal()).len();
    assert!(account.acknowledged > 0 && files > 0, "{account:?}, {files} files");
    println!("PASS {account:?}, {files} files");
}
