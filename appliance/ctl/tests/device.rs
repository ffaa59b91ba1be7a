//! `palisadectl device` against the real `ipmi_sim`, and against nothing at all.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ended, Scratch, palisadectl, sample};
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A BMC whose chassis is a file: `power:1` is on.
struct Bmc {
    child: Child,
    scratch: Scratch,
    port: u16,
}

impl Bmc {
    fn start() -> Self {
        let scratch = Scratch::new();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        scratch.write("power", "1\n");
        scratch.write(
            "sim.emu",
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n",
        );
        let chassis = scratch.write(
            "chassis",
            "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n[ \"$2 $3\" = 'get power' ] && echo power:$(cat power)\n[ \"$2 $3\" = 'set power' ] && echo $4 > power\nexit 0\n",
        );
        Command::new("chmod").args(["700", &chassis]).status().unwrap();
        scratch.write(
            "lan.conf",
            &format!(
                "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\n addr 127.0.0.1 {port}\n priv_limit admin\n\
                 guid 0123456789abcdef0123456789abcdef\nendlan\nchassis_control \"{chassis} 0x20\"\n\
                 user 2 true \"admin\" \"secret12\" admin 10 none md2 md5 straight\n"
            ),
        );
        std::fs::create_dir(scratch.0.join("state")).unwrap();
        let mut command = Command::new("ipmi_sim");
        command
            .args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n", "-d", "-p"])
            .current_dir(&scratch.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn().expect("ipmi_sim is missing: apt-get install openipmi");
        Self { child, scratch, port }
    }

    fn power(&self) -> String {
        std::fs::read_to_string(self.scratch.0.join("power")).unwrap().trim().to_owned()
    }

    fn device(&self, password: &str, suite_min: u8, wish: &str) -> Ended {
        let file = self.scratch.write("palisade.json", &sample(password, suite_min));
        palisadectl(&["device", "bmc2", wish, "--config", &file, "--address", &format!("127.0.0.1:{}", self.port)])
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_bmc_is_checked_switched_off_and_on() {
    let bmc = Bmc::start();
    let until = Instant::now() + Duration::from_secs(10);
    let mut ended = bmc.device("secret12", 3, "check");
    while ended.code != Some(0) && Instant::now() < until {
        sleep(Duration::from_millis(100));
        ended = bmc.device("secret12", 3, "check");
    }
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    for piece in [
        "it switches host 2 (west) with node 2 (n2)",
        "nothing is changed",
        "-> open session",
        "<- session keys agreed",
        "power: on",
        "the device answers as it should: ipmi: ",
    ] {
        assert!(ended.out.contains(piece), "{piece}: {}", ended.said());
    }
    assert_eq!(bmc.power(), "1");

    let status = bmc.device("secret12", 3, "status");
    assert_eq!((status.code, status.out.as_str()), (Some(0), "on\n"), "{}", status.said());

    let off = bmc.device("secret12", 3, "off");
    assert_eq!(off.code, Some(0), "{}", off.said());
    assert!(off.out.contains("The cluster does not learn of it from here"), "{}", off.said());
    assert!(off.out.contains("Confirmed, class power-off: "), "{}", off.said());
    assert_eq!(bmc.power(), "0");
    let again = bmc.device("secret12", 3, "off");
    assert_eq!(again.code, Some(0), "already off is Confirmed: {}", again.said());

    let on = bmc.device("secret12", 3, "on");
    assert_eq!(on.code, Some(0), "{}", on.said());
    assert_eq!(bmc.power(), "1");

    let wrong = bmc.device("secret13", 3, "off");
    assert_eq!(wrong.code, Some(1), "{}", wrong.said());
    assert!(wrong.err.contains("correct the password"), "{}", wrong.said());
    assert_eq!(bmc.power(), "1", "a wrong password switches nothing");

    // This simulator has suite 3 only.
    let strict = bmc.device("secret12", 17, "check");
    assert_eq!(strict.code, Some(1), "{}", strict.said());
    assert!(strict.err.contains("cipher suite"), "{}", strict.said());
}

#[test]
fn nobody_there_is_unknown_after_the_configured_time() {
    let scratch = Scratch::new();
    let file = scratch.write("palisade.json", &sample("secret12", 3).replace("8000", "400"));
    // Held open and never answered.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let ended = palisadectl(&["device", "bmc2", "off", "--config", &file, "--address", &address]);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    assert!(ended.out.contains("Unknown: the cluster would go on"), "{}", ended.said());
    assert!(ended.err.contains("does not answer at all"), "{}", ended.said());
    assert!(begun.elapsed() < Duration::from_secs(5), "{}", ended.said());
    drop(silent);
    let closed = palisadectl(&["device", "bmc2", "check", "--config", &file, "--address", &address]);
    assert!(closed.code == Some(1) && closed.out.contains("nothing listens on this port"), "{}", closed.said());
}

#[test]
fn a_device_that_does_not_exist_and_a_seat_that_cannot_be() {
    let scratch = Scratch::new();
    let file = scratch.write("palisade.json", &sample("secret12", 3).replace("8000", "400"));
    let ended = palisadectl(&["device", "bmc9", "check", "--config", &file]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("has no device `bmc9`; there are bmc1, bmc2"), "{}", ended.said());
    let ended = palisadectl(&["device", "bmc2", "check", "--config", &file, "--host", "9"]);
    assert!(ended.err.contains("--host 9: the configuration has no such host"), "{}", ended.said());
    let ended = palisadectl(&["device", "bmc2", "check", "--config", &file, "--host", "2", "--address", "127.0.0.1:9"]);
    assert!(ended.out.contains("warning: the device covers this host"), "{}", ended.said());
    let ended = palisadectl(&["device", "bmc2", "explode", "--config", &file]);
    assert_eq!(ended.code, Some(2));
}
