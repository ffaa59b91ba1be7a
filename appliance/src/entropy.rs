//! Random bytes from the host: virtio-rng.
//!
//! Owns the device and a few buffers of bytes that are kept ready. Nothing waits for it but the boot, and that not for
//! long: without entropy there are no incarnations, no nonces, no keys, and an appliance must not run.

use virtio_drivers::transport::Transport;

use palisade_core::board;

use crate::clock::Clock;
use crate::memory::{ENTROPY_BYTES, ENTROPY_RING};
use crate::pci::{Error, Kind};
use crate::ring::Receiver;
use crate::transport::Device;

/// How long the boot waits for its bytes, microseconds.
const WAIT_US: u64 = 2_000_000;

/// The device.
pub struct Entropy {
    device: Device,
    ring: Receiver<ENTROPY_RING, ENTROPY_BYTES>,
}

impl Entropy {
    /// Finds the device and asks it for as much as is kept ready.
    pub fn start(buffers: &'static mut [[u8; ENTROPY_BYTES]; ENTROPY_RING]) -> Result<Self, Error> {
        let mut device = Device::take(board::ENTROPY_SLOT, Kind::Entropy, &[], 0)?;
        let mut ring = Receiver::new(&mut device, 0, buffers)?;
        device.finish_init();
        ring.kick(&mut device);
        Ok(Self { device, ring })
    }

    /// Fills `out`, which takes as long as the host takes. Only for the boot. False: it took too long.
    pub fn wait(&mut self, clock: &Clock, out: &mut [u8]) -> bool {
        let until = clock.now().as_micros() + WAIT_US;
        let mut filled = 0;
        while filled < out.len() {
            if clock.now().as_micros() > until {
                return false;
            }
            filled += self.take(&mut out[filled..]);
        }
        true
    }

    /// Fresh bytes, if the host has given enough meanwhile.
    pub fn draw<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let mut filled = 0;
        // Each round empties a buffer, so there are at most as many as buffers.
        for _ in 0..ENTROPY_RING {
            filled += self.take(&mut bytes[filled..]);
            if filled == N {
                return Some(bytes);
            }
        }
        None
    }

    /// Takes one buffer's bytes as far as they fit; what is left of it is thrown away, so that no byte is used twice.
    fn take(&mut self, out: &mut [u8]) -> usize {
        let Some(filled) = self.ring.pop() else { return 0 };
        let bytes = self.ring.bytes(&filled);
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.ring.post(filled);
        self.ring.kick(&mut self.device);
        count
    }
}
