//! Heartbeats, both ends: a member towards its leader (`Follower`), the leader towards all (`Watch`).
//!
//! Owns stamps, echoes, promises and the snapshots that leases count from. Knows nothing of ballots' meaning and accuses
//! nobody. Rules: SAFETY A1 (what a lease counts from), A6 (what alive means), C2, C3 (how a lease travels).
//!
//! ```text
//! member                                    leader
//!   | HEARTBEAT(number, echo, ...) -------->  |  alive until echo + host_dead_ms
//!   | <------- ANSWER(number, stamp)          |
//!   |   leases count from what the member held when it sent `number`
//! ```
//!
//! A heartbeat promises only if its echo is new: the leader's lease counts from echoed stamps, so one that echoes the same
//! stamp again gives the leader nothing, and need not bind the member for longer. Otherwise a member that goes on asking a
//! dead leader would bind itself for ever.

use crate::id::{Ballot, HostId, Incarnation};
use crate::limits::{DRIFT_PER_MILLE, ID_SLOTS, LOCAL_NODES_MAX, SNAPSHOTS_MAX};
use crate::rule::{Rule, Rules};
use crate::time::{Duration, Instant};
use crate::wire::message::Heartbeat;

/// What a member held when it sent a heartbeat: if that heartbeat is answered, leases count from these stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The heartbeat's number, or for a leader the stamp of its own clock.
    pub number: u64,
    /// When it was sent.
    pub sent: Instant,
    /// The newest stamp of the guard's clock; zero: none.
    pub guard: u64,
    /// The newest stamp of each local node, with the incarnation that sent it.
    pub nodes: [(Incarnation, u64); LOCAL_NODES_MAX],
}

impl Snapshot {
    const NONE: Self = Self { number: 0, sent: Instant::ZERO, guard: 0, nodes: [(0, 0); LOCAL_NODES_MAX] };
}

/// The last few snapshots.
#[derive(Debug)]
pub struct Snapshots {
    ring: [Snapshot; SNAPSHOTS_MAX],
    next: usize,
}

impl Snapshots {
    const EMPTY: Self = Self { ring: [Snapshot::NONE; SNAPSHOTS_MAX], next: 0 };

    fn push(&mut self, snapshot: Snapshot) {
        self.ring[self.next] = snapshot;
        self.next = (self.next + 1) % SNAPSHOTS_MAX;
    }

    fn clear(&mut self) {
        self.ring.fill(Snapshot::NONE);
    }

    /// The snapshot with this number; it serves once.
    fn take(&mut self, number: u64) -> Option<Snapshot> {
        let slot = self.ring.iter_mut().find(|snapshot| snapshot.number == number && number != 0)?;
        Some(core::mem::replace(slot, Snapshot::NONE))
    }

    /// The newest snapshot that is not newer than `number`; it and all older ones serve once.
    fn take_up_to(&mut self, number: u64) -> Option<Snapshot> {
        let old = |snapshot: &&mut Snapshot| snapshot.number != 0 && snapshot.number <= number;
        let best = self.ring.iter_mut().filter(old).max_by_key(|snapshot| snapshot.number).map(|found| *found);
        for snapshot in self.ring.iter_mut().filter(old) {
            *snapshot = Snapshot::NONE;
        }
        best
    }
}

/// The member's end.
#[derive(Debug)]
pub struct Follower {
    /// Whom it follows; `Ballot::NONE`: nobody.
    pub leader: Ballot,
    /// When the leader answered last; the origin: never.
    heard: Option<Instant>,
    /// When any leader was heard last, or we led ourselves.
    led_until: Instant,
    /// The newest stamp of the leader's clock.
    echo: u64,
    /// The newest stamp that was echoed with a promise.
    promised_echo: u64,
    /// Until then no vote for another.
    promise_until: Instant,
    number: u32,
    /// When the last heartbeat was sent that the leader answered.
    answered_sent: Option<Instant>,
    snapshots: Snapshots,
    /// Numbers and times of the last few heartbeats.
    sent: [(u32, Instant); SNAPSHOTS_MAX],
    /// When the next heartbeat is due.
    pub next_at: Instant,
}

impl Follower {
    /// Follows nobody; all zero.
    pub const EMPTY: Self = Self {
        leader: Ballot::NONE,
        heard: None,
        led_until: Instant::ZERO,
        echo: 0,
        promised_echo: 0,
        promise_until: Instant::ZERO,
        number: 0,
        answered_sent: None,
        snapshots: Snapshots::EMPTY,
        sent: [(0, Instant::ZERO); SNAPSHOTS_MAX],
        next_at: Instant::ZERO,
    };

    /// Follows this leader from now on. Its old leader's answers count for nothing any more. `heard`: we have its own
    /// word; hearsay of it must not keep alive the belief of others that it was heard.
    pub fn follow(&mut self, now: Instant, leader: Ballot, heard: bool) {
        if heard {
            self.heard = Some(now);
            self.led_until = now;
        }
        if self.leader == leader {
            return;
        }
        self.leader = leader;
        self.heard = Some(now).filter(|_| heard);
        self.echo = 0;
        self.promised_echo = 0;
        self.answered_sent = None;
        self.snapshots.clear();
        self.next_at = now;
    }

    /// There was a leader until now: ourselves, or we know of none because we only begin.
    pub const fn was_led(&mut self, now: Instant) {
        self.led_until = now;
    }

    /// For how long no leader was heard (SAFETY B2).
    #[must_use]
    pub const fn leaderless(&self, now: Instant) -> Duration {
        now.since(self.led_until)
    }

    /// Follows nobody. Promises stand.
    pub fn forsake(&mut self) {
        self.leader = Ballot::NONE;
        self.answered_sent = None;
        self.snapshots.clear();
    }

    /// The membership lease is over: only what is sent from now on renews it.
    pub fn lapse(&mut self) {
        self.answered_sent = None;
        self.snapshots.clear();
    }

    /// The leader gave its lead up: what was promised to it ends with that, and it was heard until now.
    pub fn release(&mut self, now: Instant) {
        self.forsake();
        self.promise_until = self.promise_until.min(now);
        self.led_until = now;
    }

    /// Whether a leader was heard within P.
    #[must_use]
    pub fn hears(&self, now: Instant, promise: Duration) -> bool {
        self.leader != Ballot::NONE && self.heard.is_some_and(|heard| now.since(heard) < promise)
    }

    /// When the leader counts as lost.
    #[must_use]
    pub fn lost_at(&self, promise: Duration) -> Instant {
        self.heard.map_or(Instant::ZERO, |heard| heard + promise)
    }

    /// Until when no other may be voted for (SAFETY A1).
    #[must_use]
    pub const fn promise_until(&self) -> Instant {
        self.promise_until
    }

    /// Whether the leader answered a heartbeat that was sent within P: the membership lease (SAFETY C2).
    #[must_use]
    pub fn holds_lease(&self, now: Instant, promise: Duration) -> bool {
        self.answered_sent.is_some_and(|sent| now.since(sent) < promise)
    }

    /// The heartbeat that goes out now: its number and echo. Takes the snapshot that its answer will renew from.
    pub fn beat(&mut self, now: Instant, promise: Duration, mut snapshot: Snapshot) -> (u32, u64) {
        self.number = self.number.wrapping_add(1).max(1);
        snapshot.number = u64::from(self.number);
        snapshot.sent = now;
        self.snapshots.push(snapshot);
        self.sent[usize::try_from(self.number).unwrap_or(0) % SNAPSHOTS_MAX] = (self.number, now);
        if self.echo != self.promised_echo {
            self.promised_echo = self.echo;
            self.promise_until = self.promise_until.max(now + promise);
        }
        (self.number, self.echo)
    }

    /// The newest stamp of the leader's clock; zero: none.
    #[must_use]
    pub const fn stamp(&self) -> u64 {
        self.echo
    }

    /// When heartbeat `number` was sent, if it is among the last few: the validity of an order counts from it (SAFETY F1).
    #[must_use]
    pub fn sent(&self, number: u32) -> Option<Instant> {
        self.sent.iter().find(|(sent, _)| *sent == number && number != 0).map(|(_, at)| *at)
    }

    /// The leader answered. The snapshot that leases may now count from, unless the heartbeat is older than P.
    pub fn answered(&mut self, now: Instant, promise: Duration, number: u32, stamp: u64) -> Option<Snapshot> {
        let snapshot = self.snapshots.take(u64::from(number))?;
        if now.since(snapshot.sent) >= promise {
            return None;
        }
        self.heard = Some(now);
        self.led_until = now;
        self.echo = self.echo.max(stamp);
        self.answered_sent = self.answered_sent.max(Some(snapshot.sent));
        Some(snapshot)
    }
}

/// What the leader knows of one host.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The incarnation that sent `beat`.
    pub incarnation: Incarnation,
    /// Its newest heartbeat.
    pub beat: Heartbeat,
    /// The newest stamp of ours that it echoed, as an instant.
    pub echoed: Option<Instant>,
    /// Silence counts from here at the earliest: our election, or a stall of our own.
    pub grace: Instant,
    /// When we answered it last, whichever incarnation: later it renews nothing from us (SAFETY C4).
    pub answered: Instant,
}

impl Seen {
    const NONE: Self =
        Self { incarnation: 0, beat: Heartbeat::NONE, echoed: None, grace: Instant::ZERO, answered: Instant::ZERO };

    /// Since when it is silent: the later of its newest echo and the grace (SAFETY A6).
    #[must_use]
    pub fn silent_since(&self) -> Instant {
        self.echoed.map_or(self.grace, |echoed| echoed.max(self.grace))
    }
}

/// The leader's end.
#[derive(Debug)]
pub struct Watch {
    /// Which rules it obeys.
    pub rules: Rules,
    seen: [Seen; ID_SLOTS],
    snapshots: Snapshots,
    /// When the leader takes its next own snapshot and looks for the silent.
    pub next_at: Instant,
}

impl Watch {
    /// Knows nothing; all zero.
    pub const EMPTY: Self =
        Self { rules: Rules::ALL, seen: [Seen::NONE; ID_SLOTS], snapshots: Snapshots::EMPTY, next_at: Instant::ZERO };

    /// Begins to lead: nobody is silent yet, and what was echoed to an earlier lead of ours is void.
    pub fn begin(&mut self, now: Instant) {
        self.seen.fill(Seen { grace: now, ..Seen::NONE });
        self.snapshots.clear();
        self.next_at = now;
    }

    /// Restarts all silence timers: it was we who were deaf (SAFETY A8).
    pub fn forgive(&mut self, now: Instant) {
        for seen in &mut self.seen {
            seen.grace = now;
        }
    }

    /// A host that was known to be silent before we led: its silence counts from then.
    pub fn silent_from(&mut self, host: HostId, since: Instant) {
        self.seen[host.index()].grace = since;
    }

    /// What is known of a host.
    #[must_use]
    pub const fn seen(&self, host: HostId) -> &Seen {
        &self.seen[host.index()]
    }

    /// A heartbeat of this host was answered.
    pub const fn answered(&mut self, now: Instant, host: HostId) {
        self.seen[host.index()].answered = now;
    }

    /// A heartbeat came. Whether it says anything to decide on that the one before did not: what a member accepted or knows
    /// to be committed changes with every view, and nothing is decided by it.
    pub fn take(&mut self, now: Instant, host: HostId, incarnation: Incarnation, beat: &Heartbeat) -> bool {
        let seen = &mut self.seen[host.index()];
        if seen.incarnation != incarnation {
            let grace = seen.grace.max(now);
            *seen = Seen { incarnation, beat: *beat, echoed: None, grace, answered: seen.answered };
            return true;
        }
        if beat.number <= seen.beat.number {
            return false;
        }
        let news = seen.beat.locals != beat.locals || seen.beat.boot != beat.boot;
        seen.beat = *beat;
        let echo = if self.rules.holds(Rule::A1) { Instant::from_micros(beat.echo) } else { now };
        if beat.echo != 0 && echo <= now {
            seen.echoed = seen.echoed.max(Some(echo));
        }
        news
    }

    /// The leader's own nodes, told as if by a heartbeat to itself.
    pub fn take_own(&mut self, now: Instant, host: HostId, incarnation: Incarnation, beat: &Heartbeat) -> bool {
        let seen = &mut self.seen[host.index()];
        let news = seen.beat.locals != beat.locals || seen.beat.boot != beat.boot || seen.incarnation != incarnation;
        *seen = Seen { incarnation, beat: *beat, echoed: Some(now), ..*seen };
        news
    }

    /// Remembers what the leader's own leases would count from, under a stamp of its clock.
    pub fn snapshot(&mut self, now: Instant, mut snapshot: Snapshot) {
        snapshot.number = now.as_micros();
        snapshot.sent = now;
        self.snapshots.push(snapshot);
    }

    /// The oldest stamp among the newest echoes of a quorum, the leader itself included (SAFETY A1). Sorts by insertion,
    /// which needs no recursion; the leader asks once in a heartbeat, not once in an event.
    #[must_use]
    pub fn quorum_echo(&self, now: Instant, quorum: usize, voters: impl Iterator<Item = HostId>) -> Instant {
        let mut echoes = [Instant::ZERO; ID_SLOTS];
        let mut count = 0;
        for host in voters.take(ID_SLOTS) {
            let echo = self.seen[host.index()].echoed.unwrap_or(Instant::ZERO).min(now);
            let at = echoes[..count].partition_point(|&other| other <= echo);
            echoes.copy_within(at..count, at + 1);
            echoes[at] = echo;
            count += 1;
        }
        count.checked_sub(quorum).map_or(Instant::ZERO, |at| echoes[at])
    }

    /// What the leader's own leases may count from, now that a quorum echoed this stamp.
    pub fn renew(&mut self, echo: Instant) -> Option<Snapshot> {
        self.snapshots.take_up_to(echo.as_micros())
    }
}

/// How long a leader's lease lasts after the quorum's stamp: P, less what four clocks may drift.
#[must_use]
pub const fn leader_lease(promise: Duration) -> Duration {
    promise.less_per_mille(4 * DRIFT_PER_MILLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Duration = Duration::from_millis(1000);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    fn leader(round: u32) -> Ballot {
        Ballot { round, host: HostId::new(1) }
    }

    #[test]
    fn a_promise_counts_from_the_sending_of_a_fresh_echo_and_is_not_prolonged_by_a_stale_one() {
        let mut member = Follower::EMPTY;
        member.follow(at(0), leader(1), true);
        let (number, _) = member.beat(at(0), P, Snapshot::default());
        assert!(member.answered(at(5), P, number, 77).is_some());
        let (_, echo) = member.beat(at(100), P, Snapshot::default());
        assert_eq!((echo, member.promise_until()), (77, at(1100)));
        for step in 2..30 {
            member.beat(at(step * 100), P, Snapshot::default());
        }
        assert_eq!(member.promise_until(), at(1100));
    }

    #[test]
    fn an_answer_to_a_heartbeat_older_than_p_renews_nothing() {
        let mut member = Follower::EMPTY;
        member.follow(at(0), leader(1), true);
        let (number, _) = member.beat(at(0), P, Snapshot::default());
        assert_eq!(member.answered(at(1000), P, number, 5), None);
        assert!(!member.holds_lease(at(1000), P));
        let (number, _) = member.beat(at(1100), P, Snapshot { guard: 9, ..Snapshot::default() });
        assert_eq!(member.answered(at(1200), P, number, 6).map(|s| s.guard), Some(9));
        assert!(member.holds_lease(at(2099), P) && !member.holds_lease(at(2100), P));
        assert_eq!(member.answered(at(1201), P, number, 6), None, "an answer serves once");
    }

    #[test]
    fn who_stood_still_holds_no_membership_by_what_was_sent_before() {
        let mut member = Follower::EMPTY;
        member.follow(at(0), leader(1), true);
        let (first, _) = member.beat(at(0), P, Snapshot::default());
        assert!(member.answered(at(1), P, first, 5).is_some());
        let (second, _) = member.beat(at(100), P, Snapshot::default());
        member.lapse();
        assert!(!member.holds_lease(at(101), P), "its clock does not know how old that is");
        assert_eq!(member.answered(at(102), P, second, 6), None, "nor how old this answer is");
        let (third, _) = member.beat(at(200), P, Snapshot::default());
        assert!(member.answered(at(201), P, third, 7).is_some() && member.holds_lease(at(202), P));
    }

    #[test]
    fn answers_to_another_leader_count_for_nothing() {
        let mut member = Follower::EMPTY;
        member.follow(at(0), leader(1), true);
        let (number, _) = member.beat(at(0), P, Snapshot::default());
        member.follow(at(1), leader(2), true);
        assert_eq!(member.answered(at(2), P, number, 5), None);
    }

    #[test]
    fn hearing_alone_is_not_alive() {
        let mut watch = Watch::EMPTY;
        let (host, mut beat) = (HostId::new(2), Heartbeat::NONE);
        watch.begin(at(1000));
        for step in 1..=20 {
            beat.number = step;
            beat.echo = at(1050).as_micros();
            watch.take(at(1000 + u64::from(step) * 100), host, 5, &beat);
        }
        assert_eq!(watch.seen(host).silent_since(), at(1100), "it hears nothing of ours since then");
    }

    #[test]
    fn the_quorum_echo_is_the_oldest_of_the_newest_of_a_quorum() {
        let mut watch = Watch::EMPTY;
        watch.begin(at(0));
        let mut beat = Heartbeat::NONE;
        for (host, echo) in [(2, 500), (3, 700), (4, 100)] {
            for number in 1..=2 {
                beat.number = number;
                beat.echo = at(echo).as_micros();
                watch.take(at(800), HostId::new(host), 9, &beat);
            }
        }
        watch.take_own(at(900), HostId::new(1), 9, &beat);
        let voters = || (1..=5).map(HostId::new);
        assert_eq!(watch.quorum_echo(at(900), 3, voters()), at(500));
        assert_eq!(watch.quorum_echo(at(900), 5, voters()), Instant::ZERO);
        watch.snapshot(at(490), Snapshot { guard: 1, ..Snapshot::default() });
        watch.snapshot(at(510), Snapshot { guard: 2, ..Snapshot::default() });
        assert_eq!(watch.renew(at(500)).map(|s| s.guard), Some(1));
        assert_eq!(watch.renew(at(500)), None);
    }
}
