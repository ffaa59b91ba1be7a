//! The guard: the host process that started a VM and therefore *knows* whether it lives.
//!
//! Owns the processes of one host's VMs. Must never decide about the cluster: it starts and kills nodes on the order of
//! the appliance, and on its own only when the lease that the appliance brings has ended. Rules: SAFETY C3, E1-E5.
//! Linux only: what it reports rests on pidfds, cgroups and flock. Other crates use `host`, the types of host.json.

pub mod cgroup;
pub mod child;
pub mod counters;
pub mod duty;
pub mod host;
pub mod lease;
pub mod link;
pub mod load;
pub mod lock;
pub mod log;
pub mod memory;
pub mod qemu;
pub mod restart;
pub mod rules;
pub mod runs;
pub mod start;
pub mod sys;
pub mod vm;
