//! Two builds in two places give the same bytes.
//!
//! Owns the second place, `target/images/elsewhere`. It must build from the working copy, so that a change is checked
//! before it is committed, and it must share nothing with the first build but the published crates.

use std::fs;
use std::path::{Path, PathBuf};

use crate::appliance::{self, Kind};
use crate::house::House;
use crate::kernel::make_folder;
use crate::run::Error;

/// What an image is made from.
const SOURCES: [&str; 4] = ["Cargo.toml", "appliance", "methods", "images"];

/// The two images, which are the same.
#[derive(Clone, Debug)]
pub struct Pair {
    pub here: PathBuf,
    pub elsewhere: PathBuf,
    /// Size of each, in bytes.
    pub size: usize,
}

/// Builds the product image here, and from a copy of the sources in another folder, and compares them.
///
/// # Errors
/// If a build fails, or with the place of the first difference.
pub fn check(house: &House) -> Result<Pair, Error> {
    let here = appliance::build(house, Kind::Product)?.path;
    // Of another length and depth than any usual checkout, so that a path that leaks moves everything behind it.
    let root = house.images().join("elsewhere").join("a-checkout-under-another-name");
    if root.exists() {
        fs::remove_dir_all(&root).map_err(|error| Error::file("remove", &root, &error))?;
    }
    make_folder(&root)?;
    for name in SOURCES {
        copy(&house.root().join(name), &root.join(name))?;
    }
    let elsewhere = appliance::build(&House::at(&root), Kind::Product)?.path;

    let read = |path: &Path| fs::read(path).map_err(|error| Error::file("read", path, &error));
    let (one, other) = (read(&here)?, read(&elsewhere)?);
    if one == other {
        return Ok(Pair { here, elsewhere, size: one.len() });
    }
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    Err(Error(format!(
        "not reproducible: {} ({} bytes) and {} ({} bytes) differ from byte {same} on",
        here.display(),
        one.len(),
        elsewhere.display(),
        other.len()
    )))
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop).map_err(|error| Error::file("copy", from, &error));
    }
    make_folder(to)?;
    for entry in from.read_dir().map_err(|error| Error::file("read", from, &error))?.flatten() {
        if entry.file_name() != "target" {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
