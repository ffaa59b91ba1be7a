//! Runs one step of `cargo verify`: a program with its output in a file, a time limit, and its tests counted.
//!
//! Owns the process group of that program and ends all of it. Must never take a program's silence for success: what
//! counts is its exit status and what its tests say of themselves.

use palisade_qemu::stop;
use palisade_qemu::sys::{Signal, signal_group};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often a person is told that it still runs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests, or the step itself if it has none.
    pub passed: usize,
    /// The same.
    pub failed: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// How a program ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It was ended because it took too long.
    TooLong,
    /// A person wanted it.
    Interrupted,
}

/// Runs a program to its end, with its output in `log`.
///
/// # Errors
/// It cannot be started, or the file cannot be written.
pub fn run(command: &mut Command, log: &Path, timeout: Duration) -> io::Result<Ended> {
    let file = File::create(log)?;
    let error_file = file.try_clone()?;
    let mut child = command.stdin(Stdio::null()).stdout(file).stderr(error_file).process_group(0).spawn()?;
    let begun = Instant::now();
    let mut told = begun;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Exited(status));
        }
        if stop::wanted() {
            end(&mut child);
            return Ok(Ended::Interrupted);
        }
        if begun.elapsed() > timeout {
            end(&mut child);
            return Ok(Ended::TooLong);
        }
        if told.elapsed() > PATIENCE {
            told = Instant::now();
            println!("        ... {} s: {}", begun.elapsed().as_secs(), last_line(log));
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends the program and whatever it started in its process group: first with a request, so that tests end their VMs.
fn end(child: &mut Child) {
    for (signal, wait) in [(Signal::Terminate, Duration::from_secs(5)), (Signal::Kill, Duration::from_secs(1))] {
        if let Err(error) = signal_group(child.id(), signal) {
            println!("        cannot end the process group {}: {error}", child.id());
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if matches!(child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output yet");
    line.chars().take(100).collect()
}

/// Counts what `cargo test` printed. A step without tests counts as one; one that failed has at least one failure.
#[must_use]
pub fn count(output: &str, succeeded: bool) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines() {
        // `--nocapture` may leave words of a test in front.
        let Some((_, result)) = line.split_once("test result: ") else { continue };
        let number = |word: &str| {
            let before = result.split_once(word).map_or("", |(before, _)| before.trim_end());
            before.rsplit(' ').next().and_then(|digits| digits.parse::<usize>().ok()).unwrap_or(0)
        };
        counts += Counts { passed: number("passed;"), failed: number("failed;") };
    }
    match (succeeded, counts) {
        (true, Counts { passed: 0, failed: 0 }) => counts.passed = 1,
        // Succeeded and yet a failure was counted: believe the failure.
        (true, _) => {}
        (false, Counts { failed: 0, .. }) => counts.failed = 1,
        (false, _) => {}
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let output = "running 2 tests\ntest a ... ok\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\n\
                      words test result: FAILED. 3 passed; 2 failed; 0 ignored\n";
        assert_eq!(count(output, false), Counts { passed: 15, failed: 2 });
    }

    #[test]
    fn a_step_without_tests_counts_as_one() {
        assert_eq!(count("", true), Counts { passed: 1, failed: 0 });
        assert_eq!(count("error: could not compile", false), Counts { passed: 0, failed: 1 });
        assert_eq!(count("test result: ok. 3 passed; 0 failed;", false), Counts { passed: 3, failed: 1 });
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children() {
        let log =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(format!("hang-{}.log", std::process::id()));
        let begun = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let ended = run(&mut command, &log, Duration::from_millis(300)).expect("sh is there");
        assert!(matches!(ended, Ended::TooLong));
        assert!(begun.elapsed() < Duration::from_secs(20));
        let child = fs::read_to_string(&log).expect("it wrote its child's number");
        let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(" Z "), "the child lives on: {state}");
        let _ = fs::remove_file(&log);
    }
}
