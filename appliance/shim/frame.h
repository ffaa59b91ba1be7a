/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PALISADE_FRAME_H
#define PALISADE_FRAME_H

#include "port.h"
#include "protocol.h"

/* One frame, parsed or to be emitted. */
struct pal_frame {
	u8 kind;
	u32 session;
	u32 sequence;
	u8 body[PAL_BODY_BYTES];
	const u8 *payload;
	u32 length;
};

/* Finds frames in a byte stream.  All zero is an empty reader. */
struct pal_reader {
	u8 buffer[PAL_FRAME_MAX];
	u32 filled;
	/* Bytes of the frame handed out last, dropped at the next call. */
	u32 spent;
	/* Bytes that were skipped because no frame checked there. */
	u64 skipped;
};

u32 pal_frame_emit(const struct pal_frame *frame, u8 *buffer);
bool pal_reader_next(struct pal_reader *reader, const u8 **stream, u32 *left,
		     struct pal_frame *frame);

#endif
