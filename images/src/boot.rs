//! Booting an image once, to see what it says.
//!
//! Owns one short-lived QEMU. It must never leave it behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::house::House;
use crate::run::Error;

/// How long the first lines may take; under emulation on a busy machine the whole boot takes less than a second.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// The least that an image needs, in QEMU's words: 32 MiB, no devices, the exit device.
#[must_use]
pub fn command(image: &Path, serial: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-M", "pc", "-m", "32", "-cpu", "max", "-accel", "tcg,tb-size=16", "-no-reboot"])
        .args(["-nodefaults", "-display", "none", "-device", "isa-debug-exit,iobase=0xf4", "-kernel"])
        .arg(image)
        .arg("-serial")
        .arg(format!("file:{}", serial.display()))
        .stdin(Stdio::null());
    command
}

/// Boots the image until a line on its serial port contains `wanted`, or until it ends; gives what it said.
///
/// # Errors
/// If QEMU cannot be started, or the line does not come.
pub fn first_lines(house: &House, image: &Path, wanted: &str) -> Result<String, Error> {
    let serial = house.images().join(format!("boot-{}.log", std::process::id()));
    let answer = watch(image, &serial, wanted);
    // A log that cannot be removed is in nobody's way.
    let _ = fs::remove_file(&serial);
    answer
}

fn watch(image: &Path, serial: &Path, wanted: &str) -> Result<String, Error> {
    let child = command(image, serial).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut vm = Ended(child.map_err(|error| Error(format!("cannot start qemu-system-x86_64: {error}")))?);
    let start = Instant::now();
    loop {
        let ended = !matches!(vm.0.try_wait(), Ok(None));
        let said = fs::read(serial).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let complete = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
        if complete.contains(wanted) {
            return Ok(said);
        }
        if ended || start.elapsed() > PATIENCE {
            return Err(Error(format!("{} did not say `{wanted}` but: {said}", image.display())));
        }
        thread::sleep(POLL);
    }
}

/// Ends the VM with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
