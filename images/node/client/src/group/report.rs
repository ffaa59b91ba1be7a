//! What this node says of its volumes and services after a cold start (SAFETY B4).
//!
//! Owns the making of REPORT_GROUP and REPORT_SERVICE. Whatever may be on a volume is told, also while it is being closed;
//! what failed is not.

use palisade_core::id::{Label, NodeId};
use palisade_core::limits::FRAME_PAYLOAD_MAX;
use palisade_core::wire::node::{
    Account, Fate, Given, ServiceTale, StartNode, TOLD_ENTRIES, VolumeState, VolumeTale, What,
};

use super::Groups;
use super::member::{Member, Phase};

impl Groups {
    /// Of how many volumes and services there is something to say.
    #[must_use]
    pub fn tells(&self) -> (u8, u8) {
        let count = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        (count(self.open().count()), count(self.services().count()))
    }

    /// What there is to say, each with its payload.
    #[must_use]
    pub fn accounts(&self, node: NodeId) -> Vec<(Account, Vec<u8>)> {
        let volumes = (0u8..).zip(self.open()).flat_map(|(which, member)| member.account(node, which));
        let services = (0u8..)
            .zip(self.services())
            .map(|(which, (given, taken))| (Account::Service(ServiceTale { which, given, taken }), Vec::new()));
        volumes.chain(services).collect()
    }

    fn open(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.phase != Phase::Closed)
    }

    /// What was given to this node and did not fail. A recovery that is done, and that the last START does not ask for, is
    /// over; one that is not was given with a START that may not have come yet.
    fn services(&self) -> impl Iterator<Item = (Given, bool)> {
        let asks = |given: &Given| match given.what {
            What::Named(_) => true,
            What::Recovery(volume) => self.open().any(|member| {
                let dead = StartNode { node: given.dead, fate: Fate::Dead, incarnation: given.incarnation };
                member.volume == volume && member.known.contains(&dead)
            }),
        };
        self.takeovers.reported().filter(move |(given, taken)| !taken || asks(given))
    }
}

impl Member {
    fn account(&self, node: NodeId, which: u8) -> Vec<(Account, Vec<u8>)> {
        let state = match self.phase {
            _ if self.known.is_empty() => VolumeState::Joined,
            Phase::Running => VolumeState::Started,
            Phase::Stopped | Phase::Joining | Phase::Closed => VolumeState::Stopped,
        };
        let parts: Vec<&[StartNode]> =
            if self.known.is_empty() { vec![&[]] } else { self.known.chunks(TOLD_ENTRIES).collect() };
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        let tales = (0u16..).zip(parts).map(|(part, entries)| {
            let mut buffer = [0; FRAME_PAYLOAD_MAX];
            let length = VolumeTale::emit_payload(&mut buffer, (self.generation, self.started), entries);
            let tale = VolumeTale {
                node,
                which,
                state,
                // A recovery takes this program no time.
                recovered: state == VolumeState::Started,
                part,
                parts: count,
                cluster: Label::NONE,
                volume: self.volume,
            };
            (Account::Volume(tale), buffer[..length].to_vec())
        });
        tales.collect()
    }
}
