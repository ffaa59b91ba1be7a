//! What the leader was told about takeovers: the last word of each owner about its token, and since when it waits for one.
//!
//! Owns the leader's table. Everything in it is repeated until the view reflects it, so a new leader begins with nothing.

use crate::id::NodeId;
use crate::limits::TAKEOVERS_MAX;
use crate::state::State;
use crate::state::takeovers::{Progress, Service, TakeoverRow};
use crate::time::Instant;
use crate::wire::message::TakeoverReport;
use heapless::Vec;

/// A row that this leader waits for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    service: Service,
    dead: NodeId,
    token: u64,
    progress: Progress,
    since: Instant,
    /// The owner's word; zero: none, 1: taken, 2: failed.
    word: u8,
}

/// The leader's table.
#[derive(Debug)]
pub struct Reports {
    waits: Vec<Wait, TAKEOVERS_MAX>,
    /// The version of the view in which nothing was left to do; zero: there may be something.
    settled: u64,
}

impl Reports {
    /// Told nothing; all zero.
    pub const EMPTY: Self = Self { waits: Vec::new(), settled: 0 };

    /// Begins to lead.
    pub fn begin(&mut self) {
        self.waits.clear();
        self.settled = 0;
    }

    /// It was we who were deaf: every wait counts anew.
    pub fn forgive(&mut self, now: Instant) {
        for wait in &mut self.waits {
            wait.since = wait.since.max(now);
        }
    }

    fn find(&self, row: &TakeoverRow) -> Option<&Wait> {
        let same = |wait: &&Wait| (wait.service, wait.dead, wait.token) == (row.service, row.dead, row.token);
        self.waits.iter().find(same)
    }

    /// Takes an owner's word. Whether it is news: about the present token of a row that waits for it.
    pub fn take(&mut self, report: &TakeoverReport) -> bool {
        let about = |wait: &&mut Wait| {
            (wait.service, wait.dead, wait.token) == (report.service, report.dead, report.token)
                && wait.progress == Progress::Ordered
        };
        let Some(wait) = self.waits.iter_mut().find(about) else { return false };
        let word = if report.taken { 1 } else { 2 };
        self.settled = 0;
        core::mem::replace(&mut wait.word, word) != word
    }

    /// What the owner of a row said; `None`: nothing yet.
    #[must_use]
    pub fn word(&self, row: &TakeoverRow) -> Option<bool> {
        self.find(row).filter(|wait| wait.word != 0).map(|wait| wait.word == 1)
    }

    /// Since when this leader waits for a row.
    #[must_use]
    pub fn since(&self, row: &TakeoverRow, now: Instant) -> Instant {
        self.find(row).map_or(now, |wait| wait.since)
    }

    /// A view was committed: waits begin and end.
    pub fn committed(&mut self, now: Instant, view: &State) {
        self.settled = 0;
        self.waits.retain(|wait| {
            let row = view.takeovers.get(wait.service, wait.dead);
            row.is_some_and(|row| (row.token, row.progress) == (wait.token, wait.progress))
        });
        for row in view.takeovers.rows() {
            if row.progress != Progress::Taken && self.find(row).is_none() {
                let (service, dead, token, progress) = (row.service, row.dead, row.token, row.progress);
                let _room = self.waits.push(Wait { service, dead, token, progress, since: now, word: 0 });
            }
        }
    }

    /// Whether nothing can have become due since the last look, if the view itself is the same.
    #[must_use]
    pub const fn is_settled(&self, version: u64) -> bool {
        self.settled == version
    }

    /// The last look at this view found nothing to do.
    pub fn settle(&mut self, view: &State) {
        if view.takeovers.rows().iter().all(|row| row.progress == Progress::Taken) {
            self.settled = view.version;
        }
    }
}
