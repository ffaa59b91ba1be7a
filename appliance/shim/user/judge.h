/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * judge - the machine under bad input, and who looks at it from outside
 */
#ifndef PALISADE_JUDGE_H
#define PALISADE_JUDGE_H

#include "../machine.h"

extern struct pal_machine m;
extern u64 now;

struct reached {
	u64 frames;
	u64 running;
	u64 resets;
	u64 taken;
};

extern struct reached reached;

void fail(const char *what);
void judge_begin(u64 nonce);
void judge_check(void);
void judge_give(const u8 *bytes, u32 count);
void judge_open(const u8 *volume, const u8 *cluster, bool ready);
void judge_close(int at);
void judge_work(int at, u64 generation, bool done, bool replayed);

/* Who runs it says what it was: a seed, or nothing. */
void say_which(void);

#endif
