//! A host: its power, its guard, its appliance with a clock of its own.
//!
//! The guard here is a model of `palisade-guard` that speaks its real frames: runs with counters, starts acknowledged
//! before they happen, a lease by the host's clock, stamps.

use super::{Micros, Out};
use palisade_core::config::Config;
use palisade_core::engine::{Boot, Engine};
use palisade_core::id::{HostId, NodeId};
use palisade_core::io::{Input, Output};
use palisade_core::limits::FRAME_MAX;
use palisade_core::state::State;
use palisade_core::status::{Role, Summary};
use palisade_core::time::Instant;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::guard::{Message, RunReport, RunState};
use std::collections::BTreeMap;

/// Whether a host has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It has.
    On,
    /// It has not.
    Off,
}

/// A host.
pub struct Host {
    /// Its number.
    pub id: u8,
    /// Its power.
    pub power: Power,
    /// Its boot; another each time.
    pub boot: u64,
    /// Everything on it stands still.
    pub frozen: bool,
    /// Its appliance, while that runs.
    pub engine: Option<Box<Engine>>,
    /// Counts its appliances: bytes meant for an earlier one are lost.
    pub life: u32,
    /// Parts per million by which the appliance's clock runs fast.
    pub drift: i64,
    started: Micros,
    reader: Reader,
    slots: Vec<u8>,
    reports: BTreeMap<u8, RunReport>,
    lease_end: Option<u64>,
    ticks: u64,
    deadline: Micros,
}

impl Host {
    pub(super) fn new(id: u8, config: &Config) -> Self {
        let slots: Vec<u8> = config.local_nodes(HostId::new(id)).iter().map(|node| node.get()).collect();
        Self {
            id,
            power: Power::Off,
            boot: 0,
            frozen: false,
            engine: None,
            life: 0,
            drift: 0,
            started: 0,
            reader: Reader::new(),
            slots,
            reports: BTreeMap::new(),
            lease_end: None,
            ticks: 0,
            deadline: 0,
        }
    }

    pub(super) fn slot(&self, node: u8) -> u8 {
        let at = self.slots.iter().position(|&n| n == node).expect("a node of this host");
        u8::try_from(at).expect("few slots")
    }

    pub(super) fn node(&self, slot: u8) -> u8 {
        self.slots[usize::from(slot)]
    }

    pub(super) fn power_on(&mut self, boot: u64) {
        self.power = Power::On;
        self.boot = boot;
        self.frozen = false;
        self.lease_end = None;
        let fresh = |&node: &u8| {
            let node_id = NodeId::new(node);
            (node, RunReport { node: node_id, boot, disks_qualify: true, ..RunReport::default() })
        };
        self.reports = self.slots.iter().map(fresh).collect();
    }

    pub(super) fn power_off(&mut self) {
        self.power = Power::Off;
        self.engine = None;
        self.life += 1;
    }

    pub(super) fn boot_engine(&mut self, now: Micros, config: &'static Config, boot: Boot) {
        self.life += 1;
        self.started = now;
        self.deadline = 0;
        self.reader = Reader::new();
        let mut engine = Box::new(Engine::new());
        engine.start(Instant::from_micros(1_000_000), config, boot);
        self.engine = Some(engine);
    }

    /// The appliance's clock.
    fn clock(&self, now: Micros) -> Instant {
        let passed = i64::try_from(now - self.started).expect("short runs");
        let own = passed + passed * self.drift / 1_000_000;
        Instant::from_micros(1_000_000 + u64::try_from(own).expect("positive"))
    }

    pub(super) fn turn(&mut self, now: Micros, input: Input<'_>) -> Vec<Out> {
        let clock = self.clock(now);
        let (drift, started) = (self.drift, self.started);
        let true_time = move |own: u64| {
            let passed = i64::try_from(own.saturating_sub(1_000_000).min(1 << 50)).expect("bounded");
            started + u64::try_from(passed - passed * drift / 1_000_000).expect("positive") + 1
        };
        let engine = self.engine.as_mut().expect("it runs");
        engine.handle(clock, input);
        let mut outs = Vec::new();
        loop {
            let output = engine.poll(clock);
            let last = matches!(output, Output::Deadline(_));
            outs.extend(Out::copy(&output, true_time));
            if last {
                break;
            }
        }
        engine.check();
        // One timer at a time is enough: an earlier deadline that is still queued brings a harmless early tick.
        if let Some(Out::Deadline(at)) = outs.last() {
            if self.deadline > now && self.deadline <= *at {
                outs.pop();
            } else {
                self.deadline = *at;
            }
        }
        outs
    }

    pub(super) fn seen(&self) -> (Summary, &State) {
        let engine = self.engine.as_ref().expect("it runs");
        (engine.summary(Instant::ZERO), engine.view())
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
            row.counts() && row.incarnation == engine.summary(Instant::ZERO).incarnation
        })
    }

    fn frame(message: &Message) -> Vec<u8> {
        let mut buffer = [0; FRAME_MAX];
        message.frame(0).emit(&mut buffer).to_vec()
    }

    pub(super) fn guard_tick(&mut self, now: Micros) -> Vec<Vec<u8>> {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(4) {
            return self.starting().collect();
        }
        let mut frames = vec![Self::frame(&Message::Stamp { boot: self.boot, clock: now + 1 })];
        frames.extend(self.reports.values().map(|report| Self::frame(&Message::Run(*report))));
        frames
    }

    fn starting(&self) -> impl Iterator<Item = Vec<u8>> {
        let starting = self.reports.values().filter(|report| report.state == RunState::Starting);
        starting.map(|report| Self::frame(&Message::Run(*report)))
    }

    pub(super) fn lease_is_over(&self, now: Micros) -> bool {
        self.lease_end.is_some_and(|end| now >= end)
    }

    pub(super) fn exited(&mut self, node: u8, run: u32) -> Vec<Vec<u8>> {
        let Some(report) = self.reports.get_mut(&node).filter(|report| report.counter == run) else {
            return Vec::new();
        };
        report.state = RunState::Exited;
        report.gone_through = run;
        vec![Self::frame(&Message::Run(*report))]
    }

    /// The guard takes frames: what it answers, whom it kills, whom it starts.
    #[expect(clippy::type_complexity, reason = "three short lists, used once")]
    pub(super) fn guard_takes(
        &mut self,
        now: Micros,
        mut bytes: &[u8],
    ) -> (Vec<Vec<u8>>, Vec<(u8, u32)>, Vec<(u8, u32)>) {
        let (mut frames, mut kills, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(frame) = self.reader.next(&mut bytes) {
            let Ok(message) = Message::parse(&frame) else { continue };
            match message {
                Message::Appliance { .. } => {
                    frames.extend(self.reports.values().map(|report| Self::frame(&Message::Run(*report))));
                }
                Message::Start { node, after } => {
                    let report = self.reports.get_mut(&node.get()).expect("a node of this host");
                    if report.counter <= after && report.state != RunState::Starting {
                        if report.state == RunState::Running {
                            kills.push((node.get(), report.counter));
                            report.gone_through = report.counter;
                        }
                        report.counter += 1;
                        report.state = RunState::Starting;
                        frames.push(Self::frame(&Message::Run(*report)));
                    }
                }
                Message::Ack { node, counter } => {
                    let report = self.reports.get_mut(&node.get()).expect("a node of this host");
                    if report.counter == counter && report.state == RunState::Starting {
                        report.state = RunState::Running;
                        starts.push((node.get(), counter));
                        frames.push(Self::frame(&Message::Run(*report)));
                    }
                }
                Message::Kill { node, counter } => kills.push((node.get(), counter)),
                Message::Lease { clock, lease_ms } => {
                    let end = clock + u64::from(lease_ms) * 1000;
                    if clock <= now + 1 {
                        self.lease_end = self.lease_end.max(Some(end));
                    }
                }
                Message::Stamp { .. } | Message::Run(_) => {}
            }
        }
        (frames, kills, starts)
    }
}
