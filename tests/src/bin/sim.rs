//! `cargo sim`: many seeds of the simulator on all cores, or one with its trace.
//!
//! Owns what a person sees of it. Must never end well when a seed failed, and never hide which one, or how to replay it.

use palisade_tests::sim::Trace;
use palisade_tests::sim::coverage::Coverage;
use palisade_tests::sim::story::{Report, shape_of, told};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const HELP: &str = "\
cargo sim [--seeds N] [--from S] [--hosts H] [--nodes K] [--trace]

  --seeds N  runs so many seeds; 1000 unless told
  --from S   begins with this seed; 1 unless told
  --hosts H  gives every run so many hosts, 3 to 255; 3 to 16, by the seed, unless told
  --nodes K  gives every host so many nodes, 1 to 8; mostly one, by the seed, unless told
  --trace    prints what happens, in order; for one seed

Each run is faults first, then peace. The exit status is 0 if every seed held, 1 if one failed, 2 for a bad argument.
";

/// Failures after which no further seed is begun: more of them say nothing new.
const FAILURES_MAX: usize = 20;

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Wish {
    seeds: u64,
    from: u64,
    hosts: Option<u8>,
    nodes: Option<u8>,
    trace: bool,
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
            run(&wish)
        }
        Err(sentence) => {
            eprintln!("sim: {sentence}; see `cargo sim --help`");
            ExitCode::from(2)
        }
    }
}

fn understand(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wish>, String> {
    let mut wish = Wish { seeds: 1000, from: 1, hosts: None, nodes: None, trace: false };
    while let Some(argument) = arguments.next() {
        let mut number = |what: &str| -> Result<u64, String> {
            let text = arguments.next().ok_or(format!("{what} needs a number"))?;
            text.parse().map_err(|_| format!("{what} needs a number, and `{text}` is none"))
        };
        match argument.as_str() {
            "--seeds" => wish.seeds = number("--seeds")?,
            "--from" => wish.from = number("--from")?,
            "--hosts" => {
                let hosts = u8::try_from(number("--hosts")?).ok().filter(|hosts| *hosts >= 3);
                wish.hosts = Some(hosts.ok_or("--hosts is a number from 3 to 255")?);
            }
            "--nodes" => {
                let nodes = u8::try_from(number("--nodes")?).ok().filter(|nodes| (1..=8).contains(nodes));
                wish.nodes = Some(nodes.ok_or("--nodes is a number from 1 to 8")?);
            }
            "--trace" => wish.trace = true,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("`{other}` is no argument")),
        }
    }
    if wish.seeds == 0 {
        return Err("--seeds 0 checks nothing".to_owned());
    }
    if wish.from.checked_add(wish.seeds).is_none() {
        return Err("--from and --seeds go beyond the last seed".to_owned());
    }
    if wish.trace && wish.seeds != 1 {
        return Err("--trace is for one seed: add `--seeds 1`".to_owned());
    }
    Ok(Some(wish))
}

/// One seed: what it was like, or the sentence of the checker.
fn one(wish: &Wish, seed: u64) -> Result<Report, String> {
    let shape = shape_of(seed, wish.hosts, wish.nodes);
    let trace = if wish.trace { Trace::Printed } else { Trace::Off };
    std::panic::catch_unwind(|| told(shape, seed, trace)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default();
        let place = PLACE.with_borrow(String::clone);
        format!("{} ({place})", said.trim_end())
    })
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
                let hosts = wish.hosts.map(|hosts| format!(" --hosts {hosts}")).unwrap_or_default();
                let nodes = wish.nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
                println!("seed {seed} failed: {sentence}");
                println!("  replay: cargo sim --from {seed} --seeds 1{hosts}{nodes} --trace");
                self.failed.insert(seed, sentence);
            }
        }
    }

    fn rate(&self, begun: Instant) -> String {
        let seconds = begun.elapsed().as_secs_f64().max(0.001);
        let runs = self.held + u64::try_from(self.failed.len()).unwrap_or(u64::MAX);
        let simulated = self.micros as f64 / 1e6;
        format!(
            "{:.1} runs/s, {simulated:.0} simulated s, {:.0} times real time",
            runs as f64 / seconds,
            simulated / seconds
        )
    }
}

fn run(wish: &Wish) -> ExitCode {
    let begun = Instant::now();
    let (next, stop) = (AtomicU64::new(wish.from), AtomicBool::new(false));
    let end = wish.from + wish.seeds;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..cores {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send((seed, one(wish, seed))).is_err() {
                        break;
                    }
                }
            });
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

fn progress(sum: &Sum, wish: &Wish, begun: Instant) {
    let done = sum.held + u64::try_from(sum.failed.len()).unwrap_or(u64::MAX);
    let line = format!("{done} of {} seeds, {} failed, {}", wish.seeds, sum.failed.len(), sum.rate(begun));
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
        let _ = std::io::stderr().flush();
    } else {
        eprintln!("{line}");
    }
}

fn print_sum(sum: &Sum, wish: &Wish, begun: Instant) -> ExitCode {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    for (what, count) in &sum.counts {
        println!("{count:>12}  {what}");
    }
    let (reached, known, missing) = sum.coverage.sum();
    println!("coverage: {reached} of {known} known changes of nodes, hosts, roles and proofs reached");
    for (what, names) in [("not reached", missing), ("reached, and in no list", sum.coverage.unknown())] {
        if !names.is_empty() {
            println!("  {what}: {}", names.join("; "));
        }
    }
    println!("{} in {:.1} s", sum.rate(begun), begun.elapsed().as_secs_f64());
    let last = wish.from + wish.seeds - 1;
    println!("seeds {} to {last}: {} held, {} failed", wish.from, sum.held, sum.failed.len());
    if sum.failed.is_empty() && sum.held == wish.seeds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
