//! The traces of SAFETY B2, B4 and F4: when a cluster may begin anew, and what it must know of its groups and of the condemned.

use super::stage::{back, leader, members, up};
use crate::sim::{Bmc, Wish, World};
use palisade_core::id::HostId;
use palisade_core::rule::Rules;
use palisade_core::status::HostState;

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

/// Of two votes one accepts its own condemnation, and the other one dies before that can be told. In the cold start that
/// follows, the condemned one's memory is all there is: it is no member of it under the same incarnation.
pub(super) fn f4_a_condemned_appliance_remembers_it(rules: Rules) {
    let mut world = up(rules, 2, 14);
    world.run_ms(500);
    let (leads, other) = (leader(&world), members(&world)[0]);
    let id = HostId::new(other);
    world.bmcs.insert(other, Bmc::Dead);
    world.operator(leads, Wish::FenceHost(other));
    let condemned = |w: &World| w.truth.newest().is_some_and(|view| view.host(id).state == HostState::Condemned);
    while !condemned(&world) {
        world.run_until(world.now + 10);
    }
    let old = world.incarnation(other);
    world.lose_datagrams_to(other);
    world.kill_appliance(leads);
    let again = |w: &World| {
        let row = w.truth.newest().map(|view| *view.host(id));
        row.is_some_and(|row| row.state == HostState::Member && Some(row.incarnation) == old)
    };
    let withdrawn = world.run_until_true(20_000, again);
    assert!(!withdrawn, "F4: host {other} was condemned as {old:x?}, and is a member as such\n{}", world.story());
    world.bmcs.insert(other, Bmc::Works(5_000));
    back(&mut world);
    let number = world.truth.newest().map(|view| view.cluster.number);
    assert_eq!(number, Some(2), "it was a cold start\n{}", world.story());
}
