// SPDX-License-Identifier: GPL-2.0-only
/*
 * model - what must hold, whatever the machines think
 */
#include "cluster.h"

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

/* Each place is in one chain, or free. */
static void check_chains(const struct pal_ranges *r)
{
	u32 at, used = 0, free = 0, chained = 0;
	u16 next;

	for (at = 0; at < r->fresh; at++)
		used += r->place[at].hold != PAL_HOLD_NONE;
	for (next = r->free; next && free <= r->fresh; free++)
		next = r->place[next - 1].next;
	for (at = 0; at < PAL_BUCKETS; at++)
		for (next = r->head[at]; next && chained <= r->fresh; chained++)
			next = r->place[next - 1].next;
	if (used != r->count || chained != used || used + free != r->fresh ||
	    r->fresh > r->room)
		fail("a place is lost");
}

static void check_queues(const struct pal_arbiter *a)
{
	u32 count[3] = { 0 }, at;
	u16 next;

	for (at = a->free.first; at; at = a->waits[at - 1].next)
		count[0]++;
	for (at = a->waiting.first; at; at = a->waits[at - 1].next)
		count[1]++;
	for (next = a->answered.first; next; next = a->waits[next - 1].next)
		count[2]++;
	if (count[0] != a->free_count || count[1] != a->waiting_count ||
	    count[0] + count[1] + count[2] != PAL_WAITS_MAX)
		fail("a question is lost");
}

void check_books(void)
{
	u8 node;

	for (node = 1; node <= NODES; node++) {
		if (!nodes[node].alive)
			continue;
		check_chains(&nodes[node].locks->held);
		check_chains(&nodes[node].locks->a.book);
		check_queues(&nodes[node].locks->a);
	}
}

void check(void)
{
	u8 node;

	check_conflicts();
	for (node = 1; node <= NODES; node++)
		if (nodes[node].alive && nodes[node].mounted) {
			check_told(node);
			check_arbiter(node);
		}
}

/* Whoever has no answer has somebody who stands against it. */
void check_end(void)
{
	bool blur = false;
	u8 node, holder;
	u32 owner, at;

	/* An arbiter without room may keep too much, and says so. */
	for (node = 1; node <= NODES; node++)
		blur |= nodes[node].alive &&
			(nodes[node].locks->counters.blurred ||
			 nodes[node].locks->a.frozen);
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
				if (!stands && !blur)
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

/* The book alone, against an array. */

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

void book(void)
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
