//! Real cores without clocks: every datagram stays where it is until somebody delivers it, every clock stands still until
//! somebody lets it go on.
//!
//! Owns the engines, their clocks, the bag of datagrams and the nodes' sessions, and does nothing by itself, but that a node
//! which has a session beats while its host's clock goes on. It knows the cluster's secret, so that it can read what it
//! delivers. The checkers see every view that an engine holds committed, and every word to a node. `replay` decides what
//! happens.

use super::outside::Outside;
use palisade_core::config::Config;
use palisade_core::engine::{Boot, Engine};
use palisade_core::id::{Cluster, HostId, Incarnation, NodeId};
use palisade_core::io::{Input, Output, Request, Road};
use palisade_core::limits::FRAME_MAX;
use palisade_core::rule::Rules;
use palisade_core::state::{STATE_BYTES_MAX, State, digest};
use palisade_core::status::{Role, Summary};
use palisade_core::time::Instant;
use palisade_core::wire::datagram::{Head, MESSAGE_MAX, SenderKey};
use palisade_core::wire::frame::Reader;
use palisade_core::wire::guard;
use palisade_core::wire::message::Message;
use palisade_core::wire::node::Message as Word;
use std::collections::BTreeMap;

/// One appliance, by number from 0; its host's number is one more.
struct Core {
    engine: Box<Engine>,
    clock: u64,
    life: u32,
    incarnation: Incarnation,
    boots: u64,
    /// Its host has power.
    is_fed: bool,
    /// Of its node, while that runs, as WELCOME named it; zero: none.
    session: u32,
}

/// A datagram on its way.
pub struct Letter {
    /// Who sent it, by number from 0.
    pub from: u8,
    /// To whom.
    pub to: u8,
    /// The sender's incarnation.
    pub sender: Incarnation,
    /// Which incarnation of the receiver it names; zero: any.
    receiver: Incarnation,
    /// What it says.
    pub message: Message,
    bytes: Vec<u8>,
}

impl Letter {
    /// Whether it goes this way.
    #[must_use]
    pub const fn is(&self, from: u8, to: u8) -> bool {
        self.from == from && self.to == to
    }
}

impl Core {
    fn boot(&self, host: u8) -> u64 {
        u64::from(host + 1) << 32 | self.boots
    }
}

/// What was ever held committed, whoever held it.
#[derive(Default)]
struct Line {
    /// Digests, by version and cluster incarnation.
    views: BTreeMap<(u64, u32), u64>,
    /// What each life held last.
    last: BTreeMap<(u8, u32), u64>,
}

impl Line {
    /// S1: committed views form one line, and every member's views only move forward.
    fn held(&mut self, host: u8, life: u32, view: &State) {
        if view.version == 0 || self.last.get(&(host, life)) == Some(&view.version) {
            return;
        }
        let before = self.last.insert((host, life), view.version);
        assert!(before <= Some(view.version), "S1: host {host} went back to version {}", view.version);
        let mut bytes = Box::new([0; STATE_BYTES_MAX]);
        let length = view.encode(&mut bytes);
        let sum = digest(&bytes[..length]);
        let known = *self.views.entry((view.version, view.cluster.random)).or_insert(sum);
        assert!(known == sum, "S1: host {host} committed another state as version {}", view.version);
    }
}

/// The engines and what is between them.
pub struct Cores {
    config: &'static Config,
    rules: Rules,
    cores: Vec<Core>,
    /// Everything that was sent and not delivered.
    pub letters: Vec<Letter>,
    /// What devices are to do, by executor.
    pub requests: Vec<(u8, Request)>,
    /// What is true of the node that may be fenced.
    pub outside: Outside,
    line: Line,
}

/// Where an engine's clock begins: some time after its host's start, so that nothing ends before zero.
const CLOCK_AT_BOOT: u64 = 10_000_000;
/// Time goes on in steps that no engine takes for a stall of its own.
const STEP: u64 = 250_000;

impl Cores {
    /// The appliances of this cluster, which obey these rules, each without memory. It is the last host's node that may be
    /// fenced.
    #[must_use]
    pub fn new(config: &'static Config, rules: Rules) -> Self {
        let node = config.nodes.last().map_or(NodeId::NONE, |node| NodeId::new(node.id));
        let mut all = Self {
            config,
            rules,
            cores: Vec::new(),
            letters: Vec::new(),
            requests: Vec::new(),
            outside: Outside::new(node),
            line: Line::default(),
        };
        for host in (0..=u8::MAX).take(config.hosts.len()) {
            all.cores.push(Core {
                engine: Box::new(Engine::new()),
                clock: CLOCK_AT_BOOT,
                life: 0,
                incarnation: 0,
                boots: 0,
                is_fed: true,
                session: 0,
            });
            all.restart(host);
        }
        all
    }

    /// The numbers of all.
    pub fn all(&self) -> impl Iterator<Item = u8> + use<> {
        (0..=u8::MAX).take(self.cores.len())
    }

    /// The appliance begins a new life without memory.
    pub fn restart(&mut self, host: u8) {
        let (config, rules) = (self.config, self.rules);
        let core = &mut self.cores[usize::from(host)];
        core.life += 1;
        core.is_fed = true;
        core.session = 0;
        core.incarnation = u64::from(host + 1) << 32 | u64::from(core.life);
        *core.engine = Engine::new();
        core.engine.obey(rules);
        let seed = host.wrapping_mul(16).wrapping_add(u8::try_from(core.life).unwrap_or(0));
        let boot =
            Boot { host: HostId::new(host + 1), incarnation: core.incarnation, entropy: [seed; 32], config_hash: 1 };
        core.engine.start(Instant::from_micros(core.clock), config, boot);
        self.feed(host, Input::Tick);
    }

    /// What an engine says of itself.
    #[must_use]
    pub fn summary(&self, host: u8) -> Summary {
        let core = &self.cores[usize::from(host)];
        core.engine.summary(Instant::from_micros(core.clock))
    }

    /// What an engine is.
    #[must_use]
    pub fn role(&self, host: u8) -> Role {
        self.cores[usize::from(host)].engine.role()
    }

    /// The newest version that an engine holds committed.
    #[must_use]
    pub fn version(&self, host: u8) -> u64 {
        self.cores[usize::from(host)].engine.version()
    }

    /// The present incarnation.
    #[must_use]
    pub fn incarnation(&self, host: u8) -> Incarnation {
        self.cores[usize::from(host)].incarnation
    }

    /// What an engine holds committed.
    #[must_use]
    pub fn view(&self, host: u8) -> &State {
        self.cores[usize::from(host)].engine.view()
    }

    /// An input, and what comes of it. A host without power takes nothing in.
    pub fn feed(&mut self, host: u8, input: Input<'_>) {
        let core = &mut self.cores[usize::from(host)];
        if !core.is_fed {
            return;
        }
        let now = Instant::from_micros(core.clock);
        core.engine.handle(now, input);
        let (mut sent, mut words) = (Vec::new(), Vec::new());
        loop {
            match core.engine.poll(now) {
                Output::Datagram { bytes, .. } => sent.push(bytes.to_vec()),
                Output::Device(request) => self.requests.push((host, request)),
                Output::Session { road: Road::Channel(_), bytes } => words.push(bytes.to_vec()),
                Output::Deadline(_) => break,
                _ => {}
            }
        }
        for word in words {
            Self::hear(core, &mut self.outside, host + 1, &word);
        }
        self.outside.committed(core.engine.view());
        self.line.held(host + 1, core.life, core.engine.view());
        for bytes in sent {
            let letter = self.read(bytes);
            self.letters.push(letter);
        }
    }

    /// The host's node hears a word.
    fn hear(core: &mut Core, outside: &mut Outside, host: u8, bytes: &[u8]) {
        let mut reader = Reader::new();
        let Some(frame) = reader.next(&mut &*bytes) else { return };
        match Word::parse(&frame) {
            Ok(Word::Welcome { .. }) => core.session = frame.session,
            Ok(Word::NodeDown(event)) => outside.told(host, &event),
            _ => {}
        }
    }

    /// A node of this host begins to run as this incarnation, and has a session.
    ///
    /// # Panics
    /// It gets none.
    pub fn begin_node(&mut self, host: u8, node: NodeId, incarnation: Incarnation) {
        self.cores[usize::from(host)].session = 0;
        let hello = Word::Hello { node, incarnation, nonce: incarnation, served: Cluster::NONE };
        self.says(host, Road::Channel(0), &hello);
        assert!(self.cores[usize::from(host)].session != 0, "{node} has no session");
        self.beat(host);
    }

    fn beat(&mut self, host: u8) {
        let core = &self.cores[usize::from(host)];
        if core.session != 0 {
            let stamp = core.clock;
            self.says(host, Road::Channel(0), &Word::Beat { stamp });
        }
    }

    /// Somebody says this to an appliance on this road.
    pub fn says(&mut self, host: u8, road: Road, word: &Word) {
        let session = match road {
            Road::Channel(_) => self.cores[usize::from(host)].session,
            Road::Vsock(_) => 0,
        };
        let mut buffer = [0; FRAME_MAX];
        let bytes = word.frame(session, 0, &[]).emit(&mut buffer).to_vec();
        self.feed(host, Input::Session { road, bytes: &bytes });
    }

    /// Whether a host has power.
    #[must_use]
    pub fn is_fed(&self, host: u8) -> bool {
        self.cores[usize::from(host)].is_fed
    }

    /// A host loses its power, and all that runs on it.
    pub fn power_off(&mut self, host: u8) {
        let core = &mut self.cores[usize::from(host)];
        core.is_fed = false;
        core.session = 0;
    }

    fn read(&self, bytes: Vec<u8>) -> Letter {
        let head = Head::parse(&bytes).expect("an engine sends datagrams");
        let key = SenderKey::derive(&self.config.secret.0, &self.config.name, head.from, head.sender);
        let mut text = [0; MESSAGE_MAX];
        let text = head.open(&key, &bytes, &mut text).expect("sealed by its sender");
        let (message, _) = Message::parse(text).expect("a message");
        Letter {
            from: head.from.get() - 1,
            to: head.to.get() - 1,
            sender: head.sender,
            receiver: head.receiver,
            message,
            bytes,
        }
    }

    /// Delivers the letters that are there now and for which this holds. How many.
    pub fn deliver(&mut self, mut wanted: impl FnMut(&Letter) -> bool) -> usize {
        let (now, later) = std::mem::take(&mut self.letters).into_iter().partition(|letter| wanted(letter));
        self.letters = later;
        let now: Vec<Letter> = now;
        for letter in &now {
            self.feed(letter.to, Input::Datagram { link: 0, bytes: &letter.bytes });
        }
        now.len()
    }

    /// Whether such a letter is on its way, to a life that can take it.
    #[must_use]
    pub fn has(&self, wanted: impl Fn(&Letter) -> bool) -> bool {
        self.letters.iter().any(|it| wanted(it) && (it.receiver == 0 || it.receiver == self.incarnation(it.to)))
    }

    /// This engine's clock goes on.
    pub fn pass(&mut self, host: u8, micros: u64) {
        let steps = micros.div_ceil(STEP);
        for _ in 0..steps {
            self.cores[usize::from(host)].clock += micros / steps;
            self.feed(host, Input::Tick);
            self.beat(host);
        }
    }

    /// All clocks go on together, and everything arrives.
    pub fn all_is_well(&mut self, micros: u64) {
        for _ in 0..micros / 20_000 {
            for host in self.all() {
                self.pass(host, 20_000);
            }
            for _ in 0..8 {
                self.deliver(|_| true);
            }
        }
    }

    /// This host's boot becomes another one: a fact of which its appliance needs nobody's word.
    pub fn new_boot(&mut self, host: u8) {
        let core = &mut self.cores[usize::from(host)];
        core.boots += 1;
        let stamp = guard::Message::Stamp { boot: core.boot(host), clock: core.clock };
        self.guard_says(host, &stamp);
    }

    /// The guard of a host started so many VMs of a node under this boot, of which the last runs.
    pub fn runs(&mut self, host: u8, node: NodeId, counter: u32) {
        let boot = self.cores[usize::from(host)].boot(host);
        let state = if counter == 0 { guard::RunState::None } else { guard::RunState::Running };
        let (gone_through, disks_qualify) = (counter.saturating_sub(1), true);
        let report = guard::RunReport { node, boot, state, counter, gone_through, disks_qualify, status: 0 };
        self.guard_says(host, &guard::Message::Run(report));
    }

    fn guard_says(&mut self, host: u8, message: &guard::Message) {
        let mut frame = [0; FRAME_MAX];
        let bytes = message.frame(0).emit(&mut frame).to_vec();
        self.feed(host, Input::Guard { bytes: &bytes });
    }
}
