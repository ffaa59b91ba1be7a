//! fio, Debian's own workload, on two nodes of one volume while one of them dies.
//!
//! Owns the demand that fio finds on both nodes what it wrote on the survivor, and that it would find if it were not so.
//! Needs QEMU and minutes: `cargo verify` runs it.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod ocfs2_support;

use ocfs2_support::{WHOLE, back, create, death, kill, room_of, settle};
use palisade_images::{House, workload};
use palisade_qemu::cluster::Cluster;
use palisade_qemu::plan::Plan;
use std::time::{Duration, Instant};

/// Blocks in any order, each with its own check in it and safe before the next; the same order each time.
const JOB: &str = "--name=job --ioengine=psync --thread --rw=randwrite --bs=4k --size=2m --fallocate=none --fsync=1 \
                   --verify=crc32c --verify_fatal=1 --verify_state_save=0 --disk_util=0";
/// So many blocks in a second at most: the job outlasts a death.
const RATE: &str = "--do_verify=0 --rate_iops=25";
/// What is on the disk when a death is worth while.
const BEGUN_KIB: u32 = 80;

/// Runs the job on a node, on the file of one.
fn fio(cluster: &Cluster, node: u8, file: u8, more: &str) -> Result<String, String> {
    cluster.shell(node, &format!("volume fio --filename=/mnt/fio-{file} {JOB} {more} 2>&1"), WHOLE)
}

/// Waits until a node's job has written some blocks.
fn wait_begun(cluster: &Cluster, node: u8) {
    let end = Instant::now() + WHOLE;
    loop {
        let said = cluster.shell(node, &format!("du -k /mnt/fio-{node} || true"), WHOLE).unwrap();
        if said.split_whitespace().next().and_then(|word| word.parse::<u32>().ok()).is_some_and(|kib| kib > BEGUN_KIB) {
            return;
        }
        assert!(Instant::now() < end, "fio on node {node} does not write: {said}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn what_fio_wrote_on_the_survivor_of_a_death_holds_on_both_nodes() {
    let disk = workload::build(&House::here()).unwrap_or_else(|error| panic!("{error}"));
    let cluster = room_of(Plan { workload: Some(disk), ..Plan::one_host("fio", 2) }, |_| {});
    std::thread::scope(|scope| {
        let job = scope.spawn(|| fio(&cluster, 1, 1, RATE));
        // Its node dies under it: what it says then is nobody's business.
        scope.spawn(|| fio(&cluster, 2, 2, RATE));
        [1, 2].into_iter().for_each(|node| wait_begun(&cluster, node));
        death(&cluster, &[2], "vm-gone", "node 2's QEMU gets SIGKILL under fio", |cluster| kill(cluster, 2));
        assert!(!job.is_finished(), "fio was still at it when the survivor went on");
        println!("{}", job.join().unwrap().expect("fio ends well on the survivor"));
    });
    back(&cluster);
    create(&cluster, 2);
    for node in [1, 2] {
        let said = fio(&cluster, node, 1, "--verify_only").expect("each block is as fio wrote it");
        assert!(said.contains("err= 0"), "{said}");
    }
    // One byte is enough, and the other node sees it at once.
    cluster.shell(2, "printf x | dd of=/mnt/fio-1 bs=1 seek=1000000 conv=notrunc,fsync 2>&1", WHOLE).unwrap();
    let bad = fio(&cluster, 1, 1, "--verify_only").expect_err("a block that is not as fio wrote it");
    assert!(bad.contains("crc32c"), "{bad}");
    settle(&cluster);
}
