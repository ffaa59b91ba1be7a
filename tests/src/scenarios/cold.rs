//! The traces of SAFETY B2 and B4: when a cluster may begin anew, and what it must know of its groups.

use super::stage::{back, leader, members, up};
use palisade_core::rule::Rules;

/// The leader's host dies while one appliance is empty, and one that remembers is cut off for a moment. Three of five are a
/// quorum without a leader, one of them empty; but three have all memory, and that one will be back.
pub(super) fn b2_a_cold_start_overtakes_an_election(rules: Rules) {
    let mut world = up(rules, 5, 12);
    world.run_ms(500);
    let (leads, others) = (leader(&world), members(&world));
    let (empty, apart) = (others[0], others[1]);
    world.power_off(leads);
    world.run_ms(900);
    world.kill_appliance(empty);
    world.cut(apart, true, true, true);
    world.run_ms(1_400);
    world.cut(apart, true, true, false);
    back(&mut world);
    let number = world.truth.newest().map(|view| view.cluster.number);
    assert!(number == Some(1), "S1: the line began anew as {number:?}, and three remembered it\n{}", world.story());
}

/// All memory is lost while two nodes share a volume, and a third one wants it. Who has it open is known from them alone.
pub(super) fn b4_a_group_that_no_memory_holds(rules: Rules) {
    let mut world = up(rules, 3, 13);
    (1..=2).for_each(|node| world.wants(node, 1, true));
    back(&mut world);
    (1..=3).for_each(|host| world.kill_appliance(host));
    world.wants(3, 1, true);
    world.run_ms(8_000);
    back(&mut world);
    let all = (1..=3).all(|node| world.guests[&node].dlm.running(1).is_some_and(|running| running.set.len() == 3));
    assert!(all, "all three share it\n{}", world.story());
}
