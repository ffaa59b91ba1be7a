//! `cargo verify`: everything that can be checked, from a bare machine to one line with two numbers.
//!
//! Owns what a person sees of it. Must never end well unless every step ran and passed; the last line is always
//! `N passed, N failed`.

use palisade_qemu::{prepare, stop};
use palisade_tests::runner::{self, Counts, Ended};
use palisade_tests::steps::{Step, Work, steps};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const HELP: &str = "\
cargo verify [--list] [--only STEP]... [--long]

  --list       prints the steps and does nothing
  --only STEP  runs this step only, and what it needs; may be repeated
  --long       runs the tests too whose names start with `long_`

The output of each step is kept in target/verify. The last line says how many tests, and steps without tests, passed
and failed; the exit status is 0 only if none failed.
";

/// Programs that tests need as peers, and Debian's packages of them.
const PACKAGES: &[&str] = &["qemu-system-x86", "openipmi", "ipmitool", "kmod", "ocfs2-tools", "python3"];
/// Lines of a failed step's output that are shown; all of it is in its file.
const SHOWN_MAX: usize = 120;

struct Wish {
    list: bool,
    long: bool,
    only: Vec<String>,
}

fn main() -> ExitCode {
    match understand(std::env::args().skip(1)) {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some(wish)) => verify(&wish),
        Err(sentence) => {
            eprintln!("verify: {sentence}; see `cargo verify --help`");
            ExitCode::from(2)
        }
    }
}

fn understand(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wish>, String> {
    let mut wish = Wish { list: false, long: false, only: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => wish.list = true,
            "--long" => wish.long = true,
            "--only" => wish.only.push(arguments.next().ok_or("--only needs the name of a step")?),
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("`{other}` is no argument")),
        }
    }
    Ok(Some(wish))
}

fn verify(wish: &Wish) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let chosen = match choose(&root, wish) {
        Ok(chosen) => chosen,
        Err(sentence) => {
            eprintln!("verify: {sentence}");
            return ExitCode::from(2);
        }
    };
    if wish.list {
        for step in &chosen {
            println!("{:<18} {}", step.name, step.about);
        }
        return ExitCode::SUCCESS;
    }
    if let Err(error) = stop::listen() {
        eprintln!("verify: Ctrl-C cannot be caught: {error}");
    }
    let begun = Instant::now();
    let mut all = Counts::default();
    let mut failed = Vec::new();
    for (index, step) in chosen.iter().enumerate() {
        println!("[{:>2}/{}] {}: {}", index + 1, chosen.len(), step.name, step.about);
        let counts = take(&root, step);
        if counts.failed > 0 {
            failed.push(step.name.as_str());
        }
        all += counts;
        if stop::wanted() {
            println!("a person ended this before all steps had run");
            all.failed += chosen.len() - index - 1;
            break;
        }
    }
    println!("{} s in all; the output is in target/verify", begun.elapsed().as_secs());
    if !failed.is_empty() {
        println!("failed: {}; repeat one with `cargo verify --only {}`", failed.join(", "), failed[0]);
    }
    println!("{} passed, {} failed", all.passed, all.failed);
    if all.failed == 0 && all.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The steps that a person wants; what they need comes first.
fn choose(root: &Path, wish: &Wish) -> Result<Vec<Step>, String> {
    let all = steps(root, wish.long).map_err(|error| format!("the tests folder cannot be read: {error}"))?;
    if let Some(unknown) = wish.only.iter().find(|name| all.iter().all(|step| step.name != **name)) {
        return Err(format!("there is no step `{unknown}`; `cargo verify --list` names them"));
    }
    if wish.only.is_empty() {
        return Ok(all);
    }
    let is_wanted = |step: &Step| wish.only.contains(&step.name);
    let needed: Vec<Work> = all.iter().filter(|step| is_wanted(step)).flat_map(Step::needs).cloned().collect();
    Ok(all.into_iter().filter(|step| is_wanted(step) || needed.contains(&step.work)).collect())
}

fn take(root: &Path, step: &Step) -> Counts {
    let begun = Instant::now();
    let (ended, output) = match &step.work {
        Work::Install => (install(), String::new()),
        Work::Images => (prepare::prepare(&tell).map(drop), String::new()),
        Work::Run(program, line) => run_program(root, step, program, line),
    };
    let counts = runner::count(&output, ended.is_ok());
    let took = begun.elapsed().as_secs_f64();
    match &ended {
        Ok(()) if counts.failed == 0 => println!("        ok: {} passed, {took:.1} s", counts.passed),
        _ => {
            let why = ended.err().unwrap_or_else(|| "a test failed".to_owned());
            show(&output);
            println!("        FAILED after {took:.1} s: {why}");
        }
    }
    counts
}

fn tell(line: &str) {
    println!("        {line}");
}

/// What a bare machine lacks.
fn install() -> Result<(), String> {
    palisade_images::setup::ensure(PACKAGES).map_err(|error| error.to_string())?;
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let there =
            Command::new(cargo()).args([probe, "--version"]).output().is_ok_and(|output| output.status.success());
        if !there {
            tell(&format!("installing the toolchain's component {component}"));
            let added = Command::new("rustup").args(["component", "add", component]).status();
            if !added.is_ok_and(|status| status.success()) {
                return Err(format!("cargo {probe} is missing; install {component} of your Rust toolchain"));
            }
        }
    }
    Ok(())
}

fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

fn run_program(root: &Path, step: &Step, program: &str, line: &[String]) -> (Result<(), String>, String) {
    let folder = root.join("target/verify");
    let log = folder.join(format!("{}.log", step.name));
    let mut command = if program == "cargo" { Command::new(cargo()) } else { Command::new(program) };
    command.args(line).current_dir(root).env("CARGO_TERM_COLOR", "never").env_remove("RUST_BACKTRACE");
    let ended = fs::create_dir_all(&folder).and_then(|()| runner::run(&mut command, &log, step.timeout));
    let output = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let result = match ended {
        Ok(Ended::Exited(status)) if status.success() => Ok(()),
        Ok(Ended::Exited(status)) => Err(format!("`{program} {}` ended with {status}", line.join(" "))),
        Ok(Ended::TooLong) => Err(format!("it was ended after {} s", step.timeout.as_secs())),
        Ok(Ended::Interrupted) => Err(stop::SENTENCE.to_owned()),
        Err(error) => Err(format!("{program} cannot be run: {error}")),
    };
    (result, output)
}

fn show(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN_MAX);
    if skipped > 0 {
        println!("        | ... {skipped} lines before");
    }
    for line in lines.iter().skip(skipped) {
        println!("        | {line}");
    }
}
