//! Scenes 2 to 4: one node dies, its own hypervisor proves it, every survivor is told, and it comes back.
//!
//! Owns the three ways to die.

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

fn end(stage: &Stage<'_>, victim: u8, deed: Duration, class: &str, expected: Duration) -> Result<Measures, String> {
    let mut measures = stage.collect(deed, &[victim], class, stage.bound(expected))?;
    stage.wait_return(&[victim], &mut measures)?;
    Ok(measures)
}
