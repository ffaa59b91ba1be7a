//! What the leader was told about cuts: the newest word of each node.
//!
//! Owns the leader's table. A word counts only as long as it is fresh: it echoes a stamp of our own clock, not older than half of
//! the silence that accuses, and not from before we were deaf (SAFETY A8). So nothing is decided on what may be over by
//! now, and a new leader begins with nothing. Where no node speaks of a cut it costs a comparison.

use crate::id::{Incarnation, NodeId};
use crate::limits::ID_SLOTS;
use crate::time::{Duration, Instant};
use crate::wire::message::{CutReport, Cuts};

/// The newest word of a node.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    appliance: Incarnation,
    number: u32,
    incarnation: Incarnation,
    stamp: Instant,
    /// The view that its appliance judged by.
    pub version: u64,
    /// What it says.
    pub cuts: Cuts,
}

impl Known {
    const NONE: Self =
        Self { appliance: 0, number: 0, incarnation: 0, stamp: Instant::ZERO, version: 0, cuts: Cuts::NONE };
}

/// The leader's table.
#[derive(Debug)]
pub struct Reports {
    known: [Known; ID_SLOTS],
    /// The newest stamp of a word that speaks of a cut.
    newest: Instant,
    /// What echoes an older stamp counts for nothing.
    from: Instant,
}

impl Reports {
    /// Told nothing; all zero.
    pub const EMPTY: Self = Self { known: [Known::NONE; ID_SLOTS], newest: Instant::ZERO, from: Instant::ZERO };

    /// Begins to lead.
    pub fn begin(&mut self, now: Instant) {
        self.known.fill(Known::NONE);
        self.newest = Instant::ZERO;
        self.from = now;
    }

    /// It was we who were deaf: what was said before counts for nothing.
    pub const fn forgive(&mut self, now: Instant) {
        self.from = now;
    }

    /// Takes a word. Whether it says anything that the one before did not.
    pub fn take(&mut self, now: Instant, appliance: Incarnation, report: &CutReport) -> bool {
        let known = &mut self.known[report.node.index()];
        let same = known.appliance == appliance && known.incarnation == report.incarnation;
        let stamp = Instant::from_micros(report.stamp);
        if same && known.number >= report.number || stamp > now {
            return false;
        }
        let news = !same || known.cuts != report.cuts;
        *known = Known {
            appliance,
            number: report.number,
            incarnation: report.incarnation,
            stamp,
            version: report.version,
            cuts: report.cuts,
        };
        if !report.cuts.is_none() {
            self.newest = self.newest.max(stamp);
        }
        news
    }

    /// Whether nobody speaks of a cut.
    #[must_use]
    pub fn is_quiet(&self, now: Instant, fresh: Duration) -> bool {
        !self.is_fresh(now, self.newest, fresh)
    }

    /// The word of this incarnation, if it is fresh.
    #[must_use]
    pub fn of(&self, now: Instant, node: NodeId, incarnation: Incarnation, fresh: Duration) -> Option<&Known> {
        let known = &self.known[node.index()];
        (known.incarnation == incarnation && self.is_fresh(now, known.stamp, fresh)).then_some(known)
    }

    fn is_fresh(&self, now: Instant, stamp: Instant, fresh: Duration) -> bool {
        stamp != Instant::ZERO && stamp >= self.from && now.since(stamp) < fresh
    }
}
