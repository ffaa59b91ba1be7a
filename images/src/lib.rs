//! Builds the bootable images: the appliance's, and the node's.
//!
//! Owns everything between the sources and `target/images`. It must never need anything on the machine that it does
//! not name: what is missing is said, and installed if that is allowed.

pub mod appliance;
pub mod audit;
pub mod boot;
pub mod house;
pub mod kernel;
mod lock;
pub mod map;
pub mod node;
pub mod reproducible;
pub mod run;
pub mod setup;
pub mod toolchain;
mod tree;
pub mod workload;

pub use house::House;
pub use run::Error;
