//! The channel in the guest: the virtio console in PCI slot `board::NODE_CHANNEL_SLOT`.
//!
//! Owns finding it and its bytes. Must never take another console. The stock driver shows a console without multiport as
//! a terminal /dev/hvcN; which one belongs to a device is said only in debugfs (the number of its virtual terminal counts
//! the consoles from 1, in the order in which they got their hvc).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::board;

use crate::sys;

const PORTS: &str = "/sys/class/virtio-ports";
const DEBUG: &str = "/sys/kernel/debug/virtio-ports";
/// What an earlier boot of this node was sent still lies in the pipe; it comes within this time or not at all.
const STALE: Duration = Duration::from_millis(5);

/// The open channel.
#[derive(Debug)]
pub struct Channel(File);

impl Channel {
    /// Opens a terminal raw and drops what was sent to an earlier boot.
    ///
    /// # Errors
    /// If it cannot be opened or is no terminal.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        sys::make_raw(&file)?;
        let mut channel = Self(file);
        let mut dropped = [0; 4096];
        while sys::wait_readable([channel.descriptor()], STALE)? == [true] && channel.read(&mut dropped)? > 0 {}
        Ok(channel)
    }

    /// For `wait_readable`.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes what is there; zero if there is nothing.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            other => other,
        }
    }

    /// Sends a frame, or a part of it: what does not fit is lost, and the other end finds the next frame.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn write(&mut self, frame: &[u8]) -> io::Result<bool> {
        let mut rest = frame;
        while !rest.is_empty() {
            match self.0.write(rest) {
                Ok(0) => return Ok(false),
                Ok(count) => rest = rest.get(count..).unwrap_or(&[]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The terminal of the channel's device.
///
/// # Errors
/// A sentence, if there is no such device.
pub fn find() -> Result<PathBuf, String> {
    let slot = format!(":{:02x}.0", board::NODE_CHANNEL_SLOT);
    let ports = fs::read_dir(PORTS).map_err(|error| format!("no virtio console: {PORTS}: {error}"))?;
    for port in ports.flatten() {
        // .../0000:00:10.0/virtio3/virtio-ports/vport3p0
        let Ok(device) = fs::canonicalize(port.path()) else { continue };
        if !device.components().any(|part| part.as_os_str().to_string_lossy().ends_with(&slot)) {
            continue;
        }
        let about = Path::new(DEBUG).join(port.file_name());
        let text = fs::read_to_string(&about).map_err(|error| format!("cannot read {}: {error}", about.display()))?;
        return terminal(&text)
            .ok_or_else(|| format!("the device in slot {slot} is no console; see {}", about.display()));
    }
    Err(format!(
        "no virtio console in PCI slot {:#x}: QEMU needs virtio-serial-pci,max_ports=1 there",
        board::NODE_CHANNEL_SLOT
    ))
}

/// Reads debugfs's page about a port.
fn terminal(about: &str) -> Option<PathBuf> {
    let number: u32 = about.lines().find_map(|line| line.strip_prefix("console_vtermno:"))?.trim().parse().ok()?;
    Some(PathBuf::from(format!("/dev/hvc{}", number.checked_sub(1)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_s_number_is_one_less_than_the_virtual_terminal_s() {
        let about = "name: \nguest_connected: 0\nis_console: yes\nconsole_vtermno: 1\n";
        assert_eq!(terminal(about), Some(PathBuf::from("/dev/hvc0")));
        assert_eq!(terminal("console_vtermno: 0\n"), None);
        assert_eq!(terminal("is_console: no\n"), None);
    }
}
