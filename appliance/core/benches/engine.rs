//! What the core costs, for clusters of 3 to 255 hosts: memory, heartbeats, a view change as a delta and whole, requests.
//!
//! Owns the table. Engines are the real ones, in memory (`cluster`); each time is the least of many rounds, because what
//! else a machine does only adds, in microseconds and, because machines differ, in multiples of sealing one datagram on the
//! same machine in the same run.
//! Must never assert a time: the only assertions are about growth. A leader's work for one host does not grow with the
//! cluster, neither in a heartbeat interval nor in a view change; a member's work in an interval does not grow at all; a view
//! change costs each member one datagram. `cargo bench` measures all sizes; `cargo test` runs the same for two.

mod cluster;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use cluster::{Call, Cluster, REQUESTS};
use palisade_core::config::Config;
use palisade_core::engine::Engine;
use palisade_core::limits::HOSTS_MAX;
use palisade_core::state::STATE_BYTES_MAX;
use palisade_core::wire::message::PIECE_BYTES;
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
/// A large cluster, for `cargo test` too.
const LARGE: u8 = 64;
/// How much dearer one host, or a member's heartbeat, may be in a large cluster than in one of 3. Linear work keeps this
/// near one; the room is for a busy machine.
const GROWTH_MAX: f64 = 10.0;
/// Datagrams of one view change for each host, both ways: DELTA, ACCEPT, COMMIT, another COMMIT to those who accepted after the
/// quorum (theirs may have come too early), and the heartbeat and answer of the one that began it.
const DATAGRAMS_MAX: f64 = 6.0;

/// What is measured, each in nanoseconds.
const ROWS: [&str; 14] = [
    "member: one heartbeat sent, its answer taken",
    "leader: one heartbeat taken and answered",
    "leader: one heartbeat interval, all hosts",
    "leader: one heartbeat interval, per other host",
    "leader: the interval after a view change",
    "leader: one view change, until all have it",
    "leader: one view change, per other host",
    "member: one view change, accepted and learned",
    "leader: the whole state to one member",
    "member: the whole state taken",
    "leader: one turn at which nothing is due",
    "leader: 1000 STATUS requests, summary",
    "leader: 1000 STATUS requests, hosts",
    "leader: 1000 requests of all kinds",
];
const MEMBER: usize = 0;
const PER_HOST: usize = 3;
const CHANGE_PER_HOST: usize = 6;
const _: () = assert!(REQUESTS == 1000, "as the last row says");
/// The rows of `ROWS` that must not grow with the cluster.
const FLAT: [usize; 3] = [MEMBER, PER_HOST, CHANGE_PER_HOST];

/// What goes over the network.
const TRAFFIC: [&str; 4] = [
    "a heartbeat interval: datagrams, bytes",
    "a view change: datagrams, bytes",
    "a view change, per other host: datagrams, bytes",
    "the whole state to one member: datagrams, bytes",
];
/// The row of `TRAFFIC` that must not grow with the cluster.
const TRAFFIC_PER_HOST: usize = 2;

/// One size of cluster.
struct Column {
    hosts: u8,
    nanos: [f64; ROWS.len()],
    traffic: [(f64, f64); TRAFFIC.len()],
}

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u8] = if bench { &[3, 16, LARGE, 255] } else { &[3, LARGE] };
    let seal = seal_nanos();
    print_memory();
    println!(
        "on this machine, ns: {seal:.0} to seal 64 bytes with ChaCha20-Poly1305 (1 seal below), {:.0} for SHA-256 of 1 KiB,",
        sha_nanos()
    );
    println!("    {:.0} for the meter itself, which is in each call below", clock_nanos());
    let columns: Vec<Column> = sizes.iter().map(|&hosts| measure(hosts)).collect();
    print(&columns, seal);
    let small = columns.first().expect("invariant: 3 hosts are always measured");
    for large in &columns[1..] {
        let growth = |row: usize| large.nanos[row] / small.nanos[row];
        println!(
            "{} hosts over 3: member per heartbeat {:.2}, leader per host {:.2}, in a view change {:.2}",
            large.hosts,
            growth(MEMBER),
            growth(PER_HOST),
            growth(CHANGE_PER_HOST)
        );
        for row in FLAT {
            assert!(growth(row) <= GROWTH_MAX, "grows with the cluster: {}", ROWS[row]);
        }
        let (datagrams, _) = large.traffic[TRAFFIC_PER_HOST];
        assert!(datagrams <= DATAGRAMS_MAX, "a view change takes {datagrams} datagrams for each host");
    }
}

fn print_memory() {
    println!(
        "memory, bytes: {} for the engine at its limits, {} for each of {HOSTS_MAX} hosts; of that",
        size::<Engine>(),
        size::<Engine>() / HOSTS_MAX
    );
    let parts = Engine::parts();
    let [parts @ .., (_, all)] = &parts;
    for (part, bytes) in parts {
        println!("{bytes:>12}  {part}");
    }
    println!("{:>12}  the rest", all - parts.iter().map(|(_, bytes)| bytes).sum::<usize>());
    println!(
        "    beside it {} for the configuration; the largest state has {STATE_BYTES_MAX} bytes in {} pieces",
        size::<Config>(),
        STATE_BYTES_MAX.div_ceil(PIECE_BYTES)
    );
}

/// Answers to drills that may come to a leader in one interval beside the heartbeats: drills are spread evenly.
const DRILLS_MAX: u32 = 2;

fn measure(hosts: u8) -> Column {
    let mut cluster = Cluster::boot(hosts);
    let leader = cluster.leader();
    let (member, origin) = ((leader + 1) % cluster.len(), (leader + 2) % cluster.len());
    let others = f64::from(hosts) - 1.0;
    let mut rounds: [Vec<f64>; ROWS.len()] = Default::default();
    let mut traffic = [(f64::INFINITY, f64::INFINITY); TRAFFIC.len()];
    for _ in 0..INTERVALS {
        cluster.interval();
        let (lead, follow) = (cluster.meter(leader), cluster.meter(member));
        let (calls, heartbeats) = (lead.calls(Call::Datagram), u32::from(hosts) - 1);
        let expected = heartbeats..=heartbeats + DRILLS_MAX;
        assert!(
            expected.contains(&calls),
            "one heartbeat from each of {hosts} hosts in an interval, and {calls} datagrams came"
        );
        rounds[MEMBER].push(follow.network_nanos());
        rounds[1].push(lead.nanos(Call::Datagram) / others);
        rounds[2].push(lead.network_nanos());
        rounds[PER_HOST].push(lead.network_nanos() / others);
        lower(&mut traffic[0], cluster.traffic(), 1.0);
        rounds[10].push(cluster.idle(leader, 10));
    }
    for change in 0..VIEW_CHANGES {
        change_view(&mut cluster, origin, change);
        rounds[5].push(cluster.meter(leader).network_nanos());
        rounds[CHANGE_PER_HOST].push(cluster.meter(leader).network_nanos() / others);
        rounds[7].push(cluster.meter(member).network_nanos());
        lower(&mut traffic[1], cluster.traffic(), 1.0);
        lower(&mut traffic[TRAFFIC_PER_HOST], cluster.traffic(), others);
        cluster.interval();
        rounds[4].push(cluster.meter(leader).network_nanos());
        cluster.interval();
    }
    let usual = (least(&rounds[2]), least(&rounds[MEMBER]));
    for _ in 0..VIEW_CHANGES {
        // Who missed two views holds no base that a delta is made for.
        cluster.deafen(member, true);
        change_view(&mut cluster, origin, 0);
        cluster.interval();
        change_view(&mut cluster, origin, 1);
        cluster.deafen(member, false);
        cluster.interval();
        assert!(cluster.version() == cluster.newest(), "the member has it all again");
        rounds[8].push((cluster.meter(leader).network_nanos() - usual.0).max(0.0));
        rounds[9].push((cluster.meter(member).network_nanos() - usual.1).max(0.0));
        let (datagrams, bytes) = cluster.traffic();
        lower(&mut traffic[3], (datagrams, bytes), 1.0);
        cluster.interval();
    }
    // The interval's own heartbeats are not the state's.
    traffic[3] = (traffic[3].0 - traffic[0].0, traffic[3].1 - traffic[0].1);
    for _ in 0..STATUS_ROUNDS {
        rounds[11].push(cluster.status(leader, Section::Summary, 1000));
        rounds[12].push(cluster.status(leader, Section::Hosts, 1000));
    }
    rounds[13].push(cluster.requests(leader, member));
    Column { hosts, nanos: rounds.each_ref().map(|round| least(round)), traffic }
}

/// The node of this host leaves, or comes back: one view change, and everybody who hears has it.
fn change_view(cluster: &mut Cluster, origin: usize, change: usize) {
    let before = cluster.newest();
    cluster.reset_meters();
    if change.is_multiple_of(2) {
        cluster.leave_node(origin);
    } else {
        cluster.join_node(origin);
    }
    cluster.settle();
    assert!(cluster.newest() == before + 1, "one view change");
}

fn lower(least: &mut (f64, f64), traffic: (usize, usize), over: f64) {
    let (datagrams, bytes) = (traffic.0 as f64 / over, traffic.1 as f64 / over);
    *least = (least.0.min(datagrams), least.1.min(bytes));
}

fn print(columns: &[Column], seal: f64) {
    let head = |title: &str| {
        print!("\n{title:<48}");
        for column in columns {
            print!("{:>24}", format!("{} hosts", column.hosts));
        }
        println!();
    };
    head("us (seals)");
    for (row, name) in ROWS.iter().enumerate() {
        print!("{name:<48}");
        for column in columns {
            let nanos = column.nanos[row];
            print!("{:>24}", format!("{:.2} ({:.1})", nanos / 1000.0, nanos / seal));
        }
        println!();
    }
    head("over the network");
    for (row, name) in TRAFFIC.iter().enumerate() {
        print!("{name:<48}");
        for column in columns {
            let (datagrams, bytes) = column.traffic[row];
            print!("{:>24}", format!("{datagrams:.1}, {bytes:.0}"));
        }
        println!();
    }
    println!();
}

const fn size<T>() -> usize {
    size_of::<T>()
}

fn least(rounds: &[f64]) -> f64 {
    rounds.iter().copied().fold(f64::INFINITY, f64::min)
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
    least(&(0..200).map(batch).collect::<Vec<_>>())
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
