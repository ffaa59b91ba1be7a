// SPDX-License-Identifier: GPL-2.0-only
/*
 * target - the same for libFuzzer, which sees which lines an input reaches
 *
 * An input is a row of records, each `kind, length (u16), bytes`, which are
 * deeds of the appliance, of mounts, and of the worker:
 *
 *	0 BYTES	  for the frame reader, as they are
 *	1 OURS	  a frame that checks, of the session that is open; in a WELCOME
 *		  our number and nonce
 *	2 OTHER	  a frame that checks, of whatever session it names
 *	3 TIME	  goes on by so many us (u32)
 *	4 OPEN	  volume, cluster, whether there is a lockspace at once
 *	5 READY   row		6 CLOSE   row
 *	7 WORK	  row, whether START works, whether journals are replayed, and
 *		  the generation (u64) if it is a late one
 *	8 CUT	  node, state, ms (u32)
 *
 * Blind changes would never get past a frame's sum: so it is set here.  Changes
 * are made within a record or to their order, and the form stays.  The corpus
 * to begin with is written by the test, with the frames of the Rust side.
 */
#include <stddef.h>
#include "judge.h"

enum { BYTES, OURS, OTHER, TIME, OPEN, READY, CLOSE, WORK, CUT, KINDS };

#define HEAD		3
#define RECORDS_MAX	256
#define TIME_MAX	4000000

size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max,
			       unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const u8 *one, size_t one_size,
				 const u8 *two, size_t two_size, u8 *out,
				 size_t max, unsigned int seed);

struct record {
	u8 kind;
	u16 count;
	const u8 *bytes;
};

void say_which(void)
{
}

/* The next record; false: there is none. */
static bool next(const u8 **data, size_t *left, struct record *into)
{
	if (*left < HEAD)
		return false;
	into->kind = (*data)[0] % KINDS;
	into->count = min_t(size_t, pal_u16(*data + 1), *left - HEAD);
	into->bytes = *data + HEAD;
	*data += HEAD + into->count;
	*left -= HEAD + into->count;
	return true;
}

static void give_frame(const struct record *record, bool ours)
{
	u8 bytes[PAL_FRAME_MAX] = { 0 }, made[PAL_FRAME_MAX];
	struct pal_frame frame = { 0 };

	memcpy(bytes, record->bytes,
	       min_t(u32, record->count, sizeof(bytes)));
	frame.kind = bytes[PAL_AT_KIND];
	frame.session = pal_u32(bytes + PAL_AT_SESSION);
	memcpy(frame.body, bytes + PAL_AT_BODY, PAL_BODY_BYTES);
	frame.payload = bytes + PAL_FRAME_BYTES;
	if (record->count > PAL_FRAME_BYTES)
		frame.length = min_t(u32, record->count - PAL_FRAME_BYTES,
				     PAL_PAYLOAD_MAX);
	if (ours && frame.kind == PAL_WELCOME) {
		frame.body[PAL_NODE] = m.node;
		put_unaligned_le64(m.nonce, frame.body + PAL_STAMP);
	} else if (ours) {
		frame.session = m.session;
	}
	judge_give(made, pal_frame_emit(&frame, made));
}

static void deed(const struct record *record)
{
	u8 a[2 * PAL_LABEL_BYTES + 1] = { 0 };
	int at;

	memcpy(a, record->bytes, min_t(u32, record->count, sizeof(a)));
	at = a[0] % PAL_GROUPS_MAX;
	switch (record->kind) {
	case BYTES:
		judge_give(record->bytes, record->count);
		break;
	case OURS:
	case OTHER:
		give_frame(record, record->kind == OURS);
		break;
	case TIME:
		now += pal_u32(a) % TIME_MAX;
		pal_on_time(&m, now);
		break;
	case OPEN:
		a[0] |= 1;
		judge_open(a, a + PAL_LABEL_BYTES, a[2 * PAL_LABEL_BYTES]);
		break;
	case READY:
		if (m.groups[at].phase == PAL_IS_JOINING && !m.groups[at].ready)
			pal_group_ready(&m, now, at);
		break;
	case CLOSE:
		judge_close(at);
		break;
	case WORK:
		judge_work(at, record->count > 3 ? pal_u64(a + 3) :
						   m.groups[at].generation,
			   !a[1], a[2]);
		break;
	case CUT:
		pal_cut(&m, a[0], a[1], pal_u32(a + 2));
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct record record;

	judge_begin(8);
	while (!m.over && next(&data, &size, &record)) {
		deed(&record);
		judge_check();
	}
	return 0;
}

/* Adds a record if it has room; how long it is then. */
static size_t put(u8 *out, size_t count, size_t max,
		  const struct record *record)
{
	if (count + HEAD + record->count > max)
		return count;
	out[count] = record->kind;
	put_unaligned_le16(record->count, out + count + 1);
	memcpy(out + count + HEAD, record->bytes, record->count);
	return count + HEAD + record->count;
}

static u32 split(const u8 *data, size_t size, struct record *into)
{
	u32 count = 0;

	while (count < RECORDS_MAX && next(&data, &size, &into[count]))
		count++;
	return count;
}

static u32 draw(unsigned int *seed, u32 below)
{
	*seed = *seed * 1103515245 + 12345;
	return (*seed >> 16) % below;
}

/* Changes the bytes of a record, or what it is. */
static struct record change(const struct record *record, u8 *room, size_t max,
			    unsigned int *seed)
{
	struct record changed = *record;
	size_t count = min_t(size_t, record->count, max);

	memcpy(room, record->bytes, count);
	changed.bytes = room;
	changed.count = LLVMFuzzerMutate(room, count, max);
	if (!draw(seed, 8))
		changed.kind = draw(seed, KINDS);
	return changed;
}

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max,
			       unsigned int seed)
{
	static u8 old[1 << 16], room[2 * PAL_FRAME_MAX];
	static const u8 one[8];
	struct record records[RECORDS_MAX], added;
	u32 count, at, from, to, how = draw(&seed, 10);
	size_t made = 0;

	memcpy(old, data, min(size, sizeof(old)));
	count = split(old, min(size, sizeof(old)), records);
	if (!count || how == 9)
		return LLVMFuzzerMutate(data, size, max);
	from = draw(&seed, count);
	to = draw(&seed, count);
	added = records[from];
	if (how < 5)
		records[from] = change(&added, room, sizeof(room), &seed);
	else if (how == 5)
		added = (struct record){ 3 + draw(&seed, KINDS - 3),
					 draw(&seed, 4), one };
	for (at = 0; at < count; at++) {
		if (at == to && how >= 5 && how <= 7)
			made = put(data, made, max, &added);
		/* 7 moves, 8 drops, 5 and 6 add. */
		if (at == from && how >= 7)
			continue;
		made = put(data, made, max, &records[at]);
	}
	return made;
}

size_t LLVMFuzzerCustomCrossOver(const u8 *one, size_t one_size,
				 const u8 *two, size_t two_size, u8 *out,
				 size_t max, unsigned int seed)
{
	struct record records[RECORDS_MAX];
	u32 count = split(one, one_size, records), at, end;
	size_t made = 0;

	end = draw(&seed, count + 1);
	for (at = 0; at < end; at++)
		made = put(out, made, max, &records[at]);
	count = split(two, two_size, records);
	for (at = draw(&seed, count + 1); at < count; at++)
		made = put(out, made, max, &records[at]);
	return made;
}
