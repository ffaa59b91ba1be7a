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
    a1_heartbeats_come_late_and_nobody_leads_beside_another_one: A1,
    a2_a_leader_alone_orders_nothing: A2,
    a3_two_states_of_one_version_in_a_quorum_and_the_committed_one_is_taken: A3,
    a3_a_state_that_was_only_adopted_is_committed_before_anything_follows_from_it: A3Commit,
    a3_a_death_is_told_when_it_is_committed: A3Down,
    a3_a_late_duplicate_rolls_nobody_back: A3Upwards,
    a4_a_vote_from_before_an_amnesia_counts_for_nothing: A4,
    a5_a_delta_on_another_base_is_refused_and_the_whole_state_comes: A5,
    b1_a_stalled_leader_admits_nobody: B1,
    b1_whom_an_uncommitted_view_admits_does_not_vote: B1Vote,
    b2_a_cold_start_does_not_overtake_an_election: B2,
    b4_a_group_that_no_memory_holds_is_what_its_members_report: B4,
    c2_an_empty_appliance_of_a_cut_off_host_renews_nothing: C2,
    c3_an_old_answer_renews_only_what_was_held_when_it_was_asked_for: C3,
    d1_of_two_that_cut_each_others_storage_neither_goes_on: D1,
    d2_the_one_that_was_fenced_boots_alone_and_fences_nobody: D2,
    d3_of_two_with_slow_devices_only_one_is_switched_off: D3,
    e1_a_stopped_vm_is_down_only_after_its_reset: E1,
    e2_the_end_of_an_earlier_run_is_nothing_about_this_one: E2,
    e6_an_outlet_that_is_on_again_is_no_proof: E6,
    f1_an_order_that_comes_late_to_a_minority_is_refused: F1,
    f2_an_order_whose_executor_crashed_is_waited_for: F2,
    f4_who_is_condemned_is_so_after_a_cold_start: F4,
    f4_who_is_condemned_or_has_left_is_brought_no_message: F4Mail,
    f6_of_two_nodes_that_do_not_reach_each_other_one_goes_on: F6,
    g1_a_start_that_was_not_committed_reaches_nobody: G1,
    g2_a_death_is_told_until_all_have_recovered: G2,
    g3_a_number_comes_back_after_its_death_is_recovered: G3,
    s2_a_timeout_is_no_proof: Proof,
    i1_an_owner_that_is_only_slow_is_condemned_first: I1,
}
