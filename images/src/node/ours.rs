//! What in the node's image is made here: two programs, linked statically, and kernel modules.
//!
//! Owns their builds below `target/images/node`. It must never leave a file of a build beside a source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::House;
use crate::kernel::make_folder;
use crate::run::{self, Error};

use super::debian::{self, Kernel};
use super::defect::Defect;
use super::{read, write_bytes};

/// The programs must run where there is no library.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Where the shim's sources are.
pub const SHIM: &str = "appliance/shim";

/// All of it.
#[derive(Debug)]
pub struct Ours {
    /// Speaks the node protocol where the shim does not.
    pub client: Vec<u8>,
    /// Writes to the volume and opens the door for commands.
    pub checker: Vec<u8>,
    /// Modules by name.
    pub modules: Vec<(String, Vec<u8>)>,
}

impl Ours {
    /// Builds it, with the sound shim or one with a defect.
    ///
    /// # Errors
    /// If something does not compile, or the sources do not have what the defect changes.
    pub fn build(house: &House, folder: &Path, kernel: &Kernel, defect: Option<&Defect>) -> Result<Self, Error> {
        let names = ["palisade-node", "palisade-checker"];
        let programs = programs(house, folder, &names)?;
        let [client, checker] = names.map(|name| read(&programs.join(name)));
        let place = |name: &str| folder.join(name);
        let hang = module(house, folder, kernel, ("images/node/hang", "hang"), &place("hang"), None)?;
        let mut modules = vec![("hang".to_owned(), hang)];
        if house.root().join(SHIM).join("Makefile").exists() {
            let place = place(defect.map_or("palisade", |defect| defect.name));
            let shim = module(house, folder, kernel, (SHIM, "palisade"), &place, defect)?;
            modules.push(("palisade".to_owned(), shim));
        }
        Ok(Self { client: client?, checker: checker?, modules })
    }
}

/// The folder with the programs of these packages, linked statically, in a target folder of its own: other flags than the
/// host's build must not make that build start afresh each time.
fn programs(house: &House, folder: &Path, packages: &[&str]) -> Result<PathBuf, Error> {
    let target = folder.join("build");
    let flags =
        ["-Ctarget-feature=+crt-static".to_owned(), format!("--remap-path-prefix={}=.", house.root().display())];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--release", "--bins", "--target", TARGET]);
    for package in packages {
        command.args(["--package", package]);
    }
    run::run(
        command
            .args(["--config", "profile.release.opt-level=\"s\"", "--config", "profile.release.lto=\"fat\""])
            .args(["--config", "profile.release.panic=\"abort\"", "--config", "profile.release.strip=true"])
            .arg("--target-dir")
            .arg(&target)
            .env_remove("RUSTC")
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .current_dir(house.root()),
    )?;
    Ok(target.join(TARGET).join("release"))
}

/// A module, by its sources and its name, built against the kernel's headers.
fn module(
    house: &House,
    folder: &Path,
    kernel: &Kernel,
    (sources, name): (&str, &str),
    place: &Path,
    defect: Option<&Defect>,
) -> Result<Vec<u8>, Error> {
    copy_sources(house, folder, kernel, sources, place, defect)?;
    run::output(&mut kbuild(kernel, place))?;
    // What a debugger wants is large and names the folder of the build; the build id is a digest of that.
    let less = ["--strip-debug", "--remove-section=.note.gnu.build-id"];
    let built = place.join(format!("{name}.ko"));
    run::output(Command::new("strip").args(less).arg(&built))?;
    read(&built)
}

/// What the compiler with all warnings of kbuild, and sparse, say about the shim; empty: nothing.
///
/// # Errors
/// If it does not compile at all.
pub fn warnings(house: &House, folder: &Path, kernel: &Kernel) -> Result<String, Error> {
    let place = folder.join("palisade-checked");
    // What is compiled already says nothing any more.
    if place.exists() {
        fs::remove_dir_all(&place).map_err(|error| Error::file("remove", &place, &error))?;
    }
    copy_sources(house, folder, kernel, SHIM, &place, None)?;
    let mut command = kbuild(kernel, &place);
    let output = command.args(["W=1", "C=2"]).output().map_err(|error| Error(format!("cannot start make: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(Error(format!("the shim does not compile: {said}"))) }
}

/// A copy of a module's folder: kbuild leaves its files beside the sources.
fn copy_sources(
    house: &House,
    folder: &Path,
    kernel: &Kernel,
    sources: &str,
    place: &Path,
    defect: Option<&Defect>,
) -> Result<(), Error> {
    make_folder(place)?;
    let from = house.root().join(sources);
    let entries = fs::read_dir(&from).map_err(|error| Error::file("read", &from, &error))?;
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        let Some(name) = path.file_name() else { continue };
        let (target, mut fresh) = (place.join(name), read(&path)?);
        if let Some(defect) = defect {
            fresh = defect.applied(&name.to_string_lossy(), fresh)?;
        }
        // What has not changed keeps its age, so that make has nothing to do.
        if fs::read(&target).ok().as_ref() != Some(&fresh) {
            write_bytes(&target, &fresh)?;
        }
    }
    if place.join("private.sh").exists() {
        debian::private_headers(folder, place, kernel)?;
    }
    Ok(())
}

/// The flavour's Makefile includes the common one by the path that it would have if it were installed; so the common one
/// is called, with the flavour as its output folder.
fn kbuild(kernel: &Kernel, place: &Path) -> Command {
    let (common, flavour) = kernel.headers();
    let assign = |name: &str, path: &Path| format!("{name}={}", path.display());
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(&common)
        .arg(assign("O", &flavour))
        .arg("ARCH=x86")
        .arg(assign("M", place))
        .arg("modules")
        .env_remove("MAKEFLAGS");
    command
}
