//! The disk of Debian's own programs, for nodes: fio, its shell and rmdir with the libraries that they load, to be read only.
//!
//! Owns `target/images/workload.img`. It must never be part of the node's first file system: the libraries take more memory
//! than everything else there, and whoever does not run a workload has no use for them.
//!
//! ```text
//! bin/             the programs as Debian ships them
//! lib/             their libraries, flat, and the loader: lib/ld.so --library-path lib bin/fio
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::House;
use crate::kernel::{make_folder, write};
use crate::run::{self, Error};
use crate::setup;

/// fio, and what makes the file system that a disk of it needs.
const PACKAGES: [&str; 2] = ["fio", "squashfs-tools"];
const PROGRAMS: [(&str, &str); 3] = [("fio", "/usr/bin/fio"), ("sh", "/bin/dash"), ("rmdir", "/bin/rmdir")];

/// Builds the disk, unless it is there and nothing has changed.
///
/// # Errors
/// If packages are missing and cannot be installed, or a program refuses.
pub fn build(house: &House) -> Result<PathBuf, Error> {
    make_folder(&house.images())?;
    let lock_path = house.images().join("workload.lock");
    let lock = File::create(&lock_path).map_err(|error| Error::file("create", &lock_path, &error))?;
    lock.lock().map_err(|error| Error::file("lock", &lock_path, &error))?;
    setup::ensure(&PACKAGES)?;
    let (image, note) = (house.images().join("workload.img"), house.images().join("workload.inputs"));
    let mut files = BTreeMap::new();
    for (_, program) in PROGRAMS {
        files.extend(needed(&run::output(Command::new("ldd").arg(program))?));
    }
    let inputs = inputs(&files)?;
    if image.exists() && fs::read_to_string(&note).is_ok_and(|known| known == inputs) {
        return Ok(image);
    }
    println!("building the disk of workload programs");
    write(&note, "")?;
    let tree = house.images().join("workload");
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(|error| Error::file("remove", &tree, &error))?;
    }
    make_folder(&tree.join("bin"))?;
    make_folder(&tree.join("lib"))?;
    for (name, program) in PROGRAMS {
        copy(Path::new(program), &tree.join("bin").join(name))?;
    }
    for (name, path) in &files {
        copy(path, &tree.join("lib").join(name))?;
    }
    // Not compressed: a node under emulation would take longer to unpack than to read.
    let plain = ["-noappend", "-quiet", "-no-progress", "-noI", "-noD", "-noF", "-noX", "-all-root"];
    run::output(Command::new("mksquashfs").arg(&tree).arg(&image).args(plain))?;
    fs::remove_dir_all(&tree).map_err(|error| Error::file("remove", &tree, &error))?;
    write(&note, &inputs)?;
    Ok(image)
}

/// What the loader would load, as `ldd` tells it: under which name, and from where. The loader itself is `ld.so`.
fn needed(told: &str) -> Vec<(String, PathBuf)> {
    let of = |line: &str| {
        let line = line.rsplit_once(" (0x")?.0.trim();
        match line.split_once(" => ") {
            Some((name, path)) => Some((name.to_owned(), PathBuf::from(path))),
            None => line.starts_with('/').then(|| ("ld.so".to_owned(), PathBuf::from(line))),
        }
    };
    told.lines().filter_map(of).collect()
}

fn inputs(files: &BTreeMap<String, PathBuf>) -> Result<String, Error> {
    let mut lines = include_str!("workload.rs").to_owned();
    for path in files.values().map(PathBuf::as_path).chain(PROGRAMS.map(|(_, path)| Path::new(path))) {
        let about = fs::metadata(path).map_err(|error| Error::file("look at", path, &error))?;
        lines += &format!("{} {} {:?}\n", path.display(), about.len(), about.modified().ok());
    }
    Ok(lines)
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(drop).map_err(|error| Error::file("copy", from, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_libraries_and_the_loader_and_what_has_no_file_is_left_out() {
        let told = "\tlinux-vdso.so.1 (0x00007f27a2848000)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f27a25e1000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f27a284a000)\n\tlibno.so => not found\n";
        let wanted = [("libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1"), ("ld.so", "/lib64/ld-linux-x86-64.so.2")];
        assert_eq!(needed(told), wanted.map(|(name, path)| (name.to_owned(), PathBuf::from(path))));
    }
}
