//! Locks on a file, the two kinds that programs use.
//!
//! Owns their taking and giving back. Must never go on without the lock that was asked for.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::sys;

/// The kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// flock(2): belongs to the open file.
    Flock,
    /// fcntl(2), a record lock over the whole file: belongs to the process.
    Posix,
}

/// Waits for the lock and takes it.
///
/// # Errors
/// The kernel's refusal.
pub fn take(file: &File, mode: Mode) -> io::Result<()> {
    match mode {
        Mode::Flock => file.lock(),
        Mode::Posix => sys::posix_lock(file, true).map(drop),
    }
}

/// Gives it back.
///
/// # Errors
/// The kernel's refusal.
pub fn give_back(file: &File, mode: Mode) -> io::Result<()> {
    match mode {
        Mode::Flock => file.unlock(),
        Mode::Posix => sys::posix_unlock(file),
    }
}

/// Opens a file to lock it; makes it if it is not there.
///
/// # Errors
/// A sentence.
pub fn open(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(|error| format!("cannot open {}: {error}", path.display()))
}

/// Holds a lock for so long.
///
/// # Errors
/// A sentence.
pub fn hold(path: &Path, mode: Mode, time: Duration) -> Result<(), String> {
    let file = open(path)?;
    take(&file, mode).map_err(|error| format!("cannot lock {}: {error}", path.display()))?;
    sys::tell("LOCKED");
    std::thread::sleep(time);
    give_back(&file, mode).map_err(|error| format!("cannot unlock {}: {error}", path.display()))
}

/// Says whether a lock can be had at once.
///
/// # Errors
/// A sentence: the kernel refuses for another reason than another holder.
pub fn attempt(path: &Path, mode: Mode) -> Result<(), String> {
    let file = open(path)?;
    let refused = |error: io::Error| format!("cannot lock {}: {error}", path.display());
    let has = match mode {
        Mode::Flock => match file.try_lock() {
            Ok(()) => true,
            Err(std::fs::TryLockError::WouldBlock) => false,
            Err(std::fs::TryLockError::Error(error)) => return Err(refused(error)),
        },
        Mode::Posix => sys::posix_lock(&file, false).map_err(refused)?,
    };
    println!("{}", if has { "FREE" } else { "TAKEN" });
    Ok(())
}
