//! A node's door for commands: a line to its vsock port, through the socket that its host has for it.
//!
//! Owns that conversation. Must never wait without a limit: a node may die with our words in its hands.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The vsock port on which a node takes commands.
const PORT: u32 = 7650;
/// How long the node may take to open.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to have it opened.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest answer: a log of some hours.
const ANSWER_MAX: u64 = 64 << 20;

/// Characters of an answer that a sentence shows.
const SHOWN_MAX: usize = 400;

/// Writes one line. Nobody waits for the answer.
///
/// # Errors
/// Nobody listens there.
pub fn tell(socket: &Path, words: &str) -> io::Result<()> {
    let mut stream = open(socket)?;
    stream.write_all(format!("{words}\n").as_bytes())?;
    // Held open for a moment: what is closed at once may never be delivered.
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = stream.take(4096).read_to_end(&mut rest);
    });
    Ok(())
}

/// Writes one line and reads all that comes back, until the node closes.
///
/// # Errors
/// Nobody listens there, or the answer does not end in time.
pub fn ask(socket: &Path, words: &str, limit: Duration) -> io::Result<String> {
    let end = Instant::now() + limit;
    // A node that is busy, or about to be back, opens late.
    let mut stream = loop {
        match open(socket) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
        }
    };
    stream.write_all(format!("{words}\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let mut input = stream.take(ANSWER_MAX);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let said = String::from_utf8_lossy(&answer).into_owned();
            return Err(io::Error::other(format!("no end after {} ms, only `{}`", limit.as_millis(), end_of(&said))));
        }
        input.get_ref().set_read_timeout(Some(left))?;
        match input.read(&mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The end of a long answer, for a person.
#[must_use]
pub fn end_of(answer: &str) -> &str {
    let text = answer.trim_end();
    let from = text.char_indices().rev().nth(SHOWN_MAX).map_or(0, |(at, _)| at);
    text.get(from..).unwrap_or(text)
}

fn open(socket: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("CONNECT {PORT}\n").as_bytes())?;
    let mut answer = String::new();
    // Byte by byte: what follows the line is not ours to swallow.
    BufReader::with_capacity(1, stream.try_clone()?.take(64)).read_line(&mut answer)?;
    if answer.starts_with("OK") { Ok(stream) } else { Err(io::Error::other("its door is not open")) }
}
