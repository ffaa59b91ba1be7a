//! Cold start: what living sessions report, and who is adopted for it.
//!
//! Owns the reports (the member's side and the leader's) and the judgement of the two stages that follow a cold view; the
//! view itself is an election's outcome (`agreement::election`). Knows of no clock and sends nothing. Rules: SAFETY B3-B7;
//! the argument is in docs/PROTOCOL.md.
//!
//! ```text
//! cold view --Collecting: sessions report, their leases go on, hosts are admitted
//!     | every configured node is accounted for, or start_wait_ms over
//!     v
//! adoption --Fencing: whoever was not adopted is condemned, hosts in batches, and Confirmed; nobody is told of a death
//!     | none is left
//!     v
//! Settled: the deaths are told
//! ```

use crate::decide::{self, Facts};
use crate::fencing::Class;
use crate::groups;
use crate::id::{Cluster, HostId, Incarnation, NodeId, Run, WHOEVER};
use crate::limits::{COLD_FENCES_MAX, ID_SLOTS, LOCAL_NODES_MAX};
use crate::state::{Evidence, Stage, State};
use crate::status::{HostState, Reason};
use crate::time::{Duration, Instant};
use crate::wire::message::{Health, KNOWN_MAX, Known, LocalNode, Report};
use crate::wire::node::{NodeState, Target, ViewNode};

/// Deaths of one node number that a leader remembers from reports: the newest few; an older one cannot come back, because
/// each later run of a node began after the end of the one before was proven.
const DEATHS_MAX: usize = 4;
/// A session that has not reported for so long since its WELCOME is asked again.
const REPORT_PATIENCE: Duration = Duration::from_millis(500);
const _: () = assert!(ID_SLOTS.div_ceil(KNOWN_MAX) <= 16, "pages are bits of a u16");

/// What one local session knows: the member's side.
#[derive(Clone, Copy, Debug)]
struct Told {
    incarnation: Incarnation,
    /// When it was welcomed.
    since: Instant,
    cluster: Cluster,
    version: u64,
    /// Parts that came, as bits; all of them: complete.
    got: u8,
    complete: bool,
    known: [(bool, Incarnation); ID_SLOTS],
    next_page: u8,
}

impl Told {
    const NONE: Self = Self {
        incarnation: 0,
        since: Instant::ZERO,
        cluster: Cluster::NONE,
        version: 0,
        got: 0,
        complete: false,
        known: [(false, 0); ID_SLOTS],
        next_page: 0,
    };
}

/// What the local sessions know.
#[derive(Debug)]
pub struct Tales {
    slots: [Told; LOCAL_NODES_MAX],
}

impl Tales {
    /// Nobody told anything; all zero.
    pub const EMPTY: Self = Self { slots: [Told::NONE; LOCAL_NODES_MAX] };

    /// A session was welcomed: what it served before, if anything. Who served nothing has nothing to report.
    pub fn begin(&mut self, now: Instant, slot: u8, incarnation: Incarnation, cluster: Cluster) {
        if let Some(told) = self.slots.get_mut(usize::from(slot)) {
            *told = Told { incarnation, since: now, cluster, complete: !cluster.is_some(), ..Told::NONE };
        }
    }

    /// A part of a session's report came.
    pub fn take(&mut self, slot: u8, version: u64, part: u8, parts: u8, entries: impl Iterator<Item = ViewNode>) {
        let Some(told) = self.slots.get_mut(usize::from(slot)) else { return };
        told.version = told.version.max(version);
        for entry in entries {
            told.known[entry.node.index()] = (entry.state == NodeState::Down, entry.incarnation);
        }
        if part < 8 && parts <= 8 {
            told.got |= 1 << part;
            told.complete |= u32::from(parts) == told.got.count_ones();
        }
    }

    /// Whether this incarnation's report is complete.
    #[must_use]
    pub fn is_complete(&self, slot: u8, incarnation: Incarnation) -> bool {
        self.slots.get(usize::from(slot)).is_some_and(|told| told.complete && told.incarnation == incarnation)
    }

    /// Whether its report was lost in the pipe: it had time to come.
    #[must_use]
    pub fn is_overdue(&self, now: Instant, slot: u8) -> bool {
        let told = self.slots.get(usize::from(slot));
        told.is_some_and(|told| !told.complete && now.since(told.since) >= REPORT_PATIENCE)
    }

    /// Whether it has served a cluster incarnation before.
    #[must_use]
    pub fn has_served(&self, slot: u8, incarnation: Incarnation) -> bool {
        let told = self.slots.get(usize::from(slot));
        told.is_some_and(|told| told.incarnation == incarnation && told.cluster.is_some())
    }

    /// The next page of this slot's report, if that is complete. Pages go in turn, for ever.
    pub fn page(&mut self, slot: u8, node: NodeId) -> Option<Report> {
        let told = self.slots.get_mut(usize::from(slot)).filter(|told| told.complete && told.incarnation != 0)?;
        let entries = (0..=u8::MAX).zip(&told.known).filter(|(_, (_, incarnation))| *incarnation != 0);
        let count = entries.clone().count();
        let pages = u8::try_from(count.div_ceil(KNOWN_MAX).max(1)).ok()?;
        let page = told.next_page % pages;
        let mut known = [Known::NONE; KNOWN_MAX];
        let of_page = entries.skip(usize::from(page) * KNOWN_MAX);
        for (place, (number, &(dead, incarnation))) in known.iter_mut().zip(of_page) {
            *place = Known { node: NodeId::new(number), dead, incarnation };
        }
        let (incarnation, cluster, version) = (told.incarnation, told.cluster, told.version);
        told.next_page = page.wrapping_add(1);
        Some(Report { node, incarnation, cluster, version, page, pages, known })
    }
}

/// What the leader knows of one session's report.
#[derive(Clone, Copy, Debug)]
struct Heard {
    from: HostId,
    incarnation: Incarnation,
    cluster: Cluster,
    pages: u8,
    got: u16,
}

impl Heard {
    const NONE: Self = Self { from: HostId::NONE, incarnation: 0, cluster: Cluster::NONE, pages: 0, got: 0 };
}

/// What the leader knows of the time before: reports, and cluster incarnations that others remember.
#[derive(Debug)]
pub struct Cold {
    /// When it began to collect.
    since: Instant,
    /// The highest number of a cluster incarnation that any session reported.
    highest: u32,
    /// The highest that any appliance remembers, of another one than ours.
    met: u32,
    /// The newest cluster incarnation that a session served.
    newest: Cluster,
    heard: [Heard; ID_SLOTS],
    dead: [[Incarnation; DEATHS_MAX]; ID_SLOTS],
    up: [Incarnation; ID_SLOTS],
}

impl Cold {
    /// Nothing was reported; all zero.
    pub const EMPTY: Self = Self {
        since: Instant::ZERO,
        highest: 0,
        met: 0,
        newest: Cluster::NONE,
        heard: [Heard::NONE; ID_SLOTS],
        dead: [[0; DEATHS_MAX]; ID_SLOTS],
        up: [0; ID_SLOTS],
    };

    /// A lead begins, and collects from now on if its view says so.
    pub fn begin(&mut self, now: Instant) {
        self.since = now;
        self.highest = 0;
        self.met = 0;
        self.newest = Cluster::NONE;
        self.heard.fill(Heard::NONE);
        self.dead.fill([0; DEATHS_MAX]);
        self.up.fill(0);
    }

    /// Somebody remembers a cluster incarnation with this number, and serves another than ours. Whether that is news.
    pub fn meet(&mut self, number: u32) -> bool {
        let news = number > self.met;
        self.met = self.met.max(number);
        news
    }

    /// A page of a report came. Whether it completes one.
    pub fn take(&mut self, from: HostId, report: &Report) -> bool {
        self.highest = self.highest.max(report.cluster.number).max(Cluster::number_of(report.version));
        self.newest = self.newest.max(report.cluster);
        let heard = &mut self.heard[report.node.index()];
        if (heard.from, heard.incarnation, heard.pages) != (from, report.incarnation, report.pages) {
            let (incarnation, cluster, pages) = (report.incarnation, report.cluster, report.pages);
            *heard = Heard { from, incarnation, cluster, pages, got: 0 };
        }
        let before = heard.got;
        heard.got |= 1 << (report.page % 16);
        let completes = before != heard.got && heard.got.count_ones() == u32::from(report.pages);
        for known in report.known.iter().filter(|known| known.node.is_some() && known.incarnation != 0) {
            if known.dead {
                let dead = &mut self.dead[known.node.index()];
                if !dead.contains(&known.incarnation) {
                    dead.rotate_right(1);
                    dead[0] = known.incarnation;
                }
            } else {
                self.up[known.node.index()] = known.incarnation;
            }
        }
        completes
    }

    fn calls_dead(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.dead[node.index()].contains(&incarnation)
    }

    /// The complete report of this incarnation, from this host.
    fn report(&self, node: NodeId, from: HostId, incarnation: Incarnation) -> Option<&Heard> {
        let heard = &self.heard[node.index()];
        let complete = heard.got.count_ones() == u32::from(heard.pages) && heard.pages != 0;
        Some(heard).filter(|heard| complete && heard.from == from && heard.incarnation == incarnation)
    }
}

/// What a cold start makes of one configured node.
enum Fate {
    /// It runs, has reported, and is nobody's dead: it keeps running.
    Adopted(Incarnation, Run),
    /// Nothing runs as this node: known from the guard of its host.
    Gone,
    /// Not known yet; something with this incarnation may run, on this run.
    Open(Incarnation, Run),
    /// Known well enough to be fenced: it must not keep running.
    Refused(Incarnation, Run),
}

/// While reports are collected: admits hosts, and commits the adoption as soon as every configured node is accounted for,
/// or time is over (SAFETY B4).
pub fn collect(facts: &Facts<'_>, next: &mut State) -> bool {
    let mut changed = rise(facts, next);
    for host in &facts.config.hosts {
        changed |= admit(facts, next, HostId::new(host.id));
    }
    if changed {
        return true;
    }
    let wait = Duration::from_millis(u64::from(facts.config.timing.start_wait_ms));
    let over = facts.now.since(facts.cold.since) >= wait;
    let fates = || facts.config.nodes.iter().map(|node| (node, fate(facts, next, node)));
    if !over && fates().any(|(_, fate)| matches!(fate, Fate::Open(..))) {
        return false;
    }
    if facts.cold.highest >= next.cluster.number {
        next.renumber(facts.cold.highest + 1);
    }
    for node in &facts.config.nodes {
        let (id, host) = (NodeId::new(node.id), HostId::new(node.host));
        let known = known(facts.cold, next, id);
        match fate(facts, next, node) {
            Fate::Adopted(incarnation, run) => adopt(next, id, host, known, incarnation, run),
            Fate::Gone => bury(next, id, host, known),
            Fate::Open(incarnation, run) | Fate::Refused(incarnation, run) => {
                let first = [known, incarnation, WHOEVER].into_iter().find(|&it| it != 0);
                log::warn!("{id} is not accounted for: it is fenced before anything starts");
                next.suspect(id, host, first.unwrap_or(WHOEVER), run);
            }
        }
    }
    next.stage = Stage::Fencing;
    true
}

/// Somebody remembers a cluster incarnation that is not below ours: ours is raised above it, so that he finds his own
/// over (SAFETY B5).
pub fn rise(facts: &Facts<'_>, next: &mut State) -> bool {
    let due = facts.cold.met >= next.cluster.number && next.cluster.number < Cluster::NUMBER_MAX;
    if due {
        next.renumber(facts.cold.met + 1);
    }
    due
}

/// While whoever was not adopted is fenced: hosts that cannot do it themselves are condemned in batches (SAFETY B6), and
/// once nobody is left the cluster incarnation is settled.
pub fn settle(facts: &Facts<'_>, next: &mut State) -> bool {
    if next.stage != Stage::Fencing {
        return false;
    }
    let open = |next: &State, host: HostId| {
        next.nodes().any(|(_, row)| row.host == host && row.record.reason == Reason::ColdStart)
    };
    if !next.nodes().any(|(_, row)| row.record.reason == Reason::ColdStart) {
        next.stage = Stage::Settled;
        groups::barrier::reopen(next);
        return true;
    }
    let mut changed = false;
    for node in &facts.config.nodes {
        changed |= find_run(facts, next, NodeId::new(node.id));
    }
    let condemned = next.hosts().filter(|(_, row)| row.state == HostState::Condemned).count();
    let mut room = COLD_FENCES_MAX.saturating_sub(condemned);
    for host in facts.config.hosts.iter().map(|host| HostId::new(host.id)) {
        let away =
            matches!(next.host(host).state, HostState::Out | HostState::Down) && !decide::is_present(facts, host);
        if room > 0 && away && open(next, host) && decide::can_fence(facts.config, host) {
            next.expect_nobody(host);
            next.condemn(Target::Host(host), Reason::ColdStart, next.version);
            room -= 1;
            changed = true;
        }
    }
    changed
}

/// The host of somebody who is not accounted for is back, and its guard says which run there is: that one is to be ended.
fn find_run(facts: &Facts<'_>, next: &mut State, node: NodeId) -> bool {
    let row = *next.node(node);
    let seen = facts.watch.seen(row.host);
    let unknown = row.record.reason == Reason::ColdStart && !row.run.is_some();
    let told = seen.beat.locals.iter().find(|local| local.node == node && unknown && seen.incarnation != 0);
    let Some(local) = told.filter(|local| seen.beat.boot != 0 && local.gone_through < local.counter) else {
        return false;
    };
    next.suspect(node, row.host, row.incarnation, Run { boot: seen.beat.boot, counter: local.counter });
    true
}

/// Appliances are admitted; one that falls silent is left out, and no more: there is nobody yet for whom it had to die.
fn admit(facts: &Facts<'_>, next: &mut State, host: HostId) -> bool {
    let seen = facts.watch.seen(host);
    let row = *next.host(host);
    let present = decide::is_present(facts, host);
    match row.state {
        HostState::Member if decide::is_silent(facts, host) => next.leave_out(host),
        HostState::Member if present && seen.incarnation == row.incarnation => {
            if seen.beat.boot == 0 || seen.beat.boot == row.boot {
                return false;
            }
            next.learn_boot(host, seen.beat.boot);
        }
        // A decision is never withdrawn (SAFETY F4): another incarnation of a condemned one comes without its memory.
        HostState::Condemned if seen.incarnation == row.incarnation => return false,
        _ if present => next.admit(host, seen.incarnation, if seen.beat.boot == 0 { row.boot } else { seen.beat.boot }),
        _ => return false,
    }
    true
}

fn fate(facts: &Facts<'_>, next: &State, node: &crate::config::Node) -> Fate {
    let (id, host) = (NodeId::new(node.id), HostId::new(node.host));
    let seen = facts.watch.seen(host);
    let (row, boot) = (next.node(id), seen.beat.boot);
    let admitted = next.host(host).state == HostState::Member && next.host(host).incarnation == seen.incarnation;
    let told = seen.beat.locals.iter().find(|local| local.node == id);
    let Some(local) = told.filter(|_| admitted && boot != 0) else { return Fate::Open(0, Run::NONE) };
    let run = Run { boot, counter: local.counter };
    if local.proves_none() {
        return Fate::Gone;
    }
    let live = local.health == Health::Live && local.bound == local.counter && local.gone_through < local.bound;
    if !live || local.incarnation == 0 {
        return Fate::Open(local.incarnation, run);
    }
    let Some(report) = facts.cold.report(id, host, local.incarnation) else {
        return Fate::Open(local.incarnation, run);
    };
    let condemned = row.state == NodeState::Condemned && row.incarnation == local.incarnation;
    let buried = next.history().any(|entry| entry.node == id && entry.incarnation == local.incarnation);
    let dead = row.dead == local.incarnation || buried || facts.cold.calls_dead(id, local.incarnation);
    let ours = !report.cluster.is_some() || report.cluster == facts.cold.newest.max(next.before);
    let alone = !row.may_write() || row.incarnation == local.incarnation || is_over(row.run, boot, local);
    if condemned || dead || !ours || !alone {
        return Fate::Refused(local.incarnation, run);
    }
    Fate::Adopted(local.incarnation, run)
}

/// Whether an earlier incarnation, of that run, is proven gone by what its host says.
fn is_over(run: Run, boot: crate::id::BootId, local: &LocalNode) -> bool {
    let reset = local.after_reset && local.bound == run.counter;
    run.is_some() && (boot != run.boot || local.gone_through >= run.counter && local.disks_qualify || reset)
}

/// The incarnation of a node whose death is not told yet, as far as memory and reports know; zero: none.
fn known(cold: &Cold, next: &State, node: NodeId) -> Incarnation {
    let row = next.node(node);
    if row.may_write() {
        return row.incarnation;
    }
    let up = cold.up[node.index()];
    if up == row.dead || cold.calls_dead(node, up) { 0 } else { up }
}

/// This incarnation is a member again. One before it that was never told to be down is proven to be by it.
fn adopt(next: &mut State, node: NodeId, host: HostId, known: Incarnation, incarnation: Incarnation, run: Run) {
    if known != incarnation {
        bury(next, node, host, known);
    }
    log::info!("{node} incarnation {incarnation:x} keeps running");
    next.raise(node, host, incarnation, run);
}

/// Nothing of this incarnation runs any more, says its guard.
fn bury(next: &mut State, node: NodeId, host: HostId, incarnation: Incarnation) {
    if incarnation == 0 {
        return;
    }
    if !next.node(node).may_write() {
        next.recall(node, host, incarnation);
    }
    let version = next.version;
    next.confirm(Target::Node(node), Reason::ColdStart, &Evidence::by_itself(Class::VmGone), version);
}

/// Whether a cold start leaves this session alone: it serves our cluster incarnation, or none yet, or it was adopted.
#[must_use]
pub fn may_serve(view: &State, node: NodeId, incarnation: Incarnation, served: Cluster) -> bool {
    let row = view.node(node);
    let adopted = row.may_write() && row.incarnation == incarnation;
    view.stage == Stage::Collecting || !served.is_some() || !served.differs(view.cluster) || adopted
}
