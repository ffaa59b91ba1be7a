//! A whole cluster in memory: real engines, a network without delay, and on each host a node that says what a node says.
//!
//! Owns the time that the engines see, and a meter for each engine. Must never put anything between two readings of a meter
//! but an engine's own calls and the copy of what they put out: a driver copies that too.

mod requests;

use palisade_core::config::{Config, check, parse};
use palisade_core::engine::{Boot, Engine};
use palisade_core::id::{HostId, Incarnation, NodeId};
use palisade_core::io::{Input, Output, Road};
use palisade_core::limits::{BEAT_MS, FRAME_MAX, HEARTBEAT_MS, VSOCK_SESSIONS_MAX};
use palisade_core::status::Role;
use palisade_core::time::{Duration, Instant};
use palisade_core::wire::frame::{Frame, Reader};
use palisade_core::wire::guard::{Message as GuardWord, RunReport, RunState};
use palisade_core::wire::node::{Message as Word, NodeState, Section};
pub use requests::REQUESTS;
use std::fmt::Write;
use std::time::{Duration as Span, Instant as Clock};

/// Turns of one instant, after which engines that still are not quiet never will be: the largest state to 254 hosts takes
/// about 70 turns.
const TURNS_MAX: usize = 10_000;
/// How long the first boot may take. An appliance alone leads after 500 ms.
const BOOT_MAX: Duration = Duration::from_millis(5_000);

/// What an engine was called for.
#[derive(Clone, Copy)]
pub enum Call {
    /// Time passed.
    Tick,
    /// A datagram came.
    Datagram,
    /// A session or the guard spoke.
    Local,
}

/// What calls of each kind cost one engine, and how many there were.
#[derive(Clone, Copy, Default)]
pub struct Meter {
    spent: [Span; 3],
    calls: [u32; 3],
    /// Datagrams sent, and the bytes of their UDP payload.
    pub datagrams: usize,
    /// See `datagrams`.
    pub bytes: usize,
}

impl Meter {
    /// All calls of this kind together, ns.
    pub fn nanos(&self, call: Call) -> f64 {
        self.spent[call as usize].as_secs_f64() * 1e9
    }

    /// All calls that time and the network caused, ns.
    pub fn network_nanos(&self) -> f64 {
        self.nanos(Call::Tick) + self.nanos(Call::Datagram)
    }

    /// How many calls of this kind.
    pub fn calls(&self, call: Call) -> u32 {
        self.calls[call as usize]
    }
}

/// Datagrams under way, in one buffer.
#[derive(Default)]
struct Wave {
    bytes: Vec<u8>,
    /// To which place among the hosts, and where the bytes end.
    parcels: Vec<(usize, usize)>,
}

impl Wave {
    fn add(&mut self, to: HostId, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.parcels.push((usize::from(to.get()) - 1, self.bytes.len()));
    }
}

/// One appliance.
struct Host {
    engine: Box<Engine>,
    meter: Meter,
    due: Instant,
    /// Its node's incarnation, and the id of its session.
    incarnation: Incarnation,
    session: u32,
    /// What it told sessions.
    said: Vec<u8>,
    /// It hears nothing.
    deaf: bool,
}

impl Host {
    fn call(&mut self, now: Instant, call: Call, input: Input<'_>, out: &mut Wave) {
        let begin = Clock::now();
        self.engine.handle(now, input);
        loop {
            match self.engine.poll(now) {
                Output::Deadline(at) => {
                    self.due = at;
                    break;
                }
                Output::Datagram { to, bytes, .. } => {
                    self.meter.datagrams += 1;
                    self.meter.bytes += bytes.len();
                    out.add(to, bytes);
                }
                Output::Session { bytes, .. } => self.said.extend_from_slice(bytes),
                _ => {}
            }
        }
        self.meter.spent[call as usize] += begin.elapsed();
        self.meter.calls[call as usize] += 1;
    }
}

/// The cluster. Hosts are named by their place, from 0; host number and node number are one more.
pub struct Cluster {
    hosts: Vec<Host>,
    now: Instant,
    sent: Wave,
    arriving: Wave,
    incarnations: Incarnation,
}

impl Cluster {
    /// Boots so many appliances to a first view with a member node on each host.
    pub fn boot(hosts: u8) -> Self {
        let config = configuration(hosts);
        let now = Instant::from_micros(1_000_000);
        let start = |id: u8| {
            let mut engine = Box::new(Engine::new());
            let boot =
                Boot { host: HostId::new(id), incarnation: 1000 + u64::from(id), entropy: [id; 32], config_hash: 7 };
            engine.start(now, config, boot);
            Host {
                engine,
                meter: Meter::default(),
                due: now,
                incarnation: 0,
                session: 0,
                said: Vec::new(),
                deaf: false,
            }
        };
        let hosts = (1..=hosts).map(start).collect();
        let mut cluster =
            Self { hosts, now, sent: Wave::default(), arriving: Wave::default(), incarnations: 1_000_000 };
        while cluster.hosts.iter().any(|host| host.engine.version() == 0) {
            assert!(cluster.now < now + BOOT_MAX, "no first view");
            cluster.run(Duration::from_millis(50));
        }
        for at in 0..cluster.hosts.len() {
            cluster.start_node(at);
            cluster.join_node(at);
        }
        cluster.settle();
        // A new cluster incarnation ends the sessions in which it asked who lives.
        cluster.run(Duration::from_millis(u64::from(HEARTBEAT_MS)));
        for at in 0..cluster.hosts.len() {
            cluster.hello(at);
        }
        cluster.settle();
        for _ in 0..4 {
            cluster.pass(u64::from(HEARTBEAT_MS));
        }
        let view = cluster.hosts[cluster.leader()].engine.view();
        assert!(view.nodes().filter(|(_, row)| row.state == NodeState::Up).count() == cluster.hosts.len());
        cluster
    }

    /// How many hosts.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Who leads.
    pub fn leader(&self) -> usize {
        let leads = |host: &Host| host.engine.role() == Role::Leader;
        self.hosts
            .iter()
            .position(leads)
            .expect("invariant: nothing goes wrong here, so the first leader leads for ever")
    }

    /// The newest view that every appliance has.
    pub fn version(&self) -> u64 {
        self.hosts.iter().map(|host| host.engine.version()).min().unwrap_or(0)
    }

    /// The newest view that any appliance has.
    pub fn newest(&self) -> u64 {
        self.hosts.iter().map(|host| host.engine.version()).max().unwrap_or(0)
    }

    /// What one appliance's calls cost since the meters were set to zero.
    pub fn meter(&self, at: usize) -> &Meter {
        &self.hosts[at].meter
    }

    /// All meters together: what went over the network.
    pub fn traffic(&self) -> (usize, usize) {
        let sum = |of: fn(&Meter) -> usize| self.hosts.iter().map(|host| of(&host.meter)).sum();
        (sum(|meter| meter.datagrams), sum(|meter| meter.bytes))
    }

    /// Whether datagrams to this host are lost.
    pub fn deafen(&mut self, at: usize, deaf: bool) {
        self.hosts[at].deaf = deaf;
    }

    /// All meters to zero.
    pub fn reset_meters(&mut self) {
        for host in &mut self.hosts {
            host.meter = Meter::default();
        }
    }

    /// One heartbeat interval, in which all nodes beat if a beat is due. Meters begin at zero after the beats.
    pub fn interval(&mut self) {
        let number = self.now.as_micros() / 1000 / u64::from(HEARTBEAT_MS);
        if number.is_multiple_of(u64::from(BEAT_MS / HEARTBEAT_MS)) {
            for at in 0..self.hosts.len() {
                self.beat(at);
            }
            self.settle();
        }
        self.reset_meters();
        self.run(Duration::from_millis(u64::from(HEARTBEAT_MS)));
    }

    /// The node of a host leaves in peace: one view change.
    pub fn leave_node(&mut self, at: usize) {
        self.say(at, &Word::Bye);
    }

    /// The node of a host says hello as a new incarnation: one view change.
    pub fn join_node(&mut self, at: usize) {
        self.incarnations += 1;
        self.hosts[at].incarnation = self.incarnations;
        self.hello(at);
    }

    /// The node of a host begins a session.
    fn hello(&mut self, at: usize) {
        self.hosts[at].said.clear();
        self.hosts[at].session = 0;
        let incarnation = self.hosts[at].incarnation;
        self.say(at, &Word::Hello { node: node(at), incarnation, nonce: 1, served: palisade_core::id::Cluster::NONE });
        let host = &mut self.hosts[at];
        let (mut reader, mut bytes) = (Reader::new(), host.said.as_slice());
        while let Some(frame) = reader.next(&mut bytes) {
            if matches!(Word::parse(&frame), Ok(Word::Welcome { .. })) {
                host.session = frame.session;
            }
        }
        assert!(host.session != 0, "a node of an admitted appliance is welcome");
        self.beat(at);
    }

    /// What an operator's STATUS costs so many times, ns in all.
    pub fn status(&mut self, at: usize, section: Section, times: u32) -> f64 {
        // A session's bucket refills meanwhile; many sessions share the questions.
        self.interval();
        let connections = u8::try_from(VSOCK_SESSIONS_MAX).expect("invariant: a connection's number is a byte");
        let mut buffer = [0; FRAME_MAX];
        let bytes = Word::Status { section, first: 0 }.frame(0, 1, &[]).emit(&mut buffer);
        let (now, host) = (self.now, &mut self.hosts[at]);
        for connection in 0..connections {
            host.call(now, Call::Local, Input::Opened { connection, cid: 2 }, &mut self.sent);
        }
        host.said.clear();
        host.meter = Meter::default();
        for connection in (0..connections).cycle().zip(0..times).map(|(connection, _)| connection) {
            let road = Road::Vsock(connection);
            host.call(now, Call::Local, Input::Session { road, bytes }, &mut self.sent);
        }
        assert!(host.said.len() > FRAME_MAX / 8 * usize::try_from(times).unwrap_or(0), "each was answered");
        host.meter.nanos(Call::Local)
    }

    /// What a turn costs at which nothing is due, ns each.
    pub fn idle(&mut self, at: usize, times: u32) -> f64 {
        self.reset_meters();
        let (now, host) = (self.now, &mut self.hosts[at]);
        for _ in 0..times {
            host.call(now, Call::Tick, Input::Tick, &mut self.sent);
        }
        assert!(self.sent.parcels.is_empty(), "nothing was due");
        host.meter.nanos(Call::Tick) / f64::from(times)
    }

    /// Until nobody has anything to say at this instant.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.deliver();
            if self.hosts.iter().all(|host| host.due > self.now) {
                return;
            }
            self.tick();
        }
        panic!("an engine never falls silent");
    }

    fn pass(&mut self, intervals: u64) {
        for _ in 0..intervals {
            self.interval();
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.hosts.iter().map(|host| host.due).min().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
    }

    fn tick(&mut self) {
        for host in self.hosts.iter_mut().filter(|host| host.due <= self.now) {
            host.call(self.now, Call::Tick, Input::Tick, &mut self.sent);
        }
    }

    /// Everything that was sent arrives, then what was sent because of it, and so on.
    fn deliver(&mut self) {
        while !self.sent.parcels.is_empty() {
            std::mem::swap(&mut self.sent, &mut self.arriving);
            self.sent.bytes.clear();
            self.sent.parcels.clear();
            let mut start = 0;
            for &(to, end) in &self.arriving.parcels {
                let bytes = &self.arriving.bytes[start..end];
                start = end;
                if self.hosts[to].deaf {
                    continue;
                }
                self.hosts[to].call(self.now, Call::Datagram, Input::Datagram { link: 0, bytes }, &mut self.sent);
            }
        }
    }

    /// The guard reports the first run of a host's node.
    fn start_node(&mut self, at: usize) {
        let boot = 70 + u64::from(node(at).get());
        let report = RunReport {
            node: node(at),
            boot,
            state: RunState::Running,
            counter: 1,
            gone_through: 0,
            disks_qualify: true,
            status: 0,
        };
        self.guard(at, GuardWord::Stamp { boot, clock: self.now.as_micros() }.frame(1));
        self.guard(at, GuardWord::Run(report).frame(2));
    }

    fn guard(&mut self, at: usize, frame: Frame<'_>) {
        let mut buffer = [0; FRAME_MAX];
        let bytes = frame.emit(&mut buffer);
        self.hosts[at].call(self.now, Call::Local, Input::Guard { bytes }, &mut self.sent);
    }

    fn beat(&mut self, at: usize) {
        self.say(at, &Word::Beat { stamp: self.now.as_micros() });
    }

    fn say(&mut self, at: usize, word: &Word) {
        let mut buffer = [0; FRAME_MAX];
        let bytes = word.frame(self.hosts[at].session, 1, &[]).emit(&mut buffer);
        let input = Input::Session { road: Road::Channel(0), bytes };
        self.hosts[at].call(self.now, Call::Local, input, &mut self.sent);
    }
}

fn node(at: usize) -> NodeId {
    NodeId::new(u8::try_from(at + 1).expect("invariant: places come from host numbers"))
}

/// A configuration of so many hosts with one node and one BMC each, read and checked as a person's is.
fn configuration(hosts: u8) -> &'static Config {
    // An even number of votes is refused.
    let votes = hosts - u8::from(hosts.is_multiple_of(2));
    let (mut h, mut n, mut d) = (String::new(), String::new(), String::new());
    for id in 1..=hosts {
        let comma = if id == 1 { "" } else { "," };
        let (vote, last) = (id <= votes, id - 1);
        let _ = write!(
            h,
            r#"{comma}{{"id":{id},"name":"host{id}","vote":{vote},"links":[{{"mac":"52:54:00:01:00:{id:02x}","ip":"10.1.0.{last}"}},
            {{"mac":"52:54:00:02:00:{id:02x}","ip":"10.2.0.{last}"}}],"levels":[["bmc{id}"]],
            "management":{{"mac":"52:54:00:03:00:{id:02x}","ip":"10.3.0.{id}","prefix":23}}}}"#
        );
        let _ = write!(n, r#"{comma}{{"id":{id},"name":"n{id}","host":{id}}}"#);
        let _ = write!(
            d,
            r#"{comma}{{"name":"bmc{id}","covers":[{id}],"method":{{"ipmi":{{"address":"10.3.1.{id}","user":"u","password":"p"}}}}}}"#
        );
    }
    let secret = "5a".repeat(32);
    let json =
        format!(r#"{{"name":"bench","epoch":1,"secret":"{secret}","hosts":[{h}],"nodes":[{n}],"devices":[{d}]}}"#);
    let config = Box::leak(Box::new(Config::new()));
    if let Err(error) = parse::parse(json.as_bytes(), config) {
        panic!("{error}");
    }
    if let Err(broken) = check::check(config) {
        panic!("{broken}");
    }
    config
}
