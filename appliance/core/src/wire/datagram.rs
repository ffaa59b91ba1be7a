//! The datagram: what appliances say to each other, sealed.
//!
//! Owns the envelope and the keys. Must never hand out a byte that did not verify. A sender's key is derived from the
//! cluster secret, the cluster's name, its host number and its incarnation; its sequence counts per receiver, and the
//! nonce is receiver and sequence, so no nonce comes twice under a key. The head is authenticated with the rest.
//! Rule: SAFETY A7 (a datagram names the receiver's incarnation; only HELLO may not know it).
//!
//! ```text
//! 0 magic "PLSD"   5 from   8  sender's incarnation      24 sequence
//! 4 version        6 to     16 receiver's incarnation    32 sealed message, then 16 bytes of tag
//!                  7 zero      (zero in HELLO only)
//! ```

use super::{Error, Fields, Result, put};
use crate::id::{HostId, Incarnation};
use crate::limits::DATAGRAM_MAX;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const MAGIC: [u8; 4] = *b"PLSD";
const VERSION: u8 = 1;
/// Bytes of the head.
pub const HEAD_BYTES: usize = 32;
/// Bytes of the tag.
pub const TAG_BYTES: usize = 16;
/// Bytes that a message may have.
pub const MESSAGE_MAX: usize = DATAGRAM_MAX - HEAD_BYTES - TAG_BYTES;

mod field {
    pub const VERSION: usize = 4;
    pub const FROM: usize = 5;
    pub const TO: usize = 6;
    pub const ZERO: usize = 7;
    pub const SENDER: usize = 8;
    pub const RECEIVER: usize = 16;
    pub const SEQUENCE: usize = 24;
}

/// Who sends to whom, as what, and for the how many-th time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The sender.
    pub from: HostId,
    /// The receiver.
    pub to: HostId,
    /// The sender's incarnation.
    pub sender: Incarnation,
    /// The receiver's incarnation; zero: not known, a HELLO.
    pub receiver: Incarnation,
    /// Counts from 1 for each receiver.
    pub sequence: u64,
}

/// The key of one incarnation of one appliance.
#[derive(Clone, Copy, Default)]
pub struct SenderKey([u8; 32]);

impl core::fmt::Debug for SenderKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("(key)")
    }
}

impl SenderKey {
    /// Nobody's key.
    pub const NONE: Self = Self([0; 32]);

    /// Derives the key. Costs two SHA-256 blocks and is done once per incarnation met.
    #[must_use]
    pub fn derive(secret: &[u8; 32], cluster: &str, from: HostId, incarnation: Incarnation) -> Self {
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(secret).expect("invariant: HMAC takes keys of any length");
        mac.update(b"palisade datagram 1");
        mac.update(&[from.get()]);
        mac.update(&incarnation.to_le_bytes());
        mac.update(cluster.as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(self.0))
    }
}

fn nonce(head: &Head) -> Nonce {
    let mut bytes = [0; 12];
    put(&mut bytes, 0, [head.to.get()]);
    put(&mut bytes, 4, head.sequence.to_le_bytes());
    Nonce::from(bytes)
}

impl Head {
    /// Reads the head of a datagram, before anything is believed of it.
    ///
    /// # Errors
    /// Too short or too long, or not ours.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields(bytes);
        let sound = bytes.len() >= HEAD_BYTES + TAG_BYTES
            && bytes.len() <= DATAGRAM_MAX
            && fields.array(0) == MAGIC
            && fields.u8(field::VERSION) == VERSION
            && fields.u8(field::ZERO) == 0;
        if !sound {
            return Err(Error);
        }
        Ok(Self {
            from: HostId::new(fields.u8(field::FROM)),
            to: HostId::new(fields.u8(field::TO)),
            sender: fields.u64(field::SENDER),
            receiver: fields.u64(field::RECEIVER),
            sequence: fields.u64(field::SEQUENCE),
        })
    }

    fn emit(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        put(&mut head, 0, MAGIC);
        put(&mut head, field::VERSION, [VERSION, self.from.get(), self.to.get()]);
        put(&mut head, field::SENDER, self.sender.to_le_bytes());
        put(&mut head, field::RECEIVER, self.receiver.to_le_bytes());
        put(&mut head, field::SEQUENCE, self.sequence.to_le_bytes());
        head
    }

    /// Seals the message that `write` puts into its buffer; returns the whole datagram.
    pub fn seal<'b>(
        &self,
        key: &SenderKey,
        buffer: &'b mut [u8; DATAGRAM_MAX],
        write: impl FnOnce(&mut [u8; MESSAGE_MAX]) -> usize,
    ) -> &'b [u8] {
        let head = self.emit();
        put(buffer, 0, head);
        let place: &mut [u8; MESSAGE_MAX] =
            buffer[HEAD_BYTES..].first_chunk_mut().expect("invariant: MESSAGE_MAX is what the head leaves");
        place.fill(0);
        let length = write(place);
        let text = &mut place[..length];
        let tag = key
            .cipher()
            .encrypt_inout_detached(&nonce(self), &head, text.into())
            .expect("invariant: a datagram is shorter than the cipher's limit");
        put(buffer, HEAD_BYTES + length, <[u8; TAG_BYTES]>::from(tag));
        &buffer[..HEAD_BYTES + length + TAG_BYTES]
    }

    /// Verifies the datagram that this head was parsed from, and returns the message in the clear.
    ///
    /// # Errors
    /// It was not sealed under this key, or was changed on the way.
    pub fn open<'b>(&self, key: &SenderKey, bytes: &[u8], buffer: &'b mut [u8; MESSAGE_MAX]) -> Result<&'b [u8]> {
        let length = bytes.len().checked_sub(HEAD_BYTES + TAG_BYTES).ok_or(Error)?;
        let (sealed, tag) = bytes.get(HEAD_BYTES..).ok_or(Error)?.split_at(length);
        let tag: [u8; TAG_BYTES] = Fields(tag).array(0);
        let text = buffer.get_mut(..length).ok_or(Error)?;
        text.copy_from_slice(sealed);
        key.cipher()
            .decrypt_inout_detached(&nonce(self), &self.emit(), (&mut *text).into(), &Tag::from(tag))
            .map_err(|_| Error)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { from: HostId::new(1), to: HostId::new(2), sender: 3, receiver: 4, sequence: 5 };

    fn key(cluster: &str) -> SenderKey {
        SenderKey::derive(&[9; 32], cluster, HEAD.from, HEAD.sender)
    }

    #[test]
    fn a_sealed_message_opens_and_nothing_else_does() {
        let mut buffer = [0xa5; DATAGRAM_MAX];
        let sealed = HEAD.seal(&key("a"), &mut buffer, |place| {
            place[..5].copy_from_slice(b"hello");
            5
        });
        let mut sealed = std::vec::Vec::from(sealed);
        let mut text = [0; MESSAGE_MAX];
        assert_eq!(Head::parse(&sealed), Ok(HEAD));
        assert_eq!(HEAD.open(&key("a"), &sealed, &mut text), Ok(b"hello".as_slice()));
        assert_eq!(HEAD.open(&key("b"), &sealed, &mut text), Err(Error), "a foreign cluster");
        for bit in 0..sealed.len() * 8 {
            sealed[bit / 8] ^= 1 << (bit % 8);
            let opened = Head::parse(&sealed).and_then(|head| {
                let key = SenderKey::derive(&[9; 32], "a", head.from, head.sender);
                head.open(&key, &sealed, &mut text).map(<[u8]>::len)
            });
            assert_eq!(opened, Err(Error), "bit {bit}");
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..sealed.len() {
            let cut = &sealed[..length];
            assert!(Head::parse(cut).and_then(|head| head.open(&key("a"), cut, &mut text).map(<[u8]>::len)).is_err());
        }
    }
}
