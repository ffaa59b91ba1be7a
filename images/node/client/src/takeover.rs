//! What was given to this node: services that it runs for others, and recoveries that it did or is to do.
//!
//! Owns the highest token of each (SAFETY I1). Decides nothing about volumes: whether a recovery can be done is its groups'.

use palisade_core::id::Volume;
use palisade_core::limits::TAKEOVERS_MAX;
use palisade_core::wire::node::{Given, What};

use crate::event::Event;

/// What was said about a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is here.
    Taken,
    /// It cannot be.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    New,
    Waits,
    Answered(Answer),
}

#[derive(Clone, Copy, Debug)]
struct Held {
    given: Given,
    progress: Progress,
}

/// All that was given.
#[derive(Debug, Default)]
pub struct Takeovers {
    held: Vec<Held>,
}

impl Takeovers {
    /// Takes note of a token. False: it is below one that was seen, or there is no room.
    pub fn on_give(&mut self, given: Given) -> bool {
        if let Some(held) = self.held.iter_mut().find(|held| is_same(&held.given, &given)) {
            if given.token > held.given.token {
                *held = Held { given, progress: Progress::New };
            }
            return given == held.given;
        }
        if self.held.len() >= TAKEOVERS_MAX && !self.forget_one() {
            return false;
        }
        self.held.push(Held { given, progress: Progress::New });
        true
    }

    /// Whether nothing was told about it yet.
    #[must_use]
    pub fn is_new(&self, given: &Given) -> bool {
        self.held.iter().any(|held| held.given == *given && held.progress == Progress::New)
    }

    /// It cannot be answered now.
    pub fn wait(&mut self, given: &Given) {
        if let Some(held) = self.held.iter_mut().find(|held| held.given == *given && held.progress == Progress::New) {
            held.progress = Progress::Waits;
        }
    }

    /// It is answered. Whether that is news.
    pub fn answered(&mut self, given: &Given, answer: Answer) -> bool {
        let answered = Progress::Answered(answer);
        self.held
            .iter_mut()
            .find(|held| held.given == *given)
            .is_some_and(|held| std::mem::replace(&mut held.progress, answered) != answered)
    }

    /// The recoveries of this volume that wait.
    #[must_use]
    pub fn waiting(&self, volume: Volume) -> Vec<Given> {
        let waits = |held: &&Held| held.progress == Progress::Waits && held.given.what == What::Recovery(volume);
        self.held.iter().filter(waits).map(|held| held.given).collect()
    }

    /// The highest token.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.held.iter().map(|held| held.given.token).max().unwrap_or(0)
    }

    /// All that was given and did not fail, and whether it was taken.
    pub fn reported(&self) -> impl Iterator<Item = (Given, bool)> {
        let held = self.held.iter().filter(|held| held.progress != Progress::Answered(Answer::Failed));
        held.map(|held| (held.given, held.progress == Progress::Answered(Answer::Taken)))
    }

    /// Whether a named service runs here.
    #[must_use]
    pub fn owns_service(&self) -> bool {
        self.services().next().is_some()
    }

    /// A line for each named service.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.services().map(|held| Event::Taken(held.given).to_string().replacen("TAKEN", "SERVICE", 1))
    }

    fn services(&self) -> impl Iterator<Item = &Held> {
        let taken = Progress::Answered(Answer::Taken);
        self.held.iter().filter(move |held| matches!(held.given.what, What::Named(_)) && held.progress == taken)
    }

    /// Forgets the oldest recovery that is over, to make room: nobody asks again for what the view does not hold any more.
    fn forget_one(&mut self) -> bool {
        let is_over = |held: &Held| {
            matches!(held.given.what, What::Recovery(_)) && matches!(held.progress, Progress::Answered(_))
        };
        let oldest = self.held.iter().position(is_over);
        oldest.map(|at| self.held.remove(at)).is_some()
    }
}

/// Whether both are about one thing: a service has one owner whoever had it before; a recovery is of one dead incarnation.
fn is_same(one: &Given, other: &Given) -> bool {
    let service = matches!(one.what, What::Named(_));
    one.what == other.what && (service || (one.dead, one.incarnation) == (other.dead, other.incarnation))
}
