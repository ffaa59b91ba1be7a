//! The harness: the leader's side of a fence that was decided. Which device, by whom, when again, and what proves it.
//!
//! Owns the progress of each open record, for as long as it leads; the records themselves are committed state, so that the
//! next leader carries them on. It orders only what is committed (SAFETY A2), one attempt an order (F1), own-host fences
//! too (F6), and never withdraws (F4). `off` goes on for ever with a growing pause; `on` comes only after Confirmed is
//! committed and every order of the record was answered or is over (F2). The walk through the levels is a `lane`: one for
//! all, or one for each level where they race, and then the first proof ends the others (F3).

use super::attempt::{Answer, TAG_BITS, tag, whose};
use super::choose::{Choice, Named, choose, is_wide, levels_of, longest_attempt, may_be_off, shown, switches_power};
use super::hold::is_spared;
use super::lane::{Lane, Out, class_of, end, level_is_done, may_go, repeat};
use super::{Action, Class, Verdict};
use crate::config::{Config, Levels, Proof};
use crate::heartbeat::Watch;
use crate::id::{Ballot, HostId, Incarnation, NodeId, Run};
use crate::limits::{HISTORY_MAX, ID_SLOTS, LEVEL_DEVICES_MAX, LEVELS_MAX, RESEND_MS};
use crate::outbox::Outbox;
use crate::rule::{Rule, Rules};
use crate::state::{Evidence, State};
use crate::status::HostState;
use crate::time::{Duration, Instant};
use crate::wire::message::Message;
use crate::wire::node::{NodeState, Target};

/// Failed rounds through all local levels before a node's host is to be fenced instead.
const ROUNDS_LOCAL: u8 = 2;

/// How often a fenced host is turned on; then its power is a person's affair.
const ON_TRIES: u8 = 3;
/// Between two of them: a host that was turned on takes its time to be heard.
const ON_PAUSE: Duration = Duration::from_millis(60_000);

/// The places of devices in a topology.
const PLACES: usize = LEVELS_MAX * LEVEL_DEVICES_MAX;

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The incarnation whose record this is; zero: none.
    incarnation: Incarnation,
    decided_at: Instant,
    lanes: [Lane; LEVELS_MAX],
    /// How many of them are used.
    width: u8,
    attempts: u8,
    /// Goes round among the executors.
    turn: u8,
    /// The class of the proof; zero: none yet.
    proof: u8,
    /// Who brought it, and with which device.
    prover: HostId,
    device: u16,
    /// It came to a level that only another decision makes usable (SAFETY F3).
    wants_wide: bool,
    /// The latest end of any order of this record: no `on` before.
    quiet_at: Instant,
    /// The latest end of any `on`: no proof by several devices before (SAFETY E6).
    on_over: Instant,
    /// Only what switches the power off may be used (SAFETY D1).
    power_only: bool,
    /// Places of devices that were ordered off: those are turned on again.
    touched: u16,
    /// How often the fenced host was turned on, and where the present time stands.
    ons: u8,
    on_place: u8,
}

impl Progress {
    const NONE: Self = Self {
        incarnation: 0,
        decided_at: Instant::ZERO,
        lanes: [Lane::NONE; LEVELS_MAX],
        width: 0,
        attempts: 0,
        turn: 0,
        proof: 0,
        prover: HostId::NONE,
        device: 0,
        wants_wide: false,
        quiet_at: Instant::ZERO,
        on_over: Instant::ZERO,
        power_only: false,
        touched: 0,
        ons: 0,
        on_place: 0,
    };

    /// A record of this incarnation begins; what is out for an earlier one stays out.
    fn begin(&mut self, now: Instant, incarnation: Incarnation, width: u8) {
        let (quiet_at, on_over) = (self.quiet_at, self.on_over);
        *self = Self { incarnation, decided_at: now, width, quiet_at, on_over, ..Self::NONE };
        for (level, lane) in (0u8..width).zip(&mut self.lanes) {
            lane.level = level;
            lane.next_at = now;
        }
    }

    /// Rounds that every lane has made.
    fn rounds(&self) -> u8 {
        self.lanes[..usize::from(self.width)].iter().map(|lane| lane.rounds).min().unwrap_or(ROUNDS_LOCAL)
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
    /// The stamp that a quorum echoed (SAFETY A1).
    pub echo: Instant,
}

/// The progress of all records.
#[derive(Debug)]
pub struct Harness {
    nodes: [Progress; ID_SLOTS],
    hosts: [Progress; ID_SLOTS],
    /// Counts the attempts.
    serial: u32,
    /// When this lead began: orders of an earlier leader may be out until some time after.
    since: Instant,
}

impl Harness {
    /// No record; all zero.
    pub const EMPTY: Self =
        Self { nodes: [Progress::NONE; ID_SLOTS], hosts: [Progress::NONE; ID_SLOTS], serial: 0, since: Instant::ZERO };

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
        let evidence = Evidence {
            executor: progress.prover,
            device: progress.device,
            attempts: progress.attempts,
            took_us,
            ..Evidence::by_itself(class)
        };
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
    pub fn is_exhausted(&self, node: NodeId) -> bool {
        let progress = &self.nodes[node.index()];
        progress.incarnation != 0 && progress.rounds() >= ROUNDS_LOCAL
    }

    /// Whether everything that covers only this host was tried in vain, and a device that covers more is left (SAFETY F3).
    #[must_use]
    pub fn wants_wide(&self, host: HostId, incarnation: Incarnation) -> bool {
        let progress = &self.hosts[host.index()];
        progress.incarnation == incarnation && progress.wants_wide && progress.rounds() > 0
    }

    const fn progress(&self, target: Target) -> &Progress {
        match target {
            Target::Node(node) => &self.nodes[node.index()],
            Target::Host(host) => &self.hosts[host.index()],
        }
    }

    fn slot(&mut self, target: Target) -> &mut Progress {
        match target {
            Target::Node(node) => &mut self.nodes[node.index()],
            Target::Host(host) => &mut self.hosts[host.index()],
        }
    }

    /// Drives every open record on, and turns fenced hosts on again. When to look again.
    pub fn poll(&mut self, scene: &Scene<'_>, outbox: &mut Outbox) -> Instant {
        let mut next = Instant::FAR;
        for (node, row) in scene.view.nodes().filter(|(_, row)| row.state == NodeState::Condemned) {
            let local = scene.view.host(row.host).state == HostState::Member;
            let Some(entry) = scene.config.node(node).filter(|_| local) else { continue };
            let target = Target::Node(node);
            if is_spared(scene.config, scene.view, target) {
                continue;
            }
            let (levels, race) = (&entry.levels, entry.race);
            let job = Job { target, incarnation: row.incarnation, run: row.run, host: row.host, levels, race };
            next = next.min(self.drive(scene, &job, outbox));
        }
        for (host, row) in scene.view.hosts() {
            let Some(entry) = scene.config.host(host) else { continue };
            let (target, levels, race) = (Target::Host(host), &entry.levels, entry.race);
            let job = Job { target, incarnation: row.incarnation, run: Run::NONE, host, levels, race };
            match row.state {
                HostState::Condemned if is_spared(scene.config, scene.view, target) => {}
                HostState::Condemned => next = next.min(self.drive(scene, &job, outbox)),
                HostState::Down if !row.turned_on && may_be_off(scene, host) => {
                    next = next.min(self.turn_on(scene, &job, outbox));
                }
                _ => {}
            }
        }
        next
    }

    /// Proves that a host is off whom no view condemns, for the side that goes on alone (SAFETY D1). When to look again.
    pub fn prove_off(
        &mut self,
        scene: &Scene<'_>,
        host: HostId,
        incarnation: Incarnation,
        power_only: bool,
        outbox: &mut Outbox,
    ) -> Instant {
        let Some(entry) = scene.config.host(host) else { return Instant::FAR };
        let job =
            Job { target: Target::Host(host), incarnation, run: Run::NONE, host, levels: &entry.levels, race: false };
        self.begin_record(scene, &job);
        self.slot(job.target).power_only = power_only;
        self.drive(scene, &job, outbox)
    }

    /// A person's word is the proof.
    pub fn take_word(&mut self, now: Instant, host: HostId, incarnation: Incarnation, class: Class) {
        let progress = self.slot(Target::Host(host));
        if progress.incarnation != incarnation {
            progress.begin(now, incarnation, 1);
        }
        progress.proof = class as u8;
    }

    fn drive(&mut self, scene: &Scene<'_>, job: &Job<'_>, outbox: &mut Outbox) -> Instant {
        self.begin_record(scene, job);
        let mut next = Instant::FAR;
        for lane in 0..usize::from(self.slot(job.target).width) {
            if self.slot(job.target).proof != 0 {
                return Instant::FAR;
            }
            next = next.min(self.drive_lane(scene, job, lane, outbox));
        }
        next
    }

    fn begin_record(&mut self, scene: &Scene<'_>, job: &Job<'_>) {
        let on_over = self.on_may_be_out(scene, job.host);
        let progress = self.slot(job.target);
        if progress.incarnation != job.incarnation {
            let width = if job.race { job.levels.len().min(LEVELS_MAX) } else { job.levels.len().min(1) };
            progress.begin(scene.now, job.incarnation, u8::try_from(width).unwrap_or(1));
            progress.on_over = progress.on_over.max(on_over);
        }
    }

    /// Until when an `on` of an earlier leader may act: it ordered one only if it had fenced this host by its power.
    fn on_may_be_out(&self, scene: &Scene<'_>, host: HostId) -> Instant {
        let history = scene.view.history();
        let forgotten = history.len() >= HISTORY_MAX;
        let mut records = scene.view.history().filter(|entry| !entry.node.is_some() && entry.host == host);
        if forgotten || records.any(|entry| entry.class == Class::PowerOff as u8) {
            return self.since + ms(scene.config.timing.order_ms) + longest_attempt(scene.config);
        }
        Instant::ZERO
    }

    fn drive_lane(&mut self, scene: &Scene<'_>, job: &Job<'_>, lane: usize, outbox: &mut Outbox) -> Instant {
        let progress = self.slot(job.target);
        let width = progress.width;
        if let Some(next) = repeat(&mut progress.lanes[lane], lane, width, scene, job, outbox) {
            return next;
        }
        let next_at = progress.lanes[lane].next_at;
        if scene.now < next_at {
            return next_at;
        }
        self.order(scene, job, lane, outbox)
    }

    /// Sends the next order of a lane.
    fn order(&mut self, scene: &Scene<'_>, job: &Job<'_>, at: usize, outbox: &mut Outbox) -> Instant {
        let now = scene.now;
        let progress = self.slot(job.target);
        let Lane { level, device, reads, .. } = progress.lanes[at];
        let name = job.levels.get(usize::from(level)).and_then(|level| level.get(usize::from(device)));
        let name = name.filter(|_| !progress.power_only || switches_power(scene.config, job.levels, level));
        let wide = name.is_some_and(|name| is_wide(scene, job, name));
        progress.wants_wide |= wide;
        let chosen = name.filter(|_| !wide).and_then(|name| choose(scene, job, name, progress.turn));
        let width = progress.width;
        let lane = &mut progress.lanes[at];
        let Some(choice) = chosen else {
            lane.next_level(now, end(job.levels, width, at, lane));
            lane.next_at = lane.next_at.max(now + ms(RESEND_MS));
            return lane.next_at;
        };
        let action = if reads { Action::Status } else { Action::Off };
        if !reads {
            progress.touched |= 1 << (usize::from(level) * LEVEL_DEVICES_MAX + usize::from(device));
        }
        self.send(scene, job, at, &choice, action, outbox)
    }

    fn send(
        &mut self,
        scene: &Scene<'_>,
        job: &Job<'_>,
        lane: usize,
        choice: &Choice,
        action: Action,
        outbox: &mut Outbox,
    ) -> Instant {
        let now = scene.now;
        self.serial = (self.serial + 1) % (1 << (u32::BITS - TAG_BITS));
        self.serial = self.serial.max(1);
        let attempt = self.serial << TAG_BITS | tag(job.target, lane);
        let progress = self.slot(job.target);
        let valid_until = now + ms(scene.config.timing.order_ms);
        let seen = scene.watch.seen(choice.executor);
        let out = Out {
            attempt,
            answers: seen.beat.number,
            version: scene.view.version,
            device: choice.device,
            action: action as u8,
            executor: choice.executor,
            incarnation: seen.incarnation,
            valid_until,
            over_at: valid_until + choice.span,
            resend_at: now + ms(RESEND_MS),
        };
        progress.turn = progress.turn.wrapping_add(1);
        match action {
            Action::Off => {
                progress.attempts = progress.attempts.saturating_add(1);
                progress.quiet_at = progress.quiet_at.max(out.over_at);
            }
            Action::On => progress.on_over = progress.on_over.max(out.over_at),
            Action::Status => {}
        }
        let goes = may_go(scene, &out);
        progress.lanes[lane].out = out;
        progress.lanes[lane].able = choice.able;
        let Choice { device, executor, .. } = *choice;
        log::info!("order {action:?} {} with {} by {executor}", job.target, Named(scene.config, device));
        if goes {
            outbox.send(executor, Message::Order(out.order(scene.ballot, job.target, job.run)));
        }
        out.resend_at
    }

    /// A Confirmed host is turned on again, until it is heard: every device that was ordered off, or all if an earlier leader
    /// ordered; those of the last level first, since the others may hang on their power (SAFETY F2).
    fn turn_on(&mut self, scene: &Scene<'_>, job: &Job<'_>, outbox: &mut Outbox) -> Instant {
        let now = scene.now;
        let since = self.since;
        let progress = self.slot(job.target);
        if progress.incarnation != job.incarnation {
            let quiet_at = since + ms(scene.config.timing.order_ms) + longest_attempt(scene.config);
            progress.begin(now, job.incarnation, 1);
            progress.quiet_at = progress.quiet_at.max(quiet_at);
            progress.lanes[0].next_at = progress.quiet_at;
        }
        if core::mem::take(&mut progress.proof) != 0 {
            progress.lanes.fill(Lane::NONE);
            progress.lanes[0].next_at = progress.quiet_at;
        }
        if let Some(next) = repeat(&mut progress.lanes[0], 0, 1, scene, job, outbox) {
            return next;
        }
        if progress.ons >= ON_TRIES {
            return Instant::FAR;
        }
        if now < progress.lanes[0].next_at {
            return progress.lanes[0].next_at;
        }
        while usize::from(progress.on_place) < PLACES {
            let place = PLACES - 1 - usize::from(progress.on_place);
            progress.on_place += 1;
            let wanted = progress.touched == 0 || progress.touched & 1 << place != 0;
            let turn = progress.turn;
            if wanted && let Some(choice) = may_turn_on(scene, job, place, turn) {
                return self.send(scene, job, 0, &choice, Action::On, outbox);
            }
        }
        progress.on_place = 0;
        progress.ons += 1;
        progress.lanes[0].next_at = now + ON_PAUSE;
        progress.lanes[0].next_at
    }

    /// An executor answered. Whether there is a new proof.
    pub fn answered(&mut self, now: Instant, config: &Config, rules: Rules, answer: &Answer) -> bool {
        let Some((target, at)) = whose(answer.attempt) else { return false };
        let progress = self.slot(target);
        let lane = &mut progress.lanes[at];
        if lane.out.attempt != answer.attempt || lane.out.executor != answer.from {
            return false;
        }
        log::info!("{} answers {answer} about {target}", answer.from);
        let out = core::mem::replace(&mut lane.out, Out::NONE);
        lane.next_at = now;
        if out.is_on() {
            // Whether it worked is seen when the host is heard.
            return false;
        }
        // What was sent to somebody who was lost meanwhile was not answered, and may still be driven (SAFETY F2).
        let outs = progress.lanes.iter().map(|lane| lane.out.over_at.max(lane.lost_until));
        progress.quiet_at = outs.max().filter(|_| rules.holds(Rule::F2)).unwrap_or(now).max(now);
        let (width, on_over) = (progress.width, progress.on_over);
        let Some(levels) = levels_of(config, target) else { return false };
        let lane = &mut progress.lanes[at];
        let end = end(levels, width, at, lane);
        let proved = match answer.verdict {
            Verdict::Confirmed(_) => !lane.reads,
            Verdict::SeenOff => lane.reads,
            Verdict::Unknown => !rules.holds(Rule::Proof),
            _ => false,
        };
        if !proved {
            let retries = config.devices.get(usize::from(out.device)).map_or(0, |device| device.retries);
            if answer.tried {
                lane.fail(now, retries, end);
            } else {
                lane.decline(now, end);
            }
            return false;
        }
        lane.next_device();
        let Some(level) = levels.get(usize::from(lane.level)) else { return false };
        if !level_is_done(lane, level, on_over, rules) {
            return false;
        }
        progress.proof = class_of(config, level, answer.verdict) as u8;
        progress.prover = answer.from;
        progress.device = shown(out.device);
        true
    }
}

/// One target and how it may be fenced.
pub struct Job<'a> {
    /// The target.
    pub target: Target,
    /// Which of its incarnations.
    pub incarnation: Incarnation,
    /// A node's run.
    pub run: Run,
    /// The host that it is, or is on.
    pub host: HostId,
    /// Its topology.
    pub levels: &'a Levels,
    /// All levels start at once.
    pub race: bool,
}

/// The device at this place, if it is one that turns power on, and nothing that it covers waits for its proof (SAFETY F2).
fn may_turn_on(scene: &Scene<'_>, job: &Job<'_>, place: usize, turn: u8) -> Option<Choice> {
    let name = job.levels.get(place / LEVEL_DEVICES_MAX)?.get(place % LEVEL_DEVICES_MAX)?;
    let (_, device) = scene.config.device(name)?;
    let is_open = |&host: &u8| scene.view.host(HostId::new(host)).state == HostState::Condemned;
    let allowed = device.class == Proof::PowerOff && !device.covers.iter().any(is_open);
    if allowed { choose(scene, job, name, turn) } else { None }
}

const fn ms(millis: u32) -> Duration {
    Duration::from_millis(millis as u64)
}
