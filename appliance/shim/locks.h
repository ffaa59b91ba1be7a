/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * locks - POSIX locks of the whole cluster, as pure state machines
 *
 * ranges.c is the book of who has which bytes, arbiter.c grants, holder.c asks.
 * docs/decisions/0008 says why it is so.  None of them waits, acts or allocates:
 * the caller holds the machine's lock, and has made struct pal_locks before
 * its volume's group is opened.
 *
 * The rule that all of it rests on: what the arbiter's book says of a node
 * holds at least as much, byte for byte, as that node's own.  So a lock is
 * raised in the arbiter's book first and in the node's then, and lowered in
 * the node's book first and in the arbiter's then.
 */
#ifndef PALISADE_LOCKS_H
#define PALISADE_LOCKS_H

#include "frame.h"

struct pal_machine;
struct pal_group;

#ifdef PAL_SMALL	/* for tests: each bound is met soon */
#define PAL_LOCKS_MAX		8
#define PAL_LOCKS_ROOM		10
#define PAL_HELD_MAX		10
#define PAL_HELD_ROOM		24
#define PAL_WAITS_MAX		24
#define PAL_WAITING_MAX		8
#define PAL_TOLD_MAX		3
#define PAL_LINES_ONCE		2
#else
/* Ranges of one volume beyond which the arbiter takes no new lock. */
#define PAL_LOCKS_MAX		4096
/* Places in its book: the splits of what is held already go beyond that. */
#define PAL_LOCKS_ROOM		8192
/* Ranges of one volume that one node may hold. */
#define PAL_HELD_MAX		1024
/* Places in its book: grants may meet splits. */
#define PAL_HELD_ROOM		2048
/* Requests that the arbiter of a volume knows at a time, and that may wait. */
#define PAL_WAITS_MAX		512
#define PAL_WAITING_MAX		384
/* What a holder has to tell beside its requests; more: it tells all anew. */
#define PAL_TOLD_MAX		64
/* Lines that leave in one message. */
#define PAL_LINES_ONCE		PAL_LINES_MAX
#endif
/* Owners that a search for a deadlock passes at most. */
#define PAL_DEADLOCK_HOPS	16
#define PAL_BUCKETS		256
/* The last byte that a file can have. */
#define PAL_LAST_BYTE		0x7fffffffffffffffull

enum pal_hold {
	PAL_HOLD_NONE,
	PAL_HOLD_READ,
	PAL_HOLD_WRITE,
};

/* Bytes of a file that an owner has, or wants. */
struct pal_range {
	u64 inode;
	u64 owner;
	u64 start;
	u64 end;		/* the last one */
	u32 pid;
	u16 next;		/* in the bucket; a place, from 1 */
	u8 node;
	u8 hold;		/* NONE: a free place */
};

struct pal_ranges {
	u16 head[PAL_BUCKETS];
	u16 free;
	u16 fresh;		/* places that were ever used */
	u16 count;
	u16 room;
	struct pal_range *place;
};

/* One line of a message between holder and arbiter. */
struct pal_line {
	u8 word;
	u8 hold;
	u8 flag;		/* questions: wait, deadlock; answers: node */
	u8 answer;
	u32 pid;
	u64 id;
	u64 inode;
	u64 owner;
	u64 start;
	u64 end;
};

enum pal_wait_state {
	PAL_WAIT_FREE,
	PAL_WAIT_WAITS,
	PAL_WAIT_ANSWERED,
};

struct pal_wait {
	u8 state;
	u8 word;
	u8 flag;
	u8 answer;
	u16 next;
	u64 id;
	struct pal_range want;
};

struct pal_queue {
	u16 first, last;
};

struct pal_member_report {
	u64 member;		/* the incarnation in the set; 0: none */
	u64 reporter;		/* the incarnation that reports */
	u32 lines;
	bool begun;
	bool whole;
};

struct pal_arbiter {
	struct pal_ranges book;
	struct pal_wait waits[PAL_WAITS_MAX];
	struct pal_queue free, waiting, answered;
	u32 waiting_count, free_count;
	struct pal_member_report report[256];
	bool knows_set;
	bool open;		/* all members have reported */
	bool frozen;		/* a report found no room */
};

enum pal_ask_state {
	PAL_ASK_NEW,
	PAL_ASK_SENT,
	PAL_ASK_DONE,
};

/* A question of a process, which lies in its own memory. */
struct pal_ask {
	struct pal_ask *next, *last;
	u8 state;
	u8 word;
	u8 flag;
	u8 answer;
	/* Lowered by another thread meanwhile: ask anew. */
	bool again;
	u64 id;
	struct pal_range want;	/* FIND: what was found */
};

enum pal_stage {
	PAL_STAGE_BEGIN,
	PAL_STAGE_HELD,
	PAL_STAGE_END,
	PAL_STAGE_DONE,
};

struct pal_locks_counters {
	u64 asked;
	u64 granted;
	u64 refused;
	u64 at_once;		/* answered without the arbiter */
	u64 reports;
	u64 strange;		/* lines that make no sense here */
	u64 blurred;		/* a split that found no room */
	u64 deadlocks;
	u64 conflicts;		/* reported by two: never */
};

struct pal_locks {
	/* The group's, for which the arbiter's half stands. */
	u64 generation;
	/* The holder's half. */
	bool running;
	u8 arbiter;
	u8 stage;
	u32 cursor, reported;
	u64 ids;
	struct pal_ranges held;
	struct pal_ask *first, *last;
	struct pal_line told[PAL_TOLD_MAX];
	u32 told_first, told_count;
	struct pal_locks_counters counters;
	/* The arbiter's half. */
	struct pal_arbiter a;
	struct pal_range held_places[PAL_HELD_ROOM];
	struct pal_range book_places[PAL_LOCKS_ROOM];
};

/* ranges.c */
void pal_ranges_clear(struct pal_ranges *r, struct pal_range *place, u32 room);
int pal_ranges_growth(const struct pal_ranges *r, const struct pal_range *want);
bool pal_ranges_set(struct pal_ranges *r, const struct pal_range *want,
		    u32 limit);
bool pal_ranges_exceed(const struct pal_ranges *r,
		       const struct pal_range *want);
bool pal_ranges_raise(struct pal_ranges *r, const struct pal_range *want,
		      u32 limit);
bool pal_ranges_cover(const struct pal_ranges *r,
		      const struct pal_range *want);
const struct pal_range *pal_ranges_first(const struct pal_ranges *r,
					 const struct pal_range *want);
const struct pal_range *pal_ranges_conflict(const struct pal_ranges *r,
					    const struct pal_range *want);
void pal_ranges_drop_node(struct pal_ranges *r, u8 node);
bool pal_ranges_same(const struct pal_range *a, const struct pal_range *b);
bool pal_ranges_overlap(const struct pal_range *a, const struct pal_range *b);

/* arbiter.c */
void pal_arbiter_clear(struct pal_locks *p, u64 generation);
void pal_arbiter_start(struct pal_locks *p, const struct pal_group *group);
bool pal_arbiter_has_room(const struct pal_locks *p, u32 questions);
void pal_arbiter_take(struct pal_locks *p, u8 from, u64 incarnation,
		      const struct pal_line *line);
u32 pal_arbiter_gather(struct pal_locks *p, u8 to, struct pal_line *lines,
		       u32 most);

/* holder.c */
void pal_locks_init(struct pal_locks *p);
void pal_locks_ask(struct pal_machine *m, struct pal_group *group, u64 now,
		   struct pal_ask *ask);
void pal_locks_forget(struct pal_machine *m, struct pal_group *group, u64 now,
		      struct pal_ask *ask);
bool pal_locks_lower(struct pal_machine *m, struct pal_group *group, u64 now,
		     const struct pal_range *want);
bool pal_locks_fit(const struct pal_locks *p, const struct pal_range *want);
void pal_locks_take(struct pal_locks *p, const struct pal_line *line);
u32 pal_locks_gather(struct pal_machine *m, struct pal_locks *p,
		     struct pal_line *lines, u32 most);
void pal_locks_stop(struct pal_locks *p);
void pal_locks_start(struct pal_locks *p, u8 arbiter);

/* relay.c: between these and mail.c. */
void pal_relay_stop(struct pal_machine *m, u64 now, struct pal_group *group);
void pal_relay_start(struct pal_machine *m, u64 now, struct pal_group *group);
void pal_relay_close(struct pal_machine *m, u64 now, struct pal_group *group);
bool pal_relay_take(struct pal_machine *m, u64 now, u8 from, u64 incarnation,
		    const u8 *bytes, u32 length);
void pal_relay_pump(struct pal_machine *m, u64 now, struct pal_group *group);
void pal_relay_pump_all(struct pal_machine *m, u64 now);

/* The question of a process has its answer. */
void pal_port_answered(struct pal_ask *ask);

#endif
