//! The header of a vsock packet (virtio 1.2, 5.10.6): 44 bytes, little-endian.
//!
//! Owns the layout. A parser of what a device or a peer wrote: it never trusts a length.

/// Bytes of a header.
pub const HEADER: usize = 44;

mod field {
    use core::ops::Range;
    pub const SRC_CID: Range<usize> = 0..8;
    pub const DST_CID: Range<usize> = 8..16;
    pub const SRC_PORT: Range<usize> = 16..20;
    pub const DST_PORT: Range<usize> = 20..24;
    pub const LEN: Range<usize> = 24..28;
    pub const TYPE: Range<usize> = 28..30;
    pub const OP: Range<usize> = 30..32;
    pub const FLAGS: Range<usize> = 32..36;
    pub const BUF_ALLOC: Range<usize> = 36..40;
    pub const FWD_CNT: Range<usize> = 40..44;
}

/// A stream.
const STREAM: u16 = 1;
/// Both directions of a shutdown.
pub const SHUTDOWN_BOTH: u32 = 3;

/// What a packet is for; the specification's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    Request = 1,
    Response = 2,
    Rst = 3,
    Shutdown = 4,
    Rw = 5,
    CreditUpdate = 6,
    CreditRequest = 7,
}

/// A header, parsed or to be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub src_cid: u64,
    pub dst_cid: u64,
    pub src_port: u32,
    pub dst_port: u32,
    /// `None`: an operation that we do not know, or a socket that is no stream. The right answer is `Rst`.
    pub op: Option<Op>,
    pub flags: u32,
    pub buf_alloc: u32,
    pub fwd_cnt: u32,
}

impl Repr {
    /// The header and the payload of a packet; `None`: shorter than it says.
    pub fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<HEADER>()?;
        let length = usize::try_from(u32_at(head, field::LEN)).ok()?;
        let payload = rest.get(..length)?;
        let op = match (u16_at(head, field::TYPE), u16_at(head, field::OP)) {
            (STREAM, 1) => Some(Op::Request),
            (STREAM, 2) => Some(Op::Response),
            (STREAM, 3) => Some(Op::Rst),
            (STREAM, 4) => Some(Op::Shutdown),
            (STREAM, 5) => Some(Op::Rw),
            (STREAM, 6) => Some(Op::CreditUpdate),
            (STREAM, 7) => Some(Op::CreditRequest),
            _ => None,
        };
        let repr = Self {
            src_cid: u64_at(head, field::SRC_CID),
            dst_cid: u64_at(head, field::DST_CID),
            src_port: u32_at(head, field::SRC_PORT),
            dst_port: u32_at(head, field::DST_PORT),
            op,
            flags: u32_at(head, field::FLAGS),
            buf_alloc: u32_at(head, field::BUF_ALLOC),
            fwd_cnt: u32_at(head, field::FWD_CNT),
        };
        Some((repr, payload))
    }

    /// Writes the packet and returns its length; `None`: it does not fit.
    pub fn emit(&self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let length = u32::try_from(payload.len()).ok()?;
        let (head, rest) = out.split_first_chunk_mut::<HEADER>()?;
        rest.get_mut(..payload.len())?.copy_from_slice(payload);
        let op = self.op.unwrap_or(Op::Rst);
        head[field::SRC_CID].copy_from_slice(&self.src_cid.to_le_bytes());
        head[field::DST_CID].copy_from_slice(&self.dst_cid.to_le_bytes());
        head[field::SRC_PORT].copy_from_slice(&self.src_port.to_le_bytes());
        head[field::DST_PORT].copy_from_slice(&self.dst_port.to_le_bytes());
        head[field::LEN].copy_from_slice(&length.to_le_bytes());
        head[field::TYPE].copy_from_slice(&STREAM.to_le_bytes());
        head[field::OP].copy_from_slice(&(op as u16).to_le_bytes());
        head[field::FLAGS].copy_from_slice(&self.flags.to_le_bytes());
        head[field::BUF_ALLOC].copy_from_slice(&self.buf_alloc.to_le_bytes());
        head[field::FWD_CNT].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        Some(HEADER + payload.len())
    }
}

type Range = core::ops::Range<usize>;

fn bytes_at<const N: usize>(head: &[u8; HEADER], range: Range) -> [u8; N] {
    head[range].try_into().expect("invariant: the ranges above have the widths of their types")
}

fn u16_at(head: &[u8; HEADER], range: Range) -> u16 {
    u16::from_le_bytes(bytes_at(head, range))
}

fn u32_at(head: &[u8; HEADER], range: Range) -> u32 {
    u32::from_le_bytes(bytes_at(head, range))
}

fn u64_at(head: &[u8; HEADER], range: Range) -> u64 {
    u64::from_le_bytes(bytes_at(head, range))
}
