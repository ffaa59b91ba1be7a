//! False kills: a device that switches off a host which is a member at that moment.
//!
//! Owns the judgement. Such a kill breaks no invariant (duplicates within the validity of an order after a leader change are
//! accepted, SAFETY F1), but it costs lives, so it is counted, and a story has a bound for it.

use crate::sim::{Host, Power};
use palisade_core::id::HostId;
use palisade_core::state::State;
use palisade_core::status::HostState;

/// Whether the newest committed view has no quarrel with the appliance that runs on this host.
pub fn is_false(view: Option<&State>, host: &Host, id: HostId) -> bool {
    let Some(row) = view.map(|view| view.host(id)) else { return false };
    let present = host.engine.as_ref().is_some_and(|engine| engine.incarnation() == row.incarnation);
    host.power == Power::On && present && row.state == HostState::Member
}
