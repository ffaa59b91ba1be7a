//! The kernel's DLM, driven from user space: what dlm_controld does, and what the shim does from inside the kernel.
//!
//! Owns the steps of STOP and START for one volume: the same ones as the shim's members.c, in the same order. It is there to
//! be compared with the shim when memory is short, so it does what such a program can do for itself: opened early, locked in
//! memory, ahead of others, with a thread for the steps beside the one that beats. Must never be what a write depends on.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use palisade_core::id::Volume;
use palisade_core::wire::node::{Fate, StartNode};

use crate::boot::kernel_option;

const CONFIG: &str = "/sys/kernel/config/dlm/palisade";
const SPACES: &str = "/sys/kernel/dlm";
/// The name of the nodes' cluster, as the volume says it.
const CLUSTER: &str = "main";
/// A sockaddr_storage, as the DLM wants it in one piece.
const ADDRESS_BYTES: usize = 128;
/// The DLM's own part of a recovery is over: DLM_RS_DONE of fs/dlm.
const DONE: u32 = 0x40;
/// How often a state is looked at that nobody tells.
const LOOK: Duration = Duration::from_millis(10);

/// How a step is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By this process, which is locked in memory.
    Locked,
    /// By a shell for each step, as scripts and agents do.
    Shell,
}

impl How {
    /// Reads the word of the command line.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "locked" => Some(Self::Locked),
            "shell" => Some(Self::Shell),
            _ => None,
        }
    }
}

/// One volume's lockspace.
#[derive(Debug)]
pub struct Lockspace {
    how: How,
    name: String,
    nodes: PathBuf,
    control: File,
    status: File,
    members: BTreeSet<u8>,
    started: bool,
}

impl Lockspace {
    /// Says where all nodes are, and waits until a mount has made the lockspace.
    ///
    /// # Errors
    /// A sentence: the kernel refuses.
    pub fn wait_for(how: How, node: u8, volume: Volume) -> Result<Self, String> {
        let refused = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        program(node).map_err(refused("the DLM is not to be programmed"))?;
        let name: String = volume.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let shown = Path::new(SPACES).join(&name);
        while !shown.exists() {
            thread::sleep(LOOK);
        }
        let space = Path::new(CONFIG).join("spaces").join(&name);
        make(&space).map_err(refused("the lockspace cannot be configured"))?;
        let open = |file: &str| {
            let writes = file == "control";
            OpenOptions::new().read(!writes).write(writes).open(shown.join(file))
        };
        Ok(Self {
            how,
            nodes: space.join("nodes"),
            control: open("control").map_err(refused("the lockspace cannot be controlled"))?,
            status: open("recover_status").map_err(refused("the lockspace's state cannot be read"))?,
            name,
            members: BTreeSet::new(),
            started: false,
        })
    }

    /// STOP.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn stop(&mut self) -> io::Result<()> {
        self.control("0")
    }

    /// START: comms of the dead go, then nodes that are not in the set, then those that are new come, then it runs.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn start(&mut self, entries: &[StartNode]) -> io::Result<()> {
        let of = |fate| entries.iter().filter(move |entry| entry.fate == fate).map(|entry| entry.node.get());
        for dead in of(Fate::Dead).filter(|dead| comm(*dead).exists()) {
            self.remove(&comm(dead))?;
        }
        let set: BTreeSet<u8> = of(Fate::Member).collect();
        for gone in self.members.difference(&set).copied().collect::<Vec<_>>() {
            self.remove(&self.nodes.join(gone.to_string()))?;
            self.members.remove(&gone);
        }
        for new in set.difference(&self.members).copied().collect::<Vec<_>>() {
            make_comm(new, false)?;
            let place = self.nodes.join(new.to_string());
            make(&place)?;
            fs::write(place.join("nodeid"), new.to_string())?;
            self.members.insert(new);
        }
        let shown = Path::new(SPACES).join(&self.name);
        if !self.started {
            // The same on all nodes.
            fs::write(shown.join("id"), checksum(self.name.as_bytes()).to_string())?;
        }
        self.control("1")?;
        if !self.started {
            self.started = true;
            fs::write(shown.join("event_done"), "0")?;
        }
        Ok(())
    }

    /// Waits until the DLM has recovered.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn recovered(&self) -> io::Result<()> {
        loop {
            let mut text = [0; 32];
            let count = self.status.read_at(&mut text, 0)?;
            let text = String::from_utf8_lossy(text.get(..count).unwrap_or(&[])).into_owned();
            if u32::from_str_radix(text.trim(), 16).is_ok_and(|status| status & DONE != 0) {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
    }

    fn control(&mut self, word: &str) -> io::Result<()> {
        match self.how {
            How::Locked => self.control.write_all_at(word.as_bytes(), 0),
            How::Shell => shell(&format!("echo {word} >{SPACES}/{}/control", self.name)),
        }
    }

    fn remove(&self, place: &Path) -> io::Result<()> {
        match self.how {
            How::Locked => fs::remove_dir(place),
            How::Shell => shell(&format!("{} /workload/bin/rmdir {}", PROGRAMS.join(" "), place.display())),
        }
    }
}

/// Debian's programs on a disk, as everywhere: our first file system is memory, which no kernel gives back.
const PROGRAMS: [&str; 3] = ["/workload/lib/ld.so", "--library-path", "/workload/lib"];

fn shell(line: &str) -> io::Result<()> {
    let [loader, option, libraries] = PROGRAMS;
    let status = Command::new(loader).args([option, libraries, "/workload/bin/sh", "-c", line]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("`{line}`: {status}"))) }
}

fn program(node: u8) -> io::Result<()> {
    make(Path::new(CONFIG))?;
    fs::write(format!("{CONFIG}/cluster_name"), CLUSTER)?;
    // The default calls nothing of OCFS2: no journal would be replayed.
    fs::write(format!("{CONFIG}/recover_callbacks"), "1")?;
    let all = kernel_option("palisade.nodes").unwrap_or_default();
    let mut others = all.split(',').filter_map(|word| word.parse().ok()).filter(|other| *other != node);
    others.try_for_each(|other| make_comm(other, false))?;
    // Last: whoever mounts waits for it.
    make_comm(node, true)
}

fn comm(node: u8) -> PathBuf {
    Path::new(CONFIG).join("comms").join(node.to_string())
}

fn make_comm(node: u8, local: bool) -> io::Result<()> {
    let place = comm(node);
    if place.exists() {
        return Ok(());
    }
    make(&place)?;
    fs::write(place.join("nodeid"), node.to_string())?;
    let mut file = OpenOptions::new().write(true).open(place.join("addr"))?;
    file.write_all(&address(node)?)?;
    if local {
        fs::write(place.join("local"), "1")?;
    }
    Ok(())
}

/// A node's address: our own with the node's number in the last place.
fn address(node: u8) -> io::Result<[u8; ADDRESS_BYTES]> {
    let own = kernel_option("palisade.dlm").and_then(|word| word.parse::<Ipv4Addr>().ok());
    let [a, b, c, _] = own.ok_or_else(|| io::Error::other("palisade.dlm= is no IPv4 address"))?.octets();
    let mut bytes = [0; ADDRESS_BYTES];
    let family = libc::sa_family_t::try_from(libc::AF_INET).map_err(io::Error::other)?;
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    // The port stays zero: the DLM compares it when a peer connects.
    bytes[4..8].copy_from_slice(&[a, b, c, node]);
    Ok(bytes)
}

fn make(place: &Path) -> io::Result<()> {
    match fs::create_dir(place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The kernel's crc32_le that begins with zero.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| {
        let fold = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        (0..8).fold(sum ^ u32::from(*byte), fold)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lockspace_s_number_is_the_kernel_s_sum() {
        // Whoever begins with ones and inverts the end gets the sum that everybody knows.
        let known = |text: &str| {
            !text.bytes().fold(u32::MAX, |sum, byte| {
                (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
            })
        };
        assert_eq!(known("123456789"), 0xcbf4_3926);
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(&[1]), 0x7707_3096, "the second word of the table");
    }

    #[test]
    fn only_two_ways_are_known() {
        assert_eq!((How::parse("locked"), How::parse("shell")), (Some(How::Locked), Some(How::Shell)));
        assert_eq!(How::parse("shim"), None);
    }
}
