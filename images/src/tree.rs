//! The workspace that the unikernel is built in: `target/images/tree`.
//!
//! Owns that folder. It must never hold a copy of our own sources: they are linked, so that an edit is seen at once.
//!
//! Why a workspace beside the real one: the kernel's pins must not bind the host's crates, the patched kernel exists only
//! after the first build, and cargo mixes the absolute path of a package outside its workspace into every symbol, so that
//! two checkouts would give two images. In here every package lies below one root.
//!
//! ```text
//! tree/Cargo.toml     made from the root's: its shared keys, other members, the unikernel's profile
//! tree/Cargo.lock  -> appliance/Cargo.lock
//! tree/appliance   -> appliance
//! tree/methods     -> methods
//! tree/kernel         the patched kernel (kernel.rs)
//! ```

use std::fs;
use std::path::Path;

use crate::house::House;
use crate::kernel::{make_folder, write};
use crate::run::Error;

/// Tables of the root's manifest that are about the host's build.
const LEFT_OUT: [&str; 2] = ["[workspace]", "[profile."];

const HEAD: &str = r#"# Made by palisade-images from the root's Cargo.toml; see images/src/tree.rs.
[workspace]
resolver = "3"
members = ["appliance", "appliance/core", "methods"]
exclude = ["kernel", "appliance/guard", "appliance/ctl", "appliance/shim"]

[patch.crates-io]
hermit-kernel = { path = "kernel" }

[profile.release]
opt-level = "s"
lto = "fat"
codegen-units = 1
panic = "abort"
overflow-checks = true
debug = 1

# Every datagram goes through these.
[profile.release.package]
chacha20 = { opt-level = 3 }
poly1305 = { opt-level = 3 }
crc32fast = { opt-level = 3 }

"#;

/// Lays the tree out, but for the kernel.
///
/// # Errors
/// If the checkout is not complete or nothing can be written.
pub fn prepare(house: &House) -> Result<(), Error> {
    let tree = house.tree();
    make_folder(&tree)?;
    let manifest = house.root().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| Error::file("read", &manifest, &error))?;
    write(&tree.join("Cargo.toml"), &(HEAD.to_owned() + &shared_keys(&text)))?;
    // From target/images/tree three steps up to the checkout.
    link(Path::new("../../../appliance"), &tree.join("appliance"))?;
    link(Path::new("../../../methods"), &tree.join("methods"))?;
    link(Path::new("appliance/Cargo.lock"), &tree.join("Cargo.lock"))
}

/// The tables that members inherit from: package, dependencies, lints.
fn shared_keys(manifest: &str) -> String {
    let mut kept = String::new();
    let mut keep = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            keep = !LEFT_OUT.iter().any(|table| line.starts_with(table));
        }
        if keep {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn link(to: &Path, at: &Path) -> Result<(), Error> {
    if fs::read_link(at).is_ok_and(|there| there == to) {
        return Ok(());
    }
    if at.symlink_metadata().is_ok() {
        fs::remove_file(at).map_err(|error| Error::file("replace", at, &error))?;
    }
    std::os::unix::fs::symlink(to, at).map_err(|error| Error::file("link", at, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_profiles_stay_behind() {
        let manifest = "# host\n[workspace]\nmembers = [\"a\"]\n[workspace.package]\nversion = \"1\"\n\
                        [workspace.lints.rust]\nx = \"deny\"\n[profile.release]\nlto = false\n";
        let kept = "[workspace.package]\nversion = \"1\"\n[workspace.lints.rust]\nx = \"deny\"\n";
        assert_eq!(shared_keys(manifest), kept);
    }
}
