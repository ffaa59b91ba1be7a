//! Scenes 1, 7 and 8: nobody dies, and nobody may be fenced.
//!
//! Owns the first boot, the cuts, and the death of an appliance alone.

use super::{Measures, Stage, groups};
use crate::cluster::Cluster;
use crate::event::{Event, Kind};
use crate::process;
use crate::stop;
use crate::sys::{self, Signal};
use palisade_core::status::{HistoryEntry, Role};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a restarted appliance is asked whether it was admitted.
const ASK: Duration = Duration::from_millis(10);

/// Scene 1: from the power switch to a leader, a view and three nodes.
pub fn all_up(stage: &Stage<'_>) -> Result<Measures, String> {
    let cluster = stage.cluster;
    let deed = cluster.journal().inject("all hosts are switched on");
    cluster.power_on()?;
    let mut measures = Measures { deed, ..Measures::default() };
    let beat = cluster
        .hosts()
        .iter()
        .map(|host| first_heartbeat(cluster, host.id(), stage.whole()))
        .collect::<Result<Vec<_>, _>>()?;
    measures.extra.push(("first heartbeat".to_owned(), beat.into_iter().max().unwrap_or_default()));
    cluster.wait_leader(0, stage.whole())?;
    measures.extra.push(("leader".to_owned(), cluster.journal().now().saturating_sub(deed)));
    cluster.wait_all_up(stage.whole())?;
    measures.extra.push(("all up".to_owned(), cluster.journal().now().saturating_sub(deed)));
    let places = stage.survivors(&[]);
    stage.wait_rejoin(&places, &mut measures)?;
    measures.groups.owner = cluster.owner()?.map(|owner| owner.node);
    for node in places {
        let what = format!("a view on node {node}");
        cluster.journal().wait(stage.place, stage.whole(), &what, |event| {
            event.who == crate::event::Who::Node(node) && event.kind == Kind::View
        })?;
    }
    Ok(measures)
}

/// From the start of an appliance's QEMU to its first heartbeat on the switch.
fn first_heartbeat(cluster: &Cluster, host: u8, limit: Duration) -> Result<Duration, String> {
    let end = Instant::now() + limit;
    loop {
        let pid = cluster.host(host)?.appliance_pid();
        let age = pid.and_then(process::age);
        if let (Some(age), Some(beat)) = (age, cluster.switch().first_heartbeat(host)) {
            return Ok(age.saturating_sub(beat.elapsed()));
        }
        if Instant::now() > end {
            return Err(format!("appliance {host} sent no heartbeat within {} ms", limit.as_millis()));
        }
        stop::sleep(ASK)?;
    }
}

/// Scene 7: a cut of one link, then of one direction of the other for half of `host_dead_ms`.
pub fn cuts(stage: &Stage<'_>) -> Result<Measures, String> {
    let cluster = stage.cluster;
    let (journal, switch) = (cluster.journal(), cluster.switch());
    let leader = cluster.leader().ok_or("no appliance says that it leads")?;
    let member = cluster.hosts().iter().map(|host| host.id()).find(|id| *id != leader);
    let member = member.ok_or("there is no host but the leader")?;
    let before = Before::of(cluster)?;
    let deed = journal.inject("link 0 is cut between all hosts");
    switch.cut_link(0);
    let result = stop::sleep(stage.host_dead() * 2).and_then(|()| {
        journal.inject(&format!("link 1 is cut too, from host {member} to host {leader} only"));
        switch.cut(1, member, leader);
        let result = stop::sleep(stage.host_dead() / 2);
        switch.heal();
        switch.cut_link(0);
        journal.inject("link 1 is whole again");
        result.and_then(|()| stop::sleep(stage.host_dead() * 2))
    });
    switch.heal();
    result?;
    journal.inject("link 0 is whole again");
    stop::sleep(stage.host_dead())?;
    nothing_fenced(stage, &before)?;
    groups::no_change(stage)?;
    Ok(Measures { deed, ..Measures::default() })
}

/// Scene 8: the VM of an appliance gets SIGKILL, once of a member and once of the leader.
pub fn appliance_killed(stage: &Stage<'_>) -> Result<Measures, String> {
    let cluster = stage.cluster;
    let before = Before::of(cluster)?;
    let mut measures = Measures { deed: cluster.journal().now(), ..Measures::default() };
    for (role, leads) in [("member", false), ("leader", true)] {
        let leader = cluster.wait_leader(0, stage.whole())?;
        let others = || cluster.hosts().iter().map(|host| host.id()).find(|id| *id != leader);
        let victim = if leads { leader } else { others().ok_or("there is no host but the leader")? };
        let took = restart(stage, victim, role)?;
        measures.extra.push((format!("{role} again"), took));
        // The leader's successor has to be elected first, which takes that long by itself.
        if !leads && took >= stage.host_dead() {
            let text = format!("the restart took {} ms, longer than host_dead_ms", took.as_millis());
            cluster.journal().note(&text);
        }
        cluster.wait_all_up(stage.whole())?;
        // Long enough for an accusation to be made and heard.
        stop::sleep(stage.host_dead() * 2)?;
        nothing_fenced(stage, &before)?;
        groups::no_change(stage)?;
    }
    measures.groups.owner = stage.owner.map(|owner| owner.node);
    stage.judge_owner(&measures)?;
    Ok(measures)
}

/// Kills one appliance; returns how long it took from the death to its admission under a new incarnation.
fn restart(stage: &Stage<'_>, victim: u8, role: &str) -> Result<Duration, String> {
    let cluster = stage.cluster;
    let old = cluster.summary(victim)?.incarnation;
    let pid = cluster.host(victim)?.appliance_pid();
    let pid = pid.ok_or_else(|| format!("the QEMU of appliance {victim} was not found"))?;
    cluster.switch().forget_heartbeat(victim);
    cluster.journal().inject(&format!("the QEMU of appliance {victim}, a {role}, gets SIGKILL"));
    let start = Instant::now();
    sys::signal(pid, Signal::Kill).map_err(|error| error.to_string())?;
    let end = start + stage.whole();
    loop {
        if let Ok(summary) = cluster.summary(victim)
            && summary.incarnation != old
            && matches!(summary.role, Role::Member | Role::Leader)
        {
            return Ok(start.elapsed());
        }
        if Instant::now() > end {
            return Err(format!("appliance {victim} was not admitted again within {} ms", stage.whole().as_millis()));
        }
        stop::sleep(ASK)?;
    }
}

/// What must be the same after a scene in which nobody dies.
pub(super) struct Before {
    incarnations: BTreeMap<u8, u64>,
    records: Vec<HistoryEntry>,
}

impl Before {
    pub(super) fn of(cluster: &Cluster) -> Result<Self, String> {
        Ok(Self { incarnations: cluster.incarnations()?, records: cluster.records()? })
    }
}

/// Nobody was accused, nobody was fenced, and every node still runs under the incarnation that it had. What a restarted
/// appliance says about deaths that it learns of is history; the leader's records are what counts.
pub(super) fn nothing_fenced(stage: &Stage<'_>, before: &Before) -> Result<(), String> {
    let bad = |event: &Event| {
        matches!(event.kind, Kind::Condemned | Kind::Order | Kind::NodeSuspect | Kind::NodeDown | Kind::Power)
    };
    if let Some(event) = stage.cluster.journal().find(stage.place, bad) {
        return Err(format!("somebody was accused, although nobody died: {} said `{}`", event.who, event.text));
    }
    let after = Before::of(stage.cluster)?;
    if after.records != before.records {
        let (now, then) = (after.records.len(), before.records.len());
        return Err(format!("there are other fencing records than before: {now} instead of {then}"));
    }
    if after.incarnations != before.incarnations {
        let (now, then) = (after.incarnations, &before.incarnations);
        return Err(format!("the nodes are not the same any more: {then:x?} became {now:x?}"));
    }
    Ok(())
}
