//! The executor: drives a device once for each order, and answers.
//!
//! Owns the jobs under way in this appliance. Refuses what SAFETY F1 says: orders below its promise (its caller checks
//! that), past their validity, without a living membership lease, and those about itself (F5). About a local node it looks
//! first which run is there: if the ordered run is gone, that is the verdict, and nothing is killed.

use super::{Class, Verdict};
use crate::config::Config;
use crate::id::{Ballot, HostId, NodeId, Run};
use crate::io::{DeviceRef, Request};
use crate::limits::{JOBS_MAX, LOCAL_ATTEMPT_MS};
use crate::local::Local;
use crate::outbox::Outbox;
use crate::time::{Duration, Instant};
use crate::wire::message::{LOCAL_GUARD, LOCAL_MONITOR, Order};
use crate::wire::node::Target;

#[derive(Clone, Copy, Debug)]
struct Job {
    ballot: Ballot,
    attempt: u32,
    node: NodeId,
    /// What it does with which device to whom.
    about: (u8, u16, NodeId),
    /// Names the job towards the driver; zero: the entry is free.
    number: u32,
    verdict: Option<Verdict>,
}

impl Job {
    const NONE: Self = Self {
        ballot: Ballot::NONE,
        attempt: 0,
        node: NodeId::NONE,
        about: (0, 0, NodeId::NONE),
        number: 0,
        verdict: None,
    };
}

/// All jobs of one appliance.
#[derive(Debug)]
pub struct Executor {
    jobs: [Job; JOBS_MAX],
    last: u32,
    /// Orders that came while the same was under way for another leader.
    pub twice: u64,
}

/// What to do about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Answer this at once.
    Now(Verdict),
    /// It cannot be tried here, or not in time: somebody else may.
    Declined,
    /// The answer comes when the device has answered.
    Later,
}

impl Executor {
    /// No job; all zero.
    pub const EMPTY: Self = Self { jobs: [Job::NONE; JOBS_MAX], last: 0, twice: 0 };

    /// Takes an order that passed its checks; `valid_until` counts from the request that it answers.
    pub fn take(
        &mut self,
        now: Instant,
        config: &Config,
        local: &Local,
        order: &Order,
        valid_until: Instant,
        outbox: &mut Outbox,
    ) -> Reply {
        let known = |job: &&Job| job.number != 0 && job.ballot == order.ballot && job.attempt == order.attempt;
        if let Some(job) = self.jobs.iter().find(known) {
            return job.verdict.map_or(Reply::Later, Reply::Now);
        }
        if now >= valid_until {
            return Reply::Declined;
        }
        let node = match order.target {
            Target::Node(node) => node,
            Target::Host(_) => NodeId::NONE,
        };
        let local_device = order.device == LOCAL_MONITOR || order.device == LOCAL_GUARD;
        if local_device && let Some(verdict) = run_is_over(local, node, order.run) {
            return Reply::Now(verdict);
        }
        let Some((device, span)) = device(config, local, order, node) else {
            return Reply::Now(Verdict::Failed);
        };
        let twice = |job: &&Job| job.verdict.is_none() && job.about == (order.action as u8, order.device, node);
        if self.jobs.iter().filter(|job| job.number != 0).any(|job| twice(&job)) {
            // Another leader ordered the same a moment ago: accepted, and counted (SAFETY F1).
            self.twice += 1;
        }
        let Some(job) = self.jobs.iter_mut().find(|job| job.number == 0 || job.verdict.is_some()) else {
            return Reply::Declined;
        };
        self.last = self.last.wrapping_add(1).max(1);
        let request = Request {
            job: self.last,
            device,
            action: order.action,
            node,
            run: order.run,
            valid_until,
            timeout: now + span,
        };
        if !outbox.request(request) {
            return Reply::Declined;
        }
        let about = (order.action as u8, order.device, node);
        *job = Job { ballot: order.ballot, attempt: order.attempt, node, about, number: self.last, verdict: None };
        Reply::Later
    }

    /// A device answered. Whose order that was, if we still know.
    pub fn answered(&mut self, number: u32, verdict: Verdict) -> Option<(Ballot, u32)> {
        let job = self.jobs.iter_mut().find(|job| job.number == number && number != 0 && job.verdict.is_none())?;
        job.verdict = Some(verdict);
        Some((job.ballot, job.attempt))
    }

    /// Whether an order about this node is under way here.
    #[must_use]
    pub fn is_busy_with(&self, node: NodeId) -> bool {
        self.jobs.iter().any(|job| job.number != 0 && job.verdict.is_none() && job.node == node)
    }
}

/// What the guard already knows about the ordered run (SAFETY E2, E5, F1).
fn run_is_over(local: &Local, node: NodeId, run: Run) -> Option<Verdict> {
    let report = local.report(node)?;
    let over = report.boot != run.boot || report.gone_through >= run.counter;
    (over && report.boot != 0 && run.is_some()).then(|| {
        let counts = report.disks_qualify || report.boot != run.boot;
        if counts { Verdict::Confirmed(Class::VmGone) } else { Verdict::Failed }
    })
}

fn device(config: &Config, local: &Local, order: &Order, node: NodeId) -> Option<(DeviceRef, Duration)> {
    let local_span = Duration::from_millis(u64::from(LOCAL_ATTEMPT_MS));
    match order.device {
        LOCAL_MONITOR => Some((DeviceRef::Monitor(local.slot(node)?), local_span)),
        LOCAL_GUARD => Some((DeviceRef::Guard(local.slot(node)?), local_span)),
        index => {
            let device = config.devices.get(usize::from(index))?;
            let covers = |host: HostId| device.covers.contains(&host.get());
            let sound = matches!(order.target, Target::Host(host) if covers(host));
            let span = Duration::from_millis(u64::from(device.timeout_ms) + u64::from(device.delay_ms));
            sound.then_some((DeviceRef::Configured(index), span))
        }
    }
}
