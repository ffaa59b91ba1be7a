//! What the sessions of an appliance's own nodes report after a cold start: the member's side.
//!
//! Owns what each session said since its WELCOME. Everything in it is passed on to the leader page by page, in turn and for as
//! long as a cold start collects: a level, not an event (SAFETY B4). Judges nothing.

use crate::id::{Cluster, Incarnation, Label, NodeId, Volume};
use crate::limits::{GROUPS_MAX, ID_SLOTS, LOCAL_NODES_MAX, MEMBERSHIPS_MAX, TAKEOVERS_MAX};
use crate::time::{Duration, Instant};
use crate::wire::message::{KNOWN_MAX, Known, Message, Report, ServicePage, TOLD_MAX, VolumePage};
use crate::wire::node::{NodeState, ServiceTale, StartNode, Tale, ViewNode, VolumeState, VolumeTale};
use heapless::Vec;

/// A session that has not reported for so long since its WELCOME is asked again.
const REPORT_PATIENCE: Duration = Duration::from_millis(500);

/// What a session said of one volume.
#[derive(Clone, Copy, Debug)]
struct Said {
    which: u8,
    state: VolumeState,
    recovered: bool,
    cluster: Label,
    volume: Volume,
    stopped: u64,
    started: u64,
    parts: u16,
    /// Parts that came, as bits.
    got: u16,
}

/// What one local session knows.
#[derive(Debug)]
struct Told {
    incarnation: Incarnation,
    /// When it was welcomed.
    since: Instant,
    cluster: Cluster,
    version: u64,
    /// Parts about nodes that came, as bits; all of them: complete.
    got: u8,
    complete: bool,
    known: [(bool, Incarnation); ID_SLOTS],
    next_page: u8,
    /// Of how many volumes and services it tells; `None`: it tells nothing of them.
    tells: Option<(u8, u8)>,
    volumes: Vec<Said, GROUPS_MAX>,
    /// What the last START of each volume said, by its place among them. A state holds no more rows than have room here.
    starts: Vec<(u8, StartNode), MEMBERSHIPS_MAX>,
    services: Vec<ServiceTale, TAKEOVERS_MAX>,
    next_account: u16,
}

impl Told {
    const NONE: Self = Self {
        incarnation: 0,
        since: Instant::ZERO,
        cluster: Cluster::NONE,
        version: 0,
        got: 0,
        complete: false,
        known: [(false, 0); ID_SLOTS],
        next_page: 0,
        tells: None,
        volumes: Vec::new(),
        starts: Vec::new(),
        services: Vec::new(),
        next_account: 0,
    };

    fn begin(&mut self, now: Instant, incarnation: Incarnation, cluster: Cluster) {
        self.incarnation = incarnation;
        self.since = now;
        self.cluster = cluster;
        self.version = 0;
        self.got = 0;
        self.complete = !cluster.is_some();
        self.known.fill((false, 0));
        self.next_page = 0;
        self.tells = None;
        self.volumes.clear();
        self.starts.clear();
        self.services.clear();
        self.next_account = 0;
    }

    fn is_complete(&self) -> bool {
        let volumes = self.volumes.iter().filter(|said| said.got.count_ones() == u32::from(said.parts)).count();
        let all = |(of, services): (u8, u8)| volumes == usize::from(of) && self.services.len() == usize::from(services);
        self.complete && self.tells.is_none_or(all)
    }

    fn entries(&self, which: u8) -> impl Iterator<Item = StartNode> {
        self.starts.iter().filter(move |(of, _)| *of == which).map(|(_, entry)| *entry)
    }

    /// A page about a volume: those entries of its START that begin at `from`.
    fn volume_page(&self, node: NodeId, said: &Said, from: usize) -> VolumePage {
        let mut told = [VolumePage::NOBODY; TOLD_MAX];
        for (place, entry) in told.iter_mut().zip(self.entries(said.which).skip(from)) {
            *place = entry;
        }
        VolumePage {
            node,
            incarnation: self.incarnation,
            cluster: said.cluster,
            volume: said.volume,
            state: said.state,
            recovered: said.recovered,
            stopped: said.stopped,
            started: said.started,
            total: u16::try_from(self.entries(said.which).count()).unwrap_or(u16::MAX),
            told,
        }
    }

    /// The account with this number: a page for each few entries of each volume, then the services. `None`: there are fewer.
    fn account(&self, node: NodeId, number: usize) -> Option<Message> {
        let mut rest = number;
        for said in &self.volumes {
            let pages = self.entries(said.which).count().div_ceil(TOLD_MAX).max(1);
            if rest < pages {
                return Some(Message::VolumePage(self.volume_page(node, said, rest * TOLD_MAX)));
            }
            rest -= pages;
        }
        let service = self.services.get(rest)?;
        let (incarnation, given, taken) = (self.incarnation, service.given, service.taken);
        Some(Message::ServicePage(ServicePage { node, incarnation, given, taken }))
    }
}

/// What the local sessions know.
#[derive(Debug)]
pub struct Tales {
    slots: [Told; LOCAL_NODES_MAX],
}

impl Tales {
    /// Nobody told anything; all zero.
    pub const EMPTY: Self = Self { slots: [const { Told::NONE }; LOCAL_NODES_MAX] };

    fn slot(&mut self, slot: u8) -> Option<&mut Told> {
        self.slots.get_mut(usize::from(slot))
    }

    /// A session was welcomed: what it served before, if anything. Who served nothing has nothing to report.
    pub fn begin(&mut self, now: Instant, slot: u8, incarnation: Incarnation, cluster: Cluster) {
        if let Some(told) = self.slot(slot) {
            told.begin(now, incarnation, cluster);
        }
    }

    /// A part of what a session says of other nodes came.
    pub fn take(&mut self, slot: u8, tale: &Tale, entries: impl Iterator<Item = ViewNode>) {
        let Some(told) = self.slot(slot) else { return };
        told.version = told.version.max(tale.version);
        told.tells = tale.tells;
        for entry in entries {
            told.known[entry.node.index()] = (entry.state == NodeState::Down, entry.incarnation);
        }
        if tale.part < 8 && tale.parts <= 8 {
            told.got |= 1 << tale.part;
            told.complete |= u32::from(tale.parts) == told.got.count_ones();
        }
    }

    /// A part of what a session says of a volume came. What finds no room leaves the report incomplete.
    pub fn take_volume(
        &mut self,
        slot: u8,
        tale: &VolumeTale,
        (stopped, started): (u64, u64),
        entries: impl Iterator<Item = StartNode>,
    ) {
        let Some(told) = self.slot(slot) else { return };
        let at = told.volumes.iter().position(|said| said.which == tale.which);
        let VolumeTale { which, state, recovered, cluster, volume, parts, .. } = *tale;
        let said = match at.and_then(|at| told.volumes.get_mut(at)) {
            Some(said) => said,
            None => {
                let said = Said { which, state, recovered, cluster, volume, stopped, started, parts, got: 0 };
                let _fits = told.volumes.push(said);
                let Some(said) = told.volumes.last_mut().filter(|said| said.which == which) else { return };
                said
            }
        };
        let bit = 1u16.checked_shl(u32::from(tale.part)).unwrap_or(0);
        if said.parts != parts || (said.volume, said.started) != (volume, started) || said.got & bit != 0 {
            return;
        }
        let mut fits = true;
        for entry in entries {
            fits &= told.starts.push((which, entry)).is_ok();
        }
        if fits {
            said.got |= bit;
        }
    }

    /// What a session says of a service came.
    pub fn take_service(&mut self, slot: u8, tale: &ServiceTale) {
        let Some(told) = self.slot(slot) else { return };
        if !told.services.iter().any(|known| known.which == tale.which) {
            let _fits = told.services.push(*tale);
        }
    }

    /// Whether this incarnation's report is complete.
    #[must_use]
    pub fn is_complete(&self, slot: u8, incarnation: Incarnation) -> bool {
        self.slots.get(usize::from(slot)).is_some_and(|told| told.is_complete() && told.incarnation == incarnation)
    }

    /// Whether its report was lost in the pipe: it had time to come.
    #[must_use]
    pub fn is_overdue(&self, now: Instant, slot: u8) -> bool {
        let told = self.slots.get(usize::from(slot));
        told.is_some_and(|told| !told.is_complete() && now.since(told.since) >= REPORT_PATIENCE)
    }

    /// Whether it has served a cluster incarnation before.
    #[must_use]
    pub fn has_served(&self, slot: u8, incarnation: Incarnation) -> bool {
        let told = self.slots.get(usize::from(slot));
        told.is_some_and(|told| told.incarnation == incarnation && told.cluster.is_some())
    }

    /// The next page of this slot's report about nodes, if the report is complete. Pages go in turn, for ever.
    pub fn page(&mut self, slot: u8, node: NodeId) -> Option<Report> {
        let told = self.slot(slot).filter(|told| told.is_complete() && told.incarnation != 0)?;
        let entries = (0..=u8::MAX).zip(&told.known).filter(|(_, (_, incarnation))| *incarnation != 0);
        let count = entries.clone().count();
        let pages = u8::try_from(count.div_ceil(KNOWN_MAX).max(1)).ok()?;
        let page = told.next_page % pages;
        let mut known = [Known::NONE; KNOWN_MAX];
        let of_page = entries.skip(usize::from(page) * KNOWN_MAX);
        for (place, (number, &(dead, incarnation))) in known.iter_mut().zip(of_page) {
            *place = Known { node: NodeId::new(number), dead, incarnation };
        }
        let (incarnation, cluster, version, tells) = (told.incarnation, told.cluster, told.version, told.tells);
        told.next_page = page.wrapping_add(1);
        Some(Report { node, incarnation, cluster, version, page, pages, tells, known })
    }

    /// The next of what this slot's report says of volumes and services; in turn, for ever. `None`: nothing, or the end of a
    /// turn.
    pub fn account(&mut self, slot: u8, node: NodeId) -> Option<Message> {
        let told = self.slot(slot).filter(|told| told.is_complete() && told.incarnation != 0)?;
        let account = told.account(node, usize::from(told.next_account));
        told.next_account = if account.is_some() { told.next_account + 1 } else { 0 };
        account
    }
}
