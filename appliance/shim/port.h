/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * port - what frame.c, session.c, group.c and takeover.c stand on
 *
 * These files decide and never act: they compile in the kernel and in user
 * space, where they are fuzzed.  Here is all that they may call.
 */
#ifndef PALISADE_PORT_H
#define PALISADE_PORT_H

#ifdef __KERNEL__
#include <linux/crc32.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/types.h>
#include <asm/unaligned.h>

static inline u32 pal_crc(u32 sum, const u8 *bytes, u32 count)
{
	return ~crc32_le(~sum, bytes, count);
}
#else
#include "user.h"
#endif

static inline u16 pal_u16(const u8 *at)
{
	return get_unaligned_le16(at);
}

static inline u32 pal_u32(const u8 *at)
{
	return get_unaligned_le32(at);
}

static inline u64 pal_u64(const u8 *at)
{
	return get_unaligned_le64(at);
}

#endif
