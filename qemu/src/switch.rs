//! The Ethernet between the VMs: one switch per cluster link, all served by one thread.
//!
//! Owns the unix datagram sockets that QEMU's `-netdev dgram` talks to, and the faults: per link and direction frames can
//! be dropped, delayed, duplicated or cut. Must never change a frame, and looks above Ethernet only to note when a host's
//! first heartbeat passed. The table of addresses is fixed, because the
//! cluster's description knows every NIC; a frame to everybody or to an unknown address goes to all others.
//!
//! ```text
//! appliance of host i --(NIC k, socket vm)--> [port k.i] -- fault(k, i, j) --> [port k.j] --(socket vm)--> host j
//! ```

use crate::sys;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An Ethernet address.
pub type Mac = [u8; 6];
/// A frame that does not fit into its receiver's queue is offered again so many times, one millisecond apart.
const OFFERS_MAX: u8 = 20;
/// The largest frame that a NIC of ours sends, with room for what a guest should not do.
const FRAME_BYTES_MAX: usize = 9216;
/// How often the thread looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// One NIC on one link.
#[derive(Clone, Debug)]
pub struct PortPlan {
    /// Which link.
    pub link: u8,
    /// Whose NIC.
    pub host: u8,
    /// Its address.
    pub mac: Mac,
    /// The socket that QEMU binds (`local`).
    pub vm: PathBuf,
    /// The socket that the switch binds (QEMU's `remote`).
    pub switch: PathBuf,
}

/// What is wrong with one direction of one link. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Nothing passes.
    pub cut: bool,
    /// So many of a thousand frames are lost.
    pub drop_per_mille: u16,
    /// So many of a thousand frames arrive twice.
    pub duplicate_per_mille: u16,
    /// Every frame arrives so much later.
    pub delay: Duration,
}

/// What happened to frames so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to a receiver.
    pub delivered: u64,
    /// Lost by a fault.
    pub dropped: u64,
    /// Handed over a second time by a fault.
    pub duplicated: u64,
    /// The receiver was not there or its queue stayed full.
    pub undeliverable: u64,
}

#[derive(Default)]
struct Rules {
    heartbeats: BTreeMap<u8, Instant>,
    faults: BTreeMap<(u8, u8, u8), Fault>,
    counts: Counts,
}

/// A running switch; ends with this value.
pub struct Switch {
    rules: Arc<Mutex<Rules>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Binds the switch's sockets and starts to forward.
    ///
    /// # Errors
    /// A socket cannot be bound; the message names it.
    pub fn start(plans: Vec<PortPlan>) -> io::Result<Self> {
        let ports = plans.into_iter().map(Port::bind).collect::<io::Result<Vec<_>>>()?;
        let rules = Arc::new(Mutex::new(Rules::default()));
        let end = Arc::new(AtomicBool::new(false));
        let mut forwarder = Forwarder {
            ports,
            rules: Arc::clone(&rules),
            waiting: BinaryHeap::new(),
            order: 0,
            dice: 0x9e37_79b9_7f4a_7c15,
        };
        let flag = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("switch".into()).spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                forwarder.turn();
            }
        })?;
        Ok(Self { rules, end, thread: Some(thread) })
    }

    /// Sets the fault of the direction `from` -> `to` on a link.
    pub fn set(&self, link: u8, from: u8, to: u8, fault: Fault) {
        lock(&self.rules).faults.insert((link, from, to), fault);
    }

    /// Cuts a whole link: nothing passes between any two hosts.
    pub fn cut_link(&self, link: u8) {
        self.set_link(link, Fault { cut: true, ..Fault::default() });
    }

    /// The same fault in every direction of a link.
    pub fn set_link(&self, link: u8, fault: Fault) {
        let mut rules = lock(&self.rules);
        rules.faults.retain(|key, _| key.0 != link);
        rules.faults.insert((link, 0, 0), fault);
    }

    /// Cuts one direction between two hosts on a link.
    pub fn cut(&self, link: u8, from: u8, to: u8) {
        self.set(link, from, to, Fault { cut: true, ..Fault::default() });
    }

    /// Ends all faults.
    pub fn heal(&self) {
        lock(&self.rules).faults.clear();
    }

    /// When the first heartbeat of a host passed, since this was last forgotten.
    #[must_use]
    pub fn first_heartbeat(&self, host: u8) -> Option<Instant> {
        lock(&self.rules).heartbeats.get(&host).copied()
    }

    /// Forgets the first heartbeat of a host: its appliance is about to start again.
    pub fn forget_heartbeat(&self, host: u8) {
        lock(&self.rules).heartbeats.remove(&host);
    }

    /// What happened to frames so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.rules).counts
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Port {
    link: u8,
    host: u8,
    mac: Mac,
    socket: UnixDatagram,
    vm: PathBuf,
}

impl Port {
    fn bind(plan: PortPlan) -> io::Result<Self> {
        let socket = bind(&plan.switch)?;
        Ok(Self { link: plan.link, host: plan.host, mac: plan.mac, socket, vm: plan.vm })
    }
}

fn bind(path: &Path) -> io::Result<UnixDatagram> {
    let explain = |error: io::Error| {
        io::Error::new(error.kind(), format!("the switch cannot bind its socket {}: {error}", path.display()))
    };
    let socket = UnixDatagram::bind(path).map_err(explain)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A frame on its way, ordered by when it is due.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    order: u64,
    to: usize,
    offers: u8,
    frame: Vec<u8>,
}

struct Forwarder {
    ports: Vec<Port>,
    rules: Arc<Mutex<Rules>>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
    dice: u64,
}

impl Forwarder {
    /// Sleeps until there is something to do, and does it.
    fn turn(&mut self) {
        let now = Instant::now();
        let next = self.waiting.peek().map_or(LOOK, |Reverse(first)| first.due.saturating_duration_since(now));
        let fds: Vec<_> = self.ports.iter().map(|port| port.socket.as_fd()).collect();
        let mut ready = Vec::new();
        if sys::wait_readable(&fds, next.min(LOOK), &mut ready).is_err() {
            return;
        }
        let mut buffer = [0; FRAME_BYTES_MAX];
        for from in (0..self.ports.len()).filter(|index| ready.get(*index) == Some(&true)) {
            // A bounded burst, so that one talkative NIC does not starve the others.
            for _ in 0..64 {
                let Ok(length) = self.ports[from].socket.recv(&mut buffer) else { break };
                self.take(from, &buffer[..length]);
            }
        }
        self.deliver_due();
    }

    /// Decides where a frame from port `from` goes.
    fn take(&mut self, from: usize, frame: &[u8]) {
        let Some(destination) = frame.first_chunk::<6>() else { return };
        let (link, host) = (self.ports[from].link, self.ports[from].host);
        if is_heartbeat(frame) {
            lock(&self.rules).heartbeats.entry(host).or_insert_with(Instant::now);
        }
        let others: Vec<usize> =
            (0..self.ports.len()).filter(|&to| to != from && self.ports[to].link == link).collect();
        let known = others.iter().copied().find(|&to| self.ports[to].mac == *destination);
        for to in known.map_or(others, |to| vec![to]) {
            self.send(from, to, frame);
        }
    }

    /// Applies the faults of one direction.
    fn send(&mut self, from: usize, to: usize, frame: &[u8]) {
        let (link, source, target) = (self.ports[from].link, self.ports[from].host, self.ports[to].host);
        let fault = {
            let rules = lock(&self.rules);
            let every = rules.faults.get(&(link, 0, 0));
            rules.faults.get(&(link, source, target)).or(every).copied().unwrap_or_default()
        };
        if fault.cut || self.roll(fault.drop_per_mille) {
            lock(&self.rules).counts.dropped += 1;
            return;
        }
        let copies = if self.roll(fault.duplicate_per_mille) { 2 } else { 1 };
        lock(&self.rules).counts.duplicated += copies - 1;
        for _ in 0..copies {
            self.order += 1;
            let due = Instant::now() + fault.delay;
            self.waiting.push(Reverse(Waiting { due, order: self.order, to, offers: 0, frame: frame.to_vec() }));
        }
    }

    fn deliver_due(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse(first)| first.due <= now) {
            let Some(Reverse(mut item)) = self.waiting.pop() else { return };
            let port = &self.ports[item.to];
            match port.socket.send_to(&item.frame, &port.vm) {
                Ok(_) => lock(&self.rules).counts.delivered += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && item.offers < OFFERS_MAX => {
                    item.offers += 1;
                    item.due = now + Duration::from_millis(1);
                    self.waiting.push(Reverse(item));
                }
                Err(_) => lock(&self.rules).counts.undeliverable += 1,
            }
        }
    }

    /// True in so many of a thousand cases (xorshift: the run need not be unpredictable).
    fn roll(&mut self, per_mille: u16) -> bool {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % 1000 < u64::from(per_mille)
    }
}

/// A UDP datagram over IPv4, without options, to the port of membership.
fn is_heartbeat(frame: &[u8]) -> bool {
    let port = palisade_core::limits::PORT_MEMBERSHIP.to_be_bytes();
    frame.get(12..15) == Some(&[0x08, 0x00, 0x45]) && frame.get(23) == Some(&17) && frame.get(36..38) == Some(&port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    const LATE: Duration = Duration::from_millis(40);

    struct Bench {
        switch: Switch,
        vms: Vec<UnixDatagram>,
        dir: crate::rundir::RunDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = crate::rundir::RunDir::new("switch").unwrap();
            let plans: Vec<PortPlan> = [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
                .into_iter()
                .map(|(link, host)| PortPlan {
                    link,
                    host,
                    mac: [2, 0, 0, 0, 0, host],
                    vm: dir.path().join(format!("{link}.{host}.vm")),
                    switch: dir.path().join(format!("{link}.{host}.sw")),
                })
                .collect();
            let vms = plans
                .iter()
                .map(|plan| {
                    let vm = UnixDatagram::bind(&plan.vm).unwrap();
                    vm.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                    vm
                })
                .collect();
            Self { switch: Switch::start(plans).unwrap(), vms, dir }
        }

        fn send(&self, vm: usize, port: &str, to: u8) {
            let mut frame = [0; 60];
            frame[..6].copy_from_slice(&if to == 0 { [0xff; 6] } else { [2, 0, 0, 0, 0, to] });
            self.vms[vm].send_to(&frame, self.dir.path().join(format!("{port}.sw"))).unwrap();
        }

        fn hears(&self, vm: usize) -> bool {
            self.vms[vm].recv(&mut [0; 100]).is_ok()
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.dir.real());
        }
    }

    #[test]
    fn frames_go_to_whom_they_name_on_their_own_link() {
        let bench = Bench::new();
        bench.send(0, "0.1", 2);
        assert!(bench.hears(1));
        assert!(!bench.hears(2) && !bench.hears(4));
        bench.send(0, "0.1", 0);
        assert!(bench.hears(1) && bench.hears(2) && !bench.hears(4));
        assert_eq!(bench.switch.counts().delivered, 3);
    }

    #[test]
    fn a_cut_takes_one_direction_or_a_whole_link() {
        let bench = Bench::new();
        bench.switch.cut(0, 1, 2);
        bench.send(0, "0.1", 2);
        assert!(!bench.hears(1));
        bench.send(1, "0.2", 1);
        assert!(bench.hears(0));
        bench.switch.cut_link(0);
        bench.send(1, "0.2", 1);
        assert!(!bench.hears(0));
        bench.send(3, "1.1", 2);
        assert!(bench.hears(4));
        bench.switch.heal();
        bench.send(0, "0.1", 2);
        assert!(bench.hears(1));
        assert_eq!(bench.switch.counts().dropped, 2);
    }

    #[test]
    fn frames_can_be_late_and_doubled() {
        let bench = Bench::new();
        bench.switch.set(0, 1, 2, Fault { delay: LATE, duplicate_per_mille: 1000, ..Fault::default() });
        let start = Instant::now();
        bench.send(0, "0.1", 2);
        assert!(bench.hears(1) && bench.hears(1));
        assert!(start.elapsed() >= LATE);
        bench.switch.set(0, 1, 2, Fault { drop_per_mille: 1000, ..Fault::default() });
        bench.send(0, "0.1", 2);
        assert!(!bench.hears(1));
    }

    #[test]
    fn a_receiver_that_is_not_there_delays_nobody() {
        let bench = Bench::new();
        fs::remove_file(bench.dir.path().join("0.2.vm")).unwrap();
        for _ in 0..100 {
            bench.send(0, "0.1", 2);
        }
        bench.send(0, "0.1", 3);
        assert!(bench.hears(2));
        assert_eq!(bench.switch.counts().undeliverable, 100);
    }
}
