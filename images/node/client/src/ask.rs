//! Requests to the appliance over vsock, the road for everything that no write waits for.
//!
//! Owns one connection for one request. Must never be needed for the session: that lives on the channel.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use palisade_core::limits::{FRAME_MAX, PORT_VSOCK};
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{Message, Section, Target};

use crate::boot;
use crate::event::{Named, refusal_word, status_lines};
use crate::sys;

/// How long an answer about the appliance itself may take.
const STATUS_PATIENCE: Duration = Duration::from_secs(3);
/// How long a decision may take to be committed: an election and a retry.
const FENCE_PATIENCE: Duration = Duration::from_secs(10);
/// What `status` shows, in this order.
pub const SECTIONS: [Section; 8] = [
    Section::Summary,
    Section::Hosts,
    Section::Nodes,
    Section::Groups,
    Section::Members,
    Section::Takeovers,
    Section::History,
    Section::Counters,
];

/// One line for each thing that the appliance tells.
///
/// # Errors
/// A sentence.
pub fn status() -> Result<Vec<String>, String> {
    let mut talk = Talk::open(STATUS_PATIENCE)?;
    let mut lines = Vec::new();
    for section in SECTIONS {
        let mut next = Some(0);
        while let Some(first) = next {
            next = talk.section(section, first, &mut lines)?;
        }
    }
    Ok(lines)
}

/// Asks for a fence; returns when the decision is committed.
///
/// # Errors
/// A sentence.
pub fn fence(target: Target) -> Result<String, String> {
    let mut talk = Talk::open(FENCE_PATIENCE)?;
    talk.send(Message::Fence { target })?;
    loop {
        match talk.receive()? {
            (Message::FenceReply { target, version }, _) => {
                return Ok(format!("FENCE {} version={version}", Named(target)));
            }
            (message, _) => refused(message)?,
        }
    }
}

struct Talk {
    stream: File,
    reader: Reader,
    bytes: Vec<u8>,
    sequence: u32,
}

impl Talk {
    fn open(patience: Duration) -> Result<Self, String> {
        let key = "palisade.appliance_cid";
        let cid = boot::kernel_option(key).ok_or_else(|| format!("the kernel's command line lacks {key}="))?;
        let cid: u32 = cid.parse().map_err(|_| format!("{key}={cid} is no number"))?;
        let stream = sys::vsock_connect(cid, PORT_VSOCK, patience)
            .map_err(|error| format!("cannot reach the appliance at CID {cid}, port {PORT_VSOCK}: {error}"))?;
        Ok(Self { stream, reader: Reader::new(), bytes: Vec::new(), sequence: 0 })
    }

    /// Asks for entries from `first` on. The next entry to ask for, if there are more.
    fn section(&mut self, section: Section, first: u16, lines: &mut Vec<String>) -> Result<Option<u16>, String> {
        self.send(Message::Status { section, first })?;
        loop {
            match self.receive()? {
                (Message::StatusPart { section: of, first: from, count, total }, payload)
                    if of == section && from == first =>
                {
                    lines.extend(status_lines(section, first, &payload));
                    let next = first.saturating_add(count);
                    return Ok((count > 0 && next < total).then_some(next));
                }
                (message, _) => refused(message)?,
            }
        }
    }

    fn send(&mut self, message: Message) -> Result<(), String> {
        self.sequence += 1;
        let mut buffer = [0; FRAME_MAX];
        let frame = message.frame(0, self.sequence, &[]);
        self.stream.write_all(frame.emit(&mut buffer)).map_err(broken)
    }

    fn receive(&mut self) -> Result<(Message, Vec<u8>), String> {
        loop {
            let mut rest = self.bytes.as_slice();
            let found = self.reader.next(&mut rest).map(|f| (Message::parse(&f), f.payload.to_vec()));
            let left = rest.len();
            let used = self.bytes.len() - left;
            self.bytes.drain(..used);
            match found {
                Some((Ok(message), payload)) => return Ok((message, payload)),
                Some((Err(_), _)) => {}
                None => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut buffer = [0; 2048];
        let count = self.stream.read(&mut buffer).map_err(broken)?;
        if count == 0 {
            return Err("the appliance closed the connection".to_owned());
        }
        self.bytes.extend_from_slice(buffer.get(..count).unwrap_or(&[]));
        Ok(())
    }
}

/// An answer that ends the request; others (events) are passed over.
fn refused(message: Message) -> Result<(), String> {
    match message {
        Message::Error { refusal } => Err(format!("refused: {}", refusal_word(refusal))),
        Message::Busy => Err("the appliance is busy; try again".to_owned()),
        _ => Ok(()),
    }
}

fn broken(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the appliance did not answer in time".to_owned(),
        _ => format!("the connection to the appliance broke: {error}"),
    }
}
