//! Volumes and services as people write them: a name, or a volume's UUID.
//!
//! Owns both directions. What is not a UUID is a name, and a name never has as many characters as a UUID.

use std::fmt;

use palisade_core::id::{LABEL_BYTES, Label};

/// Reads a name of at most 16 bytes without blanks, or a UUID: 32 hexadecimal digits, with or without dashes.
///
/// # Errors
/// A sentence.
pub fn parse(word: &str) -> Result<Label, String> {
    let digits: Vec<u8> = word.bytes().filter(|&byte| byte != b'-').collect();
    if digits.len() == 2 * LABEL_BYTES && digits.iter().all(u8::is_ascii_hexdigit) {
        let mut bytes = [0; LABEL_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).unwrap_or("");
            *byte = u8::from_str_radix(pair, 16).map_err(|_| format!("`{word}` is no UUID"))?;
        }
        let label = Label(bytes);
        return if label.is_some() { Ok(label) } else { Err("a UUID of zeros names nothing".to_owned()) };
    }
    if word.is_empty() || word.len() > LABEL_BYTES || !word.bytes().all(is_plain) {
        return Err(format!("`{word}` is neither a UUID nor a name: 1 to {LABEL_BYTES} letters, digits and signs"));
    }
    Ok(Label::named(word))
}

/// Reads a list with commas between.
///
/// # Errors
/// A sentence.
pub fn parse_list(words: &str) -> Result<Vec<Label>, String> {
    words.split(',').filter(|word| !word.is_empty()).map(parse).collect()
}

/// What stands in a line's value and in a list without meaning anything there.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b','
}

/// A label as it is written: its name, or else a UUID's digits.
#[derive(Clone, Copy)]
pub struct Shown(pub Label);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name().filter(|name| !name.is_empty() && name.bytes().all(is_plain)) {
            Some(name) if parse(name) == Ok(self.0) => f.write_str(name),
            _ => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_uuids_are_read_and_written_the_same() {
        for word in ["shared", "a", "sixteen-letters!", "0123456789abcdef0123456789abcdef"] {
            let label = parse(word).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(Shown(label).to_string(), word);
        }
        let dashed = parse("01234567-89ab-CDEF-0123-456789abcdef");
        assert_eq!(dashed, parse("0123456789abcdef0123456789abcdef"));
        assert_eq!(parse_list("a,,b"), Ok(vec![Label::named("a"), Label::named("b")]));
        assert_eq!(parse_list(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_neither_is_named_in_the_refusal() {
        for wrong in ["", "seventeen-letters", "a b", "\u{fc}", &"0".repeat(32)] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse_list("good,not good").is_err());
    }

    #[test]
    fn bytes_that_are_no_name_are_shown_as_digits() {
        assert_eq!(Shown(Label([0xff; 16])).to_string(), "ff".repeat(16));
        let mut gap = [0; 16];
        gap[0] = b'a';
        gap[2] = b'b';
        assert_eq!(Shown(Label(gap)).to_string().len(), 32);
    }
}
