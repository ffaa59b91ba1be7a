//! What a guest's kernel says of its volumes and services after a cold start.

use super::{Dlm, Mount, Phase, label};
use palisade_core::id::NodeId;
use palisade_core::limits::FRAME_PAYLOAD_MAX;
use palisade_core::wire::node::{
    Account, Fate, Given, Message, ServiceTale, StartNode, TOLD_ENTRIES, VolumeState, VolumeTale, What,
};

impl Dlm {
    /// Of how many volumes and services there is something to say.
    #[must_use]
    pub fn tells(&self) -> (u8, u8) {
        let count = |count: usize| u8::try_from(count).expect("few");
        (count(self.mounts.len()), count(self.reported().count()))
    }

    /// What there is to say, each with its payload.
    #[must_use]
    pub fn accounts(&self, node: u8) -> Vec<(Message, Vec<u8>)> {
        let mut accounts = Vec::new();
        for (which, (&volume, mount)) in (0u8..).zip(&self.mounts) {
            let cluster = self.clusters.get(&volume).copied().unwrap_or_default();
            let told = &mount.told;
            let parts: Vec<&[StartNode]> =
                if told.is_empty() { vec![&[]] } else { told.chunks(TOLD_ENTRIES).collect() };
            let count = u16::try_from(parts.len()).expect("few");
            for (part, entries) in (0u16..).zip(parts) {
                let mut buffer = [0; FRAME_PAYLOAD_MAX];
                let length = VolumeTale::emit_payload(&mut buffer, (mount.stopped, mount.started), entries);
                let tale = VolumeTale {
                    node: NodeId::new(node),
                    which,
                    state: mount.state(),
                    recovered: mount.recovered == mount.started && mount.running.is_some(),
                    part,
                    parts: count,
                    cluster,
                    volume: label(volume),
                };
                accounts.push((Message::Report(Account::Volume(tale)), buffer[..length].to_vec()));
            }
        }
        let services = (0u8..).zip(self.reported()).map(|(which, (given, taken))| {
            (Message::Report(Account::Service(ServiceTale { which, given, taken })), Vec::new())
        });
        accounts.extend(services);
        accounts
    }

    /// What was given to it and did not fail. A recovery that is done, and that the last START does not ask for, is over.
    fn reported(&self) -> impl Iterator<Item = (Given, bool)> {
        let asks = |given: &Given| match given.what {
            What::Named(_) => true,
            What::Recovery(volume) => self.mounts.get(&volume.0[0]).is_some_and(|mount| {
                mount.told.contains(&StartNode { node: given.dead, fate: Fate::Dead, incarnation: given.incarnation })
            }),
        };
        let works = self.works.iter().filter(|work| work.answer != Some(false));
        works.map(|work| (work.given, work.answer == Some(true))).filter(move |(given, taken)| !taken || asks(given))
    }
}

impl Mount {
    fn state(&self) -> VolumeState {
        match (self.phase, &self.running) {
            _ if self.told.is_empty() => VolumeState::Joined,
            (Phase::Joining, _) => VolumeState::Joined,
            (_, Some(_)) => VolumeState::Started,
            (_, None) => VolumeState::Stopped,
        }
    }
}
