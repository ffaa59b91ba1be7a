//! The same death twice: with Palisade, and with the kernel's classic o2cb at its defaults.
//!
//! Owns two nodes without any appliance, for o2cb, and the ratio. Must never help either side: the same kernel, the same
//! disk, the same writers, one after the other on one machine.

use crate::cluster::Cluster;
use crate::event::{Event, Kind, Who};
use crate::journal::Journal;
use crate::observe::Observer;
use crate::plan::{self, Artefacts, Plan};
use crate::process::Child;
use crate::rundir::RunDir;
use crate::show;
use crate::sys::{self, Signal};
use crate::volume::{Members, Volume};
use crate::work;
use palisade_guard::host::Accelerator;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How long two nodes may take to boot, mount and write.
const WRITING: Duration = Duration::from_secs(180);
/// How long a survivor of o2cb may wait: twice what its defaults say.
const O2CB_MAX: Duration = Duration::from_secs(150);
/// Nodes write for so long before one dies.
const CALM: usize = 40;
/// Ours is at most this part of theirs.
const PART: u32 = 100;
/// A node with o2cb: as much memory as one with Palisade.
const NODE_MIB: &str = "192";

/// Both times, from the SIGKILL to the return of the survivor's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// With Palisade.
    pub ours: Duration,
    /// With o2cb.
    pub theirs: Duration,
}

impl Ratio {
    /// Whether ours is at most a hundredth of theirs.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.ours * PART <= self.theirs
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = self.theirs.as_secs_f64() / self.ours.as_secs_f64().max(0.000_001);
        let (ours, theirs) = (self.ours.as_millis(), self.theirs.as_millis());
        write!(f, "Palisade {ours} ms, o2cb {theirs} ms: 1/{times:.0}")?;
        f.write_str(if self.holds() { " (at most 1/100 is demanded)" } else { ", and 1/100 is demanded" })
    }
}

/// The time with Palisade: two nodes of one host.
///
/// # Errors
/// A sentence: something does not come up, or the account does not settle.
pub fn palisade(with: &Artefacts) -> Result<Duration, String> {
    let plan = Plan::one_host("compare", 2).with_volume(20);
    let cluster = Cluster::build(plan, with, Arc::new(Journal::new(false)));
    let cluster = cluster.map_err(|error| format!("the cluster cannot be built: {error}"))?;
    let cluster = show::come_up(cluster)?;
    let journal = cluster.journal();
    cluster.wait_writes(journal.place(), &[1, 2], CALM, WRITING)?;
    let pid = cluster.host(1)?.node_pid(2).ok_or("node 2's QEMU was not found among host 1's processes")?;
    let place = journal.place();
    let deed = journal.inject("node 2's QEMU gets SIGKILL");
    sys::signal(pid, Signal::Kill).map_err(|error| error.to_string())?;
    let start = journal.wait(place, WRITING, "GROUP_START on node 1", |event| {
        event.who == Who::Node(1) && event.kind == Kind::GroupStart
    })?;
    let time = work::goes_on(journal, 1, deed, start.at, WRITING)?;
    // Node 2 is back by itself; the account is for both.
    cluster.wait_writes(journal.place(), &[1, 2], CALM, WRITING)?;
    cluster.settle(&[1, 2])?;
    Ok(time)
}

/// The time with o2cb.
///
/// # Errors
/// A sentence: a node does not come up or does not write, or the survivor never goes on.
pub fn o2cb(with: &Artefacts) -> Result<Duration, String> {
    let run = RunDir::new("o2cb").map_err(|error| error.to_string())?;
    let dir = run.path();
    let volume = Volume::make(&dir.join("volume.img"), Members::O2cb)?;
    let journal = Arc::new(Journal::new(false));
    let files = |node: u8| ["serial", "work"].map(|end| (dir.join(format!("n{node}.{end}")), Who::Node(node)));
    let files = [files(1), files(2)].concat();
    let _observer = Observer::start(Arc::clone(&journal), files).map_err(|error| error.to_string())?;
    let heartbeat = volume.heartbeat_sector()?;
    let start = |node, other| {
        let mut command = o2cb_node(node, other, dir, heartbeat, with);
        Child::spawn(&mut command).map_err(|error| error.to_string())
    };
    let (survivor, victim) = (start(1, 2)?, start(2, 1)?);
    for node in [1, 2] {
        wait_count(&journal, node, CALM)?;
    }
    let deed = journal.inject("node 2's QEMU gets SIGKILL");
    drop(victim);
    // Whatever returned in the same moment did not have to wait: the gap is what counts, and it ends once.
    let end = deed + O2CB_MAX;
    while journal.now() < end {
        crate::stop::sleep(Duration::from_millis(500))?;
        if let Some((before, after)) = work::longest_gap(&journal, 1, deed)
            && after.saturating_sub(before) > Duration::from_secs(5)
        {
            drop(survivor);
            return Ok(after.saturating_sub(deed));
        }
    }
    Err(format!("with o2cb no write of node 1 was held up and returned; its console is in {}", run.real().display()))
}

fn wait_count(journal: &Journal, node: u8, count: usize) -> Result<(), String> {
    let mut from = 0;
    let by = |event: &Event| event.kind == Kind::Written && event.who == Who::Node(node);
    for _ in 0..count {
        journal.wait(from, WRITING, &format!("{count} writes of node {node} with o2cb"), by)?;
        from += journal.since(from).iter().position(by).unwrap_or(0) + 1;
    }
    Ok(())
}

fn o2cb_node(node: u8, other: u8, dir: &Path, heartbeat: u64, with: &Artefacts) -> Command {
    let at = |name: String| dir.join(name).display().to_string();
    let (cpu, accelerator) = match with.accelerator {
        Accelerator::Tcg => ("max", "tcg,tb-size=64"),
        Accelerator::Kvm => ("host", "kvm"),
    };
    // With room for a second processor, as the guard's VMs: else the emulator leaves barriers out.
    let processors = if with.accelerator == Accelerator::Tcg { "cpus=1,maxcpus=2" } else { "1" };
    let words = format!(
        "{} palisade.node={node} palisade.stack=o2cb palisade.dlm={} palisade.nodes=1,2 \
         palisade.heartbeat={},{heartbeat} palisade.work=20",
        plan::KERNEL_WORDS,
        plan::dlm_ip(node),
        plan::VOLUME.to_uppercase()
    );
    let wire = |node: u8| at(format!("n{node}.sock"));
    let disk = at("volume.img".to_owned());
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-name", &format!("o2cb-node-{node}"), "-machine", "pc", "-cpu", cpu, "-accel", accelerator])
        .args(["-m", NODE_MIB, "-smp", processors, "-nodefaults", "-no-user-config", "-display", "none"])
        .arg("-kernel")
        .arg(&with.kernel)
        .arg("-initrd")
        .arg(&with.initrd)
        .args(["-append", &words])
        .args(["-serial", &format!("file:{}", at(format!("n{node}.serial")))])
        .args(["-serial", &format!("file:{}", at(format!("n{node}.work")))])
        .args([
            "-netdev",
            &format!(
                "dgram,id=n,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                wire(node),
                wire(other)
            ),
        ])
        .args(["-device", &format!("virtio-net-pci,netdev=n,mac=52:54:00:03:00:{node:02x},romfile=")])
        .args([
            "-blockdev",
            &format!(
                "driver=file,filename={disk},aio=threads,locking=off,cache.direct=on,cache.no-flush=off,node-name=f"
            ),
        ])
        .args(["-blockdev", "driver=raw,file=f,node-name=d,cache.direct=on,cache.no-flush=off"])
        .args(["-device", "virtio-blk-pci,drive=d,write-cache=on,share-rw=on"])
        .stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundredth_holds_and_more_does_not() {
        let ratio = |ours, theirs| Ratio { ours: Duration::from_millis(ours), theirs: Duration::from_millis(theirs) };
        assert!(ratio(600, 60_000).holds());
        assert!(!ratio(601, 60_000).holds());
        assert!(ratio(60, 60_000).to_string().contains("1/1000"));
    }
}
