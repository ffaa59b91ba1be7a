//! A clock of its own: it drifts, jumps forward, and stands still while its machine does.
//!
//! Owns the relation between true time and what one machine reads. A clock never goes back: the guard's is
//! `CLOCK_BOOTTIME`, the appliance's is a counter, a guest's is its monotonic clock.

use super::Micros;

/// One machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Parts per million by which it runs fast.
    drift: i64,
    /// At this true time ...
    since: Micros,
    /// ... it read this.
    read: u64,
    stands: bool,
}

const MILLION: u64 = 1_000_000;

impl Clock {
    /// A clock that reads `own` now.
    #[must_use]
    pub const fn new(now: Micros, own: u64, drift: i64) -> Self {
        Self { drift, since: now, read: own, stands: false }
    }

    /// The parts that pass on it in a million of true ones.
    fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(self.drift)
    }

    /// What it reads.
    #[must_use]
    pub fn at(&self, now: Micros) -> u64 {
        let passed = if self.stands { 0 } else { now.saturating_sub(self.since) };
        self.read + passed / MILLION * self.rate() + passed % MILLION * self.rate() / MILLION
    }

    /// The true time at which it will read `own`, if nothing happens to it; for one that stands, never.
    #[must_use]
    pub fn when(&self, own: u64) -> Option<Micros> {
        let left = own.saturating_sub(self.read);
        let (whole, part) = (left / self.rate(), left % self.rate());
        (!self.stands).then(|| self.since + whole * MILLION + (part * MILLION).div_ceil(self.rate()))
    }

    fn settle(&mut self, now: Micros) {
        self.read = self.at(now);
        self.since = now;
    }

    /// From now on it runs fast by so many parts per million.
    pub fn drifts(&mut self, now: Micros, drift: i64) {
        self.settle(now);
        self.drift = drift;
    }

    /// It stands still, or goes on.
    pub fn stand(&mut self, now: Micros, stands: bool) {
        self.settle(now);
        self.stands = stands;
    }

    /// It jumps forward.
    pub fn jump(&mut self, now: Micros, by: u64) {
        self.settle(now);
        self.read += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_will_read_is_what_it_reads_then() {
        for drift in [-1000, -1, 0, 7, 1000] {
            let clock = Clock::new(17, 1_000_000, drift);
            for own in [1_000_000, 1_000_001, 1_999_999, 2_000_000, 77_777_777] {
                let when = clock.when(own).expect("it runs");
                assert!(clock.at(when) >= own, "{drift} {own}");
                assert!(when == 17 || clock.at(when - 1) < own, "{drift} {own}");
            }
        }
    }

    #[test]
    fn a_clock_that_stands_reads_the_same_and_goes_on_from_there() {
        let mut clock = Clock::new(0, 0, 0);
        clock.stand(100, true);
        assert_eq!((clock.at(500), clock.when(200)), (100, None));
        clock.stand(500, false);
        assert_eq!((clock.at(600), clock.when(201)), (200, Some(601)));
        clock.jump(600, 1000);
        assert_eq!(clock.at(600), 1200);
    }
}
