// SPDX-License-Identifier: GPL-2.0-only
/*
 * takeover - what was given to this node
 *
 * A recovery is done, and TAKEN is said, when the group runs with a START that
 * tells the death, its DLM has recovered and the journal is replayed; who does
 * not have the volume open cannot do it, and says FAILED.  A named service is
 * user space's: it is taken when a program here may run it (parameter
 * `services`), else FAILED.  A token is answered again as it was answered;
 * lower ones than were seen are ignored (SAFETY I1).
 *
 * This file must never wait, act or allocate: it is pure, see machine.h.
 */
#include "machine.h"

static void pal_read_given(struct pal_given *given, const u8 *body)
{
	given->service = body[PAL_SERVICE];
	given->dead = body[PAL_NODE];
	given->incarnation = pal_u64(body + PAL_INCARNATION);
	given->token = pal_u64(body + PAL_TOKEN);
	memcpy(given->label, body + PAL_LABEL, PAL_LABEL_BYTES);
}

/* A service has one owner whoever had it; a recovery is of one incarnation. */
static bool pal_is_same(const struct pal_given *one,
			const struct pal_given *other)
{
	if (one->service != other->service ||
	    memcmp(one->label, other->label, PAL_LABEL_BYTES))
		return false;
	return one->service == PAL_SERVICE_NAMED ||
	       (one->dead == other->dead &&
		one->incarnation == other->incarnation);
}

static bool pal_is_over(const struct pal_takeover *held)
{
	return held->given.service == PAL_SERVICE_RECOVERY &&
	       held->progress >= PAL_SAID_TAKEN;
}

/* The row of what is given; NULL: a lower token, or no room. */
static struct pal_takeover *pal_hold(struct pal_machine *m,
				     const struct pal_given *given)
{
	struct pal_takeover *room = NULL;
	int at;

	for (at = 0; at < PAL_TAKEOVERS_MAX; at++) {
		struct pal_takeover *held = &m->takeovers[at];

		if (held->progress == PAL_FREE || pal_is_over(held)) {
			/* The oldest that is over goes first. */
			if (!room || (room->progress != PAL_FREE &&
				      (held->progress == PAL_FREE ||
				       held->given.token < room->given.token)))
				room = held;
		}
		if (held->progress == PAL_FREE ||
		    !pal_is_same(&held->given, given))
			continue;
		if (given->token < held->given.token)
			return NULL;
		if (given->token > held->given.token) {
			held->given = *given;
			held->progress = PAL_NEW;
		}
		return held;
	}
	if (room) {
		room->given = *given;
		room->progress = PAL_NEW;
	}
	return room;
}

static void pal_gift_event(const char *word, const struct pal_given *given)
{
	pal_port_event("%s what=%s:%s dead=%u incarnation=%016llx token=%llu",
		       word,
		       given->service == PAL_SERVICE_NAMED ? "service" :
							     "recovery",
		       pal_label(given->label), given->dead,
		       (unsigned long long)given->incarnation,
		       (unsigned long long)given->token);
}

static void pal_answer(struct pal_machine *m, struct pal_takeover *held,
		       enum pal_progress answer)
{
	const struct pal_given *given = &held->given;
	u8 body[PAL_BODY_BYTES] = { 0 };
	bool taken = answer == PAL_SAID_TAKEN;

	if (held->progress != answer) {
		held->progress = answer;
		pal_gift_event(taken ? "TAKEN" : "FAILED", given);
	}
	body[PAL_NODE] = given->dead;
	body[PAL_SERVICE] = given->service;
	put_unaligned_le64(given->incarnation, body + PAL_INCARNATION);
	put_unaligned_le64(given->token, body + PAL_TOKEN);
	memcpy(body + PAL_LABEL, given->label, PAL_LABEL_BYTES);
	if (m->session)
		pal_say(m, taken ? PAL_TAKEN : PAL_FAILED, body);
}

/* Whether the START that ran last tells of this death. */
bool pal_is_told(const struct pal_group *group, const struct pal_given *given)
{
	u32 at;

	for (at = 0; at < group->known_count; at++)
		if (group->known[at].node == given->dead &&
		    group->known[at].incarnation == given->incarnation &&
		    group->known[at].fate == PAL_FATE_DEAD)
			return true;
	return false;
}

/* What is to be said now; PAL_WAITS: nothing yet. */
static enum pal_progress pal_answer_for(struct pal_machine *m,
					const struct pal_given *given)
{
	const struct pal_group *group;

	if (given->service == PAL_SERVICE_NAMED)
		return pal_port_service(given) ? PAL_SAID_TAKEN :
						 PAL_SAID_FAILED;
	group = pal_group_find(m, given->label);
	if (!group || group->phase == PAL_IS_CLOSED || !group->ready)
		return PAL_SAID_FAILED;
	if (group->phase == PAL_IS_RUNNING && group->replayed &&
	    pal_is_told(group, given))
		return PAL_SAID_TAKEN;
	return PAL_WAITS;
}

static void pal_consider(struct pal_machine *m, struct pal_takeover *held)
{
	enum pal_progress answer = held->progress;

	if (answer != PAL_SAID_TAKEN && answer != PAL_SAID_FAILED)
		answer = pal_answer_for(m, &held->given);
	if (answer == PAL_WAITS)
		held->progress = PAL_WAITS;
	else
		pal_answer(m, held, answer);
}

bool pal_takeover_on_frame(struct pal_machine *m,
			   const struct pal_frame *frame)
{
	struct pal_given given = { 0 };
	struct pal_takeover *held;

	pal_read_given(&given, frame->body);
	if (given.service != PAL_SERVICE_RECOVERY &&
	    given.service != PAL_SERVICE_NAMED)
		return false;
	held = pal_hold(m, &given);
	if (!held)
		return false;
	if (held->progress == PAL_NEW)
		pal_gift_event("TAKEOVER", &given);
	pal_consider(m, held);
	return true;
}

/**
 * pal_takeover_answer - a step of a volume is done: who waited for it?
 * @m: the machine
 * @volume: its label
 */
void pal_takeover_answer(struct pal_machine *m, const u8 *volume)
{
	int at;

	for (at = 0; at < PAL_TAKEOVERS_MAX; at++) {
		struct pal_takeover *held = &m->takeovers[at];

		if (held->progress == PAL_WAITS &&
		    !memcmp(held->given.label, volume, PAL_LABEL_BYTES))
			pal_consider(m, held);
	}
}
