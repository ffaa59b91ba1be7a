//! The log that several nodes write together, and the account of it.
//!
//! Owns the form of a record, the chain that orders all records, and the comparison with what the writers acknowledged.
//! It must never repair anything: what does not fit is told.
//!
//! Each writer locks the log, reads the last record, appends one that names it, syncs, unlocks, and only then says so.
//! Each record carries the next number and the check of the one before. So a lock that two nodes held at once, an old page
//! that a node still believed, and a journal that nobody replayed all break the chain, or lose what was acknowledged.

pub mod ledger;
pub mod record;
