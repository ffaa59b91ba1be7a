// SPDX-License-Identifier: GPL-2.0-only
/*
 * fuzz - bad input for the frame reader and the state machine
 *
 * usage: fuzz FIRST_SEED COUNT
 *
 * Each seed is one life of a node: frames of every kind with random bodies
 * (small numbers, so that sessions, generations and nodes meet), bytes that
 * are flipped, cut and repeated, deeds of a worker and of mounts at any time,
 * a clock that jumps.  Built with the address and undefined behaviour
 * sanitizers.  What must hold is checked after each deed, by a look from
 * outside; a broken rule ends the program with the seed.  The last line is
 * PASS and what was reached.
 *
 * With -DPALISADE_LIBFUZZER it is a target of libFuzzer: the input's bytes
 * stand for the random ones.
 */
#include "../machine.h"

static struct pal_machine m;
static struct pal_reader reader;
static u64 state, seed, now;
static u64 last_generation[PAL_GROUPS_MAX], was_stopped[PAL_GROUPS_MAX];
static u8 last_volume[PAL_GROUPS_MAX];
static u64 reached_running, reached_reset, reached_taken, reached_frames;
static bool reset_wanted;
#ifdef PALISADE_LIBFUZZER
static const u8 *input;
static size_t input_left;
#endif

static u32 rnd(u32 below)
{
#ifdef PALISADE_LIBFUZZER
	if (!input_left)
		return 0;
	input_left--;
	return *input++ % below;
#else
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
#endif
}

static void fail(const char *what)
{
	printf("FAIL seed %llu: %s\n", (unsigned long long)seed, what);
	fflush(stdout);
	abort();
}

static struct pal_group *row(const u8 *volume)
{
	return pal_group_find(&m, volume);
}

/* What is said must be true of the row that it is about. */
void pal_port_send(const struct pal_frame *frame)
{
	u8 bytes[PAL_FRAME_MAX];
	u64 generation = pal_u64(frame->body + PAL_GENERATION);
	struct pal_group *group = row(frame->body + PAL_VOLUME);

	pal_frame_emit(frame, bytes);
	if (m.over && frame->kind != PAL_BYE)
		fail("a word after the last one");
	switch (frame->kind) {
	case PAL_STOPPED:
		if (!group || group->generation != generation)
			fail("STOPPED of another generation");
		if (group->phase == PAL_IS_RUNNING ||
		    group->phase == PAL_IS_STARTING)
			fail("STOPPED while it runs");
		break;
	case PAL_STARTED:
	case PAL_RECOVERED:
		if (!group || group->phase != PAL_IS_RUNNING ||
		    group->generation != generation ||
		    group->ran != generation)
			fail("STARTED of what does not run");
		break;
	case PAL_TAKEN:
		reached_taken++;
		group = row(frame->body + PAL_LABEL);
		break;
	}
}

void pal_port_lease(u64 end)
{
	if (end > now + 0xffffffffull * 1000)
		fail("a lease from the future");
}

void pal_port_reset(enum pal_why why)
{
	(void)why;
	reset_wanted = true;
	reached_reset++;
}

void pal_port_work(void)
{
}

bool pal_port_service(const struct pal_given *given)
{
	return given->token & 1;
}

void pal_port_event(const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
}

void pal_port_started(const struct pal_group *group)
{
	u32 at, us = 0;

	reached_running++;
	if (was_stopped[group - m.groups] != group->generation)
		fail("it runs with a generation that it did not stop for");
	for (at = 0; at < group->known_count; at++)
		us += group->known[at].node == m.node &&
		      group->known[at].fate == PAL_FATE_MEMBER &&
		      group->known[at].incarnation == m.incarnation;
	if (us != 1)
		fail("it runs with a set without itself");
}

static void check(void)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++) {
		struct pal_group *group = &m.groups[at];

		if (group->used && group->volume[0] == last_volume[at] &&
		    group->generation < last_generation[at])
			fail("a generation goes back");
		last_generation[at] = group->generation;
		if (group->phase == PAL_IS_STOPPED)
			was_stopped[at] = group->generation;
		last_volume[at] = group->volume[0];
		if (group->known_count > PAL_ENTRIES_MAX ||
		    group->next_count > PAL_ENTRIES_MAX)
			fail("more entries than there is room for");
	}
	if (m.over != reset_wanted)
		fail("over without a reset");
	if (!m.over && pal_deadline(&m) == PAL_NEVER)
		fail("it sleeps for ever");
}

static void label(u8 *into)
{
	memset(into, 0, PAL_LABEL_BYTES);
	into[0] = rnd(20);
}

static u32 entries(u8 *into)
{
	u32 count = rnd(8) ? rnd(4) : rnd(38), at;

	for (at = 0; at < count; at++) {
		u8 *entry = into + at * PAL_ENTRY_BYTES;

		memset(entry, 0, PAL_ENTRY_BYTES);
		entry[PAL_ENTRY_NODE] = rnd(8) ? 1 + at : rnd(256);
		entry[PAL_ENTRY_STATE] = rnd(8) ? 1 : rnd(6);
		put_unaligned_le64(rnd(8) ? 7 : rnd(4),
				   entry + PAL_ENTRY_INCARNATION);
	}
	return count * PAL_ENTRY_BYTES;
}

static void fill(struct pal_frame *frame)
{
	u32 at;

	for (at = 0; at < PAL_BODY_BYTES; at++)
		frame->body[at] = rnd(4) ? 0 : rnd(256);
	frame->body[0] = rnd(4);
	put_unaligned_le64(1 + rnd(6), frame->body + PAL_STAMP);
	label(frame->body + PAL_VOLUME);
	if (frame->kind == PAL_WELCOME) {
		frame->body[PAL_NODE] = m.node;
		put_unaligned_le64(m.nonce, frame->body + PAL_STAMP);
		put_unaligned_le32(5000, frame->body + PAL_LEASE_MS);
		put_unaligned_le32(rnd(3), frame->body + PAL_CLUSTER);
	} else if (frame->kind == PAL_LEASE) {
		put_unaligned_le64(now - rnd(1000), frame->body + PAL_STAMP);
		put_unaligned_le32(5000, frame->body + PAL_LEASE_MS);
	} else if (frame->kind == PAL_START) {
		put_unaligned_le16(rnd(8) ? 0 : rnd(20), frame->body + PAL_PART);
		put_unaligned_le16(rnd(8) ? 1 : rnd(20), frame->body + PAL_PARTS);
	} else if (frame->kind == PAL_ERROR) {
		frame->body[PAL_CODE] = rnd(40) ? 3 + rnd(4) : rnd(12);
	}
}

static u32 make(u8 *into)
{
	static const u8 kinds[] = {
		PAL_WELCOME, PAL_LEASE, PAL_LEASE, PAL_LEASE, PAL_ERROR,
		PAL_BUSY, PAL_VIEW, PAL_NODE_UP, PAL_NODE_DOWN, PAL_STOP,
		PAL_STOP, PAL_STOP, PAL_START, PAL_START, PAL_START, PAL_START,
		PAL_LEAVE, PAL_TAKEOVER, PAL_TAKEOVER, PAL_DLM_ADDRESS,
	};
	struct pal_frame frame = { 0 };
	u8 payload[PAL_PAYLOAD_MAX];

	frame.kind = rnd(30) ? kinds[rnd(ARRAY_SIZE(kinds))] : rnd(256);
	frame.session = frame.kind == PAL_WELCOME ? 1 + rnd(3) :
			rnd(20) ? m.session : rnd(4);
	fill(&frame);
	frame.payload = payload;
	frame.length = entries(payload);
	if (!rnd(50))
		frame.length = rnd(frame.length + 1);
	return pal_frame_emit(&frame, into);
}

static void give(void)
{
	u8 bytes[3 * PAL_FRAME_MAX];
	const u8 *at = bytes;
	u32 count = make(bytes);
	struct pal_frame frame;

	if (!rnd(10))
		count += make(bytes + count);
	if (!rnd(20))
		bytes[rnd(count)] ^= 1 << rnd(8);
	if (!rnd(20)) {
		u32 cut = rnd(count);

		at += cut;
		count -= cut;
	}
	if (!rnd(20))
		count = rnd(count + 1);
	while (pal_reader_next(&reader, &at, &count, &frame)) {
		reached_frames++;
		if (frame.length > PAL_PAYLOAD_MAX)
			fail("a payload above the bound");
		pal_on_frame(&m, now, &frame);
		check();
	}
	if (count)
		fail("the reader leaves bytes");
}

/* A worker takes a job and does it, or is late with an earlier one. */
static void work(int at)
{
	struct pal_group *group = &m.groups[at];
	enum pal_job job = group->job;
	u64 generation = rnd(20) ? group->generation : rnd(8);

	group->job = PAL_JOB_NONE;
	switch (job) {
	case PAL_JOB_STOP:
		pal_group_stopped(&m, at, generation);
		break;
	case PAL_JOB_START:
		if (rnd(4))
			pal_group_started(&m, at, generation);
		else
			group->job = PAL_JOB_START;
		break;
	case PAL_JOB_LEFT:
		pal_group_left(&m, at);
		break;
	case PAL_JOB_REFUSED:
		pal_group_refused(&m, at);
		break;
	case PAL_JOB_NONE:
		if (rnd(2))
			pal_group_recovered(&m, at, generation);
		else
			pal_group_replayed(&m, at, generation);
		break;
	}
}

static void deed(void)
{
	u8 volume[PAL_LABEL_BYTES], cluster[PAL_LABEL_BYTES] = { 0 };
	int at = rnd(PAL_GROUPS_MAX);

	switch (rnd(12)) {
	case 0:
		label(volume);
		volume[0] |= 1;
		at = pal_group_open(&m, volume, cluster);
		if (at >= 0 && rnd(4))
			pal_group_ready(&m, now, at);
		break;
	case 1:
		if (m.groups[at].used && m.groups[at].wants_in && !rnd(4))
			pal_group_close(&m, now, at);
		break;
	case 2:
		now += rnd(20) ? rnd(100000) : rnd(3000000);
		pal_on_time(&m, now);
		break;
	case 3:
		pal_cut(&m, rnd(256), rnd(2), rnd(5000));
		break;
	case 4:
	case 5:
	case 6:
		if (m.groups[at].used)
			work(at);
		break;
	default:
		give();
		break;
	}
	check();
}

static void life(u32 deeds)
{
	memset(&reader, 0, sizeof(reader));
	memset(last_generation, 0, sizeof(last_generation));
	memset(last_volume, 0, sizeof(last_volume));
	memset(was_stopped, 0, sizeof(was_stopped));
	reset_wanted = false;
	now = 1000000;
	pal_init(&m, now, 1, 7, rnd(100));
	while (deeds-- && !m.over)
		deed();
}

#ifdef PALISADE_LIBFUZZER
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	input = data;
	input_left = size;
	life(size);
	return 0;
}
#else
int main(int count, char **arguments)
{
	u64 first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
	u64 lives = count > 2 ? strtoull(arguments[2], NULL, 10) : 1000;

	for (seed = first; seed < first + lives; seed++) {
		state = seed * 0x9e3779b97f4a7c15ull + 1;
		life(3000);
	}
	printf("PASS lives=%llu frames=%llu running=%llu resets=%llu taken=%llu\n",
	       (unsigned long long)lives, (unsigned long long)reached_frames,
	       (unsigned long long)reached_running,
	       (unsigned long long)reached_reset,
	       (unsigned long long)reached_taken);
	return 0;
}
#endif
