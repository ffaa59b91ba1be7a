//! The node's image boots, and its client keeps the node protocol, with the appliance's end played by the test.
//!
//! Owns VMs of one node each, without guard or appliance. Must never assert a tight time: the machine is shared.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_core::board;
use palisade_core::fencing::Class;
use palisade_core::id::{Ballot, Cluster, HostId, Incarnation, Label, NodeId};
use palisade_core::limits::{FRAME_MAX, PORT_VSOCK};
use palisade_core::status::{HostEntry, HostState};
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{
    Fate, Gasp, Given, Group, Message, NodeEvent, NodeState, Refusal, Section, StartNode, Takeover, Target, ViewNode,
    What,
};
use palisade_images::{House, node};
use palisade_qemu::plan::KERNEL_WORDS;
use palisade_qemu::process::Child;
use palisade_qemu::rundir::RunDir;
use palisade_tests::lone::{connect, start_vsock};

const NODE: NodeId = NodeId::new(2);
const HOST: HostId = HostId::new(1);
const BEAT_MS: u32 = 100;
/// The appliance of these tests is the host itself: what a guest sends to this CID comes out of a Unix socket.
const HOST_CID: u32 = 2;
/// Where a node takes commands.
const PORT_COMMANDS: u32 = 7650;
/// Ten times what it takes on a quiet machine.
const BOOT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

/// A running node, and the appliance's end of its channel.
struct Vm {
    run: RunDir,
    channel: UnixStream,
    console: UnixStream,
    monitor: BufReader<UnixStream>,
    reader: Reader,
    bytes: Vec<u8>,
    session: u32,
    sequence: u32,
    // Last, so that the sockets are closed before the processes are ended.
    _qemu: Child,
    _vsock: Option<Child>,
}

impl Vm {
    fn boot(name: &str) -> Self {
        Self::boot_with(name, false)
    }

    fn boot_with(name: &str, has_vsock: bool) -> Self {
        let image = node::build(&House::here()).unwrap_or_else(|error| panic!("{error}"));
        let run = RunDir::new(name).unwrap();
        let vsock = has_vsock.then(|| start_vsock(run.path()));
        let at = |name: &str| run.path().join(name).display().to_string();
        let listening = |id: &str| format!("socket,id={id},path={},server=on,wait=off", at(id));
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-machine", "pc", "-cpu", "max", "-accel", "tcg,tb-size=64", "-smp", "2", "-m", "192"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-device", "pvpanic-pci", "-action", "panic=pause"])
            .arg("-kernel")
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(&image.initrd)
            .arg("-append")
            .arg(format!(
                "{KERNEL_WORDS} palisade.node={} palisade.appliance_cid={HOST_CID} palisade.volumes=shared",
                NODE.get()
            ))
            .args(["-chardev", &format!("{},logfile={}", listening("console"), at("serial.log"))])
            .args(["-serial", "chardev:console", "-chardev", &listening("channel")])
            .args(["-device", &format!("virtio-serial-pci,id=bus,max_ports=1,addr={:#x}", board::NODE_CHANNEL_SLOT)])
            .args(["-device", "virtconsole,bus=bus.0,chardev=channel"])
            .args(["-chardev", &listening("monitor"), "-mon", "chardev=monitor,mode=control"])
            .stdin(Stdio::null());
        if has_vsock {
            command
                .args(["-object", "memory-backend-memfd,id=ram,size=192M,share=on", "-machine", "memory-backend=ram"])
                .args(["-chardev", &format!("socket,id=vsock,path={}", at("vhost"))])
                .args(["-device", "vhost-user-vsock-pci,chardev=vsock"]);
        }
        let qemu =
            Child::spawn(&mut command).unwrap_or_else(|error| panic!("{error}; apt-get install --yes qemu-system-x86"));
        let connect = |name: &str| connect(&run.path().join(name));
        let (channel, console, monitor) = (connect("channel"), connect("console"), connect("monitor"));
        monitor.set_read_timeout(Some(SOON)).unwrap();
        // QEMU sends byte by byte, and some 280 of them fill a socket that nobody reads: then the guest's console stalls.
        let mut unread = console.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut unread, &mut std::io::sink()));
        let mut vm = Self {
            channel,
            console,
            monitor: BufReader::new(monitor),
            reader: Reader::new(),
            bytes: Vec::new(),
            session: 0,
            sequence: 0,
            run,
            _qemu: qemu,
            _vsock: vsock,
        };
        vm.ask_monitor("qmp_capabilities");
        vm
    }

    /// The next message of the node that passes, and the session in its frame.
    fn next<T>(&mut self, patience: Duration, pass: impl Fn(Message, u32) -> Option<T>) -> Option<T> {
        let end = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            let mut rest = self.bytes.as_slice();
            let found = self.reader.next(&mut rest).map(|frame| (Message::parse(&frame).unwrap(), frame.session));
            let left = rest.len();
            self.bytes.drain(..self.bytes.len() - left);
            match found {
                Some((message, session)) => {
                    if let Some(value) = pass(message, session) {
                        return Some(value);
                    }
                    continue;
                }
                None if Instant::now() >= end => return None,
                None => {}
            }
            self.channel.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            match self.channel.read(&mut buffer) {
                Ok(0) => panic!("QEMU has closed the channel"),
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the channel: {error}"),
            }
        }
    }

    fn send(&mut self, message: Message, payload: &[u8]) {
        self.sequence += 1;
        let mut buffer = [0; FRAME_MAX];
        let frame = message.frame(self.session, self.sequence, payload);
        self.channel.write_all(frame.emit(&mut buffer)).unwrap();
    }

    fn hello(&mut self, patience: Duration) -> (Incarnation, u64) {
        self.next(patience, |message, _| match message {
            Message::Hello { node, incarnation, nonce, .. } => {
                assert_eq!(node, NODE);
                Some((incarnation, nonce))
            }
            _ => None,
        })
        .unwrap_or_else(|| panic!("no HELLO; the serial console says:\n{}", self.log()))
    }

    fn welcome(&mut self, nonce: u64, session: u32, lease_ms: u32) {
        self.session = session;
        let cluster = Cluster { number: 1, random: 2 };
        self.send(Message::Welcome { nonce, host: HOST, node: NODE, beat_ms: BEAT_MS, lease_ms, cluster }, &[]);
    }

    /// What the node says next about its volume or a takeover, but for JOIN, which it repeats.
    fn step(&mut self) -> Message {
        let wanted = self.session;
        let join = Message::Group(Group::Join { cluster: Label::NONE, volume: Label::named("shared") });
        self.next(SOON, |message, session| match message {
            Message::Group(_) | Message::Takeover(_) if session == wanted && message != join => Some(message),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no step in session {wanted}; the serial console says:\n{}", self.log()))
    }

    /// Waits for JOIN and takes the node through its first barrier, with node 3 in the set.
    fn join(&mut self, incarnation: Incarnation) {
        let join = Message::Group(Group::Join { cluster: Label::NONE, volume: Label::named("shared") });
        self.next(SOON, |message, _| (message == join).then_some(()))
            .unwrap_or_else(|| panic!("no JOIN; the serial console says:\n{}", self.log()));
        self.start(7, 1, &[member(NODE, incarnation), member(NodeId::new(3), 0xabc)]);
    }

    /// STOP, and START in so many parts; reads the answers.
    fn start(&mut self, generation: u64, parts: u16, entries: &[StartNode]) {
        let volume = Label::named("shared");
        self.send(Message::Group(Group::Stop { volume, generation }), &[]);
        assert_eq!(self.step(), Message::Group(Group::Stopped { volume, generation }));
        self.send_start(generation, parts, entries);
        assert_eq!(self.step(), Message::Group(Group::Started { volume, generation }));
        assert_eq!(self.step(), Message::Group(Group::Recovered { volume, generation }));
    }

    fn send_start(&mut self, generation: u64, parts: u16, entries: &[StartNode]) {
        let volume = Label::named("shared");
        for part in 0..parts {
            let start = Message::Group(Group::Start { volume, generation, part, parts });
            let mine = entries.iter().skip(usize::from(part)).step_by(usize::from(parts));
            let payload: Vec<u8> = mine.flat_map(entry_bytes).collect();
            self.send(start, &payload);
        }
    }

    /// The stamp of the next beat of the session.
    fn beat(&mut self) -> u64 {
        let wanted = self.session;
        self.next(SOON, |message, session| match message {
            Message::Beat { stamp } if session == wanted => Some(stamp),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no BEAT in session {wanted}; the serial console says:\n{}", self.log()))
    }

    /// Boots, opens a session and grants a lease.
    fn open(name: &str) -> (Self, Incarnation) {
        let mut vm = Self::boot(name);
        let (incarnation, nonce) = vm.hello(BOOT);
        vm.welcome(nonce, 5, 60_000);
        let stamp = vm.beat();
        vm.send(Message::Lease { stamp, lease_ms: 60_000 }, &[]);
        (vm, incarnation)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.run.path().join("serial.log")).unwrap_or_default()).into_owned()
    }

    /// Waits for a line of the client with these words in it; a shell's prompt may stand before it.
    fn line(&self, words: &str) -> String {
        let end = Instant::now() + SOON;
        loop {
            let log = self.log();
            let mut said = log.lines().filter_map(|line| line.find("palisade-node: ").and_then(|at| line.get(at..)));
            let found = said.find(|line| line.contains(words));
            if let Some(line) = found {
                return line.trim_end().to_owned();
            }
            assert!(Instant::now() < end, "no line with `{words}` in:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn command(&mut self, words: &str) {
        self.console.write_all(format!("{words}\n").as_bytes()).unwrap();
    }

    fn ask_monitor(&mut self, command: &str) -> String {
        self.monitor.get_mut().write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes()).unwrap();
        self.monitor_says("\"return\"")
    }

    fn monitor_says(&mut self, words: &str) -> String {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            let count = self.monitor.read_line(&mut line).unwrap_or_else(|error| panic!("no {words} on QMP: {error}"));
            assert!(count > 0, "QEMU has closed its monitor before it said {words}");
        }
        line
    }
}

const fn member(node: NodeId, incarnation: Incarnation) -> StartNode {
    StartNode { node, fate: Fate::Member, incarnation }
}

fn entry_bytes(entry: &StartNode) -> [u8; StartNode::BYTES] {
    let mut bytes = [0; StartNode::BYTES];
    entry.emit(&mut bytes);
    bytes
}

/// Answers one request after the other, on one connection each, until `answer` has nothing to say.
fn play_appliance(listener: &UnixListener, answer: impl Fn(Message) -> Option<(Message, Vec<u8>)>) {
    for stream in listener.incoming() {
        let (mut stream, mut reader, mut bytes) = (stream.unwrap(), Reader::new(), [0; 1024]);
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let mut rest = &bytes[..count];
            while let Some(frame) = reader.next(&mut rest) {
                let Some((message, payload)) = answer(Message::parse(&frame).unwrap()) else { return };
                let mut buffer = [0; FRAME_MAX];
                stream.write_all(message.frame(0, 1, &payload).emit(&mut buffer)).unwrap();
            }
        }
    }
}

/// Gives the node a command over vsock; the lines of its answer.
fn command_over_vsock(run: &Path, words: &str) -> Vec<String> {
    let mut stream = connect(&run.join("vsock"));
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(format!("CONNECT {PORT_COMMANDS}\n").as_bytes()).unwrap();
    let mut answer = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert!(line.starts_with("OK "), "nobody listens in the guest: {line}");
    stream.write_all(format!("{words}\n").as_bytes()).unwrap();
    let mut lines = Vec::new();
    for line in answer.lines().map(Result::unwrap) {
        let is_last = line.starts_with("OK") || line.starts_with("ERR");
        lines.push(line);
        if is_last {
            break;
        }
    }
    lines
}

#[test]
fn a_node_joins_beats_and_tells_what_it_is_told() {
    let (mut vm, incarnation) = Vm::open("node-events");
    vm.line(&format!("SESSION session=5 host=1 incarnation={incarnation:016x} beat_ms=100 lease_ms=60000 cluster=1"));
    vm.line("LEASE first lease_ms=60000");
    let (first, second) = (vm.beat(), vm.beat());
    assert!(second > first, "stamps are the node's clock");

    let event = NodeEvent { node: NodeId::new(3), host: HOST, class: None, incarnation: 0xabc, version: 7 };
    vm.send(Message::NodeUp(event), &[]);
    let down = NodeEvent { class: Some(Class::VmStopped), version: 8, ..event };
    let session = std::mem::replace(&mut vm.session, 4);
    vm.send(Message::NodeDown(NodeEvent { version: 99, ..down }), &[]);
    vm.session = session;
    vm.send(Message::NodeDown(down), &[]);
    vm.line("NODE_UP node=3 host=1 incarnation=0000000000000abc version=7");
    vm.line("NODE_DOWN node=3 host=1 class=vm-stopped incarnation=0000000000000abc version=8");
    assert!(!vm.log().contains("version=99"), "a frame of another session was believed");

    let mut payload = [0; 2 * ViewNode::BYTES];
    ViewNode { node: NODE, state: NodeState::Up, host: HOST, class: 0, incarnation }.emit(&mut payload);
    ViewNode { node: NodeId::new(3), state: NodeState::Down, host: HostId::new(3), class: 1, incarnation: 1 }
        .emit(&mut payload[ViewNode::BYTES..]);
    vm.send(Message::View { version: 9, ballot: Ballot { round: 4, host: HOST }, part: 0, parts: 1 }, &payload);
    vm.line("VIEW version=9 ballot=4.1 part=1/1 node2=up@1 node3=down@3/vm-gone");
}

#[test]
fn an_appliance_that_forgot_its_session_gets_a_new_hello_from_the_same_incarnation() {
    let (mut vm, incarnation) = Vm::open("node-hello");
    vm.beat();
    vm.session = 0;
    vm.send(Message::Error { refusal: Refusal::NoSession }, &[]);
    let (again, nonce) = vm.hello(SOON);
    assert_eq!(again, incarnation);
    vm.welcome(nonce, 6, 60_000);
    vm.beat();
    vm.line("ERROR refusal=no-session");
    vm.line("SESSION session=6");
}

#[test]
fn a_command_goes_over_the_channel_and_its_answer_comes_back() {
    let (mut vm, _) = Vm::open("node-status");
    vm.command("status --over channel");
    for wanted in [Section::Summary, Section::Hosts] {
        vm.next(SOON, |message, _| {
            matches!(message, Message::Status { section, .. } if section == wanted).then_some(())
        })
        .unwrap_or_else(|| panic!("no STATUS for {wanted:?}; the console says:\n{}", vm.log()));
        let mut payload = [0; HostEntry::BYTES];
        HostEntry { host: HOST, state: HostState::Member, incarnation: 3, heard_ms: 4, marks: 0 }.emit(&mut payload);
        let count = u16::from(wanted == Section::Hosts);
        let used = if count == 1 { payload.as_slice() } else { &[] };
        vm.send(Message::StatusPart { section: wanted, first: 0, count, total: count }, used);
    }
    vm.next(SOON, |message, _| matches!(message, Message::Status { section: Section::Nodes, .. }).then_some(()))
        .unwrap_or_else(|| panic!("no STATUS for the nodes; the console says:\n{}", vm.log()));
    vm.send(Message::Busy, &[]);
    vm.command("dance");
    vm.line("ERR unknown command `dance`");
}

#[test]
fn requests_and_commands_go_over_vsock() {
    let mut vm = Vm::boot_with("node-vsock", true);
    let listener = UnixListener::bind(vm.run.path().join(format!("vsock_{PORT_VSOCK}"))).unwrap();
    vm.hello(BOOT);
    let appliance = std::thread::spawn(move || {
        play_appliance(&listener, |message| match message {
            Message::Status { section: Section::Hosts, first } => {
                let mut payload = vec![0; HostEntry::BYTES];
                let host = HostId::new(u8::try_from(first).unwrap() + 1);
                HostEntry { host, state: HostState::Member, incarnation: 3, heard_ms: 4, marks: 0 }.emit(&mut payload);
                Some((Message::StatusPart { section: Section::Hosts, first, count: 1, total: 2 }, payload))
            }
            Message::Status { section, first } => {
                Some((Message::StatusPart { section, first, count: 0, total: 0 }, Vec::new()))
            }
            Message::Fence { target } if target == Target::Node(NodeId::new(3)) => {
                Some((Message::FenceReply { target, version: 12 }, Vec::new()))
            }
            Message::Fence { .. } => Some((Message::Error { refusal: Refusal::BadRequest }, Vec::new())),
            _ => None,
        });
    });
    let lines = command_over_vsock(vm.run.path(), "status");
    let host = |number| format!("STATUS_HOST host={number} state=member incarnation=0000000000000003 heard_ms=4");
    assert_eq!(lines, [host(1), host(2), "OK status".to_owned()]);
    assert_eq!(command_over_vsock(vm.run.path(), "fence node 3"), ["FENCE node=3 version=12", "OK fence node 3"]);
    assert_eq!(command_over_vsock(vm.run.path(), "fence host 9"), ["ERR refused: bad-request"]);
    assert!(!appliance.is_finished(), "the node said something else than requests");
}

#[test]
fn a_node_goes_through_the_barrier_takes_over_and_answers_a_new_appliance_again() {
    let (mut vm, incarnation) = Vm::open("node-group");
    vm.line("GROUP_JOIN volume=shared");
    vm.join(incarnation);
    vm.line(&format!("GROUP_START volume=shared generation=7 set=2:{incarnation:016x},3:0000000000000abc fates=-"));
    let volume = Label::named("shared");
    vm.send(Message::Group(Group::Stop { volume, generation: 6 }), &[]);
    let dead = StartNode { node: NodeId::new(3), fate: Fate::Dead, incarnation: 0xabc };
    vm.start(9, 2, &[member(NODE, incarnation), dead]);
    vm.line("fates=3:dead:0000000000000abc");
    assert!(!vm.log().contains("generation=6"), "a lower generation was believed");

    let given = Given { what: What::Named(Label::named("web")), dead: NodeId::new(3), incarnation: 0xabc, token: 11 };
    let recovery = Given { what: What::Recovery(volume), ..given };
    for given in [given, recovery] {
        vm.send(Message::Takeover(Takeover::Give(Given { token: 12, ..given })), &[]);
        assert_eq!(vm.step(), Message::Takeover(Takeover::Taken(Given { token: 12, ..given })));
        vm.send(Message::Takeover(Takeover::Give(given)), &[]);
    }
    vm.line("TAKEN what=recovery:shared dead=3 incarnation=0000000000000abc token=12");
    vm.line("TAKEN what=service:web dead=3 incarnation=0000000000000abc token=12");

    vm.session = 0;
    vm.send(Message::Error { refusal: Refusal::NoSession }, &[]);
    let (again, nonce) = vm.hello(SOON);
    assert_eq!(again, incarnation);
    vm.welcome(nonce, 6, 60_000);
    vm.beat();
    vm.send_start(9, 2, &[member(NODE, incarnation), dead]);
    assert_eq!(vm.step(), Message::Group(Group::Started { volume, generation: 9 }));
    assert!(!vm.log().contains("token=11"), "a token below one that was seen was believed");

    vm.command("groups");
    vm.line("SERVICE what=service:web dead=3 incarnation=0000000000000abc token=12");
    vm.command("leave shared");
    vm.next(SOON, |message, _| (message == Message::Group(Group::Leave { volume })).then_some(())).expect("LEAVE");
    vm.send(Message::Group(Group::Leave { volume }), &[]);
    vm.line("GROUP_LEFT volume=shared");
}

#[test]
fn a_node_that_is_not_told_what_became_of_a_member_resets_itself() {
    let (mut vm, incarnation) = Vm::open("node-fate");
    vm.join(incarnation);
    let volume = Label::named("shared");
    vm.send(Message::Group(Group::Stop { volume, generation: 9 }), &[]);
    assert_eq!(vm.step(), Message::Group(Group::Stopped { volume, generation: 9 }));
    vm.send_start(9, 1, &[member(NODE, incarnation)]);
    let gasp = vm.next(SOON, |message, _| match message {
        Message::LastGasp { reason } => Some(reason),
        Message::Group(Group::Started { generation: 9, .. }) => panic!("it started"),
        _ => None,
    });
    assert_eq!(gasp, Some(Gasp::Other));
    vm.line("RESET why=fate-missing");
    vm.monitor_says("\"RESET\"");
    assert_ne!(vm.hello(BOOT).0, incarnation);
}

#[test]
fn a_client_that_is_started_again_does_not_answer_for_what_it_forgot() {
    let (mut vm, incarnation) = Vm::open("node-forgot");
    vm.join(incarnation);
    vm.command("sh");
    // The shell drops what was typed before its prompt.
    let end = Instant::now() + SOON;
    while !vm.log().contains("/ # ") {
        assert!(Instant::now() < end, "no prompt in:\n{}", vm.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    vm.command("busybox killall -9 palisade-node");
    vm.line("RESET why=forgotten");
    vm.monitor_says("\"RESET\"");
    assert_ne!(vm.hello(BOOT).0, incarnation);
}

#[test]
fn a_node_whose_lease_ends_resets_itself_and_comes_back_as_another_incarnation() {
    let (mut vm, incarnation) = {
        let mut vm = Vm::boot("node-lease");
        let (incarnation, nonce) = vm.hello(BOOT);
        vm.welcome(nonce, 5, 1500);
        (vm, incarnation)
    };
    let mut last = 0;
    for _ in 0..5 {
        last = vm.beat();
        vm.send(Message::Lease { stamp: last, lease_ms: 1500 }, &[]);
    }
    let renewed = Instant::now();
    let gasp = vm.next(SOON, |message, _| match message {
        Message::Beat { stamp } => {
            assert!(stamp < last + 1_500_000, "a beat from after the lease's end");
            None
        }
        Message::LastGasp { reason } => Some(reason),
        _ => None,
    });
    assert_eq!(gasp, Some(Gasp::LeaseEnded), "the console says:\n{}", vm.log());
    assert!(renewed.elapsed() > Duration::from_millis(500), "the lease was cut short");
    vm.line("RESET why=lease-ended");
    vm.monitor_says("\"RESET\"");
    let (reborn, _) = vm.hello(BOOT);
    assert_ne!(reborn, incarnation);
}

#[test]
fn the_condemned_reset_themselves() {
    let (mut vm, incarnation) = Vm::open("node-condemned");
    vm.send(Message::Error { refusal: Refusal::Condemned }, &[]);
    vm.line("RESET why=condemned");
    vm.monitor_says("\"RESET\"");
    assert_ne!(vm.hello(BOOT).0, incarnation);
}

#[test]
fn a_panic_is_seen_by_the_hypervisor() {
    let (mut vm, _) = Vm::open("node-panic");
    vm.line("LEASE first");
    vm.command("panic");
    vm.monitor_says("\"GUEST_PANICKED\"");
    assert!(vm.ask_monitor("query-status").contains("guest-panicked"));
    vm.line("COMMAND panic");
}

#[test]
fn a_hang_silences_the_node_and_nobody_else_notices() {
    let (mut vm, _) = Vm::open("node-hang");
    vm.beat();
    vm.command("hang");
    vm.line("COMMAND hang");
    // What was under way before the hang may still come.
    while vm.next(Duration::from_secs(2), |message, _| matches!(message, Message::Beat { .. }).then_some(())).is_some()
    {
    }
    assert!(vm.ask_monitor("query-status").contains("\"running\": true"), "for the hypervisor the guest is well");
    assert!(!vm.log().contains("ERR"), "the module was refused:\n{}", vm.log());
}
