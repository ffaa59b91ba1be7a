//! A BMC for each simulated host: a real `ipmi_sim`, whose chassis script ends and starts that host.
//!
//! Owns the IPMI process, its files and the thread that obeys its script. Must never say "off" before the host's last
//! process is gone: the script only asks through a named pipe, and what it reads back is written after the fact.
//!
//! ```text
//! appliance --IPMI--> ipmi_sim --script "set power 0"--> pipe --> thread: power_off(), then the file `power` says 0
//!                     ipmi_sim <--script "get power"--- the file `power`
//! ```

use crate::host::Host;
use crate::plan::{BMC_PASSWORD, BMC_USER};
use crate::process::Child;
use crate::sys::{self, Signal};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

/// One BMC; ends with this value.
pub struct Bmc {
    port: u16,
    pipe: PathBuf,
    thread: Option<JoinHandle<()>>,
    simulator: Child,
}

impl Bmc {
    /// Starts a BMC for a host on an ephemeral port of the loopback; its files go to `dir`.
    ///
    /// # Errors
    /// A sentence: a file cannot be written, or `ipmi_sim` does not start.
    pub fn start(dir: &Path, host: Arc<Host>) -> io::Result<Self> {
        fs::create_dir_all(dir.join("state"))?;
        let pipe = dir.join("ask");
        sys::make_fifo(&pipe)?;
        write_script(dir)?;
        host.keep_power_in(&dir.join("power"))?;
        // Opened for both directions, so that it never sees the end of the last script's writing as its own end.
        let reader = OpenOptions::new().read(true).write(true).open(&pipe)?;
        let thread = std::thread::Builder::new().name("bmc".into()).spawn(move || obey(reader, &host))?;
        let port = free_port()?;
        write_configuration(dir, port)?;
        let log = File::create(dir.join("log"))?;
        let mut command = Command::new("ipmi_sim");
        command
            .args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n", "-d", "-p"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let simulator = Child::spawn(&mut command)?;
        Ok(Self { port, pipe, thread: Some(thread), simulator })
    }

    /// Stops it where it is, so that it answers nobody, or lets it go on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_silent(&self, silent: bool) -> io::Result<()> {
        sys::signal(self.simulator.pid(), if silent { Signal::Stop } else { Signal::Continue })
    }

    /// Where it listens, on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        let told = OpenOptions::new().write(true).open(&self.pipe).and_then(|mut pipe| pipe.write_all(b"end\n"));
        if told.is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Does what the script asks, until told to end.
fn obey(pipe: File, host: &Host) {
    for line in BufReader::new(pipe).lines() {
        let done = match line.as_deref() {
            Ok("set power 0") => host.power_off("by its BMC"),
            Ok("set power 1") => host.power_on("by its BMC"),
            Ok("end") | Err(_) => return,
            Ok(_) => continue,
        };
        if let Err(error) = done {
            host.say(&format!("the BMC could not obey: {error}"));
        }
    }
}

fn write_script(dir: &Path) -> io::Result<()> {
    let script = dir.join("chassis");
    let home = shell_quoted(dir);
    let text = format!(
        "#!/bin/sh\n\
         # ipmi_sim calls this as: chassis 0x20 get power, or: chassis 0x20 set power 0|1\n\
         case \"$2 $3\" in\n\
         'get power') echo \"power:$(cat {home}/power)\" ;;\n\
         'set power') echo \"set power $4\" >{home}/ask ;;\n\
         esac\n"
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700))
}

fn write_configuration(dir: &Path, port: u16) -> io::Result<()> {
    let script = dir.join("chassis");
    let allowed: String = ["callback", "user", "operator", "admin"]
        .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
        .concat();
    // Without a GUID ipmi_sim says that it speaks IPMI 1.5 only.
    let guid = format!("{:032x}", 0x9a11_5ade_u128 << 64 | u128::from(port));
    let lan = format!(
        "name \"bmc\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n{allowed}    \
         guid {guid}\n  endlan\n  chassis_control \"{} 0x20\"\n  user 2 true \"{BMC_USER}\" \"{BMC_PASSWORD}\" admin 10 none md2 md5 \
         straight\n",
        script.display()
    );
    fs::write(dir.join("lan.conf"), lan)?;
    let emulator = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                    mc_enable 0x20\n";
    fs::write(dir.join("sim.emu"), emulator)
}

fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// A port that was free a moment ago; `ipmi_sim` cannot be given a socket.
fn free_port() -> io::Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use crate::rundir::RunDir;
    use std::time::{Duration, Instant};

    fn ipmitool(port: u16, words: &[&str]) -> String {
        let port = port.to_string();
        let output = Command::new("ipmitool")
            .args(["-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", &port, "-U", BMC_USER, "-P", BMC_PASSWORD])
            .args(words)
            .output();
        let output = output.expect("this test needs ipmitool: apt-get install --yes ipmitool openipmi");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn until_status(port: u16, wanted: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !ipmitool(port, &["chassis", "power", "status"]).contains(wanted) {
            assert!(Instant::now() < end, "the BMC should say `{wanted}`");
        }
    }

    #[test]
    fn a_reference_client_switches_a_host_off_and_on() {
        let run = RunDir::new("bmc").unwrap();
        let journal = Arc::new(Journal::new(false));
        let mut stand_in = Command::new("sleep");
        stand_in.arg("600");
        let host = Arc::new(Host::with_command(7, run.path(), journal, stand_in));
        let bmc = Bmc::start(&run.path().join("b7"), Arc::clone(&host)).unwrap();
        until_status(bmc.port(), "off");
        ipmitool(bmc.port(), &["chassis", "power", "on"]);
        until_status(bmc.port(), "is on");
        assert_eq!(host.processes().len(), 1);
        let first = fs::read_to_string(crate::plan::boot_id_path(run.path(), 7)).unwrap();
        ipmitool(bmc.port(), &["chassis", "power", "off"]);
        until_status(bmc.port(), "is off");
        assert!(host.processes().is_empty());
        host.power_on("again").unwrap();
        assert_ne!(first, fs::read_to_string(crate::plan::boot_id_path(run.path(), 7)).unwrap());
        drop(bmc);
        drop(host);
        fs::remove_dir_all(run.real()).unwrap();
    }
}
