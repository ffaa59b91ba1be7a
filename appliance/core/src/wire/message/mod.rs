//! What appliances say to each other: the messages inside datagrams.
//!
//! Owns the layouts. A message is small and `Copy`; only a piece of the replicated state carries bytes along.
//! Which rule makes which field necessary is cited at the field.

mod cold;
mod cut;
mod delta;
mod fields;
mod group;
mod heartbeat;
mod operate;
mod order;
mod piece;
mod stream;

use super::{Error, Fields, Result};
use crate::fencing::Verdict;
use crate::id::{Ballot, Cluster};
use crate::io::Traffic;
use crate::wire::datagram::MESSAGE_MAX;
use crate::wire::node::Operation;
pub use cold::{KNOWN_MAX, Known, Report, ServicePage, Standing, TOLD_MAX, VolumePage};
pub use cut::{CutReport, Cuts};
pub use delta::Proposal;
use fields::{Reader, Writer};
pub use group::{GroupReport, TakeoverReport, Wish};
pub use heartbeat::{Health, Heartbeat, LocalNode};
pub use operate::Answer as Operated;
pub use order::{LOCAL_GUARD, LOCAL_MONITOR, Order};
pub use piece::{PIECE_BYTES, Piece};
pub use stream::{Ends, Stream};

/// A place in the order of states: accepted only upwards (SAFETY A3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Under which ballot.
    pub ballot: Ballot,
    /// Which version.
    pub version: u64,
}

impl Slot {
    /// Before every state.
    pub const NONE: Self = Self { ballot: Ballot::NONE, version: 0 };
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// I am this incarnation; who are you? Answered whatever it says (SAFETY A7).
    Hello {
        /// Echoed by the answer.
        nonce: u64,
    },
    /// I am this incarnation, now.
    HelloAnswer {
        /// From the HELLO.
        nonce: u64,
    },
    /// Member to leader.
    Heartbeat(Heartbeat),
    /// Leader to member.
    Answer {
        /// The heartbeat that it answers.
        number: u32,
        /// The leader's ballot.
        ballot: Ballot,
        /// The leader's clock.
        stamp: u64,
        /// The newest committed state.
        committed: Slot,
        /// Its cluster incarnation: what serves another one is renewed by nobody's answer (SAFETY B5).
        cluster: Cluster,
    },
    /// Has anybody heard a leader? Raises nothing (SAFETY A6).
    Ask {
        /// Names the question.
        number: u32,
        /// The highest ballot that the asker promised: a leader below it must stand again.
        promised: Ballot,
    },
    /// Answer to ASK.
    AskAnswer {
        /// From the question.
        number: u32,
        /// The leader that was heard within P; none if none was.
        leader: Ballot,
        /// The highest ballot that was promised.
        promised: Ballot,
        /// Whether the answerer holds any state.
        memory: bool,
        /// Whether its vote counts by now (SAFETY B1).
        may_vote: bool,
        /// For how long it has heard no leader, milliseconds (SAFETY B2).
        leaderless_ms: u32,
        /// The cluster incarnation of what it accepted last: only one's own counts.
        cluster: Cluster,
        /// What it accepted last.
        accepted: Slot,
        /// What it knows to be committed: who knows of a commit tells.
        committed: Slot,
    },
    /// Vote for me.
    Vote {
        /// Under which ballot.
        ballot: Ballot,
        /// How the candidate stands.
        standing: Standing,
    },
    /// Answer to VOTE.
    VoteAnswer {
        /// The ballot that it is about.
        ballot: Ballot,
        /// Promised, or not.
        granted: bool,
        /// The highest ballot that was promised.
        promised: Ballot,
        /// What the voter accepted last.
        accepted: Slot,
        /// The digest of that state.
        digest: u64,
        /// Whether it is one of those whose memory elections rest on (SAFETY B1).
        elector: bool,
        /// The cluster incarnation of that state.
        cluster: Cluster,
        /// What it knows to be committed.
        committed: Slot,
    },
    /// Candidate to voter: send me the state that you accepted.
    Fetch {
        /// The candidate's ballot.
        ballot: Ballot,
        /// Which state.
        slot: Slot,
    },
    /// A piece of a state; its bytes follow.
    Piece(Piece),
    /// A piece of a delta; its bytes follow.
    Delta(Proposal),
    /// The receiver of a delta does not hold its base: send the whole state.
    NeedWhole {
        /// The slot of the proposal.
        slot: Slot,
    },
    /// Accepted.
    Accept {
        /// What.
        slot: Slot,
        /// The digest of what was accepted.
        digest: u64,
    },
    /// A leader's word that a state is committed.
    Commit {
        /// Which.
        slot: Slot,
        /// Its cluster incarnation.
        cluster: Cluster,
        /// It names the receiver. Whom it does not name, and who serves a lower cluster incarnation, is empty (SAFETY B5).
        named: bool,
    },
    /// Leader to executor.
    Order(Order),
    /// Executor to leader.
    OrderAnswer {
        /// From the order.
        ballot: Ballot,
        /// From the order.
        attempt: u32,
        /// How it ended.
        verdict: Verdict,
        /// The device was asked; otherwise another executor may try.
        tried: bool,
    },
    /// To an incarnation that is condemned: stop your nodes and restart (SAFETY F4, F5).
    Condemned {
        /// The committed version that says so.
        version: u64,
    },
    /// Member to leader: an operator wants this.
    Operate {
        /// Names the request, for ever.
        request: u64,
        /// What, of whom.
        operation: Operation,
    },
    /// Leader to member: what became of a request.
    Operated {
        /// Which.
        request: u64,
        /// What.
        answer: Operated,
    },
    /// Member to leader: what a node said about a volume.
    GroupReport(GroupReport),
    /// Member to leader: what an owner said about a service.
    TakeoverReport(TakeoverReport),
    /// Member to leader: whom a node's DLM does not reach.
    CutReport(CutReport),
    /// Messages from node to node.
    Stream(Stream),
    /// Member to leader: what a local session knows, after a cold start.
    Report(Report),
    /// Member to leader: what it says of a volume.
    VolumePage(VolumePage),
    /// Member to leader: what it says of a service.
    ServicePage(ServicePage),
}

mod kind {
    pub const HELLO: u8 = 1;
    pub const HELLO_ANSWER: u8 = 2;
    pub const HEARTBEAT: u8 = 3;
    pub const ANSWER: u8 = 4;
    pub const ASK: u8 = 5;
    pub const ASK_ANSWER: u8 = 6;
    pub const VOTE: u8 = 7;
    pub const VOTE_ANSWER: u8 = 8;
    pub const FETCH: u8 = 9;
    pub const PIECE: u8 = 10;
    pub const ACCEPT: u8 = 11;
    pub const COMMIT: u8 = 12;
    pub const ORDER: u8 = 13;
    pub const ORDER_ANSWER: u8 = 14;
    pub const CONDEMNED: u8 = 15;
    pub const OPERATE: u8 = 30;
    pub const OPERATED: u8 = 31;
    pub const REPORT: u8 = 24;
    pub const VOLUME_PAGE: u8 = 25;
    pub const SERVICE_PAGE: u8 = 26;
    pub const DELTA: u8 = 28;
    pub const NEED_WHOLE: u8 = 29;
    pub const GROUP_REPORT: u8 = 17;
    pub const TAKEOVER_REPORT: u8 = 18;
    pub const CUT_REPORT: u8 = 32;
    pub const OPEN: u8 = 20;
    pub const CARRY: u8 = 21;
    pub const ACKED: u8 = 22;
    pub const OVER: u8 = 23;
}

impl Message {
    /// Which class of traffic it belongs to.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        match self {
            Self::Piece(_)
            | Self::Delta(_)
            | Self::NeedWhole { .. }
            | Self::Fetch { .. }
            | Self::Order(_)
            | Self::OrderAnswer { .. }
            | Self::GroupReport(_)
            | Self::TakeoverReport(_)
            | Self::VolumePage(_)
            | Self::ServicePage(_)
            | Self::CutReport(_)
            | Self::Operate { .. }
            | Self::Operated { .. } => Traffic::State,
            Self::Stream(_) => Traffic::Messages,
            _ => Traffic::Membership,
        }
    }

    /// Writes the message, and `piece` behind it if it is a piece or carries a message; returns its length.
    pub fn emit(&self, buffer: &mut [u8; MESSAGE_MAX], piece: &[u8]) -> usize {
        let mut w = Writer { buffer: buffer.as_mut_slice(), at: 0 };
        match *self {
            Self::Hello { nonce } => w.u8(kind::HELLO).u64(nonce),
            Self::HelloAnswer { nonce } => w.u8(kind::HELLO_ANSWER).u64(nonce),
            Self::Heartbeat(ref beat) => return heartbeat::emit(beat, w),
            Self::Answer { number, ballot, stamp, committed, cluster } => {
                w.u8(kind::ANSWER).u32(number).ballot(ballot).u64(stamp).slot(committed).cluster(cluster)
            }
            Self::Ask { number, promised } => w.u8(kind::ASK).u32(number).ballot(promised),
            Self::AskAnswer {
                number,
                leader,
                promised,
                memory,
                may_vote,
                leaderless_ms,
                cluster,
                accepted,
                committed,
            } => w
                .u8(kind::ASK_ANSWER)
                .u32(number)
                .ballot(leader)
                .ballot(promised)
                .flag(memory)
                .flag(may_vote)
                .u32(leaderless_ms)
                .cluster(cluster)
                .slot(accepted)
                .slot(committed),
            Self::Vote { ballot, standing } => w.u8(kind::VOTE).ballot(ballot).u8(standing as u8),
            Self::VoteAnswer { ballot, granted, promised, accepted, digest, elector, cluster, committed } => w
                .u8(kind::VOTE_ANSWER)
                .ballot(ballot)
                .flag(granted)
                .ballot(promised)
                .slot(accepted)
                .u64(digest)
                .flag(elector)
                .cluster(cluster)
                .slot(committed),
            Self::Fetch { ballot, slot } => w.u8(kind::FETCH).ballot(ballot).slot(slot),
            Self::Piece(ref head) => return piece::emit(head, w, piece),
            Self::Delta(ref head) => return delta::emit(head, w, piece),
            Self::NeedWhole { slot } => w.u8(kind::NEED_WHOLE).slot(slot),
            Self::Stream(ref stream) => return stream.emit(w, piece),
            Self::Accept { slot, digest } => w.u8(kind::ACCEPT).slot(slot).u64(digest),
            Self::Commit { slot, cluster, named } => w.u8(kind::COMMIT).slot(slot).cluster(cluster).flag(named),
            Self::Order(ref order) => order::emit(order, w.u8(kind::ORDER)),
            Self::OrderAnswer { ballot, attempt, verdict, tried } => {
                order::emit_verdict(verdict, w.u8(kind::ORDER_ANSWER).ballot(ballot).u32(attempt)).flag(tried)
            }
            Self::Condemned { version } => w.u8(kind::CONDEMNED).u64(version),
            Self::GroupReport(ref report) => group::emit_group(kind::GROUP_REPORT, report, &mut w),
            Self::TakeoverReport(ref report) => group::emit_takeover(kind::TAKEOVER_REPORT, report, &mut w),
            Self::CutReport(ref report) => cut::emit(report, &mut w),
            Self::Operate { request, ref operation } => operate::emit(request, operation, w.u8(kind::OPERATE)),
            Self::Operated { request, answer } => operate::emit_answer(request, answer, w.u8(kind::OPERATED)),
            Self::Report(ref report) => cold::emit(report, &mut w),
            Self::VolumePage(ref page) => page.emit(kind::VOLUME_PAGE, &mut w),
            Self::ServicePage(ref page) => page.emit(kind::SERVICE_PAGE, &mut w),
        };
        w.at
    }

    /// Reads a message; for a piece or a carried message, also the bytes behind it.
    ///
    /// # Errors
    /// Unknown kind, wrong length, or a value that its field does not allow.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8])> {
        let mut r = Reader { fields: Fields(bytes), at: 0 };
        let message = match r.u8() {
            kind::HELLO => Self::Hello { nonce: r.u64() },
            kind::HELLO_ANSWER => Self::HelloAnswer { nonce: r.u64() },
            kind::HEARTBEAT => Self::Heartbeat(heartbeat::parse(&mut r)?),
            kind::ANSWER => Self::Answer {
                number: r.u32(),
                ballot: r.ballot(),
                stamp: r.u64(),
                committed: r.slot(),
                cluster: r.cluster(),
            },
            kind::ASK => Self::Ask { number: r.u32(), promised: r.ballot() },
            kind::ASK_ANSWER => ask_answer(&mut r)?,
            kind::VOTE => Self::Vote { ballot: r.ballot(), standing: Standing::from_wire(r.u8())? },
            kind::VOTE_ANSWER => Self::VoteAnswer {
                ballot: r.ballot(),
                granted: r.flag()?,
                promised: r.ballot(),
                accepted: r.slot(),
                digest: r.u64(),
                elector: r.flag()?,
                cluster: r.cluster(),
                committed: r.slot(),
            },
            kind::FETCH => Self::Fetch { ballot: r.ballot(), slot: r.slot() },
            kind::PIECE => return piece::parse(bytes),
            kind::DELTA => return delta::parse(bytes),
            kind::NEED_WHOLE => Self::NeedWhole { slot: r.slot() },
            kind::OPEN..=kind::OVER => {
                let (stream, carried) = Stream::parse(bytes)?;
                return Ok((Self::Stream(stream), carried));
            }
            kind::ACCEPT => Self::Accept { slot: r.slot(), digest: r.u64() },
            kind::COMMIT => Self::Commit { slot: r.slot(), cluster: r.cluster(), named: r.flag()? },
            kind::ORDER => Self::Order(order::parse(&mut r)?),
            kind::ORDER_ANSWER => Self::OrderAnswer {
                ballot: r.ballot(),
                attempt: r.u32(),
                verdict: order::parse_verdict(r.u8(), r.u8())?,
                tried: r.flag()?,
            },
            kind::CONDEMNED => Self::Condemned { version: r.u64() },
            kind::GROUP_REPORT => Self::GroupReport(group::parse_group(&mut r)?),
            kind::TAKEOVER_REPORT => Self::TakeoverReport(group::parse_takeover(&mut r)?),
            kind::CUT_REPORT => Self::CutReport(cut::parse(&mut r)?),
            kind::OPERATE => {
                let (request, operation) = operate::parse(&mut r)?;
                Self::Operate { request, operation }
            }
            kind::OPERATED => {
                let (request, answer) = operate::parse_answer(&mut r)?;
                Self::Operated { request, answer }
            }
            kind::REPORT => Self::Report(cold::parse(&mut r)?),
            kind::VOLUME_PAGE => Self::VolumePage(VolumePage::parse(&mut r)?),
            kind::SERVICE_PAGE => Self::ServicePage(ServicePage::parse(&mut r)?),
            _ => return Err(Error),
        };
        if r.at == bytes.len() { Ok((message, &[])) } else { Err(Error) }
    }
}

fn ask_answer(r: &mut Reader<'_>) -> Result<Message> {
    Ok(Message::AskAnswer {
        number: r.u32(),
        leader: r.ballot(),
        promised: r.ballot(),
        memory: r.flag()?,
        may_vote: r.flag()?,
        leaderless_ms: r.u32(),
        cluster: r.cluster(),
        accepted: r.slot(),
        committed: r.slot(),
    })
}

#[cfg(test)]
mod tests;
