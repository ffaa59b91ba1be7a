//! Method `ipmi` with cipher suite 17, and what a BMC can do wrong, against a BMC of the tests' own that shares no code
//! with the client (tests/peers/bmc17.py, Python's standard library only). It checks the client strictly: whatever is
//! against the specification is printed as a VIOLATION and fails the test.
#![allow(clippy::unwrap_used)]

mod interop_support;

use interop_support::{drive_ipmi, log_of, params, params_within, run_dir, spawn, wait_for};
use palisade_methods::ipmi::{Suite, Suites, Why};
use palisade_methods::{Action, Class, Detail, Outcome, Verdict};
use palisade_qemu::process::Child;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Bmc {
    port: u16,
    dir: PathBuf,
    _child: Child,
}

impl Bmc {
    fn start(arguments: &[&str]) -> Self {
        let dir = run_dir("bmc17");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/bmc17.py");
        let mut command = Command::new("python3");
        command.arg(script).args(arguments);
        let child = spawn(&mut command, &dir, "apt install python3");
        let port = wait_for("the BMC's port", || {
            log_of(&dir).lines().find_map(|line| line.strip_prefix("PORT ")?.parse().ok())
        });
        Self { port, dir, _child: child }
    }

    fn fault(name: &str) -> Self {
        Self::start(&["--fault", name])
    }

    fn off(&self) -> Outcome {
        drive_ipmi(self.port, &params(), Action::Off).0
    }

    /// What it printed, after the check that the client did nothing wrong.
    fn log(&self) -> String {
        let log = log_of(&self.dir);
        assert!(!log.contains("VIOLATION") && !log.contains("UNKNOWN") && !log.contains("Traceback"), "{log}");
        log
    }
}

fn confirmed(outcome: Outcome) -> bool {
    outcome.verdict == Verdict::Confirmed(Class::PowerOff)
}

fn ended(outcome: Outcome) -> (Verdict, Detail) {
    (outcome.verdict, outcome.detail)
}

#[test]
fn off_status_on_with_suite_17() {
    let bmc = Bmc::start(&[]);
    let (status, _) = drive_ipmi(bmc.port, &params(), Action::Status);
    assert_eq!(status.power, Some(true));
    let (off, attempt) = drive_ipmi(bmc.port, &params(), Action::Off);
    assert!(confirmed(off), "{off:?}");
    assert_eq!(attempt.suite(), Suite::Seventeen);
    assert_eq!((attempt.counters().sent, attempt.counters().dropped), (7, 0), "{attempt:?}");
    let (on, _) = drive_ipmi(bmc.port, &params(), Action::On);
    assert!(on.did(Action::On), "{on:?}");
    let log = bmc.log();
    assert!(log.contains("POWER off") && log.contains("POWER on"), "{log}");
    assert_eq!(log.matches("SESSION open").count(), 3, "{log}");
    assert_eq!(log.matches("SESSION closed").count(), 3, "no slot stays taken: {log}");
}

#[test]
fn off_already_is_confirmed_even_where_the_order_is_refused() {
    for arguments in [&["--off"][..], &["--off", "--fault", "refuse-off"]] {
        let bmc = Bmc::start(arguments);
        assert!(confirmed(bmc.off()));
        bmc.log();
    }
}

#[test]
fn a_key_of_its_own() {
    let kg = "000102030405060708090a0b0c0d0e0f10111213";
    let bytes: Vec<u8> = (0..20).collect();
    let bmc = Bmc::start(&["--kg", kg]);
    assert_eq!(ended(bmc.off()), (Verdict::Failed, Why::WrongKey.into()), "the password alone is not enough");
    let (off, _) = drive_ipmi(bmc.port, &params().with_kg(&bytes).unwrap(), Action::Off);
    assert!(confirmed(off), "{off:?}");
    assert!(bmc.log().contains("POWER off"));
}

#[test]
fn falls_back_to_suite_3_only_where_that_is_allowed() {
    let bmc = Bmc::fault("only3");
    let mut only17 = params();
    only17.suites = Suites::Only17;
    let (refused, _) = drive_ipmi(bmc.port, &only17, Action::Off);
    assert_eq!(ended(refused), (Verdict::Failed, Why::NoSuite.into()));
    assert!(!bmc.log().contains("SUITE 3"));
    let (off, attempt) = drive_ipmi(bmc.port, &params(), Action::Off);
    assert!(confirmed(off), "{off:?}");
    assert_eq!(attempt.suite(), Suite::Three);
    bmc.log();
}

#[test]
fn wrong_codes_end_it_before_any_order() {
    for (fault, why) in [("rakp2", Why::WrongPassword), ("rakp4", Why::WrongKey), ("other-suite", Why::OtherSuite)] {
        let bmc = Bmc::fault(fault);
        assert_eq!(ended(bmc.off()), (Verdict::Failed, why.into()), "{fault}");
        assert!(!bmc.log().contains("POWER"), "{fault}");
    }
}

#[test]
fn wrong_password_and_wrong_user() {
    let bmc = Bmc::start(&["--password", "another"]);
    assert_eq!(ended(bmc.off()), (Verdict::Failed, Why::WrongPassword.into()));
    let log = bmc.log();
    assert!(log.contains("SESSION refused 15"), "the BMC is told to forget the session: {log}");
    let bmc = Bmc::start(&["--user", "root"]);
    assert_eq!(ended(bmc.off()), (Verdict::Failed, Why::WrongUser.into()));
    bmc.log();
}

#[test]
fn answers_that_are_not_authentic_are_no_answers() {
    let bmc = Bmc::fault("integrity");
    let (off, attempt) = drive_ipmi(bmc.port, &params_within(3_000), Action::Off);
    assert_eq!(off.verdict, Verdict::Unknown, "{off:?}");
    assert!(attempt.counters().dropped > 0);
    bmc.log();
}

#[test]
fn a_bmc_that_falls_silent_proves_nothing() {
    let bmc = Bmc::fault("forget");
    let (off, _) = drive_ipmi(bmc.port, &params_within(3_000), Action::Off);
    assert_eq!(off.verdict, Verdict::Unknown, "{off:?}");
    bmc.log();
}

#[test]
fn off_that_lies_is_found_out_and_off_that_is_slow_is_awaited() {
    let bmc = Bmc::fault("lie");
    let (off, _) = drive_ipmi(bmc.port, &params_within(2_000), Action::Off);
    assert_eq!(ended(off), (Verdict::Failed, Why::StillOn.into()));
    assert_eq!(off.power, Some(true));
    assert!(bmc.log().contains("SESSION closed"));

    let bmc = Bmc::fault("slow");
    let (off, attempt) = drive_ipmi(bmc.port, &params(), Action::Off);
    assert!(confirmed(off), "{off:?}");
    assert!(attempt.counters().sent > 15, "it polls: {attempt:?}");
    bmc.log();
}

#[test]
fn busy_without_a_slot_or_answering_twice_is_only_a_delay() {
    for fault in ["busy", "no-slot", "twice"] {
        let bmc = Bmc::fault(fault);
        let off = bmc.off();
        assert!(confirmed(off), "{fault}: {off:?}");
        bmc.log();
    }
}
