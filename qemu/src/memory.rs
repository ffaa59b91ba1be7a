//! The demonstration of the whole project: a node without memory whose peer dies, with each way to drive its DLM.
//!
//! Owns the pressure, the death and what is measured. Must never help one side: each gets the same kernel, the same times,
//! the same files in memory, the same hog and the same fence.
//!
//! ```text
//! node 2 makes thousands of files, so the locks of their inodes are mastered there; node 1 (256 MiB) looks at each, so its
//! kernel keeps inodes and locks; a hog takes node 1's memory and goes on taking; host 2 loses its power; node 1's lockspace
//! is stopped; whoever needs memory evicts an inode, which wants a DLM unlock, which waits for the recovery;
//! the BMC of host 2 answers after some seconds: Confirmed, START. Who has to do START, the shim or a process that needs memory?
//! ```

use crate::cluster::Cluster;
use crate::event::{Event, Kind, Who};
use crate::journal::{Journal, Place};
use crate::plan::{Artefacts, Driver, HostPlan, NodePlan, Plan};
use crate::{show, stop};
use palisade_core::config::Timing;
use palisade_images::{House, workload};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Memory of the node that survives, MiB.
const NODE_MIB: u32 = 256;
/// Files whose inodes it keeps.
pub const FILES: u32 = 8000;
/// How long nodes may take to boot, mount, and make the files.
const PATIENCE: Duration = Duration::from_secs(120);
/// The BMC answers so long after the death: real ones take as long.
pub const FENCE: Duration = Duration::from_secs(8);
/// Who has not recovered so long after Confirmed is said not to.
pub const BOUND: Duration = Duration::from_secs(30);
/// With a shell in the shim's place a write takes so many times as long, at least.
const TIMES: u32 = 5;
/// What the hog leaves at first, what it takes more, and how often.
const HOG: &str = "--leave-kib 8192 --grow-kib 256 --pause-ms 50";
/// Nobody is punished for being slow: a survivor that were fenced for it would look as if it had ended.
const SLOW_MS: u32 = 120_000;

/// All, the shim first.
pub const DRIVERS: [Driver; 3] = [Driver::Shim, Driver::Locked, Driver::Shell];

/// What was seen with one driver. Times count from Confirmed; none: not within `BOUND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who drove the DLM.
    pub driver: Driver,
    /// From the power loss to Confirmed.
    pub confirmed: Duration,
    /// From Confirmed to START on its way: the appliance's part.
    pub ordered: Duration,
    /// Until the node had recovered: the barrier closed.
    pub recovered: Option<Duration>,
    /// Until its write returned.
    pub written: Option<Duration>,
    /// Until its kernel gave up, if it did before it wrote: nothing could be ended for memory. What comes after that is a boot.
    pub died: Option<Duration>,
    /// The longest time in which an ordinary process could start no other, seen until then.
    pub forkless: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = |time: Option<Duration>| {
            time.map_or_else(|| format!("not in {} s", BOUND.as_secs()), |time| format!("{} ms", time.as_millis()))
        };
        let who = match self.driver {
            Driver::Shim => "the shim",
            Driver::Locked => "a process, locked",
            Driver::Shell => "a shell for each step",
        };
        write!(
            f,
            "{who:<22}  {:>9}  {:>10}  {:>13}  {:>14}  {:>12}",
            format!("{} ms", self.confirmed.as_millis()),
            format!("{} ms", self.ordered.as_millis()),
            self.died.map_or_else(|| until(self.recovered), |time| format!("dead at {}", time.as_millis())),
            self.died.map_or_else(|| until(self.written), |_| "never".to_owned()),
            format!("{} ms", self.forkless.as_millis()),
        )
    }
}

/// All rows with their head.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<22}  {:>9}  {:>10}  {:>13}  {:>14}  {:>12}\n",
        "START is done by", "confirmed", "START sent", "recovered", "write returned", "no fork for"
    );
    for row in rows {
        text += &format!("{row}\n");
    }
    text + "(confirmed: after the power loss; the next three: after Confirmed)\n"
}

/// Whether the shim recovered its node while an ordinary process waited for its fork, and with a shell in its place the node's
/// write returned not at all, since it died or for another reason, or took `TIMES` as long; a sentence either way. The locked process is shown and not judged: it
/// may find in the kernel's caches what it needs, and nothing says that it must.
///
/// # Errors
/// What does not hold.
pub fn verdict(rows: &[Row]) -> Result<String, String> {
    if let Some(loose) = rows.iter().find(|row| row.forkless < FENCE / 2) {
        return Err(format!("with `{}` processes could be started: memory was not short enough", loose.driver.word()));
    }
    let of = |driver: Driver| rows.iter().find(|row| row.driver == driver);
    let Some(shim) = of(Driver::Shim) else {
        return Ok("the shim was not among them".to_owned());
    };
    let done = shim.written.filter(|_| shim.recovered.is_some()).ok_or("the shim did not recover the node")?;
    let (forkless, millis) = (shim.forkless.as_millis(), done.as_millis());
    let alone =
        format!("with the shim the write returned {millis} ms after Confirmed, where a fork waited {forkless} ms");
    let Some(shell) = of(Driver::Shell) else { return Ok(alone) };
    let took = shell.written.unwrap_or(BOUND);
    let times = took.as_millis() / millis.max(1);
    if took < TIMES * done {
        return Err(format!("with a shell in the shim's place the write took only {times} times as long"));
    }
    if let Some(died) = shell.died {
        return Ok(format!(
            "{alone}; with a shell in its place the node's kernel gave up after {} ms",
            died.as_millis()
        ));
    }
    let least = if shell.written.is_none() { "more than " } else { "" };
    Ok(format!("{alone}; with a shell in its place it took {least}{times} times as long"))
}

/// The machine room: host 2 has a node and no vote, and its power fails.
#[must_use]
pub fn plan(driver: Driver) -> Plan {
    let plan = Plan::three_hosts("memory", 1);
    let node = |id: u8| NodePlan { id, host: id, ..plan.nodes[0].clone() };
    let survivor = NodePlan { driver, memory_mib: Some(NODE_MIB), ..node(1) };
    let slow = SLOW_MS;
    let timing = Timing {
        node_dead_ms: slow / 2,
        node_lease_ms: slow,
        guard_lease_ms: 2 * slow,
        start_wait_ms: 2 * slow,
        barrier_ms: slow,
        recover_ms: slow,
        takeover_ms: slow,
        ..plan.timing
    };
    let hosts = vec![HostPlan { id: 1, vote: true }, HostPlan { id: 2, vote: false }];
    Plan { hosts, nodes: vec![survivor, node(2)], services: Vec::new(), timing, ..plan }.with_volume(20)
}

/// Brings the machine room up, presses, kills, and looks.
///
/// # Errors
/// A sentence: something before the death does not come up, or the death is not confirmed.
pub fn row(driver: Driver, with: &Artefacts, live: bool) -> Result<Row, String> {
    let workload = workload::build(&House::here()).map_err(|error| error.to_string())?;
    let plan = Plan { workload: Some(workload), ..plan(driver) };
    let cluster = Cluster::build(plan, with, Arc::new(Journal::new(live)));
    let cluster = show::come_up(cluster.map_err(|error| format!("the cluster cannot be built: {error}"))?)?;
    cluster.wait_writes(cluster.journal().place(), &[1, 2], 10, PATIENCE)?;
    press(&cluster)?;
    let (place, deed, confirmed) = lose(&cluster)?;
    look(&cluster, driver, place, deed, &confirmed)
}

/// Both nodes know the files, and node 1 has no memory left.
fn press(cluster: &Cluster) -> Result<(), String> {
    let journal = cluster.journal();
    cluster.shell(2, &format!("palisade-checker many --dir /mnt/many --count {FILES}"), PATIENCE)?;
    journal.note(&format!("node 2 has made {FILES} files"));
    cluster.shell(1, "palisade-checker look --dir /mnt/many", PATIENCE)?;
    journal.note("node 1 has looked at each");
    let place = journal.place();
    cluster.shell(1, &format!("volume press {HOG}"), PATIENCE)?;
    let held = |event: &Event| event.who == Who::Node(1) && event.text.starts_with("HELD ");
    journal.wait(place, PATIENCE, "the hog has node 1's memory", held).map(drop)
}

/// Host 2 loses its power, and its BMC takes its time. The place and time of that, and the event of the proof.
fn lose(cluster: &Cluster) -> Result<(Place, Duration, Event), String> {
    let journal = cluster.journal();
    let refused = |error: std::io::Error| format!("the BMC of host 2 cannot be held up: {error}");
    cluster.bmc(2)?.set_silent(true).map_err(refused)?;
    let place = journal.place();
    let deed = journal.inject("host 2 loses its power, and its BMC is slow");
    cluster.host(2)?.power_off("because its power failed").map_err(|error| error.to_string())?;
    stop::sleep(FENCE)?;
    cluster.bmc(2)?.set_silent(false).map_err(refused)?;
    let down = |event: &Event| event.who == Who::Appliance(1) && event.kind == Kind::Confirmed && event.node == 2;
    let confirmed = journal.wait(place, PATIENCE, "node 2 is confirmed down", down)?;
    Ok((place, deed, confirmed))
}

fn look(cluster: &Cluster, driver: Driver, place: Place, deed: Duration, confirmed: &Event) -> Result<Row, String> {
    let journal = cluster.journal();
    let barrier = |word: &'static str| {
        move |event: &Event| event.who == Who::Appliance(1) && event.kind == Kind::Barrier && event.text.contains(word)
    };
    let since = |event: &Event| event.at.saturating_sub(confirmed.at);
    let ordered = journal.wait(place, PATIENCE, "START", barrier(" fixes members "))?;
    let gives_up = |event: &Event| event.who == Who::Appliance(1) && event.kind == Kind::Condemned && event.node == 1;
    let wrote = |event: &Event| event.who == Who::Node(1) && event.kind == Kind::Written && event.at >= confirmed.at;
    let lives = |event: Event| (!gives_up(&event)).then(|| since(&event));
    // Its death closes the barrier, too, and its next boot writes again.
    let closes = |event: &Event| barrier(" closes")(event) || gives_up(event);
    let recovered = journal.wait(place, BOUND, "the end of the barrier", closes).ok().and_then(lives);
    let returns = |event: &Event| wrote(event) || gives_up(event);
    let written = recovered.and_then(|_| journal.wait(place, BOUND, "a write of node 1", returns).ok());
    stop::wanted().then(|| stop::SENTENCE.to_owned()).map_or(Ok(()), Err)?;
    let written = written.and_then(lives);
    let death = journal.since(place).into_iter().find(gives_up).filter(|_| written.is_none());
    let end = death.as_ref().map_or_else(|| journal.now(), |event| event.at);
    Ok(Row {
        driver,
        confirmed: confirmed.at.saturating_sub(deed),
        ordered: since(&ordered),
        recovered,
        written,
        died: death.as_ref().map(since),
        forkless: longest_without_fork(journal, deed, end),
    })
}

/// The longest time between two moments in which node 1 started no process.
fn longest_without_fork(journal: &Journal, from: Duration, to: Duration) -> Duration {
    let forked = |event: &Event| event.who == Who::Node(1) && event.text.starts_with("FORKED ");
    let between = |event: &Event| forked(event) && event.at >= from && event.at <= to;
    let times = journal.since(0).into_iter().filter(between).map(|event| event.at);
    let times: Vec<Duration> = std::iter::once(from).chain(times).chain(std::iter::once(to)).collect();
    times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(driver: Driver, recovered: Option<u64>) -> Row {
        let recovered = recovered.map(Duration::from_millis);
        let (confirmed, ordered, forkless) = (FENCE, Duration::from_millis(3), FENCE);
        Row { driver, confirmed, ordered, recovered, written: recovered, died: None, forkless }
    }

    #[test]
    fn the_shim_has_to_recover_while_a_fork_waits_and_a_shell_must_not() {
        let judge = |row: Row| verdict(&[row]);
        assert!(judge(row(Driver::Shim, Some(500))).is_ok());
        assert!(judge(row(Driver::Shim, None)).is_err(), "the shim has to recover");
        let loose = Row { forkless: FENCE / 4, ..row(Driver::Shim, Some(500)) };
        assert!(judge(loose).is_err(), "there was memory");
        let beside = |other: Driver, time| verdict(&[row(Driver::Shim, Some(500)), row(other, time)]);
        assert!(beside(Driver::Shell, None).is_ok_and(|text| text.ends_with("more than 60 times as long")));
        assert!(beside(Driver::Shell, Some(2500)).is_ok_and(|text| text.ends_with("took 5 times as long")));
        assert!(beside(Driver::Shell, Some(2499)).is_err(), "a shell was nearly as good");
        assert!(beside(Driver::Locked, Some(100)).is_ok(), "that one is shown");
        let dead = |driver: Driver| Row { died: Some(FENCE), ..row(driver, None) };
        let died = verdict(&[row(Driver::Shim, Some(500)), dead(Driver::Shell)]);
        assert!(died.is_ok_and(|text| text.ends_with("gave up after 8000 ms")));
        assert!(judge(dead(Driver::Shim)).is_err(), "the shim's node has to live");
        assert!(dead(Driver::Shell).to_string().contains("dead at 8000"), "and a table says so");
        let text = table(&[row(Driver::Shim, Some(500)), row(Driver::Locked, None)]);
        assert!(text.contains("500 ms") && text.contains("not in 30 s"), "{text}");
    }

    #[test]
    fn the_core_reads_the_configuration_with_its_slow_times() {
        use palisade_core::config::{Config, parse};
        for driver in DRIVERS {
            let plan = plan(driver);
            let json = plan.configuration(&"5a".repeat(32), |_| 6000).to_string();
            let mut config = Box::new(Config::new());
            parse::parse(json.as_bytes(), &mut config).expect("its relations hold");
            assert_eq!((config.votes(), config.nodes.len()), (1, 2));
        }
    }
}
