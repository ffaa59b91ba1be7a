//! The node protocol: what shims, node clients and operators say to an appliance, as bodies of frames.
//!
//! Owns the kinds and the layouts of session and membership, for both roads (the shim's channel and vsock); what the fields
//! hold, and further kinds, have rooms of their own: a room with kinds keeps its numbers, an enum, `parse` and `emit_body`,
//! and is one variant and one line of `Message` here. The C header of the shim follows these files; a test
//! holds the two together. Rules: DESIGN §6, SAFETY G5 (session ids), C3 (stamps), F4 (condemned).
//!
//! ```text
//! node                                        appliance
//!  | HELLO(node, incarnation, nonce) ------->  |   repeated until answered
//!  | <------- WELCOME(nonce, session, times)   |   a new session id each time; older ones are dead
//!  | BEAT(stamp) --------------------------->  |   the first BEAT opens the session
//!  | <------- LEASE(stamp as sent, lease_ms)   |   lease ends lease_ms after *that* stamp, by the node's clock
//!  | <------- VIEW, NODE_UP, NODE_SUSPECT, NODE_DOWN
//!  | LAST_GASP(reason) / BYE --------------->  |
//!  | <------- ERROR(code)                      |   condemned, wrong node, ...: the node resets itself
//! ```

mod dlm;
mod field;
mod group;
mod mail;
mod operate;
mod operator;
mod refusal;
mod report;
mod takeover;
mod view;

pub use dlm::Dlm;
pub use group::{Fate, Group, START_ENTRIES, StartNode};
pub use mail::{Address, Mail};
pub use operate::{Operation, Wish};
pub use operator::{Section, Target};
pub use refusal::{Gasp, Refusal};
pub use report::{Account, ServiceTale, TOLD_ENTRIES, Tale, VolumeState, VolumeTale};
pub use takeover::{Given, Takeover, What};
pub use view::{NodeEvent, NodeState, ViewNode};

use super::frame::{BODY_BYTES, Frame};
use super::{Error, Fields, Result, put};
use crate::id::{Ballot, Cluster, HostId, Incarnation, NodeId};

mod kind {
    pub const HELLO: u8 = 1;
    pub const WELCOME: u8 = 2;
    pub const BEAT: u8 = 3;
    pub const LEASE: u8 = 4;
    pub const BYE: u8 = 5;
    pub const LAST_GASP: u8 = 6;
    pub const ERROR: u8 = 7;
    pub const BUSY: u8 = 8;
    pub const VIEW: u8 = 9;
    pub const NODE_UP: u8 = 10;
    pub const NODE_SUSPECT: u8 = 11;
    pub const NODE_DOWN: u8 = 12;
    pub const STATUS: u8 = 13;
    pub const STATUS_PART: u8 = 14;
    pub const FENCE: u8 = 15;
    pub const FENCE_REPLY: u8 = 16;
    pub const SEND: u8 = 27;
    pub const RECV: u8 = 28;
    pub const ACK: u8 = 29;
    pub const GONE: u8 = 30;
    pub const ADDRESS: u8 = 31;
    pub const ADDRESS_REPLY: u8 = 32;
    pub const OPERATE: u8 = 35;
    pub const OPERATE_REPLY: u8 = 36;
}

/// One message of the node protocol. Payloads (VIEW, STATUS_PART) stay in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Node -> appliance: this incarnation wants a session.
    Hello {
        /// Its number.
        node: NodeId,
        /// Changes at each boot of the node.
        incarnation: Incarnation,
        /// Echoed by WELCOME, so that a stale WELCOME is known.
        nonce: u64,
        /// The cluster incarnation that it serves, as a WELCOME named it last; none: it never served any (SAFETY B5).
        served: Cluster,
    },
    /// Appliance -> node: here is your session (its id is in the frame's head).
    Welcome {
        /// From HELLO.
        nonce: u64,
        /// Whose appliance this is.
        host: HostId,
        /// For which node the session speaks.
        node: NodeId,
        /// Beat that often, milliseconds.
        beat_ms: u32,
        /// A lease is that long, milliseconds.
        lease_ms: u32,
        /// The cluster incarnation; none: a cold start is collecting, so report, and what you served before stays known.
        cluster: Cluster,
    },
    /// Node -> appliance: I live; `stamp` is my clock.
    Beat {
        /// Opaque to everybody but the node.
        stamp: u64,
    },
    /// Appliance -> node: your lease counts from this stamp.
    Lease {
        /// From the BEAT that was answered all the way from the leader (SAFETY C3).
        stamp: u64,
        /// For how long, milliseconds.
        lease_ms: u32,
    },
    /// Node -> appliance: I leave in peace.
    Bye,
    /// Node -> appliance: I am dying.
    LastGasp {
        /// Why.
        reason: Gasp,
    },
    /// Appliance -> node: refused.
    Error {
        /// Why.
        refusal: Refusal,
    },
    /// Appliance -> node: too much; nothing was accepted.
    Busy,
    /// Appliance -> node: a part of the committed view; entries in the payload.
    View {
        /// The view's version.
        version: u64,
        /// Under whose ballot it was committed.
        ballot: Ballot,
        /// First part: 0.
        part: u16,
        /// How many parts.
        parts: u16,
    },
    /// Appliance -> node: this incarnation is a member.
    NodeUp(NodeEvent),
    /// Appliance -> node: this incarnation is accused; nothing may be concluded from it.
    NodeSuspect(NodeEvent),
    /// Appliance -> node: this incarnation can no longer write. Only after Confirmed.
    NodeDown(NodeEvent),
    /// Anybody -> appliance: how are things.
    Status {
        /// What is asked.
        section: Section,
        /// Skip so many entries.
        first: u16,
    },
    /// Appliance -> asker: entries in the payload.
    StatusPart {
        /// What was asked.
        section: Section,
        /// The payload starts with this entry.
        first: u16,
        /// It holds so many.
        count: u16,
        /// There are so many.
        total: u16,
    },
    /// Operator -> appliance: fence this.
    Fence {
        /// Whom.
        target: Target,
    },
    /// Appliance -> operator: the decision is committed under this view.
    FenceReply {
        /// Whom.
        target: Target,
        /// The committed version.
        version: u64,
    },
    /// Operator -> appliance: this is wanted.
    Operate(Operation),
    /// Appliance -> operator: it is committed.
    OperateReply {
        /// About whom.
        target: Target,
        /// The committed version.
        version: u64,
    },
    /// From node to node, and where a node is.
    Mail(Mail),
    /// About a group.
    Group(Group),
    /// About a takeover.
    Takeover(Takeover),
    /// Node -> appliance: what it knows of the time before; some entries are in the payload.
    Report(Account),
    /// About DLMs.
    Dlm(Dlm),
}

impl Message {
    /// Reads the message in a frame.
    ///
    /// # Errors
    /// Not a kind of this protocol, or a value that its field does not allow.
    pub fn parse(frame: &Frame<'_>) -> Result<Self> {
        let body = Fields(&frame.body);
        if let Some(mail) = Mail::parse(frame.kind, &body)? {
            return Ok(Self::Mail(mail));
        }
        let node = NodeId::new(body.u8(field::NODE));
        let stamp = body.u64(field::STAMP);
        let lease_ms = body.u32(field::LEASE);
        Ok(match frame.kind {
            kind::HELLO => {
                Self::Hello { node, incarnation: body.u64(field::INCARNATION), nonce: stamp, served: served(&body)? }
            }
            kind::WELCOME => Self::Welcome {
                nonce: stamp,
                host: HostId::new(body.u8(field::HOST)),
                node,
                beat_ms: body.u32(field::BEAT),
                lease_ms,
                cluster: Cluster { number: body.u32(field::CLUSTER), random: body.u32(field::RANDOM) },
            },
            kind::BEAT => Self::Beat { stamp },
            kind::LEASE => Self::Lease { stamp, lease_ms },
            kind::BYE => Self::Bye,
            kind::LAST_GASP => Self::LastGasp { reason: Gasp::from_wire(body.u8(field::CODE))? },
            kind::ERROR => Self::Error { refusal: Refusal::from_wire(body.u8(field::CODE))? },
            kind::BUSY => Self::Busy,
            kind::VIEW => Self::View {
                version: body.u64(field::VERSION),
                ballot: Ballot { round: body.u32(field::ROUND), host: HostId::new(body.u8(field::HOST)) },
                part: body.u16(field::PART),
                parts: body.u16(field::PARTS),
            },
            kind::NODE_UP => Self::NodeUp(NodeEvent::read(&body)?),
            kind::NODE_SUSPECT => Self::NodeSuspect(NodeEvent::read(&body)?),
            kind::NODE_DOWN => {
                let event = NodeEvent::read(&body)?;
                if event.class.is_none() {
                    return Err(Error);
                }
                Self::NodeDown(event)
            }
            kind::STATUS => {
                Self::Status { section: Section::from_wire(body.u8(field::CODE))?, first: body.u16(field::PART) }
            }
            kind::STATUS_PART => Self::StatusPart {
                section: Section::from_wire(body.u8(field::CODE))?,
                first: body.u16(field::PART),
                count: body.u16(field::PARTS),
                total: body.u16(field::TOTAL),
            },
            kind::FENCE => Self::Fence { target: Target::read(&body)? },
            kind::FENCE_REPLY => Self::FenceReply { target: Target::read(&body)?, version: body.u64(field::VERSION) },
            kind::OPERATE => Self::Operate(Operation::read(&body)?),
            kind::OPERATE_REPLY => {
                Self::OperateReply { target: Target::read(&body)?, version: body.u64(field::VERSION) }
            }
            other => {
                let group = Group::parse(other, &body).map(|group| group.map(Self::Group));
                let takeover = || Takeover::parse(other, &body).map(|takeover| takeover.map(Self::Takeover));
                let dlm = || Dlm::parse(other, &body).map(|dlm| dlm.map(Self::Dlm));
                let report = || Account::parse(other, &body).map(|account| account.map(Self::Report));
                return group.or_else(takeover).or_else(dlm).or_else(report).unwrap_or(Err(Error));
            }
        })
    }

    /// The frame that carries the message.
    #[must_use]
    pub fn frame<'p>(&self, session: u32, sequence: u32, payload: &'p [u8]) -> Frame<'p> {
        let mut body = [0; BODY_BYTES];
        let kind = self.emit_body(&mut body);
        Frame { kind, session, sequence, body, payload }
    }

    fn emit_body(&self, body: &mut [u8; BODY_BYTES]) -> u8 {
        match *self {
            Self::Hello { node, incarnation, nonce, served } => {
                put(body, field::CLUSTER, served.number.to_le_bytes());
                put(body, field::SERVED, served.random.to_le_bytes());
                put(body, field::NODE, [node.get()]);
                put(body, field::INCARNATION, incarnation.to_le_bytes());
                put(body, field::STAMP, nonce.to_le_bytes());
                kind::HELLO
            }
            Self::Welcome { nonce, host, node, beat_ms, lease_ms, cluster } => {
                put(body, field::NODE, [node.get(), host.get()]);
                put(body, field::STAMP, nonce.to_le_bytes());
                put(body, field::LEASE, lease_ms.to_le_bytes());
                put(body, field::BEAT, beat_ms.to_le_bytes());
                put(body, field::CLUSTER, cluster.number.to_le_bytes());
                put(body, field::RANDOM, cluster.random.to_le_bytes());
                kind::WELCOME
            }
            Self::Beat { stamp } => {
                put(body, field::STAMP, stamp.to_le_bytes());
                kind::BEAT
            }
            Self::Lease { stamp, lease_ms } => {
                put(body, field::STAMP, stamp.to_le_bytes());
                put(body, field::LEASE, lease_ms.to_le_bytes());
                kind::LEASE
            }
            Self::Bye => kind::BYE,
            Self::LastGasp { reason } => code(body, reason as u8, kind::LAST_GASP),
            Self::Error { refusal } => code(body, refusal as u8, kind::ERROR),
            Self::Busy => kind::BUSY,
            Self::View { version, ballot, part, parts } => {
                put(body, field::HOST, [ballot.host.get()]);
                put(body, field::VERSION, version.to_le_bytes());
                put(body, field::ROUND, ballot.round.to_le_bytes());
                put(body, field::PART, part.to_le_bytes());
                put(body, field::PARTS, parts.to_le_bytes());
                kind::VIEW
            }
            Self::NodeUp(event) => event.write(body, kind::NODE_UP),
            Self::NodeSuspect(event) => event.write(body, kind::NODE_SUSPECT),
            Self::NodeDown(event) => event.write(body, kind::NODE_DOWN),
            Self::Status { section, first } => {
                put(body, field::PART, first.to_le_bytes());
                code(body, section as u8, kind::STATUS)
            }
            Self::StatusPart { section, first, count, total } => {
                put(body, field::PART, first.to_le_bytes());
                put(body, field::PARTS, count.to_le_bytes());
                put(body, field::TOTAL, total.to_le_bytes());
                code(body, section as u8, kind::STATUS_PART)
            }
            Self::Fence { target } => target.write(body, kind::FENCE),
            Self::FenceReply { target, version } => {
                put(body, field::VERSION, version.to_le_bytes());
                target.write(body, kind::FENCE_REPLY)
            }
            Self::Operate(ref operation) => operation.write(body, kind::OPERATE),
            Self::OperateReply { target, version } => {
                put(body, field::VERSION, version.to_le_bytes());
                target.write(body, kind::OPERATE_REPLY)
            }
            Self::Mail(mail) => mail.emit_body(body),
            Self::Group(ref group) => group.emit_body(body),
            Self::Takeover(ref takeover) => takeover.emit_body(body),
            Self::Report(ref account) => account.emit_body(body),
            Self::Dlm(ref dlm) => dlm.emit_body(body),
        }
    }
}

/// The cluster incarnation of a HELLO. Half of all numbers are left to us: no guest can make a cold start run out of them.
fn served(body: &Fields<'_>) -> Result<Cluster> {
    let served = Cluster { number: body.u32(field::CLUSTER), random: body.u32(field::SERVED) };
    if served.number <= Cluster::NUMBER_MAX / 2 { Ok(served) } else { Err(Error) }
}

fn code(body: &mut [u8], code: u8, kind: u8) -> u8 {
    put(body, field::CODE, [code]);
    kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fencing::Class;

    #[test]
    fn each_message_survives_its_frame() {
        let event = NodeEvent {
            node: NodeId::new(2),
            host: HostId::new(3),
            class: Some(Class::PowerOff),
            incarnation: u64::MAX,
            version: 1 << 40,
        };
        let node = NodeId::new(9);
        let cluster = Cluster { number: 3, random: 33 };
        for message in [
            Message::Hello { node, incarnation: 4, nonce: 5, served: cluster },
            Message::Welcome { nonce: 5, host: HostId::new(1), node, beat_ms: 200, lease_ms: 5000, cluster },
            Message::Beat { stamp: 6 },
            Message::Lease { stamp: 6, lease_ms: 7 },
            Message::Bye,
            Message::LastGasp { reason: Gasp::Panic },
            Message::Error { refusal: Refusal::Condemned },
            Message::Busy,
            Message::View { version: 8, ballot: Ballot { round: 2, host: HostId::new(255) }, part: 1, parts: 2 },
            Message::NodeUp(NodeEvent { class: None, ..event }),
            Message::NodeSuspect(NodeEvent { class: None, ..event }),
            Message::NodeDown(event),
            Message::Status { section: Section::History, first: 10 },
            Message::StatusPart { section: Section::Nodes, first: 1, count: 2, total: 3 },
            Message::Fence { target: Target::Host(HostId::new(3)) },
            Message::FenceReply { target: Target::Node(node), version: 12 },
            Message::Operate(Operation {
                wish: Wish::Maintain,
                target: Target::Host(HostId::new(3)),
                force: true,
                duration_ms: u32::MAX,
                incarnation: 7,
                who: crate::who::Who::new("ann").unwrap_or_default(),
            }),
            Message::OperateReply { target: Target::Node(node), version: 13 },
        ] {
            assert_eq!(Message::parse(&message.frame(1, 2, &[])), Ok(message));
        }
    }

    #[test]
    fn a_node_down_without_evidence_is_no_message() {
        let event = NodeEvent { node: NodeId::new(2), host: HostId::new(3), class: None, incarnation: 1, version: 1 };
        assert_eq!(Message::parse(&Message::NodeDown(event).frame(1, 2, &[])), Err(Error));
    }
}
