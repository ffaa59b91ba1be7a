//! What comes back from the BMC, step by step: the half of an attempt that listens.
//!
//! Owns the checks that every answer must pass and what follows from it; what is sent, and when, is in mod.rs. Must never
//! act on an answer that does not belong to the request under way: type, tag or message sequence, session id, and inside
//! the session the integrity code and the session sequence. `Err` means that the datagram was not for us; the caller
//! counts it and nothing changes. Rules: IPMI 2.0, 13.20 to 13.24; SAFETY E7.

use palisade_core::time::{Duration, Instant};

use super::params::Why;
use super::wire::{self, Packet, PayloadType, completion, status};
use super::{Attempt, DATAGRAM_MAX, Phase, SLOT_PAUSE_MS};
use crate::{Action, Class, Verdict};

impl Attempt {
    /// Takes in one datagram; `Err`: nothing in it was for us.
    pub(super) fn take(&mut self, now: Instant, bytes: &[u8]) -> wire::Result<()> {
        let packet = Packet::new_checked(bytes)?;
        if packet.payload_type() == PayloadType::Ipmi {
            return self.take_protected(now, &packet);
        }
        if !packet.is_plain() || packet.session_id() != 0 || self.tries == 0 {
            return Err(wire::Error);
        }
        let (tag, status) = wire::parse_status(packet.payload())?;
        let age = u32::from(self.tag.wrapping_sub(tag));
        match (self.phase, packet.payload_type()) {
            (Phase::Open, PayloadType::OpenReply) if age < self.tries => {
                self.on_open_reply(now, status, packet.payload())
            }
            (Phase::Rakp1, PayloadType::Rakp2) if age == 0 => self.on_rakp2(now, status, packet.payload()),
            (Phase::Rakp3, PayloadType::Rakp4) if age < self.tries => self.on_rakp4(now, status, packet.payload()),
            _ => Err(wire::Error),
        }
    }

    fn on_open_reply(&mut self, now: Instant, status: u8, payload: &[u8]) -> wire::Result<()> {
        match status {
            status::OK => {}
            status::INVALID_AUTHENTICATION_ALGORITHM
            | status::INVALID_INTEGRITY_ALGORITHM
            | status::INVALID_CONFIDENTIALITY_ALGORITHM
            | status::NO_CIPHER_SUITE_MATCH => {
                match self.params.suites.after_refusal_of(self.suite) {
                    Some(other) => {
                        self.suite = other;
                        self.begin(Phase::Open, now);
                    }
                    None => self.end(now, Verdict::Failed, Why::NoSuite),
                }
                return Ok(());
            }
            other => {
                self.on_refusal(now, other);
                return Ok(());
            }
        }
        let reply = wire::OpenReply::parse(payload)?;
        if reply.console_id != self.console_id || reply.bmc_id == 0 {
            return Err(wire::Error);
        }
        if reply.algorithms == self.suite.algorithms() {
            self.bmc_id = reply.bmc_id;
            self.begin(Phase::Rakp1, now);
        } else {
            self.end(now, Verdict::Failed, Why::OtherSuite);
        }
        Ok(())
    }

    fn on_rakp2(&mut self, now: Instant, status: u8, payload: &[u8]) -> wire::Result<()> {
        if status != status::OK {
            self.on_refusal(now, status);
            return Ok(());
        }
        let reply = wire::Rakp2::parse(payload)?;
        if reply.console_id != self.console_id {
            return Err(wire::Error);
        }
        self.bmc_random.copy_from_slice(reply.random);
        self.guid.copy_from_slice(reply.guid);
        if self.rakp2_holds(reply.code) {
            self.keys = Some(self.derive_keys());
            self.begin(Phase::Rakp3, now);
        } else {
            // The only place where a wrong password shows, and the only proof that this is our BMC.
            self.end(now, Verdict::Failed, Why::WrongPassword);
        }
        Ok(())
    }

    fn on_rakp4(&mut self, now: Instant, status: u8, payload: &[u8]) -> wire::Result<()> {
        if status != status::OK {
            self.on_refusal(now, status);
            return Ok(());
        }
        let reply = wire::Rakp4::parse(payload)?;
        if reply.console_id != self.console_id {
            return Err(wire::Error);
        }
        let bmc_id = self.bmc_id.to_le_bytes();
        let parts: [&[u8]; 3] = [&self.console_random, &bmc_id, &self.guid];
        if self.keys.as_ref().is_some_and(|keys| keys.verify_rakp4(&parts, reply.code)) {
            self.obstacle = None;
            self.begin(Phase::Privilege, now);
        } else {
            self.end(now, Verdict::Failed, Why::WrongKey);
        }
        Ok(())
    }

    /// The BMC refuses a step before the session. These answers are not authenticated: they may cost this attempt, they
    /// never confirm anything.
    fn on_refusal(&mut self, now: Instant, status: u8) {
        match status {
            status::INSUFFICIENT_RESOURCES | status::INSUFFICIENT_RESOURCES_FOR_ROLE => {
                self.obstacle = Some(Why::NoSlot);
                self.begin_again(now, now + Duration::from_millis(SLOT_PAUSE_MS));
            }
            // The BMC has forgotten the session, or a repetition of ours arrived after it had gone on.
            status::INVALID_SESSION_ID | status::INACTIVE_SESSION_ID => {
                self.begin_again(now, now + self.params.timing.poll);
            }
            status::UNAUTHORIZED_NAME | status::INVALID_NAME_LENGTH => self.end(now, Verdict::Failed, Why::WrongUser),
            status::INVALID_ROLE | status::UNAUTHORIZED_ROLE => self.end(now, Verdict::Failed, Why::WrongLevel),
            _ if self.phase != Phase::Open && self.tries > 1 => self.begin_again(now, now + self.params.timing.poll),
            status::INVALID_INTEGRITY_CHECK => self.end(now, Verdict::Failed, Why::CodeRefused),
            other => self.end(now, Verdict::Failed, Why::Status(other)),
        }
    }

    fn take_protected(&mut self, now: Instant, packet: &Packet<'_>) -> wire::Result<()> {
        if !packet.is_protected() || packet.session_id() != self.console_id || self.tries == 0 {
            return Err(wire::Error);
        }
        let mut buffer = [0; DATAGRAM_MAX];
        let message = self.keys.as_ref().ok_or(wire::Error)?.open(packet, &mut buffer)?;
        // Only a verified number may move the window, or a forger could close it.
        self.window.admit(packet.sequence())?;
        let response = wire::Response::parse(message)?;
        let expected = match self.phase {
            Phase::Privilege => wire::SET_PRIVILEGE,
            Phase::Control => wire::CHASSIS_CONTROL,
            Phase::Status => wire::CHASSIS_STATUS,
            Phase::Close => wire::CLOSE_SESSION,
            _ => return Err(wire::Error),
        };
        if response.sequence != self.message_sequence || response.command != expected {
            return Err(wire::Error);
        }
        self.on_response(now, response.completion, response.data)
    }

    fn on_response(&mut self, now: Instant, code: u8, data: &[u8]) -> wire::Result<()> {
        if self.phase == Phase::Close {
            self.phase = Phase::Done;
            return Ok(());
        }
        match code {
            completion::OK => self.obstacle = None,
            completion::NODE_BUSY | completion::TIMEOUT | completion::OUT_OF_SPACE | completion::INITIALIZING => {
                self.obstacle = Some(Why::StillBusy);
                self.begin(self.phase, now + self.params.timing.poll);
                return Ok(());
            }
            completion::INSUFFICIENT_PRIVILEGE => {
                self.end(now, Verdict::Failed, Why::WrongLevel);
                return Ok(());
            }
            completion::LEVEL_NOT_AVAILABLE | completion::LEVEL_EXCEEDS_LIMIT if self.phase == Phase::Privilege => {
                self.end(now, Verdict::Failed, Why::WrongLevel);
                return Ok(());
            }
            // Some BMCs refuse "off" when it is off: what it reads decides.
            completion::NOT_IN_PRESENT_STATE if self.phase == Phase::Control => {}
            other => {
                self.end(now, Verdict::Failed, Why::Completion(other));
                return Ok(());
            }
        }
        match self.phase {
            Phase::Privilege if self.action == Action::Status => self.begin(Phase::Status, now),
            Phase::Privilege => self.begin(Phase::Control, now),
            Phase::Control => {
                self.refused = (code != completion::OK).then_some(code);
                self.power = None;
                self.begin(Phase::Status, now + self.params.timing.lag);
            }
            _ => {
                let on = data.first().ok_or(wire::Error)? & 1 == 1;
                self.on_power(now, on);
            }
        }
        Ok(())
    }

    fn on_power(&mut self, now: Instant, on: bool) {
        self.power = Some(on);
        match (self.action, on) {
            (Action::Status, true) => self.end(now, Verdict::Unknown, Why::ReadOn),
            (Action::Status, false) => self.end(now, Verdict::Unknown, Why::ReadOff),
            (Action::Off, false) => self.end(now, Verdict::Confirmed(Class::PowerOff), Why::ReadBackOff),
            (Action::On, true) => self.end(now, Verdict::Unknown, Why::ReadBackOn),
            _ => {
                let next = if self.refused.is_some() { Phase::Control } else { Phase::Status };
                self.begin(next, now + self.params.timing.poll);
            }
        }
    }
}

/// Which session sequence numbers came in: each counts once, and none that is 32 or more behind the newest. The
/// specification asks for 16 ahead and behind; datagrams of one switch never need that much.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    newest: u32,
    /// Bit i: `newest - i` came in.
    seen: u32,
}

impl Window {
    pub(super) fn admit(&mut self, sequence: u32) -> wire::Result<()> {
        if sequence == 0 {
            return Err(wire::Error);
        }
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = sequence;
            return Ok(());
        }
        let bit = 1u32.checked_shl(self.newest - sequence).ok_or(wire::Error)?;
        if self.seen & bit != 0 {
            return Err(wire::Error);
        }
        self.seen |= bit;
        Ok(())
    }
}
