//! `cargo image`: builds the appliance's image and says how large it is and what memory it takes.

use std::process::ExitCode;

use palisade_images::appliance::{self, Kind};
use palisade_images::{Error, House, map, reproducible};

const HELP: &str = "\
cargo image [--faults] [--quiet] [--reproducible]

Builds target/images/palisade.elf, which boots with

  qemu-system-x86_64 -M pc -m 32 -cpu max -kernel target/images/palisade.elf -nodefaults -display none \\
      -serial file:serial.log -device isa-debug-exit,iobase=0xf4 -accel tcg,tb-size=16

  --faults        builds target/images/palisade-faults.elf instead: the test image with doors for deliberate faults
  --quiet         does not print the memory map
  --reproducible  builds a second time in another folder and compares the bytes

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
    for argument in arguments {
        match argument.as_str() {
            "--faults" => kind = Kind::Faults,
            "--quiet" => quiet = true,
            "--reproducible" => twice = true,
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
    let image = appliance::build(&house, kind)?;
    println!("{}: {} bytes", image.path.display(), image.size);
    if !quiet {
        print!("{}", map::read(&house, &image)?);
    }
    Ok(())
}
