/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cluster - three of the shim's machines, and the appliances between them
 */
#ifndef PALISADE_USER_CLUSTER_H
#define PALISADE_USER_CLUSTER_H

#include "../machine.h"

#define NODES	3
#define OWNERS	3	/* of each node */
#define THREADS	2	/* of each owner */
#define FILES	2
#define BYTES	12
#define INBOX	256
#define WINDOW	8

struct letter {
	u64 number;
	u32 length;
	u8 bytes[PAL_PAYLOAD_MAX];
};

/* The appliances' word about messages from one node to another. */
struct stream {
	bool live;
	u32 epoch;
	u64 token, first, next, acked, expected, told;
	struct letter letter[WINDOW];
};

struct thread {
	bool busy, answered;
	struct pal_ask ask;
};

struct node {
	struct pal_machine m;
	struct pal_locks *locks;
	bool alive, mounted, dead_counts;
	u32 session;
	u64 incarnation;
	u8 inbox[INBOX][PAL_FRAME_MAX];
	u32 length[INBOX];
	u32 first, count;
	u64 stopped;		/* generation that it said STOPPED of */
	u64 started;
	struct thread thread[OWNERS][THREADS];
	/* What the processes were told. */
	u8 has[OWNERS][FILES][BYTES];
};

extern struct node nodes[NODES + 1];
extern struct stream streams[NODES + 1][NODES + 1];
extern struct pal_range dead_places[NODES + 1][PAL_HELD_ROOM];
extern u32 dead_count[NODES + 1];
extern u8 current;
extern u64 state, seed, now, tokens, generation, incarnations;
extern bool faults, starting;
extern u64 start_incarnation[NODES + 1];
extern bool start_sent[NODES + 1];
extern u64 granted, refused, deadlocks, starts, deaths, cancels, agains, gones;
extern u64 reports, blurred, frozen, at_once;

/* locks.c */
u32 rnd(u32 below);
void fail(const char *what);
u32 owner_of(u8 node, u32 owner);
struct pal_group *group_of(u8 node);
struct pal_range any_range(u8 node, u32 owner);

/* wires.c */
void deliver(u8 to, u8 kind, const u8 *body, const u8 *payload, u32 length);
void end_stream(u8 from, u8 to);
void lose_streams(u8 node);
void welcome(u8 node);
void take_frame(u8 node);
void carry(u8 from, u8 to);

/* model.c */
void check(void);
void check_books(void);
void check_end(void);
void book(void);

#endif
