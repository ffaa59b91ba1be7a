//! What reports and memory make of groups and services, one case at a time (SAFETY B4).

use super::revive;
use crate::cold::Cold;
use crate::decide::Facts;
use crate::decide::tests::Scene;
use crate::fencing::ages::Ages;
use crate::id::{Cluster, HostId, Incarnation, Label, NodeId, Run, Volume};
use crate::limits::GROUPS_MAX;
use crate::rule::{Rule, Rules};
use crate::state::State;
use crate::state::groups::{GroupNumber, Membership, Phase, Standing};
use crate::state::takeovers::{Progress, Service, TakeoverRow};
use crate::time::Instant;
use crate::wire::message::{KNOWN_MAX, Known, Report, ServicePage, VolumePage};
use crate::wire::node::{Fate, Given, NodeState, StartNode, VolumeState, What};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

const VOLUME: Volume = Label([7; 16]);
const FATES: [Fate; 2] = [Fate::Member, Fate::Dead];

const fn node(number: u8) -> NodeId {
    NodeId::new(number)
}

/// As which incarnation a node is known: 11, 12, 13.
const fn life(number: u8) -> Incarnation {
    10 + number as Incarnation
}

/// Nodes 1 and 2 were adopted, node 3 was not: it is condemned.
struct Morning {
    scene: Scene,
    cold: Box<Cold>,
    view: Box<State>,
    rules: Rules,
}

impl Morning {
    fn new() -> Self {
        let scene = Scene::new();
        let mut view = scene.view.clone();
        view.suspect(node(3), HostId::new(3), life(3), Run::NONE);
        Self { scene, cold: Box::new(Cold::EMPTY), view, rules: Rules::ALL }
    }

    /// A node's session reports that it served this cluster incarnation, and of so many volumes and services.
    fn reports(&mut self, number: u8, served: u32, tells: (u8, u8)) {
        let (incarnation, cluster) = (life(number), Cluster { number: served, random: 1 });
        let known = [Known::NONE; KNOWN_MAX];
        let tells = Some(tells);
        let report = Report { node: node(number), incarnation, cluster, version: 0, page: 0, pages: 1, tells, known };
        self.cold.take(HostId::new(number), &report);
    }

    /// And of the volume: when it was stopped and started last, whether it recovered, and what that START said.
    fn says(&mut self, number: u8, (stopped, started, recovered): (u64, u64, bool), told: &[(u8, Fate)]) {
        self.reports(number, 1, (1, 0));
        let mut page = VolumePage {
            node: node(number),
            incarnation: life(number),
            cluster: Label::NONE,
            volume: VOLUME,
            state: if started == 0 { VolumeState::Joined } else { VolumeState::Started },
            recovered,
            stopped,
            started,
            total: u16::try_from(told.len()).unwrap_or(0),
            told: [VolumePage::NOBODY; crate::wire::message::TOLD_MAX],
        };
        for (place, &(who, fate)) in page.told.iter_mut().zip(told) {
            *place = StartNode { node: node(who), fate, incarnation: life(who) };
        }
        self.cold.take_volume(&page);
    }

    fn claims(&mut self, number: u8, what: What, token: u64, taken: bool) {
        let given = Given { what, dead: node(3), incarnation: life(3), token };
        self.cold.take_service(&ServicePage { node: node(number), incarnation: life(number), given, taken });
    }

    /// What memory says of the volume.
    fn remembers(&mut self, generation: u64, phase: Phase, rows: &[(u8, Standing)]) {
        let cluster = self.scene.config.cluster_of(node(1), Label::NONE).unwrap_or(Label::NONE);
        let group = self.view.groups.create(cluster, VOLUME).unwrap_or_default();
        for &(number, standing) in rows {
            assert!(self.view.groups.put(Membership {
                group,
                node: node(number),
                standing,
                incarnation: life(number)
            }));
        }
        let row = self.view.groups.get_mut(group);
        (row.generation, row.phase) = (generation, phase);
    }

    fn revive(&mut self) {
        let scene = &self.scene;
        let facts = Facts {
            now: scene.now,
            me: HostId::new(1),
            config: &scene.config,
            watch: &scene.watch,
            harness: &scene.harness,
            groups: &scene.groups,
            takeovers: &scene.takeovers,
            cuts: &crate::cut::reports::Reports::EMPTY,
            ages: &Ages::EMPTY,
            since: Instant::ZERO,
            released: false,
            cold: &self.cold,
            rules: self.rules,
        };
        revive(&facts, &mut self.view);
    }

    fn group(&self) -> GroupNumber {
        self.view.groups.of(VOLUME).unwrap_or_default()
    }

    fn generation(&self) -> u64 {
        self.view.groups.get(self.group()).generation
    }

    /// How everybody stands in it, fates too.
    fn rows(&self) -> Vec<(u8, Standing)> {
        let members = self.view.groups.members(self.group());
        members.iter().map(|row| (row.node.get(), row.standing)).collect()
    }
}

#[test]
fn a_group_that_nobody_remembers_is_what_its_latest_start_says() {
    let mut morning = Morning::new();
    let all: Vec<(u8, Fate)> = (1..=3).map(|number| (number, Fate::Member)).collect();
    morning.says(1, (40, 40, true), &[(1, Fate::Member)]);
    morning.says(1, (50, 50, true), &all);
    morning.says(2, (50, 50, true), &all);
    morning.revive();
    assert_eq!(morning.generation(), 50);
    // Who was named and not adopted stays a member until its proof, and is dead then.
    assert_eq!(morning.rows(), [(1, Standing::Member), (2, Standing::Member), (3, Standing::Member)]);
    let mut without = Morning { rules: Rules::without(Rule::B4), ..Morning::new() };
    without.says(1, (50, 50, true), &all);
    without.revive();
    assert_eq!(without.group(), 0, "without the rule nobody stands anywhere");
}

#[test]
fn a_fate_is_kept_until_all_whom_its_start_named_say_that_they_recovered() {
    for recovered in [false, true] {
        let mut morning = Morning::new();
        let told = [(1, Fate::Member), (2, Fate::Member), (3, Fate::Dead)];
        morning.says(1, (50, 50, true), &told);
        morning.says(2, (50, 50, recovered), &told);
        morning.revive();
        let dead = morning.rows().contains(&(3, Standing::Dead));
        assert_eq!(dead, !recovered, "{:?}", morning.rows());
    }
    // All rest, and yet an owner was given the recovery and did not answer: nobody says that the journal was replayed.
    let mut morning = Morning::new();
    let told = [(1, Fate::Member), (3, Fate::Dead)];
    morning.says(1, (50, 50, true), &told);
    morning.claims(1, What::Recovery(VOLUME), 50, false);
    morning.revive();
    assert!(morning.rows().contains(&(3, Standing::Dead)), "{:?}", morning.rows());
    let row = morning.view.takeovers.get(Service::Recovery(morning.group()), node(3)).copied();
    assert_eq!(row.map(|row| (row.owner, row.token, row.progress)), Some((node(1), 50, Progress::Ordered)));
}

#[test]
fn a_later_barrier_of_the_memory_wins_and_an_older_cluster_incarnation_does_not() {
    for (served, expected) in [(0, 60), (9, 50)] {
        let mut morning = Morning::new();
        morning.remembers(60, Phase::Idle, &[(1, Standing::Member), (2, Standing::Member)]);
        morning.says(1, (50, 50, true), &[(1, Fate::Member), (3, Fate::Member)]);
        morning.says(2, (0, 0, false), &[]);
        if served != 0 {
            morning.reports(1, served, (1, 0));
        } else {
            morning.view.before = Cluster { number: 1, random: 1 };
        }
        morning.revive();
        assert_eq!(morning.generation(), expected);
        assert_eq!(morning.rows().contains(&(3, Standing::Member)), served != 0, "{:?}", morning.rows());
    }
}

#[test]
fn after_a_barrier_that_nobody_knows_the_end_of_whoever_was_not_adopted_is_dead_in_it() {
    for (stopped, expected) in [(50, false), (55, true)] {
        let mut morning = Morning::new();
        morning.says(1, (stopped, 50, true), &[(1, Fate::Member), (2, Fate::Member)]);
        morning.says(2, (50, 50, true), &[(1, Fate::Member), (2, Fate::Member)]);
        morning.revive();
        let dead = morning.rows().contains(&(3, Standing::Dead));
        assert_eq!(dead, expected, "stopped at {stopped}: {:?}", morning.rows());
    }
}

#[test]
fn what_an_adopted_node_does_not_name_it_has_not_and_of_another_it_is_not_known() {
    let mut morning = Morning::new();
    let rows = [(1, Standing::Member), (2, Standing::Joining), (3, Standing::Joining)];
    morning.remembers(60, Phase::Stopping, &rows);
    morning.reports(1, 0, (0, 0));
    morning.reports(2, 0, (0, 0));
    morning.revive();
    // The first left unseen; the second asks again; the third may have been started.
    assert_eq!(morning.rows(), [(1, Standing::Left), (3, Standing::Member)]);
    // Who said nothing of his volumes is what the memory says.
    let mut silent = Morning::new();
    silent.remembers(60, Phase::Idle, &[(1, Standing::Member), (2, Standing::Leaving)]);
    silent.revive();
    assert_eq!(silent.rows(), [(1, Standing::Member), (2, Standing::Member)]);
}

#[test]
fn whom_a_later_start_does_not_name_was_let_go_and_does_not_join_again() {
    let mut morning = Morning::new();
    let all: Vec<(u8, Fate)> = (1..=3).map(|number| (number, Fate::Member)).collect();
    morning.says(1, (60, 60, true), &[(1, Fate::Member)]);
    // It stopped for the barrier that let it go. Another one after that let go of node 3, of which it was never told.
    morning.says(2, (50, 40, true), &all);
    morning.revive();
    assert_eq!((morning.generation(), morning.rows()), (60, vec![(1, Standing::Member)]));
    // The same if the memory is what knows of the later one.
    let mut remembered = Morning::new();
    remembered.view.before = Cluster { number: 1, random: 1 };
    remembered.remembers(60, Phase::Idle, &[(1, Standing::Member)]);
    remembered.says(2, (50, 40, true), &all);
    remembered.revive();
    assert_eq!(remembered.rows(), [(1, Standing::Member)]);
    // Who started later than anybody remembers is a member.
    let mut later = Morning::new();
    later.view.before = Cluster { number: 1, random: 1 };
    later.remembers(60, Phase::Idle, &[(1, Standing::Member)]);
    later.says(2, (70, 70, true), &[(1, Fate::Member), (2, Fate::Member)]);
    later.revive();
    assert_eq!(later.rows(), [(1, Standing::Member), (2, Standing::Member)]);
}

#[test]
fn an_earlier_life_that_stood_in_the_group_is_dead_in_it() {
    let mut morning = Morning::new();
    morning.view.before = Cluster { number: 1, random: 1 };
    morning.remembers(60, Phase::Idle, &[(1, Standing::Member)]);
    let group = morning.group();
    assert!(morning.view.groups.put(Membership { group, node: node(2), standing: Standing::Member, incarnation: 5 }));
    morning.says(1, (60, 60, true), &[(1, Fate::Member)]);
    morning.says(2, (61, 61, true), &[(1, Fate::Member), (2, Fate::Member)]);
    morning.view.groups.get_mut(group).generation = 62;
    morning.revive();
    let standing = morning.view.groups.standing(group, node(2)).copied();
    assert_eq!(standing.map(|row| row.incarnation), Some(life(2)));
    let fate = morning.view.groups.fate(group, node(2)).copied();
    assert_eq!(fate.map(|row| (row.incarnation, row.standing)), Some((5, Standing::Dead)));
}

#[test]
fn members_for_whose_volume_there_is_no_room_are_ended() {
    let mut morning = Morning::new();
    for number in 1..=GROUPS_MAX {
        let volume = Label([100 + u8::try_from(number).unwrap_or(0); 16]);
        let group = morning.view.groups.create(Label::NONE, volume).unwrap_or_default();
        let row = Membership { group, node: node(2), standing: Standing::Member, incarnation: life(2) };
        assert!(morning.view.groups.put(row));
    }
    morning.says(1, (50, 50, true), &[(1, Fate::Member)]);
    morning.revive();
    assert_eq!(morning.view.node(node(1)).state, NodeState::Condemned);
    assert_eq!(morning.view.node(node(2)).state, NodeState::Up, "it has nothing to do with that volume");
}

#[test]
fn who_has_a_service_keeps_it_and_of_two_the_later_token_counts() {
    let queue = What::Named(Label::named("queue"));
    let mut morning = Morning::new();
    morning.claims(1, queue, 70, true);
    morning.claims(2, queue, 80, false);
    morning.claims(3, queue, 90, true);
    morning.revive();
    let row = morning.view.takeovers.get(Service::Named(0), node(3)).copied();
    // The third was not adopted: it has nothing any more.
    let expected = Some((node(2), 80, Progress::Ordered));
    assert_eq!(row.map(|row| (row.owner, row.token, row.progress)), expected);
    // What memory knows of a later token counts as well.
    let mut later = Morning::new();
    later.view.takeovers.put(TakeoverRow {
        owner: node(2),
        owner_incarnation: life(2),
        token: 99,
        progress: Progress::Taken,
        ..TakeoverRow::waiting(Service::Named(0), node(3), life(3))
    });
    later.claims(1, queue, 70, true);
    later.revive();
    assert_eq!(later.view.takeovers.get(Service::Named(0), node(3)).map(|row| row.token), Some(99));
}

#[test]
fn a_recovery_that_was_taken_is_done_and_one_of_somebody_adopted_is_none() {
    for fate in FATES {
        let mut morning = Morning::new();
        let told = [(1, Fate::Member), (2, Fate::Member), (3, fate)];
        morning.says(1, (50, 50, false), &told);
        morning.says(2, (50, 50, false), &told);
        morning.claims(1, What::Recovery(VOLUME), 50, true);
        morning.revive();
        assert!(morning.rows().contains(&(3, Standing::Recovered)), "{fate:?}: {:?}", morning.rows());
    }
    let mut morning = Morning::new();
    morning.says(1, (50, 50, false), &[(1, Fate::Member), (2, Fate::Member)]);
    morning.says(2, (50, 50, false), &[(1, Fate::Member), (2, Fate::Member)]);
    let given = Given { what: What::Recovery(VOLUME), dead: node(2), incarnation: life(2), token: 50 };
    morning.cold.take_service(&ServicePage { node: node(1), incarnation: life(1), given, taken: false });
    morning.revive();
    assert!(morning.view.takeovers.rows().is_empty(), "who lives is recovered by nobody");
    assert_eq!(morning.rows(), [(1, Standing::Member), (2, Standing::Member)]);
}
