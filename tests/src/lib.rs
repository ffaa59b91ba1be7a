//! What the tests of the whole house share.
//!
//! Owns no test itself; those are in the folder beside this one. Must never be used by the product.

pub mod flood;
pub mod lone;
pub mod model;
pub mod mutations;
pub mod runner;
pub mod scenarios;
pub mod sim;
pub mod source;
pub mod steps;
