//! Takeover: who gets what a dead node owned.
//!
//! Owns the judgement (`assign`), the policies, what the leader was told (`reports`) and what an appliance's own nodes said
//! (`desk`). The rows are the state's. Must never name a second owner while the first may still act (SAFETY I1): only after
//! it failed, or is Confirmed.
//!
//! ```text
//!            there is a candidate                     TAKEN
//!  waiting ----------------------> ordered(token) ------------> taken: a recovery's row is over
//!     ^                               |   |                        |
//!     |            FAILED, then a pause   | takeover_ms silent     | the owner is Confirmed
//!     +-------------------------------'   v                        |
//!     |                          the owner is condemned            |
//!     `----------------- Confirmed -------'------------------------'
//! ```

pub mod assign;
pub mod desk;
pub mod policy;
pub mod reports;

#[cfg(test)]
mod tests;

pub use policy::Policy;

use crate::config::Config;
use crate::state::State;
use crate::state::takeovers::{Service, TakeoverRow};
use crate::wire::node::{Given, What};

/// What an owner is told of its row. `None`: the row is about something that is not there.
#[must_use]
pub fn given(config: &Config, view: &State, row: &TakeoverRow) -> Option<Given> {
    let what = match row.service {
        Service::Recovery(group) => {
            let volume = view.groups.get(group).volume;
            volume.is_some().then_some(What::Recovery(volume))?
        }
        Service::Named(place) => What::Named(crate::id::Label::named(&config.services.get(usize::from(place))?.name)),
    };
    Some(Given { what, dead: row.dead, incarnation: row.dead_incarnation, token: row.token })
}

/// The service of which an owner speaks.
#[must_use]
pub fn service_of(config: &Config, view: &State, what: What) -> Option<Service> {
    match what {
        What::Recovery(volume) => view.groups.of(volume).map(Service::Recovery),
        What::Named(name) => {
            let place = config.services.iter().position(|service| crate::id::Label::named(&service.name) == name)?;
            u8::try_from(place).ok().map(Service::Named)
        }
    }
}
