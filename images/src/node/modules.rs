//! Kernel modules: which files a wanted module needs, and in which order they load.
//!
//! Owns reading the modules' own words about themselves. It must never need depmod: the packages are unpacked, not
//! installed, so nobody has made an index.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::Error;

/// All modules of an unpacked kernel, by name.
#[derive(Debug)]
pub struct Modules(BTreeMap<String, PathBuf>);

impl Modules {
    /// Looks through `folder`, the `kernel` folder of a modules tree.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn find(folder: &Path) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).map_err(|error| Error::file("read", &folder, &error))?;
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "ko")
                    && let Some(stem) = path.file_stem()
                {
                    found.insert(name_of(&stem.to_string_lossy()), path);
                }
            }
        }
        Ok(Self(found))
    }

    /// The files of these modules and of all that they need; each comes after what it needs.
    ///
    /// # Errors
    /// If one is missing.
    pub fn in_order(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut order = Vec::new();
        for name in wanted {
            self.add(&name_of(name), &mut order)?;
        }
        Ok(order)
    }

    // The kernel's own rule that modules cannot need each other in a circle bounds the depth.
    fn add(&self, name: &str, order: &mut Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        if order.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        let path = self.0.get(name).ok_or_else(|| Error(format!("the kernel has no module {name}")))?;
        let content = fs::read(path).map_err(|error| Error::file("read", path, &error))?;
        for needed in needs(&content) {
            self.add(&needed, order)?;
        }
        order.push((name.to_owned(), content));
        Ok(())
    }
}

/// A module's name in the kernel: its file may have dashes where the name has underlines.
fn name_of(stem: &str) -> String {
    stem.replace('-', "_")
}

/// What the `depends=` entry of the module's information names.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let list = module.get(at + KEY.len()..).unwrap_or(&[]);
    let end = list.iter().position(|&byte| byte == 0).unwrap_or(0);
    let list = String::from_utf8_lossy(list.get(..end).unwrap_or(&[])).into_owned();
    list.split(',').filter(|name| !name.is_empty()).map(name_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_from_the_module() {
        assert_eq!(needs(b"ELF..\0license=GPL\0depends=virtio,virtio-ring\0name=x\0"), ["virtio", "virtio_ring"]);
        assert_eq!(needs(b"\0depends=\0"), [""; 0]);
        assert_eq!(needs(b"nothing"), [""; 0]);
    }
}
