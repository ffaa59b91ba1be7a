//! What makes memory short, and an ordinary process that then wants some.
//!
//! Owns the memory that it holds. Must never be what the kernel ends to get memory back, so that the shortage lasts.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sys;

/// Taken at a time.
const STEP_KIB: usize = 256;
/// How often it says what it holds: after so many steps.
const TELL: usize = 8;
/// Room for the list of all that is taken: it must not grow while memory is short.
const STEPS_MAX: usize = 8192;

/// Looks at files, so that the kernel keeps their inodes, and with them their cluster locks.
///
/// # Errors
/// A sentence: the folder cannot be read.
pub fn look(dir: &Path) -> Result<(), String> {
    let error = |error: std::io::Error| format!("cannot look through {}: {error}", dir.display());
    let mut count = 0;
    for entry in fs::read_dir(dir).map_err(error)? {
        entry.and_then(|entry| entry.metadata()).map_err(error)?;
        count += 1;
    }
    sys::tell(&format!("LOOKED files={count}"));
    Ok(())
}

/// Makes so many empty files and looks at each.
///
/// # Errors
/// A sentence: one cannot be made.
pub fn many(dir: &Path, count: u32) -> Result<(), String> {
    let error = |error: std::io::Error| format!("cannot make files in {}: {error}", dir.display());
    fs::create_dir_all(dir).map_err(error)?;
    for number in 0..count {
        fs::File::create(dir.join(number.to_string())).map_err(error)?;
    }
    look(dir)
}

/// Begins after a while, takes memory until only `leave_kib` are free, says so, and goes on taking `grow_kib` after each
/// pause, for ever.
///
/// # Errors
/// A sentence: the kernel does not say how much is free.
pub fn hog(leave_kib: usize, grow_kib: usize, pause: Duration, after: Duration) -> Result<(), String> {
    fs::write("/proc/self/oom_score_adj", "-1000").map_err(|error| format!("cannot be spared: {error}"))?;
    let mut held = Vec::with_capacity(STEPS_MAX);
    std::thread::sleep(after);
    while free_kib()? > leave_kib + STEP_KIB {
        held.push(take(STEP_KIB));
    }
    sys::tell(&format!("HELD kib={} free_kib={}", held.len() * STEP_KIB, free_kib()?));
    for count in 1_usize.. {
        std::thread::sleep(pause);
        held.push(take(grow_kib));
        if count % TELL == 0 {
            sys::tell(&format!("HOLDS more_kib={} free_kib={}", count * grow_kib, free_kib()?));
        }
    }
    Ok(())
}

/// Memory with something in every page: a page of zeros takes none.
fn take(kib: usize) -> Vec<u8> {
    vec![0xa5; kib * 1024]
}

fn free_kib() -> Result<usize, String> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|error| format!("cannot read /proc/meminfo: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| "/proc/meminfo does not say what is free".to_owned())
}

/// Starts the smallest program there is, again and again, and says how long each took.
///
/// # Errors
/// A sentence: it cannot be started.
pub fn forks(pause: Duration) -> Result<(), String> {
    for count in 1_u64.. {
        let start = Instant::now();
        let status = Command::new("/bin/busybox").arg("true").stdin(Stdio::null()).status();
        status.map_err(|error| format!("cannot start a process: {error}"))?;
        sys::tell(&format!("FORKED count={count} took_us={}", start.elapsed().as_micros()));
        std::thread::sleep(pause);
    }
    Ok(())
}
