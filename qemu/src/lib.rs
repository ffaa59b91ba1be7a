//! Clusters of VMs as data, and what runs and watches them: the demo and the scenes of the tests stand on this.
//!
//! Owns the switch, the BMCs and the hosts of a simulated machine room. Must never decide anything about fencing: it
//! does things to a cluster and reports what nodes and appliances say about it. Everything that it starts ends with it.

pub mod accel;
pub mod args;
pub mod bmc;
pub mod cluster;
pub mod compare;
pub mod door;
pub mod event;
pub mod host;
pub mod journal;
pub mod memory;
pub mod observe;
pub mod picture;
pub mod plan;
pub mod prepare;
pub mod process;
pub mod rundir;
pub mod scenes;
pub mod show;
pub mod stall;
pub mod status;
pub mod stop;
pub mod switch;
pub mod sys;
pub mod table;
pub mod timeline;
pub mod volume;
pub mod work;
