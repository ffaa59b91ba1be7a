// SPDX-License-Identifier: GPL-2.0-only
/*
 * group - what this node does about each of its volumes
 *
 *          mount, JOIN        STOP(above the last)
 *   Closed ------> Joining -----------------> Stopping --(worker)--> Stopped
 *     ^               |                          ^                      |
 *     |  LEAVE, after |                          | STOP(above the last) | START
 *     |  we asked     |                          |                      v
 *     +---------------+-------- Running <--(worker)------------ Starting
 *
 * A step is answered when the worker has done it, and answered again when it
 * is told again: STOP counts only above the last generation (SAFETY G5).  START
 * is start.c's.
 *
 * This file must never wait, act or allocate: it is pure, see machine.h.
 */
#include "machine.h"

static unsigned long long pal_ull(u64 value)
{
	return value;
}

struct pal_group *pal_group_find(struct pal_machine *m, const u8 *volume)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++) {
		struct pal_group *group = &m->groups[at];

		if (group->used &&
		    !memcmp(group->volume, volume, PAL_LABEL_BYTES))
			return group;
	}
	return NULL;
}

static bool pal_is_nobody(const u8 *label)
{
	int at;

	for (at = 0; at < PAL_LABEL_BYTES; at++)
		if (label[at])
			return false;
	return true;
}

/* The row of a volume; what is closed makes room for another. */
static struct pal_group *pal_group_place(struct pal_machine *m,
					 const u8 *volume)
{
	struct pal_group *group = pal_group_find(m, volume);
	struct pal_group *room = NULL;
	int at;

	if (group)
		return group;
	for (at = 0; at < PAL_GROUPS_MAX; at++) {
		group = &m->groups[at];
		if (!group->used) {
			room = group;
			break;
		}
		if (!room && group->phase == PAL_IS_CLOSED &&
		    group->job == PAL_JOB_NONE)
			room = group;
	}
	if (!room)
		return NULL;
	memset(room, 0, sizeof(*room));
	room->used = true;
	room->ask_at = PAL_NEVER;
	memcpy(room->volume, volume, PAL_LABEL_BYTES);
	return room;
}

/**
 * pal_group_open - a mount wants a volume
 * @m: the machine
 * @volume: its label
 * @cluster: its cluster's name, zero for the only one
 *
 * Return: the row, or -1: no room, or it is open.
 */
int pal_group_open(struct pal_machine *m, const u8 *volume, const u8 *cluster)
{
	struct pal_group *group = pal_group_place(m, volume);

	if (!group || group->wants_in || group->job != PAL_JOB_NONE)
		return -1;
	/* Stopped without a lockspace: LEAVE is still asked for. */
	if (group->phase != PAL_IS_CLOSED)
		return -1;
	group->wants_in = true;
	group->ready = false;
	group->asked = false;
	group->recovered = false;
	group->replayed = false;
	group->ran = 0;
	group->known_count = 0;
	group->phase = PAL_IS_JOINING;
	memcpy(group->cluster, cluster, PAL_LABEL_BYTES);
	pal_port_event("GROUP_JOIN volume=%s",
		       pal_label(volume));
	return group - m->groups;
}

void pal_group_ready(struct pal_machine *m, u64 now, int at)
{
	m->groups[at].ready = true;
	m->groups[at].ask_at = now;
}

/**
 * pal_group_close - umount, or a mount that failed, wants out
 * @m: the machine
 * @now: the time
 * @at: the row
 */
void pal_group_close(struct pal_machine *m, u64 now, int at)
{
	struct pal_group *group = &m->groups[at];

	group->wants_in = false;
	group->ask_at = now;
	if (group->phase != PAL_IS_JOINING || group->asked)
		return;
	/* Nobody knows of it. */
	group->phase = PAL_IS_CLOSED;
	group->ready = false;
	group->ask_at = PAL_NEVER;
}

void pal_say_step(struct pal_machine *m, u8 kind,
		  const struct pal_group *group, u64 generation)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	put_unaligned_le64(generation, body + PAL_GENERATION);
	memcpy(body + PAL_VOLUME, group->volume, PAL_LABEL_BYTES);
	if (m->session)
		pal_say(m, kind, body);
}

void pal_say_running(struct pal_machine *m, const struct pal_group *group)
{
	pal_say_step(m, PAL_STARTED, group, group->generation);
	if (group->recovered)
		pal_say_step(m, PAL_RECOVERED, group, group->generation);
}

/* The kind of what is to be asked, and asked again; 0: nothing. */
static u8 pal_question(const struct pal_group *group)
{
	if (!group->used || group->phase == PAL_IS_CLOSED)
		return 0;
	if (!group->wants_in)
		return PAL_LEAVE;
	/* Until the first START: a cold start may have forgotten the JOIN. */
	return group->ready && !group->ran ? PAL_JOIN : 0;
}

void pal_groups_on_time(struct pal_machine *m, u64 now)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++) {
		struct pal_group *group = &m->groups[at];
		u8 body[PAL_BODY_BYTES] = { 0 };
		u8 kind = pal_question(group);

		if (!kind || now < group->ask_at)
			continue;
		group->ask_at = now + PAL_ASK_US;
		memcpy(body + PAL_VOLUME, group->volume, PAL_LABEL_BYTES);
		if (kind == PAL_JOIN) {
			group->asked = true;
			memcpy(body + PAL_JOIN_CLUSTER, group->cluster,
			       PAL_LABEL_BYTES);
		}
		pal_say(m, kind, body);
	}
}

u64 pal_groups_deadline(const struct pal_machine *m)
{
	u64 due = PAL_NEVER;
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		if (pal_question(&m->groups[at]))
			due = min(due, m->groups[at].ask_at);
	return due;
}

/* A new appliance may know nothing of what was asked before. */
void pal_groups_on_session(struct pal_machine *m, u64 now)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		m->groups[at].ask_at = now;
}

/* A JOIN is the only request of a shim that can be a bad one. */
void pal_groups_refused(struct pal_machine *m)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++) {
		struct pal_group *group = &m->groups[at];

		if (!group->used || group->phase != PAL_IS_JOINING ||
		    !group->asked || group->job != PAL_JOB_NONE)
			continue;
		group->asked = false;
		group->job = PAL_JOB_REFUSED;
		pal_port_work();
		return;
	}
}

/**
 * pal_group_refused - the mount that was refused has been told
 * @m: the machine
 * @at: the row
 */
void pal_group_refused(struct pal_machine *m, int at)
{
	struct pal_group *group = &m->groups[at];

	group->phase = PAL_IS_CLOSED;
	group->job = PAL_JOB_NONE;
	group->wants_in = false;
	group->ready = false;
	group->ask_at = PAL_NEVER;
}

/* A volume that has no lockspace here is stopped, so it may be said of it. */
static bool pal_on_stop(struct pal_machine *m, u64 now, const u8 *volume,
			u64 generation)
{
	struct pal_group *group = pal_group_place(m, volume);
	bool had_lockspace;

	if (!group)
		return false;
	if (generation == group->generation &&
	    group->phase == PAL_IS_STOPPED) {
		pal_say_step(m, PAL_STOPPED, group, generation);
		return true;
	}
	if (generation == group->generation && group->phase == PAL_IS_STOPPING)
		return true;
	/* It was let go while it was to stop. */
	if (generation == group->generation && group->phase == PAL_IS_CLOSED) {
		pal_say_step(m, PAL_STOPPED, group, generation);
		return true;
	}
	if (generation <= group->generation)
		return false;
	had_lockspace = group->ready;
	group->generation = generation;
	group->have = 0;
	group->parts = 0;
	group->recovered = false;
	group->replayed = false;
	group->ask_at = now;
	m->counters.stops++;
	pal_relay_stop(m, now, group);
	pal_port_event("GROUP_STOP volume=%s generation=%llu",
		       pal_label(volume), pal_ull(generation));
	if (had_lockspace) {
		group->phase = PAL_IS_STOPPING;
		/* Out, which was told before, is not undone. */
		if (group->job != PAL_JOB_LEFT)
			group->job = PAL_JOB_STOP;
		pal_port_work();
		return true;
	}
	/* A mount that has no lockspace yet goes on joining with it. */
	if (group->phase != PAL_IS_JOINING)
		group->phase = PAL_IS_STOPPED;
	pal_say_step(m, PAL_STOPPED, group, generation);
	return true;
}

/**
 * pal_group_stopped - the worker has stopped the lockspace
 * @m: the machine
 * @at: the row
 * @generation: what it was stopped for
 */
void pal_group_stopped(struct pal_machine *m, int at, u64 generation)
{
	struct pal_group *group = &m->groups[at];

	if (group->phase != PAL_IS_STOPPING || group->generation != generation)
		return;
	group->phase = PAL_IS_STOPPED;
	pal_say_step(m, PAL_STOPPED, group, generation);
}

/**
 * pal_group_recovered - the DLM has recovered
 * @m: the machine
 * @at: the row
 * @generation: with which START
 */
void pal_group_recovered(struct pal_machine *m, int at, u64 generation)
{
	struct pal_group *group = &m->groups[at];

	if (group->phase != PAL_IS_RUNNING || group->generation != generation ||
	    group->recovered)
		return;
	group->recovered = true;
	group->ran_recovered = true;
	pal_port_event("GROUP_RECOVERED volume=%s generation=%llu",
		       pal_label(group->volume), pal_ull(generation));
	pal_say_step(m, PAL_RECOVERED, group, generation);
}

/**
 * pal_group_replayed - the journals of the dead are replayed, too
 * @m: the machine
 * @at: the row
 * @generation: with which START
 */
void pal_group_replayed(struct pal_machine *m, int at, u64 generation)
{
	struct pal_group *group = &m->groups[at];

	if (!group->recovered || group->generation != generation)
		return;
	group->replayed = true;
	pal_takeover_answer(m, group->volume);
}

/* The appliance says that this node is not in the group. */
static bool pal_on_left(struct pal_machine *m, const u8 *volume)
{
	struct pal_group *group = pal_group_find(m, volume);

	if (!group || group->phase == PAL_IS_CLOSED || group->wants_in)
		return false;
	if (!group->ready) {
		pal_group_left(m, group - m->groups);
		return true;
	}
	group->job = PAL_JOB_LEFT;
	pal_port_work();
	return true;
}

/**
 * pal_group_left - out of the group, and the lockspace is let go
 * @m: the machine
 * @at: the row
 */
void pal_group_left(struct pal_machine *m, int at)
{
	struct pal_group *group = &m->groups[at];

	group->phase = PAL_IS_CLOSED;
	group->job = PAL_JOB_NONE;
	group->wants_in = false;
	group->ready = false;
	group->known_count = 0;
	group->ask_at = PAL_NEVER;
	pal_port_event("GROUP_LEFT volume=%s",
		       pal_label(group->volume));
	pal_takeover_answer(m, group->volume);
}

bool pal_group_on_frame(struct pal_machine *m, u64 now,
			const struct pal_frame *frame)
{
	const u8 *volume = frame->body + PAL_VOLUME;

	if (pal_is_nobody(volume))
		return false;
	switch (frame->kind) {
	case PAL_STOP:
		return pal_on_stop(m, now, volume,
				   pal_u64(frame->body + PAL_GENERATION));
	case PAL_START:
		return pal_on_start(m, frame);
	default:
		return pal_on_left(m, volume);
	}
}
