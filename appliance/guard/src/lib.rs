//! The guard: the host process that started a VM and therefore *knows* whether it lives.
//!
//! Owns the processes of one host's VMs. Must never decide about the cluster: it starts and kills nodes on the order of
//! the appliance, and on its own only when the lease that the appliance brings has ended. Rules: SAFETY C3, E1-E5.
//! Linux only: what it reports rests on pidfds, cgroups and flock.

pub mod host;
