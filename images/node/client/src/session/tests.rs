//! One node's session and lease against an appliance of a few frames.

use super::*;
use palisade_core::fencing::Class;
use palisade_core::id::{HostId, Volume};
use palisade_core::wire::node::{Group, NodeEvent, Tale};

const NODE: NodeId = NodeId::new(1);
const INCARNATION: u64 = 77;
const CLUSTER: Cluster = Cluster { number: 1, random: 5 };
const LEASE_MS: u32 = 5000;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn sent(client: &mut Client) -> Vec<(Message, u32)> {
    outputs(client)
        .into_iter()
        .filter_map(|o| match o {
            Output::Send { message, session, .. } => Some((message, session)),
            _ => None,
        })
        .collect()
}

fn outputs(client: &mut Client) -> Vec<Output> {
    std::iter::from_fn(|| client.poll()).collect()
}

fn resets(client: &mut Client) -> Vec<Why> {
    outputs(client).into_iter().filter_map(|o| if let Output::Reset(why) = o { Some(why) } else { None }).collect()
}

fn nonce(client: &mut Client, now: Instant) -> u64 {
    client.on_time(now);
    match sent(client).as_slice() {
        [(Message::Hello { nonce, node, incarnation, .. }, 0)] => {
            assert_eq!((*node, *incarnation), (NODE, INCARNATION));
            *nonce
        }
        other => panic!("expected one HELLO, got {other:?}"),
    }
}

fn welcome(nonce: u64) -> Message {
    Message::Welcome { nonce, host: HostId::new(1), node: NODE, beat_ms: 200, lease_ms: LEASE_MS, cluster: CLUSTER }
}

fn give(client: &mut Client, now: Instant, session: u32, message: Message) {
    client.on_frame(now, &message.frame(session, 1, &[]));
}

fn fresh() -> Client {
    Client::new(at(1000), NODE, INCARNATION, 10, Remains::default())
}

fn opened(session: u32) -> Client {
    let mut client = fresh();
    let nonce = nonce(&mut client, at(1000));
    give(&mut client, at(1001), session, welcome(nonce));
    assert_eq!(sent(&mut client), [(Message::Beat { stamp: 1_001_000 }, session)]);
    client
}

#[test]
fn hello_is_repeated_until_welcome_and_beats_follow() {
    let mut client = fresh();
    let first = nonce(&mut client, at(1000));
    client.on_time(at(1050));
    assert_eq!(sent(&mut client), []);
    assert_eq!(client.deadline(), at(1100));
    assert_eq!(nonce(&mut client, at(1100)), first, "a late answer to the first HELLO must count");
    give(&mut client, at(1101), 5, welcome(first));
    assert_eq!(sent(&mut client), [(Message::Beat { stamp: 1_101_000 }, 5)]);
    assert_eq!(client.deadline(), at(1301));
    client.on_time(at(1301));
    assert_eq!(sent(&mut client), [(Message::Beat { stamp: 1_301_000 }, 5)]);
}

#[test]
fn a_welcome_with_another_nonce_or_node_is_ignored() {
    let mut client = fresh();
    let nonce = nonce(&mut client, at(1000));
    give(&mut client, at(1001), 5, welcome(nonce + 1));
    let other = Message::Welcome {
        nonce,
        host: HostId::new(1),
        node: NodeId::new(2),
        beat_ms: 1,
        lease_ms: 1,
        cluster: CLUSTER,
    };
    give(&mut client, at(1001), 5, other);
    assert_eq!(sent(&mut client), []);
    assert_eq!(client.dropped, 2);
}

#[test]
fn the_newest_welcome_counts() {
    let mut client = fresh();
    let nonce = nonce(&mut client, at(1000));
    give(&mut client, at(1001), 5, welcome(nonce));
    give(&mut client, at(1002), 6, welcome(nonce));
    give(&mut client, at(1002), 6, welcome(nonce));
    let report =
        Message::Report(Account::Nodes(Tale { node: NODE, part: 0, parts: 1, version: 0, tells: Some((0, 0)) }));
    assert_eq!(
        sent(&mut client),
        [(Message::Beat { stamp: 1_001_000 }, 5), (report, 6), (Message::Beat { stamp: 1_002_000 }, 6)]
    );
    give(&mut client, at(1003), 5, Message::Lease { stamp: 1_001_000, lease_ms: LEASE_MS });
    assert_eq!(client.lease_end, None, "an older session is dead");
}

#[test]
fn the_lease_counts_from_the_stamp_and_ends_in_a_reset() {
    let mut client = opened(5);
    give(&mut client, at(1900), 5, Message::Lease { stamp: 1_001_000, lease_ms: LEASE_MS });
    assert_eq!(client.lease_end, Some(at(6001)));
    let told = outputs(&mut client);
    assert!(told.contains(&Output::Event(Event::Lease { until: at(6001), lease_ms: LEASE_MS })), "{told:?}");
    give(&mut client, at(1950), 5, Message::Lease { stamp: 900_000, lease_ms: LEASE_MS });
    assert_eq!(client.lease_end, Some(at(6001)), "an overtaken answer takes nothing away");
    give(&mut client, at(1950), 5, Message::Lease { stamp: 1_951_000, lease_ms: LEASE_MS });
    assert_eq!(client.lease_end, Some(at(6001)), "a stamp from the future is not ours");
    client.on_time(at(5980));
    assert_eq!(resets(&mut client), []);
    client.on_time(at(5981));
    let last = outputs(&mut client);
    assert!(
        matches!(last[0], Output::Send { message: Message::LastGasp { reason: Gasp::LeaseEnded }, session: 0 | 5, .. }),
        "{last:?}"
    );
    assert_eq!(last.last(), Some(&Output::Reset(Why::LeaseEnded)));
    client.on_time(at(9000));
    assert_eq!(outputs(&mut client), [], "nothing is said after the last word");
    assert_eq!(client.deadline(), Instant::FAR);
}

#[test]
fn a_lease_that_comes_too_late_revives_nobody() {
    let mut client = opened(5);
    give(&mut client, at(1100), 5, Message::Lease { stamp: 1_001_000, lease_ms: LEASE_MS });
    drop(outputs(&mut client));
    give(&mut client, at(7000), 5, Message::Lease { stamp: 6_900_000, lease_ms: LEASE_MS });
    assert_eq!(resets(&mut client), [Why::LeaseEnded]);
}

#[test]
fn without_a_lease_there_is_nothing_to_reset() {
    let mut client = opened(5);
    client.on_time(at(60_000));
    assert_eq!(resets(&mut client), []);
}

#[test]
fn a_restarted_client_inherits_the_lease() {
    let mut client = Client::new(at(2000), NODE, INCARNATION, 1, Remains { lease_end: Some(at(3000)), held: false });
    client.on_time(at(2980));
    assert_eq!(resets(&mut client), [Why::LeaseEnded]);
}

#[test]
fn no_session_means_hello_again_with_a_new_nonce_while_the_lease_runs_on() {
    let mut client = opened(5);
    give(&mut client, at(1100), 5, Message::Lease { stamp: 1_001_000, lease_ms: LEASE_MS });
    drop(outputs(&mut client));
    give(&mut client, at(1200), 4, Message::Error { refusal: Refusal::NoSession });
    assert_eq!(client.session(), Some(5), "an error about another session is not about us");
    give(&mut client, at(1200), 0, Message::Error { refusal: Refusal::NoSession });
    drop(outputs(&mut client));
    assert_eq!(nonce(&mut client, at(1200)), 12);
    give(&mut client, at(1201), 6, welcome(11));
    assert_eq!(client.session(), None);
    client.on_time(at(5990));
    assert_eq!(resets(&mut client), [Why::LeaseEnded]);
}

#[test]
fn the_condemned_and_those_of_an_ended_cluster_reset_themselves() {
    for (refusal, why) in [(Refusal::Condemned, Why::Condemned), (Refusal::ClusterOver, Why::ClusterOver)] {
        let mut client = opened(5);
        give(&mut client, at(1100), 5, Message::Error { refusal });
        assert_eq!(resets(&mut client), [why]);
    }
}

#[test]
fn silence_of_the_appliance_is_answered_with_hello() {
    let mut client = opened(5);
    client.on_time(at(3400));
    assert_eq!(client.session(), Some(5));
    drop(outputs(&mut client));
    assert_eq!(nonce(&mut client, at(3501)), 12);
}

#[test]
fn a_refusal_is_told_once_and_asking_goes_on() {
    let mut client = fresh();
    let first = nonce(&mut client, at(1000));
    for _ in 0..3 {
        give(&mut client, at(1001), 0, Message::Error { refusal: Refusal::NotYet });
    }
    assert_eq!(outputs(&mut client), [Output::Event(Event::Refused(Refusal::NotYet))]);
    assert_eq!(nonce(&mut client, at(1100)), first);
}

#[test]
fn events_of_this_session_are_told_and_others_are_not() {
    let mut client = opened(5);
    let event = NodeEvent {
        node: NodeId::new(2),
        host: HostId::new(2),
        class: Some(Class::VmGone),
        incarnation: 3,
        version: 4,
    };
    give(&mut client, at(1100), 4, Message::NodeDown(event));
    assert_eq!(outputs(&mut client), []);
    give(&mut client, at(1100), 5, Message::NodeDown(event));
    assert_eq!(outputs(&mut client), [Output::Event(Event::NodeDown(event))]);
}

#[test]
fn status_is_asked_on_until_all_parts_are_here() {
    let mut client = opened(5);
    let section = palisade_core::wire::node::Section::Nodes;
    give(&mut client, at(1100), 5, Message::StatusPart { section, first: 0, count: 3, total: 5 });
    assert_eq!(sent(&mut client), [(Message::Status { section, first: 3 }, 5)]);
    give(&mut client, at(1100), 5, Message::StatusPart { section, first: 3, count: 2, total: 5 });
    assert_eq!(sent(&mut client), []);
}

fn stop(generation: u64) -> Message {
    Message::Group(Group::Stop { volume: Volume::named("shared"), generation })
}

fn stopped(generation: u64) -> Message {
    Message::Group(Group::Stopped { volume: Volume::named("shared"), generation })
}

#[test]
fn groups_speak_only_in_a_session_and_go_on_in_the_next() {
    let volume = Volume::named("shared");
    let join = Message::Group(Group::Join { cluster: Volume::NONE, volume });
    let mut client = fresh();
    assert_eq!(client.groups().join(at(1000), volume), Ok(()));
    let first = nonce(&mut client, at(1000));
    give(&mut client, at(1001), 5, welcome(first));
    assert_eq!(sent(&mut client), [(Message::Beat { stamp: 1_001_000 }, 5), (join, 5)]);
    assert_eq!(client.deadline(), at(1201));
    give(&mut client, at(1100), 4, stop(9));
    assert_eq!(sent(&mut client), [], "a step that an earlier session was told");
    give(&mut client, at(1100), 5, stop(3));
    assert_eq!(sent(&mut client), [(stopped(3), 5), (join, 5)]);
    give(&mut client, at(1150), 0, Message::Error { refusal: Refusal::NoSession });
    drop(outputs(&mut client));
    let second = nonce(&mut client, at(1150));
    give(&mut client, at(1160), 6, welcome(second));
    drop(outputs(&mut client));
    give(&mut client, at(1170), 6, stop(3));
    assert_eq!(sent(&mut client), [(stopped(3), 6)], "another appliance, or the same one without memory");
}

#[test]
fn a_client_that_is_started_again_in_a_boot_that_held_something_resets_it() {
    let mut client = Client::new(at(2000), NODE, INCARNATION, 1, Remains { lease_end: None, held: true });
    assert_eq!(client.groups().join(at(2000), Volume::named("shared")), Ok(()));
    client.on_time(at(2000));
    let told = outputs(&mut client);
    let said: Vec<_> = told.iter().filter(|output| matches!(output, Output::Send { .. })).collect();
    let gasp = Message::LastGasp { reason: Gasp::Other };
    assert_eq!(said, [&Output::Send { message: gasp, session: 0, sequence: 1, payload: Vec::new() }]);
    assert_eq!(told.last(), Some(&Output::Reset(Why::Forgotten)));
}

#[test]
fn what_is_held_is_kept_before_it_is_said() {
    let mut client = opened(5);
    assert_eq!(client.groups().join(at(1100), Volume::named("shared")), Ok(()));
    client.on_time(at(1100));
    let all = outputs(&mut client);
    let place = |wanted: fn(&Output) -> bool| all.iter().position(wanted);
    let kept = place(|output| *output == Output::KeepHeld(true));
    let said = place(|output| matches!(output, Output::Send { message: Message::Group(_), .. }));
    assert!(kept.is_some() && kept < said, "{all:?}");
}

#[test]
fn a_repeated_join_that_is_refused_is_told_once_and_each_refused_request_is_told() {
    let mut client = opened(5);
    let refused = |client: &mut Client| {
        give(client, at(1100), 5, Message::Error { refusal: Refusal::BadRequest });
        outputs(client).contains(&Output::Event(Event::Refused(Refusal::BadRequest)))
    };
    let status = Message::Status { section: palisade_core::wire::node::Section::Nodes, first: 0 };
    assert!(client.request(status) && client.request(status));
    assert!(refused(&mut client) && refused(&mut client));
    assert!(refused(&mut client) && !refused(&mut client), "of a JOIN");
    give(&mut client, at(1100), 5, Message::Busy);
    assert_eq!(outputs(&mut client), []);
}
