//! Drives one configured device from this machine, so that a person can try it before trusting it.
//!
//! Owns a socket, a clock and the words. Must never decide what an answer proves: that is the method's own code, the
//! same as in the appliance. What is done here is not known to the cluster: no record, no NODE_DOWN.

use crate::config::{self, Loaded};
use palisade_core::config::{Config, Device, Method as Configured};
use palisade_methods::{Action, Method, Outcome, Verdict, ipmi};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a person wants of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Log in, read, change nothing; say all there is to say.
    Check,
    /// The same; say the state.
    Status,
    /// Switch off and read back.
    Off,
    /// Switch on and read back.
    On,
}

impl Wish {
    /// The wish with this name.
    pub fn read(word: &str) -> Option<Self> {
        Some(match word {
            "check" => Self::Check,
            "status" => Self::Status,
            "off" => Self::Off,
            "on" => Self::On,
            _ => return None,
        })
    }

    const fn action(self) -> Action {
        match self {
            Self::Check | Self::Status => Action::Status,
            Self::Off => Action::Off,
            Self::On => Action::On,
        }
    }
}

/// Where the person sits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    /// On this host.
    pub host: Option<u8>,
    /// The device is there as seen from here.
    pub address: Option<SocketAddrV4>,
}

/// The longest wait for one datagram, so that a clock that jumps does not hold us.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// `device NAME WISH`.
pub fn drive(name: &str, wish: Wish, file: &Path, seat: Seat) -> Result<(), String> {
    let Loaded { config, .. } = config::load(file)?;
    let Some((_, device)) = config.device(name) else {
        let names: Vec<&str> = config.devices.iter().map(|device| device.name.as_str()).collect();
        return Err(match names.as_slice() {
            [] => format!("{} has no devices", file.display()),
            names => format!("{} has no device `{name}`; there are {}", file.display(), names.join(", ")),
        });
    };
    let executor = seat.host.map(|host| is_executor(&config, device, host)).transpose()?;
    let Configured::Ipmi(parameters) = &device.method;
    let peer = seat.address.unwrap_or_else(|| SocketAddrV4::new(Ipv4Addr::from(parameters.address.0), parameters.port));
    if wish != Wish::Status {
        introduce(&config, device, wish, peer);
    }
    let outcome = Conversation::with(parameters, peer, device.timeout_ms, wish)?.run()?;
    let done = outcome.did(wish.action());
    report(wish, &outcome, done);
    if let Some(warning) = executor.flatten() {
        say!("warning: {warning}");
    }
    if done { Ok(()) } else { Err(format!("{name}: {}", outcome.detail)) }
}

/// Says whether the appliance of a host would use the device; an error if there is no such host.
fn is_executor(config: &Config, device: &Device, host: u8) -> Result<Option<&'static str>, String> {
    let Some(found) = config.hosts.iter().find(|other| other.id == host) else {
        return Err(format!("--host {host}: the configuration has no such host"));
    };
    Ok(if device.covers.contains(&host) {
        Some("the device covers this host, so its appliance never uses it; try it from another host")
    } else if found.management.is_none() {
        Some("this host has no management NIC in the configuration, so its appliance cannot reach the device")
    } else if !device.executors.is_empty() && !device.executors.contains(&host) {
        Some("this host is not among the device's executors, so its appliance never uses it")
    } else {
        None
    })
}

fn introduce(config: &Config, device: &Device, wish: Wish, peer: SocketAddrV4) {
    let Configured::Ipmi(ipmi) = &device.method;
    say!(
        "device {}: ipmi, BMC {peer}, user {}, cipher suite {}, at most {} ms",
        device.name,
        ipmi.user,
        if ipmi.suite_min == 17 { "17" } else { "17 or 3" },
        device.timeout_ms,
    );
    let covered: Vec<String> = device.covers.iter().map(|host| about_host(config, *host)).collect();
    say!("it switches {}", covered.join(" and "));
    match wish {
        Wish::Check | Wish::Status => say!("this only logs in and reads the power: nothing is changed"),
        Wish::Off => say!(
            "switching off now. The cluster does not learn of it from here: its appliances will notice a silent host and \
             fence it themselves"
        ),
        Wish::On => say!(
            "switching on now. The cluster does not learn of it from here; never do this to a host that is being fenced"
        ),
    }
}

fn about_host(config: &Config, host: u8) -> String {
    let name = config.hosts.iter().find(|other| other.id == host).map_or("?", |other| other.name.as_str());
    let nodes: Vec<String> = config
        .nodes
        .iter()
        .filter(|node| node.host == host)
        .map(|node| format!("node {} ({})", node.id, node.name))
        .collect();
    match nodes.as_slice() {
        [] => format!("host {host} ({name})"),
        nodes => format!("host {host} ({name}) with {}", nodes.join(", ")),
    }
}

fn report(wish: Wish, outcome: &Outcome, done: bool) {
    let power = match outcome.power {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    match wish {
        Wish::Status => say!("{power}"),
        _ => say!("power: {power}"),
    }
    match (wish, outcome.verdict) {
        (Wish::Off, Verdict::Confirmed(class)) => say!("Confirmed, class {class}: {}", outcome.detail),
        (Wish::Off, Verdict::Failed) => say!("Failed: the cluster would go on to the next attempt or level"),
        (Wish::Off, _) => say!("Unknown: the cluster would go on to the next attempt or level"),
        (Wish::Check, _) if done => say!("the device answers as it should: {}", outcome.detail),
        (Wish::On, _) if done => say!("done: {}", outcome.detail),
        _ => {}
    }
}

/// One attempt and its socket.
struct Conversation {
    attempt: ipmi::Attempt,
    socket: UdpSocket,
    begun: Instant,
    talkative: bool,
}

impl Conversation {
    fn with(
        bmc: &palisade_core::config::Ipmi,
        peer: SocketAddrV4,
        timeout_ms: u32,
        wish: Wish,
    ) -> Result<Self, String> {
        let mut parameters =
            ipmi::Params::new(bmc.user.as_bytes(), bmc.password.as_bytes()).map_err(|error| error.to_string())?;
        if bmc.suite_min == 17 {
            parameters.suites = ipmi::Suites::Only17;
        }
        parameters.timing.total = palisade_core::time::Duration::from_millis(u64::from(timeout_ms));
        let refused = |error: std::io::Error| format!("cannot open a UDP socket to {peer}: {error}");
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(refused)?;
        socket.connect(peer).map_err(refused)?;
        let mut entropy = [0; ipmi::ENTROPY_LEN];
        File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut entropy))
            .map_err(|error| format!("cannot read random numbers from /dev/urandom: {error}"))?;
        let begun = Instant::now();
        let attempt = ipmi::Attempt::start(Self::at(begun, begun), &parameters, wish.action(), &entropy);
        Ok(Self { attempt, socket, begun, talkative: wish != Wish::Status })
    }

    fn at(begun: Instant, now: Instant) -> palisade_core::time::Instant {
        let passed = now.saturating_duration_since(begun).as_micros();
        palisade_core::time::Instant::from_micros(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    fn now(&self) -> palisade_core::time::Instant {
        Self::at(self.begun, Instant::now())
    }

    fn run(mut self) -> Result<Outcome, String> {
        let mut buffer = [0; 2048];
        let mut known = None;
        loop {
            while let Some(length) = self.attempt.poll_transmit(self.now(), &mut buffer) {
                let datagram = buffer.get(..length).unwrap_or(&[]);
                match self.socket.send(datagram) {
                    Ok(_) => self.say(format_args!("-> {}", words(datagram))),
                    Err(error) => self.say(format_args!("-> {}: not sent: {error}", words(datagram))),
                }
            }
            if known.is_none() {
                known = self.attempt.outcome();
                if known.is_some() {
                    self.say(format_args!("the end is known"));
                }
            }
            if self.attempt.is_done() {
                let counters = self.attempt.counters();
                self.say(format_args!(
                    "done: {} datagrams sent, {} taken, {} dropped",
                    counters.sent, counters.taken, counters.dropped
                ));
                return known
                    .ok_or_else(|| "the attempt ended without an outcome; this is a fault of palisadectl".into());
            }
            self.receive(&mut buffer)?;
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        let wait = match self.attempt.poll_timeout() {
            Some(when) => Duration::from_micros(when.since(self.now()).as_micros()),
            None => WAIT_MAX,
        };
        let wait = wait.clamp(Duration::from_millis(1), WAIT_MAX);
        self.socket.set_read_timeout(Some(wait)).map_err(|error| format!("cannot set a timeout: {error}"))?;
        match self.socket.recv(buffer) {
            Ok(length) => {
                let datagram = buffer.get(..length).unwrap_or(&[]);
                let before = self.attempt.counters();
                self.attempt.handle(self.now(), datagram);
                let dropped = self.attempt.counters().dropped > before.dropped;
                self.say(format_args!(
                    "<- {}{}",
                    words(datagram),
                    if dropped { ": dropped, not an answer" } else { "" }
                ));
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.say(format_args!("<- the machine says that nothing listens on this port"));
            }
            Err(error) => self.say(format_args!("<- {error}")),
        }
        Ok(())
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        if self.talkative {
            say!("{:7.1} ms {what}", self.begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
}

/// What an RMCP+ datagram is, from its payload type.
fn words(datagram: &[u8]) -> &'static str {
    match datagram.get(5).map(|kind| kind & 0x3f) {
        Some(0x10) => "open session",
        Some(0x11) => "session opened",
        Some(0x12) => "who I am (RAKP 1)",
        Some(0x13) => "proof that it knows the password (RAKP 2)",
        Some(0x14) => "proof that we know it (RAKP 3)",
        Some(0x15) => "session keys agreed (RAKP 4)",
        Some(0x00) => "a command or its answer, sealed",
        _ => "a datagram that is not ours",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_has_words() {
        assert_eq!(words(&[6, 0, 0xff, 7, 6, 0xc0]), "a command or its answer, sealed");
        assert_eq!(words(&[]), "a datagram that is not ours");
    }
}
