//! A running cluster: its machine room, and what a scene may ask of it or do to it.
//!
//! Owns hosts, BMCs, switch and observer, which all end with it. Must never look into an appliance: it asks as an
//! operator would, by STATUS.

use crate::bmc::Bmc;
use crate::door;
use crate::event::Who;
use crate::host::Host;
use crate::journal::Journal;
use crate::observe::Observer;
use crate::plan::{self, Artefacts, Plan};
use crate::rundir::RunDir;
use crate::scenes::groups::Owner;
use crate::status::Client;
use crate::stop;
use crate::switch::Switch;
use crate::volume::{Members, Volume};
use palisade_core::state::groups::{Phase, Standing};
use palisade_core::state::takeovers::Progress;
use palisade_core::status::{HistoryEntry, Role, Summary, TakeoverEntry};
use palisade_core::wire::node::{NodeState, What};
use palisade_guard::host::names;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the cluster is asked while a scene waits for it.
const ASK: Duration = Duration::from_millis(100);

/// A running cluster. The order of the fields is the order in which they end.
pub struct Cluster {
    bmcs: Vec<Bmc>,
    hosts: Vec<Arc<Host>>,
    switch: Switch,
    _observer: Observer,
    journal: Arc<Journal>,
    plan: Plan,
    volume: Option<Volume>,
    run: RunDir,
}

impl Cluster {
    /// Builds the machine room; all hosts are off.
    ///
    /// # Errors
    /// A sentence: a file, socket or program is not to be had.
    pub fn build(plan: Plan, with: &Artefacts, journal: Arc<Journal>) -> io::Result<Self> {
        let run = RunDir::new(&plan.name)?;
        let dir = run.path();
        let switch = Switch::start([plan.ports(dir), plan.node_ports(dir)].concat())?;
        let volume = plan.has_volume().then(|| Volume::make(&plan::volume_path(dir), Members::Given)).transpose();
        let volume = volume.map_err(io::Error::other)?;
        let host = |id| Arc::new(Host::new(id, dir, Arc::clone(&journal), &with.guard));
        let hosts: Vec<_> = plan.hosts.iter().map(|host_plan| host(host_plan.id)).collect();
        let mut bmcs = Vec::new();
        for host in &hosts {
            bmcs.push(Bmc::start(&dir.join(format!("b{}", host.id())), Arc::clone(host))?);
        }
        write_files(&plan, &run, with, &bmcs)?;
        let observer = Observer::start(Arc::clone(&journal), watched(&plan, dir))?;
        Ok(Self { bmcs, hosts, switch, _observer: observer, journal, plan, volume, run })
    }

    /// The description of this cluster.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What was seen so far.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The volume that the nodes share, if they have one.
    #[must_use]
    pub fn volume(&self) -> Option<&Volume> {
        self.volume.as_ref()
    }

    /// The network between the appliances, and that between the nodes.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The run's directory, for a person.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.run.real()
    }

    /// The run's directory, by the path under which sockets fit.
    #[must_use]
    pub fn run_path(&self) -> &Path {
        self.run.path()
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// The BMC of a host.
    ///
    /// # Errors
    /// A sentence: there is no such host.
    pub fn bmc(&self, host: u8) -> Result<&Bmc, String> {
        let index = self.hosts.iter().position(|known| known.id() == host);
        index.and_then(|index| self.bmcs.get(index)).ok_or_else(|| format!("there is no host {host} in this cluster"))
    }

    /// One host.
    ///
    /// # Errors
    /// A sentence: there is no such host.
    pub fn host(&self, id: u8) -> Result<&Host, String> {
        let host = self.hosts.iter().find(|host| host.id() == id);
        host.map(AsRef::as_ref).ok_or_else(|| format!("there is no host {id} in this cluster"))
    }

    /// Switches all hosts on.
    ///
    /// # Errors
    /// A sentence: a guard cannot be started.
    pub fn power_on(&self) -> Result<(), String> {
        self.hosts.iter().try_for_each(|host| host.power_on("by the runner")).map_err(|error| error.to_string())
    }

    /// The unix socket through which an appliance's vsock ports are reached.
    #[must_use]
    pub fn vsock(&self, host: u8) -> PathBuf {
        plan::state_dir(self.run.path(), host).join(names::APPLIANCE_VSOCK)
    }

    /// A conversation with an appliance.
    ///
    /// # Errors
    /// A sentence: it cannot be reached.
    pub fn ask(&self, host: u8) -> Result<Client, String> {
        Client::connect(&self.vsock(host)).map_err(|error| format!("appliance {host} cannot be asked: {error}"))
    }

    /// An appliance in short.
    ///
    /// # Errors
    /// A sentence: it cannot be reached or does not answer.
    pub fn summary(&self, host: u8) -> Result<Summary, String> {
        self.ask(host)?.summary().map_err(|error| format!("appliance {host} does not tell its status: {error}"))
    }

    /// Who leads, as the leader itself says it; if two say so, the one with the greater ballot.
    #[must_use]
    pub fn leader(&self) -> Option<u8> {
        let summaries = self.hosts.iter().filter_map(|host| self.summary(host.id()).ok());
        let leaders = summaries.filter(|summary| summary.role == Role::Leader && summary.quorum);
        leaders.max_by_key(|summary| summary.ballot).map(|summary| summary.host.get())
    }

    /// Waits until somebody other than `not` leads.
    ///
    /// # Errors
    /// A sentence: nobody does in time.
    pub fn wait_leader(&self, not: u8, limit: Duration) -> Result<u8, String> {
        let end = Instant::now() + limit;
        loop {
            match self.leader() {
                Some(leader) if leader != not => return Ok(leader),
                _ if Instant::now() > end => {
                    return Err(format!("no leader appeared within {} ms", limit.as_millis()));
                }
                _ => stop::sleep(ASK)?,
            }
        }
    }

    /// Waits until all hosts are members of one view under one leader and all nodes are up in it.
    ///
    /// # Errors
    /// A sentence that says what was still missing.
    pub fn wait_all_up(&self, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            let Err(missing) = self.check_all_up() else { return Ok(()) };
            if Instant::now() > end {
                return Err(format!("the cluster was not whole after {} ms: {missing}", limit.as_millis()));
            }
            stop::sleep(ASK)?;
        }
    }

    fn check_all_up(&self) -> Result<(), String> {
        let mut leader = None;
        for host in &self.hosts {
            let id = host.id();
            let mut client = self.ask(id)?;
            let error = |error: io::Error| format!("appliance {id} does not tell its status: {error}");
            let summary = client.summary().map_err(error)?;
            if !matches!(summary.role, Role::Member | Role::Leader) {
                return Err(format!("appliance {id} is {}", summary.role.word()));
            }
            if *leader.get_or_insert(summary.leader) != summary.leader {
                return Err("the appliances do not agree on a leader".to_owned());
            }
            check_group(&mut client, &self.all_nodes()).map_err(|other| format!("{other}, for appliance {id}"))?;
            let services = client.takeovers().map_err(error)?;
            if let Some(waits) = services.iter().find(|entry| entry.progress != Progress::Taken) {
                return Err(format!("{:?} has no owner that took it, for appliance {id}", waits.what));
            }
            let nodes = client.nodes().map_err(error)?;
            for node in &self.plan.nodes {
                let entry = nodes.iter().find(|entry| entry.node.get() == node.id);
                let state = entry.map_or(NodeState::Unknown, |entry| entry.state);
                if state != NodeState::Up {
                    return Err(format!("node {} is {state:?} for appliance {id}", node.id));
                }
            }
        }
        Ok(())
    }

    fn all_nodes(&self) -> Vec<u8> {
        self.plan.nodes.iter().map(|node| node.id).collect()
    }

    /// Waits until the group of the volume has exactly these members and no barrier, for every appliance.
    ///
    /// # Errors
    /// A sentence that says what was still otherwise.
    pub fn wait_group(&self, members: &[u8], limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        let check =
            |id| check_group(&mut self.ask(id)?, members).map_err(|other| format!("{other}, for appliance {id}"));
        loop {
            match self.hosts.iter().try_for_each(|host| check(host.id())) {
                Ok(()) => return Ok(()),
                Err(other) if Instant::now() > end => {
                    return Err(format!("the group was not as it should be after {} ms: {other}", limit.as_millis()));
                }
                Err(_) => stop::sleep(ASK)?,
            }
        }
    }

    /// Who runs the first service, as the leader tells it.
    ///
    /// # Errors
    /// A sentence: nobody leads, or the leader does not answer.
    pub fn owner(&self) -> Result<Option<Owner>, String> {
        let leader = self.leader().ok_or("no appliance says that it leads")?;
        let error = |error: io::Error| format!("appliance {leader} does not tell its takeovers: {error}");
        let takeovers = self.ask(leader)?.takeovers().map_err(error)?;
        let is_owned =
            |entry: &&TakeoverEntry| matches!(entry.what, What::Named(_)) && entry.progress == Progress::Taken;
        let entry = takeovers.iter().find(is_owned);
        Ok(entry.map(|entry| Owner { node: entry.owner.get(), token: entry.token }))
    }

    /// The incarnation of every node that is up, as one of the appliances tells it.
    ///
    /// # Errors
    /// A sentence: no appliance answers.
    pub fn incarnations(&self) -> Result<BTreeMap<u8, u64>, String> {
        let mut last = "there is no host".to_owned();
        for host in &self.hosts {
            let answer = self.ask(host.id()).and_then(|mut client| client.nodes().map_err(|error| error.to_string()));
            match answer {
                Ok(nodes) => {
                    let up = nodes.into_iter().filter(|node| node.state == NodeState::Up);
                    return Ok(up.map(|node| (node.node.get(), node.incarnation)).collect());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The fencing records, as the leader tells them.
    ///
    /// # Errors
    /// A sentence: nobody leads, or the leader does not answer.
    pub fn records(&self) -> Result<Vec<HistoryEntry>, String> {
        let leader = self.leader().ok_or("no appliance says that it leads")?;
        self.ask(leader)?.history().map_err(|error| format!("appliance {leader} does not tell its history: {error}"))
    }

    /// Allocations since the seal, all appliances together.
    ///
    /// # Errors
    /// A sentence: an appliance does not answer.
    pub fn allocations(&self) -> Result<u64, String> {
        self.hosts.iter().map(|host| self.allocations_of(host.id())).sum()
    }

    /// Allocations of one appliance since its seal.
    ///
    /// # Errors
    /// A sentence: it does not answer.
    pub fn allocations_of(&self, host: u8) -> Result<u64, String> {
        Ok(self.summary(host)?.platform.allocations_since_seal)
    }

    /// Where a node writes its console.
    #[must_use]
    pub fn console(&self, host: u8, node: u8) -> PathBuf {
        plan::state_dir(self.run.path(), host).join(names::serial(node))
    }

    /// Gives a node a command and does not wait for an answer: some commands leave nobody to give one.
    ///
    /// # Errors
    /// A sentence: the node cannot be reached.
    pub fn command(&self, node: u8, words: &str) -> Result<(), String> {
        self.at_door(node, |socket| door::tell(socket, words))
            .map_err(|error| format!("node {node} cannot be told to {words}: {error}"))
    }

    /// Gives a node a command; all that it answers until it has no more to say.
    ///
    /// # Errors
    /// A sentence: the node cannot be reached or does not answer in time.
    pub fn answer(&self, node: u8, words: &str, limit: Duration) -> Result<String, String> {
        self.at_door(node, |socket| door::ask(socket, words, limit))
            .map_err(|error| format!("node {node} does not answer to `{words}`: {error}"))
    }

    fn at_door<T>(&self, node: u8, act: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        let host = self.plan.nodes.iter().find(|known| known.id == node).map(|known| known.host);
        let host = host.ok_or_else(|| io::Error::other("there is no such node in this cluster"))?;
        act(&plan::state_dir(self.run.path(), host).join(names::vsock(node)))
    }
}

/// Whether the only group has exactly these members and no barrier.
fn check_group(client: &mut Client, members: &[u8]) -> Result<(), String> {
    let error = |error: io::Error| format!("its groups are not told: {error}");
    if let Some(open) = client.groups().map_err(error)?.iter().find(|group| group.phase != Phase::Idle) {
        return Err(format!("a group is {:?}", open.phase));
    }
    let rows = client.members().map_err(error)?;
    if let Some(other) = rows.iter().find(|row| row.standing != Standing::Member) {
        return Err(format!("{} is {:?} in the group", other.node, other.standing));
    }
    let there: Vec<u8> = rows.iter().map(|row| row.node.get()).collect();
    if there == members { Ok(()) } else { Err(format!("the group has the nodes {there:?}")) }
}

fn write_files(plan: &Plan, run: &RunDir, with: &Artefacts, bmcs: &[Bmc]) -> io::Result<()> {
    let dir = run.path();
    let ports: BTreeMap<u8, u16> = plan.hosts.iter().zip(bmcs).map(|(host, bmc)| (host.id, bmc.port())).collect();
    let configuration = plan.configuration(&secret()?, |host| ports.get(&host).copied().unwrap_or(0));
    write_json(&plan::configuration_path(dir), &configuration)?;
    plan.hosts.iter().try_for_each(|host| write_json(&Host::file(dir, host.id), &plan.host_file(host.id, dir, with)))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    fs::write(path, text + "\n")
}

/// A secret for one run.
fn secret() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat())
}

/// The files in which something happens, and who writes them.
fn watched(plan: &Plan, run: &Path) -> Vec<(PathBuf, Who)> {
    let mut files = Vec::new();
    for host in &plan.hosts {
        let state = plan::state_dir(run, host.id);
        files.push((Host::guard_log(run, host.id), Who::Guard(host.id)));
        files.push((state.join(names::APPLIANCE_SERIAL), Who::Appliance(host.id)));
        for node in plan.nodes_of(host.id) {
            files.push((state.join(names::serial(node.id)), Who::Node(node.id)));
            if plan.has_volume() {
                files.push((state.join(plan::work_name(node.id)), Who::Node(node.id)));
            }
        }
    }
    files
}
