//! The trace of SAFETY F4 and I2 for messages: who is condemned, or has left, is brought none, and is not heard.

use super::stage::{back, leader, members, up};
use crate::sim::{Bmc, Wish, World};
use palisade_core::rule::Rules;

/// Messages both ways between a node and another one, whose appliance hears late of what was decided; a few every moment.
fn chat(rules: Rules, seed: u64, ends: impl Fn(&mut World, u8)) {
    let mut world = up(rules, 3, seed);
    world.run_ms(300);
    let (leads, others) = (leader(&world), members(&world));
    let (node, far) = (others[0], others[1]);
    world.post(far, node);
    world.post(node, far);
    world.run_ms(50);
    world.each_path(|(from, to, _), path| path.delay = if (from, to) == (leads, far) { 20_000 } else { path.delay });
    ends(&mut world, node);
    for _ in 0..60 {
        world.run_until(world.now + 150);
        world.post(far, node);
        world.post(node, far);
    }
    world.each_path(|_, path| path.delay = 50);
    world.bmcs.insert(node, Bmc::Works(5_000));
    world.run_ms(2_000);
    world.reset_guest(node);
    back(&mut world);
}

/// A node leaves, and somebody who has not heard of it yet goes on sending.
pub(super) fn i2_a_message_for_one_who_has_left(rules: Rules) {
    (0..3).for_each(|seed| chat(rules, 30 + seed, World::bye));
}

/// A node is condemned, its device is dead and its storage hangs, so that nothing proves its end yet.
pub(super) fn f4_a_message_for_the_condemned(rules: Rules) {
    (0..3).for_each(|seed| {
        chat(rules, 40 + seed, |world, node| {
            world.bmcs.insert(node, Bmc::Dead);
            world.guests.get_mut(&node).expect("a node").storage_answers = false;
            let leads = leader(world);
            world.operator(leads, Wish::FenceNode(node));
        });
    });
}
