//! The system calls that the guard makes beyond the standard library.
//!
//! Owns every `unsafe` of this package but the allocator's. Each function is one call with checked arguments and a
//! result; none allocates. What these calls promise (a readable pidfd means that the last thread of the process is gone;
//! a lock lives as long as any copy of its descriptor) is what SAFETY E4 and E5 rest on.

use std::ffi::{CStr, c_char, c_int};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The descriptor of the log.
pub const STDERR: RawFd = 2;

fn check(result: c_int) -> Result<c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

/// Takes a descriptor that a call has just returned.
fn own(result: c_int) -> Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just given this number to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The host's clock, microseconds: it goes on while the host is suspended (SAFETY C3).
#[must_use]
pub fn boottime_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert!(result == 0, "Linux has CLOCK_BOOTTIME since 2.6.39");
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

/// Writes all of `bytes` if that needs no waiting. False: it was not written.
#[must_use]
pub fn write_if_ready(fd: RawFd, bytes: &[u8]) -> bool {
    let mut ready = [libc::pollfd { fd, events: libc::POLLOUT, revents: 0 }];
    if poll(&mut ready, Some(0)).is_err() || ready[0].revents & libc::POLLOUT == 0 {
        return false;
    }
    // SAFETY: pointer and length are those of a live slice.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written).is_ok_and(|written| written == bytes.len())
}

/// Waits until one of the descriptors has something, or `timeout_ms` is over; `None`: as long as it takes.
///
/// # Errors
/// As poll(2); an interrupting signal is none.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: Option<c_int>) -> Result<()> {
    let count = libc::nfds_t::try_from(fds.len()).unwrap_or(0);
    // SAFETY: pointer and count are those of a live slice.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), count, timeout_ms.unwrap_or(-1)) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
        other => other.map(drop),
    }
}

/// Locks all memory of this process, now and later.
///
/// # Errors
/// As mlockall(2).
pub fn lock_memory() -> Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) }).map(drop)
}

/// Lets this process and its children lock as much memory as they like.
///
/// # Errors
/// As setrlimit(2).
pub fn unlimited_lock() -> Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` lives through the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }).map(drop)
}

/// Takes an exclusive lock without waiting. False: another open file holds it.
///
/// # Errors
/// As flock(2).
pub fn try_lock(file: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: takes no pointers.
    match check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets children inherit a descriptor.
///
/// # Errors
/// As fcntl(2).
pub fn inheritable(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) }).map(drop)
}

/// A descriptor that becomes readable when one of `signals` arrives; they are blocked from now on.
///
/// # Errors
/// As signalfd(2).
pub fn signal_fd(signals: &[c_int]) -> Result<OwnedFd> {
    let mut set = no_signals();
    for &signal in signals {
        // SAFETY: the set is initialised.
        check(unsafe { libc::sigaddset(&raw mut set, signal) })?;
    }
    // SAFETY: the set is initialised; no old set is asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
    // SAFETY: the set is initialised.
    own(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })
}

/// The next signal of a signal descriptor.
#[must_use]
pub fn next_signal(fd: BorrowedFd<'_>) -> Option<c_int> {
    const BYTES: usize = size_of::<libc::signalfd_siginfo>();
    let mut info = [0_u8; BYTES];
    // SAFETY: pointer and length are those of a live array.
    let read = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), BYTES) };
    let number = info.first_chunk::<4>().copied().map(i32::from_ne_bytes);
    if usize::try_from(read) == Ok(BYTES) { number } else { None }
}

/// A timer on the host's clock: it fires at once when a suspended host wakes up after the time.
///
/// # Errors
/// As timerfd_create(2).
pub fn timer_fd() -> Result<OwnedFd> {
    // SAFETY: takes no pointers.
    own(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })
}

/// Lets the timer fire at `at_us` of the host's clock; until it is set again it stays readable after that.
///
/// # Errors
/// As timerfd_settime(2).
pub fn set_timer(timer: BorrowedFd<'_>, at_us: u64) -> Result<()> {
    // A zero time would disarm it.
    let at_us = at_us.max(1);
    let far = libc::time_t::MAX;
    let value = libc::timespec {
        tv_sec: libc::time_t::try_from(at_us / 1_000_000).unwrap_or(far),
        tv_nsec: libc::c_long::try_from(at_us % 1_000_000 * 1000).unwrap_or(0),
    };
    let once = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
    let none = std::ptr::null_mut();
    // SAFETY: `once` lives through the call; no old value is asked for.
    check(unsafe { libc::timerfd_settime(timer.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &raw const once, none) }).map(drop)
}

/// Kills a process. It being gone already is not an error.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn kill(pidfd: BorrowedFd<'_>) -> Result<()> {
    let (fd, signal, info, flags) = (pidfd.as_raw_fd(), libc::SIGKILL, 0_usize, 0_u32);
    // SAFETY: no signal information is passed, so no pointer is.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) };
    match Error::last_os_error() {
        _ if result == 0 => Ok(()),
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// Kills a process by number: only for numbers that cgroup.procs has just named.
///
/// # Errors
/// As kill(2).
pub fn kill_pid(pid: libc::pid_t) -> Result<()> {
    if pid <= 1 {
        return Err(Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: takes no pointers; not a group, since the number is positive.
    check(unsafe { libc::kill(pid, libc::SIGKILL) }).map(drop)
}

/// Reaps a child that has ended: its exit status, or minus the signal that ended it. `None`: it lives.
///
/// # Errors
/// As waitid(2).
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).unwrap_or(0);
    // SAFETY: a siginfo_t of zeros is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a valid place for the answer.
    check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG) })?;
    // SAFETY: waitid has filled in the fields of a child's report, or left zeros.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok(match (pid, info.si_code) {
        (0, _) => None,
        (_, libc::CLD_EXITED) => Some(status),
        _ => Some(-status),
    })
}

/// Whether a path is on a tmpfs.
#[must_use]
pub fn on_tmpfs(path: &CStr) -> bool {
    // SAFETY: a statfs of zeros is valid.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero and `about` is a valid place for the answer.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut about) };
    result == 0 && about.f_type == libc::TMPFS_MAGIC
}

/// Whether a path names something.
#[must_use]
pub fn exists(path: &CStr) -> bool {
    // SAFETY: `path` ends with a zero byte and outlives the call.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

/// Whether we may execute this file.
#[must_use]
pub fn executable(path: &CStr) -> bool {
    // SAFETY: the path ends with a zero.
    unsafe { libc::access(path.as_ptr(), libc::X_OK) == 0 }
}

/// What `spawn` starts: pointers that stay valid as long as their owner (`child::Program`) lives.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// The program's path.
    pub path: &'a CStr,
    /// Its arguments, a null at the end.
    pub argv: &'a [*const c_char],
    /// Its environment, a null at the end.
    pub envp: &'a [*const c_char],
    /// Becomes its standard input.
    pub stdin: BorrowedFd<'a>,
    /// Becomes its standard output and error.
    pub log: BorrowedFd<'a>,
    /// The cgroup that it is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What to write into its `oom_score_adj`; empty: it keeps ours.
    pub oom: &'a [u8],
}

/// The arguments of clone3(2), version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_PIDFD: u64 = 0x1000;
const SIGCHLD: u64 = 17;

/// Starts a process: born in its cgroup, killed by the kernel when we end, without our descriptors but those that are
/// inheritable. Returns its pidfd and number. That exec failed is seen as exit status 127.
///
/// # Errors
/// As clone3(2).
pub fn spawn(exec: &Exec<'_>) -> Result<(OwnedFd, i64)> {
    assert!(exec.argv.last().is_some_and(|last| last.is_null()), "execve needs a null at the end");
    assert!(exec.envp.last().is_some_and(|last| last.is_null()), "execve needs a null at the end");
    let mut pidfd: c_int = -1;
    let mut args = CloneArgs {
        flags: CLONE_PIDFD,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: SIGCHLD,
        ..CloneArgs::default()
    };
    if let Some(group) = exec.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(group.as_raw_fd()).unwrap_or(0);
    }
    let parent = std::process::id();
    // SAFETY: without CLONE_VM this is a fork: the child has its own copy of everything and runs on its own copy of this
    // stack. `args` and `pidfd` live through the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        0 => become_program(exec, parent),
        1.. => Ok((own(pidfd)?, pid)),
        _ => Err(Error::last_os_error()),
    }
}

/// In the child: nothing but system calls until exec.
fn become_program(exec: &Exec<'_>, parent: u32) -> ! {
    let (set, none) = (no_signals(), std::ptr::null_mut());
    // SAFETY: takes no pointers. From here on the child ends when the guard ends (SAFETY E4).
    let mut failed = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } < 0;
    // SAFETY: takes no pointers. If the guard ended before the line above, the child has another parent by now.
    failed |= u32::try_from(unsafe { libc::getppid() }) != Ok(parent);
    // SAFETY: takes no pointers. A session of its own: a terminal's Ctrl-C is for the guard, which then ends its VMs.
    failed |= unsafe { libc::setsid() } < 0;
    // SAFETY: the set is initialised; no old set is asked for.
    failed |= unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, none) } < 0;
    // SAFETY: a default disposition runs no code of ours.
    failed |= unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) } == libc::SIG_ERR;
    // SAFETY: takes no pointers.
    failed |= unsafe { libc::dup2(exec.stdin.as_raw_fd(), 0) } < 0;
    // SAFETY: takes no pointers.
    failed |= unsafe { libc::dup2(exec.log.as_raw_fd(), 1) } < 0;
    // SAFETY: takes no pointers.
    failed |= unsafe { libc::dup2(exec.log.as_raw_fd(), 2) } < 0;
    if !failed {
        set_oom(exec.oom);
        // SAFETY: path, arguments and environment are zero-terminated, their lists end with a null (asserted before the
        // fork), and all live in the child's copy of the guard's memory.
        unsafe { libc::execve(exec.path.as_ptr(), exec.argv.as_ptr(), exec.envp.as_ptr()) };
    }
    // SAFETY: ends the child without running anything of the guard's.
    unsafe { libc::_exit(127) }
}

/// In the child. A refusal is not worth a VM: the guard has tried the same for itself and said so.
fn set_oom(value: &[u8]) {
    if value.is_empty() {
        return;
    }
    // SAFETY: the path ends with a zero.
    let fd = unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    // SAFETY: pointer and length are those of a live slice; a bad descriptor is an error like any other.
    let _ = unsafe { libc::write(fd, value.as_ptr().cast(), value.len()) };
}

fn no_signals() -> libc::sigset_t {
    // SAFETY: a sigset_t of zeros is valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a valid place for the answer.
    let result = unsafe { libc::sigemptyset(&raw mut set) };
    assert!(result == 0, "sigemptyset cannot fail on a valid set");
    set
}
