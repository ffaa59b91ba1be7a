//! What single lines of the shim are good for: it is built without them, in a copy, and what must follow is seen.
//!
//! Owns the defects. The product's module has no switch for them. A test here passes when the checker finds the loss, or the
//! cluster the culprit. Needs QEMU and minutes: `cargo verify` runs one, and `cargo verify --long` all.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod ocfs2_support;

use ocfs2_support::{WHOLE, create_alone, death, kill, lost, room_of};
use palisade_images::House;
use palisade_images::node::{self, Defect};
use palisade_qemu::cluster::Cluster;
use palisade_qemu::event::{Event, Kind, Who};
use palisade_qemu::plan::Plan;

/// SHIM trap 1: a dead node's comm stays.
const COMM_STAYS: Defect =
    Defect { name: "comm-stays", edits: &[("members.c", "\t\tpal_comm_over(node, entry->incarnation);\n", "")] };
/// The same in another way: it goes, but a second after the lockspace was started.
const COMM_GOES_LATE: Defect = Defect {
    name: "comm-goes-late",
    edits: &[
        (
            "members.c",
            "\tif (pal_drop_dead(member))\n\t\tpal_reserve_give_back();\n\terror = pal_program",
            "\terror = pal_program",
        ),
        (
            "members.c",
            "\t\terror = pal_run(member);\n\tpal_start_us",
            "\t\terror = pal_run(member);\n\tschedule_timeout_uninterruptible(HZ);\n\
             \tif (pal_drop_dead(member))\n\t\tpal_reserve_give_back();\n\tpal_start_us",
        ),
    ],
};
/// SHIM trap 4: recover_slot waits.
const RECOVER_WAITS: Defect = Defect {
    name: "recover-waits",
    edits: &[(
        "stack.c",
        "\tif (pal_members_recover(live->at, slot->nodeid))\n",
        "\tmsleep(60000);\n\tif (pal_members_recover(live->at, slot->nodeid))\n",
    )],
};

/// Nodes of one host that write, with a shim that has this defect.
fn spoilt(defect: &Defect, nodes: u8) -> Cluster {
    let image = node::build_spoilt(&House::here(), defect).unwrap_or_else(|error| panic!("{error}"));
    room_of(Plan::one_host(defect.name, nodes), |artefacts| artefacts.initrd = image.initrd)
}

/// The same death as in `ocfs2_deaths`, where nothing is lost.
fn a_death_loses_files(defect: &Defect) {
    let cluster = spoilt(defect, 2);
    let journal = cluster.journal();
    let place = create_alone(&cluster, 2);
    death(&cluster, &[2], "vm-gone", "node 2's QEMU gets SIGKILL", |cluster| kill(cluster, 2));
    let (missing, made) = lost(&cluster, place, 2, 1);
    journal.note(&format!("{}: {missing} of {made} files that were acknowledged are lost", defect.name));
    assert!(missing > 0, "the defect did no harm: the comm is not what trap 1 is about");
    cluster.shell(1, "volume idle", WHOLE).unwrap();
    let account = cluster.settle_on(1);
    println!("PASS {missing} of {made} files are lost, and the account says: {account:?}");
    assert!(account.is_err(), "the account must never settle");
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn a_comm_that_stays_loses_the_files_of_the_dead_and_the_account_says_so() {
    a_death_loses_files(&COMM_STAYS);
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify --long runs it"]
fn long_a_comm_that_goes_after_the_start_loses_them_too() {
    a_death_loses_files(&COMM_GOES_LATE);
}

/// With the sound shim a second death into a recovery is recovered as ever: `ocfs2_three`. Here the next STOP waits behind
/// recover_slot, and the survivor is fenced for it (SAFETY G4).
#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify --long runs it"]
fn long_a_recover_slot_that_waits_costs_the_survivor_at_the_next_death() {
    let cluster = spoilt(&RECOVER_WAITS, 3);
    let journal = cluster.journal();
    let place = journal.place();
    kill(&cluster, 2);
    let starts = |e: &Event| e.who == Who::Node(1) && e.kind == Kind::GroupStart && !e.set().contains(&2);
    journal.wait(place, WHOLE, "GROUP_START without 2 on node 1", starts).unwrap();
    journal.inject("node 3's QEMU gets SIGKILL, while recover_slot waits on node 1");
    kill(&cluster, 3);
    let condemned = |event: &Event| event.kind == Kind::Condemned && event.node == 1;
    let innocent = journal.wait(place, WHOLE, "the end of the survivor", condemned).unwrap();
    println!("PASS the survivor did not stop in time: {}", innocent.text);
}
