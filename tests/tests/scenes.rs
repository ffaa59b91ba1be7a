//! The scenes of the main job on real VMs: the same that `cargo demo` plays.
//!
//! Owns nothing but the demand that they hold. Their bounds are ten times what is expected (palisade_qemu::scenes): a
//! test here never fails for a tight time, only for something that did not happen or should not have happened.
//! Needs QEMU, built images and some minutes, so a plain `cargo test` leaves it out; `cargo verify` runs it.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use palisade_images::{House, appliance};
use palisade_qemu::cluster::Cluster;
use palisade_qemu::event::{Event, Kind, Who};
use palisade_qemu::journal::Journal;
use palisade_qemu::plan::{Artefacts, Plan};
use palisade_qemu::prepare;
use palisade_qemu::scenes::SCENES;
use palisade_qemu::show::{self, Programme};
use palisade_qemu::{stall, table};
use std::sync::Arc;
use std::time::Duration;

fn prepared() -> Artefacts {
    prepare::prepare(&|line| println!("{line}")).expect("what the scenes need can be had").artefacts
}

fn programme(name: &str) -> Programme {
    Programme {
        name: name.to_owned(),
        scenes: SCENES.iter().map(|scene| scene.number).collect(),
        rounds: 1,
        factor: stall::factor(stall::measure(Duration::from_secs(2))),
        live: true,
    }
}

/// A cluster on which all is well, and the silence after which a host is accused there.
fn cluster(name: &str) -> (Cluster, Duration) {
    let programme = programme(name);
    let cluster = show::whole(&programme, programme.factor, &prepared()).expect("the cluster comes up");
    let silence = Duration::from_millis(u64::from(cluster.plan().timing.host_dead_ms));
    (cluster, silence)
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn every_scene_holds() {
    let played = show::play(&programme("scenes"), &prepared()).expect("a cluster can be built and comes up");
    println!("{}", table::one_round(&played.outcomes, &played.nodes()));
    println!("{}", table::groups_of_one_round(&played.outcomes));
    println!("{}", show::remarks(&played.outcomes));
    assert_eq!(played.outcomes.len(), SCENES.len());
    assert!(played.held(), "some scenes did not hold; the lines above say why");
    println!("{}", show::account(&played.cluster).expect("nothing that was acknowledged is lost"));
    println!("PASS every scene held");
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn a_bmc_that_does_not_answer_proves_nothing() {
    let (cluster, silence) = cluster("mute");
    let leader = cluster.leader().expect("somebody leads");
    let lost = if leader == 3 { 2 } else { 3 };
    let journal = cluster.journal();
    let place = journal.place();
    // A BMC has its host's power: both are silent, and nobody can know whether the host still writes.
    cluster.bmc(lost).unwrap().set_silent(true).expect("the BMC can be stopped");
    cluster.host(lost).unwrap().power_off("and its BMC with it").expect("the host can be ended");
    let about = move |kind, event: &Event| event.kind == kind && (event.host == lost || event.node == lost);
    let decided = journal.wait(place, silence * 10, "the decision to fence the host", |e| about(Kind::Condemned, e));
    decided.expect("a silent host is condemned");
    std::thread::sleep(silence * 8);
    let told = journal.find(place, |event| about(Kind::Confirmed, event) || about(Kind::NodeDown, event));
    assert_eq!(told, None, "without an answer of its BMC nothing is proved about the host");
    // Suspicion is enough to stop; only the proof starts anybody and gives anything away.
    let survivors = [1, 2, 3].into_iter().filter(|node| *node != lost);
    for node in survivors.clone() {
        let of = move |kind, event: &Event| event.who == Who::Node(node) && event.kind == kind;
        assert!(journal.find(place, |event| of(Kind::GroupStop, event)).is_some(), "node {node} was not stopped");
        let more = [Kind::GroupStart, Kind::Takeover, Kind::Taken];
        let early = journal.find(place, |event| more.into_iter().any(|kind| of(kind, event)));
        assert_eq!(early, None, "node {node} went on without a proof");
    }
    // The power of the BMC is back, that of the host is not: now it can be read.
    cluster.bmc(lost).unwrap().set_silent(false).expect("the BMC goes on");
    for node in survivors {
        // Attempts have a timeout of ten seconds and a pause of up to eight between them.
        let down = journal.wait(place, Duration::from_secs(60), "NODE_DOWN after the BMC answered", |event| {
            event.who == Who::Node(node) && about(Kind::NodeDown, event)
        });
        assert_eq!(down.expect("every survivor is told").class, "power-off");
        let start = journal.wait(place, silence * 10, "START after the proof", |event| {
            event.who == Who::Node(node) && event.kind == Kind::GroupStart
        });
        assert_eq!(start.expect("every survivor is started").fate_of(lost).map(|(fate, _)| fate), Some("dead"));
    }
    assert_eq!(cluster.allocations_of(leader), Ok(0));
    println!("PASS no answer, no proof");
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn a_host_alone_fences_nobody() {
    let (cluster, silence) = cluster("alone");
    let journal = cluster.journal();
    let place = journal.place();
    for host in [2, 3] {
        cluster.host(host).unwrap().power_off("because its power failed").expect("the host can be ended");
    }
    // Longer than every lease: what a side without quorum would do by mistake, it would have done by then.
    let lease = Duration::from_millis(u64::from(cluster.plan().timing.guard_lease_ms));
    std::thread::sleep(lease + silence * 4);
    let act = journal.find(place, |event| {
        let acts = [Kind::Condemned, Kind::Order, Kind::Confirmed, Kind::NodeSuspect, Kind::NodeDown, Kind::Leader];
        let steps = [Kind::Barrier, Kind::GroupStop, Kind::GroupStart, Kind::Takeover, Kind::Taken];
        let is_rest = event.who == Who::Appliance(1) || event.who == Who::Node(1);
        is_rest && (acts.contains(&event.kind) || steps.contains(&event.kind))
    });
    assert_eq!(act, None, "one of three votes is no quorum");
    assert_eq!(cluster.host(1).unwrap().node_pid(1), None, "its node lost its lease, and the guard ended it");
    assert_eq!(cluster.allocations_of(1), Ok(0));
    println!("PASS a host alone fenced nobody");
}

/// A cluster of the test image, with these faults; off.
fn faulty_cluster(name: &str, faults: Vec<(u8, String)>) -> Cluster {
    let mut artefacts = prepared();
    let image = appliance::build(&House::here(), appliance::Kind::Faults).expect("the test image can be built");
    artefacts.image = image.path;
    let factor = programme(name).factor;
    let plan = Plan { faults, ..Plan::three_hosts(name, factor) };
    Cluster::build(plan, &artefacts, Arc::new(Journal::new(true))).expect("the cluster can be built")
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn an_allocation_after_the_seal_stops_that_appliance_and_nothing_else() {
    let cluster = show::come_up(faulty_cluster("seal", vec![(2, "allocate:40000".to_owned())])).expect("it comes up");
    let before = cluster.incarnations().expect("the nodes are known");
    let journal = cluster.journal();
    let place = journal.place();
    let limit = Duration::from_secs(90);
    let by = |who: Who, word: &'static str| move |event: &Event| event.who == who && event.text.contains(word);
    let epitaph = journal.wait(place, limit, "the epitaph", by(Who::Appliance(2), "EPITAPH")).expect("it stops");
    assert!(epitaph.text.contains("alloc"), "the epitaph names the cause: {}", epitaph.text);
    journal.wait(place, limit, "the guard's word", by(Who::Guard(2), "fail-stop")).expect("the guard understands it");
    let again = |event: &Event| event.who == Who::Appliance(2) && event.kind == Kind::Admitted;
    journal.wait(place, limit, "the admission of the next appliance", again).expect("it is restarted");
    std::thread::sleep(Duration::from_secs(3));
    let harm = |event: &Event| matches!(event.kind, Kind::Condemned | Kind::NodeSuspect | Kind::NodeDown | Kind::Power);
    assert_eq!(journal.find(place, harm), None, "an appliance that stops itself harms nobody");
    assert_eq!(cluster.incarnations().expect("the nodes are known"), before);
    println!("PASS an allocation after the seal is a fail-stop");
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn the_test_image_is_refused_unless_the_configuration_allows_it() {
    let cluster = faulty_cluster("refused", Vec::new());
    cluster.power_on().expect("the guards can be started");
    for host in [1, 2, 3] {
        let refused = |event: &Event| event.who == Who::Guard(host) && event.text.contains("REFUSED: ");
        let said = cluster.journal().wait(0, Duration::from_secs(20), "the guard's refusal", |event| {
            refused(event) && event.text.contains("allow_faults")
        });
        said.expect("the guard says why");
        assert_eq!(cluster.host(host).unwrap().appliance_pid(), None, "nothing was started");
    }
    println!("PASS the test image was refused");
}
