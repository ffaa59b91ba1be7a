//! The scenes of the main job on real VMs: the same that `cargo demo` plays.
//!
//! Owns nothing but the demand that they hold. Their bounds are ten times what is expected (palisade_qemu::scenes): a
//! test here never fails for a tight time, only for something that did not happen or should not have happened.
//! Needs QEMU, built images and some minutes, so a plain `cargo test` leaves it out; `cargo verify` runs it.

use palisade_qemu::show::{self, Programme};
use palisade_qemu::{prepare, stall, table};
use std::time::Duration;

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn every_scene_holds() {
    let prepared = prepare::prepare(&|line| println!("{line}")).expect("what the scenes need can be had");
    let programme = Programme {
        name: "scenes".to_owned(),
        scenes: palisade_qemu::scenes::SCENES.iter().map(|scene| scene.number).collect(),
        rounds: 1,
        factor: stall::factor(stall::measure(Duration::from_secs(2))),
        live: true,
    };
    let played = show::play(&programme, &prepared.artefacts).expect("a cluster can be built and comes up");
    println!("{}", table::one_round(&played.outcomes, &played.nodes()));
    println!("{}", show::remarks(&played.outcomes));
    assert_eq!(played.outcomes.len(), palisade_qemu::scenes::SCENES.len());
    assert!(played.held(), "some scenes did not hold; the lines above say why");
    println!("PASS every scene held");
}
