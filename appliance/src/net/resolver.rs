//! Who has which Ethernet address, so that smoltcp never has to ask.
//!
//! Owns the frames of ARP that leave a NIC. smoltcp may put one question per second for all neighbours together and holds
//! a socket's datagrams back for as long as the first one's neighbour does not answer; so a single dead machine would
//! silence all others. Hence two rules. On a *cluster link* addresses come from the configuration: smoltcp is told them
//! before it sends, and its own questions are dropped. On the *management NIC* smoltcp is told an address that is made of
//! the IP address; here it is replaced by the true one, and as long as that is not known a question goes out in place of
//! the datagram, which is held for the answer: one datagram per neighbour, the newest.

use palisade_core::limits::JOBS_MAX;
use palisade_core::time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Ipv4Address,
};

/// Bytes of an ARP frame.
pub const ARP_BYTES: usize = 42;
/// How long an answer holds. Then the next datagram waits for a new one, which takes one round trip.
const FRESH: Duration = Duration::from_millis(30_000);
/// Bytes of a datagram that can be held; methods send less. A longer one is lost and sent again by its method.
const HELD_MAX: usize = 640;
/// The made-up addresses begin so: locally administered.
const MADE_UP: [u8; 2] = [0x02, 0x50];

/// What becomes of a frame that smoltcp sends.
pub enum Sent {
    /// So many bytes go out.
    Frame(usize),
    /// Nothing goes out.
    Nothing,
}

/// How a NIC's neighbours are found.
pub enum Resolver {
    /// From the configuration, before anything is sent.
    Configured,
    /// By asking, here.
    Asking(&'static mut Table),
}

/// A datagram that was held for the answer that has come.
pub struct Held<'a>(&'a [u8]);

impl Held<'_> {
    /// Writes it into a frame.
    pub fn emit(&self, frame: &mut [u8]) -> usize {
        frame[..self.0.len()].copy_from_slice(self.0);
        self.0.len()
    }
}

/// Neighbours of a NIC that asks.
pub struct Table {
    mac: [u8; 6],
    ip: [u8; 4],
    neighbours: [Neighbour; JOBS_MAX],
}

#[derive(Clone, Copy)]
struct Neighbour {
    ip: [u8; 4],
    /// All zero: not known.
    mac: [u8; 6],
    known_since: Instant,
    used: Instant,
    held: [u8; HELD_MAX],
    held_bytes: usize,
}

impl Table {
    /// Knows nobody. All zero.
    pub const fn new() -> Self {
        const NOBODY: Neighbour = Neighbour {
            ip: [0; 4],
            mac: [0; 6],
            known_since: Instant::ZERO,
            used: Instant::ZERO,
            held: [0; HELD_MAX],
            held_bytes: 0,
        };
        Self { mac: [0; 6], ip: [0; 4], neighbours: [NOBODY; JOBS_MAX] }
    }

    /// Our own addresses.
    pub fn set_own(&mut self, mac: [u8; 6], ip: [u8; 4]) {
        self.mac = mac;
        self.ip = ip;
    }

    fn find(&mut self, ip: [u8; 4]) -> Option<&mut Neighbour> {
        self.neighbours.iter_mut().find(|neighbour| neighbour.ip == ip)
    }

    /// The neighbour's place, in place of the one that was not used for longest.
    fn place(&mut self, ip: [u8; 4]) -> &mut Neighbour {
        let known = self.neighbours.iter().position(|neighbour| neighbour.ip == ip);
        let oldest = || self.neighbours.iter().enumerate().min_by_key(|(_, one)| one.used).map(|(index, _)| index);
        let index = known.or_else(oldest).unwrap_or(0);
        let place = &mut self.neighbours[index];
        if known.is_none() {
            place.ip = ip;
            place.mac = [0; 6];
            place.held_bytes = 0;
        }
        place
    }

    fn on_send(&mut self, now: Instant, frame: &mut [u8], length: usize) -> Sent {
        let Some([a, b, ip @ ..]) = frame.first_chunk::<6>().copied() else { return Sent::Nothing };
        if [a, b] != MADE_UP {
            return Sent::Frame(length);
        }
        let neighbour = self.place(ip);
        neighbour.used = now;
        if neighbour.mac != [0; 6] && now.since(neighbour.known_since) < FRESH {
            frame[..6].copy_from_slice(&neighbour.mac);
            return Sent::Frame(length);
        }
        neighbour.held_bytes = 0;
        if let (Some(place), Some(bytes)) = (neighbour.held.get_mut(..length), frame.get(..length)) {
            place.copy_from_slice(bytes);
            neighbour.held_bytes = length;
        }
        let question = arp(ArpOperation::Request, (self.mac, self.ip), ([0; 6], ip), [0xff; 6]);
        frame[..ARP_BYTES].copy_from_slice(&question);
        Sent::Frame(ARP_BYTES)
    }

    fn on_receive(&mut self, now: Instant, frame: &[u8]) -> Option<Held<'_>> {
        let (_, mac, ip) = parse(frame)?;
        let neighbour = self.find(ip)?;
        neighbour.mac = mac;
        neighbour.known_since = now;
        let held = neighbour.held.get_mut(..core::mem::take(&mut neighbour.held_bytes))?;
        held.get_mut(..6)?.copy_from_slice(&mac);
        Some(Held(held))
    }
}

impl Resolver {
    /// Looks at a frame that smoltcp wants to send, and may change it.
    pub fn on_send(&mut self, now: Instant, frame: &mut [u8], length: usize) -> Sent {
        let question =
            frame.get(..length).and_then(parse).is_some_and(|(operation, ..)| operation == ArpOperation::Request);
        match self {
            _ if question => Sent::Nothing,
            Self::Configured => Sent::Frame(length),
            Self::Asking(table) => table.on_send(now, frame, length),
        }
    }

    /// Looks at a frame that came in; what it releases is to be sent.
    pub fn on_receive(&mut self, now: Instant, frame: &[u8]) -> Option<Held<'_>> {
        match self {
            Self::Configured => None,
            Self::Asking(table) => table.on_receive(now, frame),
        }
    }
}

/// Operation and sender of an ARP frame.
fn parse(frame: &[u8]) -> Option<(ArpOperation, [u8; 6], [u8; 4])> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let packet = ArpPacket::new_checked(ethernet.payload()).ok()?;
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } =
        ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    source_hardware_addr.is_unicast().then_some((operation, source_hardware_addr.0, source_protocol_addr.octets()))
}

/// The address that smoltcp is told for a neighbour of the management NIC.
pub fn made_up(ip: [u8; 4]) -> [u8; 6] {
    let [a, b, c, d] = ip;
    [MADE_UP[0], MADE_UP[1], a, b, c, d]
}

/// The reply with which a neighbour, `from`, says its address to `to`.
pub fn reply(from: ([u8; 6], [u8; 4]), to: ([u8; 6], [u8; 4])) -> [u8; ARP_BYTES] {
    arp(ArpOperation::Reply, from, to, to.0)
}

fn arp(
    operation: ArpOperation,
    from: ([u8; 6], [u8; 4]),
    to: ([u8; 6], [u8; 4]),
    destination: [u8; 6],
) -> [u8; ARP_BYTES] {
    let mut bytes = [0; ARP_BYTES];
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(from.0),
        dst_addr: EthernetAddress(destination),
        ethertype: EthernetProtocol::Arp,
    };
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let arp = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(from.0),
        source_protocol_addr: Ipv4Address::from(from.1),
        target_hardware_addr: EthernetAddress(to.0),
        target_protocol_addr: Ipv4Address::from(to.1),
    };
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}
