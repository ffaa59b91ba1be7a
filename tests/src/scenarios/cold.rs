//! The trace of SAFETY B2: when a cluster may begin anew.

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
