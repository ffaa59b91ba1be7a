// SPDX-License-Identifier: GPL-2.0-only
/*
 * session - one node's session with the appliance of its host
 *
 *             WELCOME(our nonce)             lease over, ERROR(condemned),
 *   Asking ----------------------> Open      ERROR(cluster over)
 *     ^   <----------------------   |        from either ----------> Over
 *     |  ERROR(no session), silence |  BEAT every beat_ms;
 *     +-----------------------------+  LEASE moves the lease's end
 *
 * The lease counts from the stamp of the BEAT that is answered, by this node's
 * clock (SAFETY C3), and never gets shorter: an answer may be overtaken.
 * Frames of another session are dropped (G5).  What is about groups and
 * takeovers is passed on.  Every time is in microseconds.
 *
 * This file must never wait, act or allocate: it is pure, see machine.h.
 */
#include "machine.h"

const char *pal_label(const u8 *label)
{
	static char text[2 * PAL_LABEL_BYTES + 1];
	int at;

	for (at = 0; at < PAL_LABEL_BYTES; at++)
		snprintf(text + 2 * at, 3, "%02x", label[at]);
	return text;
}

void pal_say_more(struct pal_machine *m, u8 kind, const u8 *body,
		  const u8 *payload, u32 length)
{
	struct pal_frame frame = { .kind = kind };

	frame.session = m->session;
	frame.sequence = ++m->sequence;
	memcpy(frame.body, body, PAL_BODY_BYTES);
	frame.payload = payload;
	frame.length = length;
	pal_port_send(&frame);
}

void pal_say(struct pal_machine *m, u8 kind, const u8 *body)
{
	pal_say_more(m, kind, body, NULL, 0);
}

static const char *pal_why_word(enum pal_why why)
{
	switch (why) {
	case PAL_WHY_LEASE:
		return "lease-ended";
	case PAL_WHY_CONDEMNED:
		return "condemned";
	case PAL_WHY_CLUSTER_OVER:
		return "cluster-over";
	case PAL_WHY_FATE_MISSING:
		return "fate-missing";
	case PAL_WHY_NOT_IN_SET:
		return "not-in-set";
	case PAL_WHY_UNCONFIRMED:
		break;
	}
	return "unconfirmed";
}

/**
 * pal_reset - this incarnation must not go on
 * @m: the machine
 * @why: the reason, which the last word and the log say
 */
void pal_reset(struct pal_machine *m, enum pal_why why)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	if (m->over)
		return;
	if (why != PAL_WHY_CONDEMNED && why != PAL_WHY_CLUSTER_OVER) {
		body[PAL_CODE] = why == PAL_WHY_LEASE ? PAL_GASP_LEASE :
							PAL_GASP_OTHER;
		pal_say(m, PAL_LAST_GASP, body);
	}
	m->over = true;
	pal_port_event("RESET why=%s", pal_why_word(why));
	pal_port_reset(why);
}

static void pal_ask(struct pal_machine *m, u64 now, const char *why)
{
	/* A WELCOME for an earlier HELLO names an earlier nonce. */
	m->nonce++;
	m->session = 0;
	m->sequence = 0;
	m->next_at = now;
	m->every = PAL_HELLO_US;
	pal_port_event("HELLO node=%u incarnation=%016llx why=%s", m->node,
		       (unsigned long long)m->incarnation, why);
}

void pal_init(struct pal_machine *m, u64 now, u8 node, u64 incarnation,
	      u64 nonce)
{
	memset(m, 0, sizeof(*m));
	m->node = node;
	m->incarnation = incarnation;
	m->nonce = nonce;
	m->heard = now;
	pal_ask(m, now, "start");
}

static void pal_check_lease(struct pal_machine *m, u64 now)
{
	if (m->lease_end && now + PAL_PARTING_US >= m->lease_end)
		pal_reset(m, PAL_WHY_LEASE);
}

static void pal_hello(struct pal_machine *m)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	body[PAL_NODE] = m->node;
	put_unaligned_le64(m->incarnation, body + PAL_INCARNATION);
	put_unaligned_le64(m->nonce, body + PAL_STAMP);
	put_unaligned_le32(m->served_number, body + PAL_CLUSTER);
	put_unaligned_le32(m->served_random, body + PAL_HELLO_RANDOM);
	pal_say(m, PAL_HELLO, body);
}

/**
 * pal_on_time - do what is due
 * @m: the machine
 * @now: the time
 */
void pal_on_time(struct pal_machine *m, u64 now)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	m->clock = now;
	pal_check_lease(m, now);
	if (m->over)
		return;
	if (m->session && now >= m->heard + m->patience)
		pal_ask(m, now, "silence");
	if (now >= m->next_at) {
		m->next_at = now + m->every;
		if (m->session) {
			put_unaligned_le64(now, body + PAL_STAMP);
			pal_say(m, PAL_BEAT, body);
		} else {
			pal_hello(m);
		}
	}
	if (m->session) {
		pal_groups_on_time(m, now);
		pal_mail_on_time(m, now);
	}
}

/**
 * pal_deadline - when pal_on_time() wants to be called at the latest
 * @m: the machine
 */
u64 pal_deadline(const struct pal_machine *m)
{
	u64 due = m->next_at;

	if (m->over)
		return PAL_NEVER;
	if (m->session) {
		due = min(due, m->heard + m->patience);
		due = min(due, pal_groups_deadline(m));
		due = min(due, pal_mail_deadline(m));
	}
	if (m->lease_end)
		due = min(due, m->lease_end - PAL_PARTING_US);
	return due;
}

static void pal_on_welcome(struct pal_machine *m, u64 now,
			   const struct pal_frame *frame)
{
	const u8 *body = frame->body;
	u32 beat_ms = max_t(u32, pal_u32(body + PAL_BEAT_MS), PAL_BEAT_MIN_MS);
	u32 lease_ms = pal_u32(body + PAL_LEASE_MS);
	u32 number = pal_u32(body + PAL_CLUSTER);

	if (pal_u64(body + PAL_STAMP) != m->nonce ||
	    body[PAL_NODE] != m->node || !frame->session ||
	    frame->session == m->session) {
		m->counters.dropped++;
		return;
	}
	m->counters.sessions++;
	m->session = frame->session;
	m->host = body[PAL_HOST];
	m->sequence = 0;
	m->next_at = now;
	m->every = beat_ms * 1000ull;
	/* Half a lease of silence leaves the other half to be found again. */
	m->patience = max(lease_ms * 500ull, m->every * 4);
	m->heard = now;
	m->lease_told = false;
	m->refusal_told = 0;
	m->view_told = 0;
	pal_groups_on_session(m, now);
	pal_mail_on_session(m, now);
	pal_port_event("SESSION session=%u host=%u incarnation=%016llx beat_ms=%u lease_ms=%u cluster=%u",
		       m->session, m->host,
		       (unsigned long long)m->incarnation, beat_ms, lease_ms,
		       number);
	if (m->served_number)
		pal_tell(m);
	if (number) {
		m->served_number = number;
		m->served_random = pal_u32(body + PAL_WELCOME_RANDOM);
	}
	/* The first BEAT opens the session. */
	pal_on_time(m, now);
}

static const char *pal_refusal_word(u8 code)
{
	static const char * const words[] = {
		"unknown", "wrong-node", "condemned", "no-session",
		"not-admitted", "bad-request", "not-yet", "cluster-over",
		"in-group", "not-condemned", "too-long",
	};

	return words[code < ARRAY_SIZE(words) ? code : 0];
}

static void pal_on_error(struct pal_machine *m, u64 now, u8 code)
{
	m->heard = now;
	m->counters.refused++;
	if (code != m->refusal_told) {
		m->refusal_told = code;
		pal_port_event("ERROR refusal=%s", pal_refusal_word(code));
	}
	switch (code) {
	case PAL_CONDEMNED:
		pal_reset(m, PAL_WHY_CONDEMNED);
		break;
	case PAL_CLUSTER_OVER:
		pal_reset(m, PAL_WHY_CLUSTER_OVER);
		break;
	case PAL_NO_SESSION:
		if (m->session)
			pal_ask(m, now, "no-session");
		break;
	case PAL_WRONG_NODE:
		/* A person must change something first. */
		m->session = 0;
		m->every = PAL_HELLO_REFUSED_US;
		m->next_at = now + m->every;
		break;
	case PAL_BAD_REQUEST:
		pal_groups_refused(m);
		break;
	default:
		break;
	}
}

static void pal_on_lease(struct pal_machine *m, u64 now, const u8 *body)
{
	u64 stamp = pal_u64(body + PAL_STAMP);
	u32 lease_ms = pal_u32(body + PAL_LEASE_MS);
	u64 end = stamp + lease_ms * 1000ull;

	/* A stamp from the future is not ours. */
	if (stamp > now) {
		m->counters.dropped++;
		return;
	}
	m->counters.leases++;
	if (end > m->lease_end) {
		m->lease_end = end;
		pal_port_lease(end);
	}
	if (!m->lease_told) {
		m->lease_told = true;
		pal_port_event("LEASE first lease_ms=%u until=%llu.%06llu",
			       lease_ms, (unsigned long long)end / 1000000,
			       (unsigned long long)end % 1000000);
	}
	pal_check_lease(m, now);
}

/* A death stays known until a later incarnation is up. */
static void pal_learn(struct pal_machine *m, u64 version, u8 node, u8 state,
		      u8 host, u8 class, u64 incarnation)
{
	struct pal_known *known = &m->known[node];

	m->version = max(m->version, version);
	if (!node || node == m->node ||
	    (state != PAL_STATE_UP && state != PAL_STATE_DOWN))
		return;
	if (known->state == PAL_STATE_DOWN && known->incarnation == incarnation)
		return;
	known->state = state;
	known->host = host;
	known->class = class;
	known->incarnation = incarnation;
}

static void pal_on_view(struct pal_machine *m, const struct pal_frame *frame)
{
	u64 version = pal_u64(frame->body + PAL_VIEW_VERSION);
	u32 round = pal_u32(frame->body + PAL_ROUND);
	u32 at;

	for (at = 0; at + PAL_ENTRY_BYTES <= frame->length;
	     at += PAL_ENTRY_BYTES) {
		const u8 *entry = frame->payload + at;

		pal_learn(m, version, entry[PAL_ENTRY_NODE],
			  entry[PAL_ENTRY_STATE], entry[PAL_ENTRY_HOST],
			  entry[PAL_ENTRY_CLASS],
			  pal_u64(entry + PAL_ENTRY_INCARNATION));
	}
	if (m->view_told == version && m->view_round == round)
		return;
	m->view_told = version;
	m->view_round = round;
	pal_port_event("VIEW version=%llu ballot=%u.%u part=%u/%u",
		       (unsigned long long)version, round,
		       frame->body[PAL_HOST],
		       pal_u16(frame->body + PAL_PART) + 1,
		       pal_u16(frame->body + PAL_PARTS));
}

static const char *pal_class_word(u8 class)
{
	static const char * const words[] = {
		"none", "vm-gone", "vm-stopped", "power-off", "storage-cut",
		"lease-expired", "operator",
	};

	return words[class < ARRAY_SIZE(words) ? class : 0];
}

static void pal_on_node(struct pal_machine *m, const struct pal_frame *frame)
{
	const u8 *body = frame->body;
	u8 node = body[PAL_NODE], host = body[PAL_HOST], class = body[PAL_CODE];
	u64 incarnation = pal_u64(body + PAL_INCARNATION);
	u64 version = pal_u64(body + PAL_VIEW_VERSION);
	const char *word = "NODE_SUSPECT";

	if (frame->kind == PAL_NODE_DOWN) {
		/* Without evidence it is no message. */
		if (!class) {
			m->counters.dropped++;
			return;
		}
		word = "NODE_DOWN";
		pal_learn(m, version, node, PAL_STATE_DOWN, host, class,
			  incarnation);
	} else if (frame->kind == PAL_NODE_UP) {
		word = "NODE_UP";
		pal_learn(m, version, node, PAL_STATE_UP, host, 0,
			  incarnation);
	}
	pal_port_event("%s node=%u host=%u%s%s incarnation=%016llx version=%llu",
		       word, node, host, class ? " class=" : "",
		       class ? pal_class_word(class) : "",
		       (unsigned long long)incarnation,
		       (unsigned long long)version);
}

static void pal_on_address(struct pal_machine *m, const u8 *body)
{
	struct pal_address *address = &m->address[body[PAL_NODE]];
	u8 family = body[PAL_ADDRESS_FAMILY];
	u32 length = family == 4 ? 4 : 16;

	if (!body[PAL_NODE] || (family != 4 && family != 6)) {
		m->counters.dropped++;
		return;
	}
	address->family = family;
	address->port = pal_u16(body + PAL_ADDRESS_PORT);
	memset(address->bytes, 0, sizeof(address->bytes));
	memcpy(address->bytes, body + PAL_ADDRESS, length);
	pal_port_work();
}

static void pal_on_message(struct pal_machine *m, u64 now,
			   const struct pal_frame *frame)
{
	switch (frame->kind) {
	case PAL_LEASE:
		pal_on_lease(m, now, frame->body);
		break;
	case PAL_VIEW:
		pal_on_view(m, frame);
		break;
	case PAL_NODE_UP:
	case PAL_NODE_SUSPECT:
	case PAL_NODE_DOWN:
		pal_on_node(m, frame);
		break;
	case PAL_DLM_ADDRESS:
		pal_on_address(m, frame->body);
		break;
	case PAL_BUSY:
	case PAL_RECV:
	case PAL_ACK:
	case PAL_GONE:
		m->counters.dropped += !pal_mail_on_frame(m, now, frame);
		break;
	case PAL_LEAVE:
	case PAL_STOP:
	case PAL_START:
		m->counters.old_steps += !pal_group_on_frame(m, now, frame);
		break;
	case PAL_TAKEOVER:
		m->counters.dropped += !pal_takeover_on_frame(m, frame);
		break;
	default:
		m->counters.dropped++;
		break;
	}
}

/**
 * pal_on_frame - take one frame from the channel
 * @m: the machine
 * @now: the time
 * @frame: a frame whose sum is right; nothing else of it is trusted
 */
void pal_on_frame(struct pal_machine *m, u64 now,
		  const struct pal_frame *frame)
{
	m->clock = now;
	pal_check_lease(m, now);
	if (m->over)
		return;
	m->counters.frames++;
	switch (frame->kind) {
	case PAL_WELCOME:
		pal_on_welcome(m, now, frame);
		break;
	case PAL_ERROR:
		/* About our session, or a HELLO or BEAT without one. */
		if (!frame->session || frame->session == m->session)
			pal_on_error(m, now, frame->body[PAL_CODE]);
		else
			m->counters.dropped++;
		break;
	default:
		if (!m->session || frame->session != m->session) {
			m->counters.dropped++;
			break;
		}
		m->heard = now;
		pal_on_message(m, now, frame);
		break;
	}
}

/**
 * pal_cut - a peer's DLM does not answer, or does again
 * @m: the machine
 * @node: the peer
 * @cut: which of the two
 * @silent_ms: for how long it has not
 */
void pal_cut(struct pal_machine *m, u8 node, bool cut, u64 silent_ms)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	if (!m->session || m->over || !m->known[node].incarnation)
		return;
	body[PAL_NODE] = node;
	body[PAL_CUT_STATE] = cut;
	put_unaligned_le64(m->known[node].incarnation, body + PAL_INCARNATION);
	put_unaligned_le64(silent_ms, body + PAL_CUT_MS);
	pal_say(m, PAL_CUT, body);
}

/**
 * pal_bye - leave in peace; nothing is said after it
 * @m: the machine
 */
void pal_bye(struct pal_machine *m)
{
	u8 body[PAL_BODY_BYTES] = { 0 };

	if (m->session && !m->over)
		pal_say(m, PAL_BYE, body);
	m->over = true;
}
