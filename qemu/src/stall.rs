//! How long this machine keeps a ready thread waiting: before a run to choose its timing, and during it to explain.
//!
//! Owns the measurement and the factor that follows from it. Must never hide a stall: what is scaled is said.

use palisade_core::config::Timing;
use palisade_core::limits::STALL_HEARTBEATS;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The factors by which all times may be scaled.
pub const FACTORS: [u32; 3] = [1, 2, 4];
/// One nap; what it takes longer is a stall.
const NAP: Duration = Duration::from_millis(1);
/// The nap during a run: less often, since it shares the processors with the VMs.
const QUIET_NAP: Duration = Duration::from_millis(5);

/// The longest stall that the timing tolerates: half of the pause that makes a leader distrust itself.
#[must_use]
pub fn tolerated(timing: &Timing) -> Duration {
    Duration::from_millis(u64::from(timing.heartbeat_ms * STALL_HEARTBEATS) / 2)
}

/// Measures for so long, one thread on each processor. The worst stall.
#[must_use]
pub fn measure(time: Duration) -> Duration {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let naps = || {
        let end = Instant::now() + time;
        let mut worst = Duration::ZERO;
        while Instant::now() < end {
            worst = worst.max(nap(NAP));
        }
        worst
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(naps)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).max().unwrap_or_default()
    })
}

/// The smallest factor under which this stall is tolerated; the largest, if none is.
#[must_use]
pub fn factor(worst: Duration) -> u32 {
    let tolerated = tolerated(&Timing::DEFAULT);
    FACTORS.into_iter().find(|factor| worst <= tolerated * *factor).unwrap_or(FACTORS[FACTORS.len() - 1])
}

fn nap(time: Duration) -> Duration {
    let start = Instant::now();
    std::thread::sleep(time);
    start.elapsed().saturating_sub(time)
}

/// Watches for stalls during a run; ends with this value.
pub struct Watch {
    worst_us: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to watch.
    ///
    /// # Errors
    /// The thread cannot start.
    pub fn start() -> std::io::Result<Self> {
        let (worst_us, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (worst, flag) = (Arc::clone(&worst_us), Arc::clone(&end));
        let thread = std::thread::Builder::new().name("stalls".into()).spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let stall = u64::try_from(nap(QUIET_NAP).as_micros()).unwrap_or(u64::MAX);
                worst.fetch_max(stall, Ordering::Relaxed);
            }
        })?;
        Ok(Self { worst_us, end, thread: Some(thread) })
    }

    /// The worst stall since this was asked last.
    #[must_use]
    pub fn take(&self) -> Duration {
        Duration::from_micros(self.worst_us.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_grows_with_the_stall_and_stops() {
        assert_eq!(factor(Duration::from_millis(1)), 1);
        assert_eq!(factor(Duration::from_millis(200)), 2);
        assert_eq!(factor(Duration::from_millis(500)), 4);
        assert_eq!(factor(Duration::from_secs(60)), 4);
    }

    #[test]
    fn a_watch_sees_that_time_passes() {
        let watch = Watch::start().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(watch.take() > Duration::ZERO);
        assert!(measure(Duration::from_millis(20)) < Duration::from_secs(20));
    }
}
