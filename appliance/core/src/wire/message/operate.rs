//! Operators' requests on their way to the leader, and what became of them.
//!
//! Owns both layouts. A request is sent again until it is answered, and answered again as often as it comes.

use super::fields::{Reader, Writer};
use crate::who::Who;
use crate::wire::node::{Operation, Refusal, Wish};
use crate::wire::{Error, Result};

/// What a leader says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Committed, in this version at the latest.
    Done(u64),
    /// It makes no sense.
    Refused(Refusal),
    /// There is no room for it now.
    Busy,
}

pub(super) fn emit<'w, 'b>(request: u64, operation: &Operation, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    w.u64(request).u8(operation.wish as u8).flag(operation.force).target(operation.target);
    w.u32(operation.duration_ms).u64(operation.incarnation).bytes(operation.who.0)
}

pub(super) fn parse(r: &mut Reader<'_>) -> Result<(u64, Operation)> {
    let request = r.u64();
    let operation = Operation {
        wish: Wish::from_wire(r.u8()).ok_or(Error)?,
        force: r.flag()?,
        target: r.target()?,
        duration_ms: r.u32(),
        incarnation: r.u64(),
        who: Who::from_wire(r.bytes()).ok_or(Error)?,
    };
    Ok((request, operation))
}

pub(super) fn emit_answer<'w, 'b>(request: u64, answer: Answer, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    let (code, value) = match answer {
        Answer::Done(version) => (0, version),
        Answer::Refused(refusal) => (1, u64::from(refusal as u8)),
        Answer::Busy => (2, 0),
    };
    w.u64(request).u8(code).u64(value)
}

pub(super) fn parse_answer(r: &mut Reader<'_>) -> Result<(u64, Answer)> {
    let (request, code, value) = (r.u64(), r.u8(), r.u64());
    let answer = match code {
        0 => Answer::Done(value),
        1 => Answer::Refused(Refusal::from_wire(u8::try_from(value).map_err(|_| Error)?)?),
        2 => Answer::Busy,
        _ => return Err(Error),
    };
    Ok((request, answer))
}
