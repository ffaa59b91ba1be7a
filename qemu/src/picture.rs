//! The picture of the timeline: one panel per scene, one lane per appliance and node, one mark per event.
//!
//! Owns the SVG. The axis of a panel counts from the scene's deed and is logarithmic, so that the milliseconds of a proof
//! and the seconds of a boot are both to be seen. Must never draw one label over another: a lane grows instead.

use crate::event::{Event, Kind, Who};
use crate::scenes::Outcome;
use crate::table::millis;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 30.0;
const ROW: f64 = 15.0;
const CHARACTER: f64 = 6.2;
const TITLE: f64 = 46.0;
const AXIS: f64 = 34.0;

/// How an event is drawn, and what the legend says about it. What is not here is not drawn.
const MARKS: [(Kind, &str, &str); 16] = [
    (Kind::Injected, "#c62828", "done to it"),
    (Kind::Power, "#6d4c41", "power on or off"),
    (Kind::Leader, "#1565c0", "leader elected"),
    (Kind::Admitted, "#4fc3f7", "appliance admitted"),
    (Kind::Noticed, "#ffd54f", "noticed"),
    (Kind::Condemned, "#ef6c00", "condemned"),
    (Kind::Order, "#827717", "ordered"),
    (Kind::Confirmed, "#6a1b9a", "confirmed"),
    (Kind::NodeSuspect, "#ffab91", "told: suspect"),
    (Kind::NodeDown, "#ad1457", "told: down"),
    (Kind::NodeUp, "#2e7d32", "told: up"),
    (Kind::Session, "#9ccc65", "node has a session"),
    (Kind::GroupStop, "#00838f", "locks stopped"),
    (Kind::GroupStart, "#00bfa5", "started with a set"),
    (Kind::GroupAsk, "#78909c", "joins or left"),
    (Kind::Taken, "#3949ab", "taken over"),
];

/// Draws all scenes.
#[must_use]
pub fn draw(outcomes: &[Outcome]) -> String {
    let mut body = String::new();
    let mut y = 76.0;
    for outcome in outcomes {
        y = panel(&mut body, y, outcome);
    }
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{h}\" viewBox=\"0 0 {WIDTH} {h}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        h = y + 10.0
    );
    legend(&mut svg);
    svg.push_str(&body);
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    let _ =
        writeln!(svg, "<text x=\"12\" y=\"20\" font-size=\"15\" font-weight=\"bold\">Palisade: what happened</text>");
    let (mut x, mut y) = (12.0, 40.0);
    for (_, colour, words) in MARKS {
        let wide = 24.0 + width_of(words);
        if x + wide > WIDTH {
            (x, y) = (12.0, y + ROW);
        }
        let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>", x + 4.0);
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{words}</text>", x + 12.0, y + 3.5);
        x += wide;
    }
}

/// One scene. Returns where the next one begins.
fn panel(svg: &mut String, top: f64, outcome: &Outcome) -> f64 {
    let deed = if outcome.measures.deed.is_zero() { outcome.began } else { outcome.measures.deed };
    let shown = shown(&outcome.events);
    let last = shown.iter().map(|event| event.at.saturating_sub(deed)).max().unwrap_or_default();
    let scale = Scale::new(last);
    title(svg, top, outcome);
    let mut y = top + TITLE;
    let first_lane = y;
    let mut lanes: BTreeMap<Who, Vec<&Event>> = BTreeMap::new();
    for event in shown {
        lanes.entry(lane_of(event)).or_default().push(event);
    }
    let mut marks = String::new();
    for (index, (who, events)) in lanes.iter().enumerate() {
        let height = lane(&mut marks, y, events, deed, &scale);
        let shade = if index % 2 == 0 { "#f5f5f5" } else { "#ffffff" };
        let _ = writeln!(svg, "<rect x=\"0\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{height:.1}\" fill=\"{shade}\"/>");
        let _ = writeln!(svg, "<text x=\"12\" y=\"{:.1}\" font-weight=\"bold\">{who}</text>", y + ROW - 3.5);
        y += height;
    }
    axis(svg, first_lane, y, &scale);
    svg.push_str(&marks);
    y + AXIS
}

/// What is drawn. An appliance that boots tells the deaths that it learns of before it is admitted: history, not news.
fn shown(events: &[Event]) -> Vec<&Event> {
    let mut booting = BTreeSet::new();
    let mut shown = Vec::new();
    for event in events {
        if matches!(event.who, Who::Appliance(_)) && event.text.contains(": boot") {
            booting.insert(event.who);
        }
        if event.kind == Kind::Admitted {
            booting.remove(&event.who);
        }
        // The owner of a takeover says itself that it has it.
        let is_report = event.kind == Kind::Taken && !matches!(event.who, Who::Node(_));
        let is_no_news = is_report || event.kind == Kind::Confirmed && booting.contains(&event.who);
        if mark(event.kind).is_some() && !is_no_news {
            shown.push(event);
        }
    }
    shown
}

fn title(svg: &mut String, top: f64, outcome: &Outcome) {
    let colour = if outcome.held() { "#1b5e20" } else { "#b71c1c" };
    let verdict = outcome.trouble.as_deref().map_or("held".to_owned(), |why| format!("did not hold: {why}"));
    let heading = format!("{}  {} - {verdict}", outcome.scene.number, outcome.scene.title);
    let _ = writeln!(
        svg,
        "<text x=\"12\" y=\"{:.1}\" font-size=\"13\" font-weight=\"bold\" fill=\"{colour}\">{}</text>",
        top + 18.0,
        escaped(&heading)
    );
    let measures = &outcome.measures;
    let mut facts = Vec::new();
    for (word, time) in [("detection", measures.detection), ("proof", measures.proof)] {
        facts.extend(time.map(|time| format!("{word} {} ms", millis(Some(time)))));
    }
    facts.extend(measures.notified.iter().map(|(node, time)| format!("node {node} told {} ms", millis(Some(*time)))));
    facts.extend(measures.extra.iter().map(|(word, time)| format!("{word} {} ms", millis(Some(*time)))));
    if !measures.class.is_empty() {
        facts.push(measures.class.clone());
    }
    let facts = escaped(&facts.join(" · "));
    let _ = writeln!(svg, "<text x=\"12\" y=\"{:.1}\" fill=\"#424242\">{facts}</text>", top + 34.0);
}

/// Marks and labels of one lane, in as many rows as they need. Returns its height.
fn lane(svg: &mut String, top: f64, events: &[&Event], deed: Duration, scale: &Scale) -> f64 {
    let mut ends: Vec<f64> = Vec::new();
    for event in events {
        let x = scale.x(event.at.saturating_sub(deed));
        let label = label(event);
        let long = width_of(&label);
        // To the right of the mark, or to its left where the panel ends.
        let is_right = x + 10.0 + long < WIDTH - RIGHT / 2.0;
        let (from, to) = if is_right { (x - 5.0, x + 12.0 + long) } else { (x - 12.0 - long, x + 5.0) };
        let free = ends.iter().position(|end| *end <= from);
        let row = free.unwrap_or_else(|| {
            ends.push(0.0);
            ends.len() - 1
        });
        ends[row] = to;
        let y = top + ROW * (u32::try_from(row).map_or(0.0, f64::from) + 0.5);
        let colour = mark(event.kind).map_or("#000000", |(colour, _)| colour);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
        let (anchor, at) = if is_right { ("start", x + 7.0) } else { ("end", x - 7.0) };
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#212121\">{}</text>",
            y + 3.5,
            escaped(&label)
        );
    }
    ROW * u32::try_from(ends.len().max(1)).map_or(1.0, f64::from)
}

fn axis(svg: &mut String, top: f64, bottom: f64, scale: &Scale) {
    for (millis, word) in
        [(0, "0"), (1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1000, "1 s"), (10_000, "10 s"), (100_000, "100 s")]
    {
        let time = Duration::from_millis(millis);
        if time > scale.last {
            continue;
        }
        let x = scale.x(time);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#bdbdbd\" \
             stroke-dasharray=\"2 3\"/>\n<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" \
             fill=\"#616161\">{word}</text>",
            bottom + 12.0
        );
    }
}

/// From a time since the deed to a place on the axis.
struct Scale {
    last: Duration,
}

impl Scale {
    fn new(last: Duration) -> Self {
        Self { last: last.max(Duration::from_millis(10)) }
    }

    fn x(&self, time: Duration) -> f64 {
        let place = |time: Duration| (1.0 + time.as_secs_f64() * 1000.0).ln();
        LEFT + (WIDTH - LEFT - RIGHT) * place(time.min(self.last)) / place(self.last)
    }
}

fn mark(kind: Kind) -> Option<(&'static str, &'static str)> {
    MARKS.iter().find(|(known, _, _)| *known == kind).map(|(_, colour, words)| (*colour, *words))
}

/// What a host's power does belongs to the lane of its appliance.
fn lane_of(event: &Event) -> Who {
    match event.who {
        Who::Bmc(host) | Who::Guard(host) => Who::Appliance(host),
        other => other,
    }
}

fn label(event: &Event) -> String {
    let text = match event.kind {
        Kind::NodeDown => format!("node {} down: {}", event.node, event.class),
        Kind::NodeUp => format!("node {} up", event.node),
        Kind::NodeSuspect => format!("node {} suspect", event.node),
        Kind::Session => "session".to_owned(),
        Kind::GroupStop => "stop".to_owned(),
        Kind::GroupStart => format!("start with {}", numbers(&event.set())),
        Kind::Taken => format!("took {}", event.value("what").unwrap_or("")),
        _ => event.text.clone(),
    };
    if text.chars().count() > 60 { text.chars().take(59).chain(['…']).collect() } else { text }
}

fn numbers(list: &[u8]) -> String {
    list.iter().map(u8::to_string).collect::<Vec<_>>().join(" ")
}

fn width_of(text: &str) -> f64 {
    CHARACTER * u32::try_from(text.chars().count()).map_or(0.0, f64::from)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::scenes::{Measures, by_number};

    #[test]
    fn a_scene_is_drawn_with_its_lanes_and_no_bare_brackets() {
        let at = Duration::from_millis;
        let event = |ms, who, kind, text: &str| Event::new(at(ms), who, kind, text);
        let outcome = Outcome {
            scene: by_number(2).unwrap(),
            trouble: Some("a < b".to_owned()),
            measures: Measures { deed: at(1000), ..Measures::default() },
            allocations: Some(0),
            stall: Duration::ZERO,
            began: at(990),
            events: vec![
                event(1000, Who::Runner, Kind::Injected, "node 2 is told to panic"),
                event(1020, Who::Appliance(1), Kind::Condemned, "node 2 condemned: panicked"),
                event(1021, Who::Appliance(1), Kind::Condemned, "node 2 condemned: panicked"),
                event(1040, Who::Node(1), Kind::NodeDown, "NODE_DOWN node=2"),
                event(1041, Who::Node(1), Kind::Lease, "LEASE"),
                event(1050, Who::Appliance(3), Kind::Note, "palisade 0.1.0: boot"),
                event(1060, Who::Appliance(3), Kind::Confirmed, "node 2 is down: vm-stopped"),
            ],
        };
        let svg = draw(&[outcome]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">appliance 1<") && svg.contains(">node 1<") && svg.contains("a &lt; b"));
        let marks = svg.matches("<circle").count();
        assert_eq!(marks, MARKS.len() + 4);
    }

    #[test]
    fn the_axis_is_monotone_and_ends_at_the_last_event() {
        let scale = Scale::new(Duration::from_secs(10));
        assert!((scale.x(Duration::ZERO) - LEFT).abs() < 0.01);
        assert!(scale.x(Duration::from_millis(5)) < scale.x(Duration::from_millis(6)));
        assert!((scale.x(Duration::from_secs(10)) - (WIDTH - RIGHT)).abs() < 0.01);
    }
}
