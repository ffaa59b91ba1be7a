//! The door: a test's words become commands of the node's shell.
//!
//! Owns the vsock port. It is for test images only: whoever reaches the port may do anything in the node.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use crate::sys;

const PORT: u32 = 7650;
/// The longest line that is read.
const LINE_MAX: u64 = 4096;

/// Serves until the machine ends.
///
/// # Errors
/// A sentence: the port cannot be had.
pub fn run() -> Result<(), String> {
    let listener = sys::vsock_listen(PORT).map_err(|error| format!("cannot listen on vsock port {PORT}: {error}"))?;
    println!("palisade-node: the door is open");
    loop {
        let stream = sys::accept(&listener).map_err(|error| format!("the door broke: {error}"))?;
        // One that waits for ever must not close the door for others.
        std::thread::spawn(move || serve(stream));
    }
}

fn serve(stream: File) {
    let Ok(answer) = stream.try_clone() else { return };
    let mut line = String::new();
    if BufReader::new(stream.take(LINE_MAX)).read_line(&mut line).is_err() || line.trim().is_empty() {
        return;
    }
    // Whoever asked may be gone; the command is carried out all the same.
    let _ = act(line.trim(), answer);
}

fn act(line: &str, mut answer: File) -> std::io::Result<()> {
    let (output, errors) = (answer.try_clone()?, answer.try_clone()?);
    let status = Command::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .status();
    match status {
        Ok(status) => writeln!(answer, "EXIT {}", status.code().unwrap_or(-1)),
        Err(error) => writeln!(answer, "no shell: {error}\nEXIT -1"),
    }
}
