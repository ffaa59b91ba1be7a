//! Round trips over raw vsock, to be compared with the channel's.
//!
//! Owns one connection to the host. Must never be more than that: no protocol, nothing but the way there and back.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::sys;

/// As long as a frame without payload.
const BYTES: usize = 64;

/// Sends so many messages to a port of the host, which echoes them, with a pause between two; says how long they took.
///
/// # Errors
/// A sentence: nobody echoes there.
pub fn run(port: u32, count: u32, pause: Duration) -> Result<(), String> {
    let error = |error: std::io::Error| format!("no echo from vsock port {port} of the host: {error}");
    let mut stream = sys::vsock_connect_host(port).map_err(error)?;
    let mut times = Vec::new();
    for number in 0..count {
        let sent = [u8::try_from(number % 251).unwrap_or(0); BYTES];
        let mut back = [0; BYTES];
        let start = Instant::now();
        stream.write_all(&sent).and_then(|()| stream.read_exact(&mut back)).map_err(error)?;
        times.push(start.elapsed().as_micros());
        if back != sent {
            return Err(format!("message {number} came back as another one"));
        }
        std::thread::sleep(pause);
    }
    times.sort_unstable();
    let at = |part: usize| times.get(times.len().saturating_sub(1) * part / 100).copied().unwrap_or(0);
    sys::tell(&format!("PINGED count={count} p50_us={} p99_us={} max_us={}", at(50), at(99), at(100)));
    Ok(())
}
