// SPDX-License-Identifier: GPL-2.0-only
/*
 * locks - three nodes that lock bytes of two files, against a simple model
 *
 * usage: locks FIRST_SEED COUNT
 *
 * Each seed is one life of a volume: three of the shim's machines whole, with
 * appliances between them that keep docs/PROTOCOL.md's word and no more: they
 * say BUSY and GONE, begin new sessions, lose frames on the channel, are slow;
 * a group that goes through barriers, nodes that die and come back.  Processes
 * lock, unlock, ask and are killed while they wait, two threads in each.
 *
 * After each deed: no byte is held by two owners of whom one writes, the dead
 * included until a START without them; what a process was told is what its
 * node's book has; the arbiter's book holds at least what the holders hold.  In
 * the end the faults stop, and every question has its answer or a holder that
 * stands against it.  A broken rule ends the program with the seed.
 */
#include "cluster.h"

struct node nodes[NODES + 1];
struct stream streams[NODES + 1][NODES + 1];
struct pal_range dead_places[NODES + 1][PAL_HELD_ROOM];
u32 dead_count[NODES + 1];
u8 current;
u64 state, seed, now, tokens, generation, incarnations;
bool faults, starting;
u64 start_incarnation[NODES + 1];
bool start_sent[NODES + 1];
u64 granted, refused, deadlocks, starts, deaths, cancels, agains, gones;
u64 reports, blurred, frozen, at_once;

u32 rnd(u32 below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

void fail(const char *what)
{
	printf("FAIL seed %llu: %s\n", (unsigned long long)seed, what);
	fflush(stdout);
	abort();
}

u32 owner_of(u8 node, u32 owner)
{
	return node * 100 + owner;
}

struct pal_group *group_of(u8 node)
{
	static const u8 volume[PAL_LABEL_BYTES] = { 7 };

	return pal_group_find(&nodes[node].m, volume);
}

/* --- the processes --- */

/* The last byte of the model stands for all that come after. */
static u64 end_of(u32 byte)
{
	return byte == BYTES - 1 ? PAL_LAST_BYTE : byte;
}

struct pal_range any_range(u8 node, u32 owner)
{
	u32 start = rnd(BYTES), end = start + rnd(rnd(3) ? 4 : BYTES);

	end = min_t(u32, end, BYTES - 1);
	return (struct pal_range) {
		.inode = 1 + rnd(FILES), .owner = owner_of(node, owner),
		.node = node, .pid = owner, .start = start,
		.end = end_of(end),
	};
}

static void note(u8 node, u32 owner, const struct pal_range *want)
{
	u32 byte;

	for (byte = want->start; byte < BYTES && byte <= want->end; byte++)
		nodes[node].has[owner][want->inode - 1][byte] = want->hold;
}

static void ask(u8 node, u32 owner, struct thread *thread)
{
	struct pal_range want = any_range(node, owner);
	u32 what = rnd(8);

	want.hold = 1 + rnd(2);
	thread->busy = true;
	thread->answered = false;
	thread->ask = (struct pal_ask) {
		.word = what ? PAL_LINE_ASK : PAL_LINE_FIND,
		.flag = what < 4 ? PAL_ASK_WAIT | PAL_ASK_DEADLOCK : 0,
		.want = want,
	};
	pal_locks_ask(&nodes[node].m, group_of(node), now, &thread->ask);
}

static void unlock(u8 node, u32 owner)
{
	struct pal_range want = any_range(node, owner);

	if (!rnd(4)) {
		want.start = 0;
		want.end = PAL_LAST_BYTE;
	}
	want.hold = PAL_HOLD_NONE;
	if (!pal_locks_fit(nodes[node].locks, &want))
		return;
	if (!pal_locks_lower(&nodes[node].m, group_of(node), now, &want))
		return;
	note(node, owner, &want);
}

static void end_ask(u8 node, u32 owner, struct thread *thread)
{
	struct pal_ask *a = &thread->ask;
	bool is_lock = a->word == PAL_LINE_ASK;
	struct pal_range want = a->want;

	if (!thread->answered)
		cancels++;
	pal_locks_forget(&nodes[node].m, group_of(node), now, a);
	thread->busy = false;
	if (!thread->answered || !is_lock)
		return;
	if (a->answer == PAL_ANSWER_DEADLOCK)
		deadlocks++;
	if (a->answer != PAL_ANSWER_GRANTED) {
		refused++;
		return;
	}
	granted++;
	if (!a->again) {
		note(node, owner, &want);
		return;
	}
	/* As the kernel's part does it: it unlocks, and would ask anew. */
	agains++;
	want.hold = PAL_HOLD_NONE;
	if (!pal_locks_lower(&nodes[node].m, group_of(node), now, &want))
		fail("no room to give back");
	note(node, owner, &want);
}

static void process(u8 node)
{
	u32 owner = rnd(OWNERS);
	struct thread *thread = &nodes[node].thread[owner][rnd(THREADS)];

	if (!nodes[node].mounted)
		return;
	current = node;
	if (thread->busy && (thread->answered || !rnd(12)))
		end_ask(node, owner, thread);
	else if (!rnd(2))
		unlock(node, owner);
	else if (!thread->busy)
		ask(node, owner, thread);
}

/* --- the appliances, the group, the worker --- */

static void tell_step(u8 node, u8 kind, const u8 *payload, u32 length)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	put_unaligned_le64(generation, body + PAL_GENERATION);
	body[PAL_VOLUME] = 7;
	if (kind == PAL_START)
		put_unaligned_le16(1, body + PAL_PARTS);
	deliver(node, kind, body, payload, length);
}

static void stop_all(void)
{
	u8 node;

	generation++;
	starting = false;
	for (node = 1; node <= NODES; node++)
		tell_step(node, PAL_STOP, NULL, 0);
}

/* Before the START is told, the dead are dead: their locks end here. */
static void fix_set(void)
{
	u8 node;

	for (node = 1; node <= NODES; node++) {
		bool in = nodes[node].alive && nodes[node].mounted;

		if (in && nodes[node].stopped != generation)
			return;
	}
	starting = true;
	starts++;
	for (node = 1; node <= NODES; node++) {
		bool in = nodes[node].alive && nodes[node].mounted;

		start_sent[node] = false;
		start_incarnation[node] = in ? nodes[node].incarnation : 0;
		dead_count[node] = 0;
	}
}

static void tell_start(u8 node)
{
	static u8 payload[PAL_PAYLOAD_MAX];
	u32 length = 0;
	struct pal_group *group = group_of(node);
	u32 at, other;

	if (!starting || start_incarnation[node] != nodes[node].incarnation ||
	    nodes[node].started == generation)
		return;
	memset(payload, 0, sizeof(payload));
	for (other = 1; other <= NODES; other++) {
		u8 *entry = payload + length;

		if (!start_incarnation[other])
			continue;
		entry[PAL_ENTRY_NODE] = other;
		entry[PAL_ENTRY_STATE] = PAL_FATE_MEMBER;
		put_unaligned_le64(start_incarnation[other],
				   entry + PAL_ENTRY_INCARNATION);
		length += PAL_ENTRY_BYTES;
	}
	/* Who ran with it before must be named. */
	for (at = 0; group && at < group->known_count; at++) {
		const struct pal_entry *known = &group->known[at];
		u8 *entry = payload + length;

		if (known->fate != PAL_FATE_MEMBER ||
		    start_incarnation[known->node] == known->incarnation)
			continue;
		entry[PAL_ENTRY_NODE] = known->node;
		entry[PAL_ENTRY_STATE] = PAL_FATE_DEAD;
		put_unaligned_le64(known->incarnation,
				   entry + PAL_ENTRY_INCARNATION);
		length += PAL_ENTRY_BYTES;
	}
	tell_step(node, PAL_START, payload, length);
}

static void work(u8 node)
{
	struct pal_group *group = group_of(node);
	enum pal_job job;
	int at;

	if (!group)
		return;
	at = group - nodes[node].m.groups;
	job = group->job;
	group->job = PAL_JOB_NONE;
	current = node;
	if (job == PAL_JOB_STOP)
		pal_group_stopped(&nodes[node].m, at, group->generation);
	else if (job == PAL_JOB_START)
		pal_group_started(&nodes[node].m, at, group->generation);
}

static void be_born(u8 node)
{
	u8 volume[PAL_LABEL_BYTES] = { 7 }, cluster[PAL_LABEL_BYTES] = { 0 };
	struct node *n = &nodes[node];
	int at;

	current = node;
	n->alive = true;
	n->count = 0;
	n->session = 1000 * ++incarnations;
	n->incarnation = incarnations;
	n->stopped = 0;
	n->started = 0;
	memset(n->thread, 0, sizeof(n->thread));
	memset(n->has, 0, sizeof(n->has));
	memset(n->locks, 0, sizeof(*n->locks));
	pal_locks_init(n->locks);
	pal_init(&n->m, now, node, n->incarnation, rnd(1000));
	at = pal_group_open(&n->m, volume, cluster);
	n->m.groups[at].locks = n->locks;
	pal_group_ready(&n->m, now, at);
	n->mounted = true;
	welcome(node);
	stop_all();
}

static void die(u8 node)
{
	struct node *n = &nodes[node];

	deaths++;
	n->alive = false;
	n->mounted = false;
	dead_count[node] = n->locks->held.fresh;
	memcpy(dead_places[node], n->locks->held_places,
	       sizeof(dead_places[node]));
	lose_streams(node);
	stop_all();
}

static void tick(u8 node)
{
	now += rnd(3000);
	current = node;
	if (nodes[node].alive)
		pal_on_time(&nodes[node].m, now);
}

static void hurt(u8 node, u8 other)
{
	switch (rnd(12)) {
	case 0:
		/* Only when its death is over may the number come back. */
		if (nodes[node].alive && !rnd(6))
			die(node);
		else if (!nodes[node].alive && !dead_count[node] && starting)
			be_born(node);
		break;
	case 1:
		if (!rnd(3))
			stop_all();
		break;
	case 2:
		if (nodes[node].alive && nodes[node].m.session && !rnd(3)) {
			/* It asks for another one. */
			nodes[node].m.nonce++;
			welcome(node);
		}
		break;
	case 3:
	case 4:
		if (other != node && streams[node][other].live)
			end_stream(node, other);
		break;
	}
}

static void deed(bool processes)
{
	u8 node = 1 + rnd(NODES), other = 1 + rnd(NODES);

	switch (rnd(10)) {
	case 0:
	case 1:
		if (nodes[node].alive && processes)
			process(node);
		break;
	case 2:
		tick(node);
		break;
	case 3:
	case 4:
		if (other != node)
			carry(node, other);
		break;
	case 5:
		if (!starting && nodes[node].alive &&
		    nodes[node].stopped != generation)
			tell_step(node, PAL_STOP, NULL, 0);
		else if (!starting)
			fix_set();
		else if (nodes[node].alive)
			tell_start(node);
		break;
	case 6:
		if (nodes[node].alive)
			work(node);
		break;
	case 7:
		if (faults && !rnd(6))
			hurt(node, other);
		break;
	default:
		if (nodes[node].alive)
			take_frame(node);
		break;
	}
	check();
}

static void life(void)
{
	u32 at;

	memset(streams, 0, sizeof(streams));
	memset(dead_count, 0, sizeof(dead_count));
	now = 1000000;
	generation = 5;
	starting = false;
	faults = true;
	for (at = 1; at <= NODES; at++) {
		nodes[at].alive = false;
		nodes[at].mounted = false;
	}
	for (at = 1; at <= NODES; at++)
		be_born(at);
	for (at = 0; at < 12000; at++)
		deed(true);
	faults = false;
	for (at = 0; at < 12000; at++)
		deed(false);
	check_end();
}

/* Another shim that has lost its mind: whatever it says, nothing breaks. */
static void hostile(void)
{
	u8 bytes[PAL_PAYLOAD_MAX], number;
	u32 deeds, at;

	now = 1000000;
	memset(streams, 0, sizeof(streams));
	memset(dead_count, 0, sizeof(dead_count));
	generation = 5;
	faults = false;
	starting = false;
	for (at = 1; at <= NODES; at++)
		be_born(at);
	for (at = 0; at < 2000; at++)
		deed(false);
	for (deeds = 0; deeds < 2000; deeds++) {
		u8 to = 1 + rnd(NODES), from = 1 + rnd(NODES);

		for (at = 0; at < sizeof(bytes); at++)
			bytes[at] = rnd(3) ? 0 : rnd(rnd(2) ? 4 : 256);
		bytes[PAL_MAIL_SERVICE] = PAL_MAIL_LOCKS;
		bytes[PAL_MAIL_COUNT] = rnd(PAL_LINES_MAX + 2);
		put_unaligned_le64(generation, bytes + PAL_MAIL_GENERATION);
		memset(bytes + PAL_MAIL_VOLUME, 0, PAL_LABEL_BYTES);
		bytes[PAL_MAIL_VOLUME] = 7;
		for (number = 0; number < PAL_LINES_MAX; number++) {
			u8 *line = bytes + PAL_MAIL_HEAD +
				   number * PAL_LINE_BYTES;

			line[PAL_LINE_WORD] = rnd(10);
			if (rnd(4))
				line[PAL_LINE_ID + 7] = from;
			line[PAL_LINE_START + 7] = 0;
			if (rnd(4))
				line[PAL_LINE_LAST + 7] = 0x7f;
		}
		current = to;
		pal_relay_take(&nodes[to].m, now, from,
			       rnd(8) ? nodes[from].incarnation : rnd(4),
			       bytes, rnd(8) ? PAL_MAIL_HEAD +
				PAL_LINE_BYTES * bytes[PAL_MAIL_COUNT] :
				rnd(PAL_PAYLOAD_MAX));
		pal_relay_pump_all(&nodes[to].m, now);
		if (!rnd(4))
			process(1 + rnd(NODES));
		for (at = 0; at < 4; at++)
			take_frame(1 + rnd(NODES));
		carry(1 + rnd(NODES), 1 + rnd(NODES));
		check_books();
	}
}

int main(int count, char **arguments)
{
	u64 first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
	u64 lives = count > 2 ? strtoull(arguments[2], NULL, 10) : 10;
	u8 at;

	for (at = 1; at <= NODES; at++)
		nodes[at].locks = calloc(1, sizeof(struct pal_locks));
	for (seed = first; seed < first + lives; seed++) {
		state = seed * 0x9e3779b97f4a7c15ull + 1;
		book();
		life();
		hostile();
	}
	printf("PASS lives=%llu granted=%llu refused=%llu at_once=%llu deadlocks=%llu cancels=%llu agains=%llu starts=%llu deaths=%llu gones=%llu reports=%llu blurred=%llu frozen=%llu\n",
	       (unsigned long long)lives, (unsigned long long)granted,
	       (unsigned long long)refused, (unsigned long long)at_once,
	       (unsigned long long)deadlocks, (unsigned long long)cancels,
	       (unsigned long long)agains, (unsigned long long)starts,
	       (unsigned long long)deaths, (unsigned long long)gones,
	       (unsigned long long)reports, (unsigned long long)blurred,
	       (unsigned long long)frozen);
	for (at = 1; at <= NODES; at++)
		free(nodes[at].locks);
	return 0;
}
