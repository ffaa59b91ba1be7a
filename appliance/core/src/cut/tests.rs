//! The desk and the leader's table on their own: since when a word counts, and how long.

use super::desk::Desk;
use super::reports::Reports;
use super::*;
use crate::config::parse::tests::{SAMPLE, read};
use crate::id::{HostId, Incarnation, Label, Run};
use crate::limits::CUT_STALE_MS;
use crate::nodes::NodeSet;
use crate::state::groups::{Membership, Standing};
use crate::time::{Duration, Instant};
use crate::wire::message::{CutReport, Cuts};
use std::boxed::Box;

const VOLUME: Label = Label([7; 16]);
const SPAN: Duration = Duration::from_millis(10_000);
const BEAT: Duration = Duration::from_millis(100);
const ONE: NodeId = NodeId::new(1);
const TWO: NodeId = NodeId::new(2);

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn set(numbers: &[u8]) -> NodeSet {
    numbers.iter().copied().map(NodeId::new).collect()
}

/// Nodes 1 and 2 are in one cluster, and here in one group that no barrier has open.
struct Scene {
    config: Box<Config>,
    view: Box<State>,
    desk: Box<Desk>,
}

impl Scene {
    fn new() -> Self {
        let mut view = Box::new(State::EMPTY);
        view.stage = Stage::Settled;
        view.version = 10;
        for node in [ONE, TWO] {
            view.raise(node, HostId::new(node.get()), incarnation(node), Run { boot: 1, counter: 1 });
        }
        let group = view.groups.create(Label::named("mail"), VOLUME).unwrap_or_default();
        for node in [ONE, TWO] {
            let row = Membership { group, node, standing: Standing::Member, incarnation: incarnation(node) };
            assert!(view.groups.put(row));
        }
        view.groups.get_mut(group).generation = 5;
        let mut scene = Self { config: read(SAMPLE), view, desk: Box::new(Desk::EMPTY) };
        scene.commits(0);
        scene
    }

    fn commits(&mut self, millis: u64) {
        self.desk.committed(at(millis), &self.config, &self.view);
    }

    /// Node 1 says that node 2 does not answer.
    fn says(&mut self, millis: u64, cut: bool) -> bool {
        let about = (TWO, incarnation(TWO));
        self.desk.hear(at(millis), (&self.config, &self.view), (0, ONE), about, cut)
    }

    /// It says so again and again, from one time to another.
    fn goes_on(&mut self, from: u64, to: u64) {
        for millis in (from..=to).step_by(1000) {
            assert!(self.says(millis, true));
        }
    }

    fn tale(&mut self, millis: u64) -> Option<(NodeSet, NodeSet)> {
        let tale = self.desk.tell(at(millis), 0, SPAN).map(|(_, _, Cuts { any, long, .. })| (any, long));
        self.desk.told(at(millis), BEAT, SPAN);
        tale
    }

    fn phase(&mut self, phase: Phase) {
        let group = self.view.groups.of(VOLUME).unwrap_or_default();
        self.view.version += 1;
        let version = self.view.version;
        let row = self.view.groups.get_mut(group);
        if phase == Phase::Stopping {
            row.generation = version;
        }
        row.phase = phase;
    }
}

fn incarnation(node: NodeId) -> Incarnation {
    u64::from(node.get()) * 100
}

#[test]
fn a_cut_is_long_after_its_time_and_not_a_tick_before_and_the_leader_hears_of_it_at_that_moment() {
    let mut scene = Scene::new();
    assert_eq!((scene.desk.due_at(), scene.tale(500)), (Instant::FAR, None), "with nothing to say nothing is due");
    scene.goes_on(1000, 10_000);
    assert_eq!(scene.tale(10_950), Some((set(&[2]), set(&[]))));
    assert_eq!(scene.desk.due_at(), at(11_000), "and not with the next heartbeat");
    scene.goes_on(10_999, 10_999);
    let just_before = at(11_000) - Duration::from_micros(1);
    let tale = scene.desk.tell(just_before, 0, SPAN).map(|(_, _, cuts)| cuts.long);
    assert_eq!(tale, Some(set(&[])));
    assert_eq!(scene.tale(11_000), Some((set(&[2]), set(&[2]))));
    scene.goes_on(11_000, 13_000);
    let overdue = |scene: &mut Scene, millis| scene.desk.tell(at(millis), 0, SPAN).map(|(_, _, cuts)| cuts.overdue);
    let spread = u64::from(crate::limits::CUT_SPREAD_MS);
    assert_eq!(overdue(&mut scene, 11_000 + spread - 1), Some(set(&[])));
    assert_eq!(overdue(&mut scene, 11_000 + spread), Some(set(&[2])));
}

#[test]
fn a_cut_that_ends_begins_anew_and_its_end_is_told_once() {
    let mut scene = Scene::new();
    scene.goes_on(1000, 9000);
    assert!(scene.tale(9500).is_some() && scene.says(9600, false));
    assert_eq!(scene.desk.due_at(), at(9600), "the end is told at once");
    assert_eq!(scene.tale(9600), Some((set(&[]), set(&[]))));
    assert_eq!((scene.tale(9700), scene.desk.due_at()), (None, Instant::FAR));
    scene.goes_on(9700, 18_700);
    assert_eq!(scene.tale(19_600), Some((set(&[2]), set(&[]))), "ten seconds after the first, but it flapped");
    assert_eq!(scene.tale(19_700), Some((set(&[2]), set(&[2]))));
}

#[test]
fn that_a_long_cut_is_over_is_told_for_a_while_and_another_one_begins_anew() {
    let mut scene = Scene::new();
    scene.goes_on(1000, 12_000);
    assert!(scene.says(12_500, false));
    let again =
        |scene: &mut Scene, millis| scene.desk.tell(at(millis), 0, SPAN).map(|(_, _, cuts)| (cuts.any, cuts.again));
    let over = 12_500 + u64::from(crate::limits::CUT_SPREAD_MS);
    assert_eq!(again(&mut scene, over - 1), Some((set(&[]), set(&[2]))));
    assert_eq!(again(&mut scene, over), Some((set(&[]), set(&[]))));
    assert_eq!(again(&mut scene, over + 1), None);
    scene.goes_on(20_000, 31_000);
    assert!(scene.says(31_000, false) && scene.says(31_500, true));
    assert_eq!(again(&mut scene, 31_600), Some((set(&[2]), set(&[]))));
    assert_eq!(scene.tale(31_600), Some((set(&[2]), set(&[]))), "it begins anew");
}

#[test]
fn a_word_that_is_not_repeated_is_over() {
    let mut scene = Scene::new();
    scene.goes_on(1000, 4000);
    let stale = 4000 + u64::from(CUT_STALE_MS);
    assert_eq!(scene.tale(stale - 1), Some((set(&[2]), set(&[]))));
    assert_eq!(scene.tale(stale), Some((set(&[]), set(&[]))));
    assert_eq!(scene.tale(stale + 1), None);
}

#[test]
fn it_counts_from_the_end_of_a_barrier_a_pause_or_a_stall() {
    let mut scene = Scene::new();
    scene.goes_on(1000, 12_000);
    assert_eq!(scene.tale(12_000), Some((set(&[2]), set(&[2]))));
    scene.phase(Phase::Stopping);
    scene.commits(12_100);
    assert_eq!(scene.tale(12_200), Some((set(&[2]), set(&[]))), "a stopped lockspace does not answer");
    scene.phase(Phase::Starting);
    scene.commits(12_300);
    scene.phase(Phase::Idle);
    scene.commits(13_000);
    scene.goes_on(13_000, 22_900);
    assert_eq!(scene.tale(22_999), Some((set(&[2]), set(&[]))));
    assert_eq!(scene.tale(23_000), Some((set(&[2]), set(&[2]))));
    // A barrier that opened and closed while this appliance missed the views between.
    scene.phase(Phase::Stopping);
    scene.phase(Phase::Idle);
    scene.commits(23_100);
    assert_eq!(scene.tale(23_200), Some((set(&[2]), set(&[]))));
    scene.goes_on(23_200, 33_200);
    assert_eq!(scene.tale(33_200), Some((set(&[2]), set(&[2]))));
    scene.desk.forgive(at(33_300));
    assert_eq!(scene.tale(33_300), Some((set(&[2]), set(&[]))), "it was we who were deaf");
}

#[test]
fn who_is_spared_or_stands_still_on_purpose_is_not_cut_off() {
    let mut scene = Scene::new();
    assert!(counts(&scene.config, &scene.view, ONE, TWO) && counts(&scene.config, &scene.view, TWO, ONE));
    assert!(!counts(&scene.config, &scene.view, ONE, ONE) && !counts(&scene.config, &scene.view, ONE, NodeId::new(3)));
    scene.config.nodes[1].disabled = true;
    assert!(!counts(&scene.config, &scene.view, ONE, TWO) && !counts(&scene.config, &scene.view, TWO, ONE));
    scene.config.nodes[1].disabled = false;
    scene.view.stage = Stage::Fencing;
    assert!(!counts(&scene.config, &scene.view, ONE, TWO), "a cold start is not over");
}

#[test]
fn a_word_about_an_incarnation_that_is_not_there_says_nothing() {
    let mut scene = Scene::new();
    let view = (&*scene.config, &*scene.view);
    assert!(!scene.desk.hear(at(1000), view, (0, ONE), (TWO, 201), true), "another incarnation");
    assert!(!scene.desk.hear(at(1000), view, (0, ONE), (ONE, 100), true), "itself");
    assert!(!scene.desk.hear(at(1000), view, (0, ONE), (NodeId::new(3), 300), true), "nobody");
    assert_eq!(scene.tale(1000), None);
    scene.goes_on(1000, 2000);
    scene.view.raise(TWO, HostId::new(2), 201, Run { boot: 1, counter: 2 });
    scene.commits(2100);
    assert_eq!(scene.tale(2200), Some((set(&[]), set(&[]))), "it was about who is gone");
    scene.goes_on_about(201, 2300);
    scene.desk.close(0);
    assert_eq!(scene.tale(2400), Some((set(&[]), set(&[]))), "the session is over, and its word");
}

impl Scene {
    fn goes_on_about(&mut self, incarnation: Incarnation, millis: u64) {
        let about = (TWO, incarnation);
        assert!(self.desk.hear(at(millis), (&self.config, &self.view), (0, ONE), about, true));
        assert_eq!(self.tale(millis), Some((set(&[2]), set(&[]))));
    }
}

#[test]
fn the_leader_believes_only_what_is_fresh_and_newer_than_its_own_deafness() {
    let mut reports = Box::new(Reports::EMPTY);
    let fresh = Duration::from_millis(500);
    let report = |number, stamp: Instant| CutReport {
        number,
        ballot: crate::id::Ballot::NONE,
        stamp: stamp.as_micros(),
        version: 9,
        node: ONE,
        incarnation: 100,
        cuts: Cuts { any: set(&[2]), long: set(&[2]), ..Cuts::NONE },
    };
    reports.begin(at(1000));
    assert!(reports.is_quiet(at(1500), fresh));
    assert!(!reports.take(at(1500), 8, &report(1, at(1501))), "a stamp that was never issued");
    assert!(reports.take(at(1500), 8, &report(2, at(1500))));
    assert!(!reports.take(at(1510), 8, &report(2, at(1505))), "the same again");
    assert!(!reports.take(at(1510), 8, &report(1, at(1505))), "one that was overtaken");
    assert!(!reports.is_quiet(at(1999), fresh) && reports.of(at(1999), ONE, 100, fresh).is_some());
    assert!(reports.of(at(1999), ONE, 101, fresh).is_none(), "another incarnation's word");
    assert!(reports.is_quiet(at(2000), fresh) && reports.of(at(2000), ONE, 100, fresh).is_none());
    reports.take(at(2100), 8, &report(3, at(2050)));
    reports.forgive(at(2100));
    assert!(reports.is_quiet(at(2100), fresh) && reports.of(at(2100), ONE, 100, fresh).is_none());
    reports.take(at(2200), 8, &report(4, at(2150)));
    assert!(reports.of(at(2200), ONE, 100, fresh).is_some());
    reports.begin(at(2300));
    assert!(reports.is_quiet(at(2300), fresh), "a new lead begins with nothing");
}
