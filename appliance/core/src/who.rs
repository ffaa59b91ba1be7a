//! Who asked for something: a few characters that an operator gives, and that stay with what came of it.
//!
//! Owns the type. It is no proof of anybody's identity: the session's road is what authorises.

use crate::limits::WHO_BYTES;

/// A name, padded with zeros; all zero: nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Who(pub [u8; WHO_BYTES]);

impl Who {
    /// Nobody asked: it came by itself.
    pub const NONE: Self = Self([0; WHO_BYTES]);

    /// This name; `None` if it is too long or has characters that do not print.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; WHO_BYTES];
        let sound = !name.chars().any(char::is_control);
        bytes.get_mut(..name.len()).filter(|_| sound)?.copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// The same from the wire; what does not print is nobody's name.
    #[must_use]
    pub fn from_wire(bytes: [u8; WHO_BYTES]) -> Option<Self> {
        let who = Self(bytes);
        (Self::new(who.name()) == Some(who)).then_some(who)
    }

    /// The name; empty: nobody.
    #[must_use]
    pub fn name(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(WHO_BYTES);
        core::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }

    /// Whether anybody is named.
    #[must_use]
    pub fn is_some(&self) -> bool {
        *self != Self::NONE
    }
}

impl core::fmt::Display for Who {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.is_some() { self.name() } else { "an operator" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_and_prints_or_is_none() {
        assert_eq!(Who::new("ann@console").map(|who| who.name() == "ann@console"), Some(true));
        assert_eq!(Who::new(&"x".repeat(WHO_BYTES)).map(|who| who.name().len()), Some(WHO_BYTES));
        assert_eq!(Who::new(&"x".repeat(WHO_BYTES + 1)), None);
        assert_eq!(Who::new("a\nb"), None);
        let mut bytes = [0; WHO_BYTES];
        bytes[1] = b'a';
        assert_eq!(Who::from_wire(bytes), None, "nothing stands behind the end");
        assert_eq!(Who::from_wire([0xff; WHO_BYTES]), None);
        assert_eq!(Who::from_wire([0; WHO_BYTES]), Some(Who::NONE));
    }
}
