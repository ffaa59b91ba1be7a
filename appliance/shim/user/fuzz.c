// SPDX-License-Identifier: GPL-2.0-only
/*
 * fuzz - bad input for the frame reader and the state machine, from seeds
 *
 * usage: fuzz FIRST_SEED COUNT
 *
 * Each seed is one life of a node: frames of every kind with random bodies
 * (small numbers, so that sessions, generations and nodes meet), bytes that
 * are flipped, cut and repeated, deeds of a worker and of mounts at any time,
 * a clock that jumps.  Built with the address and undefined behaviour
 * sanitizers; judge.c says what must hold.  The last line is PASS and what was
 * reached.
 */
#include "judge.h"

static u64 state, seed;

static u32 rnd(u32 below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

void say_which(void)
{
	printf("seed %llu: ", (unsigned long long)seed);
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
	judge_give(at, count);
}

static void deed(void)
{
	u8 volume[PAL_LABEL_BYTES], cluster[PAL_LABEL_BYTES] = { 0 };
	int at = rnd(PAL_GROUPS_MAX);

	switch (rnd(12)) {
	case 0:
		label(volume);
		volume[0] |= 1;
		judge_open(volume, cluster, rnd(4));
		break;
	case 1:
		if (!rnd(4))
			judge_close(at);
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
		judge_work(at, rnd(20) ? m.groups[at].generation : rnd(8),
			   rnd(4), rnd(2));
		break;
	default:
		give();
		break;
	}
	judge_check();
}

static void life(u32 deeds)
{
	judge_begin(rnd(100));
	while (deeds-- && !m.over)
		deed();
}

int main(int count, char **arguments)
{
	u64 first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
	u64 lives = count > 2 ? strtoull(arguments[2], NULL, 10) : 1000;

	for (seed = first; seed < first + lives; seed++) {
		state = seed * 0x9e3779b97f4a7c15ull + 1;
		life(3000);
	}
	printf("PASS lives=%llu frames=%llu running=%llu resets=%llu taken=%llu\n",
	       (unsigned long long)lives, (unsigned long long)reached.frames,
	       (unsigned long long)reached.running,
	       (unsigned long long)reached.resets,
	       (unsigned long long)reached.taken);
	return 0;
}
