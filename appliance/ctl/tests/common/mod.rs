//! What the tests of `palisadectl` share: running it, and a sample configuration.

#![allow(dead_code, clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a run of `palisadectl` ended.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Both outputs, for the message of a failed assertion.
    pub fn said(&self) -> String {
        format!("exit {:?}\n{}{}", self.code, self.out, self.err)
    }
}

pub fn palisadectl(arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_palisadectl")).args(arguments).output().unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory of one test, removed when it ends well.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ctl-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Two hosts and a witness.
pub fn sample(password: &str, suite_min: u8) -> String {
    let host = |id: u8, name: &str, levels: &str| {
        format!(
            r#"    {{"id": {id}, "name": "{name}", "links": [{{"mac": "52:54:00:01:00:0{id}", "ip": "10.1.0.{id}"}}, {{"mac": "52:54:00:02:00:0{id}", "ip": "10.2.0.{id}"}}],
     "management": {{"mac": "52:54:00:09:00:0{id}", "ip": "192.168.9.{id}", "prefix": 24}}, "levels": {levels}}}"#
        )
    };
    let device = |id: u8, address: &str| {
        format!(
            r#"    {{"name": "bmc{id}", "covers": [{id}], "timeout_ms": 8000,
     "method": {{"ipmi": {{"address": "{address}", "user": "admin", "password": "{password}", "suite_min": {suite_min}}}}}}}"#
        )
    };
    format!(
        r#"{{
  "name": "sample", "epoch": 1,
  "secret": "{}",
  "hosts": [
{},
{},
{}
  ],
  "nodes": [
    {{"id": 1, "name": "n1", "host": 1, "levels": [["guard"], ["qmp"]]}},
    {{"id": 2, "name": "n2", "host": 2, "levels": [["guard"], ["qmp"]]}}
  ],
  "devices": [
{},
{}
  ]
}}
"#,
        "5a".repeat(32),
        host(1, "east", r#"[["bmc1"]]"#),
        host(2, "west", r#"[["bmc2"]]"#),
        host(3, "witness", "[]"),
        device(1, "192.168.9.101"),
        device(2, "192.168.9.102"),
    )
}
