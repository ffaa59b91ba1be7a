//! The start: from the kernel's call to a machine that is ready to run.
//!
//! Owns the statics of the configuration, the engine and the drivers, and the sentences in which a start is refused. It
//! may wait, for a bounded time, for what cannot be done without; from `machine` on nothing waits.

use core::fmt;
use core::mem::MaybeUninit;

use ::log::{LevelFilter, info, warn};
use heapless::Vec;
use palisade_core::board;
use palisade_core::config::{self, Config, Timing, check, parse};
use palisade_core::engine::{Boot, Engine};
use palisade_core::id::{HostId, NodeId, WHOEVER};
use palisade_core::limits::{CONFIG_BYTES_MAX, LOCAL_NODES_MAX};

use crate::cell::Once;
use crate::clock::Clock;
use crate::console::Console;
use crate::devices::Devices;
use crate::entropy::Entropy;
use crate::fwcfg::{self, Files};
use crate::hal;
use crate::machine::{Machine, Parts};
use crate::memory::{ARENA, Arena};
use crate::net::links::Broken;
use crate::net::{Link, Management, links};
use crate::pci::{self, Error};
use crate::serial::{self, refuse};
use crate::stack::Stack;
use crate::timer::Timer;
use crate::vsock::Vsock;

/// Bytes of the host's number in decimal, with a line end.
const HOST_BYTES: usize = 8;

static CONFIG: Once<MaybeUninit<Config>> = Once::new(MaybeUninit::zeroed());
static CONFIG_BYTES: Once<[u8; CONFIG_BYTES_MAX]> = Once::new([0; CONFIG_BYTES_MAX]);
static HOST: Once<[u8; HOST_BYTES]> = Once::new([0; HOST_BYTES]);
static ENGINE: Once<Engine> = Once::new(Engine::new());
static PARTS: Once<Parts> = Once::new(Parts::new());
static DEVICES: Once<Vec<Devices, 1>> = Once::new(Vec::new());

/// Everything up to the seal.
pub fn start() -> Machine {
    serial::start();
    ::log::set_max_level(LevelFilter::Info);
    let faults = if cfg!(feature = "faults") { ", faults image" } else { "" };
    // `cargo image` reads these numbers: nothing of ours allocates, so this is the heap that will be sealed.
    let heap = hermit::palisade::heap();
    let version = env!("CARGO_PKG_VERSION");
    serial::say(format_args!("palisade {version}{faults}: boot, heap {} of {} bytes", heap.used, heap.size));
    let stack = Stack::paint();
    let Some(clock) = Clock::start() else {
        refuse(format_args!("the ACPI timer at port 0x608 does not run: use machine type pc or q35"))
    };
    let mut files = match Files::open() {
        Ok(files) => files,
        Err(why) => refuse(format_args!("there is no configuration to be had: {}", Sentence(why))),
    };
    let (config, hash) = read_config(&mut files);
    clock.now();
    let host = read_host(&mut files, config);
    #[cfg(feature = "faults")]
    let fault = crate::faults::read(&mut files);
    info!("host {}, cluster {} epoch {}, configuration {hash:016x}", host.get(), config.name, config.epoch);

    let parts = PARTS.claim();
    let (incarnation, entropy) = find_devices(&clock, config, host, parts);
    let Some(timer) = Timer::start(&clock) else { refuse(format_args!("the local APIC's timer does not count")) };
    let now = clock.now();
    let shelf = DEVICES.claim();
    keep(shelf, Devices::new());
    let devices = shelf.first_mut().expect("invariant: it has just been put there");
    devices.serve(&config.local_nodes(host), now, incarnation);
    let engine = ENGINE.claim();
    engine.start(now, config, Boot { host, incarnation, entropy, config_hash: hash });

    hermit::palisade::seal();
    let heap = hermit::palisade::heap();
    let boot_us = u32::try_from(clock.now().as_micros()).unwrap_or(u32::MAX);
    let (pages, pages_max) = hal::pages();
    info!(
        "sealed after {boot_us} us: heap {} of {} bytes, ring pages {pages} of {pages_max}",
        heap.used_at_seal, heap.size
    );
    info!("incarnation {incarnation:016x}");
    Machine::new(
        engine,
        config,
        parts,
        devices,
        clock,
        timer,
        stack,
        boot_us,
        #[cfg(feature = "faults")]
        fault,
    )
}

/// The configuration, checked, and its hash.
fn read_config(files: &mut Files) -> (&'static Config, u64) {
    let json = match files.read(board::FW_CFG_CONFIG, CONFIG_BYTES.claim()) {
        Ok(json) => json,
        Err(why) => refuse(format_args!("no configuration in fw_cfg file {}: {}", board::FW_CFG_CONFIG, Sentence(why))),
    };
    let place = CONFIG.claim();
    // SAFETY: the static is all zero, and so is an empty configuration but for its times: names and lists of length
    // zero, numbers, no enum that lacks a zero.
    let config = unsafe { place.assume_init_mut() };
    config.timing = Timing::DEFAULT;
    if let Err(why) = parse::parse(json, config) {
        refuse(format_args!("configuration: {why}"));
    }
    if let Err(why) = check::check(config) {
        refuse(format_args!("configuration: {why}"));
    }
    (config, parse::config_hash(json))
}

/// Which of the configured hosts this is.
fn read_host(files: &mut Files, config: &Config) -> HostId {
    let bytes = match files.read(board::FW_CFG_HOST, HOST.claim()) {
        Ok(bytes) => bytes,
        Err(why) => refuse(format_args!("no host number in fw_cfg file {}: {}", board::FW_CFG_HOST, Sentence(why))),
    };
    let number = core::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
    let host = HostId::new(number.unwrap_or(0));
    if config.host(host).is_none() {
        refuse(format_args!("fw_cfg file {} names no host of the configuration", board::FW_CFG_HOST));
    }
    host
}

/// Finds every device that this host needs, and draws what the engine starts with.
fn find_devices(clock: &Clock, config: &'static Config, host: HostId, parts: &mut Parts) -> (u64, [u8; 32]) {
    let arena = ARENA.claim();
    let Arena { links, management, guard, channels, monitors, vsock, vsock_events, entropy } = arena;
    let mut random = need(board::ENTROPY_SLOT, Entropy::start(entropy));
    let (incarnation, seed, port) = draw(clock, &mut random);
    keep(&mut parts.entropy, random);

    let Some(own) = config.host(host) else { refuse(format_args!("this host is not configured")) };
    let parts_of_links = own.links.iter().zip(links.iter_mut()).zip(links::memory());
    for (index, ((link, buffers), memory)) in parts_of_links.enumerate() {
        let slot = slot_of(board::LINK_SLOT, index);
        keep(&mut parts.links, own_nic(slot, Link::start(slot, *link, buffers, memory, clock.now()), link.mac));
    }
    if let Some(nic) = own.management {
        let started = Management::start(nic, management, clock.now(), port);
        keep(&mut parts.management, own_nic(board::MANAGEMENT_SLOT, started, nic.mac));
    }
    let nodes = config.local_nodes(host);
    if !nodes.is_empty() || !pci::is_empty(board::GUARD_SLOT) {
        keep(&mut parts.guard, need(board::GUARD_SLOT, Console::start(board::GUARD_SLOT, guard)));
    }
    find_nodes(&nodes, channels, monitors, parts);
    if pci::is_empty(board::VSOCK_SLOT) {
        warn!("no vsock device in slot {:#04x}: no status and no requests by vsock", board::VSOCK_SLOT);
    } else {
        let vsock = need(board::VSOCK_SLOT, Vsock::start(vsock, vsock_events));
        if u64::from(own.cid) != vsock.cid() {
            warn!("the vsock device has CID {}, the configuration says {}", vsock.cid(), own.cid);
        }
        keep(&mut parts.vsock, vsock);
    }
    (incarnation, seed)
}

/// The consoles of the local nodes, in the order of their slots.
fn find_nodes(
    nodes: &[NodeId],
    channels: &'static mut [crate::memory::ConsoleBuffers; LOCAL_NODES_MAX],
    monitors: &'static mut [crate::memory::ConsoleBuffers; LOCAL_NODES_MAX],
    parts: &mut Parts,
) {
    for ((index, _), (channel, monitor)) in nodes.iter().enumerate().zip(channels.iter_mut().zip(monitors.iter_mut())) {
        let slot = slot_of(board::CHANNEL_SLOT, index);
        keep(&mut parts.channels, need(slot, Console::start(slot, channel)));
        let slot = slot_of(board::MONITOR_SLOT, index);
        keep(&mut parts.monitors, need(slot, Console::start(slot, monitor)));
    }
}

/// Incarnation, seed and first port. Waits for the host's entropy, but not for ever.
fn draw(clock: &Clock, random: &mut Entropy) -> (u64, [u8; 32], u16) {
    let mut incarnation = [0; 8];
    let mut seed = [0; 32];
    let mut port = [0; 2];
    for bytes in [&mut incarnation[..], &mut seed, &mut port] {
        if !random.wait(clock, bytes) {
            refuse(format_args!("the entropy device in slot {:#04x} gives no bytes", board::ENTROPY_SLOT));
        }
    }
    // Zero means "none known", and one "whoever runs there".
    (u64::from_le_bytes(incarnation).max(WHOEVER + 1), seed, u16::from_le_bytes(port))
}

fn slot_of(first: u8, index: usize) -> u8 {
    let index = u8::try_from(index).expect("invariant: a bus has 32 slots");
    first + index
}

fn keep<T, const N: usize>(shelf: &mut Vec<T, N>, part: T) {
    assert!(shelf.push(part).is_ok(), "invariant: the shelves have a place for each slot");
}

/// The device, or a refusal that says which one is missing.
fn need<T>(slot: u8, found: Result<T, Error>) -> T {
    match found {
        Ok(part) => part,
        Err(why) => refuse(format_args!("PCI slot {slot:#04x}, the {}: {why}", pci::name(slot))),
    }
}

fn own_nic<T>(slot: u8, found: Result<T, Broken>, mac: config::Mac) -> T {
    match found {
        Ok(part) => part,
        Err(Broken::Nic(why)) => need(slot, Err(why)),
        Err(Broken::OtherMac(found)) => refuse(format_args!(
            "PCI slot {slot:#04x}, the {}: its address is {}, the configuration says {mac}; correct the one or the other",
            pci::name(slot),
            config::Mac(found)
        )),
    }
}

/// Why a file cannot be read, for a person.
struct Sentence(fwcfg::Error);

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            fwcfg::Error::NoDevice => f.write_str("the VM has no fw_cfg device; use QEMU"),
            fwcfg::Error::Missing => f.write_str("there is no such file; give it with -fw_cfg name=...,file=..."),
            fwcfg::Error::TooLarge(bytes) => write!(f, "it has {bytes} bytes, which is too many"),
            fwcfg::Error::Broken => f.write_str("the device reports an error"),
        }
    }
}
