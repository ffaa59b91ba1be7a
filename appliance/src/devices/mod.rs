//! Device attempts: joins the methods to the transports that reach their devices.
//!
//! Owns the attempts that are under way, the monitors of the local nodes, and what the guard last said of each local run.
//! It decides nothing: the engine asks for one attempt, and gets one answer. But it looks before it acts on a local node:
//! an attempt names a run, and another run is never touched; that the named one is gone already is an answer too
//! (SAFETY F1). Whether gone or stopped means anything is the guard's to say, by the node's disks (SAFETY E5).

mod runs;

use heapless::{Deque, Vec};
use log::info;
use palisade_core::config::{self, Config, Method as Configured};
use palisade_core::fencing::{Action, Class, Verdict};
use palisade_core::id::NodeId;
use palisade_core::io::{DeviceRef, MonitorEvent, Request};
use palisade_core::limits::{FRAME_MAX, JOBS_MAX, LOCAL_NODES_MAX};
use palisade_core::time::{Duration, Instant};
use palisade_core::wire::guard::Message;
use palisade_methods::ipmi::{self, Params, Suites};
use palisade_methods::qmp::{self, Event, Monitor, RunState, What};
use palisade_methods::{Method, Outcome, guard};

pub use self::runs::Runs;
use self::runs::Standing;
use crate::cell::Once;
use crate::console::Console;
use crate::entropy::Entropy;
use crate::net::Management;
use crate::net::management::PAYLOAD_MAX;

/// How much longer than its time an attempt is waited for before it is cut off.
const GRACE: Duration = Duration::from_millis(50);
/// Messages that one attempt sends in one turn of the loop.
const TURN: usize = 8;
/// Answers that wait to be fetched: each job has one at most, and each refused request one.
const ANSWERS_MAX: usize = 2 * JOBS_MAX;
/// The largest message of any method.
const MESSAGE_MAX: usize = 1024;
const _: () = assert!(qmp::PROFILE.message_bytes_max <= MESSAGE_MAX && ipmi::PROFILE.message_bytes_max <= MESSAGE_MAX);

/// The monitors; all zero until they are there.
static MONITORS: Once<Vec<Monitor, LOCAL_NODES_MAX>> = Once::new(Vec::new());

/// What carries an attempt out.
#[expect(clippy::large_enum_variant, reason = "it lives in a static, and a box would need an allocator")]
enum Work {
    /// The monitor of this slot; the attempt lives in it.
    Monitor(usize),
    /// The guard, about this slot.
    Guard(usize, guard::Attempt),
    /// A BMC; the socket has the job's number.
    Ipmi(ipmi::Attempt),
}

struct Job {
    request: Request,
    work: Work,
    is_answered: bool,
}

/// The ways to devices, for the duration of a call.
pub struct Roads<'a> {
    pub monitors: &'a mut Vec<Console, LOCAL_NODES_MAX>,
    pub guard: Option<&'a mut Console>,
    pub management: Option<&'a mut Management>,
    pub entropy: &'a mut Entropy,
}

/// All attempts, and what they stand on.
pub struct Devices {
    jobs: [Option<Job>; JOBS_MAX],
    monitors: &'static mut Vec<Monitor, LOCAL_NODES_MAX>,
    runs: Runs,
    answers: Deque<(u32, Verdict), ANSWERS_MAX>,
    guard_sequence: u32,
}

impl Devices {
    /// Nothing under way, no node.
    pub fn new() -> Self {
        Self {
            jobs: [const { None }; JOBS_MAX],
            monitors: MONITORS.claim(),
            runs: Runs::new(),
            answers: Deque::new(),
            guard_sequence: 0,
        }
    }

    /// Serves these nodes, in the order of their slots.
    pub fn serve(&mut self, nodes: &[NodeId], now: Instant, incarnation: u64) {
        for _ in nodes {
            let added = self.monitors.push(Monitor::new(now, incarnation));
            assert!(added.is_ok(), "invariant: the configuration has no more local nodes than slots");
        }
        self.runs.serve(nodes);
    }

    /// Begins an attempt. Its answer comes through `next_answer`, perhaps at once.
    pub fn start(&mut self, now: Instant, config: &'static Config, request: Request, roads: &mut Roads<'_>) {
        let free = self.jobs.iter().position(Option::is_none);
        let started = match free {
            Some(number) if now < request.valid_until => self.begin(now, config, number, &request, roads),
            _ => Err(Verdict::Unknown),
        };
        match (started, free) {
            (Ok(work), Some(number)) => self.jobs[number] = Some(Job { request, work, is_answered: false }),
            (Err(verdict), _) => {
                info!(
                    "{:?} of {:?} about {}: {verdict:?} without an attempt",
                    request.action, request.device, request.node
                );
                self.answer(request.job, verdict);
            }
            (Ok(_), None) => {}
        }
    }

    fn begin(
        &mut self,
        now: Instant,
        config: &'static Config,
        number: usize,
        request: &Request,
        roads: &mut Roads<'_>,
    ) -> Result<Work, Verdict> {
        let total = request.timeout.since(now);
        match request.device {
            DeviceRef::Monitor(slot) => {
                let slot = usize::from(slot);
                self.may_act(slot, request)?;
                let monitor = self.monitors.get_mut(slot).ok_or(Verdict::Unknown)?;
                if monitor.start(now, request.action, total) { Ok(Work::Monitor(slot)) } else { Err(Verdict::Unknown) }
            }
            DeviceRef::Guard(slot) => {
                let slot = usize::from(slot);
                self.may_act(slot, request)?;
                let mut attempt = guard::Attempt::start(now, request.action, request.node, request.run, total);
                if let Some(gone) = self.runs.proven_gone(slot) {
                    attempt.on_gone(request.node, gone);
                }
                Ok(Work::Guard(slot, attempt))
            }
            DeviceRef::Configured(index) => {
                let device = config.devices.get(usize::from(index)).ok_or(Verdict::Unknown)?;
                let management = roads.management.as_deref_mut().ok_or(Verdict::Unknown)?;
                match &device.method {
                    Configured::Ipmi(bmc) => {
                        let params = ipmi_params(bmc, total).ok_or(Verdict::Unknown)?;
                        let entropy = roads.entropy.draw().ok_or(Verdict::Unknown)?;
                        management.open(number, bmc.address.0, bmc.port);
                        Ok(Work::Ipmi(ipmi::Attempt::start(now, &params, request.action, &entropy)))
                    }
                }
            }
        }
    }

    /// Whether the run that is meant is the one that is there. Otherwise the verdict that follows without an act.
    fn may_act(&self, slot: usize, request: &Request) -> Result<(), Verdict> {
        match (self.runs.standing(slot, request.node, request.run), request.action) {
            (Standing::Present, _) => Ok(()),
            (Standing::Gone, Action::Off) => Err(Verdict::Confirmed(Class::VmGone)),
            (Standing::Gone, Action::On | Action::Status) => Err(Verdict::Failed),
            (Standing::Unclear, _) => Err(Verdict::Unknown),
        }
    }

    /// Bytes of a node's monitor.
    pub fn on_monitor(&mut self, now: Instant, slot: usize, bytes: &[u8]) {
        if let Some(monitor) = self.monitors.get_mut(slot) {
            monitor.handle(now, bytes);
        }
    }

    /// Bytes of the guard.
    pub fn on_guard(&mut self, mut bytes: &[u8]) {
        while let Some(slot) = self.runs.take(&mut bytes) {
            let Some(gone) = self.runs.proven_gone(slot) else { continue };
            for job in self.jobs.iter_mut().flatten() {
                if let Work::Guard(of, attempt) = &mut job.work
                    && *of == slot
                {
                    attempt.on_gone(job.request.node, gone);
                }
            }
        }
    }

    /// A datagram of the device that a job talks to.
    pub fn on_datagram(&mut self, now: Instant, job: usize, bytes: &[u8]) {
        if let Some(Some(Job { work: Work::Ipmi(attempt), .. })) = self.jobs.get_mut(job) {
            attempt.handle(now, bytes);
        }
    }

    /// What a monitor said of its own accord.
    pub fn next_event(&mut self) -> Option<(u8, MonitorEvent)> {
        for (slot, monitor) in self.monitors.iter_mut().enumerate() {
            // A monitor holds so many notices at most.
            for _ in 0..qmp::EVENTS_MAX {
                let Some(notice) = monitor.poll_event() else { break };
                let event = match notice.what {
                    What::Ready(Some(RunState::GuestPanicked)) | What::Event(Event::Panicked) => MonitorEvent::Panicked,
                    What::Ready(_) => MonitorEvent::Connected,
                    What::Event(Event::Reset { .. }) => MonitorEvent::Reset,
                    What::Event(Event::ShutDown { .. }) => MonitorEvent::Shutdown,
                    What::Greeting | What::Event(_) => continue,
                };
                return Some((u8::try_from(slot).ok()?, event));
            }
        }
        None
    }

    /// How an attempt ended.
    pub fn next_answer(&mut self) -> Option<(u32, Verdict)> {
        self.answers.pop_front()
    }

    fn answer(&mut self, job: u32, verdict: Verdict) {
        // An answer that is lost is one that the engine times out.
        let _ = self.answers.push_back((job, verdict));
    }

    /// Lets attempts and monitors send and time out. To be called in each turn.
    pub fn poll(&mut self, now: Instant, roads: &mut Roads<'_>) {
        let mut message = [0; MESSAGE_MAX];
        self.abandon_other_runs();
        for (monitor, console) in self.monitors.iter_mut().zip(roads.monitors.iter_mut()) {
            for _ in 0..TURN {
                let Some(length) = monitor.poll_transmit(now, &mut message) else { break };
                console.send(&message[..length]);
            }
        }
        for number in 0..JOBS_MAX {
            self.poll_job(now, number, roads, &mut message);
        }
    }

    /// Looks again which run is there just before anything is said: an attempt may have waited for its monitor's first
    /// greeting, and a guard has each start acknowledged here before that QEMU exists (SAFETY E2, F1).
    fn abandon_other_runs(&mut self) {
        for job in self.jobs.iter().flatten().filter(|job| !job.is_answered) {
            if let Work::Monitor(slot) = job.work
                && self.runs.standing(slot, job.request.node, job.request.run) != Standing::Present
                && let Some(monitor) = self.monitors.get_mut(slot)
                && monitor.outcome().is_none()
            {
                monitor.abandon();
            }
        }
    }

    fn poll_job(&mut self, now: Instant, number: usize, roads: &mut Roads<'_>, message: &mut [u8; MESSAGE_MAX]) {
        let Some(job) = self.jobs[number].as_mut() else { return };
        let (outcome, is_done) = match &mut job.work {
            Work::Monitor(slot) => match self.monitors.get(*slot) {
                Some(monitor) => (monitor.outcome(), monitor.is_done()),
                None => (None, true),
            },
            Work::Guard(_, attempt) => {
                if let Some(kill) = attempt.poll_kill(now) {
                    let mut frame = [0; FRAME_MAX];
                    let order = Message::Kill { node: kill.node, counter: kill.run.counter };
                    self.guard_sequence = self.guard_sequence.wrapping_add(1);
                    if let Some(console) = roads.guard.as_deref_mut() {
                        console.send(order.frame(self.guard_sequence).emit(&mut frame));
                    }
                }
                (attempt.outcome(), attempt.is_done())
            }
            Work::Ipmi(attempt) => {
                if let Some(management) = roads.management.as_deref_mut() {
                    for _ in 0..TURN {
                        let Some(length) = attempt.poll_transmit(now, message) else { break };
                        management.send(now, number, &message[..length]);
                    }
                }
                (attempt.outcome(), attempt.is_done())
            }
        };
        let is_late = now >= job.request.timeout + GRACE;
        let end = match outcome {
            _ if job.is_answered => None,
            Some(outcome) => Some(verdict(&self.runs, job, &outcome)),
            None if is_late => Some(Verdict::Unknown),
            None => None,
        };
        if let Some(verdict) = end {
            job.is_answered = true;
            let answered = job.request.job;
            self.answer(answered, verdict);
        }
        let may_end = self.jobs[number].as_ref().is_some_and(|job| job.is_answered);
        if may_end && (is_done || is_late) {
            self.jobs[number] = None;
            if let Some(management) = roads.management.as_deref_mut() {
                management.close(number);
            }
        }
    }

    /// When `poll` wants to be called if nothing comes in before.
    pub fn deadline(&self) -> Instant {
        let mut next = Instant::FAR;
        for monitor in self.monitors.iter() {
            next = next.min(monitor.poll_timeout().unwrap_or(Instant::FAR));
        }
        for job in self.jobs.iter().flatten() {
            let own = match &job.work {
                Work::Monitor(_) => None,
                Work::Guard(_, attempt) => attempt.poll_timeout(),
                Work::Ipmi(attempt) => attempt.poll_timeout(),
            };
            next = next.min(own.unwrap_or(Instant::FAR)).min(job.request.timeout + GRACE);
        }
        next
    }
}

/// What an outcome is worth: proof about a local run counts only while that run is the one that is there, and only for
/// disks that qualify.
fn verdict(runs: &Runs, job: &Job, outcome: &Outcome) -> Verdict {
    let Request { action, device, node, run, .. } = job.request;
    let verdict = match (&job.work, action, outcome.verdict) {
        (Work::Monitor(slot), Action::Off, said) => match (runs.standing(*slot, node, run), said) {
            (Standing::Gone, _) => Verdict::Confirmed(Class::VmGone),
            (Standing::Present, Verdict::Confirmed(_)) if runs.disks_qualify(*slot) => said,
            (_, Verdict::Confirmed(_)) => Verdict::Unknown,
            _ => said,
        },
        _ => outcome.answer(action),
    };
    info!("{action:?} of {device:?} about {node}: {verdict:?}; {}", outcome.detail);
    verdict
}

fn ipmi_params(bmc: &config::Ipmi, total: Duration) -> Option<Params> {
    let mut params = Params::new(bmc.user.as_bytes(), bmc.password.as_bytes()).ok()?;
    params.suites = if bmc.suite_min >= 17 { Suites::Only17 } else { Suites::Prefer17 };
    params.timing.total = total;
    Some(params)
}

/// Keeps a datagram's buffer as large as what a NIC can deliver.
const _: () = assert!(PAYLOAD_MAX >= ipmi::DATAGRAM_MAX);
