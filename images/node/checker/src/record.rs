//! One record of the log: a line of text of fixed length, so that a person can read the log too.
//!
//! Owns the layout and the check. It must never accept a line that it would not have written itself.
//!
//! ```text
//! number            node boot      count       check of the one before, and its own
//! 00000000000000007 n002 b5f01a3c9 c0000000004 p1b2c3d4e 5a6b7c8d\n
//! ```

use std::fmt;

/// Bytes of a record, with the end of its line.
pub const BYTES: usize = 64;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log, from 1.
    pub number: u64,
    /// Who wrote it.
    pub node: u8,
    /// In which run of the writer: random.
    pub boot: u32,
    /// The writer's own count in that run, from 1.
    pub count: u32,
    /// The check of the record before; zero for the first.
    pub before: u32,
}

impl Record {
    /// The next record of this writer after `last`.
    #[must_use]
    pub fn after(last: Option<&Self>, node: u8, boot: u32, count: u32) -> Self {
        let number = last.map_or(1, |last| last.number + 1);
        Self { number, node, boot, count, before: last.map_or(0, Self::check) }
    }

    /// The check of this record.
    #[must_use]
    pub fn check(&self) -> u32 {
        check(self.body().as_bytes())
    }

    fn body(&self) -> String {
        let Self { number, node, boot, count, before } = self;
        format!("{number:017} n{node:03} b{boot:08x} c{count:010} p{before:08x} ")
    }

    /// Reads a record.
    ///
    /// # Errors
    /// A sentence: these bytes are no record.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wrong = || format!("`{}` is no record", String::from_utf8_lossy(bytes).trim_end());
        let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
        let mut words = text.split_ascii_whitespace();
        let mut word = |mark: &str| words.next().and_then(|word| word.strip_prefix(mark)).ok_or_else(wrong);
        let record = Self {
            number: word("")?.parse().map_err(|_| wrong())?,
            node: word("n")?.parse().map_err(|_| wrong())?,
            boot: u32::from_str_radix(word("b")?, 16).map_err(|_| wrong())?,
            count: word("c")?.parse().map_err(|_| wrong())?,
            before: u32::from_str_radix(word("p")?, 16).map_err(|_| wrong())?,
        };
        if record.to_string().as_bytes() == bytes { Ok(record) } else { Err(wrong()) }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{:08x}", self.body(), self.check())
    }
}

/// FNV-1a: it finds what went wrong, and nobody attacks it.
fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_64_bytes_and_reads_back_and_nothing_else_does() {
        for record in [
            Record::after(None, 1, 0, 1),
            Record { number: 99_999_999_999_999_999, node: 255, boot: u32::MAX, count: u32::MAX, before: u32::MAX },
        ] {
            let line = record.to_string();
            assert_eq!(line.len(), BYTES, "{line}");
            assert_eq!(Record::parse(line.as_bytes()), Ok(record));
            for at in 0..BYTES {
                let mut bad = line.clone().into_bytes();
                bad[at] ^= 1;
                assert!(Record::parse(&bad).is_err(), "byte {at} does not count");
            }
        }
        assert!(Record::parse(&[0; BYTES]).is_err());
    }
}
