//! What nodes do with their volume, and the account of it: mount, write, and what became of each acknowledged write.
//!
//! Owns the words that go through a node's door. A write counts as acknowledged when the node's line about it is out of the
//! node, which is later than it could be: what is lost of a line only makes the account smaller, never wrong.

use crate::cluster::Cluster;
use crate::door;
use crate::event::{Event, Kind, Who};
use crate::journal::{Journal, Place};
use palisade_checker::ledger::{self, Account, Acknowledged};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a node may take to mount or unmount, on a busy machine under emulation.
pub const MOUNT: Duration = Duration::from_secs(60);
/// How long for anything else.
const SOON: Duration = Duration::from_secs(30);
/// Where nodes mount.
const PLACE: &str = "/mnt";

/// All that was acknowledged of the common log.
#[must_use]
pub fn acknowledged(journal: &Journal) -> Vec<Acknowledged> {
    let is_record = |event: &Event| event.kind == Kind::Written && event.text.starts_with("WRITTEN ");
    journal.since(0).iter().filter(|event| is_record(event)).filter_map(read).collect()
}

fn read(event: &Event) -> Option<Acknowledged> {
    Some(Acknowledged {
        number: event.value("number")?.parse().ok()?,
        node: event.value("node")?.parse().ok()?,
        boot: u32::from_str_radix(event.value("boot")?, 16).ok()?,
        count: event.value("count")?.parse().ok()?,
    })
}

/// The names of all files that were acknowledged.
#[must_use]
pub fn created(journal: &Journal) -> Vec<String> {
    let names = journal.since(0).into_iter().filter(|event| event.text.starts_with("CREATED "));
    names.filter_map(|event| event.value("name").map(str::to_owned)).collect()
}

/// How long a survivor's write was held up by a death: the first write that returned at or after `from`, as time since the
/// deed.
///
/// # Errors
/// A sentence: it does not write.
pub fn goes_on(
    journal: &Journal,
    node: u8,
    deed: Duration,
    from: Duration,
    limit: Duration,
) -> Result<Duration, String> {
    let what = format!("a write of node {node} that returns");
    let fits = |event: &Event| event.kind == Kind::Written && event.who == Who::Node(node) && event.at >= from;
    journal.wait(0, limit, &what, fits).map(|event| event.at.saturating_sub(deed))
}

/// The writes of a node around the longest time in which it finished none, from a moment on: when the one before returned,
/// and when the next.
#[must_use]
pub fn longest_gap(journal: &Journal, node: u8, from: Duration) -> Option<(Duration, Duration)> {
    let of = |event: &Event| event.kind == Kind::Written && event.who == Who::Node(node);
    let times: Vec<Duration> = journal.since(0).iter().filter(|event| of(event)).map(|event| event.at).collect();
    let pairs = times.iter().zip(times.iter().skip(1)).filter(|(_, next)| **next >= from);
    pairs.map(|(one, next)| (*one, *next)).max_by_key(|(one, next)| next.saturating_sub(*one))
}

impl Cluster {
    /// Runs a line in a node's shell; what it printed. An exit status other than zero is an error.
    ///
    /// # Errors
    /// A sentence with what the node said.
    pub fn shell(&self, node: u8, line: &str, limit: Duration) -> Result<String, String> {
        let answer = self.answer(node, line, limit)?;
        match answer.trim_end().rsplit_once("EXIT ") {
            Some((said, "0")) => Ok(said.to_owned()),
            _ => Err(format!("node {node} did not carry out `{line}`: `{}`", door::end_of(&answer))),
        }
    }

    /// Mounts the volume on a node.
    ///
    /// # Errors
    /// A sentence: it does not mount.
    pub fn mount(&self, node: u8) -> Result<(), String> {
        self.shell(node, "volume mount", MOUNT).map(drop)
    }

    /// Ends a node's writers and unmounts.
    ///
    /// # Errors
    /// A sentence: it does not unmount.
    pub fn unmount(&self, node: u8) -> Result<(), String> {
        self.shell(node, "volume umount", MOUNT).map(drop)
    }

    /// Begins to append on a node; `how`: more arguments of the checker.
    ///
    /// # Errors
    /// A sentence: the node cannot be told.
    pub fn write_on(&self, node: u8, how: &str) -> Result<(), String> {
        self.shell(node, &format!("volume work {how}"), SOON).map(drop)
    }

    /// Waits until each of these nodes has had so many writes acknowledged from a place on.
    ///
    /// # Errors
    /// A sentence: one does not write.
    pub fn wait_writes(&self, place: Place, nodes: &[u8], count: usize, limit: Duration) -> Result<(), String> {
        let journal = self.journal();
        let end = journal.now() + limit;
        for node in nodes {
            let by = |event: &Event| event.kind == Kind::Written && event.who == Who::Node(*node);
            let mut from = place;
            for done in 0..count {
                let left = end.saturating_sub(journal.now());
                let what = format!("write {} of {count} of node {node}", done + 1);
                journal.wait(from, left, &what, by)?;
                let next = journal.since(from).iter().position(by).unwrap_or(0);
                from += next + 1;
            }
        }
        Ok(())
    }

    /// The account of the common log and of the files, as a node sees them now. The writers have to be idle.
    ///
    /// # Errors
    /// A sentence: something that was acknowledged is not there, or the log is broken.
    pub fn settle_on(&self, node: u8) -> Result<Account, String> {
        let told = acknowledged(self.journal());
        let log = self.shell(node, &format!("cat {PLACE}/log"), SOON)?;
        let account =
            ledger::settle(log.as_bytes(), &told).map_err(|error| format!("seen from node {node}: {error}"))?;
        let wanted = created(self.journal());
        if !wanted.is_empty() {
            let there = self.files_on(node)?;
            if let Some(lost) = wanted.iter().find(|name| !there.contains(*name)) {
                return Err(format!("seen from node {node}: the file {lost}, which was acknowledged, is not there"));
            }
        }
        Ok(account)
    }

    /// The names of all files that a node finds whole in the directories of the makers of files.
    ///
    /// # Errors
    /// A sentence: it cannot read them.
    pub fn files_on(&self, node: u8) -> Result<BTreeSet<String>, String> {
        let list = format!("for d in {PLACE}/files*; do palisade-checker list --dir $d || exit 1; done");
        Ok(self.shell(node, &list, MOUNT)?.lines().map(str::to_owned).collect())
    }

    /// Ends all: idles and unmounts these nodes, and holds the disk itself against what was acknowledged.
    ///
    /// # Errors
    /// A sentence: a node does not unmount, the volume is not clean, or something is lost.
    pub fn settle(&self, mounted: &[u8]) -> Result<Account, String> {
        for node in mounted {
            self.shell(*node, "volume idle", SOON)?;
        }
        for node in mounted {
            self.settle_on(*node)?;
        }
        for node in mounted {
            self.unmount(*node)?;
        }
        let volume = self.volume().ok_or("this cluster has no volume")?;
        volume.clean()?;
        let account = ledger::settle(&volume.file("/log")?, &acknowledged(self.journal()))?;
        self.journal().note(&format!(
            "the volume is clean; {} records, {} of them acknowledged, the lock went round {} times; {} files",
            account.records,
            account.acknowledged,
            account.changes,
            created(self.journal()).len()
        ));
        Ok(account)
    }
}
