//! The maker of files: a name in a directory is the journal's business, and is lost when nobody replays it.
//!
//! Owns the names. Must never say that a file is safe before it and its directory are synced.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::{Writer, sys};

/// Makes files until the count is reached, or for ever.
///
/// # Errors
/// A sentence: the kernel refuses.
pub fn run(folder: &Path, writer: &Writer) -> Result<(), String> {
    let error = |error: std::io::Error| format!("cannot make a file in {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(error)?;
    let directory = File::open(folder).map_err(error)?;
    for count in 1..=writer.count {
        let name = format!("n{}-{:08x}-{count:06}", writer.node, writer.boot);
        let mut file = File::create_new(folder.join(&name)).map_err(error)?;
        // It holds its own name, so that an empty file is not taken for it.
        file.write_all(name.as_bytes()).map_err(error)?;
        file.sync_all().map_err(error)?;
        directory.sync_all().map_err(error)?;
        sys::tell(&format!("CREATED node={} name={name}", writer.node));
        std::thread::sleep(writer.pause);
    }
    Ok(())
}

/// Prints the names of all files that hold what they should: their own name.
///
/// # Errors
/// A sentence: the directory or a file cannot be read.
pub fn list(folder: &Path) -> Result<(), String> {
    let error = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let mut names = String::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if fs::read(&path).map_err(error)? == name.as_bytes() {
            names += &name;
            names.push('\n');
        }
    }
    print!("{names}");
    Ok(())
}
