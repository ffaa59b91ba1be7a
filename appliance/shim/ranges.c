// SPDX-License-Identifier: GPL-2.0-only
/*
 * ranges - a book of who has which bytes of which file
 *
 * As POSIX wants it: an owner has each byte once; what it takes anew replaces
 * what it had there, what touches and is of one kind becomes one range, and
 * what is taken out of the middle leaves two.  Places are numbered from 1;
 * each bucket is a chain of them.
 *
 * Each call costs one walk, or two, through the ranges of the files that share
 * a bucket: at most as many as the book has places.
 *
 * This file must never wait, act or allocate: it is pure, see locks.h.
 */
#include "locks.h"

void pal_ranges_clear(struct pal_ranges *r, struct pal_range *place, u32 room)
{
	memset(r, 0, sizeof(*r));
	r->place = place;
	r->room = room;
}

static u32 pal_bucket(u64 inode)
{
	return (inode * 0x9e3779b97f4a7c15ull) >> 56;
}

static struct pal_range *pal_at(const struct pal_ranges *r, u16 place)
{
	return place ? &r->place[place - 1] : NULL;
}

static struct pal_range *pal_chain(const struct pal_ranges *r, u64 inode)
{
	return pal_at(r, r->head[pal_bucket(inode)]);
}

bool pal_ranges_same(const struct pal_range *a, const struct pal_range *b)
{
	return a->inode == b->inode && a->owner == b->owner &&
	       a->node == b->node;
}

bool pal_ranges_overlap(const struct pal_range *a, const struct pal_range *b)
{
	return a->start <= b->end && b->start <= a->end;
}

/* No end is above PAL_LAST_BYTE, so one more is no overflow. */
static bool pal_touch(const struct pal_range *a, const struct pal_range *b)
{
	return a->start <= b->end + 1 && b->start <= a->end + 1;
}

static void pal_insert(struct pal_ranges *r, const struct pal_range *range)
{
	u16 *head = &r->head[pal_bucket(range->inode)];
	u16 place = r->free;

	if (place)
		r->free = pal_at(r, place)->next;
	else
		place = ++r->fresh;
	*pal_at(r, place) = *range;
	pal_at(r, place)->next = *head;
	*head = place;
	r->count++;
}

static void pal_remove(struct pal_ranges *r, u16 *link)
{
	u16 place = *link;
	struct pal_range *range = pal_at(r, place);

	*link = range->next;
	range->hold = PAL_HOLD_NONE;
	range->next = r->free;
	r->free = place;
	r->count--;
}

/**
 * pal_ranges_growth - how many ranges more there would be
 * @r: the book
 * @want: what would be set
 */
int pal_ranges_growth(const struct pal_ranges *r, const struct pal_range *want)
{
	int growth = want->hold != PAL_HOLD_NONE;
	const struct pal_range *e;

	for (e = pal_chain(r, want->inode); e; e = pal_at(r, e->next)) {
		if (!pal_ranges_same(e, want))
			continue;
		if (e->hold == want->hold) {
			growth -= pal_touch(e, want);
			continue;
		}
		if (pal_ranges_overlap(e, want))
			growth += (e->start < want->start) +
				  (e->end > want->end) - 1;
	}
	return growth;
}

/**
 * pal_ranges_set - an owner has these bytes so from now on
 * @r: the book
 * @want: which, and how; NONE: not any more
 * @limit: how many ranges the book may come to
 *
 * Return: false, and nothing happened, if there would be too many.
 */
bool pal_ranges_set(struct pal_ranges *r, const struct pal_range *want,
		    u32 limit)
{
	struct pal_range range = *want, tail = { .hold = PAL_HOLD_NONE };
	int growth = pal_ranges_growth(r, want);
	u16 *link = &r->head[pal_bucket(want->inode)];

	if (growth > 0 && (u32)r->count + growth > min_t(u32, limit, r->room))
		return false;
	while (*link) {
		struct pal_range *e = pal_at(r, *link);

		if (!pal_ranges_same(e, want)) {
			link = &e->next;
			continue;
		}
		if (e->hold == want->hold && pal_touch(e, want)) {
			range.start = min(range.start, e->start);
			range.end = max(range.end, e->end);
			pal_remove(r, link);
			continue;
		}
		if (e->hold == want->hold || !pal_ranges_overlap(e, want)) {
			link = &e->next;
			continue;
		}
		if (e->start >= want->start && e->end <= want->end) {
			pal_remove(r, link);
			continue;
		}
		if (e->start < want->start && e->end > want->end) {
			tail = *e;
			tail.start = want->end + 1;
		}
		if (e->start < want->start)
			e->end = want->start - 1;
		else
			e->start = want->end + 1;
		link = &e->next;
	}
	if (tail.hold != PAL_HOLD_NONE)
		pal_insert(r, &tail);
	if (range.hold != PAL_HOLD_NONE)
		pal_insert(r, &range);
	return true;
}

/**
 * pal_ranges_first - the first range of an owner among these bytes
 * @r: the book
 * @want: whose, and which
 */
const struct pal_range *pal_ranges_first(const struct pal_ranges *r,
					 const struct pal_range *want)
{
	const struct pal_range *e, *found = NULL;

	for (e = pal_chain(r, want->inode); e; e = pal_at(r, e->next))
		if (pal_ranges_same(e, want) && pal_ranges_overlap(e, want) &&
		    (!found || e->start < found->start))
			found = e;
	return found;
}

/* The first one that is held for writing. */
static const struct pal_range *pal_first_write(const struct pal_ranges *r,
					       const struct pal_range *want)
{
	const struct pal_range *e, *found = NULL;

	for (e = pal_chain(r, want->inode); e; e = pal_at(r, e->next))
		if (pal_ranges_same(e, want) && pal_ranges_overlap(e, want) &&
		    e->hold == PAL_HOLD_WRITE &&
		    (!found || e->start < found->start))
			found = e;
	return found;
}

/**
 * pal_ranges_exceed - whether an owner has any of these bytes more than so
 * @r: the book
 * @want: which, and how
 */
bool pal_ranges_exceed(const struct pal_ranges *r,
		       const struct pal_range *want)
{
	const struct pal_range *e;

	for (e = pal_chain(r, want->inode); e; e = pal_at(r, e->next))
		if (pal_ranges_same(e, want) && pal_ranges_overlap(e, want) &&
		    e->hold > want->hold)
			return true;
	return false;
}

static u32 pal_pieces(const struct pal_ranges *r, const struct pal_range *want)
{
	const struct pal_range *e;
	u32 pieces = 0;

	for (e = pal_chain(r, want->inode); e; e = pal_at(r, e->next))
		pieces += pal_ranges_same(e, want) &&
			  pal_ranges_overlap(e, want);
	return pieces;
}

/**
 * pal_ranges_raise - an owner has these bytes at least so from now on
 * @r: the book
 * @want: which, and how
 * @limit: how many ranges the book may come to
 *
 * Return: false, and nothing happened, if there might be too many.
 */
bool pal_ranges_raise(struct pal_ranges *r, const struct pal_range *want,
		      u32 limit)
{
	struct pal_range part = *want;

	if (want->hold != PAL_HOLD_READ || !pal_first_write(r, want))
		return pal_ranges_set(r, want, limit);
	/* Each piece may leave a gap before it, and the last one behind. */
	if (r->count + pal_pieces(r, want) + 1 > min_t(u32, limit, r->room))
		return false;
	for (;;) {
		const struct pal_range *write = pal_first_write(r, &part);
		u64 next = write ? write->end + 1 : 0;

		part.end = write ? write->start - 1 : want->end;
		if (!write || write->start > part.start)
			pal_ranges_set(r, &part, limit);
		if (!write || next > want->end)
			return true;
		part.start = next;
		part.end = want->end;
	}
}

/**
 * pal_ranges_cover - whether an owner has all these bytes at least so
 * @r: the book
 * @want: which, and how
 */
bool pal_ranges_cover(const struct pal_ranges *r, const struct pal_range *want)
{
	struct pal_range rest = *want;

	for (;;) {
		const struct pal_range *e = pal_ranges_first(r, &rest);

		if (!e || e->start > rest.start || e->hold < want->hold)
			return false;
		if (e->end >= want->end)
			return true;
		rest.start = e->end + 1;
	}
}

/**
 * pal_ranges_conflict - what stands against it, if anything
 * @r: the book
 * @want: which bytes, and how
 */
const struct pal_range *pal_ranges_conflict(const struct pal_ranges *r,
					    const struct pal_range *want)
{
	const struct pal_range *e;

	for (e = pal_chain(r, want->inode); e; e = pal_at(r, e->next))
		if (e->inode == want->inode && !pal_ranges_same(e, want) &&
		    pal_ranges_overlap(e, want) &&
		    (e->hold == PAL_HOLD_WRITE || want->hold == PAL_HOLD_WRITE))
			return e;
	return NULL;
}

void pal_ranges_drop_node(struct pal_ranges *r, u8 node)
{
	u32 bucket;

	for (bucket = 0; bucket < PAL_BUCKETS; bucket++) {
		u16 *link = &r->head[bucket];

		while (*link) {
			if (pal_at(r, *link)->node == node)
				pal_remove(r, link);
			else
				link = &pal_at(r, *link)->next;
		}
	}
}
