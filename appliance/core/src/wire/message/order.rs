//! ORDER and the verdict that answers it, as bytes.
//!
//! Owns what an order names (SAFETY F1). What an executor may do with it is fencing's.

use super::fields::{Reader, Writer};
use crate::fencing::{Action, Class, Verdict};
use crate::id::{Ballot, Run};
use crate::wire::node::Target;
use crate::wire::{Error, Result};

/// An order to drive a device once (SAFETY F1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The orderer's ballot; refused by whoever promised a higher one.
    pub ballot: Ballot,
    /// The committed version that decided it.
    pub version: u64,
    /// Names the attempt under this ballot. The same number again is the same attempt.
    pub attempt: u32,
    /// The executor's heartbeat that the orderer knew last: the validity counts from its sending.
    pub answers: u32,
    /// What to do.
    pub action: Action,
    /// With which configured device; `LOCAL_MONITOR` and `LOCAL_GUARD` are the node's own.
    pub device: u16,
    /// To whom.
    pub target: Target,
    /// To which run of a node.
    pub run: Run,
}

/// `Order::device`: the QMP monitor of the node.
pub const LOCAL_MONITOR: u16 = 0xffff;
/// `Order::device`: the guard of the node's host.
pub const LOCAL_GUARD: u16 = 0xfffe;

pub(super) fn emit<'w, 'b>(order: &Order, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    w.ballot(order.ballot).u64(order.version).u32(order.attempt).u32(order.answers);
    w.u8(order.action as u8).bytes(order.device.to_le_bytes()).target(order.target);
    w.u64(order.run.boot).u32(order.run.counter)
}

pub(super) fn parse(r: &mut Reader<'_>) -> Result<Order> {
    Ok(Order {
        ballot: r.ballot(),
        version: r.u64(),
        attempt: r.u32(),
        answers: r.u32(),
        action: Action::from_wire(r.u8()).ok_or(Error)?,
        device: r.u16(),
        target: r.target()?,
        run: Run { boot: r.u64(), counter: r.u32() },
    })
}

/// How an attempt ended: a code, and the class of the evidence.
pub(super) fn emit_verdict<'w, 'b>(verdict: Verdict, w: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    let (code, class) = match verdict {
        Verdict::Confirmed(class) => (1, class as u8),
        Verdict::Failed => (2, 0),
        Verdict::Unknown => (3, 0),
        Verdict::SeenOff => (4, 0),
        Verdict::SeenOn => (5, 0),
    };
    w.u8(code).u8(class)
}

pub(super) fn parse_verdict(code: u8, class: u8) -> Result<Verdict> {
    match code {
        1 => Ok(Verdict::Confirmed(Class::from_wire(class).ok_or(Error)?)),
        2 => Ok(Verdict::Failed),
        3 => Ok(Verdict::Unknown),
        4 => Ok(Verdict::SeenOff),
        5 => Ok(Verdict::SeenOn),
        _ => Err(Error),
    }
}
