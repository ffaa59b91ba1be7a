//! What a test needs that boots one node's VM without guard or appliance: sockets that open a moment later, and vsock.
//!
//! Owns the other end of the guest's vsock device. Must never know what is said on it.

use palisade_images::{House, setup};
use palisade_qemu::process::Child;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Ten times what it takes on a quiet machine.
const SOON: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// QEMU needs a moment until it listens.
///
/// # Panics
/// It does not listen in time.
#[must_use]
pub fn connect(path: &Path) -> UnixStream {
    let end = Instant::now() + SOON;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "cannot connect to {}: {error}", path.display()),
        }
        std::thread::sleep(PAUSE);
    }
}

/// The other end of a guest's vsock device with CID 4, in this run's directory: `vhost` for QEMU, `vsock` for the test.
///
/// # Panics
/// The program cannot be had, or does not listen in time.
#[must_use]
pub fn start_vsock(run: &Path) -> Child {
    let program =
        setup::cargo_install(&House::here(), "vhost-device-vsock", "0.3.0").unwrap_or_else(|error| panic!("{error}"));
    let vm = format!("guest-cid=4,uds-path={0}/vsock,socket={0}/vhost,groups=palisade", run.display());
    let child = Child::spawn(Command::new(program).args(["--vm", &vm]).stdin(Stdio::null()))
        .unwrap_or_else(|error| panic!("vhost-device-vsock does not start: {error}"));
    let end = Instant::now() + SOON;
    while !run.join("vhost").exists() {
        assert!(Instant::now() < end, "vhost-device-vsock does not listen");
        std::thread::sleep(PAUSE);
    }
    child
}
