//! DLM reachability on the deterministic network: where DLMs listen, and what becomes of nodes whose DLMs do not answer.
#![allow(clippy::unwrap_used)]

use palisade_core::config::{Config, Ip};
use palisade_core::limits::{ADDRESSES_PER_TURN, VIEW_AGAIN_MS};
use palisade_tests::sim::config::{Shape, read};
use palisade_tests::sim::{World, config};

/// A world in which all is well.
fn up(config: &'static Config, seed: u64) -> World {
    let mut world = World::new(config, seed);
    world.power_all();
    assert!(world.run_until_true(30_000, World::at_peace), "{}\n{}", world.unrest(), world.story());
    world
}

#[test]
fn a_node_is_told_its_own_address_and_that_of_everybody_in_its_clusters_and_no_other() {
    let shape = Shape { nodes: 2, ..Shape::of(3) };
    let clusters = r#","clusters":[{"name":"a","nodes":[1,2,3,4]},{"name":"b","nodes":[4,5]}]}"#;
    let json = shape.json().replacen(r#""dlm":"10.7.0.3""#, r#""dlm":"10.7.9.3""#, 1);
    let mut world = up(read(&format!("{}{clusters}", json.strip_suffix('}').unwrap())), 1);
    world.run_ms(200);
    for (node, known) in [(1, &[1, 2, 3, 4][..]), (3, &[1, 2, 3, 4]), (4, &[1, 2, 3, 4, 5]), (5, &[4, 5]), (6, &[6])] {
        let told = &world.guests[&node].dlm.addresses;
        assert!(told.keys().eq(known), "node {node} knows {told:?}");
        let of = |node: u8| Ip::V4([10, 7, if node == 3 { 9 } else { 0 }, node]);
        assert!(told.iter().all(|(&node, &address)| address == of(node)), "{told:?}");
    }
}

#[test]
fn addresses_are_told_again_with_each_view_and_after_each_boot_of_a_node_and_of_its_appliance() {
    let mut world = up(config::cluster(3), 2);
    world.run_ms(u64::from(2 * VIEW_AGAIN_MS) + 100);
    assert!(world.guests[&1].dlm.told.values().all(|&times| times >= 3), "{:?}", world.guests[&1].dlm.told);
    world.reset_guest(2);
    assert!(world.run_until_true(20_000, |w| w.guests[&2].dlm.addresses.len() == 3), "{}", world.story());
    world.kill_appliance(1);
    let before = world.guests[&1].dlm.told[&3];
    assert!(world.run_until_true(20_000, |w| w.guests[&1].dlm.told[&3] > before), "{}", world.story());
}

#[test]
fn however_many_nodes_there_are_a_turn_tells_a_few() {
    // 64 nodes, 8 of them on the first host: all its sessions open at once, and each is told of all.
    let mut world = up(Shape { nodes: 8, ..Shape::of(8) }.config(), 3);
    world.run_ms(2_500);
    for node in 1..=8 {
        assert_eq!(world.guests[&node].dlm.addresses.len(), 64, "node {node}");
    }
    // In the time between two VIEWs 512 addresses are told, and nobody is told twice as much as another.
    let before: u32 = (1..=8).map(|node| world.guests[&node].dlm.told.values().sum::<u32>()).sum();
    world.run_ms(u64::from(VIEW_AGAIN_MS));
    let after: u32 = (1..=8).map(|node| world.guests[&node].dlm.told.values().sum::<u32>()).sum();
    let turns = u64::from(VIEW_AGAIN_MS) / 50 + 1;
    assert!((400..=600).contains(&(after - before)), "{}", after - before);
    assert!(u64::from(after - before) <= turns * ADDRESSES_PER_TURN as u64);
    assert_eq!(world.truth.downs.len(), 0);
}
