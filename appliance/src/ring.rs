//! Rings of buffers between us and a device, with a safe face.
//!
//! Owns who holds which buffer. A buffer is the device's from `add` to `pop_used`, and ours otherwise; a `Filled` is the
//! proof that it is ours, cannot be copied, and is given back to be posted again. Everything that the device writes into
//! a ring, indices and lengths, is checked: a ring that does not add up is corrupt, and then nothing that was read can be
//! trusted any more, so the machine stops (DESIGN §3).
//!
//! ```text
//!   Receiver:  posted ──device fills──► pop() ──► Filled ──► bytes() ──► post()
//!   Sender:    free ──send()──► the device's ──reclaim()──► free
//! ```

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

use crate::hal::Machine;
use crate::pci::Error;
use crate::transport::Device;

/// A buffer that the device filled and that is ours until it is posted again.
#[must_use = "a buffer that is not posted again is lost"]
pub struct Filled {
    buffer: u16,
    length: usize,
}

/// Buffers that the device fills.
pub struct Receiver<const SIZE: usize, const BYTES: usize> {
    queue: VirtQueue<Machine, SIZE>,
    index: u16,
    buffers: &'static mut [[u8; BYTES]; SIZE],
    /// Which buffer each descriptor holds while it is the device's.
    held: [Option<u16>; SIZE],
    /// Posted since the device was last told.
    news: bool,
}

impl<const SIZE: usize, const BYTES: usize> Receiver<SIZE, BYTES> {
    /// Sets the queue up with all its buffers posted. The device is told by the first `kick`.
    pub fn new(device: &mut Device, index: u16, buffers: &'static mut [[u8; BYTES]; SIZE]) -> Result<Self, Error> {
        let queue = VirtQueue::new(device, index, false, false)?;
        let mut ring = Self { queue, index, buffers, held: [None; SIZE], news: false };
        for buffer in 0..SIZE {
            let buffer = u16::try_from(buffer).expect("invariant: a ring has at most 32768 buffers");
            ring.post(Filled { buffer, length: 0 });
        }
        Ok(ring)
    }

    /// Whether the device filled a buffer that was not taken yet.
    pub fn is_pending(&self) -> bool {
        self.queue.can_pop()
    }

    /// Takes the next filled buffer.
    pub fn pop(&mut self) -> Option<Filled> {
        let token = self.queue.peek_used()?;
        let held = self.held.get_mut(usize::from(token)).and_then(Option::take);
        let Some(buffer) = held else { corrupt("a buffer came back that was not given") };
        let place: &mut [u8] = &mut self.buffers[usize::from(buffer)];
        // SAFETY: `held` says that this very buffer was added under this token and not popped since.
        let popped = unsafe { self.queue.pop_used(token, &[], &mut [place]) };
        let length = popped.ok().and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|&length| length <= BYTES) else { corrupt("more bytes than a buffer has") };
        Some(Filled { buffer, length })
    }

    /// What the device wrote.
    pub fn bytes(&self, filled: &Filled) -> &[u8] {
        &self.buffers[usize::from(filled.buffer)][..filled.length]
    }

    /// Gives a buffer to the device again.
    pub fn post(&mut self, filled: Filled) {
        let place: &mut [u8] = &mut self.buffers[usize::from(filled.buffer)];
        // SAFETY: the buffer is a static and nobody looks at it until it is popped: only a `Filled` gives access, and
        // this one ends here.
        let token = unsafe { self.queue.add(&[], &mut [place]) };
        let token = token.expect("invariant: there are as many descriptors as buffers");
        self.held[usize::from(token)] = Some(filled.buffer);
        self.news = true;
    }

    /// Tells the device about posted buffers.
    pub fn kick(&mut self, device: &mut Device) {
        if core::mem::take(&mut self.news) && self.queue.should_notify() {
            device.notify(self.index);
        }
    }

    /// Makes the ring inconsistent on purpose.
    #[cfg(feature = "faults")]
    pub fn spoil(&mut self) {
        self.held = [None; SIZE];
    }
}

/// Buffers that the device empties.
pub struct Sender<const SIZE: usize, const BYTES: usize> {
    queue: VirtQueue<Machine, SIZE>,
    index: u16,
    buffers: &'static mut [[u8; BYTES]; SIZE],
    held: [Option<(u16, usize)>; SIZE],
    free: heapless::Vec<u16, SIZE>,
    news: bool,
}

impl<const SIZE: usize, const BYTES: usize> Sender<SIZE, BYTES> {
    /// Sets the queue up with all its buffers free.
    pub fn new(device: &mut Device, index: u16, buffers: &'static mut [[u8; BYTES]; SIZE]) -> Result<Self, Error> {
        let mut queue = VirtQueue::new(device, index, false, false)?;
        queue.set_dev_notify(false);
        let free = (0..SIZE).rev().filter_map(|buffer| u16::try_from(buffer).ok()).collect();
        Ok(Self { queue, index, buffers, held: [None; SIZE], free, news: false })
    }

    /// How many buffers are free, after taking back what the device has emptied.
    pub fn room(&mut self) -> usize {
        // At most as many as there are can be under way.
        for _ in 0..SIZE {
            let Some(token) = self.queue.peek_used() else { break };
            self.reclaim(token);
        }
        self.free.len()
    }

    fn reclaim(&mut self, token: u16) {
        let held = self.held.get_mut(usize::from(token)).and_then(Option::take);
        let Some((buffer, length)) = held else { corrupt("a buffer came back that was not sent") };
        let place: &[u8] = &self.buffers[usize::from(buffer)][..length];
        // SAFETY: `held` says that exactly these bytes were added under this token and not popped since.
        let popped = unsafe { self.queue.pop_used(token, &[place], &mut []) };
        if popped.is_err() || self.free.push(buffer).is_err() {
            corrupt("more buffers came back than there are");
        }
    }

    /// Lets `fill` write into a free buffer and say how many bytes to send; none if it changed its mind. Without a free
    /// buffer `fill` is not called.
    pub fn send_with<R>(&mut self, fill: impl FnOnce(&mut [u8; BYTES]) -> (usize, R)) -> Option<R> {
        if self.room() == 0 {
            return None;
        }
        let buffer = self.free.pop()?;
        let (length, result) = fill(&mut self.buffers[usize::from(buffer)]);
        assert!(length <= BYTES, "invariant: a message fits its buffer");
        if length == 0 {
            self.free.push(buffer).expect("invariant: it has just been taken from there");
            return Some(result);
        }
        let place: &[u8] = &self.buffers[usize::from(buffer)][..length];
        // SAFETY: the buffer is a static, and nobody touches it until it is popped: it is not in `free`.
        let token = unsafe { self.queue.add(&[place], &mut []) };
        let token = token.expect("invariant: there are as many descriptors as buffers");
        self.held[usize::from(token)] = Some((buffer, length));
        self.news = true;
        Some(result)
    }

    /// Tells the device about sent buffers.
    pub fn kick(&mut self, device: &mut Device) {
        if core::mem::take(&mut self.news) && self.queue.should_notify() {
            device.notify(self.index);
        }
    }

    /// Makes the ring inconsistent on purpose.
    #[cfg(feature = "faults")]
    pub fn spoil(&mut self) {
        self.held = [None; SIZE];
    }
}

fn corrupt(why: &str) -> ! {
    hermit::palisade::fail_stop(format_args!("corrupt ring: {why}"))
}
