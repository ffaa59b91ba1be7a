//! A virtio device's registers (virtio 1.2, 4.1.4.3): features, status, queues, and which queue interrupts.
//!
//! Owns the handshake of one device and the assignment of MSI-X vectors to queues. The virtio crate's own PCI transport
//! knows no MSI-X, and sizes every base address several times over, which is what a boot under emulation would mostly
//! wait for. All devices share one vector: after a wake-up every ring is looked at anyway.

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error as VirtioError, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::mmio::Window;
use crate::pci::{self, Error, Found, Kind};

/// The interrupt vector of all devices. The kernel's own end at 0x37 and begin again at 0x70; its handler
/// acknowledges a vector that it does not know and returns, which is all that `hlt` needs.
pub const VECTOR: u8 = 0x50;
/// The queue raises no interrupt (virtio 1.2, 4.1.5.1.2).
const NO_VECTOR: u16 = 0xffff;
/// Must be accepted when offered: the modern interface.
const VERSION_1: u64 = 1 << 32;
/// Looks at a device that was reset before it is given up. QEMU needs one.
const RESET_LOOKS: u32 = 100_000;
/// Queues that a device of ours can have.
const QUEUES: usize = 3;

mod register {
    pub const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub const DEVICE_FEATURE: usize = 0x04;
    pub const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub const DRIVER_FEATURE: usize = 0x0c;
    pub const CONFIG_VECTOR: usize = 0x10;
    pub const DEVICE_STATUS: usize = 0x14;
    pub const CONFIG_GENERATION: usize = 0x15;
    pub const QUEUE_SELECT: usize = 0x16;
    pub const QUEUE_SIZE: usize = 0x18;
    pub const QUEUE_VECTOR: usize = 0x1a;
    pub const QUEUE_ENABLE: usize = 0x1c;
    pub const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub const QUEUE_DESC: usize = 0x20;
    pub const QUEUE_DRIVER: usize = 0x28;
    pub const QUEUE_DEVICE: usize = 0x30;
}

/// One device.
pub struct Device {
    common: Window,
    notify: Window,
    config: Option<Window>,
    notify_step: usize,
    notify_at: [usize; QUEUES],
    interrupting: &'static [u16],
}

impl Device {
    /// Takes the device of this kind in this slot and agrees on features: of `wanted`, what it offers, and the modern
    /// interface. The queues in `interrupting` wake the CPU.
    pub fn take(slot: u8, kind: Kind, interrupting: &'static [u16], wanted: u64) -> core::result::Result<Self, Error> {
        let Found { common, notify, notify_step, config } = pci::find(slot, kind, VECTOR)?;
        let mut device = Self { common, notify, config, notify_step, notify_at: [0; QUEUES], interrupting };
        device.set_status(DeviceStatus::empty());
        if !(0..RESET_LOOKS).any(|_| device.get_status().is_empty()) {
            return Err(Error::Refuses);
        }
        let known = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        device.set_status(known);
        let features = device.read_device_features() & (wanted | VERSION_1);
        device.write_driver_features(features);
        device.set_status(known | DeviceStatus::FEATURES_OK);
        if features & VERSION_1 == 0 || !device.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(Error::Refuses);
        }
        device.common.write_u16(register::CONFIG_VECTOR, NO_VECTOR);
        Ok(device)
    }

    /// Bytes of the device's own configuration.
    pub fn config<const N: usize>(&self, offset: usize) -> core::result::Result<[u8; N], Error> {
        let window = self.config.as_ref().filter(|window| offset + N <= window.bytes()).ok_or(Error::Missing)?;
        Ok(core::array::from_fn(|index| window.read_u8(offset + index)))
    }

    fn write_u64(&mut self, at: usize, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.common.write_u32(at, u32::from_le_bytes([a, b, c, d]));
        self.common.write_u32(at + 4, u32::from_le_bytes([e, f, g, h]));
    }
}

impl Transport for Device {
    fn device_type(&self) -> DeviceType {
        unreachable!("the ring code asks for queues only")
    }

    fn read_device_features(&mut self) -> u64 {
        self.common.write_u32(register::DEVICE_FEATURE_SELECT, 0);
        let low = self.common.read_u32(register::DEVICE_FEATURE);
        self.common.write_u32(register::DEVICE_FEATURE_SELECT, 1);
        let high = self.common.read_u32(register::DEVICE_FEATURE);
        u64::from(high) << 32 | u64::from(low)
    }

    fn write_driver_features(&mut self, features: u64) {
        let [a, b, c, d, e, f, g, h] = features.to_le_bytes();
        self.common.write_u32(register::DRIVER_FEATURE_SELECT, 0);
        self.common.write_u32(register::DRIVER_FEATURE, u32::from_le_bytes([a, b, c, d]));
        self.common.write_u32(register::DRIVER_FEATURE_SELECT, 1);
        self.common.write_u32(register::DRIVER_FEATURE, u32::from_le_bytes([e, f, g, h]));
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.common.write_u16(register::QUEUE_SELECT, queue);
        self.common.read_u16(register::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        let at = self.notify_at.get(usize::from(queue)).copied();
        self.notify.write_u16(at.expect("invariant: a device of ours has three queues"), queue);
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.common.read_u8(register::DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let [bits, ..] = status.bits().to_le_bytes();
        self.common.write_u8(register::DEVICE_STATUS, bits);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        let vector = if self.interrupting.contains(&queue) { 0 } else { NO_VECTOR };
        let size = u16::try_from(size).expect("invariant: a ring has at most 32768 buffers");
        self.common.write_u16(register::QUEUE_SELECT, queue);
        self.common.write_u16(register::QUEUE_VECTOR, vector);
        assert!(self.common.read_u16(register::QUEUE_VECTOR) == vector, "the device refuses an interrupt vector");
        let notify_at = usize::from(self.common.read_u16(register::QUEUE_NOTIFY_OFF)) * self.notify_step;
        let place = self.notify_at.get_mut(usize::from(queue));
        *place.expect("invariant: a device of ours has three queues") = notify_at;
        self.common.write_u16(register::QUEUE_SIZE, size);
        self.write_u64(register::QUEUE_DESC, descriptors);
        self.write_u64(register::QUEUE_DRIVER, driver);
        self.write_u64(register::QUEUE_DEVICE, device);
        self.common.write_u16(register::QUEUE_ENABLE, 1);
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.common.write_u16(register::QUEUE_SELECT, queue);
        self.common.read_u16(register::QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.common.read_u8(register::CONFIG_GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, _: usize) -> Result<T> {
        Err(VirtioError::Unsupported)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        Err(VirtioError::Unsupported)
    }
}
