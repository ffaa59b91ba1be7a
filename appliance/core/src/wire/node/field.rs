//! Where the fields of a body stand: offsets that several kinds of message share.
//!
//! Owns the offsets of the kinds in `wire::node`; a room with kinds of its own keeps its own offsets. Must never depend
//! on a kind.

pub const NODE: usize = 0;
pub const HOST: usize = 1;
pub const CODE: usize = 2;
pub const PART: usize = 4;
pub const PARTS: usize = 6;
pub const TOTAL: usize = 8;
pub const INCARNATION: usize = 8;
pub const STAMP: usize = 16;
pub const VERSION: usize = 16;
pub const ROUND: usize = 24;
pub const LEASE: usize = 28;
pub const BEAT: usize = 32;
pub const CLUSTER: usize = 36;
pub const SERVED: usize = 32;
pub const RANDOM: usize = 8;
