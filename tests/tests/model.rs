//! Every state that a few appliances and a node can reach by the rules of agreement and fencing, and what breaks when a
//! rule is left out.

use palisade_core::rule::Rules;
use palisade_tests::model::replay::{hook, replay};
use palisade_tests::model::{Ballot, Bounds, Node, Step, Without, World};
use palisade_tests::mutations::is_noticed;
use palisade_tests::scenarios::STORIES;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeSet;
use std::time::Instant;

/// S1 of the design.
const ONE_LINE: &str = "S1: one view per version";
/// What a replay of a journal rests on.
const DOWN_STAYS: &str = "a NODE_DOWN that was committed or told is never lost";
/// S2 of the design.
const DOWN_IS_TRUE: &str = "S2: no NODE_DOWN of a node that can write";
/// S4 of the design, and SAFETY F1.
const FENCES_THE_CONDEMNED: &str = "S4: no device hits a node that no committed view condemned";
/// SAFETY A2, A3.
const COMMITS_FIRST: &str = "leaders act only after committing under their own ballot";
/// Not to prove anything about nothing: a later leader gets as far as the bounds allow.
const IS_REACHED: &str = "a later leader commits NODE_DOWN as the last version";
/// A node is fenced, told down, turned on and a member again, by two leaders.
const NODE_RETURNS: &str = "a later leader makes the fenced node a member again";
/// And a restarted appliance takes part again.
const RETURNS: &str = "a restarted appliance is admitted and answers a later ballot";

/// The model of `N` hosts, for the checker.
struct Agreement<const N: usize>(Bounds);

impl<const N: usize> Model for Agreement<N> {
    type State = World<N>;
    type Action = Step<N>;

    fn init_states(&self) -> Vec<World<N>> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World<N>, steps: &mut Vec<Step<N>>) {
        world.steps(&self.0, steps);
    }

    fn next_state(&self, world: &World<N>, step: Step<N>) -> Option<World<N>> {
        Some(world.after(step, &self.0))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_LINE, |_, world: &World<N>| !world.broken.two_views),
            Property::always(DOWN_STAYS, |_, world: &World<N>| !world.broken.down_lost),
            Property::always(COMMITS_FIRST, |_, world: &World<N>| !world.broken.acted_early),
            Property::always(DOWN_IS_TRUE, |_, world: &World<N>| !world.broken.told_alive),
            Property::always(FENCES_THE_CONDEMNED, |_, world: &World<N>| !world.broken.unjust),
        ];
        if self.0.executors.is_empty() {
            properties.push(Property::sometimes(IS_REACHED, |model: &Self, world: &World<N>| {
                let last = world.truth[usize::from(model.0.versions)];
                last.is_some_and(|view| view.decided.round > 1 && view.node == Node::Down(1))
            }));
        } else {
            properties.push(Property::sometimes(NODE_RETURNS, |_, world: &World<N>| {
                let back = |view: &&palisade_tests::model::View<N>| view.node == Node::Up(2);
                world.truth.iter().flatten().find(back).is_some_and(|view| view.decided.round > 1)
            }));
        }
        if self.0.restarts > 0 {
            properties.push(Property::sometimes(RETURNS, |_, world: &World<N>| {
                world.appliances.iter().any(|it| it.incarnation > 1 && it.admitted && it.promised.round > 1)
            }));
        }
        properties
    }
}

/// Checks every state that these bounds allow, to the last one.
fn holds<const N: usize>(bounds: Bounds) {
    let started = Instant::now();
    // Depth first: what waits to be looked at is one path and its branches, not a whole front, and what was seen is a number.
    let checker = Agreement::<N>(bounds.clone()).checker().threads(2).spawn_dfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let Bounds { ballots, versions, restarts, executors, .. } = &bounds;
    let elections = ballots.iter().map(Ballot::to_string).collect::<Vec<_>>().join(" ");
    println!("{N} hosts, elections {elections}, {versions} versions, {restarts} restarts, executors {executors:?}:");
    print!("  {states} states,");
    println!(" longest path {depth}, {:?}, at most {} kB", started.elapsed(), memory());
    assert!(checker.is_done());
    checker.assert_properties();
}

/// The most memory that this process ever had.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    most.unwrap_or("? kB").trim().trim_end_matches(" kB").to_owned()
}

/// Checks that without a rule a run is found that breaks this property, and prints the run.
fn breaks<const N: usize>(bounds: Bounds, without: Without, property: &'static str) -> Vec<Step<N>> {
    let found = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let model = Agreement::<N>(bounds.without(without));
    // One thread, so that it is the same run each time.
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    println!("without {without:?}: \"{property}\" breaks within {} states:", checker.unique_state_count());
    let Some(path) = checker.discovery(property) else { panic!("without {without:?} nothing was caught") };
    let path = path.into_actions();
    for step in &path {
        println!("  {step}");
    }
    path
}

/// The same run, walked by real cores: with the rule they refuse a step of it, without it they go all the way and S1 breaks.
fn breaks_the_core_too<const N: usize>(bounds: Bounds, without: Without, property: &'static str, refusal: &str) {
    let path = breaks::<N>(bounds.clone(), without, property);
    walks_to_the_break(&path, &bounds.without(without), without, Some(refusal), "S1: ");
}

/// The same of a run of fencing, to its first break, and without the steps that it does not need: `refusal` is what the cores
/// with all rules say to one of them; if they refuse none, nothing breaks.
fn breaks_a_fence_too(executors: &[u8], without: Without, property: &'static str, refusal: Option<&str>, says: &str) {
    let bounds = one_election::<3>(4).fencing(executors);
    let path = breaks::<3>(bounds.clone(), without, property);
    let bounds = bounds.without(without);
    let path = shortened::<3>(&bounds, path, property);
    println!("of which these do it:");
    for step in &path {
        println!("  {step}");
    }
    walks_to_the_break(&path, &bounds, without, refusal, says);
}

/// With all rules a step is refused, or nothing breaks; without this one the last step is walked, and a checker says this.
fn walks_to_the_break<const N: usize>(
    path: &[Step<N>],
    bounds: &Bounds,
    without: Without,
    refusal: Option<&str>,
    says: &str,
) {
    let rule = hook(without);
    match (replay(path, bounds, Rules::ALL), refusal) {
        (Err(refused), _) => {
            println!("  with {rule:?} the cores refuse step {}: {}: {}", refused.step, refused.what, refused.why);
            assert_eq!(Some(refused.why.as_str()), refusal);
            assert!(refused.agree, "what was refused leaves all in disagreement");
        }
        (Ok(()), None) => println!("  with {rule:?} the cores walk all of it, and nothing breaks"),
        (Ok(()), Some(_)) => panic!("with all rules the cores walk all of it"),
    }
    let walked = std::panic::catch_unwind(|| replay(path, bounds, Rules::without(rule)));
    let sentence = match walked {
        Ok(ended) => panic!("without {rule:?} nothing breaks: {ended:?}"),
        Err(panic) => panic.downcast::<String>().map_or_else(|_| String::new(), |it| *it),
    };
    println!("  without {rule:?}: {sentence}");
    assert!(sentence.contains(says), "without {rule:?} something else breaks: {sentence}");
}

/// Where this path breaks the property: after so many steps. `None`: it is no path of the model, or nothing breaks.
fn breaks_after<const N: usize>(model: &Agreement<N>, path: &[Step<N>], property: &'static str) -> Option<usize> {
    let holds = model.property(property).condition;
    let mut world = World::new(&model.0);
    for (at, step) in path.iter().enumerate() {
        let mut steps = Vec::new();
        world.steps(&model.0, &mut steps);
        world = steps.contains(step).then(|| world.after(*step, &model.0))?;
        if !holds(model, &world) {
            return Some(at + 1);
        }
    }
    None
}

/// The path to its first break, without the steps that can be left out of it.
fn shortened<const N: usize>(bounds: &Bounds, mut path: Vec<Step<N>>, property: &'static str) -> Vec<Step<N>> {
    let model = Agreement::<N>(bounds.clone());
    path.truncate(breaks_after(&model, &path, property).expect("it breaks"));
    for at in (0..path.len()).rev() {
        let mut less = path.clone();
        less.remove(at);
        if let Some(end) = breaks_after(&model, &less, property) {
            less.truncate(end);
            path = less;
        }
    }
    path
}

/// These elections only, (round, host), and restarts of these hosts only.
fn narrowed<const N: usize>(elections: [(u8, u8); N], restarting: &[u8], bounds: Bounds) -> Bounds {
    let ballots = elections.map(|(round, host)| Ballot { round, host }).to_vec();
    Bounds { ballots, restarting: restarting.to_vec(), ..bounds }
}

/// The trace of SAFETY A4 needs five hosts: with fewer, a quorum of others is everybody.
fn five_hosts() -> Bounds {
    narrowed([(2, 1)], &[2], Bounds::all(5, 2, 3, 1))
}

/// A stalled leader admits, is deposed meanwhile, and stands again.
fn stalled_leader() -> Bounds {
    narrowed([(2, 1), (3, 0)], &[2], Bounds::all(3, 3, 2, 1))
}

#[test]
fn three_hosts_agree_through_three_rounds() {
    holds::<3>(Bounds::all(3, 3, 2, 0));
}

#[test]
fn three_hosts_agree_through_two_restarts() {
    holds::<3>(Bounds::all(3, 2, 3, 2));
}

#[test]
fn three_hosts_agree_around_a_stalled_leader_that_admits() {
    holds::<3>(stalled_leader());
}

#[test]
fn four_hosts_agree() {
    holds::<4>(Bounds::all(4, 2, 2, 0));
}

#[test]
fn five_hosts_agree_through_a_restart() {
    holds::<5>(five_hosts());
}

#[test]
#[ignore = "minutes, unless in release"]
fn long_three_hosts_agree_through_three_rounds_and_a_restart() {
    holds::<3>(Bounds::all(3, 3, 2, 1));
}

#[test]
fn an_acceptor_takes_only_what_is_greater() {
    breaks_the_core_too::<3>(Bounds::all(3, 2, 2, 0), Without::GreaterOnly, ONE_LINE, "it does not accept");
    breaks::<3>(Bounds::all(3, 2, 3, 0), Without::GreaterOnly, DOWN_STAYS);
}

#[test]
fn the_newest_state_is_found_by_ballot_before_version() {
    breaks_the_core_too::<3>(Bounds::all(3, 3, 2, 0), Without::NewestByBallot, ONE_LINE, "it does not win so");
}

#[test]
fn what_was_adopted_is_committed_first() {
    breaks_the_core_too::<3>(Bounds::all(3, 3, 2, 0), Without::CommitFirst, ONE_LINE, "it does not propose that");
    breaks::<3>(Bounds::all(3, 2, 2, 0), Without::CommitFirst, COMMITS_FIRST);
}

#[test]
fn a_vote_from_before_an_amnesia_does_not_count() {
    breaks_the_core_too::<5>(five_hosts(), Without::NamedVotes, ONE_LINE, "it does not win so");
}

#[test]
fn the_empty_appliance_does_not_count_itself_in() {
    breaks_the_core_too::<3>(Bounds::all(3, 2, 2, 1), Without::QuorumOfOthers, ONE_LINE, "it counts no quorum");
}

#[test]
fn an_appliance_does_not_vote_before_it_knows_that_it_was_admitted() {
    breaks_the_core_too::<3>(stalled_leader(), Without::AdmittedVotes, ONE_LINE, "it does not stand");
}

#[test]
fn three_hosts_fence_through_an_election_by_anybody() {
    holds::<3>(Bounds::all(3, 2, 4, 0).fencing(&[2]));
}

#[test]
fn three_hosts_fence_through_a_restart() {
    holds::<3>(narrowed([(2, 1)], &[2], Bounds::all(3, 2, 5, 1)).fencing(&[1, 2]));
}

#[test]
fn four_hosts_fence_through_an_election() {
    holds::<4>(one_election::<4>(4).fencing(&[2, 3]));
}

#[test]
fn four_hosts_fence_through_an_election_and_a_restart() {
    holds::<4>(narrowed([(2, 1)], &[2], Bounds::all(4, 2, 5, 1)).fencing(&[2]));
}

#[test]
#[ignore = "minutes, in release"]
fn long_three_hosts_fence_through_three_rounds() {
    // Host 0 leads under (1, 0); that it stands again before anybody else did is what the shorter ones have.
    holds::<3>(narrowed([(2, 1), (2, 2), (3, 0), (3, 1), (3, 2)], &[], Bounds::all(3, 3, 4, 0)).fencing(&[2]));
}

#[test]
#[ignore = "minutes, in release"]
fn long_four_hosts_fence_through_an_election_by_any_other() {
    // By anybody but host 0, which leads already.
    holds::<4>(narrowed([(2, 1), (2, 2), (2, 3)], &[], Bounds::all(4, 2, 4, 0)).fencing(&[2]));
}

/// What SAFETY A2 and F1 tell of: a leader's order comes late, to another leader's member.
fn one_election<const N: usize>(versions: u8) -> Bounds {
    let hosts = u8::try_from(N).expect("few hosts");
    narrowed([(2, 1)], &[], Bounds::all(hosts, 2, versions, 0))
}

/// The rule is missed in a story on the simulated world, too, of devices, guards and guests; with it the story ends well.
fn is_missed_in_a_story(without: Without) {
    let rule = hook(without);
    is_noticed(rule);
    STORIES.iter().filter(|story| story.rule == rule).for_each(|story| (story.tell)(Rules::ALL));
}

/// With all rules real cores walk a run in which a node is fenced and is a member again: what they refuse elsewhere is the rule's.
#[test]
fn real_cores_fence_a_node_and_it_returns() {
    let bounds = one_election::<3>(5).fencing(&[2]);
    let found = HasDiscoveries::AllOf(BTreeSet::from([NODE_RETURNS]));
    let checker = Agreement::<3>(bounds.clone()).checker().finish_when(found).spawn_bfs().join();
    let path = checker.discovery(NODE_RETURNS).expect("it returns").into_actions();
    for step in &path {
        println!("  {step}");
    }
    assert_eq!(replay(&path, &bounds, Rules::ALL), Ok(()));
}

#[test]
fn only_what_was_committed_is_ordered() {
    let (without, refusal) = (Without::OrderCommitted, "it orders nothing");
    breaks_a_fence_too(&[2], without, FENCES_THE_CONDEMNED, Some(refusal), "S4: ");
    is_missed_in_a_story(without);
}

#[test]
fn whoever_promised_a_higher_ballot_refuses_an_order() {
    let (without, refusal) = (Without::OrderAtPromise, "it does not obey");
    breaks_a_fence_too(&[1, 2], without, FENCES_THE_CONDEMNED, Some(refusal), "S4: ");
    is_missed_in_a_story(without);
}

#[test]
fn a_node_is_turned_on_when_no_order_can_hit_it() {
    let (without, refusal) = (Without::OnAfterOrders, "it does not turn it on");
    breaks_a_fence_too(&[1, 2], without, FENCES_THE_CONDEMNED, Some(refusal), "S4: ");
    is_missed_in_a_story(without);
}

#[test]
fn a_timeout_is_no_proof() {
    let (without, refusal) = (Without::DownConfirmed, "it does not propose that");
    breaks_a_fence_too(&[2], without, DOWN_IS_TRUE, Some(refusal), "S2: ");
    is_missed_in_a_story(without);
}

#[test]
fn a_proof_that_was_only_accepted_is_not_told() {
    let without = Without::DownCommitted;
    breaks_a_fence_too(&[2], without, DOWN_STAYS, None, "lost: ");
    is_missed_in_a_story(without);
}
