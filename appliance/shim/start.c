// SPDX-License-Identifier: GPL-2.0-only
/*
 * start - what a START means: the set that a volume is to run with
 *
 * START counts only with the generation that was stopped for (SAFETY G5), and
 * only when all its parts are here.  Who was in the set that runs must be in
 * the new one, or its fate must be told; nobody guesses that a node left (G2):
 * then this node resets itself.  It does so, too, when the others run without
 * it, since it may still use locks of the set before.
 *
 * This file must never wait, act or allocate: it is pure, see machine.h.
 */
#include "machine.h"

static bool pal_names(const struct pal_entry *entries, u32 count, u8 node,
		      u64 incarnation)
{
	u32 at;

	for (at = 0; at < count; at++)
		if (entries[at].node == node &&
		    entries[at].incarnation == incarnation)
			return true;
	return false;
}

static bool pal_contradicts(const struct pal_entry *entries, u32 count)
{
	u32 one, other;

	for (one = 0; one < count; one++)
		for (other = 0; other < one; other++) {
			const struct pal_entry *a = &entries[one];
			const struct pal_entry *b = &entries[other];

			if (a->node != b->node)
				continue;
			if (a->incarnation == b->incarnation ||
			    (a->fate == PAL_FATE_MEMBER &&
			     b->fate == PAL_FATE_MEMBER))
				return true;
		}
	return false;
}

/* Whether this node may run with the complete START (SAFETY G2). */
static bool pal_judge(struct pal_machine *m, struct pal_group *group)
{
	const struct pal_entry *next = group->next;
	u32 count = group->next_count;
	bool named = false;
	u32 at;

	if (pal_contradicts(next, count))
		return false;
	for (at = 0; at < count; at++)
		named |= next[at].node == m->node &&
			 next[at].incarnation == m->incarnation &&
			 next[at].fate == PAL_FATE_MEMBER;
	if (!named) {
		/* The others run without us, while we may use old locks. */
		if (group->known_count && group->wants_in)
			pal_reset(m, PAL_WHY_NOT_IN_SET);
		return false;
	}
	for (at = 0; at < group->known_count; at++) {
		const struct pal_entry *known = &group->known[at];

		if (known->fate == PAL_FATE_MEMBER &&
		    !pal_names(next, count, known->node, known->incarnation)) {
			pal_reset(m, PAL_WHY_FATE_MISSING);
			return false;
		}
	}
	return true;
}

/* Reads the entries of one part; false: one of them is unsound. */
static bool pal_collect(struct pal_group *group, u32 part, u32 parts,
			const struct pal_frame *frame)
{
	u32 count = frame->length / PAL_ENTRY_BYTES, at;
	struct pal_entry *into = group->next + part * PAL_PART_ENTRIES;

	if (frame->length % PAL_ENTRY_BYTES || count > PAL_PART_ENTRIES)
		return false;
	for (at = 0; at < count; at++) {
		const u8 *entry = frame->payload + at * PAL_ENTRY_BYTES;

		if (!entry[PAL_ENTRY_NODE] ||
		    entry[PAL_ENTRY_STATE] < PAL_FATE_MEMBER ||
		    entry[PAL_ENTRY_STATE] > PAL_FATE_NEVER_STARTED)
			return false;
	}
	/* Another number of parts is another START: what came is void. */
	if (group->parts != parts)
		group->have = 0;
	group->parts = parts;
	group->have |= 1u << part;
	group->part_count[part] = count;
	for (at = 0; at < count; at++) {
		const u8 *entry = frame->payload + at * PAL_ENTRY_BYTES;

		into[at].node = entry[PAL_ENTRY_NODE];
		into[at].fate = entry[PAL_ENTRY_STATE];
		into[at].incarnation = pal_u64(entry + PAL_ENTRY_INCARNATION);
	}
	return true;
}

/* Brings the parts together. */
static void pal_join_parts(struct pal_group *group)
{
	u32 part;

	group->next_count = 0;
	for (part = 0; part < group->parts; part++) {
		memmove(group->next + group->next_count,
			group->next + part * PAL_PART_ENTRIES,
			group->part_count[part] * sizeof(*group->next));
		group->next_count += group->part_count[part];
	}
	group->have = 0;
	group->parts = 0;
}

bool pal_on_start(struct pal_machine *m, const struct pal_frame *frame)
{
	const u8 *volume = frame->body + PAL_VOLUME;
	u64 generation = pal_u64(frame->body + PAL_GENERATION);
	u32 part = pal_u16(frame->body + PAL_PART);
	u32 parts = pal_u16(frame->body + PAL_PARTS);
	struct pal_group *group = pal_group_find(m, volume);

	if (!group || generation != group->generation || parts > PAL_PARTS_MAX ||
	    part >= parts)
		return false;
	if (group->phase == PAL_IS_RUNNING) {
		if (part + 1 == parts)
			pal_say_running(m, group);
		return true;
	}
	if (group->phase == PAL_IS_STARTING)
		return true;
	/* Without a lockspace nothing can run: LEAVE is being asked for. */
	if (group->phase != PAL_IS_STOPPED || !group->ready)
		return false;
	if (!pal_collect(group, part, parts, frame))
		return false;
	if (group->have != (1u << parts) - 1)
		return true;
	pal_join_parts(group);
	if (!pal_judge(m, group))
		return false;
	m->counters.starts++;
	group->phase = PAL_IS_STARTING;
	group->job = PAL_JOB_START;
	pal_port_work();
	return true;
}

/**
 * pal_group_started - the worker has started the lockspace with next[]
 * @m: the machine
 * @at: the row
 * @generation: which START
 */
void pal_group_started(struct pal_machine *m, int at, u64 generation)
{
	struct pal_group *group = &m->groups[at];

	if (group->phase != PAL_IS_STARTING || group->generation != generation)
		return;
	group->phase = PAL_IS_RUNNING;
	group->ran = generation;
	group->ran_recovered = false;
	group->known_count = group->next_count;
	memcpy(group->known, group->next,
	       group->next_count * sizeof(*group->next));
	pal_port_started(group);
	pal_say_running(m, group);
	pal_relay_start(m, m->clock, group);
}
