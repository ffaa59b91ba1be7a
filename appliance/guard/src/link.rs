//! The socket that the appliance's guard console is joined to.
//!
//! Owns the connection and the frames on it. Must never wait for its other end: what does not fit is dropped and counted,
//! which loses nothing, since every report says all there is to know and is repeated (`wire::guard`). The last to connect
//! is the appliance: a restarted VM takes over from one whose connection the kernel has not closed yet.

use crate::host::names;
use palisade_core::limits::FRAME_MAX;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::guard::Message;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// Bytes that wait for the socket: all reports and stamps of a second, several times over.
const OUT_BYTES: usize = 8192;
/// Bytes that are read at once.
const IN_BYTES: usize = 2048;

/// The guard's end.
#[derive(Debug)]
pub struct Link {
    listener: UnixListener,
    stream: Option<UnixStream>,
    reader: Reader,
    input: [u8; IN_BYTES],
    /// The part of `input` that is not yet parsed.
    unread: std::ops::Range<usize>,
    output: [u8; OUT_BYTES],
    filled: usize,
    sequence: u32,
    /// Frames that did not fit.
    pub dropped: u64,
    /// Frames that no guard understands.
    pub unknown: u64,
}

impl Link {
    /// Listens in the current directory.
    ///
    /// # Errors
    /// As bind(2).
    pub fn listen() -> io::Result<Self> {
        match std::fs::remove_file(names::GUARD_SOCKET) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(names::GUARD_SOCKET)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            stream: None,
            reader: Reader::new(),
            input: [0; IN_BYTES],
            unread: 0..0,
            output: [0; OUT_BYTES],
            filled: 0,
            sequence: 0,
            dropped: 0,
            unknown: 0,
        })
    }

    /// What to wait on for a connection.
    #[must_use]
    pub fn listener_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// What to wait on for bytes; -1: nobody is connected.
    #[must_use]
    pub fn stream_fd(&self) -> RawFd {
        self.stream.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Whether bytes wait for the socket.
    #[must_use]
    pub const fn wants_to_write(&self) -> bool {
        self.filled > 0
    }

    /// Takes a new connection. True: there is one, and the reports are to be sent.
    pub fn accept(&mut self) -> bool {
        let Ok((stream, _)) = self.listener.accept() else { return false };
        if stream.set_nonblocking(true).is_err() {
            return false;
        }
        self.close();
        self.stream = Some(stream);
        true
    }

    fn close(&mut self) {
        self.stream = None;
        self.reader.reset();
        self.unread = 0..0;
        self.filled = 0;
        self.sequence = 0;
    }

    /// The next message, reading at most one buffer of bytes in one go: `fresh` allows that.
    pub fn next(&mut self, fresh: &mut bool) -> Option<Message> {
        loop {
            while !self.unread.is_empty() {
                let mut bytes = &self.input[self.unread.clone()];
                let message = self.reader.next(&mut bytes).map(|frame| Message::parse(&frame));
                self.unread.start = self.unread.end - bytes.len();
                match message {
                    Some(Ok(message)) => return Some(message),
                    Some(Err(_)) => self.unknown += 1,
                    None => self.unread = 0..0,
                }
            }
            if !std::mem::take(fresh) {
                return None;
            }
            match self.stream.as_mut()?.read(&mut self.input) {
                Ok(0) => self.close(),
                Ok(bytes) => self.unread = 0..bytes,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => self.close(),
            }
        }
    }

    /// Queues a message, if somebody is connected and there is room.
    pub fn send(&mut self, message: &Message) {
        if self.stream.is_none() {
            return;
        }
        let mut buffer = [0; FRAME_MAX];
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.frame(self.sequence).emit(&mut buffer);
        match self.output.get_mut(self.filled..self.filled + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.filled += bytes.len();
            }
            None => self.dropped += 1,
        }
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) {
        while let Some(stream) = &mut self.stream
            && self.filled > 0
        {
            match stream.write(&self.output[..self.filled]) {
                Ok(bytes) => {
                    self.output.copy_within(bytes..self.filled, 0);
                    self.filled -= bytes;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.close(),
            }
        }
    }
}
