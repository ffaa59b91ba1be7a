//! Who drives a device.
//!
//! Owns the choice of executors, which hosts there are to turn on, and what may not be driven at all: a device that covers
//! more than the target is used only when all that it covers is condemned by name (SAFETY F3).

use super::Class;
use super::harness::{Job, Scene};
use crate::config::{Config, DEVICE_GUARD, DEVICE_QMP, Device, Host, Levels, Name, Proof};
use crate::id::HostId;
use crate::limits::LOCAL_ATTEMPT_MS;
use crate::status::HostState;
use crate::time::Duration;
use crate::wire::message::{LOCAL_GUARD, LOCAL_MONITOR};
use crate::wire::node::Target;

/// How often a node's own host, of which there is one, is asked in one pass before its level counts as failed: an appliance
/// that restarts takes part of a second, asked each `RESEND_MS`.
const ASKED_MAX: u8 = 40;

/// An executor and what he is to drive.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// As `Order::device`.
    pub device: u16,
    /// Who.
    pub executor: HostId,
    /// How long one attempt may take.
    pub span: Duration,
    /// How many could do it; as often is it asked for in one pass.
    pub able: u8,
}

fn is_silent(scene: &Scene<'_>, host: HostId) -> bool {
    let dead = Duration::from_millis(u64::from(scene.config.timing.host_dead_ms));
    host != scene.me && scene.now.since(scene.watch.seen(host).silent_since()) >= dead
}

/// Whether a host can be given an order: we ourselves, or a member that is heard.
pub fn hears(scene: &Scene<'_>, host: HostId) -> bool {
    host == scene.me || (scene.view.host(host).state == HostState::Member && !is_silent(scene, host))
}

/// Whether a host that is down has to be turned on: it was switched off; or its guard spoke for it, and it is silent. Then an
/// order that was still driven may have hit it afterwards, and a leader that begins later does not know (SAFETY F2).
pub fn may_be_off(scene: &Scene<'_>, host: HostId) -> bool {
    let class = scene.view.host(host).class;
    class == Class::PowerOff as u8 || (class == Class::VmGone as u8 && is_silent(scene, host))
}

/// Who drives the device with this name for the target; `turn` goes round among those who can.
pub fn choose(scene: &Scene<'_>, job: &Job<'_>, name: &str, turn: u8) -> Option<Choice> {
    if let Some(device) = local(name) {
        let sound = matches!(job.target, Target::Node(_)) && hears(scene, job.host);
        let span = Duration::from_millis(u64::from(LOCAL_ATTEMPT_MS));
        return sound.then_some(Choice { device, executor: job.host, span, able: ASKED_MAX });
    }
    let (index, device) = scene.config.device(name)?;
    executor(scene, index, device, turn)
}

/// Who drives this configured device: the others in turn, the leader itself last. Whoever leads now is promised more than an
/// older ballot, so another member refuses what a deposed leader orders; nobody refuses its own orders, which therefore wait
/// for a quorum's echo (`lane::may_go`).
pub fn executor(scene: &Scene<'_>, index: usize, device: &Device, turn: u8) -> Option<Choice> {
    let able = |own: bool| {
        let reached = scene.config.hosts.iter().filter(|host| reaches(device, host));
        let asked = reached.map(|host| HostId::new(host.id)).filter(move |&host| (host == scene.me) == own);
        asked.filter(|&host| hears(scene, host))
    };
    let count = able(false).chain(able(true)).count();
    let executor = able(false).chain(able(true)).nth(usize::from(turn) % count.max(1))?;
    Some(Choice {
        device: u16::try_from(index).ok()?,
        executor,
        span: span(device),
        able: u8::try_from(count).unwrap_or(u8::MAX),
    })
}

/// Whether the device covers a host beside the target's that is not condemned or off: its order would need another decision.
pub fn is_wide(scene: &Scene<'_>, job: &Job<'_>, name: &str) -> bool {
    let Some((_, device)) = scene.config.device(name) else { return false };
    let mut others = device.covers.iter().map(|&host| HostId::new(host)).filter(|&host| host != job.host);
    others.any(|host| !matches!(scene.view.host(host).state, HostState::Condemned | HostState::Down))
}

/// Whether all devices of a level switch power.
pub fn switches_power(config: &Config, levels: &Levels, level: u8) -> bool {
    let cuts = |name: &Name| config.device(name).is_none_or(|(_, device)| device.class != Proof::PowerOff);
    levels.get(usize::from(level)).is_some_and(|level| !level.iter().any(cuts))
}

/// The topology of a target.
pub fn levels_of(config: &Config, target: Target) -> Option<&Levels> {
    match target {
        Target::Node(node) => config.node(node).map(|node| &node.levels),
        Target::Host(host) => config.host(host).map(|host| &host.levels),
    }
}

/// The number in orders of what a node's own host can do.
pub fn local(name: &str) -> Option<u16> {
    match name {
        DEVICE_QMP => Some(LOCAL_MONITOR),
        DEVICE_GUARD => Some(LOCAL_GUARD),
        _ => None,
    }
}

/// A device's number in the history, where zero is none.
pub const fn shown(device: u16) -> u16 {
    match device {
        LOCAL_MONITOR | LOCAL_GUARD => device,
        index => index + 1,
    }
}

/// How long one attempt at a configured device may take.
pub fn span(device: &Device) -> Duration {
    Duration::from_millis(u64::from(device.timeout_ms) + u64::from(device.delay_ms))
}

/// The longest that an attempt of an earlier leader may still take.
pub fn longest_attempt(config: &Config) -> Duration {
    config.devices.iter().map(span).max().unwrap_or(Duration::ZERO)
}

fn reaches(device: &Device, host: &Host) -> bool {
    let listed = device.executors.is_empty() || device.executors.contains(&host.id);
    listed && host.management.is_some() && !device.covers.contains(&host.id)
}

/// A device's name, for the log.
pub struct Named<'a>(pub &'a Config, pub u16);

impl core::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.1 {
            LOCAL_MONITOR => f.write_str(DEVICE_QMP),
            LOCAL_GUARD => f.write_str(DEVICE_GUARD),
            index => f.write_str(self.0.devices.get(usize::from(index)).map_or("?", |device| device.name.as_str())),
        }
    }
}
