//! The result tables: one row per scene, or per scene and percentile.
//!
//! Owns columns and widths. Must never round a time to nothing: below ten milliseconds one decimal is shown.

use crate::scenes::Outcome;
use crate::scenes::groups::Groups;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// The head of the columns that do not depend on the nodes.
const HEAD: [&str; 4] = ["scene", "held", "detection", "proof"];
const TAIL: [&str; 2] = ["class", "allocations"];
/// The head of the table of groups and takeovers.
const GROUP_HEAD: [&str; 8] =
    ["scene", "stopped", "started", "recovered", "write returned", "replayed by", "service on", "all in again"];

/// The rows of one round, in milliseconds. `nodes`: all nodes, each with a column for its notification.
#[must_use]
pub fn one_round(outcomes: &[Outcome], nodes: &[u8]) -> String {
    let mut rows = vec![head(nodes, "")];
    for outcome in outcomes {
        let measures = &outcome.measures;
        let mut row = vec![
            format!("{} {}", outcome.scene.number, outcome.scene.title),
            if outcome.held() { "yes".to_owned() } else { "NO".to_owned() },
            millis(measures.detection),
            millis(measures.proof),
        ];
        for node in nodes {
            let time = measures.notified.iter().find(|(who, _)| who == node).map(|(_, time)| *time);
            let is_victim = measures.victims.contains(node);
            row.push(if is_victim { "dead".to_owned() } else { millis(time) });
        }
        row.push(if measures.class.is_empty() { "-".to_owned() } else { measures.class.clone() });
        row.push(outcome.allocations.map_or("-".to_owned(), |count| count.to_string()));
        rows.push(row);
    }
    layout(&rows)
}

/// The same round's groups and takeovers, in milliseconds; `n2 34`: node 2, after 34.
#[must_use]
pub fn groups_of_one_round(outcomes: &[Outcome]) -> String {
    let mut rows = vec![GROUP_HEAD.map(str::to_owned).to_vec()];
    for outcome in outcomes {
        let groups = &outcome.measures.groups;
        let mut row = vec![format!("{} {}", outcome.scene.number, outcome.scene.title)];
        row.extend([groups.stopped, groups.started, groups.recovered, groups.written].map(millis));
        row.push(groups.replay.map_or("-".to_owned(), |(node, time)| by(node, Some(time))));
        row.push(groups.owner.map_or("-".to_owned(), |node| by(node, groups.taken)));
        row.push(millis(groups.whole));
        rows.push(row);
    }
    layout(&rows)
}

/// A node, and when it had it; without a time it had it before.
fn by(node: u8, time: Option<Duration>) -> String {
    time.map_or(format!("n{node}"), |time| format!("n{node} {}", millis(Some(time))))
}

/// Median and 99th percentile of the groups' columns over several rounds.
#[must_use]
pub fn groups_of_many_rounds(outcomes: &[Outcome]) -> String {
    let head = GROUP_HEAD.iter().enumerate();
    let head = head.map(|(index, word)| if index == 0 { (*word).to_owned() } else { format!("{word} p50/p99") });
    let mut rows = vec![head.collect::<Vec<_>>()];
    for (number, of) in by_scene(outcomes) {
        let title = of.first().map_or("", |outcome| outcome.scene.title);
        let column = |pick: &dyn Fn(&Groups) -> Option<Duration>| {
            percentiles(of.iter().filter_map(|outcome| pick(&outcome.measures.groups)).collect())
        };
        rows.push(vec![
            format!("{number} {title}"),
            column(&|groups| groups.stopped),
            column(&|groups| groups.started),
            column(&|groups| groups.recovered),
            column(&|groups| groups.written),
            column(&|groups| groups.replay.map(|(_, time)| time)),
            column(&|groups| groups.taken),
            column(&|groups| groups.whole),
        ]);
    }
    layout(&rows)
}

/// The outcomes of each scene, in the order of their numbers.
fn by_scene(outcomes: &[Outcome]) -> BTreeMap<u8, Vec<&Outcome>> {
    let mut scenes: BTreeMap<u8, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        scenes.entry(outcome.scene.number).or_default().push(outcome);
    }
    scenes
}

/// Median and 99th percentile of every column over several rounds.
#[must_use]
pub fn many_rounds(outcomes: &[Outcome], nodes: &[u8]) -> String {
    let mut rows = vec![head(nodes, " p50/p99")];
    for (number, of) in by_scene(outcomes) {
        let held = of.iter().filter(|outcome| outcome.held()).count();
        let title = of.first().map_or("", |outcome| outcome.scene.title);
        let column = |pick: &dyn Fn(&Outcome) -> Option<Duration>| {
            percentiles(of.iter().filter_map(|outcome| pick(outcome)).collect())
        };
        let mut row = vec![
            format!("{number} {title}"),
            format!("{held}/{}", of.len()),
            column(&|outcome| outcome.measures.detection),
            column(&|outcome| outcome.measures.proof),
        ];
        for node in nodes {
            row.push(column(&|outcome| {
                outcome.measures.notified.iter().find(|(who, _)| who == node).map(|(_, time)| *time)
            }));
        }
        let mut classes: Vec<&str> = of.iter().map(|outcome| outcome.measures.class.as_str()).collect();
        classes.retain(|class| !class.is_empty());
        classes.sort_unstable();
        classes.dedup();
        row.push(if classes.is_empty() { "-".to_owned() } else { classes.join(",") });
        row.push(of.iter().filter_map(|outcome| outcome.allocations).sum::<u64>().to_string());
        rows.push(row);
    }
    layout(&rows)
}

fn head(nodes: &[u8], suffix: &str) -> Vec<String> {
    let told = nodes.iter().map(|node| format!("told n{node}"));
    HEAD.into_iter().map(str::to_owned).chain(told).chain(TAIL.map(str::to_owned)).enumerate().fold(
        Vec::new(),
        |mut all, (index, word)| {
            let is_time = index >= 2 && index < HEAD.len() + nodes.len();
            all.push(if is_time { format!("{word}{suffix}") } else { word });
            all
        },
    )
}

/// A time in milliseconds.
#[must_use]
pub fn millis(time: Option<Duration>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.1}") } else { format!("{millis:.0}") }
}

/// Median and 99th percentile, in milliseconds.
#[must_use]
pub fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |per_cent: usize| times.get((times.len() * per_cent).div_ceil(100).saturating_sub(1)).copied();
    if times.is_empty() { "-".to_owned() } else { format!("{}/{}", millis(at(50)), millis(at(99))) }
}

/// First column to the left, all others to the right.
fn layout(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if index == 0 {
            let total = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
            let _ = writeln!(text, "{}", "-".repeat(total));
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::scenes::{Measures, by_number};

    fn outcome(detection_ms: u64) -> Outcome {
        Outcome {
            scene: by_number(3).unwrap(),
            trouble: None,
            measures: Measures {
                detection: Some(Duration::from_millis(detection_ms)),
                notified: vec![(1, Duration::from_micros(4500)), (2, Duration::from_millis(30))],
                class: "vm-gone".to_owned(),
                victims: vec![3],
                ..Measures::default()
            },
            allocations: Some(0),
            stall: Duration::ZERO,
            began: Duration::ZERO,
            events: Vec::new(),
        }
    }

    #[test]
    fn a_round_is_a_row_per_scene() {
        let text = one_round(&[outcome(12)], &[1, 2, 3]);
        let row = text.lines().nth(2).unwrap();
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, ["3 node 3's QEMU gets SIGKILL", "yes", "12", "-", "4.5", "30", "dead", "vm-gone", "0"]);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let all: Vec<Outcome> = (1..=100).map(|n| outcome(n * 10)).collect();
        let text = many_rounds(&all, &[1, 2, 3]);
        assert!(text.contains("500/990"), "{text}");
        assert!(text.contains("100/100"), "{text}");
        assert_eq!(percentiles(vec![Duration::from_millis(20)]), "20/20");
    }

    #[test]
    fn groups_show_who_took_over_and_when() {
        let mut moved = outcome(12);
        let at = Duration::from_millis;
        moved.measures.groups = Groups {
            stopped: Some(at(20)),
            started: Some(at(31)),
            recovered: Some(at(32)),
            written: Some(at(45)),
            replay: Some((2, at(40))),
            owner: Some(1),
            taken: Some(at(35)),
            whole: Some(at(9000)),
        };
        let mut stayed = outcome(12);
        stayed.measures.groups = Groups { owner: Some(1), ..Groups::default() };
        let text = groups_of_one_round(&[moved.clone(), stayed]);
        let cells = |row: usize| -> Vec<String> {
            let row = text.lines().nth(row).unwrap().split("  ").map(|cell| cell.trim().to_owned());
            row.filter(|cell| !cell.is_empty()).collect()
        };
        assert_eq!(cells(2)[1..], ["20", "31", "32", "45", "n2 40", "n1 35", "9000"]);
        assert_eq!(cells(3)[1..], ["-", "-", "-", "-", "-", "n1", "-"]);
        let many = groups_of_many_rounds(&[moved.clone(), moved]);
        assert!(many.lines().nth(2).unwrap().contains("31/31"), "{many}");
    }
}
