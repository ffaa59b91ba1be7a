//! The keyed codes of RAKP, the protection of datagrams inside a session, and the numbers drawn for both.
//!
//! Owns the cipher suites that may be used and how keys follow from the password. Must never compare a code other than
//! in constant time, decrypt what has not been verified, or offer suites 0 to 2 and 6 to 8 (no confidentiality, no
//! integrity or no authentication at all: whoever reaches the port could switch the host). Rule: IPMI 2.0, 13.28 to 13.32.
//!
//! ```text
//!   password ── HMAC(Rm Rc role user) ──► SIK ── HMAC(01 x 20) ──► K1: integrity codes
//!    (or Kg)                               └──── HMAC(02 x 20) ──► K2: its first 16 bytes encrypt
//! ```

use aes::Aes128;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::wire::{self, COVERED_FROM, Error, HEADER_LEN, Packet, PayloadType, Result};

const BLOCK: usize = 16;

/// The cipher suites that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128. Every BMC has it.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    /// Its number in the specification.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    /// Authentication, integrity and confidentiality algorithm.
    pub(super) const fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Three => [1, 1, 1],
            Self::Seventeen => [3, 4, 1],
        }
    }

    /// Bytes of a full code (RAKP 2 and 3, SIK).
    pub(super) const fn code_len(self) -> usize {
        match self {
            Self::Three => 20,
            Self::Seventeen => 32,
        }
    }

    /// Bytes of a code that is cut (RAKP 4, integrity).
    pub(super) const fn cut_len(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }
}

/// A full keyed code.
pub(super) struct Code {
    bytes: [u8; 32],
    len: usize,
}

impl Code {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("invariant: HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// HMAC of the joined parts under the suite's hash.
pub(super) fn code(suite: Suite, key: &[u8], parts: &[&[u8]]) -> Code {
    let mut code = Code { bytes: [0; 32], len: suite.code_len() };
    let out = &mut code.bytes[..suite.code_len()];
    match suite {
        Suite::Three => out.copy_from_slice(&keyed::<Hmac<Sha1>>(key, parts).finalize().into_bytes()),
        Suite::Seventeen => out.copy_from_slice(&keyed::<Hmac<Sha256>>(key, parts).finalize().into_bytes()),
    }
    code
}

/// Whether `claim` is the code of the parts, of `len` bytes exactly. Constant time.
pub(super) fn verify(suite: Suite, key: &[u8], parts: &[&[u8]], claim: &[u8], len: usize) -> bool {
    claim.len() == len
        && match suite {
            Suite::Three => keyed::<Hmac<Sha1>>(key, parts).verify_truncated_left(claim).is_ok(),
            Suite::Seventeen => keyed::<Hmac<Sha256>>(key, parts).verify_truncated_left(claim).is_ok(),
        }
}

/// What protects a session.
pub(super) struct Keys {
    suite: Suite,
    sik: Code,
    k1: Code,
    aes: [u8; BLOCK],
}

impl Keys {
    /// From the session integrity key's parts: Rm, Rc, role, length of user name, user name.
    pub(super) fn derive(suite: Suite, key: &[u8], parts: &[&[u8]]) -> Self {
        let sik = code(suite, key, parts);
        let k1 = code(suite, sik.as_bytes(), &[&[0x01; 20]]);
        let k2 = code(suite, sik.as_bytes(), &[&[0x02; 20]]);
        let mut aes = [0; BLOCK];
        aes.copy_from_slice(&k2.as_bytes()[..BLOCK]);
        Self { suite, sik, k1, aes }
    }

    /// Whether `claim` is RAKP 4's code of these parts.
    pub(super) fn verify_rakp4(&self, parts: &[&[u8]], claim: &[u8]) -> bool {
        verify(self.suite, self.sik.as_bytes(), parts, claim, self.suite.cut_len())
    }

    /// Writes one protected datagram that carries `message` and returns its length.
    pub(super) fn seal(
        &self,
        out: &mut [u8],
        session_id: u32,
        sequence: u32,
        iv: &[u8; BLOCK],
        message: &[u8],
    ) -> Result<usize> {
        // Pad 1, 2, 3 .. n, then n: message, pad and n together fill whole blocks.
        let pad = (BLOCK - (message.len() + 1) % BLOCK) % BLOCK;
        let clear_len = message.len() + pad + 1;
        let payload_len = BLOCK + clear_len;
        let start = wire::emit_header(out, PayloadType::Ipmi, true, session_id, sequence, payload_len)?;
        let (iv_out, clear) = out[start..start + payload_len].split_at_mut(BLOCK);
        iv_out.copy_from_slice(iv);
        clear[..message.len()].copy_from_slice(message);
        for (byte, number) in clear[message.len()..].iter_mut().zip(1u8..) {
            *byte = number;
        }
        clear[clear_len - 1] = u8::try_from(pad).map_err(|_| Error)?;
        let mut cbc = cbc::Encryptor::<Aes128>::new(&Array::from(self.aes), &Array::from(*iv));
        for block in clear.chunks_exact_mut(BLOCK) {
            cbc.encrypt_block(block.try_into().map_err(|_| Error)?);
        }
        self.emit_trailer(out, start + payload_len)
    }

    /// Pads what is covered to whole words, then pad length, next header, code.
    fn emit_trailer(&self, out: &mut [u8], end: usize) -> Result<usize> {
        let pad = (4 - (end - COVERED_FROM + 2) % 4) % 4;
        let covered_end = end + pad + 2;
        let total = covered_end + self.suite.cut_len();
        if out.len() < total {
            return Err(Error);
        }
        out[end..end + pad].fill(wire::INTEGRITY_PAD);
        out[end + pad] = u8::try_from(pad).map_err(|_| Error)?;
        out[end + pad + 1] = wire::NEXT_HEADER;
        let code = code(self.suite, self.k1.as_bytes(), &[&out[COVERED_FROM..covered_end]]);
        out[covered_end..total].copy_from_slice(&code.as_bytes()[..self.suite.cut_len()]);
        Ok(total)
    }

    /// Verifies a protected datagram, and only then decrypts it into `buffer` and returns the message.
    pub(super) fn open<'b>(&self, packet: &Packet<'_>, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        let trailer = packet.trailer();
        let covered = trailer.len().checked_sub(self.suite.cut_len()).ok_or(Error)?;
        let (tail, claim) = trailer.split_at(covered);
        let covered_end = HEADER_LEN + packet.payload().len() + covered;
        let parts = [&packet.bytes()[COVERED_FROM..covered_end]];
        if !verify(self.suite, self.k1.as_bytes(), &parts, claim, self.suite.cut_len()) {
            return Err(Error);
        }
        match tail {
            [pad @ .., pad_len, wire::NEXT_HEADER] if pad.len() == usize::from(*pad_len) => {}
            _ => return Err(Error),
        }
        self.decrypt(packet.payload(), buffer)
    }

    fn decrypt<'b>(&self, payload: &[u8], buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        let (iv, secret) = payload.split_at_checked(BLOCK).ok_or(Error)?;
        if secret.is_empty() || !secret.len().is_multiple_of(BLOCK) {
            return Err(Error);
        }
        let clear = buffer.get_mut(..secret.len()).ok_or(Error)?;
        clear.copy_from_slice(secret);
        let iv: [u8; BLOCK] = iv.try_into().map_err(|_| Error)?;
        let mut cbc = cbc::Decryptor::<Aes128>::new(&Array::from(self.aes), &Array::from(iv));
        for block in clear.chunks_exact_mut(BLOCK) {
            cbc.decrypt_block(block.try_into().map_err(|_| Error)?);
        }
        let (pad_len, rest) = clear.split_last().ok_or(Error)?;
        let message_len = rest.len().checked_sub(usize::from(*pad_len)).ok_or(Error)?;
        let (message, pad) = rest.split_at(message_len);
        if usize::from(*pad_len) >= BLOCK || !pad.iter().copied().eq(1..=*pad_len) {
            return Err(Error);
        }
        Ok(message)
    }
}

/// Bytes of entropy that an attempt is given.
pub const ENTROPY_LEN: usize = 48;

/// Numbers that nobody else can guess, all drawn from the entropy that came as an argument: an attempt may need several
/// session ids, challenges and one initialisation vector for each datagram, and cannot ask for more on the way.
pub(super) struct Random {
    entropy: [u8; ENTROPY_LEN],
    drawn: u64,
}

impl Random {
    pub(super) fn new(entropy: &[u8; ENTROPY_LEN]) -> Self {
        Self { entropy: *entropy, drawn: 0 }
    }

    /// The next 16 bytes.
    pub(super) fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let block = code(Suite::Seventeen, &self.entropy, &[&self.drawn.to_le_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&block.as_bytes()[..16]);
        bytes
    }

    /// The next session id: not zero, because zero means "outside a session".
    pub(super) fn draw_id(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.draw();
        u32::from_le_bytes([a, b, c, d]).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(suite: Suite) -> Keys {
        Keys::derive(suite, b"secret12", &[&[0x11; 16], &[0x22; 16], &[0x14, 5], b"admin"])
    }

    // RFC 2202 and RFC 4231, test case 2.
    #[test]
    fn known_codes() {
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        let sha1 = code(Suite::Three, b"Jefe", &parts);
        assert_eq!(sha1.as_bytes()[..4], [0xef, 0xfc, 0xdf, 0x6a]);
        assert_eq!(sha1.as_bytes().len(), 20);
        let sha256 = code(Suite::Seventeen, b"Jefe", &parts);
        assert_eq!(sha256.as_bytes()[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(sha256.as_bytes().len(), 32);
        assert!(verify(Suite::Three, b"Jefe", &parts, &sha1.as_bytes()[..12], 12));
        assert!(!verify(Suite::Three, b"Jefe", &parts, &sha1.as_bytes()[..11], 12), "a shorter code is no code");
        assert!(!verify(Suite::Three, b"Jefe", &parts, &[], 12));
        assert!(!verify(Suite::Three, b"Jeff", &parts, sha1.as_bytes(), 20));
    }

    // NIST SP 800-38A, F.2.1 CBC-AES128: first block.
    #[test]
    fn known_block() {
        let key = [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c];
        let iv: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).unwrap_or(0));
        let mut block =
            [0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a];
        let mut cbc = cbc::Encryptor::<Aes128>::new(&Array::from(key), &Array::from(iv));
        cbc.encrypt_block((&mut block).into());
        assert_eq!(block[..4], [0x76, 0x49, 0xab, 0xac]);
    }

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        for suite in [Suite::Three, Suite::Seventeen] {
            let keys = keys(suite);
            for len in 7..40 {
                let message: [u8; 40] = core::array::from_fn(|i| u8::try_from(i).unwrap_or(0));
                let mut out = [0xa5; 256];
                let total = keys.seal(&mut out, 7, 9, &[3; 16], &message[..len]).expect("fits");
                assert_eq!(out[total..], [0xa5; 256][total..]);
                assert_eq!((total - suite.cut_len() - COVERED_FROM) % 4, 0);
                let mut buffer = [0; 256];
                let packet = Packet::new_checked(&out[..total]).expect("emitted");
                assert_eq!(keys.open(&packet, &mut buffer), Ok(&message[..len]));
                for at in COVERED_FROM..total {
                    let mut bad = out;
                    bad[at] ^= 0x40;
                    let opened =
                        Packet::new_checked(&bad[..total]).and_then(|p| keys.open(&p, &mut buffer).map(|_| ()));
                    assert_eq!(opened, Err(Error), "byte {at}");
                }
                for short in 0..total {
                    let cut = Packet::new_checked(&out[..short]).and_then(|p| keys.open(&p, &mut buffer).map(|_| ()));
                    assert_eq!(cut, Err(Error));
                }
                assert!(keys.seal(&mut out[..total - 1], 7, 9, &[3; 16], &message[..len]).is_err());
            }
        }
    }

    #[test]
    fn drawn_numbers_differ_and_follow_from_the_entropy() {
        let mut random = Random::new(&[1; ENTROPY_LEN]);
        let (first, second) = (random.draw(), random.draw());
        assert_ne!(first, second);
        assert_eq!(Random::new(&[1; ENTROPY_LEN]).draw(), first);
        assert_ne!(Random::new(&[2; ENTROPY_LEN]).draw(), first);
        assert_ne!(random.draw_id(), 0);
    }
}
