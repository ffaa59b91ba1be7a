//! Two votes, and the other one is silent: the one act that needs no commit, and what follows from it.
//!
//! Owns the rule of two hosts (SAFETY D1-D3; the argument is in docs/PROTOCOL.md). Such an appliance takes a higher ballot
//! and proposes its own state, as a new leader does; nothing of it is committed before a device answered that the other host
//! is off. That host's promises and acceptances went with its power, so from then on one vote is a quorum. If the other one
//! is heard before, nothing was committed, and an ordinary election follows.

use super::Engine;
use crate::config::Config;
use crate::fencing::bound::worst_device_time;
use crate::fencing::harness::Scene;
use crate::fencing::{Class, hold, suffices_alone};
use crate::id::{HostId, Incarnation};
use crate::rule::Rule;
use crate::state::Stage;
use crate::status::HostState;
use crate::time::{Duration, Instant};
use crate::wire::message::Standing;
use crate::wire::node::{Operation, Target, Wish};

/// The other host, while it is being proven off, and for as long as this lead lasts after that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone {
    /// Who; none: the rule is not in use.
    host: HostId,
    /// Its appliance as we know it.
    incarnation: Incarnation,
    /// Since when.
    since: Instant,
    /// It is off: its vote does not count any more.
    proven: bool,
}

impl Alone {
    /// Not in use; all zero.
    pub const NOT: Self = Self { host: HostId::NONE, incarnation: 0, since: Instant::ZERO, proven: false };
}

/// How long the other host must have been silent: the higher number leaves the lower one the time to switch it off, and as
/// long as the two may differ about when they heard each other last (SAFETY D3).
#[must_use]
fn patience(config: &Config, me: HostId, other: HostId) -> Duration {
    let dead = Duration::from_millis(u64::from(config.timing.host_dead_ms));
    let differ = Duration::from_millis(u64::from(config.timing.promise_ms)) + dead;
    if me.get() < other.get() { dead } else { dead + worst_device_time(config, me) + differ }
}

impl Engine {
    /// Whether the rule is in use.
    pub(super) const fn is_alone(&self) -> bool {
        self.alone.host.is_some()
    }

    /// How many votes commit here and now.
    pub(super) fn needed(&self) -> usize {
        let proven =
            self.alone.proven && self.acceptor.accepted.host(self.alone.host).incarnation == self.alone.incarnation;
        if proven {
            return 1;
        }
        self.voters.needed(&self.acceptor.accepted).min(self.voters.needed(&self.acceptor.committed))
    }

    /// Without a leader: whether the other one of two has been silent for so long that it is to be switched off.
    pub(super) fn consider_alone(&mut self, now: Instant) {
        let Some(other) = self.voters.other_of_two(self.me) else { return };
        if self.proposer.leads() || self.condemned || !self.may_act_alone(now, other) {
            return;
        }
        let heard = self.peers.heard(other).unwrap_or(self.started);
        let heard = heard.max(self.stalled_at.unwrap_or(self.started));
        // Without D3 either one is as patient as the lower number.
        let me = if self.rules.holds(Rule::D3) { self.me } else { HostId::NONE };
        let due = heard + patience(self.config(), me, other);
        if now < due {
            return self.due(due);
        }
        log::warn!("{other} was not heard for {} ms: it is to be switched off", now.since(heard).as_millis());
        let ballot = self.election.stand(now, self.me, self.acceptor.promised, Standing::Ordinary);
        assert!(self.acceptor.promise(ballot), "a candidate's ballot is above all that it promised");
        self.follower.forsake();
        self.acceptor.forget_fetched();
        let granted = self.granted(now);
        self.election.grant(self.me, granted);
        self.begin_lead(now, Standing::Ordinary);
        let known = self.acceptor.accepted.host(other).incarnation;
        let incarnation = if known == 0 { crate::id::WHOEVER } else { known };
        self.alone = Alone { host: other, incarnation, since: now, proven: false };
    }

    /// Only whoever has the memory of what was committed goes on alone (SAFETY D2), and nobody is switched off on whom a
    /// person works.
    fn may_act_alone(&self, now: Instant, other: HostId) -> bool {
        if !self.rules.holds(Rule::D2) {
            return true;
        }
        let view = &self.acceptor.accepted;
        let member = view.host(self.me).state == HostState::Member;
        let spared = hold::is_spared(self.config(), view, Target::Host(other));
        self.may_vote(now) && member && view.stage != Stage::Collecting && !spared
    }

    /// Where one vote commits at once, each view has a turn of its own, so that all who look at us see each of them.
    pub(super) fn committed_just_now(&self, now: Instant) -> bool {
        self.voters.count() == 2 && now <= self.committed_at
    }

    /// Switches the other one off, or stops trying when it is heard.
    pub(super) fn go_on_alone(&mut self, now: Instant) {
        if !self.is_alone() || self.proposer.established {
            return;
        }
        let Alone { host, incarnation, since, .. } = self.alone;
        // Whoever stood still meanwhile finds a world that went on.
        let after = |at: Option<Instant>| at.is_some_and(|at| at > since);
        if after(self.peers.heard(host)) || after(self.stalled_at) {
            return self.step_down(now, "the other host is heard, or this one stalled");
        }
        let scene = Scene {
            now,
            me: self.me,
            ballot: self.proposer.ballot,
            config: self.config(),
            view: &self.acceptor.accepted,
            watch: &self.watch,
            // Nobody else is there whose echo could be waited for.
            echo: self.quorum_echo,
        };
        let power_only = self.rules.holds(Rule::D1);
        let next = self.harness.prove_off(&scene, host, incarnation, power_only, &mut self.outbox);
        self.due(next);
        let proof = self.harness.proof(now, Target::Host(host), incarnation);
        if proof.is_some_and(|proof| suffices_alone(proof.class) || !power_only) {
            log::warn!("{host} is off: goes on without it");
            self.alone.proven = true;
            self.consider_commit(now);
        }
    }

    /// An operator says that the other host is off, while we wait for a device to say it. Whether it is that word, and not
    /// yet committed: it is said again until it is.
    pub(super) fn hear_operator(&mut self, now: Instant, operation: &Operation) -> bool {
        let Alone { host, incarnation, .. } = self.alone;
        let meant = operation.wish == Wish::Acknowledge && operation.target == Target::Host(host);
        let same = self.is_alone() && meant && operation.incarnation == incarnation;
        if same && !self.proposer.established {
            log::warn!("{} says that {host} is off", operation.who);
            self.harness.take_word(now, host, incarnation, Class::Operator);
        }
        same && !self.view().host(host).is_off()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::tests::{SAMPLE, read};

    #[test]
    fn the_higher_number_waits_longer_than_the_lower_ones_devices_may_take() {
        let config = read(SAMPLE);
        let (low, high) = (HostId::new(1), HostId::new(2));
        let (soon, late) = (patience(&config, low, high), patience(&config, high, low));
        assert_eq!(soon.as_millis(), u64::from(config.timing.host_dead_ms));
        assert!(late > soon + worst_device_time(&config, high), "{} ms", late.as_millis());
    }
}
