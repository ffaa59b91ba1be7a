//! Debian's stock kernel, its modules and its headers, unpacked and not installed.
//!
//! Owns `target/images/node/debian`. It must never install a kernel: this machine's own must stay what it boots.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kernel::{make_folder, write};
use crate::run::{self, Error};

/// The kernel that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    /// The packages' version.
    pub version: String,
    folder: PathBuf,
}

impl Kernel {
    /// The compressed kernel.
    #[must_use]
    pub fn compressed(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// The folder of its modules.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release).join("kernel")
    }

    /// The headers that are common to all flavours, and those of this one.
    #[must_use]
    pub fn headers(&self) -> (PathBuf, PathBuf) {
        let sources = self.folder.join("usr/src");
        let common = format!("linux-headers-{}-common", self.release.trim_end_matches("-amd64"));
        (sources.join(common), sources.join(format!("linux-headers-{}", self.release)))
    }
}

/// Sees to it that the kernel is there. The first choice stays until the folder is removed, so that neither a new kernel
/// in the archive nor a missing network changes an image.
///
/// # Errors
/// If apt knows no kernel or cannot fetch it.
pub fn prepare(folder: &Path) -> Result<Kernel, Error> {
    let root = folder.join("debian");
    let done = root.join("complete");
    let known = fs::read_to_string(&done).unwrap_or_default();
    if let Some((release, version)) = known.trim().split_once(' ') {
        return Ok(Kernel { release: release.to_owned(), version: version.to_owned(), folder: root });
    }
    let kernel = fetch(folder, &root).or_else(|_| {
        // The package lists may be missing, or name what the archive no longer has.
        println!("updating the package lists");
        run::output(Command::new("apt-get").arg("update"))?;
        fetch(folder, &root)
    })?;
    write(&done, &format!("{} {}\n", kernel.release, kernel.version))?;
    Ok(kernel)
}

fn fetch(folder: &Path, root: &Path) -> Result<Kernel, Error> {
    let about = run::output(Command::new("apt-cache").args(["show", "--no-all-versions", "linux-image-amd64"]))?;
    let (release, version) =
        depends(&about).ok_or_else(|| Error("apt-cache show linux-image-amd64 names no kernel".to_owned()))?;
    println!("fetching Debian's kernel {release} ({version}): kernel, modules and headers, 85 MB");
    let packages = folder.join("packages");
    for path in [&packages, &root.to_path_buf()] {
        if path.exists() {
            fs::remove_dir_all(path).map_err(|error| Error::file("remove", path, &error))?;
        }
        make_folder(path)?;
    }
    let common = format!("linux-headers-{}-common", release.trim_end_matches("-amd64"));
    let names = [format!("linux-image-{release}"), format!("linux-headers-{release}"), common]
        .map(|name| format!("{name}={version}"));
    // The build tools' package is named after the series: 6.1.0-56-amd64 -> linux-kbuild-6.1.
    let series: Vec<&str> = release.split('.').take(2).collect();
    let tools = format!("linux-kbuild-{}={version}", series.join("."));
    run::output(Command::new("apt-get").arg("download").args(&names).arg(tools).current_dir(&packages))?;
    let entries = fs::read_dir(&packages).map_err(|error| Error::file("read", &packages, &error))?;
    for package in entries.flatten().map(|entry| entry.path()) {
        run::output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(root))?;
    }
    fs::remove_dir_all(&packages).map_err(|error| Error::file("remove", &packages, &error))?;
    Ok(Kernel { release, version, folder: root.to_path_buf() })
}

/// What is wanted out of the kernel's own sources: headers that Debian does not ship for modules, and the style's checker.
const WANTED: [&str; 5] = [
    "fs/ocfs2/stackglue.h",
    "fs/ocfs2/dlm/dlmapi.h",
    "scripts/checkpatch.pl",
    "scripts/spelling.txt",
    "scripts/const_structs.checkpatch",
];

/// The folder with those files of the kernel's sources that are wanted here.
///
/// # Errors
/// If apt cannot fetch the sources.
pub fn sources(folder: &Path, kernel: &Kernel) -> Result<PathBuf, Error> {
    let place = folder.join("source");
    let note = place.join("inputs");
    let inputs = format!("{} {}\n{}", kernel.release, kernel.version, WANTED.join("\n"));
    if fs::read_to_string(&note).is_ok_and(|known| known == inputs) {
        return Ok(place);
    }
    if place.exists() {
        fs::remove_dir_all(&place).map_err(|error| Error::file("remove", &place, &error))?;
    }
    let package = place.join("package");
    make_folder(&package)?;
    let series: Vec<&str> = kernel.release.split('.').take(2).collect();
    let name = format!("linux-source-{}", series.join("."));
    println!("fetching the kernel's sources for the headers that modules do not get, 140 MB");
    let wanted = format!("{name}={}", kernel.version);
    run::output(Command::new("apt-get").arg("download").arg(wanted).current_dir(&package))?;
    let entries = fs::read_dir(&package).map_err(|error| Error::file("read", &package, &error))?;
    let packed = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|x| x == "deb"));
    let packed = packed.ok_or_else(|| Error(format!("apt-get left no package of {name}")))?;
    run::output(Command::new("dpkg-deb").arg("--extract").arg(&packed).arg(&package))?;
    let archive = package.join("usr/src").join(format!("{name}.tar.xz"));
    run::output(
        Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .args(["--strip-components=1", "--wildcards"])
            .args(WANTED.map(|file| format!("*/{file}")))
            .current_dir(&place),
    )?;
    fs::remove_dir_all(&package).map_err(|error| Error::file("remove", &package, &error))?;
    write(&note, &inputs)?;
    Ok(place)
}

/// The headers that a module wants out of the kernel's own sources: its `private.sh` takes them to `private` beside it.
///
/// # Errors
/// If apt cannot fetch the sources, or the script fails.
pub fn private_headers(folder: &Path, module: &Path, kernel: &Kernel) -> Result<(), Error> {
    let script = fs::read_to_string(module.join("private.sh")).unwrap_or_default();
    let inputs = format!("{} {}\n{script}", kernel.release, kernel.version);
    let note = module.join("private.inputs");
    if module.join("private").is_dir() && fs::read_to_string(&note).is_ok_and(|known| known == inputs) {
        return Ok(());
    }
    let source = sources(folder, kernel)?;
    run::output(Command::new("sh").arg("private.sh").arg(&source).current_dir(module))?;
    write(&note, &inputs)
}

/// Release and version of the kernel that the metapackage depends on.
fn depends(about: &str) -> Option<(String, String)> {
    let line = about.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let (name, version) =
        line.split(',').find_map(|one| one.trim().strip_prefix("linux-image-")?.split_once(" (= "))?;
    Some((name.to_owned(), version.trim_end_matches(')').to_owned()))
}

/// The kernel as an ELF file, out of its compressed form. QEMU boots it directly (PVH), and a guest without hardware
/// virtualisation saves the 2.5 s that it takes to unpack itself.
///
/// # Errors
/// If the file is not what the boot protocol says.
pub fn unpack(compressed: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(compressed).map_err(|error| Error::file("read", compressed, &error))?;
    let payload =
        payload(&bytes).ok_or_else(|| Error(format!("{} holds no kernel compressed by xz", compressed.display())))?;
    let mut child = Command::new("xz")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error(format!("cannot start xz: {error}; apt-get install xz-utils")))?;
    let mut input = child.stdin.take().ok_or_else(|| Error("xz has no input".to_owned()))?;
    let payload = payload.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&payload));
    let output = child.wait_with_output().map_err(|error| Error(format!("xz broke: {error}")))?;
    let fed = feeder.join().is_ok_and(|result| result.is_ok());
    if !fed || !output.status.success() || !output.stdout.starts_with(b"\x7fELF") {
        return Err(Error(format!("xz cannot unpack {}: {}", compressed.display(), output.status)));
    }
    Ok(output.stdout)
}

/// The compressed part, as the boot protocol's header names it (Documentation/x86/boot.rst).
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| {
        let four = bytes.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*four)).ok()
    };
    if bytes.get(0x202..0x206) != Some(b"HdrS".as_slice()) {
        return None;
    }
    let setup_sectors = usize::from(*bytes.get(0x1f1)?).max(4);
    let start = (setup_sectors + 1) * 512 + number(0x248)?;
    // The last four bytes are the size of what comes out.
    let end = start + number(0x24c)?.checked_sub(4)?;
    bytes.get(start..end).filter(|payload| payload.starts_with(b"\xfd7zXZ\0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metapackage_names_the_kernel() {
        let about = "Package: linux-image-amd64\nDepends: x, linux-image-6.1.0-56-amd64 (= 6.1.192-2)\nSize: 1\n";
        assert_eq!(depends(about), Some(("6.1.0-56-amd64".to_owned(), "6.1.192-2".to_owned())));
        assert_eq!(depends("Package: y\n"), None);
    }
}
