//! Drills: each device is tried all the time, before it is needed.
//!
//! Owns the leader's round through the configured devices: a look (login, status, no change) at the next one, `drill_ms` for
//! all of them, spread evenly, by one executor after the other; never at a device that a fence wants. It keeps how each
//! trial ended, and says of which hosts no level was proven lately: a node there is *unprotected*. A step costs the same for
//! any number of hosts. Must never change anything, nor prove anything: a read alone is no proof (SAFETY E7).

use super::attempt::{Answer, DRILL, TAG_BITS};
use super::choose::{executor, span};
use super::harness::Scene;
use super::{Action, Verdict};
use crate::config::{Config, Device, Host};
use crate::id::{HostId, Incarnation, Run};
use crate::limits::{DEVICES_MAX, DRILLS_OUT_MAX, ID_SLOTS, RESEND_MS};
use crate::outbox::Outbox;
use crate::status::HostState;
use crate::time::{Duration, Instant};
use crate::wire::message::{Message, Order};
use crate::wire::node::Target;

/// How a trial ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Trial {
    /// There was none.
    #[default]
    Never = 0,
    /// It answers, and reads on.
    On = 1,
    /// It answers, and reads off.
    Off = 2,
    /// It refuses.
    Failed = 3,
    /// It does not answer.
    Silent = 4,
    /// No member that is heard could try it.
    Unreached = 5,
}

impl Trial {
    /// The result with this number on the wire.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        use Trial::{Failed, Never, Off, On, Silent, Unreached};
        [Never, On, Off, Failed, Silent, Unreached].into_iter().find(|trial| *trial as u8 == number)
    }

    /// The words for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Never => "not tried",
            Self::On => "works (on)",
            Self::Off => "works (off)",
            Self::Failed => "REFUSES",
            Self::Silent => "SILENT",
            Self::Unreached => "NOBODY REACHES IT",
        }
    }

    const fn works(self) -> bool {
        matches!(self, Self::On | Self::Off)
    }
}

/// The last trial of a device.
#[derive(Clone, Copy, Debug)]
pub struct Drilled {
    /// How it ended.
    pub trial: Trial,
    /// Who tried.
    pub executor: HostId,
    /// When.
    pub at: Instant,
}

impl Drilled {
    const NONE: Self = Self { trial: Trial::Never, executor: HostId::NONE, at: Instant::ZERO };
}

/// A trial that is under way.
#[derive(Clone, Copy, Debug)]
struct Out {
    /// Zero: none.
    attempt: u32,
    answers: u32,
    version: u64,
    device: u16,
    executor: HostId,
    incarnation: Incarnation,
    target: HostId,
    valid_until: Instant,
    over_at: Instant,
    resend_at: Instant,
}

impl Out {
    const NONE: Self = Self {
        attempt: 0,
        answers: 0,
        version: 0,
        device: 0,
        executor: HostId::NONE,
        incarnation: 0,
        target: HostId::NONE,
        valid_until: Instant::ZERO,
        over_at: Instant::ZERO,
        resend_at: Instant::ZERO,
    };

    fn send(&self, scene: &Scene<'_>, outbox: &mut Outbox) {
        let order = Order {
            ballot: scene.ballot,
            version: self.version,
            attempt: self.attempt,
            answers: self.answers,
            action: Action::Status,
            device: self.device,
            target: Target::Host(self.target),
            run: Run::NONE,
        };
        outbox.send(self.executor, Message::Order(order));
    }
}

/// All trials.
#[derive(Debug)]
pub struct Drills {
    devices: [Drilled; DEVICES_MAX],
    outs: [Out; DRILLS_OUT_MAX],
    /// The device that is next, and how often all were.
    cursor: usize,
    round: u8,
    serial: u32,
    next_at: Instant,
    /// When this lead began: before two rounds nobody is called unprotected.
    since: Instant,
    /// Hosts whose nodes were called unprotected.
    told: [bool; ID_SLOTS],
}

impl Drills {
    /// None; all zero.
    pub const EMPTY: Self = Self {
        devices: [Drilled::NONE; DEVICES_MAX],
        outs: [Out::NONE; DRILLS_OUT_MAX],
        cursor: 0,
        round: 0,
        serial: 0,
        next_at: Instant::ZERO,
        since: Instant::ZERO,
        told: [false; ID_SLOTS],
    };

    /// A lead begins: what an earlier one saw is not known.
    pub fn begin(&mut self, now: Instant) {
        self.devices.fill(Drilled::NONE);
        self.outs.fill(Out::NONE);
        self.told.fill(false);
        self.since = now;
        self.next_at = now;
    }

    /// The last trial of a device.
    #[must_use]
    pub fn of(&self, device: usize) -> Drilled {
        self.devices.get(device).copied().unwrap_or(Drilled::NONE)
    }

    /// What is due. When to look again.
    pub fn poll(&mut self, scene: &Scene<'_>, outbox: &mut Outbox) -> Instant {
        let now = scene.now;
        let count = scene.config.devices.len();
        if count == 0 {
            return Instant::FAR;
        }
        let mut next = Instant::FAR;
        for place in 0..DRILLS_OUT_MAX {
            next = next.min(self.repeat(scene, place, outbox));
        }
        let period = u64::from(scene.config.timing.drill_ms) * 1000 / u64::try_from(count).unwrap_or(u64::MAX);
        if now >= self.next_at {
            self.next_at = now + Duration::from_micros(period.max(1000));
            if let Some(place) = self.outs.iter().position(|out| out.attempt == 0) {
                self.try_next(scene, place, outbox);
                next = next.min(now + ms(RESEND_MS));
            }
        }
        next.min(self.next_at)
    }

    /// Sends a trial again that is out, or gives it up.
    fn repeat(&mut self, scene: &Scene<'_>, place: usize, outbox: &mut Outbox) -> Instant {
        let (now, out) = (scene.now, &mut self.outs[place]);
        if out.attempt == 0 {
            return Instant::FAR;
        }
        if now >= out.over_at || scene.watch.seen(out.executor).incarnation != out.incarnation {
            // An executor that is lost says nothing about the device.
            let lost = now < out.over_at;
            let out = core::mem::replace(out, Out::NONE);
            if !lost {
                self.ended(scene.config, now, out.device, out.executor, Trial::Silent);
            }
            return Instant::FAR;
        }
        if now >= out.resend_at && now < out.valid_until {
            out.resend_at = now + ms(RESEND_MS);
            out.send(scene, outbox);
        }
        if now < out.valid_until { out.resend_at } else { out.over_at }
    }

    fn try_next(&mut self, scene: &Scene<'_>, place: usize, outbox: &mut Outbox) {
        let now = scene.now;
        self.cursor += 1;
        if self.cursor >= scene.config.devices.len() {
            self.cursor = 0;
            self.round = self.round.wrapping_add(1);
        }
        let index = self.cursor;
        let Some(device) = scene.config.devices.get(index) else { return };
        let wanted = |host: &u8| scene.view.host(HostId::new(*host)).state == HostState::Condemned;
        let (Some(&target), false) = (device.covers.first(), device.covers.iter().any(wanted)) else { return };
        let Some(choice) = executor(scene, index, device, self.round) else {
            let number = u16::try_from(index).unwrap_or(u16::MAX);
            return self.ended(scene.config, now, number, HostId::NONE, Trial::Unreached);
        };
        self.serial = (self.serial + 1) % (1 << (u32::BITS - TAG_BITS));
        let seen = scene.watch.seen(choice.executor);
        let valid_until = now + ms(scene.config.timing.order_ms);
        let out = Out {
            attempt: self.serial << TAG_BITS | DRILL | u32::try_from(place).unwrap_or(0),
            answers: seen.beat.number,
            version: scene.view.version,
            device: choice.device,
            executor: choice.executor,
            incarnation: seen.incarnation,
            target: HostId::new(target),
            valid_until,
            over_at: valid_until + span(device),
            resend_at: now + ms(RESEND_MS),
        };
        out.send(scene, outbox);
        self.outs[place] = out;
    }

    /// An executor answered. Whether that was a drill.
    pub fn answered(&mut self, now: Instant, config: &Config, answer: &Answer) -> bool {
        if answer.attempt & DRILL == 0 {
            return false;
        }
        let place = usize::try_from(answer.attempt % DRILL).unwrap_or(DRILLS_OUT_MAX);
        let Some(out) = self.outs.get_mut(place) else { return true };
        if out.attempt != answer.attempt || out.executor != answer.from {
            return true;
        }
        let out = core::mem::replace(out, Out::NONE);
        let trial = match answer.verdict {
            Verdict::SeenOn => Trial::On,
            Verdict::SeenOff => Trial::Off,
            Verdict::Failed | Verdict::Confirmed(_) => Trial::Failed,
            Verdict::Unknown => Trial::Silent,
        };
        if answer.tried {
            self.ended(config, now, out.device, out.executor, trial);
        }
        true
    }

    fn ended(&mut self, config: &Config, now: Instant, number: u16, executor: HostId, trial: Trial) {
        let index = usize::from(number);
        let (Some(place), Some(device)) = (self.devices.get_mut(index), config.devices.get(index)) else { return };
        let before = core::mem::replace(place, Drilled { trial, executor, at: now });
        if before.trial != trial && !trial.works() {
            log::warn!("device {} {}", device.name, trial.word());
        }
        for &host in &device.covers {
            self.tell(config, now, HostId::new(host), device);
        }
    }

    /// Says so once when the nodes of a host become unprotected, or are protected again.
    fn tell(&mut self, config: &Config, now: Instant, host: HostId, device: &Device) {
        let unprotected = config.host(host).is_some_and(|entry| self.is_unprotected(config, now, entry));
        if core::mem::replace(&mut self.told[host.index()], unprotected) != unprotected {
            let word = if unprotected { "unprotected: no level of its host is proven" } else { "protected again" };
            log::warn!("{host}: its nodes are {word} ({} was tried)", device.name);
        }
    }

    /// Whether this host has nodes, and no level of it was proven within two rounds.
    #[must_use]
    pub fn is_unprotected(&self, config: &Config, now: Instant, host: &Host) -> bool {
        let recent = ms(config.timing.drill_ms).times(2);
        let proven = |name: &crate::config::Name| {
            let known = config.device(name).map(|(index, _)| self.of(index));
            known.is_some_and(|drilled| drilled.trial.works() && now.since(drilled.at) < recent)
        };
        let has_nodes = config.nodes.iter().any(|node| node.host == host.id);
        let known = now.since(self.since) >= recent
            || host
                .levels
                .iter()
                .flatten()
                .all(|name| config.device(name).is_some_and(|(index, _)| self.of(index).trial != Trial::Never));
        has_nodes && known && !host.trust_lease && !host.levels.iter().any(|level| level.iter().all(proven))
    }
}

const fn ms(millis: u32) -> Duration {
    Duration::from_millis(millis as u64)
}
