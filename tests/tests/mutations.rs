//! Each rule that docs/SAFETY.md wants to see missed is switched off once, and a checker notices.

use palisade_core::rule::Rule;
use palisade_tests::mutations::is_noticed;
use palisade_tests::scenarios::STORIES;
use std::path::Path;

macro_rules! noticed {
    ($($test:ident: $rule:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            is_noticed(Rule::$rule);
        })*

        const TESTED: &[Rule] = &[$(Rule::$rule),*];
    };
}

noticed! {
    a1_a_lease_counts_from_what_comes_last: A1,
    a2_what_is_only_proposed_is_ordered: A2,
    a3_the_newest_is_found_by_version: A3,
    a3_what_was_adopted_is_acted_on: A3Commit,
    a3_a_death_is_told_before_it_is_committed: A3Down,
    a3_an_acceptor_goes_back: A3Upwards,
    a4_votes_count_whoever_gave_them: A4,
    a5_a_delta_is_applied_to_whatever_is_there: A5,
    b1_the_empty_appliance_counts_itself_in: B1,
    b1_accepted_is_taken_for_admitted: B1Vote,
    b2_a_cold_start_is_as_good_as_an_election: B2,
    b4_groups_that_no_memory_holds_are_forgotten: B4,
    c2_an_empty_appliance_renews: C2,
    c3_a_lease_counts_from_the_answer: C3,
    d1_any_evidence_lets_one_of_two_go_on: D1,
    d2_an_empty_appliance_goes_on_alone: D2,
    d3_neither_waits_for_the_others_device: D3,
    e1_a_stop_without_a_reset_is_a_proof: E1,
    e2_the_end_of_any_run_is_a_proof: E2,
    e6_outlets_that_were_off_one_after_the_other_are_a_proof: E6,
    f1_an_order_is_good_for_ever: F1,
    f2_a_host_is_turned_on_while_an_order_for_it_is_out: F2,
    f4_a_cold_start_forgets_who_is_condemned: F4,
    f4_the_condemned_are_brought_messages: F4Mail,
    f6_both_ends_of_a_cut_go: F6,
    g1_a_member_starts_before_the_view_is_committed: G1,
    g2_a_death_is_forgotten_with_the_next_start: G2,
    g3_a_number_comes_back_before_its_death_is_recovered: G3,
    s2_a_timeout_is_a_proof: Proof,
    i1_another_owner_is_named_after_a_timeout: I1,
}

/// The rules without which somebody must notice something.
const WANTED: &[&str] = &[
    "A1", "A2", "A3", "A4", "A5", "B1", "B2", "B4", "C2", "C3", "D1", "D2", "D3", "E1", "E2", "E6", "F1", "F2", "F4",
    "F6", "G1", "G2", "G3", "I1", "I2",
];

/// Those of them that no story needs yet.
const MISSING: &[&str] = &[];

#[test]
fn every_story_is_tested_and_every_wanted_rule_has_one() {
    for story in STORIES {
        assert!(TESTED.contains(&story.rule), "{:?} has a story and no test", story.rule);
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SAFETY.md");
    let page = std::fs::read_to_string(page).expect("docs/SAFETY.md is there");
    for id in WANTED {
        assert!(page.contains(&format!("| **{id}** |")), "{id} is no rule of docs/SAFETY.md");
        let told = STORIES.iter().any(|story| story.id == *id);
        assert!(told != MISSING.contains(id), "{id} has no story, or is called missing and has one");
    }
}
