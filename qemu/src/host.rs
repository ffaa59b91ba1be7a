//! One simulated host: a guard, the VMs that it starts, and a power switch.
//!
//! Owns the guard's process and the host's boot id. Switching off ends every process of the host, stopped ones too, as a
//! power cut would; switching on is a new boot. Must never start a guard while anything of an earlier boot lives.

use crate::event::{Event, Kind, Who};
use crate::journal::Journal;
use crate::plan;
use crate::process::{self, Child, MARK};
use crate::sys::{self, Signal};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the kernel may take until a cgroup without processes can be removed.
const CGROUP_PATIENCE: Duration = Duration::from_millis(500);

/// One host.
pub struct Host {
    id: u8,
    run: PathBuf,
    mark: String,
    journal: Arc<Journal>,
    state: Mutex<State>,
}

struct State {
    command: Command,
    guard: Option<Child>,
    started: Option<Instant>,
    boots: u32,
    /// Where the BMC's script reads whether the power is on.
    power_file: Option<PathBuf>,
}

impl Host {
    /// A host whose guard program runs `host.json` of this run; it is off.
    #[must_use]
    pub fn new(id: u8, run: &Path, journal: Arc<Journal>, guard: &Path) -> Self {
        let mut command = Command::new(guard);
        command.arg("run").arg(Self::file(run, id));
        Self::with_command(id, run, journal, command)
    }

    /// A host on which any other program stands for the guard.
    #[must_use]
    pub fn with_command(id: u8, run: &Path, journal: Arc<Journal>, command: Command) -> Self {
        let mark = format!("{}/{id}", run.display());
        let state = State { command, guard: None, started: None, boots: 0, power_file: None };
        Self { id, run: run.to_path_buf(), mark, journal, state: Mutex::new(state) }
    }

    /// Where the guard's file lies in a run's directory.
    #[must_use]
    pub fn file(run: &Path, id: u8) -> PathBuf {
        run.join(format!("h{id}.json"))
    }

    /// Where the guard's own words go.
    #[must_use]
    pub fn guard_log(run: &Path, id: u8) -> PathBuf {
        run.join(format!("h{id}.guard"))
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Switches it on; nothing happens if it is on. `why` goes to the journal.
    ///
    /// # Errors
    /// A sentence: the guard cannot be started.
    pub fn power_on(&self, why: &str) -> io::Result<()> {
        let mut state = self.lock();
        if state.guard.as_mut().is_some_and(|guard| guard.ended().is_none()) {
            return Ok(());
        }
        state.guard = None;
        process::kill_marked(&self.mark)?;
        state.boots += 1;
        let boot = boot_id(&self.mark, state.boots)?;
        fs::write(plan::boot_id_path(&self.run, self.id), boot)?;
        fs::create_dir_all(plan::state_dir(&self.run, self.id))?;
        let log = OpenOptions::new().create(true).append(true).open(Self::guard_log(&self.run, self.id))?;
        let command = &mut state.command;
        command.env(MARK, &self.mark).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let guard = Child::spawn(command)?;
        state.guard = Some(guard);
        state.started = Some(Instant::now());
        self.write_power(&state, true)?;
        self.record(Kind::Power, &format!("host {} is switched on {why}", self.id));
        Ok(())
    }

    /// Cuts its power: when this returns, nothing of it runs any more.
    ///
    /// # Errors
    /// A sentence: a process does not die.
    pub fn power_off(&self, why: &str) -> io::Result<()> {
        let mut state = self.lock();
        process::kill_marked(&self.mark)?;
        state.guard = None;
        self.write_power(&state, false)?;
        self.record(Kind::Power, &format!("host {} is off {why}", self.id));
        Ok(())
    }

    /// Stops every process of the host where it is: silent, but alive.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn freeze(&self) -> io::Result<()> {
        // Twice: a process that was just being started is found the second time.
        for _ in 0..2 {
            for pid in self.processes() {
                sys::signal(pid, Signal::Stop)?;
            }
        }
        Ok(())
    }

    /// Every living process of the host: the guard and all that descends from it.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<u32> {
        process::marked(&self.mark)
    }

    /// Whether the guard lives.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lock().guard.as_mut().is_some_and(|guard| guard.ended().is_none())
    }

    /// When its guard was started last.
    #[must_use]
    pub fn started(&self) -> Option<Instant> {
        self.lock().started
    }

    /// The QEMU of its appliance.
    #[must_use]
    pub fn appliance_pid(&self) -> Option<u32> {
        self.qemu(&format!("palisade-appliance-{}", self.id))
    }

    /// The QEMU of one of its nodes.
    #[must_use]
    pub fn node_pid(&self, node: u8) -> Option<u32> {
        self.qemu(&format!("palisade-node-{node}"))
    }

    /// The QEMU that the guard gave this name.
    fn qemu(&self, name: &str) -> Option<u32> {
        let wanted = format!(" -name {name} ");
        self.processes().into_iter().find(|pid| process::command_line(*pid).is_some_and(|line| line.contains(&wanted)))
    }

    /// Keeps the truth about the power in this file from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_power_in(&self, file: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.power_file = Some(file.to_path_buf());
        let on = state.guard.is_some();
        self.write_power(&state, on)
    }

    /// Records something about this host.
    pub fn say(&self, text: &str) {
        self.record(Kind::Note, text);
    }

    fn record(&self, kind: Kind, text: &str) {
        let mut event = Event::new(self.journal.now(), Who::Bmc(self.id), kind, text);
        event.host = self.id;
        self.journal.record(event);
    }

    /// Replaces the file in one step, so that a script never reads half of it.
    fn write_power(&self, state: &State, on: bool) -> io::Result<()> {
        let Some(file) = &state.power_file else { return Ok(()) };
        let fresh = file.with_extension("new");
        fs::write(&fresh, if on { "1\n" } else { "0\n" })?;
        fs::rename(fresh, file)
    }

    /// A guard that was killed leaves its empty cgroup to the next guard; after the last one that is us.
    fn remove_cgroup(&self) {
        let note = plan::state_dir(&self.run, self.id).join(palisade_guard::host::names::CGROUP);
        let Ok(path) = fs::read_to_string(note) else { return };
        let end = Instant::now() + CGROUP_PATIENCE;
        // The kernel takes a moment to let the last process go.
        while fs::remove_dir(path.trim()).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            if Instant::now() > end {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = process::kill_marked(&self.mark);
        self.lock().guard = None;
        self.remove_cgroup();
    }
}

/// A boot id that was never there before.
fn boot_id(mark: &str, boots: u32) -> io::Result<String> {
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    if random.trim().is_empty() {
        return Err(io::Error::other(format!("the kernel gives no random number for boot {boots} of {mark}")));
    }
    Ok(random)
}
