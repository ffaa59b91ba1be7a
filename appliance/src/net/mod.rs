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

/// Datagrams that a socket holds on their way out: each is gone in the turn in which it came.
const SEND_DATAGRAMS: usize = 4;
/// Bytes of these.
const SEND_BYTES: usize = 4096;

/// Names of the datagrams in a socket's buffers, of which `IN` came in. Not all zero, so apart from the bytes.
pub struct Names<const IN: usize> {
    receive: [PacketMetadata; IN],
    send: [PacketMetadata; SEND_DATAGRAMS],
}

impl<const IN: usize> Names<IN> {
    pub const EMPTY: Self =
        Self { receive: [PacketMetadata::EMPTY; IN], send: [PacketMetadata::EMPTY; SEND_DATAGRAMS] };
}

/// Bytes of the datagrams in a socket's buffers.
pub struct Bytes<const IN: usize> {
    receive: [u8; IN],
    send: [u8; SEND_BYTES],
}

impl<const IN: usize> Bytes<IN> {
    pub const EMPTY: Self = Self { receive: [0; IN], send: [0; SEND_BYTES] };
}

fn socket<const N: usize, const B: usize>(
    names: &'static mut Names<N>,
    bytes: &'static mut Bytes<B>,
) -> Socket<'static> {
    Socket::new(
        PacketBuffer::new(&mut names.receive[..], &mut bytes.receive[..]),
        PacketBuffer::new(&mut names.send[..], &mut bytes.send[..]),
    )
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
