//! The traces of docs/SAFETY.md that a missing rule makes fatal, told with all rules: they end well.

use palisade_core::rule::{Rule, Rules};
use palisade_tests::scenarios::STORIES;

macro_rules! ends_well {
    ($($test:ident: $rule:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            let such = STORIES.iter().filter(|story| story.rule == Rule::$rule);
            assert!(such.map(|story| (story.tell)(Rules::ALL)).count() > 0);
        })*
    };
}

ends_well! {
    a3_two_states_of_one_version_in_a_quorum_and_the_committed_one_is_taken: A3,
    a3_a_state_that_was_only_adopted_is_committed_before_anything_follows_from_it: A3Commit,
    a3_a_late_duplicate_rolls_nobody_back: A3Upwards,
    a4_a_vote_from_before_an_amnesia_counts_for_nothing: A4,
    a5_a_delta_on_another_base_is_refused_and_the_whole_state_comes: A5,
    b1_a_stalled_leader_admits_nobody: B1,
    b1_whom_an_uncommitted_view_admits_does_not_vote: B1Vote,
}
