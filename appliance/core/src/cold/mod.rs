//! Cold start: what living sessions report, and who is adopted for it.
//!
//! Owns the leader's side of the reports and the judgement of the two stages that follow a cold view; the view itself is an
//! election's outcome (`agreement::election`). What the members' sessions say is in `tales`, what the leader was told of
//! volumes in `volumes`, and what becomes of groups and services in `revive`. Knows of no clock and sends nothing. Rules:
//! SAFETY B3-B7; the argument is in docs/PROTOCOL.md.
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

mod revive;
mod tales;
mod volumes;

pub use tales::Tales;
use volumes::Volumes;

use crate::decide::{self, Facts};
use crate::fencing::Class;
use crate::groups;
use crate::id::{Cluster, HostId, Incarnation, NodeId, Run, WHOEVER};
use crate::limits::{COLD_FENCES_MAX, ID_SLOTS};
use crate::state::{Evidence, Stage, State};
use crate::status::{HostState, Reason};
use crate::time::{Duration, Instant};
use crate::wire::message::{Health, KNOWN_MAX, LocalNode, Report, ServicePage, VolumePage};
use crate::wire::node::{Fate as Told, NodeState, Target};

/// Deaths of one node number that a leader remembers from reports: the newest few; an older one cannot come back, because
/// each later run of a node began after the end of the one before was proven.
const DEATHS_MAX: usize = 4;
const _: () = assert!(ID_SLOTS.div_ceil(KNOWN_MAX) <= 16, "pages are bits of a u16");

/// What the leader knows of one session's report.
#[derive(Clone, Copy, Debug)]
struct Heard {
    from: HostId,
    incarnation: Incarnation,
    cluster: Cluster,
    pages: u8,
    got: u16,
    /// Of how many volumes and services it tells; `None`: it tells nothing of them.
    tells: Option<(u8, u8)>,
}

impl Heard {
    const NONE: Self =
        Self { from: HostId::NONE, incarnation: 0, cluster: Cluster::NONE, pages: 0, got: 0, tells: None };
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
    volumes: Volumes,
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
        volumes: Volumes::EMPTY,
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
        self.volumes.clear();
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
            let Report { incarnation, cluster, pages, tells, .. } = *report;
            *heard = Heard { from, incarnation, cluster, pages, got: 0, tells };
            self.volumes.forget(report.node, incarnation);
        }
        heard.tells = report.tells;
        let before = heard.got;
        heard.got |= 1 << (report.page % 16);
        let completes = before != heard.got && heard.got.count_ones() == u32::from(report.pages);
        for known in report.known.iter().filter(|known| known.node.is_some() && known.incarnation != 0) {
            if known.dead {
                mark_dead(&mut self.dead, known.node, known.incarnation);
            } else {
                self.up[known.node.index()] = known.incarnation;
            }
        }
        completes
    }

    /// A page about a volume came. Whether it says anything new. A death in a START is a death that was told.
    pub fn take_volume(&mut self, page: &VolumePage) -> bool {
        self.highest = self.highest.max(Cluster::number_of(page.stopped.max(page.started)));
        for told in page.told.iter().filter(|told| told.node.is_some() && told.fate == Told::Dead) {
            mark_dead(&mut self.dead, told.node, told.incarnation);
        }
        self.volumes.take(page)
    }

    /// A page about a service came. Whether it says anything new.
    pub fn take_service(&mut self, page: &ServicePage) -> bool {
        self.highest = self.highest.max(Cluster::number_of(page.given.token));
        self.volumes.take_claim(page)
    }

    /// Whether this incarnation told of its volumes and services: what it does not name it has not.
    fn tells(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let heard = &self.heard[node.index()];
        heard.incarnation == incarnation && heard.tells.is_some()
    }

    fn calls_dead(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.dead[node.index()].contains(&incarnation)
    }

    /// The complete report of this incarnation, from this host.
    fn report(&self, node: NodeId, from: HostId, incarnation: Incarnation) -> Option<&Heard> {
        let heard = &self.heard[node.index()];
        let told = heard.tells.is_none_or(|of| self.volumes.is_told(node, incarnation, of));
        let complete = heard.got.count_ones() == u32::from(heard.pages) && heard.pages != 0 && told;
        Some(heard).filter(|heard| complete && heard.from == from && heard.incarnation == incarnation)
    }
}

fn mark_dead(dead: &mut [[Incarnation; DEATHS_MAX]; ID_SLOTS], node: NodeId, incarnation: Incarnation) {
    let dead = &mut dead[node.index()];
    if !dead.contains(&incarnation) {
        dead.rotate_right(1);
        dead[0] = incarnation;
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
    revive::revive(facts, next);
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
    // Whom the newest cluster incarnation adopted may not have been told of it yet.
    let newest = facts.cold.newest.max(next.before);
    let kept = next.before == newest && row.state == NodeState::Up && row.incarnation == local.incarnation;
    let ours = !report.cluster.is_some() || report.cluster == newest || kept;
    // Whoever it was before is over only if what its host says proves that (SAFETY E5); of which run a report is, is not known.
    let before = known(facts.cold, next, id);
    let proven = if row.may_write() { is_over(row.run, boot, local) } else { local.disks_qualify };
    let alone = before == 0 || before == local.incarnation || proven;
    if condemned || dead || !ours || !alone {
        return Fate::Refused(local.incarnation, run);
    }
    Fate::Adopted(local.incarnation, run)
}

/// Whether an earlier incarnation, of that run, is proven gone by what its host says.
fn is_over(run: Run, boot: crate::id::BootId, local: &LocalNode) -> bool {
    let reset = local.after_reset && local.disks_qualify && local.bound == run.counter;
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
