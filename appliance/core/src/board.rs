//! The appliance VM's hardware: at which PCI slot which device sits.
//!
//! Owns the one table that the guard (which builds the VM) and the unikernel (which looks for its devices) share.
//! A virtio device says what it is, but not what it is *for*; its slot does.

use crate::limits::{LINKS_MAX, LOCAL_NODES_MAX};

/// Cluster link `i` is the virtio-net device in slot `LINK_SLOT + i`.
pub const LINK_SLOT: u8 = 0x04;
/// The NIC for BMCs and other devices.
pub const MANAGEMENT_SLOT: u8 = 0x08;
/// virtio-vsock: the road for requests.
pub const VSOCK_SLOT: u8 = 0x09;
/// virtio-rng: incarnations, nonces and keys come from here.
pub const ENTROPY_SLOT: u8 = 0x0a;
/// The console joined to the guard.
pub const GUARD_SLOT: u8 = 0x0b;
/// The console joined to the channel of local node `i` is in slot `CHANNEL_SLOT + i`.
pub const CHANNEL_SLOT: u8 = 0x10;
/// The console joined to the QMP monitor of local node `i` is in slot `MONITOR_SLOT + i`.
pub const MONITOR_SLOT: u8 = 0x18;

const _: () = assert!(LINK_SLOT as usize + LINKS_MAX <= MANAGEMENT_SLOT as usize);
const _: () = assert!(CHANNEL_SLOT as usize + LOCAL_NODES_MAX <= MONITOR_SLOT as usize);
const _: () = assert!(MONITOR_SLOT as usize + LOCAL_NODES_MAX <= 32, "a PCI bus has 32 slots");

/// The fw_cfg file with the cluster's configuration (JSON, the same on every host).
pub const FW_CFG_CONFIG: &str = "opt/palisade/config";
/// The fw_cfg file with this host's number, in decimal.
pub const FW_CFG_HOST: &str = "opt/palisade/host";

/// In a node, the channel is the virtio console without multiport in this PCI slot.
pub const NODE_CHANNEL_SLOT: u8 = 0x10;

/// isa-debug-exit's port; QEMU exits with `2 * value + 1`.
pub const EXIT_PORT: u16 = 0xf4;
/// QEMU's exit status after a fail-stop: panic, allocation after the seal, corrupt ring.
pub const EXIT_FAIL_STOP: i32 = 1;
/// QEMU's exit status after a configuration that the appliance refuses. Restarting would not help.
pub const EXIT_REFUSED: i32 = 5;
