//! Token buckets: how much of each class one session may ask for (DESIGN §1 rule 3).
//!
//! Owns the counts, and which class a frame belongs to. A bucket is one instant, the one at which it will be full again: so
//! it needs no timer, and starts full as all zeros. BEAT, LAST_GASP, BYE and what groups say are in no class: they are never
//! throttled. What is turned away was not accepted in any part, and its sender is told BUSY.

use crate::limits::{
    HELLO_BURST, HELLO_PER_S, MESSAGE_BURST, MESSAGES_PER_S, OPERATOR_BURST, OPERATOR_PER_S, QUERIES_PER_S,
    QUERY_BURST, REFUSAL_BURST, REFUSALS_PER_S, SESSIONS_MAX,
};
use crate::time::{Duration, Instant};
use crate::wire::node::{Mail, Message};

/// What a session asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// A session.
    Session,
    /// An answer that changes nothing: STATUS, ADDRESS.
    Query,
    /// An operator's request.
    Operator,
    /// A message for another node.
    Message,
    /// An ERROR: what a session did wrong. Never told more often than this.
    Refusal,
}

/// How many demands there are.
const DEMANDS: usize = 5;

impl Demand {
    /// What a frame asks for; `None`: nothing that is throttled.
    #[must_use]
    pub const fn of(message: &Message) -> Option<Self> {
        match message {
            Message::Hello { .. } => Some(Self::Session),
            Message::Status { .. } | Message::Mail(Mail::Address { .. }) => Some(Self::Query),
            Message::Fence { .. } | Message::Operate(_) => Some(Self::Operator),
            Message::Mail(Mail::Send { .. }) => Some(Self::Message),
            _ => None,
        }
    }

    /// How many in a second for ever, and how many at once after a rest.
    const fn rate(self) -> (u32, u32) {
        match self {
            Self::Session => (HELLO_PER_S, HELLO_BURST),
            Self::Query => (QUERIES_PER_S, QUERY_BURST),
            Self::Operator => (OPERATOR_PER_S, OPERATOR_BURST),
            Self::Message => (MESSAGES_PER_S, MESSAGE_BURST),
            Self::Refusal => (REFUSALS_PER_S, REFUSAL_BURST),
        }
    }
}

/// The buckets of all sessions. They outlive the session: whoever connects again does not get a full one.
#[derive(Debug)]
pub struct Throttle {
    full_at: [[Instant; DEMANDS]; SESSIONS_MAX],
}

impl Throttle {
    /// All full; all zero.
    pub const FULL: Self = Self { full_at: [[Instant::ZERO; DEMANDS]; SESSIONS_MAX] };

    /// Takes one token of a session's bucket. Whether there was one.
    pub fn take(&mut self, now: Instant, session: usize, demand: Demand) -> bool {
        let (per_second, burst) = demand.rate();
        let token = Duration::from_micros(1_000_000 / u64::from(per_second.max(1)));
        let full_at = &mut self.full_at[session.min(SESSIONS_MAX - 1)][demand as usize];
        let from = now.max(*full_at);
        if from.since(now) > token.times(u64::from(burst.max(1) - 1)) {
            return false;
        }
        *full_at = from + token;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(5_000_000 + micros)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut throttle = Throttle::FULL;
        let taken = (0..10_000).filter(|_| throttle.take(at(0), 3, Demand::Query)).count();
        assert_eq!(taken, usize::try_from(QUERY_BURST).unwrap_or(0));
        let taken = (1..=1_000_000).filter(|&us| throttle.take(at(us), 3, Demand::Query)).count();
        assert_eq!(taken, usize::try_from(QUERIES_PER_S).unwrap_or(0));
    }

    #[test]
    fn a_rest_gives_one_burst_and_no_more() {
        let mut throttle = Throttle::FULL;
        assert!(throttle.take(at(0), 0, Demand::Message));
        let taken = (0..10_000).filter(|_| throttle.take(at(3_600_000_000), 0, Demand::Message)).count();
        assert_eq!(taken, usize::try_from(MESSAGE_BURST).unwrap_or(0));
    }

    #[test]
    fn sessions_and_demands_do_not_share() {
        let mut throttle = Throttle::FULL;
        while throttle.take(at(0), 0, Demand::Message) {}
        assert!(throttle.take(at(0), 1, Demand::Message) && throttle.take(at(0), 0, Demand::Query));
    }

    #[test]
    fn what_keeps_a_node_alive_is_in_no_class() {
        use crate::wire::node::Gasp;
        for message in [Message::Beat { stamp: 1 }, Message::Bye, Message::LastGasp { reason: Gasp::Panic }] {
            assert_eq!(Demand::of(&message), None);
        }
    }
}
