//! Scenes 5 and 6: a whole host is gone, its BMC proves it, every survivor is told, and it comes back.
//!
//! Owns the two ways for a host to go.

use super::{DEVICE, Measures, Stage, plural};
use std::time::Duration;

/// What an election adds when the lost host led.
const ELECTION: Duration = Duration::from_millis(500);
/// What remains of the budget for everything else.
const REST: Duration = Duration::from_millis(100);
/// How long the cluster gets to switch a host on again by itself, before the runner presses the button.
const BUTTON: Duration = Duration::from_secs(3);

/// Scene 5: guard and VMs of host 3 are stopped where they are. Only the power can prove anything.
pub fn frozen(stage: &Stage<'_>) -> Result<Measures, String> {
    let host = stage.cluster.host(3)?;
    let deed = stage.cluster.journal().inject("the guard and all VMs of host 3 get SIGSTOP");
    host.freeze().map_err(|error| format!("host 3 cannot be stopped: {error}"))?;
    end(stage, 3, deed)
}

/// Scene 6: the leader's host loses its power; its BMC has its own and reads "off".
pub fn leader_lost(stage: &Stage<'_>) -> Result<Measures, String> {
    let leader = stage.cluster.leader().ok_or("no appliance says that it leads")?;
    let host = stage.cluster.host(leader)?;
    let deed = stage.cluster.journal().inject(&format!("host {leader}, which leads, loses its power"));
    host.power_off("because its power failed").map_err(|error| error.to_string())?;
    let mut measures = end(stage, leader, deed)?;
    let successor = stage.cluster.leader().ok_or("no appliance leads after the loss")?;
    if let Some(event) = stage.cluster.journal().find(stage.place, |event| {
        event.kind == crate::event::Kind::Leader && event.who != crate::event::Who::Appliance(leader)
    }) {
        measures.extra.push(("election".to_owned(), event.at.saturating_sub(deed)));
    }
    stage.cluster.journal().note(&format!("host {successor} leads now"));
    Ok(measures)
}

fn end(stage: &Stage<'_>, lost: u8, deed: Duration) -> Result<Measures, String> {
    let victims: Vec<u8> = stage.cluster.plan().nodes_of(lost).map(|node| node.id).collect();
    let silence = stage.host_dead() / stage.scale();
    let limit = stage.bound(silence + ELECTION + DEVICE + REST);
    let mut measures = stage.collect(deed, &victims, "power-off", limit)?;
    let host = stage.cluster.host(lost)?;
    let patience = std::time::Instant::now() + BUTTON;
    while !host.is_on() && std::time::Instant::now() < patience {
        crate::stop::sleep(Duration::from_millis(50))?;
    }
    if !host.is_on() {
        host.power_on("by the runner, as a person would").map_err(|error| error.to_string())?;
    }
    stage.wait_return(&victims, &mut measures)?;
    stage.cluster.journal().note(&format!("host {lost} and its {} are back", plural(&victims, "node")));
    Ok(measures)
}
