//! A virtio console without multiport: one stream of bytes each way (virtio 1.2, 5.3).
//!
//! Owns one port. Nobody says when the other end comes or goes, so what flows here frames itself. A message goes out
//! whole or not at all: what does not fit is dropped and counted, nothing ever waits for a reader.

use virtio_drivers::transport::Transport;

use crate::memory::{CONSOLE_BYTES, CONSOLE_RING, ConsoleBuffers};
use crate::pci::{Error, Kind};
use crate::ring::{Filled, Receiver, Sender};
use crate::transport::Device;

/// The port's queues: from the host, and to it.
const FROM_HOST: u16 = 0;
const TO_HOST: u16 = 1;

/// One port.
pub struct Console {
    device: Device,
    receive: Receiver<CONSOLE_RING, CONSOLE_BYTES>,
    send: Sender<CONSOLE_RING, CONSOLE_BYTES>,
    /// Bytes that found no room.
    pub dropped: u64,
}

impl Console {
    /// Finds the port in this slot.
    pub fn start(slot: u8, buffers: &'static mut ConsoleBuffers) -> Result<Self, Error> {
        let mut device = Device::take(slot, Kind::Console, &[FROM_HOST], 0)?;
        let mut receive = Receiver::new(&mut device, FROM_HOST, &mut buffers.receive)?;
        let send = Sender::new(&mut device, TO_HOST, &mut buffers.transmit)?;
        device.finish_init();
        receive.kick(&mut device);
        Ok(Self { device, receive, send, dropped: 0 })
    }

    /// Whether bytes wait.
    pub fn is_pending(&self) -> bool {
        self.receive.is_pending()
    }

    /// The next piece that came in. It is to be given back by `done`.
    pub fn next(&mut self) -> Option<Filled> {
        self.receive.pop()
    }

    /// Its bytes.
    pub fn bytes(&self, piece: &Filled) -> &[u8] {
        self.receive.bytes(piece)
    }

    /// Gives a piece back.
    pub fn done(&mut self, piece: Filled) {
        self.receive.post(piece);
        self.receive.kick(&mut self.device);
    }

    /// Sends one message whole, or drops it.
    pub fn send(&mut self, message: &[u8]) {
        let sent = self.send.send_with(|buffer| match buffer.get_mut(..message.len()) {
            Some(place) => {
                place.copy_from_slice(message);
                (message.len(), true)
            }
            None => (0, false),
        });
        if sent != Some(true) {
            self.dropped += u64::try_from(message.len()).unwrap_or(0);
        }
        self.send.kick(&mut self.device);
    }
}
