//! The shim's C against the wire module's Rust: its frame parser and its state machine, compiled for user space.
//!
//! Owns a node's life played through `appliance/shim/user/play.c`, and the runs of
//! `appliance/shim/user/fuzz.c`. What the kernel does with the machine's orders is for tests in a VM.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Once;

use palisade_core::id::{Cluster, HostId, Label, NodeId};
use palisade_core::limits::{FRAME_BYTES, FRAME_MAX};
use palisade_core::wire::frame::Frame;
use palisade_core::wire::node::{
    Account, Dlm, Fate, Gasp, Given, Group, Message, NodeEvent, Refusal, StartNode, Takeover, Tale, VolumeState,
    VolumeTale, What,
};
use palisade_images::{House, setup};

mod interop_support;

use interop_support::{LOCKS, MACHINE};

const NODE: NodeId = NodeId::new(2);
const INCARNATION: u64 = 0x1122_3344_5566_7788;
const VOLUME: Label = Label([0xab; 16]);
const CLUSTER: Cluster = Cluster { number: 3, random: 33 };

fn shim() -> PathBuf {
    House::here().root().join("appliance/shim")
}

/// Compiles a program of `user/` with the machine, with sanitizers that end it at the first mistake.
fn compile(name: &str) -> PathBuf {
    static TOOLS: Once = Once::new();
    TOOLS.call_once(|| setup::ensure(&["gcc-12", "libc6-dev"]).unwrap_or_else(|error| panic!("{error}")));
    // One for each test: they run beside each other.
    let own = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "-");
    let program = House::here().root().join("target/tmp").join(format!("shim-{name}-{}-{own}", std::process::id()));
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    let output = Command::new("gcc-12")
        .args(["-std=gnu11", "-O1", "-g", "-Wall", "-Werror", "-Iuser"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
        .args(MACHINE)
        .args(LOCKS)
        .args(if name == "fuzz" { ["user/judge.c"].as_slice() } else { &[] })
        .arg(format!("user/{name}.c"))
        .arg("-o")
        .arg(&program)
        .current_dir(shim())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// The machine in its own process; it ends with the test.
struct Play {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    program: PathBuf,
    /// When it wants to be called.
    deadline: u64,
    session: u32,
}

impl Drop for Play {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _removed = fs::remove_file(&self.program);
    }
}

impl Play {
    fn start() -> Self {
        let program = compile("play");
        let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, program, deadline: 0, session: 0 }
    }

    /// Does a deed; what the machine wants done.
    fn deed(&mut self, line: &str) -> Vec<String> {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the machine has ended: {lines:?}");
            let line = line.trim_end().to_owned();
            assert!(!line.starts_with("what?"), "{line}");
            match line.strip_prefix("done ") {
                Some(deadline) => self.deadline = deadline.parse().unwrap(),
                None => {
                    lines.push(line);
                    continue;
                }
            }
            return lines;
        }
    }

    /// Gives it a message; what it says to it, as the appliance reads it.
    fn tell(&mut self, now: u64, message: Message, payload: &[u8]) -> Vec<String> {
        let mut buffer = [0; FRAME_MAX];
        let bytes = message.frame(self.session, 1, payload).emit(&mut buffer).to_vec();
        self.deed(&format!("bytes {now} {}", hex(&bytes)))
    }

    fn stop(&mut self, now: u64, generation: u64) -> Vec<String> {
        self.tell(now, Message::Group(Group::Stop { volume: VOLUME, generation }), &[])
    }

    fn start_with(&mut self, now: u64, generation: u64, entries: &[StartNode]) -> Vec<String> {
        let start = Group::Start { volume: VOLUME, generation, part: 0, parts: 1 };
        let mut payload = vec![0; entries.len() * StartNode::BYTES];
        payload.chunks_mut(StartNode::BYTES).zip(entries).for_each(|(bytes, entry)| entry.emit(bytes));
        self.tell(now, Message::Group(start), &payload)
    }

    /// A machine with a session, and time 1 s.
    fn with_session() -> Self {
        let mut play = Self::start();
        play.deed(&format!("init {} {INCARNATION} 9 1000000", NODE.get()));
        let [hello] = said(&play.deed("time 1000000"))[..] else { panic!("one HELLO") };
        let Message::Hello { node: NODE, incarnation: INCARNATION, nonce, served: Cluster::NONE } = hello.0 else {
            panic!("{hello:?}");
        };
        assert_eq!(hello.1, 0);
        play.session = 77;
        let welcome = Message::Welcome {
            nonce,
            host: HostId::new(1),
            node: NODE,
            beat_ms: 200,
            lease_ms: 5000,
            cluster: CLUSTER,
        };
        let answers = said(&play.tell(1_001_000, welcome, &[]));
        assert_eq!(answers, [(Message::Beat { stamp: 1_001_000 }, 77)]);
        play
    }

    /// The same with a volume that runs under generation 5, with this node and node 3.
    fn running() -> Self {
        let mut play = Self::with_session();
        let opened = play.deed(&format!("open {} {}", hex(&VOLUME.0), hex(&Label::named("test").0)));
        assert_eq!(opened.last().unwrap(), "opened 0");
        play.deed("ready 0 1002000");
        let join = Message::Group(Group::Join { cluster: Label::named("test"), volume: VOLUME });
        assert_eq!(said(&play.deed("time 1002000")), [(join, 77)]);
        assert_eq!(play.stop(1_003_000, 5).last().unwrap(), "job 0 1 5");
        assert_eq!(said(&play.deed("stopped 0 5")), [group(Group::Stopped { volume: VOLUME, generation: 5 })]);
        assert_eq!(play.start_with(1_004_000, 5, &[us(), other(Fate::Member)]), ["job 0 2 5"]);
        assert_eq!(said(&play.deed("started 0 5")), [group(Group::Started { volume: VOLUME, generation: 5 })]);
        assert_eq!(said(&play.deed("recovered 0 5")), [group(Group::Recovered { volume: VOLUME, generation: 5 })]);
        play
    }
}

fn us() -> StartNode {
    StartNode { node: NODE, fate: Fate::Member, incarnation: INCARNATION }
}

fn other(fate: Fate) -> StartNode {
    StartNode { node: NodeId::new(3), fate, incarnation: 0x33 }
}

fn group(group: Group) -> (Message, u32) {
    (Message::Group(group), 77)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The messages among the lines, with the session of each.
fn said(lines: &[String]) -> Vec<(Message, u32)> {
    let sent = lines.iter().filter_map(|line| line.strip_prefix("send "));
    sent.map(|line| {
        let bytes = bytes(line);
        let frame = Frame::parse(&bytes).unwrap_or_else(|_| panic!("no frame: {line}"));
        (Message::parse(&frame).unwrap_or_else(|_| panic!("no message: {frame:?}")), frame.session)
    })
    .collect()
}

#[test]
fn the_lease_counts_from_the_stamp_and_its_end_is_the_machine_s() {
    let mut play = Play::with_session();
    let lease = |stamp| Message::Lease { stamp, lease_ms: 5000 };
    let told = play.tell(1_900_000, lease(1_001_000), &[]);
    assert!(told.contains(&"lease 6001000".to_owned()), "{told:?}");
    assert_eq!(play.tell(1_900_000, lease(900_000), &[]), [""; 0], "an overtaken answer takes nothing away");
    assert_eq!(play.tell(1_900_000, lease(1_950_000), &[]), [""; 0], "a stamp from the future is not ours");
    let end = play.deed("time 5981000");
    assert_eq!(said(&end), [(Message::LastGasp { reason: Gasp::LeaseEnded }, 77)]);
    assert_eq!(end.last().unwrap(), "reset 0");
    assert_eq!(play.tell(5_982_000, lease(5_900_000), &[]), [""; 0], "nobody is revived");
}

#[test]
fn the_condemned_and_those_of_an_ended_cluster_reset_themselves() {
    for (refusal, why) in [(Refusal::Condemned, "reset 1"), (Refusal::ClusterOver, "reset 2")] {
        let mut play = Play::with_session();
        let told = play.tell(1_100_000, Message::Error { refusal }, &[]);
        assert_eq!(told.last().unwrap(), why);
    }
}

#[test]
fn a_death_stops_starts_and_is_taken_over_when_the_journal_is_replayed() {
    let mut play = Play::running();
    play.stop(1_100_000, 9);
    assert_eq!(said(&play.stop(1_100_001, 9)), [], "the worker is not done");
    let stopped = [group(Group::Stopped { volume: VOLUME, generation: 9 })];
    assert_eq!(said(&play.deed("stopped 0 9")), stopped);
    assert_eq!(said(&play.stop(1_100_002, 9)), stopped, "a repeated step is answered again");
    assert_eq!(said(&play.stop(1_100_003, 8)), [], "a lower generation is not for us");
    let given = Given { what: What::Recovery(VOLUME), dead: NodeId::new(3), incarnation: 0x33, token: 10 };
    assert_eq!(said(&play.tell(1_100_004, Message::Takeover(Takeover::Give(given)), &[])), []);
    assert_eq!(play.start_with(1_100_005, 8, &[us(), other(Fate::Dead)]), [""; 0], "another generation's START");
    assert_eq!(play.start_with(1_100_006, 9, &[us(), other(Fate::Dead)]), ["job 0 2 9"]);
    assert_eq!(said(&play.deed("started 0 9")), [group(Group::Started { volume: VOLUME, generation: 9 })]);
    let recovered = group(Group::Recovered { volume: VOLUME, generation: 9 });
    assert_eq!(said(&play.deed("recovered 0 9")), [recovered]);
    let again = said(&play.start_with(1_100_007, 9, &[us(), other(Fate::Dead)]));
    assert_eq!(again, [group(Group::Started { volume: VOLUME, generation: 9 }), recovered]);
    let taken = [(Message::Takeover(Takeover::Taken(given)), 77)];
    assert_eq!(said(&play.deed("replayed 0 9")), taken);
    assert_eq!(said(&play.tell(1_100_008, Message::Takeover(Takeover::Give(given)), &[])), taken);
    let older = Given { token: 9, ..given };
    assert_eq!(said(&play.tell(1_100_009, Message::Takeover(Takeover::Give(older)), &[])), [], "a lower token");
}

#[test]
fn the_next_session_hears_what_runs_here_before_it_opens() {
    let mut play = Play::running();
    let event = NodeEvent { node: NodeId::new(3), host: HostId::new(3), class: None, incarnation: 0x33, version: 4 };
    play.tell(1_100_000, Message::NodeUp(event), &[]);
    play.tell(1_100_001, Message::Error { refusal: Refusal::NoSession }, &[]);
    let [hello] = said(&play.deed("time 1100002"))[..] else { panic!("one HELLO") };
    let Message::Hello { nonce, served: CLUSTER, .. } = hello.0 else { panic!("{hello:?}") };
    play.session = 78;
    let welcome =
        Message::Welcome { nonce, host: HostId::new(1), node: NODE, beat_ms: 200, lease_ms: 5000, cluster: CLUSTER };
    let lines = play.tell(1_100_003, welcome, &[]);
    let told: Vec<Message> = said(&lines).into_iter().map(|(message, _)| message).collect();
    let nodes = Tale { node: NODE, part: 0, parts: 1, version: 5, tells: Some((1, 0)) };
    let volume = VolumeTale {
        node: NODE,
        which: 0,
        state: VolumeState::Started,
        recovered: true,
        part: 0,
        parts: 1,
        cluster: Label::named("test"),
        volume: VOLUME,
    };
    let [first, second, beat] = told[..] else { panic!("{told:?}") };
    assert_eq!(first, Message::Report(Account::Nodes(nodes)));
    assert_eq!(second, Message::Report(Account::Volume(volume)));
    assert_eq!(beat, Message::Beat { stamp: 1_100_003 });
    let payload =
        bytes(lines.iter().filter_map(|line| line.strip_prefix("send ")).nth(1).unwrap())[FRAME_BYTES..].to_vec();
    let (generations, entries) = VolumeTale::read_payload(&payload).unwrap();
    assert_eq!((generations, entries.collect::<Vec<_>>()), ((5, 5), vec![us(), other(Fate::Member)]));
}

#[test]
fn without_a_fate_nobody_guesses_that_a_node_left() {
    let mut play = Play::running();
    play.stop(1_100_000, 9);
    play.deed("stopped 0 9");
    let told = play.start_with(1_100_001, 9, &[us()]);
    assert_eq!(
        (said(&told), told.last().unwrap().as_str()),
        (vec![(Message::LastGasp { reason: Gasp::Other }, 77)], "reset 3")
    );
    let mut play = Play::running();
    play.stop(1_100_000, 9);
    play.deed("stopped 0 9");
    let told = play.start_with(1_100_001, 9, &[other(Fate::Member)]);
    assert_eq!(told.last().unwrap(), "reset 4", "the others run without us");
}

#[test]
fn a_stop_overtakes_a_start_that_the_worker_has_not_finished() {
    let mut play = Play::running();
    play.stop(1_100_000, 9);
    play.deed("stopped 0 9");
    assert_eq!(play.start_with(1_100_001, 9, &[us(), other(Fate::Dead)]), ["job 0 2 9"]);
    play.stop(1_100_002, 11);
    assert_eq!(said(&play.deed("started 0 9")), [], "it does not run, whatever the worker did");
    assert_eq!(said(&play.deed("recovered 0 9")), []);
    assert_eq!(said(&play.deed("stopped 0 11")), [group(Group::Stopped { volume: VOLUME, generation: 11 })]);
}

#[test]
fn umount_asks_until_it_is_out() {
    let mut play = Play::running();
    play.deed("close 0 1200000");
    let leave = [group(Group::Leave { volume: VOLUME })];
    assert!(said(&play.deed("time 1200000")).contains(&leave[0]));
    assert!(said(&play.deed("time 1450000")).contains(&leave[0]), "again");
    let told = play.tell(1_460_000, Message::Group(Group::Leave { volume: VOLUME }), &[]);
    assert_eq!(told, ["job 0 3 5"]);
    play.deed("left 0 0");
    assert!(!said(&play.deed("time 1900000")).contains(&leave[0]));
    let given = Given { what: What::Recovery(VOLUME), dead: NodeId::new(3), incarnation: 0x33, token: 10 };
    let failed = [(Message::Takeover(Takeover::Failed(given)), 77)];
    assert_eq!(said(&play.tell(1_900_001, Message::Takeover(Takeover::Give(given)), &[])), failed);
}

#[test]
fn a_refused_join_fails_the_mount_and_a_busy_one_is_repeated() {
    let mut play = Play::with_session();
    play.deed(&format!("open {} {}", hex(&VOLUME.0), hex(&Label::NONE.0)));
    play.deed("ready 0 1002000");
    let join = (Message::Group(Group::Join { cluster: Label::NONE, volume: VOLUME }), 77);
    assert!(said(&play.deed("time 1002000")).contains(&join));
    play.tell(1_003_000, Message::Error { refusal: Refusal::NotYet }, &[]);
    assert!(said(&play.deed("time 1253000")).contains(&join));
    let told = play.tell(1_260_000, Message::Error { refusal: Refusal::BadRequest }, &[]);
    assert_eq!(told.last().unwrap(), "job 0 4 0");
}

#[test]
fn named_services_are_taken_only_where_a_program_may_run_them() {
    let given = Given { what: What::Named(Label::named("web")), dead: NodeId::NONE, incarnation: 0, token: 6 };
    let mut play = Play::with_session();
    let give = Message::Takeover(Takeover::Give(given));
    assert_eq!(said(&play.tell(1_100_000, give, &[])), [(Message::Takeover(Takeover::Failed(given)), 77)]);
    let mut play = Play::with_session();
    play.deed("services 1");
    assert_eq!(said(&play.tell(1_100_000, give, &[])), [(Message::Takeover(Takeover::Taken(given)), 77)]);
}

#[test]
fn a_cut_names_the_incarnation_that_was_told_last() {
    let mut play = Play::with_session();
    assert_eq!(said(&play.deed("cut 3 1 1500")), [], "of a node that nobody told of");
    let event = NodeEvent { node: NodeId::new(3), host: HostId::new(3), class: None, incarnation: 0x33, version: 4 };
    play.tell(1_100_000, Message::NodeUp(event), &[]);
    let cut = |cut, silent_ms| Message::Dlm(Dlm::Cut { node: NodeId::new(3), cut, incarnation: 0x33, silent_ms });
    assert_eq!(said(&play.deed("cut 3 1 1500")), [(cut(true, 1500), 77)]);
    assert_eq!(said(&play.deed("cut 3 0 0")), [(cut(false, 0), 77)]);
}

#[test]
fn frames_of_another_session_are_dropped_and_bytes_between_frames_too() {
    let mut play = Play::running();
    play.session = 76;
    assert_eq!(play.stop(1_100_000, 9), [""; 0]);
    play.session = 77;
    let mut buffer = [0; FRAME_MAX];
    let stop = Message::Group(Group::Stop { volume: VOLUME, generation: 9 }).frame(77, 1, &[]);
    let frame = stop.emit(&mut buffer).to_vec();
    let torn = [b"PFPPF".as_slice(), &frame[..50], &frame].concat();
    assert_eq!(play.deed(&format!("bytes 1100000 {}", hex(&torn))).last().unwrap(), "job 0 1 9");
}

#[test]
fn bad_input_ends_in_a_count_or_a_reset_and_never_in_a_crash() {
    let program = compile("fuzz");
    let output = Command::new(&program).args(["1", "2000"]).output().unwrap();
    let _removed = fs::remove_file(&program);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let last = text.lines().last().unwrap();
    println!("{last}");
    let reached = |name: &str| -> u64 {
        let value = last.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.unwrap().parse().unwrap()
    };
    assert!(last.starts_with("PASS "), "{last}");
    // It must have come far enough to mean something.
    assert!(reached("running") > 100 && reached("resets") > 100 && reached("taken") > 10, "{last}");
}
