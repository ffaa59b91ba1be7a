//! The harness: the leader's side of a fence that was decided. Which device, by whom, when again, and what proves it.
//!
//! Owns the progress of each open record, for as long as it leads; the records themselves are committed state, so that the
//! next leader carries them on. It orders only what is committed (SAFETY A2), one attempt an order (F1), own-host fences
//! too (F6), and never withdraws (F4). `off` goes on for ever with a growing pause; `on` comes only after Confirmed is
//! committed and every order of the record was answered or is over (F2).
//!
//! ```text
//! level 0 --all its devices Confirmed--> proof
//!    | Failed / Unknown
//!    v
//! level 1 ... last level --> pause, doubled --> level 0 again
//! ```

use super::{Action, Class, Verdict};
use crate::config::{Config, DEVICE_GUARD, DEVICE_QMP, Device, Levels};
use crate::heartbeat::Watch;
use crate::id::{Ballot, HostId, Incarnation, NodeId, Run};
use crate::limits::{ID_SLOTS, LOCAL_ATTEMPT_MS, RESEND_MS, RETRY_MAX_MS, RETRY_MS};
use crate::outbox::Outbox;
use crate::state::{Evidence, State};
use crate::status::HostState;
use crate::time::{Duration, Instant};
use crate::wire::message::{LOCAL_GUARD, LOCAL_MONITOR, Message, Order};
use crate::wire::node::{NodeState, Target};

/// Failed rounds through all local levels before a node's host is to be fenced instead.
const ROUNDS_LOCAL: u8 = 2;

/// How often a fenced host is turned on; then its power is a person's affair.
const ON_TRIES: u8 = 3;
/// Between two of them: a host that was turned on takes its time to be heard.
const ON_PAUSE: Duration = Duration::from_millis(60_000);

/// One order that is out. All zero: none; an `Option` would put its mark into every image.
#[derive(Clone, Copy, Debug)]
struct Out {
    /// Its number; zero: nothing is out.
    attempt: u32,
    version: u64,
    answers: u32,
    device: u16,
    /// It turns on; otherwise off.
    on: bool,
    executor: HostId,
    /// Until then it is sent again.
    valid_until: Instant,
    /// After that it is Unknown.
    over_at: Instant,
    resend_at: Instant,
}

impl Out {
    const NONE: Self = Self {
        attempt: 0,
        version: 0,
        answers: 0,
        device: 0,
        on: false,
        executor: HostId::NONE,
        valid_until: Instant::ZERO,
        over_at: Instant::ZERO,
        resend_at: Instant::ZERO,
    };

    const fn order(&self, ballot: Ballot, job: &Job<'_>) -> Order {
        Order {
            ballot,
            version: self.version,
            attempt: self.attempt,
            answers: self.answers,
            action: if self.on { Action::On } else { Action::Off },
            device: self.device,
            target: job.target,
            run: job.run,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The incarnation whose record this is; zero: none.
    incarnation: Incarnation,
    decided_at: Instant,
    level: u8,
    device: u8,
    /// All devices of a level that has several acted; now all are read again in one pass.
    rereads: bool,
    attempts: u8,
    rounds: u8,
    next_at: Instant,
    pause: Duration,
    out: Out,
    /// The class of the proof, and who brought it; zero: none yet.
    proof: u8,
    prover: HostId,
    /// The latest end of any order of this record: no `on` before.
    quiet_at: Instant,
    /// How often the fenced host was turned on.
    ons: u8,
}

impl Progress {
    const NONE: Self = Self {
        incarnation: 0,
        decided_at: Instant::ZERO,
        level: 0,
        device: 0,
        rereads: false,
        attempts: 0,
        rounds: 0,
        next_at: Instant::ZERO,
        pause: Duration::ZERO,
        out: Out::NONE,
        proof: 0,
        prover: HostId::NONE,
        quiet_at: Instant::ZERO,
        ons: 0,
    };

    /// The level failed: the next one, or all over again after a pause.
    fn next_level(&mut self, now: Instant, levels: usize) {
        self.device = 0;
        self.rereads = false;
        self.level += 1;
        if usize::from(self.level) >= levels {
            self.level = 0;
            self.rounds = self.rounds.saturating_add(1);
            self.pause = (self.pause + self.pause)
                .max(Duration::from_millis(u64::from(RETRY_MS)))
                .min(Duration::from_millis(u64::from(RETRY_MAX_MS)));
            self.next_at = now + self.pause;
        }
    }
}

/// Everything that the harness looks at, and nothing that it may change.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Now.
    pub now: Instant,
    /// The leader.
    pub me: HostId,
    /// Its ballot.
    pub ballot: Ballot,
    /// The configuration.
    pub config: &'a Config,
    /// What was committed under that ballot.
    pub view: &'a State,
    /// Who is heard.
    pub watch: &'a Watch,
}

/// The progress of all records.
#[derive(Debug)]
pub struct Harness {
    nodes: [Progress; ID_SLOTS],
    hosts: [Progress; ID_SLOTS],
    attempt: u32,
    /// When this lead began: orders of an earlier leader may be out until some time after.
    since: Instant,
}

impl Harness {
    /// No record; all zero.
    pub const EMPTY: Self =
        Self { nodes: [Progress::NONE; ID_SLOTS], hosts: [Progress::NONE; ID_SLOTS], attempt: 0, since: Instant::ZERO };

    /// A lead begins: what was under way under an earlier one counts for nothing.
    pub fn begin(&mut self, now: Instant) {
        self.nodes.fill(Progress::NONE);
        self.hosts.fill(Progress::NONE);
        self.since = now;
    }

    /// The evidence for this condemned incarnation, once there is some.
    #[must_use]
    pub fn proof(&self, now: Instant, target: Target, incarnation: Incarnation) -> Option<Evidence> {
        let progress = self.progress(target);
        let class = Class::from_wire(progress.proof)?;
        let took_us = u32::try_from(now.since(progress.decided_at).as_micros()).unwrap_or(u32::MAX);
        let evidence = Evidence { class, executor: progress.prover, attempts: progress.attempts, took_us };
        (progress.incarnation == incarnation && incarnation != 0).then_some(evidence)
    }

    /// Whether a fenced host was turned on often enough.
    #[must_use]
    pub const fn was_turned_on(&self, host: HostId) -> bool {
        self.hosts[host.index()].ons >= ON_TRIES
    }

    /// When the last order to switch this target off was answered, or will be over: whoever was heard only before that may
    /// be off by now, and whoever is admitted before it could still be hit (SAFETY F2).
    #[must_use]
    pub const fn quiet_at(&self, target: Target) -> Instant {
        self.progress(target).quiet_at
    }

    /// How many attempts were made so far.
    #[must_use]
    pub const fn attempts(&self, target: Target) -> u8 {
        self.progress(target).attempts
    }

    /// Whether all that a node's own host can do about it was tried in vain.
    #[must_use]
    pub const fn is_exhausted(&self, node: NodeId) -> bool {
        self.nodes[node.index()].rounds >= ROUNDS_LOCAL
    }

    const fn progress(&self, target: Target) -> &Progress {
        match target {
            Target::Node(node) => &self.nodes[node.index()],
            Target::Host(host) => &self.hosts[host.index()],
        }
    }

    /// Drives every open record on, and turns fenced hosts on again. When to look again.
    pub fn poll(&mut self, scene: &Scene<'_>, outbox: &mut Outbox) -> Instant {
        let mut next = Instant::FAR;
        for (node, row) in scene.view.nodes().filter(|(_, row)| row.state == NodeState::Condemned) {
            let local = scene.view.host(row.host).state == HostState::Member;
            let levels = scene.config.node(node).map(|node| &node.levels);
            let target = Target::Node(node);
            if let Some(levels) = levels.filter(|_| local) {
                let job = Job { target, incarnation: row.incarnation, run: row.run, host: row.host, levels };
                next = next.min(self.drive(scene, &job, outbox));
            }
        }
        for (host, row) in scene.view.hosts() {
            let Some(entry) = scene.config.host(host) else { continue };
            let job = Job {
                target: Target::Host(host),
                incarnation: row.incarnation,
                run: Run::NONE,
                host,
                levels: &entry.levels,
            };
            match row.state {
                HostState::Condemned => next = next.min(self.drive(scene, &job, outbox)),
                HostState::Down if row.class == Class::PowerOff as u8 && !row.turned_on => {
                    next = next.min(self.turn_on(scene, &job, outbox));
                }
                _ => {}
            }
        }
        next
    }

    fn slot(&mut self, target: Target) -> &mut Progress {
        match target {
            Target::Node(node) => &mut self.nodes[node.index()],
            Target::Host(host) => &mut self.hosts[host.index()],
        }
    }

    fn drive(&mut self, scene: &Scene<'_>, job: &Job<'_>, outbox: &mut Outbox) -> Instant {
        let now = scene.now;
        let progress = self.slot(job.target);
        if progress.incarnation != job.incarnation {
            *progress = Progress { incarnation: job.incarnation, decided_at: now, next_at: now, ..Progress::NONE };
        }
        if progress.proof != 0 || job.levels.is_empty() {
            return Instant::FAR;
        }
        if let Some(next) = repeat(progress, scene, job, outbox) {
            return next;
        }
        if now < progress.next_at {
            return progress.next_at;
        }
        self.order(scene, job, Action::Off, outbox)
    }

    /// A Confirmed host is turned on again, until it is heard (SAFETY F2).
    fn turn_on(&mut self, scene: &Scene<'_>, job: &Job<'_>, outbox: &mut Outbox) -> Instant {
        let now = scene.now;
        let since = self.since;
        let progress = self.slot(job.target);
        if progress.incarnation != job.incarnation {
            let quiet_at = since + ms(scene.config.timing.order_ms) + longest_attempt(scene.config);
            *progress = Progress { incarnation: job.incarnation, next_at: quiet_at, quiet_at, ..Progress::NONE };
        }
        if core::mem::take(&mut progress.proof) != 0 {
            progress.level = 0;
            progress.device = 0;
            progress.next_at = progress.quiet_at;
        }
        if let Some(next) = repeat(progress, scene, job, outbox) {
            return next;
        }
        if progress.ons >= ON_TRIES {
            return Instant::FAR;
        }
        if now < progress.next_at {
            return progress.next_at;
        }
        self.order(scene, job, Action::On, outbox)
    }

    /// Sends the next order of a record.
    fn order(&mut self, scene: &Scene<'_>, job: &Job<'_>, action: Action, outbox: &mut Outbox) -> Instant {
        let now = scene.now;
        let (level, device) = {
            let progress = self.slot(job.target);
            (usize::from(progress.level), usize::from(progress.device))
        };
        let name = job.levels.get(level).and_then(|level| level.get(device));
        let (me, attempts) = (scene.me, self.slot(job.target).attempts);
        let chosen = name.and_then(|name| choose(scene, job, name, me, attempts));
        let attempt = self.attempt.wrapping_add(1).max(1);
        let progress = self.slot(job.target);
        let Some((index, executor, span)) = chosen else {
            progress.next_level(now, job.levels.len());
            progress.next_at = progress.next_at.max(now + ms(RESEND_MS));
            return progress.next_at;
        };
        let valid_until = now + ms(scene.config.timing.order_ms);
        let out = Out {
            attempt,
            version: scene.view.version,
            answers: scene.watch.seen(executor).beat.number,
            device: index,
            on: action == Action::On,
            executor,
            valid_until,
            over_at: valid_until + span,
            resend_at: now + ms(RESEND_MS),
        };
        progress.attempts = progress.attempts.saturating_add(1);
        if !out.on {
            progress.quiet_at = progress.quiet_at.max(out.over_at);
        }
        progress.out = out;
        log::info!("order {action:?} {} with {} by {executor}", job.target, Named(scene.config, index));
        outbox.send(executor, Message::Order(out.order(scene.ballot, job)));
        self.attempt = attempt;
        now + ms(RESEND_MS)
    }

    /// An executor answered. Whether there is a new proof.
    pub fn answered(&mut self, now: Instant, config: &Config, attempt: u32, from: HostId, verdict: Verdict) -> bool {
        let mine = |progress: &Progress| progress.out.attempt == attempt && progress.out.executor == from;
        let target = match (self.nodes.iter().position(mine), self.hosts.iter().position(mine)) {
            (Some(node), _) => Target::Node(NodeId::new(u8::try_from(node).unwrap_or(0))),
            (_, Some(host)) => Target::Host(HostId::new(u8::try_from(host).unwrap_or(0))),
            _ => return false,
        };
        if attempt == 0 {
            return false;
        }
        log::info!("{from} answers {verdict:?} about {target}");
        let progress = self.slot(target);
        let out = core::mem::replace(&mut progress.out, Out::NONE);
        let levels = levels_of(config, target);
        if out.on {
            // Whether it worked is seen when the host is heard.
            progress.ons += 1;
            progress.next_at = now + ON_PAUSE;
            return progress.ons >= ON_TRIES;
        }
        progress.quiet_at = now;
        let Verdict::Confirmed(class) = verdict else {
            progress.next_level(now, levels.map_or(0, |levels| levels.len()));
            return false;
        };
        let in_level = levels.and_then(|l| l.get(usize::from(progress.level))).map_or(1, |level| level.len());
        progress.device += 1;
        if usize::from(progress.device) < in_level {
            return false;
        }
        if in_level > 1 && !progress.rereads {
            // Every device confirmed, but one after the other: all must read off in one pass (SAFETY E6).
            progress.device = 0;
            progress.rereads = true;
            return false;
        }
        progress.proof = class as u8;
        progress.prover = from;
        true
    }
}

/// One target and how it may be fenced.
struct Job<'a> {
    target: Target,
    incarnation: Incarnation,
    run: Run,
    host: HostId,
    levels: &'a Levels,
}

/// Sends an order that is out again, or gives it up. `None`: nothing is out.
fn repeat(progress: &mut Progress, scene: &Scene<'_>, job: &Job<'_>, outbox: &mut Outbox) -> Option<Instant> {
    let (now, out) = (scene.now, &mut progress.out);
    if out.attempt == 0 {
        return None;
    }
    if now >= out.over_at {
        log::warn!("{} did not answer about {}", out.executor, job.target);
        progress.out = Out::NONE;
        progress.next_at = now;
        progress.next_level(now, job.levels.len());
        return None;
    }
    if now >= out.resend_at && now < out.valid_until {
        outbox.send(out.executor, Message::Order(out.order(scene.ballot, job)));
        out.resend_at = now + ms(RESEND_MS);
    }
    Some(if now < out.valid_until { out.resend_at } else { out.over_at })
}

/// Who drives this device: its number, the executor, and how long the attempt may take.
fn choose(scene: &Scene<'_>, job: &Job<'_>, name: &str, me: HostId, turn: u8) -> Option<(u16, HostId, Duration)> {
    let dead = ms(scene.config.timing.host_dead_ms);
    let heard = |host: HostId| {
        scene.view.host(host).state == HostState::Member
            && (host == me || scene.now.since(scene.watch.seen(host).silent_since()) < dead)
    };
    let local = match name {
        DEVICE_QMP => Some(LOCAL_MONITOR),
        DEVICE_GUARD => Some(LOCAL_GUARD),
        _ => None,
    };
    if let Some(device) = local {
        let sound = matches!(job.target, Target::Node(_)) && heard(job.host);
        return sound.then_some((device, job.host, ms(LOCAL_ATTEMPT_MS)));
    }
    let (index, device) = scene.config.device(name)?;
    let span = ms(device.timeout_ms) + ms(device.delay_ms);
    let able = || scene.config.hosts.iter().filter(|host| reaches(device, host)).map(|host| HostId::new(host.id));
    let count = able().filter(|&host| heard(host)).count();
    // The leader itself first: it needs no datagram. Then the others in turn.
    let own = able().any(|host| host == me) && turn == 0;
    let executor = if own { me } else { able().filter(|&host| heard(host)).nth(usize::from(turn) % count.max(1))? };
    Some((u16::try_from(index).ok()?, executor, span))
}

/// The longest that an attempt of an earlier leader may still take.
fn longest_attempt(config: &Config) -> Duration {
    let spans = config.devices.iter().map(|device| ms(device.timeout_ms) + ms(device.delay_ms));
    spans.max().unwrap_or(Duration::ZERO)
}

fn reaches(device: &Device, host: &crate::config::Host) -> bool {
    let listed = device.executors.is_empty() || device.executors.contains(&host.id);
    listed && host.management.is_some() && !device.covers.contains(&host.id)
}

fn levels_of(config: &Config, target: Target) -> Option<&Levels> {
    match target {
        Target::Node(node) => config.node(node).map(|node| &node.levels),
        Target::Host(host) => config.host(host).map(|host| &host.levels),
    }
}

const fn ms(millis: u32) -> Duration {
    Duration::from_millis(millis as u64)
}

/// A device's name, for the log.
struct Named<'a>(&'a Config, u16);

impl core::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.1 {
            LOCAL_MONITOR => f.write_str(DEVICE_QMP),
            LOCAL_GUARD => f.write_str(DEVICE_GUARD),
            index => f.write_str(self.0.devices.get(usize::from(index)).map_or("?", |device| device.name.as_str())),
        }
    }
}
