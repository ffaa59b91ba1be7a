//! Asks an appliance how things are, over the Unix socket of its vhost-device-vsock.
//!
//! Owns the conversation: the CONNECT line, then STATUS for each section until all its parts are here. Must never wait
//! longer than it was told to, or believe a length or count that it was sent.

use crate::report::{self, Report};
use palisade_core::limits::FRAME_MAX;
use palisade_core::status::{
    COUNTERS, DeviceEntry, GroupEntry, HistoryEntry, HoldEntry, HostEntry, MemberEntry, NodeEntry, Summary,
    TakeoverEntry,
};
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Message, Operation, Refusal, Section};
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The way to an appliance.
#[derive(Debug, PartialEq, Eq)]
pub struct Road {
    /// The Unix socket.
    pub socket: OsString,
    /// The appliance's vsock port.
    pub port: u32,
    /// For the whole conversation.
    pub timeout: Duration,
}

/// What is asked of whom.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// Whom.
    pub road: Road,
    /// Print JSON.
    pub json: bool,
}

/// Bytes of the line that answers CONNECT.
const LINE_MAX: usize = 64;
/// Pause after BUSY.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// `status`.
pub fn ask(question: &Question) -> Result<(), String> {
    let report = Conversation::open(&question.road)?.report()?;
    if question.json {
        say!("{}", report::json(&report));
    } else {
        say!("{}", report::table(&report).trim_end());
    }
    Ok(())
}

pub struct Conversation {
    stream: UnixStream,
    name: String,
    until: Instant,
    sequence: u32,
    reader: Reader,
    /// Bytes that were read after the frame that was handed out last.
    rest: Vec<u8>,
}

/// A part of a section, as it came.
struct Part {
    first: u16,
    count: u16,
    total: u16,
    payload: Vec<u8>,
}

impl Conversation {
    /// Connects to the appliance behind a socket.
    pub fn open(road: &Road) -> Result<Self, String> {
        let name = road.socket.to_string_lossy().into_owned();
        let stream = UnixStream::connect(&road.socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                format!(
                    "{name} does not exist; name the `uds-path` of this host's vhost-device-vsock (docs/OPERATING.md)"
                )
            }
            ErrorKind::ConnectionRefused => {
                format!("nothing listens at {name}: vhost-device-vsock is not running; its guard starts it")
            }
            ErrorKind::PermissionDenied => format!("you may not open {name}; run this as root"),
            _ => format!("cannot connect to {name}: {error}"),
        })?;
        let mut conversation = Self {
            stream,
            name,
            until: Instant::now() + road.timeout,
            sequence: 0,
            reader: Reader::new(),
            rest: Vec::new(),
        };
        conversation.connect(road.port)?;
        Ok(conversation)
    }

    fn connect(&mut self, port: u32) -> Result<(), String> {
        self.send(format!("CONNECT {port}\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            if self.receive(&mut byte)? == 0 {
                return Err(format!(
                    "{} closed the connection: the appliance is not up yet, or does not listen on vsock port {port}",
                    self.name
                ));
            }
            line.extend_from_slice(&byte);
            if line.len() > LINE_MAX {
                return Err(format!("{} does not speak vsock: it answers CONNECT with something else", self.name));
            }
        }
        if line.starts_with(b"OK") {
            return Ok(());
        }
        Err(format!("{} refuses port {port}: {}", self.name, String::from_utf8_lossy(&line).trim_end()))
    }

    fn report(mut self) -> Result<Report, String> {
        let summary = self.section(Section::Summary, Summary::BYTES, Summary::parse)?;
        let Some(summary) = summary.into_iter().next() else {
            return Err(format!("{}: the appliance sent an empty summary", self.name));
        };
        let counter =
            |bytes: &[u8]| bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)).ok_or(palisade_core::wire::Error);
        Ok(Report {
            summary,
            hosts: self.section(Section::Hosts, HostEntry::BYTES, HostEntry::parse)?,
            nodes: self.section(Section::Nodes, NodeEntry::BYTES, NodeEntry::parse)?,
            groups: self.section(Section::Groups, GroupEntry::BYTES, GroupEntry::parse)?,
            members: self.section(Section::Members, MemberEntry::BYTES, MemberEntry::parse)?,
            takeovers: self.section(Section::Takeovers, TakeoverEntry::BYTES, TakeoverEntry::parse)?,
            history: self.section(Section::History, HistoryEntry::BYTES, HistoryEntry::parse)?,
            devices: self.section(Section::Devices, DeviceEntry::BYTES, DeviceEntry::parse)?,
            holds: self.section(Section::Holds, HoldEntry::BYTES, HoldEntry::parse)?,
            counters: self.section(Section::Counters, 8, counter)?.into_iter().take(COUNTERS).collect(),
        })
    }

    /// All entries of a section.
    fn section<T>(
        &mut self,
        section: Section,
        bytes: usize,
        parse: impl Fn(&[u8]) -> palisade_core::wire::Result<T>,
    ) -> Result<Vec<T>, String> {
        let mut entries: Vec<T> = Vec::new();
        loop {
            let first = u16::try_from(entries.len()).unwrap_or(u16::MAX);
            let part = self.part(section, first)?;
            if part.first != first {
                // An answer to an earlier question.
                continue;
            }
            for index in 0..usize::from(part.count) {
                let entry = part.payload.get(index * bytes..(index + 1) * bytes).and_then(|entry| parse(entry).ok());
                let unsound = || format!("{}: the appliance sent an entry of {section:?} that is not sound", self.name);
                entries.push(entry.ok_or_else(unsound)?);
            }
            if entries.len() >= usize::from(part.total) {
                return Ok(entries);
            }
            if part.count == 0 {
                return Err(format!("{}: the appliance has more of {section:?} and does not send it", self.name));
            }
        }
    }

    fn part(&mut self, section: Section, first: u16) -> Result<Part, String> {
        loop {
            let mut buffer = [0; FRAME_MAX];
            self.sequence += 1;
            let frame = Message::Status { section, first }.frame(0, self.sequence, &[]);
            self.send(frame.emit(&mut buffer))?;
            match self.answer(section)? {
                Some(part) => return Ok(part),
                None => std::thread::sleep(BUSY_PAUSE),
            }
        }
    }

    /// Says what an operator wants; the version that committed it. BUSY accepted nothing, so it is asked again.
    pub fn operate(&mut self, operation: Operation) -> Result<u64, String> {
        loop {
            let mut buffer = [0; FRAME_MAX];
            self.sequence += 1;
            let frame = Message::Operate(operation).frame(0, self.sequence, &[]);
            self.send(frame.emit(&mut buffer))?;
            loop {
                match self.hear()?.0 {
                    Message::OperateReply { target, version } if target == operation.target => return Ok(version),
                    Message::Busy => break std::thread::sleep(BUSY_PAUSE),
                    Message::Error { refusal } => return Err(format!("{}: {}", self.name, refused(refusal))),
                    _ => {}
                }
            }
        }
    }

    /// The next part of the section; `None`: the appliance is busy.
    fn answer(&mut self, section: Section) -> Result<Option<Part>, String> {
        loop {
            match self.hear()? {
                (Message::StatusPart { section: about, first, count, total }, payload) if about == section => {
                    return Ok(Some(Part { first, count, total, payload }));
                }
                (Message::Busy, _) => return Ok(None),
                (Message::Error { refusal }, _) => return Err(format!("{}: {}", self.name, refused(refusal))),
                // What was not asked for: a view, say.
                _ => {}
            }
        }
    }

    /// The next message that the appliance says.
    fn hear(&mut self) -> Result<(Message, Vec<u8>), String> {
        loop {
            let mut stream = self.rest.as_slice();
            let frame = self.reader.next(&mut stream);
            let left = stream.len();
            let heard = frame.and_then(|frame| {
                let message = Message::parse(&frame).ok()?;
                Some((message, frame.payload.to_vec()))
            });
            let nothing = heard.is_none() && left == 0;
            let used = self.rest.len() - left;
            self.rest.drain(..used);
            match heard {
                Some(heard) => return Ok(heard),
                None if nothing => self.fill()?,
                None => {}
            }
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut bytes = [0; 4096];
        match self.receive(&mut bytes)? {
            0 => Err(format!("{}: the appliance ended the conversation before it had answered", self.name)),
            length => {
                self.rest.extend_from_slice(bytes.get(..length).unwrap_or(&[]));
                Ok(())
            }
        }
    }

    fn time_left(&self) -> Result<Duration, String> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!(
                "{}: no answer in time; the appliance is stopped, overloaded, or not up yet",
                self.name
            ));
        }
        Ok(left)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let left = self.time_left()?;
        let lost = |error: std::io::Error| format!("{}: the connection was lost: {error}", self.name);
        self.stream.set_write_timeout(Some(left)).map_err(lost)?;
        match self.stream.write_all(bytes) {
            // The other end is closed: what it said before, and that it ended, is for the reader.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(lost),
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> Result<usize, String> {
        loop {
            let left = self.time_left()?;
            let lost = |error: std::io::Error| format!("{}: the connection was lost: {error}", self.name);
            self.stream.set_read_timeout(Some(left)).map_err(lost)?;
            match self.stream.read(into) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                // A peer that closes with bytes of ours unread resets the connection: for us it ended.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(0),
                other => return other.map_err(lost),
            }
        }
    }
}

const fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongNode => "the appliance does not answer this connection: it speaks for no configured node",
        Refusal::Condemned => "the appliance refuses: this node was fenced",
        Refusal::NoSession => "the appliance wants a session before it answers",
        Refusal::NotAdmitted => "the appliance was not admitted to the cluster yet; try again",
        Refusal::BadRequest => {
            "this makes no sense now: no such target, not in a state for it, or another incarnation is there by now"
        }
        Refusal::NotYet => "the appliance is not ready for this; try again",
        Refusal::ClusterOver => "the cluster incarnation is over",
        Refusal::InGroup => {
            "recovery would wait for the target if it died meanwhile; stop it first, or say --force and mean it"
        }
        Refusal::NotCondemned => {
            "the target is not condemned, the cluster believes that it runs; if you saw with your own eyes that it is off, say --force"
        }
        Refusal::TooLong => "the time is too long: a pause lasts at most 10 minutes, maintenance at most 7 days",
        Refusal::NodesUp => {
            "nodes of this host are still members, as `palisadectl status` shows: unmount their volumes and shut them down first"
        }
        Refusal::LastQuorum => {
            "without this host no quorum of votes would be left, and nothing could be fenced or recovered: bring another host back first"
        }
    }
}
