//! Every capacity and default time, and how they must relate. The only home of such numbers.
//!
//! Each constant says its unit, why it has this value, and what breaks if it changes. The assertions at the end are the
//! relations of DESIGN §4 and SAFETY C1: a build that violates one does not exist, and a configuration that violates one
//! is refused (`config::check`).

// ---- capacities -----------------------------------------------------------------------------------------------------

/// Hosts, and so appliances: as many as a `HostId` can name.
pub const HOSTS_MAX: usize = 255;
/// Nodes: as many as OCFS2 and the DLM can number.
pub const NODES_MAX: usize = 255;
/// Tables indexed by a host or node number, zero unused.
pub const ID_SLOTS: usize = 256;
/// Redundant cluster links of a host. Each datagram goes out on all of them.
pub const LINKS_MAX: usize = 4;
/// Nodes served by one appliance: one channel and one monitor port each; two PCI slots per node is what bounds it.
pub const LOCAL_NODES_MAX: usize = 8;
/// Configured devices: one BMC and one PDU outlet for each host.
pub const DEVICES_MAX: usize = 512;
/// Levels of one target's topology.
pub const LEVELS_MAX: usize = 4;
/// Devices of one level, all of which must be `Confirmed`: the outlets of a machine with four power supplies.
pub const LEVEL_DEVICES_MAX: usize = 4;
/// Hosts named as executors of one device. An empty list means every host that the device does not cover.
pub const EXECUTORS_MAX: usize = 8;
/// Clusters that share one set of appliances.
pub const CLUSTERS_MAX: usize = 4;
/// Named services. A row of the state is reserved for each.
pub const SERVICES_MAX: usize = 32;
/// Groups: volumes that are mounted somewhere. A JOIN of one more is answered BUSY.
pub const GROUPS_MAX: usize = 16;
/// Memberships of all groups together, and fates that are still to be told: four volumes on every node. A JOIN without room
/// is answered BUSY.
pub const MEMBERSHIPS_MAX: usize = 1024;
/// Takeovers under way, named services included. A death that finds no room waits in its group, which stays unfinished.
pub const TAKEOVERS_MAX: usize = 96;
/// Characters of a name in the configuration.
pub const NAME_MAX: usize = 32;
/// Bytes of an IPMI password: RMCP+ cuts there.
pub const PASSWORD_MAX: usize = 20;
/// Bytes of a configuration file. 255 hosts, their nodes and devices take about 200 KiB.
pub const CONFIG_BYTES_MAX: usize = 512 * 1024;

/// Bytes of a datagram's plain text and header together: below every usual MTU, so nothing fragments below us.
pub const DATAGRAM_MAX: usize = 1400;
/// Bytes of a frame's fixed part.
pub const FRAME_BYTES: usize = 64;
/// Bytes of payload that may follow a frame's fixed part.
pub const FRAME_PAYLOAD_MAX: usize = 448;
/// The largest frame.
pub const FRAME_MAX: usize = FRAME_BYTES + FRAME_PAYLOAD_MAX;

/// Open vsock connections of one appliance: its local nodes, twice, and some operators.
pub const VSOCK_SESSIONS_MAX: usize = 24;
/// Sessions of one appliance on both roads.
pub const SESSIONS_MAX: usize = LOCAL_NODES_MAX + VSOCK_SESSIONS_MAX;
/// Device attempts under way in one appliance. More wait in the leader.
pub const JOBS_MAX: usize = 16;
/// Closed fencing records that are remembered across a leader change.
pub const HISTORY_MAX: usize = 64;
/// Pieces of the largest delta: what changes more than four datagrams can say travels as a whole state, which is seldom and
/// not much dearer then.
pub const DELTA_PIECES_MAX: usize = 4;
/// Trials of devices under way at a time: one that is silent must not hold the others up.
pub const DRILLS_OUT_MAX: usize = 8;
/// Bytes of the name of whoever asked for something.
pub const WHO_BYTES: usize = 24;
/// Pauses, maintenance and operators' open fences at a time. One more is answered BUSY.
pub const HOLDS_MAX: usize = 64;
/// Addresses of DLMs that leave to sessions in one turn, `RESEND_MS` apart: all of a usual cluster at once, and at 255 nodes
/// on 8 channels no more than 640 small frames in a second.
pub const ADDRESSES_PER_TURN: usize = 32;
/// Pieces of state that leave in one turn; the rest waits until what came in meanwhile was looked at.
pub const PIECES_PER_TURN: usize = 64;
/// Outputs that the engine queues in one call of `handle`; the driver drains them before the next input.
pub const OUTPUTS_MAX: usize = 1024;
/// State letters (not pieces: those wait in no queue) in one call of `handle`: one for each other host.
pub const STATE_OUT_MAX: usize = 256;
/// Orders and answers to them in one call of `handle`: one for each other host. What is lost here is sent again.
pub const FENCING_OUT_MAX: usize = 256;
/// Frames for the guard in one call of `handle`: a start, an ack, a kill and a lease for each local node, twice.
pub const GUARD_OUT_MAX: usize = 64;
/// Vsock connections that are to be closed in one call of `handle`.
pub const CLOSES_OUT_MAX: usize = 32;
/// Frames about messages in one call of `handle`.
pub const MAIL_OUT_MAX: usize = 256;
/// Answers and refusals in one call of `handle`. Short of it the flood's own answers are dropped, nobody else's.
pub const QUERIES_OUT_MAX: usize = 256;
/// Answers to heartbeats whose snapshots of stamps are kept (16 heartbeats = 1.6 s at 100 ms: longer than any lease-worthy answer).
pub const SNAPSHOTS_MAX: usize = 16;
/// Hosts that a cold start has condemned at a time: the others may yet boot, and a room's power is not switched at once.
pub const COLD_FENCES_MAX: usize = 4;
/// Bits of the replay window of a sender: as many datagrams may be overtaken and still count once.
pub const REPLAY_WINDOW: u64 = 128;

/// Ends that a message may go to or come from on one host: each local node's shim, and each local node's user space.
pub const ENDPOINTS_MAX: usize = 2 * LOCAL_NODES_MAX;
/// Messages that one local sender may have under way: 14 KiB. One for each of its streams, and as many to share.
pub const MAILBOX: usize = 32;
/// Streams of one local sender. One more ends the one that was idle longest; if none is idle the sender is told BUSY.
pub const STREAMS_OF_SENDER: usize = 16;
/// Streams from one appliance.
pub const STREAMS_MAX: usize = ENDPOINTS_MAX * STREAMS_OF_SENDER;
/// Messages of one stream under way: what a receiver that does not read costs its senders.
pub const STREAM_WINDOW: usize = 8;
/// Datagrams of messages that leave in one turn; the rest waits until what came in meanwhile was looked at.
pub const CARRIES_PER_TURN: usize = 32;
/// Messages that came in one turn and leave to sessions in the same. What finds no room is carried again by its sender.
pub const RECV_OUT_MAX: usize = 32;
// A stream without a message under way always gets a place, whatever the others hold.
const _: () =
    assert!(STREAMS_OF_SENDER + STREAM_WINDOW <= MAILBOX + 1 && MAILBOX == 32, "a mailbox's free places are a u32");

// ---- throttling (DESIGN §1 rule 3): what one session may ask for in a second for ever, and at once after a rest --------

/// HELLO: a node repeats it some times a second until it is answered. More is dropped in silence.
pub const HELLO_PER_S: u32 = 20;
/// See `HELLO_PER_S`.
pub const HELLO_BURST: u32 = 20;
/// STATUS and ADDRESS: all sections of 255 hosts are about 40 questions. All sessions together cost some percent of a core.
pub const QUERIES_PER_S: u32 = 500;
/// See `QUERIES_PER_S`.
pub const QUERY_BURST: u32 = 64;
/// Operators' requests: each may become a commit.
pub const OPERATOR_PER_S: u32 = 10;
/// See `OPERATOR_PER_S`.
pub const OPERATOR_BURST: u32 = 16;
/// SEND: sealing and relaying all of all sessions stays below a fifth of a core, and far below the links.
pub const MESSAGES_PER_S: u32 = 1000;
/// See `MESSAGES_PER_S`.
pub const MESSAGE_BURST: u32 = 64;
/// ERROR: what a sound peer needs to find its way back; a mad one learns nothing from more.
pub const REFUSALS_PER_S: u32 = 50;
/// See `REFUSALS_PER_S`.
pub const REFUSAL_BURST: u32 = 16;

// ---- default times, all configurable --------------------------------------------------------------------------------

/// How often a member tells the leader that it lives, ms. Shorter finds deaths no faster (`host_dead_ms` does) and costs CPU.
pub const HEARTBEAT_MS: u32 = 100;
/// Silence after which a host is accused, ms: ten heartbeats.
pub const HOST_DEAD_MS: u32 = 1000;
/// P: for how long a heartbeat promises not to vote for another leader, ms.
pub const PROMISE_MS: u32 = 1000;
/// Random delay before standing for election, ms, at most: parts the candidates.
pub const ELECTION_JITTER_MS: u32 = 200;
/// How long an election takes at most when a quorum is connected, ms. A bound for the relations below.
pub const ELECTION_MAX_MS: u32 = 500;
/// How often a node beats, ms.
pub const BEAT_MS: u32 = 200;
/// Silence after which a node is accused by its own appliance, ms.
pub const NODE_DEAD_MS: u32 = 1500;
/// A started VM that is no member and says nothing for so long is started anew, ms. Longer than any honest boot.
pub const NODE_BOOT_MS: u32 = 180_000;
/// A node resets itself when its lease has not been renewed for so long, ms.
pub const NODE_LEASE_MS: u32 = 5000;
/// A guard kills its node VMs when its lease has not been renewed for so long by the host's clock, ms.
pub const GUARD_LEASE_MS: u32 = 6000;
/// An appliance that died is back and asking for admission after so long, ms, at most.
pub const RESTART_MS: u32 = 700;
/// Admission after the first question, ms, at most.
pub const ADMISSION_MS: u32 = 200;
/// Every voter without a leader for so long, ms: then a cold start may be considered.
pub const COLD_MS: u32 = 2500;
/// After a cold start is committed, how long living sessions may take to report, ms, before whoever did not is fenced. Longer
/// than most hosts take to boot, because a host that is only booting would be fenced too (SAFETY B6); if all have
/// reported, nobody waits.
pub const START_WAIT_MS: u32 = 30_000;
/// How often the guard tells the appliance the host's clock, ms.
pub const STAMP_MS: u32 = 200;
/// A gap between guard stamps and own counter above this, ms: the appliance was stopped (SAFETY C5).
pub const STAMP_GAP_MAX_MS: u32 = 500;
/// Validity of an order to an executor, ms, counted by the executor from the request that it answers (SAFETY F1).
pub const ORDER_MS: u32 = 2000;
/// A leader that stalled twice within this time steps down, ms (SAFETY A8).
pub const DISTRUST_MS: u32 = 5000;
/// A pause of the own loop of more than so many heartbeats makes an appliance distrust its accusations: short of the silence
/// that it would accuse, long of what a busy hypervisor does all the time.
pub const STALL_HEARTBEATS: u32 = 3;
/// First pause before a failed level is tried again, ms; doubles up to `RETRY_MAX_MS`.
pub const RETRY_MS: u32 = 250;
/// The longest pause between two attempts, ms.
pub const RETRY_MAX_MS: u32 = 8000;
/// How many accusations by silence may be unconfirmed at a time (SAFETY H1). A rack that loses its switch falls silent as a
/// whole; three at a time still end a real loss soon, and leave a person the time to see what happens.
pub const FENCE_AT_ONCE_MAX: u32 = 3;
/// When the brake lets all go that still wait, ms, after a fresh round trip to a quorum: longer than a usual device needs.
pub const BRAKE_MS: u32 = 15_000;
/// How often each device is tried, ms: a device that broke is known within a minute, and 512 devices make 9 tries a second.
pub const DRILL_MS: u32 = 60_000;
/// How long after its lease's end a guard's SIGKILL has ended all I/O of a VM, ms, at most: what `lease-expired` rests on
/// (SAFETY C4). A host whose kernel holds I/O longer must not be trusted with it.
pub const GUARD_KILL_MS: u32 = 2000;
/// A planned pause ends by itself after so long, ms, at most (SAFETY H4): ten minutes are a long snapshot.
pub const PAUSE_MAX_MS: u32 = 600_000;
/// Maintenance ends by itself after so long, ms, at most (SAFETY H3): a week. `disabled` in the configuration has no end.
pub const MAINTENANCE_MAX_MS: u32 = 7 * 24 * 3600 * 1000;
/// A node that dies within this time after it came up flaps, ms (SAFETY H2).
pub const FLAP_MS: u32 = 60_000;
/// How long a node that flaps is held off the first time, ms; doubles up to `QUARANTINE_MAX_MS`.
pub const QUARANTINE_MS: u32 = 1000;
/// The longest, ms: a node is never given up.
pub const QUARANTINE_MAX_MS: u32 = 60_000;
/// Attempts at one device beyond the first, at most.
pub const RETRIES_MAX: u8 = 5;
/// How long one attempt at a local device (QMP, guard) may take, ms.
pub const LOCAL_ATTEMPT_MS: u32 = 1000;
/// How long one attempt at a remote device may take unless the device says otherwise, ms.
pub const DEVICE_ATTEMPT_MS: u32 = 10_000;
/// How far two clocks may drift apart, parts per thousand.
pub const DRIFT_PER_MILLE: u64 = 1;
/// Between two heartbeats that do not wait for their period, ms: whatever a guest does, the last few heartbeats and what
/// their answers renew stay remembered (`SNAPSHOTS_MAX`).
pub const URGENT_MS: u32 = 5;
/// How often every open session is told the whole view again, ms: an event that found a pipe full is not lost for ever.
pub const VIEW_AGAIN_MS: u32 = 2000;
/// How often a datagram that wants an answer is sent again, ms.
pub const RESEND_MS: u32 = 50;
/// When a leader hands over: how long the others leave the first one alone, beside their jitter. An election among those who
/// are connected takes three round trips; shorter, and they stand in each other's way.
pub const HANDOVER_MS: u32 = 50;

/// The longest pause between two times that a step of a group is told, or an answer to it reported, ms.
pub const STEP_AGAIN_MAX_MS: u32 = 400;
/// How long a member may take to stop or to start before it is condemned (SAFETY G4), ms: an election and an appliance's
/// restart in between condemn nobody.
pub const BARRIER_MS: u32 = 5000;
/// How long a member may take to recover after it started, ms: the replay of the largest journals on a slow disk.
pub const RECOVER_MS: u32 = 60_000;
/// How long the DLMs of two members may be cut off from each other before the fewer go (SAFETY F6), ms. Longer than a network
/// needs to find another way, and than a host or a node needs to be found dead by other means; all that wait for a lock of
/// the other side wait so long.
pub const DLM_CUT_MS: u32 = 10_000;
/// A node repeats a CUT that often, ms.
pub const CUT_AGAIN_MS: u32 = 1000;
/// A CUT that was not repeated for so long is over, ms: two repetitions may be lost with a pipe that was full.
pub const CUT_STALE_MS: u32 = 3000;
/// How much later than the first of them the last node may notice the same cut, ms: so long one that is over its time waits for
/// the others of its side, which go together with it.
pub const CUT_SPREAD_MS: u32 = 2000;
/// How long an owner may be silent about a service that it was given before it is condemned (SAFETY I1), ms.
pub const TAKEOVER_MS: u32 = 30_000;
/// The longest pause before what a receiver did not acknowledge is carried again, ms; begins with `RESEND_MS` and doubles.
pub const CARRY_AGAIN_MAX_MS: u32 = 1000;
/// A stream ends when the receiver's appliance was not heard for so long, ms: longer than the fence of its host takes.
pub const STREAM_SILENCE_MS: u32 = 10_000;

/// Counts the releases of the appliance: who takes over must promise just what the leader promises (DESIGN §1 rule 4).
pub const RELEASE: u32 = 1;

/// UDP port of heartbeats and agreement: the class that is never dropped for another.
pub const PORT_MEMBERSHIP: u16 = 7641;
/// UDP port of state transfer and fencing orders.
pub const PORT_STATE: u16 = 7642;
/// UDP port of messages from node to node.
pub const PORT_MESSAGES: u16 = 7643;
/// vsock stream port of the node protocol.
pub const PORT_VSOCK: u32 = 7640;

// ---- what they add up to ---------------------------------------------------------------------------------------------

pub use crate::fencing::bound::node_down_bound;

// ---- how they relate (DESIGN §4, SAFETY C1) -------------------------------------------------------------------------

// The times: the same function that is asked about a person's configuration.
const _: () = assert!(crate::config::check::relations(&crate::config::Timing::DEFAULT).is_none());
const _: () = assert!(RESEND_MS < CARRY_AGAIN_MAX_MS && CARRY_AGAIN_MAX_MS * 4 < STREAM_SILENCE_MS);
const _: () = assert!(2 * CUT_AGAIN_MS < CUT_STALE_MS && CUT_STALE_MS < DLM_CUT_MS);
const _: () = assert!(STALL_HEARTBEATS * HEARTBEAT_MS < HOST_DEAD_MS);
// A row for each named service, and still room for the dead of a whole group of usual size.
const _: () = assert!(SERVICES_MAX + LOCAL_NODES_MAX * 8 <= TAKEOVERS_MAX);
