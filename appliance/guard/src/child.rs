//! Processes: prepared before duty, started without allocating, known by pidfd.
//!
//! Owns what a process is started with and the only handle to it. Must never use a process number, which the kernel may
//! give to somebody else: a pidfd names one process for ever, and reads as ended only when its last thread is gone.

use crate::sys;
use std::ffi::{CString, c_char};
use std::fs::{File, OpenOptions};
use std::io::{self, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Strings as execve wants them.
#[derive(Debug)]
struct Strings {
    pointers: Vec<*const c_char>,
    /// What they point to.
    _owned: Vec<CString>,
}

impl Strings {
    fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Self { pointers, _owned: strings }
    }
}

/// Until then after an end, the socket that is there may still be the old one, µs.
const SOCKET_RENEWAL_US: u64 = 30_000;
/// The longest wait for a new one, µs.
const SOCKET_WAIT_US: u64 = 1_000_000;

/// What a process is started with.
#[derive(Debug)]
pub struct Program {
    path: CString,
    argv: Strings,
    log: File,
    oom: Vec<u8>,
    /// A socket that must be there before a start, and that another process makes anew after each end.
    needs: Option<CString>,
}

impl Program {
    /// Prepares a start. What the process says goes to the file `log` in the current directory, which is emptied.
    ///
    /// # Errors
    /// The log cannot be opened, or an argument holds a zero byte.
    pub fn prepare(path: &Path, arguments: &[String], log: &str, oom: Option<i32>) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        log.set_len(0)?;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut argv = vec![path.clone()];
        for argument in arguments {
            argv.push(CString::new(argument.as_str())?);
        }
        let oom = oom.map_or(Vec::new(), |value| value.to_string().into_bytes());
        Ok(Self { path, argv: Strings::new(argv), log, oom, needs: None })
    }

    /// The same, started again only when this socket is there again.
    ///
    /// # Errors
    /// The name holds a zero byte.
    pub fn with_socket(mut self, socket: Option<&String>) -> Result<Self> {
        self.needs = socket.map(|name| CString::new(name.as_str())).transpose()?;
        Ok(self)
    }

    /// Whether it may be started again at `now_us`, its last process having ended at `gone_us` (zero: there was none).
    /// vhost-device-vsock notices the end, removes its socket and makes a new one; QEMU connects once and does not come
    /// back, so a start in between would fail. The wait is bounded: without vsock a VM still has its channel.
    #[must_use]
    pub fn may_start(&self, now_us: u64, gone_us: u64) -> bool {
        let passed_us = now_us.saturating_sub(gone_us);
        match &self.needs {
            Some(socket) if gone_us != 0 && passed_us < SOCKET_WAIT_US => {
                passed_us >= SOCKET_RENEWAL_US && sys::exists(socket)
            }
            _ => true,
        }
    }
}

/// What all processes of the guard have in common.
#[derive(Debug)]
pub struct Launcher<'a> {
    null: File,
    environment: Strings,
    cgroup: Option<BorrowedFd<'a>>,
}

impl<'a> Launcher<'a> {
    /// Processes are born in `cgroup`, if there is one.
    ///
    /// # Errors
    /// /dev/null cannot be opened.
    pub fn new(cgroup: Option<BorrowedFd<'a>>) -> Result<Self> {
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            environment.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
        }
        Ok(Self { null: File::open("/dev/null")?, environment: Strings::new(environment), cgroup })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// The kernel refuses. A program that cannot be executed is no error here: it exits at once, with status 127.
    pub fn start(&self, program: &Program) -> Result<Process> {
        let (pidfd, pid) = sys::spawn(&sys::Exec {
            path: &program.path,
            argv: &program.argv.pointers,
            envp: &self.environment.pointers,
            stdin: self.null.as_fd(),
            log: program.log.as_fd(),
            cgroup: self.cgroup,
            oom: &program.oom,
        })?;
        Ok(Process { pidfd, pid })
    }
}

/// A process that was started and is not yet reaped.
#[derive(Debug)]
pub struct Process {
    pidfd: OwnedFd,
    /// Its number, for the log only.
    pub pid: i64,
}

impl Process {
    /// Kills it. It is gone when `reap` says so.
    ///
    /// # Errors
    /// As pidfd_send_signal(2).
    pub fn kill(&self) -> io::Result<()> {
        sys::kill(self.pidfd.as_fd())
    }

    /// Its exit status, or minus the signal that ended it, if it is gone.
    ///
    /// # Errors
    /// As waitid(2).
    pub fn reap(&self) -> io::Result<Option<i32>> {
        sys::reap(self.pidfd.as_fd())
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}
