//! All events of a run, in the order in which they were seen.
//!
//! Owns the list, and the waiting for something to appear in it. Whoever records also prints, if the timeline is live.

use crate::event::{Event, Kind, Who};
use crate::{stop, timeline};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A place in the journal.
pub type Place = usize;

/// The list of events.
pub struct Journal {
    start: Instant,
    live: bool,
    events: Mutex<Vec<Event>>,
    grown: Condvar,
}

impl Journal {
    /// An empty journal whose time begins now; `live`: print every event as it comes.
    #[must_use]
    pub fn new(live: bool) -> Self {
        Self { start: Instant::now(), live, events: Mutex::new(Vec::new()), grown: Condvar::new() }
    }

    /// The time since the run began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Appends an event.
    pub fn record(&self, event: Event) {
        if self.live {
            timeline::print(&event);
        }
        self.lock().push(event);
        self.grown.notify_all();
    }

    /// Appends what the runner has to say.
    pub fn note(&self, text: &str) {
        self.record(Event::new(self.now(), Who::Runner, Kind::Note, text));
    }

    /// Appends what the runner just did to the cluster; returns when.
    pub fn inject(&self, text: &str) -> Duration {
        let at = self.now();
        self.record(Event::new(at, Who::Runner, Kind::Injected, text));
        at
    }

    /// The place after the newest event.
    #[must_use]
    pub fn place(&self) -> Place {
        self.lock().len()
    }

    /// All events from a place on.
    #[must_use]
    pub fn since(&self, place: Place) -> Vec<Event> {
        self.lock().get(place..).unwrap_or(&[]).to_vec()
    }

    /// The first event from a place on that fits, if it is there already.
    #[must_use]
    pub fn find(&self, place: Place, fits: impl Fn(&Event) -> bool) -> Option<Event> {
        self.lock().get(place..)?.iter().find(|event| fits(event)).cloned()
    }

    /// Waits for the first event from a place on that fits.
    ///
    /// # Errors
    /// A sentence: nothing came in time, or a person ended the run.
    pub fn wait(
        &self,
        place: Place,
        limit: Duration,
        what: &str,
        fits: impl Fn(&Event) -> bool,
    ) -> Result<Event, String> {
        let end = Instant::now() + limit;
        let mut events = self.lock();
        let mut seen = place;
        loop {
            if let Some(event) = events.get(seen..).and_then(|new| new.iter().find(|event| fits(event))) {
                return Ok(event.clone());
            }
            seen = events.len().max(place);
            if stop::wanted() {
                return Err(stop::SENTENCE.to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("{what} did not happen within {} ms", limit.as_millis()));
            }
            let step = left.min(Duration::from_millis(100));
            events = self.grown.wait_timeout(events, step).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_wait_sees_what_was_there_and_what_comes_but_nothing_before_its_place() {
        let journal = Arc::new(Journal::new(false));
        journal.note("old");
        let place = journal.place();
        let is = |text: &'static str| move |event: &Event| event.text == text;
        let short = Duration::from_millis(20);
        assert!(journal.wait(place, short, "the old one", is("old")).is_err());
        let other = Arc::clone(&journal);
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            other.note("new");
        });
        assert!(journal.wait(place, Duration::from_secs(5), "the new one", is("new")).is_ok());
        writer.join().unwrap();
        assert!(journal.find(0, is("old")).is_some());
    }
}
