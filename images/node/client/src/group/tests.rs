//! One node's groups: what it says, tells and does at each step, and what it drops.

use super::*;
use palisade_core::id::Label;

const US: NodeId = NodeId::new(1);
const INCARNATION: u64 = 0x11;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn volume() -> Volume {
    Label::named("shared")
}

fn entry(node: u8, fate: Fate, incarnation: u64) -> StartNode {
    StartNode { node: NodeId::new(node), fate, incarnation }
}

fn member(node: u8) -> StartNode {
    entry(node, Fate::Member, 0x10 + u64::from(node))
}

fn payload(entries: &[StartNode]) -> Vec<u8> {
    let mut bytes = vec![0; entries.len() * StartNode::BYTES];
    bytes.chunks_mut(StartNode::BYTES).zip(entries).for_each(|(bytes, entry)| entry.emit(bytes));
    bytes
}

fn stop(groups: &mut Groups, generation: u64) -> Vec<Act> {
    groups.on_group(at(0), Group::Stop { volume: volume(), generation }, &[]);
    acts(groups)
}

fn start(groups: &mut Groups, generation: u64, entries: &[StartNode]) -> Vec<Act> {
    part(groups, generation, 0, 1, entries)
}

fn part(groups: &mut Groups, generation: u64, part: u16, parts: u16, entries: &[StartNode]) -> Vec<Act> {
    groups.on_group(at(0), Group::Start { volume: volume(), generation, part, parts }, &payload(entries));
    acts(groups)
}

fn acts(groups: &mut Groups) -> Vec<Act> {
    std::iter::from_fn(|| groups.poll()).collect()
}

fn said(acts: &[Act]) -> Vec<Message> {
    acts.iter().filter_map(|act| if let Act::Say(message) = act { Some(*message) } else { None }).collect()
}

fn told(acts: &[Act]) -> Vec<String> {
    acts.iter().filter_map(|act| if let Act::Tell(event) = act { Some(event.to_string()) } else { None }).collect()
}

fn resets(acts: &[Act]) -> Vec<Why> {
    acts.iter().filter_map(|act| if let Act::Reset(why) = act { Some(*why) } else { None }).collect()
}

fn stopped(generation: u64) -> Message {
    Message::Group(Group::Stopped { volume: volume(), generation })
}

fn started(generation: u64) -> [Message; 2] {
    let volume = volume();
    [Group::Started { volume, generation }, Group::Recovered { volume, generation }].map(Message::Group)
}

fn left(groups: &mut Groups) -> Vec<Act> {
    groups.on_group(at(0), Group::Leave { volume: volume() }, &[]);
    acts(groups)
}

/// A node that wants the volume.
fn joining() -> Groups {
    let mut groups = Groups::new(US, INCARNATION);
    assert_eq!(groups.join(at(0), volume()), Ok(()));
    acts(&mut groups);
    groups
}

/// A node that runs at generation 10 with these.
fn running(set: &[StartNode]) -> Groups {
    let mut groups = joining();
    stop(&mut groups, 10);
    assert_eq!(said(&start(&mut groups, 10, set)), started(10));
    groups
}

fn give(groups: &mut Groups, given: Given) -> Vec<Act> {
    groups.on_takeover(Takeover::Give(given));
    acts(groups)
}

fn recovery(node: u8, incarnation: u64, token: u64) -> Given {
    Given { what: What::Recovery(volume()), dead: NodeId::new(node), incarnation, token }
}

fn service(dead: u8, token: u64) -> Given {
    Given { what: What::Named(Label::named("web")), dead: NodeId::new(dead), incarnation: 0x12, token }
}

fn taken(given: Given) -> Message {
    Message::Takeover(Takeover::Taken(given))
}

#[test]
fn join_is_repeated_until_start_and_again_in_a_new_session() {
    let mut groups = joining();
    let join = Message::Group(Group::Join { cluster: Label::NONE, volume: volume() });
    for ms in [0, 250, 500] {
        groups.on_time(at(ms));
        assert_eq!(said(&acts(&mut groups)), [join]);
        groups.on_time(at(ms + 249));
        assert_eq!(acts(&mut groups), []);
        assert_eq!(groups.deadline(), at(ms + 250));
    }
    groups.on_session(at(510));
    groups.on_time(at(510));
    assert_eq!(said(&acts(&mut groups)), [join]);
    stop(&mut groups, 3);
    groups.on_time(at(9000));
    assert_eq!(said(&acts(&mut groups)), [join], "a cold start may have forgotten a joiner that is stopped");
    assert!(groups.join(at(0), volume()).is_err(), "it is being opened");
    start(&mut groups, 3, &[member(1), member(2)]);
    groups.on_time(at(18_000));
    assert_eq!((acts(&mut groups), groups.deadline()), (Vec::new(), Instant::FAR));
}

#[test]
fn a_barrier_goes_step_by_step_and_repeated_steps_are_answered_again() {
    let mut groups = joining();
    let first = stop(&mut groups, 7);
    assert_eq!(told(&first), ["GROUP_STOP volume=shared generation=7"]);
    assert_eq!(said(&first), [stopped(7)]);
    let again = stop(&mut groups, 7);
    assert_eq!((said(&again), told(&again)), (vec![stopped(7)], Vec::new()));
    let set = [member(1), member(2), entry(3, Fate::Dead, 0x33)];
    let run = start(&mut groups, 7, &set);
    assert_eq!(
        told(&run),
        [
            "GROUP_START volume=shared generation=7 set=1:0000000000000011,2:0000000000000012 \
             fates=3:dead:0000000000000033",
            "GROUP_RECOVERED volume=shared generation=7"
        ]
    );
    assert_eq!(said(&run), started(7));
    let again = start(&mut groups, 7, &set);
    assert_eq!((said(&again), told(&again)), (started(7).to_vec(), Vec::new()));
    assert_eq!(groups.dropped, 0);
    assert_eq!(
        groups.lines(),
        ["GROUP state=running volume=shared generation=7 set=1:0000000000000011,2:0000000000000012 \
          fates=3:dead:0000000000000033"]
    );
}

#[test]
fn generations_only_go_forward() {
    let mut groups = running(&[member(1), member(2)]);
    for (generation, why) in [(9, "a lower one"), (10, "the one that runs")] {
        assert_eq!(stop(&mut groups, generation), [], "STOP of {why}");
    }
    assert_eq!(start(&mut groups, 9, &[member(1)]), [], "START of a lower one");
    assert_eq!(start(&mut groups, 11, &[member(1), member(2)]), [], "START without its STOP");
    assert_eq!(said(&stop(&mut groups, 12)), [stopped(12)]);
    assert_eq!(start(&mut groups, 10, &[member(1), member(2)]), [], "START of the barrier before");
    assert_eq!(said(&stop(&mut groups, 15)), [stopped(15)], "a STOP upon a STOP");
    assert_eq!(groups.highest(), 15);
    assert_eq!(start(&mut groups, 12, &[member(1), member(2)]), []);
    assert_eq!(groups.dropped, 6);
    assert_eq!(said(&start(&mut groups, 15, &[member(1), member(2)])), started(15));
}

#[test]
fn a_generation_is_remembered_when_the_volume_was_closed() {
    let mut groups = running(&[member(1)]);
    assert_eq!(groups.leave(at(0), volume()), Ok(()));
    left(&mut groups);
    assert_eq!(groups.join(at(0), volume()), Ok(()));
    acts(&mut groups);
    assert_eq!(stop(&mut groups, 10), []);
    assert_eq!(start(&mut groups, 10, &[member(1)]), []);
    assert_eq!(said(&stop(&mut groups, 11)), [stopped(11)]);
}

#[test]
fn parts_come_in_any_order_and_twice_and_nothing_starts_before_all_are_here() {
    let mut groups = joining();
    stop(&mut groups, 5);
    assert_eq!(part(&mut groups, 5, 2, 3, &[member(3)]), []);
    assert_eq!(part(&mut groups, 5, 0, 3, &[member(1)]), []);
    assert_eq!(part(&mut groups, 5, 0, 3, &[member(1)]), []);
    assert_eq!(part(&mut groups, 5, 2, 3, &[member(3)]), []);
    let run = part(&mut groups, 5, 1, 3, &[member(2)]);
    assert_eq!(said(&run), started(5));
    assert!(told(&run)[0].contains("set=1:0000000000000011,2:0000000000000012,3:0000000000000013 "), "{run:?}");
    assert_eq!(part(&mut groups, 5, 0, 3, &[member(1)]), [], "one answer for all parts");
    assert_eq!(said(&part(&mut groups, 5, 2, 3, &[member(3)])), started(5));
    assert_eq!(groups.dropped, 0);
}

#[test]
fn another_number_of_parts_begins_anew_and_a_stop_forgets_what_came() {
    let mut groups = joining();
    stop(&mut groups, 5);
    assert_eq!(part(&mut groups, 5, 0, 2, &[member(1)]), []);
    assert_eq!(part(&mut groups, 5, 1, 3, &[member(2)]), []);
    assert_eq!(part(&mut groups, 5, 2, 3, &[member(3)]), []);
    stop(&mut groups, 6);
    assert_eq!(part(&mut groups, 6, 0, 3, &[member(1)]), [], "the parts of another generation do not count");
}

#[test]
fn parts_that_cannot_be_and_unsound_entries_are_dropped() {
    let mut groups = joining();
    stop(&mut groups, 5);
    let start_of = |part, parts| Group::Start { volume: volume(), generation: 5, part, parts };
    for (first, parts) in [(0, 0), (1, 1), (3, 2), (0, 15), (u16::MAX, u16::MAX)] {
        groups.on_group(at(0), start_of(first, parts), &payload(&[member(1)]));
    }
    let mut unsound = payload(&[member(1), member(2)]);
    unsound.pop();
    groups.on_group(at(0), start_of(0, 1), &unsound);
    unsound = payload(&[member(1), member(2)]);
    unsound[StartNode::BYTES + 1] = 9;
    groups.on_group(at(0), start_of(0, 1), &unsound);
    assert_eq!(acts(&mut groups), []);
    assert_eq!(groups.dropped, 7);
    let unknown = Group::Start { volume: Label::named("other"), generation: 5, part: 0, parts: 1 };
    groups.on_group(at(0), unknown, &payload(&[member(1)]));
    for step in started(5).into_iter().chain([stopped(5)]) {
        let Message::Group(step) = step else { continue };
        groups.on_group(at(0), step, &[]);
    }
    assert_eq!((acts(&mut groups), groups.dropped), (Vec::new(), 11), "what only nodes say");
}

#[test]
fn a_set_that_contradicts_itself_is_dropped() {
    let dead = entry(2, Fate::Dead, 0x12);
    for contradiction in [
        [member(1), member(2), member(2)],
        [member(1), member(2), dead],
        [member(1), entry(2, Fate::Member, 0x99), member(2)],
    ] {
        let mut groups = joining();
        stop(&mut groups, 5);
        assert_eq!(start(&mut groups, 5, &contradiction), []);
        assert_eq!(groups.dropped, 1);
        assert_eq!(said(&start(&mut groups, 5, &[member(1), member(2)])), started(5), "it can still be put right");
    }
}

#[test]
fn an_earlier_incarnation_of_a_member_may_have_a_fate() {
    let mut groups = joining();
    stop(&mut groups, 5);
    let set = [member(1), member(2), entry(2, Fate::Dead, 0x99), entry(1, Fate::Dead, 0x98)];
    assert_eq!(said(&start(&mut groups, 5, &set)), started(5));
}

#[test]
fn a_member_that_is_missing_without_a_fate_resets_the_node() {
    for (set, is_good) in [
        (vec![member(1), entry(3, Fate::Dead, 0x13)], true),
        (vec![member(1), entry(3, Fate::Left, 0x13)], true),
        (vec![member(1)], false),
        (vec![member(1), entry(3, Fate::Dead, 0x99)], false),
        (vec![member(1), entry(3, Fate::Member, 0x99)], false),
        (vec![member(1), entry(3, Fate::Member, 0x99), entry(3, Fate::Dead, 0x13)], true),
    ] {
        let mut groups = running(&[member(1), member(3)]);
        stop(&mut groups, 20);
        let acts = start(&mut groups, 20, &set);
        if is_good {
            assert_eq!(said(&acts), started(20), "{set:?}");
        } else {
            assert_eq!(resets(&acts), [Why::FateMissing], "{set:?}");
            assert_eq!(said(&acts), [], "nothing is claimed");
        }
    }
}

#[test]
fn what_was_told_once_and_started_with_needs_no_fate_again() {
    let mut groups = running(&[member(1), member(2), member(3)]);
    stop(&mut groups, 20);
    start(&mut groups, 20, &[member(1), member(2), entry(3, Fate::Dead, 0x13)]);
    stop(&mut groups, 30);
    assert_eq!(said(&start(&mut groups, 30, &[member(1), member(2)])), started(30));
    // A barrier that was opened anew before its START came: what counts is the set that runs.
    stop(&mut groups, 40);
    stop(&mut groups, 50);
    assert_eq!(resets(&start(&mut groups, 50, &[member(1)])), [Why::FateMissing]);
}

#[test]
fn a_set_without_us_resets_who_ran_and_is_nothing_to_who_did_not() {
    let mut groups = running(&[member(1), member(2)]);
    stop(&mut groups, 20);
    let without = [member(2), entry(1, Fate::Left, INCARNATION)];
    assert_eq!(resets(&start(&mut groups, 20, &without)), [Why::NotInSet]);

    let mut groups = joining();
    stop(&mut groups, 20);
    assert_eq!(start(&mut groups, 20, &[member(2), entry(1, Fate::Member, 0x99)]), []);
    assert_eq!(groups.dropped, 1);

    let mut groups = running(&[member(1), member(2)]);
    assert_eq!(groups.leave(at(0), volume()), Ok(()));
    stop(&mut groups, 20);
    assert_eq!(start(&mut groups, 20, &without), [], "a leaver waits for LEAVE");
}

#[test]
fn leaving_takes_a_barrier_and_the_appliance_s_word() {
    let mut groups = running(&[member(1), member(2)]);
    assert!(groups.leave(at(0), Label::named("other")).is_err());
    assert_eq!(groups.leave(at(100), volume()), Ok(()));
    let leave = Message::Group(Group::Leave { volume: volume() });
    for ms in [100, 350] {
        groups.on_time(at(ms));
        assert_eq!(said(&acts(&mut groups)), [leave]);
    }
    assert_eq!(said(&stop(&mut groups, 20)), [stopped(20)]);
    groups.on_time(at(600));
    assert_eq!(said(&acts(&mut groups)), [leave], "it is asked for until it comes");
    let acts = left(&mut groups);
    assert_eq!(told(&acts), ["GROUP_LEFT volume=shared"]);
    assert!(acts.contains(&Act::Hold(false)), "{acts:?}");
    assert_eq!((left(&mut groups), groups.dropped), (Vec::new(), 1), "the answer to a repeated LEAVE");
    assert_eq!((groups.lines(), groups.deadline()), (Vec::new(), Instant::FAR));
}

#[test]
fn a_join_while_leaving_comes_after_the_leave() {
    let mut groups = running(&[member(1), member(2)]);
    assert_eq!(groups.leave(at(0), volume()), Ok(()));
    assert_eq!(groups.join(at(0), volume()), Ok(()));
    groups.on_time(at(0));
    assert_eq!(said(&acts(&mut groups)), [Message::Group(Group::Leave { volume: volume() })]);
    stop(&mut groups, 20);
    assert_eq!(told(&left(&mut groups)), ["GROUP_LEFT volume=shared", "GROUP_JOIN volume=shared"]);
    assert_eq!((left(&mut groups), groups.dropped), (Vec::new(), 1), "the answer to a repeated LEAVE");
    assert_eq!(said(&stop(&mut groups, 21)), [stopped(21)]);
    assert_eq!(said(&start(&mut groups, 21, &[member(1), member(2)])), started(21), "nothing is known from before");
}

#[test]
fn a_leave_before_the_join_is_through_goes_with_the_barrier_and_out_again() {
    let mut groups = joining();
    assert_eq!(groups.leave(at(0), volume()), Ok(()));
    assert_eq!(said(&stop(&mut groups, 5)), [stopped(5)]);
    assert_eq!(said(&start(&mut groups, 5, &[member(1), member(2)])), started(5));
    groups.on_time(at(1000));
    assert_eq!(said(&acts(&mut groups)), [Message::Group(Group::Leave { volume: volume() })]);
}

#[test]
fn a_volume_that_is_not_open_is_stopped_and_one_that_nobody_wants_is_left() {
    let mut groups = Groups::new(US, INCARNATION);
    assert_eq!(said(&stop(&mut groups, 5)), [stopped(5)]);
    groups.on_time(at(0));
    assert_eq!(said(&acts(&mut groups)), [Message::Group(Group::Leave { volume: volume() })]);
    assert_eq!(told(&left(&mut groups)), ["GROUP_LEFT volume=shared"]);
}

#[test]
fn a_leave_that_nobody_asked_for_changes_nothing() {
    let mut groups = running(&[member(1)]);
    assert_eq!((left(&mut groups), groups.dropped), (Vec::new(), 1));
    assert!(groups.lines()[0].starts_with("GROUP state=running"));
}

#[test]
fn there_is_room_for_so_many_volumes_and_what_is_closed_makes_room() {
    let mut groups = Groups::new(US, INCARNATION);
    let numbered = |number: u64| Label::named(&number.to_string());
    for number in 1..=16 {
        assert_eq!(groups.join(at(0), numbered(number)), Ok(()));
    }
    assert!(groups.join(at(0), numbered(17)).is_err());
    groups.on_group(at(0), Group::Stop { volume: numbered(17), generation: 1 }, &[]);
    assert_eq!(groups.dropped, 1);
    assert_eq!(groups.leave(at(0), numbered(3)), Ok(()));
    groups.on_group(at(0), Group::Leave { volume: numbered(3) }, &[]);
    assert_eq!(groups.join(at(0), numbered(17)), Ok(()));
}

#[test]
fn a_named_service_runs_at_once_and_its_token_only_grows() {
    let mut groups = Groups::new(US, INCARNATION);
    let acts = give(&mut groups, service(2, 30));
    assert_eq!(acts[..2], [Act::Tell(Event::Takeover(service(2, 30))), Act::Hold(true)]);
    assert_eq!(told(&acts)[1], "TAKEN what=service:web dead=2 incarnation=0000000000000012 token=30");
    assert_eq!(said(&acts), [taken(service(2, 30))]);
    let again = give(&mut groups, service(2, 30));
    assert_eq!((said(&again), told(&again)), (vec![taken(service(2, 30))], Vec::new()));
    assert_eq!(give(&mut groups, service(2, 29)), []);
    assert_eq!(give(&mut groups, service(3, 29)), [], "whoever had it: a token below one that was seen");
    assert_eq!(give(&mut groups, service(3, 30)), [], "one token names one thing");
    assert_eq!(groups.dropped, 3);
    assert_eq!(said(&give(&mut groups, service(3, 31))), [taken(service(3, 31))]);
    assert_eq!(groups.highest(), 31);
    assert_eq!(groups.lines(), ["SERVICE what=service:web dead=3 incarnation=0000000000000012 token=31"]);
    for answer in [Takeover::Taken(service(2, 40)), Takeover::Failed(service(2, 40))] {
        groups.on_takeover(answer);
    }
    assert_eq!(groups.dropped, 5, "what only nodes say");
}

#[test]
fn a_service_that_was_nobody_s_names_nobody() {
    let mut groups = Groups::new(US, INCARNATION);
    let first = Given { what: What::Named(Label::named("web")), dead: NodeId::NONE, incarnation: 0, token: 4 };
    assert_eq!(
        told(&give(&mut groups, first)),
        ["TAKEOVER what=service:web token=4", "TAKEN what=service:web token=4"]
    );
}

#[test]
fn a_recovery_is_taken_when_this_node_has_recovered_with_that_death() {
    let mut groups = running(&[member(1), member(3)]);
    let early = recovery(3, 0x13, 20);
    assert_eq!(said(&give(&mut groups, early)), [], "the START that tells the death has not come");
    stop(&mut groups, 20);
    assert_eq!(said(&give(&mut groups, early)), [], "stopped");
    let run = start(&mut groups, 20, &[member(1), entry(3, Fate::Dead, 0x13)]);
    assert_eq!(said(&run), [started(20)[0], started(20)[1], taken(early)]);
    assert!(told(&run)[2].starts_with("TAKEN what=recovery:shared dead=3"), "{run:?}");
    assert_eq!(said(&give(&mut groups, early)), [taken(early)]);
    let late = recovery(3, 0x99, 21);
    assert_eq!(said(&give(&mut groups, late)), [], "another incarnation is another death");
    assert_eq!(said(&give(&mut groups, recovery(3, 0x13, 19))), [], "a token below one that was seen");
    assert_eq!(groups.dropped, 1);
}

#[test]
fn a_recovery_of_a_volume_that_is_not_open_here_fails_and_holds_nothing() {
    let mut groups = Groups::new(US, INCARNATION);
    let given = recovery(3, 0x13, 20);
    let acts = give(&mut groups, given);
    assert_eq!(said(&acts), [Message::Takeover(Takeover::Failed(given))]);
    assert!(!acts.contains(&Act::Hold(true)));
    assert_eq!(told(&acts)[1], "FAILED what=recovery:shared dead=3 incarnation=0000000000000013 token=20");
    assert_eq!(said(&give(&mut groups, given)), [Message::Takeover(Takeover::Failed(given))]);
}

#[test]
fn recoveries_that_are_over_make_room_and_others_do_not() {
    let mut groups = Groups::new(US, INCARNATION);
    for number in 0..200 {
        assert_eq!(said(&give(&mut groups, recovery(3, number, 1))).len(), 1, "{number}");
    }
    let mut groups = running(&[member(1)]);
    for number in 0..200 {
        give(&mut groups, recovery(3, number, 1));
    }
    assert_eq!(groups.dropped, 200 - 96);
}

#[test]
fn the_boot_is_marked_before_anything_is_said() {
    let mut groups = Groups::new(US, INCARNATION);
    assert_eq!(groups.join(at(0), volume()), Ok(()));
    assert_eq!(acts(&mut groups)[0], Act::Hold(true));
}
