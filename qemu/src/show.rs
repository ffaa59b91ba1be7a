//! The play: rounds of scenes on clusters, with everything that a person is told around them.
//!
//! Owns the order of events of a demo. The tests play the same scenes through it, so that what is shown is what is tested.

use crate::cluster::Cluster;
use crate::journal::Journal;
use crate::plan::{Artefacts, Plan};
use crate::process;
use crate::scenes::{self, Outcome, Scene};
use crate::stall::{self, Watch};
use crate::stop;
use crate::table;
use palisade_core::config::Timing;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// How long the idle appliances are watched.
const QUIET: Duration = Duration::from_secs(5);
/// Between two writes of a node: often enough to time a write that is held up, and seldom enough to leave the processors to
/// what is timed.
const PAUSE_MS: u32 = 100;
/// Timers of the kernel count so many ticks in a second of a process's time.
const TICKS_PER_SECOND: f64 = 100.0;

/// What to play.
#[derive(Clone, Debug)]
pub struct Programme {
    /// The name of the runs.
    pub name: String,
    /// The scenes, in order.
    pub scenes: Vec<u8>,
    /// How many times.
    pub rounds: u32,
    /// By how much all times are longer than the defaults.
    pub factor: u32,
    /// Print every event as it comes.
    pub live: bool,
}

/// What came of it.
pub struct Played {
    /// Every scene of every round.
    pub outcomes: Vec<Outcome>,
    /// The last cluster, still running, in whatever state the last scene left it.
    pub cluster: Cluster,
}

impl Played {
    /// Whether every scene held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.outcomes.iter().all(Outcome::held)
    }

    /// All nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> Vec<u8> {
        self.cluster.plan().nodes.iter().map(|node| node.id).collect()
    }
}

/// Plays. A scene that did not hold while the machine stood still is played once more on a slower cluster.
///
/// # Errors
/// A sentence: no cluster could be built, or a person ended the run.
pub fn play(programme: &Programme, with: &Artefacts) -> Result<Played, String> {
    let watch = Watch::start().map_err(|error| format!("no thread for the watch over stalls: {error}"))?;
    let mut factor = programme.factor;
    let mut outcomes = Vec::new();
    let mut cluster: Option<Cluster> = None;
    let mut is_whole = false;
    for _ in 0..programme.rounds {
        for number in &programme.scenes {
            let Some(scene) = scenes::by_number(*number) else { continue };
            // Scene 1 is the first boot, and what a lost scene leaves is no ground for the next one.
            if scene.number == 1 || !is_whole {
                cluster = None;
            }
            let mut outcome = on_cluster(scene, &mut cluster, programme, factor, with, &watch)?;
            let blames = cluster.as_ref().is_some_and(|cluster| outcome.blames_machine(&cluster.plan().timing));
            if let Some(slower) = stall::FACTORS.into_iter().find(|next| *next > factor)
                && blames
                && !stop::wanted()
            {
                println!(
                    "The machine stood still for {} ms during this scene, more than its timing tolerates. From here on \
                     all times are scaled by the factor {slower}.",
                    outcome.stall.as_millis()
                );
                factor = slower;
                cluster = None;
                outcome = on_cluster(scene, &mut cluster, programme, factor, with, &watch)?;
            }
            if stop::wanted() {
                return Err(stop::SENTENCE.to_owned());
            }
            is_whole = outcome.held();
            outcomes.push(outcome);
        }
    }
    let cluster = cluster.ok_or("there was nothing to play")?;
    Ok(Played { outcomes, cluster })
}

/// Plays a scene on the cluster that is there, or on a new one.
fn on_cluster(
    scene: Scene,
    cluster: &mut Option<Cluster>,
    programme: &Programme,
    factor: u32,
    with: &Artefacts,
    watch: &Watch,
) -> Result<Outcome, String> {
    let stage = match cluster.take() {
        Some(cluster) => cluster,
        None if scene.number == 1 => build(programme, factor, with)?,
        None => whole(programme, factor, with)?,
    };
    let outcome = scenes::play(scene, &stage, watch);
    *cluster = Some(stage);
    Ok(outcome)
}

fn build(programme: &Programme, factor: u32, with: &Artefacts) -> Result<Cluster, String> {
    let plan = Plan::three_hosts(&programme.name, factor).with_volume(PAUSE_MS);
    let journal = Arc::new(Journal::new(programme.live));
    Cluster::build(plan, with, journal).map_err(|error| format!("the cluster cannot be built: {error}"))
}

/// A cluster on which every scene but the first may be played: all hosts and nodes are up.
///
/// # Errors
/// A sentence: it cannot be built, or does not come up.
pub fn whole(programme: &Programme, factor: u32, with: &Artefacts) -> Result<Cluster, String> {
    come_up(build(programme, factor, with)?)
}

/// Switches all hosts of a cluster on and waits until all nodes are up.
///
/// # Errors
/// A sentence: it does not come up.
pub fn come_up(cluster: Cluster) -> Result<Cluster, String> {
    let factor = (cluster.plan().timing.host_dead_ms / Timing::DEFAULT.host_dead_ms).max(1);
    cluster.journal().note("a new cluster comes up");
    cluster.power_on()?;
    cluster
        .wait_all_up(Duration::from_secs(90) * factor)
        .map_err(|error| format!("{error}\nIts files are in {}", cluster.directory().display()))?;
    Ok(cluster)
}

/// What the appliances cost while nothing happens: processor, memory.
///
/// # Errors
/// A person ended the run.
pub fn idle(cluster: &Cluster) -> Result<String, String> {
    let leader = cluster.leader();
    let pids: Vec<(u8, u32)> =
        cluster.hosts().iter().filter_map(|host| Some((host.id(), host.appliance_pid()?))).collect();
    let ticks = |pid: u32| process::stat(pid).map(|stat| stat.ticks);
    let before: Vec<Option<u64>> = pids.iter().map(|(_, pid)| ticks(*pid)).collect();
    stop::sleep(QUIET)?;
    let mut text = String::new();
    for ((host, pid), before) in pids.iter().zip(before) {
        let (Some(before), Some(after)) = (before, ticks(*pid)) else { continue };
        let spent = u32::try_from(after.saturating_sub(before)).map_or(0.0, f64::from) / TICKS_PER_SECOND;
        let (role, aim) = if leader == Some(*host) { ("leader", 4) } else { ("member", 2) };
        let resident = process::resident_kib(*pid).unwrap_or(0) / 1024;
        let _ = writeln!(
            text,
            "appliance {host} ({role}): {:.1} % of a core while idle (aim: below {aim} %); its QEMU holds {resident} MiB",
            100.0 * spent / QUIET.as_secs_f64()
        );
    }
    Ok(text)
}

/// Unmounts everywhere and holds the volume against every write that was acknowledged since the cluster came up.
///
/// # Errors
/// A sentence: the volume is not clean, or something is lost.
pub fn account(cluster: &Cluster) -> Result<String, String> {
    let nodes: Vec<u8> = cluster.plan().nodes.iter().map(|node| node.id).collect();
    let account = cluster.settle(&nodes)?;
    Ok(format!(
        "the volume is clean (fsck.ocfs2 -fn); of its {} records {} were acknowledged, and each is where it was; the lock \
         went from node to node {} times\n",
        account.records, account.acknowledged, account.changes
    ))
}

/// The other numbers of scenes, over all rounds, and why some did not hold.
#[must_use]
pub fn remarks(outcomes: &[Outcome]) -> String {
    let mut numbers: BTreeMap<(u8, &str), Vec<Duration>> = BTreeMap::new();
    let mut order = Vec::new();
    for outcome in outcomes {
        for (word, time) in &outcome.measures.extra {
            let key = (outcome.scene.number, word.as_str());
            let times = numbers.entry(key).or_default();
            if times.is_empty() {
                order.push(key);
            }
            times.push(*time);
        }
    }
    let mut text = String::new();
    for key in order {
        let Some(times) = numbers.remove(&key) else { continue };
        let shown = match times.as_slice() {
            [one] => format!("after {} ms", table::millis(Some(*one))),
            _ => format!("after {} ms (median/99th percentile)", table::percentiles(times)),
        };
        let _ = writeln!(text, "scene {}: {} {shown}", key.0, key.1);
    }
    for outcome in outcomes {
        if let Some(why) = &outcome.trouble {
            let _ = writeln!(text, "scene {} did not hold: {why}", outcome.scene.number);
        }
    }
    text
}
