//! The live timeline: one line per event, as it comes.
//!
//! Owns the words and colours on the terminal. A renewed lease is no news and is not shown, nor is
//! one write of many.

use crate::event::{Event, Kind, Who};
use std::io::{IsTerminal, Write};

/// Prints one event.
pub fn print(event: &Event) {
    if matches!(event.kind, Kind::Lease | Kind::Written) {
        return;
    }
    let mut out = std::io::stdout().lock();
    let line = if out.is_terminal() { coloured(event) } else { plain(event) };
    // A closed terminal must not end the cluster in the middle.
    let _ = writeln!(out, "{line}");
}

/// The line without colours.
#[must_use]
pub fn plain(event: &Event) -> String {
    let (seconds, millis) = (event.at.as_secs(), event.at.subsec_millis());
    format!("{seconds:>5}.{millis:03}  {:<12} {}", event.who, event.text)
}

fn coloured(event: &Event) -> String {
    let code = match event.kind {
        Kind::Injected | Kind::Power => "1;31",
        Kind::NodeDown | Kind::Confirmed => "1;35",
        Kind::Noticed | Kind::Condemned | Kind::NodeSuspect | Kind::Order => "33",
        Kind::NodeUp | Kind::Session | Kind::Admitted => "32",
        Kind::GroupStop | Kind::GroupStart | Kind::GroupRecovered | Kind::GroupAsk => "36",
        Kind::Takeover | Kind::Taken => "1;36",
        Kind::Leader => "1;34",
        _ if event.who == Who::Runner => "1",
        _ => "2",
    };
    format!("\x1b[{code}m{}\x1b[0m", plain(event))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_says_when_who_and_what() {
        let event = Event::new(Duration::from_millis(12_345), Who::Node(2), Kind::NodeDown, "NODE_DOWN node=1");
        assert_eq!(plain(&event), "   12.345  node 2       NODE_DOWN node=1");
    }
}
