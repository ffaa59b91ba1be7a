//! Where things lie: one checkout, and what is built from it.
//!
//! Owns the paths. It must never point outside its checkout.

use std::path::{Path, PathBuf};

/// A checkout of this repository. Everything that is built from it goes to its own `target`.
#[derive(Clone, Debug)]
pub struct House {
    root: PathBuf,
}

impl House {
    /// The checkout that this program was built from.
    #[must_use]
    pub fn here() -> Self {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::at(crate_folder.parent().unwrap_or(crate_folder))
    }

    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything that this crate makes.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("target").join("images")
    }

    /// The workspace that the unikernel is built in.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.images().join("tree")
    }

    /// Cargo's target folder of unikernel and loader.
    #[must_use]
    pub fn build(&self) -> PathBuf {
        self.images().join("build")
    }

    /// Programs that `cargo install` made for us.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.root.join("target").join("tools")
    }

    #[must_use]
    pub fn patches(&self) -> PathBuf {
        self.root.join("images").join("patches")
    }

    #[must_use]
    pub fn loader(&self) -> PathBuf {
        self.root.join("images").join("loader")
    }
}
