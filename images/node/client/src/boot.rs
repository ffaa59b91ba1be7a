//! What belongs to this boot of the node: its incarnation, the end of its lease, whether it holds anything, and the way to
//! end it.
//!
//! Owns the files in /run, which lie in memory and go with the boot, and the reset. Must never keep anything longer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use palisade_core::id::{Incarnation, WHOEVER};
use palisade_core::time::Instant;

use crate::sys;

const INCARNATION: &str = "/run/palisade-incarnation";
const LEASE: &str = "/run/palisade-lease";
const HELD: &str = "/run/palisade-held";
const SYSRQ: &str = "/proc/sysrq-trigger";

/// The value of `key=value` on the kernel's command line.
#[must_use]
pub fn kernel_option(key: &str) -> Option<String> {
    option_in(&fs::read_to_string("/proc/cmdline").unwrap_or_default(), key)
}

fn option_in(line: &str, key: &str) -> Option<String> {
    line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

/// A random number that is not zero.
///
/// # Errors
/// If there is no /dev/urandom.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

/// The incarnation of this boot: random when first asked for, the same for a client that is started again.
///
/// # Errors
/// If it cannot be kept: a client that came back under another number would condemn its own boot.
pub fn incarnation() -> io::Result<Incarnation> {
    if let Some(known) = read_number(Path::new(INCARNATION)) {
        return Ok(known);
    }
    let fresh = random()?.max(WHOEVER + 1);
    fs::create_dir_all("/run")?;
    let mut file = File::create(INCARNATION)?;
    file.write_all(&fresh.to_le_bytes())?;
    Ok(fresh)
}

fn read_number(path: &Path) -> Option<u64> {
    let bytes: [u8; 8] = fs::read(path).ok()?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes)).filter(|&number| number != 0)
}

/// Where the lease's end is kept for a client that is started again within this boot.
#[derive(Debug)]
pub struct LeaseFile(File);

impl LeaseFile {
    /// Opens it; tells the end that an earlier client left.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open() -> io::Result<(Self, Option<Instant>)> {
        let end = read_number(Path::new(LEASE)).map(Instant::from_micros);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(LEASE)?;
        Ok((Self(file), end))
    }

    /// Keeps the end.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, end: Instant) -> io::Result<()> {
        self.0.write_all_at(&end.as_micros().to_le_bytes(), 0)
    }
}

/// Whether an earlier client of this boot held volumes or services when it ended.
#[must_use]
pub fn held() -> bool {
    Path::new(HELD).exists()
}

/// Keeps whether this boot holds any.
///
/// # Errors
/// If it cannot be kept.
pub fn keep_held(held: bool) -> io::Result<()> {
    match (held, fs::remove_file(HELD)) {
        (true, _) => File::create(HELD).map(drop),
        (false, Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        (false, _) => Ok(()),
    }
}

/// The open door to the kernel's emergency actions: opened early, so that nothing is needed when it is used.
#[derive(Debug)]
pub struct Trigger(File);

impl Trigger {
    /// Opens the door.
    ///
    /// # Errors
    /// If there is no /proc, or this is not root.
    pub fn open() -> io::Result<Self> {
        OpenOptions::new().write(true).open(SYSRQ).map(Self)
    }

    /// Resets the machine at once: no sync, no drivers' shutdown, nothing that could wait.
    pub fn reset(&self) -> ! {
        loop {
            let _refused = self.act(b"b");
            sys::reboot();
        }
    }

    /// Makes the kernel panic.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn panic(&self) -> io::Result<()> {
        self.act(b"c")
    }

    fn act(&self, key: &[u8]) -> io::Result<()> {
        (&self.0).write_all(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_options_are_whole_words() {
        let line = "console=ttyS0 xpalisade.node=3 palisade.node=2 palisade.appliance_cid=104\n";
        assert_eq!(option_in(line, "palisade.node").as_deref(), Some("2"));
        assert_eq!(option_in(line, "palisade.appliance_cid").as_deref(), Some("104"));
        assert_eq!(option_in(line, "palisade"), None);
    }
}
