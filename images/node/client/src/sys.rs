//! The system calls that std does not have, each behind a safe function.
//!
//! Owns all `unsafe` of this crate. Must never decide anything.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use palisade_core::time::Instant;

/// Now, by the clock that counts from boot and does not stop in a suspend.
#[must_use]
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; the clock exists in every kernel that this program runs on.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert!(failed == 0, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_micros(seconds * 1_000_000 + nanos / 1000)
}

/// Bytes on a terminal pass unchanged from now on: no echo, no line editing, no flow control, no signals.
///
/// # Errors
/// If this is no terminal.
pub fn make_raw(terminal: &File) -> io::Result<()> {
    // SAFETY: all zero is a valid termios.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `settings` is a valid place for the result.
    check(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings) })?;
    // SAFETY: `settings` was filled above.
    unsafe { libc::cfmakeraw(&raw mut settings) };
    settings.c_iflag &= !(libc::IXON | libc::IXOFF | libc::IXANY);
    settings.c_cflag |= libc::CLOCAL | libc::CREAD;
    // SAFETY: the descriptor is open and `settings` is valid. What was received before is dropped with the call.
    check(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, &raw const settings) })
}

/// How many bytes wait for the terminal; zero if it does not say.
#[must_use]
pub fn unsent_bytes(terminal: RawFd) -> i32 {
    let mut count: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int, which `count` is.
    let failed = unsafe { libc::ioctl(terminal, libc::TIOCOUTQ, &raw mut count) };
    if failed == 0 { count } else { 0 }
}

/// Waits until one of the descriptors can be read or `timeout` is over. Tells which can.
///
/// # Errors
/// If `poll` fails for another reason than a signal.
pub fn wait_readable<const N: usize>(descriptors: [RawFd; N], timeout: Duration) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos().min(999_999_999).cast_signed()),
    };
    let count = libc::nfds_t::try_from(N).unwrap_or(0);
    // SAFETY: `polled` holds `count` entries, `time` is valid, and no signal mask is given.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), count, &raw const time, std::ptr::null()) };
    match check(ready) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(polled.map(|entry| entry.revents != 0)),
    }
}

/// Keeps this process in memory and ahead of all others, as far as the kernel allows: beats must not wait for a page or
/// for another process. Tells what was refused.
pub fn hold_place() -> Vec<&'static str> {
    let mut refused = Vec::new();
    // SAFETY: takes no pointers.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } != 0 {
        refused.push("mlockall");
    }
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: `priority` is valid; 0 is this thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const priority) } != 0 {
        refused.push("sched_setscheduler");
    }
    refused
}

/// Gives the calling thread the place of any other: for threads that may work for long.
pub fn step_back() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: `priority` is valid; 0 is this thread. A refusal leaves the thread as it was, which costs only time.
    let _refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const priority) };
}

/// Resets the machine through reboot(2). Returns only if the kernel refuses.
pub fn reboot() {
    // SAFETY: takes no pointers.
    let _refused = unsafe { libc::reboot(libc::RB_AUTOBOOT) };
}

/// Loads a kernel module. Does not return if the module does not.
///
/// # Errors
/// If the kernel refuses.
pub fn load_module(module: &File) -> io::Result<()> {
    let no_options = c"";
    // SAFETY: the descriptor is open, the options are a C string, and no flags are set.
    let failed = unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), no_options.as_ptr(), 0) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Connects to a vsock port; reads and writes fail after `patience`.
///
/// # Errors
/// If nobody listens there, or there is no vsock.
pub fn vsock_connect(cid: u32, port: u32, patience: Duration) -> io::Result<File> {
    let socket = vsock_socket()?;
    let time = libc::timeval {
        tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(patience.subsec_micros().cast_signed()),
    };
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        let value = (&raw const time).cast();
        // SAFETY: the option's value is one timeval, which `time` is.
        let set = unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, length_of::<libc::timeval>())
        };
        check(set)?;
    }
    let address = vsock_address(cid, port);
    let place = (&raw const address).cast();
    // SAFETY: the address is a sockaddr_vm of the given length.
    check(unsafe { libc::connect(socket.as_raw_fd(), place, length_of::<libc::sockaddr_vm>()) })?;
    Ok(File::from(socket))
}

/// Listens on a vsock port of this machine.
///
/// # Errors
/// If the port is taken, or there is no vsock.
pub fn vsock_listen(port: u32) -> io::Result<OwnedFd> {
    let socket = vsock_socket()?;
    let address = vsock_address(libc::VMADDR_CID_ANY, port);
    let place = (&raw const address).cast();
    // SAFETY: the address is a sockaddr_vm of the given length.
    check(unsafe { libc::bind(socket.as_raw_fd(), place, length_of::<libc::sockaddr_vm>()) })?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), 4) })?;
    Ok(socket)
}

/// Waits for the next connection.
///
/// # Errors
/// If the socket is broken.
pub fn accept(listener: &OwnedFd) -> io::Result<File> {
    // SAFETY: the peer's address is not asked for.
    let fd =
        unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) };
    check(fd)?;
    // SAFETY: accept4 has just given this descriptor to us alone.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn vsock_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: socket has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn vsock_address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: all zero is a valid sockaddr_vm.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::sa_family_t::try_from(libc::AF_VSOCK).unwrap_or(0);
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
