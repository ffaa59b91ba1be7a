//! What a death does to the group of the demo's volume and to its service; and scenes 9 and 10: a node leaves in peace, and
//! a barrier lives through the death of an appliance.
//!
//! Owns these checks and scenes. What nodes say they did is believed; what the view says comes from STATUS.

use super::calm::{Before, nothing_fenced};
use super::{DEATH, Measures, Stage};
use crate::event::{Event, Kind, Who};
use crate::sys::{self, Signal};
use crate::work;
use std::collections::BTreeMap;
use std::time::Duration;

/// From a proof to every survivor's START, and from a START to TAKEN.
const BARRIER: Duration = Duration::from_millis(100);

/// What a scene measured of the group and the service, each from the deed.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// STOP on the last survivor.
    pub stopped: Option<Duration>,
    /// START on the last survivor.
    pub started: Option<Duration>,
    /// RECOVERED on the last survivor.
    pub recovered: Option<Duration>,
    /// Who replayed the journals, and when the last one was.
    pub replay: Option<(u8, Duration)>,
    /// Who runs the service now.
    pub owner: Option<u8>,
    /// When that node had it, if it was given to it in the scene.
    pub taken: Option<Duration>,
    /// A write that the death had held up returned on the last survivor.
    pub written: Option<Duration>,
    /// The whole group runs again.
    pub whole: Option<Duration>,
}

/// Who runs the demo's service, and with which token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub node: u8,
    /// Its token.
    pub token: u64,
}

/// Whether a node's word for a service or a recovery is this one. The shim writes every name as the 16 bytes that it is.
fn means(said: &str, what: &str) -> bool {
    let digits = |name: &str| format!("{:0<32}", name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    said == what || what.split_once(':').is_some_and(|(kind, name)| said == format!("{kind}:{}", digits(name)))
}

/// What is taken over when a node with this volume dies.
fn recovery_of(volume: &str) -> String {
    format!("recovery:{volume}")
}

impl Stage<'_> {
    /// Waits until every survivor stopped, started with the victims' fates and recovered, until each victim's journal is
    /// replayed by one survivor, and the service runs on a survivor.
    pub(super) fn collect_groups(&self, measures: &mut Measures, limit: Duration) -> Result<(), String> {
        let victims = measures.victims.clone();
        let limit = limit + self.bound(BARRIER);
        for survivor in self.survivors(&victims) {
            self.collect_barrier(survivor, &victims, measures, limit)?;
        }
        for victim in &victims {
            let replay =
                self.wait_taken(&recovery_of(&self.cluster.plan().volume), *victim, 0, measures.deed, limit)?;
            let last = measures.groups.replay.map_or(Duration::ZERO, |(_, at)| at);
            measures.groups.replay = Some((replay.0, last.max(replay.1)));
        }
        let owner = self.owner.ok_or("nobody ran the service before the scene")?;
        measures.groups.owner = Some(owner.node);
        if victims.contains(&owner.node) {
            let service = self.service().ok_or("the plan has no service")?;
            let (node, at) = self.wait_taken(&service, owner.node, owner.token, measures.deed, limit)?;
            (measures.groups.owner, measures.groups.taken) = (Some(node), Some(at));
        }
        Ok(())
    }

    /// The barrier after a death, on one survivor.
    fn collect_barrier(
        &self,
        survivor: u8,
        victims: &[u8],
        measures: &mut Measures,
        limit: Duration,
    ) -> Result<(), String> {
        let deed = measures.deed;
        let stop = self.wait_step(survivor, Kind::GroupStop, "GROUP_STOP", deed, limit, |event| event.at >= deed)?;
        let groups = &mut measures.groups;
        groups.stopped = groups.stopped.max(Some(stop.at.saturating_sub(deed)));
        for victim in victims {
            let what = format!("GROUP_START without node {victim}");
            let lacks = |event: &Event| event.at >= stop.at && !event.set().contains(victim);
            let start = self.wait_step(survivor, Kind::GroupStart, &what, deed, limit, lacks)?;
            self.judge_start(&start, survivor, *victim, victims)?;
            let generation = start.number("generation");
            let same = |event: &Event| event.number("generation") == generation;
            let done = self.wait_step(survivor, Kind::GroupRecovered, "GROUP_RECOVERED", deed, limit, same)?;
            let groups = &mut measures.groups;
            groups.started = groups.started.max(Some(start.at.saturating_sub(deed)));
            groups.recovered = groups.recovered.max(Some(done.at.saturating_sub(deed)));
            if self.cluster.plan().has_volume() {
                let written = work::goes_on(self.cluster.journal(), survivor, deed, start.at, limit)?;
                groups.written = groups.written.max(Some(written));
            }
        }
        Ok(())
    }

    /// The first START without a victim tells its death, of the incarnation that was NODE_DOWN, and holds all survivors.
    fn judge_start(&self, start: &Event, survivor: u8, victim: u8, victims: &[u8]) -> Result<(), String> {
        let is_down =
            |event: &Event| event.who == Who::Node(survivor) && event.kind == Kind::NodeDown && event.node == victim;
        let down = self.cluster.journal().find(self.place, is_down).map_or(0, |event| event.incarnation);
        if start.fate_of(victim) != Some(("dead", down)) {
            return Err(format!(
                "node {survivor} was started without node {victim} and not told its death: `{}`",
                start.text
            ));
        }
        match self.survivors(victims).into_iter().find(|node| !start.set().contains(node)) {
            Some(lost) => {
                Err(format!("node {survivor} was started without node {lost}, which lives: `{}`", start.text))
            }
            None => Ok(()),
        }
    }

    /// A step of the group on one node; `limit` counts from the deed.
    fn wait_step(
        &self,
        node: u8,
        kind: Kind,
        what: &str,
        deed: Duration,
        limit: Duration,
        fits: impl Fn(&Event) -> bool,
    ) -> Result<Event, String> {
        let journal = self.cluster.journal();
        let left = (deed + limit).saturating_sub(journal.now());
        journal.wait(self.place, left, &format!("{what} on node {node}"), |event| {
            event.who == Who::Node(node) && event.kind == kind && event.at >= deed && fits(event)
        })
    }

    /// Who took over what a dead node had, with a token above this one, and when.
    fn wait_taken(
        &self,
        what: &str,
        dead: u8,
        above: u64,
        deed: Duration,
        limit: Duration,
    ) -> Result<(u8, Duration), String> {
        let journal = self.cluster.journal();
        let left = (deed + limit).saturating_sub(journal.now());
        let sentence = format!("TAKEN of {what} of node {dead} with a token above {above}");
        let event = journal.wait(self.place, left, &sentence, |event| {
            let is_it = event.value("what").is_some_and(|said| means(said, what))
                && event.node == dead
                && event.number("token") > above;
            matches!(event.who, Who::Node(_)) && event.kind == Kind::Taken && event.at >= deed && is_it
        })?;
        let Who::Node(node) = event.who else { return Err(format!("{} is no node", event.who)) };
        Ok((node, event.at.saturating_sub(deed)))
    }

    /// Waits until these nodes are in the group again: each started with everybody, and so did everybody in that barrier.
    pub(super) fn wait_rejoin(&self, back: &[u8], measures: &mut Measures) -> Result<(), String> {
        let (deed, all) = (measures.deed, self.survivors(&[]));
        let limit = self.whole();
        let holds_all = |event: &Event| all.iter().all(|node| event.set().contains(node));
        let mut whole = Duration::ZERO;
        for node in back {
            let start =
                self.wait_step(*node, Kind::GroupStart, "GROUP_START with all nodes", deed, limit, holds_all)?;
            let generation = start.number("generation");
            let same = |event: &Event| event.number("generation") == generation;
            for other in &all {
                let of = |kind, what| self.wait_step(*other, kind, what, deed, limit, same);
                let other = of(Kind::GroupStart, "GROUP_START of the same barrier")?;
                if other.value("set") != start.value("set") {
                    return Err(format!("in one barrier {} and {} run with other sets", start.who, other.who));
                }
            }
            for other in &all {
                let done = self.wait_step(*other, Kind::GroupRecovered, "GROUP_RECOVERED", deed, limit, same)?;
                whole = whole.max(done.at.saturating_sub(deed));
            }
        }
        measures.groups.whole = Some(whole);
        Ok(())
    }

    /// The service, as takeovers name it.
    fn service(&self) -> Option<String> {
        self.cluster.plan().services.first().map(|name| format!("service:{name}"))
    }

    /// The view says who runs the service: whom the scene saw, and with a token that did not go back.
    pub(super) fn judge_owner(&self, measures: &Measures) -> Result<(), String> {
        let (Some(before), Some(seen)) = (self.owner, measures.groups.owner) else { return Ok(()) };
        let now = self.cluster.owner()?.ok_or("nobody runs the service")?;
        let grew = if measures.groups.taken.is_some() { now.token > before.token } else { now == before };
        if now.node == seen && grew {
            return Ok(());
        }
        Err(format!("the view names {now:?} for the service; the nodes said that node {seen} has it, after {before:?}"))
    }
}

/// Nobody has taken a thing of which another had a token as high; each death has one replay.
pub fn judge_tokens(events: &[Event]) -> Result<(), String> {
    let mut tokens: BTreeMap<String, (u64, Who)> = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == Kind::Taken && matches!(event.who, Who::Node(_))) {
        let what = event.value("what").unwrap_or("");
        let is_recovery = what.starts_with("recovery:");
        let key = if is_recovery { format!("{what} {} {:x}", event.node, event.incarnation) } else { what.to_owned() };
        let now = (event.number("token"), event.who);
        if let Some(before) = tokens.insert(key.clone(), now)
            && (is_recovery || now.0 <= before.0)
        {
            return Err(format!(
                "{key} was taken by {} with token {} after {} with {}",
                now.1, now.0, before.1, before.0
            ));
        }
    }
    Ok(())
}

/// The group and its owners did not change: no step, and the same words in STATUS.
pub fn no_change(stage: &Stage<'_>) -> Result<(), String> {
    let changes =
        [Kind::GroupStop, Kind::GroupStart, Kind::GroupRecovered, Kind::GroupAsk, Kind::Takeover, Kind::Taken];
    let change = stage
        .cluster
        .journal()
        .find(stage.place, |event| matches!(event.who, Who::Node(_)) && changes.contains(&event.kind));
    match change {
        Some(event) => {
            Err(format!("the group changed, although nobody came or went: {} said `{}`", event.who, event.text))
        }
        None => Ok(()),
    }
}

/// Scene 9: a node closes the volume and opens it again. The others are told that it left; nobody is fenced.
pub fn left_and_joined(stage: &Stage<'_>) -> Result<Measures, String> {
    let before = Before::of(stage.cluster)?;
    let deed = stage.cluster.journal().now();
    let mut measures = Measures { deed, ..Measures::default() };
    leave_and_join(stage, 2, &mut measures, DEATH + BARRIER)?;
    nothing_fenced(stage, &before)?;
    measures.groups.owner = stage.owner.map(|owner| owner.node);
    stage.judge_owner(&measures)?;
    Ok(measures)
}

/// Scene 10: the same, while the appliance of a node that stays is dead. The barrier waits for that node's word, which the
/// next appliance asks for again.
pub fn barrier_survives(stage: &Stage<'_>) -> Result<Measures, String> {
    let cluster = stage.cluster;
    let before = Before::of(cluster)?;
    let leader = cluster.wait_leader(0, stage.whole())?;
    let mut others = cluster.hosts().iter().map(|host| host.id()).filter(|id| *id != leader);
    let (Some(lost), Some(home)) = (others.next(), others.next()) else { return Err("there are too few hosts".into()) };
    let leaver = cluster.plan().nodes_of(home).next().ok_or("a host has no node")?.id;
    let pid = cluster.host(lost)?.appliance_pid();
    let pid = pid.ok_or_else(|| format!("the QEMU of appliance {lost} was not found"))?;
    let deed = cluster.journal().inject(&format!("the QEMU of appliance {lost}, a member, gets SIGKILL"));
    sys::signal(pid, Signal::Kill).map_err(|error| error.to_string())?;
    let mut measures = Measures { deed, ..Measures::default() };
    // An appliance is back within this time, or its host would be accused.
    leave_and_join(stage, leaver, &mut measures, stage.host_dead() / stage.scale() + DEATH + BARRIER)?;
    nothing_fenced(stage, &before)?;
    measures.groups.owner = stage.owner.map(|owner| owner.node);
    stage.judge_owner(&measures)?;
    Ok(measures)
}

fn leave_and_join(stage: &Stage<'_>, leaver: u8, measures: &mut Measures, expected: Duration) -> Result<(), String> {
    let cluster = stage.cluster;
    let volume = &cluster.plan().volume;
    let limit = stage.bound(expected);
    let incarnation = cluster.incarnations()?.get(&leaver).copied().ok_or("the leaver is not up")?;
    let deed = measures.deed;
    cluster.journal().inject(&format!("node {leaver} is told to close volume {volume}"));
    cluster.command(leaver, &format!("leave {volume}"))?;
    stage.wait_step(leaver, Kind::GroupAsk, "GROUP_LEFT", deed, limit, |event| event.text.starts_with("GROUP_LEFT"))?;
    for node in stage.survivors(&[leaver]) {
        let stop = stage.wait_step(node, Kind::GroupStop, "GROUP_STOP", deed, limit, |_| true)?;
        let lacks = |event: &Event| !event.set().contains(&leaver);
        let start = stage.wait_step(node, Kind::GroupStart, "GROUP_START without the leaver", deed, limit, lacks)?;
        if start.fate_of(leaver) != Some(("left", incarnation))
            || start.number("generation") != stop.number("generation")
        {
            return Err(format!("node {node} was not told that node {leaver} left: `{}`", start.text));
        }
        let groups = &mut measures.groups;
        groups.stopped = groups.stopped.max(Some(stop.at.saturating_sub(deed)));
        groups.started = groups.started.max(Some(start.at.saturating_sub(deed)));
        groups.recovered = groups.started;
    }
    // An appliance that was killed has to be a member again before anybody is asked.
    cluster.wait_group(&stage.survivors(&[leaver]), stage.whole())?;
    cluster.journal().inject(&format!("node {leaver} is told to open volume {volume} again"));
    // What is waited for comes after this, not before.
    let mut joined = Measures { deed: cluster.journal().now(), ..Measures::default() };
    cluster.command(leaver, &format!("join {volume}"))?;
    stage.wait_rejoin(&[leaver], &mut joined)?;
    cluster.wait_all_up(stage.whole())?;
    measures.extra.push(("joined again".to_owned(), joined.groups.whole.unwrap_or_default()));
    measures.groups.whole = joined.groups.whole.map(|whole| joined.deed.saturating_sub(deed) + whole);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::parse;

    fn said(node: u8, line: &str) -> Event {
        parse(Duration::ZERO, Who::Node(node), &format!("palisade-node: 1.0 {line}")).unwrap()
    }

    #[test]
    fn a_name_is_known_by_its_bytes_too() {
        assert!(means("service:web", "service:web"));
        assert!(means("service:77656200000000000000000000000000", "service:web"));
        assert!(!means("service:77656300000000000000000000000000", "service:web"));
        assert!(!means("recovery:77656200000000000000000000000000", "service:web"));
    }

    #[test]
    fn a_token_that_does_not_grow_and_a_second_replay_are_found() {
        let web = |node, token| said(node, &format!("TAKEN what=service:web dead=3 incarnation=0a token={token}"));
        let replay = |node, incarnation: &str, token| {
            said(node, &format!("TAKEN what=recovery:shared dead=3 incarnation={incarnation} token={token}"))
        };
        let good = [web(1, 5), web(2, 6), replay(1, "0a", 5), replay(2, "0b", 5), replay(1, "0c", 9)];
        assert_eq!(judge_tokens(&good), Ok(()));
        for bad in [[web(1, 5), web(2, 5)], [web(1, 6), web(2, 5)], [replay(1, "0a", 5), replay(2, "0a", 6)]] {
            assert!(judge_tokens(&bad).is_err(), "{bad:?}");
        }
        let mut log = web(2, 5);
        log.who = Who::Appliance(1);
        assert_eq!(judge_tokens(&[web(1, 5), log]), Ok(()), "a log line is no owner");
    }
}
