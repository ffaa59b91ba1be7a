//! Asks an appliance how things are, through its host's vsock socket.
//!
//! Owns the client side of STATUS. An appliance that does not answer in time is an error, never a wait.

use palisade_core::status::{
    Counter, GroupEntry, HistoryEntry, HostEntry, MemberEntry, NodeEntry, Summary, TakeoverEntry,
};
use palisade_core::wire::frame::{Frame, Reader};
use palisade_core::wire::node::{Message, Section};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Between two tries of a question that was too much at that moment.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// One open conversation with an appliance.
pub struct Client {
    stream: UnixStream,
    reader: Reader,
    pending: Vec<u8>,
    sequence: u32,
}

impl Client {
    /// Connects through the unix socket that stands for the appliance's vsock ports.
    ///
    /// # Errors
    /// Nobody is there, or nobody accepts the connection.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(format!("CONNECT {}\n", palisade_core::limits::PORT_VSOCK).as_bytes())?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while answer.len() < 64 && byte != *b"\n" {
            stream.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        if !answer.starts_with(b"OK") {
            return Err(io::Error::other("the appliance does not accept the connection"));
        }
        Ok(Self { stream, reader: Reader::new(), pending: Vec::new(), sequence: 0 })
    }

    /// The appliance in short.
    ///
    /// # Errors
    /// No answer in time, or one that makes no sense.
    pub fn summary(&mut self) -> io::Result<Summary> {
        let bytes = self.section(Section::Summary)?;
        Summary::parse(&bytes).map_err(nonsense)
    }

    /// All nodes.
    ///
    /// # Errors
    /// No answer in time, or one that makes no sense.
    pub fn nodes(&mut self) -> io::Result<Vec<NodeEntry>> {
        entries(&self.section(Section::Nodes)?, NodeEntry::BYTES, NodeEntry::parse)
    }

    /// All hosts.
    ///
    /// # Errors
    /// No answer in time, or one that makes no sense.
    pub fn hosts(&mut self) -> io::Result<Vec<HostEntry>> {
        entries(&self.section(Section::Hosts)?, HostEntry::BYTES, HostEntry::parse)
    }

    /// The fencing records, open ones first.
    ///
    /// # Errors
    /// No answer in time, or one that makes no sense.
    pub fn history(&mut self) -> io::Result<Vec<HistoryEntry>> {
        entries(&self.section(Section::History)?, HistoryEntry::BYTES, HistoryEntry::parse)
    }

    /// Every node of every group.
    ///
    /// # Errors
    /// No answer in time, or one that makes no sense.
    pub fn members(&mut self) -> io::Result<Vec<MemberEntry>> {
        entries(&self.section(Section::Members)?, MemberEntry::BYTES, MemberEntry::parse)
    }

    /// All groups.
    ///
    /// # Errors
    /// No answer in time, or one that makes no sense.
    pub fn groups(&mut self) -> io::Result<Vec<GroupEntry>> {
        entries(&self.section(Section::Groups)?, GroupEntry::BYTES, GroupEntry::parse)
    }

    /// Recoveries under way, and the named services.
    ///
    /// # Errors
    /// No answer in time, or one that makes no sense.
    pub fn takeovers(&mut self) -> io::Result<Vec<TakeoverEntry>> {
        entries(&self.section(Section::Takeovers)?, TakeoverEntry::BYTES, TakeoverEntry::parse)
    }

    /// One counter.
    ///
    /// # Errors
    /// No answer in time, or the counter is not among those that came.
    pub fn counter(&mut self, counter: Counter) -> io::Result<u64> {
        let bytes = self.section(Section::Counters)?;
        let (values, _) = bytes.as_chunks::<8>();
        let value = values.get(usize::from(counter as u8)).copied();
        value.map(u64::from_le_bytes).ok_or_else(|| nonsense(palisade_core::wire::Error))
    }

    /// The payloads of all parts of a section, one after the other.
    fn section(&mut self, section: Section) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut first = 0;
        loop {
            let (part, payload) = self.ask(section, first)?;
            bytes.extend_from_slice(&payload);
            let Message::StatusPart { count, total, .. } = part else {
                return Err(nonsense(palisade_core::wire::Error));
            };
            first += count;
            if first >= total || count == 0 {
                return Ok(bytes);
            }
        }
    }

    fn question(&mut self, section: Section, first: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut buffer = [0; palisade_core::limits::FRAME_MAX];
        let frame: Frame<'_> = Message::Status { section, first }.frame(0, self.sequence, &[]);
        self.stream.write_all(frame.emit(&mut buffer))
    }

    fn ask(&mut self, section: Section, first: u16) -> io::Result<(Message, Vec<u8>)> {
        self.question(section, first)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let pending = std::mem::take(&mut self.pending);
            let mut rest = pending.as_slice();
            while let Some(frame) = self.reader.next(&mut rest) {
                let Ok(message) = Message::parse(&frame) else { continue };
                match message {
                    Message::StatusPart { section: of, first: from, .. } if of == section && from == first => {
                        let payload = frame.payload.to_vec();
                        self.pending = rest.to_vec();
                        return Ok((message, payload));
                    }
                    Message::Busy => {
                        std::thread::sleep(BUSY_PAUSE);
                        self.question(section, first)?;
                    }
                    Message::Error { refusal } => {
                        return Err(io::Error::other(format!("the appliance refuses: {refusal:?}")));
                    }
                    _ => {}
                }
            }
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the appliance does not answer"));
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the appliance closed the connection"));
            }
            self.pending.extend_from_slice(&chunk[..count]);
        }
    }
}

fn entries<T>(bytes: &[u8], size: usize, parse: fn(&[u8]) -> palisade_core::wire::Result<T>) -> io::Result<Vec<T>> {
    bytes.chunks_exact(size).map(|entry| parse(entry).map_err(nonsense)).collect()
}

fn nonsense(_: palisade_core::wire::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the appliance's answer makes no sense")
}
