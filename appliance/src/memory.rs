//! The memory that devices may touch: one static, claimed once, divided among the drivers while booting.
//!
//! Owns the sizes of all rings and the buffers in them. It must never hold anything else: `hal` lets a device see an
//! address only if it lies in here, so that neither a stack nor the kernel's heap (which are not identity mapped) ever gets to one.
//! When a receive ring is full the device drops; when a transmit ring is full the driver does, lowest class first.

use palisade_core::limits::{FRAME_MAX, LINKS_MAX, LOCAL_NODES_MAX};

use crate::cell::Once;

/// Frames in each of a NIC's rings. A leader of 255 hosts gets and gives 254 datagrams at a time on each link.
/// QEMU's rings hold no more unless told so.
pub const NIC_RING: usize = 256;
/// Bytes of a frame with its virtio header (12) and Ethernet header (14), rounded up.
pub const NIC_BYTES: usize = 1536;
/// Buffers in each of a console's rings: 16 KiB each way, some 40 messages.
pub const CONSOLE_RING: usize = 32;
/// Bytes of such a buffer: the largest frame, so that a frame never is cut in two.
pub const CONSOLE_BYTES: usize = FRAME_MAX;
/// Packets in the vsock's rings.
pub const VSOCK_RING: usize = 64;
/// Bytes of a packet that we send or take: header (44) and the largest frame, rounded up.
pub const VSOCK_BYTES: usize = 576;
/// Buffers in the vsock's event queue.
pub const VSOCK_EVENTS: usize = 4;
/// Bytes of an event.
pub const VSOCK_EVENT_BYTES: usize = 8;
/// Buffers of entropy that are kept ready.
pub const ENTROPY_RING: usize = 8;
/// Bytes in each.
pub const ENTROPY_BYTES: usize = 64;

/// Receive and transmit buffers of one device.
pub struct Pair<const RING: usize, const BYTES: usize> {
    pub receive: [[u8; BYTES]; RING],
    pub transmit: [[u8; BYTES]; RING],
}

impl<const RING: usize, const BYTES: usize> Pair<RING, BYTES> {
    const EMPTY: Self = Self { receive: [[0; BYTES]; RING], transmit: [[0; BYTES]; RING] };
}

/// Buffers of a NIC.
pub type NicBuffers = Pair<NIC_RING, NIC_BYTES>;
/// Buffers of a console.
pub type ConsoleBuffers = Pair<CONSOLE_RING, CONSOLE_BYTES>;

/// All of it.
#[repr(C, align(4096))]
pub struct Arena {
    pub links: [NicBuffers; LINKS_MAX],
    pub management: NicBuffers,
    pub guard: ConsoleBuffers,
    pub channels: [ConsoleBuffers; LOCAL_NODES_MAX],
    pub monitors: [ConsoleBuffers; LOCAL_NODES_MAX],
    pub vsock: Pair<VSOCK_RING, VSOCK_BYTES>,
    pub vsock_events: [[u8; VSOCK_EVENT_BYTES]; VSOCK_EVENTS],
    pub entropy: [[u8; ENTROPY_BYTES]; ENTROPY_RING],
}

/// The static. All zero: it costs nothing in the image.
pub static ARENA: Once<Arena> = Once::new(Arena {
    links: [const { NicBuffers::EMPTY }; LINKS_MAX],
    management: NicBuffers::EMPTY,
    guard: ConsoleBuffers::EMPTY,
    channels: [const { ConsoleBuffers::EMPTY }; LOCAL_NODES_MAX],
    monitors: [const { ConsoleBuffers::EMPTY }; LOCAL_NODES_MAX],
    vsock: Pair::EMPTY,
    vsock_events: [[0; VSOCK_EVENT_BYTES]; VSOCK_EVENTS],
    entropy: [[0; ENTROPY_BYTES]; ENTROPY_RING],
});

/// Whether a range lies within the memory that devices may touch.
pub fn is_shared(address: usize, bytes: usize) -> bool {
    let start = ARENA.address().addr();
    let end = start + size_of::<Arena>();
    address >= start && address.checked_add(bytes).is_some_and(|last| last <= end)
}
