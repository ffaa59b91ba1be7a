//! What the stories on the simulated world have in common.
//!
//! Owns a few words: a cluster in which all is up, who does not lead, and that all is well again. No story.

use crate::sim::{World, config};
use palisade_core::config::Config;
use palisade_core::rule::Rules;

/// A cluster of so many hosts in which all is up.
///
/// # Panics
/// Not all came up.
#[must_use]
pub fn up(rules: Rules, hosts: u8, seed: u64) -> World {
    up_with(rules, config::cluster(hosts), seed)
}

/// The same, with all rules.
///
/// # Panics
/// Not all came up.
#[must_use]
pub fn whole(hosts: u8, seed: u64) -> World {
    up(Rules::ALL, hosts, seed)
}

/// The same, of this configuration.
///
/// # Panics
/// Not all came up.
#[must_use]
pub fn up_with(rules: Rules, config: &'static Config, seed: u64) -> World {
    let mut world = World::new(config, seed);
    world.rules = rules;
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "seed {seed}: not all up\n{}", world.story());
    world
}

/// The first seed with which one of these leads.
///
/// # Panics
/// None does.
#[must_use]
pub fn led_by(rules: Rules, config: &'static Config, leaders: &[u8]) -> World {
    let led =
        |seed| Some(up_with(rules, config, seed)).filter(|it| it.leader().is_some_and(|it| leaders.contains(&it)));
    (1..100).find_map(led).expect("somebody leads one of a hundred times")
}

/// Who leads.
///
/// # Panics
/// Nobody does.
#[must_use]
pub fn leader(world: &World) -> u8 {
    world.leader().unwrap_or_else(|| panic!("nobody leads\n{}", world.story()))
}

/// Hosts that do not lead.
#[must_use]
pub fn members(world: &World) -> Vec<u8> {
    world.hosts.keys().filter(|&host| host != leader(world)).collect()
}

/// All is well again within two minutes.
///
/// # Panics
/// It is not.
pub fn back(world: &mut World) {
    let is_well = world.run_until_true(120_000, World::at_peace);
    assert!(is_well, "not all is well again: {}\n{}", world.unrest(), world.story());
}

/// So many others were told within so many milliseconds that a node is down.
///
/// # Panics
/// They were not.
pub fn told_down(world: &mut World, node: u8, others: usize, within_ms: u64) {
    let since = world.now;
    let told = world.run_until_true(within_ms, |world| world.truth.told_down(node, since) >= others);
    assert!(told, "node {node} is not down for {others} within {within_ms} ms\n{}", world.story());
}

/// Nobody was fenced or reset, and nobody was told of a death.
///
/// # Panics
/// Somebody was.
pub fn nobody_was_hurt(world: &World) {
    let truth = &world.truth;
    let quiet = truth.downs.is_empty() && truth.orders.is_empty() && truth.resets.is_empty();
    assert!(quiet, "{:?} {:?} {:?}\n{}", truth.downs, truth.orders, truth.resets, world.story());
}
