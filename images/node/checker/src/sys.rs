//! The system calls that std does not have, each behind a safe function; and how a line is printed.
//!
//! Owns all `unsafe` of this crate. Must never decide anything.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::locks::Bytes;

/// Prints a line as a node's events are printed: with the time since boot.
pub fn tell(text: &str) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    let _always_there = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let line = format!("palisade-node: {}.{:06} {text}\n", time.tv_sec, time.tv_nsec / 1000);
    // In one piece; a log that is gone is no reason to stop writing to the volume.
    let _ = io::stdout().lock().write_all(line.as_bytes());
}

/// A random number.
///
/// # Errors
/// If there is no /dev/urandom.
pub fn random() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Takes a record lock. With `wait`: until it can be had. Says whether it has it.
///
/// # Errors
/// The kernel's refusal.
pub fn posix_lock(file: &File, bytes: Bytes, wait: bool) -> io::Result<bool> {
    let command = if wait { libc::F_SETLKW } else { libc::F_SETLK };
    match record_lock(file, bytes, command, libc::F_WRLCK) {
        Err(error) if !wait && matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        other => other.map(|_| true),
    }
}

/// Gives a record lock back.
///
/// # Errors
/// The kernel's refusal.
pub fn posix_unlock(file: &File, bytes: Bytes) -> io::Result<()> {
    record_lock(file, bytes, libc::F_SETLK, libc::F_UNLCK).map(drop)
}

/// Whose lock stands against one for writing: its process, first and last byte (-1: all that come).
///
/// # Errors
/// The kernel's refusal.
pub fn posix_find(file: &File, bytes: Bytes) -> io::Result<Option<(i32, i64, i64)>> {
    let lock = record_lock(file, bytes, libc::F_GETLK, libc::F_WRLCK)?;
    let last = if lock.l_len == 0 { -1 } else { lock.l_start + lock.l_len - 1 };
    Ok((libc::c_int::from(lock.l_type) != libc::F_UNLCK).then_some((lock.l_pid, lock.l_start, last)))
}

fn record_lock(file: &File, bytes: Bytes, command: libc::c_int, kind: libc::c_int) -> io::Result<libc::flock> {
    // SAFETY: all zero is a valid flock: from the start of the file to its end, whatever that becomes.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or(0);
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or(0);
    lock.l_start = libc::off_t::from(bytes.first);
    lock.l_len = bytes.last.map_or(0, |last| libc::off_t::from(last) - libc::off_t::from(bytes.first) + 1);
    loop {
        // SAFETY: the descriptor is open and `lock` is valid for the call.
        let failed = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
        match check(failed) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|()| lock),
        }
    }
}

/// A socket for vsock.
fn vsock() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: socket has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A place for vsock, and its length.
fn vsock_address(cid: u32, port: u32) -> (libc::sockaddr_vm, libc::socklen_t) {
    // SAFETY: all zero is a valid sockaddr_vm.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::sa_family_t::try_from(libc::AF_VSOCK).unwrap_or(0);
    address.svm_cid = cid;
    address.svm_port = port;
    (address, libc::socklen_t::try_from(size_of::<libc::sockaddr_vm>()).unwrap_or(0))
}

/// Listens on a vsock port of this machine.
///
/// # Errors
/// If the port is taken, or there is no vsock.
pub fn vsock_listen(port: u32) -> io::Result<OwnedFd> {
    let socket = vsock()?;
    let (address, length) = vsock_address(libc::VMADDR_CID_ANY, port);
    // SAFETY: the address is a sockaddr_vm of the given length.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), 16) })?;
    Ok(socket)
}

/// Connects to a vsock port of the host.
///
/// # Errors
/// If nobody listens there, or there is no vsock.
pub fn vsock_connect_host(port: u32) -> io::Result<File> {
    let socket = vsock()?;
    let (address, length) = vsock_address(libc::VMADDR_CID_HOST, port);
    // SAFETY: the address is a sockaddr_vm of the given length.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(File::from(socket))
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

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
