/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * members - one row for each volume, shared by the worker and its mounts
 */
#ifndef PALISADE_MEMBERS_H
#define PALISADE_MEMBERS_H

#include "shim.h"

struct pal_member {
	void *connection;
	char space[2 * PAL_LABEL_BYTES + 1];
	char cluster[PAL_LABEL_BYTES + 1];
	bool space_made;
	bool started;		/* control=1 was given once */
	bool mounted;
	atomic_t recovered;
	u64 generation;		/* of the START that was done last */
	/* Who is among the DLM's nodes, and who was before that. */
	u64 here[PAL_NODES_MAX];
	u64 gone[PAL_NODES_MAX];
	u32 plan_count;
	struct pal_entry plan[PAL_ENTRIES_MAX];
};

extern struct pal_member pal_members[PAL_GROUPS_MAX];

unsigned int pal_members_enter(void);
void pal_members_done(unsigned int flags);
void pal_space_drop(struct pal_member *member);
void pal_mount_init(void);
void pal_mount_exit(void);

#endif
