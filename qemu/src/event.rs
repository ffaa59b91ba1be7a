//! What was seen: one event per line that a node, an appliance or a guard wrote, or that the runner did itself.
//!
//! Owns the meaning of those lines. Must never fail on a line: what it does not understand is a `Kind::Note`.

use std::fmt;
use std::time::Duration;

/// Who saw or did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The demo or the test itself.
    Runner,
    /// The appliance of this host.
    Appliance(u8),
    /// The guard of this host.
    Guard(u8),
    /// The BMC of this host.
    Bmc(u8),
    /// The node with this number.
    Node(u8),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Runner => "runner".to_owned(),
            Self::Appliance(host) => format!("appliance {host}"),
            Self::Guard(host) => format!("guard {host}"),
            Self::Bmc(host) => format!("bmc {host}"),
            Self::Node(node) => format!("node {node}"),
        };
        f.pad(&text)
    }
}

/// What it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Anything else.
    Note,
    /// The runner did something to the cluster.
    Injected,
    /// A host's power went on or off.
    Power,
    /// An appliance leads now.
    Leader,
    /// An appliance was admitted.
    Admitted,
    /// A view was committed, or reached a node.
    View,
    /// An appliance saw that one of its nodes is dead or dying.
    Noticed,
    /// The decision to fence somebody is committed.
    Condemned,
    /// An order went to an executor.
    Order,
    /// The proof is there.
    Confirmed,
    /// A node has a session.
    Session,
    /// A node's lease was renewed.
    Lease,
    /// A node was told that another is up.
    NodeUp,
    /// A node was told that another is accused.
    NodeSuspect,
    /// A node was told that another can no longer write.
    NodeDown,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the run began, by the clock of this machine.
    pub at: Duration,
    /// Who.
    pub who: Who,
    /// What.
    pub kind: Kind,
    /// The node that it is about; zero: none.
    pub node: u8,
    /// The host that it is about; zero: none.
    pub host: u8,
    /// The evidence class, if there is one.
    pub class: String,
    /// The incarnation that it is about; zero: none.
    pub incarnation: u64,
    /// The view's version; zero: none.
    pub version: u64,
    /// The line, without its clock and its author.
    pub text: String,
}

impl Event {
    /// An event about nobody.
    #[must_use]
    pub fn new(at: Duration, who: Who, kind: Kind, text: &str) -> Self {
        let text = text.to_owned();
        Self { at, who, kind, node: 0, host: 0, class: String::new(), incarnation: 0, version: 0, text }
    }
}

/// The evidence classes, as they are written everywhere.
const CLASSES: [&str; 6] = ["vm-gone", "vm-stopped", "power-off", "storage-cut", "lease-expired", "operator"];
/// The author's mark in a node's serial output, which also carries the kernel's own lines.
const NODE_MARK: &str = "palisade-node:";

/// Reads one line; `None` if it is nothing to show.
#[must_use]
pub fn parse(at: Duration, who: Who, line: &str) -> Option<Event> {
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    let line = line.trim();
    match who {
        Who::Node(_) => parse_node(at, who, line),
        _ if line.is_empty() => None,
        _ => Some(parse_log(at, who, line)),
    }
}

fn parse_node(at: Duration, who: Who, line: &str) -> Option<Event> {
    let Some((_, rest)) = line.split_once(NODE_MARK) else {
        let panicked = line.contains("Kernel panic");
        return panicked.then(|| Event::new(at, who, Kind::Note, line));
    };
    let rest = rest.trim();
    let body = match rest.split_once(' ') {
        Some((clock, body)) if clock.parse::<f64>().is_ok() => body.trim(),
        _ => rest,
    };
    let word = body.split_whitespace().next().unwrap_or("");
    let kind = match word {
        "SESSION" | "WELCOME" => Kind::Session,
        "LEASE" => Kind::Lease,
        "VIEW" => Kind::View,
        "NODE_UP" => Kind::NodeUp,
        "NODE_SUSPECT" => Kind::NodeSuspect,
        "NODE_DOWN" => Kind::NodeDown,
        _ => Kind::Note,
    };
    let mut event = Event::new(at, who, kind, body);
    for (key, value) in body.split_whitespace().filter_map(|field| field.split_once('=')) {
        match key {
            "node" => event.node = value.parse().unwrap_or(0),
            "host" => event.host = value.parse().unwrap_or(0),
            "class" => value.clone_into(&mut event.class),
            "incarnation" => event.incarnation = u64::from_str_radix(value, 16).unwrap_or(0),
            "version" => event.version = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    Some(event)
}

fn parse_log(at: Duration, who: Who, line: &str) -> Event {
    let message = without_head(line);
    let lower = message.to_lowercase();
    let has = |word: &str| lower.contains(word);
    let says = |word: &str| message.starts_with(word);
    // The other writers talk about what appliances decided, or about themselves.
    let kind = if !matches!(who, Who::Appliance(_)) {
        Kind::Note
    } else if has(" is down: ") {
        Kind::Confirmed
    } else if has(" is condemned") {
        Kind::Condemned
    } else if says("admitted as ") {
        Kind::Admitted
    } else if says("leads under ") {
        Kind::Leader
    } else if says("view ") && has(" committed") {
        Kind::View
    } else if has(" says lastgasp") || has(": monitor says panicked") || (says("guard: ") && has(" is exited")) {
        Kind::Noticed
    } else if says("order ") {
        Kind::Order
    } else {
        Kind::Note
    };
    let mut event = Event::new(at, who, kind, message);
    event.node = number_after(&lower, "node ");
    event.host = number_after(&lower, "host ");
    event.version = u64::from(number_after_wide(&lower, "view "));
    if let Some(class) = CLASSES.iter().find(|class| has(class)) {
        (*class).clone_into(&mut event.class);
    }
    event
}

/// The line without what its writer puts in front: the clock in brackets, the level, the module.
fn without_head(line: &str) -> &str {
    let Some((_, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return line };
    let rest = rest.trim_start();
    let is_level = |word: &str| ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&word);
    match rest.split_once(' ') {
        Some((level, rest)) if is_level(level) => {
            rest.split_once(": ").map_or(rest, |(_, message)| message).trim_start()
        }
        _ => rest,
    }
}

/// The number that follows the first appearance of `word`; zero if there is none.
fn number_after(text: &str, word: &str) -> u8 {
    u8::try_from(number_after_wide(text, word)).unwrap_or(0)
}

fn number_after_wide(text: &str, word: &str) -> u32 {
    let Some(rest) = text.find(word).and_then(|at| text.get(at + word.len()..)) else { return 0 };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(who: Who, line: &str) -> Event {
        parse(Duration::from_millis(5), who, line).unwrap()
    }

    #[test]
    fn a_node_line_gives_all_its_fields() {
        let line =
            "\u{1b}palisade-node: 12.345 NODE_DOWN node=2 class=vm-stopped incarnation=0000000000000010 version=7\r";
        let event = read(Who::Node(1), line);
        assert_eq!((event.kind, event.node, event.class.as_str()), (Kind::NodeDown, 2, "vm-stopped"));
        assert_eq!((event.incarnation, event.version), (16, 7));
        assert_eq!(read(Who::Node(1), "palisade-node: ready").kind, Kind::Note);
        assert_eq!(read(Who::Node(1), "palisade-node: 1.0 LEASE").kind, Kind::Lease);
        assert!(parse(Duration::ZERO, Who::Node(1), "[    1.2] virtio_net: up").is_none());
    }

    #[test]
    fn log_lines_are_understood_by_their_words() {
        assert_eq!(read(Who::Guard(1), "[12.000001] guard: started").text, "guard: started");
        let line = |message: &str| format!("[   12.000345] WARN  palisade_core::engine::node: {message}");
        let event = read(Who::Appliance(2), &line("node 2 is down: vm-stopped"));
        assert_eq!((event.kind, event.node, event.class.as_str()), (Kind::Confirmed, 2, "vm-stopped"));
        assert_eq!(event.text, "node 2 is down: vm-stopped");
        let event = read(Who::Appliance(1), &line("view 5 committed under ballot 1.2"));
        assert_eq!((event.kind, event.version), (Kind::View, 5));
        let event = read(Who::Appliance(1), &line("host 3 is condemned: silent"));
        assert_eq!((event.kind, event.host, event.node), (Kind::Condemned, 3, 0));
        for (message, kind) in [
            ("leads under ballot 1.1", Kind::Leader),
            ("admitted as incarnation 12ab", Kind::Admitted),
            ("node 2: monitor says Panicked", Kind::Noticed),
            ("guard: node 3 run 1 is Exited", Kind::Noticed),
            ("guard: node 3 run 1 is Running", Kind::Note),
            ("node 1 says LastGasp { reason: Panic }", Kind::Noticed),
            ("order Off node 2 with qmp by host 2", Kind::Order),
            ("host 2 answers Confirmed(VmStopped) about node 2", Kind::Note),
            ("something in some order or other", Kind::Note),
        ] {
            assert_eq!(read(Who::Appliance(1), &line(message)).kind, kind, "{message}");
            assert_eq!(read(Who::Guard(1), &line(message)).kind, Kind::Note, "{message}");
        }
    }
}
