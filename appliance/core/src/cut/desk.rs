//! What an appliance's own nodes say: whose DLM does not answer theirs, and since when without a break.
//!
//! Owns the table, and the count of time. A CUT is a level: it counts from the first word that this appliance heard of it, by
//! its own clock, whatever the node says about the time before; from the last moment at which it could mean nothing, because
//! a barrier was open or somebody was paused; and it is over when the node says so, or has not repeated it for
//! `CUT_STALE_MS`. That a long one is over is told for a while. Tells the leader with each heartbeat while there is anything to tell, and at the very moment
//! at which a cut has lasted for `dlm_cut_ms`. With nothing to tell it costs a comparison. Rules: SAFETY F6, A8.

use super::counts;
use crate::config::Config;
use crate::id::{Incarnation, NodeId};
use crate::limits::{CUT_SPREAD_MS, CUT_STALE_MS, GROUPS_MAX, ID_SLOTS, LOCAL_NODES_MAX};
use crate::state::State;
use crate::state::groups::{GroupNumber, Phase};
use crate::time::{Duration, Instant};
use crate::wire::message::Cuts;
use crate::wire::node::NodeState;

/// What a node says about one other.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// About which incarnation; zero: nothing.
    incarnation: Incarnation,
    /// Since when it has been a cut that counts, if it counts.
    since: Instant,
    /// When the node said it last.
    last: Instant,
    /// In the committed view it can mean something.
    counts: bool,
    /// It was long and is over, at `last`: that is told for `CUT_SPREAD_MS`.
    over: bool,
}

impl Said {
    const NOTHING: Self =
        Self { incarnation: 0, since: Instant::ZERO, last: Instant::ZERO, counts: false, over: false };

    /// Whether it is a cut that has counted for so long.
    fn is_long(&self, now: Instant, span: Duration) -> bool {
        self.counts && !self.over && now.since(self.since) >= span
    }

    /// Whether nothing of it is left to tell.
    fn is_stale(&self, now: Instant) -> bool {
        let span = if self.over { CUT_SPREAD_MS } else { CUT_STALE_MS };
        now.since(self.last) >= Duration::from_millis(u64::from(span))
    }
}

/// All that one node says.
#[derive(Debug)]
struct Page {
    node: NodeId,
    said: [Said; ID_SLOTS],
    /// About so many nodes.
    open: u16,
    /// The leader was told of some, and is still to be told that none is left.
    owes: bool,
}

impl Page {
    const EMPTY: Self = Self { node: NodeId::NONE, said: [Said::NOTHING; ID_SLOTS], open: 0, owes: false };

    fn clear(&mut self) {
        if self.open > 0 {
            self.said.fill(Said::NOTHING);
            self.open = 0;
        }
    }

    fn drop(&mut self, other: NodeId) {
        let said = &mut self.said[other.index()];
        self.open -= u16::from(said.incarnation != 0);
        *said = Said::NOTHING;
    }

    /// Those about whom it says something.
    fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let any = if self.open > 0 { self.said.map(|said| said.incarnation) } else { [0; ID_SLOTS] };
        (1..=u8::MAX).map(NodeId::new).filter(move |node| any[node.index()] != 0)
    }
}

/// The table.
#[derive(Debug)]
pub struct Desk {
    pages: [Page; LOCAL_NODES_MAX],
    /// The last barrier of each group: its generation and how far it is.
    barriers: [(u64, Phase); GROUPS_MAX],
    /// Counts what was told.
    number: u32,
    /// When there is something to tell again.
    next_at: Instant,
}

impl Desk {
    /// Nobody said anything; all zero.
    pub const EMPTY: Self = Self {
        pages: [const { Page::EMPTY }; LOCAL_NODES_MAX],
        barriers: [(0, Phase::Idle); GROUPS_MAX],
        number: 0,
        next_at: Instant::ZERO,
    };

    /// A node says that another one's DLM does not answer it, or does again. Whether that is about somebody who is there: an
    /// older incarnation, or one of whom this appliance has not heard yet, is nobody's peer.
    pub fn hear(
        &mut self,
        now: Instant,
        (config, view): (&Config, &State),
        (slot, node): (u8, NodeId),
        (other, incarnation): (NodeId, Incarnation),
        cut: bool,
    ) -> bool {
        let row = view.node(other);
        let known = row.state == NodeState::Up && row.incarnation == incarnation && other != node;
        let Some(page) = self.pages.get_mut(usize::from(slot)) else { return false };
        if !known || !config.share_cluster(node, other) {
            return false;
        }
        if page.node != node {
            page.clear();
            page.node = node;
        }
        let span = Duration::from_millis(u64::from(config.timing.dlm_cut_ms));
        let said = &mut page.said[other.index()];
        if !cut {
            if said.incarnation != 0 && !said.over {
                log::info!("{node} says that the DLM of {other} answers again");
                self.next_at = now;
                if said.is_long(now, span) {
                    (said.over, said.last) = (true, now);
                } else {
                    page.drop(other);
                }
            }
            return true;
        }
        if said.incarnation != incarnation || said.over {
            log::warn!("{node} says that the DLM of {other} does not answer");
            page.open += u16::from(said.incarnation == 0);
            let counts = counts(config, view, node, other);
            *said = Said { incarnation, since: now, last: now, counts, over: false };
            page.owes = true;
            self.next_at = now;
        }
        said.last = now;
        true
    }

    /// A node's session is over: what it said is the word of nobody.
    pub fn close(&mut self, slot: u8) {
        if let Some(page) = self.pages.get_mut(usize::from(slot)) {
            page.clear();
        }
    }

    /// It was we who were deaf: what was said has lasted from now on.
    pub fn forgive(&mut self, now: Instant) {
        for page in self.pages.iter_mut().filter(|page| page.open > 0) {
            for said in &mut page.said {
                said.since = said.since.max(now);
            }
        }
    }

    /// A view was committed. What is about somebody who is no more is dropped; what could not mean anything until now, or
    /// between whose ends a barrier was opened or closed, has lasted from now on.
    pub fn committed(&mut self, now: Instant, config: &Config, view: &State) {
        let mut moved = [false; GROUPS_MAX];
        for ((group, barrier), moved) in (1u8..).zip(&mut self.barriers).zip(&mut moved) {
            let row = view.groups.get(group);
            *moved = *barrier != (row.generation, row.phase);
            *barrier = (row.generation, row.phase);
        }
        for page in self.pages.iter_mut().filter(|page| page.open > 0) {
            for other in page.others() {
                let row = view.node(other);
                let said = &mut page.said[other.index()];
                if row.state != NodeState::Up || row.incarnation != said.incarnation {
                    page.drop(other);
                    continue;
                }
                let counted = core::mem::replace(&mut said.counts, counts(config, view, page.node, other));
                if !counted || !said.counts || share_any(view, &moved, page.node, other) {
                    said.since = now;
                }
            }
        }
    }

    /// When there is something to tell; the far end of time: nothing.
    #[must_use]
    pub fn due_at(&self) -> Instant {
        let any = self.pages.iter().any(|page| page.open > 0 || page.owes);
        if any { self.next_at } else { Instant::FAR }
    }

    /// What there is to tell of the node of this slot, and the number under which; `None`: nothing. Call it for all slots, then
    /// `told`.
    pub fn tell(&mut self, now: Instant, slot: u8, span: Duration) -> Option<(u32, NodeId, Cuts)> {
        let page = self.pages.get_mut(usize::from(slot))?;
        if page.open == 0 && !page.owes {
            return None;
        }
        let mut cuts = Cuts::NONE;
        let spread = Duration::from_millis(u64::from(CUT_SPREAD_MS));
        for other in page.others() {
            let said = page.said[other.index()];
            if said.is_stale(now) {
                page.drop(other);
                continue;
            }
            let set = if said.over { &mut cuts.again } else { &mut cuts.any };
            set.insert(other);
            if said.is_long(now, span) {
                cuts.long.insert(other);
            }
            if said.is_long(now, span + spread) {
                cuts.overdue.insert(other);
            }
        }
        page.owes = page.open > 0;
        self.number = self.number.wrapping_add(1);
        Some((self.number, page.node, cuts))
    }

    /// All was told now: the next time is a heartbeat later, or when the next cut has lasted for `span`.
    pub fn told(&mut self, now: Instant, heartbeat: Duration, span: Duration) {
        let said = self.pages.iter().filter(|page| page.open > 0).flat_map(|page| &page.said);
        let counting = said.filter(|said| said.incarnation != 0 && said.counts && !said.over);
        let long_at = counting.map(|said| said.since + span).filter(|&at| at > now).min().unwrap_or(Instant::FAR);
        self.next_at = long_at.min(now + heartbeat);
    }
}

/// Whether both stand in any of these groups.
fn share_any(view: &State, groups: &[bool; GROUPS_MAX], one: NodeId, other: NodeId) -> bool {
    let stands = |group: GroupNumber| [one, other].iter().all(|&node| view.groups.standing(group, node).is_some());
    (1u8..).zip(groups).any(|(group, &which)| which && stands(group))
}
