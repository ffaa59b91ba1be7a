//! The decision core of Palisade: everything that an appliance decides, and nothing that it does.
//!
//! Owns heartbeat, agreement, the fencing harness and node sessions. Must never allocate, read a clock, do I/O or use
//! `unsafe`: bytes, ticks and device answers come in through `Engine::handle`, outputs leave through `Engine::poll`.
//! The same code runs in the unikernel, in the simulator and in `palisadectl`. Rules: docs/PROTOCOL.md.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod agreement;
pub mod board;
mod cold;
pub mod config;
mod courier;
pub mod cut;
mod decide;
pub mod engine;
mod entropy;
pub mod fencing;
pub mod groups;
mod heartbeat;
pub mod id;
pub mod io;
pub mod limits;
mod local;
mod messaging;
pub mod nodes;
mod outbox;
mod peers;
pub mod rule;
mod sessions;
pub mod state;
pub mod status;
pub mod takeover;
mod throttle;
pub mod time;
pub mod who;
pub mod wire;
