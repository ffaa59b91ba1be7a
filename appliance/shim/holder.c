// SPDX-License-Identifier: GPL-2.0-only
/*
 * holder - what the processes of this node hold of a volume, and ask for
 *
 *           started: BEGIN, HELD..., END        told[]: LOWER, CANCEL
 *   stopped -----------------------> reporting ---------> then questions
 *      ^                                                       |
 *      +-------------------------- STOP -----------------------+
 *
 * This node's book is the truth about what its processes hold.  A question's
 * answer counts only while the question is under the number that it was asked
 * with: with a STOP, and when it is taken back, that number is void, whatever
 * the arbiter made of it; its book is put right by the next report, or by the
 * LOWERs that follow the CANCEL and say what is held there.
 *
 * An owner may be several threads.  If one lowers what another one asks for,
 * the question is taken back and asked anew behind it, so that both books see
 * one order.
 *
 * What finds no room in told[] makes the whole report be given again, in which
 * time nobody is granted anything; so nothing here ever waits for room.
 *
 * This file must never wait, act or allocate: it is pure, see locks.h.
 */
#include "machine.h"

void pal_locks_init(struct pal_locks *p)
{
	pal_ranges_clear(&p->held, p->held_places, PAL_HELD_ROOM);
	pal_arbiter_clear(p, 0);
}

/* All that was said to the arbiter is void: it will be told anew. */
static void pal_tell_all(struct pal_locks *p)
{
	struct pal_ask *ask;

	p->stage = PAL_STAGE_BEGIN;
	p->told_count = 0;
	for (ask = p->first; ask; ask = ask->next)
		if (ask->state == PAL_ASK_SENT)
			ask->state = PAL_ASK_NEW;
}

void pal_locks_stop(struct pal_locks *p)
{
	p->running = false;
	pal_tell_all(p);
}

void pal_locks_start(struct pal_locks *p, u8 arbiter)
{
	p->running = true;
	p->arbiter = arbiter;
	pal_tell_all(p);
}

static void pal_tell_line(struct pal_locks *p, u8 word, u64 id,
			  const struct pal_range *range)
{
	struct pal_line *line;

	/* What the report will say, or says already, is no news. */
	if (!p->running || p->stage == PAL_STAGE_BEGIN)
		return;
	if (p->told_count >= PAL_TOLD_MAX) {
		pal_tell_all(p);
		return;
	}
	line = &p->told[(p->told_first + p->told_count++) % PAL_TOLD_MAX];
	*line = (struct pal_line) { .word = word, .id = id };
	if (!range)
		return;
	line->hold = range->hold;
	line->pid = range->pid;
	line->inode = range->inode;
	line->owner = range->owner;
	line->start = range->start;
	line->end = range->end;
}

/* Says of each of these bytes how it is held. */
static void pal_tell_range(struct pal_locks *p, const struct pal_range *want)
{
	struct pal_range rest = *want;

	for (;;) {
		const struct pal_range *e = pal_ranges_first(&p->held, &rest);
		struct pal_range part = rest;

		part.hold = PAL_HOLD_NONE;
		if (!e) {
			pal_tell_line(p, PAL_LINE_LOWER, 0, &part);
			return;
		}
		if (e->start > rest.start) {
			part.end = e->start - 1;
			pal_tell_line(p, PAL_LINE_LOWER, 0, &part);
		}
		part = *e;
		part.start = max(e->start, rest.start);
		part.end = min(e->end, rest.end);
		pal_tell_line(p, PAL_LINE_LOWER, 0, &part);
		if (e->end >= rest.end)
			return;
		rest.start = e->end + 1;
	}
}

/* Takes a question back: it may have been granted meanwhile. */
static void pal_withdraw(struct pal_locks *p, struct pal_ask *ask)
{
	if (ask->state != PAL_ASK_SENT)
		return;
	ask->state = PAL_ASK_NEW;
	pal_tell_line(p, PAL_LINE_CANCEL, ask->id, NULL);
	if (ask->word == PAL_LINE_ASK)
		pal_tell_range(p, &ask->want);
}

static void pal_unlink(struct pal_locks *p, struct pal_ask *ask)
{
	if (ask->last)
		ask->last->next = ask->next;
	else
		p->first = ask->next;
	if (ask->next)
		ask->next->last = ask->last;
	else
		p->last = ask->last;
}

static void pal_link(struct pal_locks *p, struct pal_ask *ask)
{
	ask->next = NULL;
	ask->last = p->last;
	if (p->last)
		p->last->next = ask;
	else
		p->first = ask;
	p->last = ask;
}

/*
 * Something else came first in the book.  If it lowered anything, what the same
 * owner asks for is asked behind it; and a process that has not noted yet that
 * it was granted asks again.
 */
static void pal_overtake(struct pal_locks *p, const struct pal_range *want,
			 bool lowered)
{
	struct pal_ask *ask;

	for (ask = p->first; ask; ask = ask->next) {
		if (ask->word != PAL_LINE_ASK ||
		    !pal_ranges_same(&ask->want, want))
			continue;
		if (lowered)
			pal_withdraw(p, ask);
		if (ask->state == PAL_ASK_DONE &&
		    pal_ranges_overlap(&ask->want, want))
			ask->again = true;
	}
}

/* An owner has less, or the same, from now on. */
static bool pal_lower(struct pal_locks *p, const struct pal_range *want)
{
	if (!pal_ranges_exceed(&p->held, want))
		return true;
	/* The report's walk would pass by what moves to another place. */
	if (p->stage == PAL_STAGE_HELD &&
	    (want->hold != PAL_HOLD_NONE ||
	     pal_ranges_growth(&p->held, want) > 0))
		pal_tell_all(p);
	pal_overtake(p, want, true);
	if (!pal_ranges_set(&p->held, want, PAL_HELD_ROOM)) {
		p->counters.blurred++;
		return false;
	}
	pal_tell_range(p, want);
	return true;
}

/**
 * pal_locks_fit - whether a lock or unlock leaves few enough ranges
 * @p: the volume's locks
 * @want: what would be set
 */
bool pal_locks_fit(const struct pal_locks *p, const struct pal_range *want)
{
	int growth = pal_ranges_growth(&p->held, want);

	return growth <= 0 || p->held.count + growth <= PAL_HELD_MAX;
}

/**
 * pal_locks_lower - an owner unlocks, or lowers, bytes
 * @m: the machine
 * @group: the volume's
 * @now: the time
 * @want: which bytes, and how they are held now
 *
 * Waits for nobody.
 *
 * Return: false, and nothing happened, if there is no room for it.
 */
bool pal_locks_lower(struct pal_machine *m, struct pal_group *group, u64 now,
		     const struct pal_range *want)
{
	bool done = pal_lower(group->locks, want);

	pal_relay_pump(m, now, group);
	return done;
}

/**
 * pal_locks_ask - a process asks; pal_port_answered() tells the end
 * @m: the machine
 * @group: the volume's
 * @now: the time
 * @ask: the question, which stays in the list until pal_locks_forget()
 */
void pal_locks_ask(struct pal_machine *m, struct pal_group *group, u64 now,
		   struct pal_ask *ask)
{
	struct pal_locks *p = group->locks;

	p->counters.asked++;
	ask->state = PAL_ASK_NEW;
	ask->again = false;
	pal_link(p, ask);
	if (ask->word == PAL_LINE_ASK && !pal_locks_fit(p, &ask->want)) {
		p->counters.refused++;
		ask->answer = PAL_ANSWER_FULL;
		ask->state = PAL_ASK_DONE;
		pal_port_answered(ask);
		return;
	}
	/* Less than it has, or as much, nobody has to grant. */
	if (ask->word == PAL_LINE_ASK &&
	    pal_ranges_cover(&p->held, &ask->want)) {
		p->counters.at_once++;
		ask->answer = pal_lower(p, &ask->want) ? PAL_ANSWER_GRANTED :
							 PAL_ANSWER_FULL;
		ask->state = PAL_ASK_DONE;
		pal_port_answered(ask);
	}
	pal_relay_pump(m, now, group);
}

/**
 * pal_locks_forget - a question is over, answered or not
 * @m: the machine
 * @group: the volume's
 * @now: the time
 * @ask: the question
 */
void pal_locks_forget(struct pal_machine *m, struct pal_group *group, u64 now,
		      struct pal_ask *ask)
{
	struct pal_locks *p = group->locks;
	bool sent = ask->state == PAL_ASK_SENT;

	pal_withdraw(p, ask);
	pal_unlink(p, ask);
	/* What was told of these bytes may have lowered what others asked. */
	if (sent && ask->word == PAL_LINE_ASK)
		pal_overtake(p, &ask->want, true);
	pal_relay_pump(m, now, group);
}

/* The arbiter has raised its book; now this one is raised. */
static void pal_granted(struct pal_locks *p, struct pal_ask *ask)
{
	/* A part of it may be held for writing, and is now for reading. */
	bool lowered = pal_ranges_exceed(&p->held, &ask->want);
	bool fits = pal_ranges_set(&p->held, &ask->want, PAL_HELD_ROOM);

	pal_overtake(p, &ask->want, lowered || !fits);
	ask->again = false;
	if (lowered || !fits)
		pal_tell_range(p, &ask->want);
	if (fits) {
		p->counters.granted++;
	} else {
		p->counters.blurred++;
		ask->answer = PAL_ANSWER_FULL;
	}
}

/**
 * pal_locks_take - the arbiter answers
 * @p: the volume's locks
 * @line: what it says
 */
void pal_locks_take(struct pal_locks *p, const struct pal_line *line)
{
	struct pal_ask *ask;

	for (ask = p->first; ask; ask = ask->next)
		if (ask->state == PAL_ASK_SENT && ask->id == line->id)
			break;
	/* Taken back meanwhile. */
	if (!ask)
		return;
	ask->answer = line->answer;
	/* Not a question any more that a lowering would take back. */
	ask->state = PAL_ASK_DONE;
	if (ask->word == PAL_LINE_FIND) {
		ask->want.hold = line->hold;
		ask->want.node = line->flag;
		ask->want.pid = line->pid;
		ask->want.start = line->start;
		ask->want.end = line->end;
	} else if (line->answer == PAL_ANSWER_GRANTED) {
		pal_granted(p, ask);
	} else {
		p->counters.refused++;
	}
	pal_port_answered(ask);
}

static u32 pal_gather_report(struct pal_locks *p, struct pal_line *lines,
			     u32 most)
{
	u32 count = 0;

	if (p->stage == PAL_STAGE_BEGIN) {
		lines[count++] = (struct pal_line) { .word = PAL_LINE_BEGIN };
		p->stage = PAL_STAGE_HELD;
		p->cursor = 0;
		p->reported = 0;
		p->counters.reports++;
	}
	for (; count < most && p->cursor < p->held.fresh; p->cursor++) {
		const struct pal_range *range = &p->held_places[p->cursor];

		if (range->hold == PAL_HOLD_NONE)
			continue;
		lines[count++] = (struct pal_line) {
			.word = PAL_LINE_HELD, .hold = range->hold,
			.pid = range->pid, .inode = range->inode,
			.owner = range->owner, .start = range->start,
			.end = range->end,
		};
		p->reported++;
	}
	if (count < most) {
		lines[count++] = (struct pal_line) {
			.word = PAL_LINE_END, .id = p->reported,
		};
		p->stage = PAL_STAGE_DONE;
	}
	return count;
}

static void pal_gather_ask(struct pal_machine *m, struct pal_locks *p,
			   struct pal_ask *ask, struct pal_line *line)
{
	ask->id = (u64)m->node << 56 | ++p->ids;
	ask->state = PAL_ASK_SENT;
	*line = (struct pal_line) {
		.word = ask->word, .hold = ask->want.hold, .flag = ask->flag,
		.pid = ask->want.pid, .id = ask->id, .inode = ask->want.inode,
		.owner = ask->want.owner, .start = ask->want.start,
		.end = ask->want.end,
	};
}

/**
 * pal_locks_gather - what the arbiter is to be told next
 * @m: the machine
 * @p: the volume's locks
 * @lines: into these
 * @most: so many
 */
u32 pal_locks_gather(struct pal_machine *m, struct pal_locks *p,
		     struct pal_line *lines, u32 most)
{
	struct pal_ask *ask;
	u32 count = 0;

	if (!p->running)
		return 0;
	if (p->stage != PAL_STAGE_DONE)
		return pal_gather_report(p, lines, most);
	for (; count < most && p->told_count; p->told_count--) {
		lines[count++] = p->told[p->told_first];
		p->told_first = (p->told_first + 1) % PAL_TOLD_MAX;
	}
	for (ask = p->first; count < most && ask; ask = ask->next)
		if (ask->state == PAL_ASK_NEW)
			pal_gather_ask(m, p, ask, &lines[count++]);
	return count;
}
