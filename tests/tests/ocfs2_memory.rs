//! A node without memory whose peer dies: the shim recovers it, and a shell in the shim's place does not.
//!
//! Owns the demand of the whole project, and the table that shows it (palisade_qemu::memory, also `compare memory`). Needs
//! QEMU and minutes.

use palisade_qemu::memory::{self, DRIVERS};
use palisade_qemu::plan::Driver;
use palisade_qemu::prepare;
use std::time::Duration;

/// Ten times what the appliance needs from the proof to START, and more.
const ORDERED: Duration = Duration::from_millis(200);
/// Ten times what the node needs then, journal and all.
const RECOVERED: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify --long runs it"]
fn long_without_memory_the_shim_recovers_the_node_and_a_shell_in_its_place_does_not() {
    let with = prepare::prepare(&|line| println!("{line}")).expect("what is needed can be had").artefacts;
    let row = |driver| memory::row(driver, &with, false).expect("the node is pressed, and its peer is proven off");
    let rows: Vec<_> = DRIVERS.into_iter().filter(|driver| *driver != Driver::Locked).map(row).collect();
    print!("{}", memory::table(&rows));
    let shim = &rows[0];
    assert!(shim.ordered < ORDERED, "{shim}");
    assert!(shim.recovered.is_some_and(|time| time < RECOVERED), "{shim}");
    println!("PASS {}", memory::verdict(&rows).expect("it held"));
}
