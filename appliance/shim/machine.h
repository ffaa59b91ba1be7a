/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * machine - what this node knows and wants, as a pure state machine
 *
 * session.c, group.c, start.c, takeover.c and tell.c own it.  Frames and the time come in;
 * what is to be done goes out through the pal_port_ functions, none of which
 * may wait, allocate, or call back.  The caller serialises: the kernel's part
 * holds one spinlock around each call.
 */
#ifndef PALISADE_MACHINE_H
#define PALISADE_MACHINE_H

#include "frame.h"
#include "locks.h"
#include "mail.h"

#define PAL_NODES_MAX		256	/* numbers; 0 is nobody */
#define PAL_GROUPS_MAX		16	/* as GROUPS_MAX of the core */
#define PAL_TAKEOVERS_MAX		64	/* as TAKEOVERS_MAX of the core */
#define PAL_PART_ENTRIES	(PAL_PAYLOAD_MAX / PAL_ENTRY_BYTES)
/* The longest START: every node, and an earlier incarnation of each. */
#define PAL_PARTS_MAX		14
#define PAL_ENTRIES_MAX		(PAL_PARTS_MAX * PAL_PART_ENTRIES)
#define PAL_NEVER		(~0ull)

/* Microseconds. */
#define PAL_HELLO_US		100000
#define PAL_HELLO_REFUSED_US	1000000
#define PAL_BEAT_MIN_MS		10
#define PAL_ASK_US		250000
/* The last word and the reset take this long at most; see lease.c. */
#define PAL_PARTING_US		20000

/* Why the node resets itself. */
enum pal_why {
	PAL_WHY_LEASE,
	PAL_WHY_CONDEMNED,
	PAL_WHY_CLUSTER_OVER,
	PAL_WHY_FATE_MISSING,
	PAL_WHY_NOT_IN_SET,
	PAL_WHY_UNCONFIRMED,
};

/* Of another node, what was told last. */
struct pal_known {
	u8 state;
	u8 host;
	u8 class;
	u64 incarnation;
};

/* Where the DLM of a node is to be found. */
struct pal_address {
	u8 family;		/* 0: not told; 4 or 6 */
	u16 port;
	u8 bytes[16];
};

struct pal_entry {
	u8 node;
	u8 fate;
	u64 incarnation;
};

enum pal_phase {
	PAL_IS_CLOSED,		/* no lockspace, nothing asked */
	PAL_IS_JOINING,		/* JOIN until STOP */
	PAL_IS_STOPPING,		/* the worker stops the lockspace */
	PAL_IS_STOPPED,		/* STOPPED was said */
	PAL_IS_STARTING,		/* the worker starts it with a set */
	PAL_IS_RUNNING,		/* it runs with known[] */
};

/* What the worker is to do; it does one after the other. */
enum pal_job {
	PAL_JOB_NONE,
	PAL_JOB_STOP,
	PAL_JOB_START,
	PAL_JOB_LEFT,		/* out of the group: let umount go on */
	PAL_JOB_REFUSED,	/* let mount fail */
};

struct pal_group {
	bool used;
	u8 volume[PAL_LABEL_BYTES];
	u8 cluster[PAL_LABEL_BYTES];
	bool wants_in;
	bool ready;		/* the lockspace can be driven: JOIN */
	bool asked;		/* JOIN was said since it became ready */
	enum pal_phase phase;
	enum pal_job job;
	/* The highest that a STOP named; kept when it is closed (G5). */
	u64 generation;
	u64 ask_at;
	/* Of the START that was done last in this mount; 0: none yet. */
	u64 ran;
	bool ran_recovered;
	bool recovered;		/* the DLM, with this generation */
	bool replayed;		/* the journals of its dead, too */
	/* The START that runs; empty before the first. */
	u32 known_count;
	struct pal_entry known[PAL_ENTRIES_MAX];
	/* The START that comes in, part by part, then as a whole. */
	u32 parts;
	u32 have;		/* a bit for each part */
	u8 part_count[PAL_PARTS_MAX];
	u32 next_count;
	struct pal_entry next[PAL_ENTRIES_MAX];
	/* Its POSIX locks, while it is mounted. */
	struct pal_locks *locks;
};

/* What is taken over. */
struct pal_given {
	u8 service;
	u8 dead;
	u64 incarnation;
	u64 token;
	u8 label[PAL_LABEL_BYTES];
};

enum pal_progress {
	PAL_FREE,
	PAL_NEW,
	PAL_WAITS,
	PAL_SAID_TAKEN,
	PAL_SAID_FAILED,
};

struct pal_takeover {
	enum pal_progress progress;
	struct pal_given given;
};

struct pal_counters {
	u64 frames;
	u64 dropped;		/* another session, nonce, nonsense */
	u64 refused;		/* ERROR */
	u64 busy;
	u64 old_steps;		/* STOP or START of another generation */
	u64 leases;
	u64 sessions;
	u64 stops;
	u64 starts;
};

struct pal_machine {
	u8 node;
	u64 incarnation;
	u64 nonce;
	bool over;		/* reset is under way */
	u32 session;		/* 0: asking for one */
	u8 host;
	u32 sequence;
	u64 next_at;		/* HELLO or BEAT */
	u64 every;		/* how often */
	u64 patience;		/* silence after which it asks again */
	u64 heard;
	u64 clock;		/* when it was called last */
	u64 lease_end;		/* 0: none yet */
	bool lease_told;
	u8 refusal_told;
	u64 view_told;
	u32 view_round;
	u32 served_number;	/* cluster incarnation */
	u32 served_random;
	u64 version;		/* the highest that was told */
	struct pal_known known[PAL_NODES_MAX];
	struct pal_address address[PAL_NODES_MAX];
	struct pal_group groups[PAL_GROUPS_MAX];
	struct pal_takeover takeovers[PAL_TAKEOVERS_MAX];
	struct pal_counters counters;
	struct pal_mail mails;
	u8 scratch[PAL_PAYLOAD_MAX];
};

/* session.c */
void pal_init(struct pal_machine *m, u64 now, u8 node, u64 incarnation,
	      u64 nonce);
void pal_on_frame(struct pal_machine *m, u64 now,
		  const struct pal_frame *frame);
void pal_on_time(struct pal_machine *m, u64 now);
u64 pal_deadline(const struct pal_machine *m);
void pal_bye(struct pal_machine *m);
void pal_reset(struct pal_machine *m, enum pal_why why);
void pal_cut(struct pal_machine *m, u8 node, bool cut, u64 silent_ms);
void pal_say(struct pal_machine *m, u8 kind, const u8 *body);
void pal_say_more(struct pal_machine *m, u8 kind, const u8 *body,
		  const u8 *payload, u32 length);

/* group.c */
int pal_group_open(struct pal_machine *m, const u8 *volume, const u8 *cluster);
void pal_group_ready(struct pal_machine *m, u64 now, int at);
void pal_group_close(struct pal_machine *m, u64 now, int at);
void pal_group_stopped(struct pal_machine *m, int at, u64 generation);
void pal_group_started(struct pal_machine *m, int at, u64 generation);
void pal_group_recovered(struct pal_machine *m, int at, u64 generation);
void pal_group_replayed(struct pal_machine *m, int at, u64 generation);
void pal_group_refused(struct pal_machine *m, int at);
void pal_group_left(struct pal_machine *m, int at);
bool pal_group_on_frame(struct pal_machine *m, u64 now,
			const struct pal_frame *frame);
void pal_groups_refused(struct pal_machine *m);
void pal_groups_on_session(struct pal_machine *m, u64 now);
void pal_groups_on_time(struct pal_machine *m, u64 now);
u64 pal_groups_deadline(const struct pal_machine *m);
struct pal_group *pal_group_find(struct pal_machine *m, const u8 *volume);

/* group.c, for start.c */
void pal_say_step(struct pal_machine *m, u8 kind,
		  const struct pal_group *group, u64 generation);
void pal_say_running(struct pal_machine *m, const struct pal_group *group);

/* start.c */
bool pal_on_start(struct pal_machine *m, const struct pal_frame *frame);

/* tell.c */
void pal_tell(struct pal_machine *m);

/* takeover.c */
bool pal_is_told(const struct pal_group *group, const struct pal_given *given);
bool pal_takeover_on_frame(struct pal_machine *m,
			   const struct pal_frame *frame);
void pal_takeover_answer(struct pal_machine *m, const u8 *volume);

/* What the machine wants done. */
void pal_port_send(const struct pal_frame *frame);
void pal_port_lease(u64 end);
void pal_port_reset(enum pal_why why);
void pal_port_work(void);
bool pal_port_service(const struct pal_given *given);
__printf(1, 2) void pal_port_event(const char *format, ...);
void pal_port_started(const struct pal_group *group);

/* A label as 32 hexadecimal digits, until the next call. */
const char *pal_label(const u8 *label);

#endif
