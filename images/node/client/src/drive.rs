//! The thread that drives the DLM for a client that has one.
//!
//! Owns the order: what the state machine says of its volume's steps passes through here, and goes on when the DLM has done
//! the step. Must never be waited for by the thread that beats.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use palisade_core::id::{NodeId, Volume};
use palisade_core::wire::node::{Group, Message, Takeover, What};

use crate::command::{Request, Wanted};
use crate::console::Console;
use crate::dlm::{How, Lockspace};
use crate::event::Event;
use crate::session::Output;
use crate::sys;

/// The way to the thread and back.
#[derive(Debug)]
pub struct Drive {
    steps: Sender<Output>,
    done: Receiver<Output>,
}

/// What the thread needs of the loop.
pub struct Ties {
    /// For people.
    pub console: Console,
    /// Takes requests.
    pub requests: Sender<Request>,
    /// Written to whenever something waits for the loop.
    pub wake: UnixStream,
}

impl Drive {
    /// Starts the thread: it asks for the volume as soon as a mount wants it.
    #[must_use]
    pub fn start(how: How, node: NodeId, volume: Volume, ties: Ties) -> Self {
        let (steps, inbox) = channel();
        let (outbox, done) = channel();
        thread::spawn(move || {
            if let Err(sentence) = run(how, node, volume, &ties, &inbox, &outbox) {
                ties.console.tell(&format!("DRIVE_ENDS error={sentence:?}"));
            }
        });
        Self { steps, done }
    }

    /// Takes what must wait for the DLM; gives back what need not.
    pub fn pass(&self, output: Output) -> Option<Output> {
        if !waits(&output) {
            return Some(output);
        }
        self.steps.send(output).err().map(|refused| refused.0)
    }

    /// What the DLM has done.
    pub fn done(&self) -> Vec<Output> {
        self.done.try_iter().collect()
    }
}

/// Whether this says something of a step.
fn waits(output: &Output) -> bool {
    match output {
        Output::Send { message: Message::Group(group), .. } => {
            matches!(group, Group::Stopped { .. } | Group::Started { .. } | Group::Recovered { .. })
        }
        Output::Send { message: Message::Takeover(Takeover::Taken(given)), .. } => {
            matches!(given.what, What::Recovery(_))
        }
        Output::Event(Event::GroupStart { .. } | Event::GroupRecovered { .. }) => true,
        Output::Event(Event::Taken(given)) => matches!(given.what, What::Recovery(_)),
        _ => false,
    }
}

fn run(
    how: How,
    node: NodeId,
    volume: Volume,
    ties: &Ties,
    steps: &Receiver<Output>,
    done: &Sender<Output>,
) -> Result<(), String> {
    let mut lockspace = Lockspace::wait_for(how, node.get(), volume)?;
    let refused = sys::hold_place();
    ties.console.tell(&format!("DRIVES how={how:?} refused={refused:?}"));
    let (answer, _answers) = channel();
    let gone = |_| "the session's loop has ended".to_owned();
    ties.requests.send(Request { wanted: Wanted::Join(volume), answer }).map_err(gone)?;
    wake(ties)?;
    for output in steps {
        let result = match &output {
            Output::Send { message: Message::Group(Group::Stopped { .. }), .. } => lockspace.stop(),
            Output::Event(Event::GroupStart { entries, .. }) => lockspace.start(entries),
            Output::Event(Event::GroupRecovered { .. }) => lockspace.recovered(),
            _ => Ok(()),
        };
        result.map_err(|error| format!("the DLM refuses: {error}"))?;
        done.send(output).map_err(|_| "the session's loop has ended".to_owned())?;
        wake(ties)?;
    }
    Ok(())
}

fn wake(ties: &Ties) -> Result<(), String> {
    (&ties.wake).write_all(b"!").map_err(|error| format!("cannot wake the session's loop: {error}"))
}
