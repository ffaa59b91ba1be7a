// SPDX-License-Identifier: GPL-2.0-only
/*
 * mail - messages to the shims of other nodes, in order and once
 *
 *   we              appliances           other shim
 *    | SEND(n) -------> | ...  RECV(n) ----> |   n above the last of this
 *    | <------- ACK(n)  | <------- ACK(n)    |   incarnation: taken
 *    | <------ BUSY(n)  |                        again, a little later
 *    | <------ GONE(n)  |                        again what came after n
 *
 * docs/PROTOCOL.md has the rules.  What is not acknowledged is kept and said
 * again under its number, in the next stream and the next session, too; and
 * the receiver drops what it had, by the last number of each incarnation.  So a
 * message comes once as long as both incarnations live (SAFETY I2).  A stream
 * begins with the number that comes first, so until that is acknowledged it is
 * the only one that is said: one that the channel lost would be skipped.  Nothing
 * is said to a node with which no volume runs: what waits for it is out of
 * date when it is back, and says so by its generation.
 *
 * Every time is in microseconds.
 *
 * This file must never wait, act or allocate: it is pure, see machine.h.
 */
#include "machine.h"

static u8 *pal_mail_bytes(struct pal_pen *peer, u64 number)
{
	return peer->bytes[number % PAL_MAIL_WINDOW];
}

/* Before the first LEASE the appliance may not know whose session it is. */
static bool pal_mail_is_open(const struct pal_machine *m)
{
	return m->session && m->lease_told && !m->over;
}

bool pal_mail_has_room(const struct pal_machine *m, u8 to)
{
	const struct pal_pen *peer = &m->mails.peer[to];

	return peer->wanted && peer->next - peer->acked < PAL_MAIL_WINDOW;
}

/* Where the next message to a node is written; there must be room. */
u8 *pal_mail_place(struct pal_machine *m, u8 to)
{
	return pal_mail_bytes(&m->mails.peer[to], m->mails.peer[to].next + 1);
}

static void pal_mail_flush(struct pal_machine *m, u64 now, u8 to)
{
	struct pal_pen *peer = &m->mails.peer[to];
	u64 last = peer->begun ? peer->next : min(peer->acked + 1, peer->next);

	if (!peer->wanted || peer->sent >= last || !pal_mail_is_open(m))
		return;
	while (peer->sent < last) {
		u64 number = ++peer->sent;
		u8 body[PAL_BODY_BYTES] = { 0 };

		body[PAL_NODE] = to;
		put_unaligned_le32(peer->epoch, body + PAL_EPOCH);
		put_unaligned_le64(number, body + PAL_NUMBER);
		pal_say_more(m, PAL_SEND, body, pal_mail_bytes(peer, number),
			     peer->length[number % PAL_MAIL_WINDOW]);
		m->mails.counters.sent++;
	}
	peer->again_at = now + PAL_MAIL_AGAIN_US;
	m->mails.due = min(m->mails.due, peer->again_at);
}

/**
 * pal_mail_post - the message that was written goes on its way
 * @m: the machine
 * @now: the time
 * @to: to whom
 * @length: how long it is
 */
void pal_mail_post(struct pal_machine *m, u64 now, u8 to, u32 length)
{
	struct pal_pen *peer = &m->mails.peer[to];
	bool behind = peer->sent < peer->next;

	peer->next++;
	peer->length[peer->next % PAL_MAIL_WINDOW] = length;
	/* Behind one that waits for its time, it waits, too. */
	if (!behind)
		pal_mail_flush(m, now, to);
}

static void pal_mail_later(struct pal_machine *m, u64 now,
			   struct pal_pen *peer)
{
	peer->pause = peer->pause ? min_t(u64, peer->pause * 2,
					  PAL_MAIL_PAUSE_MAX_US) :
				    PAL_MAIL_PAUSE_US;
	peer->again_at = now + peer->pause;
	m->mails.due = min(m->mails.due, peer->again_at);
}

/**
 * pal_mail_want - whether a node shares a volume that runs
 * @m: the machine
 * @now: the time
 * @node: the node
 * @wanted: which of the two
 */
void pal_mail_want(struct pal_machine *m, u64 now, u8 node, bool wanted)
{
	struct pal_pen *peer = &m->mails.peer[node];

	if (peer->wanted == wanted)
		return;
	peer->wanted = wanted;
	peer->sent = peer->acked;
	peer->pause = 0;
	pal_mail_flush(m, now, node);
}

/* All up to a number has arrived; so there is a stream. */
static void pal_mail_is_acked(struct pal_pen *peer, u64 number)
{
	if (number <= peer->acked || number > peer->next)
		return;
	peer->acked = number;
	peer->sent = max(peer->sent, number);
	peer->pause = 0;
	peer->begun = true;
}

static void pal_mail_on_recv(struct pal_machine *m, u64 now,
			     const struct pal_frame *frame)
{
	u8 from = frame->body[PAL_NODE], body[PAL_BODY_BYTES] = { 0 };
	u64 incarnation = pal_u64(frame->body + PAL_INCARNATION);
	u64 number = pal_u64(frame->body + PAL_NUMBER);
	u64 first = pal_u64(frame->body + PAL_FIRST);
	struct pal_pen *peer = &m->mails.peer[from];

	if (peer->heard_incarnation != incarnation) {
		peer->heard_incarnation = incarnation;
		peer->heard = 0;
	}
	if (number > peer->heard) {
		if (number != max(first, peer->heard + 1) ||
		    !pal_relay_take(m, now, from, incarnation, frame->payload,
				    frame->length)) {
			m->mails.counters.late++;
			return;
		}
		peer->heard = number;
		m->mails.counters.taken++;
	} else {
		m->mails.counters.twice++;
	}
	body[PAL_NODE] = from;
	put_unaligned_le64(number, body + PAL_NUMBER);
	memcpy(body + PAL_STREAM, frame->body + PAL_STREAM, 8);
	pal_say(m, PAL_ACK, body);
}

bool pal_mail_on_frame(struct pal_machine *m, u64 now,
		       const struct pal_frame *frame)
{
	struct pal_pen *peer = &m->mails.peer[frame->body[PAL_NODE]];
	u64 number = pal_u64(frame->body + PAL_NUMBER);

	/* To a JOIN, which is repeated. */
	if (frame->kind == PAL_BUSY && !number) {
		m->counters.busy++;
		return true;
	}
	if (!frame->body[PAL_NODE] || frame->body[PAL_NODE] == m->node)
		return false;
	switch (frame->kind) {
	case PAL_RECV:
		pal_mail_on_recv(m, now, frame);
		break;
	case PAL_ACK:
		pal_mail_is_acked(peer, number);
		pal_mail_flush(m, now, frame->body[PAL_NODE]);
		break;
	case PAL_BUSY:
		if (number <= peer->acked || number > peer->sent)
			break;
		m->mails.counters.busy++;
		peer->sent = number - 1;
		pal_mail_later(m, now, peer);
		break;
	default:
		m->mails.counters.gone++;
		peer->epoch = pal_u32(frame->body + PAL_EPOCH);
		pal_mail_is_acked(peer, number);
		peer->sent = peer->acked;
		peer->begun = false;
		pal_mail_later(m, now, peer);
		break;
	}
	pal_relay_pump_all(m, now);
	return true;
}

/* A new session knows no epochs; what was under way is said again. */
void pal_mail_on_session(struct pal_machine *m, u64 now)
{
	int node;

	for (node = 1; node < 256; node++) {
		struct pal_pen *peer = &m->mails.peer[node];

		peer->epoch = 0;
		peer->begun = false;
		peer->sent = peer->acked;
		peer->pause = 0;
		peer->again_at = now;
	}
	m->mails.due = now;
}

void pal_mail_on_time(struct pal_machine *m, u64 now)
{
	int node;

	if (now < m->mails.due || !pal_mail_is_open(m))
		return;
	m->mails.due = ~0ull;
	for (node = 1; node < 256; node++) {
		struct pal_pen *peer = &m->mails.peer[node];

		if (!peer->wanted || peer->acked == peer->next)
			continue;
		if (now >= peer->again_at) {
			m->mails.counters.again++;
			peer->sent = peer->acked;
			pal_mail_flush(m, now, node);
		}
		m->mails.due = min(m->mails.due, peer->again_at);
	}
}

u64 pal_mail_deadline(const struct pal_machine *m)
{
	return pal_mail_is_open(m) ? m->mails.due : ~0ull;
}
