//! The last counter of each node's runs, kept in the state directory for as long as the host's boot lasts.
//!
//! Owns that file and the thread that writes it. A counter is on the disk before its run is announced, so that no later
//! guard uses it again (SAFETY E2, E4). The duty loop must never wait for that disk, since it enforces the lease of the
//! other nodes meanwhile: it hands a counter over and is told. Neither side allocates.

use palisade_core::id::{BootId, NodeId};
use palisade_core::limits::ID_SLOTS;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use crate::host::names;

/// Written first, then renamed: the file is always whole.
const FRESH: &str = "counters.new";
/// Bytes of the file: a line for the boot and one for each node.
const TEXT_BYTES: usize = 8192;
/// Bytes of a request: node and counter. An answer has one more.
const REQUEST_BYTES: usize = 5;
/// Stack of the writing thread.
const STACK_BYTES: usize = 64 * 1024;

/// What the file says.
#[derive(Debug)]
pub struct Counters {
    boot: BootId,
    of_node: [u32; ID_SLOTS],
}

impl Counters {
    /// Reads the file in the current directory. Another boot's counters are void: all its runs ended with it.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn load(boot: BootId) -> Result<Self, String> {
        match std::fs::read_to_string(names::COUNTERS) {
            Ok(text) => Self::parse(&text, boot).ok_or_else(|| {
                format!(
                    "the state directory's file `{}` is damaged, so it is not known which runs were used; if no appliance \
                     remembers runs of this host's present boot, remove it, otherwise reboot the host",
                    names::COUNTERS
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { boot, of_node: [0; ID_SLOTS] }),
            Err(error) => Err(format!("the state directory's file `{}` cannot be read: {error}", names::COUNTERS)),
        }
    }

    fn parse(text: &str, boot: BootId) -> Option<Self> {
        let mut counters = Self { boot, of_node: [0; ID_SLOTS] };
        let mut lines = text.lines();
        let theirs = u64::from_str_radix(lines.next()?.strip_prefix("boot ")?, 16).ok()?;
        for line in lines {
            let (node, counter) = line.strip_prefix("node ")?.split_once(' ')?;
            let place = counters.of_node.get_mut(usize::from(node.parse::<u8>().ok()?))?;
            *place = counter.parse().ok()?;
        }
        if theirs != boot {
            counters.of_node = [0; ID_SLOTS];
        }
        text.ends_with('\n').then_some(counters)
    }

    /// A node's last counter; zero: never started under this boot.
    #[must_use]
    pub const fn of(&self, node: NodeId) -> u32 {
        self.of_node[node.index()]
    }

    /// Makes the file say what we know, through to the disk.
    fn store(&self) -> io::Result<()> {
        let mut text = heapless::String::<TEXT_BYTES>::new();
        let mut fits = writeln!(text, "boot {:016x}", self.boot).is_ok();
        for (node, counter) in self.of_node.iter().enumerate().filter(|(_, counter)| **counter != 0) {
            fits &= writeln!(text, "node {node} {counter}").is_ok();
        }
        assert!(fits, "255 lines of at most 20 bytes fit");
        let mut file = File::create(FRESH)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(FRESH, names::COUNTERS)?;
        File::open(".")?.sync_all()
    }
}

/// The duty loop's end of the thread that writes.
#[derive(Debug)]
pub struct Recorder {
    socket: UnixDatagram,
}

impl Recorder {
    /// Starts the thread. Signals must be blocked before.
    ///
    /// # Errors
    /// No thread, or no socket.
    pub fn start(mut counters: Counters) -> io::Result<Self> {
        let (socket, theirs) = UnixDatagram::pair()?;
        let work = move || {
            // The first answer is about nobody: what a thread allocates to begin with is over by then.
            if theirs.send(&[u8::from(counters.store().is_ok())]).is_err() {
                return;
            }
            let mut request = [0; REQUEST_BYTES + 1];
            while theirs.recv(&mut request).is_ok_and(|bytes| bytes == REQUEST_BYTES) {
                let [node, a, b, c, d, _] = request;
                counters.of_node[usize::from(node)] = u32::from_le_bytes([a, b, c, d]);
                let written = counters.store().is_ok();
                if theirs.send(&[node, a, b, c, d, u8::from(written)]).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("counters".into()).stack_size(STACK_BYTES).spawn(work)?;
        let mut stored = [0];
        socket.recv(&mut stored)?;
        socket.set_nonblocking(true)?;
        if stored == [1] { Ok(Self { socket }) } else { Err(io::Error::other("the file cannot be written")) }
    }

    /// Asks for a counter to be written down. False: it cannot be asked now.
    #[must_use]
    pub fn record(&self, node: NodeId, counter: u32) -> bool {
        let [a, b, c, d] = counter.to_le_bytes();
        self.socket.send(&[node.get(), a, b, c, d]).is_ok()
    }

    /// An answer: which node's counter it is about, and whether it is on the disk.
    #[must_use]
    pub fn poll(&self) -> Option<(NodeId, bool)> {
        let mut answer = [0; REQUEST_BYTES + 1];
        let bytes = self.socket.recv(&mut answer).ok()?;
        (bytes == answer.len()).then_some((NodeId::new(answer[0]), answer[REQUEST_BYTES] == 1))
    }
}

impl AsFd for Recorder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn counters_hold_for_one_boot_only() {
        let text = "boot 00000000000000ff\nnode 2 5\nnode 255 1\n";
        let same = Counters::parse(text, 0xff).unwrap();
        assert_eq!((same.of(NodeId::new(2)), same.of(NodeId::new(255)), same.of(NodeId::new(3))), (5, 1, 0));
        assert_eq!(Counters::parse(text, 0xfe).unwrap().of(NodeId::new(2)), 0);
    }

    #[test]
    fn damage_is_seen() {
        for text in ["", "boot ff", "boot x\n", "boot ff\nnode 2\n", "boot ff\nnode 300 1\n", "boot ff\nnode 2 5"] {
            assert!(Counters::parse(text, 0xff).is_none(), "{text:?}");
        }
    }
}
