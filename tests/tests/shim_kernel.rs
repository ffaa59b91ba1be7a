//! The shim in a real kernel, with the appliance's end of its channel played by the test.
//!
//! Owns VMs of one node each: session, lease, reset, last words, bad bytes, memory. What several nodes do with a volume is
//! for others. Must never assert a tight time: the machine is shared.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palisade_core::board;
use palisade_core::config::Ip;
use palisade_core::id::{Cluster, HostId, Incarnation, Label, NodeId, Volume as Label16};
use palisade_core::limits::FRAME_MAX;
use palisade_core::wire::frame::Reader;
use palisade_core::wire::node::{
    Dlm, Fate, Gasp, Given, Group, Message, NodeEvent, Refusal, StartNode, Takeover, What,
};
use palisade_images::node::{self, Defect, NodeImage};
use palisade_images::{House, setup};
use palisade_qemu::door;
use palisade_qemu::plan::KERNEL_WORDS;
use palisade_qemu::process::Child;
use palisade_qemu::rundir::RunDir;
use palisade_qemu::volume::{Members, Volume};
use palisade_tests::lone::{connect, start_vsock};

const NODE: NodeId = NodeId::new(1);
const HOST: HostId = HostId::new(1);
/// Ten times what it takes on a quiet machine.
const BOOT: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(20);
const LEASE_MS: u32 = 5000;
/// The vsock port on which this test echoes.
const ECHO: u32 = 7653;

/// What the appliance of this test does of its own accord.
#[derive(Debug, Default)]
struct Manner {
    session: u32,
    beat_ms: u32,
    /// BEATs are answered.
    renews: bool,
    /// The incarnation that was given the session.
    incarnation: Incarnation,
}

/// A running node.
struct Vm {
    run: RunDir,
    channel: UnixStream,
    heard: Receiver<Message>,
    manner: Arc<Mutex<Manner>>,
    monitor: BufReader<UnixStream>,
    // Last, so that the sockets are closed before the processes are ended.
    _volume: Volume,
    _qemu: Child,
    _vsock: Child,
}

impl Vm {
    /// Boots a node that gets a session, beats every `beat_ms` and is renewed.
    fn boot(name: &str, beat_ms: u32) -> Self {
        Self::boot_image(name, beat_ms, &node::build(&House::here()).unwrap_or_else(|error| panic!("{error}")))
    }

    fn boot_image(name: &str, beat_ms: u32, image: &NodeImage) -> Self {
        setup::ensure(&["qemu-system-x86", "ocfs2-tools"]).unwrap_or_else(|error| panic!("{error}"));
        let run = RunDir::new(name).unwrap();
        let volume = Volume::make(&run.path().join("volume"), Members::Given).unwrap_or_else(|error| panic!("{error}"));
        let vsock = start_vsock(run.path());
        let at = |name: &str| run.path().join(name).display().to_string();
        let listening = |id: &str| format!("socket,id={id},path={},server=on,wait=off", at(id));
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-machine", "pc,memory-backend=ram", "-cpu", "max", "-accel", "tcg,tb-size=64", "-smp", "2"])
            .args(["-m", "256", "-object", "memory-backend-memfd,id=ram,size=256M,share=on"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-device", "pvpanic-pci", "-action", "panic=pause"])
            .arg("-kernel")
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(&image.initrd)
            .arg("-append")
            .arg(format!("{KERNEL_WORDS} palisade.node=1 palisade.stack=shim palisade.dlm=10.7.0.1"))
            .args(["-serial", &format!("file:{}", at("serial.log"))])
            .args(["-chardev", &listening("channel")])
            .args(["-device", &format!("virtio-serial-pci,id=bus,max_ports=1,addr={:#x}", board::NODE_CHANNEL_SLOT)])
            .args(["-device", "virtconsole,bus=bus.0,chardev=channel"])
            .args(["-chardev", &listening("monitor"), "-mon", "chardev=monitor,mode=control"])
            .args(["-chardev", &format!("socket,id=vsock,path={}", at("vhost"))])
            .args(["-device", "vhost-user-vsock-pci,chardev=vsock"])
            .args(["-nic", "user,restrict=on,model=virtio-net-pci"])
            .args(["-drive", &format!("file={},if=none,id=disk,format=raw", at("volume"))])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .stdin(Stdio::null());
        let qemu = Child::spawn(&mut command).unwrap();
        let connect = |name: &str| connect(&run.path().join(name));
        let (channel, monitor) = (connect("channel"), connect("monitor"));
        monitor.set_read_timeout(Some(SOON)).unwrap();
        let manner = Arc::new(Mutex::new(Manner { beat_ms, renews: true, ..Manner::default() }));
        let heard = appliance(channel.try_clone().unwrap(), &manner);
        let monitor = BufReader::new(monitor);
        let mut vm = Self { run, channel, heard, manner, monitor, _volume: volume, _qemu: qemu, _vsock: vsock };
        vm.monitor.get_mut().write_all(b"{\"execute\":\"qmp_capabilities\"}\n").unwrap();
        vm.hear(BOOT, |message| matches!(message, Message::Beat { .. }));
        // The door opens after the modules are loaded.
        let end = Instant::now() + BOOT;
        while door::ask(&vm.run.path().join("vsock"), "true", SOON).is_err() {
            assert!(Instant::now() < end, "the door does not open; {}", vm.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        vm
    }

    /// The next message that passes.
    fn hear(&self, patience: Duration, pass: impl Fn(&Message) -> bool) -> Message {
        self.may_hear(patience, pass).unwrap_or_else(|| panic!("not within {patience:?}; {}", self.log()))
    }

    fn may_hear(&self, patience: Duration, pass: impl Fn(&Message) -> bool) -> Option<Message> {
        let end = Instant::now() + patience;
        loop {
            let message = self.heard.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if pass(&message) {
                return Some(message);
            }
        }
    }

    fn hear_group(&self, wanted: Group) {
        self.hear(SOON, |message| *message == Message::Group(wanted));
    }

    fn tell(&mut self, message: Message, payload: &[u8]) {
        let session = self.manner.lock().unwrap().session;
        let mut buffer = [0; FRAME_MAX];
        self.channel.write_all(message.frame(session, 1, payload).emit(&mut buffer)).unwrap();
    }

    /// What a command in the node says.
    fn shell(&self, words: &str) -> String {
        door::ask(&self.run.path().join("vsock"), words, SOON).unwrap_or_else(|error| panic!("{error}; {}", self.log()))
    }

    /// A number of the shim's state.
    fn state(&self, name: &str) -> u64 {
        let text = self.shell("cat /sys/kernel/debug/palisade/state");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.run.path().join("serial.log")).unwrap_or_default()
    }

    fn monitor_says(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            let count = self.monitor.read_line(&mut line).unwrap_or_else(|error| panic!("no {words} on QMP: {error}"));
            assert!(count > 0, "QEMU has closed its monitor before it said {words}");
        }
    }

    fn manner(&self, change: impl Fn(&mut Manner)) {
        change(&mut self.manner.lock().unwrap());
    }

    fn incarnation(&self) -> Incarnation {
        self.manner.lock().unwrap().incarnation
    }

    /// Nothing in the kernel's log says that something broke.
    fn is_sound(&self) {
        let log = self.shell("dmesg");
        for bad in ["Oops", "BUG", "WARNING", "Call Trace", "hung task"] {
            assert!(!log.contains(bad), "{bad} in the kernel's log:\n{log}");
        }
    }
}

/// Answers HELLO and, while it is asked to, BEAT; all that comes is handed on.
fn appliance(mut stream: UnixStream, manner: &Arc<Mutex<Manner>>) -> Receiver<Message> {
    let (sender, receiver): (Sender<Message>, Receiver<Message>) = channel();
    let manner = Arc::clone(manner);
    std::thread::spawn(move || {
        let (mut reader, mut bytes) = (Reader::new(), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let mut rest = &bytes[..count];
            while let Some(frame) = reader.next(&mut rest) {
                let message = Message::parse(&frame).unwrap();
                let mut buffer = [0; FRAME_MAX];
                if let Some((answer, session)) = answer(&message, &mut manner.lock().unwrap()) {
                    let _gone = stream.write_all(answer.frame(session, 1, &[]).emit(&mut buffer));
                }
                if sender.send(message).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

fn answer(message: &Message, manner: &mut Manner) -> Option<(Message, u32)> {
    match *message {
        Message::Hello { node, incarnation, nonce, .. } => {
            manner.session += 1;
            manner.incarnation = incarnation;
            let cluster = Cluster { number: 1, random: 1 };
            let beat_ms = manner.beat_ms;
            let welcome = Message::Welcome { nonce, host: HOST, node, beat_ms, lease_ms: LEASE_MS, cluster };
            Some((welcome, manner.session))
        }
        Message::Beat { stamp } if manner.renews => {
            Some((Message::Lease { stamp, lease_ms: LEASE_MS }, manner.session))
        }
        _ => None,
    }
}

/// The volume's label as the wire has it, and a node's start entry.
fn volume() -> Label16 {
    let digits: String = palisade_qemu::plan::VOLUME.chars().filter(char::is_ascii_hexdigit).collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    Label(bytes)
}

impl Vm {
    /// One step of the barrier, as the only member.
    fn barrier(&mut self, generation: u64) {
        self.start(generation, &[]);
        self.hear_group(Group::Started { volume: volume(), generation });
        self.hear_group(Group::Recovered { volume: volume(), generation });
    }

    /// Stops, and starts with what became of others.
    fn start(&mut self, generation: u64, others: &[StartNode]) {
        let volume = volume();
        self.tell(Message::Group(Group::Stop { volume, generation }), &[]);
        self.hear_group(Group::Stopped { volume, generation });
        let own = StartNode { node: NODE, fate: Fate::Member, incarnation: self.incarnation() };
        let mut entries = Vec::new();
        for entry in [own].iter().chain(others) {
            let mut bytes = [0; StartNode::BYTES];
            entry.emit(&mut bytes);
            entries.extend(bytes);
        }
        self.tell(Message::Group(Group::Start { volume, generation, part: 0, parts: 1 }), &entries);
    }

    /// Mounts as the only member.
    fn mount(&mut self) {
        self.tell(Message::Dlm(Dlm::Address { node: NODE, port: 0, address: Ip::V4([10, 7, 0, 1]) }), &[]);
        let door = self.run.path().join("vsock");
        door::tell(&door, "volume mount && touch /tmp/mounted").unwrap();
        let wanted = volume();
        self.hear(SOON, |message| matches!(message, Message::Group(Group::Join { volume, .. }) if *volume == wanted));
        self.barrier(7);
        let end = Instant::now() + SOON;
        while !self.shell("ls /tmp").contains("mounted") {
            assert!(Instant::now() < end, "the mount does not end; {}", self.log());
        }
    }

    /// Counts, in the kernel's own trace, what the threads of the shim ask for; lines of the trace.
    fn trace_memory(&self) {
        let text = self.shell(
            "mkdir -p /tmp/t; mount -t tracefs t /tmp/t; cd /tmp/t; echo nop >current_tracer; \
             c=$(pidof palisade/chan); w=$(pidof palisade/work); echo chan=$c work=$w; \
             for e in kmalloc kmem_cache_alloc mm_page_alloc kmalloc_node kmem_cache_alloc_node; do \
             [ -d events/kmem/$e ] || continue; \
             echo \"common_pid==$c||common_pid==$w\" >events/kmem/$e/filter && echo 1 >events/kmem/$e/enable; done; \
             echo >trace; echo 1 >tracing_on; cat events/kmem/*/filter",
        );
        assert!(text.contains("common_pid=="), "{text}");
    }

    /// Round trips over vsock to this test, which plays the other end of the channel, too; in the rhythm of the beats.
    fn echo(&self) -> String {
        let listener = UnixListener::bind(self.run.path().join(format!("vsock_{ECHO}"))).unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&bytes[..count]).unwrap();
            }
        });
        let said = self.shell(&format!("palisade-checker ping --port {ECHO} --count 500 --pause-ms 10"));
        assert!(said.contains("PINGED count=500 "), "{said}");
        echo.join().unwrap();
        said.lines().find_map(|line| line.split_once("PINGED ")).map(|(_, numbers)| numbers.to_owned()).unwrap()
    }

    fn traced(&self) -> Vec<String> {
        let text = self.shell("cd /tmp/t; cat trace");
        text.lines().filter(|line| !line.starts_with('#') && line.contains("palisade/")).map(str::to_owned).collect()
    }
}

#[test]
fn beats_leases_and_steps_ask_nobody_for_memory() {
    let mut vm = Vm::boot("shim-memory", 10);
    vm.mount();
    vm.trace_memory();
    let before = vm.state("leases");
    for generation in 20..40 {
        vm.barrier(generation);
    }
    std::thread::sleep(Duration::from_secs(5));
    let leases = vm.state("leases") - before;
    assert!(leases > 100, "{leases}");
    let traced = vm.traced();
    let of = |thread: &str| traced.iter().filter(|line| line.contains(thread)).collect::<Vec<_>>();
    // The trace does see: the DLM asks for memory in the worker's thread.
    assert!(!of("palisade/work").is_empty(), "the trace is empty");
    assert!(of("palisade/chan").is_empty(), "the channel's thread asked for memory: {:#?}", of("palisade/chan"));
    let ours: Vec<_> = of("palisade/work").into_iter().filter(|line| line.contains("[palisade]")).collect();
    assert!(ours.is_empty(), "the worker's own code asked for memory: {ours:#?}");
    let calls = of("palisade/work").len();
    let number = |name: &str| vm.state(name);
    println!("PASS a raw vsock echo by this test, in the same guest: {}", vm.echo());
    println!(
        "PASS in {leases} leases and 20 barriers: 0 allocations of the channel's thread, 0 of the worker's own code \
         ({calls} of the DLM and configfs in its thread); stop {} us, start {} us; round trip p50 {} us, p99 {} us, max {} us",
        number("last_stop_us"),
        number("last_start_us"),
        number("round_trip_p50_us"),
        number("round_trip_p99_us"),
        number("round_trip_max_us"),
    );
    vm.is_sound();
}

#[test]
fn a_mount_holds_the_module_and_after_umount_it_leaves_with_bye() {
    let mut vm = Vm::boot("shim-unload", 200);
    vm.mount();
    assert!(vm.shell("rmmod palisade 2>&1").contains("EXIT 1"), "it was unloaded under a mount");
    let volume = volume();
    door::tell(&vm.run.path().join("vsock"), "volume umount && touch /tmp/umounted").unwrap();
    vm.hear_group(Group::Leave { volume });
    vm.tell(Message::Group(Group::Leave { volume }), &[]);
    let end = Instant::now() + SOON;
    while !vm.shell("ls /tmp").contains("umounted") {
        assert!(Instant::now() < end, "umount does not end; {}", vm.log());
    }
    assert!(vm.shell("rmmod palisade").contains("EXIT 0"));
    vm.hear(SOON, |message| *message == Message::Bye);
    vm.is_sound();
    // Nothing is left of it: it loads again, and is another incarnation.
    let first = vm.incarnation();
    assert!(vm.shell("insmod /lib/modules/palisade.ko node=1").contains("EXIT 0"), "{}", vm.log());
    vm.hear(SOON, |message| matches!(message, Message::Hello { .. }));
    assert_ne!(vm.incarnation(), first);
}

#[test]
fn a_lease_that_nobody_renews_ends_the_machine_in_time() {
    let mut vm = Vm::boot("shim-lease", 100);
    let first = vm.incarnation();
    vm.manner(|manner| manner.renews = false);
    let start = Instant::now();
    vm.hear(SOON, |message| *message == Message::LastGasp { reason: Gasp::LeaseEnded });
    let took = start.elapsed();
    // Not long before its end either: beats, and the answers under way, are younger than a second.
    assert!(took <= Duration::from_millis(u64::from(LEASE_MS) + 500), "{took:?}");
    assert!(took >= Duration::from_millis(u64::from(LEASE_MS) - 1500), "{took:?}");
    vm.monitor_says("\"RESET\"");
    println!("PASS the lease of {LEASE_MS} ms ended the machine {} ms after the last answer", took.as_millis());
    vm.manner(|manner| manner.renews = true);
    vm.hear(BOOT, |message| matches!(message, Message::Hello { .. }));
    assert_ne!(vm.incarnation(), first, "another boot, another incarnation");
}

#[test]
fn the_condemned_resets_itself_at_once() {
    let mut vm = Vm::boot("shim-condemned", 200);
    let first = vm.incarnation();
    let start = Instant::now();
    vm.tell(Message::Error { refusal: Refusal::Condemned }, &[]);
    vm.monitor_says("\"RESET\"");
    // Long before its lease is over; what it says of it on the console may be cut off by the reset.
    assert!(start.elapsed() < Duration::from_millis(u64::from(LEASE_MS) / 2), "{:?}; {}", start.elapsed(), vm.log());
    vm.hear(BOOT, |message| matches!(message, Message::Hello { incarnation, .. } if *incarnation != first));
}

/// SHIM trap 5: Confirmed belongs to an incarnation. The second one under a number joins, and only the first one's death is
/// told: who goes on then has taken a proof that is used up.
#[test]
fn the_death_of_an_earlier_incarnation_confirms_nothing_about_the_next() {
    let mut vm = Vm::boot("shim-second", 200);
    tell_the_death_of_an_earlier_one(&mut vm);
    vm.monitor_says("\"RESET\"");
    println!("PASS the used proof ended the machine");
}

/// The same with a shim that asks for a death of that number only: it recovers, and nobody has proved that the second one is
/// dead.
#[test]
fn long_a_proof_that_sticks_to_the_number_lets_the_next_death_pass() {
    let image = node::build_spoilt(&House::here(), &STICKY).unwrap_or_else(|error| panic!("{error}"));
    let mut vm = Vm::boot_image("shim-sticky", 200, &image);
    tell_the_death_of_an_earlier_one(&mut vm);
    vm.hear_group(Group::Recovered { volume: volume(), generation: 11 });
    println!("PASS the used proof was taken for another");
}

const STICKY: Defect = Defect {
    name: "sticky",
    edits: &[
        (
            "start.c",
            "\t\tif (entries[at].node == node &&\n\t\t    entries[at].incarnation == incarnation)\n",
            "\t\tif (entries[at].node == node)\n",
        ),
        (
            "members.c",
            "\t\tif (told->node != node ||\n\t\t    told->incarnation != member->gone[node] ||\n",
            "\t\tif (told->node != node ||\n",
        ),
    ],
};

const OTHER: NodeId = NodeId::new(2);

fn other(fate: Fate, incarnation: Incarnation) -> [StartNode; 1] {
    [StartNode { node: OTHER, fate, incarnation }]
}

/// Mounts, and another node comes: nobody answers at its address, so the DLM waits for it until the next STOP.
fn mount_with_another(vm: &mut Vm) {
    vm.mount();
    vm.tell(Message::Dlm(Dlm::Address { node: OTHER, port: 0, address: Ip::V4([10, 7, 0, 2]) }), &[]);
    vm.start(8, &other(Fate::Member, 0xa));
    vm.hear_group(Group::Started { volume: volume(), generation: 8 });
}

/// It dies.
fn recover_from_another(vm: &mut Vm) {
    vm.start(9, &other(Fate::Dead, 0xa));
    vm.hear_group(Group::Started { volume: volume(), generation: 9 });
    vm.hear_group(Group::Recovered { volume: volume(), generation: 9 });
}

/// Another node dies, comes back as another incarnation, and goes: but START says again that the first one died.
fn tell_the_death_of_an_earlier_one(vm: &mut Vm) {
    mount_with_another(vm);
    recover_from_another(vm);
    vm.start(10, &other(Fate::Member, 0xb));
    vm.hear_group(Group::Started { volume: volume(), generation: 10 });
    vm.is_sound();
    vm.start(11, &other(Fate::Dead, 0xa));
}

/// SHIM trap 9: OCFS2 cannot have the thread that replays. The DLM recovers all the same, and nothing is called taken over
/// before that thread was there.
#[test]
fn nothing_is_taken_over_while_the_kernel_has_no_thread_for_the_replay() {
    let mut vm = Vm::boot("shim-threadless", 200);
    mount_with_another(&mut vm);
    door::tell(
        &vm.run.path().join("vsock"),
        "cd /proc/sys/kernel; most=$(cat threads-max); mkfifo /tmp/never; exec 3<>/tmp/never; \
         echo 20 >threads-max; read -t 8 x <&3; echo $most >threads-max",
    )
    .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let given = Given { what: What::Recovery(volume()), dead: OTHER, incarnation: 0xa, token: 9 };
    vm.tell(Message::Takeover(Takeover::Give(given)), &[]);
    recover_from_another(&mut vm);
    let taken = Message::Takeover(Takeover::Taken(given));
    let early = vm.may_hear(Duration::from_secs(2), |message| *message == taken);
    assert_eq!(early, None, "the journal cannot have been replayed");
    vm.hear(SOON, |message| *message == taken);
    let tries = vm.state("replay_tries");
    assert!(tries > 10, "only {tries} tries: the kernel had a thread");
    // What waits for the replay goes on.
    assert!(vm.shell("touch /mnt/after && sync").contains("EXIT 0"));
    vm.is_sound();
    println!("PASS TAKEN came when the kernel had a thread again, after {tries} tries");
}

#[test]
fn a_panic_that_the_hypervisor_does_not_see_has_a_last_word() {
    let vm = Vm::boot("shim-panic", 200);
    // Its notifier stands before ours, and stops the guest.
    assert!(vm.shell("rmmod pvpanic_pci").contains("EXIT 0"));
    door::tell(&vm.run.path().join("vsock"), "echo c >/proc/sysrq-trigger").unwrap();
    vm.hear(SOON, |message| *message == Message::LastGasp { reason: Gasp::Panic });
}

#[test]
fn bad_bytes_are_counted_and_the_session_goes_on() {
    let mut vm = Vm::boot("shim-bytes", 200);
    vm.mount();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let session = vm.manner.lock().unwrap().session;
    for round in 0..2000 {
        let mut bytes: Vec<u8> = (0..random() % 300).map(|_| u8::try_from(random() & 0xff).unwrap()).collect();
        if round % 2 == 0 {
            // A frame that checks, of any kind but those that end the machine, with a body that nobody would send.
            let mut frame = Message::Busy.frame(session, 1, &[]);
            frame.kind = u8::try_from(8 + random() % 40).unwrap();
            frame.body.iter_mut().for_each(|byte| *byte = u8::try_from(random() & 0xff).unwrap());
            frame.payload = &bytes;
            let mut buffer = [0; FRAME_MAX];
            bytes = frame.emit(&mut buffer).to_vec();
        }
        vm.channel.write_all(&bytes).unwrap();
    }
    vm.barrier(90);
    assert!(vm.state("skipped_bytes") > 10_000);
    assert!(vm.state("dropped") > 100);
    assert_eq!(vm.state("broken"), 0);
    vm.is_sound();
    println!("PASS {} bytes were skipped, {} frames dropped", vm.state("skipped_bytes"), vm.state("dropped"));
}

#[test]
fn a_machine_that_goes_down_says_bye_only_if_nothing_is_mounted() {
    let mut vm = Vm::boot("shim-reboot", 200);
    let first = vm.incarnation();
    vm.mount();
    // It took no leave: whoever goes so must be proved gone.
    door::tell(&vm.run.path().join("vsock"), "reboot -f").unwrap();
    let next = vm.hear(BOOT, |message| matches!(message, Message::Bye | Message::Hello { .. }));
    assert!(matches!(next, Message::Hello { incarnation, .. } if incarnation != first), "{next:?}");
    drop(vm);
    let vm = Vm::boot("shim-reboot", 200);
    door::tell(&vm.run.path().join("vsock"), "reboot -f").unwrap();
    let next = vm.hear(BOOT, |message| matches!(message, Message::Bye | Message::Hello { .. }));
    assert_eq!(next, Message::Bye);
}

#[test]
fn looking_for_peers_among_hundreds_of_sockets_takes_no_time() {
    const SOCKETS: usize = 200;
    let mut vm = Vm::boot("shim-look", 200);
    vm.mount();
    let (volume, other, generation) = (volume(), NodeId::new(2), 40);
    vm.tell(Message::Dlm(Dlm::Address { node: other, port: 0, address: Ip::V4([10, 7, 0, 2]) }), &[]);
    let up = NodeEvent { node: other, host: HostId::new(2), class: None, incarnation: 2, version: 3 };
    vm.tell(Message::NodeUp(up), &[]);
    vm.tell(Message::Group(Group::Stop { volume, generation }), &[]);
    vm.hear_group(Group::Stopped { volume, generation });
    let mut entries = [0; 2 * StartNode::BYTES];
    StartNode { node: NODE, fate: Fate::Member, incarnation: vm.incarnation() }.emit(&mut entries);
    let there = StartNode { node: other, fate: Fate::Member, incarnation: 2 };
    there.emit(&mut entries[StartNode::BYTES..]);
    vm.tell(Message::Group(Group::Start { volume, generation, part: 0, parts: 1 }), &entries);
    // It looks from now on, since there is somebody who does not answer.
    vm.hear_group(Group::Started { volume, generation });
    vm.hear(SOON, |message| matches!(message, Message::Dlm(Dlm::Cut { cut: true, .. })));
    let few = vm.state("last_look_us");
    let made = vm.shell(&format!(
        "(nc -ll -p 9000 -e cat & for n in $(seq {SOCKETS}); do (sleep 100 | nc 127.0.0.1 9000) & done) \
         >/dev/null 2>&1 </dev/null; sleep 3; cat /proc/net/tcp /proc/net/tcp6 | grep -c ':2328'"
    ));
    let sockets: usize = made.split_whitespace().next().unwrap().parse().unwrap();
    assert!(sockets >= SOCKETS, "{made}");
    let looks: Vec<_> = (0..10).map(|_| vm.state("last_look_us")).collect();
    println!("PASS a look at TCP's connections takes {few} us; with {sockets} of them {looks:?} us, every 250 ms");
    assert!(looks.iter().all(|us| *us < 50_000), "{looks:?}");
}
