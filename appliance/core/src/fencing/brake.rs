//! The brake: how many accusations by silence may be open at a time (SAFETY H1).
//!
//! Owns the count, and when the brake lets all go that still wait. A cut switch silences a whole rack, and a leader that hears
//! badly hears nobody: accused all at once, all are switched off. So they go in batches: the next ones when the ones before
//! are Confirmed, or all when a round trip to a quorum that began after `brake_ms` shows that it is not we who are deaf. The
//! brake delays and never drops: who waits is looked at again in each heartbeat.

use crate::config::Config;
use crate::state::State;
use crate::status::Reason;
use crate::time::{Duration, Instant};

/// Since when somebody waits.
#[derive(Debug)]
pub struct Brake {
    /// The origin: nobody does.
    since: Instant,
}

impl Brake {
    /// Nobody waits; all zero.
    pub const EMPTY: Self = Self { since: Instant::ZERO };

    /// A decision was looked for; `waits`: somebody is silent and was not accused for it.
    pub fn note(&mut self, now: Instant, waits: bool) {
        match (waits, self.since == Instant::ZERO) {
            (true, true) => {
                log::warn!("the brake holds accusations by silence back");
                self.since = now;
            }
            (false, false) => self.since = Instant::ZERO,
            _ => {}
        }
    }

    /// It was we who were deaf, or a lead begins: whoever waits, waits anew.
    pub const fn restart(&mut self) {
        self.since = Instant::ZERO;
    }

    /// Whether all may go. `echo`: the newest stamp of ours that a quorum echoed.
    #[must_use]
    pub fn releases(&self, config: &Config, echo: Instant) -> bool {
        let span = Duration::from_millis(u64::from(config.timing.brake_ms));
        self.since != Instant::ZERO && echo >= self.since + span
    }
}

/// How many accusations one decision may still add.
#[derive(Debug)]
pub struct Ration {
    left: usize,
    /// Somebody asked for more.
    pub waits: bool,
}

impl Ration {
    /// What is left of `fence_at_once_max` beside the records that are open for silence; all, if the brake is released.
    #[must_use]
    pub fn new(config: &Config, view: &State, released: bool) -> Self {
        let hosts = view.hosts().map(|(_, row)| row.record.reason);
        let nodes = view.nodes().map(|(_, row)| row.record.reason);
        let open = hosts.chain(nodes).filter(|&reason| matches!(reason, Reason::Silent | Reason::CutOff)).count();
        let most = usize::try_from(config.timing.fence_at_once_max).unwrap_or(usize::MAX);
        Self { left: if released { usize::MAX } else { most.saturating_sub(open) }, waits: false }
    }

    /// So many accusations that only make sense together: all of them, or none yet.
    pub fn take_side(&mut self, count: u32) -> bool {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let allowed = self.left >= count;
        self.waits |= !allowed;
        if allowed {
            self.left -= count;
        }
        allowed
    }

    /// One accusation more, if there is room.
    pub const fn take(&mut self) -> bool {
        let allowed = self.left > 0;
        self.waits |= !allowed;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn a_ration_ends_and_a_fresh_round_trip_releases_all() {
        let config = Box::new(Config::new());
        let mut ration = Ration::new(&config, &Box::new(State::EMPTY), false);
        assert!(ration.take() && ration.take() && ration.take() && !ration.waits);
        assert!(!ration.take() && ration.waits);
        let mut ration = Ration::new(&config, &Box::new(State::EMPTY), false);
        assert!(!ration.take_side(4) && ration.waits && ration.take_side(2) && !ration.take_side(2) && ration.take());
        assert!(Ration::new(&config, &Box::new(State::EMPTY), true).take_side(200));
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut brake = Brake::EMPTY;
        brake.note(at(1000), true);
        brake.note(at(2000), true);
        assert!(!brake.releases(&config, at(15_999)), "the stamp is older than brake_ms after the first that waited");
        assert!(brake.releases(&config, at(16_000)));
        brake.restart();
        assert!(!brake.releases(&config, at(16_000)));
    }
}
