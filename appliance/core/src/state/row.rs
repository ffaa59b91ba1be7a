//! How the state is written: a head, then rows, each with its kind and key in front.
//!
//! Owns the envelope of a row and nothing that is in one. Rows stand in ascending order of (kind, key), and a key comes once:
//! so two encodings of the same state are the same bytes, and what changed between two states is a list of rows.
//!
//! ```text
//! 0 kind   1 key, 3 bytes   4 body; how long a row is follows from its kind
//! ```

use crate::wire::{Error, Fields, Result, put};

/// Bytes before a row's body.
pub const HEAD_BYTES: usize = 4;

/// What a row is about. Each section of the state has its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A host; its number is the key.
    Host = 1,
    /// A node; its number is the key.
    Node = 2,
    /// A closed record; its place in the history is the key.
    History = 3,
    /// A group; its number is the key.
    Group = 4,
    /// A node in a group, or its fate there: group, node, whether it is over.
    Membership = 5,
    /// A takeover: service, and for a recovery the dead node.
    Takeover = 6,
    /// What is held; its kind and target are the key.
    Hold = 16,
    /// How a node keeps dying; its number is the key.
    Flap = 17,
}

/// The key of a row among those of its kind.
pub type Key = [u8; 3];

impl Kind {
    /// The kind with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Host,
            2 => Self::Node,
            3 => Self::History,
            4 => Self::Group,
            5 => Self::Membership,
            6 => Self::Takeover,
            16 => Self::Hold,
            17 => Self::Flap,
            _ => return None,
        })
    }

    /// Bytes of a whole row of this kind.
    #[must_use]
    pub const fn bytes(self) -> usize {
        HEAD_BYTES
            + match self {
                Self::Host => super::host::BODY_BYTES,
                Self::Node => super::node::BODY_BYTES,
                Self::History => super::history::BODY_BYTES,
                Self::Group => super::groups::GROUP_BYTES,
                Self::Membership => super::groups::MEMBER_BYTES,
                Self::Takeover => super::takeovers::BODY_BYTES,
                Self::Hold => super::holds::HOLD_BODY_BYTES,
                Self::Flap => super::holds::FLAP_BODY_BYTES,
            }
    }
}

/// Writes rows one after another.
pub struct Sink<'b> {
    buffer: &'b mut [u8],
    at: usize,
}

impl<'b> Sink<'b> {
    /// Writes behind the first `at` bytes of the buffer.
    pub const fn new(buffer: &'b mut [u8], at: usize) -> Self {
        Self { buffer, at }
    }

    /// Begins a row; returns its body, all zero.
    pub fn row(&mut self, kind: Kind, key: Key) -> &mut [u8] {
        let row = &mut self.buffer[self.at..self.at + kind.bytes()];
        self.at += kind.bytes();
        row.fill(0);
        put(row, 0, [kind as u8]);
        put(row, 1, key);
        &mut row[HEAD_BYTES..]
    }

    /// How many bytes are written by now.
    #[must_use]
    pub const fn written(&self) -> usize {
        self.at
    }
}

/// Cuts the next whole row, kind and key with it, off these bytes; `None` when there is no more. Whether rows are in order is
/// not looked at.
///
/// # Errors
/// Unknown kind, or half a row; `bytes` is then as it was.
pub fn cut<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let kind = Kind::from_wire(first).ok_or(Error)?;
    let (row, rest) = bytes.split_at_checked(kind.bytes()).ok_or(Error)?;
    *bytes = rest;
    Ok(Some(row))
}

/// One row, read.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its key.
    pub key: Key,
    pub(super) body: Fields<'a>,
}

/// Reads rows one after another, and refuses those out of order.
pub struct Rows<'a> {
    bytes: &'a [u8],
    last: Option<(Kind, Key)>,
}

impl<'a> Rows<'a> {
    /// The rows in these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, last: None }
    }

    /// The next row; `None` when there is no more.
    ///
    /// # Errors
    /// Unknown kind, half a row, or one that does not come after the one before.
    pub fn read(&mut self) -> Result<Option<Row<'a>>> {
        let Some(row) = cut(&mut self.bytes)? else { return Ok(None) };
        let kind = row.first().copied().and_then(Kind::from_wire).ok_or(Error)?;
        let key = Fields(row).array(1);
        if self.last.is_some_and(|last| last >= (kind, key)) {
            return Err(Error);
        }
        self.last = Some((kind, key));
        Ok(Some(Row { kind, key, body: Fields(row.get(HEAD_BYTES..).ok_or(Error)?) }))
    }
}
