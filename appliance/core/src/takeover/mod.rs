//! Takeover: who gets what a dead node owned.
//!
//! Owns the policies.

pub mod policy;

pub use policy::Policy;
