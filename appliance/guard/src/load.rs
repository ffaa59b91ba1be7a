//! Reads host.json and the cluster's configuration into one plan, or says what is wrong with them.
//!
//! Owns the way from two files to `Plan`. Nothing is started, made or locked here, so `check` is `run` up to this point.

use crate::host::Host;
use crate::rules;
use palisade_core::config::{Config, check, parse};
use palisade_core::id::BootId;
use std::path::{Path, PathBuf};

/// Characters of a line of host.json that a sentence quotes.
const QUOTE_CHARS: usize = 60;

/// All that a host runs, checked.
#[derive(Debug)]
pub struct Plan {
    /// The description, its paths absolute.
    pub host: Host,
    /// The cluster's configuration.
    pub config: Box<Config>,
    /// The host's present boot.
    pub boot: BootId,
}

/// Reads and checks a host's description and what it names.
///
/// # Errors
/// Every sentence that `check` has to say; at least one.
pub fn load(path: &Path) -> Result<Plan, Vec<String>> {
    let named = |error: String| vec![format!("{}: {error}", path.display())];
    let text = std::fs::read_to_string(path).map_err(|error| named(format!("it cannot be read: {error}")))?;
    let mut host: Host = serde_json::from_str(&text).map_err(|error| named(place(&text, &error)))?;
    let base = std::path::absolute(path).map_err(|error| named(error.to_string()))?;
    resolve(&mut host, base.parent().unwrap_or(Path::new("/")));
    let config = configuration(&host.config).map_err(|error| vec![error])?;
    let mut faults: Vec<String> =
        rules::faults(&host, &config).iter().map(|fault| format!("{}: {fault}", path.display())).collect();
    let boot = boot_id(&host.boot_id).unwrap_or_else(|error| {
        faults.push(format!("{}: {error}", path.display()));
        0
    });
    if faults.is_empty() { Ok(Plan { host, config, boot }) } else { Err(faults) }
}

/// Where the JSON is wrong: serde_json says what and at which line, a person wants to see the field and its value.
fn place(text: &str, error: &serde_json::Error) -> String {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let from = error.column().saturating_sub(QUOTE_CHARS);
    let quote: String = line.chars().skip(from).take(QUOTE_CHARS + 20).collect();
    format!("`{}`: {error}; correct that line (the fields are in docs/OPERATING.md)", quote.trim())
}

fn configuration(path: &Path) -> Result<Box<Config>, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let json = std::fs::read(path).map_err(|error| named(&format!("it cannot be read: {error}")))?;
    let mut config = Box::new(Config::new());
    parse::parse(&json, &mut config).map_err(|error| named(&error))?;
    check::check(&config).map_err(|error| named(&error))?;
    Ok(config)
}

/// The first eight bytes of the boot's UUID.
fn boot_id(path: &Path) -> Result<BootId, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("boot_id is {}: it cannot be read: {error}; correct the path", path.display()))?;
    let digits: String = text.trim().chars().filter(|character| *character != '-').take(16).collect();
    match u64::from_str_radix(&digits, 16) {
        Ok(boot) if boot != 0 && digits.len() == 16 => Ok(boot),
        _ => {
            let begin: String = text.chars().take(QUOTE_CHARS / 2).collect();
            Err(format!("boot_id is {}: {begin:?} in it is no UUID; name the kernel's file", path.display()))
        }
    }
}

/// Makes every path absolute: from the directory of host.json, and programs without `/` from PATH.
fn resolve(host: &mut Host, base: &Path) {
    use crate::host::{Netdev, Source};
    let absolute = |path: &mut PathBuf| *path = base.join(&*path);
    let netdev = |netdev: &mut Netdev| {
        if let Netdev::Dgram { local, remote } = netdev {
            absolute(local);
            absolute(remote);
        }
    };
    for path in [&mut host.config, &mut host.state, &mut host.boot_id, &mut host.appliance.image] {
        absolute(path);
    }
    for program in [Some(&mut host.qemu), host.vsock.as_mut().map(|vsock| &mut vsock.program)].into_iter().flatten() {
        *program = find(program).unwrap_or_else(|| base.join(&*program));
    }
    host.appliance.links.iter_mut().chain(&mut host.appliance.management).for_each(netdev);
    for node in &mut host.nodes {
        node.kernel.iter_mut().chain(&mut node.initrd).for_each(absolute);
        node.nics.iter_mut().map(|nic| &mut nic.netdev).for_each(netdev);
        for disk in &mut node.disks {
            match &mut disk.source {
                Source::File(path) | Source::VhostUser(path) => absolute(path),
                Source::Blockdev(_) => {}
            }
        }
    }
}

fn find(program: &Path) -> Option<PathBuf> {
    let bare = program.components().count() == 1 && !program.as_os_str().as_encoded_bytes().contains(&b'/');
    let path = std::env::var_os("PATH").filter(|_| bare)?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_json_error_shows_field_value_rule_and_what_to_do() {
        for (text, expected) in [
            ("{\n  \"host\": \"one\"\n}", ["\"host\": \"one\"", "expected u8", "correct that line"]),
            ("{\n  \"hosst\": 1\n}", ["\"hosst\": 1", "unknown field `hosst`", "correct that line"]),
        ] {
            let sentence = place(text, &serde_json::from_str::<Host>(text).unwrap_err());
            assert!(expected.iter().all(|part| sentence.contains(part)), "{sentence}");
        }
    }

    #[test]
    fn relative_paths_count_from_the_description() {
        let text = r#"{"host":1,"config":"c.json","state":"/run/x","qemu":"./q","appliance":{"image":"i"}}"#;
        let mut host: Host = serde_json::from_str(text).unwrap();
        resolve(&mut host, Path::new("/etc/palisade"));
        let got = [&host.config, &host.state, &host.qemu, &host.appliance.image];
        let expected = ["/etc/palisade/c.json", "/run/x", "/etc/palisade/./q", "/etc/palisade/i"];
        assert_eq!(got.map(|path| path.to_str().unwrap()), expected);
    }
}
