//! Method `qmp` against real QEMUs: small PCs that run an endless loop from a boot sector.
#![allow(clippy::unwrap_used)]

mod interop_support;

use interop_support::{Clock, PATIENCE, run_dir, spawn, wait_for};
use palisade_core::time::Duration as Span;
use palisade_methods::qmp::{Event, Monitor, RunState, TOTAL_MS, What, Why};
use palisade_methods::{Action, Class, Detail, Method, Outcome, Verdict};
use palisade_qemu::process::Child;
use palisade_qemu::sys::{self, Signal};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const INSTALL: &str = "apt install qemu-system-x86";

/// sti; jump to itself.
const LOOP: &[u8] = &[0xfb, 0xeb, 0xfe];
/// Tells the pvpanic device at port 0x505 that the kernel panicked, then loops.
const PANIC: &[u8] = &[0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, 0xfb, 0xeb, 0xfe];

/// A VM with two monitors: ours, and somebody else's.
struct Vm {
    dir: PathBuf,
    child: Child,
}

impl Vm {
    fn start(code: &[u8], more: &[&str]) -> Self {
        let dir = run_dir("qmp");
        let child = Self::spawn(&dir, code, more);
        Self { dir, child }
    }

    fn spawn(dir: &std::path::Path, code: &[u8], more: &[&str]) -> Child {
        let mut sector = code.to_vec();
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        sector.resize(64 * 1024, 0);
        fs::write(dir.join("disk"), sector).unwrap();
        let monitor = |name: &str| format!("unix:{},server=on,wait=off", dir.join(name).display());
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-M", "pc", "-accel", "tcg,tb-size=16", "-m", "32", "-nodefaults", "-display", "none"]);
        command.args(["-device", "pvpanic", "-action", "panic=pause"]);
        command.args(["-drive", &format!("if=ide,format=raw,file={}", dir.join("disk").display())]);
        command.args(["-qmp", &monitor("ours"), "-qmp", &monitor("other")]).args(more);
        spawn(&mut command, dir, INSTALL)
    }

    fn connect(&self, name: &str) -> UnixStream {
        wait_for("the monitor's socket", || UnixStream::connect(self.dir.join(name)).ok())
    }

    /// Somebody else says this on his own monitor and waits for the answer.
    fn somebody_says(&self, commands: &[&str]) -> String {
        let mut stream = self.connect("other");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = String::new();
        for command in [&["{\"execute\":\"qmp_capabilities\"}"], commands].concat() {
            let before = said.matches("\"return\"").count() + said.matches("\"error\"").count();
            writeln!(stream, "{command}").unwrap();
            while said.matches("\"return\"").count() + said.matches("\"error\"").count() == before {
                let mut buffer = [0; 4096];
                let len = stream.read(&mut buffer).unwrap();
                assert!(len > 0, "{said}");
                said += &String::from_utf8_lossy(&buffer[..len]);
            }
        }
        said
    }

    fn signal(&self, signal: Signal) {
        sys::signal(self.child.pid(), signal).unwrap();
    }
}

/// The monitor with its socket, and everything that it noticed.
struct Line {
    clock: Clock,
    stream: UnixStream,
    monitor: Monitor,
    noticed: Vec<What>,
    ended: bool,
}

impl Line {
    fn open(vm: &Vm) -> Self {
        let clock = Clock::new();
        let mut line = Self {
            monitor: Monitor::new(clock.now(), 0x00c0_ffee),
            stream: vm.connect("ours"),
            clock,
            noticed: Vec::new(),
            ended: false,
        };
        line.until("a monitor that listens", |line| line.monitor.is_ready());
        line
    }

    /// Sends what is to be sent, waits a moment for something to come.
    fn turn(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(len) = self.monitor.poll_transmit(self.clock.now(), &mut buffer) {
            self.ended |= self.stream.write_all(&buffer[..len]).is_err();
        }
        let wait = self.clock.until(self.monitor.poll_timeout());
        self.stream.set_read_timeout(Some(wait)).unwrap();
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(len) => self.monitor.handle(self.clock.now(), &buffer[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.ended = true,
        }
        if self.ended {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.noticed.extend(std::iter::from_fn(|| self.monitor.poll_event()).map(|notice| notice.what));
    }

    fn until(&mut self, what: &str, ready: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !ready(self) {
            assert!(Instant::now() < end, "{what} did not come: {:?}", self.noticed);
            self.turn();
        }
    }

    fn until_event(&mut self, event: Event) {
        self.until("the event", |line| line.noticed.contains(&What::Event(event)));
    }

    fn start(&mut self, action: Action, millis: u64) {
        assert!(self.monitor.start(self.clock.now(), action, Span::from_millis(millis)));
    }

    fn run(&mut self, action: Action) -> Outcome {
        // A busy machine may need longer than the default.
        self.start(action, 10 * TOTAL_MS);
        self.finish()
    }

    fn finish(&mut self) -> Outcome {
        self.until("the end of the attempt", |line| line.monitor.is_done());
        self.monitor.outcome().unwrap()
    }
}

fn ended(outcome: Outcome) -> (Verdict, Detail) {
    (outcome.verdict, outcome.detail)
}

fn confirmed(outcome: Outcome) -> bool {
    outcome.verdict == Verdict::Confirmed(Class::VmStopped)
}

#[test]
fn a_running_vm_is_stopped_and_reset_and_stays_so_until_on() {
    let vm = Vm::start(LOOP, &[]);
    let mut line = Line::open(&vm);
    assert!(line.noticed.contains(&What::Greeting));
    assert!(line.noticed.contains(&What::Ready(Some(RunState::Running))), "{:?}", line.noticed);
    let off = line.run(Action::Off);
    assert!(confirmed(off), "{off:?}");
    assert!(line.noticed.contains(&What::Event(Event::Reset { guest: false })));
    let status = line.run(Action::Status);
    assert_eq!(ended(status), (Verdict::Unknown, Why::State(RunState::Prelaunch).into()));
    let other = vm.somebody_says(&["{\"execute\":\"query-status\"}"]);
    assert!(other.contains("prelaunch"), "{other}");
    let again = line.run(Action::Off);
    assert!(confirmed(again), "what is stopped and reset already is Confirmed: {again:?}");
    let on = line.run(Action::On);
    assert!(on.did(Action::On), "{on:?}");
    line.until_event(Event::Resumed);
    assert_eq!(line.run(Action::Status).power, Some(true));
    assert_eq!(line.monitor.counters().bad_lines, 0);
}

#[test]
fn a_panic_is_heard_and_the_panicked_vm_is_fenced() {
    let vm = Vm::start(PANIC, &["-S"]);
    let mut line = Line::open(&vm);
    assert!(line.noticed.contains(&What::Ready(Some(RunState::Prelaunch))));
    assert!(line.run(Action::On).verdict == Verdict::Unknown);
    line.until_event(Event::Panicked);
    line.until_event(Event::Stopped);
    let status = line.run(Action::Status);
    assert_eq!(ended(status), (Verdict::Unknown, Why::State(RunState::GuestPanicked).into()));
    let off = line.run(Action::Off);
    assert!(confirmed(off), "{off:?}");
}

#[test]
fn a_panic_before_anybody_listened_shows_in_the_state() {
    let vm = Vm::start(PANIC, &[]);
    wait_for("the panic", || {
        vm.somebody_says(&["{\"execute\":\"query-status\"}"]).contains("guest-panicked").then_some(())
    });
    let line = Line::open(&vm);
    let ready = line.noticed.iter().find(|what| matches!(what, What::Ready(_))).unwrap();
    assert_eq!(*ready, What::Ready(Some(RunState::GuestPanicked)));
}

#[test]
fn a_qemu_killed_in_the_middle_is_not_confirmed_by_its_monitor() {
    let vm = Vm::start(LOOP, &[]);
    let mut line = Line::open(&vm);
    line.start(Action::Off, 1_000);
    let mut buffer = [0; 256];
    let len = line.monitor.poll_transmit(line.clock.now(), &mut buffer).unwrap();
    line.stream.write_all(&buffer[..len]).unwrap();
    vm.signal(Signal::Kill);
    line.until("the end of the connection", |line| line.ended);
    line.monitor.reset(line.clock.now());
    assert_eq!(ended(line.finish()), (Verdict::Unknown, Why::ConnectionLost.into()));

    // And where nobody tells the monitor that the connection ended, its time runs out.
    let vm = Vm::start(LOOP, &[]);
    let mut line = Line::open(&vm);
    vm.signal(Signal::Kill);
    line.start(Action::Off, 500);
    assert_eq!(line.finish().verdict, Verdict::Unknown);
}

#[test]
fn a_qemu_that_hangs_is_unknown_and_its_late_answers_count_for_nothing() {
    let vm = Vm::start(LOOP, &[]);
    let mut line = Line::open(&vm);
    vm.signal(Signal::Stop);
    line.start(Action::Off, 300);
    assert_eq!(ended(line.finish()), (Verdict::Unknown, Why::StopHangs.into()));
    vm.signal(Signal::Continue);
    line.until("the late answer", |line| line.monitor.counters().strays > 0);
    assert_eq!(ended(line.run(Action::Status)), (Verdict::Unknown, Why::State(RunState::Paused).into()));
    assert!(confirmed(line.run(Action::Off)));
}

#[test]
fn a_second_start_of_the_vm_ends_the_attempt_at_the_first() {
    let mut vm = Vm::start(LOOP, &[]);
    let mut line = Line::open(&vm);
    vm.signal(Signal::Stop);
    line.start(Action::Off, 20_000);
    for _ in 0..3 {
        line.turn();
    }
    vm.signal(Signal::Kill);
    line.until("the end of the connection", |line| line.ended);
    vm.child.wait_for(PATIENCE);
    let _ = fs::remove_file(vm.dir.join("ours"));
    vm.child = Vm::spawn(&vm.dir, LOOP, &[]);
    // As a chardev does that reconnects: the same port, and nobody says anything.
    line.stream = vm.connect("ours");
    line.ended = false;
    assert_eq!(ended(line.finish()), (Verdict::Unknown, Why::AnotherQemu.into()));
    line.until("the new QEMU's state", |line| line.monitor.is_ready());
    assert_eq!(line.run(Action::Status).power, Some(true), "the new one was left alone");
}

#[test]
fn an_appliance_that_restarts_on_the_same_connection_negotiates_again() {
    let vm = Vm::start(LOOP, &[]);
    let mut line = Line::open(&vm);
    line.stream.write_all(b"{\"execute\":\"query-sta").unwrap();
    line.monitor = Monitor::new(line.clock.now(), 0x00c0_ffef);
    line.until("a monitor that listens", |line| line.monitor.is_ready());
    assert!(confirmed(line.run(Action::Off)));
}

#[test]
fn who_continues_the_vm_meanwhile_does_not_make_a_false_proof() {
    let vm = Vm::start(LOOP, &[]);
    let mut line = Line::open(&vm);
    line.start(Action::Off, 20_000);
    let mut buffer = [0; 256];
    let len = line.monitor.poll_transmit(line.clock.now(), &mut buffer).unwrap();
    line.stream.write_all(&buffer[..len]).unwrap();
    wait_for("stop", || vm.somebody_says(&["{\"execute\":\"query-status\"}"]).contains("paused").then_some(()));
    vm.somebody_says(&["{\"execute\":\"cont\"}"]);
    // What the monitor reads now is a return of stop that is no longer true.
    let off = line.finish();
    assert!(confirmed(off), "it is stopped a second time: {off:?}");
    assert!(line.noticed.contains(&What::Event(Event::Resumed)));
    assert!(vm.somebody_says(&["{\"execute\":\"query-status\"}"]).contains("prelaunch"));
    assert_eq!(line.noticed.iter().filter(|what| **what == What::Event(Event::Stopped)).count(), 2);
}

#[test]
fn a_vm_that_has_migrated_away_is_not_proved_here() {
    let vm = Vm::start(LOOP, &[]);
    let mut line = Line::open(&vm);
    vm.somebody_says(&["{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"exec:cat >/dev/null\"}}"]);
    line.until("the migration", |line| {
        line.noticed.contains(&What::Event(Event::Migration(palisade_methods::qmp::Migration::Completed)))
    });
    assert_eq!(ended(line.run(Action::Off)), (Verdict::Failed, Why::Migrating.into()));
}

#[test]
fn a_vm_that_ends_instead_of_resetting_is_left_to_the_guard() {
    let vm = Vm::start(LOOP, &["-no-reboot"]);
    let mut line = Line::open(&vm);
    assert_eq!(ended(line.run(Action::Off)), (Verdict::Unknown, Why::Ends.into()));
}
