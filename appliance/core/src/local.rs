//! This host: its guard, its clock, and how its own nodes are.
//!
//! Owns what only this appliance can see. Decides nothing: it fills the heartbeat's table of local nodes, which the leader
//! judges. The guard's reports are complete each time, so the newest one counts. Rules: SAFETY C3, C5, E2, E4, E5, E8.

use crate::config::Config;
use crate::fencing::hold::is_kept_down;
use crate::id::{BootId, HostId, Incarnation, NodeId};
use crate::io::MonitorEvent;
use crate::limits::{LOCAL_NODES_MAX, NODE_BOOT_MS};
use crate::outbox::Outbox;
use crate::state::{NodeRow, State};
use crate::time::{Duration, Instant};
use crate::wire::guard::{Message, RunReport, RunState};
use crate::wire::message::{Health, LocalNode};
use crate::wire::node::NodeState;
use heapless::Vec;

/// The first pause between two orders to start the same node; doubles.
const START_PAUSE: Duration = Duration::from_millis(500);
/// The longest.
const START_PAUSE_MAX: Duration = Duration::from_millis(8000);

/// By how much the reference of the guard's stamps follows at each of them, microseconds: down for one that was late, up for
/// clocks that drift by less than 5e-3 apart.
const LOWERED_US: i64 = 10_000;
/// See `LOWERED_US`.
const RAISED_US: i64 = 1000;
/// Stamps within this time of our own clock tell of the same stop.
const ONE_STOP: Duration = Duration::from_millis(10);

/// What is known of one local node beside the guard's report.
#[derive(Clone, Copy, Debug)]
struct Guest {
    report: RunReport,
    /// The incarnation whose session is open, and the run whose channel it came on; zero: none.
    incarnation: Incarnation,
    bound: u32,
    /// It began after a RESET within its run.
    after_reset: bool,
    /// A RESET was seen in the present run since the session of `incarnation` began.
    reset: bool,
    last_beat: Instant,
    /// When the present run was first reported.
    seen_at: Instant,
    /// The stamp of its newest BEAT.
    stamp: u64,
    /// The run that panicked.
    panicked: u32,
    gasped: Incarnation,
    left: Incarnation,
    start_at: Instant,
    start_pause: Duration,
}

impl Guest {
    const NONE: Self = Self {
        report: RunReport {
            node: NodeId::NONE,
            boot: 0,
            state: RunState::None,
            counter: 0,
            gone_through: 0,
            disks_qualify: false,
            status: 0,
        },
        incarnation: 0,
        bound: 0,
        after_reset: false,
        reset: false,
        last_beat: Instant::ZERO,
        seen_at: Instant::ZERO,
        stamp: 0,
        panicked: 0,
        gasped: 0,
        left: 0,
        start_at: Instant::ZERO,
        start_pause: Duration::ZERO,
    };
}

/// What a report of the guard changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// How the run is.
    State,
    /// Another run is in this slot: whatever session its channel had is over, and is to be bound anew (SAFETY E2).
    Run(u8),
}

/// The host, seen from inside its appliance.
#[derive(Debug)]
pub struct Local {
    slots: Vec<NodeId, LOCAL_NODES_MAX>,
    guests: [Guest; LOCAL_NODES_MAX],
    /// The host's boot; zero: no guard has spoken.
    pub boot: BootId,
    /// The newest stamp of the guard's clock.
    pub clock: u64,
    /// When that came.
    stamped_at: Instant,
    /// When a stamp told last that we were stopped.
    stopped_at: Option<Instant>,
    /// Guard's clock less ours, at the newest stamp; grows by a jump when we were stopped.
    offset: Option<i64>,
}

impl Local {
    /// Knows nothing; all zero.
    pub const EMPTY: Self = Self {
        slots: Vec::new(),
        guests: [Guest::NONE; LOCAL_NODES_MAX],
        boot: 0,
        clock: 0,
        stamped_at: Instant::ZERO,
        stopped_at: None,
        offset: None,
    };

    /// Takes the host's nodes from the configuration.
    pub fn start(&mut self, config: &Config, me: HostId) {
        self.slots = config.local_nodes(me);
    }

    /// The node in a slot.
    #[must_use]
    pub fn node(&self, slot: u8) -> NodeId {
        self.slots.get(usize::from(slot)).copied().unwrap_or(NodeId::NONE)
    }

    /// The slot of a node.
    #[must_use]
    pub fn slot(&self, node: NodeId) -> Option<u8> {
        self.slots.iter().position(|&n| n == node && node.is_some()).and_then(|at| u8::try_from(at).ok())
    }

    /// The guard's newest report about a node.
    #[must_use]
    pub fn report(&self, node: NodeId) -> Option<&RunReport> {
        let slot = self.slot(node)?;
        Some(&self.guests.get(usize::from(slot))?.report).filter(|report| report.node == node)
    }

    /// The guard told its clock. Whether we were stopped meanwhile: the host's clock went on by more than `gap` beyond ours
    /// (SAFETY C5). A stamp that was only late makes the offset smaller, never larger. What it is held against rises no faster
    /// than two clocks drift apart: the stamps that waited for us in a ring are read at one instant, and each of them is only
    /// `stamp_ms` beyond the one before. They tell of one stop once.
    pub fn take_stamp(&mut self, now: Instant, boot: BootId, clock: u64, gap: Duration) -> bool {
        self.boot = boot;
        if clock > self.clock {
            (self.clock, self.stamped_at) = (clock, now);
        }
        let micros = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let offset = micros(clock).saturating_sub(micros(now.as_micros()));
        let Some(before) = self.offset.replace(offset) else { return false };
        if offset.saturating_sub(before) > micros(gap.as_micros()) {
            let last = self.stopped_at.replace(now);
            return last.is_none_or(|at| now.since(at) >= ONE_STOP);
        }
        // A late stamp lowers the reference only slowly, so that the next punctual one is no jump.
        self.offset = Some(offset.clamp(before.saturating_sub(LOWERED_US), before.saturating_add(RAISED_US)));
        false
    }

    /// The guard reported a node's VM. What that changes.
    pub fn take_report(&mut self, now: Instant, report: &RunReport, outbox: &mut Outbox) -> News {
        let Some(slot) = self.slot(report.node) else { return News::None };
        let guest = &mut self.guests[usize::from(slot)];
        self.boot = report.boot;
        if report.state == RunState::Starting {
            outbox.guard(Message::Ack { node: report.node, counter: report.counter });
        }
        let mut news = if guest.report == *report { News::None } else { News::State };
        if guest.report.counter != report.counter || guest.report.boot != report.boot {
            let (start_at, start_pause) = (guest.start_at, guest.start_pause);
            *guest = Guest { start_at, start_pause, seen_at: now, ..Guest::NONE };
            news = News::Run(slot);
        }
        guest.report = *report;
        news
    }

    /// A node's monitor said something. Whether that is news.
    pub fn take_monitor(&mut self, slot: u8, event: MonitorEvent) -> bool {
        let Some(guest) = self.guests.get_mut(usize::from(slot)) else { return false };
        match event {
            MonitorEvent::Panicked => guest.panicked = guest.report.counter,
            // The memory that panicked is gone: what boots now has not.
            MonitorEvent::Reset => (guest.reset, guest.panicked) = (true, 0),
            MonitorEvent::Connected | MonitorEvent::Shutdown => return false,
        }
        true
    }

    /// A session of a node opened on its channel: the incarnation is bound to the run whose channel this is (SAFETY E2).
    pub fn bind(&mut self, now: Instant, slot: u8, incarnation: Incarnation) {
        let Some(guest) = self.guests.get_mut(usize::from(slot)) else { return };
        if guest.incarnation != incarnation {
            guest.after_reset = guest.reset;
            guest.reset = false;
            guest.incarnation = incarnation;
        }
        guest.bound = guest.report.counter;
        guest.left = 0;
        guest.last_beat = now;
    }

    /// A node's session beat.
    pub fn beat(&mut self, now: Instant, slot: u8, stamp: u64) {
        if let Some(guest) = self.guests.get_mut(usize::from(slot)) {
            guest.last_beat = now;
            guest.stamp = guest.stamp.max(stamp);
        }
    }

    /// A node said that it leaves, or that it is dying. Whether that is news.
    pub fn farewell(&mut self, slot: u8, in_peace: bool) -> bool {
        let Some(guest) = self.guests.get_mut(usize::from(slot)) else { return false };
        let farewell = if in_peace { &mut guest.left } else { &mut guest.gasped };
        core::mem::replace(farewell, guest.incarnation) != guest.incarnation
    }

    /// It was we who were deaf: silence counts from then at the earliest.
    pub fn forgive(&mut self, from: Instant) {
        for guest in &mut self.guests {
            guest.last_beat = guest.last_beat.max(from);
        }
    }

    /// The newest stamps of all nodes, for leases. None where the guard's own is older than its lease is longer than a node's
    /// (`spare`): a node's lease would outlast the guard's (SAFETY C3).
    #[must_use]
    pub fn stamps(&self, now: Instant, spare: Duration) -> [(Incarnation, u64); LOCAL_NODES_MAX] {
        if self.clock != 0 && now.since(self.stamped_at) > spare {
            return [(0, 0); LOCAL_NODES_MAX];
        }
        self.guests.map(|guest| (guest.incarnation, guest.stamp))
    }

    /// The heartbeat's table. `since`: when we were admitted; nobody is silent before he had time to find us.
    #[must_use]
    pub fn table(&self, now: Instant, view: &State, since: Instant, dead: Duration) -> [LocalNode; LOCAL_NODES_MAX] {
        let mut table = [LocalNode::NONE; LOCAL_NODES_MAX];
        for ((entry, guest), &node) in table.iter_mut().zip(&self.guests).zip(&self.slots) {
            *entry = describe(now, node, guest, view.node(node), since, dead);
        }
        table
    }

    /// When the next node falls silent, if nothing comes.
    #[must_use]
    pub fn silent_at(&self, dead: Duration) -> Instant {
        let bound = self.guests.iter().filter(|guest| guest.incarnation != 0);
        bound.map(|guest| guest.last_beat + dead).min().unwrap_or(Instant::FAR)
    }

    /// Has the guard start the nodes that are to run and do not: never run, exited, Confirmed down in the very run that is
    /// still there, or sick before they became members. Only an admitted appliance calls this (SAFETY E4); `busy` nodes
    /// have an order out (F2). This is no fence: it ends no member, and should a view that makes it one be under way, the
    /// guard's report that the run is gone is the proof.
    pub fn start_nodes(
        &mut self,
        now: Instant,
        config: &Config,
        view: &State,
        dead: Duration,
        busy: impl Fn(NodeId) -> bool,
        outbox: &mut Outbox,
    ) -> Instant {
        let mut next = Instant::FAR;
        for (guest, &node) in self.guests.iter_mut().zip(&self.slots) {
            let wanted = config.node(node).is_some_and(|node| node.start);
            next = next.min(now + START_PAUSE);
            let kept_down = is_kept_down(config, view, node);
            if !wanted
                || kept_down
                || guest.report.node != node
                || busy(node)
                || !may_start(now, guest, view.node(node), dead)
            {
                continue;
            }
            if now >= guest.start_at {
                outbox.guard(Message::Start { node, after: guest.report.counter });
                guest.start_pause = (guest.start_pause + guest.start_pause).max(START_PAUSE).min(START_PAUSE_MAX);
                guest.start_at = now + guest.start_pause;
            }
            next = next.min(guest.start_at);
        }
        next
    }

    /// Ends all VMs of this host: it is condemned (SAFETY F5). Whether none is left.
    pub fn kill_all(&self, outbox: &mut Outbox) -> bool {
        let mut none_left = true;
        for guest in &self.guests {
            let report = &guest.report;
            if report.node.is_some() && report.gone_through < report.counter {
                none_left = false;
                outbox.guard(Message::Kill { node: report.node, counter: report.counter });
            }
        }
        none_left
    }

    /// A node lives: its next start need not wait.
    pub fn calm(&mut self, slot: u8) {
        if let Some(guest) = self.guests.get_mut(usize::from(slot)) {
            guest.start_pause = Duration::ZERO;
        }
    }
}

fn may_start(now: Instant, guest: &Guest, row: &NodeRow, dead: Duration) -> bool {
    let report = &guest.report;
    let gone = matches!(report.state, RunState::None | RunState::Exited);
    let fenced_here = row.run.boot == report.boot && row.run.counter == report.counter;
    match row.state {
        NodeState::Unknown => gone || guest.is_sick(now, dead),
        NodeState::Down if fenced_here => gone || guest.incarnation_is_over(row) || guest.is_sick(now, dead),
        NodeState::Down => gone || guest.is_sick(now, dead),
        // Who left stays away until its host boots anew; who left to boot again and did not come up wanted no such thing.
        NodeState::Left if row.run.boot != report.boot => gone || guest.is_sick(now, dead),
        NodeState::Left => guest.boots_again(row) && (gone || guest.is_sick(now, dead)),
        NodeState::Up | NodeState::Condemned => false,
    }
}

impl Guest {
    /// No incarnation but the one that was Confirmed spoke in the present run.
    const fn incarnation_is_over(&self, row: &NodeRow) -> bool {
        self.incarnation == 0 || self.incarnation == row.dead
    }

    /// Since the incarnation that left, the guest was reset, or another one spoke: leaving was a reboot, not a shutdown.
    const fn boots_again(&self, row: &NodeRow) -> bool {
        self.reset || self.incarnation != 0 && self.incarnation != row.incarnation
    }

    /// The present run will not become a member any more.
    fn is_sick(&self, now: Instant, dead: Duration) -> bool {
        let panicked = self.panicked != 0 && self.panicked == self.report.counter;
        if self.incarnation == 0 {
            return panicked || now.since(self.seen_at) >= Duration::from_millis(u64::from(NODE_BOOT_MS));
        }
        panicked || self.gasped == self.incarnation || now.since(self.last_beat) >= dead
    }
}

fn describe(now: Instant, node: NodeId, guest: &Guest, row: &NodeRow, since: Instant, dead: Duration) -> LocalNode {
    let report = &guest.report;
    let here = row.may_write() && row.run.boot == report.boot && row.run.counter == report.counter;
    let lost = guest.incarnation == 0 && here;
    let (incarnation, bound) = if lost { (row.incarnation, row.run.counter) } else { (guest.incarnation, guest.bound) };
    let silent = now.since(guest.last_beat.max(since)) >= dead;
    let health = if guest.panicked != 0 && guest.panicked == report.counter {
        Health::Panicked
    } else if incarnation == 0 {
        Health::Idle
    } else if guest.left == incarnation {
        Health::Left
    } else if guest.gasped == incarnation {
        Health::Gasped
    } else if silent {
        Health::Silent
    } else if lost {
        Health::Idle
    } else {
        Health::Live
    };
    LocalNode {
        node,
        health,
        disks_qualify: report.disks_qualify,
        after_reset: guest.after_reset,
        reported: report.node == node,
        counter: report.counter,
        gone_through: report.gone_through,
        bound,
        incarnation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_left_to_boot_again_and_died_on_the_way_is_started_and_who_shut_down_is_not() {
        let dead = Duration::from_millis(1500);
        let exited = RunReport { state: RunState::Exited, counter: 3, boot: 9, ..Guest::NONE.report };
        let row = NodeRow {
            state: NodeState::Left,
            incarnation: 7,
            run: crate::id::Run { boot: 9, counter: 3 },
            ..NodeRow::NONE
        };
        let may = |guest: &Guest, row: &NodeRow| may_start(Instant::ZERO, guest, row, dead);
        let shut_down = Guest { report: exited, incarnation: 7, ..Guest::NONE };
        assert!(!may(&shut_down, &row), "it said BYE and ended");
        assert!(may(&Guest { reset: true, ..shut_down }, &row), "it was reset, and ended while it booted");
        assert!(may(&Guest { incarnation: 8, ..shut_down }, &row), "its next incarnation ended before it was a member");
        let earlier = NodeRow { run: crate::id::Run { boot: 8, counter: 3 }, ..row };
        assert!(may(&shut_down, &earlier), "another host boot");
        let runs = RunReport { state: RunState::Running, ..exited };
        let boots = Guest { report: runs, incarnation: 8, ..Guest::NONE };
        assert!(!may(&boots, &earlier), "it is about to be a member");
        assert!(may(&Guest { gasped: 8, ..boots }, &earlier), "it gasped before it was one");
    }

    #[test]
    fn a_late_stamp_is_no_stop_and_a_stop_is_one() {
        let mut local = Local::EMPTY;
        let gap = Duration::from_millis(500);
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut stamp = |now: u64, clock: u64| local.take_stamp(at(now), 1, clock * 1000, gap);
        assert!(!stamp(0, 1000));
        assert!(!stamp(200, 1200));
        assert!(!stamp(1100, 1400), "700 ms late");
        assert!(!stamp(1101, 2100), "punctual again");
        assert!(!stamp(1301, 2300));
        assert!(stamp(1501, 3100), "our clock stood still for 600 ms");
        assert!(!stamp(1701, 3300));
        // A stop of 800 ms whose stamps waited in a ring.
        assert!(!stamp(1901, 3500));
        let told = [3700, 3900, 4100, 4300].map(|clock| stamp(1902, clock));
        assert_eq!(told.iter().filter(|told| **told).count(), 1, "{told:?}: one stop is told once");
        assert!(!stamp(2101, 4500));
    }

    #[test]
    fn clocks_that_drift_apart_are_no_stop() {
        for drift in [-400, 400] {
            let mut local = Local::EMPTY;
            let gap = Duration::from_millis(500);
            for step in 1..5000_u64 {
                let now = Instant::from_micros(step * 200_000);
                let apart = drift * i64::try_from(step).unwrap_or(0);
                let clock = (step * 200_000 + 10_000_000).saturating_add_signed(apart);
                assert!(!local.take_stamp(now, 1, clock, gap), "{drift} us in each period, {step}");
            }
        }
    }

    #[test]
    fn no_node_lease_counts_where_the_guard_has_been_silent_longer_than_its_lease_is_longer() {
        let (mut local, spare) = (Local::EMPTY, Duration::from_millis(1000));
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        local.guests[0] = Guest { incarnation: 7, stamp: 9, ..Guest::NONE };
        assert_eq!(local.stamps(at(5000), spare)[0], (7, 9), "where there is no guard, none is outlasted");
        local.take_stamp(at(5000), 1, 77, spare);
        assert_eq!(local.stamps(at(6000), spare)[0], (7, 9));
        assert_eq!(local.stamps(at(6001), spare)[0], (0, 0));
        local.take_stamp(at(6100), 1, 77, spare);
        assert_eq!(local.stamps(at(6100), spare)[0], (0, 0), "the same stamp again is no newer one");
        local.take_stamp(at(6101), 1, 78, spare);
        assert_eq!(local.stamps(at(6101), spare)[0], (7, 9));
    }
}
