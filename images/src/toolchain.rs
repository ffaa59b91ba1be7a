//! The compiler for the bare machine.
//!
//! Owns the choice. A compiler is of use only with the sources of its library, since the library is built for the bare
//! machine too. It must call compiler and cargo by path, as a pair: another cargo may stand first in PATH.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Error};
use crate::setup;

/// The oldest minor version of Rust 1 that will do; smoltcp needs it.
const MINOR_MIN: u32 = 91;
/// The newest minor version that was tried. The kernel uses unstable features, which may change in any later one.
const MINOR_MAX: u32 = 101;
/// Debian's pair. Its compiler has no linker of its own, so the linker is always Debian's too.
const DEBIAN: [&str; 3] = ["rustc-web", "rust-web-src", "cargo-web"];

#[derive(Clone, Debug)]
pub struct Toolchain {
    pub rustc: PathBuf,
    pub cargo: PathBuf,
    /// The library's sources: a prefix of paths that must not reach the image.
    pub sources: PathBuf,
    /// What `rustc --version` says.
    pub version: String,
}

/// Finds the first compiler that will do: the one that `PALISADE_RUSTC` names, then rustup's toolchains, then Debian's,
/// which is installed if need be. One that is newer than any that was tried is taken only if there is no other.
///
/// # Errors
/// If there is none and none can be installed.
pub fn find() -> Result<Toolchain, Error> {
    if let Some(rustc) = std::env::var_os("PALISADE_RUSTC") {
        let rustc = PathBuf::from(rustc);
        return probe(&rustc).ok_or_else(|| {
            Error(format!(
                "PALISADE_RUSTC names {}, which is not a rustc 1.{MINOR_MIN} or later with library sources and a cargo beside it",
                rustc.display()
            ))
        });
    }
    let debian = Path::new("/usr/bin/rustc");
    let mut newer = None;
    for found in rustup().iter().map(PathBuf::as_path).chain([debian]).filter_map(probe) {
        if minor(&found.version).is_some_and(|minor| minor <= MINOR_MAX) {
            return Ok(found);
        }
        newer.get_or_insert(found);
    }
    if let Some(found) = newer {
        println!("{} is newer than 1.{MINOR_MAX}, the newest that was tried", found.version);
        return Ok(found);
    }
    println!("no rustc 1.{MINOR_MIN} or later with library sources was found");
    setup::ensure(&DEBIAN)?;
    if let Some(found) = probe(debian) {
        return Ok(found);
    }
    println!("Debian's rustc-web is older than 1.{MINOR_MIN}, perhaps only by old package lists");
    setup::renew(&DEBIAN)?;
    probe(debian).ok_or_else(|| {
        Error(format!(
            "Debian's rustc-web is older than 1.{MINOR_MIN}: enable Debian's security archive, or install a \
             toolchain with `rustup toolchain install 1.98.0 --component rust-src`"
        ))
    })
}

/// The compilers that rustup manages, in the order of their names.
fn rustup() -> Vec<PathBuf> {
    let home = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
    let Some(Ok(folder)) = home.map(|home| home.join("toolchains").read_dir()) else {
        return Vec::new();
    };
    let mut found: Vec<_> = folder.flatten().map(|entry| entry.path().join("bin").join("rustc")).collect();
    found.sort();
    found
}

/// Looks whether this compiler will do.
fn probe(rustc: &Path) -> Option<Toolchain> {
    let cargo = rustc.with_file_name("cargo");
    if !rustc.exists() || !cargo.exists() {
        return None;
    }
    let version = run::output(Command::new(rustc).arg("--version")).ok()?;
    let sysroot = run::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    let sources = Path::new(sysroot.trim()).join("lib").join("rustlib").join("src").join("rust");
    if minor(&version)? < MINOR_MIN || !sources.join("library").join("core").exists() {
        return None;
    }
    Some(Toolchain { rustc: rustc.to_path_buf(), cargo, sources, version: version.trim().to_owned() })
}

/// `rustc 1.96.0 (...)` has the minor version 96.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_versions() {
        assert_eq!(minor("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n"), Some(96));
        assert_eq!(minor("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)"), Some(97));
        assert_eq!(minor("clang 14"), None);
    }
}
