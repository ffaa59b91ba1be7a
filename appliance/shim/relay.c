// SPDX-License-Identifier: GPL-2.0-only
/*
 * relay - between what locks say and the messages that carry it
 *
 * A message is of one volume and one generation; one of another generation is
 * void.  It may come before this node's own START: all of the set have said
 * STOPPED before anybody is started, so the generation is known here.
 *
 * Who is the arbiter itself speaks to itself without messages.
 *
 * This file must never wait, act or allocate: it is pure, see machine.h.
 */
#include "machine.h"

static void pal_line_emit(const struct pal_line *line, u8 *at)
{
	at[PAL_LINE_WORD] = line->word;
	at[PAL_LINE_HOLD] = line->hold;
	at[PAL_LINE_FLAG] = line->flag;
	at[PAL_LINE_RESULT] = line->answer;
	put_unaligned_le32(line->pid, at + PAL_LINE_PID);
	put_unaligned_le64(line->id, at + PAL_LINE_ID);
	put_unaligned_le64(line->inode, at + PAL_LINE_INODE);
	put_unaligned_le64(line->owner, at + PAL_LINE_OWNER);
	put_unaligned_le64(line->start, at + PAL_LINE_START);
	put_unaligned_le64(line->end, at + PAL_LINE_LAST);
}

static struct pal_line pal_line_parse(const u8 *at)
{
	return (struct pal_line) {
		.word = at[PAL_LINE_WORD], .hold = at[PAL_LINE_HOLD],
		.flag = at[PAL_LINE_FLAG], .answer = at[PAL_LINE_RESULT],
		.pid = pal_u32(at + PAL_LINE_PID),
		.id = pal_u64(at + PAL_LINE_ID),
		.inode = pal_u64(at + PAL_LINE_INODE),
		.owner = pal_u64(at + PAL_LINE_OWNER),
		.start = pal_u64(at + PAL_LINE_START),
		.end = pal_u64(at + PAL_LINE_LAST),
	};
}

static void pal_relay_post(struct pal_machine *m, u64 now,
			   const struct pal_group *group, u8 to,
			   const struct pal_line *lines, u32 count)
{
	u8 *bytes = pal_mail_place(m, to);
	u32 at;

	memset(bytes, 0, PAL_MAIL_HEAD);
	bytes[PAL_MAIL_SERVICE] = PAL_MAIL_LOCKS;
	bytes[PAL_MAIL_COUNT] = count;
	put_unaligned_le64(group->generation, bytes + PAL_MAIL_GENERATION);
	memcpy(bytes + PAL_MAIL_VOLUME, group->volume, PAL_LABEL_BYTES);
	for (at = 0; at < count; at++)
		pal_line_emit(&lines[at],
			      bytes + PAL_MAIL_HEAD + at * PAL_LINE_BYTES);
	pal_mail_post(m, now, to, PAL_MAIL_HEAD + count * PAL_LINE_BYTES);
}

/* The holder's lines; whether any left. */
static bool pal_relay_ask(struct pal_machine *m, u64 now,
			  struct pal_group *group)
{
	struct pal_locks *p = group->locks;
	struct pal_line lines[PAL_LINES_ONCE];
	bool own = p->arbiter == m->node;
	u32 count, at;

	if (!p->running)
		return false;
	if (own ? !pal_arbiter_has_room(p, PAL_LINES_ONCE) :
		  !pal_mail_has_room(m, p->arbiter))
		return false;
	count = pal_locks_gather(m, p, lines, PAL_LINES_ONCE);
	if (!count)
		return false;
	if (!own)
		pal_relay_post(m, now, group, p->arbiter, lines, count);
	for (at = 0; own && at < count; at++)
		pal_arbiter_take(p, m->node, m->incarnation, &lines[at]);
	return true;
}

/* Some node's answers; whether any left. */
static bool pal_relay_answer(struct pal_machine *m, u64 now,
			     struct pal_group *group)
{
	struct pal_locks *p = group->locks;
	struct pal_line lines[PAL_LINES_ONCE];
	u32 count, at, node;
	bool any = false;

	for (node = 1; node < 256 && p->a.answered.first; node++) {
		bool own = node == m->node;

		if (!p->a.report[node].reporter ||
		    (!own && !pal_mail_has_room(m, node)))
			continue;
		count = pal_arbiter_gather(p, node, lines, PAL_LINES_ONCE);
		any |= count > 0;
		if (count && !own)
			pal_relay_post(m, now, group, node, lines, count);
		for (at = 0; own && at < count; at++)
			pal_locks_take(p, &lines[at]);
	}
	return any;
}

/**
 * pal_relay_pump - all leaves that can
 * @m: the machine
 * @now: the time
 * @group: of this volume
 */
void pal_relay_pump(struct pal_machine *m, u64 now, struct pal_group *group)
{
	bool more;

	if (!group->locks || m->over)
		return;
	/* Each turn spends lines, or room in a window: it ends. */
	do {
		more = pal_relay_ask(m, now, group);
		more |= pal_relay_answer(m, now, group);
	} while (more);
}

void pal_relay_pump_all(struct pal_machine *m, u64 now)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		if (m->groups[at].used)
			pal_relay_pump(m, now, &m->groups[at]);
}

/* A message of this volume and generation. */
static bool pal_relay_read(struct pal_machine *m, struct pal_group *group,
			   u8 from, u64 incarnation, const u8 *bytes,
			   u32 count)
{
	struct pal_locks *p = group->locks;
	u32 at, questions = 0;

	/* A STOP that came before the volume was mounted. */
	if (p->generation != group->generation)
		pal_arbiter_clear(p, group->generation);
	for (at = 0; at < count; at++) {
		u8 word = bytes[at * PAL_LINE_BYTES + PAL_LINE_WORD];

		questions += word == PAL_LINE_ASK || word == PAL_LINE_FIND;
	}
	/* It comes again when there is room. */
	if (!pal_arbiter_has_room(p, questions))
		return false;
	for (at = 0; at < count; at++) {
		struct pal_line line = pal_line_parse(bytes +
						      at * PAL_LINE_BYTES);

		if (line.word == PAL_LINE_ANSWER && p->running &&
		    from == p->arbiter)
			pal_locks_take(p, &line);
		else if (line.word != PAL_LINE_ANSWER &&
			 (!p->running || p->arbiter == m->node))
			pal_arbiter_take(p, from, incarnation, &line);
		else
			p->counters.strange++;
	}
	return true;
}

/**
 * pal_relay_take - a message has come
 * @m: the machine
 * @now: the time
 * @from: who says so
 * @incarnation: of it
 * @bytes: the message; nothing in it is trusted
 * @length: of it
 *
 * Return: false if it cannot be taken now.
 */
bool pal_relay_take(struct pal_machine *m, u64 now, u8 from, u64 incarnation,
		    const u8 *bytes, u32 length)
{
	struct pal_group *group;

	if (length < PAL_MAIL_HEAD ||
	    bytes[PAL_MAIL_SERVICE] != PAL_MAIL_LOCKS ||
	    bytes[PAL_MAIL_COUNT] > PAL_LINES_MAX || !incarnation ||
	    length != PAL_MAIL_HEAD + bytes[PAL_MAIL_COUNT] * PAL_LINE_BYTES) {
		m->counters.dropped++;
		return true;
	}
	group = pal_group_find(m, bytes + PAL_MAIL_VOLUME);
	if (!group || !group->locks ||
	    pal_u64(bytes + PAL_MAIL_GENERATION) != group->generation) {
		m->counters.old_steps++;
		return true;
	}
	return pal_relay_read(m, group, from, incarnation,
			      bytes + PAL_MAIL_HEAD, bytes[PAL_MAIL_COUNT]);
}

static bool pal_relay_is_in(const struct pal_group *group, u8 node)
{
	u32 at;

	if (!group->used || !group->locks || !group->locks->running)
		return false;
	for (at = 0; at < group->known_count; at++)
		if (group->known[at].node == node &&
		    group->known[at].fate == PAL_FATE_MEMBER)
			return true;
	return false;
}

static void pal_relay_want(struct pal_machine *m, u64 now)
{
	int node, at;

	for (node = 1; node < 256; node++) {
		bool wanted = false;

		for (at = 0; at < PAL_GROUPS_MAX && node != m->node; at++)
			wanted |= pal_relay_is_in(&m->groups[at], node);
		pal_mail_want(m, now, node, wanted);
	}
}

/* A STOP above the last: what was said is void, nothing more is granted. */
void pal_relay_stop(struct pal_machine *m, u64 now, struct pal_group *group)
{
	if (!group->locks)
		return;
	pal_locks_stop(group->locks);
	pal_arbiter_clear(group->locks, group->generation);
	pal_relay_want(m, now);
}

/* It runs with known[]: the lowest number of the set grants. */
void pal_relay_start(struct pal_machine *m, u64 now, struct pal_group *group)
{
	struct pal_locks *p = group->locks;
	u8 arbiter = m->node;
	u32 at;

	if (!p)
		return;
	if (p->generation != group->generation)
		pal_arbiter_clear(p, group->generation);
	for (at = 0; at < group->known_count; at++)
		if (group->known[at].fate == PAL_FATE_MEMBER)
			arbiter = min(arbiter, group->known[at].node);
	pal_locks_start(p, arbiter);
	pal_arbiter_start(p, group);
	pal_relay_want(m, now);
	pal_relay_pump(m, now, group);
}

/* Umount, or a mount that failed: nobody asks any more. */
void pal_relay_close(struct pal_machine *m, u64 now, struct pal_group *group)
{
	if (!group->locks)
		return;
	group->locks->running = false;
	group->locks = NULL;
	pal_relay_want(m, now);
}
