//! Reads a configuration from JSON into its static place.
//!
//! Owns the top level of the file and the sentence for what cannot be read. Must never hold a list on the stack: hosts,
//! nodes and devices go into `Config` element by element, one element by value at a time. The same code reads the file
//! in the unikernel (serde-json-core, which knows neither field nor position, so `Trace` remembers both) and in
//! `palisadectl config check` (serde_json). Whether the values make sense is asked afterwards: `check`.

use super::{Cluster, Config, Device, Host, Name, Node, Service, Timing};
use crate::limits::{CONFIG_BYTES_MAX, NAME_MAX};
use core::fmt;
use heapless::Vec;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

/// The top-level fields of the file.
pub const FIELDS: &[&str] =
    &["name", "epoch", "secret", "timing", "hosts", "nodes", "devices", "clusters", "services", "allow_faults"];

/// The fields that have no default.
const REQUIRED: &[&str] = &["name", "epoch", "secret", "hosts", "nodes"];

/// Bytes in which a string with JSON escapes is put together: the secret is the longest.
const UNESCAPE_BYTES: usize = 128;

/// Reads `json` into `into`, whose earlier content is lost, and sorts hosts and nodes by number.
///
/// # Errors
/// A sentence that says where it stopped; `into` is then not to be used.
pub fn parse(json: &[u8], into: &mut Config) -> Result<(), Error> {
    let mut trace = Trace::new();
    if json.len() > CONFIG_BYTES_MAX {
        return Err(Error { trace, cause: Cause::TooLong(json.len()) });
    }
    let mut buffer = [0; UNESCAPE_BYTES];
    let mut reader = serde_json_core::de::Deserializer::new(json, Some(&mut buffer));
    let read = Seed { into, trace: &mut trace }.deserialize(&mut reader).and_then(|()| reader.end());
    if let Err(cause) = read {
        return Err(Error { trace, cause: Cause::Json(cause) });
    }
    sort_by_number(&mut into.hosts, |host| host.id);
    sort_by_number(&mut into.nodes, |node| node.id);
    Ok(())
}

/// The first eight bytes of the file's SHA-256, as `sha256sum` prints them: appliances compare it in their heartbeats.
#[must_use]
pub fn config_hash(json: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(json).into();
    digest.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Selection sort: few moves of large elements, and no recursion, which the library's sort has (DESIGN §1, rule 2).
fn sort_by_number<T>(list: &mut [T], number: impl Fn(&T) -> u8) {
    for at in 0..list.len() {
        let least = list.iter().enumerate().skip(at).min_by_key(|(_, item)| number(item));
        if let Some((least, _)) = least
            && least != at
        {
            list.swap(at, least);
        }
    }
}

/// How far reading came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The last top-level field that was begun; the start of it, if it is longer than a name may be.
    field: Name,
    /// The element of its list that was being read.
    element: Option<usize>,
    /// What this module itself has against it.
    complaint: Option<Complaint>,
}

/// What this module itself refuses, as opposed to the JSON reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complaint {
    Unknown,
    Repeated,
    Missing(&'static str),
    TooMany(usize),
}

impl Trace {
    /// Nothing read so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { field: Name::new(), element: None, complaint: None }
    }

    fn begin(&mut self, field: &str) {
        self.field.clear();
        self.element = None;
        for character in field.chars().take(NAME_MAX) {
            let _ = self.field.push(character);
        }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a file cannot be read, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    trace: Trace,
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    TooLong(usize),
    Json(serde_json_core::de::Error),
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = &self.trace.field;
        match (&self.cause, self.trace.complaint) {
            (Cause::TooLong(bytes), _) => {
                return write!(f, "the configuration has {bytes} bytes; at most {CONFIG_BYTES_MAX} are read");
            }
            (_, Some(Complaint::Unknown)) => {
                write!(f, "`{field}` is no field of a configuration; there are")?;
                return list(f, FIELDS);
            }
            (_, Some(Complaint::Repeated)) => return write!(f, "`{field}` is given twice; give it once"),
            (_, Some(Complaint::Missing(missing))) => {
                return write!(f, "`{missing}` is missing at the top level; add it");
            }
            (_, Some(Complaint::TooMany(most))) => {
                return write!(f, "`{field}` has too many elements; at most {most} are allowed");
            }
            (Cause::Json(cause), None) => {
                match (field.is_empty(), self.trace.element) {
                    (true, _) => f.write_str("at the start of the configuration: ")?,
                    (false, None) => write!(f, "in or after `{field}`: ")?,
                    (false, Some(index)) => write!(f, "in or after `{field}[{index}]`: ")?,
                }
                f.write_str(sentence(cause))?;
            }
        }
        f.write_str(" (`palisadectl config check FILE` says more)")
    }
}

fn list(f: &mut fmt::Formatter<'_>, words: &[&str]) -> fmt::Result {
    for (index, word) in words.iter().enumerate() {
        write!(f, "{} `{word}`", if index == 0 { "" } else { "," })?;
    }
    Ok(())
}

/// What the JSON reader has to say.
const fn sentence(cause: &serde_json_core::de::Error) -> &'static str {
    use serde_json_core::de::Error as E;
    match cause {
        E::EofWhileParsingList
        | E::EofWhileParsingObject
        | E::EofWhileParsingString
        | E::EofWhileParsingNumber
        | E::EofWhileParsingValue => "the file ends in the middle of a value",
        E::ExpectedColon => "a ':' is missing after a field's name",
        E::ExpectedListCommaOrEnd => "a ',' or ']' is missing",
        E::ExpectedObjectCommaOrEnd => "a ',' or '}' is missing",
        E::InvalidNumber => "a number is negative, broken or too large for its field",
        E::InvalidType => "a value has the wrong type",
        E::InvalidUnicodeCodePoint => "a text is not valid UTF-8",
        E::InvalidEscapeSequence => "a text has an escape that JSON does not know",
        E::EscapedStringIsTooLong => "a text is too long",
        E::KeyMustBeAString => "a field's name is not a text in quotes",
        E::TrailingCharacters => "there is more than belongs there",
        E::TrailingComma => "a ',' stands after the last element",
        E::CustomError => "a field is missing, unknown, given twice, or has a value that it cannot take",
        _ => "this is not the JSON that a configuration needs",
    }
}

/// Reads a configuration from any deserializer, in place, in the order of the file.
#[derive(Debug)]
pub struct Seed<'c> {
    /// Where to; earlier content is lost.
    pub into: &'c mut Config,
    /// Remembers where reading stands.
    pub trace: &'c mut Trace,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration: an object in braces")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { into, trace } = self;
        clear(into);
        let mut seen = [false; FIELDS.len()];
        while let Some(index) = map.next_key_seed(Key(trace))? {
            let field = FIELDS[index];
            if core::mem::replace(&mut seen[index], true) {
                trace.complaint = Some(Complaint::Repeated);
                return Err(A::Error::duplicate_field(field));
            }
            match field {
                "name" => into.name = map.next_value()?,
                "epoch" => into.epoch = map.next_value()?,
                "secret" => into.secret = map.next_value()?,
                "timing" => into.timing = map.next_value()?,
                "hosts" => map.next_value_seed(List::<Host, _>(&mut into.hosts, trace))?,
                "nodes" => map.next_value_seed(List::<Node, _>(&mut into.nodes, trace))?,
                "devices" => map.next_value_seed(List::<Device, _>(&mut into.devices, trace))?,
                "clusters" => map.next_value_seed(List::<Cluster, _>(&mut into.clusters, trace))?,
                "services" => map.next_value_seed(List::<Service, _>(&mut into.services, trace))?,
                _ => into.allow_faults = map.next_value()?,
            }
        }
        for (&field, &seen) in FIELDS.iter().zip(&seen) {
            if !seen && REQUIRED.contains(&field) {
                trace.complaint = Some(Complaint::Missing(field));
                return Err(A::Error::missing_field(field));
            }
        }
        Ok(())
    }
}

/// Empties a configuration where it lies: assigning a new one could pass half a megabyte over the stack.
fn clear(config: &mut Config) {
    config.name.clear();
    config.epoch = 0;
    config.secret = super::Secret([0; 32]);
    config.timing = Timing::DEFAULT;
    config.hosts.clear();
    config.nodes.clear();
    config.devices.clear();
    config.clusters.clear();
    config.services.clear();
    config.allow_faults = false;
}

/// A top-level field's name; becomes its place in `FIELDS`.
struct Key<'t>(&'t mut Trace);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = usize;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<usize, E> {
        self.0.begin(text);
        FIELDS.iter().position(|field| *field == text).ok_or_else(|| {
            self.0.complaint = Some(Complaint::Unknown);
            E::unknown_field(text, FIELDS)
        })
    }
}

/// A list that is filled where it lies.
struct List<'c, T, const N: usize>(&'c mut Vec<T, N>, &'c mut Trace);

impl<'de, T: Deserialize<'de>, const N: usize> DeserializeSeed<'de> for List<'_, T, N> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for List<'_, T, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {N} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self(list, trace) = self;
        trace.element = Some(0);
        while let Some(element) = elements.next_element()? {
            if list.push(element).is_err() {
                trace.complaint = Some(Complaint::TooMany(N));
                return Err(A::Error::custom(format_args!("more than {N} elements; at most {N} are allowed")));
            }
            trace.element = Some(list.len());
        }
        trace.element = None;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::super::{Ipv4, Mac, Method};
    use super::*;
    use crate::limits::{CLUSTERS_MAX, DEVICES_MAX, HOSTS_MAX, NODES_MAX, SERVICES_MAX};
    use std::boxed::Box;
    use std::format;
    use std::string::{String, ToString};

    /// Three hosts with two links, a node each, and a BMC each.
    pub const SAMPLE: &str = r#"{
      "name": "sample", "epoch": 7,
      "secret": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      "timing": {"host_dead_ms": 1001},
      "hosts": [
        {"id": 3, "name": "h3", "links": [{"mac": "52:54:00:01:00:03", "ip": "10.1.0.3"}, {"mac": "52:54:00:02:00:03", "ip": "10.2.0.3"}],
         "management": {"mac": "52:54:00:09:00:03", "ip": "192.168.9.3", "prefix": 24}, "cid": 13, "levels": [["bmc3"]]},
        {"id": 1, "name": "h1", "links": [{"mac": "52:54:00:01:00:01", "ip": "10.1.0.1"}, {"mac": "52:54:00:02:00:01", "ip": "10.2.0.1"}],
         "management": {"mac": "52:54:00:09:00:01", "ip": "192.168.9.1", "prefix": 24}, "cid": 11, "levels": [["bmc1"]]},
        {"id": 2, "name": "h2", "links": [{"mac": "52:54:00:01:00:02", "ip": "10.1.0.2"}, {"mac": "52:54:00:02:00:02", "ip": "10.2.0.2"}],
         "management": {"mac": "52:54:00:09:00:02", "ip": "192.168.9.2", "prefix": 24, "gateway": "192.168.9.254"}, "cid": 12, "levels": [["bmc2"]]}
      ],
      "nodes": [
        {"id": 1, "name": "n1", "host": 1, "cid": 101, "levels": [["guard"], ["qmp"]]},
        {"id": 3, "name": "n3", "host": 3, "levels": [["guard", "qmp"]], "start": false},
        {"id": 2, "name": "n2", "host": 2, "cid": 102, "levels": [["qmp"]]}
      ],
      "devices": [
        {"name": "bmc1", "covers": [1], "executors": [2, 3], "method": {"ipmi": {"address": "192.168.9.101", "user": "admin", "password": "a\"b\u0041"}}},
        {"name": "bmc2", "covers": [2], "timeout_ms": 5000, "method": {"ipmi": {"address": "192.168.9.102", "port": 6230, "user": "admin", "password": "x", "suite_min": 17}}},
        {"name": "bmc3", "covers": [3], "method": {"ipmi": {"address": "192.168.9.103", "user": "admin", "password": "x"}}}
      ],
      "clusters": [{"name": "mail", "nodes": [1, 2]}, {"name": "web", "nodes": [2, 3]}],
      "services": [
        {"name": "queue", "cluster": "mail", "nodes": [2, 1], "policy": "preference"},
        {"name": "front", "cluster": "web", "policy": "least-loaded"}
      ]
    }"#;

    /// Reads text that must be readable.
    pub fn read(json: &str) -> Box<Config> {
        let mut config = Box::new(Config::new());
        parse(json.as_bytes(), &mut config).map_err(|error| error.to_string()).unwrap();
        config
    }

    fn refusal(json: &str) -> String {
        parse(json.as_bytes(), &mut Box::new(Config::new())).unwrap_err().to_string()
    }

    #[test]
    fn a_sample_is_read_and_sorted() {
        let config = read(SAMPLE);
        assert_eq!(config.name, "sample");
        assert_eq!((config.epoch, config.timing.host_dead_ms, config.timing.promise_ms), (7, 1001, 1000));
        assert_eq!(config.secret.0[31], 0x1f);
        assert!(config.hosts.iter().map(|host| host.id).eq(1..=3));
        assert!(config.nodes.iter().map(|node| node.id).eq(1..=3));
        assert!(config.nodes[0].start && !config.nodes[2].start);
        assert_eq!(config.hosts[1].links[1].mac, Mac([0x52, 0x54, 0, 2, 0, 2]));
        assert_eq!(config.hosts[1].management.unwrap().gateway, Some(Ipv4([192, 168, 9, 254])));
        assert!(config.devices[0].executors.iter().eq(&[2, 3]));
        let Method::Ipmi(ipmi) = &config.devices[0].method;
        assert_eq!((ipmi.port, ipmi.suite_min, config.devices[0].timeout_ms), (623, 3, 10_000));
        assert_eq!(ipmi.password, "a\"bA", "escapes are resolved as everywhere else");
    }

    #[test]
    fn nothing_of_an_earlier_configuration_remains() {
        let mut config = read(SAMPLE);
        let empty = format!(r#"{{"name":"x","epoch":0,"secret":"{}","hosts":[],"nodes":[]}}"#, "11".repeat(32));
        parse(empty.as_bytes(), &mut config).unwrap();
        assert!(config.hosts.is_empty() && config.nodes.is_empty() && config.devices.is_empty());
        assert_eq!(config.timing, Timing::DEFAULT);
    }

    #[test]
    fn each_refusal_names_field_and_element() {
        for (from, to, sentence) in [
            ("\"epoch\": 7", "\"epoch\": -7", "in or after `epoch`: a number is negative"),
            ("\"epoch\": 7,", "", "`epoch` is missing at the top level"),
            ("\"epoch\": 7", "\"epoch\": 7, \"epoch\": 8", "`epoch` is given twice"),
            ("\"epoch\"", "\"epohc\"", "`epohc` is no field of a configuration; there are `name`, `epoch`"),
            ("\"n3\"", "3", "in or after `nodes[1]`: a value has the wrong type"),
            ("\"n3\"", "\"n3\", \"colour\": 1", "in or after `nodes[1]`: a field is missing, unknown"),
            ("\"id\": 2, \"name\": \"n2\"", "\"id\": 256, \"name\": \"n2\"", "in or after `nodes[2]`: a number"),
            ("52:54:00:01:00:02", "52:54:00:01:00", "in or after `hosts[2]`: "),
            ("host_dead_ms", "hots_dead_ms", "in or after `timing`: "),
            ("\"cid\": 102", "\"dlm\": \"10.7.0\"", "in or after `nodes[2]`: "),
            ("\"ipmi\"", "\"ilo\"", "in or after `devices[0]`: "),
            ("000102030405", "0001020304", "in or after `secret`: "),
            ("{\n", "[\n", "at the start of the configuration: a value has the wrong type"),
        ] {
            let broken = SAMPLE.replacen(from, to, 1);
            assert_ne!(broken, SAMPLE);
            let said = refusal(&broken);
            assert!(said.starts_with(sentence), "{from} -> {to}: {said}");
        }
    }

    #[test]
    fn text_after_the_end_is_refused_and_no_cut_of_the_file_is_taken() {
        assert!(refusal(&format!("{SAMPLE} x")).contains("more than belongs there"));
        let bytes = SAMPLE.as_bytes();
        let mut config = Box::new(Config::new());
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length], &mut config).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        let mut config = Box::new(Config::new());
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut bytes = SAMPLE.as_bytes().to_vec();
            for _ in 0..3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = usize::try_from(state % bytes.len() as u64).unwrap();
                bytes[at] = b"{}[]\",:\\0-9tfnu\xff x"[usize::try_from((state >> 32) % 18).unwrap()];
            }
            let _ = parse(&bytes, &mut config).map_err(|error| error.to_string());
        }
    }

    /// A configuration at every limit, in its longest spelling, in the order that costs most.
    pub fn maximal() -> String {
        let mut json = format!(r#"{{"name":"{}","epoch":4294967295,"secret":"{}","#, "c".repeat(32), "fe".repeat(32));
        json.push_str("\"hosts\":[");
        for id in (1..=HOSTS_MAX).rev() {
            let links =
                (1..=4).map(|l| format!(r#"{{"mac":"52:54:00:0{l}:00:{id:02x}","ip":"10.10{l}.100.{}"}}"#, id - 1));
            let links = links.collect::<std::vec::Vec<_>>().join(",");
            let levels = format!(r#"[["{:0>32}"],["{:0>32}"]]"#, format!("bmc{id}"), format!("pdu{id}"));
            json.push_str(&format!(
                r#"{{"id":{id},"name":"{:0>32}","vote":true,"links":[{links}],"management":{{"mac":"52:54:00:0a:00:{id:02x}","ip":"192.168.100.{id}","prefix":16,"gateway":"192.168.200.254"}},"cid":{},"levels":{levels}}},"#,
                format!("host{id}"),
                4_000_000_000_u32 + u32::try_from(id).unwrap(),
            ));
        }
        json.pop();
        json.push_str("],\"nodes\":[");
        for id in (1..=NODES_MAX).rev() {
            json.push_str(&format!(
                r#"{{"id":{id},"name":"{:0>32}","host":{id},"cid":{},"levels":[["guard"],["qmp"]],"start":false,"dlm":"fd00:1111:2222:3333:4444:5555:6666:{id:04x}"}},"#,
                format!("node{id}"),
                4_100_000_000_u32 + u32::try_from(id).unwrap(),
            ));
        }
        json.pop();
        json.push_str("],\"devices\":[");
        for index in 0..DEVICES_MAX {
            let id = index % HOSTS_MAX + 1;
            let kind = ["bmc", "pdu", "ups"][index / HOSTS_MAX];
            let executors = (1..=8).map(|step| ((id + step) % HOSTS_MAX + 1).to_string());
            let executors = executors.filter(|e| *e != id.to_string()).collect::<std::vec::Vec<_>>().join(",");
            json.push_str(&format!(
                r#"{{"name":"{:0>32}","covers":[{id}],"executors":[{executors}],"timeout_ms":10000,"delay_ms":10000,"method":{{"ipmi":{{"address":"192.168.100.200","port":62300,"user":"{}","password":"{}","suite_min":17}}}}}},"#,
                format!("{kind}{id}"),
                "u".repeat(16),
                "p".repeat(20),
            ));
        }
        json.pop();
        let all = (1..=NODES_MAX).map(|id| id.to_string()).collect::<std::vec::Vec<_>>().join(",");
        let clusters =
            (0..CLUSTERS_MAX).map(|c| format!(r#"{{"name":"{:0>16}","nodes":[{all}]}}"#, format!("cluster{c}")));
        let clusters = clusters.collect::<std::vec::Vec<_>>().join(",");
        let service = |s| {
            let (name, cluster) = (format!("service{s}"), format!("cluster{}", s % CLUSTERS_MAX));
            format!(r#"{{"name":"{name:0>16}","cluster":"{cluster:0>16}","nodes":[{all}],"policy":"least-loaded"}}"#)
        };
        let services = (0..SERVICES_MAX).map(service).collect::<std::vec::Vec<_>>().join(",");
        json.push_str(&format!("],\"clusters\":[{clusters}],\"services\":[{services}]}}"));
        json
    }

    #[test]
    fn a_configuration_at_every_limit_fits() {
        let json = maximal();
        assert!(json.len() <= CONFIG_BYTES_MAX, "{} bytes", json.len());
        let config = read(&json);
        assert_eq!((config.hosts.len(), config.nodes.len(), config.devices.len()), (HOSTS_MAX, NODES_MAX, DEVICES_MAX));
        assert!(config.hosts.iter().map(|host| host.id).eq(1..=255));
    }

    #[test]
    fn one_element_more_than_a_list_holds_says_so() {
        let json = maximal();
        for (list, most) in [("hosts", HOSTS_MAX), ("nodes", NODES_MAX), ("devices", DEVICES_MAX)] {
            let start = json.find(&format!("\"{list}\":[")).unwrap() + list.len() + 4;
            let mut depth = 0;
            let end = start
                + json[start..]
                    .find(|c| {
                        depth += i32::from(c == '{') - i32::from(c == '}');
                        depth == 0
                    })
                    .unwrap();
            let more = format!("{}{},{}", &json[..start], &json[start..=end], &json[start..]);
            assert_eq!(refusal(&more), format!("`{list}` has too many elements; at most {most} are allowed"));
        }
        let long = format!("{SAMPLE}{}", " ".repeat(CONFIG_BYTES_MAX));
        assert!(refusal(&long).contains("at most 524288 are read"));
    }

    #[test]
    fn the_hash_is_the_one_of_sha256sum() {
        assert_eq!(config_hash(b"abc"), 0xba78_16bf_8f01_cfea);
    }
}
