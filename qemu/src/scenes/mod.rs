//! The scenes of the main job: what is done to a running cluster, and what must be seen then.
//!
//! Owns the list, the stage that all scenes share, and the checks that follow every scene. Must never decide by a tight
//! time: a bound is ten times what is expected, since six VMs share a few noisy processors.

mod calm;
pub mod groups;
mod host;
mod node;

use self::groups::{Groups, Owner};
use crate::cluster::Cluster;
use crate::event::{Event, Kind, Who};
use crate::journal::Place;
use crate::stall::{self, Watch};
use crate::stop;
use palisade_core::config::Timing;
use std::time::Duration;

/// How many times longer than expected a thing may take before a scene does not hold.
const SLACK: u32 = 10;
/// Death or panic of a VM to NODE_DOWN on every survivor.
const DEATH: Duration = Duration::from_millis(50);
/// One attempt at a BMC of this machine, with reading back.
const DEVICE: Duration = Duration::from_millis(300);
/// Boot of an appliance and of a node, until the cluster is whole. Not a promise of ours: the guest's kernel takes it.
const WHOLE: Duration = Duration::from_secs(90);

/// One scene.
#[derive(Clone, Copy)]
pub struct Scene {
    /// Its number, from 1.
    pub number: u8,
    /// What happens.
    pub title: &'static str,
    /// Plays it.
    run: fn(&Stage<'_>) -> Result<Measures, String>,
}

/// All scenes, in the order in which they are played.
pub const SCENES: [Scene; 11] = [
    Scene { number: 1, title: "all up: a leader, one view", run: calm::all_up },
    Scene { number: 2, title: "node 2's kernel panics", run: node::panic },
    Scene { number: 3, title: "node 3's QEMU gets SIGKILL", run: node::killed },
    Scene { number: 4, title: "node 1 hangs with interrupts off", run: node::hang },
    Scene { number: 5, title: "host 3 is silent but alive", run: host::frozen },
    Scene { number: 6, title: "the leader's host loses power", run: host::leader_lost },
    Scene { number: 7, title: "one link cut, then half of the other", run: calm::cuts },
    Scene { number: 8, title: "an appliance alone is killed, member and leader", run: calm::appliance_killed },
    Scene { number: 9, title: "a node closes its volume and opens it", run: groups::left_and_joined },
    Scene { number: 10, title: "the same while an appliance is dead", run: groups::barrier_survives },
    Scene { number: 11, title: "two nodes die at once", run: node::two_killed },
];

/// The scene with this number.
#[must_use]
pub fn by_number(number: u8) -> Option<Scene> {
    SCENES.into_iter().find(|scene| scene.number == number)
}

/// Where a scene is played.
pub struct Stage<'a> {
    /// The cluster. Scene 1 finds it switched off, every other scene finds it whole.
    pub cluster: &'a Cluster,
    /// The journal's place at which the scene began.
    pub place: Place,
    /// Who ran the service when the scene began.
    pub owner: Option<Owner>,
}

/// What a scene measured.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// From the deed to the first accusation.
    pub detection: Option<Duration>,
    /// From the deed to the committed proof.
    pub proof: Option<Duration>,
    /// From the deed to NODE_DOWN on each surviving node.
    pub notified: Vec<(u8, Duration)>,
    /// The evidence class.
    pub class: String,
    /// When the deed was done.
    pub deed: Duration,
    /// The nodes whose death was wanted; NODE_DOWN about any other is a failure.
    pub victims: Vec<u8>,
    /// What became of the group and the service.
    pub groups: Groups,
    /// More that a person wants to know: name and value in milliseconds.
    pub extra: Vec<(String, Duration)>,
}

/// How a scene ended.
#[derive(Clone)]
pub struct Outcome {
    /// Which.
    pub scene: Scene,
    /// Why it did not hold, if it did not.
    pub trouble: Option<String>,
    /// What was measured, as far as it came.
    pub measures: Measures,
    /// Allocations since the seal, all appliances together, after the scene.
    pub allocations: Option<u64>,
    /// The worst stall of this machine during the scene.
    pub stall: Duration,
    /// When it began.
    pub began: Duration,
    /// What was seen.
    pub events: Vec<Event>,
}

impl Outcome {
    /// Whether it held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.trouble.is_none()
    }

    /// Whether it did not hold, and the machine stood still for longer than the timing tolerates.
    #[must_use]
    pub fn blames_machine(&self, timing: &Timing) -> bool {
        !self.held() && self.stall > stall::tolerated(timing)
    }
}

/// Plays a scene and checks what must be true after every scene.
#[must_use]
pub fn play(scene: Scene, cluster: &Cluster, watch: &Watch) -> Outcome {
    let journal = cluster.journal();
    journal.note(&format!("scene {}: {}", scene.number, scene.title));
    let owner = if scene.number == 1 { None } else { cluster.owner().ok().flatten() };
    let stage = Stage { cluster, place: journal.place(), owner };
    let began = journal.now();
    let _ = watch.take();
    let result = (scene.run)(&stage);
    let allocations = if result.is_ok() { cluster.allocations() } else { Err("not asked".to_owned()) };
    let events = journal.since(stage.place);
    let (measures, mut trouble) = match result {
        Ok(measures) => {
            let after = after_every_scene(&events, &measures, &allocations);
            (measures, after.err())
        }
        Err(sentence) => (Measures::default(), Some(sentence)),
    };
    if stop::wanted() {
        trouble = Some(stop::SENTENCE.to_owned());
    }
    let word = trouble.as_deref().map_or("held".to_owned(), |why| format!("did not hold: {why}"));
    journal.note(&format!("scene {} {word}", scene.number));
    Outcome { scene, trouble, measures, allocations: allocations.ok(), stall: watch.take(), began, events }
}

/// No fence of the innocent, no second NODE_DOWN for one death, one owner of everything, no allocation, no fail-stop.
fn after_every_scene(events: &[Event], measures: &Measures, allocations: &Result<u64, String>) -> Result<(), String> {
    let downs = || events.iter().filter(|event| event.kind == Kind::NodeDown);
    if let Some(event) = downs().find(|event| !measures.victims.contains(&event.node)) {
        return Err(format!("{} was told that node {} is down, which nobody harmed", event.who, event.node));
    }
    for event in downs() {
        let same = |other: &&Event| {
            other.who == event.who && other.node == event.node && other.incarnation != event.incarnation
        };
        if let Some(other) = downs().find(same) {
            return Err(format!("{} was told of two deaths of node {}", other.who, other.node));
        }
    }
    let epitaph = |event: &&Event| event.who != Who::Runner && event.text.contains("EPITAPH");
    if let Some(event) = events.iter().find(epitaph) {
        return Err(format!("the {} stopped itself: {}", event.who, event.text));
    }
    groups::judge_tokens(events)?;
    match allocations {
        Ok(0) => Ok(()),
        Ok(count) => Err(format!("the appliances made {count} allocations after the seal")),
        Err(sentence) => Err(sentence.clone()),
    }
}

impl Stage<'_> {
    /// The cluster's times.
    fn timing(&self) -> &Timing {
        &self.cluster.plan().timing
    }

    /// By how much this cluster's times are longer than the defaults.
    fn scale(&self) -> u32 {
        (self.timing().host_dead_ms / Timing::DEFAULT.host_dead_ms).max(1)
    }

    /// The bound for something that is expected to take so long.
    fn bound(&self, expected: Duration) -> Duration {
        expected * SLACK * self.scale()
    }

    /// The bound for the cluster to be whole again.
    fn whole(&self) -> Duration {
        WHOLE * self.scale()
    }

    /// The silence after which a host is accused.
    fn host_dead(&self) -> Duration {
        Duration::from_millis(u64::from(self.timing().host_dead_ms))
    }

    /// The nodes that are not among these.
    fn survivors(&self, victims: &[u8]) -> Vec<u8> {
        self.cluster.plan().nodes.iter().map(|node| node.id).filter(|id| !victims.contains(id)).collect()
    }

    /// Waits until every survivor was told of every victim, and collects the times. `limit` counts from now.
    fn collect(&self, deed: Duration, victims: &[u8], class: &str, limit: Duration) -> Result<Measures, String> {
        let journal = self.cluster.journal();
        let mut measures = Measures { deed, victims: victims.to_vec(), class: class.to_owned(), ..Measures::default() };
        for survivor in self.survivors(victims) {
            let mut last = Duration::ZERO;
            for victim in victims {
                let what = format!("NODE_DOWN of node {victim} on node {survivor}");
                let left = (deed + limit).saturating_sub(journal.now());
                let event = journal.wait(self.place, left, &what, |event| {
                    event.who == Who::Node(survivor) && event.kind == Kind::NodeDown && event.node == *victim
                })?;
                if event.class != class {
                    return Err(format!("{what} came with the class `{}` instead of `{class}`", event.class));
                }
                last = last.max(event.at.saturating_sub(deed));
            }
            measures.notified.push((survivor, last));
        }
        let after = |kinds: &[Kind]| {
            let is_first = |event: &Event| {
                let about = event.node == 0 || victims.contains(&event.node);
                kinds.contains(&event.kind) && about && event.at >= deed
            };
            journal.find(self.place, is_first).map(|event| event.at.saturating_sub(deed))
        };
        let noticed = after(&[Kind::Noticed, Kind::Condemned, Kind::NodeSuspect]);
        measures.proof = after(&[Kind::Confirmed]);
        // Where the notice is the proof, the leader may commit it before the noticing appliance's log line is out.
        measures.detection = noticed.into_iter().chain(measures.proof).min();
        self.collect_groups(&mut measures, limit)?;
        Ok(measures)
    }

    /// Waits until the victims are back under new incarnations, every survivor knows, they are in the group again, and the
    /// cluster is whole.
    fn wait_return(&self, victims: &[u8], measures: &mut Measures) -> Result<(), String> {
        let journal = self.cluster.journal();
        let limit = self.whole();
        let mut back = Duration::ZERO;
        for victim in victims {
            for survivor in self.survivors(victims) {
                let about = |event: &Event| event.who == Who::Node(survivor) && event.node == *victim;
                let down = journal.find(self.place, |event| about(event) && event.kind == Kind::NodeDown);
                let dead = down.map_or(0, |event| event.incarnation);
                let what = format!("NODE_UP of node {victim} under a new incarnation on node {survivor}");
                let up = journal.wait(self.place, limit, &what, |event| {
                    about(event) && event.kind == Kind::NodeUp && event.incarnation != dead && event.at > measures.deed
                })?;
                back = back.max(up.at.saturating_sub(measures.deed));
            }
        }
        measures.extra.push(("back".to_owned(), back));
        self.wait_rejoin(victims, measures)?;
        self.cluster.wait_all_up(limit)?;
        self.judge_owner(measures)
    }
}

/// Microseconds and the like, for the journal.
fn plural(list: &[u8], one: &str) -> String {
    let numbers: Vec<String> = list.iter().map(u8::to_string).collect();
    format!("{one}{} {}", if list.len() == 1 { "" } else { "s" }, numbers.join(" and "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn down(who: u8, node: u8, incarnation: u64) -> Event {
        let event = Event::new(Duration::ZERO, Who::Node(who), Kind::NodeDown, "");
        Event { node, incarnation, ..event }
    }

    #[test]
    fn a_scene_is_refused_for_an_innocent_a_second_death_an_allocation_and_an_epitaph() {
        let wanted = Measures { victims: vec![2], ..Measures::default() };
        let check = |events: &[Event], allocations| after_every_scene(events, &wanted, &Ok(allocations));
        assert!(check(&[down(1, 2, 7), down(3, 2, 7)], 0).is_ok());
        assert!(check(&[down(1, 3, 7)], 0).is_err());
        assert!(check(&[down(1, 2, 7), down(1, 2, 8)], 0).is_err());
        assert!(check(&[], 1).is_err());
        let taken = |node, token: u64| Event {
            text: format!("TAKEN what=service:web token={token}"),
            ..Event::new(Duration::ZERO, Who::Node(node), Kind::Taken, "")
        };
        assert!(check(&[taken(1, 5), taken(2, 6)], 0).is_ok());
        assert!(check(&[taken(1, 5), taken(2, 5)], 0).is_err());
        let epitaph = Event::new(
            Duration::ZERO,
            Who::Appliance(1),
            Kind::Note,
            "palisade: EPITAPH after 5 us: a ring is corrupt",
        );
        assert!(check(&[epitaph], 0).is_err());
    }

    #[test]
    fn scenes_are_numbered_in_order() {
        for (index, scene) in SCENES.iter().enumerate() {
            assert_eq!(usize::from(scene.number), index + 1);
            assert!(by_number(scene.number).is_some());
        }
        assert!(by_number(12).is_none());
    }
}
