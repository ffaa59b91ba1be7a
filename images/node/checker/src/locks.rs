//! Locks on a file, the two kinds that programs use.
//!
//! Owns their taking and giving back, and the time that takes. Must never go on without the lock that was asked for.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sys;

/// The kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// flock(2): belongs to the open file.
    Flock,
    /// fcntl(2), a record lock: belongs to the process.
    Posix,
}

/// Which bytes a record lock is about, the last one included; flock(2) knows only whole files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// The first one.
    pub first: u32,
    /// The last one; `None`: all that come.
    pub last: Option<u32>,
}

impl Bytes {
    /// The whole file.
    pub const ALL: Self = Self { first: 0, last: None };
}

/// Waits for the lock and takes it.
///
/// # Errors
/// The kernel's refusal.
pub fn take(file: &File, mode: Mode, bytes: Bytes) -> io::Result<()> {
    match mode {
        Mode::Flock => file.lock(),
        Mode::Posix => sys::posix_lock(file, bytes, true).map(drop),
    }
}

/// Gives it back.
///
/// # Errors
/// The kernel's refusal.
pub fn give_back(file: &File, mode: Mode, bytes: Bytes) -> io::Result<()> {
    match mode {
        Mode::Flock => file.unlock(),
        Mode::Posix => sys::posix_unlock(file, bytes),
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
pub fn hold(path: &Path, mode: Mode, bytes: Bytes, time: Duration) -> Result<(), String> {
    let file = open(path)?;
    take(&file, mode, bytes).map_err(|error| format!("cannot lock {}: {error}", path.display()))?;
    sys::tell("LOCKED");
    std::thread::sleep(time);
    give_back(&file, mode, bytes).map_err(|error| format!("cannot unlock {}: {error}", path.display()))
}

/// Says whether a lock can be had at once.
///
/// # Errors
/// A sentence: the kernel refuses for another reason than another holder.
pub fn attempt(path: &Path, mode: Mode, bytes: Bytes) -> Result<(), String> {
    let file = open(path)?;
    let refused = |error: io::Error| format!("cannot lock {}: {error}", path.display());
    let has = match mode {
        Mode::Flock => match file.try_lock() {
            Ok(()) => true,
            Err(std::fs::TryLockError::WouldBlock) => false,
            Err(std::fs::TryLockError::Error(error)) => return Err(refused(error)),
        },
        Mode::Posix => sys::posix_lock(&file, bytes, false).map_err(refused)?,
    };
    println!("{}", if has { "FREE" } else { "TAKEN" });
    Ok(())
}

/// Says who stands against a record lock for writing.
///
/// # Errors
/// A sentence.
pub fn find(path: &Path, bytes: Bytes) -> Result<(), String> {
    let file = open(path)?;
    let found = sys::posix_find(&file, bytes).map_err(|error| format!("cannot ask for {}: {error}", path.display()))?;
    match found {
        None => println!("FREE"),
        Some((pid, first, last)) => println!("HELD pid={pid} first={first} last={last}"),
    }
    Ok(())
}

/// Takes a lock that nobody else wants and gives it back, so many times, and says how long that took.
///
/// # Errors
/// A sentence.
pub fn time(path: &Path, mode: Mode, bytes: Bytes, count: u32) -> Result<(), String> {
    let file = open(path)?;
    let failed = |error: io::Error| format!("cannot lock {}: {error}", path.display());
    let (mut takes, mut gives) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let begun = Instant::now();
        take(&file, mode, bytes).map_err(failed)?;
        let taken = Instant::now();
        give_back(&file, mode, bytes).map_err(failed)?;
        gives.push(taken.elapsed().as_micros());
        takes.push((taken - begun).as_micros());
    }
    takes.sort_unstable();
    gives.sort_unstable();
    let at = |times: &[u128], percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
    println!(
        "TIMES lock_p50_us={} lock_p99_us={} unlock_p50_us={} unlock_p99_us={}",
        at(&takes, 50),
        at(&takes, 99),
        at(&gives, 50),
        at(&gives, 99)
    );
    Ok(())
}
