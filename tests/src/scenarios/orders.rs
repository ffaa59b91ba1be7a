//! The traces of SAFETY A2 and F1: what may be ordered, and until when an order is good.

use super::stage::{back, leader, led_by};
use crate::sim::{Bmc, Micros, Wish, config};
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
