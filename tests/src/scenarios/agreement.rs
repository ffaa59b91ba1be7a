//! The traces of SAFETY A3 to A5 and B1, walked by real cores: no clock may hide what only an order of messages shows.
//!
//! Owns the words of each trace; hosts count from 0, and host 0 leads under ballot 1.0 in the beginning. With all rules the
//! cores refuse one step and agree again; without its rule they walk on, and two views of one version are committed.

use crate::model::replay::replay;
use crate::model::{Ballot, Bounds, Step, Without, World};
use palisade_core::rule::Rules;

/// The steps that begin so.
fn path<const N: usize>(bounds: &Bounds, words: &[&str]) -> Vec<Step<N>> {
    let mut world = World::<N>::new(bounds);
    let mut path = Vec::new();
    for word in words {
        let mut steps = Vec::new();
        world.steps(bounds, &mut steps);
        let told: Vec<String> = steps.iter().map(ToString::to_string).collect();
        let such: Vec<usize> = (0..steps.len()).filter(|&at| told[at].starts_with(word)).collect();
        assert!(such.len() == 1, "{} steps begin with {word:?}; possible:\n{}", such.len(), told.join("\n"));
        path.push(steps[such[0]]);
        world = world.after(steps[such[0]], bounds);
    }
    path
}

/// These elections, and restarts.
fn bounds(hosts: u8, elections: &[(u8, u8)], versions: u8, restarts: u8) -> Bounds {
    let ballots = elections.iter().map(|&(round, host)| Ballot { round, host }).collect();
    Bounds { ballots, ..Bounds::all(hosts, 3, versions, restarts) }
}

/// Walks a trace that only a missing rule makes possible.
fn walk<const N: usize>(rules: Rules, bounds: &Bounds, without: Without, words: &[&str]) {
    let bounds = bounds.clone().without(without);
    let walked = replay(&path::<N>(&bounds, words), &bounds, rules);
    if rules == Rules::ALL {
        let refused = walked.expect_err("with all rules a step of it is refused");
        assert!(refused.agree, "they refuse a step ({}: {}) and do not agree again", refused.what, refused.why);
    }
}

/// (a) A accepted v2 alone; {B, C} commit another v2; B is cut off, and A is elected by C. By version it is a tie.
pub(super) fn a3_the_newest_by_version(rules: Rules) {
    let bounds = bounds(3, &[(2, 1), (3, 0)], 2, 0);
    let words = [
        "0 proposes view 2 of 1.0 (names [1, 1, 1], node 1 up)",
        "1 stands under 2.1",
        "2 votes for 2.1",
        "1 wins with view 1 of 1.0",
        "2 accepts view 1 of 1.0 (names [1, 1, 1], node 1 up) under 2.1",
        "1 counts a quorum",
        "1 proposes view 2 of 2.1 (names [1, 1, 1], NODE_DOWN 1)",
        "2 accepts view 2 of 2.1",
        "1 counts a quorum",
        "0 stands under 3.0",
        "2 votes for 3.0",
        "0 wins with view 2 of 1.0",
        "2 accepts view 2 of 1.0 (names [1, 1, 1], node 1 up) under 3.0",
        "0 counts a quorum",
    ];
    walk::<3>(rules, &bounds, Without::NewestByBallot, &words);
}

/// (b) A leader takes an adopted state for a committed one, acts, and dies; the next quorum never saw it.
pub(super) fn a3_adopted_and_acted_on(rules: Rules) {
    let bounds = bounds(3, &[(2, 0), (3, 2)], 2, 0);
    let words = [
        "0 proposes view 2 of 1.0 (names [1, 1, 1], node 1 up)",
        "0 stands under 2.0",
        "1 votes for 2.0",
        "2 stands under 3.2",
        "1 votes for 3.2",
        "2 wins with view 1 of 1.0",
        "2 proposes view 2 of 3.2 (names [1, 1, 1], NODE_DOWN 1)",
        "1 accepts view 2 of 3.2",
        "2 counts a quorum",
        "0 wins with view 2 of 1.0",
    ];
    walk::<3>(rules, &bounds, Without::CommitFirst, &words);
}

/// (c) A late duplicate of v1 rolls an acceptor back from v2.
pub(super) fn a3_a_late_duplicate(rules: Rules) {
    let bounds = bounds(3, &[(2, 2)], 2, 0);
    let words = [
        "0 proposes view 2 of 1.0 (names [1, 1, 1], node 1 up)",
        "1 accepts view 2 of 1.0",
        "1 accepts view 1 of 1.0",
        "2 stands under 2.2",
        "1 votes for 2.2",
        "2 wins with view 1 of 1.0",
        "1 accepts view 1 of 1.0 (names [1, 1, 1], node 1 up) under 2.2",
        "2 counts a quorum",
        "2 proposes view 2 of 2.2 (names [1, 1, 1], NODE_DOWN 1)",
        "1 accepts view 2 of 2.2",
        "2 counts a quorum",
        "0 counts a quorum",
    ];
    walk::<3>(rules, &bounds, Without::GreaterOnly, &words);
}

/// 5 hosts, 0 leads. 2 votes for 1 (late in the net), restarts, and re-enters by {0, 3, 4}. 3 votes for 1, which counts
/// itself, the old 2, and 3, while 0 commits with the new 2.
pub(super) fn a4_a_vote_from_before_an_amnesia(rules: Rules) {
    let bounds = bounds(5, &[(2, 1)], 3, 1);
    let words = [
        "1 stands under 2.1",
        "2 votes for 2.1",
        "2 restarts",
        "0 proposes view 2 of 1.0 (names [1, 1, 2, 1, 1], node 1 up)",
        "3 accepts view 2 of 1.0",
        "3 votes for 2.1",
        "1 wins with view 2 of 1.0",
        "3 accepts view 2 of 1.0 (names [1, 1, 2, 1, 1], node 1 up) under 2.1",
        "4 accepts view 2 of 1.0 (names [1, 1, 2, 1, 1], node 1 up) under 1.0",
        "0 counts a quorum",
        "0 proposes view 3 of 1.0 (names [1, 1, 2, 1, 1], node 1 up)",
        "2 accepts view 3 of 1.0",
        "4 accepts view 3 of 1.0",
        "4 accepts view 2 of 1.0 (names [1, 1, 2, 1, 1], node 1 up) under 2.1",
        "1 counts a quorum",
        "1 proposes view 3 of 2.1 (names [1, 1, 2, 1, 1], node 1 up)",
        "3 accepts view 3 of 2.1",
        "4 accepts view 3 of 2.1",
        "1 counts a quorum",
        "0 counts a quorum",
    ];
    walk::<5>(rules, &bounds, Without::NamedVotes, &words);
}

/// 2 holds v2 of the old leader, uncommitted; {1, 3, 4} committed another v2, and 1 sends 2 the change to v3. With the rule
/// all of it goes well, and 2 gets the whole state.
pub(super) fn a5_a_delta_on_another_base(rules: Rules) {
    let bounds = bounds(5, &[(2, 1)], 3, 0);
    let words = [
        "0 proposes view 2 of 1.0 (names [1, 1, 1, 1, 1], node 1 up)",
        "2 accepts view 2 of 1.0",
        "1 stands under 2.1",
        "3 votes for 2.1",
        "4 votes for 2.1",
        "1 wins with view 1 of 1.0",
        "3 accepts view 1 of 1.0 (names [1, 1, 1, 1, 1], node 1 up) under 2.1",
        "4 accepts view 1 of 1.0 (names [1, 1, 1, 1, 1], node 1 up) under 2.1",
        "1 counts a quorum",
        "1 proposes view 2 of 2.1 (names [1, 1, 1, 1, 1], node 1 up)",
        "3 accepts view 2 of 2.1",
        "4 accepts view 2 of 2.1",
        "1 counts a quorum",
        "1 proposes view 3 of 2.1 (names [1, 1, 1, 1, 1], NODE_DOWN 1)",
        "2 accepts view 3 of 2.1",
        "3 accepts view 3 of 2.1",
        "1 counts a quorum",
        "2 hears of the commit",
    ];
    let path = path::<5>(&bounds, &words);
    if let Err(refused) = replay(&path, &bounds, rules) {
        assert!(rules != Rules::ALL, "they refuse a step ({}: {})", refused.what, refused.why);
    }
}

/// 2 leads and is cut off from 0, which leads too, by its own clock. {1, 2} commit v2. 1 restarts empty; 0 hands it its own
/// state and counts it.
pub(super) fn b1_a_stalled_leader_admits(rules: Rules) {
    let bounds = bounds(3, &[(2, 2)], 2, 1);
    let words = [
        "2 stands under 2.2",
        "1 votes for 2.2",
        "2 wins with view 1 of 1.0",
        "1 accepts view 1 of 1.0",
        "2 counts a quorum",
        "2 proposes view 2 of 2.2 (names [1, 1, 1], NODE_DOWN 1)",
        "1 accepts view 2 of 2.2",
        "2 counts a quorum",
        "1 restarts",
        "0 proposes view 2 of 1.0 (names [1, 2, 1], node 1 up)",
        "1 accepts view 2 of 1.0",
        "0 counts a quorum",
    ];
    walk::<3>(rules, &bounds, Without::QuorumOfOthers, &words);
}

/// The same, but 0 stands again, and whom its uncommitted view admits votes for it.
pub(super) fn b1_accepted_is_not_admitted(rules: Rules) {
    let bounds = bounds(3, &[(2, 1), (3, 0)], 2, 1);
    let words = [
        "1 stands under 2.1",
        "2 votes for 2.1",
        "1 wins with view 1 of 1.0",
        "2 accepts view 1 of 1.0",
        "1 counts a quorum",
        "1 proposes view 2 of 2.1 (names [1, 1, 1], NODE_DOWN 1)",
        "2 accepts view 2 of 2.1",
        "1 counts a quorum",
        "2 restarts",
        "0 proposes view 2 of 1.0 (names [1, 1, 2], node 1 up)",
        "0 stands under 3.0",
        "2 accepts view 2 of 1.0",
        "2 votes for 3.0",
        "0 wins with view 2 of 1.0",
        "1 accepts view 2 of 1.0 (names [1, 1, 2], node 1 up) under 3.0",
        "0 counts a quorum",
    ];
    walk::<3>(rules, &bounds, Without::AdmittedVotes, &words);
}
