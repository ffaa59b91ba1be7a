//! A volume of OCFS2 in a plain file: made before a run, checked after it, read without any node.
//!
//! Owns the calls of Debian's ocfs2-tools. Must never repair a volume: what a run left is the evidence.

use crate::plan;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Bytes of a volume; most of them are never written.
const BYTES: u64 = 256 << 20;
/// Slots: so many nodes can mount it at once.
const SLOTS: &str = "4";

/// Whose members a volume names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Any user of the stack interface but o2cb: the shim.
    Given,
    /// The kernel's classic o2cb.
    O2cb,
}

/// A volume. Its file is removed with this value, unless a test is failing.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
}

impl Volume {
    /// Makes one.
    ///
    /// # Errors
    /// A sentence: ocfs2-tools are missing, or refuse.
    pub fn make(path: &Path, members: Members) -> Result<Self, String> {
        let error = |error: std::io::Error| format!("the disk {} cannot be made: {error}", path.display());
        File::create(path).and_then(|file| file.set_len(BYTES)).map_err(error)?;
        let mut command = tool("mkfs.ocfs2");
        command.args(["-F", "-F", "-U", plan::VOLUME, "-N", SLOTS, "-b", "4K", "-C", "4K", "-J", "size=8M"]);
        if members == Members::Given {
            command.args(["--cluster-stack=pcmk", &format!("--cluster-name={}", plan::CLUSTER)]);
        }
        let output = command.arg(path).output().map_err(missing)?;
        let volume = Self { path: path.to_path_buf() };
        if output.status.success() { volume.clean().map(|()| volume) } else { Err(said("mkfs.ocfs2", &output)) }
    }

    /// Where its blocks are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Nothing is wrong with it: each structure, forced, nothing repaired.
    ///
    /// # Errors
    /// What fsck.ocfs2 says.
    pub fn clean(&self) -> Result<(), String> {
        let output = tool("fsck.ocfs2").arg("-fn").arg(&self.path).output().map_err(missing)?;
        let says_so = String::from_utf8_lossy(&output.stdout).contains("All passes succeeded.");
        if output.status.success() && says_so { Ok(()) } else { Err(said("fsck.ocfs2 -fn", &output)) }
    }

    /// A file's bytes as they lie on the disk.
    ///
    /// # Errors
    /// What debugfs.ocfs2 says.
    pub fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        Ok(self.ask(&format!("cat {name}"))?.stdout)
    }

    /// The sector at which the region begins on which classic o2cb's nodes show that they live.
    ///
    /// # Errors
    /// What debugfs.ocfs2 says.
    pub fn heartbeat_sector(&self) -> Result<u64, String> {
        let output = self.ask("stat //heartbeat")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The one extent of the file: offset, clusters, block, flags.
        let extent = text.lines().skip_while(|line| !line.contains("## Offset")).nth(1);
        let block = extent.and_then(|line| line.split_whitespace().nth(3)).and_then(|word| word.parse::<u64>().ok());
        block.map(|block| block * (4096 / 512)).ok_or_else(|| said("debugfs.ocfs2", &output))
    }

    fn ask(&self, request: &str) -> Result<Output, String> {
        let output = tool("debugfs.ocfs2").args(["-R", request]).arg(&self.path).output().map_err(missing)?;
        if output.status.success() { Ok(output) } else { Err(said("debugfs.ocfs2", &output)) }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn tool(name: &str) -> Command {
    // Not in everybody's PATH.
    let path = ["/usr/sbin", "/sbin"].iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    let mut command = Command::new(path.unwrap_or_else(|| name.into()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn missing(error: std::io::Error) -> String {
    format!("a program of ocfs2-tools cannot be run: {error}; apt-get install --yes ocfs2-tools")
}

fn said(what: &str, output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{what}: {}\n{}\n{}", output.status, out.trim_end(), err.trim_end())
}
