/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * user - what port.h stands on outside the kernel
 */
#ifndef PALISADE_USER_H
#define PALISADE_USER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define __printf(a, b)		__attribute__((format(printf, a, b)))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define DIV_ROUND_UP(a, b)	(((a) + (b) - 1) / (b))
#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))
#define min_t(t, a, b)		min((t)(a), (t)(b))
#define max_t(t, a, b)		max((t)(a), (t)(b))

static inline u16 get_unaligned_le16(const u8 *p)
{
	return p[0] | p[1] << 8;
}

static inline u32 get_unaligned_le32(const u8 *p)
{
	return get_unaligned_le16(p) | (u32)get_unaligned_le16(p + 2) << 16;
}

static inline u64 get_unaligned_le64(const u8 *p)
{
	return get_unaligned_le32(p) | (u64)get_unaligned_le32(p + 4) << 32;
}

static inline void put_unaligned_le16(u16 value, u8 *p)
{
	p[0] = value;
	p[1] = value >> 8;
}

static inline void put_unaligned_le32(u32 value, u8 *p)
{
	put_unaligned_le16(value, p);
	put_unaligned_le16(value >> 16, p + 2);
}

static inline void put_unaligned_le64(u64 value, u8 *p)
{
	put_unaligned_le32(value, p);
	put_unaligned_le32(value >> 32, p + 4);
}

/* CRC-32 (IEEE), a bit at a time: written from its definition. */
static inline u32 pal_crc(u32 sum, const u8 *bytes, u32 count)
{
	int bit;

	sum = ~sum;
	while (count--) {
		sum ^= *bytes++;
		for (bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? 0xedb88320 : 0);
	}
	return ~sum;
}

#endif
