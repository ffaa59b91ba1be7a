// SPDX-License-Identifier: GPL-2.0-only
/*
 * arbiter - the one node of a volume that grants its POSIX locks
 *
 *   STOP(g): the book is empty.     each member, started with g:
 *   BEGIN, HELD..., END  ------>    its locks; when all members of the set have
 *                                   reported, questions are answered
 *   ASK, FIND            ------>
 *                        <------    ANSWER
 *   LOWER, CANCEL        ------>
 *
 * Nothing is granted while a member's report is missing or being given again:
 * so what a dead node held is free only with a START without it, which comes
 * after Confirmed, and what was granted by the arbiter before is known again.
 * The book holds at least what the holders hold (locks.h): a grant comes here
 * first, and what the holder says it has no more is only taken out here.
 *
 * A question that waits is looked at again when something in its file is
 * lowered, oldest first; as on one node, a later one may overtake it.
 *
 * This file must never wait, act or allocate: it is pure, see locks.h.
 */
#include "machine.h"

static void pal_push(struct pal_arbiter *a, struct pal_queue *queue, u16 at)
{
	a->waits[at - 1].next = 0;
	if (queue->last)
		a->waits[queue->last - 1].next = at;
	else
		queue->first = at;
	queue->last = at;
}

/* Takes out the one behind `before`, which is 0 for the first. */
static u16 pal_pull(struct pal_arbiter *a, struct pal_queue *queue, u16 before)
{
	u16 *link = before ? &a->waits[before - 1].next : &queue->first;
	u16 at = *link;

	*link = a->waits[at - 1].next;
	if (queue->last == at)
		queue->last = before;
	return at;
}

static u16 pal_after(const struct pal_arbiter *a, const struct pal_queue *queue,
		     u16 before)
{
	return before ? a->waits[before - 1].next : queue->first;
}

void pal_arbiter_clear(struct pal_locks *p, u64 generation)
{
	struct pal_arbiter *a = &p->a;
	u16 at;

	p->generation = generation;
	pal_ranges_clear(&a->book, p->book_places, PAL_LOCKS_ROOM);
	memset(&a->free, 0, sizeof(a->free));
	memset(&a->waiting, 0, sizeof(a->waiting));
	memset(&a->answered, 0, sizeof(a->answered));
	memset(a->report, 0, sizeof(a->report));
	for (at = 1; at <= PAL_WAITS_MAX; at++)
		pal_push(a, &a->free, at);
	a->free_count = PAL_WAITS_MAX;
	a->waiting_count = 0;
	a->knows_set = false;
	a->open = false;
	a->frozen = false;
}

static void pal_answer(struct pal_arbiter *a, u16 at, u8 answer)
{
	a->waits[at - 1].state = PAL_WAIT_ANSWERED;
	a->waits[at - 1].answer = answer;
	pal_push(a, &a->answered, at);
}

/* The question of an owner that waits, if one does. */
static const struct pal_wait *pal_waits(const struct pal_arbiter *a,
					const struct pal_range *owner)
{
	u16 at;

	for (at = a->waiting.first; at; at = a->waits[at - 1].next) {
		const struct pal_range *want = &a->waits[at - 1].want;

		if (want->owner == owner->owner && want->node == owner->node)
			return &a->waits[at - 1];
	}
	return NULL;
}

/* Whether who stands against it waits, in the end, for the asker. */
static bool pal_is_deadlock(const struct pal_arbiter *a,
			    const struct pal_wait *wait,
			    const struct pal_range *blocker)
{
	int hops;

	if (!(wait->flag & PAL_ASK_DEADLOCK))
		return false;
	for (hops = 0; hops < PAL_DEADLOCK_HOPS && blocker; hops++) {
		const struct pal_wait *next = pal_waits(a, blocker);

		if (!next)
			return false;
		blocker = pal_ranges_conflict(&a->book, &next->want);
		if (blocker && blocker->owner == wait->want.owner &&
		    blocker->node == wait->want.node)
			return true;
	}
	return false;
}

/* Answers it if it can be answered. */
static bool pal_judge_wait(struct pal_locks *p, struct pal_wait *wait,
			   u8 *answer)
{
	struct pal_arbiter *a = &p->a;
	const struct pal_range *blocker;

	blocker = pal_ranges_conflict(&a->book, &wait->want);
	if (wait->word == PAL_LINE_FIND) {
		*answer = blocker ? PAL_ANSWER_TAKEN : PAL_ANSWER_GRANTED;
		if (blocker)
			wait->want = *blocker;
		return true;
	}
	if (!blocker) {
		*answer = PAL_ANSWER_FULL;
		if (!a->frozen &&
		    pal_ranges_raise(&a->book, &wait->want, PAL_LOCKS_MAX))
			*answer = PAL_ANSWER_GRANTED;
		return true;
	}
	*answer = PAL_ANSWER_TAKEN;
	if (!(wait->flag & PAL_ASK_WAIT))
		return true;
	*answer = PAL_ANSWER_DEADLOCK;
	if (pal_is_deadlock(a, wait, blocker)) {
		p->counters.deadlocks++;
		return true;
	}
	return false;
}

/* Looks at all that wait for this file, or for any if it is 0. */
static void pal_look(struct pal_locks *p, u64 inode)
{
	struct pal_arbiter *a = &p->a;
	u16 before = 0, at;
	u8 answer;

	while (a->open && (at = pal_after(a, &a->waiting, before))) {
		struct pal_wait *wait = &a->waits[at - 1];

		if ((inode && wait->want.inode != inode) ||
		    !pal_judge_wait(p, wait, &answer)) {
			before = at;
			continue;
		}
		pal_pull(a, &a->waiting, before);
		a->waiting_count--;
		pal_answer(a, at, answer);
	}
}

static void pal_look_open(struct pal_locks *p)
{
	struct pal_arbiter *a = &p->a;
	bool open = a->knows_set;
	int node;

	for (node = 1; node < 256; node++) {
		const struct pal_member_report *report = &a->report[node];

		if (report->member && (!report->whole ||
				       report->reporter != report->member))
			open = false;
	}
	a->open = open;
	pal_look(p, 0);
}

static void pal_drop_waits(struct pal_arbiter *a, struct pal_queue *queue,
			   u8 node, u64 id)
{
	u16 before = 0, at;

	while ((at = pal_after(a, queue, before))) {
		struct pal_wait *wait = &a->waits[at - 1];

		/* The asker's node stands in its question's number. */
		if (wait->id == id || (!id && (wait->id >> 56) == node)) {
			pal_pull(a, queue, before);
			a->waiting_count -= wait->state == PAL_WAIT_WAITS;
			wait->state = PAL_WAIT_FREE;
			pal_push(a, &a->free, at);
			a->free_count++;
		} else {
			before = at;
		}
	}
}

/* All that a node said is void. */
static void pal_drop_node(struct pal_arbiter *a, u8 node)
{
	pal_ranges_drop_node(&a->book, node);
	pal_drop_waits(a, &a->waiting, node, 0);
	pal_drop_waits(a, &a->answered, node, 0);
	a->report[node].begun = false;
	a->report[node].whole = false;
	a->report[node].lines = 0;
}

/**
 * pal_arbiter_start - this volume's set is known
 * @p: the volume's locks
 * @group: its group, which has just started
 */
void pal_arbiter_start(struct pal_locks *p, const struct pal_group *group)
{
	struct pal_arbiter *a = &p->a;
	u32 at, node;

	for (at = 0; at < group->known_count; at++)
		if (group->known[at].fate == PAL_FATE_MEMBER)
			a->report[group->known[at].node].member =
				group->known[at].incarnation;
	for (node = 1; node < 256; node++)
		if (a->report[node].reporter &&
		    a->report[node].reporter != a->report[node].member)
			pal_drop_node(a, node);
	a->knows_set = true;
	pal_look_open(p);
}

bool pal_arbiter_has_room(const struct pal_locks *p, u32 questions)
{
	return p->a.free_count >= questions;
}

static void pal_take_question(struct pal_locks *p, u8 from,
			      const struct pal_line *line,
			      const struct pal_range *want)
{
	struct pal_arbiter *a = &p->a;
	struct pal_wait *wait;
	u8 answer;
	u16 at;

	if (!a->free_count) {
		p->counters.strange++;
		return;
	}
	at = pal_pull(a, &a->free, 0);
	a->free_count--;
	wait = &a->waits[at - 1];
	wait->word = line->word;
	wait->flag = line->flag;
	wait->id = line->id;
	wait->want = *want;
	if (a->open && pal_judge_wait(p, wait, &answer)) {
		pal_answer(a, at, answer);
	} else if (a->waiting_count >= PAL_WAITING_MAX) {
		pal_answer(a, at, PAL_ANSWER_FULL);
	} else {
		wait->state = PAL_WAIT_WAITS;
		a->waiting_count++;
		pal_push(a, &a->waiting, at);
	}
}

static void pal_freeze(struct pal_locks *p, u8 node)
{
	if (!p->a.frozen)
		pal_port_event("LOCKS_FULL node=%u ranges=%u", node,
			       p->a.book.count);
	p->a.frozen = true;
}

static void pal_take_report(struct pal_locks *p, u8 from,
			    const struct pal_line *line,
			    const struct pal_range *want)
{
	struct pal_member_report *report = &p->a.report[from];

	switch (line->word) {
	case PAL_LINE_BEGIN:
		pal_drop_node(&p->a, from);
		report->begun = true;
		p->a.open = false;
		break;
	case PAL_LINE_HELD:
		report->lines++;
		/* Two owners of one byte: something is wrong with us. */
		p->counters.conflicts += !!pal_ranges_conflict(&p->a.book,
							       want);
		if (!pal_ranges_set(&p->a.book, want, PAL_LOCKS_ROOM))
			pal_freeze(p, from);
		break;
	default:
		/* With another number, something of it is missing. */
		report->whole = report->begun && report->lines == line->id;
		report->begun = false;
		pal_look_open(p);
		break;
	}
}

static void pal_take_lower(struct pal_locks *p, const struct pal_range *want)
{
	/* Without room the larger range stays, which is safe. */
	if (pal_ranges_set(&p->a.book, want, PAL_LOCKS_ROOM))
		pal_look(p, want->inode);
	else
		p->counters.blurred++;
}

/**
 * pal_arbiter_take - one line of a member, or of who will be one
 * @p: the volume's locks
 * @from: the node
 * @incarnation: of it
 * @line: what it says; checked here
 */
void pal_arbiter_take(struct pal_locks *p, u8 from, u64 incarnation,
		      const struct pal_line *line)
{
	struct pal_arbiter *a = &p->a;
	struct pal_member_report *report = &a->report[from];
	struct pal_range want = {
		.inode = line->inode, .owner = line->owner,
		.start = line->start, .end = line->end,
		.pid = line->pid, .node = from, .hold = line->hold,
	};
	bool is_range = want.start <= want.end && want.end <= PAL_LAST_BYTE &&
			want.hold <= PAL_HOLD_WRITE;
	bool is_lock = is_range && want.hold != PAL_HOLD_NONE;

	if (a->knows_set && report->member != incarnation)
		goto strange;
	if (report->reporter != incarnation) {
		pal_drop_node(a, from);
		report->reporter = incarnation;
	}
	switch (line->word) {
	case PAL_LINE_BEGIN:
		break;
	case PAL_LINE_HELD:
		if (!report->begun || !is_lock)
			goto strange;
		break;
	case PAL_LINE_END:
		if (!report->begun)
			goto strange;
		break;
	case PAL_LINE_ASK:
	case PAL_LINE_FIND:
		if (!report->whole || !is_lock || line->id >> 56 != from)
			goto strange;
		pal_take_question(p, from, line, &want);
		return;
	case PAL_LINE_LOWER:
		if (!report->whole || !is_range)
			goto strange;
		pal_take_lower(p, &want);
		return;
	case PAL_LINE_CANCEL:
		if (!report->whole || line->id >> 56 != from)
			goto strange;
		pal_drop_waits(a, &a->waiting, from, line->id);
		pal_drop_waits(a, &a->answered, from, line->id);
		return;
	default:
		goto strange;
	}
	pal_take_report(p, from, line, &want);
	return;
strange:
	p->counters.strange++;
}

/**
 * pal_arbiter_gather - the answers that a node is to be told
 * @p: the volume's locks
 * @to: the node
 * @lines: into these
 * @most: so many
 */
u32 pal_arbiter_gather(struct pal_locks *p, u8 to, struct pal_line *lines,
		       u32 most)
{
	struct pal_arbiter *a = &p->a;
	u16 before = 0, at;
	u32 count = 0;

	while (count < most && (at = pal_after(a, &a->answered, before))) {
		struct pal_wait *wait = &a->waits[at - 1];
		struct pal_line *line = &lines[count];

		if (wait->id >> 56 != to) {
			before = at;
			continue;
		}
		pal_pull(a, &a->answered, before);
		*line = (struct pal_line) {
			.word = PAL_LINE_ANSWER, .hold = wait->want.hold,
			.flag = wait->want.node, .answer = wait->answer,
			.pid = wait->want.pid, .id = wait->id,
			.inode = wait->want.inode, .owner = wait->want.owner,
			.start = wait->want.start, .end = wait->want.end,
		};
		wait->state = PAL_WAIT_FREE;
		pal_push(a, &a->free, at);
		a->free_count++;
		count++;
	}
	return count;
}
