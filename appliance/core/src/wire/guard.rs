//! The words between an appliance and the guard of its host, as bodies of frames.
//!
//! Owns the layouts. Everything is level-triggered: a RUN says all there is to know about a node's VM and is sent again
//! with each change, each stamp and each new appliance, so no report is ever lost with a connection (SAFETY E2).
//! An order names the run that it is about and does nothing to another one (SAFETY F1).

use super::frame::{BODY_BYTES, Frame};
use super::{Error, Fields, Result, put};
use crate::id::{BootId, Incarnation, NodeId};

/// Which message a guard link's frame is.
mod kind {
    pub const STAMP: u8 = 64;
    pub const RUN: u8 = 65;
    pub const APPLIANCE: u8 = 66;
    pub const ACK: u8 = 67;
    pub const START: u8 = 68;
    pub const KILL: u8 = 69;
    pub const LEASE: u8 = 70;
}

/// What the guard knows about a node's VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RunState {
    /// Never started under this host boot.
    #[default]
    None = 0,
    /// About to be started; waits for the appliance's ACK of this counter before it execs (SAFETY E2).
    Starting = 1,
    /// The process lives.
    Running = 2,
    /// The process is gone: known from the kernel.
    Exited = 3,
}

/// One message between guard and appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Guard -> appliance: the host's `CLOCK_BOOTTIME` in microseconds, and which boot it counts from.
    Stamp {
        /// The host's boot.
        boot: BootId,
        /// Microseconds of the host's clock.
        clock: u64,
    },
    /// Guard -> appliance: all that is known about one node's VM.
    Run(RunReport),
    /// Appliance -> guard: I am a new appliance; tell me all runs.
    Appliance {
        /// The appliance's incarnation.
        incarnation: Incarnation,
    },
    /// Appliance -> guard: I know that this run starts.
    Ack {
        /// The node.
        node: NodeId,
        /// The run's counter.
        counter: u32,
    },
    /// Appliance -> guard: start the node unless a run later than `after` was started already. Ends a VM that still is
    /// there first (a fenced run waits in `prelaunch`).
    Start {
        /// The node.
        node: NodeId,
        /// The newest run that the appliance knows; a repeated order is harmless.
        after: u32,
    },
    /// Appliance -> guard: end this run, and no other.
    Kill {
        /// The node.
        node: NodeId,
        /// The run's counter.
        counter: u32,
    },
    /// Appliance -> guard: the lease of all node VMs now counts from this stamp of the host's clock.
    Lease {
        /// The stamp, as the guard sent it.
        clock: u64,
        /// For how long from there, milliseconds.
        lease_ms: u32,
    },
}

/// All that the guard knows about one node's VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// The node.
    pub node: NodeId,
    /// The host's boot under which the counters count.
    pub boot: BootId,
    /// What became of the newest run.
    pub state: RunState,
    /// The newest run's counter; zero: none yet.
    pub counter: u32,
    /// Every run up to and including this one is gone, and so is everything that an earlier guard started.
    pub gone_through: u32,
    /// The node's disks are such that a gone or stopped VM has no write left anywhere (SAFETY E5).
    pub disks_qualify: bool,
    /// Exit status of the newest run, if it exited; minus the signal if a signal ended it.
    pub status: i32,
}

mod field {
    pub const NODE: usize = 0;
    pub const STATE: usize = 1;
    pub const QUALIFY: usize = 2;
    pub const COUNTER: usize = 4;
    pub const GONE: usize = 8;
    pub const STATUS: usize = 12;
    pub const BOOT: usize = 16;
    pub const CLOCK: usize = 24;
    pub const MILLIS: usize = 32;
}

impl Message {
    /// Reads the message in a frame.
    ///
    /// # Errors
    /// Not a guard link's kind, or a value that its field does not allow.
    pub fn parse(frame: &Frame<'_>) -> Result<Self> {
        let body = Fields(&frame.body);
        let node = NodeId::new(body.u8(field::NODE));
        let counter = body.u32(field::COUNTER);
        let message = match frame.kind {
            kind::STAMP => Self::Stamp { boot: body.u64(field::BOOT), clock: body.u64(field::CLOCK) },
            kind::RUN => Self::Run(RunReport {
                node,
                boot: body.u64(field::BOOT),
                state: match body.u8(field::STATE) {
                    0 => RunState::None,
                    1 => RunState::Starting,
                    2 => RunState::Running,
                    3 => RunState::Exited,
                    _ => return Err(Error),
                },
                counter,
                gone_through: body.u32(field::GONE),
                disks_qualify: body.u8(field::QUALIFY) == 1,
                status: i32::from_le_bytes(body.array(field::STATUS)),
            }),
            kind::APPLIANCE => Self::Appliance { incarnation: body.u64(field::BOOT) },
            kind::ACK => Self::Ack { node, counter },
            kind::START => Self::Start { node, after: counter },
            kind::KILL => Self::Kill { node, counter },
            kind::LEASE => Self::Lease { clock: body.u64(field::CLOCK), lease_ms: body.u32(field::MILLIS) },
            _ => return Err(Error),
        };
        let names_a_node = matches!(message, Self::Run(_) | Self::Ack { .. } | Self::Start { .. } | Self::Kill { .. });
        if names_a_node && !node.is_some() { Err(Error) } else { Ok(message) }
    }

    /// The frame that carries the message; session zero, since the link has one conversation only.
    #[must_use]
    pub fn frame(&self, sequence: u32) -> Frame<'static> {
        let mut body = [0; BODY_BYTES];
        let kind = match *self {
            Self::Stamp { boot, clock } => {
                put(&mut body, field::BOOT, boot.to_le_bytes());
                put(&mut body, field::CLOCK, clock.to_le_bytes());
                kind::STAMP
            }
            Self::Run(report) => {
                put(&mut body, field::NODE, [report.node.get()]);
                put(&mut body, field::STATE, [report.state as u8]);
                put(&mut body, field::QUALIFY, [u8::from(report.disks_qualify)]);
                put(&mut body, field::COUNTER, report.counter.to_le_bytes());
                put(&mut body, field::GONE, report.gone_through.to_le_bytes());
                put(&mut body, field::STATUS, report.status.to_le_bytes());
                put(&mut body, field::BOOT, report.boot.to_le_bytes());
                kind::RUN
            }
            Self::Appliance { incarnation } => {
                put(&mut body, field::BOOT, incarnation.to_le_bytes());
                kind::APPLIANCE
            }
            Self::Ack { node, counter } => order(&mut body, kind::ACK, node, counter),
            Self::Start { node, after } => order(&mut body, kind::START, node, after),
            Self::Kill { node, counter } => order(&mut body, kind::KILL, node, counter),
            Self::Lease { clock, lease_ms } => {
                put(&mut body, field::CLOCK, clock.to_le_bytes());
                put(&mut body, field::MILLIS, lease_ms.to_le_bytes());
                kind::LEASE
            }
        };
        Frame { kind, session: 0, sequence, body, payload: &[] }
    }
}

fn order(body: &mut [u8], kind: u8, node: NodeId, counter: u32) -> u8 {
    put(body, field::NODE, [node.get()]);
    put(body, field::COUNTER, counter.to_le_bytes());
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_survives_its_frame() {
        let node = NodeId::new(7);
        let run = RunReport {
            node,
            boot: 11,
            state: RunState::Exited,
            counter: 5,
            gone_through: 5,
            disks_qualify: true,
            status: -9,
        };
        for message in [
            Message::Stamp { boot: 1 << 60, clock: 2 },
            Message::Run(run),
            Message::Appliance { incarnation: u64::MAX },
            Message::Ack { node, counter: 3 },
            Message::Start { node, after: 0 },
            Message::Kill { node, counter: 4 },
            Message::Lease { clock: 77, lease_ms: 6000 },
        ] {
            assert_eq!(Message::parse(&message.frame(1)), Ok(message));
        }
    }

    #[test]
    fn nobody_and_unknown_values_are_refused() {
        let kill = Message::Kill { node: NodeId::NONE, counter: 1 };
        assert_eq!(Message::parse(&kill.frame(0)), Err(Error));
        let mut frame = Message::Run(RunReport { node: NodeId::new(1), ..RunReport::default() }).frame(0);
        frame.body[field::STATE] = 4;
        assert_eq!(Message::parse(&frame), Err(Error));
        frame.kind = 1;
        assert_eq!(Message::parse(&frame), Err(Error));
    }
}
