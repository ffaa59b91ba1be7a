//! `palisade-guard`: runs the VMs of one host, or checks their description.
//!
//! Owns the command line and the exit status. The rest is the library; the allocator is counted here, so that a running
//! guard can say that it allocated nothing on duty.

use palisade_core::config::check;
use palisade_guard::{load, memory, rules, say, start};
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// The description or the configuration is refused: only a person can help (EX_CONFIG of sysexits.h).
const EXIT_REFUSED: u8 = 78;
/// It cannot run now: another guard runs, or earlier processes do not end (EX_TEMPFAIL).
const EXIT_LATER: u8 = 75;
/// The command line is wrong (EX_USAGE).
const EXIT_USAGE: u8 = 64;

const USAGE: &str = "\
usage: palisade-guard run FILE     run the host that FILE (host.json) describes, until SIGTERM
       palisade-guard check FILE   say what is wrong with it and with the configuration that it names

SIGUSR1 makes a running guard log how things are.
exit status: 0 ended as told or nothing is wrong, 64 usage, 75 not now, 78 refused";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", file] => run(Path::new(file)),
        ["check", file] => report(Path::new(file)),
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn run(file: &Path) -> ExitCode {
    let plan = match load::load(file) {
        Ok(plan) => plan,
        Err(faults) => {
            for fault in faults {
                say!("REFUSED: {fault}");
            }
            return ExitCode::from(EXIT_REFUSED);
        }
    };
    match start::run(&plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            say!("some processes did not end in time; the next guard proves them gone");
            ExitCode::from(EXIT_LATER)
        }
        Err(error) => {
            say!("REFUSED: {error}");
            // A unit starts the next guard at once; what fails at once must not make that a busy loop.
            std::thread::sleep(std::time::Duration::from_secs(1));
            ExitCode::from(EXIT_LATER)
        }
    }
}

fn report(file: &Path) -> ExitCode {
    let plan = match load::load(file) {
        Ok(plan) => plan,
        Err(faults) => {
            for fault in faults {
                eprintln!("{fault}");
            }
            return ExitCode::from(EXIT_REFUSED);
        }
    };
    for warning in &check::warnings(&plan.config) {
        println!("{}: {warning}", plan.host.config.display());
    }
    for node in &plan.host.nodes {
        match rules::unproved_disk(node) {
            None => println!("node {}: vm-gone and vm-stopped prove that it can no longer write", node.id),
            Some(why) => println!("node {}: vm-gone and vm-stopped are no proof: {why}", node.id),
        }
    }
    println!("host {}: nothing is wrong", plan.host.host);
    ExitCode::SUCCESS
}
