//! The appliance's image: kernel and unikernel in one ELF file, and the PVH loader around it.
//!
//! Owns `target/images/palisade.elf` and `palisade-faults.elf`. It must never let anything of this machine reach the image:
//! no path, no time, no flag that the caller's environment brings along.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::House;
use crate::run::{self, Error};
use crate::toolchain::{self, Toolchain};
use crate::{kernel, lock, setup, tree};

/// What the build needs besides a compiler: linker, `patch`, `strip`.
const PACKAGES: [&str; 3] = ["lld", "patch", "binutils"];

/// The largest image that is accepted, in bytes.
pub const IMAGE_MAX: u64 = 2 * 1024 * 1024;

const TARGET: &str = "x86_64-unknown-none";
/// The variable that carries the compiler's flags for this target; it leaves build scripts and macros alone.
const FLAGS: &str = "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS";

/// The ciphers and hashes have faster code for vector registers, which this target does not have; rustc 1.96 crashes
/// when it compiles that of poly1305 for it.
const PORTABLE: [&str; 5] = ["poly1305", "chacha20", "aes", "sha2", "sha1"];

/// Settings that a caller may have for the host.
const FOREIGN: [&str; 7] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "NO_COLOR",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Product,
    /// With doors for deliberate faults, for tests only.
    Faults,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Product => "palisade",
            Self::Faults => "palisade-faults",
        }
    }
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Image {
    /// What `qemu-system-x86_64 -kernel` boots.
    pub path: PathBuf,
    /// Kernel and unikernel before the symbols were taken off, for disassembly and for the memory map.
    pub symbols: PathBuf,
    /// Size of `path` in bytes.
    pub size: u64,
}

/// Builds the image, or finds that nothing has changed.
///
/// # Errors
/// If something is missing and cannot be installed, if a program fails, or if the image is larger than `IMAGE_MAX`.
pub fn build(house: &House, kind: Kind) -> Result<Image, Error> {
    let _lock = lock::hold(house)?;
    let toolchain = prepare(house)?;
    println!("building {} with {} ({})", kind.name(), toolchain.version, toolchain.rustc.display());
    // Each kind has its own target folder, or the two would rebuild each other's kernel.
    let target = house.build().join(kind.name());
    let made = target.join(TARGET).join("release");
    let cargo = || {
        let mut command = Command::new(&toolchain.cargo);
        command.arg("build");
        command
    };
    let mut command = unikernel(house, &toolchain, cargo(), &target)?;
    if kind == Kind::Faults {
        command.args(["--features", "faults"]);
    }
    run::run(&mut command)?;
    let (unikernel, stripped) = (made.join("palisade"), made.join("palisade.stripped"));
    run::run(Command::new("strip").args(["--strip-all", "-o"]).arg(&stripped).arg(&unikernel))?;
    run::run(&mut loader(house, &toolchain, cargo(), &target, &stripped)?)?;
    let loader = made.join("palisade-loader");

    let image = Image {
        path: house.images().join(kind.name()).with_extension("elf"),
        symbols: house.images().join(kind.name()).with_extension("symbols"),
        size: fs::metadata(&loader).map_err(|error| Error::file("read", &loader, &error))?.len(),
    };
    replace(&loader, &image.path)?;
    replace(&unikernel, &image.symbols)?;
    if image.size > IMAGE_MAX {
        return Err(Error(format!("the image has {} bytes; at most {IMAGE_MAX} are allowed", image.size)));
    }
    Ok(image)
}

/// Runs the linter over unikernel and loader, for the machine that they are made for; a warning is an error.
///
/// # Errors
/// If it finds anything, or is missing and cannot be installed.
pub fn lint(house: &House) -> Result<(), Error> {
    let _lock = lock::hold(house)?;
    let toolchain = prepare(house)?;
    let clippy = toolchain.cargo.with_file_name("cargo-clippy");
    if !clippy.exists() {
        setup::ensure(&["rust-web-clippy"])?;
    }
    let linter = || {
        let mut command = Command::new(&clippy);
        command.args(["clippy", "--no-deps"]).env("CARGO", &toolchain.cargo);
        command
    };
    let target = house.build().join("lint");
    for features in [None, Some("faults")] {
        let mut command = unikernel(house, &toolchain, linter(), &target)?;
        if let Some(features) = features {
            command.args(["--features", features]);
        }
        run::run(command.args(["--", "--deny", "warnings"]))?;
    }
    // The loader carries the unikernel: any file will do for looking at its source.
    let mut command = loader(house, &toolchain, linter(), &target, &house.loader().join("link.ld"))?;
    run::run(command.args(["--", "--deny", "warnings"]))
}

/// Compiles our crates one by one, nothing inlined across them, for `audit`; gives their objects.
///
/// # Errors
/// If something is missing or the build fails.
pub fn objects(house: &House) -> Result<Vec<PathBuf>, Error> {
    let _lock = lock::hold(house)?;
    let toolchain = prepare(house)?;
    let target = house.build().join("audit");
    let made = target.join(TARGET).join("release").join("deps");
    if made.exists() {
        // Objects of an earlier source under another hash would be looked at too.
        remove_objects(&made)?;
    }
    let mut command = Command::new(&toolchain.cargo);
    command.arg("rustc");
    let mut command = unikernel(house, &toolchain, command, &target)?;
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").args(["--", "--emit=obj"]);
    run::run(&mut command)?;
    ours(&made)
}

/// Our crates' objects and archives in cargo's folder.
fn ours(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = folder.read_dir().map_err(|error| Error::file("read", folder, &error))?;
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        (name.starts_with("palisade") && name.ends_with(".o"))
            || (name.starts_with("libpalisade") && name.ends_with(".rlib"))
    });
    found.sort();
    Ok(found)
}

fn remove_objects(folder: &Path) -> Result<(), Error> {
    for path in ours(folder)? {
        fs::remove_file(&path).map_err(|error| Error::file("remove", &path, &error))?;
    }
    Ok(())
}

/// Everything that must be there before cargo can be called.
fn prepare(house: &House) -> Result<Toolchain, Error> {
    setup::ensure(&PACKAGES)?;
    let toolchain = toolchain::find()?;
    tree::prepare(house)?;
    kernel::prepare(house, &toolchain)?;
    Ok(toolchain)
}

/// The command that builds kernel and appliance: one relocatable ELF file.
fn unikernel(house: &House, toolchain: &Toolchain, mut command: Command, target: &Path) -> Result<Command, Error> {
    let mut flags = vec!["-Clinker-flavor=ld.lld".to_owned(), "-Clinker=ld.lld".to_owned()];
    // `audit` reads this mangling, which older compilers do not choose by themselves.
    flags.push("-Csymbol-mangling-version=v0".to_owned());
    flags.extend(PORTABLE.iter().map(|name| format!("--cfg={name}_backend=\"soft\"")));
    for_the_bare_machine(house, toolchain, &mut command, flags)?;
    command.args(["--package", "palisade", "--target-dir"]).arg(target).current_dir(house.tree());
    Ok(command)
}

/// The command that builds the loader around the unikernel.
fn loader(
    house: &House,
    toolchain: &Toolchain,
    mut command: Command,
    target: &Path,
    unikernel: &Path,
) -> Result<Command, Error> {
    let script = house.loader().join("link.ld");
    let flags = vec![
        "-Clinker-flavor=ld.lld".to_owned(),
        "-Clinker=ld.lld".to_owned(),
        // Loaded where it is linked: nobody is there yet to relocate it.
        "-Crelocation-model=static".to_owned(),
        "-Clink-arg=--no-pie".to_owned(),
        format!("-Clink-arg=--script={}", script.display()),
    ];
    for_the_bare_machine(house, toolchain, &mut command, flags)?;
    command.arg("--target-dir").arg(target).env("PALISADE_ELF", unikernel).current_dir(house.loader());
    Ok(command)
}

/// What both commands share.
fn for_the_bare_machine(
    house: &House,
    toolchain: &Toolchain,
    command: &mut Command,
    mut flags: Vec<String>,
) -> Result<(), Error> {
    flags.extend(remaps(house, toolchain)?);
    command
        .args(["--quiet", "--release", "--target", TARGET, "-Zbuild-std=core,alloc"])
        .env("RUSTC", &toolchain.rustc)
        // Building the library is not a stable feature yet.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("HERMIT_LOG_LEVEL_FILTER", "error")
        .env(FLAGS, flags.join(" "));
    // What the caller chose for the host is not for this target, and must not change the image.
    for name in FOREIGN {
        command.env_remove(name);
    }
    // A caller that cargo itself runs has that package in its environment; profiles are the tree's.
    for (name, _) in std::env::vars_os() {
        let name_shown = name.to_string_lossy();
        if name_shown.starts_with("CARGO_PKG_") || name_shown.starts_with("CARGO_PROFILE_") {
            command.env_remove(name);
        }
    }
    Ok(())
}

/// Short names for the folders whose paths the compiler writes into panic messages.
fn remaps(house: &House, toolchain: &Toolchain) -> Result<Vec<String>, Error> {
    let mut remaps = Vec::new();
    let mut remap = |from: &Path, to: &str| remaps.push(format!("--remap-path-prefix={}={to}", from.display()));
    remap(house.root(), "/palisade");
    remap(&toolchain.sources, "/rust");
    if let Ok(real) = toolchain.sources.canonicalize() {
        remap(&real, "/rust");
    }
    for registry in registries()? {
        remap(&registry, "/registry");
    }
    if remaps.iter().any(|flag| flag.contains(' ')) {
        return Err(Error("a path with a space in it: move this checkout or CARGO_HOME".to_owned()));
    }
    Ok(remaps)
}

/// Where cargo unpacks published crates.
fn registries() -> Result<Vec<PathBuf>, Error> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let home = home.ok_or_else(|| Error("neither CARGO_HOME nor HOME is set".to_owned()))?;
    let sources = home.join("registry").join("src");
    let entries = sources.read_dir().map_err(|error| Error::file("read", &sources, &error))?;
    let mut registries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    registries.sort();
    Ok(registries)
}

/// Puts a file in place in one step: a VM may be starting from the old one.
fn replace(from: &Path, to: &Path) -> Result<(), Error> {
    let new = to.with_extension("new");
    fs::copy(from, &new).map_err(|error| Error::file("write", &new, &error))?;
    fs::rename(&new, to).map_err(|error| Error::file("write", to, &error))
}
