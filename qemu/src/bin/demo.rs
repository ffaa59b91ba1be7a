//! `cargo demo`: the main job on real VMs, from a bare machine to a table and a picture.
//!
//! Owns what a person reads. Exit status: 0 if every scene held, 1 if one did not, 2 for a bad argument.

use palisade_qemu::args::{self, Args};
use palisade_qemu::bmc::Bmc;
use palisade_qemu::cluster::Cluster;
use palisade_qemu::plan::{BMC_PASSWORD, BMC_USER};
use palisade_qemu::prepare::{self, Prepared};
use palisade_qemu::show::{self, Played, Programme};
use palisade_qemu::{picture, rundir, stall, stop, table};
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the machine is watched before anything runs.
const LOOK: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(sentence) => {
            eprintln!("demo: {sentence}");
            return ExitCode::from(2);
        }
    };
    if let Some(text) = &args.say {
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) if stop::wanted() => {
            eprintln!("demo: {sentence}");
            ExitCode::from(130)
        }
        Err(sentence) => {
            eprintln!("demo: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    let prepared = prepare::prepare(&|line| println!("{line}"))?;
    // Only now: until here a Ctrl-C may simply end us, and the builds with us.
    stop::listen().map_err(|error| format!("Ctrl-C cannot be caught: {error}"))?;
    let factor = choose_factor();
    let programme =
        Programme { name: "demo".to_owned(), scenes: args.scenes.clone(), rounds: args.repeat, factor, live: true };
    let start = Instant::now();
    let played = show::play(&programme, &prepared.artefacts)?;
    let idle = show::idle(&played.cluster)?;
    report(&played, &prepared, &idle, args.repeat, start.elapsed())?;
    if args.keep {
        keep(&played.cluster);
    } else if played.held() {
        print!("{}", show::account(&played.cluster)?);
    }
    Ok(played.held())
}

/// Looks how steadily the machine runs, and says by how much the cluster's times are scaled.
fn choose_factor() -> u32 {
    let worst = stall::measure(LOOK);
    let factor = stall::factor(worst);
    let worst = table::millis(Some(worst));
    if factor == 1 {
        println!("The machine's longest stall in two seconds is {worst} ms: the default times are used (factor 1).");
    } else {
        println!(
            "The machine's longest stall in two seconds is {worst} ms, more than the default times tolerate: all times \
             are scaled by the factor {factor}."
        );
    }
    factor
}

fn report(played: &Played, prepared: &Prepared, idle: &str, rounds: u32, took: Duration) -> Result<(), String> {
    let nodes = played.nodes();
    println!("\nTimes in milliseconds from the deed; `told nN`: NODE_DOWN on node N.\n");
    print!("{}", table::one_round(&played.outcomes, &nodes));
    println!(
        "\nThe group of the volume, on the last survivor each: locks stopped, started without the dead, recovered, a write \
         that was held up returned; who replayed its journal; who runs the service; the group is whole again.\n"
    );
    print!("{}", table::groups_of_one_round(&played.outcomes));
    if rounds > 1 {
        println!("\nMedian and 99th percentile over {rounds} rounds:\n");
        print!("{}", table::many_rounds(&played.outcomes, &nodes));
        println!();
        print!("{}", table::groups_of_many_rounds(&played.outcomes));
    }
    println!("\n{}", show::remarks(&played.outcomes).trim_end());
    print!("{idle}");
    println!("appliance VM: 32 MiB; image: {} bytes; guests under {}", prepared.image_bytes, prepared.accelerator);
    let picture = rundir::target_dir().join("demo").join("timeline.svg");
    let save = || -> io::Result<()> {
        std::fs::create_dir_all(rundir::target_dir().join("demo"))?;
        std::fs::write(&picture, picture::draw(&played.outcomes))
    };
    save().map_err(|error| format!("the picture {} cannot be written: {error}", picture.display()))?;
    println!("picture of the timeline: {}", picture.display());
    println!("files of the last run: {}", played.cluster.directory().display());
    println!("the scenes took {} s", took.as_secs());
    let lost = played.outcomes.iter().filter(|outcome| !outcome.held()).count();
    match lost {
        0 => println!("Every scene held."),
        1 => println!("One scene did not hold."),
        _ => println!("{lost} scenes did not hold."),
    }
    Ok(())
}

/// Says how to talk to the cluster, and waits for Ctrl-C.
fn keep(cluster: &Cluster) {
    println!("\nThe cluster keeps running until Ctrl-C. Talk to it from another terminal:\n");
    for host in cluster.hosts() {
        let id = host.id();
        println!("  cargo run --release -p palisade-ctl -- status --socket {}", cluster.vsock(id).display());
        if let Ok(port) = cluster.bmc(id).map(Bmc::port) {
            println!(
                "  ipmitool -I lanplus -C 3 -H 127.0.0.1 -p {port} -U {BMC_USER} -P {BMC_PASSWORD} chassis power status"
            );
        }
        for node in cluster.plan().nodes_of(id) {
            println!("  tail -f {}", cluster.console(id, node.id).display());
        }
    }
    while stop::sleep(Duration::from_secs(3600)).is_ok() {}
}
