//! The lease of all node VMs of this host: until when they may live without word from an admitted appliance.
//!
//! Owns its end. Pure: time is an argument. It counts on the host's clock from a stamp that this host issued, so neither
//! a paused appliance nor a slow road can lengthen it (SAFETY C3); it must never move back, and never past the
//! configured length.

/// The lease, on the host's clock in microseconds.
#[derive(Debug)]
pub struct Lease {
    /// The longest that the configuration allows, ms.
    longest_ms: u32,
    /// The newest stamp that was issued; later ones are inventions.
    issued_us: u64,
    /// When it ends; `None` while no lease was ever received, or the last one has ended and its nodes were killed.
    end_us: Option<u64>,
}

/// What became of a LEASE message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// There was none in force, and now there is.
    Began,
    /// It goes on.
    Renewed,
    /// The stamp is none that this guard could have issued.
    NotIssued,
    /// It ended before it arrived.
    TooLate,
}

impl Lease {
    /// No lease yet.
    #[must_use]
    pub const fn new(longest_ms: u32) -> Self {
        Self { longest_ms, issued_us: 0, end_us: None }
    }

    /// A stamp goes out.
    pub const fn on_stamp(&mut self, clock_us: u64) {
        self.issued_us = clock_us;
    }

    /// A LEASE came in.
    pub fn handle(&mut self, now_us: u64, clock_us: u64, lease_ms: u32) -> Renewal {
        if clock_us == 0 || clock_us > self.issued_us {
            return Renewal::NotIssued;
        }
        let end_us = clock_us.saturating_add(u64::from(lease_ms.min(self.longest_ms)) * 1000);
        match self.end_us {
            // What has ended is judged by `poll_end` first, whatever arrives meanwhile.
            Some(present_us) if now_us < present_us => {
                self.end_us = Some(present_us.max(end_us));
                Renewal::Renewed
            }
            _ if end_us <= now_us => Renewal::TooLate,
            Some(_) => {
                self.end_us = Some(end_us);
                Renewal::Renewed
            }
            None => {
                self.end_us = Some(end_us);
                Renewal::Began
            }
        }
    }

    /// Whether nodes may live, and be started, now.
    #[must_use]
    pub fn in_force(&self, now_us: u64) -> bool {
        self.end_us.is_some_and(|end_us| now_us < end_us)
    }

    /// When `poll_end` is to be asked.
    #[must_use]
    pub const fn deadline_us(&self) -> Option<u64> {
        self.end_us
    }

    /// Whether the lease has ended; says so once. Then every node VM must go.
    pub fn poll_end(&mut self, now_us: u64) -> bool {
        let ended = self.end_us.is_some_and(|end_us| end_us <= now_us);
        if ended {
            self.end_us = None;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn stamped(at_us: u64) -> Lease {
        let mut lease = Lease::new(6000);
        lease.on_stamp(at_us);
        lease
    }

    #[test]
    fn counts_from_the_stamp_and_not_from_the_arrival() {
        let mut lease = stamped(10 * S);
        assert_eq!(lease.handle(12 * S, 10 * S, 6000), Renewal::Began);
        assert!(lease.in_force(16 * S - 1) && !lease.in_force(16 * S));
        assert!(!lease.poll_end(16 * S - 1));
        assert!(lease.poll_end(16 * S) && !lease.poll_end(17 * S), "an end is said once");
    }

    #[test]
    fn never_moves_back_and_never_past_its_length() {
        let mut lease = stamped(10 * S);
        lease.handle(10 * S, 10 * S, 6000);
        assert_eq!(lease.handle(11 * S, 9 * S, 6000), Renewal::Renewed);
        assert_eq!(lease.deadline_us(), Some(16 * S));
        assert_eq!(lease.handle(11 * S, 10 * S, u32::MAX), Renewal::Renewed);
        assert_eq!(lease.deadline_us(), Some(16 * S));
    }

    #[test]
    fn a_stamp_from_the_future_or_from_nobody_counts_for_nothing() {
        let mut lease = stamped(10 * S);
        assert_eq!(lease.handle(10 * S, 10 * S + 1, 6000), Renewal::NotIssued);
        assert_eq!(lease.handle(10 * S, 0, 6000), Renewal::NotIssued);
        assert_eq!(Lease::new(6000).handle(10 * S, S, 6000), Renewal::NotIssued);
        assert_eq!(lease.deadline_us(), None);
    }

    #[test]
    fn a_late_lease_does_not_revive_and_a_fresh_one_does() {
        let mut lease = stamped(10 * S);
        assert_eq!(lease.handle(17 * S, 10 * S, 6000), Renewal::TooLate);
        assert!(!lease.poll_end(17 * S), "nothing was in force, so nothing ended");
        lease.on_stamp(18 * S);
        assert_eq!(lease.handle(18 * S, 18 * S, 6000), Renewal::Began);
    }

    #[test]
    fn the_end_of_a_lease_wins_over_an_old_renewal_that_is_read_late() {
        let mut lease = stamped(12 * S);
        lease.handle(10 * S, 10 * S, 6000);
        assert_eq!(lease.handle(18 * S, 12 * S, 6000), Renewal::TooLate);
        assert!(lease.poll_end(18 * S));
    }
}
