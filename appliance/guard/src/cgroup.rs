//! The cgroup (version 2) of the processes that the guard started.
//!
//! Owns finding, making, killing and emptying it. It is not the guard's own: killing it must never end the guard. Its
//! name holds the host's number and its state directory, so that two hosts on one machine (tests) never share one.
//! A host without cgroup2 still has the lock and PR_SET_PDEATHSIG (SAFETY E4); the guard then says so.

use crate::host::names;
use crate::{say, sys};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// A cgroup that processes can be born in.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    directory: File,
}

impl Group {
    /// Makes the group below the guard's own place, and writes its path into the state directory for the next guard.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn make(host: u8, state: &Path) -> Result<Self, String> {
        let path = own_path(host, state)?;
        let failed = |error| format!("{}: {error}", path.display());
        if !path.is_dir() {
            std::fs::create_dir(&path).map_err(failed)?;
        }
        let directory = File::open(&path).map_err(failed)?;
        std::fs::write(names::CGROUP, path.as_os_str().as_encoded_bytes()).map_err(failed)?;
        Ok(Self { path, directory })
    }

    /// The groups in which an earlier guard of this host and state directory may have left processes: the one that it
    /// has written down, and the one that this guard would make (somebody may have emptied the state directory).
    #[must_use]
    pub fn earlier(host: u8, state: &Path) -> Vec<Self> {
        let written = std::fs::read_to_string(names::CGROUP).ok().map(PathBuf::from);
        let mut paths: Vec<PathBuf> = written.into_iter().chain(own_path(host, state)).collect();
        paths.dedup();
        let exists = |path: PathBuf| {
            // Only ever a group of our making: what is killed here is killed whole.
            let ours = path.file_name()? == name(host, state).as_str() && path.join("cgroup.procs").is_file();
            let directory = File::open(&path).ok()?;
            ours.then_some(Self { path, directory })
        };
        paths.into_iter().filter_map(exists).collect()
    }

    /// Kills every process in it.
    pub fn kill(&self) {
        if std::fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        // Before Linux 5.14: one by one. A process that forks meanwhile is found by the next call.
        for pid in std::fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default().lines() {
            if let Ok(Err(error)) = pid.parse().map(sys::kill_pid) {
                say!("cgroup: process {pid} cannot be killed: {error}");
            }
        }
    }

    /// Whether no process is in it. What cannot be read is not called empty, unless the group itself is gone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match std::fs::read_to_string(self.path.join("cgroup.events")) {
            Ok(events) => events.lines().any(|line| line == "populated 0"),
            Err(_) => !self.path.exists(),
        }
    }

    /// Takes the empty group away.
    pub fn remove(&self) {
        if std::fs::remove_dir(&self.path).is_ok() {
            let _ = std::fs::remove_file(names::CGROUP);
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn own_path(host: u8, state: &Path) -> Result<PathBuf, String> {
    let (mounts, own) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    Ok(place(&mounts, &own).ok_or("no cgroup2 is mounted")?.join(name(host, state)))
}

/// The directory of the cgroup that we are in.
fn place(mounts: &str, own: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let (root, mount) = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        right.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
    })?;
    let root = root.trim_start_matches('/');
    let below = Path::new(own).strip_prefix(root).ok()?;
    let outside = below.components().any(|part| part == std::path::Component::ParentDir);
    (!outside).then(|| Path::new(mount).join(below))
}

/// FNV-1a of the state directory's path tells hosts on one machine apart.
fn name(host: u8, state: &Path) -> String {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = state.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step);
    format!("palisade-host-{host}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_place_in_each_usual_layout() {
        let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let part = "30 24 0:26 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        for (mounts, own, expected) in [
            (unified, "0::/system.slice/palisade.service\n", Some("/sys/fs/cgroup/system.slice/palisade.service")),
            (hybrid, "9:name=systemd:/\n0::/\n", Some("/sys/fs/cgroup/unified")),
            (part, "0::/box/inner\n", Some("/sys/fs/cgroup/inner")),
            (unified, "0::/../other\n", None),
            ("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", "0::/\n", None),
        ] {
            assert_eq!(place(mounts, own), expected.map(PathBuf::from), "{own}");
        }
    }

    #[test]
    fn two_hosts_on_one_machine_have_two_groups() {
        assert_ne!(name(1, Path::new("/a")), name(1, Path::new("/b")));
        assert_ne!(name(1, Path::new("/a")), name(2, Path::new("/a")));
    }
}
