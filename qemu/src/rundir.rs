//! Where one run of a cluster keeps its files.
//!
//! Owns the directory `target/run/NAME-PID-N`. A unix socket's path holds at most 107 bytes, so when the checkout lies
//! deep, the same directory is reached through a short symlink in the temporary directory, which ends with the run.
//! Must never reuse the directory of another run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes that the longest socket path below a run directory takes, with the directory itself staying below 107.
const BELOW_MAX: usize = 47;
/// Bytes of a unix socket's path, without the zero at its end.
const SOCKET_PATH_MAX: usize = 107;

static RUNS: AtomicU32 = AtomicU32::new(1);

/// One run's directory. The files stay for whoever wants to look; the short way to them does not.
#[derive(Debug)]
pub struct RunDir {
    real: PathBuf,
    short: Option<PathBuf>,
}

impl RunDir {
    /// Makes a new directory for a run with this name.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(name: &str) -> io::Result<Self> {
        Self::below(&target_dir().join("run"), name)
    }

    fn below(parent: &Path, name: &str) -> io::Result<Self> {
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let real = parent.join(format!("{name}-{pid}-{number}"));
        if real.exists() {
            // The leftover of a process long gone that had our number.
            fs::remove_dir_all(&real)?;
        }
        fs::create_dir_all(&real)?;
        if real.as_os_str().len() + BELOW_MAX <= SOCKET_PATH_MAX {
            return Ok(Self { real, short: None });
        }
        let short = std::env::temp_dir().join(format!("palisade-{pid}-{number}"));
        if short.is_symlink() {
            fs::remove_file(&short)?;
        }
        std::os::unix::fs::symlink(&real, &short)?;
        Ok(Self { real, short: Some(short) })
    }

    /// The path under which sockets fit.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.short.as_deref().unwrap_or(&self.real)
    }

    /// The path to tell a person.
    #[must_use]
    pub fn real(&self) -> &Path {
        &self.real
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Some(short) = &self.short {
            let _ = fs::remove_file(short);
        }
    }
}

/// The root of the checkout.
#[must_use]
pub fn root_dir() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where everything that is built or run goes.
#[must_use]
pub fn target_dir() -> PathBuf {
    root_dir().join("target")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_never_share_a_directory_and_a_deep_one_gets_a_short_name() {
        let (a, b) = (RunDir::new("test").unwrap(), RunDir::new("test").unwrap());
        assert_ne!(a.real(), b.real());
        let deep = a.real().join("d".repeat(100));
        let run = RunDir::below(&deep, "test").unwrap();
        let short = run.path().to_path_buf();
        assert!(short.as_os_str().len() + BELOW_MAX <= SOCKET_PATH_MAX);
        assert!(short.is_dir());
        drop(run);
        assert!(!short.is_symlink());
        for run in [a, b] {
            fs::remove_dir_all(run.real()).unwrap();
        }
    }
}
