//! The loop of `palisade-node run`: one thread that carries bytes and time between the channel and the state machine.
//!
//! Owns the channel and the session. Must never wait for anything but the channel, a request and the next deadline; lines
//! and commands have threads of their own.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use palisade_core::id::{NodeId, Volume};
use palisade_core::limits::FRAME_MAX;
use palisade_core::time::Instant;
use palisade_core::wire::frame::Reader;

use crate::boot::{self, LeaseFile, Trigger};
use crate::channel::{self as road, Channel};
use crate::command::{Answer, Desk, Request, Wanted};
use crate::console::Console;
use crate::dlm::How;
use crate::drive::{Drive, Ties};
use crate::event::Event;
use crate::session::{Client, Output, PARTING, Remains};
use crate::{label, sys};

/// What a person wants of it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// For whom it speaks.
    pub node: NodeId,
    /// On which terminal; else it looks for it.
    pub channel: Option<PathBuf>,
    /// How it drives the kernel's DLM; else it has none.
    pub drive: Option<How>,
}

/// Speaks for a node until the machine ends.
///
/// # Errors
/// A sentence, if the channel is missing or breaks.
pub fn run(wish: Wish) -> Result<(), String> {
    let node = wish.node;
    let sentence = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let console = Console::start();
    let trigger = Trigger::open().map_err(sentence("cannot open the kernel's emergency door"))?;
    let incarnation = boot::incarnation().map_err(sentence("cannot keep the incarnation"))?;
    let (lease_file, lease_end) = LeaseFile::open().map_err(sentence("cannot keep the lease"))?;
    let volumes = volumes_at_boot()?;
    let nonce = boot::random().map_err(sentence("cannot read /dev/urandom"))?;
    let path = wish.channel.map_or_else(road::find, Ok)?;
    let channel = Channel::open(&path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;

    let (requests, inbox) = self::channel();
    let (wake, woken) = UnixStream::pair().map_err(sentence("cannot make a pair of sockets"))?;
    woken.set_nonblocking(true).map_err(sentence("cannot set a socket"))?;
    let desk_trigger = Trigger::open().map_err(sentence("cannot open the kernel's emergency door"))?;
    let drive = match wish.drive {
        Some(how) => {
            let volume = *volumes.first().ok_or("--drive needs palisade.volumes=UUID on the kernel's command line")?;
            Some(Drive::start(how, node, volume, Ties { console: console.clone(), requests, wake }))
        }
        None => {
            Desk::new(console.clone(), desk_trigger, requests, wake).open_doors();
            None
        }
    };
    // After the threads were started, so that only this one runs ahead of others.
    for refused in sys::hold_place() {
        console.tell(&format!("NOT_HELD call={refused}"));
    }
    let remains = Remains { lease_end, held: boot::held() };
    let mut client = Client::new(sys::now(), node, incarnation, nonce, remains);
    // What is driven is asked for when it is mounted.
    for volume in volumes.into_iter().filter(|_| drive.is_none()) {
        client.groups().join(sys::now(), volume)?;
    }
    let mut session =
        Loop { client, channel, reader: Reader::new(), console, trigger, lease_file, drive, asked: VecDeque::new() };
    session.turn(&inbox, &woken).map_err(|error| format!("the channel {} broke: {error}", path.display()))
}

/// The volumes that the kernel's command line names: this node opens them by itself.
fn volumes_at_boot() -> Result<Vec<Volume>, String> {
    label::parse_list(&boot::kernel_option("palisade.volumes").unwrap_or_default())
}

struct Loop {
    client: Client,
    channel: Channel,
    reader: Reader,
    console: Console,
    trigger: Trigger,
    lease_file: LeaseFile,
    drive: Option<Drive>,
    /// Requests whose answers are still to come, oldest first.
    asked: VecDeque<Asked>,
}

struct Asked {
    answer: Sender<Answer>,
    lines: Vec<String>,
}

impl Loop {
    fn turn(&mut self, inbox: &Receiver<Request>, woken: &UnixStream) -> std::io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            self.client.on_time(sys::now());
            self.carry_out()?;
            let pause = pause_until(self.client.deadline());
            let [has_bytes, has_request] = sys::wait_readable([self.channel.descriptor(), woken.as_raw_fd()], pause)?;
            if has_bytes {
                let count = self.channel.read(&mut bytes)?;
                let mut rest = bytes.get(..count).unwrap_or(&[]);
                while let Some(frame) = self.reader.next(&mut rest) {
                    self.client.on_frame(sys::now(), &frame);
                }
            }
            if has_request {
                let mut woken = woken;
                let _count = woken.read(&mut [0; 16]);
                for request in inbox.try_iter() {
                    self.ask(request);
                }
                for output in self.drive.as_ref().map_or_else(Vec::new, Drive::done) {
                    self.perform(output)?;
                }
            }
        }
    }

    fn ask(&mut self, request: Request) {
        let now = sys::now();
        let answer = match request.wanted {
            Wanted::Message(message) if self.client.request(message) => {
                self.asked.push_back(Asked { answer: request.answer, lines: Vec::new() });
                return;
            }
            Wanted::Message(_) => Err("there is no session".to_owned()),
            Wanted::Join(volume) => self.client.groups().join(now, volume).map(|()| Vec::new()),
            Wanted::Leave(volume) => self.client.groups().leave(now, volume).map(|()| Vec::new()),
            Wanted::Groups => Ok(self.client.groups().lines()),
        };
        // Whoever asked may have given up: nothing is lost then.
        let _gone = request.answer.send(answer);
    }

    fn carry_out(&mut self) -> std::io::Result<()> {
        while let Some(output) = self.client.poll() {
            let now = match &self.drive {
                Some(drive) => drive.pass(output),
                None => Some(output),
            };
            now.map_or(Ok(()), |output| self.perform(output))?;
        }
        Ok(())
    }

    fn perform(&mut self, output: Output) -> std::io::Result<()> {
        match output {
            Output::Send { message, session, sequence, payload } => {
                let mut buffer = [0; FRAME_MAX];
                let _lost = self.channel.write(message.frame(session, sequence, &payload).emit(&mut buffer))?;
            }
            Output::Event(event) => self.tell(&event),
            Output::KeepLease(end) => self.lease_file.keep(end)?,
            Output::KeepHeld(held) => boot::keep_held(held)?,
            Output::Reset(_) => {
                self.console.flush(Duration::from_micros(PARTING.as_micros()) * 3 / 4);
                self.trigger.reset();
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: &Event) {
        if matches!(event, Event::Session { .. }) {
            // Their answers would have come in the session that is over.
            self.asked.clear();
        }
        let lines = event.lines();
        if event.is_answer()
            && let Some(asked) = self.asked.front_mut()
        {
            asked.lines.extend(lines);
            if event.is_last() {
                let answer = std::mem::take(&mut asked.lines);
                let _gone = asked.answer.send(Ok(answer));
                self.asked.pop_front();
            }
            return;
        }
        lines.iter().for_each(|line| self.console.tell(line));
    }
}

fn pause_until(deadline: Instant) -> Duration {
    Duration::from_micros((deadline - sys::now()).as_micros())
}
