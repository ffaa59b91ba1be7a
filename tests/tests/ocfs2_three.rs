//! Three hosts with a node each and one OCFS2 volume: nodes come and go, hosts and appliances are lost, and nothing that
//! was acknowledged is.
//!
//! Owns the demand. The scenes play single deaths on such a cluster; here stand the moves of a third node, deaths into a
//! recovery that still runs, and appliances that are lost one by one and all at once. Needs QEMU and minutes: `cargo
//! verify` runs it.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod ocfs2_support;

use ocfs2_support::{SOME, WHOLE, all, back, create, death, kill, room, settle, writing};
use palisade_qemu::cluster::Cluster;
use palisade_qemu::event::{Event, Kind, Who};
use palisade_qemu::journal::Place;
use palisade_qemu::plan::Plan;
use palisade_qemu::sys::{self, Signal};

/// Waits until a node runs a set without another one; the START that says so.
fn start_without(cluster: &Cluster, place: Place, on: u8, gone: u8) -> Event {
    let what = format!("GROUP_START without {gone} on node {on}");
    let fits = |e: &Event| e.who == Who::Node(on) && e.kind == Kind::GroupStart && !e.set().contains(&gone);
    cluster.journal().wait(place, WHOLE, &what, fits).unwrap()
}

/// Nobody was accused, fenced or called dead from a place on.
fn nobody_was_fenced(cluster: &Cluster, place: Place) {
    let harm = |event: &Event| matches!(event.kind, Kind::Condemned | Kind::NodeSuspect | Kind::NodeDown | Kind::Power);
    assert_eq!(cluster.journal().find(place, harm), None, "nobody died");
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn nodes_come_one_by_one_and_go_while_two_others_write_and_one_dies_at_it() {
    let cluster = room(Plan::three_hosts("coming", 1));
    let journal = cluster.journal();
    let place = journal.place();
    for node in all(&cluster) {
        cluster.unmount(node).unwrap();
    }
    cluster.wait_group(&[], WHOLE).unwrap();
    let mut there = Vec::new();
    for node in all(&cluster) {
        there.push(node);
        cluster.mount(node).unwrap();
        cluster.write_on(node, "").unwrap();
        create(&cluster, node);
        cluster.wait_writes(journal.place(), &there, SOME, WHOLE).unwrap();
        cluster.wait_group(&there, WHOLE).unwrap();
    }
    // The last one leaves and the first one, each while two write, and comes back.
    for node in [3, 1] {
        let from = journal.place();
        cluster.unmount(node).unwrap();
        let others: Vec<u8> = all(&cluster).into_iter().filter(|other| *other != node).collect();
        for other in &others {
            let start = start_without(&cluster, from, *other, node);
            assert_eq!(start.fate_of(node).map(|(fate, _)| fate), Some("left"), "{}", start.text);
        }
        cluster.wait_writes(journal.place(), &others, SOME, WHOLE).unwrap();
        cluster.mount(node).unwrap();
        cluster.write_on(node, "").unwrap();
        writing(&cluster);
    }
    nobody_was_fenced(&cluster, place);
    // On the way out, and on the way in: both others have the same story of it.
    for words in ["volume umount", "volume mount"] {
        if words == "volume mount" {
            cluster.unmount(3).unwrap();
        }
        let from = journal.place();
        cluster.command(3, words).unwrap();
        let stops = |event: &Event| event.who == Who::Node(1) && event.kind == Kind::GroupStop;
        journal.wait(from, WHOLE, "the barrier of the move", stops).unwrap();
        journal.inject(&format!("node 3's QEMU gets SIGKILL at `{words}`"));
        kill(&cluster, 3);
        // A joiner whose START was never committed is missing in the set that runs already.
        if words == "volume umount" {
            let one = start_without(&cluster, from, 1, 3);
            let other = start_without(&cluster, from, 2, 3);
            assert_eq!(one.number("generation"), other.number("generation"));
            assert!(one.fate_of(3).is_some(), "{}", one.text);
            assert_eq!(one.fate_of(3), other.fate_of(3));
        }
        cluster.wait_writes(journal.place(), &[1, 2], SOME, WHOLE).expect("the others' writes return");
        back(&cluster);
    }
    settle(&cluster);
}

/// Sends a signal to the QEMUs of all appliances, as close to each other as a program can.
fn signal_appliances(cluster: &Cluster, signal: Signal) {
    let pids: Vec<u32> = cluster.hosts().iter().map(|host| host.appliance_pid().unwrap()).collect();
    for pid in pids {
        sys::signal(pid, signal).unwrap();
    }
}

/// The cluster's number: a cold start takes the next one.
fn number(cluster: &Cluster) -> u32 {
    cluster.summary(cluster.leader().unwrap()).unwrap().cluster
}

#[test]
#[ignore = "needs QEMU, images and minutes; cargo verify runs it"]
fn hosts_nodes_and_appliances_are_lost_and_no_acknowledged_write_is() {
    // Twice the defaults: on a busy machine an appliance may be away for longer than host_dead_ms, and then its host is fenced.
    let cluster = room(Plan::three_hosts("losses", 2));
    let journal = cluster.journal();
    let leader = cluster.leader().unwrap();
    let member = all(&cluster).into_iter().rev().find(|host| *host != leader).unwrap();
    death(&cluster, &[member], "power-off", "a member's host loses its power", |cluster| {
        cluster.host(member).unwrap().power_off("because its power failed").unwrap();
    });
    // The cluster itself orders it on again.
    back(&cluster);
    create(&cluster, member);
    an_appliance_dies(&cluster);
    all_appliances_die(&cluster);
    // Who was adopted is fenced and recovered as ever. SHIM trap 4: the second one dies into the recovery of the first, which
    // is the DLM's own thread's.
    let before = cluster.incarnations().unwrap();
    writing(&cluster);
    let place = journal.place();
    let deed = journal.inject("node 2's QEMU gets SIGKILL, and node 3's as soon as node 1 is to recover node 2");
    kill(&cluster, 2);
    start_without(&cluster, place, 1, 2);
    kill(&cluster, 3);
    let start = start_without(&cluster, place, 1, 3);
    for dead in [2, 3] {
        assert_eq!(start.fate_of(dead), Some(("dead", before[&dead])), "{}", start.text);
    }
    let time = palisade_qemu::work::goes_on(journal, 1, deed, start.at, WHOLE).unwrap();
    journal.note(&format!("node 1's write returned {} ms after the first of two deaths", time.as_millis()));
    let other = |event: &Event| matches!(event.kind, Kind::Condemned | Kind::NodeDown) && event.node == 1;
    assert_eq!(journal.find(place, other), None, "only the dead are fenced");
    back(&cluster);
    assert_eq!(journal.find(place, other), None, "only the dead are fenced");
    all_appliances_are_away_beyond_every_lease(&cluster);
    settle(&cluster);
}

/// An appliance alone is no node: who led is followed, and its node writes on.
fn an_appliance_dies(cluster: &Cluster) {
    let journal = cluster.journal();
    let (place, before) = (journal.place(), cluster.incarnations().unwrap());
    let leader = cluster.leader().unwrap();
    let pid = cluster.host(leader).unwrap().appliance_pid().unwrap();
    journal.inject(&format!("the QEMU of appliance {leader}, which leads, gets SIGKILL"));
    sys::signal(pid, Signal::Kill).unwrap();
    let admitted = |event: &Event| event.who == Who::Appliance(leader) && event.kind == Kind::Admitted;
    journal.wait(place, WHOLE, "its admission under a new incarnation", admitted).unwrap();
    back(cluster);
    assert_eq!(cluster.incarnations().unwrap(), before);
    nobody_was_fenced(cluster, place);
}

/// All memory of the cluster is lost while every node holds the volume: who runs is adopted (SAFETY B4) and writes on.
fn all_appliances_die(cluster: &Cluster) {
    let journal = cluster.journal();
    let (place, old, before) = (journal.place(), number(cluster), cluster.incarnations().unwrap());
    journal.inject("the QEMUs of all appliances get SIGKILL");
    signal_appliances(cluster, Signal::Kill);
    let adopts = |event: &Event| event.text.ends_with("keeps running") && matches!(event.who, Who::Appliance(_));
    journal.wait(place, WHOLE, "the adoption of the nodes that run", adopts).unwrap();
    back(cluster);
    assert!(number(cluster) > old, "nobody remembered the cluster, and its nodes told its number");
    assert_eq!(cluster.incarnations().unwrap(), before, "the nodes that ran run on");
    nobody_was_fenced(cluster, place);
}

/// The same, but they come back when no lease is left: nobody is there to be adopted, every node is another incarnation, and
/// who mounts first finds the journals of all.
fn all_appliances_are_away_beyond_every_lease(cluster: &Cluster) {
    let journal = cluster.journal();
    let (place, before) = (journal.place(), cluster.incarnations().unwrap());
    journal.inject("the QEMUs of all appliances stand still");
    signal_appliances(cluster, Signal::Stop);
    for host in cluster.hosts().iter().map(|host| host.id()) {
        let ended = |event: &Event| event.who == Who::Guard(host) && event.text.contains("killed by the lease");
        journal.wait(place, WHOLE, &format!("the end of the lease of host {host}"), ended).unwrap();
    }
    let place = journal.place();
    journal.inject("the QEMUs of all appliances get SIGKILL");
    signal_appliances(cluster, Signal::Kill);
    let begins = |event: &Event| event.text.contains("begins cluster incarnation");
    journal.wait(place, WHOLE, "a beginning without memory", begins).unwrap();
    back(cluster);
    let adopts = |event: &Event| event.text.ends_with("keeps running") && matches!(event.who, Who::Appliance(_));
    assert_eq!(journal.find(place, adopts), None, "nobody ran");
    let again = cluster.incarnations().unwrap();
    assert!(before.iter().all(|(node, old)| again.get(node).is_some_and(|new| new != old)), "{before:x?}, {again:x?}");
}
