//! Deliberate faults, in the test image only.
//!
//! Owns the doors: fw_cfg file `opt/palisade/fault` names one fault and when it strikes, in milliseconds of our clock:
//! `allocate:MS`, `panic:MS`, `ring:MS` (a corrupt ring), `stall:MS:FOR` (the loop stands still). This module, and with it
//! the mark by which the guard knows such an image, exists only with the Cargo feature `faults`; the guard refuses the
//! image unless the configuration allows it.

extern crate alloc;

use heapless::Vec;
use palisade_core::limits::LINKS_MAX;
use palisade_core::time::{Duration, Instant};

use crate::cell::Once;
use crate::clock::{self, Clock};
use crate::fwcfg::Files;
use crate::net::Link;
use crate::serial;

/// What the guard looks for in an image.
#[used]
static MARK: [u8; 21] = *b"palisade-faults-image";

const FILE: &str = "opt/palisade/fault";
static BYTES: Once<[u8; 64]> = Once::new([0; 64]);

#[derive(Clone, Copy, Debug)]
enum Kind {
    None,
    Allocate,
    Panic,
    Ring,
    Stall(Duration),
}

/// One fault, until it has struck.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    kind: Kind,
    at: Instant,
}

/// Reads which fault is wanted; none, if nobody says.
pub fn read(files: &mut Files) -> Fault {
    let never = Fault { kind: Kind::None, at: Instant::FAR };
    let Ok(bytes) = files.read(FILE, BYTES.claim()) else { return never };
    let text = core::str::from_utf8(bytes).unwrap_or_default().trim();
    serial::say(format_args!("palisade: fault {text}"));
    let mut words = text.split(':');
    let name = words.next().unwrap_or_default();
    let mut millis = || words.next().and_then(|word| word.parse().ok()).map(Duration::from_millis);
    let (Some(after), length) = (millis(), millis()) else { return never };
    let kind = match name {
        "allocate" => Kind::Allocate,
        "panic" => Kind::Panic,
        "ring" => Kind::Ring,
        "stall" => Kind::Stall(length.unwrap_or(Duration::ZERO)),
        _ => Kind::None,
    };
    Fault { kind, at: Instant::ZERO + after }
}

impl Fault {
    /// When it strikes.
    pub fn deadline(&self) -> Instant {
        self.at
    }

    /// Strikes if it is time to.
    pub fn strike(&mut self, clock: &Clock, links: &mut Vec<Link, LINKS_MAX>) {
        if clock.now() < self.at {
            return;
        }
        self.at = Instant::FAR;
        match self.kind {
            Kind::None => {}
            Kind::Allocate => {
                let mut wasted = alloc::vec::Vec::<u8>::with_capacity(100);
                wasted.push(MARK[0]);
                core::hint::black_box(&wasted);
            }
            Kind::Panic => panic!("a deliberate panic"),
            Kind::Ring => links.iter_mut().for_each(Link::spoil),
            Kind::Stall(length) => clock::spin(clock, length.as_micros()),
        }
    }
}
