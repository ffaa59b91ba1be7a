//! What tests of single decisions share: a leader's facts around a view, one look at a time.

use super::Facts;
use crate::cold::Cold;
use crate::config::Config;
use crate::config::parse::tests::{SAMPLE, read};
use crate::fencing::Class;
use crate::fencing::ages::Ages;
use crate::fencing::harness::Harness;
use crate::heartbeat::Watch;
use crate::id::{HostId, NodeId, Run};
use crate::rule::Rules;
use crate::state::{Evidence, STATE_BYTES_MAX, State};
use crate::status::Reason;
use crate::time::{Duration, Instant};
use crate::wire::node::Target;
use crate::{groups, takeover};
use std::boxed::Box;
use std::vec::Vec;

/// What host 1 knows, as leader.
pub struct Scene {
    pub config: Box<Config>,
    pub watch: Box<Watch>,
    pub harness: Box<Harness>,
    pub groups: Box<groups::reports::Reports>,
    pub takeovers: Box<takeover::reports::Reports>,
    pub view: Box<State>,
    pub now: Instant,
}

impl Scene {
    /// Three nodes that are up as incarnations 11, 12 and 13, in one cluster; nobody has said anything yet.
    pub fn new() -> Self {
        let mut config = read(SAMPLE);
        config.clusters.clear();
        let mut view = Box::new(State::EMPTY);
        view.version = 100;
        for node in 1..=3 {
            view.raise(NodeId::new(node), HostId::new(node), 10 + u64::from(node), Run { boot: 1, counter: 1 });
        }
        let mut groups = Box::new(groups::reports::Reports::EMPTY);
        groups.begin(Instant::ZERO);
        let (watch, harness) = (Box::new(Watch::EMPTY), Box::new(Harness::EMPTY));
        let takeovers = Box::new(takeover::reports::Reports::EMPTY);
        Self { config, watch, harness, groups, takeovers, view, now: Instant::ZERO }
    }

    /// Looks once, and commits what is decided. Whether anything is.
    pub fn look(&mut self, decide: impl FnOnce(&Facts<'_>, &mut State) -> bool) -> bool {
        let mut next = self.view.clone();
        next.version += 1;
        let facts = Facts {
            now: self.now,
            me: HostId::new(1),
            config: &self.config,
            watch: &self.watch,
            harness: &self.harness,
            groups: &self.groups,
            takeovers: &self.takeovers,
            cuts: &crate::cut::reports::Reports::EMPTY,
            ages: &Ages::EMPTY,
            since: Instant::ZERO,
            released: false,
            cold: &Cold::EMPTY,
            rules: Rules::ALL,
        };
        if decide(&facts, &mut next) {
            self.commit(next);
            return true;
        }
        self.groups.settle(&self.view);
        self.takeovers.settle(&self.view);
        next.version = self.view.version;
        assert!(encoded(&next) == encoded(&self.view), "a look that finds nothing changes nothing");
        false
    }

    pub fn commit(&mut self, next: Box<State>) {
        self.view = next;
        self.groups.committed(self.now, &self.view);
        self.takeovers.committed(self.now, &self.view);
    }

    /// Something happened to the nodes themselves.
    pub fn happens(&mut self, change: impl FnOnce(&mut State)) {
        let mut next = self.view.clone();
        next.version += 1;
        change(&mut next);
        self.commit(next);
    }

    pub fn condemned(&mut self, node: u8) {
        self.happens(|view| view.condemn(Target::Node(NodeId::new(node)), Reason::Silent, view.version));
    }

    pub fn confirmed(&mut self, node: u8) {
        let evidence = Evidence::by_itself(Class::VmGone);
        self.happens(|view| view.confirm(Target::Node(NodeId::new(node)), Reason::VmGone, &evidence, view.version));
    }

    pub fn passes(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }
}

fn encoded(state: &State) -> Vec<u8> {
    let mut buffer = Box::new([0; STATE_BYTES_MAX]);
    let length = state.encode(&mut buffer);
    buffer[..length].to_vec()
}
