//! What the interop tests share: a place for each run, peers that end with the test, and drivers of std sockets around
//! the sans-I/O methods.
//!
//! Owns no judgement: what an outcome must be is for each test to say. A peer program that is missing fails the test with
//! the line that installs it; nothing is skipped.
#![allow(dead_code, clippy::unwrap_used)]

use palisade_core::time::{Duration as Span, Instant as Moment};
use palisade_methods::ipmi::{Attempt, DATAGRAM_MAX, ENTROPY_LEN, Params};
use palisade_methods::{Action, Method, Outcome};
use palisade_qemu::process::Child;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The shim's part that decides and never acts: what compiles in user space.
pub const MACHINE: [&str; 6] = ["frame.c", "session.c", "group.c", "start.c", "takeover.c", "tell.c"];
/// And what it says to other shims: messages, and POSIX locks over them.
pub const LOCKS: [&str; 5] = ["mail.c", "ranges.c", "arbiter.c", "holder.c", "relay.c"];

/// A directory of this test's own under target/.
pub fn run_dir(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Starts a peer whose output goes to `peer.log` in `dir`, and which ends when the value is dropped. Its standard input
/// stays open as long.
pub fn spawn(command: &mut Command, dir: &Path, install: &str) -> Child {
    let log = File::create(dir.join("peer.log")).unwrap();
    command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
    Child::spawn(command).unwrap_or_else(|error| panic!("{error}; to install it: {install}"))
}

/// What a peer has printed so far.
pub fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("peer.log")).unwrap_or_default()
}

/// Waits until `ready` gives something.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "{what} did not come in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The methods' time, counted from the start of a driver.
pub struct Clock(Instant);

impl Clock {
    pub fn new() -> Self {
        Self(Instant::now())
    }

    pub fn now(&self) -> Moment {
        Moment::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap())
    }

    /// How long from now to `at`, at least 1 ms and at most 100 ms: a std socket has no zero time-out.
    pub fn until(&self, at: Option<Moment>) -> Duration {
        let micros = at.map_or(100_000, |at| at.since(self.now()).as_micros());
        Duration::from_micros(micros.clamp(1_000, 100_000))
    }
}

/// Fresh random bytes.
pub fn entropy() -> [u8; ENTROPY_LEN] {
    let mut bytes = [0; ENTROPY_LEN];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

/// Drives one attempt against the BMC on this loopback port until nothing is left to do.
pub fn drive_ipmi(port: u16, params: &Params, action: Action) -> (Outcome, Attempt) {
    let clock = Clock::new();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Not connected: a port on which nobody listens would answer with an error instead of with silence.
    let bmc = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut attempt = Attempt::start(clock.now(), params, action, &entropy());
    let mut buffer = [0; 2048];
    while !attempt.is_done() {
        while let Some(len) = attempt.poll_transmit(clock.now(), &mut buffer[..DATAGRAM_MAX]) {
            socket.send_to(&buffer[..len], bmc).unwrap();
        }
        socket.set_read_timeout(Some(clock.until(attempt.poll_timeout()))).unwrap();
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) if from == bmc => attempt.handle(clock.now(), &buffer[..len]),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
    (attempt.outcome().unwrap(), attempt)
}

/// User and password that all test BMCs have.
pub fn params() -> Params {
    Params::new(b"admin", b"secret12").unwrap()
}

/// The same with a shorter time for the whole attempt.
pub fn params_within(millis: u64) -> Params {
    let mut params = params();
    params.timing.total = Span::from_millis(millis);
    params
}

/// Which way a datagram goes through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToBmc,
    ToUs,
}

/// A UDP proxy in front of a BMC that may change or drop what passes.
pub struct Proxy {
    pub port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// `meddle` returns whether the datagram goes on.
    pub fn start(bmc_port: u16, mut meddle: impl FnMut(Way, &mut Vec<u8>) -> bool + Send + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let bmc = SocketAddr::from((Ipv4Addr::LOCALHOST, bmc_port));
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut client = None;
            let mut buffer = [0; 2048];
            while !told.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                let mut datagram = buffer[..len].to_vec();
                let (way, to) = if from == bmc { (Way::ToUs, client) } else { (Way::ToBmc, Some(bmc)) };
                if way == Way::ToBmc {
                    client = Some(from);
                }
                if let Some(to) = to.filter(|_| meddle(way, &mut datagram)) {
                    socket.send_to(&datagram, to).unwrap();
                }
            }
        });
        Self { port, stop, thread: Some(thread) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
