//! The trace of SAFETY F6: two nodes whose DLMs do not reach each other, and whose appliances see both.
//!
//! Owns its words. With the rule one of them goes on; without it each is accused by the other, and nobody is left.

use crate::sim::{World, config};
use palisade_core::limits::DLM_CUT_MS;
use palisade_core::rule::Rules;

const VOLUME: u8 = 1;

pub(super) fn f6_both_ends_of_a_cut_accuse_each_other(rules: Rules) {
    let mut world = World::new(config::cluster(3), 6);
    world.rules = rules;
    [1, 2].iter().for_each(|&node| world.wants(node, VOLUME, true));
    world.power_all();
    assert!(world.run_until_true(20_000, World::at_peace), "not all open\n{}{}", world.unrest(), world.story());
    world.part_wires(&[1], &[2], true);
    world.run_ms(u64::from(DLM_CUT_MS) + 3_000);
    let runs = |node: u8| world.guests[&node].dlm.running(VOLUME).is_some_and(|running| running.set.len() == 1);
    assert!(runs(1) != runs(2), "one of them goes on alone\n{}", world.story());
    world.mend_wires();
    assert!(world.run_until_true(60_000, World::at_peace), "no peace\n{}{}", world.unrest(), world.story());
}
