//! Commands for a node: from the serial console, from the host over vsock, and from a shell in the node.
//!
//! Owns their words and the doors they come through. Must never run in the thread that beats: a command may take long.
//! Each door takes one command in a line and answers in lines, of which the last starts with `OK` or `ERR`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use palisade_core::id::{HostId, NodeId, Volume};
use palisade_core::wire::node::{Message, Target};

use crate::ask;
use crate::boot::Trigger;
use crate::console::Console;
use crate::label;
use crate::sys;

/// Where the host finds the node's commands.
pub const PORT_COMMANDS: u32 = 7650;
/// Where a shell in the node finds them.
pub const SOCKET: &str = "/run/palisade-node.socket";
const HANG: &str = "/lib/modules/hang.ko";
/// How long the console may take for the line that announces the end.
const FLUSH: Duration = Duration::from_millis(200);
/// How long an answer over the channel may take.
const ANSWER: Duration = Duration::from_secs(3);

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The kernel panics.
    Panic,
    /// All CPUs stop with interrupts off.
    Hang,
    /// The machine resets itself.
    Reset,
    /// How the cluster is.
    Status(Road),
    /// Somebody is to be fenced.
    Fence(Target),
    /// A volume is to be opened.
    Join(Volume),
    /// A volume is to be closed.
    Leave(Volume),
    /// What is open and owned here.
    Groups,
    /// A shell on the console.
    Shell,
}

/// On which road a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// The session's channel.
    Channel,
    /// A connection of its own.
    Vsock,
}

/// The words of all commands, for people.
pub const HELP: &str = "panic | hang | reset | status [--over channel|vsock] | fence node N | fence host N | \
                        join VOLUME | leave VOLUME | groups | sh";

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let number = |word: &str| match word.parse::<u8>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("`{word}` is no number from 1 to 255")),
        };
        match words {
            ["panic"] => Ok(Self::Panic),
            ["hang"] => Ok(Self::Hang),
            ["reset"] => Ok(Self::Reset),
            ["sh"] => Ok(Self::Shell),
            ["join", volume] => label::parse(volume).map(Self::Join),
            ["leave", volume] => label::parse(volume).map(Self::Leave),
            ["groups"] => Ok(Self::Groups),
            ["status"] | ["status", "--over", "vsock"] => Ok(Self::Status(Road::Vsock)),
            ["status", "--over", "channel"] => Ok(Self::Status(Road::Channel)),
            ["fence", "node", node] => Ok(Self::Fence(Target::Node(NodeId::new(number(node)?)))),
            ["fence", "host", host] => Ok(Self::Fence(Target::Host(HostId::new(number(host)?)))),
            _ => Err(format!("unknown command `{}`; there are: {HELP}", words.join(" "))),
        }
    }
}

/// What the session's loop is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// To send this, and to collect the answer.
    Message(Message),
    /// To open a volume.
    Join(Volume),
    /// To close one.
    Leave(Volume),
    /// To tell what is open and owned.
    Groups,
}

/// The lines of an answer, or a sentence that says why there is none.
pub type Answer = Result<Vec<String>, String>;

/// A request to the session's loop, and where its answer goes.
#[derive(Debug)]
pub struct Request {
    /// What.
    pub wanted: Wanted,
    /// Takes the answer.
    pub answer: Sender<Answer>,
}

/// What commands need.
#[derive(Debug)]
pub struct Desk {
    console: Console,
    trigger: Trigger,
    requests: Sender<Request>,
    wake: UnixStream,
}

impl Desk {
    /// A desk; `wake` is written to whenever a request was put into `requests`.
    #[must_use]
    pub fn new(console: Console, trigger: Trigger, requests: Sender<Request>, wake: UnixStream) -> Arc<Self> {
        Arc::new(Self { console, trigger, requests, wake })
    }

    /// Opens all doors.
    pub fn open_doors(self: &Arc<Self>) {
        let desk = Arc::clone(self);
        spawn(move || desk.serve(BufReader::new(io::stdin()), true, |_| Ok(())));
        let _stale = std::fs::remove_file(SOCKET);
        match UnixListener::bind(SOCKET) {
            Ok(listener) => {
                let desk = Arc::clone(self);
                spawn(move || {
                    listener.incoming().flatten().for_each(|stream| desk.serve_stream(OwnedFd::from(stream).into()))
                });
            }
            Err(error) => self.console.tell(&format!("NO_DOOR socket={SOCKET} error={:?}", error.to_string())),
        }
        match sys::vsock_listen(PORT_COMMANDS) {
            Ok(listener) => {
                let desk = Arc::clone(self);
                spawn(move || {
                    while let Ok(stream) = sys::accept(&listener) {
                        desk.serve_stream(stream);
                    }
                });
            }
            Err(error) => self.console.tell(&format!("NO_DOOR vsock={PORT_COMMANDS} error={:?}", error.to_string())),
        }
    }

    fn serve_stream(self: &Arc<Self>, stream: File) {
        let desk = Arc::clone(self);
        // A thread each: a peer that says nothing must not lock the door for others.
        spawn(move || {
            let Ok(mut back) = stream.try_clone() else { return };
            desk.serve(BufReader::new(stream), false, |line| writeln!(back, "{line}"));
        });
    }

    fn serve(&self, mut lines: impl BufRead, is_console: bool, mut answer: impl FnMut(&str) -> io::Result<()>) {
        let mut line = String::new();
        // A line is bounded: what never ends is not a command.
        while matches!(lines.by_ref().take(256).read_line(&mut line), Ok(count) if count > 0) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                for text in self.execute(&words, is_console) {
                    self.console.tell(&text);
                    if answer(&text).is_err() {
                        return;
                    }
                }
            }
            line.clear();
        }
    }

    /// Carries a command out. The lines of its answer.
    fn execute(&self, words: &[&str], is_console: bool) -> Vec<String> {
        let result = Command::parse(words).and_then(|command| {
            self.console.tell(&format!("COMMAND {}", words.join(" ")));
            self.carry_out(command, is_console)
        });
        match result {
            Ok(mut lines) => {
                lines.push(format!("OK {}", words.join(" ")));
                lines
            }
            Err(sentence) => vec![format!("ERR {sentence}")],
        }
    }

    fn carry_out(&self, command: Command, is_console: bool) -> Result<Vec<String>, String> {
        let refused = |error: io::Error| format!("the kernel refuses: {error}");
        match command {
            Command::Panic => {
                self.console.flush(FLUSH);
                self.trigger.panic().map_err(refused)?;
                Ok(Vec::new())
            }
            Command::Reset => {
                self.console.flush(FLUSH);
                self.trigger.reset()
            }
            Command::Hang => {
                let module = File::open(HANG).map_err(|error| format!("cannot open {HANG}: {error}"))?;
                self.console.flush(FLUSH);
                sys::load_module(&module).map_err(refused)?;
                Ok(Vec::new())
            }
            Command::Status(Road::Vsock) => ask::status(),
            Command::Status(Road::Channel) => {
                let mut lines = Vec::new();
                for section in ask::SECTIONS {
                    lines.extend(self.ask(Wanted::Message(Message::Status { section, first: 0 }))?);
                }
                Ok(lines)
            }
            Command::Fence(target) => ask::fence(target).map(|line| vec![line]),
            Command::Join(volume) => self.ask(Wanted::Join(volume)),
            Command::Leave(volume) => self.ask(Wanted::Leave(volume)),
            Command::Groups => self.ask(Wanted::Groups),
            Command::Shell if is_console => {
                // The shell inherits the console; events go on being printed into it.
                Process::new("/bin/sh").arg("/bin/console-shell").status().map_err(|e| format!("no shell: {e}"))?;
                Ok(Vec::new())
            }
            Command::Shell => Err("a shell is only on the console".to_owned()),
        }
    }

    fn ask(&self, wanted: Wanted) -> Answer {
        let (answer, answers) = channel();
        self.requests.send(Request { wanted, answer }).map_err(|_| "the session's loop has ended".to_owned())?;
        (&self.wake).write_all(b"!").map_err(|error| format!("cannot wake the session's loop: {error}"))?;
        answers.recv_timeout(ANSWER).map_err(|_| "the appliance did not answer in time".to_owned())?
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        sys::step_back();
        work();
    });
}

/// Sends a command to the client that runs in this node. Its answer's lines; the last one starts with OK or ERR.
///
/// # Errors
/// If no client runs.
pub fn send(words: &[String]) -> io::Result<Vec<String>> {
    let mut stream = UnixStream::connect(SOCKET)?;
    writeln!(stream, "{}", words.join(" "))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    BufReader::new(stream).lines().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_others_are_named() {
        let parse = |line: &str| Command::parse(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(parse("panic"), Ok(Command::Panic));
        assert_eq!(parse("status"), Ok(Command::Status(Road::Vsock)));
        assert_eq!(parse("status --over channel"), Ok(Command::Status(Road::Channel)));
        assert_eq!(parse("fence node 2"), Ok(Command::Fence(Target::Node(NodeId::new(2)))));
        assert_eq!(parse("fence host 3"), Ok(Command::Fence(Target::Host(HostId::new(3)))));
        let volume = Volume::named("shared");
        assert_eq!(parse("join shared"), Ok(Command::Join(volume)));
        assert_eq!(parse("leave shared"), Ok(Command::Leave(volume)));
        assert_eq!(parse("groups"), Ok(Command::Groups));
        for wrong in ["join", "join a b", "leave seventeen-letters", "groups all"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["fence node 0", "fence node 256", "fence host", "panic now", "dance"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
