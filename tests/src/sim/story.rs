//! One long story, drawn from a seed: safety with faults, then liveness without.
//!
//! Owns which faults happen, when, and how many at a time. It must never leave fewer than a quorum of votes with memory,
//! nor two appliances without memory: that is a cold start, which is not built yet. What is wrong is the checkers' to say;
//! the story itself only demands that all is up in the end.

use super::{Bmc, Event, Mood, Power, Trace, World, config};
use palisade_core::fencing::Action;
use palisade_core::id::HostId;
use std::collections::BTreeMap;

/// Steps of a story; each brings a fault, every third of them two at the same time.
const STEPS: u64 = 12;
/// Silence shorter than this is nobody's death: `host_dead_ms` is 1000, less a heartbeat.
const SHORT_MS: u64 = 700;

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Microseconds of true time.
    pub micros: u64,
    /// How often each kind of fault and event happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// How many hosts the run of this seed has: 3 to 16, mostly few, because the cost grows with their square.
#[must_use]
pub fn hosts_of(seed: u64) -> u8 {
    const HOSTS: [u8; 32] =
        [3, 3, 5, 3, 4, 3, 7, 5, 3, 6, 3, 3, 5, 4, 3, 9, 5, 3, 8, 3, 5, 3, 4, 11, 3, 5, 3, 7, 10, 3, 3, 0];
    const MANY: [u8; 5] = [12, 13, 14, 15, 16];
    let pick = |list: &[u8], number: u64| list[usize::try_from(number).unwrap_or(0) % list.len()];
    match pick(&HOSTS, seed % 32) {
        0 => pick(&MANY, seed / 32 % 5),
        hosts => hosts,
    }
}

/// A fault that ends by itself soon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Short {
    Cut,
    Stall(u8),
}

/// Whatever happens in the first half, all is up in the end.
///
/// # Panics
/// When a checker finds its invariant broken, or not all is up in the end.
#[must_use]
pub fn faults_then_peace(hosts: u8, seed: u64, trace: Trace) -> Report {
    let votes = if hosts.is_multiple_of(2) { hosts - 1 } else { hosts };
    let mut story = Story {
        world: World::traced(config::cluster_with_votes(hosts, votes), seed, trace),
        hosts,
        votes,
        counts: BTreeMap::new(),
    };
    story.begins();
    for _ in 0..STEPS {
        story.step();
    }
    story.ends(seed);
    story.report()
}

struct Story {
    world: World,
    hosts: u8,
    votes: u8,
    counts: BTreeMap<&'static str, u64>,
}

impl Story {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// As `World::run_until_true`, in coarser steps: what is asked for here costs more than what happens meanwhile.
    fn wait(&mut self, millis: u64, holds: impl Fn(&World) -> bool) -> bool {
        for _ in 0..millis / 20 {
            if holds(&self.world) {
                return true;
            }
            self.world.run_ms(20);
        }
        holds(&self.world)
    }

    fn begins(&mut self) {
        self.world.power_all();
        let up = self.wait(15_000, World::all_up);
        assert!(up, "{} hosts: not all up in the beginning\n{}", self.hosts, self.world.story());
        self.world.one_without_memory = true;
        for host in self.world.hosts.values_mut() {
            host.drift = i64::from(host.id % 3) * 900 - 900;
        }
        for host in 1..=self.hosts {
            self.mend_bmc(host);
        }
    }

    fn mend_bmc(&mut self, host: u8) {
        let span = 5_000 + self.world.random() % 1_500_000;
        self.world.bmcs.insert(host, Bmc::Works(span));
    }

    fn mend_dead_bmcs(&mut self) {
        let dead: Vec<u8> = (1..=self.hosts).filter(|host| self.world.bmcs[host] == Bmc::Dead).collect();
        for host in dead {
            self.mend_bmc(host);
        }
    }

    fn step(&mut self) {
        if self.world.random().is_multiple_of(2) {
            self.mend_dead_bmcs();
        }
        let mut ends = Vec::new();
        let faults = if self.world.random().is_multiple_of(3) { 2 } else { 1 };
        if faults == 2 {
            self.count("two faults at the same time");
        }
        for _ in 0..faults {
            let end = self.fault(ends.is_empty());
            ends.extend(end);
        }
        ends.sort_unstable();
        let any_short = !ends.is_empty();
        for (at, short) in ends {
            self.world.run_until(at.max(self.world.now));
            match short {
                Short::Cut => self.world.each_path(|_, path| path.cut = false),
                Short::Stall(host) => self.world.freeze(host, false),
            }
        }
        // Two short silences in a row are a long one: between them he is heard.
        let least = if any_short { 300 } else { 0 };
        let pause = least + self.world.random() % 3_000;
        self.world.run_ms(pause);
    }

    /// One fault. What ends it, and when, if it ends by itself. With patience it waits until it may happen; where a short
    /// fault goes on, that would make a long one of it.
    fn fault(&mut self, patience: bool) -> Option<(u64, Short)> {
        let victim = u8::try_from(self.world.random() % u64::from(self.hosts)).expect("few hosts") + 1;
        match self.world.random() % 14 {
            0 => self.hit(victim, Mood::Gone, "VM exits"),
            1 => self.hit(victim, Mood::Panicked, "panic"),
            2 => self.hit(victim, Mood::Hung, "hang"),
            3 => self.hit(victim, Mood::Paused, "pause"),
            4 | 5 if self.may_forget(victim, patience) => {
                self.count("appliance killed");
                self.world.kill_appliance(victim);
            }
            6 | 7 if self.may_forget(victim, patience) => {
                self.count("host without power");
                self.world.power_off(victim);
            }
            8 if self.may_forget(victim, patience) => {
                self.count("host frozen");
                self.world.freeze(victim, true);
            }
            9 => {
                self.count("one link dead");
                self.world.each_path(|(_, _, link), path| path.cut = link == 0);
            }
            10 => {
                self.count("lossy links");
                self.world.each_path(|_, path| {
                    path.loss = 50;
                    path.duplicate = 50;
                    path.spread = 5_000;
                });
            }
            11 => {
                self.count("one-way cut");
                self.world.each_path(|(from, _, _), path| path.cut |= from == victim);
                return Some((self.world.now + self.world.random() % (SHORT_MS * 1000), Short::Cut));
            }
            12 => {
                let host = &self.world.hosts[&victim];
                if host.power == Power::On && !host.frozen {
                    self.count("host stalled");
                    self.world.freeze(victim, true);
                    let span = 60_000 + self.world.random() % 540_000;
                    return Some((self.world.now + span, Short::Stall(victim)));
                }
            }
            13 => {
                self.count("BMC dead");
                self.world.bmcs.insert(victim, Bmc::Dead);
            }
            _ => self.count("(spared: memory)"),
        }
        None
    }

    /// Does something to a guest that works; a sick one can still exit.
    fn hit(&mut self, node: u8, mood: Mood, name: &'static str) {
        let guest = &self.world.guests[&node];
        let is_alive = guest.mood == Mood::Well || (mood == Mood::Gone && guest.is_running());
        if is_alive && guest.run != 0 && !guest.frozen {
            self.count(name);
            self.world.hit(node, mood);
        }
    }

    /// Whether this appliance may lose its memory, perhaps after a while; a person helps where nothing else does.
    fn may_forget(&mut self, victim: u8, patience: bool) -> bool {
        let votes = self.votes;
        let spare = move |world: &World| {
            let remember = |host: u8| host != victim && world.remembers(host);
            let runs = world.hosts[&victim].power == Power::On && !world.hosts[&victim].frozen;
            runs && (1..=votes).filter(|&host| remember(host)).count() > usize::from(votes / 2)
        };
        let may = if patience { self.wait(10_000, spare) } else { spare(&self.world) };
        if may || !patience {
            return may;
        }
        self.mend_dead_bmcs();
        self.person_helps();
        self.wait(10_000, spare)
    }

    /// A host that died with no member node on it is never fenced (SAFETY D5), so a person resets it.
    fn person_helps(&mut self) {
        let frozen: Vec<u8> = self.world.hosts.values().filter(|host| host.frozen).map(|host| host.id).collect();
        for host in frozen {
            self.world.power_off(host);
        }
        self.world.power_all();
    }

    fn ends(&mut self, seed: u64) {
        self.world.each_path(|_, path| {
            path.cut = false;
            path.loss = 0;
        });
        self.mend_dead_bmcs();
        if !self.wait(30_000, World::at_peace) {
            self.person_helps();
        }
        let peace = self.wait(240_000, World::at_peace);
        assert!(peace, "seed {seed}, {} hosts: not all up in the end\n{}", self.hosts, self.world.story());
        self.world.run_ms(2_000);
        let lasts = self.world.at_peace();
        assert!(lasts, "seed {seed}, {} hosts: all was up, and did not stay so\n{}", self.hosts, self.world.story());
    }

    fn report(mut self) -> Report {
        let truth = &self.world.truth;
        let orders = |wanted: Action| truth.orders.iter().filter(|(_, _, _, action)| *action == wanted).count();
        let events = [
            ("elections", usize::try_from(truth.elections).unwrap_or(usize::MAX)),
            ("views", truth.views()),
            ("NODE_DOWN told", truth.downs.len()),
            ("resets by leases", truth.resets.len()),
            ("BMC orders: off", orders(Action::Off)),
            ("BMC orders: on", orders(Action::On)),
        ];
        for (what, count) in events {
            *self.counts.entry(what).or_default() += u64::try_from(count).unwrap_or(u64::MAX);
        }
        Report { micros: self.world.now, counts: self.counts }
    }
}

impl World {
    /// Whether an appliance that runs here remembers what it promised: every other one that remembers counts on it.
    fn remembers(&self, host: u8) -> bool {
        let h = &self.hosts[&host];
        let is_out = self.hosts.values().filter(|other| other.is_admitted()).any(|other| {
            let (row, own) = (other.view().map(|view| *view.host(HostId::new(host))), h.view());
            own.is_none() || row.is_some_and(|row| !row.counts())
        });
        // An order may still be under way to a host that was reset by a person and is a member again.
        let is_doomed = self.queue.iter().any(|event| event.0.2 == Event::BmcActs { host, on: false });
        h.power == Power::On && !h.frozen && h.is_admitted() && !is_out && !is_doomed
    }

    /// Whether every appliance and every node works, and every appliance's view says so.
    #[must_use]
    pub fn at_peace(&self) -> bool {
        self.guests.values().all(|guest| guest.mood == Mood::Well && !guest.frozen)
            && self.all_admitted()
            && self.all_up()
    }
}
