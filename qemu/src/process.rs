//! Processes: children that never outlive us, and what the kernel says about others.
//!
//! Owns `Child`, which ends its process when dropped, and the reading of /proc. Must never name a process by a guess: a
//! process belongs to a host when it carries that host's mark in its environment or descends from one that does.

use crate::sys::{self, Signal};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

/// The environment variable that marks all processes of one simulated host.
pub const MARK: &str = "PALISADE_SIMULATED_HOST";

/// A child process that dies with this value, and with the thread that started it.
#[derive(Debug)]
pub struct Child(std::process::Child);

impl Child {
    /// Starts it. The calling thread must live as long as the child should.
    ///
    /// # Errors
    /// The program is not there or cannot be run; the message names it.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        sys::bind_to_parent(command);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn();
        child.map(Self).map_err(|error| io::Error::new(error.kind(), format!("{name} could not be started: {error}")))
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it ended, and how.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits until it ends, but no longer than this.
    pub fn wait_for(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What /proc/PID/stat says about one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `T`, `Z`...
    pub state: char,
    /// Who started it, or adopted it.
    pub parent: u32,
    /// User and system time, in hundredths of a second.
    pub ticks: u64,
    /// When it began, in hundredths of a second since the machine booted.
    pub start: u64,
}

/// The facts about a process, if it is there.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name in brackets may hold anything; what follows the last bracket does not.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        start: number(19)?,
    })
}

/// How long a process has been there, to a hundredth of a second.
#[must_use]
pub fn age(pid: u32) -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let now: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let start = Duration::from_millis(stat(pid)?.start * 10);
    Some(Duration::from_secs_f64(now).saturating_sub(start))
}

/// Resident memory of a process, KiB.
#[must_use]
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// The command line of a process, its arguments joined by single spaces.
#[must_use]
pub fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let parts: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    Some(parts.join(" ").trim_end().to_owned())
}

fn alive() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn carries(pid: u32, mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()))
}

/// All living processes of the simulated host with this mark. A zombie holds nothing and is not counted.
#[must_use]
pub fn marked(mark: &str) -> BTreeSet<u32> {
    let all: Vec<(u32, Stat)> = alive().into_iter().filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let living: Vec<&(u32, Stat)> = all.iter().filter(|(_, stat)| stat.state != 'Z' && stat.state != 'X').collect();
    let mut found: BTreeSet<u32> = living.iter().filter(|(pid, _)| carries(*pid, mark)).map(|(pid, _)| *pid).collect();
    // Each round adds one generation of descendants; it ends when a round adds nobody.
    loop {
        let more: Vec<u32> = living
            .iter()
            .filter(|(pid, stat)| found.contains(&stat.parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// Ends every process with this mark and returns when the kernel shows none any more.
///
/// # Errors
/// Some are still there after five seconds, stuck in the kernel.
pub fn kill_marked(mark: &str) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let found = marked(mark);
        if found.is_empty() {
            return Ok(());
        }
        for pid in &found {
            sys::signal(*pid, Signal::Kill)?;
        }
        if Instant::now() > end {
            return Err(io::Error::other(format!("processes {found:?} do not die although they got SIGKILL")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_brackets_in_the_name_is_read() {
        let line = "17 (a) b (c)) S 1 17 17 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(parse_stat(line), Some(Stat { state: 'S', parent: 1, ticks: 300, start: 100 }));
        assert_eq!(parse_stat("17 (a"), None);
    }

    #[test]
    fn marked_processes_are_found_with_their_children_and_killed_when_stopped() {
        let mark = format!("test-{}", std::process::id());
        let mut command = Command::new("sh");
        command.args(["-c", "env -i sleep 60 & sleep 61"]).env(MARK, &mark);
        let child = Child::spawn(&mut command).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while marked(&mark).len() < 3 {
            assert!(Instant::now() < end, "the shell and its two children should be found");
            std::thread::sleep(Duration::from_millis(5));
        }
        sys::signal(child.pid(), Signal::Stop).unwrap();
        kill_marked(&mark).unwrap();
        assert!(marked(&mark).is_empty());
    }
}
