//! A host: its power and boot, its clock, its guard, its appliance, and the pipes between them.
//!
//! Owns what stands and falls with one machine. The guard is in `guard`, the appliance's turns in `appliance`.

use super::clock::Clock;
use super::event::Arrival;
use super::guard::Guard;
use super::{Micros, Table};
use palisade_core::config::Config;
use palisade_core::engine::Engine;
use palisade_core::id::HostId;
use palisade_core::state::State;
use palisade_core::status::Role;
use std::collections::VecDeque;

/// Whether a host has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It is on.
    On,
    /// It is off.
    Off,
}

/// What becomes of bytes on their way through a console pipe when an end of it was replaced meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pipe {
    /// They are lost.
    #[default]
    Drops,
    /// The new end reads them: bytes of an earlier session.
    Keeps,
    /// The new end reads the rest of them, from somewhere in a frame.
    Cuts,
}

/// How an appliance is stopped, alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its clock stands still (a VM that is paused).
    Clock,
    /// Its counter goes on (a VM that is not scheduled).
    Loop,
}

/// A host.
pub struct Host {
    /// Its number.
    pub id: u8,
    /// Its power.
    pub power: Power,
    /// Its supply: without it there is no power, and its BMC is dead unless that has a supply of its own.
    pub supply: bool,
    /// Its boot; another each time.
    pub boot: u64,
    /// When that began.
    pub booted_at: Micros,
    /// When it was last without power.
    pub off_at: Option<Micros>,
    /// Everything on it stands still.
    pub frozen: bool,
    /// Its appliance, while that runs.
    pub engine: Option<Box<Engine>>,
    /// Counts its appliances: bytes meant for an earlier one are an earlier one's.
    pub life: u32,
    /// Its appliance alone stands still.
    pub stopped: Option<Stop>,
    /// Parts per million by which its clocks run fast.
    pub drift: i64,
    /// What its pipes do when an end is replaced.
    pub pipe: Pipe,
    /// How long its pipes take at most.
    pub pipe_delay: Micros,
    /// Its guard, while that runs.
    pub guard: Option<Guard>,
    /// Counts its guards.
    pub guards: u32,
    /// Whether its nodes' disks are such that a gone VM has no write left (SAFETY E5).
    pub disks_qualify: bool,
    /// The counters in the state directory: they outlive a guard, not a boot.
    pub counters: Table<u32>,
    /// Its nodes by slot.
    pub(super) slots: Vec<u8>,
    /// `CLOCK_BOOTTIME`: goes on while all else stands.
    pub(super) clock: Clock,
    /// The appliance's counter.
    pub(super) tsc: Clock,
    pub(super) ring: VecDeque<Arrival>,
    /// When the last bytes of each pipe arrive: pipes keep the order. To and from the guard, each slot's, the monitors'.
    pub(super) pipes: Vec<Micros>,
    /// When its appliance wants to be woken, true time.
    pub(super) deadline: Micros,
    /// Counts the turns of its appliances.
    pub(super) turns: u32,
    /// Cluster number and version that its appliance declared committed before the present turn, and its role.
    pub(super) seen: super::check::Key,
    pub(super) role: Role,
    pub(super) accepted: (palisade_core::id::Ballot, u64),
}

impl Host {
    pub(super) fn new(id: u8, config: &Config) -> Self {
        let slots: Vec<u8> = config.local_nodes(HostId::new(id)).iter().map(|node| node.get()).collect();
        Self {
            id,
            power: Power::Off,
            supply: true,
            boot: 0,
            booted_at: 0,
            off_at: Some(0),
            frozen: false,
            engine: None,
            life: 0,
            stopped: None,
            drift: 0,
            pipe: Pipe::Drops,
            pipe_delay: 160,
            guard: None,
            guards: 0,
            disks_qualify: true,
            counters: Table::from_iter([]),
            pipes: vec![0; 3 + 2 * slots.len()],
            slots,
            clock: Clock::new(0, 1, 0),
            tsc: Clock::new(0, 0, 0),
            ring: VecDeque::new(),
            deadline: 0,
            turns: 0,
            seen: (0, 0),
            role: Role::Alone,
            accepted: Default::default(),
        }
    }

    /// The slot of one of its nodes.
    #[must_use]
    pub fn slot(&self, node: u8) -> u8 {
        let at = self.slots.iter().position(|&n| n == node).expect("a node of this host");
        u8::try_from(at).expect("few slots")
    }

    /// The node in a slot.
    #[must_use]
    pub fn node(&self, slot: u8) -> u8 {
        self.slots[usize::from(slot)]
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[u8] {
        &self.slots
    }

    pub(super) fn power_on(&mut self, now: Micros, boot: u64) {
        self.power = Power::On;
        self.boot = boot;
        self.booted_at = now;
        self.frozen = false;
        self.stopped = None;
        self.clock = Clock::new(now, 1_000_000, self.drift);
        self.counters = Table::from_iter([]);
    }

    pub(super) fn power_off(&mut self, now: Micros) {
        self.power = Power::Off;
        self.off_at = Some(now);
        self.frozen = false;
        self.guard = None;
        self.end_appliance();
    }

    pub(super) fn end_appliance(&mut self) {
        super::memory::give_back(self.engine.take());
        self.life += 1;
        self.stopped = None;
        self.ring.clear();
        self.role = Role::Alone;
        self.seen = (0, 0);
        self.accepted = Default::default();
    }

    /// Whether its appliance takes nothing in at present.
    #[must_use]
    pub const fn stands(&self) -> bool {
        self.frozen || self.stopped.is_some()
    }

    /// The view that its appliance holds.
    #[must_use]
    pub fn view(&self) -> Option<&State> {
        self.engine.as_ref().map(|engine| engine.view())
    }

    /// Whether its appliance leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.role() == Role::Leader)
    }

    /// Whether its appliance is a member under its present incarnation, in its own view.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| {
            let row = engine.view().host(HostId::new(self.id));
            row.counts() && row.incarnation == engine.incarnation()
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        super::memory::give_back(self.engine.take());
    }
}
