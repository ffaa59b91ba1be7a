//! One appliance VM alone, from exec to its end: it boots in 32 MiB and leads where it has the only vote; what it refuses it
//! says in a sentence; what it must not survive it does not survive.
#![allow(clippy::unwrap_used)]

use palisade_core::board;
use palisade_core::id::Cluster;
use palisade_images::{appliance, boot, house::House};
use palisade_tests::sim::config;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take on a busy machine under emulation.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running appliance; ends with its owner, and its files too.
struct Vm {
    qemu: Child,
    folder: PathBuf,
    started: Instant,
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Vm {
    /// Boots host 1 with this configuration and, in the test image, this fault.
    fn boot(name: &str, image: &Path, configuration: Option<&str>, fault: Option<&str>) -> Self {
        let folder = House::here().images().join(format!("alone-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut command = boot::command(image, &folder.join("serial"));
        let mut give = |file: &str, content: &str| {
            let path = folder.join(file.rsplit('/').next().unwrap());
            fs::write(&path, content).unwrap();
            command.arg("-fw_cfg").arg(format!("name={file},file={}", path.display()));
        };
        if let Some(content) = configuration {
            give(board::FW_CFG_CONFIG, content);
        }
        give(board::FW_CFG_HOST, "1");
        if let Some(fault) = fault {
            give("opt/palisade/fault", fault);
        }
        let macs = ["52:54:00:01:00:01", "52:54:00:02:00:01", "52:54:00:03:00:01"];
        for (slot, mac) in [board::LINK_SLOT, board::LINK_SLOT + 1, board::MANAGEMENT_SLOT].into_iter().zip(macs) {
            command.arg("-netdev").arg(format!("user,id=n{slot},restrict=on"));
            command.arg("-device").arg(format!("virtio-net-pci,netdev=n{slot},mac={mac},addr={slot:#x},romfile="));
        }
        command.arg("-device").arg(format!("virtio-rng-pci,addr={:#x}", board::ENTROPY_SLOT));
        for slot in [board::GUARD_SLOT, board::CHANNEL_SLOT, board::MONITOR_SLOT] {
            command.arg("-chardev").arg(format!("null,id=c{slot}"));
            command.arg("-device").arg(format!("virtio-serial-pci,id=s{slot},max_ports=1,addr={slot:#x}"));
            command.arg("-device").arg(format!("virtconsole,bus=s{slot}.0,chardev=c{slot}"));
        }
        let qemu = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let qemu = qemu.expect("QEMU starts: apt-get install qemu-system-x86");
        Self { qemu, folder, started: Instant::now() }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("serial")).unwrap_or_default()).into_owned()
    }

    /// Waits for a line; how long after the start of QEMU it came.
    fn says(&self, words: &str) -> Duration {
        while !self.said().contains(words) {
            assert!(self.started.elapsed() < PATIENCE, "no `{words}` in:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.started.elapsed()
    }

    /// Waits for its end; the exit status of QEMU.
    fn ends(&mut self) -> i32 {
        loop {
            if let Some(status) = self.qemu.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(self.started.elapsed() < PATIENCE, "it goes on:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn image() -> PathBuf {
    appliance::build(&House::here(), appliance::Kind::Product).expect("the image can be built").path
}

fn test_image() -> PathBuf {
    appliance::build(&House::here(), appliance::Kind::Faults).expect("the test image can be built").path
}

/// What the log says when the first view of the first cluster incarnation is committed.
fn first_view() -> String {
    format!("view {} committed", Cluster::first_version(1))
}

#[test]
fn the_only_vote_boots_in_32_mib_and_leads() {
    let image = image();
    assert!(fs::metadata(&image).unwrap().len() <= 2 << 20, "the image is at most 2 MiB");
    let vm = Vm::boot("leads", &image, Some(&config::json(2, 1)), None);
    let sealed = vm.says("sealed");
    let leads = vm.says(&first_view());
    println!("sealed {} ms, leads {} ms after QEMU's exec", sealed.as_millis(), leads.as_millis());
    assert!(leads < Duration::from_secs(5), "ten times the 500 ms of a quiet machine: {leads:?}");
    println!("PASS");
}

/// Each configuration is refused with a sentence that names what is wrong, and with the exit status that means so.
#[test]
fn a_configuration_that_it_refuses_ends_in_a_sentence() {
    let image = image();
    let good = config::json(2, 1);
    let slow = good.replace(r#""epoch":1"#, r#""epoch":1,"timing":{"node_lease_ms":1000}"#);
    let cases = [
        ("none", None, "opt/palisade/config"),
        ("broken", Some("{\"name\":".to_owned()), "configuration"),
        ("unknown", Some(good.replace("epoch", "epok")), "epok"),
        ("lease", Some(slow), "node_lease_ms"),
        ("mac", Some(good.replace("52:54:00:01:00:01", "52:54:00:01:00:77")), "52:54:00:01:00"),
    ];
    for (name, configuration, words) in cases {
        let mut vm = Vm::boot(name, &image, configuration.as_deref(), None);
        assert_eq!(vm.ends(), board::EXIT_REFUSED, "{name}: {}", vm.said());
        assert!(vm.said().contains(words), "{name}: {}", vm.said());
    }
    println!("PASS");
}

#[test]
fn what_it_must_not_survive_ends_in_an_epitaph() {
    let image = test_image();
    let configuration = config::json(2, 1).replace(r#""epoch":1"#, r#""epoch":1,"allow_faults":true"#);
    for fault in ["panic:1200", "ring:1200", "allocate:1200"] {
        let mut vm = Vm::boot(&fault[..4], &image, Some(&configuration), Some(fault));
        vm.says(&first_view());
        assert_eq!(vm.ends(), board::EXIT_FAIL_STOP, "{fault}: {}", vm.said());
        assert!(vm.said().contains("EPITAPH"), "{fault}: {}", vm.said());
    }
    println!("PASS");
}

#[test]
fn a_stall_of_its_own_is_noticed() {
    let configuration = config::json(2, 1).replace(r#""epoch":1"#, r#""epoch":1,"allow_faults":true"#);
    let vm = Vm::boot("stall", &test_image(), Some(&configuration), Some("stall:1500:700"));
    vm.says(&first_view());
    vm.says("own loop stalled");
    println!("PASS");
}
