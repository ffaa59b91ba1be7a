//! The network between the appliances: what each direction of each link does to a datagram.
//!
//! Owns the paths. Whatever real networks do, they do: loss, copies, disorder, cuts in one direction, hosts that hear a
//! third one but not each other, bits that flip, and datagrams that come so late that their sender is another by then.

use super::event::{Arrival, Event};
use super::{Bytes, Micros, World};

/// Links between any two hosts.
pub const LINKS: u8 = 2;

/// What the network does to one direction of one link.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Per thousand.
    pub loss: u64,
    /// Per thousand.
    pub duplicate: u64,
    /// Per thousand of which a bit flips.
    pub corrupt: u64,
    /// Per thousand of which a copy comes a second time, that much later or earlier than this.
    pub late: u64,
    /// At most so late.
    pub late_by: Micros,
    /// At least this.
    pub delay: Micros,
    /// And up to this more, which reorders.
    pub spread: Micros,
    /// Nothing passes.
    pub cut: bool,
}

/// A good network.
pub const QUIET: Path =
    Path { loss: 0, duplicate: 0, corrupt: 0, late: 0, late_by: 0, delay: 50, spread: 100, cut: false };

/// All paths.
#[derive(Debug)]
pub struct Paths {
    hosts: usize,
    all: Vec<Path>,
}

impl Paths {
    /// A good network for hosts up to this number.
    #[must_use]
    pub fn new(hosts: u8) -> Self {
        let hosts = usize::from(hosts) + 1;
        Self { hosts, all: vec![QUIET; hosts * hosts * usize::from(LINKS)] }
    }

    fn place(&self, from: u8, to: u8, link: u8) -> usize {
        (usize::from(from) * self.hosts + usize::from(to)) * usize::from(LINKS) + usize::from(link)
    }

    /// Every direction of every link, with who sends, who receives, and which link it is.
    pub fn each(&mut self, mut change: impl FnMut((u8, u8, u8), &mut Path)) {
        for from in 1..self.hosts {
            for to in 1..self.hosts {
                for link in 0..LINKS {
                    let numbers = [from, to].map(|number| u8::try_from(number).expect("a host's number"));
                    let place = self.place(numbers[0], numbers[1], link);
                    change((numbers[0], numbers[1], link), &mut self.all[place]);
                }
            }
        }
    }
}

impl World {
    /// Every direction of every link, with who sends, who receives, and which link it is.
    pub fn each_path(&mut self, change: impl FnMut((u8, u8, u8), &mut Path)) {
        self.paths.each(change);
    }

    pub(super) fn send(&mut self, from: u8, to: u8, bytes: &Bytes) {
        for link in 0..LINKS {
            let path = self.paths.all[self.paths.place(from, to, link)];
            if path.cut {
                continue;
            }
            let copies = 1 + u64::from(path.duplicate > 0 && self.random() % 1000 < path.duplicate);
            for _ in 0..copies {
                if path.loss > 0 && self.random() % 1000 < path.loss {
                    continue;
                }
                let delay = path.delay + self.random() % path.spread.max(1);
                let corrupt = path.corrupt > 0 && self.random() % 1000 < path.corrupt;
                let bytes = if corrupt { self.flipped(bytes) } else { bytes.clone() };
                self.arrives_in(delay, to, Arrival::Datagram(link, bytes));
            }
            if path.late > 0 && self.random() % 1000 < path.late {
                let delay = self.random() % path.late_by.max(1);
                self.arrives_in(delay, to, Arrival::Datagram(link, bytes.clone()));
            }
        }
    }

    fn arrives_in(&mut self, delay: Micros, host: u8, what: Arrival) {
        let when = self.snapped(host, self.now + delay);
        let life = self.hosts[&host].life;
        self.at(when, Event::Arrives { host, life, what });
    }

    /// The same bytes, damaged: a bit flipped, or the end cut off.
    fn flipped(&mut self, bytes: &Bytes) -> Bytes {
        let mut copy = bytes.to_vec();
        let number = self.random();
        let at = usize::try_from(number >> 8).unwrap_or(0) % copy.len().max(1);
        if number.is_multiple_of(4) {
            copy.truncate(at);
        } else if let Some(byte) = copy.get_mut(at) {
            *byte ^= 1 << (number % 8);
        }
        copy.into()
    }

    /// A host and the others do not hear each other, in the directions that are named, or do again.
    pub fn cut(&mut self, host: u8, out: bool, into: bool, cut: bool) {
        self.each_path(|(from, to, _), path| {
            if (out && from == host) || (into && to == host) {
                path.cut = cut;
            }
        });
    }
}
