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
#include "../machine.h"

#define NODES	3
#define OWNERS	3	/* of each node */
#define THREADS	2	/* of each owner */
#define FILES	2
#define BYTES	12
#define INBOX	256
#define WINDOW	8

struct letter {
	u64 number;
	u32 length;
	u8 bytes[PAL_PAYLOAD_MAX];
};

/* The appliances' word about messages from one node to another. */
struct stream {
	bool live;
	u32 epoch;
	u64 token, first, next, acked, expected, told;
	struct letter letter[WINDOW];
};

struct thread {
	bool busy, answered;
	struct pal_ask ask;
};

struct node {
	struct pal_machine m;
	struct pal_locks *locks;
	bool alive, mounted, dead_counts;
	u32 session;
	u64 incarnation;
	u8 inbox[INBOX][PAL_FRAME_MAX];
	u32 length[INBOX];
	u32 first, count;
	u64 stopped;		/* generation that it said STOPPED of */
	u64 started;
	struct thread thread[OWNERS][THREADS];
	/* What the processes were told. */
	u8 has[OWNERS][FILES][BYTES];
};

static struct node nodes[NODES + 1];
static struct stream streams[NODES + 1][NODES + 1];
static struct pal_range dead_places[NODES + 1][PAL_HELD_ROOM];
static u32 dead_count[NODES + 1];
static u8 current;
static u64 state, seed, now, tokens, generation, incarnations;
static bool faults, starting;
static u64 start_incarnation[NODES + 1];
static bool start_sent[NODES + 1];
static u64 granted, refused, deadlocks, starts, deaths, cancels, agains, gones;
static u64 reports, blurred, frozen, at_once;

static u32 rnd(u32 below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

static void fail(const char *what)
{
	printf("FAIL seed %llu: %s\n", (unsigned long long)seed, what);
	fflush(stdout);
	abort();
}

static void deliver(u8 to, u8 kind, const u8 *body, const u8 *payload,
		    u32 length)
{
	struct node *node = &nodes[to];
	struct pal_frame frame = { .kind = kind, .session = node->session };
	u32 at;

	if (kind == PAL_WELCOME)
		node->count = 0;
	if (!node->alive || node->count == INBOX)
		return;
	memcpy(frame.body, body, PAL_BODY_BYTES);
	frame.payload = payload;
	frame.length = length;
	at = (node->first + node->count++) % INBOX;
	node->length[at] = pal_frame_emit(&frame, node->inbox[at]);
}

static void say_mail(u8 to, u8 kind, u8 about, u32 epoch, u64 number)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	body[PAL_NODE] = about;
	if (kind == PAL_GONE)
		put_unaligned_le32(epoch, body + PAL_EPOCH);
	put_unaligned_le64(number, body + PAL_NUMBER);
	deliver(to, kind, body, NULL, 0);
}

static void end_stream(u8 from, u8 to)
{
	struct stream *s = &streams[from][to];

	s->live = false;
	s->expected = 0;
	s->epoch++;
	gones++;
	say_mail(from, PAL_GONE, to, s->epoch, s->acked);
}

static void on_send(u8 from, const struct pal_frame *frame)
{
	u8 to = frame->body[PAL_NODE];
	struct stream *s = &streams[from][to];
	u64 number = pal_u64(frame->body + PAL_NUMBER), expected;
	struct letter *letter;

	if (!to || to > NODES || to == from)
		fail("SEND to nobody");
	if (pal_u32(frame->body + PAL_EPOCH) != s->epoch) {
		say_mail(from, PAL_GONE, to, s->epoch, s->acked);
		return;
	}
	if (number <= s->acked) {
		say_mail(from, PAL_ACK, to, 0, s->acked);
		return;
	}
	expected = s->live ? s->next : s->expected ? s->expected : number;
	if (number < expected) {
		if (!s->live)
			fail("a number below the one that is waited for");
		return;
	}
	if (number > expected || (faults && !rnd(12)) ||
	    (s->live && s->next - s->acked > WINDOW)) {
		if (number == expected && !s->live)
			s->expected = number;
		say_mail(from, PAL_BUSY, to, 0, number);
		return;
	}
	if (!nodes[to].alive) {
		end_stream(from, to);
		return;
	}
	if (!s->live) {
		s->live = true;
		s->token = ++tokens;
		s->first = number;
		s->acked = number - 1;
		s->told = number - 1;
	}
	letter = &s->letter[number % WINDOW];
	letter->number = number;
	letter->length = frame->length;
	memcpy(letter->bytes, frame->payload, frame->length);
	s->next = number + 1;
}

static void on_ack(u8 by, const struct pal_frame *frame)
{
	u8 from = frame->body[PAL_NODE];
	struct stream *s = &streams[from][by];
	u64 number = pal_u64(frame->body + PAL_NUMBER);

	if (!s->live || s->token != pal_u64(frame->body + PAL_STREAM))
		return;
	if (number > s->told || number < s->first)
		fail("ACK of what was not told");
	if (number <= s->acked)
		return;
	s->acked = number;
	say_mail(from, PAL_ACK, by, 0, number);
}

void pal_port_send(const struct pal_frame *frame)
{
	struct node *node = &nodes[current];

	if (frame->kind != PAL_HELLO && frame->session != node->session)
		return;
	/* No buffer was free. */
	if (faults && (frame->kind == PAL_SEND || frame->kind == PAL_ACK) &&
	    !rnd(40))
		return;
	if (frame->kind == PAL_SEND)
		on_send(current, frame);
	else if (frame->kind == PAL_ACK)
		on_ack(current, frame);
	else if (frame->kind == PAL_STOPPED)
		node->stopped = pal_u64(frame->body + PAL_GENERATION);
	else if (frame->kind == PAL_STARTED)
		node->started = pal_u64(frame->body + PAL_GENERATION);
}

void pal_port_lease(u64 end)
{
}

void pal_port_reset(enum pal_why why)
{
	fail("a reset");
}

void pal_port_work(void)
{
}

bool pal_port_service(const struct pal_given *given)
{
	return false;
}

void pal_port_event(const char *format, ...)
{
}

void pal_port_started(const struct pal_group *group)
{
}

static struct pal_group *group_of(u8 node)
{
	static const u8 volume[PAL_LABEL_BYTES] = { 7 };

	return pal_group_find(&nodes[node].m, volume);
}

void pal_port_answered(struct pal_ask *ask)
{
	struct thread *thread = (struct thread *)((char *)ask -
				offsetof(struct thread, ask));

	if (!thread->busy || thread->answered)
		fail("an answer to nobody");
	thread->answered = true;
}

/* --- what must hold --- */

static u32 owner_of(u8 node, u32 owner)
{
	return node * 100 + owner;
}

/* How a node's book has a byte. */
static u8 hold_of(const struct pal_ranges *r, u8 node, u64 owner, u64 inode,
		  u64 byte)
{
	struct pal_range want = {
		.inode = inode, .owner = owner, .node = node,
		.start = byte, .end = byte,
	};
	const struct pal_range *found = pal_ranges_first(r, &want);

	return found ? found->hold : PAL_HOLD_NONE;
}

/* The last byte of the model stands for all that come after. */
static u64 end_of(u32 byte)
{
	return byte == BYTES - 1 ? PAL_LAST_BYTE : byte;
}

static void check_conflicts(void)
{
	u32 writers[FILES][BYTES] = { 0 }, owners[FILES][BYTES] = { 0 };
	u32 node, at, byte;

	for (node = 1; node <= NODES; node++) {
		const struct pal_range *place = dead_places[node];
		u32 count = dead_count[node];

		if (nodes[node].alive && nodes[node].mounted) {
			place = nodes[node].locks->held_places;
			count = nodes[node].locks->held.fresh;
			if (dead_count[node])
				fail("alive before its death was started");
		}
		for (at = 0; at < count; at++) {
			if (place[at].hold == PAL_HOLD_NONE)
				continue;
			for (byte = place[at].start;
			     byte < BYTES && byte <= place[at].end; byte++) {
				u32 file = place[at].inode - 1;

				owners[file][byte]++;
				writers[file][byte] +=
					place[at].hold == PAL_HOLD_WRITE;
			}
		}
	}
	for (at = 0; at < FILES; at++)
		for (byte = 0; byte < BYTES; byte++)
			if (writers[at][byte] && owners[at][byte] > 1)
				fail("two hold what one of them writes");
}

/* What its processes were told is what the book has. */
static void check_told(u8 node)
{
	struct node *n = &nodes[node];
	u32 owner, file, byte, at;

	for (owner = 0; owner < OWNERS; owner++)
		for (file = 0; file < FILES; file++)
			for (byte = 0; byte < BYTES; byte++) {
				bool noted = true;
				u8 hold = hold_of(&n->locks->held, node,
						  owner_of(node, owner),
						  file + 1, byte);

				for (at = 0; at < THREADS; at++) {
					struct thread *t =
						&n->thread[owner][at];

					if (t->busy && t->answered &&
					    t->ask.want.inode == file + 1 &&
					    t->ask.want.start <= byte &&
					    t->ask.want.end >= byte)
						noted = false;
				}
				if (noted && hold != n->has[owner][file][byte])
					fail("the book differs from what was told");
			}
}

/* The arbiter's book holds at least what the holders hold. */
static void check_arbiter(u8 node)
{
	struct pal_locks *book = nodes[node].locks;
	u32 holder, at;

	if (!book->running || book->arbiter != node)
		return;
	if (book->counters.conflicts)
		fail("two reported what one of them writes");
	for (holder = 1; holder <= NODES; holder++) {
		struct pal_locks *p = nodes[holder].locks;

		if (!nodes[holder].alive || !nodes[holder].mounted ||
		    !p->running || !book->a.report[holder].whole ||
		    group_of(holder)->generation != book->generation ||
		    book->a.frozen)
			continue;
		for (at = 0; at < p->held.fresh; at++) {
			const struct pal_range *range = &p->held_places[at];

			if (range->hold != PAL_HOLD_NONE &&
			    !pal_ranges_cover(&book->a.book, range))
				fail("the arbiter does not know of a lock");
		}
	}
}

static void check(void)
{
	u8 node;

	check_conflicts();
	for (node = 1; node <= NODES; node++)
		if (nodes[node].alive && nodes[node].mounted) {
			check_told(node);
			check_arbiter(node);
		}
}

/* --- the processes --- */

static struct pal_range any_range(u8 node, u32 owner)
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

static void welcome(u8 node)
{
	u8 body[PAL_BODY_BYTES] = { 0 };
	struct node *n = &nodes[node];
	u8 other;

	n->session++;
	body[PAL_NODE] = node;
	put_unaligned_le64(n->m.nonce, body + PAL_STAMP);
	put_unaligned_le32(60000, body + PAL_LEASE_MS);
	put_unaligned_le32(200, body + PAL_BEAT_MS);
	deliver(node, PAL_WELCOME, body, NULL, 0);
	memset(body, 0, sizeof(body));
	put_unaligned_le64(now, body + PAL_STAMP);
	put_unaligned_le32(60000, body + PAL_LEASE_MS);
	deliver(node, PAL_LEASE, body, NULL, 0);
	for (other = 1; other <= NODES; other++) {
		if (other == node)
			continue;
		memset(&streams[node][other], 0, sizeof(struct stream));
		if (streams[other][node].live)
			end_stream(other, node);
	}
}

static void take_frame(u8 node)
{
	struct node *n = &nodes[node];
	static struct pal_reader reader;
	const u8 *bytes;
	u32 length;
	struct pal_frame frame;

	if (!n->count)
		return;
	bytes = n->inbox[n->first];
	length = n->length[n->first];
	n->first = (n->first + 1) % INBOX;
	n->count--;
	memset(&reader, 0, sizeof(reader));
	current = node;
	while (pal_reader_next(&reader, &bytes, &length, &frame))
		pal_on_frame(&n->m, now, &frame);
}

static void carry(u8 from, u8 to)
{
	struct stream *s = &streams[from][to];
	u8 body[PAL_BODY_BYTES] = { 0 };
	u64 number;

	if (!s->live || s->acked + 1 == s->next || !nodes[to].alive)
		return;
	number = s->acked + 1 + rnd(s->told - s->acked + 1);
	if (number >= s->next)
		number = s->acked + 1;
	s->told = max(s->told, number);
	body[PAL_NODE] = from;
	put_unaligned_le64(nodes[from].incarnation, body + PAL_INCARNATION);
	put_unaligned_le64(number, body + PAL_NUMBER);
	put_unaligned_le64(s->token, body + PAL_STREAM);
	put_unaligned_le64(s->first, body + PAL_FIRST);
	deliver(to, PAL_RECV, body, s->letter[number % WINDOW].bytes,
		s->letter[number % WINDOW].length);
}

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
	u8 other;

	deaths++;
	n->alive = false;
	n->mounted = false;
	dead_count[node] = n->locks->held.fresh;
	memcpy(dead_places[node], n->locks->held_places,
	       sizeof(dead_places[node]));
	for (other = 1; other <= NODES; other++) {
		if (other == node)
			continue;
		memset(&streams[node][other], 0, sizeof(struct stream));
		if (streams[other][node].live)
			end_stream(other, node);
	}
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

/* Whoever has no answer has somebody who stands against it. */
static void check_end(void)
{
	u8 node, holder;
	u32 owner, at;

	for (node = 1; node <= NODES; node++) {
		struct pal_locks *p = nodes[node].locks;

		if (!nodes[node].alive)
			continue;
		if (!p->running || p->stage != PAL_STAGE_DONE || p->told_count)
			fail("a node does not run in the end");
		for (owner = 0; owner < OWNERS; owner++)
			for (at = 0; at < THREADS; at++) {
				struct thread *t = &nodes[node].thread[owner][at];
				bool stands = false;

				if (!t->busy || t->answered)
					continue;
				if (!(t->ask.flag & PAL_ASK_WAIT))
					fail("a question that does not wait has no answer");
				for (holder = 1; holder <= NODES; holder++)
					stands |= nodes[holder].alive &&
						pal_ranges_conflict(
						&nodes[holder].locks->held,
						&t->ask.want);
				if (!stands)
					fail("somebody waits for nothing");
			}
		if (p->arbiter == node && !p->a.frozen &&
		    !p->counters.blurred) {
			u32 held = 0;

			for (holder = 1; holder <= NODES; holder++)
				if (nodes[holder].alive)
					held += nodes[holder].locks->held.count;
			if (held != p->a.book.count)
				fail("the arbiter's book is not the sum of all");
		}
		reports += p->counters.reports;
		blurred += p->counters.blurred;
		frozen += p->a.frozen;
		at_once += p->counters.at_once;
	}
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

/* --- the book alone, against an array --- */

static void check_book(const struct pal_ranges *r, u8 model[OWNERS][BYTES])
{
	u32 owner, byte, pieces = 0;

	for (owner = 0; owner < OWNERS; owner++)
		for (byte = 0; byte < BYTES; byte++) {
			u8 hold = hold_of(r, 1, owner, 1, byte);

			if (hold != model[owner][byte])
				fail("the book differs from the bytes");
			pieces += hold && (!byte ||
					   hold != model[owner][byte - 1]);
		}
	if (pieces != r->count)
		fail("ranges that touch are not one");
}

static void book(void)
{
	static struct pal_range places[PAL_HELD_ROOM];
	u8 model[OWNERS][BYTES] = { 0 };
	struct pal_ranges r;
	u32 deeds, byte;

	pal_ranges_clear(&r, places, PAL_HELD_ROOM);
	for (deeds = 0; deeds < 300; deeds++) {
		u32 owner = rnd(OWNERS), limit = rnd(8) ? 100 : rnd(8);
		struct pal_range want = any_range(1, owner);
		bool raise = rnd(2);
		int growth;

		want.inode = 1;
		want.owner = owner;
		want.hold = raise ? 1 + rnd(2) : rnd(3);
		growth = r.count + pal_ranges_growth(&r, &want);
		if (raise ? pal_ranges_raise(&r, &want, limit) :
			    pal_ranges_set(&r, &want, limit)) {
			if (!raise && growth != r.count)
				fail("it grew by another number");
			for (byte = want.start; byte < BYTES && byte <= want.end;
			     byte++)
				if (!raise || model[owner][byte] < want.hold)
					model[owner][byte] = want.hold;
		} else if (!raise && growth <= limit) {
			fail("refused although there is room");
		}
		check_book(&r, model);
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
