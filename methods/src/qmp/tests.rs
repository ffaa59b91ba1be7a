//! The monitor against a scripted QEMU that talks as QEMU 7.2 does. The real one is in tests/tests/interop_qmp.rs.

use super::*;
use crate::Detail;
use std::format;
use std::string::{String as Text, ToString};
use std::vec;
use std::vec::Vec;

const GREETING: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, \
                        \"capabilities\": [\"oob\"]}}\r\n";
const INCARNATION: u64 = 0xabcd_0123;

/// A QEMU in as few lines as carry the exchange.
struct Qemu {
    state: &'static str,
    negotiated: bool,
    migrate: &'static str,
    /// Does not do what this command says, but answers it.
    ignores: &'static str,
    /// Answers this command with an error.
    refuses: &'static str,
    /// Does not answer this command.
    hangs: &'static str,
    /// How often somebody else continues the VM after a stop.
    continued: u32,
    heard: Vec<Text>,
    ids: Vec<Text>,
}

impl Qemu {
    fn new(state: &'static str) -> Self {
        Self {
            state,
            negotiated: false,
            migrate: "",
            ignores: "",
            refuses: "",
            hangs: "",
            continued: 0,
            heard: vec![],
            ids: vec![],
        }
    }

    fn event(name: &str, data: &str) -> Text {
        format!("{{\"timestamp\": {{\"seconds\": 1, \"microseconds\": 2}}, \"event\": \"{name}\"{data}}}\r\n")
    }

    fn answer(&mut self, line: &str) -> Text {
        let mut words = line.trim_start_matches(|c| c != '{').split('"').filter(|word| !word.contains([':', ',']));
        let command = words.nth(2).unwrap_or("").to_string();
        let id = line.trim_end().trim_end_matches("\"}").rsplit('"').next().unwrap_or("").to_string();
        assert!(!self.ids.contains(&id), "an id is used once: {id}");
        self.ids.push(id.clone());
        self.heard.push(command.clone());
        if command == self.hangs {
            return Text::new();
        }
        if command == self.refuses || (command == "qmp_capabilities") == self.negotiated {
            return format!(
                "{{\"id\": \"{id}\", \"error\": {{\"class\": \"CommandNotFound\", \"desc\": \"no \\\"x\"}}}}\r\n"
            );
        }
        let mut out = Text::new();
        let mut value = "{}".to_string();
        match command.as_str() {
            _ if command == self.ignores => {}
            "qmp_capabilities" => self.negotiated = true,
            "stop" => {
                out += &Self::event("STOP", "");
                self.state = if self.state == "running" { "paused" } else { self.state };
                if self.continued > 0 {
                    self.continued -= 1;
                    out += &Self::event("RESUME", "");
                    self.state = "running";
                }
            }
            "cont" => self.state = "running",
            "system_reset" => {
                out += &Self::event("RESET", ", \"data\": {\"guest\": false, \"reason\": \"host-qmp-system-reset\"}");
                self.state = if self.state == "running" { "running" } else { "prelaunch" };
            }
            "query-status" => {
                let (state, running) = (self.state, self.state == "running");
                value = format!("{{\"status\": \"{state}\", \"singlestep\": false, \"running\": {running}}}");
            }
            "query-migrate" if !self.migrate.is_empty() => value = format!("{{\"status\": \"{}\"}}", self.migrate),
            _ => {}
        }
        out + &format!("{{\"return\": {value}, \"id\": \"{id}\"}}\r\n")
    }
}

struct World {
    now: Instant,
    monitor: Monitor,
    qemu: Qemu,
}

impl World {
    fn new(state: &'static str) -> Self {
        let monitor = Monitor::new(Instant::ZERO, INCARNATION);
        let mut world = Self { now: Instant::ZERO, monitor, qemu: Qemu::new(state) };
        world.say(GREETING);
        world.settle();
        assert!(world.monitor.is_ready());
        world
    }

    fn say(&mut self, text: &str) {
        self.monitor.handle(self.now, text.as_bytes());
    }

    /// One exchange, or a step to the next timer. `false`: nothing more to do.
    fn step(&mut self) -> bool {
        let mut out = [0xa5; COMMAND_LINE_MAX];
        if let Some(len) = self.monitor.poll_transmit(self.now, &mut out) {
            let line = Text::from_utf8_lossy(&out[..len]).to_string();
            assert!(line.ends_with("}\n") && len < COMMAND_LINE_MAX);
            let answer = self.qemu.answer(&line);
            self.say(&answer);
            return true;
        }
        match self.monitor.poll_timeout() {
            Some(next) => {
                assert!(next >= self.now);
                self.now = self.now.max(next);
                true
            }
            None => false,
        }
    }

    fn settle(&mut self) {
        while !self.monitor.is_ready() {
            assert!(self.step());
        }
    }

    fn run(&mut self, action: Action) -> Outcome {
        self.qemu.heard.clear();
        assert!(self.monitor.start(self.now, action, Duration::from_millis(TOTAL_MS)));
        for _ in 0..10_000 {
            if let Some(outcome) = self.monitor.outcome() {
                return outcome;
            }
            self.step();
        }
        panic!("no end: {:?}", self.monitor);
    }

    fn notices(&mut self) -> Vec<What> {
        core::iter::from_fn(|| self.monitor.poll_event()).map(|notice| notice.what).collect()
    }
}

fn short(outcome: Outcome) -> (Verdict, Detail) {
    (outcome.verdict, outcome.detail)
}

#[test]
fn the_whole_sequence_confirms() {
    for state in ["running", "paused", "guest-panicked", "io-error", "prelaunch", "shutdown"] {
        let mut world = World::new(state);
        let outcome = world.run(Action::Off);
        assert_eq!(outcome.verdict, Verdict::Confirmed(Class::VmStopped), "{state}");
        assert_eq!(outcome.power, Some(false));
        assert_eq!(
            world.qemu.heard,
            ["stop", "query-status", "query-migrate", "system_reset", "query-status", "query-migrate"]
        );
        assert_eq!(world.qemu.state, "prelaunch");
        assert_eq!(world.monitor.poll_timeout(), None);
    }
}

#[test]
fn nothing_is_said_of_its_own_accord_that_changes_the_vm() {
    let mut world = World::new("running");
    assert_eq!(world.qemu.heard, ["qmp_capabilities", "migrate-set-capabilities", "query-status"]);
    assert_eq!(world.notices(), [What::Greeting, What::Ready(Some(RunState::Running))]);
    world.say(&Qemu::event("GUEST_PANICKED", ", \"data\": {\"action\": \"pause\"}"));
    world.say(&Qemu::event("STOP", ""));
    assert_eq!(world.notices(), [What::Event(Event::Panicked), What::Event(Event::Stopped)]);
    assert!(!world.step(), "what happens is reported and nothing else");
    assert!(!world.qemu.heard.iter().any(|command| command == "cont"));
}

#[test]
fn on_and_status() {
    let mut world = World::new("prelaunch");
    let status = world.run(Action::Status);
    assert_eq!((status.verdict, status.power), (Verdict::Unknown, Some(false)));
    let on = world.run(Action::On);
    assert!(on.did(Action::On));
    assert_eq!(world.qemu.heard, ["cont", "query-status"]);
}

#[test]
fn each_missing_piece_is_no_proof() {
    // What the QEMU leaves out, and how it must end.
    type Case = (fn(&mut Qemu), Verdict, Why);
    let cases: [Case; 9] = [
        (|q| q.hangs = "stop", Verdict::Unknown, Why::StopHangs),
        (|q| q.hangs = "query-status", Verdict::Unknown, Why::FellSilent),
        (|q| q.hangs = "system_reset", Verdict::Unknown, Why::FellSilent),
        (|q| q.hangs = "query-migrate", Verdict::Unknown, Why::FellSilent),
        (|q| q.refuses = "stop", Verdict::Failed, Why::Refused(Command::Stop)),
        (|q| q.refuses = "system_reset", Verdict::Failed, Why::Refused(Command::SystemReset)),
        (|q| q.ignores = "stop", Verdict::Failed, Why::ContinuedBySomebody),
        (|q| q.ignores = "system_reset", Verdict::Unknown, Why::FellSilent),
        (|q| q.migrate = "active", Verdict::Failed, Why::Migrating),
    ];
    for (fault, verdict, why) in cases {
        let mut world = World::new("running");
        fault(&mut world.qemu);
        assert_eq!(short(world.run(Action::Off)), (verdict, why.into()));
    }
}

#[test]
fn a_reset_that_was_seen_before_the_stop_does_not_count() {
    let mut world = World::new("prelaunch");
    world.qemu.ignores = "system_reset";
    assert!(world.monitor.start(world.now, Action::Off, Duration::from_millis(TOTAL_MS)));
    world.say(&Qemu::event("RESET", ", \"data\": {\"guest\": true}"));
    while !world.monitor.is_done() {
        world.step();
    }
    assert_eq!(world.monitor.outcome().map(|o| o.verdict), Some(Verdict::Unknown));
}

#[test]
fn continued_by_somebody_is_stopped_again_a_few_times() {
    let mut world = World::new("running");
    world.qemu.continued = STOPS_MAX - 1;
    assert!(world.run(Action::Off).did(Action::Off));
    let mut world = World::new("running");
    world.qemu.continued = STOPS_MAX;
    assert_eq!(short(world.run(Action::Off)), (Verdict::Failed, Why::ContinuedBySomebody.into()));
}

#[test]
fn migrations_take_the_proof_away() {
    for state in ["inmigrate", "postmigrate", "finish-migrate"] {
        let mut world = World::new(state);
        assert_eq!(short(world.run(Action::Off)), (Verdict::Failed, Why::Migrating.into()), "{state}");
    }
    // Came here by a migration long ago.
    let mut world = World::new("running");
    world.qemu.migrate = "completed";
    assert!(world.run(Action::Off).did(Action::Off));
    // One event in the middle is enough.
    let mut world = World::new("running");
    assert!(world.monitor.start(world.now, Action::Off, Duration::from_millis(TOTAL_MS)));
    world.step();
    world.say(&Qemu::event("MIGRATION", ", \"data\": {\"status\": \"setup\"}"));
    assert_eq!(world.monitor.outcome().map(short), Some((Verdict::Failed, Why::Migrating.into())));
}

#[test]
fn a_greeting_after_a_probe_ends_the_attempt_that_waited() {
    let mut monitor = Monitor::new(Instant::ZERO, 7);
    assert!(monitor.start(Instant::ZERO, Action::Off, Duration::from_millis(TOTAL_MS)));
    let mut buffer = [0; 256];
    let probed = Instant::ZERO + Duration::from_millis(600);
    assert!(monitor.poll_transmit(probed, &mut buffer).is_some(), "nobody greeted: it probes");
    monitor.handle(probed, GREETING.as_bytes());
    monitor.handle(probed, b"\n");
    assert_eq!(monitor.outcome().map(short), Some((Verdict::Unknown, Why::AnotherQemu.into())), "SAFETY F1");
}

#[test]
fn an_attempt_that_is_abandoned_says_nothing_to_whoever_greets_first() {
    let mut monitor = Monitor::new(Instant::ZERO, 7);
    assert!(monitor.start(Instant::ZERO, Action::Off, Duration::from_millis(TOTAL_MS)));
    monitor.abandon();
    assert_eq!(monitor.outcome().map(short), Some((Verdict::Unknown, Why::AnotherQemu.into())), "SAFETY F1");
    let mut world = World { monitor, ..World::new("running") };
    world.say(GREETING);
    world.settle();
    assert!(!world.qemu.heard.iter().any(|command| command == "stop" || command == "system_reset"));
}

#[test]
fn another_qemu_or_a_lost_port_ends_the_attempt() {
    let mut world = World::new("running");
    assert!(world.monitor.start(world.now, Action::Off, Duration::from_millis(TOTAL_MS)));
    assert!(!world.monitor.start(world.now, Action::Off, Duration::from_millis(TOTAL_MS)), "one at a time");
    world.step();
    world.qemu.negotiated = false;
    world.say(GREETING);
    assert_eq!(world.monitor.outcome().map(short), Some((Verdict::Unknown, Why::AnotherQemu.into())));
    world.settle();
    assert!(world.run(Action::Off).did(Action::Off), "the next attempt is about the new one");

    assert!(world.monitor.start(world.now, Action::Off, Duration::from_millis(TOTAL_MS)));
    world.monitor.reset(world.now);
    assert_eq!(world.monitor.outcome().map(short), Some((Verdict::Unknown, Why::ConnectionLost.into())));
}

#[test]
fn a_vm_that_ends_instead_of_resetting_is_the_guards_to_prove() {
    let mut world = World::new("running");
    world.qemu.hangs = "system_reset";
    assert!(world.monitor.start(world.now, Action::Off, Duration::from_millis(TOTAL_MS)));
    while world.qemu.heard.last().is_none_or(|command| command != "system_reset") {
        world.step();
    }
    world.say(&Qemu::event("SHUTDOWN", ", \"data\": {\"guest\": false, \"reason\": \"host-qmp-system-reset\"}"));
    assert_eq!(world.monitor.outcome().map(short), Some((Verdict::Unknown, Why::Ends.into())));
}

#[test]
fn late_answers_and_foreign_ids_are_strays() {
    let mut world = World::new("running");
    world.qemu.hangs = "stop";
    assert_eq!(short(world.run(Action::Off)), (Verdict::Unknown, Why::StopHangs.into()));
    let late = format!("{{\"return\": {{}}, \"id\": \"{}\"}}\r\n", world.qemu.ids.last().expect("an id"));
    assert!(world.monitor.start(world.now, Action::Off, Duration::from_millis(TOTAL_MS)));
    world.say(&late);
    world.say("{\"return\": {}, \"id\": \"00000000abcd0122-5\"}\r\n");
    world.say("{\"return\": {}, \"id\": 5}\r\n{\"return\": {}}\r\n");
    assert_eq!(world.monitor.counters().strays, 2);
    assert!(!world.monitor.is_done());
}

#[test]
fn an_appliance_that_restarts_finds_its_way_back() {
    let mut world = World::new("running");
    world.monitor = Monitor::new(world.now, INCARNATION + 1);
    let mut out = [0; COMMAND_LINE_MAX];
    assert_eq!(world.monitor.poll_transmit(world.now, &mut out), None, "a greeting may still come");
    world.now = world.monitor.poll_timeout().expect("a probe");
    let len = world.monitor.poll_transmit(world.now, &mut out).expect("a probe");
    assert_eq!(out[0], READER_RESET);
    let answer = world.qemu.answer(&Text::from_utf8_lossy(&out[..len]));
    assert!(answer.contains("CommandNotFound"));
    world.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n");
    world.say(&answer);
    world.settle();
    assert!(world.run(Action::Off).did(Action::Off));
}

#[test]
fn nobody_there_is_unknown() {
    let mut monitor = Monitor::new(Instant::ZERO, INCARNATION);
    assert!(monitor.start(Instant::ZERO, Action::Off, Duration::from_millis(TOTAL_MS)));
    let mut out = [0; COMMAND_LINE_MAX];
    let mut sent = 0;
    let mut now = Instant::ZERO;
    while !monitor.is_done() {
        sent += u32::from(monitor.poll_transmit(now, &mut out).is_some());
        now = monitor.poll_timeout().unwrap_or(now);
    }
    assert_eq!(monitor.outcome().map(short), Some((Verdict::Unknown, Why::NotConnected.into())));
    assert!((1..=2).contains(&sent));
}

#[test]
fn lines_in_pieces_too_long_or_broken() {
    let mut world = World::new("running");
    let panicked = Qemu::event("GUEST_PANICKED", "");
    world.notices();
    for byte in panicked.bytes() {
        world.monitor.handle(world.now, &[byte]);
    }
    assert_eq!(world.notices(), [What::Event(Event::Panicked)]);
    world.monitor.handle(world.now, &vec![b'x'; 3 * LINE_MAX]);
    world.say("\r\n{\"event\": \r\n\r\n");
    world.say(&panicked);
    assert_eq!(world.notices(), [What::Event(Event::Panicked)]);
    assert_eq!((world.monitor.counters().long_lines, world.monitor.counters().bad_lines), (1, 1));
    for _ in 0..=EVENTS_MAX {
        world.say(&panicked);
    }
    assert_eq!(world.notices().len(), EVENTS_MAX);
    assert_eq!(world.monitor.counters().lost_notices, 1);
}

#[test]
fn all_commands_fit_their_line() {
    let monitor = Monitor::new(Instant::ZERO, u64::MAX);
    let mut out = [0; COMMAND_LINE_MAX];
    for command in [Command::MigrationEvents, Command::Capabilities, Command::SystemReset] {
        let pending = Pending { command, number: u64::MAX, not_before: Instant::ZERO, said: false, reset_reader: true };
        let len = monitor.emit(&pending, &mut out);
        assert_eq!(out[len - 1], b'\n');
        assert!(line::parse(&out[1..len - 1]).is_ok());
    }
}

#[test]
fn a_mutated_stream_never_panics_and_never_confirms_a_running_vm() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..300 {
        let mut world = World::new("running");
        // It answers, but never stops; only bytes that change on the way could make it look stopped.
        world.qemu.ignores = if round % 2 == 0 { "stop" } else { "system_reset" };
        assert!(world.monitor.start(world.now, Action::Off, Duration::from_millis(TOTAL_MS)));
        let mut out = [0; COMMAND_LINE_MAX];
        while !world.monitor.is_done() {
            if let Some(len) = world.monitor.poll_transmit(world.now, &mut out) {
                let mut answer = world.qemu.answer(&Text::from_utf8_lossy(&out[..len])).into_bytes();
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let [at, byte, ..] = seed.to_le_bytes();
                let at = usize::from(at) % answer.len();
                answer[at] = byte;
                world.monitor.handle(world.now, &answer);
            } else if let Some(next) = world.monitor.poll_timeout() {
                world.now = world.now.max(next);
            }
        }
        assert!(!world.monitor.outcome().expect("done").did(Action::Off));
        assert!(world.monitor.outcome().expect("done").detail.to_string().starts_with("qmp: "));
    }
}
