//! `cargo run -p palisade-qemu -- compare o2cb`: the same death with Palisade and with the kernel's classic o2cb.
//!
//! Owns what a person reads. Exit status: 0 if the comparison holds, 1 if not, 2 for a bad argument.

use palisade_qemu::compare::{self, Ratio};
use palisade_qemu::{prepare, stop};
use std::process::ExitCode;

const HELP: &str = "\
cargo run --release -p palisade-qemu -- compare o2cb [--only o2cb|palisade]

  Two nodes write to one OCFS2 volume; one gets SIGKILL; how long until the other's write returns. Once with the kernel's
  classic o2cb at its defaults, once with Palisade, on this machine, one after the other. `cargo demo` shows scenes.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let only = match words.as_slice() {
        ["compare", "o2cb"] => None,
        ["compare", "o2cb", "--only", one @ ("o2cb" | "palisade")] => Some(*one),
        ["--help" | "-h" | "help"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("palisade-qemu: these are no arguments of mine\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(only) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("palisade-qemu: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(only: Option<&str>) -> Result<bool, String> {
    let prepared = prepare::prepare(&|line| println!("{line}"))?;
    stop::listen().map_err(|error| format!("Ctrl-C cannot be caught: {error}"))?;
    let with = &prepared.artefacts;
    let wants = |name| only.is_none_or(|only| only == name);
    let ours = wants("palisade").then(|| compare::palisade(with)).transpose()?;
    if let Some(ours) = ours {
        println!("Palisade: the survivor's write returned {} ms after the SIGKILL", ours.as_millis());
    }
    let theirs = wants("o2cb").then(|| compare::o2cb(with)).transpose()?;
    if let Some(theirs) = theirs {
        println!("classic o2cb, at its defaults: {} ms after the SIGKILL", theirs.as_millis());
    }
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(true) };
    let ratio = Ratio { ours, theirs };
    println!("{ratio}");
    Ok(ratio.holds())
}
