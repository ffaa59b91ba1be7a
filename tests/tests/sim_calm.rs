//! L3 and L1 on the deterministic network: what the limits tolerate fences nobody, and a death is told in a time that does
//! not grow with the number of hosts.

use palisade_tests::sim::Trace;
use palisade_tests::sim::calm::{KINDS, calm};
use palisade_tests::sim::node_down::{Way, measure, percentile};
use palisade_tests::sim::story::shape_of;

#[test]
fn what_the_limits_tolerate_fences_nobody_and_resets_nobody() {
    for seed in 0..80 {
        let kind = KINDS[usize::try_from(seed).unwrap_or(0) % KINDS.len()];
        if let Err(panic) = std::panic::catch_unwind(|| calm(shape_of(seed, None, None), kind, seed, Trace::Kept)) {
            eprintln!("replay: cargo sim --calm --from {seed} --seeds 1 --trace");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn the_time_to_node_down_does_not_grow_with_the_hosts() {
    // Milliseconds of simulated time that DESIGN §8 allows: detection, the device's 100 ms, and 100 ms more; where the leader
    // dies, one election more.
    for (way, bound_ms) in [(Way::Exit, 50), (Way::Panic, 50), (Way::Power, 1_200), (Way::Leader, 1_700)] {
        for (hosts, deaths) in [(3, 12), (16, 3), (64, 1)] {
            let waited = measure(hosts, way, deaths, 6);
            let p99 = percentile(&waited, 99);
            assert!(p99 <= bound_ms * 1000, "{hosts} hosts, {way:?}: p99 is {p99} us");
        }
    }
}
