//! `cargo sim`: many seeds of the simulator on all cores, or one with its trace.
//!
//! Owns what a person sees of it. Must never end well when a seed failed, and never hide which one, or how to replay it.

use palisade_tests::sim::calm::{self, Calm, calm};
use palisade_tests::sim::coverage::Coverage;
use palisade_tests::sim::node_down::{WAYS, measure, percentile};
use palisade_tests::sim::story::{Report, shape_of, told};
use palisade_tests::sim::{Micros, Trace};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const HELP: &str = "\
cargo sim [--seeds N] [--from S] [--hosts H] [--nodes K] [--calm] [--trace]
cargo sim --node-down [--hosts H] [--seeds N]

  --seeds N    runs so many seeds; 1000 unless told
  --from S     begins with this seed; 1 unless told
  --hosts H    gives every run so many hosts, 2 to 255; 2 to 16, by the seed, unless told
  --nodes K    gives every host so many nodes, 1 to 8; mostly one, by the seed, unless told
  --calm       runs what must fence nobody (L3) instead of faults first and then peace
  --trace      prints what happens, in order; for one seed
  --node-down  prints the time from a death to the last NODE_DOWN, for 3, 16, 64 and 255 hosts unless told, after N deaths each

The exit status is 0 if every seed held, 1 if one failed, 2 for a bad argument.
";

/// Failures after which no further seed is begun: more of them say nothing new.
const FAILURES_MAX: usize = 20;
/// Stack of a thread that runs worlds.
const STACK_BYTES: usize = 64 << 20;
/// Characters of the progress bar.
const BAR: u64 = 30;

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Wish {
    seeds: Option<u64>,
    from: u64,
    hosts: Option<u8>,
    nodes: Option<u8>,
    calm: bool,
    trace: bool,
    node_down: bool,
}

impl Wish {
    fn count(&self) -> u64 {
        self.seeds.unwrap_or(1000)
    }

    /// The arguments that make a run what it is, beside its seed.
    fn replay(&self) -> String {
        let hosts = self.hosts.map(|hosts| format!(" --hosts {hosts}")).unwrap_or_default();
        let nodes = self.nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
        format!("{hosts}{nodes}{}", if self.calm { " --calm" } else { "" })
    }
}

fn main() -> ExitCode {
    match understand(std::env::args().skip(1)) {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some(wish)) => {
            std::panic::set_hook(Box::new(|panic| {
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                PLACE.with_borrow_mut(|last| *last = place);
            }));
            if wish.node_down { node_down(&wish) } else { run(&wish) }
        }
        Err(sentence) => {
            eprintln!("sim: {sentence}; see `cargo sim --help`");
            ExitCode::from(2)
        }
    }
}

fn understand(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wish>, String> {
    let mut wish = Wish { seeds: None, from: 1, hosts: None, nodes: None, calm: false, trace: false, node_down: false };
    while let Some(argument) = arguments.next() {
        let mut number = |least: u64, most: u64| -> Result<u64, String> {
            let text = arguments.next().ok_or(format!("{argument} needs a number"))?;
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            number.ok_or(format!("{argument} is a number from {least} to {most}, and `{text}` is none"))
        };
        let small = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
        match argument.as_str() {
            "--seeds" => wish.seeds = Some(number(1, 1 << 40)?),
            "--from" => wish.from = number(0, 1 << 60)?,
            "--hosts" => wish.hosts = Some(small(number(2, 255)?)),
            "--nodes" => wish.nodes = Some(small(number(1, 8)?)),
            "--calm" => wish.calm = true,
            "--trace" => wish.trace = true,
            "--node-down" => wish.node_down = true,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("`{other}` is no argument")),
        }
    }
    if wish.trace && wish.count() != 1 {
        return Err("--trace is for one seed: add `--seeds 1`".to_owned());
    }
    Ok(Some(wish))
}

/// One seed: what it was like, or the sentence of the checker.
fn one(wish: &Wish, seed: u64) -> Result<Report, String> {
    let shape = shape_of(seed, wish.hosts, wish.nodes);
    let trace = if wish.trace { Trace::Printed } else { Trace::Off };
    let tell = || {
        if !wish.calm {
            return told(shape, seed, trace);
        }
        let kind = calm::KINDS[usize::try_from(seed).unwrap_or(0) % calm::KINDS.len()];
        let micros = calm(shape, kind, seed, trace);
        Report { micros, counts: BTreeMap::from([(name(kind), 1)]), ..Report::default() }
    };
    std::panic::catch_unwind(tell).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default();
        let place = PLACE.with_borrow(String::clone);
        format!("{} ({place})", said.trim_end())
    })
}

const fn name(kind: Calm) -> &'static str {
    match kind {
        Calm::LossyLink => "calm: 30 % loss on one link",
        Calm::DeadLink => "calm: one link dead",
        Calm::Stalls => "calm: appliances stall",
        Calm::Pauses => "calm: appliances are paused",
        Calm::LeaderDies => "calm: the leader's appliance dies",
        Calm::RollingRestart => "calm: rolling restart",
        Calm::ColdStart => "calm: all appliances restart at once, and only sessions remember",
        Calm::AllAtOnce => "calm: loss, drift and stalls at once",
        Calm::DlmCuts => "calm: DLMs cut off for less than their time",
    }
}

/// All of them: counts, and failures by seed.
#[derive(Default)]
struct Sum {
    held: u64,
    failed: BTreeMap<u64, String>,
    micros: u64,
    counts: BTreeMap<&'static str, u64>,
    coverage: Coverage,
}

impl Sum {
    fn done(&self) -> u64 {
        self.held + u64::try_from(self.failed.len()).unwrap_or(u64::MAX)
    }

    fn add(&mut self, wish: &Wish, seed: u64, outcome: Result<Report, String>) {
        match outcome {
            Ok(report) => {
                self.held += 1;
                self.micros += report.micros;
                self.coverage.add(&report.coverage);
                for (what, count) in report.counts {
                    *self.counts.entry(what).or_default() += count;
                }
            }
            Err(sentence) => {
                clear();
                println!("seed {seed} failed: {sentence}");
                println!("  replay: cargo sim --from {seed} --seeds 1{} --trace", wish.replay());
                self.failed.insert(seed, sentence);
            }
        }
    }

    fn rate(&self, begun: Instant) -> String {
        let seconds = begun.elapsed().as_secs_f64().max(0.001);
        let simulated = self.micros as f64 / 1e6;
        format!(
            "{:.1} runs/s, {simulated:.0} simulated s, {:.0} times real time",
            self.done() as f64 / seconds,
            simulated / seconds
        )
    }
}

fn run(wish: &Wish) -> ExitCode {
    let begun = Instant::now();
    let (next, stop) = (AtomicU64::new(wish.from), AtomicBool::new(false));
    let end = wish.from + wish.count();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..cores {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            // An engine is built on the stack before it has its box, and it is large.
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            let begun = thread.spawn_scoped(scope, move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send((seed, one(wish, seed))).is_err() {
                        break;
                    }
                }
            });
            begun.expect("a thread for each core");
        }
        drop(sender);
        let every = Duration::from_secs(if std::io::stderr().is_terminal() { 1 } else { 30 });
        let mut shown = Instant::now();
        for (seed, outcome) in results {
            sum.add(wish, seed, outcome);
            stop.store(sum.failed.len() >= FAILURES_MAX, Ordering::Relaxed);
            if shown.elapsed() >= every {
                shown = Instant::now();
                progress(&sum, wish, begun);
            }
        }
    });
    print_sum(&sum, wish, begun)
}

fn clear() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

fn progress(sum: &Sum, wish: &Wish, begun: Instant) {
    let (done, all) = (sum.done(), wish.count());
    let line = format!("{done} of {all} seeds, {} failed, {}", sum.failed.len(), sum.rate(begun));
    if std::io::stderr().is_terminal() {
        let full = done * BAR / all.max(1);
        let bar: String = (0..BAR).map(|at| if at < full { '#' } else { '.' }).collect();
        eprint!("\r\x1b[K[{bar}] {line}");
        let _ = std::io::stderr().flush();
    } else {
        eprintln!("{line}");
    }
}

fn print_sum(sum: &Sum, wish: &Wish, begun: Instant) -> ExitCode {
    clear();
    for (what, count) in &sum.counts {
        println!("{count:>12}  {what}");
    }
    if !wish.calm {
        let (reached, known, missing) = sum.coverage.sum();
        println!(
            "coverage: {reached} of {known} known changes of nodes, hosts, roles, groups, takeovers, holds and proofs reached"
        );
        for (what, names) in [("not reached", missing), ("reached, and in no list", sum.coverage.unknown())] {
            if !names.is_empty() {
                println!("  {what}: {}", names.join("; "));
            }
        }
    }
    println!("{} in {:.1} s", sum.rate(begun), begun.elapsed().as_secs_f64());
    let last = wish.from + wish.count() - 1;
    println!("seeds {} to {last}: {} held, {} failed", wish.from, sum.held, sum.failed.len());
    if sum.failed.is_empty() && sum.held == wish.count() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn node_down(wish: &Wish) -> ExitCode {
    let sizes = wish.hosts.map_or(vec![3, 16, 64, 255], |hosts| vec![hosts]);
    println!("simulated time from a death to NODE_DOWN on each survivor, ms; a BMC takes 100 ms");
    println!("{:>6} {:<8} {:>8} {:>8} {:>8} {:>9}", "hosts", "death", "p50", "p99", "longest", "survivors");
    for hosts in sizes {
        // So that each line rests on some hundred survivors.
        let deaths = wish.seeds.and_then(|seeds| usize::try_from(seeds).ok());
        let deaths = deaths.unwrap_or(if hosts > 100 { 2 } else { 1 + 120 / usize::from(hosts) });
        for way in WAYS {
            let Ok(waited) = std::panic::catch_unwind(|| measure(hosts, way, deaths, wish.from)) else {
                println!("{hosts:>6} {way:<8?} failed");
                return ExitCode::FAILURE;
            };
            let ms = |micros: Micros| micros as f64 / 1000.0;
            let [p50, p99, longest] = [50, 99, 100].map(|percent| ms(percentile(&waited, percent)));
            let way = format!("{way:?}");
            println!("{hosts:>6} {way:<8} {p50:>8.1} {p99:>8.1} {longest:>8.1} {:>9}", waited.len());
        }
    }
    ExitCode::SUCCESS
}
