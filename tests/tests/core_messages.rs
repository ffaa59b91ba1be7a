//! Messages between nodes on the deterministic test network: ordered, at most once, and never lost in silence (SAFETY I2).
//!
//! What was brought twice, out of order, to the wrong node or with other bytes is found by the checker (`sim::Letters`).
#![allow(clippy::unwrap_used)]

use palisade_core::rule::{Rule, Rules};
use palisade_tests::scenarios::stage::whole;
use palisade_tests::sim::{Habit, Mood, World, config};

/// The end of every message has been heard by its sender, within so many milliseconds.
fn settled(world: &mut World, within_ms: u64) {
    let settled = world.run_until_true(within_ms, |world| world.letters_waiting() == 0);
    assert!(settled, "{} messages wait\n{}", world.letters_waiting(), world.story());
}

#[test]
fn every_message_arrives_and_is_acknowledged() {
    for seed in 0..5 {
        let mut world = whole(3, seed);
        for _ in 0..200 {
            for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
                world.post(from, to);
            }
            world.run_ms(2);
        }
        settled(&mut world, 5_000);
        assert_eq!(world.letters.counts, (1200, 1200, 0), "seed {seed}");
        assert!(world.truth.downs.is_empty() && world.truth.resets.is_empty());
    }
}

#[test]
fn nodes_of_one_host_speak_without_the_network() {
    let shape = config::Shape { nodes: 2, ..config::Shape::of(3) };
    let mut world = World::new(shape.config(), 3);
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "{}", world.story());
    let mut pairs = Vec::new();
    for one in world.guests.values() {
        let near = world.guests.values().filter(|other| other.host == one.host && other.node != one.node);
        pairs.extend(near.map(|other| (one.node, other.node)));
    }
    assert_eq!(pairs.len(), 6);
    for _ in 0..50 {
        for &(from, to) in &pairs {
            world.post(from, to);
        }
    }
    settled(&mut world, 2_000);
    assert_eq!(world.letters.counts, (300, 300, 0));
}

#[test]
fn loss_and_second_copies_neither_lose_nor_repeat() {
    for seed in 0..10 {
        let mut world = whole(3, 100 + seed);
        world.each_path(|_, path| {
            path.loss = 300;
            path.duplicate = 200;
            path.spread = 5_000;
        });
        for _ in 0..50 {
            world.post(1, 2);
            world.post(2, 3);
            world.post(3, 1);
            world.run_ms(10);
        }
        settled(&mut world, 20_000);
        assert_eq!(world.letters.counts, (150, 150, 0), "seed {seed}");
    }
}

#[test]
fn a_receiver_that_does_not_read_blocks_only_its_own_streams() {
    let mut world = whole(3, 4);
    world.guests.get_mut(&2).unwrap().mail.deaf = true;
    for _ in 0..100 {
        world.post(1, 2);
        world.post(1, 3);
        world.post(3, 1);
    }
    assert!(world.run_until_true(5_000, |world| world.letters_waiting() == 100), "{}", world.letters_waiting());
    assert_eq!(world.letters.counts.1, 200);
    assert!(world.guests[&1].mail.busy > 0, "a full window is refused, not swallowed");
    world.guests.get_mut(&2).unwrap().mail.deaf = false;
    settled(&mut world, 20_000);
    assert_eq!(world.letters.counts, (300, 300, 0));
}

/// Messages both ways while `fault` strikes, and what became of them: taken, acknowledged, given up.
fn through(seed: u64, habit: Habit, fault: impl Fn(&mut World)) -> (u64, u64, u64) {
    let mut world = whole(3, seed);
    for guest in world.guests.values_mut() {
        guest.mail.habit = habit;
    }
    let posts = |world: &mut World, rounds: u64| {
        for _ in 0..rounds {
            world.post(1, 2);
            world.post(2, 1);
            world.post(3, 2);
            world.run_ms(3);
        }
    };
    posts(&mut world, 30);
    fault(&mut world);
    posts(&mut world, 100);
    assert!(world.run_until_true(30_000, World::all_up), "not all up again\n{}", world.story());
    posts(&mut world, 30);
    settled(&mut world, 30_000);
    world.letters.counts
}

#[test]
fn a_restart_of_the_receivers_appliance_ends_the_stream_and_repeats_nothing() {
    let mut gone = 0;
    for seed in 0..10 {
        let (taken, acked, lost) = through(200 + seed, Habit::Drop, |world| world.kill_appliance(2));
        assert!(acked <= taken && acked + lost == 480, "seed {seed}: {taken} {acked} {lost}");
        gone += lost;
    }
    assert!(gone > 0, "some were under way");
}

/// The receiver's appliance is killed so many microseconds after a message was sent; the next one is sent when it is back.
fn killed_after(rules: Rules, micros: u64) -> (u64, u64, u64) {
    let mut world = World::new(config::cluster(3), 250);
    world.rules = rules;
    world.power_all();
    assert!(world.run_until_true(15_000, World::all_up), "{}", world.story());
    world.post(1, 2);
    settled(&mut world, 1000);
    world.post(1, 2);
    world.run_until(world.now + micros);
    world.kill_appliance(2);
    world.run_ms(3_000);
    world.post(1, 2);
    settled(&mut world, 20_000);
    world.letters.counts
}

#[test]
fn killed_at_any_moment_it_repeats_nothing() {
    let all: Vec<_> = (0..40).map(|step| killed_after(Rules::ALL, 100 * step)).collect();
    // The stream has ended and its sender was told, so the third begins another one and is taken each time.
    assert!(all.contains(&(2, 2, 1)), "not taken: {all:?}");
    assert!(all.contains(&(3, 2, 1)), "taken, and the answer lost: {all:?}");
    assert!(all.contains(&(3, 3, 0)), "taken and acknowledged: {all:?}");
    assert!(all.iter().all(|counts| counts.1 + counts.2 == 3), "{all:?}");
}

/// Nobody sends anything after it, so that nothing but the replaced appliance itself ends the stream.
#[test]
fn the_last_message_before_a_restart_is_given_up_as_soon_as_the_new_appliance_is_admitted() {
    for seed in 0..10 {
        let mut world = whole(3, 260 + seed);
        world.kill_appliance(2);
        world.post(1, 2);
        assert!(world.run_until_true(5_000, World::all_admitted), "{}", world.story());
        settled(&mut world, 500);
        assert_eq!(world.letters.counts, (0, 0, 1), "seed {seed}");
    }
}

#[test]
fn an_appliance_that_repeats_across_a_restart_is_caught() {
    let is_caught = |step: u64| {
        let run = std::panic::catch_unwind(|| killed_after(Rules::without(Rule::I2), 50 * step));
        let Err(why) = run else { return false };
        let text = why.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains("was repeated by an appliance (SAFETY I2)"), "{text}");
        true
    };
    assert!((0..30).any(is_caught));
}

#[test]
fn a_restart_of_the_senders_appliance_ends_the_stream_and_repeats_nothing() {
    let mut gone = 0;
    for seed in 0..10 {
        let (taken, acked, lost) = through(300 + seed, Habit::Drop, |world| world.kill_appliance(1));
        assert!(acked <= taken && acked + lost == 480, "seed {seed}: {taken} {acked} {lost}");
        gone += lost;
    }
    assert!(gone > 0, "some were under way");
}

#[test]
fn who_repeats_after_gone_is_heard_once_whichever_appliance_restarts() {
    for seed in 0..10 {
        for host in [1, 2] {
            let counts = through(400 + seed, Habit::Repeat, |world| world.kill_appliance(host));
            assert_eq!(counts, (480, 480, 0), "seed {seed}: each once, and none lost");
        }
    }
}

#[test]
fn a_receiver_that_boots_again_gets_nothing_of_the_old_streams() {
    for seed in 0..10 {
        for mood in [Mood::Gone, Mood::Panicked, Mood::Hung] {
            let (taken, acked, lost) = through(500 + seed, Habit::Drop, |world| world.hit(2, mood));
            assert!(acked <= taken && acked + lost < 480 && lost > 0, "seed {seed}: what node 2 had to say is lost");
        }
    }
}

#[test]
fn both_appliances_at_once() {
    for seed in 0..10 {
        let (taken, acked, lost) = through(600 + seed, Habit::Drop, |world| {
            world.kill_appliance(1);
            world.run_ms(1500);
            world.kill_appliance(2);
        });
        assert!(acked <= taken && acked + lost == 480, "seed {seed}: {taken} {acked} {lost}");
    }
}

#[test]
fn between_the_first_and_the_last_of_255_hosts() {
    let mut world = World::new(config::cluster_with_votes(255, 3), 7);
    for host in [1, 2, 3, 255] {
        world.power_on(host);
    }
    let are_up = |world: &World| {
        let view = world.hosts[&255].view();
        [1, 255].iter().all(|node| {
            let row = view.map(|view| *view.node(palisade_core::id::NodeId::new(*node)));
            row.is_some_and(|row| row.incarnation != 0 && row.incarnation == world.guests[node].incarnation)
        })
    };
    // The nodes of all the hosts that are off are fenced first, a few at a time.
    assert!(world.run_until_true(120_000, are_up), "{}", world.story());
    world.run_ms(100);
    for _ in 0..100 {
        world.post(1, 255);
        world.post(255, 1);
        world.post(255, 200);
    }
    assert!(world.run_until_true(10_000, |world| world.letters.counts.1 == 200), "{:?}", world.letters.counts);
    assert_eq!(world.letters.counts.0, 200);
    assert!(world.letters.counts.2 > 0, "nobody is at host 200: that is told at once");
}
