//! `palisade-checker`: what works on a node's volume while the cluster is hurt, and the door through which a test says what.
//!
//! Owns the words of its command line. It must never say that something is safe before the kernel said so.

mod append;
mod create;
mod door;
mod locks;
mod ping;
mod press;
mod sys;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use locks::{Bytes, Mode};

const HELP: &str = "\
palisade-checker append --file F --node N [--lock flock|posix] [--pause-ms 20] [--count N]
    locks F, appends a record that follows the last one, syncs, unlocks, and says so; for ever, or N times
palisade-checker create --dir D --node N [--pause-ms 20] [--count N]
    makes files in D, syncs each and D, and says so
palisade-checker list --dir D
    prints the names of the files that `create` made in D and that are whole
palisade-checker hold --file F [--lock flock|posix] [--bytes FIRST-LAST] --ms N
    locks F for so long; says when it has it
palisade-checker try --file F [--lock flock|posix] [--bytes FIRST-LAST]
    says whether the lock can be had at once
palisade-checker find --file F [--bytes FIRST-LAST]
    says whose POSIX lock stands against one of ours
palisade-checker time --file F [--lock flock|posix] [--bytes FIRST-LAST] --count N
    locks and unlocks N times, and says how long that takes
palisade-checker many --dir D --count N
    makes N empty files in D and looks at each
palisade-checker look --dir D
    looks at each file in D, so that the kernel keeps it in memory
palisade-checker hog --leave-kib N --grow-kib N [--pause-ms 20] [--after-ms 0]
    begins later, takes memory until N KiB are free, says so, and takes more after each pause; the kernel does not end it
palisade-checker forks [--pause-ms 20]
    starts a process after each pause and says how long that took
palisade-checker ping --port P [--count 1000] [--pause-ms 20]
    sends N messages to a vsock port of the host, which echoes them, and says how long they took
palisade-checker door
    takes commands on vsock port 7650: one line, run by the shell; what it prints is the answer
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("palisade-checker: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let word = arguments.first().map_or("help", String::as_str);
    let options = Options::read(arguments.get(1..).unwrap_or(&[]))?;
    match word {
        "append" => append::run(&options.path("--file")?, &options.writer()?, options.mode()?),
        "create" => create::run(&options.path("--dir")?, &options.writer()?),
        "list" => create::list(&options.path("--dir")?),
        "hold" => locks::hold(&options.path("--file")?, options.mode()?, options.bytes()?, options.pause("--ms", 0)?),
        "try" => locks::attempt(&options.path("--file")?, options.mode()?, options.bytes()?),
        "find" => locks::find(&options.path("--file")?, options.bytes()?),
        "time" => {
            let count = options.number("--count", None)?;
            locks::time(&options.path("--file")?, options.mode()?, options.bytes()?, count)
        }
        "many" => press::many(&options.path("--dir")?, options.number("--count", None)?),
        "look" => press::look(&options.path("--dir")?),
        "hog" => press::hog(
            options.number("--leave-kib", None)?,
            options.number("--grow-kib", None)?,
            options.pause("--pause-ms", 20)?,
            options.pause("--after-ms", 0)?,
        ),
        "forks" => press::forks(options.pause("--pause-ms", 20)?),
        "ping" => ping::run(
            options.number("--port", None)?,
            options.number("--count", Some(1000))?,
            options.pause("--pause-ms", 20)?,
        ),
        "door" => door::run(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("`{other}` is no command\n{HELP}")),
    }
}

/// Who writes, how fast, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The node.
    pub node: u8,
    /// Between two records.
    pub pause: Duration,
    /// After so many it ends.
    pub count: u32,
    /// This run of the writer.
    pub boot: u32,
}

/// `--name value` pairs.
struct Options(Vec<(String, String)>);

impl Options {
    fn read(words: &[String]) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} needs a value", pair.concat())) };
            let known = [
                "--file",
                "--dir",
                "--node",
                "--lock",
                "--pause-ms",
                "--count",
                "--ms",
                "--bytes",
                "--leave-kib",
                "--grow-kib",
                "--after-ms",
                "--port",
            ];
            if !known.contains(&name.as_str()) {
                return Err(format!("`{name}` is no argument\n{HELP}"));
            }
            pairs.push((name.clone(), value.clone()));
        }
        Ok(Self(pairs))
    }

    /// The last one counts, so that a caller can change what a script gives.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn path(&self, name: &str) -> Result<PathBuf, String> {
        self.get(name).map(PathBuf::from).ok_or_else(|| format!("{name} is missing"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: Option<T>) -> Result<T, String> {
        match (self.get(name), default) {
            (Some(value), _) => value.parse().map_err(|_| format!("{name} needs a number, not `{value}`")),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(format!("{name} is missing")),
        }
    }

    fn pause(&self, name: &str, default: u64) -> Result<Duration, String> {
        self.number(name, Some(default)).map(Duration::from_millis)
    }

    fn mode(&self) -> Result<Mode, String> {
        match self.get("--lock") {
            None | Some("flock") => Ok(Mode::Flock),
            Some("posix") => Ok(Mode::Posix),
            Some(other) => Err(format!("--lock is flock or posix, not `{other}`")),
        }
    }

    fn bytes(&self) -> Result<Bytes, String> {
        let Some(text) = self.get("--bytes") else { return Ok(Bytes::ALL) };
        let range = text.split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(Bytes { first, last: Some(last) })
        });
        range.ok_or_else(|| format!("--bytes is FIRST-LAST, not `{text}`"))
    }

    fn writer(&self) -> Result<Writer, String> {
        Ok(Writer {
            node: self.number("--node", None)?,
            pause: self.pause("--pause-ms", 20)?,
            count: self.number("--count", Some(u32::MAX))?,
            boot: sys::random().map_err(|error| format!("cannot read /dev/urandom: {error}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_and_others_get_a_sentence() {
        let read = |line: &str| Options::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let options = read("--node 2 --lock posix --pause-ms 5").expect("these are known");
        assert_eq!(options.mode(), Ok(Mode::Posix));
        let writer = options.writer().expect("a node is given");
        assert_eq!((writer.node, writer.pause, writer.count), (2, Duration::from_millis(5), u32::MAX));
        assert!(options.path("--file").is_err());
        assert_eq!(options.bytes(), Ok(Bytes::ALL));
        let some = read("--bytes 3-7").expect("it is known");
        assert_eq!(some.bytes(), Ok(Bytes { first: 3, last: Some(7) }));
        assert!(read("--bytes 7-3").expect("it is known").bytes().is_err());
        for wrong in ["--node", "--what 1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["--node 256", "--node x", "--node 1 --count -1"] {
            assert!(read(wrong).is_ok_and(|options| options.writer().is_err()), "{wrong}");
        }
    }
}
