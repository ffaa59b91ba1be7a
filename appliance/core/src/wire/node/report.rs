//! What a session knows of the time before a cold start: REPORT, REPORT_GROUP, REPORT_SERVICE (SAFETY B4).
//!
//! Owns the kinds and their layouts. The payload of REPORT holds entries as in VIEW: which incarnations the node was told to
//! be down, and which it thinks are up; that of REPORT_GROUP two generations, and entries as in START.
//!
//! ```text
//! node                                        appliance
//!  | HELLO(cluster incarnation served last) ->  |
//!  | <------- WELCOME(cluster incarnation)      |   none: a cold start is collecting; what was served before stays known
//!  | REPORT(part of parts) ... -------------->  |   at once, if anything was served before
//!  | REPORT_GROUP(part of parts) ... -------->  |   for each volume that is open or being opened
//!  | REPORT_SERVICE ... --------------------->  |   for each service that it has or was given
//! ```

use super::field;
use super::group::StartNode;
use super::takeover::Given;
use crate::id::{Cluster, Label, NodeId, Volume};
use crate::limits::{FRAME_PAYLOAD_MAX, GROUPS_MAX, TAKEOVERS_MAX};
use crate::wire::{Error, Fields, Result, put};

mod kind {
    pub const REPORT: u8 = 33;
    pub const REPORT_GROUP: u8 = 34;
    pub const REPORT_SERVICE: u8 = 39;
}

mod own {
    pub const WHICH: usize = 1;
    pub const STATE: usize = 2;
    pub const FLAGS: usize = 3;
    pub const PROGRESS: usize = 3;
    pub const CLUSTER: usize = 8;
    pub const TELLS: usize = 24;
    pub const VOLUMES: usize = 25;
    pub const SERVICES: usize = 26;
    pub const VOLUME: usize = 24;
}

/// RECOVERED was said of the last START.
const RECOVERED: u8 = 1;
/// Bytes of a REPORT_GROUP's payload before its entries.
const GENERATIONS_BYTES: usize = 16;
/// Entries of one part of a REPORT_GROUP.
pub const TOLD_ENTRIES: usize = (FRAME_PAYLOAD_MAX - GENERATIONS_BYTES) / StartNode::BYTES;
/// Parts of one REPORT_GROUP at most: every node, and an earlier incarnation of each.
pub const TOLD_PARTS_MAX: u16 = 16;

/// A part of a report; entries in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tale {
    /// Whose.
    pub node: NodeId,
    /// First part: 0.
    pub part: u8,
    /// How many parts, at most 8.
    pub parts: u8,
    /// The highest version, generation or token that it was ever told.
    pub version: u64,
    /// Of how many volumes and services it tells; `None`: it tells nothing of them.
    pub tells: Option<(u8, u8)>,
}

impl Tale {
    fn parse(body: &Fields<'_>) -> Result<Self> {
        let tells = match body.u8(own::TELLS) {
            0 => None,
            1 => Some((body.u8(own::VOLUMES), body.u8(own::SERVICES))),
            _ => return Err(Error),
        };
        let tale = Self {
            node: NodeId::new(body.u8(field::NODE)),
            part: body.u8(field::PART),
            parts: body.u8(field::PARTS),
            version: body.u64(field::VERSION),
            tells,
        };
        let fits = |(volumes, services)| usize::from(volumes) <= GROUPS_MAX && usize::from(services) <= TAKEOVERS_MAX;
        let sound = tale.part < tale.parts && tale.parts <= 8 && tells.is_none_or(fits);
        if sound && is_honest(tale.version) { Ok(tale) } else { Err(Error) }
    }

    fn emit_body(&self, body: &mut [u8]) -> u8 {
        put(body, field::NODE, [self.node.get()]);
        put(body, field::PART, [self.part]);
        put(body, field::PARTS, [self.parts]);
        put(body, field::VERSION, self.version.to_le_bytes());
        if let Some((volumes, services)) = self.tells {
            put(body, own::TELLS, [1, volumes, services]);
        }
        kind::REPORT
    }
}

/// Half of all numbers are left to us: no guest can make the next cold start run out of them.
fn is_honest(version: u64) -> bool {
    Cluster::number_of(version) <= Cluster::NUMBER_MAX / 2
}

/// How a volume is in a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum VolumeState {
    /// It asked for it, and was never started with it.
    #[default]
    Joined = 1,
    /// It ran, and stopped for a barrier.
    Stopped = 2,
    /// It runs.
    Started = 3,
}

impl VolumeState {
    /// The state with this number on the wire.
    ///
    /// # Errors
    /// None such.
    pub fn from_wire(number: u8) -> Result<Self> {
        [Self::Joined, Self::Stopped, Self::Started].into_iter().find(|state| *state as u8 == number).ok_or(Error)
    }
}

/// A part of what a node says of one volume; two generations and entries of START in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeTale {
    /// Whose.
    pub node: NodeId,
    /// Which of its volumes, from 0.
    pub which: u8,
    /// How the volume is there.
    pub state: VolumeState,
    /// RECOVERED was said of the last START.
    pub recovered: bool,
    /// First part: 0.
    pub part: u16,
    /// How many parts.
    pub parts: u16,
    /// The cluster, as in JOIN.
    pub cluster: Label,
    /// The volume.
    pub volume: Volume,
}

impl VolumeTale {
    fn parse(body: &Fields<'_>) -> Result<Self> {
        let tale = Self {
            node: NodeId::new(body.u8(field::NODE)),
            which: body.u8(own::WHICH),
            state: VolumeState::from_wire(body.u8(own::STATE))?,
            recovered: body.u8(own::FLAGS) & RECOVERED != 0,
            part: body.u16(field::PART),
            parts: body.u16(field::PARTS),
            cluster: Label(body.array(own::CLUSTER)),
            volume: Label(body.array(own::VOLUME)),
        };
        let sound = tale.part < tale.parts && tale.parts <= TOLD_PARTS_MAX && usize::from(tale.which) < GROUPS_MAX;
        if sound && tale.volume.is_some() { Ok(tale) } else { Err(Error) }
    }

    fn emit_body(&self, body: &mut [u8]) -> u8 {
        put(body, field::NODE, [self.node.get(), self.which, self.state as u8, u8::from(self.recovered) * RECOVERED]);
        put(body, field::PART, self.part.to_le_bytes());
        put(body, field::PARTS, self.parts.to_le_bytes());
        put(body, own::CLUSTER, self.cluster.0);
        put(body, own::VOLUME, self.volume.0);
        kind::REPORT_GROUP
    }

    /// Writes a payload: the generations of the last STOP and START, and entries. How long it is.
    pub fn emit_payload(buffer: &mut [u8; FRAME_PAYLOAD_MAX], generations: (u64, u64), entries: &[StartNode]) -> usize {
        put(buffer, 0, generations.0.to_le_bytes());
        put(buffer, 8, generations.1.to_le_bytes());
        let mut length = GENERATIONS_BYTES;
        for entry in entries.iter().take(TOLD_ENTRIES) {
            entry.emit(&mut buffer[length..length + StartNode::BYTES]);
            length += StartNode::BYTES;
        }
        length
    }

    /// Reads a payload: the generations of the last STOP and START, and entries.
    ///
    /// # Errors
    /// Too short, or generations that nobody can have told.
    pub fn read_payload(payload: &[u8]) -> Result<((u64, u64), impl Iterator<Item = StartNode>)> {
        let (head, rest) = payload.split_at_checked(GENERATIONS_BYTES).ok_or(Error)?;
        let (stopped, started) = (Fields(head).u64(0), Fields(head).u64(8));
        if !is_honest(stopped) || !is_honest(started) {
            return Err(Error);
        }
        let entries = rest.chunks_exact(StartNode::BYTES).filter_map(|bytes| StartNode::parse(bytes).ok());
        Ok(((stopped, started), entries))
    }
}

/// What a node says of one service that it has or was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTale {
    /// Which of its services, from 0.
    pub which: u8,
    /// As it was given.
    pub given: Given,
    /// It has it; otherwise it did not answer yet.
    pub taken: bool,
}

impl ServiceTale {
    fn parse(body: &Fields<'_>) -> Result<Self> {
        let which = body.u8(own::WHICH);
        let given = Given::read(body)?;
        let taken = match body.u8(own::PROGRESS) {
            1 => false,
            2 => true,
            _ => return Err(Error),
        };
        let sound = usize::from(which) < TAKEOVERS_MAX && is_honest(given.token);
        if sound { Ok(Self { which, given, taken }) } else { Err(Error) }
    }

    fn emit_body(&self, body: &mut [u8]) -> u8 {
        self.given.write(body);
        put(body, own::WHICH, [self.which]);
        put(body, own::PROGRESS, [1 + u8::from(self.taken)]);
        kind::REPORT_SERVICE
    }
}

/// One message of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Of the other nodes, and of how much else it tells.
    Nodes(Tale),
    /// Of a volume.
    Volume(VolumeTale),
    /// Of a service.
    Service(ServiceTale),
}

impl Account {
    /// The message in a body of this kind; `None`: not a kind of this room.
    pub(super) fn parse(number: u8, body: &Fields<'_>) -> Option<Result<Self>> {
        Some(match number {
            kind::REPORT => Tale::parse(body).map(Self::Nodes),
            kind::REPORT_GROUP => VolumeTale::parse(body).map(Self::Volume),
            kind::REPORT_SERVICE => ServiceTale::parse(body).map(Self::Service),
            _ => return None,
        })
    }

    pub(super) fn emit_body(&self, body: &mut [u8]) -> u8 {
        match self {
            Self::Nodes(tale) => tale.emit_body(body),
            Self::Volume(tale) => tale.emit_body(body),
            Self::Service(tale) => tale.emit_body(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::node::{Fate, Message, What};

    const NODE: NodeId = NodeId::new(9);

    #[test]
    fn each_message_survives_its_frame() {
        let volume = VolumeTale {
            node: NODE,
            which: 15,
            state: VolumeState::Stopped,
            recovered: true,
            part: 1,
            parts: 16,
            cluster: Label::named("mail"),
            volume: Label([7; 16]),
        };
        let given = Given { what: What::Named(Label::named("queue")), dead: NODE, incarnation: 3, token: 1 << 41 };
        for account in [
            Account::Nodes(Tale { node: NODE, part: 1, parts: 2, version: 9, tells: None }),
            Account::Nodes(Tale { node: NODE, part: 0, parts: 8, version: 1 << 41, tells: Some((0, 96)) }),
            Account::Volume(volume),
            Account::Volume(VolumeTale { state: VolumeState::Joined, recovered: false, parts: 2, ..volume }),
            Account::Service(ServiceTale { which: 95, given, taken: true }),
            Account::Service(ServiceTale { which: 0, given, taken: false }),
        ] {
            let message = Message::Report(account);
            assert_eq!(Message::parse(&message.frame(1, 2, &[])), Ok(message));
        }
    }

    #[test]
    fn the_layout_is_the_one_of_the_protocol_page() {
        let tale = Tale { node: NODE, part: 0, parts: 1, version: 5, tells: Some((2, 3)) };
        let frame = Message::Report(Account::Nodes(tale)).frame(1, 2, &[]);
        assert_eq!((frame.kind, frame.body[0], &frame.body[24..27]), (33, 9, &[1, 2, 3][..]));
        let tale = VolumeTale {
            node: NODE,
            which: 1,
            state: VolumeState::Started,
            recovered: true,
            part: 2,
            parts: 3,
            cluster: Label([4; 16]),
            volume: Label([5; 16]),
        };
        let frame = Message::Report(Account::Volume(tale)).frame(1, 2, &[]);
        assert_eq!((frame.kind, &frame.body[..8]), (34, &[9, 1, 3, 1, 2, 0, 3, 0][..]));
        assert_eq!((frame.body[8], frame.body[24]), (4, 5));
        let given = Given { what: What::Recovery(Label([6; 16])), dead: NODE, incarnation: 3, token: 8 };
        let tale = ServiceTale { which: 4, given, taken: true };
        let frame = Message::Report(Account::Service(tale)).frame(1, 2, &[]);
        assert_eq!((frame.kind, &frame.body[..4], frame.body[16], frame.body[24]), (39, &[9, 4, 1, 2][..], 8, 6));
    }

    #[test]
    fn a_payload_survives_its_bytes_and_no_guest_uses_the_numbers_up() {
        let entries = [StartNode { node: NODE, fate: Fate::Dead, incarnation: u64::MAX }; 3];
        let mut buffer = [0xa5; FRAME_PAYLOAD_MAX];
        let length = VolumeTale::emit_payload(&mut buffer, (8, 7), &entries);
        assert_eq!(length, 16 + 3 * 12);
        let (generations, read) = VolumeTale::read_payload(&buffer[..length]).expect("just written");
        assert_eq!(generations, (8, 7));
        assert!(read.eq(entries));
        assert!(VolumeTale::read_payload(&buffer[..15]).is_err());
        let _length = VolumeTale::emit_payload(&mut buffer, (u64::MAX, 7), &entries);
        assert!(VolumeTale::read_payload(&buffer).is_err());
    }

    #[test]
    fn what_no_field_allows_is_no_message() {
        let tale = Tale { node: NODE, part: 0, parts: 1, version: 5, tells: Some((17, 0)) };
        assert_eq!(Message::parse(&Message::Report(Account::Nodes(tale)).frame(1, 2, &[])), Err(Error));
        let given = Given { what: What::Recovery(Label([6; 16])), dead: NODE, incarnation: 3, token: u64::MAX };
        let tale = ServiceTale { which: 4, given, taken: true };
        assert_eq!(Message::parse(&Message::Report(Account::Service(tale)).frame(1, 2, &[])), Err(Error));
    }
}
