//! One way through the levels of a record: which of them is under way, and the order that is out for it.
//!
//! Owns the walk, not the choice of executors (`choose`) nor the first sending (`harness`). A record whose levels run in order has
//! one lane, which goes from level to level; one whose levels race has a lane for each level, which stays there.
//!
//! ```text
//! off with each device of the level, one after the other --> all read off in one pass (SAFETY E6) --> proof
//!    | Failed / Unknown, its retries used up                       | one reads on, or not at all
//!    v                                                             v
//! the next level; behind the last a pause, doubled each time, and all over again
//! ```

use super::choose::{hears, local};
use super::harness::{Job, Scene};
use super::{Action, Class, Verdict};
use crate::config::{Config, Level, Levels, Proof};
use crate::id::{Ballot, HostId, Incarnation, Run};
use crate::limits::{RESEND_MS, RETRY_MAX_MS, RETRY_MS};
use crate::outbox::Outbox;
use crate::rule::{Rule, Rules};
use crate::time::{Duration, Instant};
use crate::wire::message::{Message, Order};
use crate::wire::node::Target;

/// One order that is out. All zero: none; an `Option` would put its mark into every image.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// Its number; zero: nothing is out.
    pub attempt: u32,
    /// The executor's heartbeat that the order answers.
    pub answers: u32,
    /// The committed version that decided it.
    pub version: u64,
    /// With which device, as `Order::device`.
    pub device: u16,
    /// What it is to do; zero: nothing.
    pub action: u8,
    /// Who drives it.
    pub executor: HostId,
    /// Which appliance of his took the order: another one knows nothing of it.
    pub incarnation: Incarnation,
    /// Until then it is sent again.
    pub valid_until: Instant,
    /// After that it is Unknown.
    pub over_at: Instant,
    /// When it is sent again.
    pub resend_at: Instant,
}

impl Out {
    /// Nothing; all zero.
    pub const NONE: Self = Self {
        attempt: 0,
        answers: 0,
        version: 0,
        device: 0,
        action: 0,
        executor: HostId::NONE,
        incarnation: 0,
        valid_until: Instant::ZERO,
        over_at: Instant::ZERO,
        resend_at: Instant::ZERO,
    };

    /// Whether it turns on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.action == Action::On as u8
    }

    /// The order as it is sent.
    #[must_use]
    pub const fn order(&self, ballot: Ballot, target: Target, run: Run) -> Order {
        let action = match Action::from_wire(self.action) {
            Some(action) => action,
            None => Action::Status,
        };
        let Self { version, attempt, answers, device, .. } = *self;
        Order { ballot, version, attempt, answers, action, device, target, run }
    }
}

/// One way through the levels.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// The order that is out.
    pub out: Out,
    /// An order whose executor was lost may be driven until then.
    pub lost_until: Instant,
    /// Not to go on before.
    pub next_at: Instant,
    /// The last pause.
    pause: Duration,
    /// Where it is.
    pub level: u8,
    /// Which device of that level.
    pub device: u8,
    /// All devices of the level acted; now they are read.
    pub reads: bool,
    /// Attempts at the present device that failed.
    fails: u8,
    /// Executors that could not even try the present device, and how many there are.
    declined: u8,
    /// See `declined`.
    pub able: u8,
    /// How often it came to the end of its levels in vain.
    pub rounds: u8,
}

impl Lane {
    /// At the start of the first level; all zero.
    pub const NONE: Self = Self {
        out: Out::NONE,
        lost_until: Instant::ZERO,
        next_at: Instant::ZERO,
        pause: Duration::ZERO,
        level: 0,
        device: 0,
        reads: false,
        fails: 0,
        declined: 0,
        able: 0,
        rounds: 0,
    };

    /// The present device is done with: the next of the level.
    pub const fn next_device(&mut self) {
        self.device += 1;
        self.fails = 0;
        self.declined = 0;
    }

    /// All devices of the level acted: they are read in one pass from the first on.
    pub const fn read_all(&mut self) {
        self.reads = true;
        self.device = 0;
        self.fails = 0;
        self.declined = 0;
    }

    /// An attempt failed. Another one at the same device, or the level failed. `end`: see `next_level`.
    pub fn fail(&mut self, now: Instant, retries: u8, end: Option<u8>) {
        self.fails = self.fails.saturating_add(1);
        if self.fails > retries || self.reads {
            self.next_level(now, end);
        }
    }

    /// The executor could not even try. Another one of those who can, or the level failed.
    pub fn decline(&mut self, now: Instant, end: Option<u8>) {
        self.declined = self.declined.saturating_add(1);
        if self.declined >= self.able {
            self.next_level(now, end);
        }
        self.next_at = self.next_at.max(now + Duration::from_millis(u64::from(RESEND_MS)));
    }

    /// The level failed: the next one. `end`: this was the last, and after a pause it goes on with that one.
    pub fn next_level(&mut self, now: Instant, end: Option<u8>) {
        self.device = 0;
        self.reads = false;
        self.fails = 0;
        self.declined = 0;
        let Some(first) = end else {
            self.level += 1;
            return;
        };
        self.level = first;
        self.rounds = self.rounds.saturating_add(1);
        self.pause = (self.pause + self.pause)
            .max(Duration::from_millis(u64::from(RETRY_MS)))
            .min(Duration::from_millis(u64::from(RETRY_MAX_MS)));
        self.next_at = now + self.pause;
    }
}

/// Where a lane goes on when its present level fails, if that is its last: a racing lane has only one.
pub fn end(levels: &Levels, width: u8, at: usize, lane: &Lane) -> Option<u8> {
    if width > 1 {
        return u8::try_from(at).ok();
    }
    (usize::from(lane.level) + 1 >= levels.len()).then_some(0)
}

/// Whether the level is proven, now that another of its devices is. If it has several, all are read in one pass after the
/// last one acted, with no `on` outstanding: an outlet that somebody turned on meanwhile kept the machine alive (SAFETY E6).
pub fn level_is_done(lane: &mut Lane, level: &Level, on_over: Instant, rules: Rules) -> bool {
    let is_left = |lane: &Lane| usize::from(lane.device) < level.len();
    // A process that is gone does not come back: only what is switched is read again.
    let is_local = |lane: &Lane| level.get(usize::from(lane.device)).is_some_and(|name| local(name).is_some());
    if is_left(lane) && !lane.reads {
        return false;
    }
    if !lane.reads {
        if level.len() == 1 || !rules.holds(Rule::E6) {
            return true;
        }
        lane.read_all();
        lane.next_at = lane.next_at.max(on_over);
    }
    while is_local(lane) {
        lane.next_device();
    }
    !is_left(lane)
}

/// The class of a proven level. Where one of several devices only cuts the storage, that is what is sure.
pub fn class_of(config: &Config, level: &Level, verdict: Verdict) -> Class {
    let mut devices = level.iter().filter_map(|name| config.device(name));
    match verdict {
        Verdict::Confirmed(class) if !level.iter().any(|name| config.device(name).is_some()) => class,
        _ if devices.any(|(_, device)| device.class == Proof::StorageCut) => Class::StorageCut,
        _ => Class::PowerOff,
    }
}

/// Whether an order may be sent now. What a leader is to do with a configured device itself waits until a quorum echoed a
/// stamp that is younger than the order: a leader that was stopped, and deposed meanwhile, finds its lease and a quorum's
/// acceptances as they were, and nobody else is asked (SAFETY A2, F1). What a host does about its own node needs no such
/// word: nothing of it is admitted again while its appliance stands.
pub fn may_go(scene: &Scene<'_>, out: &Out) -> bool {
    let configured = scene.config.devices.get(usize::from(out.device)).is_some();
    let own = out.executor == scene.me && configured;
    !own || scene.echo + ms(scene.config.timing.order_ms) > out.valid_until
}

/// Sends an order that is out again, or gives it up. `None`: nothing is out.
pub fn repeat(
    lane: &mut Lane,
    at: usize,
    width: u8,
    scene: &Scene<'_>,
    job: &Job<'_>,
    outbox: &mut Outbox,
) -> Option<Instant> {
    let (now, out) = (scene.now, &mut lane.out);
    if out.attempt == 0 {
        return None;
    }
    let another = scene.watch.seen(out.executor).incarnation != out.incarnation;
    let lost = out.executor != scene.me && (another || !hears(scene, out.executor));
    if now < out.over_at && !lost {
        if now >= out.resend_at && now < out.valid_until {
            if may_go(scene, out) {
                outbox.send(out.executor, Message::Order(out.order(scene.ballot, job.target, job.run)));
            }
            out.resend_at = now + ms(RESEND_MS);
        }
        return Some(if now < out.valid_until { out.resend_at } else { out.over_at });
    }
    log::warn!("{} {} about {}", out.executor, if lost { "is lost" } else { "did not answer" }, job.target);
    if lane.out.action == Action::Off as u8 {
        lane.lost_until = lane.lost_until.max(lane.out.over_at);
    }
    lane.out = Out::NONE;
    lane.next_at = now;
    let end = end(job.levels, width, at, lane);
    if lost {
        lane.decline(now, end);
    } else {
        lane.fail(now, 0, end);
    }
    None
}

const fn ms(millis: u32) -> Duration {
    Duration::from_millis(millis as u64)
}
