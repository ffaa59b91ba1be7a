//! A node without memory whose peer dies: the shim recovers it while no process can be started there.
//!
//! Owns the demand of the whole project, and the line that shows it (palisade_qemu::memory; `compare memory` shows what
//! others do in the shim's place). Needs QEMU and minutes.

use palisade_qemu::memory;
use palisade_qemu::plan::Driver;
use palisade_qemu::prepare;
use std::time::Duration;

/// Ten times what the appliance needs from the proof to START, and more.
const ORDERED: Duration = Duration::from_millis(200);
/// Ten times what the node needs then, journal and all.
const RECOVERED: Duration = Duration::from_secs(6);

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify --long runs it"]
fn long_without_memory_the_shim_recovers_the_node_while_no_process_can_even_fork() {
    let with = prepare::prepare(&|line| println!("{line}")).expect("what is needed can be had").artefacts;
    let row =
        memory::row(Driver::Shim, &with, false).expect("the node comes up, is pressed, and its peer is proven off");
    print!("{}", memory::table(std::slice::from_ref(&row)));
    assert!(row.ordered < ORDERED, "{row}");
    assert!(row.recovered.is_some_and(|time| time < RECOVERED), "{row}");
    println!("PASS {}", memory::verdict(&[row]).expect("it held"));
}
