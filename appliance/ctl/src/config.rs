//! Reads a configuration with sentences for a person.
//!
//! Owns the words; what can be read is `palisade_core::config::parse`, what is allowed is `palisade_core::config::check`,
//! and both are the appliance's own code. Must never print the secret or a password, not even a wrong one.

use palisade_core::config::{Config, check, parse};
use palisade_core::limits::CONFIG_BYTES_MAX;
use serde::de::DeserializeSeed;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A configuration that holds, and the hash by which appliances compare it.
pub struct Loaded {
    /// The configuration, in the order of the file.
    pub config: Box<Config>,
    /// See `parse::config_hash`.
    pub hash: u64,
}

/// `config check FILE`.
pub fn check(file: &Path) -> Result<(), String> {
    let Loaded { config, hash } = load(file)?;
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    say!(
        "{}: cluster `{}`, epoch {}: {} ({}), {}, {}; hash {hash:016x}",
        file.display(),
        config.name,
        config.epoch,
        count(config.hosts.len(), "host"),
        count(config.votes(), "vote"),
        count(config.nodes.len(), "node"),
        count(config.devices.len(), "device"),
    );
    for warning in check::warnings(&config) {
        say!("warning: {warning}");
    }
    if fs::metadata(file).is_ok_and(|about| about.permissions().mode() & 0o077 != 0) {
        say!("warning: others may read this file, and it holds the secret and the passwords; `chmod 600` it");
    }
    say!("no rule is broken");
    Ok(())
}

/// Reads and checks a file.
pub fn load(file: &Path) -> Result<Loaded, String> {
    let json = read(file)?;
    let name = file.display();
    let config = understand(&json).map_err(|sentence| format!("{name}: {sentence}"))?;
    check::check(&config).map_err(|broken| format!("{name}: {broken}"))?;
    // The appliance's reader is smaller than this one: what it refuses is no configuration, whatever is said above.
    parse::parse(&json, &mut Box::new(Config::new())).map_err(|error| format!("{name}: {error}"))?;
    Ok(Loaded { config, hash: parse::config_hash(&json) })
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let refused = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let mut json = Vec::new();
    let opened = fs::File::open(file).map_err(refused)?;
    opened.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut json).map_err(refused)?;
    if json.len() > CONFIG_BYTES_MAX {
        return Err(format!("{}: an appliance reads at most {CONFIG_BYTES_MAX} bytes", file.display()));
    }
    Ok(json)
}

fn understand(json: &[u8]) -> Result<Box<Config>, String> {
    let mut config = Box::new(Config::new());
    let mut trace = parse::Trace::new();
    let mut track = serde_path_to_error::Track::new();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let seed = parse::Seed { into: &mut config, trace: &mut trace };
    let read = seed.deserialize(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
    match read {
        Ok(()) => reader.end().map_err(|error| format!("after the end of the configuration: {error}"))?,
        Err(error) => return Err(sentence(json, &track.path(), &error)),
    }
    Ok(config)
}

/// Field, value, rule, and what to do.
fn sentence(json: &[u8], path: &serde_path_to_error::Path, error: &serde_json::Error) -> String {
    if error.is_syntax() || error.is_eof() {
        return format!("this is no JSON: {error}; correct it there");
    }
    let said = error.to_string();
    let (rule, place) = said.rsplit_once(" at line ").unwrap_or((&said, "?"));
    let place = place.replace(" column ", ", column ");
    let field = path.to_string();
    let field = if field == "." { "the configuration".to_owned() } else { field };
    let remedy = match rule {
        rule if rule.starts_with("unknown field") => "correct its name, or remove it",
        rule if rule.starts_with("missing field") => "add it",
        rule if rule.starts_with("duplicate field") => "give it once",
        rule if rule.starts_with("unknown variant") => "use one of these",
        _ => "write what is expected",
    };
    if is_secret(path) {
        let shape = match field.as_str() {
            "secret" => "64 hexadecimal digits",
            _ => "a text of at most 20 bytes",
        };
        return format!("{field} (line {place}) is not {shape}; {remedy}");
    }
    let value = match found(json, path) {
        Some(value) if !rule.contains("field") => format!(" is {value}"),
        _ => String::new(),
    };
    format!("{field}{value} (line {place}): {rule}; {remedy}")
}

fn is_secret(path: &serde_path_to_error::Path) -> bool {
    use serde_path_to_error::Segment::Map;
    path.iter().any(|segment| matches!(segment, Map { key } if key == "secret" || key == "password"))
}

/// The value at a path, if it is short and no container, which could hold a password.
fn found(json: &[u8], path: &serde_path_to_error::Path) -> Option<String> {
    use serde_path_to_error::Segment;
    let whole: serde_json::Value = serde_json::from_slice(json).ok()?;
    let mut value = &whole;
    for segment in path.iter() {
        value = match segment {
            Segment::Seq { index } => value.get(index)?,
            Segment::Map { key } => value.get(key)?,
            Segment::Enum { variant } => value.get(variant)?,
            Segment::Unknown => return None,
        };
    }
    if value.is_object() || value.is_array() {
        return None;
    }
    let text = value.to_string();
    Some(if text.chars().count() > 60 { "a long text".to_owned() } else { text })
}
