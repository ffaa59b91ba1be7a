//! The attempt against a scripted BMC. It signs with our own codes, which `golden_session` ties to numbers that another
//! implementation computed (tests/peers/bmc17.py --golden); the real BMCs are in tests/tests/interop_ipmi*.rs.

use super::wire::Packet;
use super::*;
use crate::Detail;
use std::collections::VecDeque;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

const GUID: [u8; 16] = *b"@ABCDEFGHIJKLMNO";
const ENTROPY: [u8; ENTROPY_LEN] = [7; ENTROPY_LEN];

fn params() -> Params {
    Params::new(b"admin", b"secret12").expect("short enough")
}

fn hex(bytes: &[u8]) -> std::string::String {
    bytes.iter().map(|byte| std::format!("{byte:02x}")).collect()
}

#[test]
fn golden_session() {
    let golden = [
        (
            Suites::Only3,
            "db77cce85b3950161c506bfeaccd4a692d41ccdb",
            "a34aa251952d28484ba9a5d20d8bbc0d82807311",
            "40691a4881ecc8270508489f",
            "0600ff0706c0040302010500000020003333333333333333333333333333333346fbfc24c60a72adb7535bb1811c86d5\
             ffff0207c83fc39c060458a1617b563d",
        ),
        (
            Suites::Only17,
            "37635ed917c3ca15d94135698ec4893735a27d40c26eb6ab6e0ccfc07d57b37d",
            "4fbe09f0f856543ea60559b5e2bdf41f78e2225f59f3c290d5e1d2e114621918",
            "63c9168bbd6fca9e65a24c4d2cfb98c4",
            "0600ff0706c0040302010500000020003333333333333333333333333333333362c30d0b87559e28d9d8dd332c11a045\
             ffff02078ae82a3d98ad4d0046d8203c396b4b7f",
        ),
    ];
    for (suites, rakp2, rakp3, rakp4, datagram) in golden {
        let mut params = params();
        params.suites = suites;
        let mut attempt = Attempt::start(Instant::ZERO, &params, Action::Off, &ENTROPY);
        (attempt.console_id, attempt.bmc_id) = (0x0a0b_0c0d, 0x0102_0304);
        (attempt.console_random, attempt.bmc_random, attempt.guid) = ([0x11; 16], [0x22; 16], GUID);
        let unhex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
        };
        assert!(attempt.rakp2_holds(&unhex(rakp2)));
        assert!(!attempt.rakp2_holds(&unhex(rakp2)[1..]));
        assert_eq!(hex(attempt.rakp3_code().as_bytes()), rakp3);
        let keys = attempt.derive_keys();
        let parts: [&[u8]; 3] = [&[0x11; 16], &0x0102_0304_u32.to_le_bytes(), &GUID];
        assert!(keys.verify_rakp4(&parts, &unhex(rakp4)));
        let mut message = [0; 16];
        let request = wire::Request { command: wire::CHASSIS_STATUS, sequence: 1, data: &[] };
        let len = request.emit(&mut message).expect("fits");
        let mut out = [0xa5; DATAGRAM_MAX];
        let len = keys.seal(&mut out, 0x0102_0304, 5, &[0x33; 16], &message[..len]).expect("fits");
        assert_eq!(hex(&out[..len]), datagram);
    }
}

/// What the scripted BMC does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Silent,
    Lossy,
    OpenStatus(u8),
    Rakp2Status(u8),
    Rakp4Status(u8),
    Completion(u8, u8),
    NeverOff,
    OtherSuite,
}

/// A BMC in as few lines as carry the exchange.
struct Bmc {
    fault: Fault,
    password: &'static [u8],
    suite: Suite,
    on: bool,
    console_id: u32,
    console_random: [u8; 16],
    user: Vec<u8>,
    role: u8,
    keys: Option<Keys>,
    sequence: u32,
    orders: u32,
    closed: bool,
    seen: u32,
}

const BMC_ID: u32 = 0x55;
const BMC_RANDOM: [u8; 16] = [0x22; 16];

impl Bmc {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            password: b"secret12",
            suite: Suite::Three,
            on: true,
            console_id: 0,
            console_random: [0; 16],
            user: vec![],
            role: 0,
            keys: None,
            sequence: 0,
            orders: 0,
            closed: false,
            seen: 0,
        }
    }

    fn plain(payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; wire::HEADER_LEN + payload.len()];
        let start = wire::emit_header(&mut out, payload_type, false, 0, 0, payload.len()).expect("fits");
        out[start..].copy_from_slice(payload);
        out
    }

    fn answer(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.seen += 1;
        if self.fault == Fault::Silent || (self.fault == Fault::Lossy && self.seen.is_multiple_of(3)) {
            return None;
        }
        let packet = Packet::new_checked(bytes).expect("the client's own");
        let payload = packet.payload();
        let mut head = vec![payload[0], 0, 0, 0];
        head.extend(self.console_id.to_le_bytes());
        match packet.payload_type() {
            PayloadType::OpenRequest => Some(self.open(payload)),
            PayloadType::Rakp1 => {
                self.console_random.copy_from_slice(&payload[8..24]);
                self.role = payload[24];
                self.user = payload[28..].to_vec();
                let (console, bmc) = (self.console_id.to_le_bytes(), BMC_ID.to_le_bytes());
                let head_of_user = [self.role, payload[27]];
                let parts: [&[u8]; 7] =
                    [&console, &bmc, &self.console_random, &BMC_RANDOM, &GUID, &head_of_user, &self.user];
                let code = crypto::code(self.suite, self.password, &parts);
                self.keys = Some(Keys::derive(
                    self.suite,
                    self.password,
                    &[&self.console_random, &BMC_RANDOM, &head_of_user, &self.user],
                ));
                if let Fault::Rakp2Status(status) = self.fault {
                    head[1] = status;
                }
                Some(Self::plain(PayloadType::Rakp2, &[&head, &BMC_RANDOM[..], &GUID, code.as_bytes()].concat()))
            }
            PayloadType::Rakp3 if payload[1] == 0 => {
                let parts: [&[u8]; 3] = [&self.console_random, &BMC_ID.to_le_bytes(), &GUID];
                let head_of_user = [self.role, u8::try_from(self.user.len()).expect("short")];
                let seed: [&[u8]; 4] = [&self.console_random, &BMC_RANDOM, &head_of_user, &self.user];
                let sik = crypto::code(self.suite, self.password, &seed);
                let code = crypto::code(self.suite, sik.as_bytes(), &parts);
                if let Fault::Rakp4Status(status) = self.fault {
                    head[1] = status;
                }
                Some(Self::plain(PayloadType::Rakp4, &[&head, &code.as_bytes()[..self.suite.cut_len()]].concat()))
            }
            PayloadType::Ipmi => Some(self.message(&packet)),
            _ => None,
        }
    }

    fn open(&mut self, payload: &[u8]) -> Vec<u8> {
        self.console_id = u32::from_le_bytes(payload[4..8].try_into().expect("four"));
        let mut reply = vec![payload[0], 0, 0, 0];
        reply.extend(self.console_id.to_le_bytes());
        if payload[12] != self.suite.algorithms()[0] {
            reply[1] = status::NO_CIPHER_SUITE_MATCH;
        }
        if let Fault::OpenStatus(status) = self.fault {
            reply[1] = status;
        }
        reply.extend(BMC_ID.to_le_bytes());
        reply.extend(&payload[8..32]);
        if self.fault == Fault::OtherSuite {
            (reply[1], reply[16]) = (0, 0);
        }
        Self::plain(PayloadType::OpenReply, &reply)
    }

    fn message(&mut self, packet: &Packet<'_>) -> Vec<u8> {
        assert!(packet.is_protected());
        let mut buffer = [0; DATAGRAM_MAX];
        let keys = self.keys.as_ref().expect("a session");
        let message = keys.open(packet, &mut buffer).expect("the client's own");
        let (netfn, number) = (message[1] >> 2, message[5]);
        let mut data = vec![0u8];
        match (netfn, number) {
            (6, 0x3b) => data.push(message[6]),
            (6, 0x3c) => self.closed = true,
            (0, 2) => {
                self.orders += 1;
                if !matches!(self.fault, Fault::NeverOff | Fault::Completion(0x02, _)) {
                    self.on = message[6] == 1;
                }
            }
            _ => data.extend([u8::from(self.on), 0, 0]),
        }
        if let Fault::Completion(of, code) = self.fault
            && of == number
        {
            data = vec![code];
        }
        let mut out = vec![0x81, (netfn | 1) << 2, 0, 0x20, message[4], number];
        out.extend(data);
        out[2] = 0u8.wrapping_sub(out[0]).wrapping_sub(out[1]);
        let sum = out[3..].iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
        out.push(sum);
        self.sequence += 1;
        let mut datagram = vec![0; DATAGRAM_MAX];
        let len = keys.seal(&mut datagram, self.console_id, self.sequence, &[9; 16], &out).expect("fits");
        datagram.truncate(len);
        datagram
    }
}

/// Runs an attempt to its end; `meddle` may change, drop or add datagrams on their way to the client.
fn run_with(
    params: &Params,
    action: Action,
    bmc: &mut Bmc,
    mut meddle: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>,
) -> (Outcome, Attempt) {
    let mut now = Instant::from_micros(1_000_000);
    let mut attempt = Attempt::start(now, params, action, &ENTROPY);
    let mut inbox = VecDeque::new();
    for _ in 0..10_000 {
        let mut out = [0xa5; DATAGRAM_MAX];
        while let Some(len) = attempt.poll_transmit(now, &mut out) {
            if let Some(answer) = bmc.answer(&out[..len]) {
                inbox.extend(meddle(answer));
            }
        }
        if let Some(datagram) = inbox.pop_front() {
            now += Duration::from_millis(1);
            attempt.handle(now, &datagram);
        } else if let Some(next) = attempt.poll_timeout() {
            assert!(next >= now, "time does not run backwards");
            now = now.max(next);
        }
        if attempt.is_done() {
            assert!(attempt.poll_timeout().is_none());
            return (attempt.outcome().expect("done"), attempt);
        }
    }
    panic!("no end: {attempt:?}");
}

fn run(action: Action, bmc: &mut Bmc) -> Outcome {
    run_with(&params(), action, bmc, |datagram| vec![datagram]).0
}

fn failed(why: Why) -> (Verdict, Detail) {
    (Verdict::Failed, why.into())
}

fn short(outcome: Outcome) -> (Verdict, Detail) {
    (outcome.verdict, outcome.detail)
}

#[test]
fn off_is_ordered_read_back_and_logged_out() {
    for suite in [Suite::Three, Suite::Seventeen] {
        for on in [true, false] {
            let mut bmc = Bmc { suite, on, ..Bmc::new(Fault::None) };
            let (outcome, attempt) = run_with(&params(), Action::Off, &mut bmc, |d| vec![d]);
            assert_eq!(outcome.verdict, Verdict::Confirmed(Class::PowerOff));
            assert_eq!((outcome.power, bmc.orders, bmc.closed), (Some(false), 1, true), "ordered even if off already");
            assert_eq!(attempt.suite(), suite);
            assert_eq!(attempt.counters().sent, if suite == Suite::Seventeen { 7 } else { 8 });
            assert_eq!(attempt.counters().dropped, 0);
        }
    }
}

#[test]
fn on_and_status_are_no_proof() {
    let mut bmc = Bmc { on: false, ..Bmc::new(Fault::None) };
    let read = run(Action::Status, &mut bmc);
    assert_eq!((read.verdict, read.power, bmc.orders), (Verdict::Unknown, Some(false), 0));
    assert!(read.did(Action::Status));
    let on = run(Action::On, &mut bmc);
    assert!(on.did(Action::On) && bmc.on);
}

#[test]
fn silence_is_unknown_and_bounded() {
    let (outcome, attempt) = run_with(&params(), Action::Off, &mut Bmc::new(Fault::Silent), |d| vec![d]);
    assert_eq!(short(outcome), (Verdict::Unknown, Why::NoAnswer.into()));
    assert!(attempt.counters().sent < 20, "waits grow");
    let mut long = params();
    long.timing =
        Timing { reply: Duration::from_micros(1), total: Duration::from_millis(u64::MAX), ..Timing::default() };
    let (outcome, attempt) = run_with(&long, Action::Off, &mut Bmc::new(Fault::Silent), |d| vec![d]);
    assert_eq!(outcome.verdict, Verdict::Unknown);
    assert_eq!(attempt.counters().sent, DATAGRAMS_MAX);
}

#[test]
fn loss_is_repaired() {
    let outcome = run(Action::Off, &mut Bmc::new(Fault::Lossy));
    assert!(outcome.did(Action::Off));
}

#[test]
fn wrong_secrets_are_told_apart() {
    let mut bmc = Bmc { password: b"other", ..Bmc::new(Fault::None) };
    assert_eq!(short(run(Action::Off, &mut bmc)), failed(Why::WrongPassword));
    assert_eq!(bmc.orders, 0);
    let with_kg = params().with_kg(&[1; 20]).expect("length");
    let (outcome, _) = run_with(&with_kg, Action::Off, &mut Bmc::new(Fault::None), |d| vec![d]);
    assert_eq!(short(outcome), failed(Why::WrongKey));
}

#[test]
fn refusals_end_in_the_right_sentence() {
    let cases = [
        (Fault::OpenStatus(0x11), failed(Why::NoSuite)),
        (Fault::OpenStatus(0x12), failed(Why::Status(0x12))),
        (Fault::OpenStatus(0x01), (Verdict::Unknown, Why::NoSlot.into())),
        (Fault::OtherSuite, failed(Why::OtherSuite)),
        (Fault::Rakp2Status(0x0d), failed(Why::WrongUser)),
        (Fault::Rakp2Status(0x0a), failed(Why::WrongLevel)),
        (Fault::Rakp2Status(0x02), (Verdict::Unknown, Why::NoSession.into())),
        (Fault::Rakp4Status(0x0f), failed(Why::CodeRefused)),
        (Fault::Completion(0x3b, 0x81), failed(Why::WrongLevel)),
        (Fault::Completion(0x02, 0xd4), failed(Why::WrongLevel)),
        (Fault::Completion(0x02, 0xc0), (Verdict::Unknown, Why::StillBusy.into())),
        (Fault::Completion(0x02, 0xcc), failed(Why::Completion(0xcc))),
        (Fault::Completion(0x01, 0xff), failed(Why::Completion(0xff))),
        (Fault::NeverOff, failed(Why::StillOn)),
    ];
    for (fault, expect) in cases {
        let outcome = run(Action::Off, &mut Bmc::new(fault));
        assert_eq!(short(outcome), expect, "{fault:?}");
        assert!(outcome.detail.to_string().len() > 20);
    }
}

#[test]
fn an_order_that_is_refused_because_it_is_off_already_is_confirmed() {
    let mut bmc = Bmc { on: false, ..Bmc::new(Fault::Completion(0x02, 0xd5)) };
    assert!(run(Action::Off, &mut bmc).did(Action::Off));
    let mut stays_on = Bmc::new(Fault::Completion(0x02, 0xd5));
    assert_eq!(short(run(Action::Off, &mut stays_on)), failed(Why::Completion(0xd5)));
    assert!(stays_on.orders > 10, "it is asked again and again");
}

#[test]
fn a_suite_that_is_not_allowed_is_not_used() {
    let mut only17 = params();
    only17.suites = Suites::Only17;
    let (outcome, _) = run_with(&only17, Action::Off, &mut Bmc::new(Fault::None), |d| vec![d]);
    assert_eq!(short(outcome), failed(Why::NoSuite));
}

#[test]
fn repeated_and_damaged_answers_change_nothing() {
    let mut old: Vec<Vec<u8>> = vec![];
    let (outcome, attempt) = run_with(&params(), Action::Off, &mut Bmc::new(Fault::None), |datagram| {
        // Each answer comes three times, first with each of some bytes damaged, together with all that came before.
        let mut damaged: Vec<Vec<u8>> = (16..datagram.len())
            .filter(|_| datagram[5] == 0xc0)
            .map(|at| {
                let mut copy = datagram.clone();
                copy[at] ^= 1;
                copy
            })
            .collect();
        damaged.extend(old.iter().cloned());
        damaged.push(datagram.clone());
        damaged.push(datagram.clone());
        old.push(datagram);
        damaged
    });
    assert!(outcome.did(Action::Off));
    assert!(attempt.counters().dropped > 100);
    assert_eq!(attempt.counters().sent, 8);
}

#[test]
fn mutated_and_truncated_answers_never_panic_and_never_confirm() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..300 {
        let suite = if round % 2 == 0 { Suite::Three } else { Suite::Seventeen };
        let mut bmc = Bmc { suite, ..Bmc::new(Fault::NeverOff) };
        let mut params = params();
        params.timing.total = Duration::from_millis(3_000);
        let (outcome, _) = run_with(&params, Action::Off, &mut bmc, |datagram| {
            let random = next();
            let [kind, at, byte, many, ..] = random.to_le_bytes();
            let mut copy = datagram.clone();
            match kind % 4 {
                0 => copy.truncate(usize::from(at) % (copy.len() + 1)),
                1 => {
                    for turn in 0..=many % 4 {
                        let at = (usize::from(at) + 7 * usize::from(turn)) % copy.len();
                        copy[at] = byte.wrapping_add(turn);
                    }
                }
                2 => copy.extend(vec![byte; usize::from(many)]),
                _ => {}
            }
            vec![copy]
        });
        assert!(!outcome.did(Action::Off), "it stays on whatever it says, round {round}");
    }
}

#[test]
fn a_read_before_the_stated_lag_is_not_used() {
    let mut params = params();
    params.timing.lag = Duration::from_millis(3_000);
    let mut bmc = Bmc::new(Fault::None);
    let mut now = Instant::ZERO;
    let mut attempt = Attempt::start(now, &params, Action::Off, &ENTROPY);
    let mut out = [0; DATAGRAM_MAX];
    let mut ordered = None;
    while attempt.outcome().is_none() {
        while let Some(len) = attempt.poll_transmit(now, &mut out) {
            let answer = bmc.answer(&out[..len]).expect("answers");
            attempt.handle(now, &answer);
            if bmc.orders == 1 {
                ordered.get_or_insert(now);
            }
        }
        now = attempt.poll_timeout().unwrap_or(now);
    }
    assert_eq!(ordered.map(|at| now - at), Some(Duration::from_millis(3_000)));
}

#[test]
fn parameters_that_a_bmc_would_cut_are_refused() {
    assert_eq!(Params::new(&[b'u'; 17], b"p").err(), Some(ParamsError::UserTooLong));
    assert_eq!(Params::new(b"u", &[b'p'; 21]).err(), Some(ParamsError::PasswordTooLong));
    assert_eq!(params().with_kg(b"short").err(), Some(ParamsError::KeyLength));
    assert!(!std::format!("{:?}", params()).contains("secret"));
    let attempt = Attempt::start(Instant::ZERO, &params(), Action::Off, &ENTROPY);
    assert!(!std::format!("{attempt:?}").contains("115"), "no byte of the password");
}

#[test]
fn the_window_takes_each_number_once() {
    let mut window = Window::default();
    assert!(window.admit(0).is_err());
    for number in [1, 3, 2, 40, 39, 9] {
        assert!(window.admit(number).is_ok(), "{number}");
        assert!(window.admit(number).is_err(), "{number} again");
    }
    assert!(window.admit(8).is_err(), "too old");
    assert!(window.admit(u32::MAX).is_ok());
    assert!(window.admit(u32::MAX).is_err());
}
