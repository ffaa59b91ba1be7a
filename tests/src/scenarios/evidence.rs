//! The traces of SAFETY E1, E2 and E6: what proves that a node cannot write any more.

use super::stage::{back, members, told_down, up, up_with};
use crate::sim::{Bmc, Mood, World, config};
use palisade_core::rule::Rules;

/// A guest panics and its VM is stopped. Stopped is not gone: somebody continues it. Only after the reset it is down.
pub(super) fn e1_a_stopped_vm_that_somebody_continues(rules: Rules) {
    let mut world = up(rules, 3, 5);
    world.hit(2, Mood::Panicked);
    told_down(&mut world, 2, 2, 50);
    world.cont(2);
    back(&mut world);
}

/// Run 1 of a node exits, run 2 boots and is a member. The guard goes on saying that run 1 is gone; that is nothing about
/// run 2, whichever appliance hears it.
pub(super) fn e2_the_end_of_an_earlier_run(rules: Rules) {
    let mut world = up(rules, 3, 6);
    world.hit(2, Mood::Gone);
    told_down(&mut world, 2, 2, 50);
    back(&mut world);
    world.kill_appliance(2);
    world.run_ms(6_000);
    back(&mut world);
    assert_eq!(world.truth.downs.len(), 2, "one death, told to both others\n{}", world.story());
}

/// Of two outlets the first is off, and somebody turns it on; then the second is off. The host never lost its power.
pub(super) fn e6_an_outlet_that_is_on_again(rules: Rules) {
    let mut world = up_with(rules, config::cluster_with_outlets(3, |text| text), 7);
    let host = members(&world)[0];
    world.bmcs.insert(host, Bmc::Dead);
    for outlet in world.outlets.values_mut().filter(|outlet| outlet.host == host) {
        outlet.mood = Bmc::Works(400_000);
    }
    let first = world.outlets.iter().find(|(_, outlet)| outlet.host == host).map(|(device, _)| *device);
    let first = first.expect("it has outlets");
    world.freeze(host, true);
    let is_off = world.run_until_true(15_000, |world: &World| !world.outlets[&first].on);
    assert!(is_off, "the first outlet is switched off\n{}", world.story());
    world.outlet_acts(first, true);
    told_down(&mut world, host, 2, 30_000);
    assert!(!world.is_fed(host), "told down, and it has power\n{}", world.story());
}

/// A host hangs, with all on it, and its device takes orders and says nothing. A timeout is no proof: the host may go on.
pub(super) fn a_device_that_says_nothing(rules: Rules) {
    let mut world = up(rules, 3, 8);
    let host = members(&world)[0];
    world.bmcs.insert(host, Bmc::Dead);
    world.freeze(host, true);
    world.run_ms(8_000);
    assert!(world.truth.downs.is_empty(), "nobody was told of a death\n{}", world.story());
    world.bmcs.insert(host, Bmc::Works(5_000));
    back(&mut world);
}
