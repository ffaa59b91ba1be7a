//! libFuzzer against the shim's C: the frame parser and the state machine, from frames that the Rust side wrote.
//!
//! Owns the corpus to begin with, the runs of `appliance/shim/user/target.c`, and three mistakes that the fuzzer must find.
//! What must hold is `appliance/shim/user/judge.c`'s to say. Must never pass on a run that reached little.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use palisade_core::config::Ip;
use palisade_core::fencing::Class;
use palisade_core::id::{Ballot, Cluster, HostId, Label, NodeId};
use palisade_core::limits::FRAME_MAX;
use palisade_core::wire::node::{
    Dlm, Fate, Given, Group, Mail, Message, NodeEvent, NodeState, Refusal, StartNode, Takeover, ViewNode, What,
};
use palisade_images::{House, setup};

mod interop_support;

use interop_support::{LOCKS, MACHINE, run_dir};

/// As `judge.c` and `target.c` begin.
const NODE: NodeId = NodeId::new(1);
const OTHER: NodeId = NodeId::new(2);
const INCARNATION: u64 = 7;
const NONCE: u64 = 9;
const BEGIN_US: u64 = 1_000_000;
const SESSION: u32 = 77;
const VOLUME: Label = Label([0xab; 16]);
const TOOLS: [&str; 4] = ["clang-14", "libclang-rt-14-dev", "llvm-14", "libc6-dev"];
/// Parts of a START that is as long as it may be.
const PARTS: u16 = 14;
const PART_ENTRIES: usize = 37;

/// Kinds of records, as `target.c` has them.
const BYTES: u8 = 0;
const OURS: u8 = 1;
const OTHERS: u8 = 2;
const TIME: u8 = 3;
const OPEN: u8 = 4;
const CLOSE: u8 = 6;
const WORK: u8 = 7;
const CUT: u8 = 8;

/// An input: what happens to a node, one after the other.
#[derive(Clone, Default)]
struct Story {
    bytes: Vec<u8>,
    /// Frames go in as they are, and not with a sum that the target sets.
    raw: bool,
}

impl Story {
    fn record(mut self, kind: u8, bytes: &[u8]) -> Self {
        self.bytes.push(kind);
        self.bytes.extend(u16::try_from(bytes.len()).unwrap().to_le_bytes());
        self.bytes.extend(bytes);
        self
    }

    fn told(self, message: Message, payload: &[u8]) -> Self {
        let mut buffer = [0; FRAME_MAX];
        let kind = if self.raw { BYTES } else { OURS };
        self.record(kind, message.frame(SESSION, 1, payload).emit(&mut buffer))
    }

    fn after(self, us: u32) -> Self {
        self.record(TIME, &us.to_le_bytes())
    }

    /// The worker does what it is told, or looks after the first volume.
    fn worked(self) -> Self {
        self.record(WORK, &[0, 0, 0])
    }

    fn begin(raw: bool) -> Self {
        Self { raw, ..Self::default() }.after(0).told(
            Message::Welcome {
                nonce: NONCE,
                host: HostId::new(1),
                node: NODE,
                beat_ms: 200,
                lease_ms: 5000,
                cluster: Cluster { number: 3, random: 33 },
            },
            &[],
        )
    }

    fn leased(self, stamp: u64) -> Self {
        self.told(Message::Lease { stamp, lease_ms: 5000 }, &[])
    }

    fn opened(self) -> Self {
        self.record(OPEN, &[VOLUME.0.as_slice(), &Label::named("main").0, &[1]].concat()).after(1000)
    }

    fn stopped(self, generation: u64) -> Self {
        self.told(Message::Group(Group::Stop { volume: VOLUME, generation }), &[]).worked()
    }

    fn started(self, generation: u64, entries: &[StartNode]) -> Self {
        let parts = entries.len().div_ceil(PART_ENTRIES).max(1);
        let parts_u16 = u16::try_from(parts).unwrap();
        let mut story = self;
        for part in 0..parts {
            let here = &entries[part * PART_ENTRIES..entries.len().min((part + 1) * PART_ENTRIES)];
            let mut payload = vec![0; here.len() * StartNode::BYTES];
            payload.chunks_mut(StartNode::BYTES).zip(here).for_each(|(bytes, entry)| entry.emit(bytes));
            let part = u16::try_from(part).unwrap();
            story = story
                .told(Message::Group(Group::Start { volume: VOLUME, generation, part, parts: parts_u16 }), &payload);
        }
        story.worked().worked()
    }

    /// OCFS2 has replayed what there was to replay.
    fn replayed(self) -> Self {
        self.record(WORK, &[0, 0, 1])
    }

    fn given(self, what: What, token: u64) -> Self {
        let given = Given { what, dead: OTHER, incarnation: 2, token };
        self.told(Message::Takeover(Takeover::Give(given)), &[])
    }

    fn running(raw: bool) -> Self {
        Self::begin(raw).leased(BEGIN_US).opened().stopped(5).started(5, &[us(), other(Fate::Member)]).replayed()
    }
}

fn us() -> StartNode {
    StartNode { node: NODE, fate: Fate::Member, incarnation: INCARNATION }
}

fn other(fate: Fate) -> StartNode {
    StartNode { node: OTHER, fate, incarnation: 2 }
}

fn event(class: Option<Class>) -> NodeEvent {
    NodeEvent { node: OTHER, host: HostId::new(2), class, incarnation: 2, version: 8 }
}

/// As many entries as a START may have.
fn longest() -> Vec<StartNode> {
    let count = usize::from(PARTS) * PART_ENTRIES - 1;
    let rest = (0..count).map(|at| StartNode {
        node: NodeId::new(u8::try_from(2 + at % 254).unwrap()),
        fate: if at < 254 { Fate::Member } else { Fate::Dead },
        incarnation: 100 + u64::try_from(at).unwrap(),
    });
    std::iter::once(us()).chain(rest).collect()
}

/// Stories that the fuzzer begins with, by name.
fn stories() -> BTreeMap<String, Story> {
    let view = ViewNode { node: OTHER, state: NodeState::Up, host: HostId::new(2), class: 0, incarnation: 2 };
    let mut entries = [0; 2 * ViewNode::BYTES];
    entries.chunks_mut(ViewNode::BYTES).for_each(|bytes| view.emit(bytes));
    let ballot = Ballot { round: 1, host: HostId::new(1) };
    let view = Message::View { version: 7, ballot, part: 0, parts: 1 };
    let address = |node, address| Message::Dlm(Dlm::Address { node, port: 0, address });
    let leave = Message::Group(Group::Leave { volume: VOLUME });
    let refused = |refusal| Story::running(false).told(Message::Error { refusal }, &[]).after(600_000);
    let mut stories = BTreeMap::new();
    for raw in [false, true] {
        let mut add =
            |name: &str, story: Story| stories.insert(format!("{name}{}", if raw { "-raw" } else { "" }), story);
        let welcome = Story::begin(raw);
        add("view", welcome.clone().told(view, &entries).told(Message::NodeUp(event(None)), &[]));
        let (peer, number) = (OTHER, 3);
        let recv = Mail::Recv { from: OTHER, incarnation: 2, number, stream: 5, first: number };
        let mails = [Mail::Ack { peer, number, stream: 0 }, Mail::Gone { to: OTHER, epoch: 1, number: 0 }];
        let mailed = mails.into_iter().fold(Story::running(raw), |story, mail| story.told(Message::Mail(mail), &[]));
        let mailed = mailed.told(Message::Mail(Mail::Busy { to: OTHER, number }), &[]);
        add("mail", mailed.told(Message::Mail(recv), &[1; 32]).told(Message::Mail(recv), &[1; 80]).after(300_000));
        add("suspect", welcome.clone().told(Message::NodeSuspect(event(None)), &[]));
        add("down", welcome.clone().told(Message::NodeDown(event(Some(Class::PowerOff))), &[]).after(300_000));
        add("four", welcome.clone().told(address(NODE, Ip::V4([10, 7, 0, 1])), &[]));
        add("six", welcome.clone().told(address(OTHER, Ip::V6([0xfd; 16])), &[]).told(Message::Busy, &[]));
        add("lease", welcome.clone().leased(BEGIN_US).after(3_000_000).after(3_000_000));
        let running = Story::running(raw);
        let stopped = running.clone().told(Message::NodeDown(event(Some(Class::VmGone))), &[]).stopped(9);
        let dead = stopped.clone().started(9, &[us(), other(Fate::Dead)]);
        add("death", dead.clone().given(What::Recovery(VOLUME), 10).replayed().given(What::Recovery(VOLUME), 9));
        add("waits", stopped.clone().given(What::Recovery(VOLUME), 10).stopped(11).started(11, &[us()]));
        add("not-in-set", stopped.clone().started(9, &[other(Fate::Member)]));
        add(
            "left",
            stopped.clone().started(9, &[us(), other(Fate::Left)]).record(CLOSE, &[0]).told(leave, &[]).worked(),
        );
        add("service", running.clone().given(What::Named(Label::named("web")), 3));
        add("again", dead.clone().told(Message::Error { refusal: Refusal::NoSession }, &[]).after(0));
        add("longest", Story::begin(raw).leased(BEGIN_US).opened().stopped(5).started(5, &longest()).replayed());
        add("cut", welcome.told(Message::NodeUp(event(None)), &[]).record(CUT, &[2, 1, 0xff, 0, 0, 0]));
    }
    for refusal in [Refusal::Condemned, Refusal::ClusterOver, Refusal::WrongNode, Refusal::NotYet] {
        stories.insert(format!("refused-{refusal:?}").to_lowercase(), refused(refusal));
    }
    let joining = Story::begin(false).leased(BEGIN_US).opened();
    stories
        .insert("bad-request".to_owned(), joining.told(Message::Error { refusal: Refusal::BadRequest }, &[]).worked());
    // All that is told is told again in the session that comes next.
    let next = Story::running(false).told(Message::Error { refusal: Refusal::NoSession }, &[]);
    stories.insert("tells".to_owned(), Story { bytes: [next.bytes, Story::begin(false).bytes].concat(), raw: false });
    let mut foreign = [0; FRAME_MAX];
    let foreign = view.frame(SESSION + 1, 1, &entries).emit(&mut foreign).to_vec();
    stories.insert("foreign".to_owned(), Story::begin(false).record(OTHERS, &foreign).record(BYTES, b"PFPPF"));
    stories
}

fn shim() -> PathBuf {
    House::here().root().join("appliance/shim")
}

/// Compiles the target from the sources at `from`, with sanitizers or with counters of what is reached.
fn compile(from: &Path, program: &Path, with: &[&str]) {
    setup::ensure(&TOOLS).unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new("clang-14")
        .args(["-std=gnu11", "-O1", "-g", "-Wall", "-Werror", "-Iuser"])
        .args(with)
        .args(MACHINE)
        .args(LOCKS)
        .args(["user/judge.c", "user/target.c", "-o"])
        .arg(program)
        .current_dir(from)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

const SANITIZERS: [&str; 2] = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write_corpus(folder: &Path) -> PathBuf {
    let corpus = folder.join("corpus");
    fs::create_dir_all(&corpus).unwrap();
    for (name, story) in stories() {
        fs::write(corpus.join(name), story.bytes).unwrap();
    }
    corpus
}

fn fuzz(program: &Path, corpus: &Path, seconds: u32) -> Output {
    let artifacts = format!("-artifact_prefix={}/", program.parent().unwrap().display());
    Command::new(program)
        .args([&format!("-max_total_time={seconds}"), "-max_len=16384", "-print_final_stats=1", "-seed=1"])
        .args(["-timeout=20", "-rss_limit_mb=1500", &artifacts])
        .arg(corpus)
        .output()
        .unwrap()
}

/// The number behind the last `name` of libFuzzer's output.
fn number(output: &str, name: &str) -> u64 {
    let rest = output.rsplit_once(name).unwrap_or_else(|| panic!("no {name} in {output}")).1;
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Lines of each file of the machine that the inputs of a corpus reach, in percent.
fn coverage(folder: &Path, corpus: &Path) -> BTreeMap<String, f64> {
    let program = folder.join("counted");
    compile(&shim(), &program, &["-fsanitize=fuzzer", "-fprofile-instr-generate", "-fcoverage-mapping"]);
    let (raw, profile) = (folder.join("raw"), folder.join("profile"));
    let ran = Command::new(&program).arg("-runs=0").arg(corpus).env("LLVM_PROFILE_FILE", &raw).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let merged = Command::new("llvm-profdata-14").args(["merge", "-o"]).args([&profile, &raw]).output().unwrap();
    assert!(merged.status.success(), "{}", text(&merged.stderr));
    let report = Command::new("llvm-cov-14")
        .arg("report")
        .arg(&program)
        .arg(format!("-instr-profile={}", profile.display()))
        .current_dir(shim())
        .output()
        .unwrap();
    let report = text(&report.stdout);
    let line = |file: &&str| {
        let line = report.lines().find(|line| line.split_whitespace().next().is_some_and(|name| name.ends_with(file)));
        let line = line.unwrap_or_else(|| panic!("no {file} in {report}"));
        // File, regions, missed, cover, functions, missed, executed, lines, missed, cover, ...
        let percent = line.split_whitespace().nth(9).unwrap().trim_end_matches('%').parse().unwrap();
        ((*file).to_owned(), percent)
    };
    MACHINE.iter().map(line).collect()
}

fn run(name: &str, seconds: u32) {
    let folder = run_dir(name);
    let program = folder.join("target");
    compile(&shim(), &program, &SANITIZERS);
    let corpus = write_corpus(&folder);
    let output = fuzz(&program, &corpus, seconds);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "an input is in {}:\n{said}", folder.display());
    let reached = coverage(&folder, &corpus);
    println!(
        "PASS {} inputs in {seconds} s, {} a second; edges {}, features {}, corpus {}; lines reached in %: {reached:?}",
        number(&said, "stat::number_of_executed_units:"),
        number(&said, "stat::average_exec_per_sec:"),
        number(&said, "cov: "),
        number(&said, "ft: "),
        fs::read_dir(&corpus).unwrap().count(),
    );
    for (file, percent) in reached {
        assert!(
            percent >= 95.0,
            "{file}: {percent} % of the lines are reached; is a kind of frame missing in stories()?"
        );
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn no_input_reads_beyond_a_frame_or_breaks_a_rule() {
    run("shim-libfuzzer", 25);
}

#[test]
#[ignore = "minutes"]
fn long_no_input_reads_beyond_a_frame_or_breaks_a_rule() {
    run("shim-libfuzzer-long", 600);
}

/// What a person may get wrong in the C, each in a copy of it: file, what stands there, and what would stand there.
const MISTAKES: [(&str, &str, &str); 4] = [
    ("session.c", "at + PAL_ENTRY_BYTES <= frame->length;", "at < frame->length;"),
    (
        "frame.c",
        "return payload > PAL_PAYLOAD_MAX ? 0 : PAL_FRAME_BYTES + payload;",
        "return PAL_FRAME_BYTES + payload;",
    ),
    ("start.c", "generation != group->generation || parts > PAL_PARTS_MAX ||", "generation != group->generation ||"),
    ("takeover.c", "group->phase == PAL_IS_RUNNING && group->replayed &&", "group->phase == PAL_IS_RUNNING &&"),
];

#[test]
fn mistakes_that_a_person_may_make_are_found() {
    for (file, right, wrong) in MISTAKES {
        let folder = run_dir("shim-mistake");
        let copied = Command::new("cp").arg("-r").arg(shim()).arg(folder.join("shim")).status().unwrap();
        assert!(copied.success());
        let source = fs::read_to_string(folder.join("shim").join(file)).unwrap();
        assert_eq!(source.matches(right).count(), 1, "{file} says it otherwise now: {right}");
        fs::write(folder.join("shim").join(file), source.replace(right, wrong)).unwrap();
        let program = folder.join("target");
        compile(&folder.join("shim"), &program, &SANITIZERS);
        let corpus = write_corpus(&folder);
        let output = fuzz(&program, &corpus, 60);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!output.status.success(), "nobody notices {wrong} in {file}");
        let what =
            said.lines().find(|line| ["ERROR:", "runtime error:", "FAIL"].iter().any(|word| line.contains(word)));
        println!("PASS {file}: {wrong} is found: {}", what.unwrap_or_default().trim());
        fs::remove_dir_all(&folder).unwrap();
    }
}
