// SPDX-License-Identifier: GPL-2.0-only
/*
 * wires - the appliances' part: messages, sessions, and what is lost
 *
 * They keep docs/PROTOCOL.md's word and no more.
 */
#include "cluster.h"

void deliver(u8 to, u8 kind, const u8 *body, const u8 *payload,
		    u32 length)
{
	struct node *node = &nodes[to];
	struct pal_frame frame = { .kind = kind, .session = node->session };
	u32 at;

	if (kind == PAL_WELCOME)
		node->count = 0;
	if (!node->alive || node->count == INBOX)
		return;
	memcpy(frame.body, body, PAL_BODY_BYTES);
	frame.payload = payload;
	frame.length = length;
	at = (node->first + node->count++) % INBOX;
	node->length[at] = pal_frame_emit(&frame, node->inbox[at]);
}

static void say_mail(u8 to, u8 kind, u8 about, u32 epoch, u64 number)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	body[PAL_NODE] = about;
	if (kind == PAL_GONE)
		put_unaligned_le32(epoch, body + PAL_EPOCH);
	put_unaligned_le64(number, body + PAL_NUMBER);
	deliver(to, kind, body, NULL, 0);
}

void end_stream(u8 from, u8 to)
{
	struct stream *s = &streams[from][to];

	s->live = false;
	s->expected = 0;
	s->epoch++;
	gones++;
	say_mail(from, PAL_GONE, to, s->epoch, s->acked);
}

static void on_send(u8 from, const struct pal_frame *frame)
{
	u8 to = frame->body[PAL_NODE];
	struct stream *s = &streams[from][to];
	u64 number = pal_u64(frame->body + PAL_NUMBER), expected;
	struct letter *letter;

	if (!to || to > NODES || to == from)
		fail("SEND to nobody");
	if (pal_u32(frame->body + PAL_EPOCH) != s->epoch) {
		say_mail(from, PAL_GONE, to, s->epoch, s->acked);
		return;
	}
	if (number <= s->acked) {
		say_mail(from, PAL_ACK, to, 0, s->acked);
		return;
	}
	expected = s->live ? s->next : s->expected ? s->expected : number;
	if (number < expected) {
		if (!s->live)
			fail("a number below the one that is waited for");
		return;
	}
	if (number > expected || (faults && !rnd(12)) ||
	    (s->live && s->next - s->acked > WINDOW)) {
		if (number == expected && !s->live)
			s->expected = number;
		say_mail(from, PAL_BUSY, to, 0, number);
		return;
	}
	if (!nodes[to].alive) {
		end_stream(from, to);
		return;
	}
	if (!s->live) {
		s->live = true;
		s->token = ++tokens;
		s->first = number;
		s->acked = number - 1;
		s->told = number - 1;
	}
	letter = &s->letter[number % WINDOW];
	letter->number = number;
	letter->length = frame->length;
	memcpy(letter->bytes, frame->payload, frame->length);
	s->next = number + 1;
}

static void on_ack(u8 by, const struct pal_frame *frame)
{
	u8 from = frame->body[PAL_NODE];
	struct stream *s = &streams[from][by];
	u64 number = pal_u64(frame->body + PAL_NUMBER);

	if (!s->live || s->token != pal_u64(frame->body + PAL_STREAM))
		return;
	if (number > s->told || number < s->first)
		fail("ACK of what was not told");
	if (number <= s->acked)
		return;
	s->acked = number;
	say_mail(from, PAL_ACK, by, 0, number);
}

void pal_port_send(const struct pal_frame *frame)
{
	struct node *node = &nodes[current];

	if (frame->kind != PAL_HELLO && frame->session != node->session)
		return;
	/* No buffer was free. */
	if (faults && (frame->kind == PAL_SEND || frame->kind == PAL_ACK) &&
	    !rnd(40))
		return;
	if (frame->kind == PAL_SEND)
		on_send(current, frame);
	else if (frame->kind == PAL_ACK)
		on_ack(current, frame);
	else if (frame->kind == PAL_STOPPED)
		node->stopped = pal_u64(frame->body + PAL_GENERATION);
	else if (frame->kind == PAL_STARTED)
		node->started = pal_u64(frame->body + PAL_GENERATION);
}

void pal_port_lease(u64 end)
{
}

void pal_port_reset(enum pal_why why)
{
	fail("a reset");
}

void pal_port_work(void)
{
}

bool pal_port_service(const struct pal_given *given)
{
	return false;
}

void pal_port_event(const char *format, ...)
{
}

void pal_port_started(const struct pal_group *group)
{
}

void pal_port_answered(struct pal_ask *ask)
{
	struct thread *thread = (struct thread *)((char *)ask -
				offsetof(struct thread, ask));

	if (!thread->busy || thread->answered)
		fail("an answer to nobody");
	thread->answered = true;
}

/* A node's session or the node is over: so are all streams from it and to it. */
void lose_streams(u8 node)
{
	u8 other;

	for (other = 1; other <= NODES; other++) {
		if (other == node)
			continue;
		memset(&streams[node][other], 0, sizeof(struct stream));
		if (streams[other][node].live)
			end_stream(other, node);
	}
}

void welcome(u8 node)
{
	u8 body[PAL_BODY_BYTES] = { 0 };
	struct node *n = &nodes[node];

	n->session++;
	body[PAL_NODE] = node;
	put_unaligned_le64(n->m.nonce, body + PAL_STAMP);
	put_unaligned_le32(60000, body + PAL_LEASE_MS);
	put_unaligned_le32(200, body + PAL_BEAT_MS);
	deliver(node, PAL_WELCOME, body, NULL, 0);
	memset(body, 0, sizeof(body));
	put_unaligned_le64(now, body + PAL_STAMP);
	put_unaligned_le32(60000, body + PAL_LEASE_MS);
	deliver(node, PAL_LEASE, body, NULL, 0);
	lose_streams(node);
}

void take_frame(u8 node)
{
	struct node *n = &nodes[node];
	static struct pal_reader reader;
	const u8 *bytes;
	u32 length;
	struct pal_frame frame;

	if (!n->count)
		return;
	bytes = n->inbox[n->first];
	length = n->length[n->first];
	n->first = (n->first + 1) % INBOX;
	n->count--;
	memset(&reader, 0, sizeof(reader));
	current = node;
	while (pal_reader_next(&reader, &bytes, &length, &frame))
		pal_on_frame(&n->m, now, &frame);
}

void carry(u8 from, u8 to)
{
	struct stream *s = &streams[from][to];
	u8 body[PAL_BODY_BYTES] = { 0 };
	u64 number;

	if (!s->live || s->acked + 1 == s->next || !nodes[to].alive)
		return;
	number = s->acked + 1 + rnd(s->told - s->acked + 1);
	if (number >= s->next)
		number = s->acked + 1;
	s->told = max(s->told, number);
	body[PAL_NODE] = from;
	put_unaligned_le64(nodes[from].incarnation, body + PAL_INCARNATION);
	put_unaligned_le64(number, body + PAL_NUMBER);
	put_unaligned_le64(s->token, body + PAL_STREAM);
	put_unaligned_le64(s->first, body + PAL_FIRST);
	deliver(to, PAL_RECV, body, s->letter[number % WINDOW].bytes,
		s->letter[number % WINDOW].length);
}
