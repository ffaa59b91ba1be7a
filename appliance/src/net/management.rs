//! The NIC for BMCs and other devices.
//!
//! Owns one UDP socket per device attempt, with a local port of its own, so that no attempt can wait behind another and
//! no late answer reaches the next one. What comes from anybody but the device that the attempt talks to is dropped.

use palisade_core::board;
use palisade_core::config;
use palisade_core::limits::JOBS_MAX;
use palisade_core::time::Instant;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::udp::Socket;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv4Cidr};

use super::links::Broken;
use super::nic::Nic;
use super::resolver::{self, Resolver, Table};
use super::{Bytes, Names, smoltcp_time, socket};
use crate::cell::Once;
use crate::memory::NicBuffers;

/// First of the ports that nobody owns, and how many there are (RFC 6335).
const PORTS: u16 = 0xc000;
const PORTS_COUNT: u16 = 0x4000;
/// Frames that are looked at for one datagram.
const LOOK: usize = 16;
/// Rounds of smoltcp's egress for one datagram.
const ROUNDS: usize = 4;
/// Longest datagram that is taken in.
pub const PAYLOAD_MAX: usize = 1472;

/// Datagrams and bytes of an attempt that came in and wait: a device answers one request at a time.
const DATAGRAMS_IN: usize = 4;
const BYTES_IN: usize = 4096;

static NAMES: Once<[Names<DATAGRAMS_IN>; JOBS_MAX]> = Once::new([const { Names::EMPTY }; JOBS_MAX]);
static BYTES: Once<[Bytes<BYTES_IN>; JOBS_MAX]> = Once::new([const { Bytes::EMPTY }; JOBS_MAX]);
static STORAGE: Once<[SocketStorage<'static>; JOBS_MAX]> = Once::new([SocketStorage::EMPTY; JOBS_MAX]);
static TABLE: Once<Table> = Once::new(Table::new());

/// The NIC.
pub struct Management {
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: [SocketHandle; JOBS_MAX],
    peers: [Option<IpEndpoint>; JOBS_MAX],
    own: config::Management,
    mac: [u8; 6],
    next_port: u16,
    /// Bytes that found no room.
    pub dropped: u64,
}

impl Management {
    /// Finds the NIC. Ports are counted from a random one, so that a restarted appliance does not meet its own past.
    pub fn start(
        own: config::Management,
        buffers: &'static mut NicBuffers,
        now: Instant,
        random: u16,
    ) -> Result<Self, Broken> {
        let table = TABLE.claim();
        table.set_own(own.mac.0, own.ip.0);
        let mut nic = Nic::start(board::MANAGEMENT_SLOT, buffers, Resolver::Asking(table))?;
        let mac = nic.mac()?;
        if mac != own.mac.0 {
            return Err(Broken::OtherMac(mac));
        }
        let hardware = HardwareAddress::Ethernet(EthernetAddress(mac));
        let mut interface = Interface::new(Config::new(hardware), &mut nic, smoltcp_time(now));
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::Ipv4(network(own));
            addresses.push(address).expect("invariant: there is room for one address");
        });
        if let Some(gateway) = own.gateway {
            let added = interface.routes_mut().add_default_ipv4_route(Ipv4Address::from(gateway.0));
            added.expect("invariant: there is room for one route");
        }
        let mut sockets = SocketSet::new(&mut STORAGE.claim()[..]);
        let mut memory = NAMES.claim().iter_mut().zip(BYTES.claim());
        let handles = core::array::from_fn(|_| {
            let (names, bytes) = memory.next().expect("invariant: there is memory for each job");
            sockets.add(socket(names, bytes))
        });
        let next_port = PORTS + random % PORTS_COUNT;
        Ok(Self { nic, interface, sockets, handles, peers: [None; JOBS_MAX], own, mac, next_port, dropped: 0 })
    }

    /// Whether a frame waits.
    pub fn is_pending(&self) -> bool {
        self.nic.is_pending()
    }

    /// Gives an attempt its socket to talk to this device.
    pub fn open(&mut self, job: usize, ip: [u8; 4], port: u16) {
        self.close(job);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[job]);
        let bound = socket.bind(self.next_port);
        bound.expect("invariant: a closed socket is bound to a port that is not zero");
        self.next_port = PORTS + (self.next_port - PORTS + 1) % PORTS_COUNT;
        self.peers[job] = Some(IpEndpoint::new(IpAddress::Ipv4(Ipv4Address::from(ip)), port));
    }

    /// Ends an attempt's conversation.
    pub fn close(&mut self, job: usize) {
        self.peers[job] = None;
        self.sockets.get_mut::<Socket<'_>>(self.handles[job]).close();
    }

    /// Sends an attempt's datagram. One for a device whose address is not known yet goes out as soon as it is.
    pub fn send(&mut self, now: Instant, job: usize, payload: &[u8]) {
        let Some(peer) = self.peers[job] else { return };
        self.nic.set_now(now);
        self.teach(now, peer);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[job]);
        if self.nic.room() < 2 || socket.send_slice(payload, peer).is_err() {
            self.dropped += u64::try_from(payload.len()).unwrap_or(0);
        }
        for _ in 0..ROUNDS {
            let polled = self.interface.poll_egress(smoltcp_time(now), &mut self.nic, &mut self.sockets);
            if matches!(polled, PollResult::None) {
                break;
            }
        }
        self.nic.kick();
    }

    /// The next datagram of a device, copied into `out`, and whose attempt it belongs to.
    pub fn receive(&mut self, now: Instant, out: &mut [u8; PAYLOAD_MAX]) -> Option<(usize, usize)> {
        self.nic.set_now(now);
        for _ in 0..LOOK {
            for (job, peer) in self.peers.iter().enumerate() {
                let Some(peer) = peer else { continue };
                let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[job]);
                match socket.recv_slice(out) {
                    Ok((length, from)) if from.endpoint == *peer => return Some((job, length)),
                    _ => {}
                }
            }
            let polled = self.interface.poll_ingress_single(smoltcp_time(now), &mut self.nic, &mut self.sockets);
            if matches!(polled, PollIngressSingleResult::None) {
                break;
            }
        }
        self.nic.kick();
        None
    }

    /// Tells smoltcp an address for the next hop; the resolver finds the true one.
    fn teach(&mut self, now: Instant, peer: IpEndpoint) {
        let IpAddress::Ipv4(ip) = peer.addr;
        let hop = match self.own.gateway {
            Some(gateway) if !network(self.own).contains_addr(&ip) => gateway.0,
            _ => ip.octets(),
        };
        self.nic.teach(resolver::reply((resolver::made_up(hop), hop), (self.mac, self.own.ip.0)));
        self.interface.poll_ingress_single(smoltcp_time(now), &mut self.nic, &mut self.sockets);
    }
}

fn network(own: config::Management) -> Ipv4Cidr {
    Ipv4Cidr::new(Ipv4Address::from(own.ip.0), own.prefix)
}
