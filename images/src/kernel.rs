//! The kernel's source: the published crate, with our patches.
//!
//! Owns `target/images/tree/kernel`. It must never change the published source in cargo's own folder, and it must stop
//! if a patch does not apply: a kernel without the seal would boot just as well.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::house::House;
use crate::run::{self, Error};
use crate::toolchain::Toolchain;

/// The last published version with sources; later ones only name a repository.
pub const VERSION: &str = "0.11.0";

/// The name of the file that says what the folder was made from.
const STAMP: &str = "palisade-patches";

/// Sees to it that the patched source lies in the build tree.
///
/// # Errors
/// If the crate cannot be fetched or a patch does not apply.
pub fn prepare(house: &House, toolchain: &Toolchain) -> Result<(), Error> {
    let folder = house.tree().join("kernel");
    let patches = patches(house)?;
    let stamp = patches.iter().fold(format!("hermit-kernel {VERSION}\n"), |all, (_, text)| all + text);
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|made_from| made_from == stamp) {
        return Ok(());
    }
    let published = fetch(house, toolchain)?;
    println!("patching hermit-kernel {VERSION} ({} patches)", patches.len());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| Error::file("remove", &folder, &error))?;
    }
    copy(&published, &folder)?;
    for (name, text) in &patches {
        apply(&folder, name, text)?;
    }
    write(&folder.join(STAMP), &stamp)
}

/// Names and texts of the patches, in their order.
fn patches(house: &House) -> Result<Vec<(String, String)>, Error> {
    let folder = house.patches();
    let entries = folder.read_dir().map_err(|error| Error::file("read", &folder, &error))?;
    let mut patches = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "patch") {
            let text = fs::read_to_string(&path).map_err(|error| Error::file("read", &path, &error))?;
            patches.push((path.display().to_string(), text));
        }
    }
    patches.sort();
    Ok(patches)
}

fn apply(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    let failed = |why: String| Error(format!("the patch {name} does not apply to hermit-kernel {VERSION}: {why}"));
    let mut child = Command::new("patch")
        .args(["--strip=1", "--fuzz=0", "--batch", "--no-backup-if-mismatch", "--directory"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Lets cargo fetch the crate, as a dependency of a package that nobody builds, and asks it where the source lies.
fn fetch(house: &House, toolchain: &Toolchain) -> Result<PathBuf, Error> {
    let folder = house.images().join("fetch");
    make_folder(&folder)?;
    write(&folder.join("lib.rs"), "")?;
    write(
        &folder.join("Cargo.toml"),
        &format!(
            "[workspace]\n[package]\nname = \"kernel-source\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [lib]\npath = \"lib.rs\"\n[dependencies]\nhermit-kernel = \"={VERSION}\"\n"
        ),
    )?;
    println!("fetching hermit-kernel {VERSION}");
    let metadata = run::output(
        Command::new(&toolchain.cargo)
            .args(["metadata", "--quiet", "--format-version=1"])
            .env("RUSTC", &toolchain.rustc)
            .current_dir(&folder),
    )?;
    let manifest = format!("/hermit-kernel-{VERSION}/Cargo.toml");
    let end = metadata
        .find(&manifest)
        .ok_or_else(|| Error(format!("cargo does not say where hermit-kernel {VERSION} lies")))?;
    let start = metadata[..end].rfind('"').map_or(0, |quote| quote + 1);
    Ok(PathBuf::from(&metadata[start..end]).join(manifest.trim_start_matches('/').trim_end_matches("/Cargo.toml")))
}

/// Copies the published source without what would change how cargo builds it.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    const LEFT_OUT: [&str; 5] = [".cargo", ".cargo-ok", "Cargo.lock", "Cargo.toml.orig", "rust-toolchain.toml"];
    make_folder(to)?;
    for entry in from.read_dir().map_err(|error| Error::file("read", from, &error))?.flatten() {
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            // Not `fs::copy`: the published files may be read-only, and patches must be able to change them.
            let bytes = fs::read(&source).map_err(|error| Error::file("read", &source, &error))?;
            fs::write(&target, bytes).map_err(|error| Error::file("write", &target, &error))?;
        }
    }
    Ok(())
}

pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| Error::file("make the folder", path, &error))
}

/// Writes a file unless it holds this text already: cargo looks at the time of the last change.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|error| Error::file("write", path, &error))
}
