/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mail - messages to the shims of other nodes, in order and once
 */
#ifndef PALISADE_MAIL_H
#define PALISADE_MAIL_H

#include "frame.h"

struct pal_machine;

/*
 * Messages under way to one node: the appliances take 1000 in a second, and a
 * round trip is shorter than two of them.
 */
#define PAL_MAIL_WINDOW		2
/* A message of which nothing was heard is said again, microseconds. */
#define PAL_MAIL_AGAIN_US	250000
/* After BUSY or GONE: doubled from one to the other. */
#define PAL_MAIL_PAUSE_US	2000
#define PAL_MAIL_PAUSE_MAX_US	256000

struct pal_pen {
	/* It is in the set of a volume that runs. */
	bool wanted;
	/* Its appliances take a stream to begin with what comes first. */
	bool begun;
	u32 epoch;
	u64 acked;
	u64 sent;		/* the newest that was said since it went back */
	u64 next;		/* the newest that there is; from 1 on */
	u64 again_at;
	u64 pause;
	u64 heard;		/* the newest that was taken from it */
	u64 heard_incarnation;
	u16 length[PAL_MAIL_WINDOW];
	u8 bytes[PAL_MAIL_WINDOW][PAL_PAYLOAD_MAX];
};

struct pal_mail_counters {
	u64 sent;
	u64 again;
	u64 busy;
	u64 gone;
	u64 taken;
	u64 twice;
	u64 late;		/* not taken: no room, or one is missing */
};

struct pal_mail {
	u64 due;		/* nothing is to be said again before */
	struct pal_mail_counters counters;
	struct pal_pen peer[256];
};

/* mail.c */
bool pal_mail_has_room(const struct pal_machine *m, u8 to);
u8 *pal_mail_place(struct pal_machine *m, u8 to);
void pal_mail_post(struct pal_machine *m, u64 now, u8 to, u32 length);
void pal_mail_want(struct pal_machine *m, u64 now, u8 node, bool wanted);
bool pal_mail_on_frame(struct pal_machine *m, u64 now,
		       const struct pal_frame *frame);
void pal_mail_on_session(struct pal_machine *m, u64 now);
void pal_mail_on_time(struct pal_machine *m, u64 now);
u64 pal_mail_deadline(const struct pal_machine *m);

#endif
