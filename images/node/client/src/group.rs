//! One node's side of its groups, as a pure state machine.
//!
//! Owns what this node does about each volume: what it wants, which step it did last, and the set that it runs with. Must
//! never read a clock, do I/O or wait. It has no DLM: between STOP and RECOVERED it merely says that it does not serve, and
//! a recovery takes it no time. Rules: SAFETY G2 (no fate, no guess), G5 (generations), I1 (tokens); docs/PROTOCOL.md.
//!
//! ```text
//!            join                STOP(above the last)
//!   Closed -------> Joining ---------------------------> Stopped <----------+
//!     ^               |  JOIN until START                  |                |  STOP(above the last)
//!     |  LEAVE(of the appliance, after we asked)           |  START(the last STOP's), all parts, sound, with us in it
//!     +---------------+-----------------------------------Running ----------+
//!                        LEAVE until LEAVE
//! ```

mod member;
mod report;

use std::collections::VecDeque;

use palisade_core::id::{Incarnation, NodeId, Volume};
use palisade_core::limits::{GROUPS_MAX, NODES_MAX};
use palisade_core::time::{Duration, Instant};
use palisade_core::wire::node::{Fate, Given, Group, Message, START_ENTRIES, StartNode, Takeover, What};

use crate::event::{Event, Why};
use crate::label::Shown;
use crate::takeover::{Answer, Takeovers};
use member::{Judgement, Member, Phase, Wish};

/// How often JOIN and LEAVE are repeated: an appliance that restarted hears them again within this time.
const ASK: Duration = Duration::from_millis(250);
/// Parts of the longest START: every node, and an earlier incarnation of each.
const PARTS_MAX: usize = (2 * NODES_MAX).div_ceil(START_ENTRIES);

/// What the state machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Say this, if there is a session: whatever matters is said again, or asked for again.
    Say(Message),
    /// Tell people.
    Tell(Event),
    /// Whether this boot holds anything that a client without memory could not answer for.
    Hold(bool),
    /// Reset the machine.
    Reset(Why),
}

/// The groups of one node.
#[derive(Debug)]
pub struct Groups {
    node: NodeId,
    incarnation: Incarnation,
    members: Vec<Member>,
    takeovers: Takeovers,
    holds: bool,
    acts: VecDeque<Act>,
    /// Steps that were not for this node at this time: a lower generation, a token below one that was seen, nonsense.
    pub dropped: u64,
}

impl Groups {
    /// Nothing joined, nothing owned.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation) -> Self {
        Self {
            node,
            incarnation,
            members: Vec::new(),
            takeovers: Takeovers::default(),
            holds: false,
            acts: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Wants a volume open.
    ///
    /// # Errors
    /// A sentence: it is open already, or there is no room.
    pub fn join(&mut self, now: Instant, volume: Volume) -> Result<(), String> {
        let at = self.place(volume).ok_or_else(|| format!("this node has {GROUPS_MAX} volumes already"))?;
        let member = &mut self.members[at];
        match (member.phase, member.wish) {
            (Phase::Closed, _) => {
                member.wish = Wish::In;
                member.phase = Phase::Joining;
                member.ask_at = now;
                self.hold();
                self.acts.push_back(Act::Tell(Event::GroupJoin { volume }));
            }
            (_, Wish::Out) => member.wish = Wish::OutThenIn,
            (_, Wish::In | Wish::OutThenIn) => return Err(format!("{} is open, or being opened", Shown(volume))),
        }
        Ok(())
    }

    /// Wants a volume closed.
    ///
    /// # Errors
    /// A sentence: it is not open.
    pub fn leave(&mut self, now: Instant, volume: Volume) -> Result<(), String> {
        let is_open = |member: &&mut Member| member.volume == volume && member.phase != Phase::Closed;
        let Some(member) = self.members.iter_mut().find(is_open) else {
            return Err(format!("{} is not open here", Shown(volume)));
        };
        member.wish = Wish::Out;
        member.ask_at = now;
        Ok(())
    }

    /// A new session: its appliance may know nothing of what was asked before.
    pub fn on_session(&mut self, now: Instant) {
        self.members.iter_mut().for_each(|member| member.ask_at = now);
    }

    /// Asks for what is due.
    pub fn on_time(&mut self, now: Instant) {
        for member in self.members.iter_mut().filter(|member| now >= member.ask_at) {
            if let Some(question) = member.question() {
                member.ask_at = now + ASK;
                self.acts.push_back(Act::Say(Message::Group(question)));
            }
        }
    }

    /// When `on_time` wants to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let asking = self.members.iter().filter(|member| member.question().is_some());
        asking.map(|member| member.ask_at).min().unwrap_or(Instant::FAR)
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// Takes what the appliance says about a group.
    pub fn on_group(&mut self, now: Instant, group: Group, payload: &[u8]) {
        let understood = match group {
            Group::Stop { volume, generation } => self.on_stop(now, volume, generation),
            Group::Start { volume, generation, part, parts } => {
                self.on_start(volume, generation, usize::from(part), usize::from(parts), payload)
            }
            Group::Leave { volume } => self.on_left(now, volume),
            Group::Join { .. } | Group::Stopped { .. } | Group::Started { .. } | Group::Recovered { .. } => false,
        };
        self.dropped += u64::from(!understood);
    }

    /// Takes what the appliance says about a takeover.
    pub fn on_takeover(&mut self, takeover: Takeover) {
        let Takeover::Give(given) = takeover else {
            self.dropped += 1;
            return;
        };
        if !self.takeovers.on_give(given) {
            self.dropped += 1;
            return;
        }
        if self.takeovers.is_new(&given) {
            self.acts.push_back(Act::Tell(Event::Takeover(given)));
        }
        match self.answer_for(&given) {
            Some(answer) => self.answer(given, answer),
            None => self.takeovers.wait(&given),
        }
    }

    /// What is open and owned here, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let open = self.members.iter().filter(|member| member.phase != Phase::Closed);
        let volumes = open.map(|member| {
            let state = match (member.phase, member.wish) {
                (_, Wish::Out | Wish::OutThenIn) => "leaving",
                (Phase::Closed | Phase::Joining, _) => "joining",
                (Phase::Stopped, _) => "stopped",
                (Phase::Running, _) => "running",
            };
            let (volume, generation) = (member.volume, member.generation);
            let step = Event::GroupStart { volume, generation, entries: member.known.clone() }.to_string();
            format!("GROUP state={state}{}", step.trim_start_matches("GROUP_START"))
        });
        volumes.chain(self.takeovers.lines()).collect()
    }

    /// The highest generation or token that this node was told (SAFETY B4).
    #[must_use]
    pub fn highest(&self) -> u64 {
        let generations = self.members.iter().map(|member| member.generation);
        generations.max().unwrap_or(0).max(self.takeovers.highest())
    }

    /// Where the row of a volume is; `None`: there is no room for one. What is closed makes room.
    fn place(&mut self, volume: Volume) -> Option<usize> {
        if let Some(at) = self.members.iter().position(|member| member.volume == volume) {
            return Some(at);
        }
        if self.members.len() >= GROUPS_MAX {
            let closed = self.members.iter().position(|member| member.phase == Phase::Closed)?;
            self.members.remove(closed);
        }
        self.members.push(Member::new(volume));
        Some(self.members.len() - 1)
    }

    /// A volume that is not open here is stopped, so it may be said of it; if a START names us all the same, an earlier JOIN
    /// of ours was answered, and LEAVE is asked for until it comes.
    fn on_stop(&mut self, now: Instant, volume: Volume, generation: u64) -> bool {
        let Some(at) = self.place(volume) else { return false };
        let member = &mut self.members[at];
        let again = generation == member.generation && member.phase == Phase::Stopped;
        if generation > member.generation {
            member.generation = generation;
            member.phase = Phase::Stopped;
            member.parts.clear();
            member.ask_at = now;
            self.hold();
            self.acts.push_back(Act::Tell(Event::GroupStop { volume, generation }));
        } else if !again {
            return false;
        }
        self.acts.push_back(Act::Say(Message::Group(Group::Stopped { volume, generation })));
        true
    }

    fn on_start(&mut self, volume: Volume, generation: u64, part: usize, parts: usize, payload: &[u8]) -> bool {
        let Some(member) = self.members.iter_mut().find(|member| member.volume == volume) else { return false };
        if member.generation != generation || parts > PARTS_MAX || part >= parts {
            return false;
        }
        match member.phase {
            Phase::Running if part + 1 == parts => self.say_started(volume, generation),
            Phase::Running => {}
            Phase::Stopped => {
                let Some(entries) = read(payload) else { return false };
                let Some(entries) = member.collect(part, parts, entries) else { return true };
                match member.judge(self.node, self.incarnation, &entries) {
                    Judgement::Run => self.run(volume, generation, entries),
                    Judgement::Reset(why) => self.acts.push_back(Act::Reset(why)),
                    Judgement::Drop => return false,
                }
            }
            Phase::Closed | Phase::Joining => return false,
        }
        true
    }

    /// Runs with a set; the recovery of a node without a DLM is over at once.
    fn run(&mut self, volume: Volume, generation: u64, entries: Vec<StartNode>) {
        if let Some(member) = self.members.iter_mut().find(|member| member.volume == volume) {
            member.phase = Phase::Running;
            member.known.clone_from(&entries);
            member.started = generation;
        }
        self.acts.push_back(Act::Tell(Event::GroupStart { volume, generation, entries }));
        self.acts.push_back(Act::Tell(Event::GroupRecovered { volume, generation }));
        self.say_started(volume, generation);
        self.answer_waiting(volume);
    }

    fn say_started(&mut self, volume: Volume, generation: u64) {
        for step in [Group::Started { volume, generation }, Group::Recovered { volume, generation }] {
            self.acts.push_back(Act::Say(Message::Group(step)));
        }
    }

    /// The appliance says that this node is not in the group: the answer to our question, or to an earlier one.
    fn on_left(&mut self, now: Instant, volume: Volume) -> bool {
        let Some(member) = self.members.iter_mut().find(|member| member.volume == volume) else { return false };
        if member.phase == Phase::Closed || member.wish == Wish::In {
            return false;
        }
        let again = member.wish == Wish::OutThenIn;
        *member = Member { generation: member.generation, ..Member::new(volume) };
        self.acts.push_back(Act::Tell(Event::GroupLeft { volume }));
        self.answer_waiting(volume);
        self.hold();
        if again {
            let _has_room = self.join(now, volume);
        }
        true
    }

    /// Recoveries that waited for this volume's step.
    fn answer_waiting(&mut self, volume: Volume) {
        for given in self.takeovers.waiting(volume) {
            if let Some(answer) = self.answer_for(&given) {
                self.answer(given, answer);
            }
        }
    }

    /// What is to be said about a takeover now. A recovery is done when this node has recovered with a set that tells the
    /// death; who does not have the volume open cannot do it.
    fn answer_for(&self, given: &Given) -> Option<Answer> {
        let What::Recovery(volume) = given.what else { return Some(Answer::Taken) };
        let member = self.members.iter().find(|member| member.volume == volume);
        match member.map(|member| (member.phase, &member.known)) {
            None | Some((Phase::Closed | Phase::Joining, _)) => Some(Answer::Failed),
            Some((Phase::Running, known)) => {
                let is_told = |entry: &StartNode| {
                    (entry.node, entry.incarnation, entry.fate) == (given.dead, given.incarnation, Fate::Dead)
                };
                known.iter().any(is_told).then_some(Answer::Taken)
            }
            Some((Phase::Stopped, _)) => None,
        }
    }

    fn answer(&mut self, given: Given, answer: Answer) {
        let is_news = self.takeovers.answered(&given, answer);
        self.hold();
        if is_news {
            self.acts.push_back(Act::Tell(match answer {
                Answer::Taken => Event::Taken(given),
                Answer::Failed => Event::Failed(given),
            }));
        }
        self.acts.push_back(Act::Say(Message::Takeover(match answer {
            Answer::Taken => Takeover::Taken(given),
            Answer::Failed => Takeover::Failed(given),
        })));
    }

    /// Before anything is said that a client without memory could not stand by, the boot is marked.
    fn hold(&mut self) {
        let holds = self.takeovers.owns_service() || self.members.iter().any(|member| member.phase != Phase::Closed);
        if holds != self.holds {
            self.holds = holds;
            self.acts.push_back(Act::Hold(holds));
        }
    }
}

/// The entries of one part; `None`: one of them is unsound.
fn read(payload: &[u8]) -> Option<Vec<StartNode>> {
    payload.chunks(StartNode::BYTES).map(|bytes| StartNode::parse(bytes).ok()).collect()
}

#[cfg(test)]
mod tests;
