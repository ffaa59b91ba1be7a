// SPDX-License-Identifier: GPL-2.0-only
/*
 * frame - the frames of the node protocol, parsed and emitted
 *
 * A virtconsole is a byte stream whose other end may come and go in the middle
 * of a frame, and QEMU drops bytes while nobody is there.  So the reader holds
 * at most one frame, checks magic, version, length and sum, and when one of
 * them is wrong it looks for the next byte that may begin a frame.  It never
 * trusts a length, and interprets no body.
 */
#include "frame.h"

static u32 pal_sum(const u8 *bytes, u32 length)
{
	u32 sum = pal_crc(0, bytes, PAL_AT_CHECK);

	return pal_crc(sum, bytes + PAL_FRAME_BYTES, length);
}

/* How long the frame is that begins so; zero as soon as it cannot be one. */
static u32 pal_total(const u8 *bytes, u32 filled)
{
	u32 payload;

	if ((filled > 0 && bytes[0] != PAL_MAGIC_0) ||
	    (filled > 1 && bytes[1] != PAL_MAGIC_1) ||
	    (filled > PAL_AT_VERSION && bytes[PAL_AT_VERSION] != PAL_VERSION))
		return 0;
	if (filled < PAL_FRAME_BYTES)
		return PAL_FRAME_BYTES;
	payload = pal_u16(bytes + PAL_AT_LENGTH);
	return payload > PAL_PAYLOAD_MAX ? 0 : PAL_FRAME_BYTES + payload;
}

static void pal_drop_front(struct pal_reader *reader, u32 count)
{
	memmove(reader->buffer, reader->buffer + count,
		reader->filled - count);
	reader->filled -= count;
}

static void pal_skip(struct pal_reader *reader)
{
	u32 next = 1;

	while (next < reader->filled && reader->buffer[next] != PAL_MAGIC_0)
		next++;
	reader->skipped += next;
	pal_drop_front(reader, next);
}

static bool pal_checks(const u8 *bytes, u32 total)
{
	return pal_u32(bytes + PAL_AT_CHECK) ==
	       pal_sum(bytes, total - PAL_FRAME_BYTES);
}

/**
 * pal_reader_next - take bytes until a frame is complete
 * @reader: what came before
 * @stream: where the bytes are; moved on
 * @left: how many there are; counted down
 * @frame: filled in; its payload lies in @reader until the next call
 *
 * Return: whether there is a frame; if not, the stream is used up.
 */
bool pal_reader_next(struct pal_reader *reader, const u8 **stream, u32 *left,
		     struct pal_frame *frame)
{
	u32 total;

	pal_drop_front(reader, reader->spent);
	reader->spent = 0;
	for (;;) {
		u32 take;

		total = pal_total(reader->buffer, reader->filled);
		if (!total) {
			pal_skip(reader);
			continue;
		}
		if (reader->filled >= total) {
			if (pal_checks(reader->buffer, total))
				break;
			pal_skip(reader);
			continue;
		}
		take = total - reader->filled;
		if (take > *left)
			take = *left;
		if (!take)
			return false;
		memcpy(reader->buffer + reader->filled, *stream, take);
		reader->filled += take;
		*stream += take;
		*left -= take;
	}
	reader->spent = total;
	frame->kind = reader->buffer[PAL_AT_KIND];
	frame->session = pal_u32(reader->buffer + PAL_AT_SESSION);
	frame->sequence = pal_u32(reader->buffer + PAL_AT_SEQUENCE);
	memcpy(frame->body, reader->buffer + PAL_AT_BODY, PAL_BODY_BYTES);
	frame->payload = reader->buffer + PAL_FRAME_BYTES;
	frame->length = total - PAL_FRAME_BYTES;
	return true;
}

/**
 * pal_frame_emit - write a frame
 * @frame: what to write; a payload above the bound is cut
 * @buffer: PAL_FRAME_MAX bytes
 *
 * Return: how many bytes were written.
 */
u32 pal_frame_emit(const struct pal_frame *frame, u8 *buffer)
{
	u32 length = frame->length;

	if (length > PAL_PAYLOAD_MAX)
		length = PAL_PAYLOAD_MAX;
	memset(buffer, 0, PAL_FRAME_BYTES);
	buffer[0] = PAL_MAGIC_0;
	buffer[1] = PAL_MAGIC_1;
	buffer[PAL_AT_VERSION] = PAL_VERSION;
	buffer[PAL_AT_KIND] = frame->kind;
	put_unaligned_le16(length, buffer + PAL_AT_LENGTH);
	put_unaligned_le32(frame->session, buffer + PAL_AT_SESSION);
	put_unaligned_le32(frame->sequence, buffer + PAL_AT_SEQUENCE);
	memcpy(buffer + PAL_AT_BODY, frame->body, PAL_BODY_BYTES);
	if (length)
		memcpy(buffer + PAL_FRAME_BYTES, frame->payload, length);
	put_unaligned_le32(pal_sum(buffer, length), buffer + PAL_AT_CHECK);
	return PAL_FRAME_BYTES + length;
}
