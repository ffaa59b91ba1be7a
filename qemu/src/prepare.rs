//! What has to be there before a cluster can run: programs, images, the guard.
//!
//! Owns the order of the builds and what they tell. Must never build what is built already, nor hide that it builds.

use crate::accel;
use crate::plan::Artefacts;
use palisade_images::{House, appliance, node, setup};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// What the run of a cluster needs besides what the images need: QEMU, the BMC simulator, and what makes and checks volumes.
/// Without modprobe (kmod), mkfs.ocfs2 goes on in the process that should have become modprobe, and formats several times.
const PACKAGES: [&str; 4] = ["qemu-system-x86", "openipmi", "ocfs2-tools", "kmod"];
/// Joins the VMs' vsock devices without a kernel module.
const VSOCK: (&str, &str) = ("vhost-device-vsock", "0.3.0");

/// All that is needed, and what a person may want to know about it.
pub struct Prepared {
    /// For the cluster.
    pub artefacts: Artefacts,
    /// Bytes of the appliance's image.
    pub image_bytes: u64,
    /// Which accelerator, and why.
    pub accelerator: String,
}

/// Installs and builds what is missing; `tell` gets a line for each step.
///
/// # Errors
/// A sentence: what could not be had, and what to do.
pub fn prepare(tell: &dyn Fn(&str)) -> Result<Prepared, String> {
    let house = House::here();
    let start = Instant::now();
    let step = |what: &str| tell(&format!("[{:>4} s] {what}", start.elapsed().as_secs()));
    step("programs: QEMU, the BMC simulator, OCFS2");
    setup::ensure(&PACKAGES).map_err(|error| error.to_string())?;
    step("program: vhost-device-vsock");
    let vsock = setup::cargo_install(&house, VSOCK.0, VSOCK.1).map_err(|error| error.to_string())?;
    step("the guard");
    let guard = build_guard(&house)?;
    step("the appliance's image");
    let image = appliance::build(&house, appliance::Kind::Product).map_err(|error| error.to_string())?;
    step("the node's image");
    let node = node::build(&house).map_err(|error| error.to_string())?;
    let choice = accel::choose(&image.path, &house.images())?;
    step(&format!("the guests run under {}", choice.why));
    // Not the unpacked kernel: QEMU copies an ELF file of 65 MB again at each reset, which is in the way of every fence
    // (200 ms); the packed one costs a reset 1 ms, and a boot some seconds more.
    let kernel = node.kernel.with_file_name("vmlinuz");
    let artefacts = Artefacts {
        image: image.path,
        guard,
        kernel,
        initrd: node.initrd,
        vsock: Some(vsock),
        accelerator: choice.accelerator,
    };
    Ok(Prepared { artefacts, image_bytes: image.size, accelerator: choice.why })
}

/// Builds the guard as it is used: optimised.
fn build_guard(house: &House) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--release", "--package", "palisade-guard", "--target-dir"])
        .arg(house.root().join("target"))
        .current_dir(house.root());
    palisade_images::run::run(&mut command).map_err(|error| format!("the guard cannot be built: {error}"))?;
    Ok(house.root().join("target").join("release").join("palisade-guard"))
}
