//! The traces of SAFETY A1, C2 and C3: what a lease counts from, and who may renew one.
//!
//! Owns two checkers that know the truth: nobody leads beside another one, and nothing writes longer than the class
//! `lease-expired` would wait for it.

use super::stage::{leader, members, up};
use crate::sim::{Bmc, Micros, Stop, World};
use palisade_core::rule::Rules;

const MS: Micros = 1000;

/// A1: as long as clocks run, only one appliance holds that it leads.
fn one_leads(world: &World) {
    let leading: Vec<u8> = world.hosts.values().filter(|it| it.leads() && !it.stands()).map(|it| it.id).collect();
    assert!(leading.len() < 2, "A1: {leading:?} lead at the same time, at {} us\n{}", world.now, world.story());
}

/// Runs on, and looks every millisecond.
fn run_and_look(world: &mut World, millis: u64, look: impl Fn(&World)) {
    for _ in 0..millis {
        world.run_ms(1);
        look(world);
    }
}

/// Heartbeats come 350 ms late, then nobody hears the leader any more. It leads until P after its own stamp, not after
/// what came last.
pub(super) fn a1_heartbeats_come_late(rules: Rules) {
    let mut world = up(rules, 3, 1);
    let leads = leader(&world);
    world.each_path(|(_, to, _), path| path.delay = if to == leads { 350 * MS } else { path.delay });
    run_and_look(&mut world, 3_000, one_leads);
    assert_eq!(world.leader(), Some(leads), "it leads on, late heartbeats or not\n{}", world.story());
    world.bmcs.insert(leads, Bmc::Dead);
    world.cut(leads, true, false, true);
    run_and_look(&mut world, 3_000, one_leads);
    assert!(world.leader().is_some_and(|now| now != leads), "another one leads\n{}", world.story());
}

/// S2, as the class `lease-expired` would break it: it takes a node for down so long after its host was answered last.
fn no_lease_lasts(world: &World, node: u8, answered: Micros) {
    let timing = &world.config().timing;
    let waits = timing.promise_ms + 2 * timing.guard_lease_ms + timing.stamp_gap_max_ms + 500;
    let over = answered + Micros::from(waits) * MS;
    let guest = &world.guests[&node];
    assert!(
        world.now < over || !guest.can_write(),
        "S2: node {node} can write at {} us; its host was answered last at {answered} us, and no lease lasts longer than \
         until {over}\n{}",
        world.now,
        world.story()
    );
}

/// A host whose BMC is dead is cut off.
fn cut_off(world: &mut World, host: u8) {
    world.bmcs.insert(host, Bmc::Dead);
    world.cut(host, true, true, true);
}

/// A host is cut off; before its leases end its appliance crashes and starts empty. It renews nothing.
pub(super) fn c2_an_empty_appliance_of_a_cut_off_host(rules: Rules) {
    let mut world = up(rules, 3, 2);
    let host = members(&world)[0];
    cut_off(&mut world, host);
    let cut = world.now;
    world.run_ms(3_000);
    world.kill_appliance(host);
    run_and_look(&mut world, 16_000, |world| no_lease_lasts(world, host, cut));
    assert!(world.truth.resets.iter().any(|(_, node)| *node == host), "its node ended\n{}", world.story());
    assert!(world.truth.downs.is_empty(), "and nobody may say so: that is not proved\n{}", world.story());
}

/// Answers are on their way for a long time, and the appliance is stopped again and again: to its clock they come at once.
/// Each renews only what was held when it was asked for.
pub(super) fn c3_old_answers_and_an_appliance_that_is_stopped(rules: Rules) {
    let mut world = up(rules, 3, 3);
    let (host, leads) = (members(&world)[0], leader(&world));
    world.bmcs.insert(host, Bmc::Dead);
    const PAUSE: Micros = 4_300 * MS;
    for round in 1..=4 {
        world.each_path(|(from, to, _), path| {
            path.delay = if (from, to) == (leads, host) { round * PAUSE } else { path.delay };
        });
        world.run_ms(110);
    }
    cut_off(&mut world, host);
    let cut = world.now;
    world.hosts.get_mut(&host).expect("a host").pipe_delay = 1;
    for _ in 1..=4 {
        world.stop_appliance(host, Stop::Clock);
        run_and_look(&mut world, 4_300, |world| no_lease_lasts(world, host, cut));
        world.resume_appliance(host);
        run_and_look(&mut world, 5, |world| no_lease_lasts(world, host, cut));
    }
    assert!(world.truth.resets.iter().any(|(_, node)| *node == host), "its node ended\n{}", world.story());
}
