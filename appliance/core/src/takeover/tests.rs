//! Takeovers step by step: a view, what owners said, and the next view, as a leader sees them.

use super::assign;
use crate::config::Service as Configured;
use crate::decide::tests::Scene;
use crate::id::{HostId, Incarnation, Label, NodeId, Run};
use crate::limits::{RELEASE, SERVICES_MAX, TAKEOVERS_MAX};
use crate::state::groups::{Membership, Phase, Standing};
use crate::state::takeovers::{Progress, Service, TakeoverRow};
use crate::status::Reason;
use crate::time::Instant;
use crate::wire::message::{Heartbeat, TakeoverReport};
use crate::wire::node::NodeState;

const NAMED: Service = Service::Named(0);

impl Scene {
    /// Three nodes that are up, on hosts that promise the same; one service, with this policy.
    fn serving(policy: super::Policy) -> Self {
        let mut scene = Scene::new();
        scene.config.services.clear();
        let name = crate::config::ShortName::try_from("queue").unwrap_or_default();
        let nodes = [3, 1, 2].into_iter().collect();
        let service = Configured { name, cluster: crate::config::ShortName::new(), nodes, policy };
        assert!(scene.config.services.push(service).is_ok());
        let mut beat = Heartbeat { number: 1, sealed: true, release: RELEASE, config_hash: 5, ..Heartbeat::NONE };
        for node in 1..=3 {
            beat.number += 1;
            scene.watch.take(Instant::ZERO, HostId::new(node), 1, &beat);
        }
        scene
    }

    /// Looks once. Whether a view was committed.
    fn assign(&mut self) -> bool {
        self.look(|facts, next| assign::decide(facts, next, false))
    }

    fn row(&self, service: Service, dead: u8) -> TakeoverRow {
        let row = self.view.takeovers.get(service, NodeId::new(dead));
        row.copied().unwrap_or(TakeoverRow::waiting(service, NodeId::NONE, 0))
    }

    fn owner(&self, service: Service, dead: u8) -> (u8, Incarnation, Progress) {
        let row = self.row(service, dead);
        (row.owner.get(), row.owner_incarnation, row.progress)
    }

    fn says(&mut self, service: Service, dead: u8, taken: bool) -> bool {
        let row = self.row(service, dead);
        let (node, incarnation, token) = (row.owner, row.owner_incarnation, row.token);
        self.takeovers.take(&TakeoverReport { node, incarnation, service, dead: row.dead, token, taken })
    }

    /// A service that its first owner has.
    fn placed(policy: super::Policy) -> Self {
        let mut world = Self::serving(policy);
        assert!(world.assign() && world.assign());
        assert!(world.says(NAMED, 0, true) && world.assign());
        assert!(!world.assign());
        world
    }
}

use super::Policy::{LeastLoaded, Lowest, Preference};
use Progress::{Ordered, Taken, Waiting};

#[test]
fn a_service_is_placed_by_its_policy_and_moves_on_death_and_does_not_move_back() {
    for (policy, first, second) in [(Lowest, 1, 2), (Preference, 3, 1), (LeastLoaded, 1, 2)] {
        let mut world = Scene::placed(policy);
        assert_eq!(world.owner(NAMED, 0), (first, 10 + u64::from(first), Taken));
        let token = world.row(NAMED, 0).token;
        world.confirmed(first);
        assert!(world.assign());
        let row = world.row(NAMED, 0);
        assert_eq!((row.owner.get(), row.dead.get(), row.dead_incarnation), (second, first, 10 + u64::from(first)));
        assert!(row.token > token && row.token == world.view.version);
        assert!(world.says(NAMED, first, true) && world.assign());
        world.happens(|view| view.raise(NodeId::new(first), HostId::new(first), 99, Run { boot: 1, counter: 2 }));
        assert!(!world.assign(), "who comes back gets nothing back by itself");
    }
}

#[test]
fn a_first_placement_waits_a_while_for_all_who_could_have_it() {
    let mut world = Scene::serving(Preference);
    world.confirmed(3);
    assert!(world.assign(), "the row is there, and seen to wait");
    assert_eq!(world.owner(NAMED, 0).2, Waiting);
    assert!(!world.assign());
    world.passes(5_000);
    assert!(world.assign());
    assert_eq!(world.owner(NAMED, 0), (1, 11, Ordered), "the next in the order");
}

#[test]
fn i1_silence_condemns_and_only_proof_or_failure_names_another() {
    let mut world = Scene::serving(Lowest);
    assert!(world.assign() && world.assign());
    let first = world.row(NAMED, 0);
    world.passes(29_999);
    assert!(!world.assign());
    world.passes(1);
    assert!(world.assign());
    assert_eq!(world.view.node(NodeId::new(1)).state, NodeState::Condemned);
    assert_eq!(world.view.node(NodeId::new(1)).record.reason, Reason::OwnerSilent);
    assert_eq!(world.row(NAMED, 0), first, "condemned is not dead");
    assert!(!world.assign());
    world.confirmed(1);
    assert!(world.assign());
    assert_eq!(world.owner(NAMED, 0), (2, 12, Ordered));
}

#[test]
fn whoever_fails_is_asked_again_only_after_the_others_and_with_pauses() {
    let mut world = Scene::serving(Lowest);
    assert!(world.assign() && world.assign());
    let first = world.row(NAMED, 0).token;
    assert!(world.says(NAMED, 0, false) && world.assign());
    assert_eq!(world.owner(NAMED, 0).2, Waiting);
    assert!(!world.assign());
    world.passes(500);
    assert!(world.assign());
    assert_eq!(world.owner(NAMED, 0).0, 2);
    assert!(world.row(NAMED, 0).token > first);
    assert!(world.says(NAMED, 0, false) && world.assign());
    world.passes(500);
    assert!(!world.assign(), "the second pause is longer");
    world.passes(500);
    assert!(world.assign());
    assert_eq!(world.owner(NAMED, 0).0, 1);
}

#[test]
fn only_an_appliance_that_holds_the_guarantees_gets_anything() {
    let mut world = Scene::placed(Lowest);
    let worse = Heartbeat { number: 9, sealed: true, release: RELEASE, config_hash: 6, ..Heartbeat::NONE };
    world.watch.take(Instant::ZERO, HostId::new(2), 1, &worse);
    world.confirmed(1);
    assert!(world.assign());
    assert_eq!(world.owner(NAMED, 0).0, 3, "host 2 has another configuration");
    world.confirmed(3);
    assert!(world.assign());
    assert_eq!(world.owner(NAMED, 0), (0, 0, Waiting), "nobody is left who may have it");
}

/// Members 1 and 2 of group 1 start, and these died in it.
fn deaths(world: &mut Scene, dead: &[u8]) {
    world.config.services.clear();
    world.happens(|view| {
        let group = view.groups.create(Label::named("sample"), Label([7; 16])).unwrap_or(0);
        view.groups.get_mut(group).phase = Phase::Starting;
        for node in [1, 2] {
            let incarnation = 10 + u64::from(node);
            view.groups.put(Membership { group, node: NodeId::new(node), standing: Standing::Member, incarnation });
        }
        for &node in dead {
            view.groups.put(Membership { group, node: NodeId::new(node), standing: Standing::Dead, incarnation: 1 });
        }
    });
}

#[test]
fn each_dead_member_is_recovered_by_one_living_one() {
    let mut world = Scene::serving(Lowest);
    deaths(&mut world, &[3, 9]);
    let recovery = Service::Recovery(1);
    assert!(world.assign());
    assert_eq!([3, 9].map(|dead| world.owner(recovery, dead).0), [1, 2], "spread over the members");
    assert!(!world.says(recovery, 7, true), "nobody was given that");
    assert!(world.says(recovery, 3, true) && world.assign());
    assert!(world.view.takeovers.get(recovery, NodeId::new(3)).is_none());
    let fate = |world: &Scene, node| world.view.groups.fate(1, NodeId::new(node)).map(|row| row.standing);
    assert_eq!((fate(&world, 3), fate(&world, 9)), (Some(Standing::Recovered), Some(Standing::Dead)));
    let token = world.row(recovery, 9).token;
    world.confirmed(2);
    assert!(world.assign());
    assert_eq!(world.owner(recovery, 9).0, 1, "its owner died");
    assert!(world.row(recovery, 9).token > token);
}

#[test]
fn more_deaths_than_there_is_room_for_wait_and_are_not_lost() {
    let mut world = Scene::serving(Lowest);
    let dead: std::vec::Vec<u8> = (100..200).collect();
    deaths(&mut world, &dead);
    let mut recovered = 0;
    for _ in 0..10 {
        world.assign();
        let rows: std::vec::Vec<TakeoverRow> = world.view.takeovers.rows().to_vec();
        assert!(rows.len() <= TAKEOVERS_MAX - SERVICES_MAX, "places for named services stay free");
        recovered += rows.len();
        rows.iter().for_each(|row| assert!(world.says(row.service, row.dead.get(), true)));
    }
    assert_eq!(recovered, 100);
}
