//! `palisadectl`: the operator's command.
//!
//! Owns the command line and the exit status: 0 when the answer is good, 1 when it is not, 2 when the question was not
//! understood. Must never panic on what a person typed, wrote in a file or got from a network.

#![forbid(unsafe_code)]

/// `println` that does not panic when the reader of a pipe has gone.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod config;
mod device;
mod operate;
mod report;
mod status;

use palisade_core::wire::node::{Operation, Target, Wish};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
palisadectl: looks after a Palisade cluster

  palisadectl config check FILE
      Reads a configuration as an appliance would, and names the first thing that is wrong with it.

  palisadectl device NAME check|status|off|on --config FILE [--host NUMBER] [--address A:PORT]
      Drives one configured device from this machine, with the same code as an appliance.
      check   logs in, reads the power, changes nothing
      status  the same, and prints only the state
      off     switches every host off that the device covers, and reads that back
      on      switches them on, and reads that back
      --host     says which host this machine is, to see whether it is an executor of the device
      --address  where the device is as seen from here, if that differs from what the appliances see

  palisadectl status --socket PATH [--port 7640] [--timeout-ms 3000] [--json]
      Asks the appliance behind the Unix socket of its vhost-device-vsock how things are.

  palisadectl fence node|host NUMBER --socket PATH
  palisadectl pause node NUMBER --for TIME --socket PATH
  palisadectl resume node NUMBER --socket PATH
  palisadectl maintenance node|host NUMBER --for TIME [--force] --socket PATH
  palisadectl maintenance node|host NUMBER --end --socket PATH
  palisadectl acknowledge node|host NUMBER [--force] --socket PATH
  palisadectl leave host NUMBER --socket PATH
      Asks the cluster through any of its appliances; the answer comes when the decision is committed.
      fence        switches the target off, and has its services taken over
      pause        announces that a node's VM stands still on purpose (a snapshot): its silence is not accused
      maintenance  neither accuses the target nor orders it off; --force although it has volumes mounted
      acknowledge  YOU saw that the target is off: recovery begins at once. If it is not off, data is lost.
                   --force although the cluster believes that it runs
      leave        the host is taken away, and nobody misses it: its nodes are shut down already, and a quorum stays.
                   It is a member again when its appliance starts anew
      --for TIME   a number and s, m, h or d
      --who NAME   who asks, for the history; else the name of the user

Exit status: 0 good, 1 not good, 2 not understood.
";

/// What a person asked for.
#[derive(Debug, PartialEq, Eq)]
enum Question {
    Help,
    Version,
    CheckConfig { file: OsString },
    Device { name: String, wish: device::Wish, config: OsString, seat: device::Seat },
    Status(status::Question),
    Operate(operate::Request),
}

fn main() -> ExitCode {
    let answer = match understand(std::env::args_os().skip(1)) {
        Err(why) => {
            complain(&format!("{why}; `palisadectl --help` says what there is"));
            return ExitCode::from(2);
        }
        Ok(Question::Help) => {
            say!("{}", HELP.trim_end());
            Ok(())
        }
        Ok(Question::Version) => {
            say!("palisadectl {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Ok(Question::CheckConfig { file }) => config::check(file.as_ref()),
        Ok(Question::Device { name, wish, config, seat }) => device::drive(&name, wish, config.as_ref(), seat),
        Ok(Question::Status(question)) => status::ask(&question),
        Ok(Question::Operate(request)) => operate::ask(&request),
    };
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            complain(&sentence);
            ExitCode::FAILURE
        }
    }
}

fn complain(sentence: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "palisadectl: {sentence}");
}

/// Words and options of a command line.
struct Line {
    words: Vec<OsString>,
    options: Vec<(String, Option<OsString>)>,
}

/// Options that are followed by a value.
const VALUED: &[&str] = &["--config", "--host", "--address", "--socket", "--port", "--timeout-ms", "--for", "--who"];

impl Line {
    fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut line = Self { words: Vec::new(), options: Vec::new() };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy().into_owned();
            if !text.starts_with('-') {
                line.words.push(argument);
                continue;
            }
            let (option, mut value) = match text.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(OsString::from(value))),
                None => (text, None),
            };
            if VALUED.contains(&option.as_str()) {
                value = value.or_else(|| arguments.next());
                if value.is_none() {
                    return Err(format!("{option} needs a value"));
                }
            } else if value.is_some() {
                return Err(format!("{option} takes no value"));
            }
            if line.options.iter().any(|(earlier, _)| *earlier == option) {
                return Err(format!("{option} is given twice"));
            }
            line.options.push((option, value));
        }
        Ok(line)
    }

    /// Takes an option out, so that what is left over was not understood.
    fn take(&mut self, option: &str) -> Option<OsString> {
        let at = self.options.iter().position(|(given, _)| given == option)?;
        self.options.remove(at).1
    }

    fn take_flag(&mut self, option: &str) -> bool {
        let before = self.options.len();
        self.options.retain(|(given, _)| given != option);
        self.options.len() < before
    }

    fn take_value<N: std::str::FromStr>(&mut self, option: &str, what: &str) -> Result<Option<N>, String> {
        let Some(value) = self.take(option) else { return Ok(None) };
        let text = value.to_string_lossy();
        text.parse().map(Some).map_err(|_| format!("{option} {text}: expected {what}"))
    }

    fn nothing_left(&self) -> Result<(), String> {
        match self.options.first() {
            Some((option, _)) => Err(format!("{option} is no option of this command")),
            None => Ok(()),
        }
    }
}

fn understand(arguments: impl Iterator<Item = OsString>) -> Result<Question, String> {
    let mut line = Line::read(arguments)?;
    if line.take_flag("--help") || line.take_flag("-h") {
        return Ok(Question::Help);
    }
    if line.take_flag("--version") || line.take_flag("-V") {
        return Ok(Question::Version);
    }
    let words = std::mem::take(&mut line.words);
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let question = match texts.as_slice() {
        [] | ["help"] => Question::Help,
        ["config", "check", _] => Question::CheckConfig { file: words.into_iter().nth(2).unwrap_or_default() },
        ["config", "check"] => return Err("which file? `config check FILE`".to_owned()),
        ["config", ..] => return Err("the only word after `config` is `check`, then one file".to_owned()),
        ["device", name, wish] => Question::Device {
            name: (*name).to_owned(),
            wish: device::Wish::read(wish)
                .ok_or_else(|| format!("a device does check, status, off or on, not `{wish}`"))?,
            config: line.take("--config").ok_or("which cluster? add --config FILE")?,
            seat: device::Seat {
                host: line.take_value("--host", "a host's number, 1 to 255")?,
                address: line.take_value("--address", "an IPv4 address and a port, like 10.0.0.1:623")?,
            },
        },
        ["device", ..] => return Err("a device needs a name and one of check, status, off, on".to_owned()),
        ["status"] => {
            Question::Status(status::Question { road: road(&mut line, 3000)?, json: line.take_flag("--json") })
        }
        ["status", ..] => return Err("`status` takes no further words".to_owned()),
        [word, kind, number] if wish(word).is_some() => Question::Operate(request(&mut line, word, kind, number)?),
        [word, ..] if wish(word).is_some() => {
            return Err(format!("`{word}` needs a target: `node` or `host`, and its number"));
        }
        [word, ..] => return Err(format!("`{word}` is no command")),
    };
    line.nothing_left()?;
    Ok(question)
}

/// What a command asks for.
fn wish(word: &str) -> Option<Wish> {
    Some(match word {
        "fence" => Wish::Fence,
        "pause" => Wish::Pause,
        "resume" => Wish::Resume,
        "maintenance" => Wish::Maintain,
        "acknowledge" => Wish::Acknowledge,
        "leave" => Wish::Leave,
        _ => return None,
    })
}

fn road(line: &mut Line, timeout_ms: u32) -> Result<status::Road, String> {
    Ok(status::Road {
        socket: line.take("--socket").ok_or("which appliance? add --socket PATH")?,
        port: line.take_value("--port", "a vsock port number")?.unwrap_or(palisade_core::limits::PORT_VSOCK),
        timeout: Duration::from_millis(u64::from(
            line.take_value::<u32>("--timeout-ms", "milliseconds")?.unwrap_or(timeout_ms).max(1),
        )),
    })
}

fn request(line: &mut Line, word: &str, kind: &str, number: &str) -> Result<operate::Request, String> {
    let target = operate::target(kind, number)?;
    let mut wish = wish(word).ok_or_else(|| format!("`{word}` is no command"))?;
    if matches!((wish, target), (Wish::Pause | Wish::Resume, Target::Host(_))) {
        return Err(format!("only a node can be asked to `{word}`; for a host there is `maintenance`"));
    }
    if matches!((wish, target), (Wish::Leave, Target::Node(_))) {
        return Err("a host can be asked to `leave`; a node leaves by shutting down".to_owned());
    }
    if wish == Wish::Maintain && line.take_flag("--end") {
        wish = Wish::Release;
    }
    let duration_ms = match wish {
        Wish::Pause | Wish::Maintain => {
            let text = line.take("--for").ok_or_else(|| format!("for how long? `{word}` needs --for TIME"))?;
            operate::duration(&text.to_string_lossy(), wish)?
        }
        _ => 0,
    };
    let force = matches!(wish, Wish::Maintain | Wish::Acknowledge) && line.take_flag("--force");
    let who = operate::who(line.take("--who").map(|who| who.to_string_lossy().into_owned()))?;
    let operation = Operation { wish, target, force, duration_ms, incarnation: 0, who };
    Ok(operate::Request { operation, road: road(line, 10_000)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Question, String> {
        understand(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_is_meant_is_understood() {
        assert_eq!(ask("config check a.json"), Ok(Question::CheckConfig { file: "a.json".into() }));
        let device = Question::Device {
            name: "bmc1".into(),
            wish: device::Wish::Off,
            config: "c".into(),
            seat: device::Seat { host: Some(2), address: None },
        };
        assert_eq!(ask("device bmc1 off --config c --host=2"), Ok(device));
        let road = |ms| status::Road { socket: "s".into(), port: 7640, timeout: Duration::from_millis(ms) };
        let status = status::Question { road: road(3000), json: true };
        assert_eq!(ask("status --json --socket s"), Ok(Question::Status(status)));
        let operation = Operation {
            wish: Wish::Maintain,
            target: Target::Host(palisade_core::id::HostId::new(7)),
            force: true,
            duration_ms: 7_200_000,
            incarnation: 0,
            who: palisade_core::who::Who::new("ann").unwrap_or_default(),
        };
        let request = operate::Request { operation, road: road(10_000) };
        assert_eq!(ask("maintenance host 7 --for 2h --force --who ann --socket s"), Ok(Question::Operate(request)));
        let ends = ask("maintenance node 7 --end --who ann --socket s");
        assert!(matches!(ends, Ok(Question::Operate(r)) if r.operation.wish == Wish::Release));
        let leaves = ask("leave host 7 --who ann --socket s");
        assert!(matches!(leaves, Ok(Question::Operate(r)) if r.operation.wish == Wish::Leave));
        assert_eq!(ask("status --help"), Ok(Question::Help));
        assert_eq!(ask(""), Ok(Question::Help));
    }

    #[test]
    fn what_is_not_understood_gets_a_sentence() {
        for (line, sentence) in [
            ("confug", "`confug` is no command"),
            ("config check", "which file?"),
            ("config check a b", "the only word after `config`"),
            ("device bmc1 of --config c", "not `of`"),
            ("device bmc1 off", "add --config"),
            ("device bmc1 off --config", "--config needs a value"),
            ("device bmc1 off --config c --host 300", "--host 300: expected"),
            ("device bmc1 off --config c --address 10.0.0.1", "--address 10.0.0.1: expected"),
            ("status", "add --socket"),
            ("status --socket s --port x", "--port x: expected"),
            ("status --socket s --socket t", "given twice"),
            ("status --socket s --json=1", "takes no value"),
            ("config check a --json", "--json is no option of this command"),
            ("fence", "needs a target: `node` or `host`"),
            ("fence node", "needs a target: `node` or `host`"),
            ("fence node 0 --socket s", "`0` is no number of a node"),
            ("fence node 256 --socket s", "`256` is no number of a node"),
            ("fence vm 1 --socket s", "`vm` is no kind of target"),
            ("fence node 1", "add --socket"),
            ("fence node 1 --socket s --force", "--force is no option of this command"),
            ("fence node 1 --socket s --who aaaaaaaaaaaaaaaaaaaaaaaaa", "at most 24 bytes that print"),
            ("pause node 1 --socket s", "needs --for TIME"),
            ("pause host 1 --for 1s --socket s", "only a node can be asked to `pause`"),
            ("leave node 1 --socket s", "a node leaves by shutting down"),
            ("leave host 1 --socket s --force", "--force is no option of this command"),
            ("pause node 1 --for 90 --socket s", "expected a number and s, m, h or d"),
            ("pause node 1 --for 11m --socket s", "after 10 minutes at most"),
            ("maintenance node 1 --for 8d --socket s", "after 7 days at most"),
            ("maintenance node 1 --for 0s --socket s", "after 7 days at most"),
            ("maintenance node 1 --socket s", "needs --for TIME"),
        ] {
            let said = ask(line).err().unwrap_or_default();
            assert!(said.contains(sentence), "{line}: {said}");
        }
    }
}
