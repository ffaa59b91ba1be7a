//! `palisade-node`: a Linux program that speaks the node protocol for the node that it runs in.
//!
//! Owns a node's session with the appliance of its host where tests want the protocol without OCFS2, and requests from inside
//! a node. A user process can starve where the kernel module cannot, so it must never be what a write depends on.

mod ask;
mod boot;
mod channel;
mod command;
mod console;
mod dlm;
mod drive;
mod event;
mod group;
mod label;
mod run;
mod session;
mod sys;
mod takeover;

use std::path::PathBuf;
use std::process::ExitCode;

use dlm::How;
use palisade_core::id::NodeId;
use run::Wish;

const HELP: &str = "\
palisade-node run [--node N] [--channel /dev/hvcN] [--drive locked|shell]
    speaks for node N (else palisade.node= of the kernel's command line) on the channel (else the virtio console in
    its PCI slot), opens the volumes of palisade.volumes=V,V (names or UUIDs) on the kernel's command line, prints
    events, and takes commands on standard input, on vsock port 7650 and from the calls below; with --drive it takes
    none, and drives the kernel's DLM for the one volume that is named, as soon as that is mounted: by itself, locked
    in memory, or with a shell for each step
palisade-node panic | hang | reset | status [--over channel|vsock] | fence node N | fence host N |
              join VOLUME | leave VOLUME | groups
    gives the command to the client that runs in this node
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("run") => parse_run(&arguments).and_then(run::run),
        Some("--help" | "-h" | "help") | None => {
            print!("{HELP}");
            Ok(())
        }
        Some(_) => ask_the_client(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("palisade-node: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn parse_run(arguments: &[String]) -> Result<Wish, String> {
    let mut node = boot::kernel_option("palisade.node");
    let (mut channel, mut drive) = (None, None);
    let mut rest = arguments.iter().skip(1);
    while let Some(name) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--node" => node = Some(value.clone()),
            "--channel" => channel = Some(PathBuf::from(value)),
            "--drive" => drive = Some(How::parse(value).ok_or("--drive is locked or shell")?),
            _ => return Err(format!("unknown argument {name}\n{HELP}")),
        }
    }
    let node = node.ok_or("which node is this? --node N, or palisade.node=N on the kernel's command line")?;
    match node.parse() {
        Ok(number) if number > 0 => Ok(Wish { node: NodeId::new(number), channel, drive }),
        _ => Err(format!("`{node}` is no node number: 1 to 255")),
    }
}

fn ask_the_client(arguments: &[String]) -> Result<(), String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    command::Command::parse(&words)?;
    let lines = command::send(arguments)
        .map_err(|error| format!("no client runs in this node ({}): {error}", command::SOCKET))?;
    for line in &lines {
        println!("{line}");
    }
    match lines.last() {
        Some(last) if last.starts_with("OK") => Ok(()),
        _ => Err("the client did not carry it out".to_owned()),
    }
}
