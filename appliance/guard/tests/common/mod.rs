//! A host to test: a real guard, real QEMUs without a system, and the test in the place of the appliance.
//!
//! Owns the guard's process and the directory of a test. Whatever a test does, no process is left: the guard ends its
//! VMs, and a guard that was killed leaves that to the kernel.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, dead_code)]

use palisade_core::id::NodeId;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::guard::{Message, RunReport, RunState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const BOOT: &str = "01020304-0506-0708-090a-0b0c0d0e0f10\n";
pub const BOOT_ID: u64 = 0x0102_0304_0506_0708;

/// A host's files, and its guard when it runs.
pub struct World {
    pub dir: PathBuf,
    pub guard: Option<Child>,
}

impl World {
    /// Host 1 with nodes 1 and 2, which have no system: QEMU's firmware finds nothing to boot and stays.
    pub fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guard-{name}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let world = Self { dir, guard: None };
        world.write("boot_id", BOOT);
        world.write("cluster.json", &cluster().to_string());
        world.write("host.json", &host().to_string());
        world
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    pub fn state(&self, name: &str) -> PathBuf {
        self.dir.join("state").join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("guard.log")).unwrap_or_default()
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade-guard"));
        command.arg(verb).arg(self.dir.join("host.json")).stdin(Stdio::null());
        command
    }

    /// Runs a guard to its end.
    pub fn once(&self, verb: &str) -> Output {
        self.command(verb).output().unwrap()
    }

    /// Starts the guard; its log grows with each.
    pub fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("guard.log")).unwrap();
        self.guard = Some(self.command("run").stderr(log).spawn().unwrap());
    }

    /// Starts the guard and connects as its appliance.
    pub fn started(&mut self) -> Appliance {
        self.start();
        self.connect()
    }

    /// Connects as the appliance. A guard that was just killed may still have its socket open in a child that was about
    /// to exec, so the first stamp is awaited, as a reconnecting QEMU would come again.
    pub fn connect(&mut self) -> Appliance {
        let socket = self.state("guard.sock");
        wait_for("the guard's socket", || {
            let ended = self.guard.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the guard ended: {ended:?}");
            let stream = UnixStream::connect(&socket).ok()?;
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let reader = Reader::new();
            let mut new =
                Appliance { stream, reader, clock: 0, boot: 0, runs: BTreeMap::new(), leases: false, lease_ms: 6000 };
            while new.clock == 0 {
                new.listen().then_some(())?;
            }
            new.leases = true;
            Some(new)
        })
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.guard.as_ref().unwrap().id()).unwrap()
    }

    /// kill -9, and nothing of it is left but what it started.
    pub fn kill_guard(&mut self) {
        let mut guard = self.guard.take().unwrap();
        guard.kill().unwrap();
        guard.wait().unwrap();
    }

    /// Ends it as an operator would.
    pub fn end_guard(&mut self) -> i32 {
        signal(self.pid(), libc::SIGTERM);
        self.guard.take().unwrap().wait().unwrap().code().unwrap()
    }

    /// The newest process that the log says was started as `what`.
    pub fn process(&self, what: &str) -> i32 {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains(what) && line.contains("started: process"));
        line.unwrap_or_else(|| panic!("{what} in {log}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        if let Ok(cgroup) = std::fs::read_to_string(self.state("cgroup")) {
            let end = Instant::now() + PATIENCE;
            while std::fs::remove_dir(&cgroup).is_err_and(|error| error.kind() != ErrorKind::NotFound) {
                assert!(Instant::now() < end || std::thread::panicking(), "{cgroup} stays occupied");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the guard's log ---\n{}", self.log());
        }
    }
}

/// A process that ends with the test.
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program that ends with the test.
pub fn ending(program: &str, arguments: &[&str]) -> Ending {
    Ending(Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
}

/// The test in the place of the appliance.
pub struct Appliance {
    stream: UnixStream,
    reader: Reader,
    pub clock: u64,
    pub boot: u64,
    pub runs: BTreeMap<u8, RunReport>,
    /// Renew the lease with each stamp.
    pub leases: bool,
    pub lease_ms: u32,
}

impl Appliance {
    pub fn send(&mut self, message: &Message) {
        let mut buffer = [0; palisade_core::limits::FRAME_MAX];
        self.stream.write_all(message.frame(1).emit(&mut buffer)).unwrap();
    }

    /// Reads what is there; false: the guard closed the connection.
    pub fn listen(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let count = match self.stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return true,
            Err(_) => return false,
        };
        let mut rest = &bytes[..count];
        while let Some(frame) = self.reader.next(&mut rest) {
            match Message::parse(&frame).unwrap() {
                Message::Stamp { boot, clock } => {
                    assert!(clock > self.clock || self.clock == 0 || clock == self.clock);
                    (self.boot, self.clock) = (boot, clock);
                }
                Message::Run(report) => {
                    self.runs.insert(report.node.get(), report);
                }
                other => panic!("{other:?} from a guard"),
            }
        }
        if self.leases && self.clock != 0 {
            self.send(&Message::Lease { clock: self.clock, lease_ms: self.lease_ms });
        }
        true
    }

    pub fn run(&self, node: u8) -> RunReport {
        self.runs.get(&node).copied().unwrap_or_default()
    }

    /// Listens until a node's run is as `wanted`.
    pub fn until(&mut self, node: u8, state: RunState, counter: u32) -> RunReport {
        self.until_so(&format!("node {node} {state:?} {counter}"), |own| {
            own.runs.get(&node).copied().filter(|run| run.state == state && run.counter == counter)
        })
    }

    pub fn until_so<T>(&mut self, what: &str, wanted: impl Fn(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = wanted(self) {
                return found;
            }
            assert!(Instant::now() < end, "waited for {what}; now {:?}", self.runs);
            self.listen();
        }
    }

    /// Listens for so long.
    pub fn stay(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.listen();
        }
    }

    pub fn order_start(&mut self, node: u8, after: u32) {
        self.until_so("a stamp", |own| (own.clock != 0).then_some(()));
        self.send(&Message::Lease { clock: self.clock, lease_ms: self.lease_ms });
        self.send(&Message::Start { node: NodeId::new(node), after });
    }

    pub fn ack(&mut self, node: u8, counter: u32) {
        self.send(&Message::Ack { node: NodeId::new(node), counter });
    }

    pub fn kill(&mut self, node: u8, counter: u32) {
        self.send(&Message::Kill { node: NodeId::new(node), counter });
    }

    /// Has a node started as its next run.
    pub fn start(&mut self, node: u8, counter: u32) {
        self.order_start(node, counter - 1);
        self.until(node, RunState::Starting, counter);
        self.ack(node, counter);
        self.until(node, RunState::Running, counter);
    }
}

/// A bootable ELF file with a PVH note for QEMU's `-kernel`. Its whole program: with a value, write it to the debug exit
/// port; then halt.
pub fn image(exit: Option<u8>) -> Vec<u8> {
    const AT: u64 = 0x10_0000;
    let mut bytes = vec![0; 0x1000];
    let mut put = |at: usize, new: &[u8]| bytes[at..at + new.len()].copy_from_slice(new);
    let header = |kind: u32, offset: u64, size: u64| {
        let words = [offset, AT + offset, AT + offset, size, size, 4];
        [kind.to_le_bytes(), 5_u32.to_le_bytes()]
            .concat()
            .into_iter()
            .chain(words.into_iter().flat_map(u64::to_le_bytes))
    };
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(24, &(AT + 0x200).to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(52, &[64, 0, 56, 0, 2, 0]);
    put(64, &header(1, 0, 0x1000).collect::<Vec<_>>());
    put(120, &header(4, 0x100, 24).collect::<Vec<_>>());
    put(0x100, &[4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, b'X', b'e', b'n', 0]);
    put(0x110, &(AT + 0x200).to_le_bytes());
    let halt = [0xfa, 0xf4, 0xeb, 0xfd];
    match exit {
        // mov eax, value; out 0xf4, eax
        Some(value) => put(0x200, &[[0xb8, value, 0, 0, 0, 0xe7, 0xf4].as_slice(), &halt].concat()),
        None => put(0x200, &halt),
    }
    bytes
}

pub fn wait_for<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn signal(pid: i32, signal: i32) {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "process {pid} is there");
}

/// Whether a process lives: a zombie does not.
pub fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).is_some_and(|state| state != 'Z' && state != 'X')
}

pub fn cluster() -> Value {
    let host = |id: u8| {
        json!({
            "id": id, "name": format!("h{id}"),
            "links": [{ "mac": format!("52:54:00:00:01:{id:02x}"), "ip": format!("10.1.0.{id}") }],
        })
    };
    let node = |id: u8, host: u8| json!({ "id": id, "name": format!("n{id}"), "host": host, "levels": [["guard"]] });
    let [mut one, mut two, three] = [1, 2, 3].map(host);
    one["levels"] = json!([["bmc1"]]);
    two["management"] = json!({ "mac": "52:54:00:00:09:02", "ip": "10.9.0.2", "prefix": 24 });
    let ipmi = json!({ "address": "10.9.0.101", "user": "u", "password": "p" });
    json!({
        "name": "test", "epoch": 1, "secret": "5a".repeat(32),
        "hosts": [one, two, three],
        "nodes": [node(1, 1), node(2, 1)],
        "devices": [{ "name": "bmc1", "covers": [1], "executors": [2], "method": { "ipmi": ipmi } }],
    })
}

pub fn host() -> Value {
    let node = |id: u8| json!({ "id": id, "memory_mib": 16, "lock_memory": false });
    json!({
        "host": 1, "config": "cluster.json", "state": "state", "boot_id": "boot_id",
        "appliance": { "start": false },
        "nodes": [node(1), node(2)],
    })
}
