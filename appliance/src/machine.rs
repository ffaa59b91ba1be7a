//! The loop: takes in what devices bring, lets the engine decide, and carries out what it says.
//!
//! Owns the order and the bounds of a turn. Membership traffic of all links is taken in first, then state transfer, then the
//! guard, monitors and devices, then channels, then messages of other hosts' nodes, requests by vsock last; each gets so
//! much of a turn and no more, so nothing can starve what comes before it. It must never wait but in `Timer::sleep`, and
//! never allocate.
//!
//! ```text
//!   ┌─► clock ─► links: membership, state ─► guard ─► monitors ─► management ─► channels ─► links: messages ─► vsock ─┐
//!   │       ┌──────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!   │       └─► attempts ─► tick ─► log, stack     each input: engine.handle, then engine.poll until Deadline
//!   └─────────────────────── something was there: at once; else sleep until an interrupt or the next deadline ◄──────┘
//! ```

use heapless::Vec;
use palisade_core::config::{self, Config};
use palisade_core::engine::Engine;
use palisade_core::id::HostId;
use palisade_core::io::{Input, Output, Road, Traffic};
use palisade_core::limits::{ID_SLOTS, LINKS_MAX, LOCAL_NODES_MAX, OUTPUTS_MAX};
use palisade_core::status::Platform;
use palisade_core::time::{Duration, Instant};

use crate::clock::Clock;
use crate::console::Console;
use crate::devices::{Devices, Roads};
use crate::entropy::Entropy;
use crate::log;
use crate::memory::VSOCK_BYTES;
use crate::net::links::PAYLOAD_MAX;
use crate::net::{Link, Management};
use crate::stack::Stack;
use crate::timer::Timer;
use crate::vsock::{Event, Vsock};

/// Datagrams of one class and link in one turn: some milliseconds of work at most.
const LINK_TURN: usize = 32;
/// Pieces of one console in one turn.
const CONSOLE_TURN: usize = 8;
/// Datagrams of devices in one turn.
const MANAGEMENT_TURN: usize = 8;
/// Events of the vsock in one turn.
const VSOCK_TURN: usize = 8;
/// How often the engine is told about memory and drops.
const REPORT: Duration = Duration::from_millis(1_000);
/// How soon a serial port that took nothing is tried again.
const LOG_RETRY: Duration = Duration::from_millis(10);

/// The drivers, each in a place of its own in a static.
pub struct Parts {
    pub links: Vec<Link, LINKS_MAX>,
    pub management: Vec<Management, 1>,
    pub guard: Vec<Console, 1>,
    pub channels: Vec<Console, LOCAL_NODES_MAX>,
    pub monitors: Vec<Console, LOCAL_NODES_MAX>,
    pub vsock: Vec<Vsock, 1>,
    pub entropy: Vec<Entropy, 1>,
    datagram: [u8; PAYLOAD_MAX],
    packet: [u8; VSOCK_BYTES],
}

impl Parts {
    /// No device found yet. All zero.
    pub const fn new() -> Self {
        Self {
            links: Vec::new(),
            management: Vec::new(),
            guard: Vec::new(),
            channels: Vec::new(),
            monitors: Vec::new(),
            vsock: Vec::new(),
            entropy: Vec::new(),
            datagram: [0; PAYLOAD_MAX],
            packet: [0; VSOCK_BYTES],
        }
    }

    fn is_dry(&self) -> bool {
        let waits = self.links.iter().any(Link::is_pending)
            || self.management.iter().any(Management::is_pending)
            || self.guard.iter().any(Console::is_pending)
            || self.channels.iter().any(Console::is_pending)
            || self.monitors.iter().any(Console::is_pending)
            || self.vsock.iter().any(Vsock::is_pending);
        !waits
    }

    fn dropped_bytes(&self) -> u64 {
        let links: u64 = self.links.iter().map(|link| link.dropped).sum();
        let consoles = self.guard.iter().chain(&self.channels).chain(&self.monitors);
        let consoles: u64 = consoles.map(|console| console.dropped).sum();
        let management: u64 = self.management.iter().map(|nic| nic.dropped).sum();
        let vsock: u64 = self.vsock.iter().map(|vsock| vsock.dropped).sum();
        links + consoles + management + vsock + log::dropped()
    }

    fn roads(&mut self) -> Roads<'_> {
        Roads {
            monitors: &mut self.monitors,
            guard: self.guard.first_mut(),
            management: self.management.first_mut(),
            entropy: self.entropy.first_mut().expect("invariant: no start without entropy"),
        }
    }
}

/// Everything that runs.
pub struct Machine {
    engine: &'static mut Engine,
    config: &'static Config,
    parts: &'static mut Parts,
    devices: &'static mut Devices,
    clock: Clock,
    timer: Timer,
    stack: Stack,
    /// Each host's place in the configuration, by number.
    places: [Option<u8>; ID_SLOTS],
    deadline: Instant,
    report_at: Instant,
    boot_us: u32,
    #[cfg(feature = "faults")]
    fault: crate::faults::Fault,
}

impl Machine {
    #[expect(clippy::too_many_arguments, reason = "called once, with all that was found")]
    pub fn new(
        engine: &'static mut Engine,
        config: &'static Config,
        parts: &'static mut Parts,
        devices: &'static mut Devices,
        clock: Clock,
        timer: Timer,
        stack: Stack,
        boot_us: u32,
        #[cfg(feature = "faults")] fault: crate::faults::Fault,
    ) -> Self {
        let mut places = [None; ID_SLOTS];
        for (place, host) in config.hosts.iter().enumerate() {
            places[HostId::new(host.id).index()] = u8::try_from(place).ok();
        }
        Self {
            engine,
            config,
            parts,
            devices,
            clock,
            timer,
            stack,
            places,
            deadline: Instant::ZERO,
            report_at: Instant::ZERO,
            boot_us,
            #[cfg(feature = "faults")]
            fault,
        }
    }

    /// For ever.
    pub fn run(mut self) -> ! {
        loop {
            self.clock.discipline();
            let was_busy = self.turn();
            if self.engine.wants_restart() {
                hermit::palisade::fail_stop(format_args!("this appliance was condemned; it restarts without memory"));
            }
            if !was_busy {
                self.sleep();
            }
        }
    }

    fn turn(&mut self) -> bool {
        #[cfg(feature = "faults")]
        self.fault.strike(&self.clock, &mut self.parts.links);
        let mut busy = false;
        busy |= self.take_links(Traffic::Membership);
        busy |= self.take_links(Traffic::State);
        busy |= self.take_guard();
        for slot in 0..self.parts.monitors.len() {
            busy |= self.take_monitor(slot);
        }
        busy |= self.take_management();
        for slot in 0..self.parts.channels.len() {
            busy |= self.take_channel(slot);
        }
        busy |= self.take_links(Traffic::Messages);
        busy |= self.take_vsock();
        self.attempts();
        let now = self.clock.now();
        if now >= self.report_at {
            self.report(now);
        }
        if now >= self.deadline {
            self.engine.handle(now, Input::Tick);
            self.carry_out(now);
        }
        for link in &mut self.parts.links {
            link.kick();
        }
        self.stack.step();
        busy | log::drain()
    }

    fn sleep(&mut self) {
        let now = self.clock.now();
        let mut until = self.deadline.min(self.devices.deadline()).min(self.report_at);
        if !log::is_empty() {
            until = until.min(now + LOG_RETRY);
        }
        #[cfg(feature = "faults")]
        let until = until.min(self.fault.deadline());
        let parts = &self.parts;
        self.timer.sleep(until.since(now).as_micros(), || parts.is_dry());
    }

    fn take_links(&mut self, traffic: Traffic) -> bool {
        (0..self.parts.links.len()).fold(false, |busy, link| self.take_link(link, traffic) | busy)
    }

    fn take_link(&mut self, link: usize, traffic: Traffic) -> bool {
        let number = u8::try_from(link).expect("invariant: there are four links at most");
        for turn in 0..LINK_TURN {
            let now = self.clock.now();
            let Parts { links, datagram, .. } = &mut *self.parts;
            let Some(length) = links[link].receive(now, traffic, datagram) else { return turn > 0 };
            self.engine.handle(now, Input::Datagram { link: number, bytes: &datagram[..length] });
            let urgent = traffic != Traffic::Messages;
            self.carry(now, if urgent { Engine::poll_urgent } else { Engine::poll });
        }
        true
    }

    fn take_guard(&mut self) -> bool {
        for turn in 0..CONSOLE_TURN {
            let Some(console) = self.parts.guard.first_mut() else { return false };
            let Some(piece) = console.next() else { return turn > 0 };
            let now = self.clock.now();
            let bytes = console.bytes(&piece);
            self.devices.on_guard(bytes);
            self.engine.handle(now, Input::Guard { bytes });
            console.done(piece);
            self.carry_out(now);
        }
        true
    }

    fn take_channel(&mut self, slot: usize) -> bool {
        let road = Road::Channel(u8::try_from(slot).expect("invariant: there are eight slots at most"));
        for turn in 0..CONSOLE_TURN {
            let Some(console) = self.parts.channels.get_mut(slot) else { return false };
            let Some(piece) = console.next() else { return turn > 0 };
            let now = self.clock.now();
            self.engine.handle(now, Input::Session { road, bytes: console.bytes(&piece) });
            console.done(piece);
            self.carry_out(now);
        }
        true
    }

    fn take_monitor(&mut self, slot: usize) -> bool {
        for turn in 0..CONSOLE_TURN {
            let Some(console) = self.parts.monitors.get_mut(slot) else { return false };
            let Some(piece) = console.next() else { return turn > 0 };
            let now = self.clock.now();
            self.devices.on_monitor(now, slot, console.bytes(&piece));
            console.done(piece);
            self.attempts();
        }
        true
    }

    fn take_management(&mut self) -> bool {
        for turn in 0..MANAGEMENT_TURN {
            let now = self.clock.now();
            let Parts { management, datagram, .. } = &mut *self.parts;
            let Some(nic) = management.first_mut() else { return false };
            let Some((job, length)) = nic.receive(now, datagram) else { return turn > 0 };
            self.devices.on_datagram(now, job, &datagram[..length]);
        }
        true
    }

    fn take_vsock(&mut self) -> bool {
        for turn in 0..VSOCK_TURN {
            let now = self.clock.now();
            let Parts { vsock, packet, .. } = &mut *self.parts;
            let Some(device) = vsock.first_mut() else { return false };
            let Some(event) = device.receive(packet) else { return turn > 0 };
            let input = match event {
                Event::Opened { connection, cid } => Input::Opened { connection, cid },
                Event::Closed { connection } => Input::Closed { connection },
                Event::Bytes { connection, length } => {
                    Input::Session { road: Road::Vsock(connection), bytes: packet.get(..length).unwrap_or(&[]) }
                }
            };
            self.engine.handle(now, input);
            self.carry_out(now);
        }
        true
    }

    /// Lets attempts go on, and tells the engine what came of them.
    fn attempts(&mut self) {
        let now = self.clock.now();
        self.devices.poll(now, &mut self.parts.roads());
        while let Some((slot, event)) = self.devices.next_event() {
            self.engine.handle(now, Input::Monitor { slot, event });
            self.carry_out(now);
        }
        while let Some((job, verdict)) = self.devices.next_answer() {
            self.engine.handle(now, Input::Device { job, verdict });
            self.carry_out(now);
        }
    }

    /// Carries out what the engine says, until it says when it wants to be called again, or a turn's worth is done.
    fn carry_out(&mut self, now: Instant) {
        self.carry(now, Engine::poll);
    }

    /// The same, of what one of the engine's two ways to say it says: while datagrams of membership and state wait in their
    /// rings, nothing below them leaves (DESIGN §1 rule 3). What is held back leaves in the same turn, as the deadline is now.
    fn carry(&mut self, now: Instant, poll: for<'e> fn(&'e mut Engine, Instant) -> Output<'e>) {
        let Self { engine, config, parts, devices, places, .. } = self;
        for _ in 0..=OUTPUTS_MAX {
            match poll(engine, now) {
                Output::Deadline(at) => {
                    self.deadline = at;
                    return;
                }
                Output::Datagram { to, traffic, bytes } => {
                    let peer_links = links_of(config, places, to);
                    for (link, peer) in parts.links.iter_mut().zip(peer_links) {
                        link.send(now, to.index(), *peer, traffic, bytes);
                    }
                }
                Output::Session { road: Road::Channel(slot), bytes } => {
                    if let Some(console) = parts.channels.get_mut(usize::from(slot)) {
                        console.send(bytes);
                    }
                }
                Output::Session { road: Road::Vsock(connection), bytes } => {
                    if let Some(vsock) = parts.vsock.first_mut() {
                        vsock.send(connection, bytes);
                    }
                }
                Output::Close { connection } => {
                    if let Some(vsock) = parts.vsock.first_mut() {
                        vsock.close(connection);
                    }
                }
                Output::Guard { bytes } => {
                    if let Some(console) = parts.guard.first_mut() {
                        console.send(bytes);
                    }
                }
                Output::Device(request) => devices.start(now, config, request, &mut parts.roads()),
            }
        }
        // The rest leaves in the next turn: what came in meanwhile is looked at first.
        self.deadline = now;
    }

    fn report(&mut self, now: Instant) {
        self.report_at = now + REPORT;
        let heap = hermit::palisade::heap();
        self.engine.set_platform(Platform {
            allocations_since_seal: heap.after_seal,
            heap_bytes: u32::try_from(heap.used_at_seal).unwrap_or(u32::MAX),
            stack_high_water_bytes: self.stack.high_water(),
            stack_bytes: self.stack.bytes(),
            dropped_bytes: self.parts.dropped_bytes(),
            boot_us: self.boot_us,
        });
    }
}

/// A host's ends of the links, in their order.
fn links_of<'a>(config: &'a Config, places: &[Option<u8>; ID_SLOTS], host: HostId) -> &'a [config::Link] {
    let place = places.get(host.index()).copied().flatten();
    place.and_then(|place| config.hosts.get(usize::from(place))).map_or(&[], |host| &host.links)
}
