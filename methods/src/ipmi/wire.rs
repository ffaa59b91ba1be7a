//! The bytes of RMCP+ (IPMI 2.0) as far as switching a chassis needs them.
//!
//! Owns offsets, lengths and code numbers. Must never decide anything: what does not parse is `Error`, and a caller can
//! only drop it. Views never panic, whatever the bytes are. Rule: IPMI specification 2.0 rev 1.1, sections 13.6
//! (session header), 13.17 to 13.24 (open session and RAKP), 13.8 (message), 28 (chassis commands); its words are kept.
//!
//! ```text
//!  RMCP        session header                                            payload            trailer (authenticated only)
//! ┌────────────┬────┬──────┬────────────┬────────────────┬─────────────┬─────────────────┬──────┬─────────┬────┬───────┐
//! │06 00 ff 07 │ 06 │ type │ session id │ session seq    │ length LE16 │ length bytes    │ ff.. │ pad len │ 07 │ code  │
//! └────────────┴────┴──────┴────────────┴────────────────┴─────────────┴─────────────────┴──────┴─────────┴────┴───────┘
//!                ◄────────────────────── the integrity code covers this ──────────────────────────────────────►
//! ```

use core::fmt;

/// What does not parse. A caller can only drop and count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

/// Result of parsing or emitting.
pub type Result<T> = core::result::Result<T, Error>;

/// Longest datagram that this method sends or takes in, bytes. The longest real one is RAKP 2 of suite 17 (104); a
/// chassis status reply is about 80. Longer ones are dropped unread.
pub const DATAGRAM_MAX: usize = 256;

/// Longest user name, bytes (fixed by the specification).
pub const USER_MAX: usize = 16;

/// Longest password of RMCP+, bytes (fixed by the specification; a BMC cuts what is longer).
pub const PASSWORD_MAX: usize = 20;

/// Where the fields of a datagram are.
mod field {
    use core::ops::{Range, RangeFrom};
    type Field = Range<usize>;

    pub const RMCP: Field = 0..4;
    pub const AUTH_TYPE: usize = 4;
    pub const PAYLOAD_TYPE: usize = 5;
    pub const SESSION_ID: Field = 6..10;
    pub const SEQUENCE: Field = 10..14;
    pub const LENGTH: Field = 14..16;
    pub const PAYLOAD: RangeFrom<usize> = 16..;

    // Of the open session and RAKP payloads.
    pub const TAG: usize = 0;
    pub const STATUS: usize = 1;
    pub const FIRST_ID: Field = 4..8;
    pub const SECOND_ID: Field = 8..12;
    pub const OPEN_REQUEST_ALGORITHMS: Field = 8..32;
    pub const OPEN_REPLY_ALGORITHMS: Field = 12..36;
    pub const RANDOM: Field = 8..24;
    pub const GUID: Field = 24..40;
    pub const RAKP1_ROLE: usize = 24;
    pub const RAKP1_USER_LENGTH: usize = 27;
    pub const RAKP1_USER: RangeFrom<usize> = 28..;
    pub const RAKP2_CODE: RangeFrom<usize> = 40..;
    pub const RAKP34_CODE: RangeFrom<usize> = 8..;

    // Of an IPMI message.
    pub const TO: usize = 0;
    pub const NETFN: usize = 1;
    pub const CHECK1: usize = 2;
    pub const FROM: usize = 3;
    pub const MESSAGE_SEQUENCE: usize = 4;
    pub const COMMAND: usize = 5;
    pub const DATA: RangeFrom<usize> = 6..;
}

/// Bytes before the payload.
pub const HEADER_LEN: usize = field::PAYLOAD.start;
/// Where the integrity code starts to cover.
pub const COVERED_FROM: usize = field::AUTH_TYPE;
/// The last byte before the integrity code.
pub const NEXT_HEADER: u8 = 0x07;
/// What integrity padding consists of.
pub const INTEGRITY_PAD: u8 = 0xff;

const RMCP_HEADER: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
const AUTH_TYPE_RMCP_PLUS: u8 = 0x06;
const FLAG_ENCRYPTED: u8 = 0x80;
const FLAG_AUTHENTICATED: u8 = 0x40;

/// The payload types that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PayloadType {
    Ipmi = 0x00,
    OpenRequest = 0x10,
    OpenReply = 0x11,
    Rakp1 = 0x12,
    Rakp2 = 0x13,
    Rakp3 = 0x14,
    Rakp4 = 0x15,
}

impl PayloadType {
    fn from_wire(number: u8) -> Result<Self> {
        Ok(match number {
            0x00 => Self::Ipmi,
            0x10 => Self::OpenRequest,
            0x11 => Self::OpenReply,
            0x12 => Self::Rakp1,
            0x13 => Self::Rakp2,
            0x14 => Self::Rakp3,
            0x15 => Self::Rakp4,
            _ => return Err(Error),
        })
    }
}

/// A read view of one datagram whose lengths have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    payload_type: PayloadType,
    payload_len: usize,
}

impl<'a> Packet<'a> {
    /// Checks the fixed fields and that the payload lies inside.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > DATAGRAM_MAX || bytes.get(field::RMCP) != Some(&RMCP_HEADER[..]) {
            return Err(Error);
        }
        if bytes.get(field::AUTH_TYPE) != Some(&AUTH_TYPE_RMCP_PLUS) {
            return Err(Error);
        }
        let type_byte = *bytes.get(field::PAYLOAD_TYPE).ok_or(Error)?;
        let payload_type = PayloadType::from_wire(type_byte & !(FLAG_ENCRYPTED | FLAG_AUTHENTICATED))?;
        let payload_len = usize::from(le16(bytes, field::LENGTH)?);
        if bytes.len() < HEADER_LEN + payload_len {
            return Err(Error);
        }
        Ok(Self { bytes, payload_type, payload_len })
    }

    /// What the payload is.
    pub fn payload_type(&self) -> PayloadType {
        self.payload_type
    }

    /// Whether the payload is encrypted and the datagram authenticated: inside a session we take nothing else.
    pub fn is_protected(&self) -> bool {
        self.bytes[field::PAYLOAD_TYPE] & (FLAG_ENCRYPTED | FLAG_AUTHENTICATED) == FLAG_ENCRYPTED | FLAG_AUTHENTICATED
    }

    /// Whether it carries neither flag: so open session and RAKP are sent.
    pub fn is_plain(&self) -> bool {
        self.bytes[field::PAYLOAD_TYPE] & (FLAG_ENCRYPTED | FLAG_AUTHENTICATED) == 0
    }

    /// The receiver's id of the session; zero outside one.
    pub fn session_id(&self) -> u32 {
        le32(self.bytes, field::SESSION_ID).unwrap_or(0)
    }

    /// The session sequence number; zero outside one.
    pub fn sequence(&self) -> u32 {
        le32(self.bytes, field::SEQUENCE).unwrap_or(0)
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..HEADER_LEN + self.payload_len]
    }

    /// The whole datagram, for the integrity code.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the payload.
    pub fn trailer(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN + self.payload_len..]
    }
}

impl fmt::Display for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, seq, len) = (self.session_id(), self.sequence(), self.payload_len);
        write!(f, "RMCP+ {:?} session={id:#010x} seq={seq} len={len}", self.payload_type)
    }
}

/// Writes the header of a datagram with `payload_len` bytes of payload and returns where the payload starts.
pub fn emit_header(
    out: &mut [u8],
    payload_type: PayloadType,
    protected: bool,
    session_id: u32,
    sequence: u32,
    payload_len: usize,
) -> Result<usize> {
    let flags = if protected { FLAG_ENCRYPTED | FLAG_AUTHENTICATED } else { 0 };
    let length = u16::try_from(payload_len).map_err(|_| Error)?;
    if out.len() < HEADER_LEN + payload_len {
        return Err(Error);
    }
    out[field::RMCP].copy_from_slice(&RMCP_HEADER);
    out[field::AUTH_TYPE] = AUTH_TYPE_RMCP_PLUS;
    out[field::PAYLOAD_TYPE] = payload_type as u8 | flags;
    out[field::SESSION_ID].copy_from_slice(&session_id.to_le_bytes());
    out[field::SEQUENCE].copy_from_slice(&sequence.to_le_bytes());
    out[field::LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(HEADER_LEN)
}

/// RMCP+ status codes (table 13-15) that we act on.
pub mod status {
    pub const OK: u8 = 0x00;
    pub const INSUFFICIENT_RESOURCES: u8 = 0x01;
    pub const INVALID_SESSION_ID: u8 = 0x02;
    pub const INVALID_AUTHENTICATION_ALGORITHM: u8 = 0x04;
    pub const INVALID_INTEGRITY_ALGORITHM: u8 = 0x05;
    pub const INACTIVE_SESSION_ID: u8 = 0x08;
    pub const INVALID_ROLE: u8 = 0x09;
    pub const UNAUTHORIZED_ROLE: u8 = 0x0a;
    pub const INSUFFICIENT_RESOURCES_FOR_ROLE: u8 = 0x0b;
    pub const INVALID_NAME_LENGTH: u8 = 0x0c;
    pub const UNAUTHORIZED_NAME: u8 = 0x0d;
    pub const INVALID_INTEGRITY_CHECK: u8 = 0x0f;
    pub const INVALID_CONFIDENTIALITY_ALGORITHM: u8 = 0x10;
    pub const NO_CIPHER_SUITE_MATCH: u8 = 0x11;
}

/// Completion codes of IPMI messages (table 5-2) that we act on.
pub mod completion {
    pub const OK: u8 = 0x00;
    pub const NODE_BUSY: u8 = 0xc0;
    pub const TIMEOUT: u8 = 0xc3;
    pub const OUT_OF_SPACE: u8 = 0xc4;
    pub const INITIALIZING: u8 = 0xd2;
    pub const INSUFFICIENT_PRIVILEGE: u8 = 0xd4;
    pub const NOT_IN_PRESENT_STATE: u8 = 0xd5;
    /// Set Session Privilege Level: the requested level is not available to this user.
    pub const LEVEL_NOT_AVAILABLE: u8 = 0x80;
    /// Set Session Privilege Level: the requested level exceeds the channel's or the user's limit.
    pub const LEVEL_EXCEEDS_LIMIT: u8 = 0x81;
}

/// RMCP+ Open Session Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    pub tag: u8,
    pub level: u8,
    pub console_id: u32,
    /// Authentication, integrity, confidentiality.
    pub algorithms: [u8; 3],
}

impl OpenRequest {
    /// Bytes of it.
    pub const LEN: usize = field::OPEN_REQUEST_ALGORITHMS.end;

    /// Writes it to the front of `out`.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..Self::LEN).ok_or(Error)?;
        out.fill(0);
        out[field::TAG] = self.tag;
        out[field::STATUS] = self.level;
        out[field::FIRST_ID].copy_from_slice(&self.console_id.to_le_bytes());
        emit_algorithms(&mut out[field::OPEN_REQUEST_ALGORITHMS], self.algorithms);
        Ok(Self::LEN)
    }
}

fn emit_algorithms(out: &mut [u8], algorithms: [u8; 3]) {
    for (kind, (chunk, algorithm)) in (0u8..).zip(out.chunks_exact_mut(8).zip(algorithms)) {
        chunk.copy_from_slice(&[kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
}

fn parse_algorithms(bytes: &[u8]) -> Result<[u8; 3]> {
    let mut algorithms = [0; 3];
    for ((kind, chunk), algorithm) in (0u8..).zip(bytes.chunks_exact(8)).zip(&mut algorithms) {
        if chunk[0] != kind || chunk[3] != 8 {
            return Err(Error);
        }
        *algorithm = chunk[4] & 0x3f;
    }
    Ok(algorithms)
}

/// What is common to the BMC's four answers before the session: the tag of our request, and a status that, unless it
/// is OK, is all there is to read.
pub fn parse_status(payload: &[u8]) -> Result<(u8, u8)> {
    Ok((*payload.get(field::TAG).ok_or(Error)?, *payload.get(field::STATUS).ok_or(Error)?))
}

/// RMCP+ Open Session Response with status OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReply {
    pub console_id: u32,
    pub bmc_id: u32,
    pub algorithms: [u8; 3],
}

impl OpenReply {
    /// Reads it.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let algorithms = payload.get(field::OPEN_REPLY_ALGORITHMS).ok_or(Error)?;
        Ok(Self {
            console_id: le32(payload, field::FIRST_ID)?,
            bmc_id: le32(payload, field::SECOND_ID)?,
            algorithms: parse_algorithms(algorithms)?,
        })
    }
}

/// RAKP Message 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rakp1<'a> {
    pub tag: u8,
    pub bmc_id: u32,
    pub random: &'a [u8; 16],
    pub role: u8,
    pub user: &'a [u8],
}

impl Rakp1<'_> {
    /// Writes it to the front of `out`.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        let len = field::RAKP1_USER.start + self.user.len();
        let out = out.get_mut(..len).ok_or(Error)?;
        out.fill(0);
        out[field::TAG] = self.tag;
        out[field::FIRST_ID].copy_from_slice(&self.bmc_id.to_le_bytes());
        out[field::RANDOM].copy_from_slice(self.random);
        out[field::RAKP1_ROLE] = self.role;
        out[field::RAKP1_USER_LENGTH] = u8::try_from(self.user.len()).map_err(|_| Error)?;
        out[field::RAKP1_USER].copy_from_slice(self.user);
        Ok(len)
    }
}

/// RAKP Message 2 with status OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rakp2<'a> {
    pub console_id: u32,
    pub random: &'a [u8],
    pub guid: &'a [u8],
    pub code: &'a [u8],
}

impl<'a> Rakp2<'a> {
    /// Reads it.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        Ok(Self {
            console_id: le32(payload, field::FIRST_ID)?,
            random: payload.get(field::RANDOM).ok_or(Error)?,
            guid: payload.get(field::GUID).ok_or(Error)?,
            code: payload.get(field::RAKP2_CODE).ok_or(Error)?,
        })
    }
}

/// RAKP Message 3. With a status that is not OK it carries no code and tells the BMC to forget the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rakp3<'a> {
    pub tag: u8,
    pub status: u8,
    pub bmc_id: u32,
    pub code: &'a [u8],
}

impl Rakp3<'_> {
    /// Writes it to the front of `out`.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        let len = field::RAKP34_CODE.start + self.code.len();
        let out = out.get_mut(..len).ok_or(Error)?;
        out.fill(0);
        out[field::TAG] = self.tag;
        out[field::STATUS] = self.status;
        out[field::FIRST_ID].copy_from_slice(&self.bmc_id.to_le_bytes());
        out[field::RAKP34_CODE].copy_from_slice(self.code);
        Ok(len)
    }
}

/// RAKP Message 4 with status OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rakp4<'a> {
    pub console_id: u32,
    pub code: &'a [u8],
}

impl<'a> Rakp4<'a> {
    /// Reads it.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        Ok(Self { console_id: le32(payload, field::FIRST_ID)?, code: payload.get(field::RAKP34_CODE).ok_or(Error)? })
    }
}

/// Slave address of a BMC.
const BMC_ADDRESS: u8 = 0x20;
/// Software id of a remote console.
const CONSOLE_ADDRESS: u8 = 0x81;
/// The bit that makes a network function a response.
const NETFN_RESPONSE: u8 = 0x01;

/// A command: network function and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    pub netfn: u8,
    pub number: u8,
}

/// Set Session Privilege Level.
pub const SET_PRIVILEGE: Command = Command { netfn: 0x06, number: 0x3b };
/// Close Session.
pub const CLOSE_SESSION: Command = Command { netfn: 0x06, number: 0x3c };
/// Get Chassis Status; bit 0 of the first data byte is the power.
pub const CHASSIS_STATUS: Command = Command { netfn: 0x00, number: 0x01 };
/// Chassis Control: one byte, 0 down, 1 up.
pub const CHASSIS_CONTROL: Command = Command { netfn: 0x00, number: 0x02 };

/// A request inside a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub command: Command,
    /// Six bits that its response repeats.
    pub sequence: u8,
    pub data: &'a [u8],
}

impl Request<'_> {
    /// Writes it to the front of `out`.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        let end = field::DATA.start + self.data.len();
        let out = out.get_mut(..=end).ok_or(Error)?;
        out[field::TO] = BMC_ADDRESS;
        out[field::NETFN] = self.command.netfn << 2;
        out[field::CHECK1] = checksum(&out[..field::CHECK1]);
        out[field::FROM] = CONSOLE_ADDRESS;
        out[field::MESSAGE_SEQUENCE] = self.sequence << 2;
        out[field::COMMAND] = self.command.number;
        out[field::DATA.start..end].copy_from_slice(self.data);
        out[end] = checksum(&out[field::FROM..end]);
        Ok(end + 1)
    }
}

/// A response inside a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    pub command: Command,
    pub sequence: u8,
    pub completion: u8,
    pub data: &'a [u8],
}

impl<'a> Response<'a> {
    /// Reads it; both checksums must hold.
    pub fn parse(message: &'a [u8]) -> Result<Self> {
        let end = message.len().checked_sub(1).ok_or(Error)?;
        let data = message.get(field::DATA.start..end).ok_or(Error)?;
        let (completion, data) = data.split_first().ok_or(Error)?;
        let sums_hold = checksum(&message[..=field::CHECK1]) == 0 && checksum(&message[field::FROM..]) == 0;
        let netfn = message[field::NETFN] >> 2;
        let from_bmc = message[field::TO] == CONSOLE_ADDRESS && message[field::FROM] == BMC_ADDRESS;
        if !sums_hold || !from_bmc || netfn & NETFN_RESPONSE == 0 {
            return Err(Error);
        }
        Ok(Self {
            command: Command { netfn: netfn & !NETFN_RESPONSE, number: message[field::COMMAND] },
            sequence: message[field::MESSAGE_SEQUENCE] >> 2,
            completion: *completion,
            data,
        })
    }
}

/// Two's complement of the sum: a range that ends with its own checksum sums to zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

fn le16(bytes: &[u8], at: core::ops::Range<usize>) -> Result<u16> {
    let bytes = bytes.get(at).and_then(|b| b.try_into().ok()).ok_or(Error)?;
    Ok(u16::from_le_bytes(bytes))
}

fn le32(bytes: &[u8], at: core::ops::Range<usize>) -> Result<u32> {
    let bytes = bytes.get(at).and_then(|b| b.try_into().ok()).ok_or(Error)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The chassis status exchange of IPMI 2.0 inside the clear payload, and an open session with suite 3, as a
    // reference client and a reference BMC send them.
    const OPEN_REQUEST: [u8; 32] = [
        0x01, 0x00, 0x00, 0x00, 0xa4, 0xa3, 0xa2, 0xa0, 0x00, 0x00, 0x00, 0x08, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00,
        0x00, 0x08, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x08, 0x01, 0x00, 0x00, 0x00,
    ];
    const STATUS_REQUEST: [u8; 7] = [0x20, 0x00, 0xe0, 0x81, 0x04, 0x01, 0x7a];
    const STATUS_REPLY: [u8; 11] = [0x81, 0x04, 0x7b, 0x20, 0x04, 0x01, 0x00, 0x21, 0x10, 0x40, 0x6a];

    #[test]
    fn open_request_bytes() {
        let mut out = [0xa5; 40];
        let request = OpenRequest { tag: 1, level: 0, console_id: 0xa0a2_a3a4, algorithms: [1, 1, 1] };
        assert_eq!(request.emit(&mut out), Ok(32));
        assert_eq!(out[..32], OPEN_REQUEST);
        assert_eq!(out[32..], [0xa5; 8]);
        assert_eq!(request.emit(&mut out[..31]), Err(Error));
    }

    #[test]
    fn open_reply_reads_what_the_request_proposed() {
        let mut reply = [0; 36];
        reply[4..8].copy_from_slice(&0xa0a2_a3a4_u32.to_le_bytes());
        reply[8..12].copy_from_slice(&7u32.to_le_bytes());
        reply[12..].copy_from_slice(&OPEN_REQUEST[8..]);
        let expect = OpenReply { console_id: 0xa0a2_a3a4, bmc_id: 7, algorithms: [1, 1, 1] };
        assert_eq!(OpenReply::parse(&reply), Ok(expect));
        assert_eq!(OpenReply::parse(&reply[..35]), Err(Error));
        reply[12] = 2;
        assert_eq!(OpenReply::parse(&reply), Err(Error));
    }

    #[test]
    fn request_bytes() {
        let mut out = [0xa5; 10];
        let request = Request { command: CHASSIS_STATUS, sequence: 1, data: &[] };
        assert_eq!(request.emit(&mut out), Ok(7));
        assert_eq!(out[..7], STATUS_REQUEST);
        assert_eq!(out[7..], [0xa5; 3]);
        assert_eq!(request.emit(&mut out[..6]), Err(Error));
    }

    #[test]
    fn response_is_read_and_each_changed_byte_is_noticed() {
        let reply = Response::parse(&STATUS_REPLY).expect("golden");
        assert_eq!(reply, Response { command: CHASSIS_STATUS, sequence: 1, completion: 0, data: &[0x21, 0x10, 0x40] });
        for at in 0..STATUS_REPLY.len() {
            let mut bytes = STATUS_REPLY;
            bytes[at] ^= 0x10;
            assert_eq!(Response::parse(&bytes), Err(Error), "byte {at}");
            if at < 8 {
                assert_eq!(Response::parse(&STATUS_REPLY[..at]), Err(Error));
            }
        }
        assert_eq!(Response::parse(&STATUS_REQUEST), Err(Error), "a request is no response");
    }

    #[test]
    fn rakp_bytes() {
        let mut out = [0xa5; 64];
        let random = [0x11; 16];
        let rakp1 = Rakp1 { tag: 2, bmc_id: 0x0102_0304, random: &random, role: 0x14, user: b"admin" };
        assert_eq!(rakp1.emit(&mut out), Ok(33));
        assert_eq!(out[..8], [2, 0, 0, 0, 4, 3, 2, 1]);
        assert_eq!(out[8..24], random);
        assert_eq!(out[24..33], *b"\x14\x00\x00\x05admin");
        assert_eq!(out[33], 0xa5);
        let rakp3 = Rakp3 { tag: 3, status: 0, bmc_id: 0x0102_0304, code: &[9; 20] };
        assert_eq!(rakp3.emit(&mut out), Ok(28));
        assert_eq!(out[..8], [3, 0, 0, 0, 4, 3, 2, 1]);
        assert_eq!(out[8..28], [9; 20]);
        assert_eq!(rakp3.emit(&mut out[..27]), Err(Error));
    }

    #[test]
    fn header_bytes_and_checks() {
        let mut out = [0xa5; 20];
        assert_eq!(emit_header(&mut out, PayloadType::Ipmi, true, 0x0403_0201, 9, 4), Ok(16));
        assert_eq!(out[..16], [6, 0, 0xff, 7, 6, 0xc0, 1, 2, 3, 4, 9, 0, 0, 0, 4, 0]);
        let packet = Packet::new_checked(&out).expect("emitted");
        assert!(packet.is_protected() && !packet.is_plain());
        assert_eq!((packet.session_id(), packet.sequence()), (0x0403_0201, 9));
        assert_eq!((packet.payload(), packet.trailer()), (&[0xa5; 4][..], &[][..]));
        for len in 0..20 {
            assert!(Packet::new_checked(&out[..len]).is_err());
        }
        for at in 0..5 {
            let mut bad = out;
            bad[at] ^= 1;
            assert!(Packet::new_checked(&bad).is_err());
        }
        assert!(Packet::new_checked(&[6; DATAGRAM_MAX + 1]).is_err());
        assert_eq!(emit_header(&mut out[..19], PayloadType::Ipmi, true, 1, 1, 4), Err(Error));
    }
}
