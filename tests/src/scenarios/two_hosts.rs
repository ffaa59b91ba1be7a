//! The traces of SAFETY D1 to D3: what lets one of two hosts go on alone, who may, and when.

use super::stage::{back, up_with};
use crate::sim::{Bmc, Power, World, config};
use palisade_core::fencing::Action;
use palisade_core::rule::Rules;

/// Two hosts do not hear each other, and each can only cut the other one's storage. That leaves the other appliance alive,
/// with all it remembers: neither goes on, and neither acts.
pub(super) fn d1_each_cuts_the_others_storage(rules: Rules) {
    let class = |text: String| text.replace(r#""timeout_ms":3000,"#, r#""timeout_ms":3000,"class":"storage-cut","#);
    let mut world = up_with(rules, config::read(&class(config::json(2, 2))), 11);
    for host in [1, 2] {
        world.bmcs.insert(host, Bmc::Cuts);
    }
    world.cut(1, true, true, true);
    let views = world.truth.views();
    world.run_ms(60_000);
    assert!(world.truth.orders.is_empty(), "nothing was ordered: {:?}\n{}", world.truth.orders, world.story());
    assert_eq!(world.truth.views(), views, "nothing was committed\n{}", world.story());
    world.cut(1, true, true, false);
    back(&mut world);
}

/// Two hosts do not hear each other: one is switched off and on again, and boots while the link is still cut. It remembers
/// nothing, and waits.
pub(super) fn d2_the_one_that_was_fenced_boots_alone(rules: Rules) {
    let mut world = up_with(rules, config::cluster(2), 12);
    world.cut(1, true, true, true);
    let off = world.run_until_true(10_000, |world: &World| world.hosts[&2].power == Power::Off);
    assert!(off, "one of them is switched off\n{}", world.story());
    let on = world.run_until_true(30_000, |world: &World| world.hosts[&2].power == Power::On);
    assert!(on, "and on again\n{}", world.story());
    world.run_ms(60_000);
    let offs: Vec<_> = world.truth.orders.iter().filter(|order| order.3 == Action::Off).collect();
    assert!(offs.iter().all(|order| order.2 == 2), "no duel: {offs:?}\n{}", world.story());
    assert_eq!(world.leader(), Some(1), "the other one goes on\n{}", world.story());
    world.cut(1, true, true, false);
    back(&mut world);
}

/// Two hosts do not hear each other, and each one's BMC takes five seconds: the higher number waits until the lower one's
/// device must have acted.
pub(super) fn d3_both_have_slow_devices(rules: Rules) {
    let slow = |text: String| text.replace(r#""timeout_ms":3000"#, r#""timeout_ms":8000"#);
    let mut world = up_with(rules, config::read(&slow(config::json(2, 2))), 13);
    for host in [1, 2] {
        world.bmcs.insert(host, Bmc::Works(5_000_000));
    }
    world.cut(1, true, true, true);
    world.run_ms(15_000);
    let off = |host| world.truth.orders.iter().any(|order| order.3 == Action::Off && order.2 == host);
    assert!(!(off(1) && off(2)), "D3: each of the two switched the other one off\n{}", world.story());
    assert!(off(2), "one of them was switched off\n{}", world.story());
    world.cut(1, true, true, false);
    back(&mut world);
}
