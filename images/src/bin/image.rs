//! `cargo image`: builds the images, and says how large the appliance's is and what memory it takes.

use std::process::ExitCode;

use palisade_images::appliance::{self, Kind};
use palisade_images::{Error, House, audit, map, node, reproducible};

const HELP: &str = "\
cargo image [appliance | node] [--faults] [--quiet] [--reproducible] [--lint] [--audit]

Builds target/images/palisade.elf, which boots with

  qemu-system-x86_64 -M pc -m 32 -cpu max -kernel target/images/palisade.elf -nodefaults -display none \\
      -serial file:serial.log -device isa-debug-exit,iobase=0xf4 -accel tcg,tb-size=16

and target/images/node/{vmlinux,initrd.img}, the node. With a word, only that one.

  --faults        builds target/images/palisade-faults.elf instead: the test image with doors for deliberate faults
  --quiet         does not print the memory map
  --reproducible  builds a second time in another folder and compares the bytes
  --lint          builds nothing, but runs the linter over unikernel and loader
  --audit         checks what the unikernel calls (images/kernel-calls.txt), and that no function can call itself

PALISADE_RUSTC names the compiler to use, if the first one that is found is not the right one.
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let house = House::here();
    let (mut kind, mut quiet, mut twice) = (Kind::Product, false, false);
    let (mut with_appliance, mut with_node) = (true, true);
    for argument in arguments {
        match argument.as_str() {
            "appliance" => with_node = false,
            "node" => with_appliance = false,
            "--faults" => (kind, with_node) = (Kind::Faults, false),
            "--quiet" => quiet = true,
            "--reproducible" => twice = true,
            "--lint" => return appliance::lint(&house),
            "--audit" => return check(&house),
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(Error(format!("unknown argument {other}; see `cargo image --help`"))),
        }
    }
    if twice {
        let pair = reproducible::check(&house)?;
        println!("the same {} bytes:\n  {}\n  {}", pair.size, pair.here.display(), pair.elsewhere.display());
        return Ok(());
    }
    if with_node {
        let image = node::build(&house)?;
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |about| about.len());
        println!("{}: {} bytes", image.kernel.display(), size(&image.kernel));
        println!("{}: {} bytes", image.initrd.display(), size(&image.initrd));
    }
    if !with_appliance {
        return Ok(());
    }
    let image = appliance::build(&house, kind)?;
    println!("{}: {} bytes", image.path.display(), image.size);
    if !quiet {
        print!("{}", map::read(&house, &image)?);
    }
    Ok(())
}

/// Says what the audit finds; anything found is an error.
fn check(house: &House) -> Result<(), Error> {
    let found = audit::check(house)?;
    for finding in &found {
        println!("{finding}");
    }
    if found.is_empty() {
        println!("every call is on the list, nothing asks for memory, no function calls itself");
        return Ok(());
    }
    Err(Error(format!("{} findings", found.len())))
}
