//! Which accelerator runs the guests: found out by booting our own image, since /dev/kvm may be there and be useless.
//!
//! Owns the choice. `PALISADE_ACCEL=tcg|kvm` forces it.

use crate::process::Child;
use palisade_guard::host::Accelerator;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The environment variable that forces the choice.
pub const VARIABLE: &str = "PALISADE_ACCEL";
/// How long the image may take for its first line under KVM; it takes a tenth of that.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was chosen, and a sentence that says why.
pub struct Choice {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// Why this one.
    pub why: String,
}

/// Chooses; `scratch` is a directory for the image's serial output.
///
/// # Errors
/// A sentence: the environment variable has a value that names no accelerator.
pub fn choose(image: &Path, scratch: &Path) -> Result<Choice, String> {
    let choice = |accelerator, why: &str| Ok(Choice { accelerator, why: why.to_owned() });
    match std::env::var(VARIABLE).as_deref() {
        Ok("tcg") => return choice(Accelerator::Tcg, "TCG, because PALISADE_ACCEL says so"),
        Ok("kvm") => return choice(Accelerator::Kvm, "KVM, because PALISADE_ACCEL says so"),
        Ok(other) => return Err(format!("PALISADE_ACCEL is `{other}`; it may be `tcg` or `kvm`, or not set")),
        Err(_) => {}
    }
    if !Path::new("/dev/kvm").exists() {
        return choice(Accelerator::Tcg, "TCG, because there is no /dev/kvm");
    }
    if boots_under_kvm(image, scratch) {
        choice(Accelerator::Kvm, "KVM: our image boots under it")
    } else {
        choice(Accelerator::Tcg, "TCG, because our image does not boot under the KVM of this machine")
    }
}

/// Whether the image writes a line under KVM. Without a configuration it refuses to go on, but it speaks.
fn boots_under_kvm(image: &Path, scratch: &Path) -> bool {
    let serial = scratch.join("kvm.serial");
    let _ = fs::remove_file(&serial);
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-M",
            "pc",
            "-m",
            "32",
            "-cpu",
            "host",
            "-accel",
            "kvm",
            "-no-reboot",
            "-nodefaults",
            "-display",
            "none",
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4", "-kernel"])
        .arg(image)
        .arg("-serial")
        .arg(format!("file:{}", serial.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut vm) = Child::spawn(&mut command) else { return false };
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let ended = vm.ended().is_some();
        if fs::read(&serial).is_ok_and(|said| said.contains(&b'\n')) {
            return true;
        }
        if ended {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
