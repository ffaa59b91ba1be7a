//! What a bare Debian 12 lacks: says it, and installs it.
//!
//! Owns the calls of `apt-get` and of `cargo install`. It must never install anything without printing its name, and
//! nothing that is there already.

use std::path::PathBuf;
use std::process::Command;

use crate::house::House;
use crate::run::{self, Error};

/// Sees to it that these Debian packages are installed.
///
/// # Errors
/// If some are missing and this is not root, or not Debian, or `apt-get` refuses: one sentence with the command that
/// a person can run.
pub fn ensure(packages: &[&str]) -> Result<(), Error> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let advice = format!("apt-get install --yes {}", missing.join(" "));
    if !is_root()? {
        return Err(Error(format!("missing packages: run this as root, then try again: {advice}")));
    }
    for package in &missing {
        println!("installing the Debian package {package}");
    }
    if install(&missing).is_ok() {
        return Ok(());
    }
    // The package lists may be old or missing altogether.
    renew(&missing)
}

/// Sees to it that these Debian packages are installed as new as the package archive has them: old lists know old versions.
///
/// # Errors
/// If `apt-get` refuses: one sentence with the command that a person can run.
pub fn renew(packages: &[&str]) -> Result<(), Error> {
    println!("updating the package lists");
    let advice = format!("apt-get update && apt-get install --yes {}", packages.join(" "));
    let refused = |error: Error| Error(format!("apt-get refuses; see what it says to: {advice}\n{error}"));
    run::output(apt_get().arg("update")).map_err(refused)?;
    install(packages).map_err(refused)
}

/// Those of the packages that are not installed.
///
/// # Errors
/// If there is no `dpkg-query` to ask.
pub fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>, Error> {
    let mut missing = Vec::new();
    for package in packages {
        let answer = Command::new("dpkg-query")
            .args(["--show", "--showformat", "${db:Status-Status}", package])
            .output()
            .map_err(|error| {
                Error(format!(
                    "cannot ask dpkg-query for the package {package}: {error}; on another system than Debian, install \
                     what these packages hold: {}",
                    packages.join(" ")
                ))
            })?;
        if !(answer.status.success() && answer.stdout == b"installed") {
            missing.push(*package);
        }
    }
    Ok(missing)
}

/// Sees to it that `name` of this version, from the registry of Rust crates, lies in `target/tools/bin`; gives its path.
///
/// # Errors
/// If `cargo install` fails.
pub fn cargo_install(house: &House, name: &str, version: &str) -> Result<PathBuf, Error> {
    let program = house.tools().join("bin").join(name);
    let list = house.tools().join(".crates.toml");
    let installed = std::fs::read_to_string(list).unwrap_or_default();
    if program.exists() && installed.contains(&format!("\"{name} {version} ")) {
        return Ok(program);
    }
    println!("installing the program {name} {version} into target/tools (some minutes)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run::run(
        Command::new(cargo)
            .args(["install", "--locked", "--quiet", "--force", "--version", version, name, "--root"])
            .arg(house.tools())
            // A caller's choice of compiler or flags is for the unikernel, not for host programs.
            .env_remove("RUSTC")
            .env_remove("RUSTFLAGS")
            .current_dir(house.root()),
    )?;
    Ok(program)
}

fn install(packages: &[&str]) -> Result<(), Error> {
    run::output(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages)).map(drop)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> Result<bool, Error> {
    Ok(run::output(Command::new("id").arg("-u"))?.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missing() {
        // dpkg itself is there wherever dpkg-query answers.
        let missing = missing(&["dpkg", "no-such-package-of-palisade"]).expect("dpkg-query answers");
        assert_eq!(missing, ["no-such-package-of-palisade"]);
    }
}
