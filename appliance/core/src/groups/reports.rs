//! What the leader was told about groups: the newest report of each node about each volume, and since when a step lasts.
//!
//! Owns the leader's table. Everything in it is a level that its appliance repeats until the view reflects it, so a new
//! leader begins with nothing, and a full table is emptied.

use crate::id::{HostId, Incarnation, NodeId, Volume};
use crate::limits::{GROUPS_MAX, ID_SLOTS, MEMBERSHIPS_MAX};
use crate::state::State;
use crate::state::groups::{GroupNumber, Phase};
use crate::time::Instant;
use crate::wire::message::{GroupReport, Wish};
use crate::wire::node::NodeState;
use heapless::Vec;

/// A step of a group, and since when this leader waits for it.
#[derive(Clone, Copy, Debug)]
struct Step {
    generation: u64,
    phase: Phase,
    since: Instant,
    /// Whether somebody's recovery is open, and since when none is.
    recovers: bool,
    clear: Instant,
}

impl Step {
    const NONE: Self = Self::begun(0, Phase::Idle, Instant::ZERO);

    const fn begun(generation: u64, phase: Phase, since: Instant) -> Self {
        Self { generation, phase, since, recovers: false, clear: since }
    }
}

/// A node's newest report about a volume.
#[derive(Clone, Copy, Debug)]
struct Known {
    report: GroupReport,
    /// Whose count its number is of.
    appliance: Incarnation,
    /// When its wish to join was granted, if this leader saw that.
    granted: Instant,
}

/// The leader's table, sorted by node and volume.
#[derive(Debug)]
pub struct Reports {
    table: Vec<Known, MEMBERSHIPS_MAX>,
    /// By host: its appliance, and the number of its newest report.
    numbers: [(Incarnation, u32); ID_SLOTS],
    steps: [Step; GROUPS_MAX],
    /// The version of the view in which nothing was left to do; zero: there may be something.
    settled: u64,
}

impl Reports {
    /// Told nothing; all zero.
    pub const EMPTY: Self =
        Self { table: Vec::new(), numbers: [(0, 0); ID_SLOTS], steps: [Step::NONE; GROUPS_MAX], settled: 0 };

    /// Begins to lead.
    pub fn begin(&mut self, now: Instant) {
        self.table.clear();
        self.numbers.fill((0, 0));
        self.steps.fill(Step::begun(0, Phase::Idle, now));
        self.settled = 0;
    }

    /// It was we who were deaf: every step's time counts anew.
    pub fn forgive(&mut self, now: Instant) {
        for step in &mut self.steps {
            step.since = step.since.max(now);
            step.clear = step.clear.max(now);
        }
    }

    /// Takes a report. Whether it says anything new. One that was overtaken by a newer one of the same node and volume says
    /// nothing; one that others overtook may be all that is ever heard of its node, where many are sent at once. If nothing is
    /// known of that node, it may be forgotten because its wish was granted: then only its answers count, which name a
    /// generation.
    pub fn take(&mut self, from: HostId, appliance: Incarnation, report: &GroupReport) -> bool {
        let last = &mut self.numbers[from.index()];
        let overtaken = last.0 == appliance && last.1 >= report.number;
        if !overtaken {
            *last = (appliance, report.number);
        }
        let answers = GroupReport { wish: Wish::None, ..*report };
        match self.find(report.node, report.volume) {
            Ok(at) => {
                let Known { report: known, appliance: teller, .. } = &mut self.table[at];
                let comparable = *teller == appliance && known.incarnation == report.incarnation;
                if comparable && known.number >= report.number {
                    return false;
                }
                let report = if overtaken && !comparable { answers } else { *report };
                let same = GroupReport { number: known.number, ..report } == *known;
                (*known, *teller) = (report, appliance);
                if same {
                    return false;
                }
            }
            Err(at) => {
                let report = if overtaken { answers } else { *report };
                let _fits = self.table.insert(at, Known { report, appliance, granted: Instant::ZERO });
            }
        }
        self.settled = 0;
        true
    }

    /// Where the report of this node about this volume stands, or would.
    fn find(&mut self, node: NodeId, volume: Volume) -> Result<usize, usize> {
        if self.table.is_full() {
            self.table.clear();
        }
        place(&self.table, node, volume)
    }

    /// What this incarnation said about this volume.
    #[must_use]
    pub fn of(&self, node: NodeId, incarnation: Incarnation, volume: Volume) -> Option<&GroupReport> {
        let at = place(&self.table, node, volume).ok()?;
        self.table.get(at).map(|known| &known.report).filter(|report| report.incarnation == incarnation)
    }

    /// When the wish of this node to join was granted; the origin, if this leader did not see that.
    #[must_use]
    pub fn granted(&self, node: NodeId, volume: Volume) -> Instant {
        let at = place(&self.table, node, volume).ok();
        at.and_then(|at| self.table.get(at)).map_or(Instant::ZERO, |known| known.granted)
    }

    /// Who wants to be a member of something, or none any more.
    pub fn wishes(&self) -> impl Iterator<Item = &GroupReport> {
        self.table.iter().map(|known| &known.report).filter(|report| report.wish != Wish::None)
    }

    /// Since when this leader waits for the group's present step.
    #[must_use]
    pub fn since(&self, group: GroupNumber) -> Instant {
        self.step(group).since
    }

    /// Since when no recovery of this group is open in that step.
    #[must_use]
    pub fn clear_since(&self, group: GroupNumber) -> Instant {
        self.step(group).clear
    }

    fn step(&self, group: GroupNumber) -> &Step {
        usize::from(group).checked_sub(1).and_then(|place| self.steps.get(place)).unwrap_or(&Step::NONE)
    }

    /// A view was committed: steps begin, wishes are granted, and what is over is forgotten.
    pub fn committed(&mut self, now: Instant, view: &State) {
        for (number, step) in (1u8..).zip(&mut self.steps) {
            let row = view.groups.get(number);
            if (step.generation, step.phase) != (row.generation, row.phase) {
                *step = Step::begun(row.generation, row.phase, now);
            }
            let recovers = view.groups.has_dead(number);
            if step.recovers && !recovers {
                step.clear = now;
            }
            step.recovers = recovers;
        }
        self.settled = 0;
        self.table.retain_mut(|Known { report, granted, .. }| {
            let row = view.node(report.node);
            let group = view.groups.of(report.volume);
            let standing = group.and_then(|group| view.groups.standing(group, report.node));
            let stands = standing.is_some_and(|standing| standing.incarnation == report.incarnation);
            if report.wish == if stands { Wish::Join } else { Wish::Leave } {
                report.wish = Wish::None;
                *granted = now;
            }
            let lives = row.state == NodeState::Up && row.incarnation == report.incarnation;
            lives && (stands || report.wish == Wish::Join)
        });
    }

    /// Whether nothing can have become due since the last look, if the view itself is the same.
    #[must_use]
    pub const fn is_settled(&self, version: u64) -> bool {
        self.settled == version
    }

    /// The last look at this view found nothing to do.
    pub fn settle(&mut self, view: &State) {
        if !view.groups.is_open() && self.wishes().next().is_none() {
            self.settled = view.version;
        }
    }
}

/// Where a report stands in a table that is sorted by node and volume, or would.
fn place(table: &[Known], node: NodeId, volume: Volume) -> Result<usize, usize> {
    table.binary_search_by_key(&(node, volume), |known| (known.report.node, known.report.volume))
}
