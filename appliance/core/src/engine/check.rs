//! The inner invariants of one appliance: whatever came in, these hold between two events.
//!
//! Owns the list and changes nothing. The simulator and the fuzz tests ask after every step; it costs a few comparisons.
//! What is wrong here is a mistake of ours, so it panics with a sentence. The invariants that people rely on (S1 to L3)
//! are not here: checkers outside know the truth.

use super::Engine;
use crate::agreement::election::Phase;
use crate::id::Ballot;

impl Engine {
    /// # Panics
    /// When one of them is broken.
    pub fn check(&self) {
        let (acceptor, proposer) = (&self.acceptor, &self.proposer);
        assert!(acceptor.promised >= acceptor.slot.ballot, "what was accepted was promised (SAFETY A3)");
        assert!(acceptor.encoded.content.version == acceptor.slot.version, "the bytes are those of what was accepted");
        assert!(acceptor.committed_slot <= acceptor.slot, "what is committed was accepted");
        assert!(acceptor.committed.version <= acceptor.accepted.version, "committed is never ahead of accepted");
        assert!(acceptor.memory || acceptor.slot.version == 0, "who accepted something has memory (SAFETY B1)");
        assert!(self.admitted_at.is_none() || acceptor.memory, "who was admitted has memory (SAFETY B1)");
        if proposer.leads() {
            assert!(proposer.ballot.host == self.me, "a leader's ballot is its own");
            assert!(
                proposer.ballot == acceptor.promised,
                "a leader has promised its own ballot and none above (SAFETY A2)"
            );
            assert!(self.follower.leader == Ballot::NONE, "a leader follows nobody");
            assert!(self.election.phase == Phase::Idle, "a leader stands for nothing");
            assert!(acceptor.slot.ballot == proposer.ballot, "a leader accepted what it proposes");
            let own = acceptor.committed_slot.ballot == proposer.ballot;
            assert!(own == proposer.established, "established is who committed under its own ballot (SAFETY A3)");
            let open = acceptor.committed_slot != acceptor.slot;
            assert!(open == proposer.in_flight, "what a leader accepted and did not commit is under way");
        } else {
            assert!(!proposer.established && !proposer.in_flight, "only a leader has proposals");
        }
        assert!(
            self.follower.leader <= acceptor.promised || self.follower.leader.host != self.me,
            "nobody follows itself"
        );
        assert!(!self.restart || self.condemned, "only who is condemned restarts by itself (SAFETY F5)");
    }

    /// The same for what is too large to be looked at between every two events.
    ///
    /// # Panics
    /// When it is broken.
    pub fn check_thoroughly(&self) {
        assert!(self.messaging.senders.is_sound(), "each message that was accepted has one place (SAFETY I2)");
        assert!(self.acceptor.is_sound(), "a digest is that of its bytes (SAFETY A5), and a look changes nothing");
    }
}
