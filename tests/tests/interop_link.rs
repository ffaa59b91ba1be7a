//! Core and methods link into a program that has no allocator (tests/linkcheck): the proof by the linker that nothing in
//! their whole graph of crates allocates, which no reading of our own source can give.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn build(more: &[&str]) -> (Output, PathBuf) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("linkcheck/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linkcheck");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(&target).args(more);
    // What was set for the build of this test is not meant for that one.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    (command.output().unwrap(), target.join("release/palisade-linkcheck"))
}

#[test]
fn core_and_methods_link_without_an_allocator_and_run() {
    // First the one that must fail, so that the program that is left is the one that works.
    let (output, _) = build(&["--features", "with-alloc"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no global memory allocator"), "the check finds nothing: {said}");

    let (output, program) = build(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("--locked"), "run `cargo build` once in tests/linkcheck to renew its lock file:\n{said}");
    assert!(output.status.success(), "something allocates:\n{said}");
    let run = Command::new(&program).status().unwrap();
    assert!(run.success(), "{run}");
}
