//! The traces of SAFETY A2, A3, F1 and F2: what may be ordered, until when an order is good, and what may be told.

use super::stage::{back, leader, led_by, up_with};
use crate::sim::config::Shape;
use crate::sim::{Bmc, Micros, Mood, Wish, World, config};
use palisade_core::fencing::Action;
use palisade_core::rule::Rules;

/// A leader that hears nobody is told by an operator to fence a host whose device only it can drive. It may propose that; it
/// may order nothing.
pub(super) fn a2_a_leader_alone_wants_to_fence(rules: Rules) {
    let text = config::json(3, 3).replace(r#""covers":[1],"#, r#""covers":[1],"executors":[3],"#);
    let mut world = led_by(rules, config::read(&text), &[3]);
    let (leads, target) = (leader(&world), 1);
    world.cut(leads, true, true, true);
    world.operator(leads, Wish::FenceHost(target));
    world.run_ms(800);
    assert!(world.truth.orders.is_empty(), "nothing is ordered\n{}", world.story());
    assert!(world.truth.promises.is_empty(), "and nothing is promised\n{}", world.story());
    world.cut(leads, true, true, false);
    back(&mut world);
}

/// Host 1 hangs. Host 2 is ordered to switch it off, and cut off; the order comes to it six seconds later, when host 3 has
/// long done that, and host 1 is a member again.
pub(super) fn f1_an_order_that_comes_late_to_a_minority(rules: Rules) {
    const LATE: Micros = 6_000_000;
    let text = config::json(5, 5).replace(r#""covers":[1],"#, r#""covers":[1],"executors":[2,3],"#);
    let mut world = led_by(rules, config::read(&text), &[4, 5]);
    let leads = leader(&world);
    world.bmcs.insert(2, Bmc::Dead);
    world.freeze(1, true);
    world.run_ms(900);
    world.each_path(|(from, to, _), path| {
        path.delay = if (from, to) == (leads, 2) { LATE } else { path.delay };
    });
    // The decision is committed and the order sent before the executor is cut off.
    world.run_ms(250);
    world.cut(2, true, true, true);
    world.truth.quorum_side = Some(vec![1, 3, 4, 5]);
    let is_back = |world: &crate::sim::World| world.hosts[&1].is_admitted() && world.guests[&1].incarnation != 0;
    let returns = world.run_until_true(5_500, is_back);
    assert!(returns, "host 1 is a member again before the order comes\n{}", world.story());
    world.run_ms(7_000);
    let hits = world.truth.orders.iter().filter(|(_, _, target, action)| (*target, *action) == (1, Action::Off));
    assert_eq!(hits.count(), 1, "it was switched off once\n{}", world.story());
    assert!(world.truth.false_kills.is_empty(), "{:?}\n{}", world.truth.false_kills, world.story());
}

/// Host 1 hangs, and its device is slow. Whoever is to switch it off crashes while the device is about to act; the other one
/// is quicker. What the first one began is still to come: until it cannot any more, host 1 is not turned on.
pub(super) fn f2_an_executor_crashes_in_mid_attempt(rules: Rules) {
    const SLOW: Micros = 5_600_000;
    let text = config::json(5, 5).replace(r#""covers":[1],"#, r#""covers":[1],"executors":[2,3],"#);
    let mut world = led_by(rules, config::read(&text), &[4, 5]);
    world.bmcs.insert(1, Bmc::Works(SLOW));
    world.freeze(1, true);
    let off = |world: &World| world.truth.orders.iter().find(|(.., target, _)| *target == 1).map(|order| order.1);
    assert!(world.run_until_true(3_000, |world| off(world).is_some()), "it is ordered\n{}", world.story());
    let executor = off(&world).expect("somebody was ordered");
    world.bmcs.insert(1, Bmc::Works(5_000));
    world.kill_appliance(executor);
    world.run_ms(10_000);
    let killed = &world.truth.false_kills;
    assert!(killed.is_empty(), "F2: host 1 was turned on, and switched off as a member: {killed:?}\n{}", world.story());
    back(&mut world);
}

/// A leader hears nobody when a node of its own host dies. It may propose that; its other node is told of no death before that
/// is committed: who leads next may not know of it.
pub(super) fn a3_a_death_that_cannot_be_committed(rules: Rules) {
    let mut world = up_with(rules, Shape { nodes: 2, ..Shape::of(3) }.config(), 16);
    world.run_ms(300);
    let leads = leader(&world);
    let node = world.hosts[&leads].nodes()[0];
    world.cut(leads, true, true, true);
    world.hit(node, Mood::Gone);
    world.run_ms(500);
    assert!(world.truth.downs.is_empty(), "nobody was told yet\n{}", world.story());
    world.cut(leads, true, true, false);
    back(&mut world);
}
