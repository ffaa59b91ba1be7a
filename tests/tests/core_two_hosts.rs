//! Two hosts, two votes and no witness: what becomes of one when the other one is silent (SAFETY D1-D3).

use palisade_core::fencing::Action;
use palisade_core::id::HostId;
use palisade_core::rule::Rules;
use palisade_core::status::HostState;
use palisade_core::wire::node::{Message, Wish};
use palisade_tests::scenarios::stage::{back, up, up_with};
use palisade_tests::sim::operator::of_host;
use palisade_tests::sim::{Bmc, Mood, Power, World, config};

fn offs(world: &World) -> Vec<u8> {
    world.truth.orders.iter().filter(|order| order.3 == Action::Off).map(|order| order.2).collect()
}

fn is_off(host: u8) -> impl Fn(&World) -> bool {
    move |world| world.hosts[&host].power == Power::Off
}

#[test]
fn cut_between_the_two_exactly_one_goes_on_and_the_other_one_comes_back_as_a_member() {
    for seed in 1..=10 {
        let mut world = up(Rules::ALL, 2, seed);
        world.cut(1, true, true, true);
        assert!(world.run_until_true(5_000, is_off(2)), "seed {seed}: 2 is switched off\n{}", world.story());
        let told = world.run_until_true(1_000, |world| world.truth.told_down(2, 0) == 1);
        assert!(told, "seed {seed}: its node is down\n{}", world.story());
        assert!(world.truth.resets.iter().all(|(_, node)| *node != 1), "and 1's lives\n{}", world.story());
        assert!(world.run_until_true(20_000, |world| !is_off(2)(world)), "seed {seed}: on again\n{}", world.story());
        world.cut(1, true, true, false);
        back(&mut world);
        assert!(offs(&world).iter().all(|host| *host == 2), "seed {seed}: {:?}", offs(&world));
        world.kill_appliance(2);
        world.run_ms(5_000);
        back(&mut world);
    }
}

#[test]
fn either_one_dies_and_the_other_one_goes_on_and_turns_it_on_again() {
    for dies in [1, 2] {
        for seed in 1..=5 {
            let mut world = up(Rules::ALL, 2, seed);
            world.power_off(dies);
            back(&mut world);
            assert!(offs(&world).iter().all(|host| *host == dies), "seed {seed}: {:?}", offs(&world));
            assert!(!offs(&world).is_empty(), "it was switched off, dead or not");
        }
    }
}

#[test]
fn slow_devices_switch_only_one_of_the_two_off() {
    let slow = |text: String| text.replace(r#""timeout_ms":3000"#, r#""timeout_ms":8000"#);
    for seed in 1..=5 {
        let mut world = up_with(Rules::ALL, config::read(&slow(config::json(2, 2))), seed);
        for host in [1, 2] {
            world.bmcs.insert(host, Bmc::Works(5_000_000));
        }
        world.cut(1, true, true, true);
        world.run_ms(60_000);
        assert!(offs(&world).iter().all(|host| *host == 2), "seed {seed}: {:?}\n{}", offs(&world), world.story());
        assert!(world.hosts.values().all(|host| host.power == Power::On), "seed {seed}\n{}", world.story());
        world.cut(1, true, true, false);
        back(&mut world);
    }
}

#[test]
fn nothing_happens_beside_a_dead_bmc_until_an_operator_says_that_the_host_is_off() {
    let mut world = up(Rules::ALL, 2, 3);
    world.bmcs.insert(1, Bmc::Dead);
    world.power_off(1);
    let views = world.truth.views();
    world.run_ms(60_000);
    assert_eq!(world.truth.views(), views, "nothing is committed\n{}", world.story());
    world.operate(2, of_host(Wish::Acknowledge, 1, 0));
    let told = world.run_until_true(10_000, |world| world.leader() == Some(2) && world.truth.views() > views);
    assert!(told, "2 goes on\n{}", world.story());
    let done = matches!(world.answer_of(2, 5_000), Some(Message::OperateReply { .. }));
    assert!(done, "the operator is told so\n{}", world.story());
    world.run_ms(20_000);
    world.power_on(1);
    back(&mut world);
}

#[test]
fn a_survivor_that_loses_its_memory_waits_for_the_other_one() {
    let mut world = up(Rules::ALL, 2, 4);
    world.bmcs.insert(2, Bmc::Works(10_000));
    world.cut(1, true, true, true);
    assert!(world.run_until_true(5_000, is_off(2)), "{}", world.story());
    world.run_ms(100);
    let before = offs(&world).len();
    world.kill_appliance(1);
    world.run_ms(30_000);
    assert_eq!(offs(&world).len(), before, "whoever remembers nothing does nothing\n{}", world.story());
    world.cut(1, true, true, false);
    if is_off(2)(&world) {
        world.power_on(2);
    }
    back(&mut world);
}

/// On a host whose disks do not qualify nothing but power proves a node's death (SAFETY E5). One of two hosts may be given up for
/// that: the other one goes on alone.
#[test]
fn a_node_that_only_power_proves_dead_costs_its_host_whichever_of_the_two_leads() {
    for host in [1, 2] {
        for seed in 1..=5 {
            let mut world = up(Rules::ALL, 2, seed);
            world.hosts.get_mut(&host).expect("a host").disks_qualify = false;
            world.power_off(host);
            back(&mut world);
            let since = world.now;
            world.hit(host, Mood::Panicked);
            let off = world.run_until_true(10_000, is_off(host));
            assert!(off, "seed {seed}: host {host} is switched off for its node\n{}", world.story());
            let told = world.run_until_true(5_000, |world| world.truth.told_down(host, since) == 1);
            assert!(told, "seed {seed}: node {host} is down\n{}", world.story());
            assert!(world.truth.resets.iter().all(|(at, _)| *at < since), "seed {seed}: the other one's node lives");
            back(&mut world);
        }
    }
}

#[test]
fn an_operator_fences_one_of_the_two_and_the_other_one_never_stops_leading() {
    for victim in [1, 2] {
        let (seed, mut world) = (1..50)
            .map(|seed| (seed, up(Rules::ALL, 2, seed)))
            .find(|(_, world)| world.leader() == Some(3 - victim))
            .expect("each leads now and then");
        let elections = world.truth.elections;
        world.operate(3 - victim, of_host(Wish::Fence, victim, 0));
        assert!(world.run_until_true(3_000, is_off(victim)), "seed {seed}: it is off\n{}", world.story());
        back(&mut world);
        assert_eq!(world.truth.elections, elections, "seed {seed}\n{}", world.story());
        let resets = &world.truth.resets;
        assert!(resets.iter().all(|(_, node)| *node == victim), "seed {seed}: {resets:?}");
    }
}

/// With a dead device the condemned one votes on, as an appliance that serves nobody, and the other one's node lives.
#[test]
fn a_condemned_one_of_two_that_no_device_reaches_votes_on_until_one_does() {
    for seed in 1..=5 {
        let mut world = up(Rules::ALL, 2, seed);
        world.bmcs.insert(2, Bmc::Dead);
        world.operate(1, of_host(Wish::Fence, 2, 0));
        world.run_ms(60_000);
        assert!(world.truth.resets.iter().all(|(_, node)| *node != 1), "seed {seed}\n{}", world.story());
        let row = world.truth.newest().map(|view| view.host(HostId::new(2)).state);
        assert_eq!(row, Some(HostState::Condemned), "seed {seed}: nothing proves that the host is off");
        world.bmcs.insert(2, Bmc::Works(100_000));
        back(&mut world);
        assert!(offs(&world).iter().all(|host| *host == 2), "seed {seed}: {:?}", offs(&world));
    }
}

/// Cuts in one direction or both, crashes of appliances, power losses and devices that fail, all at random; the checkers look on.
fn whatever_happens(seed: u64) {
    let mut world = up(Rules::ALL, 2, seed);
    for _ in 0..12 {
        let host = 1 + u8::try_from(world.random() % 2).expect("1 or 2");
        match world.random() % 8 {
            0 => world.cut(host, true, true, true),
            1 => world.cut(host, true, false, true),
            2 | 3 => world.cut(1, true, true, false),
            4 => world.kill_appliance(host),
            5 => world.power_off(host),
            6 => world.power_on(host),
            _ => {
                let moods = [Bmc::Dead, Bmc::Mute, Bmc::Works(2_500_000), Bmc::ActsLate(4_000_000), Bmc::Works(5_000)];
                let at = usize::try_from(world.random() % 5).expect("small");
                world.bmcs.insert(host, moods[at]);
            }
        }
        let span = [50, 400, 1_500, 4_000, 15_000][usize::try_from(world.random() % 5).expect("small")];
        world.run_ms(span);
    }
    world.cut(1, true, true, false);
    for host in [1, 2] {
        world.bmcs.insert(host, Bmc::Works(5_000));
    }
    world.run_ms(40_000);
    for host in [1, 2] {
        world.power_on(host);
    }
    back(&mut world);
}

#[test]
fn whatever_happens_to_the_two_there_is_one_line_and_all_is_well_in_the_end() {
    for seed in 1..=seeds() {
        whatever_happens(seed);
    }
}

/// How many seeds to try; more on request.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}
