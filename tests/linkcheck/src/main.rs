//! A program without standard library and without allocator that holds palisade-core and every method.
//!
//! Owns nothing; it exists to be linked. `alloc` cannot be linked where no global allocator is defined, so if anything
//! in the graph of these two crates ever uses it, this stops building, and tests/tests/interop_link.rs says so. Run, it
//! starts one attempt of each method and exits with 0.
#![no_std]
#![no_main]

#[cfg(feature = "with-alloc")]
extern crate alloc;

use core::hint::black_box;

use palisade_core::fencing::Action;
use palisade_core::id::{NodeId, Run};
use palisade_core::time::{Duration, Instant};
use palisade_methods::{AnyMethod, Kind, Method, guard, ipmi, qmp};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

fn start(kind: Kind, now: Instant) -> Option<AnyMethod> {
    let total = Duration::from_millis(1_000);
    Some(match kind {
        Kind::Qmp => AnyMethod::Qmp(qmp::Monitor::new(now, 1)),
        Kind::Ipmi => {
            let params = ipmi::Params::new(b"user", b"password").ok()?;
            AnyMethod::Ipmi(ipmi::Attempt::start(now, &params, Action::Off, &[1; ipmi::ENTROPY_LEN]))
        }
        Kind::Guard => {
            let run = Run { boot: 1, counter: 1 };
            AnyMethod::Guard(guard::Attempt::start(now, Action::Off, NodeId::new(1), run, total))
        }
    })
}

/// Drives each method for ten seconds of its own time, with nobody at the other end.
fn exercise() -> Option<usize> {
    let mut sent = 0;
    for kind in Kind::ALL {
        let mut now = Instant::from_micros(1);
        let mut method = start(*kind, now)?;
        let mut out = [0; 1024];
        for _ in 0..100 {
            if let Some(len) = method.poll_transmit(now, &mut out) {
                sent += len;
                method.handle(now, black_box(&out[..len]));
            }
            now = method.poll_timeout().unwrap_or(now).max(now);
        }
        black_box(method.outcome());
    }
    Some(sent)
}

/// What the C start-up code calls.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    match exercise() {
        Some(sent) if sent > 0 => 0,
        _ => 1,
    }
}

// The C start-up code and its library; the standard library would have named them.
#[link(name = "c")]
unsafe extern "C" {}
