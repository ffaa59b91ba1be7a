//! An appliance's own nodes and their groups: what they said, what they are to be told, what the leader is to be told of it.
//!
//! Owns what each local node said about each volume. Decides nothing: steps follow from the committed view alone, so another
//! appliance, or this one after a restart, tells the same ones, and the shims answer again (SAFETY G1, G5).

use crate::config::Config;
use crate::id::{Incarnation, Label, NodeId, Volume};
use crate::io::Road;
use crate::limits::{GROUPS_MAX, LOCAL_NODES_MAX, RESEND_MS, STEP_AGAIN_MAX_MS};
use crate::outbox::Outbox;
use crate::state::State;
use crate::state::groups::{GroupRow, Membership, Phase, Standing};
use crate::time::{Duration, Instant};
use crate::wire::message::{GroupReport, Wish};
use crate::wire::node::{Group, Message as Word, NodeState, Refusal, START_ENTRIES};
use heapless::Vec;

/// A node in as many groups as there are, eight times.
const ENTRIES_MAX: usize = LOCAL_NODES_MAX * GROUPS_MAX;

/// When something is due again: at once, then with a growing pause for as long as it is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    at: Instant,
    pause: Duration,
}

impl Pace {
    /// Due at once; all zero.
    pub const NOW: Self = Self { at: Instant::ZERO, pause: Duration::ZERO };

    /// Due at once.
    pub const fn hurry(&mut self) {
        *self = Self::NOW;
    }

    /// Whether it is due now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// It was done. `again`: it may have to be done once more.
    pub fn done(&mut self, now: Instant, again: bool) {
        let first = Duration::from_millis(u64::from(RESEND_MS));
        let longest = Duration::from_millis(u64::from(STEP_AGAIN_MAX_MS));
        self.pause = (self.pause + self.pause).max(first).min(longest);
        self.at = if again { now + self.pause } else { Instant::FAR };
    }

    /// When it is due.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }
}

/// A local node that has a session: where it can be told things.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// Its channel.
    pub road: Road,
    /// The node.
    pub node: NodeId,
    /// The incarnation whose session it is.
    pub incarnation: Incarnation,
}

/// What the local nodes said.
#[derive(Debug)]
pub struct Desk {
    entries: Vec<GroupReport, ENTRIES_MAX>,
    /// Counts reports.
    number: u32,
    /// When nodes are told their steps again.
    pub steps: Pace,
    /// When the leader is told again.
    pub reports: Pace,
}

impl Desk {
    /// Nobody said anything; all zero.
    pub const EMPTY: Self = Self { entries: Vec::new(), number: 0, steps: Pace::NOW, reports: Pace::NOW };

    fn of(&self, node: NodeId, incarnation: Incarnation, volume: Volume) -> Option<&GroupReport> {
        let same = |entry: &&GroupReport| (entry.node, entry.incarnation) == (node, incarnation);
        self.entries.iter().filter(same).find(|entry| entry.volume == volume)
    }

    fn entry(&mut self, node: NodeId, incarnation: Incarnation, volume: Volume) -> Option<&mut GroupReport> {
        self.entries.retain(|entry| entry.node != node || entry.incarnation == incarnation);
        let at = self.entries.iter().position(|entry| entry.node == node && entry.volume == volume);
        let at = match at {
            Some(at) => at,
            None => {
                let of_node = self.entries.iter().filter(|entry| entry.node == node).count();
                let room = of_node < GROUPS_MAX;
                room.then(|| self.entries.push(GroupReport::new(node, incarnation, volume)).ok()).flatten()?;
                self.entries.len() - 1
            }
        };
        self.entries.get_mut(at)
    }

    /// A node wants to join. What it is answered, if anything but the steps of the barrier.
    pub fn join(&mut self, config: &Config, view: &State, local: &Local, asked: Label, volume: Volume) -> Option<Word> {
        let (node, incarnation) = (local.node, local.incarnation);
        let refused = |refusal| Some(Word::Error { refusal });
        let group = view.groups.of(volume);
        let Some(cluster) = config.cluster_of(node, asked) else { return refused(Refusal::BadRequest) };
        if group.is_some_and(|group| view.groups.get(group).cluster != cluster) {
            return refused(Refusal::BadRequest);
        }
        let standing = group.and_then(|group| view.groups.standing(group, node));
        if standing.is_some_and(|row| row.incarnation == incarnation && row.standing != Standing::Leaving) {
            return None;
        }
        let row = view.node(node);
        if standing.is_some_and(|row| row.incarnation == incarnation)
            || row.state != NodeState::Up
            || row.incarnation != incarnation
        {
            return refused(Refusal::NotYet);
        }
        let room = (group.is_some() || view.groups.iter().count() < GROUPS_MAX) && view.groups.has_room();
        let Some(entry) = self.entry(node, incarnation, volume).filter(|_| room) else { return Some(Word::Busy) };
        if entry.wish != Wish::Join {
            entry.wish = Wish::Join;
            entry.cluster = cluster;
            self.reports.hurry();
        }
        let waits = standing.is_some() || group.is_some_and(|group| view.groups.fate(group, node).is_some());
        if waits { refused(Refusal::NotYet) } else { None }
    }

    /// A node wants to leave. What it is answered: that it is out already. One whose JOIN is not through joins first.
    pub fn leave(&mut self, view: &State, local: &Local, volume: Volume) -> Option<Word> {
        let (node, incarnation) = (local.node, local.incarnation);
        let standing = view.groups.of(volume).and_then(|group| view.groups.standing(group, node));
        match standing.filter(|row| row.incarnation == incarnation).map(|row| row.standing) {
            Some(Standing::Member) => {
                let entry = self.entry(node, incarnation, volume)?;
                if entry.wish != Wish::Leave {
                    entry.wish = Wish::Leave;
                    self.reports.hurry();
                }
                None
            }
            Some(_) => None,
            None => {
                let joins = self.of(node, incarnation, volume).is_some_and(|entry| entry.wish == Wish::Join);
                (!joins).then_some(Word::Group(Group::Leave { volume }))
            }
        }
    }

    /// A node answered a step. Only the present step of the view counts; shims answer a repeated one again.
    pub fn answer(&mut self, view: &State, local: &Local, answer: &Group) {
        let (volume, generation, phase) = match *answer {
            Group::Stopped { volume, generation } => (volume, generation, Phase::Stopping),
            Group::Started { volume, generation } | Group::Recovered { volume, generation } => {
                (volume, generation, Phase::Starting)
            }
            _ => return,
        };
        let Some(group) = view.groups.of(volume) else { return };
        let row = view.groups.get(group);
        let stands = view.groups.standing(group, local.node).is_some_and(|row| row.incarnation == local.incarnation);
        if !stands || row.phase != phase || row.generation != generation {
            return;
        }
        let Some(entry) = self.entry(local.node, local.incarnation, volume) else { return };
        let said = match answer {
            Group::Stopped { .. } => &mut entry.stopped,
            Group::Started { .. } => &mut entry.started,
            _ => &mut entry.recovered,
        };
        if core::mem::replace(said, generation) != generation {
            self.reports.hurry();
        }
    }

    /// A view was committed: wishes that it grants are over, and leavers are told so.
    pub fn committed(&mut self, view: &State, locals: &[Local], outbox: &mut Outbox) {
        self.steps.hurry();
        self.reports.hurry();
        self.entries.retain_mut(|entry| {
            let group = view.groups.of(entry.volume);
            let standing = group.and_then(|group| view.groups.standing(group, entry.node));
            let stands = standing.is_some_and(|row| row.incarnation == entry.incarnation);
            if entry.wish == Wish::Leave && !stands {
                let here = locals.iter().find(|l| (l.node, l.incarnation) == (entry.node, entry.incarnation));
                if let Some(local) = here {
                    outbox.say(local.road, Word::Group(Group::Leave { volume: entry.volume }));
                }
                return false;
            }
            if entry.wish == Wish::Join && stands {
                entry.wish = Wish::None;
            }
            stands || entry.wish == Wish::Join
        });
    }

    /// Tells the local nodes the present steps of their groups, where they did not answer yet.
    pub fn tell_steps(&mut self, now: Instant, view: &State, locals: &[Local], outbox: &mut Outbox) {
        let mut again = false;
        for local in locals {
            let row = view.node(local.node);
            if row.state != NodeState::Up || row.incarnation != local.incarnation {
                continue;
            }
            for (group, row) in view.groups.iter().filter(|(_, row)| row.phase != Phase::Idle) {
                let standing = view.groups.standing(group, local.node);
                let Some(member) = standing.filter(|member| member.incarnation == local.incarnation) else { continue };
                if self.owes(row, member) {
                    again = true;
                    tell_step(row, view.groups.members(group), local.road, outbox);
                }
            }
        }
        self.steps.done(now, again);
    }

    /// Whether a member did not do all of the present step yet.
    fn owes(&self, row: &GroupRow, member: &Membership) -> bool {
        let said = self.of(member.node, member.incarnation, row.volume);
        let done = |of: fn(&GroupReport) -> u64| said.is_some_and(|entry| of(entry) == row.generation);
        match row.phase {
            Phase::Idle => false,
            Phase::Stopping => !done(|entry| entry.stopped),
            Phase::Starting => {
                member.standing == Standing::Member && !(done(|entry| entry.started) && done(|entry| entry.recovered))
            }
        }
    }

    /// Hands every report that the view does not reflect to `send`.
    pub fn report(&mut self, now: Instant, view: &State, mut send: impl FnMut(GroupReport)) {
        let mut again = false;
        for entry in &mut self.entries {
            let row = view.groups.of(entry.volume).map(|group| view.groups.get(group));
            let awaited = row.is_some_and(|row| match row.phase {
                Phase::Idle => false,
                Phase::Stopping => entry.stopped == row.generation,
                Phase::Starting => entry.started == row.generation,
            });
            if entry.wish != Wish::None || awaited {
                again = true;
                self.number = self.number.wrapping_add(1);
                entry.number = self.number;
                send(*entry);
            }
        }
        self.reports.done(now, again);
    }
}

/// Tells one node the present step of one group.
fn tell_step(row: &GroupRow, members: &[Membership], road: Road, outbox: &mut Outbox) {
    let (volume, generation) = (row.volume, row.generation);
    if row.phase == Phase::Stopping {
        return outbox.say(road, Word::Group(Group::Stop { volume, generation }));
    }
    let parts = start_parts(members);
    for part in 0..parts {
        outbox.say(road, Word::Group(Group::Start { volume, generation, part, parts }));
    }
}

/// In how many frames a START of these rows goes.
fn start_parts(members: &[Membership]) -> u16 {
    let entries = members.iter().filter(|member| member.standing.fate().is_some()).count();
    u16::try_from(entries.div_ceil(START_ENTRIES).max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HostId;
    use crate::limits::OUTPUTS_MAX;
    use crate::outbox::Class;
    use std::boxed::Box;
    use std::vec::Vec as List;

    const VOLUME: Volume = Label([7; 16]);
    const ENTRIES: u8 = 37;

    /// So many members of one group, and so many of whom a START says nothing.
    fn rows(members: u8, leaving: u8) -> List<Membership> {
        let standing = |number| if number > members { Standing::Leaving } else { Standing::Member };
        let row =
            |number| Membership { group: 1, node: NodeId::new(number), standing: standing(number), incarnation: 1 };
        (1..=members + leaving).map(row).collect()
    }

    #[test]
    fn a_start_goes_in_as_many_frames_as_its_entries_need() {
        assert_eq!(usize::from(ENTRIES), START_ENTRIES);
        for (members, leaving, parts) in [
            (0, 3, 1),
            (1, 0, 1),
            (ENTRIES, 0, 1),
            (ENTRIES, 9, 1),
            (ENTRIES + 1, 0, 2),
            (2 * ENTRIES, 0, 2),
            (255, 0, 7),
        ] {
            let rows = rows(members, leaving);
            assert_eq!(start_parts(&rows), parts, "{members} members, {leaving} that leave");
            let row = GroupRow { volume: VOLUME, phase: Phase::Starting, generation: 9, ..GroupRow::NONE };
            let mut outbox = Box::new(Outbox::EMPTY);
            tell_step(&row, &rows, Road::Channel(2), &mut outbox);
            for part in 0..parts {
                let word = outbox.next_word(Class::Sessions).map(|word| (word.road, word.message));
                let expected = Word::Group(Group::Start { volume: VOLUME, generation: 9, part, parts });
                assert_eq!(word, Some((Road::Channel(2), expected)));
            }
            assert!(outbox.next_word(Class::Sessions).is_none());
        }
    }

    /// Eight nodes are each to be told of 60 in each group, and other words leave room for a few frames.
    #[test]
    fn parts_that_find_no_room_are_counted_and_told_again() {
        let mut view = Box::new(State::EMPTY);
        let volumes = (1..=GROUPS_MAX).map(|number| Label([u8::try_from(number).unwrap_or(0); 16]));
        for volume in volumes {
            let group = view.groups.create(Label::named("mail"), volume).unwrap_or_default();
            for node in (1..=60).map(NodeId::new) {
                let _room = view.groups.put(Membership { group, node, standing: Standing::Member, incarnation: 1 });
            }
            let row = view.groups.get_mut(group);
            (row.phase, row.generation) = (Phase::Starting, 9);
        }
        let locals: List<Local> = (0..8)
            .map(|slot| {
                let node = NodeId::new(slot + 1);
                view.raise(node, HostId::new(1), 1, crate::id::Run { boot: 1, counter: 1 });
                Local { road: Road::Channel(slot), node, incarnation: 1 }
            })
            .collect();
        let (mut desk, mut outbox, mut now) = (Box::new(Desk::EMPTY), Box::new(Outbox::EMPTY), Instant::ZERO);
        let mut heard: std::collections::BTreeSet<(u8, u8, u16)> = std::collections::BTreeSet::new();
        let full = 8 * view.groups.iter().map(|(group, _)| start_parts(view.groups.members(group))).sum::<u16>();
        for _ in 0..100 {
            let other = Word::Group(Group::Leave { volume: VOLUME });
            (0..OUTPUTS_MAX - 20).for_each(|_| outbox.say(Road::Channel(0), other));
            desk.tell_steps(now, &view, &locals, &mut outbox);
            let at = desk.steps.at();
            assert!(at > now && at < Instant::FAR, "as long as somebody did not answer, it is told again");
            now = at;
            while let Some(word) = outbox.next_word(Class::Sessions) {
                let (Road::Channel(slot), Word::Group(Group::Start { volume, generation, part, parts })) =
                    (word.road, word.message)
                else {
                    continue;
                };
                heard.insert((slot, volume.0[0], part));
                let known = (0..parts).all(|part| heard.contains(&(slot, volume.0[0], part)));
                if known {
                    for answer in [Group::Started { volume, generation }, Group::Recovered { volume, generation }] {
                        desk.answer(&view, &locals[usize::from(slot)], &answer);
                    }
                }
            }
            if heard.len() == usize::from(full) {
                break;
            }
        }
        assert!(outbox.dropped(Class::Sessions) > 0, "not all found room at once");
        assert_eq!(heard.len(), usize::from(full), "and all was heard in the end");
        desk.tell_steps(now, &view, &locals, &mut outbox);
        assert_eq!(desk.steps.at(), Instant::FAR, "who has answered is told nothing");
    }
}
