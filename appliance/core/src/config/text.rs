//! Values that a configuration writes as text: addresses and the secret.
//!
//! Owns their parsers. The secret is never printed.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// An Ethernet address, `52:54:00:00:00:01`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// An IPv4 address, `10.1.0.1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv4(pub [u8; 4]);

/// An address of either family, `192.168.7.1` or `fd00::7:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

/// 32 bytes, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for Ipv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

impl Mac {
    /// Reads six pairs of hexadecimal digits with colons between them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            *byte = hex(parts.next()?.as_bytes())?;
        }
        parts.next().is_none().then_some(Self(bytes))
    }
}

impl Ipv4 {
    /// Reads four decimal numbers with dots between them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Ipv4Addr>().ok().map(|address| Self(address.octets()))
    }
}

impl Ip {
    /// Reads an address of either family.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(|address| match address {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(address.octets()),
        })
    }

    /// The same, as the library has it.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        match self {
            Self::V4(octets) => IpAddr::V4(Ipv4Addr::from_octets(octets)),
            Self::V6(octets) => IpAddr::V6(Ipv6Addr::from_octets(octets)),
        }
    }

    /// Whether another address is of the same family.
    #[must_use]
    pub const fn is_like(self, other: Self) -> bool {
        matches!((self, other), (Self::V4(_), Self::V4(_)) | (Self::V6(_), Self::V6(_)))
    }
}

impl Secret {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            *byte = hex(pair)?;
        }
        Some(Self(bytes))
    }
}

fn hex(pair: &[u8]) -> Option<u8> {
    let [high, low] = pair else { return None };
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

struct Text<T>(fn(&str) -> Option<T>, &'static str);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).ok_or_else(|| E::custom(self.1))
    }
}

macro_rules! from_text {
    ($type:ident, $shape:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text($type::parse, $shape))
            }
        }
    };
}

from_text!(Mac, "an Ethernet address like 52:54:00:00:00:01");
from_text!(Ipv4, "an IPv4 address like 10.1.0.1");
from_text!(Ip, "an IP address like 192.168.7.1 or fd00::7:1");
from_text!(Secret, "64 hexadecimal digits");
