//! A cluster link: the NIC on which appliances talk to each other.
//!
//! Owns one UDP socket per class of traffic, and the rule who is dropped first: messages of nodes, then state transfer, then
//! membership. On the way out each class leaves a part of the ring free for those above. On the way in a turn's worth of
//! frames is sorted into the sockets before anything below membership is looked at; what a socket cannot hold is dropped
//! there, while the others have their own. A datagram never waits: it is in the ring when `send` returns, or it was
//! dropped and counted.

use palisade_core::config;
use palisade_core::io::Traffic;
use palisade_core::limits::{DATAGRAM_MAX, ID_SLOTS, LINKS_MAX, PORT_MEMBERSHIP, PORT_MESSAGES, PORT_STATE};
use palisade_core::time::{Duration, Instant};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::udp::Socket;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address};

use super::nic::Nic;
use super::resolver::{self, Resolver};
use super::{Bytes, Names, smoltcp_time, socket};
use crate::cell::Once;
use crate::memory::{NIC_RING, NicBuffers};
use crate::pci::Error;

/// Prefix length of a link's network.
const PREFIX: u8 = 24;
/// Classes of traffic, each with its socket.
const CLASSES: usize = 3;
/// Transmit buffers that only membership may use.
const RESERVED: usize = NIC_RING / 4;
/// Transmit buffers that messages of nodes may not use.
const RESERVED_ABOVE_MESSAGES: usize = NIC_RING / 2;
/// smoltcp forgets an address after a minute; it is told again before.
const TEACH: Duration = Duration::from_millis(20_000);
/// Frames that are sorted before anything below membership has its turn.
const SORT: usize = 32;
/// Datagrams and bytes that came in and wait, of membership: they are taken one by one as they come.
const MEMBERSHIP_IN: usize = 16;
const MEMBERSHIP_BYTES: usize = 24 * 1024;
/// The same of state transfer: two turns of the longest datagrams.
const STATE_IN: usize = 2 * SORT;
const STATE_BYTES: usize = 96 * 1024;
/// The same of messages of nodes: one turn. Who carries what is dropped here carries it again.
const MESSAGES_IN: usize = SORT;
const MESSAGES_BYTES: usize = 24 * 1024;
/// Rounds of smoltcp's egress for one datagram: one sends it, the next finds nothing.
const ROUNDS: usize = 4;

/// Payload of a sealed datagram at most: header, text and tag.
pub const PAYLOAD_MAX: usize = 1472;
const _: () = assert!(DATAGRAM_MAX <= PAYLOAD_MAX);

type AllNames = (Names<MEMBERSHIP_IN>, Names<STATE_IN>, Names<MESSAGES_IN>);
type AllBytes = (Bytes<MEMBERSHIP_BYTES>, Bytes<STATE_BYTES>, Bytes<MESSAGES_BYTES>);

static NAMES: Once<[AllNames; LINKS_MAX]> =
    Once::new([const { (Names::EMPTY, Names::EMPTY, Names::EMPTY) }; LINKS_MAX]);
static BYTES: Once<[AllBytes; LINKS_MAX]> =
    Once::new([const { (Bytes::EMPTY, Bytes::EMPTY, Bytes::EMPTY) }; LINKS_MAX]);
static STORAGE: Once<[[SocketStorage<'static>; CLASSES]; LINKS_MAX]> =
    Once::new([const { [SocketStorage::EMPTY; CLASSES] }; LINKS_MAX]);

/// The sockets' memory of one link.
pub struct Memory {
    names: &'static mut AllNames,
    bytes: &'static mut AllBytes,
    storage: &'static mut [SocketStorage<'static>; CLASSES],
}

/// The memory of all links.
pub fn memory() -> impl Iterator<Item = Memory> {
    let parts = NAMES.claim().iter_mut().zip(BYTES.claim()).zip(STORAGE.claim());
    parts.map(|((names, bytes), storage)| Memory { names, bytes, storage })
}

/// One link.
pub struct Link {
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    membership: SocketHandle,
    state: SocketHandle,
    messages: SocketHandle,
    own: config::Link,
    /// When smoltcp was last told each host's address.
    taught: [Instant; ID_SLOTS],
    /// Bytes that found no room.
    pub dropped: u64,
}

/// Why a link cannot be used.
pub enum Broken {
    /// The NIC cannot.
    Nic(Error),
    /// The NIC has this address, the configuration says another.
    OtherMac([u8; 6]),
}

impl From<Error> for Broken {
    fn from(why: Error) -> Self {
        Self::Nic(why)
    }
}

impl Link {
    /// Finds the NIC in this slot, which must have the address that the configuration gives it: peers rely on it.
    pub fn start(
        slot: u8,
        own: config::Link,
        buffers: &'static mut NicBuffers,
        memory: Memory,
        now: Instant,
    ) -> Result<Self, Broken> {
        let mut nic = Nic::start(slot, buffers, Resolver::Configured)?;
        let mac = nic.mac()?;
        if mac != own.mac.0 {
            return Err(Broken::OtherMac(mac));
        }
        let hardware = HardwareAddress::Ethernet(EthernetAddress(mac));
        let mut interface = Interface::new(Config::new(hardware), &mut nic, smoltcp_time(now));
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::Ipv4(Ipv4Address::from(own.ip.0)), PREFIX);
            addresses.push(address).expect("invariant: there is room for one address");
        });
        let mut sockets = SocketSet::new(&mut memory.storage[..]);
        let (membership_names, state_names, messages_names) = memory.names;
        let (membership_bytes, state_bytes, messages_bytes) = memory.bytes;
        let membership = sockets.add(bound(socket(membership_names, membership_bytes), PORT_MEMBERSHIP));
        let state = sockets.add(bound(socket(state_names, state_bytes), PORT_STATE));
        let messages = sockets.add(bound(socket(messages_names, messages_bytes), PORT_MESSAGES));
        let taught = [Instant::ZERO; ID_SLOTS];
        Ok(Self { nic, interface, sockets, membership, state, messages, own, taught, dropped: 0 })
    }

    /// Whether a frame waits, or a datagram that was sorted.
    pub fn is_pending(&self) -> bool {
        let sorted = |handle| self.sockets.get::<Socket<'_>>(handle).can_recv();
        self.nic.is_pending() || sorted(self.state) || sorted(self.messages)
    }

    /// The next datagram of a class, copied into `out`. Asking for membership sorts what came. `None`: there is nothing.
    pub fn receive(&mut self, now: Instant, traffic: Traffic, out: &mut [u8; PAYLOAD_MAX]) -> Option<usize> {
        match traffic {
            Traffic::Membership => self.receive_first(now, out),
            Traffic::State => self.take(self.state, out),
            Traffic::Messages => self.take(self.messages, out),
        }
    }

    fn receive_first(&mut self, now: Instant, out: &mut [u8; PAYLOAD_MAX]) -> Option<usize> {
        self.nic.set_now(now);
        for _ in 0..SORT {
            if let Some(length) = self.take(self.membership, out) {
                return Some(length);
            }
            let polled = self.interface.poll_ingress_single(smoltcp_time(now), &mut self.nic, &mut self.sockets);
            if matches!(polled, PollIngressSingleResult::None) {
                break;
            }
        }
        self.take(self.membership, out)
    }

    fn take(&mut self, handle: SocketHandle, out: &mut [u8; PAYLOAD_MAX]) -> Option<usize> {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        socket.recv_slice(out).ok().map(|(length, _)| length)
    }

    /// Sends a datagram to the host with this number, whose end of the link is `to`.
    pub fn send(&mut self, now: Instant, host: usize, to: config::Link, traffic: Traffic, payload: &[u8]) {
        self.nic.set_now(now);
        let (handle, port, reserved) = match traffic {
            Traffic::Membership => (self.membership, PORT_MEMBERSHIP, 0),
            Traffic::State => (self.state, PORT_STATE, RESERVED),
            Traffic::Messages => (self.messages, PORT_MESSAGES, RESERVED_ABOVE_MESSAGES),
        };
        if self.nic.room() <= reserved.max(1) || !self.put(now, handle, host, to, port, payload) {
            self.dropped += u64::try_from(payload.len()).unwrap_or(0);
        }
    }

    fn put(
        &mut self,
        now: Instant,
        handle: SocketHandle,
        host: usize,
        to: config::Link,
        port: u16,
        payload: &[u8],
    ) -> bool {
        self.teach(now, host, to);
        let endpoint = IpEndpoint::new(IpAddress::Ipv4(Ipv4Address::from(to.ip.0)), port);
        if self.sockets.get_mut::<Socket<'_>>(handle).send_slice(payload, endpoint).is_err() {
            return false;
        }
        for _ in 0..ROUNDS {
            let polled = self.interface.poll_egress(smoltcp_time(now), &mut self.nic, &mut self.sockets);
            if matches!(polled, PollResult::None) {
                break;
            }
        }
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        if socket.send_queue() == 0 {
            return true;
        }
        // It must not stand in the way of the next one.
        socket.close();
        socket.bind(port).is_err()
    }

    /// Tells smoltcp the peer's address, as if the peer had.
    fn teach(&mut self, now: Instant, host: usize, to: config::Link) {
        let Some(taught) = self.taught.get_mut(host) else { return };
        if *taught != Instant::ZERO && now.since(*taught) < TEACH {
            return;
        }
        *taught = now;
        self.nic.teach(resolver::reply((to.mac.0, to.ip.0), (self.own.mac.0, self.own.ip.0)));
        self.interface.poll_ingress_single(smoltcp_time(now), &mut self.nic, &mut self.sockets);
    }

    /// Tells the device what was posted and sent.
    pub fn kick(&mut self) {
        self.nic.kick();
    }

    /// Makes a ring inconsistent on purpose.
    #[cfg(feature = "faults")]
    pub fn spoil(&mut self) {
        self.nic.spoil();
    }
}

fn bound(mut socket: Socket<'static>, port: u16) -> Socket<'static> {
    socket.bind(port).expect("invariant: a new socket is bound to a port that is not zero");
    socket
}
