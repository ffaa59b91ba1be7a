//! The barrier step by step: a view, what members said, and the next view, as a leader sees them.

use super::barrier;
use crate::config::parse::tests::{SAMPLE, read};
use crate::decide::tests::Scene;
use crate::id::{HostId, Incarnation, Label, NodeId, Run, Volume};
use crate::state::groups::{Phase, Standing};
use crate::status::Reason;
use crate::time::Instant;
use crate::wire::message::{GroupReport, Wish};
use crate::wire::node::NodeState;
use core::ops::{Deref, DerefMut};
use std::vec::Vec;

const VOLUME: Volume = Label([7; 16]);

struct World {
    scene: Scene,
    number: u32,
}

impl Deref for World {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Scene {
        &mut self.scene
    }
}

impl World {
    fn new() -> Self {
        Self { scene: Scene::new(), number: 0 }
    }

    fn group(&self) -> u8 {
        self.view.groups.of(VOLUME).unwrap_or(0)
    }

    fn phase(&self) -> Phase {
        self.view.groups.get(self.group()).phase
    }

    fn generation(&self) -> u64 {
        self.view.groups.get(self.group()).generation
    }

    fn incarnation(&self, node: u8) -> Incarnation {
        self.view.node(NodeId::new(node)).incarnation
    }

    /// What this node said so far, and now says otherwise.
    fn says(&mut self, node: u8, change: impl FnOnce(&mut GroupReport, u64)) {
        let (id, incarnation) = (NodeId::new(node), self.incarnation(node));
        let known = self.groups.of(id, incarnation, VOLUME).copied();
        let mut report = known.unwrap_or(GroupReport::new(id, incarnation, VOLUME));
        change(&mut report, self.generation());
        self.number += 1;
        report.number = self.number;
        self.groups.take(HostId::new(node), 1, &report);
    }

    fn joins(&mut self, node: u8) {
        self.says(node, |report, _| report.wish = Wish::Join);
    }

    fn leaves(&mut self, node: u8) {
        self.says(node, |report, _| report.wish = Wish::Leave);
    }

    fn stopped(&mut self, nodes: &[u8]) {
        nodes.iter().for_each(|&node| self.says(node, |report, generation| report.stopped = generation));
    }

    fn recovered(&mut self, nodes: &[u8]) {
        nodes.iter().for_each(|&node| {
            self.says(node, |report, generation| (report.started, report.recovered) = (generation, generation));
        });
    }

    /// Looks once. Whether a view was committed.
    fn look(&mut self) -> bool {
        self.scene.look(|facts, next| barrier::decide(facts, next, false))
    }

    fn reboots(&mut self, node: u8, incarnation: Incarnation) {
        self.happens(|view| {
            view.raise(NodeId::new(node), HostId::new(node), incarnation, Run { boot: 1, counter: 2 });
        });
    }

    /// Every recovery is done by its owner.
    fn taken(&mut self) {
        let group = self.group();
        self.happens(|view| {
            view.groups.rewrite(group, |row| {
                let standing = if row.standing == Standing::Dead { Standing::Recovered } else { row.standing };
                Some(crate::state::groups::Membership { standing, ..*row })
            });
        });
    }

    fn rows(&self) -> Vec<(u8, Standing, Incarnation)> {
        let rows = self.view.groups.members(self.group()).iter();
        rows.map(|row| (row.node.get(), row.standing, row.incarnation)).collect()
    }

    /// A group of these nodes, all of which run.
    fn of(nodes: &[u8]) -> Self {
        let mut world = Self::new();
        nodes.iter().for_each(|&node| world.joins(node));
        assert!(world.look() && world.phase() == Phase::Stopping);
        world.stopped(nodes);
        assert!(world.look() && world.phase() == Phase::Starting);
        world.recovered(nodes);
        assert!(world.look() && world.phase() == Phase::Idle);
        assert!(!world.look());
        world
    }
}

use Standing::{Dead, Joining, Leaving, Left, Member, NeverStarted, Recovered};

#[test]
fn the_first_member_starts_alone_through_the_same_barrier() {
    let mut world = World::new();
    world.joins(2);
    assert!(world.look());
    assert_eq!((world.phase(), world.generation()), (Phase::Stopping, 101), "the version that opened it");
    assert!(!world.look(), "it has not stopped");
    world.stopped(&[2]);
    assert!(world.look() && world.phase() == Phase::Starting);
    world.says(2, |report, generation| report.started = generation);
    assert!(!world.look(), "started is not recovered");
    world.recovered(&[2]);
    assert!(world.look() && world.phase() == Phase::Idle);
    assert_eq!(world.rows(), [(2, Member, 12)]);
}

#[test]
fn several_changes_share_one_barrier() {
    let mut world = World::of(&[1, 2]);
    world.joins(3);
    assert!(world.look());
    let generation = world.generation();
    world.leaves(2);
    assert!(world.look());
    assert_eq!((world.phase(), world.generation()), (Phase::Stopping, generation));
    world.stopped(&[1, 3]);
    assert!(!world.look(), "the leaver stops too: its set is another one");
    world.stopped(&[2]);
    assert!(world.look());
    assert_eq!(world.rows(), [(1, Member, 11), (2, Left, 12), (3, Member, 13)]);
    world.recovered(&[1, 3]);
    assert!(world.look());
    assert_eq!(world.rows(), [(1, Member, 11), (3, Member, 13)]);
}

#[test]
fn suspicion_stops_and_only_proof_starts() {
    let mut world = World::of(&[1, 2, 3]);
    world.condemned(3);
    assert!(world.look() && world.phase() == Phase::Stopping);
    world.stopped(&[1, 2]);
    assert!(!world.look(), "condemned is not dead");
    world.confirmed(3);
    assert!(world.look() && world.phase() == Phase::Starting);
    assert_eq!(world.rows(), [(1, Member, 11), (2, Member, 12), (3, Dead, 13)]);
    world.recovered(&[1, 2]);
    assert!(!world.look(), "its recovery was not taken");
    world.taken();
    assert!(world.look());
    assert_eq!(world.rows(), [(1, Member, 11), (2, Member, 12)]);
}

#[test]
fn g2_fates_add_up_until_all_have_recovered() {
    let mut world = World::of(&[1, 2, 3]);
    world.confirmed(3);
    world.look();
    world.stopped(&[1, 2]);
    world.look();
    world.taken();
    world.recovered(&[2]);
    assert!(!world.look());
    world.confirmed(1);
    assert!(world.look() && world.phase() == Phase::Stopping, "a death while it starts stops it at once");
    world.stopped(&[2]);
    assert!(world.look());
    assert_eq!(world.rows(), [(1, Dead, 11), (2, Member, 12), (3, Recovered, 13)]);
}

#[test]
fn h2_a_node_in_quarantine_waits_unless_it_is_the_last_candidate() {
    let held = crate::state::Flap { deaths: 2, held: true };
    let mut world = World::of(&[1, 2]);
    world.view.holds.set_flap(NodeId::new(3), held);
    world.joins(3);
    assert!(!world.look(), "others have the volume open");
    world.view.holds.set_flap(NodeId::new(3), crate::state::Flap { held: false, ..held });
    assert!(world.look() && world.phase() == Phase::Stopping);
    let mut alone = World::new();
    alone.view.holds.set_flap(NodeId::new(3), held);
    alone.joins(3);
    assert!(alone.look(), "nobody else is there");
}

#[test]
fn g3_a_number_comes_back_only_after_its_death_is_recovered() {
    let mut world = World::of(&[1, 2, 3]);
    world.confirmed(3);
    world.look();
    world.reboots(3, 23);
    world.joins(3);
    assert!(!world.look(), "its old incarnation stands there");
    world.stopped(&[1, 2]);
    assert!(world.look());
    world.joins(3);
    assert!(!world.look(), "its death is not recovered");
    world.taken();
    world.recovered(&[1, 2]);
    assert!(world.look() && world.phase() == Phase::Idle);
    assert!(world.look() && world.phase() == Phase::Stopping);
    assert_eq!(world.rows(), [(1, Member, 11), (2, Member, 12), (3, Joining, 23)]);
}

#[test]
fn g6_joiners_and_leavers_that_die() {
    let mut world = World::of(&[1, 2]);
    world.joins(3);
    world.leaves(2);
    assert!(world.look());
    assert_eq!(world.rows(), [(1, Member, 11), (2, Leaving, 12), (3, Joining, 13)]);
    world.condemned(3);
    world.confirmed(2);
    world.stopped(&[1]);
    assert!(world.look(), "a joiner never started: nobody waits for its proof");
    assert_eq!(world.rows(), [(1, Member, 11), (2, Dead, 12), (3, NeverStarted, 13)]);
}

#[test]
fn a_group_in_which_nobody_runs_keeps_its_dead_for_whoever_comes_next() {
    let mut world = World::of(&[1, 2]);
    world.confirmed(1);
    world.confirmed(2);
    assert!(world.look() && world.look());
    assert_eq!((world.phase(), world.rows().as_slice()), (Phase::Idle, [(1, Dead, 11), (2, Dead, 12)].as_slice()));
    assert!(!world.look());
    world.reboots(1, 21);
    world.joins(1);
    assert!(world.look(), "nobody runs who could take it for the old one");
    world.stopped(&[1]);
    assert!(world.look());
    assert_eq!(world.rows(), [(1, Member, 21), (1, Dead, 11), (2, Dead, 12)]);
    world.confirmed(1);
    assert!(world.look() && world.look());
    assert_eq!(world.rows(), [(1, Dead, 21), (2, Dead, 12)], "one journal: the later death speaks for the earlier");
}

#[test]
fn the_last_leaver_closes_the_group() {
    let mut world = World::of(&[2]);
    world.leaves(2);
    assert!(world.look());
    world.stopped(&[2]);
    assert!(world.look());
    assert_eq!(world.view.groups.iter().count(), 0);
    assert!(!world.look());
}

#[test]
fn g4_whoever_does_not_do_its_step_in_time_is_condemned() {
    let mut world = World::of(&[1, 2]);
    world.joins(3);
    world.look();
    world.stopped(&[1, 3]);
    world.now = Instant::from_micros(4_999_000);
    assert!(!world.look());
    world.now = Instant::from_micros(5_000_000);
    assert!(world.look());
    let states = [1, 2, 3].map(|node| world.view.node(NodeId::new(node)).state);
    assert_eq!(states, [NodeState::Up, NodeState::Condemned, NodeState::Up]);
    assert_eq!(world.view.node(NodeId::new(2)).record.reason, Reason::Stuck);
    world.confirmed(2);
    assert!(world.look() && world.phase() == Phase::Starting);
    world.recovered(&[1]);
    world.says(3, |report, generation| report.started = generation);
    world.now = Instant::from_micros(100_000_000);
    assert!(!world.look(), "nobody can have recovered before the owner of the dead one's recovery is done");
    world.taken();
    world.now = Instant::from_micros(159_000_000);
    assert!(!world.look(), "and then a recovery has its own, longer time");
    world.now = Instant::from_micros(160_000_000);
    assert!(world.look());
    assert_eq!(world.view.node(NodeId::new(3)).state, NodeState::Condemned);
}

#[test]
fn a_barrier_begins_its_time_when_it_is_committed_and_a_late_joiner_has_its_own() {
    let mut world = World::of(&[1, 2]);
    world.now = Instant::from_micros(100_000_000);
    world.condemned(2);
    world.look();
    assert_eq!(world.phase(), Phase::Stopping);
    world.stopped(&[1]);
    world.now = Instant::from_micros(104_900_000);
    world.joins(3);
    assert!(world.look());
    world.now = Instant::from_micros(105_100_000);
    assert!(!world.look(), "200 ms are no 5 s");
    world.now = Instant::from_micros(109_900_000);
    assert!(world.look());
    assert_eq!(world.view.node(NodeId::new(3)).record.reason, Reason::Stuck);
    assert_eq!(world.view.node(NodeId::new(1)).state, NodeState::Up);
}

#[test]
fn an_old_answer_is_no_answer_to_a_new_barrier() {
    let mut world = World::of(&[1, 2]);
    let before = world.generation();
    world.joins(3);
    world.look();
    world.says(1, |report, _| report.stopped = before);
    world.stopped(&[2, 3]);
    assert!(!world.look());
}

#[test]
fn a_volume_belongs_to_one_cluster_and_a_node_to_its_own() {
    let mut world = World::new();
    world.config = read(SAMPLE);
    let asks = |world: &mut World, node, cluster: &str| {
        world.says(node, |report, _| (report.wish, report.cluster) = (Wish::Join, Label::named(cluster)));
        world.look()
    };
    assert!(!asks(&mut world, 3, "mail"), "node 3 is not in that cluster");
    assert!(!asks(&mut world, 2, ""), "node 2 is in two clusters and must say in which");
    assert!(asks(&mut world, 1, ""), "node 1 is in one");
    assert!(!asks(&mut world, 3, "web"), "the volume is another cluster's");
    assert!(asks(&mut world, 2, "mail"));
}

#[test]
fn where_nothing_is_open_nothing_is_looked_at() {
    let mut world = World::of(&[1, 2, 3]);
    assert!(!world.look());
    assert!(world.groups.is_settled(world.view.version));
    world.leaves(3);
    assert!(!world.groups.is_settled(world.view.version));
}

#[test]
fn a_report_that_was_overtaken_says_nothing() {
    let mut world = World::of(&[1, 2]);
    let late = GroupReport { number: 1, wish: Wish::Leave, ..GroupReport::new(NodeId::new(1), 11, VOLUME) };
    assert!(!world.groups.take(HostId::new(1), 1, &late));
    assert!(!world.look());
}

/// A host of eight sends as many reports at once, and they arrive in any order: none of them makes another one void.
#[test]
fn a_report_that_another_nodes_overtook_counts_and_only_a_wish_that_may_be_granted_already_does_not() {
    let mut world = World::of(&[1, 2]);
    let of =
        |node: u8, number| GroupReport { number, ..GroupReport::new(NodeId::new(node), 10 + u64::from(node), VOLUME) };
    let host = HostId::new(1);
    assert!(world.groups.take(host, 1, &GroupReport { stopped: 1, ..of(2, 900) }));
    assert!(world.groups.take(host, 1, &GroupReport { stopped: 1, ..of(1, 899) }), "of another node");
    assert!(!world.groups.take(host, 1, &GroupReport { wish: Wish::Leave, ..of(1, 898) }), "of the same");
    assert!(world.groups.take(host, 1, &GroupReport { wish: Wish::Join, stopped: 1, ..of(3, 897) }));
    assert!(world.groups.wishes().next().is_none(), "who is not known may have joined and left already");
    assert!(world.groups.take(host, 1, &GroupReport { wish: Wish::Join, stopped: 1, ..of(3, 898) }));
    assert_eq!(world.groups.wishes().count(), 1, "it says so again");
}
