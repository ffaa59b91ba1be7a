//! Method `ipmi` against a real BMC program: `ipmi_sim` of OpenIPMI, which has cipher suite 3 only. A client that prefers
//! 17 meets its refusal first.
#![allow(clippy::unwrap_used)]

mod interop_support;

use interop_support::{Proxy, Way, drive_ipmi, log_of, params, params_within, run_dir, spawn, wait_for};
use palisade_methods::ipmi::{Params, Suite, Suites, Why};
use palisade_methods::{Action, Class, Detail, Outcome, Verdict};
use palisade_qemu::process::Child;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

const INSTALL: &str = "apt install openipmi";

/// The program, with a chassis that is a file.
struct Bmc {
    port: u16,
    dir: PathBuf,
    _child: Child,
}

impl Bmc {
    fn start() -> Self {
        let dir = run_dir("ipmi_sim");
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| dir.join(name).display().to_string();
        fs::create_dir(dir.join("state")).unwrap();
        fs::write(dir.join("power"), "1\n").unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$@\" >>{log}\ncase \"$2 $3\" in\n'get power') echo \"power:$(cat {power})\" ;;\n\
             'set power') echo \"$4\" >{power} ;;\nesac\n",
            log = path("orders"),
            power = path("power"),
        );
        fs::write(dir.join("chassis"), script).unwrap();
        fs::set_permissions(dir.join("chassis"), fs::Permissions::from_mode(0o755)).unwrap();
        // Without a guid this BMC answers no RMCP+ at all.
        let lan = format!(
            "name \"host\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {port}\n\
             guid a123456789abcdefa123456789abcdef\nendlan\n\
             chassis_control \"{} 0x20\"\nuser 2 true \"admin\" \"secret12\" admin 10 none md2 md5 straight\n",
            path("chassis"),
        );
        fs::write(dir.join("lan.conf"), lan).unwrap();
        let emulator = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                        mc_enable 0x20\n";
        fs::write(dir.join("sim.emu"), emulator).unwrap();
        let mut command = Command::new("ipmi_sim");
        command.args(["-c", &path("lan.conf"), "-f", &path("sim.emu"), "-s", &path("state"), "-n", "-d", "-p"]);
        let child = spawn(&mut command, &dir, INSTALL);
        let bmc = Self { port, dir, _child: child };
        wait_for("an answer of ipmi_sim", || {
            let (status, _) = drive_ipmi(port, &params_within(500), Action::Status);
            status.power
        });
        bmc
    }

    fn orders(&self) -> usize {
        fs::read_to_string(self.dir.join("orders")).unwrap_or_default().matches("set power").count()
    }

    fn is_on(&self) -> bool {
        fs::read_to_string(self.dir.join("power")).unwrap().trim() == "1"
    }
}

fn confirmed(outcome: Outcome) -> bool {
    outcome.verdict == Verdict::Confirmed(Class::PowerOff) && outcome.power == Some(false)
}

fn ended(outcome: Outcome) -> (Verdict, Detail) {
    (outcome.verdict, outcome.detail)
}

#[test]
fn status_off_off_again_and_on() {
    let bmc = Bmc::start();
    let (status, attempt) = drive_ipmi(bmc.port, &params(), Action::Status);
    assert_eq!((status.verdict, status.power), (Verdict::Unknown, Some(true)));
    assert_eq!(attempt.suite(), Suite::Three);
    assert_eq!(bmc.orders(), 0);

    let (off, _) = drive_ipmi(bmc.port, &params(), Action::Off);
    assert!(confirmed(off), "{off:?}\n{}", log_of(&bmc.dir));
    assert!(!bmc.is_on());

    let (again, _) = drive_ipmi(bmc.port, &params(), Action::Off);
    assert!(confirmed(again), "off already is a proof, not an error: {again:?}");
    assert_eq!(bmc.orders(), 2, "off is ordered whatever was read");

    let (read, _) = drive_ipmi(bmc.port, &params(), Action::Status);
    assert_eq!((read.verdict, read.power), (Verdict::Unknown, Some(false)), "a read alone is no proof");

    let (on, _) = drive_ipmi(bmc.port, &params(), Action::On);
    assert!(on.did(Action::On) && bmc.is_on(), "{on:?}");
}

#[test]
fn the_seven_datagrams() {
    let bmc = Bmc::start();
    let mut params = params();
    params.suites = Suites::Only3;
    let (off, attempt) = drive_ipmi(bmc.port, &params, Action::Off);
    assert!(confirmed(off), "{off:?}");
    assert_eq!((attempt.counters().sent, attempt.counters().dropped), (7, 0), "{attempt:?}");
}

#[test]
fn wrong_password_and_wrong_user_fail_and_switch_nothing() {
    let bmc = Bmc::start();
    let wrong = Params::new(b"admin", b"wrong").unwrap();
    assert_eq!(ended(drive_ipmi(bmc.port, &wrong, Action::Off).0), (Verdict::Failed, Why::WrongPassword.into()));
    let wrong = Params::new(b"nobody", b"secret12").unwrap();
    assert_eq!(ended(drive_ipmi(bmc.port, &wrong, Action::Off).0), (Verdict::Failed, Why::WrongUser.into()));
    assert_eq!(bmc.orders(), 0);
    let (off, _) = drive_ipmi(bmc.port, &params(), Action::Off);
    assert!(confirmed(off), "and the right one still works: {off:?}");
}

#[test]
fn no_answer_is_never_a_fence() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for port in [silent.local_addr().unwrap().port(), nobody] {
        let (off, attempt) = drive_ipmi(port, &params_within(2_000), Action::Off);
        assert_eq!(ended(off), (Verdict::Unknown, Why::NoAnswer.into()));
        assert_eq!(off.power, None);
        assert!(attempt.counters().sent >= 3);
    }
}

#[test]
fn loss_of_every_third_datagram_is_only_a_delay() {
    let bmc = Bmc::start();
    for phase in 0..3 {
        let mut count = phase;
        let proxy = Proxy::start(bmc.port, move |_, _| {
            count += 1;
            count % 3 != 0
        });
        let (off, attempt) = drive_ipmi(proxy.port, &params(), Action::Off);
        assert!(confirmed(off), "{off:?} {attempt:?}");
    }
}

#[test]
fn each_single_loss_is_repaired() {
    // Off takes 7 exchanges here, one more for the refused suite: lose each datagram of each way once.
    let bmc = Bmc::start();
    for lost in 0..14 {
        let mut count = 0;
        let proxy = Proxy::start(bmc.port, move |_, _| {
            count += 1;
            count != lost + 1
        });
        let mut params = params();
        params.timing.reply = palisade_core::time::Duration::from_millis(60);
        let (off, attempt) = drive_ipmi(proxy.port, &params, Action::Off);
        assert!(confirmed(off), "datagram {lost} lost: {off:?} {attempt:?}");
    }
}

/// Corrupts one byte of each datagram of this payload type on its way to us.
fn corrupting(bmc: &Bmc, payload_type: u8, from_end: usize) -> Proxy {
    Proxy::start(bmc.port, move |way, datagram| {
        if way == Way::ToUs && datagram[5] == payload_type {
            let at = datagram.len() - 1 - from_end;
            datagram[at] ^= 1;
        }
        true
    })
}

#[test]
fn corrupted_codes_confirm_nothing() {
    let bmc = Bmc::start();
    let cases = [(0x13, Verdict::Failed), (0x15, Verdict::Failed), (0xc0, Verdict::Unknown)];
    for (payload_type, verdict) in cases {
        for from_end in [0, 5] {
            let proxy = corrupting(&bmc, payload_type, from_end);
            let (off, _) = drive_ipmi(proxy.port, &params_within(2_500), Action::Off);
            assert_eq!(off.verdict, verdict, "{payload_type:#x}: {off:?}");
        }
    }
}

#[test]
fn a_recorded_session_opens_nothing() {
    // Answers of an earlier session that ended with "off" are played to a new one, while the chassis is on.
    let bmc = Bmc::start();
    let record = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = std::sync::Arc::clone(&record);
    let recorder = Proxy::start(bmc.port, move |way, datagram| {
        if way == Way::ToUs {
            into.lock().unwrap().push(datagram.clone());
        }
        true
    });
    assert!(confirmed(drive_ipmi(recorder.port, &params(), Action::Off).0));
    drop(recorder);
    let recorded = record.lock().unwrap().clone();
    assert!(recorded.len() >= 7);
    let player = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = player.local_addr().unwrap().port();
    player.set_read_timeout(Some(std::time::Duration::from_millis(3_000))).unwrap();
    let playing = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, from)) = player.recv_from(&mut buffer) {
            for datagram in &recorded {
                player.send_to(datagram, from).unwrap();
            }
        }
    });
    let (off, _) = drive_ipmi(port, &params_within(2_000), Action::Off);
    assert!(!confirmed(off), "{off:?}");
    playing.join().unwrap();
}
