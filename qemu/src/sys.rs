//! The few system calls that `std` does not offer.
//!
//! Owns every `unsafe` block of this package. Must never hold state: each function is one call, checked and named.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What can be sent to a process here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends it, even if it is stopped.
    Kill,
    /// Stops it where it is.
    Stop,
    /// Lets it run on.
    Continue,
    /// Asks it to end.
    Terminate,
}

impl Signal {
    const fn number(self) -> libc::c_int {
        match self {
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
            Self::Terminate => libc::SIGTERM,
        }
    }
}

/// Sends a signal; a process that is gone already is no error.
///
/// # Errors
/// The kernel's refusal.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    send(pid, signal)
}

/// Sends a signal to everybody in a process group; one that is gone already is no error.
///
/// # Errors
/// The kernel's refusal.
pub fn signal_group(leader: u32, signal: Signal) -> io::Result<()> {
    let leader = libc::pid_t::try_from(leader).map_err(io::Error::other)?;
    // Group 1 would be everybody, and group 0 ourselves.
    if leader <= 1 { Err(io::Error::other("no group of ours")) } else { send(-leader, signal) }
}

fn send(whom: libc::pid_t, signal: Signal) -> io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory of ours.
    let result = unsafe { libc::kill(whom, signal.number()) };
    let error = io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

/// Makes the command's process die with the *thread* that spawns it, and lead a process group of its own, so that a
/// Ctrl-C at the terminal reaches only us and we end things in order.
pub fn bind_to_parent(command: &mut Command) {
    command.process_group(0);
    // SAFETY: the closure runs in the child between fork and exec and makes one async-signal-safe system call.
    unsafe { command.pre_exec(die_with_parent) };
}

fn die_with_parent() -> io::Result<()> {
    // SAFETY: this form of prctl takes integers only.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Creates a named pipe that only we can use.
///
/// # Errors
/// The kernel's refusal, or a path with a zero byte.
pub fn make_fifo(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: `path` is a live string that ends with a zero byte.
    let result = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits until one of the descriptors has something to read, or the time is over. Says which are ready.
///
/// # Errors
/// The kernel's refusal; an interruption counts as nothing ready.
pub fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Duration, ready: &mut Vec<bool>) -> io::Result<()> {
    let entry = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = fds.iter().map(entry).collect();
    let count = libc::nfds_t::try_from(entries.len()).map_err(io::Error::other)?;
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).map_err(io::Error::other)?,
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    // SAFETY: `entries` holds `count` records and outlives the call, as does `timeout`; no signal mask is given.
    let result = unsafe { libc::ppoll(entries.as_mut_ptr(), count, &raw const timeout, std::ptr::null()) };
    if result < 0 {
        let error = io::Error::last_os_error();
        ready.clear();
        ready.resize(entries.len(), false);
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    ready.clear();
    ready.extend(entries.iter().map(|entry| entry.revents != 0));
    Ok(())
}

/// Ctrl-C and the polite request to end, taken by a thread instead of by a handler.
#[derive(Clone, Copy)]
pub struct Interrupts(libc::sigset_t);

impl Interrupts {
    /// Holds SIGINT and SIGTERM back in this thread and all that it starts from now on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn hold() -> io::Result<Self> {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset writes the whole set through a valid pointer.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset initialised it.
        let mut set = unsafe { set.assume_init() };
        for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: `set` is initialised and the number is a signal.
            unsafe { libc::sigaddset(&raw mut set, number) };
        }
        // SAFETY: `set` is initialised; the old mask is not asked for.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result == 0 { Ok(Self(set)) } else { Err(io::Error::from_raw_os_error(result)) }
    }

    /// Sleeps until one of them comes.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn wait(&self) -> io::Result<()> {
        let mut number = 0;
        // SAFETY: both pointers are to live values of the right types.
        let result = unsafe { libc::sigwait(&raw const self.0, &raw mut number) };
        if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
    }
}
