//! `cargo image`: builds the appliance's image and says how large it is and what memory it takes.

use std::process::ExitCode;

use palisade_images::appliance::{self, Kind};
use palisade_images::{Error, House};

const HELP: &str = "\
cargo image [--faults] [--quiet]

Builds target/images/palisade.elf, which boots with

  qemu-system-x86_64 -M pc -m 32 -cpu max -kernel target/images/palisade.elf -nodefaults -display none \\
      -serial file:serial.log -device isa-debug-exit,iobase=0xf4 -accel tcg,tb-size=16

  --faults  builds target/images/palisade-faults.elf instead: the test image with doors for deliberate faults
  --quiet   does not print the memory map
";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Error> {
    let mut kind = Kind::Product;
    for argument in arguments {
        match argument.as_str() {
            "--faults" => kind = Kind::Faults,
            "--quiet" => {}
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(Error(format!("unknown argument {other}; see `cargo image --help`"))),
        }
    }
    let image = appliance::build(&House::here(), kind)?;
    println!("{}: {} bytes", image.path.display(), image.size);
    Ok(())
}
