//! The traces of docs/SAFETY.md as stories, each told with the rule and without it.
//!
//! Owns the list: which story shows which rule, and which invariant breaks without it. A story that is told with all rules
//! ends quietly (`tests/tests/scenarios_safety.rs`); one that is told without its rule ends with the sentence of the checker
//! that noticed (`tests/tests/mutations.rs`). A rule that no story needs is not in the list, and the list says so.

mod agreement;
mod cold;
mod cuts;
mod evidence;
mod groups;
mod leases;
mod messages;
mod orders;
pub mod stage;
mod two_hosts;

use palisade_core::rule::{Rule, Rules};

/// One story.
#[derive(Clone, Copy)]
pub struct Story {
    /// Which rule it needs.
    pub rule: Rule,
    /// What the rule is called in docs/SAFETY.md.
    pub id: &'static str,
    /// What a checker says without it.
    pub invariant: &'static str,
    /// Tells it.
    ///
    /// # Panics
    /// A checker noticed something.
    pub tell: fn(Rules),
}

/// All of them.
pub const STORIES: &[Story] = &[
    Story { rule: Rule::A1, id: "A1", invariant: "A1: ", tell: leases::a1_heartbeats_come_late },
    Story { rule: Rule::A2, id: "A2", invariant: "S4: ", tell: orders::a2_a_leader_alone_wants_to_fence },
    Story { rule: Rule::A3, id: "A3", invariant: "S1: ", tell: agreement::a3_the_newest_by_version },
    Story { rule: Rule::A3Commit, id: "A3", invariant: "S1: ", tell: agreement::a3_adopted_and_acted_on },
    Story { rule: Rule::A3Down, id: "A3", invariant: "S6: ", tell: orders::a3_a_death_that_cannot_be_committed },
    Story { rule: Rule::A3Upwards, id: "A3", invariant: "S1: ", tell: agreement::a3_a_late_duplicate },
    Story { rule: Rule::A4, id: "A4", invariant: "S1: ", tell: agreement::a4_a_vote_from_before_an_amnesia },
    Story { rule: Rule::A5, id: "A5", invariant: "S1: ", tell: agreement::a5_a_delta_on_another_base },
    Story { rule: Rule::B1, id: "B1", invariant: "S1: ", tell: agreement::b1_a_stalled_leader_admits },
    Story { rule: Rule::B1Vote, id: "B1", invariant: "S1: ", tell: agreement::b1_accepted_is_not_admitted },
    Story { rule: Rule::C2, id: "C2", invariant: "S2: ", tell: leases::c2_an_empty_appliance_of_a_cut_off_host },
    Story {
        rule: Rule::C3,
        id: "C3",
        invariant: "S2: ",
        tell: leases::c3_old_answers_and_an_appliance_that_is_stopped,
    },
    Story { rule: Rule::D1, id: "D1", invariant: "S4: ", tell: two_hosts::d1_each_cuts_the_others_storage },
    Story { rule: Rule::D2, id: "D2", invariant: "S4: ", tell: two_hosts::d2_the_one_that_was_fenced_boots_alone },
    Story { rule: Rule::E1, id: "E1", invariant: "S2: ", tell: evidence::e1_a_stopped_vm_that_somebody_continues },
    Story { rule: Rule::E2, id: "E2", invariant: "S2: ", tell: evidence::e2_the_end_of_an_earlier_run },
    Story { rule: Rule::E6, id: "E6", invariant: "S2: ", tell: evidence::e6_an_outlet_that_is_on_again },
    Story { rule: Rule::F1, id: "F1", invariant: "S4: ", tell: orders::f1_an_order_that_comes_late_to_a_minority },
    Story { rule: Rule::F2, id: "F2", invariant: "F2: ", tell: orders::f2_an_executor_crashes_in_mid_attempt },
    Story { rule: Rule::F4, id: "F4", invariant: "F4: ", tell: cold::f4_a_condemned_appliance_remembers_it },
    Story { rule: Rule::F4Mail, id: "F4", invariant: "S5: ", tell: messages::f4_a_message_for_the_condemned },
    Story { rule: Rule::F4Mail, id: "I2", invariant: "I2: ", tell: messages::i2_a_message_for_one_who_has_left },
    Story { rule: Rule::F6, id: "F6", invariant: "F6: ", tell: cuts::f6_both_ends_of_a_cut_accuse_each_other },
    Story { rule: Rule::G1, id: "G1", invariant: "S7: ", tell: groups::g1_a_start_that_was_not_committed },
    Story { rule: Rule::G2, id: "G2", invariant: "S7: ", tell: groups::g2_a_death_that_not_all_were_told },
    Story { rule: Rule::G3, id: "G3", invariant: "S7: ", tell: groups::g3_a_number_that_comes_back_too_soon },
    Story { rule: Rule::I1, id: "I1", invariant: "S3: ", tell: groups::i1_an_owner_that_is_only_slow },
    Story { rule: Rule::B2, id: "B2", invariant: "S1: ", tell: cold::b2_a_cold_start_overtakes_an_election },
    Story { rule: Rule::B4, id: "B4", invariant: "S7: ", tell: cold::b4_a_group_that_no_memory_holds },
    Story { rule: Rule::Proof, id: "S2", invariant: "S2: ", tell: evidence::a_device_that_says_nothing },
    Story { rule: Rule::D3, id: "D3", invariant: "D3: ", tell: two_hosts::d3_both_have_slow_devices },
];
