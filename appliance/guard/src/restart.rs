//! When the appliance's VM, or the vsock process, is started again after it ended.
//!
//! Owns the pauses. Pure: time is an argument. The first restart is immediate, because a lone appliance's death must cost
//! less than `host_dead_ms`; a crash loop must not eat the host's processors.

use palisade_core::board::EXIT_REFUSED;

/// Pause before the second of two quick restarts, ms; doubles with each more.
const PAUSE_MS: u64 = 100;
/// The longest pause, ms: a host whose appliance can be brought back is not kept waiting longer than that.
const PAUSE_MAX_MS: u64 = 1000;
/// A process that lived so long was well, ms.
const WELL_MS: u64 = 10_000;
/// Pause after a refused configuration, ms. Only a person can help, but may do so at any time.
const REFUSED_MS: u64 = 5000;

/// The pauses of one process.
#[derive(Debug, Default)]
pub struct Restart {
    started_us: u64,
    quick_deaths: u32,
}

impl Restart {
    /// It was started.
    pub const fn on_start(&mut self, now_us: u64) {
        self.started_us = now_us;
    }

    /// It ended: how long to wait, ms.
    pub fn on_exit(&mut self, now_us: u64, status: i32) -> u64 {
        if now_us.saturating_sub(self.started_us) >= WELL_MS * 1000 {
            self.quick_deaths = 0;
        }
        let deaths = self.quick_deaths;
        self.quick_deaths = deaths.saturating_add(1);
        match deaths {
            _ if status == EXIT_REFUSED => REFUSED_MS,
            0 => 0,
            more => PAUSE_MAX_MS.min(PAUSE_MS << (more - 1).min(16)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_and_forgets_after_a_good_life() {
        let mut restart = Restart::default();
        restart.on_start(0);
        let pauses: Vec<u64> = (1..8).map(|at| restart.on_exit(at, 1)).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1000, 1000]);
        restart.on_start(100);
        assert_eq!(restart.on_exit(100 + WELL_MS * 1000, 1), 0);
    }

    #[test]
    fn a_refused_configuration_is_not_tried_in_a_loop() {
        assert_eq!(Restart::default().on_exit(5, EXIT_REFUSED), REFUSED_MS);
    }
}
