//! A virtio NIC as smoltcp's device (virtio 1.2, 5.1).
//!
//! Owns the rings of one NIC and the frames that did not come from the wire. A receive token is only given out with a
//! transmit buffer in reserve, because an answer may have to go out; a transmit token only with one. Names of neighbours
//! are a resolver's business (net/resolver.rs): smoltcp asks by ARP, one question per second for all of them together,
//! and holds back everything for a neighbour that does not answer, so it is never left to ask.

use palisade_core::time::Instant;
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use virtio_drivers::transport::Transport;

use super::resolver::{ARP_BYTES, Resolver, Sent};
use crate::memory::{NIC_BYTES, NIC_RING, NicBuffers};
use crate::pci::{Error, Kind};
use crate::ring::{Filled, Receiver, Sender};
use crate::transport::Device;

const FROM_WIRE: u16 = 0;
const TO_WIRE: u16 = 1;
/// `VIRTIO_NET_F_MAC`: the device knows its address.
const FEATURE_MAC: u64 = 1 << 5;
/// Bytes of `virtio_net_hdr`; all zero for us, both ways.
const HEADER: usize = 12;
/// Longest Ethernet frame without its checksum.
const FRAME_MAX: usize = 1514;
const _: () = assert!(HEADER + FRAME_MAX <= NIC_BYTES);

/// One NIC.
pub struct Nic {
    device: Device,
    receive: Receiver<NIC_RING, NIC_BYTES>,
    send: Sender<NIC_RING, NIC_BYTES>,
    resolver: Resolver,
    /// A frame that smoltcp is to take for one from the wire.
    made: Option<[u8; ARP_BYTES]>,
    now: Instant,
}

impl Nic {
    /// Finds the NIC in this slot.
    pub fn start(slot: u8, buffers: &'static mut NicBuffers, resolver: Resolver) -> Result<Self, Error> {
        let mut device = Device::take(slot, Kind::Network, &[FROM_WIRE], FEATURE_MAC)?;
        let mut receive = Receiver::new(&mut device, FROM_WIRE, &mut buffers.receive)?;
        let send = Sender::new(&mut device, TO_WIRE, &mut buffers.transmit)?;
        device.finish_init();
        receive.kick(&mut device);
        Ok(Self { device, receive, send, resolver, made: None, now: Instant::ZERO })
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        self.device.config(0)
    }

    /// Whether a frame waits.
    pub fn is_pending(&self) -> bool {
        self.receive.is_pending()
    }

    /// Free transmit buffers.
    pub fn room(&mut self) -> usize {
        self.send.room()
    }

    /// What time it is, before smoltcp is called.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Lets smoltcp believe that a neighbour has just said its address. True: it has to look for the frame now.
    pub fn teach(&mut self, reply: [u8; ARP_BYTES]) {
        self.made = Some(reply);
    }

    /// Tells the device what was posted and sent.
    pub fn kick(&mut self) {
        self.receive.kick(&mut self.device);
        self.send.kick(&mut self.device);
    }

    /// Makes the rings inconsistent on purpose: an empty frame is under way, and nobody remembers it.
    #[cfg(feature = "faults")]
    pub fn spoil(&mut self) {
        self.send.send_with(|buffer| {
            buffer.fill(0);
            (HEADER + ARP_BYTES, ())
        });
        self.send.spoil();
        self.receive.spoil();
        self.kick();
    }
}

/// Where a received frame is.
enum Source {
    Ring(Filled),
    Made([u8; ARP_BYTES]),
}

/// One received frame.
pub struct RxToken<'a> {
    receive: &'a mut Receiver<NIC_RING, NIC_BYTES>,
    source: Source,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        match self.source {
            Source::Made(frame) => take(&frame),
            Source::Ring(filled) => {
                let result = take(self.receive.bytes(&filled).get(HEADER..).unwrap_or(&[]));
                self.receive.post(filled);
                result
            }
        }
    }
}

/// Room for one frame to send.
pub struct TxToken<'a> {
    send: &'a mut Sender<NIC_RING, NIC_BYTES>,
    resolver: &'a mut Resolver,
    now: Instant,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let Self { send, resolver, now } = self;
        let sent = send.send_with(|buffer| {
            buffer[..HEADER].fill(0);
            let frame = &mut buffer[HEADER..];
            let result = fill(&mut frame[..length]);
            match resolver.on_send(now, frame, length) {
                Sent::Frame(length) => (HEADER + length, result),
                Sent::Nothing => (0, result),
            }
        });
        sent.expect("invariant: a token is given out with a free buffer")
    }
}

impl phy::Device for Nic {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        // One buffer for an answer, one for what a neighbour's reply releases.
        if self.send.room() < 2 {
            return None;
        }
        let source = match self.made.take() {
            Some(frame) => Source::Made(frame),
            None => {
                let filled = self.receive.pop()?;
                let frame = self.receive.bytes(&filled).get(HEADER..).unwrap_or(&[]);
                if let Some(held) = self.resolver.on_receive(self.now, frame) {
                    self.send.send_with(|buffer| {
                        buffer[..HEADER].fill(0);
                        (HEADER + held.emit(&mut buffer[HEADER..]), ())
                    });
                }
                Source::Ring(filled)
            }
        };
        let transmit = TxToken { send: &mut self.send, resolver: &mut self.resolver, now: self.now };
        Some((RxToken { receive: &mut self.receive, source }, transmit))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<TxToken<'_>> {
        if self.send.room() == 0 {
            return None;
        }
        Some(TxToken { send: &mut self.send, resolver: &mut self.resolver, now: self.now })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities
    }
}
