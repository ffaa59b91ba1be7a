//! The faults of a story: what each does, to whom, and what ends it.
//!
//! Owns the list. A fault that may cost an appliance its memory asks first (`may_forget`); one that is short ends by itself.

use super::{Bmc, Ends, Heal, Mood, Pipe, Power, RISK, SHORT_MS, Stop, Story};
use crate::sim::Wish;

/// How many kinds there are.
const KINDS: u64 = 46;

impl Story {
    /// One fault. What ends it, and when, if it ends by itself. With patience it waits until it may happen; where a short
    /// fault goes on, that would make a long one of it.
    pub(super) fn fault(&mut self, patience: bool) -> Ends {
        let host = self.one_of(self.shape.hosts);
        let nodes = self.world.guests.keys().count();
        let node = self.one_of(u8::try_from(nodes).expect("at most 255 nodes"));
        let kind = self.random(KINDS);
        match kind {
            0..=11 => self.guest_fault(kind, node, patience),
            12..=23 => self.host_fault(kind, host, patience),
            24..=31 => self.network_fault(kind, host, patience),
            _ => self.other_fault(kind, host, node, patience),
        }
    }

    /// A guest of a tainted host costs that host, because nothing but its power proves anything.
    pub(super) fn may_hit(&mut self, node: u8, patience: bool) -> bool {
        let host = self.world.guests[&node].host;
        !self.tainted.contains(&host) || self.may_forget(host, patience)
    }

    /// Does something to a guest that works; a sick one can still exit.
    fn hit(&mut self, node: u8, mood: Mood, name: &'static str, patience: bool) -> bool {
        let works = |story: &Self| {
            let guest = &story.world.guests[&node];
            let is_alive = guest.mood == Mood::Well || (mood == Mood::Gone && guest.is_running());
            is_alive && guest.run != 0 && !guest.frozen && !story.has_left(node)
        };
        let hits = works(self) && self.may_hit(node, patience) && works(self);
        if hits {
            self.count(name);
            self.world.hit(node, mood);
        }
        hits
    }

    /// Who left and then ends before it is back stays away until its host boots anew: that is as it should be.
    pub(super) fn has_left(&self, node: u8) -> bool {
        let row = self.world.truth.newest().map(|view| view.node(palisade_core::id::NodeId::new(node)).state);
        self.world.guests[&node].left || row == Some(palisade_core::wire::node::NodeState::Left)
    }

    fn guest_fault(&mut self, kind: u64, node: u8, patience: bool) -> Ends {
        match kind {
            0 => {
                self.hit(node, Mood::Gone, "VM exits", patience);
            }
            1 if self.hit(node, Mood::Panicked, "panic", patience) && self.random(2) == 0 => {
                self.count("panic, and the kernel boots anew");
                return vec![(self.world.now + self.random(5_000_000), Heal::Reboot(node))];
            }
            2 => {
                self.hit(node, Mood::Hung, "hang", patience);
            }
            3 => {
                self.hit(node, Mood::Paused, "pause", patience);
            }
            4 | 5 if self.hit(node, Mood::Paused, "pause, and somebody continues it", patience) => {
                let span = 100_000 + self.random(if kind == 4 { 1_300_000 } else { 8_000_000 });
                return vec![(self.world.now + span, Heal::Cont(node))];
            }
            6 if self.hit(node, Mood::Panicked, "panic, and somebody continues it", patience) => {
                let span = self.random(60_000);
                return vec![(self.world.now + span, Heal::Cont(node))];
            }
            7 if self.may_hit(node, patience) => {
                self.count("guest resets");
                self.world.reset_guest(node);
            }
            8 if self.may_hit(node, patience) => {
                self.count("last gasp");
                self.world.gasp(node);
            }
            9 if self.world.guests[&node].has_session() && self.may_hit(node, patience) => {
                self.count("leaves and comes back");
                self.world.bye(node);
                let pause = self.random(600_000);
                self.pass(pause);
                self.world.reset_guest(node);
            }
            10 if self.may_hit(node, patience) => {
                self.count("storage hangs, then panic");
                self.world.guests.get_mut(&node).expect("a node").storage_answers = false;
                self.hit(node, Mood::Panicked, "panic", false);
            }
            11 if self.may_hit(node, patience) => {
                self.count("flaps");
                for _ in 0..3 {
                    self.hit(node, Mood::Gone, "VM exits", false);
                    let pause = self.random(2_500_000);
                    self.pass(pause);
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn runs(&self, host: u8) -> bool {
        self.world.hosts[&host].power == Power::On && !self.world.hosts[&host].stands()
    }

    fn host_fault(&mut self, kind: u64, host: u8, patience: bool) -> Ends {
        let now = self.world.now;
        let short = 60_000 + self.random(SHORT_MS * 1000 - 160_000);
        match kind {
            12 if self.runs(host) => {
                self.count("host stalled");
                self.world.freeze(host, true);
                return vec![(now + short, Heal::Freeze(host))];
            }
            13 if self.runs(host) => {
                self.count("host suspended for a moment");
                self.world.suspend(host, true);
                return vec![(now + short, Heal::Suspend(host))];
            }
            14 | 15 if self.runs(host) => {
                self.count("appliance stopped for a moment");
                self.world.stop_appliance(host, if kind == 14 { Stop::Clock } else { Stop::Loop });
                return vec![(now + short, Heal::Appliance(host))];
            }
            _ if !self.may_forget(host, patience) => self.count("(spared: memory)"),
            16 if self.forgets && self.random(2) == 0 => {
                self.count("all appliances killed");
                self.world.forget_all();
            }
            16 => {
                self.count("appliance killed");
                self.world.kill_appliance(host);
            }
            17 => {
                self.count("host without power");
                self.world.power_off(host);
            }
            18 => {
                self.count("host frozen");
                self.world.freeze(host, true);
            }
            19 => {
                self.count("host suspended for long");
                self.world.suspend(host, true);
                let span = 800_000 + self.random(9_000_000);
                return vec![(self.world.now + span, Heal::Suspend(host))];
            }
            20 | 21 => {
                self.count("appliance stopped for long");
                self.world.stop_appliance(host, if kind == 20 { Stop::Clock } else { Stop::Loop });
                let span = 800_000 + self.random(9_000_000);
                return vec![(self.world.now + span, Heal::Appliance(host))];
            }
            22 => {
                self.count("host boots anew at once");
                self.world.power_off(host);
                let pause = self.random(400_000);
                return vec![(self.world.now + pause, Heal::Power(host))];
            }
            _ => {
                self.count("host and BMC without supply");
                self.world.unplug(host);
                let pause = 500_000 + self.random(9_000_000);
                return vec![(self.world.now + pause, Heal::Power(host))];
            }
        }
        Vec::new()
    }

    fn network_fault(&mut self, kind: u64, host: u8, patience: bool) -> Ends {
        let now = self.world.now;
        let short = self.random(SHORT_MS * 1000);
        match kind {
            24 => {
                self.count("one link dead");
                self.world.each_path(|(_, _, link), path| path.cut |= link == 0);
                return vec![(now + 1_000_000 + self.random(2_000_000), Heal::Network)];
            }
            25 => {
                self.count("lossy links");
                self.world.each_path(|_, path| {
                    path.loss = 50;
                    path.duplicate = 50;
                    path.spread = 5_000;
                });
            }
            26 => {
                self.count("late, damaged and repeated datagrams");
                let late_by = [800_000, 3_000_000, 30_000_000][usize::try_from(self.random(3)).expect("small")];
                self.world.each_path(|_, path| {
                    (path.late, path.late_by, path.corrupt, path.duplicate) = (100, late_by, 20, 100);
                });
                return vec![(now + 1_000_000 + self.random(4_000_000), Heal::Network)];
            }
            27 => {
                self.count("one-way cut for a moment");
                let out = self.random(2) == 0;
                self.world.cut(host, out, !out, true);
                return vec![(now + short, Heal::Network)];
            }
            28 => {
                self.count("two hosts do not hear each other");
                let other = self.one_of(self.shape.hosts);
                // If one of them leads, the other is fenced.
                let lasts =
                    if self.may_forget(host, patience) && self.may_forget(other, false) { 3_000_000 } else { 0 };
                let both = self.random(2) == 0;
                self.world.each_path(|(from, to, _), path| {
                    path.cut |= (from, to) == (host, other) || (both && (from, to) == (other, host));
                });
                return vec![(self.world.now + short + lasts, Heal::Network)];
            }
            29 | 30 if self.may_forget(host, patience) => {
                self.count("one-way cut for long");
                self.world.cut(host, kind == 29, kind == 30, true);
                return vec![(self.world.now + 1_000_000 + self.random(6_000_000), Heal::Network)];
            }
            31 => return self.split(patience),
            _ => self.count("(spared: memory)"),
        }
        Vec::new()
    }

    /// A minority is cut off, as many as may lose their memory.
    fn split(&mut self, patience: bool) -> Ends {
        let mut minority: Vec<u8> = Vec::new();
        let wanted = 1 + self.random(u64::from(self.shape.votes / 2));
        for _ in 0..wanted {
            let host = self.one_of(self.shape.hosts);
            if !minority.contains(&host) && self.may_forget(host, patience && minority.is_empty()) {
                minority.push(host);
            }
        }
        self.count("a minority cut off");
        let side = |host: u8| minority.contains(&host);
        self.world.each_path(|(from, to, _), path| path.cut |= side(from) != side(to));
        // What was ordered before the cut may still be driven: until the lead and the order's validity are over.
        self.split = true;
        self.pass(3_500_000);
        // Of two votes either side may go on; the checkers of S4 know when.
        if self.split && self.shape.votes > 2 {
            let majority = (1..=self.shape.hosts).filter(|&host| !side(host)).collect();
            self.world.truth.quorum_side = Some(majority);
        }
        vec![(self.world.now + self.random(6_000_000), Heal::Network)]
    }

    fn other_fault(&mut self, kind: u64, host: u8, node: u8, patience: bool) -> Ends {
        match kind {
            32 | 33 => {
                self.count("BMC dead, mute, late, refusing or failing half way");
                let by = self.random(2_000_000);
                let kinds = [Bmc::Dead, Bmc::Refuses, Bmc::Mute, Bmc::ActsLate(by), Bmc::HalfWay, Bmc::Lags(by * 2)];
                let bmc = kinds[usize::try_from(self.random(6)).expect("small")];
                self.world.bmcs.insert(host, bmc);
            }
            34 if self.may_forget(host, patience) => {
                self.count("guard killed");
                let back_in = 50_000 + self.random(3_000_000);
                self.world.kill_guard(host, back_in);
            }
            35 => {
                self.count("pipes keep or cut what is old, or are slow");
                let h = self.world.random();
                let delay = self.random(60_000) + 1;
                let host = self.world.hosts.get_mut(&host).expect("a host");
                host.pipe = [Pipe::Keeps, Pipe::Cuts, Pipe::Drops][usize::try_from(h % 3).expect("small")];
                host.pipe_delay = delay;
            }
            36 => {
                let target = self.world.guests[&node].host;
                if self.may_hit(node, patience) && (host != target || self.random(2) == 0) {
                    self.count("operator fences a node");
                    self.world.operator(host, Wish::FenceNode(node));
                    self.asked = self.world.now + RISK;
                }
            }
            37 => {
                let victim = self.one_of(self.shape.hosts);
                if self.may_forget(victim, patience) {
                    self.count("operator fences a host");
                    self.world.operator(host, Wish::FenceHost(victim));
                    self.asked = self.world.now + RISK;
                }
            }
            38 if self.may_forget(host, patience) => {
                self.count("clock jumps");
                let by = 50_000 + self.random(5_000_000);
                self.world.jump(host, by);
            }
            40 if self.may_hit(node, patience) => {
                use palisade_core::wire::node::Wish::{Maintain, Pause, Release, Resume};
                self.count("operator pauses or maintains a node, or ends that");
                let wish = [Maintain, Pause, Release, Resume][usize::try_from(self.random(4)).expect("small")];
                let duration_ms = u32::try_from(500 + self.random(5_000)).expect("small");
                let force = self.random(2) == 0;
                let operation = crate::sim::operator::of_node(wish, node, duration_ms);
                self.world.operate(host, palisade_core::wire::node::Operation { force, ..operation });
                self.asked = self.world.now + RISK;
            }
            39 => {
                self.count("a node is started by hand elsewhere");
                self.world.start_by_hand(node, host);
                self.world.operator(host, Wish::Status);
            }
            41 => return self.takes_a_host_away(host, patience),
            42 | 43 if self.shape.hosts > 1 => return self.operator_acknowledges(host, patience),
            44 => self.operator_lies(host, node, patience),
            45 => self.operator_maintains_a_host(host, patience),
            _ => self.count("(spared: memory)"),
        }
        Vec::new()
    }
}
