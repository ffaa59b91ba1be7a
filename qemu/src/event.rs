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
    /// An appliance saw a barrier open, go on or close.
    Barrier,
    /// A node's lockspace stopped.
    GroupStop,
    /// It runs, with a set and fates.
    GroupStart,
    /// It has recovered.
    GroupRecovered,
    /// It asks to open a volume, or has closed one.
    GroupAsk,
    /// Something is given to a node.
    Takeover,
    /// It has it.
    Taken,
    /// A writer on a node says that something is safe on the volume.
    Written,
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

impl Event {
    /// The value of `key=value` in the line.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.text.split_whitespace().find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
    }

    /// The number that stands there; zero: none.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.value(key).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// The nodes of a GROUP_START.
    #[must_use]
    pub fn set(&self) -> Vec<u8> {
        let entries = self.value("set").unwrap_or("").split(',');
        entries.filter_map(|entry| entry.split(':').next()?.parse().ok()).collect()
    }

    /// What became of a node, and of which incarnation, as a GROUP_START tells it.
    #[must_use]
    pub fn fate_of(&self, node: u8) -> Option<(&str, u64)> {
        self.value("fates")?.split(',').find_map(|entry| {
            let mut words = entry.split(':');
            let is_it = words.next()?.parse() == Ok(node);
            let (fate, incarnation) = (words.next()?, u64::from_str_radix(words.next()?, 16).ok()?);
            is_it.then_some((fate, incarnation))
        })
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
    // The last mark: a line of the kernel may begin in the middle of another.
    let Some((_, rest)) = line.rsplit_once(NODE_MARK) else {
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
        "GROUP_STOP" => Kind::GroupStop,
        "GROUP_START" => Kind::GroupStart,
        "GROUP_RECOVERED" => Kind::GroupRecovered,
        "GROUP_JOIN" | "GROUP_LEFT" => Kind::GroupAsk,
        "TAKEOVER" => Kind::Takeover,
        "TAKEN" => Kind::Taken,
        "WRITTEN" | "CREATED" => Kind::Written,
        _ => Kind::Note,
    };
    let mut event = Event::new(at, who, kind, body);
    for (key, value) in body.split_whitespace().filter_map(|field| field.split_once('=')) {
        match key {
            "node" | "dead" => event.node = value.parse().unwrap_or(0),
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
    } else if says("volume ") && has(": barrier ") {
        Kind::Barrier
    } else if says("takeover of ") && has(" is done by ") {
        Kind::Taken
    } else if says("takeover of ") {
        Kind::Takeover
    } else if says("order ") {
        Kind::Order
    } else {
        Kind::Note
    };
    let mut event = Event::new(at, who, kind, message);
    event.node = number_after(&lower, "node ");
    event.host = number_after(&lower, "host ");
    event.version = number_after_wide(&lower, "view ");
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

fn number_after_wide(text: &str, word: &str) -> u64 {
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
        let event = read(Who::Appliance(1), &line("view 1099511627781 committed under ballot 1.2"));
        assert_eq!((event.kind, event.version), (Kind::View, (1 << 40) + 5), "versions hold the cluster's number");
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
            ("volume shared stops: barrier 1099511627790 opens", Kind::Barrier),
            ("volume shared starts: barrier 1099511627790 fixes members 1 2, 3 dead", Kind::Barrier),
            ("volume shared runs: barrier 1099511627790 closes", Kind::Barrier),
            ("volume shared is closed by all", Kind::Note),
            ("takeover of the recovery of volume shared of node 3 is given to node 1 with token 9", Kind::Takeover),
            ("takeover of service web waits for an owner", Kind::Takeover),
            ("takeover of service web of node 3 is done by node 1 with token 9", Kind::Taken),
            ("something in some order or other", Kind::Note),
        ] {
            assert_eq!(read(Who::Appliance(1), &line(message)).kind, kind, "{message}");
            assert_eq!(read(Who::Guard(1), &line(message)).kind, Kind::Note, "{message}");
        }
    }

    #[test]
    fn group_lines_give_set_fates_and_tokens() {
        let start = read(
            Who::Node(1),
            "palisade-node: 9.5 GROUP_START volume=shared generation=1099511627790 \
             set=1:0000000000000011,2:0000000000000012 fates=3:dead:00000000000000ff,4:never-started:0000000000000001",
        );
        assert_eq!(
            (start.kind, start.set(), start.number("generation")),
            (Kind::GroupStart, vec![1, 2], (1 << 40) + 14)
        );
        assert_eq!((start.fate_of(3), start.fate_of(4)), (Some(("dead", 255)), Some(("never-started", 1))));
        assert_eq!((start.fate_of(1), start.value("volume"), start.value("vol")), (None, Some("shared"), None));
        let alone = read(Who::Node(1), "palisade-node: 9.5 GROUP_START volume=shared generation=4 set=- fates=-");
        assert_eq!((alone.set(), alone.fate_of(3)), (Vec::new(), None));
        let taken = read(
            Who::Node(1),
            "palisade-node: 9.5 TAKEN what=recovery:shared dead=3 incarnation=00000000000000ff token=12",
        );
        assert_eq!((taken.kind, taken.node, taken.incarnation, taken.number("token")), (Kind::Taken, 3, 255, 12));
        for (line, kind) in [
            ("GROUP_STOP volume=shared generation=4", Kind::GroupStop),
            ("GROUP_RECOVERED volume=shared generation=4", Kind::GroupRecovered),
            ("GROUP_JOIN volume=shared", Kind::GroupAsk),
            ("GROUP_LEFT volume=shared", Kind::GroupAsk),
            ("TAKEOVER what=service:web token=3", Kind::Takeover),
            ("FAILED what=service:web token=3", Kind::Note),
            ("STATUS_GROUP volume=shared phase=running", Kind::Note),
        ] {
            assert_eq!(read(Who::Node(2), &format!("palisade-node: 9.5 {line}")).kind, kind, "{line}");
        }
        for broken in ["fates=3:dead", "fates=3:dead:xyz", "fates=x:dead:1", "fates=:::", "nothing"] {
            let event = read(Who::Node(2), &format!("palisade-node: 1.0 GROUP_START set=a,,300 {broken}"));
            assert_eq!((event.set(), event.fate_of(3)), (Vec::new(), None), "{broken}");
        }
    }
}
