//! Two locks in the state directory: one guard at a time, and proof that what earlier guards started is gone.
//!
//! Owns their order (SAFETY E4). The guard's lock comes first, so that a second guard, started by mistake, kills nothing
//! of the first. The VMs' lock is inherited by every process that a guard starts: the kernel keeps it until the last of
//! them has closed its files, so holding it again proves that all of them are gone.

use crate::host::names;
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a guard that is just ending may keep its lock.
const GUARD_WAIT: Duration = Duration::from_secs(3);

/// Takes the guard's lock in the current directory.
///
/// # Errors
/// A sentence for a person: another guard lives, or the file cannot be used.
pub fn guard() -> Result<File, String> {
    let mut file = open(names::GUARD_LOCK)?;
    let until = Instant::now() + GUARD_WAIT;
    while !take(&file)? {
        if Instant::now() >= until {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(format!(
                "another guard (process {}) holds this state directory; end it first, or give this host a `state` of its own",
                holder.trim()
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| format!("the state directory's `{}` cannot be written: {error}", names::GUARD_LOCK))?;
    Ok(file)
}

/// The VMs' lock, not yet taken.
///
/// # Errors
/// A sentence for a person.
pub fn vms() -> Result<File, String> {
    open(names::VM_LOCK)
}

/// Tries to take a lock.
///
/// # Errors
/// A sentence for a person; that another one holds it is none.
pub fn take(file: &File) -> Result<bool, String> {
    sys::try_lock(file.as_fd()).map_err(|error| format!("the state directory cannot hold locks: {error}"))
}

fn open(name: &str) -> Result<File, String> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(name);
    file.map_err(|error| format!("the state directory's `{name}` cannot be opened: {error}"))
}
