//! What an operator asks of the cluster: fence, pause, resume, maintenance, acknowledge, leave.
//!
//! Owns the words of these commands. The answer comes when the decision is committed; how a fence goes on is in `status`.

use crate::status::{Conversation, Road};
use palisade_core::id::{HostId, NodeId};
use palisade_core::limits::{MAINTENANCE_MAX_MS, PAUSE_MAX_MS};
use palisade_core::who::Who;
use palisade_core::wire::node::{Operation, Target, Wish};

/// One request and where to bring it.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// What.
    pub operation: Operation,
    /// Whom to tell it.
    pub road: Road,
}

/// The target that two words name.
pub fn target(kind: &str, number: &str) -> Result<Target, String> {
    let id: u8 = number
        .parse()
        .ok()
        .filter(|&id| id != 0)
        .ok_or_else(|| format!("`{number}` is no number of a {kind}; write 1 to 255, as in the configuration"))?;
    match kind {
        "node" => Ok(Target::Node(NodeId::new(id))),
        "host" => Ok(Target::Host(HostId::new(id))),
        _ => Err(format!("`{kind}` is no kind of target; write `node` or `host`, then its number")),
    }
}

/// What `--for` means: a number and s, m, h or d.
pub fn duration(text: &str, wish: Wish) -> Result<u32, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit_ms: u64 = match unit {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("--for {text}: expected a number and s, m, h or d, like 90s")),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    let (most, words) = if wish == Wish::Pause { (PAUSE_MAX_MS, "10 minutes") } else { (MAINTENANCE_MAX_MS, "7 days") };
    let ms = ms.and_then(|ms| u32::try_from(ms).ok()).filter(|ms| (1..=most).contains(ms));
    ms.ok_or_else(|| format!("--for {text}: it ends by itself, after {words} at most"))
}

/// Who asks: as told, or whoever runs this.
pub fn who(told: Option<String>) -> Result<Who, String> {
    if let Some(told) = told {
        return Who::new(&told).ok_or_else(|| format!("--who {told}: at most 24 bytes that print"));
    }
    let user = ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    Ok(Who::new(&user).unwrap_or(Who::NONE))
}

/// Asks, and says what became of it.
pub fn ask(request: &Request) -> Result<(), String> {
    let Operation { wish, target, duration_ms, .. } = request.operation;
    let version = Conversation::open(&request.road)?.operate(request.operation)?;
    let seconds = f64::from(duration_ms) / 1000.0;
    match wish {
        Wish::Fence => say!("{target} is condemned; `palisadectl status` shows the proof when it is there"),
        Wish::Pause => say!("{target}: silence of this run is not accused for {seconds} s, or until `resume`"),
        Wish::Resume => say!("{target}: the pause is over"),
        Wish::Maintain => say!("{target}: neither accused nor ordered off for {seconds} s, or until --end"),
        Wish::Release => say!("{target}: the maintenance is over"),
        Wish::Acknowledge => say!("{target} is down, because you say so"),
        Wish::Leave => {
            say!("{target} left: switch it off when you like; it is a member again when its appliance starts anew")
        }
    }
    say!("committed by view {version} at the latest");
    Ok(())
}
