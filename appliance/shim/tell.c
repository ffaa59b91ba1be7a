// SPDX-License-Identifier: GPL-2.0-only
/*
 * tell - what this node knows of the time before, for a cold start
 *
 * After a WELCOME a node that served any cluster incarnation says what it was
 * told of other nodes, which volumes it has open and how far they are, and
 * what was given to it (SAFETY B4): REPORT, REPORT_GROUP, REPORT_SERVICE, and
 * only then the BEAT that opens the session.
 *
 * This file must never wait, act or allocate: it is pure, see machine.h.
 */
#include "machine.h"

static bool pal_is_open(const struct pal_group *group)
{
	return group->used && group->phase != PAL_IS_CLOSED &&
	       (group->ran || group->asked);
}

/* A recovery counts while the START that runs tells its death. */
static bool pal_is_mine(struct pal_machine *m,
			const struct pal_takeover *held)
{
	const struct pal_group *group;

	if (held->progress == PAL_FREE || held->progress == PAL_SAID_FAILED)
		return false;
	if (held->given.service == PAL_SERVICE_NAMED)
		return true;
	group = pal_group_find(m, held->given.label);
	return group && pal_is_open(group) && pal_is_told(group, &held->given);
}

static u64 pal_highest(const struct pal_machine *m)
{
	u64 highest = m->version;
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		highest = max(highest, m->groups[at].generation);
	for (at = 0; at < PAL_TAKEOVERS_MAX; at++)
		if (m->takeovers[at].progress != PAL_FREE)
			highest = max(highest, m->takeovers[at].given.token);
	return highest;
}

static void pal_put_known(u8 *at, u8 node, const struct pal_known *known)
{
	at[PAL_ENTRY_NODE] = node;
	at[PAL_ENTRY_STATE] = known->state;
	at[PAL_ENTRY_HOST] = known->host;
	at[PAL_ENTRY_CLASS] = known->class;
	put_unaligned_le64(known->incarnation, at + PAL_ENTRY_INCARNATION);
}

static void pal_tell_nodes(struct pal_machine *m, u8 volumes, u8 services)
{
	u8 body[PAL_BODY_BYTES] = { 0 };
	u32 total = 0, part = 0, in_part = 0, parts, n;

	for (n = 1; n < PAL_NODES_MAX; n++)
		total += m->known[n].state != PAL_STATE_UNKNOWN;
	parts = total ? DIV_ROUND_UP(total, PAL_PART_ENTRIES) : 1;
	body[PAL_NODE] = m->node;
	body[PAL_REPORT_PARTS] = parts;
	body[PAL_REPORT_TELLS] = 1;
	body[PAL_REPORT_VOLUMES] = volumes;
	body[PAL_REPORT_SERVICES] = services;
	put_unaligned_le64(pal_highest(m), body + PAL_VIEW_VERSION);
	for (n = 1; n < PAL_NODES_MAX; n++) {
		if (m->known[n].state == PAL_STATE_UNKNOWN)
			continue;
		pal_put_known(m->scratch + in_part * PAL_ENTRY_BYTES, n,
			      &m->known[n]);
		if (++in_part < PAL_PART_ENTRIES)
			continue;
		body[PAL_REPORT_PART] = part++;
		pal_say_more(m, PAL_REPORT, body, m->scratch,
			     in_part * PAL_ENTRY_BYTES);
		in_part = 0;
	}
	body[PAL_REPORT_PART] = part;
	if (part < parts)
		pal_say_more(m, PAL_REPORT, body, m->scratch,
			     in_part * PAL_ENTRY_BYTES);
}

static u8 pal_group_state(const struct pal_group *group)
{
	if (!group->ran)
		return PAL_GROUP_JOINED;
	return group->phase == PAL_IS_RUNNING ? PAL_GROUP_STARTED :
						PAL_GROUP_STOPPED;
}

static void pal_tell_group(struct pal_machine *m,
			   const struct pal_group *group, u8 which)
{
	u32 count = group->ran ? group->known_count : 0, told = 0, part = 0;
	u32 parts = count ? DIV_ROUND_UP(count, PAL_GROUP_ENTRIES) : 1;
	u8 body[PAL_BODY_BYTES] = { 0 };

	body[PAL_NODE] = m->node;
	body[PAL_WHICH] = which;
	body[PAL_GROUP_STATE] = pal_group_state(group);
	body[PAL_GROUP_FLAGS] = group->ran && group->ran_recovered ?
				PAL_GROUP_RECOVERED : 0;
	put_unaligned_le16(parts, body + PAL_PARTS);
	memcpy(body + PAL_JOIN_CLUSTER, group->cluster, PAL_LABEL_BYTES);
	memcpy(body + PAL_VOLUME, group->volume, PAL_LABEL_BYTES);
	put_unaligned_le64(group->generation, m->scratch);
	put_unaligned_le64(group->ran, m->scratch + 8);
	for (part = 0; part < parts; part++) {
		u32 here = min_t(u32, count - told, PAL_GROUP_ENTRIES), at;

		for (at = 0; at < here; at++, told++) {
			u8 *into = m->scratch + PAL_GROUP_HEAD +
				   at * PAL_ENTRY_BYTES;

			memset(into, 0, PAL_ENTRY_BYTES);
			into[PAL_ENTRY_NODE] = group->known[told].node;
			into[PAL_ENTRY_STATE] = group->known[told].fate;
			put_unaligned_le64(group->known[told].incarnation,
					   into + PAL_ENTRY_INCARNATION);
		}
		put_unaligned_le16(part, body + PAL_PART);
		pal_say_more(m, PAL_REPORT_GROUP, body, m->scratch,
			     PAL_GROUP_HEAD + here * PAL_ENTRY_BYTES);
	}
}

static void pal_tell_service(struct pal_machine *m,
			     const struct pal_takeover *held, u8 which)
{
	const struct pal_given *given = &held->given;
	u8 body[PAL_BODY_BYTES] = { 0 };

	body[PAL_NODE] = given->dead;
	body[PAL_WHICH] = which;
	body[PAL_SERVICE] = given->service;
	body[PAL_PROGRESS] = held->progress == PAL_SAID_TAKEN ?
			     PAL_PROGRESS_TAKEN : PAL_PROGRESS_GIVEN;
	put_unaligned_le64(given->incarnation, body + PAL_INCARNATION);
	put_unaligned_le64(given->token, body + PAL_TOKEN);
	memcpy(body + PAL_LABEL, given->label, PAL_LABEL_BYTES);
	pal_say(m, PAL_REPORT_SERVICE, body);
}

/**
 * pal_tell - say all that is known
 * @m: the machine, in a new session
 */
void pal_tell(struct pal_machine *m)
{
	u8 volumes = 0, services = 0;
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		volumes += pal_is_open(&m->groups[at]);
	for (at = 0; at < PAL_TAKEOVERS_MAX; at++)
		services += pal_is_mine(m, &m->takeovers[at]);
	pal_tell_nodes(m, volumes, services);
	for (at = 0, volumes = 0; at < PAL_GROUPS_MAX; at++)
		if (pal_is_open(&m->groups[at]))
			pal_tell_group(m, &m->groups[at], volumes++);
	for (at = 0, services = 0; at < PAL_TAKEOVERS_MAX; at++)
		if (pal_is_mine(m, &m->takeovers[at]))
			pal_tell_service(m, &m->takeovers[at], services++);
}
