//! How a status is shown: a table for a person, JSON for a program.
//!
//! Owns the words and the JSON field names, which are an interface: they may grow, never change.

use palisade_core::fencing::Class;
use palisade_core::state::groups::{Phase, Standing};
use palisade_core::state::takeovers::Progress;
use palisade_core::status::{
    COUNTER_NAMES, DeviceEntry, GroupEntry, HistoryEntry, HoldEntry, HostEntry, HostState, MARKS, MemberEntry,
    NodeEntry, Role, Summary, TakeoverEntry,
};
use palisade_core::wire::message::{LOCAL_GUARD, LOCAL_MONITOR};
use palisade_core::wire::node::{NodeState, What};
use serde_json::{Value, json};
use std::fmt::Write;

/// All that an appliance says about itself and the cluster.
#[derive(Debug)]
pub struct Report {
    /// Itself.
    pub summary: Summary,
    /// Every configured host.
    pub hosts: Vec<HostEntry>,
    /// Every configured node.
    pub nodes: Vec<NodeEntry>,
    /// Every group.
    pub groups: Vec<GroupEntry>,
    /// Who is in them, and whose fate is still to be told there.
    pub members: Vec<MemberEntry>,
    /// Recoveries under way, and named services.
    pub takeovers: Vec<TakeoverEntry>,
    /// Fencing records: the open ones first.
    pub history: Vec<HistoryEntry>,
    /// Every configured device.
    pub devices: Vec<DeviceEntry>,
    /// Pauses, maintenance, and who asked for an open fence.
    pub holds: Vec<HoldEntry>,
    /// In the order of `COUNTER_NAMES`.
    pub counters: Vec<u64>,
}

const fn host_word(state: HostState) -> &'static str {
    match state {
        HostState::Out => "out",
        HostState::Member => "member",
        HostState::Condemned => "condemned",
        HostState::Down => "down",
        HostState::Left => "left",
    }
}

const fn node_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Unknown => "not seen",
        NodeState::Up => "up",
        NodeState::Condemned => "condemned",
        NodeState::Down => "down",
        NodeState::Left => "left",
    }
}

const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "running",
        Phase::Stopping => "stopping",
        Phase::Starting => "starting",
    }
}

const fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Joining => "joining",
        Standing::Member => "member",
        Standing::Leaving => "leaving",
        Standing::Dead => "dead, not recovered",
        Standing::Recovered => "dead, recovered",
        Standing::Left => "left",
        Standing::NeverStarted => "never started",
    }
}

const fn progress_word(progress: Progress) -> &'static str {
    match progress {
        Progress::Waiting => "waiting",
        Progress::Ordered => "ordered",
        Progress::Taken => "taken",
    }
}

fn what_word(what: What) -> String {
    match what {
        What::Recovery(volume) => format!("recovery of {volume}"),
        What::Named(name) => name.name().unwrap_or("?").to_owned(),
    }
}

fn class_word(class: u8) -> &'static str {
    Class::from_wire(class).map_or("-", Class::word)
}

/// The marks of a host or node, each behind a blank.
fn marks(marks: u8) -> String {
    MARKS.iter().filter(|(bit, _)| marks & bit != 0).map(|(_, word)| format!("  {word}")).collect()
}

/// The name of a device in a record.
fn device(report: &Report, number: u16) -> &str {
    match number {
        0 => "-",
        LOCAL_MONITOR => "qmp",
        LOCAL_GUARD => "guard",
        place => report.devices.get(usize::from(place) - 1).map_or("?", DeviceEntry::name),
    }
}

fn number(id: u8) -> String {
    if id == 0 { "-".to_owned() } else { id.to_string() }
}

/// For a person.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = summary(&mut out, &report.summary);
    rows(&mut out, "host  state      incarnation       heard", &report.hosts, |host| {
        // Members talk to their leader only, so a member knows nothing new of the others.
        let s = &report.summary;
        let hears = s.role == Role::Leader || [s.host, s.leader].contains(&host.host);
        let heard = match host.heard_ms {
            _ if !hears => "-".to_owned(),
            u32::MAX => "never".to_owned(),
            ms => format!("{ms} ms ago"),
        };
        let (state, marks) = (host_word(host.state), marks(host.marks));
        format!("{:>4}  {state:<9}  {:016x}  {heard}{marks}", host.host.get(), host.incarnation)
    });
    rows(&mut out, "node  state      host  run         incarnation       proof", &report.nodes, |node| {
        format!(
            "{:>4}  {:<9}  {:>4}  {:<10}  {:016x}  {}{}",
            node.node.get(),
            node_word(node.state),
            number(node.host.get()),
            node.run.counter,
            node.incarnation,
            class_word(node.class),
            marks(node.marks)
        )
    });
    group_rows(&mut out, report);
    rows(
        &mut out,
        "fencing records: target, reason, proof, executor, attempts, device, time, views, asked by",
        &report.history,
        |entry| {
            let target = match entry.node.get() {
                0 => format!("host {}", entry.host.get()),
                node => format!("node {node} on host {}", entry.host.get()),
            };
            let end = match entry.confirmed_version {
                0 => "open".to_owned(),
                version => {
                    format!("{:.1} ms, {} -> {version}", f64::from(entry.took_us) / 1000.0, entry.decided_version)
                }
            };
            format!(
                "  {target:<18}  {:<14}  {:<13}  {:>3}  {:>3}  {:<8}  {end}  {}",
                entry.reason.word(),
                class_word(entry.class),
                number(entry.executor.get()),
                entry.attempts,
                device(report, entry.device),
                entry.who.name()
            )
            .trim_end()
            .to_owned()
        },
    );
    care(&mut out, report);
    let counted: Vec<_> = COUNTER_NAMES.iter().zip(&report.counters).filter(|(_, count)| **count != 0).collect();
    rows(&mut out, "counted", &counted, |(name, count)| format!("  {count:>12}  {name}"));
    out
}

/// What a person has to look after.
fn care(out: &mut String, report: &Report) {
    rows(
        out,
        "device                            last trial         by  when  (the leader knows)",
        &report.devices,
        |entry| {
            let when = if entry.age_ms == u32::MAX { "-".to_owned() } else { format!("{} s ago", entry.age_ms / 1000) };
            format!("{:<32}  {:<17}  {:>3}  {when}", entry.name(), entry.trial.word(), number(entry.executor.get()))
        },
    );
    rows(out, "holds: what, target, time left, asked by", &report.holds, |hold| {
        format!(
            "  {:<12}  {:<9}  {:>7} s  {}",
            hold.kind.word(),
            hold.target.to_string(),
            hold.left_ms / 1000,
            hold.who.name()
        )
    });
}

fn group_rows(out: &mut String, report: &Report) {
    rows(
        out,
        "volume                            cluster           phase     generation        nodes",
        &report.groups,
        |group| {
            let of_group = report.members.iter().filter(|member| member.group == group.group);
            let nodes = of_group.map(|member| match member.standing {
                Standing::Member => number(member.node.get()),
                standing => format!("{} ({})", number(member.node.get()), standing_word(standing)),
            });
            let nodes = nodes.collect::<Vec<_>>().join(" ");
            let (cluster, phase) = (group.cluster.name().unwrap_or("?"), phase_word(group.phase));
            format!("{}  {cluster:<16}  {phase:<8}  {:<16x}  {nodes}", group.volume, group.generation)
        },
    );
    rows(
        out,
        "service                                       owner  state    from  token",
        &report.takeovers,
        |takeover| {
            format!(
                "{:<44}  {:>5}  {:<7}  {:>4}  {:x}",
                what_word(takeover.what),
                number(takeover.owner.get()),
                progress_word(takeover.progress),
                number(takeover.dead.get()),
                takeover.token
            )
        },
    );
}

fn summary(out: &mut String, s: &Summary) -> std::fmt::Result {
    writeln!(
        out,
        "host {}: {}, leader {}, {}, view {} under ballot {}, cluster {}",
        s.host.get(),
        s.role.word(),
        number(s.leader.get()),
        if s.quorum { "with quorum" } else { "WITHOUT QUORUM" },
        s.version,
        s.ballot,
        s.cluster
    )?;
    writeln!(
        out,
        "up {:.1} s, {} votes, configuration epoch {} hash {:016x}",
        micros(s.uptime_us),
        s.votes,
        s.epoch,
        s.config_hash
    )?;
    let p = &s.platform;
    writeln!(
        out,
        "allocations since the seal {}, heap {} bytes, stack {} of {} bytes, boot {:.1} ms, dropped {} bytes",
        p.allocations_since_seal,
        p.heap_bytes,
        p.stack_high_water_bytes,
        p.stack_bytes,
        f64::from(p.boot_us) / 1000.0,
        p.dropped_bytes
    )
}

fn micros(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

fn rows<T>(out: &mut String, head: &str, entries: &[T], row: impl Fn(&T) -> String) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{head}");
    for entry in entries {
        let _ = writeln!(out, "{}", row(entry));
    }
}

/// For a program. Incarnations and hashes are hexadecimal text: JSON readers round large numbers.
pub fn json(report: &Report) -> Value {
    let s = &report.summary;
    let words = |marks: u8| MARKS.iter().filter(|(bit, _)| marks & bit != 0).map(|(_, word)| *word).collect::<Vec<_>>();
    let hosts = report.hosts.iter().map(|host| {
        json!({
            "host": host.host.get(), "state": host_word(host.state), "incarnation": hex(host.incarnation),
            "heard_ms": (host.heard_ms != u32::MAX).then_some(host.heard_ms), "marks": words(host.marks),
        })
    });
    let nodes = report.nodes.iter().map(|node| {
        json!({
            "node": node.node.get(), "state": node_word(node.state), "host": node.host.get(),
            "class": Class::from_wire(node.class).map(Class::word), "incarnation": hex(node.incarnation),
            "run": { "boot": hex(node.run.boot), "counter": node.run.counter }, "marks": words(node.marks),
        })
    });
    let history = report.history.iter().map(|entry| {
        json!({
            "node": entry.node.get(), "host": entry.host.get(), "reason": entry.reason.word(),
            "class": Class::from_wire(entry.class).map(Class::word), "executor": entry.executor.get(),
            "attempts": entry.attempts, "incarnation": hex(entry.incarnation),
            "decided_version": entry.decided_version, "confirmed_version": entry.confirmed_version,
            "took_us": entry.took_us, "device": device(report, entry.device), "who": entry.who.name(),
        })
    });
    let devices = report.devices.iter().map(|entry| {
        json!({
            "device": entry.name(), "trial": entry.trial.word(), "executor": entry.executor.get(),
            "age_ms": (entry.age_ms != u32::MAX).then_some(entry.age_ms),
        })
    });
    let holds = report.holds.iter().map(|hold| {
        json!({
            "kind": hold.kind.word(), "target": hold.target.to_string(), "left_ms": hold.left_ms, "who": hold.who.name(),
        })
    });
    let counters: serde_json::Map<String, Value> =
        COUNTER_NAMES.iter().zip(&report.counters).map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    json!({
        "host": s.host.get(), "role": s.role.word(), "leader": s.leader.get(), "quorum": s.quorum, "votes": s.votes,
        "incarnation": hex(s.incarnation), "boot": hex(s.boot), "ballot": s.ballot.to_string(), "cluster": s.cluster,
        "version": s.version, "uptime_us": s.uptime_us, "epoch": s.epoch, "config_hash": hex(s.config_hash),
        "allocations_since_seal": s.platform.allocations_since_seal, "heap_bytes": s.platform.heap_bytes,
        "stack_high_water_bytes": s.platform.stack_high_water_bytes, "stack_bytes": s.platform.stack_bytes,
        "boot_us": s.platform.boot_us, "dropped_bytes": s.platform.dropped_bytes,
        "hosts": hosts.collect::<Vec<_>>(), "nodes": nodes.collect::<Vec<_>>(),
        "groups": groups_json(report), "takeovers": takeovers_json(report),
        "history": history.collect::<Vec<_>>(), "devices": devices.collect::<Vec<_>>(),
        "holds": holds.collect::<Vec<_>>(), "counters": counters,
    })
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn groups_json(report: &Report) -> Vec<Value> {
    let groups = report.groups.iter().map(|group| {
        let of_group = report.members.iter().filter(|member| member.group == group.group);
        let nodes = of_group.map(|member| {
            json!({
                "node": member.node.get(), "standing": standing_word(member.standing),
                "incarnation": hex(member.incarnation),
            })
        });
        json!({
            "volume": group.volume.to_string(), "cluster": group.cluster.name(), "phase": phase_word(group.phase),
            "generation": group.generation, "nodes": nodes.collect::<Vec<_>>(),
        })
    });
    groups.collect()
}

fn takeovers_json(report: &Report) -> Vec<Value> {
    let takeovers = report.takeovers.iter().map(|takeover| {
        json!({
            "service": what_word(takeover.what), "owner": takeover.owner.get(),
            "owner_incarnation": hex(takeover.owner_incarnation), "state": progress_word(takeover.progress),
            "dead": takeover.dead.get(), "dead_incarnation": hex(takeover.dead_incarnation), "token": takeover.token,
            "failures": takeover.failures,
        })
    });
    takeovers.collect()
}
