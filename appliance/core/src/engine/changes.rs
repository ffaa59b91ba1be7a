//! Lines about committed changes of groups and takeovers.
//!
//! Owns their words, which people and the demo read. Decides nothing and tells no session anything.

use crate::config::Config;
use crate::id::{Label, NodeId};
use crate::state::State;
use crate::state::groups::{GroupRow, Phase, Standing};
use crate::state::takeovers::{Progress, Service, TakeoverRow};
use core::fmt;

/// Says what `new` changes.
pub(super) fn log(config: &Config, old: &State, new: &State) {
    for (group, row) in new.groups.iter() {
        let before = old.groups.of(row.volume).map_or(&GroupRow::NONE, |group| old.groups.get(group));
        if (row.phase, row.generation) == (before.phase, before.generation) {
            continue;
        }
        let (volume, generation) = (Plain(row.volume), row.generation);
        match row.phase {
            Phase::Stopping => log::info!("volume {volume} stops: barrier {generation} opens"),
            Phase::Starting => {
                let members = Members { view: new, group };
                log::info!("volume {volume} starts: barrier {generation} fixes {members}");
            }
            Phase::Idle => log::info!("volume {volume} runs: barrier {generation} closes"),
        }
    }
    for (_, row) in old.groups.iter().filter(|(_, row)| new.groups.of(row.volume).is_none()) {
        log::info!("volume {} is closed by all", Plain(row.volume));
    }
    for row in new.takeovers.rows() {
        let before = old.takeovers.get(row.service, row.dead);
        if before.is_some_and(|before| (before.token, before.progress) == (row.token, row.progress)) {
            continue;
        }
        let (what, token) = (Name { config, view: new, row }, row.token);
        match row.progress {
            Progress::Waiting => log::warn!("takeover of {what} waits for an owner"),
            Progress::Ordered => log::info!("takeover of {what} is given to {} with token {token}", row.owner),
            Progress::Taken => log::info!("takeover of {what} is done by {} with token {token}", row.owner),
        }
    }
    let is_over = |row: &&TakeoverRow| new.takeovers.get(row.service, row.dead).is_none();
    for row in old.takeovers.rows().iter().filter(is_over) {
        let what = Name { config, view: old, row };
        let is_dead = |group| new.groups.fate(group, row.dead).is_some_and(|fate| fate.standing == Standing::Dead);
        match row.service {
            Service::Recovery(group) if row.owner.is_some() && !is_dead(group) => {
                log::info!("takeover of {what} is done by {} with token {}", row.owner, row.token);
            }
            _ => log::info!("takeover of {what} is called off"),
        }
    }
}

/// The word for what became of a node.
const fn fate_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Dead => "dead",
        Standing::Recovered => "recovered",
        Standing::Left => "left",
        Standing::NeverStarted => "never started",
        Standing::Joining | Standing::Member | Standing::Leaving => "in it",
    }
}

/// A label as its name, if that is plain; else as a UUID.
struct Plain(Label);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        match self.0.name().filter(is_plain) {
            Some(name) if Label::named(name) == self.0 => f.write_str(name),
            _ => self.0.fmt(f),
        }
    }
}

/// Who is in a group's set, and the fates that are told.
struct Members<'v> {
    view: &'v State,
    group: u8,
}

impl fmt::Display for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("members")?;
        let rows = self.view.groups.members(self.group);
        for row in rows.iter().filter(|row| row.standing == Standing::Member) {
            write!(f, " {}", row.node.get())?;
        }
        for row in rows.iter().filter(|row| row.standing.is_over()) {
            write!(f, ", {} {}", row.node.get(), fate_word(row.standing))?;
        }
        Ok(())
    }
}

/// What is taken over.
struct Name<'v> {
    config: &'v Config,
    view: &'v State,
    row: &'v TakeoverRow,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row.service {
            Service::Recovery(group) => {
                write!(f, "the recovery of volume {}", Plain(self.view.groups.get(group).volume))?
            }
            Service::Named(place) => {
                let name = self.config.services.get(usize::from(place)).map(|service| Label::named(&service.name));
                write!(f, "service {}", Plain(name.unwrap_or_default()))?;
            }
        }
        match self.row.dead {
            NodeId::NONE => Ok(()),
            dead => write!(f, " of {dead}"),
        }
    }
}
