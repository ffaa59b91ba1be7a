//! An appliance that crashes between two of its outputs, and what votes were given, as an eavesdropper counts them.
//!
//! Owns the point of the crash and the count. It reads datagrams with the cluster's secret and never asks a core. No vote
//! counts twice: an incarnation votes upwards only, and not within P of its boot (SAFETY B1); and what is first committed
//! under a ballot was elected by a quorum of votes of the very incarnations that it names (A3, A4).

use super::appliance::{CLOCK_AT_BOOT, Out};
use super::{Micros, World};
use palisade_core::id::{Ballot, HostId, Incarnation};
use palisade_core::wire::datagram::{Head, MESSAGE_MAX, SenderKey};
use palisade_core::wire::message::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Where an appliance crashes: before its next output but so many.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// Whose.
    pub host: u8,
    /// What leaves before.
    pub after: u32,
    /// It happened.
    pub struck: bool,
}

/// Who voted for whom.
#[derive(Debug, Default)]
pub struct Votes {
    granted: BTreeMap<Ballot, BTreeSet<(u8, Incarnation)>>,
    last: BTreeMap<(u8, Incarnation), Ballot>,
    judged: BTreeSet<Ballot>,
    /// Elections up to this ballot were over before anybody counted.
    since: Ballot,
    /// Elections that were judged.
    pub elections: u64,
}

impl Votes {
    fn grants(&mut self, now: Micros, voter: (u8, Incarnation), ballot: Ballot) {
        let before = self.last.insert(voter, ballot);
        assert!(before < Some(ballot), "A3: host {} voted for {ballot} after {before:?}, at {now} us", voter.0);
        self.granted.entry(ballot).or_default().insert(voter);
    }
}

impl World {
    /// Counts votes from now on.
    pub fn count_votes(&mut self) {
        let since = self.hosts.values().map(|host| host.accepted.0).max().unwrap_or_default();
        self.votes = Some(Votes { since, ..Votes::default() });
    }

    /// Whether the appliance crashes before this output.
    pub(super) fn crashes_before(&mut self, host: u8, out: &Out) -> bool {
        let Some(crash) = self.crash.as_mut().filter(|crash| crash.host == host && !crash.struck) else { return false };
        if matches!(out, Out::Deadline(_)) {
            return false;
        }
        crash.struck = crash.after == 0;
        crash.after = crash.after.saturating_sub(1);
        crash.struck
    }

    /// Reads what leaves an appliance, if votes are counted.
    pub(super) fn overhears(&mut self, host: u8, out: &Out) {
        let (Some(votes), Out::Datagram { bytes, .. }) = (&mut self.votes, out) else { return };
        let head = Head::parse(bytes).expect("an engine sends datagrams");
        let key = SenderKey::derive(&self.config.secret.0, &self.config.name, head.from, head.sender);
        let mut text = [0; MESSAGE_MAX];
        let text = head.open(&key, bytes, &mut text).expect("sealed by its sender");
        let Ok((Message::VoteAnswer { ballot, granted: true, elector: true, .. }, _)) = Message::parse(text) else {
            return;
        };
        let lived = self.hosts[&host].tsc.at(self.now) - CLOCK_AT_BOOT;
        let promise = u64::from(self.config.timing.promise_ms) * 1000;
        assert!(lived >= promise, "B1: host {host} votes {lived} us after its boot, at {} us", self.now);
        votes.grants(self.now, (host, head.sender), ballot);
    }

    /// An appliance holds a view committed under this ballot; if it is its own, it was elected.
    pub(super) fn judges_election(&mut self, host: u8) {
        let Some(votes) = &mut self.votes else { return };
        let h = &self.hosts[&host];
        let (Some(engine), ballot) = (&h.engine, h.accepted.0) else { return };
        let view = engine.view();
        if ballot.host != HostId::new(host) || ballot <= votes.since || !votes.judged.insert(ballot) {
            return;
        }
        if view.is_founding() {
            return; // It names whoever voted for it.
        }
        votes.elections += 1;
        let granted = votes.granted.remove(&ballot).unwrap_or_default();
        let voters = self.config.hosts.iter().filter(|host| host.vote).map(|host| host.id);
        let named = |voter: u8| view.host(HostId::new(voter)).incarnation;
        let own = |voter: u8| voter == host && named(voter) == engine.incarnation();
        let count = voters.filter(|&voter| own(voter) || granted.contains(&(voter, named(voter)))).count();
        let needed = self.config.votes() / 2 + 1;
        assert!(
            count >= needed,
            "A4: host {host} leads under {ballot} with {count} votes at {} us: {granted:x?}",
            self.now
        );
    }
}
