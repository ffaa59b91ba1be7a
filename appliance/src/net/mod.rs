//! The network: one smoltcp interface per NIC.
//!
//! Owns nothing itself. `links` are the cluster links, `management` is the NIC for BMCs and other devices; both stand on
//! `nic` (rings) and `resolver` (Ethernet addresses). ICMP echo is answered by smoltcp.

pub mod links;
pub mod management;
mod nic;
mod resolver;

pub use links::Link;
pub use management::Management;

use palisade_core::time::Instant;
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};

/// Datagrams that a socket's buffer holds: it is emptied in the turn in which it is filled.
const SOCKET_DATAGRAMS: usize = 4;
/// Bytes that it holds.
const SOCKET_BYTES: usize = 4096;

/// Names of the datagrams in a socket's buffers. Not all zero, so apart from the bytes.
pub struct Names([[PacketMetadata; SOCKET_DATAGRAMS]; 2]);

impl Names {
    pub const EMPTY: Self = Self([[PacketMetadata::EMPTY; SOCKET_DATAGRAMS]; 2]);
}

/// Bytes of the datagrams in a socket's buffers.
pub struct Bytes([[u8; SOCKET_BYTES]; 2]);

impl Bytes {
    pub const EMPTY: Self = Self([[0; SOCKET_BYTES]; 2]);
}

fn socket(names: &'static mut Names, bytes: &'static mut Bytes) -> Socket<'static> {
    let [receive_names, send_names] = &mut names.0;
    let [receive_bytes, send_bytes] = &mut bytes.0;
    Socket::new(
        PacketBuffer::new(&mut receive_names[..], &mut receive_bytes[..]),
        PacketBuffer::new(&mut send_names[..], &mut send_bytes[..]),
    )
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
