//! What the leader was told of volumes and services after a cold start.
//!
//! Owns the table: what each START said, how each volume is in each node, who has which service. There is one START for each
//! generation (SAFETY G1), so what several nodes tell of one adds up, and the latest that is known whole is enough: it tells
//! every fate that somebody may not have recovered from (G2). Judges nothing; what finds no room is remembered as lost, and
//! nobody is adopted whose words were.

use crate::id::{Incarnation, Label, NodeId, Volume};
use crate::limits::{GROUPS_MAX, ID_SLOTS, MEMBERSHIPS_MAX, TAKEOVERS_MAX};
use crate::wire::message::{ServicePage, VolumePage};
use crate::wire::node::{Given, StartNode, VolumeState};
use heapless::Vec;

/// STARTs that are told of at a time: a few for each volume, since one that is whole makes the earlier ones void.
const STARTS_MAX: usize = 4 * GROUPS_MAX;
/// Entries of them.
const ENTRIES_MAX: usize = 2 * MEMBERSHIPS_MAX;
/// Services and recoveries that somebody has.
const CLAIMS_MAX: usize = 2 * TAKEOVERS_MAX;

/// A START of a volume.
#[derive(Clone, Copy, Debug)]
struct Start {
    volume: Volume,
    generation: u64,
    total: u16,
}

/// An entry of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    volume: Volume,
    generation: u64,
    told: StartNode,
}

/// How a volume is in a node, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The volume.
    pub volume: Volume,
    /// The cluster, as in JOIN.
    pub cluster: Label,
    /// The node.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    state: VolumeState,
    recovered: bool,
    /// The generation of the last STOP.
    pub stopped: u64,
    /// The generation of the last START; 0: none.
    pub started: u64,
}

impl Own {
    /// Whether it was ever started: only then anything of it can be on the volume.
    #[must_use]
    pub fn ran(&self) -> bool {
        self.state != VolumeState::Joined
    }

    /// Whether it runs with this START and has recovered.
    #[must_use]
    pub fn rests(&self, generation: u64) -> bool {
        self.state == VolumeState::Started && self.recovered && self.started == generation && self.stopped <= generation
    }
}

/// Who has what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// As it was given.
    pub given: Given,
    /// It has it; otherwise it did not answer yet.
    pub taken: bool,
}

/// The table.
#[derive(Debug)]
pub struct Volumes {
    starts: Vec<Start, STARTS_MAX>,
    entries: Vec<Entry, ENTRIES_MAX>,
    own: Vec<Own, MEMBERSHIPS_MAX>,
    claims: Vec<Claim, CLAIMS_MAX>,
    /// Whose words found no room.
    lost: [bool; ID_SLOTS],
}

impl Volumes {
    /// Nobody told anything; all zero.
    pub const EMPTY: Self =
        Self { starts: Vec::new(), entries: Vec::new(), own: Vec::new(), claims: Vec::new(), lost: [false; ID_SLOTS] };

    /// Begins anew.
    pub fn clear(&mut self) {
        self.starts.clear();
        self.entries.clear();
        self.own.clear();
        self.claims.clear();
        self.lost.fill(false);
    }

    /// A node begins to report as this incarnation: what an earlier one said of itself is over. What it said of STARTs is true.
    pub fn forget(&mut self, node: NodeId, incarnation: Incarnation) {
        self.own.retain(|own| own.node != node || own.incarnation == incarnation);
        self.claims.retain(|claim| claim.node != node || claim.incarnation == incarnation);
    }

    /// Takes a page about a volume. Whether it says anything new.
    pub fn take(&mut self, page: &VolumePage) -> bool {
        let VolumePage { node, incarnation, cluster, volume, state, recovered, stopped, started, .. } = *page;
        let own = Own { volume, cluster, node, incarnation, state, recovered, stopped, started };
        let mut news = match self.own.iter_mut().find(|own| (own.node, own.volume) == (node, volume)) {
            Some(known) => core::mem::replace(known, own) != own,
            None => {
                self.lost[node.index()] |= self.own.push(own).is_err();
                true
            }
        };
        // Where this START or a later one is known whole, it says nothing that is not known.
        if own.ran() && self.best(volume).is_none_or(|best| best < started) {
            news |= self.take_start(page);
        }
        news
    }

    fn take_start(&mut self, page: &VolumePage) -> bool {
        let (volume, generation, total) = (page.volume, page.started, page.total);
        let same = |start: &Start| (start.volume, start.generation) == (volume, generation);
        let mut fits = self.starts.iter().any(same) || self.starts.push(Start { volume, generation, total }).is_ok();
        let mut news = false;
        for told in page.told.iter().filter(|told| told.node.is_some()) {
            let entry = Entry { volume, generation, told: *told };
            if !self.entries.contains(&entry) {
                news = true;
                fits &= self.entries.push(entry).is_ok();
            }
        }
        self.lost[page.node.index()] |= !fits;
        if news && self.best(volume) == Some(generation) {
            self.starts.retain(|start| start.volume != volume || start.generation >= generation);
            self.entries.retain(|entry| entry.volume != volume || entry.generation >= generation);
        }
        news
    }

    /// Takes a page about a service. Whether it says anything new.
    pub fn take_claim(&mut self, page: &ServicePage) -> bool {
        let ServicePage { node, incarnation, given, taken } = *page;
        let claim = Claim { node, incarnation, given, taken };
        if self.claims.contains(&claim) {
            return false;
        }
        let about = |known: &Claim| {
            let (one, other) = (&known.given, &given);
            known.node == node && (one.what, one.dead, one.incarnation) == (other.what, other.dead, other.incarnation)
        };
        match self.claims.iter_mut().find(|known| about(known)) {
            Some(known) => *known = claim,
            None => self.lost[node.index()] |= self.claims.push(claim).is_err(),
        }
        true
    }

    /// Whether all that this incarnation says of so many volumes and services is known.
    #[must_use]
    pub fn is_told(&self, node: NodeId, incarnation: Incarnation, (volumes, services): (u8, u8)) -> bool {
        let mine = |of: NodeId, as_who: Incarnation| (of, as_who) == (node, incarnation);
        let own = || self.own.iter().filter(|own| mine(own.node, own.incarnation));
        let known = |own: &Own| !own.ran() || self.best(own.volume).is_some_and(|best| best >= own.started);
        let claims = self.claims.iter().filter(|claim| mine(claim.node, claim.incarnation)).count();
        let enough = own().count() >= usize::from(volumes) && claims >= usize::from(services);
        enough && own().all(known) && !self.lost[node.index()]
    }

    /// The generation of the latest START of this volume that is known whole.
    #[must_use]
    pub fn best(&self, volume: Volume) -> Option<u64> {
        let whole = |start: &&Start| {
            start.volume == volume && self.start(volume, start.generation).count() == usize::from(start.total)
        };
        self.starts.iter().filter(whole).map(|start| start.generation).max()
    }

    /// What is known of this START.
    pub fn start(&self, volume: Volume, generation: u64) -> impl Iterator<Item = StartNode> {
        let of = move |entry: &&Entry| (entry.volume, entry.generation) == (volume, generation);
        self.entries.iter().filter(of).map(|entry| entry.told)
    }

    /// How volumes are in nodes.
    #[must_use]
    pub fn own(&self) -> &[Own] {
        &self.own
    }

    /// How a volume is in this incarnation; `None`: it does not have it, or told nothing of it.
    #[must_use]
    pub fn own_of(&self, volume: Volume, node: NodeId, incarnation: Incarnation) -> Option<&Own> {
        self.own.iter().find(|own| (own.volume, own.node, own.incarnation) == (volume, node, incarnation))
    }

    /// Who has what.
    #[must_use]
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }
}
