//! Running programs, and saying in a sentence what went wrong.
//!
//! Owns the error of this crate. It must never hide what a program said.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::Command;

/// A sentence for a person: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// An input or output error, with the file and what was to be done with it.
    pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self(format!("cannot {doing} {}: {error}", path.display()))
    }
}

/// Runs a program to its end, with its output on ours.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn run(command: &mut Command) -> Result<(), Error> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Error(format!("`{}` failed: {status}", shown(command))))
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// If it cannot be started or does not succeed; the sentence ends with what it said.
pub fn output(command: &mut Command) -> Result<String, Error> {
    let output = command.output().map_err(|error| cannot_start(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error(format!("`{}` failed: {}\n{}", shown(command), output.status, said.trim_end())))
}

fn cannot_start(command: &Command, error: &io::Error) -> Error {
    Error(format!("cannot start `{}`: {error}", command.get_program().to_string_lossy()))
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_program_and_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]));
        let words = error.expect_err("it exits 3").to_string();
        assert!(words.contains("`sh -c"), "{words}");
        assert!(words.contains("no such thing"), "{words}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-of-palisade"));
        assert!(error.expect_err("it does not exist").to_string().contains("no-such-program-of-palisade"));
    }
}
