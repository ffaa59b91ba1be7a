//! What the core costs, for clusters of 3 to 255 hosts: memory, heartbeats, a view change, STATUS.
//!
//! Owns the table. Engines are the real ones, in memory (`cluster`); each time is the least of many rounds, because what
//! else a machine does only adds, in microseconds and, because machines differ, in multiples of sealing one datagram on the
//! same machine in the same run.
//! Must never assert a time: the only assertion is that a leader's work for one host does not grow with the cluster.
//! `cargo bench` measures all sizes; `cargo test` runs the same for two, to keep the assertion.

mod cluster;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use cluster::{Call, Cluster};
use palisade_core::config::Config;
use palisade_core::engine::Engine;
use palisade_core::limits::HOSTS_MAX;
use palisade_core::state::State;
use palisade_core::wire::node::Section;
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::time::Instant as Clock;

/// Heartbeat intervals that are measured.
const INTERVALS: usize = 100;
/// View changes that are measured.
const VIEW_CHANGES: usize = 16;
/// Rounds of STATUS requests that are measured.
const STATUS_ROUNDS: usize = 5;
/// How much dearer one host may be to a leader of 63 hosts than to one of 3. Linear work keeps this near one; the room is
/// for a busy machine.
const GROWTH_MAX: f64 = 10.0;

/// What is measured, each in nanoseconds.
const ROWS: [&str; 10] = [
    "member: one heartbeat sent, its answer taken",
    "leader: one heartbeat taken and answered",
    "leader: one heartbeat interval, all hosts",
    "leader: one heartbeat interval, per other host",
    "leader: the interval after a view change",
    "leader: one view change, until all have it",
    "member: one view change, accepted and learned",
    "leader: one turn at which nothing is due",
    "leader: 1000 STATUS requests, summary",
    "leader: 1000 STATUS requests, hosts",
];
/// The row of `ROWS` that must not grow with the cluster.
const PER_HOST: usize = 3;

/// One size of cluster.
struct Column {
    hosts: u8,
    nanos: [f64; ROWS.len()],
}

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u8] = if bench { &[3, 16, 63, 255] } else { &[3, 63] };
    let seal = seal_nanos();
    println!(
        "memory, bytes: {} for the engine at its limits, {} for each of {HOSTS_MAX} hosts;",
        size::<Engine>(),
        size::<Engine>() / HOSTS_MAX
    );
    println!(
        "    of that {} for one version of the replicated state; {} for the configuration",
        size::<State>(),
        size::<Config>()
    );
    println!(
        "on this machine, ns: {seal:.0} to seal 64 bytes with ChaCha20-Poly1305 (1 seal below), {:.0} for SHA-256 of 1 KiB,",
        sha_nanos()
    );
    println!("    {:.0} for the meter itself, which is in each call below", clock_nanos());
    let columns: Vec<Column> = sizes.iter().map(|&hosts| measure(hosts)).collect();
    print(&columns, seal);
    let growth = |hosts: u8| {
        let of = |hosts| columns.iter().find(|column| column.hosts == hosts).map(|column| column.nanos);
        Some((of(hosts)?, of(3)?))
    };
    for hosts in [63, 255] {
        if let Some((large, small)) = growth(hosts) {
            println!(
                "{hosts} hosts over 3: leader per host {:.2}, member per heartbeat {:.2}",
                large[PER_HOST] / small[PER_HOST],
                large[0] / small[0]
            );
        }
    }
    let (large, small) = growth(63).expect("invariant: 3 and 63 hosts are always measured");
    assert!(large[PER_HOST] <= GROWTH_MAX * small[PER_HOST], "a leader's work for one host grows with the cluster");
}

fn measure(hosts: u8) -> Column {
    let mut cluster = Cluster::boot(hosts);
    let leader = cluster.leader();
    let (member, origin) = ((leader + 1) % cluster.len(), (leader + 2) % cluster.len());
    let others = f64::from(hosts) - 1.0;
    let mut rounds: [Vec<f64>; ROWS.len()] = Default::default();
    for _ in 0..INTERVALS {
        cluster.interval();
        let (lead, follow) = (cluster.meter(leader), cluster.meter(member));
        assert!(lead.calls(Call::Datagram) == u32::from(hosts) - 1, "one heartbeat from each host in an interval");
        rounds[0].push(follow.network_nanos());
        rounds[1].push(lead.nanos(Call::Datagram) / others);
        rounds[2].push(lead.network_nanos());
        rounds[3].push(lead.network_nanos() / others);
        rounds[7].push(cluster.idle(leader, 10));
    }
    for change in 0..VIEW_CHANGES {
        let before = cluster.version();
        cluster.reset_meters();
        if change % 2 == 0 {
            cluster.leave_node(origin);
        } else {
            cluster.join_node(origin);
        }
        cluster.settle();
        assert!(cluster.version() == before + 1, "one view change, and everybody has it");
        rounds[5].push(cluster.meter(leader).network_nanos());
        rounds[6].push(cluster.meter(member).network_nanos());
        cluster.interval();
        rounds[4].push(cluster.meter(leader).network_nanos());
        cluster.interval();
    }
    for _ in 0..STATUS_ROUNDS {
        rounds[8].push(cluster.status(leader, Section::Summary, 1000));
        rounds[9].push(cluster.status(leader, Section::Hosts, 1000));
    }
    Column { hosts, nanos: rounds.map(least) }
}

fn print(columns: &[Column], seal: f64) {
    print!("\n{:<46}", "us (seals)");
    for column in columns {
        print!("{:>24}", format!("{} hosts", column.hosts));
    }
    println!();
    for (row, name) in ROWS.iter().enumerate() {
        print!("{name:<46}");
        for column in columns {
            let nanos = column.nanos[row];
            print!("{:>24}", format!("{:.2} ({:.1})", nanos / 1000.0, nanos / seal));
        }
        println!();
    }
    println!();
}

const fn size<T>() -> usize {
    size_of::<T>()
}

fn least(rounds: Vec<f64>) -> f64 {
    rounds.into_iter().fold(f64::INFINITY, f64::min)
}

/// What `work` costs once, ns.
fn nanos_of(mut work: impl FnMut()) -> f64 {
    let batch = |_| {
        let begin = Clock::now();
        for _ in 0..100 {
            work();
        }
        begin.elapsed().as_secs_f64() * 1e9 / 100.0
    };
    least((0..200).map(batch).collect())
}

/// What every datagram costs at least, at each end.
fn seal_nanos() -> f64 {
    let (key, mut sequence) = (Key::from([7; 32]), 0u64);
    let mut text = [0x5a; 64];
    nanos_of(|| {
        sequence += 1;
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&sequence.to_le_bytes());
        let cipher = ChaCha20Poly1305::new(black_box(&key));
        let tag = cipher.encrypt_inout_detached(&Nonce::from(nonce), b"head", text.as_mut_slice().into());
        let _ = black_box(tag);
    })
}

fn sha_nanos() -> f64 {
    let text = [0x5a; 1024];
    nanos_of(|| {
        let _ = black_box(Sha256::digest(black_box(&text)));
    })
}

fn clock_nanos() -> f64 {
    nanos_of(|| {
        let _ = black_box(Clock::now().elapsed());
    })
}
