//! Scenes 2 to 4 and 11: nodes die, its own hypervisor proves it, every survivor is told, and it comes back.
//!
//! Owns the ways to die.

use super::{DEATH, Measures, Stage};
use crate::sys::{self, Signal};
use std::time::Duration;

/// Scene 2: a guest panic. pvpanic stops the VM; it is reset and so confirmed `vm-stopped`.
pub fn panic(stage: &Stage<'_>) -> Result<Measures, String> {
    let deed = stage.cluster.journal().inject("node 2 is told to panic");
    stage.cluster.command(2, "panic")?;
    end(stage, 2, deed, "vm-stopped", DEATH)
}

/// Scene 3: the VM's process gets SIGKILL. Its guard knows from the kernel that it is gone.
pub fn killed(stage: &Stage<'_>) -> Result<Measures, String> {
    let pid = stage.cluster.host(3)?.node_pid(3).ok_or("node 3's QEMU was not found among host 3's processes")?;
    let deed = stage.cluster.journal().inject("node 3's QEMU gets SIGKILL");
    sys::signal(pid, Signal::Kill).map_err(|error| error.to_string())?;
    end(stage, 3, deed, "vm-gone", DEATH)
}

/// Scene 4: no interrupt is taken any more. Nothing but the missing beats tells it.
pub fn hang(stage: &Stage<'_>) -> Result<Measures, String> {
    let silence = Duration::from_millis(u64::from(stage.timing().node_dead_ms));
    let deed = stage.cluster.journal().inject("node 1 is told to hang with interrupts off");
    stage.cluster.command(1, "hang")?;
    // The bound scales what is expected; the silence is scaled already.
    end(stage, 1, deed, "vm-stopped", silence / stage.scale() + DEATH)
}

/// Scene 11: two of the three nodes go within a millisecond. The last one is told of both.
pub fn two_killed(stage: &Stage<'_>) -> Result<Measures, String> {
    let lost = [2, 3];
    let find = |node| {
        let pid = stage.cluster.host(node)?.node_pid(node);
        pid.ok_or_else(|| format!("node {node}'s QEMU was not found among host {node}'s processes"))
    };
    let pids = lost.into_iter().map(find).collect::<Result<Vec<_>, String>>()?;
    let deed = stage.cluster.journal().inject("the QEMUs of nodes 2 and 3 get SIGKILL");
    for pid in pids {
        sys::signal(pid, Signal::Kill).map_err(|error| error.to_string())?;
    }
    let mut measures = stage.collect(deed, &lost, "vm-gone", stage.bound(DEATH * 2))?;
    stage.wait_return(&lost, &mut measures)?;
    Ok(measures)
}

fn end(stage: &Stage<'_>, victim: u8, deed: Duration, class: &str, expected: Duration) -> Result<Measures, String> {
    let mut measures = stage.collect(deed, &[victim], class, stage.bound(expected))?;
    stage.wait_return(&[victim], &mut measures)?;
    Ok(measures)
}
