//! An appliance's own nodes and what they were given: what they said about it, and what the leader is to be told.
//!
//! Owns the words of local owners. Decides nothing: what an owner is told follows from the committed view alone, and is told
//! again until it answers.

use super::{given, service_of};
use crate::config::Config;
use crate::groups::desk::{Local, Pace};
use crate::limits::TAKEOVERS_MAX;
use crate::outbox::Outbox;
use crate::state::State;
use crate::state::takeovers::{Progress, TakeoverRow};
use crate::time::Instant;
use crate::wire::message::TakeoverReport;
use crate::wire::node::{Given, Message as Word, Takeover};
use heapless::Vec;

/// What local owners said.
#[derive(Debug)]
pub struct Desk {
    words: Vec<TakeoverReport, TAKEOVERS_MAX>,
    /// When owners are told again.
    pub orders: Pace,
    /// When the leader is told again.
    pub reports: Pace,
}

impl Desk {
    /// Nobody said anything; all zero.
    pub const EMPTY: Self = Self { words: Vec::new(), orders: Pace::NOW, reports: Pace::NOW };

    /// An owner said that it has it, or that it cannot. It counts if it is the owner, of that token.
    pub fn answer(&mut self, config: &Config, view: &State, local: &Local, said: &Given, taken: bool) {
        let Some(service) = service_of(config, view, said.what) else { return };
        let Some(row) = view.takeovers.get(service, said.dead) else { return };
        let owns = (row.owner, row.owner_incarnation) == (local.node, local.incarnation);
        if !owns || row.token != said.token || row.progress != Progress::Ordered {
            return;
        }
        let (node, incarnation) = (local.node, local.incarnation);
        let report = TakeoverReport { node, incarnation, service, dead: row.dead, token: row.token, taken };
        let known =
            self.words.iter().any(|word| (word.service, word.dead, word.token) == (service, row.dead, row.token));
        if !known && self.words.push(report).is_ok() {
            self.reports.hurry();
        }
    }

    fn word(&self, row: &TakeoverRow) -> Option<&TakeoverReport> {
        let about =
            |word: &&TakeoverReport| (word.service, word.dead, word.token) == (row.service, row.dead, row.token);
        self.words.iter().find(about)
    }

    /// A view was committed: words that it reflects are over.
    pub fn committed(&mut self, view: &State) {
        self.words.retain(|word| {
            let row = view.takeovers.get(word.service, word.dead);
            row.is_some_and(|row| row.token == word.token && row.progress == Progress::Ordered)
        });
        self.orders.hurry();
        self.reports.hurry();
    }

    /// Tells local owners what is theirs, where they did not answer yet.
    pub fn tell(&mut self, now: Instant, config: &Config, view: &State, locals: &[Local], outbox: &mut Outbox) {
        let mut again = false;
        for row in view.takeovers.rows().iter().filter(|row| row.progress == Progress::Ordered) {
            let owns = |local: &&Local| (local.node, local.incarnation) == (row.owner, row.owner_incarnation);
            if let Some(local) = locals.iter().find(owns)
                && self.word(row).is_none()
                && let Some(given) = given(config, view, row)
            {
                again = true;
                outbox.say(local.road, Word::Takeover(Takeover::Give(given)));
            }
        }
        self.orders.done(now, again);
    }

    /// Hands every word that the view does not reflect to `send`.
    pub fn report(&mut self, now: Instant, mut send: impl FnMut(TakeoverReport)) {
        self.words.iter().for_each(|word| send(*word));
        self.reports.done(now, !self.words.is_empty());
    }
}
