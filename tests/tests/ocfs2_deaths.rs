//! Nodes that write to one OCFS2 volume die in every way, and nothing that was acknowledged is lost.
//!
//! Owns the demand. All nodes append to one log under a lock and make files all the time; at the end the volume is checked
//! and each acknowledged write is found (palisade_qemu::work). Needs QEMU and minutes: `cargo verify` runs it.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod ocfs2_support;

use ocfs2_support::{SOME, all, back, create, create_alone, death, kill, lost, room, settle, writing};
use palisade_qemu::event::{Event, Kind, Who};
use palisade_qemu::plan::Plan;
use std::time::Duration;

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn a_node_that_is_killed_twice_panics_and_hangs_costs_no_acknowledged_write() {
    let cluster = room(Plan::one_host("deaths", 2));
    // SHIM trap 1: what the dead node had created just before, and nobody else had looked at, is there as soon as the survivor
    // goes on. `ocfs2_spoilt` shows that it would be missing.
    let place = create_alone(&cluster, 2);
    let first = death(&cluster, &[2], "vm-gone", "node 2's QEMU gets SIGKILL", |cluster| kill(cluster, 2));
    let (missing, made) = lost(&cluster, place, 2, 1);
    assert!(missing == 0 && made > SOME, "{missing} of {made} files of the dead node are lost");
    cluster.shell(1, "volume idle", Duration::from_secs(30)).unwrap();
    cluster.settle_on(1).expect("the dead node's journal was replayed");
    cluster.write_on(1, "").unwrap();
    create(&cluster, 1);
    back(&cluster);
    create(&cluster, 2);
    // SHIM trap 5: the second death of the same number is a death of its own.
    let second = death(&cluster, &[2], "vm-gone", "node 2's QEMU gets SIGKILL again", |cluster| kill(cluster, 2));
    assert_ne!(first.incarnation, second.incarnation);
    back(&cluster);
    create(&cluster, 2);
    death(&cluster, &[2], "vm-stopped", "node 2's kernel panics", |cluster| cluster.command(2, "panic").unwrap());
    back(&cluster);
    create(&cluster, 2);
    death(&cluster, &[1], "vm-stopped", "node 1 hangs with interrupts off", |cluster| {
        cluster.command(1, "hang").unwrap();
    });
    back(&cluster);
    settle(&cluster);
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn nodes_leave_and_come_while_others_write_and_one_dies_at_it() {
    let cluster = room(Plan::one_host("leaving", 2));
    let journal = cluster.journal();
    for _ in 0..2 {
        let place = journal.place();
        cluster.unmount(2).unwrap();
        let left = journal.wait(place, Duration::from_secs(60), "the barrier without node 2", |event| {
            event.who == Who::Node(1) && event.kind == Kind::GroupStart && !event.set().contains(&2)
        });
        assert_eq!(left.unwrap().fate_of(2).map(|(fate, _)| fate), Some("left"));
        let place = journal.place();
        cluster.wait_writes(place, &[1], 10, Duration::from_secs(60)).expect("the one that stays writes");
        cluster.mount(2).unwrap();
        cluster.write_on(2, "").unwrap();
        writing(&cluster);
    }
    let fenced = journal.find(0, |event: &Event| matches!(event.kind, Kind::Condemned | Kind::NodeDown));
    assert_eq!(fenced, None, "who leaves in peace is not fenced");
    // On the way out, and on the way in.
    for words in ["volume umount", "volume mount"] {
        if words == "volume mount" {
            cluster.unmount(2).unwrap();
        }
        let place = journal.place();
        cluster.command(2, words).unwrap();
        let moves = journal.wait(place, Duration::from_secs(60), "the barrier of the move", |event| {
            event.who == Who::Node(1) && event.kind == Kind::GroupStop
        });
        moves.unwrap();
        journal.inject(&format!("node 2's QEMU gets SIGKILL at `{words}`"));
        kill(&cluster, 2);
        let place = journal.place();
        cluster.wait_writes(place, &[1], 10, Duration::from_secs(120)).expect("the survivor's writes return");
        back(&cluster);
    }
    assert_eq!(all(&cluster), [1, 2]);
    settle(&cluster);
}
