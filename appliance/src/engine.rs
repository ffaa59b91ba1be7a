//! STAND-IN while the core's engine is being written. Not to be committed.
use log::info;
use palisade_core::config::Config;
use palisade_core::fencing::Action;
use palisade_core::id::{HostId, NodeId, Run};
use palisade_core::io::*;
use palisade_core::status::Platform;
use palisade_core::time::{Duration, Instant};
pub struct Boot {
    pub host: HostId,
    pub incarnation: u64,
    pub entropy: [u8; 32],
    pub config_hash: u64,
}
pub struct Engine {
    config: Option<&'static Config>,
    host: u8,
    next: Instant,
    to: usize,
    step: u32,
    reply: [u8; 512],
    reply_len: usize,
    reply_to: u8,
    job: u32,
    asked: u32,
    shown: u32,
    road: Option<Road>,
    guard: bool,
}
impl Engine {
    pub const fn new() -> Self {
        Self {
            config: None,
            host: 0,
            next: Instant::ZERO,
            to: 0,
            step: 0,
            reply: [0; 512],
            reply_len: 0,
            reply_to: 0,
            job: 0,
            asked: 0,
            shown: 0,
            road: None,
            guard: false,
        }
    }
    pub fn start(&mut self, now: Instant, config: &'static Config, boot: Boot) {
        self.config = Some(config);
        self.host = boot.host.get();
        self.next = now;
    }
    pub fn set_platform(&mut self, p: Platform) {
        self.shown += 1;
        if self.shown % 5 == 1 {
            info!("{p:?}");
        }
    }
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Tick => {
                if now >= self.next {
                    self.next = now + Duration::from_millis(100);
                    self.to = 1;
                    self.step += 1;
                    self.guard = true;
                }
            }
            Input::Datagram { link, bytes } => {
                if self.step % 20 == 0 {
                    info!("datagram on link {link} of {} bytes: {:?}", bytes.len(), &bytes[..4.min(bytes.len())]);
                }
            }
            Input::Session { road, bytes } => {
                info!("{road:?}: {} bytes", bytes.len());
                let n = bytes.len().min(512);
                self.reply[..n].copy_from_slice(&bytes[..n]);
                self.reply_len = n;
                self.road = Some(road);
            }
            other => info!("{other:?}"),
        }
    }
    pub fn poll(&mut self, now: Instant) -> Output<'_> {
        let config = self.config.unwrap();
        if self.reply_len > 0 {
            let n = core::mem::take(&mut self.reply_len);
            return Output::Session { road: self.road.unwrap(), bytes: &self.reply[..n] };
        }
        while self.to > 0 && self.to <= config.hosts.len() {
            let host = &config.hosts[self.to - 1];
            self.to += 1;
            if host.id != self.host {
                return Output::Datagram {
                    to: HostId::new(host.id),
                    traffic: if self.step % 2 == 0 { Traffic::State } else { Traffic::Membership },
                    bytes: b"ping from stand-in",
                };
            }
        }
        if self.guard {
            self.guard = false;
            if self.step % 10 == 0 {
                return Output::Guard { bytes: b"tick\n" };
            }
        }
        if self.step == 10 && self.asked == 0 {
            self.asked = 1;
            self.job += 1;
            return Output::Device(Request {
                job: self.job,
                device: DeviceRef::Configured(0),
                action: Action::Off,
                node: NodeId::NONE,
                run: Run::NONE,
                valid_until: now + Duration::from_millis(1000),
                timeout: now + Duration::from_millis(4000),
            });
        }
        Output::Deadline(self.next)
    }
}
