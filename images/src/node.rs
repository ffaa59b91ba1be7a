//! The node's image: Debian's stock kernel, and a first file system with our client in it.
//!
//! Owns `target/images/node`. It must never need root, or anything of this machine but its compiler and its packages.
//!
//! ```text
//! vmlinux      the kernel as an ELF file, which QEMU's -kernel boots a good deal faster than
//! vmlinuz      the kernel as Debian ships it
//! initrd.img   busybox, init, the client, the checker, the modules of the lists below and ours; not compressed
//! inputs       what they were made of: nothing is made again while it holds
//! ```

mod cpio;
mod debian;
mod defect;
mod modules;
mod ours;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::house::House;
use crate::kernel::{make_folder, write};
use crate::run::Error;
use crate::setup;

use cpio::Archive;
use debian::Kernel;
use modules::Modules;
use ours::Ours;

pub use defect::Defect;

/// What the build takes from Debian, apart from the kernel.
const PACKAGES: [&str; 7] = ["busybox-static", "gcc-12", "libc6-dev", "libelf1", "libssl3", "make", "xz-utils"];
/// Loaded by init: the channel, vsock, the panic device, and what a node's disks and network need.
const LOADED: [&str; 7] = [
    "virtio_pci",
    "virtio_console",
    "pvpanic-pci",
    "vmw_vsock_virtio_transport",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
];
/// There for those who load them: OCFS2 with the kernel DLM, and the checksum that its journal asks for by name.
const CARRIED: [&str; 5] = ["configfs", "dlm", "ocfs2_stackglue", "ocfs2", "crc32c_generic"];
/// What classic o2cb needs besides, to be compared with.
const O2CB: [&str; 3] = ["ocfs2_nodemanager", "ocfs2_dlm", "ocfs2_stack_o2cb"];
/// What the file system of the disk of workload programs needs.
const WORKLOAD: [&str; 1] = ["squashfs"];
/// What a program in user space needs to drive OCFS2, to be compared with.
const USER: [&str; 1] = ["ocfs2_stack_user"];
/// Scripts of ours: where they lie in `images/node`, and where in the node.
const SCRIPTS: [(&str, &str); 7] = [
    ("init", "init"),
    ("console-shell", "bin/console-shell"),
    ("volume", "bin/volume"),
    ("panic-now", "bin/panic"),
    ("hang-now", "bin/hang"),
    ("join", "bin/join"),
    ("leave", "bin/leave"),
];
const BUSYBOX: &str = "/bin/busybox";
/// A change of this program changes the image.
const SOURCES: [&str; 6] = [
    include_str!("node.rs"),
    include_str!("node/cpio.rs"),
    include_str!("node/debian.rs"),
    include_str!("node/defect.rs"),
    include_str!("node/modules.rs"),
    include_str!("node/ours.rs"),
];

/// A built node image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeImage {
    /// For QEMU's -kernel.
    pub kernel: PathBuf,
    /// For QEMU's -initrd.
    pub initrd: PathBuf,
}

impl NodeImage {
    /// Where the image of this checkout lies, or will lie.
    #[must_use]
    pub fn of(house: &House) -> Self {
        let folder = house.images().join("node");
        Self { kernel: folder.join("vmlinux"), initrd: folder.join("initrd.img") }
    }
}

/// Builds the node's image, unless it is there and nothing has changed.
///
/// # Errors
/// If packages are missing and cannot be installed, or something does not compile.
pub fn build(house: &House) -> Result<NodeImage, Error> {
    let (folder, kernel, _lock) = prepare(house)?;
    let image = NodeImage::of(house);
    let inputs = inputs(house, &kernel)?;
    let note = folder.join("inputs");
    let is_there = image.kernel.exists() && image.initrd.exists();
    if is_there && fs::read_to_string(&note).is_ok_and(|known| known == inputs) {
        return Ok(image);
    }
    println!("building the node's image");
    // A build that is cut short must not look like a finished one.
    write(&note, "")?;
    let ours = Ours::build(house, &folder, &kernel, None)?;
    write_bytes(&folder.join("vmlinuz"), &read(&kernel.compressed())?)?;
    write_bytes(&image.kernel, &debian::unpack(&kernel.compressed())?)?;
    write_bytes(&image.initrd, &file_system(house, &kernel, &ours)?)?;
    write(&note, &inputs)?;
    Ok(image)
}

/// Builds the image with a shim that has a defect, for the test that shows what the line in its place is good for.
///
/// # Errors
/// As [`build`], and if the shim's sources no longer have what the defect changes.
pub fn build_spoilt(house: &House, defect: &Defect) -> Result<NodeImage, Error> {
    let sound = build(house)?;
    let (folder, kernel, _lock) = prepare(house)?;
    println!("building the node's image with the defect {}", defect.name);
    let ours = Ours::build(house, &folder, &kernel, Some(defect))?;
    let image = NodeImage { initrd: folder.join(format!("{}.img", defect.name)), ..sound };
    write_bytes(&image.initrd, &file_system(house, &kernel, &ours)?)?;
    Ok(image)
}

/// The folder, the kernel in it, and a lock: several tests may want the image at once; it goes with the file.
fn prepare(house: &House) -> Result<(PathBuf, Kernel, File), Error> {
    let folder = house.images().join("node");
    make_folder(&folder)?;
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path).map_err(|error| Error::file("create", &lock_path, &error))?;
    lock.lock().map_err(|error| Error::file("lock", &lock_path, &error))?;
    setup::ensure(&PACKAGES)?;
    let kernel = debian::prepare(&folder)?;
    Ok((folder, kernel, lock))
}

/// What compiler and sparse say about the shim with all warnings on; empty: nothing.
///
/// # Errors
/// If packages are missing and cannot be installed, or it does not compile at all.
pub fn shim_warnings(house: &House) -> Result<String, Error> {
    let (folder, kernel, _lock) = prepare(house)?;
    setup::ensure(&["sparse"])?;
    ours::warnings(house, &folder, &kernel)
}

/// What a module is built against: the kernel's release, the headers that all flavours share, and those of this one.
///
/// # Errors
/// If the packages cannot be fetched.
pub fn headers(house: &House) -> Result<(String, PathBuf, PathBuf), Error> {
    let (_folder, kernel, _lock) = prepare(house)?;
    let (common, flavour) = kernel.headers();
    Ok((kernel.release, common, flavour))
}

/// The kernel's own checker of style, of the version that the shim is built for.
///
/// # Errors
/// If the kernel's sources cannot be fetched.
pub fn checkpatch(house: &House) -> Result<PathBuf, Error> {
    let (folder, kernel, _lock) = prepare(house)?;
    Ok(debian::sources(&folder, &kernel)?.join("scripts/checkpatch.pl"))
}

fn file_system(house: &House, kernel: &Kernel, ours: &Ours) -> Result<Vec<u8>, Error> {
    let modules = Modules::find(&kernel.modules())?;
    let mut archive = Archive::default();
    for name in ["bin", "dev", "lib", "lib/modules", "mnt", "proc", "run", "sys", "tmp", "workload"] {
        archive.folder(name);
    }
    // Where the first process says what it says before it has mounted /dev.
    archive.character_device("dev/console", 5, 1);
    for (source, place) in SCRIPTS {
        archive.file(place, 0o755, &read(&house.root().join("images/node").join(source))?);
    }
    archive.file("bin/busybox", 0o755, &read(Path::new(BUSYBOX))?);
    archive.link("bin/sh", "busybox");
    archive.file("bin/palisade-node", 0o755, &ours.client);
    archive.file("bin/palisade-checker", 0o755, &ours.checker);
    // Under a name of its own, what writes can be told from what serves.
    archive.link("bin/palisade-write", "palisade-checker");
    for (name, content) in &ours.modules {
        archive.file(&format!("lib/modules/{name}.ko"), 0o644, content);
    }
    let mut known = Vec::new();
    // Each module with what it needs first, those that an earlier list loads left out:
    // `while read m; do insmod ...; done </lib/modules/ocfs2`.
    let lists =
        [("boot", LOADED.as_slice()), ("ocfs2", &CARRIED), ("o2cb", &O2CB), ("user", &USER), ("workload", &WORKLOAD)];
    for (list, wanted) in lists {
        let mut lines = String::new();
        for (name, content) in modules.in_order(wanted)? {
            if known.contains(&name) {
                continue;
            }
            archive.file(&format!("lib/modules/{name}.ko"), 0o644, &content);
            lines += &format!("{name}.ko\n");
            known.push(name);
        }
        archive.file(&format!("lib/modules/{list}"), 0o644, lines.as_bytes());
    }
    Ok(archive.finish())
}

/// Everything that the image depends on, as lines: what cannot be seen in a version is seen in a digest.
fn inputs(house: &House, kernel: &Kernel) -> Result<String, Error> {
    let mut lines = vec![
        format!("kernel {} {}", kernel.release, kernel.version),
        format!("builder {:016x}", digest(SOURCES.concat().as_bytes())),
        format!("busybox {:016x}", digest(&read(Path::new(BUSYBOX))?)),
    ];
    let mut paths: Vec<PathBuf> =
        ["Cargo.toml", "Cargo.lock", "images/node", "appliance/core", ours::SHIM].map(PathBuf::from).into();
    while let Some(path) = paths.pop() {
        let full = house.root().join(&path);
        if !full.exists() {
            continue;
        }
        if full.is_dir() {
            let entries = fs::read_dir(&full).map_err(|error| Error::file("read", &full, &error))?;
            paths.extend(entries.flatten().map(|entry| path.join(entry.file_name())));
        } else {
            lines.push(format!("{} {:016x}", path.display(), digest(&read(&full)?)));
        }
    }
    lines.sort();
    Ok(lines.join("\n") + "\n")
}

/// FNV-1a: it finds changes, and nobody attacks it.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::file("read", path, &error))
}

/// Replaces a file as a whole: a VM that runs from the old one keeps it.
fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    fs::write(&fresh, bytes).map_err(|error| Error::file("write", &fresh, &error))?;
    fs::rename(&fresh, path).map_err(|error| Error::file("replace", path, &error))
}
