// SPDX-License-Identifier: GPL-2.0-only
/*
 * judge - what must hold whatever the machine is given
 *
 * It is the outside of the machine: it hears what is said and looks after each
 * deed whether that is true of the rows, whether generations go forward, and
 * whether somebody still runs who should not.  It knows the rules of
 * docs/SAFETY.md and never the machine's own reasons.  A broken rule ends the
 * program.
 *
 * Whatever the machine gets lies alone on the heap, so that the address
 * sanitizer sees a single byte that is read beyond it.
 */
#include "judge.h"

struct pal_machine m;
u64 now;
struct reached reached;

static struct pal_reader *reader;
static u64 last_generation[PAL_GROUPS_MAX], was_stopped[PAL_GROUPS_MAX];
static u8 last_volume[PAL_GROUPS_MAX][PAL_LABEL_BYTES];
static bool reset_wanted;

/* Deaths whose journals are replayed here; when it is full it says yes. */
static struct {
	u8 volume[PAL_LABEL_BYTES];
	u8 node;
	u64 incarnation;
} replays[1024];

static u32 replay_count;

void fail(const char *what)
{
	printf("FAIL ");
	say_which();
	printf("%s\n", what);
	fflush(stdout);
	abort();
}

static void note_replay(const struct pal_group *group)
{
	u32 at;

	for (at = 0; at < group->known_count; at++) {
		if (group->known[at].fate != PAL_FATE_DEAD ||
		    replay_count == ARRAY_SIZE(replays))
			continue;
		memcpy(replays[replay_count].volume, group->volume,
		       PAL_LABEL_BYTES);
		replays[replay_count].node = group->known[at].node;
		replays[replay_count++].incarnation =
			group->known[at].incarnation;
	}
}

/* A service is taken where it may run, a recovery when it is done. */
static void check_taken(const u8 *body)
{
	u32 at;

	if (body[PAL_SERVICE] == PAL_SERVICE_NAMED) {
		if (!(pal_u64(body + PAL_TOKEN) & 1))
			fail("TAKEN of a service that may not run here");
		return;
	}
	for (at = 0; at < replay_count; at++)
		if (replays[at].node == body[PAL_NODE] &&
		    replays[at].incarnation ==
			    pal_u64(body + PAL_INCARNATION) &&
		    !memcmp(replays[at].volume, body + PAL_LABEL,
			    PAL_LABEL_BYTES))
			return;
	if (replay_count < ARRAY_SIZE(replays))
		fail("TAKEN before the journal is replayed");
}

/* What is said must be true of the row that it is about. */
void pal_port_send(const struct pal_frame *frame)
{
	u8 *bytes = malloc(PAL_FRAME_MAX);
	u64 generation = pal_u64(frame->body + PAL_GENERATION);
	struct pal_group *group = pal_group_find(&m, frame->body + PAL_VOLUME);

	pal_frame_emit(frame, bytes);
	free(bytes);
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
		reached.taken++;
		check_taken(frame->body);
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
	reached.resets++;
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

void pal_port_answered(struct pal_ask *ask)
{
	(void)ask;
}

void pal_port_started(const struct pal_group *group)
{
	u32 at, us = 0;

	reached.running++;
	if (was_stopped[group - m.groups] != group->generation)
		fail("it runs with a generation that it did not stop for");
	for (at = 0; at < group->known_count; at++)
		us += group->known[at].node == m.node &&
		      group->known[at].fate == PAL_FATE_MEMBER &&
		      group->known[at].incarnation == m.incarnation;
	if (us != 1)
		fail("it runs with a set without itself");
}

void judge_begin(u64 nonce)
{
	free(reader);
	reader = calloc(1, sizeof(*reader));
	memset(last_generation, 0, sizeof(last_generation));
	memset(last_volume, 0, sizeof(last_volume));
	memset(was_stopped, 0, sizeof(was_stopped));
	reset_wanted = false;
	replay_count = 0;
	now = 1000000;
	pal_init(&m, now, 1, 7, nonce);
}

static void check_group(int at)
{
	struct pal_group *group = &m.groups[at];

	if (group->used &&
	    !memcmp(group->volume, last_volume[at], PAL_LABEL_BYTES) &&
	    group->generation < last_generation[at])
		fail("a generation goes back");
	last_generation[at] = group->generation;
	memcpy(last_volume[at], group->volume, PAL_LABEL_BYTES);
	if (group->phase == PAL_IS_STOPPED)
		was_stopped[at] = group->generation;
	if (group->known_count > PAL_ENTRIES_MAX ||
	    group->next_count > PAL_ENTRIES_MAX)
		fail("more entries than there is room for");
	if (group->phase == PAL_IS_RUNNING && group->ran != group->generation)
		fail("it runs with an older generation than it stopped for");
}

void judge_check(void)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		check_group(at);
	if (m.over != reset_wanted)
		fail("over without a reset");
	if (!m.over && pal_deadline(&m) == PAL_NEVER)
		fail("it sleeps for ever");
}

/* Bytes of the channel. */
void judge_give(const u8 *bytes, u32 count)
{
	u8 *alone = malloc(count);
	const u8 *at = alone;
	u32 left = count;
	struct pal_frame frame;

	memcpy(alone, bytes, count);
	while (pal_reader_next(reader, &at, &left, &frame)) {
		u8 *payload;

		reached.frames++;
		if (frame.length > PAL_PAYLOAD_MAX)
			fail("a payload above the bound");
		payload = malloc(frame.length);
		memcpy(payload, frame.payload, frame.length);
		frame.payload = payload;
		pal_on_frame(&m, now, &frame);
		free(payload);
		judge_check();
	}
	free(alone);
	if (left)
		fail("the reader leaves bytes");
}

/* A mount begins; its lockspace may be there at once. */
void judge_open(const u8 *volume, const u8 *cluster, bool ready)
{
	int at = pal_group_open(&m, volume, cluster);

	if (at >= 0 && ready)
		pal_group_ready(&m, now, at);
}

void judge_close(int at)
{
	if (m.groups[at].used && m.groups[at].wants_in)
		pal_group_close(&m, now, at);
}

/* A worker takes a job and does it (START may fail), or looks after a row. */
void judge_work(int at, u64 generation, bool done, bool replayed)
{
	struct pal_group *group = &m.groups[at];
	enum pal_job job = group->job;

	if (!group->used)
		return;
	group->job = PAL_JOB_NONE;
	switch (job) {
	case PAL_JOB_STOP:
		pal_group_stopped(&m, at, generation);
		break;
	case PAL_JOB_START:
		if (done)
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
		if (replayed) {
			if (group->phase == PAL_IS_RUNNING &&
			    group->recovered && group->ran == generation)
				note_replay(group);
			pal_group_replayed(&m, at, generation);
		} else {
			pal_group_recovered(&m, at, generation);
		}
		break;
	}
}
