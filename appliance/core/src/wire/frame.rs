//! The frame: what a session (with a node or an operator) and the guard link are made of.
//!
//! Owns the envelope: magic, version, kind, lengths, session, sequence, check; and the reader that finds frames in a byte
//! stream. Must never interpret a body: that is `wire::node` and `wire::guard`. A virtconsole is a byte stream whose
//! other end may come and go in the middle of a frame (SHIM trap 10), so the reader looks for the next frame that checks.
//!
//! ```text
//! 0      2 magic "PF"    4 length of payload   8 session     16 body, 40 bytes
//! 2 version, 3 kind      6 zero                12 sequence   56 zero    60 CRC-32 of bytes 0..60 and the payload
//! ```

use super::{Error, Fields, Result, put};
use crate::limits::{FRAME_BYTES, FRAME_MAX, FRAME_PAYLOAD_MAX};

/// The first two bytes of every frame.
pub const MAGIC: [u8; 2] = *b"PF";
/// The only version so far.
pub const VERSION: u8 = 1;
/// Bytes of a body.
pub const BODY_BYTES: usize = 40;

mod field {
    use core::ops::Range;
    pub const VERSION: usize = 2;
    pub const KIND: usize = 3;
    pub const LENGTH: usize = 4;
    pub const SESSION: usize = 8;
    pub const SEQUENCE: usize = 12;
    pub const BODY: Range<usize> = 16..56;
    pub const CHECK: usize = 60;
}

/// One frame, parsed or to be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which message this is: `wire::node::Kind` or `wire::guard::Kind`.
    pub kind: u8,
    /// The session that WELCOME named; zero before (SAFETY G5).
    pub session: u32,
    /// Counts the frames of one direction of a session.
    pub sequence: u32,
    /// The fixed part of the message.
    pub body: [u8; BODY_BYTES],
    /// What does not fit there.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads one frame from exactly its bytes.
    ///
    /// # Errors
    /// Wrong magic, version, length or check.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let total = Self::total_bytes(bytes)?;
        if bytes.len() != total {
            return Err(Error);
        }
        let fields = Fields(bytes);
        let payload = bytes.get(FRAME_BYTES..).ok_or(Error)?;
        if fields.u32(field::CHECK) != check(bytes.get(..field::CHECK).ok_or(Error)?, payload) {
            return Err(Error);
        }
        Ok(Self {
            kind: fields.u8(field::KIND),
            session: fields.u32(field::SESSION),
            sequence: fields.u32(field::SEQUENCE),
            body: fields.array(field::BODY.start),
            payload,
        })
    }

    /// How long the frame is that starts with these bytes; fails as soon as they cannot start a frame.
    fn total_bytes(bytes: &[u8]) -> Result<usize> {
        let magic = bytes.len().min(MAGIC.len());
        if bytes.get(..magic) != MAGIC.get(..magic) || bytes.get(field::VERSION).is_some_and(|&v| v != VERSION) {
            return Err(Error);
        }
        if bytes.len() < FRAME_BYTES {
            return Ok(FRAME_BYTES);
        }
        let payload = usize::from(Fields(bytes).u16(field::LENGTH));
        if payload > FRAME_PAYLOAD_MAX { Err(Error) } else { Ok(FRAME_BYTES + payload) }
    }

    /// How many bytes `emit` writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        FRAME_BYTES + self.payload.len()
    }

    /// Writes the frame; returns its bytes. A payload above the bound is our own mistake.
    #[must_use]
    pub fn emit<'b>(&self, buffer: &'b mut [u8; FRAME_MAX]) -> &'b [u8] {
        assert!(self.payload.len() <= FRAME_PAYLOAD_MAX, "a frame's payload is bounded by its builder");
        let (head, rest) = buffer.split_at_mut(FRAME_BYTES);
        head.fill(0);
        put(head, 0, MAGIC);
        put(head, field::VERSION, [VERSION]);
        put(head, field::KIND, [self.kind]);
        let length = u16::try_from(self.payload.len()).unwrap_or(0);
        put(head, field::LENGTH, length.to_le_bytes());
        put(head, field::SESSION, self.session.to_le_bytes());
        put(head, field::SEQUENCE, self.sequence.to_le_bytes());
        put(head, field::BODY.start, self.body);
        let sum = check(&head[..field::CHECK], self.payload);
        put(head, field::CHECK, sum.to_le_bytes());
        rest[..self.payload.len()].copy_from_slice(self.payload);
        &buffer[..FRAME_BYTES + self.payload.len()]
    }
}

fn check(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// Finds frames in a byte stream. Holds at most one frame; costs O(bytes) on good input and at most
/// `FRAME_MAX` steps per byte on bad input.
#[derive(Debug)]
pub struct Reader {
    buffer: [u8; FRAME_MAX],
    filled: usize,
    /// Bytes of the frame handed out last, dropped at the next call.
    spent: usize,
    /// Bytes that were skipped because no frame checked there.
    pub skipped: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// An empty reader; all zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: [0; FRAME_MAX], filled: 0, spent: 0, skipped: 0 }
    }

    /// Forgets a half-read frame: the stream's other end was replaced.
    pub const fn reset(&mut self) {
        self.filled = 0;
        self.spent = 0;
    }

    /// Takes bytes from `stream` until a frame is complete, and hands it out. `None`: the stream is used up.
    pub fn next<'s>(&'s mut self, stream: &mut &[u8]) -> Option<Frame<'s>> {
        self.drop_front(self.spent);
        self.spent = 0;
        let total = loop {
            match Frame::total_bytes(&self.buffer[..self.filled]) {
                Err(Error) => self.skip_one(),
                Ok(total) if self.filled >= total => {
                    if Frame::parse(&self.buffer[..total]).is_ok() {
                        break total;
                    }
                    self.skip_one();
                }
                Ok(total) => {
                    let take = (total - self.filled).min(stream.len());
                    if take == 0 {
                        return None;
                    }
                    let (now, later) = stream.split_at(take);
                    self.buffer[self.filled..self.filled + take].copy_from_slice(now);
                    self.filled += take;
                    *stream = later;
                }
            }
        };
        self.spent = total;
        Frame::parse(&self.buffer[..total]).ok()
    }

    /// Drops bytes up to the next one that may start a frame.
    fn skip_one(&mut self) {
        let rest = self.buffer.get(1..self.filled).unwrap_or(&[]);
        let next = rest.iter().position(|&byte| byte == MAGIC[0]).map_or(self.filled, |at| at + 1);
        self.skipped += u64::try_from(next).unwrap_or(0);
        self.drop_front(next);
    }

    fn drop_front(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(payload: &[u8]) -> Frame<'_> {
        Frame { kind: 3, session: 0x0102_0304, sequence: 9, body: [7; BODY_BYTES], payload }
    }

    #[test]
    fn emits_golden_bytes_into_a_dirty_buffer() {
        let mut buffer = [0xa5; FRAME_MAX];
        let bytes = sample(b"xyz").emit(&mut buffer);
        assert_eq!(&bytes[..16], &[0x50, 0x46, 1, 3, 3, 0, 0, 0, 4, 3, 2, 1, 9, 0, 0, 0]);
        assert_eq!(&bytes[56..60], &[0; 4]);
        assert_eq!(Frame::parse(bytes), Ok(sample(b"xyz")));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let mut buffer = [0; FRAME_MAX];
        let length = sample(b"payload").emit(&mut buffer).len();
        for bit in 0..length * 8 {
            let mut copy = buffer;
            copy[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::parse(&copy[..length]), Err(Error), "bit {bit}");
        }
    }

    #[test]
    fn the_reader_finds_frames_after_garbage_and_halves() {
        let mut one = [0; FRAME_MAX];
        let frame = sample(&[b'P'; 100]).emit(&mut one);
        let half = &frame[..80];
        let mut stream = std::vec::Vec::new();
        for part in [b"PFPPF".as_slice(), half, frame, b"PP", frame, &half[..63], frame, frame] {
            stream.extend_from_slice(part);
        }
        for step in [1, 3, 64, 1000] {
            let mut reader = Reader::new();
            let mut found = 0;
            for mut chunk in stream.chunks(step) {
                while let Some(got) = reader.next(&mut chunk) {
                    assert_eq!(got, sample(&[b'P'; 100]));
                    found += 1;
                }
            }
            assert_eq!(found, 4, "chunks of {step}");
            assert!(reader.skipped > 0);
        }
    }
}
