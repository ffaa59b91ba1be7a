//! `cargo run -p palisade-qemu -- compare o2cb`: the same death with Palisade and with the kernel's classic o2cb.
//! `-- compare memory`: a death while memory is exhausted, with the shim and with a process in its place.
//!
//! Owns what a person reads. Exit status: 0 if the comparison holds, 1 if not, 2 for a bad argument.

use palisade_qemu::compare::{self, Ratio};
use palisade_qemu::memory;
use palisade_qemu::plan::{Artefacts, Driver};
use palisade_qemu::{prepare, stop};
use std::process::ExitCode;

const HELP: &str = "\
cargo run --release -p palisade-qemu -- compare o2cb [--only o2cb|palisade]
cargo run --release -p palisade-qemu -- compare memory [--only shim|locked|shell] [--live]

  Two nodes write to one OCFS2 volume; one gets SIGKILL; how long until the other's write returns. Once with the kernel's
  classic o2cb at its defaults, once with Palisade, on this machine, one after the other. `cargo demo` shows scenes.

  A node without memory loses its peer: how long until it has recovered. Once with the shim, once with a process in its
  place that is locked in memory, once with a shell for each step. Prints a table.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["compare", "o2cb"] => o2cb(None),
        ["compare", "o2cb", "--only", one @ ("o2cb" | "palisade")] => o2cb(Some(*one)),
        ["compare", "memory"] => memory(&memory::DRIVERS, false),
        ["compare", "memory", "--live"] => memory(&memory::DRIVERS, true),
        ["compare", "memory", "--only", one] if named(one).is_some() => memory(named(one).as_slice(), true),
        ["--help" | "-h" | "help"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("palisade-qemu: these are no arguments of mine\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("palisade-qemu: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn named(word: &str) -> Option<Driver> {
    memory::DRIVERS.into_iter().find(|driver| driver.word() == word)
}

fn ready() -> Result<Artefacts, String> {
    let prepared = prepare::prepare(&|line| println!("{line}"))?;
    stop::listen().map_err(|error| format!("Ctrl-C cannot be caught: {error}"))?;
    Ok(prepared.artefacts)
}

fn memory(drivers: &[Driver], live: bool) -> Result<bool, String> {
    let with = ready()?;
    let mut rows = Vec::new();
    for driver in drivers {
        let row = memory::row(*driver, &with, live)?;
        println!("{}", memory::table(std::slice::from_ref(&row)));
        rows.push(row);
    }
    let verdict = memory::verdict(&rows);
    print!(
        "{}{}",
        memory::table(&rows),
        verdict.as_ref().map_or_else(|sentence| sentence.clone() + "\n", String::clone)
    );
    Ok(verdict.is_ok())
}

fn o2cb(only: Option<&str>) -> Result<bool, String> {
    let with = &ready()?;
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
