//! S2: nobody is told that an incarnation is down while it can write, in truth; nor does a committed view say so.
//!
//! Owns the comparison of what is claimed with what the world knows: memory that may run, now or later, and I/O that a host
//! still holds. Also: a host that a view calls down was off, or nothing of it can write.

use super::Facts;
use crate::sim::Micros;
use palisade_core::id::HostId;
use std::collections::{BTreeMap, BTreeSet};

/// A view calls this incarnation down.
pub fn confirmed(facts: &Facts<'_>, node: u8, incarnation: u64) {
    assert!(
        !facts.can_write(node, incarnation),
        "S2: a view committed at {} us calls node {node} ({incarnation:x}) down, and it can write",
        facts.now
    );
}

/// A node was told so.
pub fn told(facts: &Facts<'_>, who: u8, (node, incarnation): (u8, u64)) {
    assert!(
        !facts.can_write(node, incarnation),
        "S2: node {who} was told at {} us that node {node} ({incarnation:x}) is down, and it can write",
        facts.now
    );
}

/// A view calls a host down that was condemned at `since`.
pub fn host_down(
    facts: &Facts<'_>,
    confirmed: &BTreeMap<(u8, u64), Micros>,
    lied: &BTreeSet<(u8, u64)>,
    host: HostId,
    since: Micros,
) {
    let was_off = facts.hosts[&host.get()].off_at.is_some_and(|off| off >= since);
    if was_off {
        return;
    }
    let may = |key: &&(u8, u64)| facts.can_write(key.0, key.1) && !lied.contains(key);
    let writer = confirmed.keys().filter(may).find(|(node, _)| facts.guests[node].host == host.get());
    assert!(writer.is_none(), "S2: {host} is called down at {} us, and {writer:?} can write", facts.now);
}
