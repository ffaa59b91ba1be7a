// SPDX-License-Identifier: GPL-2.0-only
/*
 * watch - peers whose DLM cannot be reached
 *
 * The DLM has no failure detector: a cut between two nodes makes lock requests
 * hang without a word.  This thread, which nothing waits for, looks now and
 * then at the connections between the DLMs of nodes that share a volume.  The
 * evidence is TCP's: something was sent and nothing is acknowledged, or no
 * connection can be made.  A peer that is busy, or that waits for others,
 * acknowledges.
 *
 * What has lasted for more than `cut_ms` is said to the appliance, again about
 * every second, and once when it is over.  It proves nothing (SAFETY F6).
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <net/inet_connection_sock.h>
#include <net/inet_hashtables.h>
#include <net/tcp.h>

#include "shim.h"

#define PAL_LOOK_MS	250
#define PAL_CHAINS	4096	/* looked at before others may run */
#define PAL_AGAIN_US	1000000
#define PAL_QUIET	(HZ / 3)	/* nothing is acknowledged for so long */
#define PAL_DLM_PORT	21064

static uint cut_ms = 1000;
module_param(cut_ms, uint, 0644);
MODULE_PARM_DESC(cut_ms,
		 "How long a peer's DLM may not answer before the appliance is told (ms)");

struct pal_peer {
	bool member;
	bool repeats;		/* TCP says so */
	u64 since;		/* it is silent; 0: it is not */
	u64 said;		/* when that was said last; 0: not */
};

static struct pal_peer pal_peers[PAL_NODES_MAX];
static u64 pal_cuts, pal_look_us;
static struct task_struct *pal_watch_task;

/* Notes the peers of a group; whether there are any. */
static bool pal_look_at_group(const struct pal_group *group)
{
	bool any = false;
	u32 at;

	spin_lock(&pal_lock);
	for (at = 0; group->used && group->phase == PAL_IS_RUNNING &&
	     at < group->known_count; at++) {
		const struct pal_entry *entry = &group->known[at];

		if (entry->fate != PAL_FATE_MEMBER ||
		    entry->node == pal_machine.node)
			continue;
		pal_peers[entry->node].member = true;
		any = true;
	}
	spin_unlock(&pal_lock);
	return any;
}

static bool pal_is_peer(const struct sock *sk, const struct pal_address *peer)
{
	if (peer->family == 4)
		return sk->sk_family == AF_INET &&
		       !memcmp(&sk->sk_daddr, peer->bytes, 4);
	if (peer->family == 6)
		return sk->sk_family == AF_INET6 &&
		       !memcmp(&sk->sk_v6_daddr, peer->bytes, 16);
	return false;
}

static bool pal_is_dlm(const struct sock *sk, u16 port)
{
	return sk->sk_num == port || ntohs(sk->sk_dport) == port;
}

/* What a dead peer left behind repeats its end for a while: not a peer's. */
static bool pal_is_open_socket(const struct sock *sk)
{
	return (sk->sk_state == TCP_ESTABLISHED ||
		sk->sk_state == TCP_SYN_SENT) && !sock_flag(sk, SOCK_DEAD);
}

/*
 * What was sent is repeated in vain, or (the way out is gone) not even sent.
 * After a long silence the first look may be wrong; it must last to count.
 */
static bool pal_is_in_vain(const struct sock *sk)
{
	const struct tcp_sock *tcp = tcp_sk(sk);

	return READ_ONCE(inet_csk(sk)->icsk_retransmits) ||
	       (READ_ONCE(tcp->write_seq) != READ_ONCE(tcp->snd_una) &&
		tcp_jiffies32 - READ_ONCE(tcp->rcv_tstamp) > PAL_QUIET);
}

/* One connection, which is the DLM's by its ports. */
static void pal_look_at_socket(const struct sock *sk,
			       const struct pal_address *peers)
{
	u16 port = peers[pal_machine.node].port;
	u32 node;

	if (!pal_is_open_socket(sk) ||
	    !pal_is_dlm(sk, port ? port : PAL_DLM_PORT) ||
	    !pal_is_in_vain(sk))
		return;
	for (node = 1; node < PAL_NODES_MAX; node++)
		if (pal_peers[node].member &&
		    pal_is_peer(sk, &peers[node]))
			pal_peers[node].repeats = true;
}

static void pal_look_at_tcp(void)
{
	static struct pal_address peers[PAL_NODES_MAX];
	struct hlist_nulls_node *node;
	struct sock *sk;
	u32 at;

	spin_lock(&pal_lock);
	memcpy(peers, pal_machine.address, sizeof(peers));
	spin_unlock(&pal_lock);
	/* Half a million chains on a large machine, most of them empty. */
	for (at = 0; at <= tcp_hashinfo.ehash_mask; at++) {
		const struct hlist_nulls_head *chain =
			&tcp_hashinfo.ehash[at].chain;

		if (!(at % PAL_CHAINS))
			cond_resched();
		if (hlist_nulls_empty(chain))
			continue;
		rcu_read_lock();
		sk_nulls_for_each_rcu(sk, node, chain)
			pal_look_at_socket(sk, peers);
		rcu_read_unlock();
	}
}

static void pal_look(void)
{
	u64 begun = pal_now();
	bool any = false;
	u32 at;

	for (at = 0; at < PAL_NODES_MAX; at++) {
		pal_peers[at].member = false;
		pal_peers[at].repeats = false;
	}
	for (at = 0; at < PAL_GROUPS_MAX; at++)
		any |= pal_look_at_group(&pal_machine.groups[at]);
	if (any)
		pal_look_at_tcp();
	pal_look_us = pal_now() - begun;
}

static void pal_say_of(u8 node, u64 now)
{
	struct pal_peer *peer = &pal_peers[node];
	u64 silent;
	bool cut;

	if (!peer->repeats)
		peer->since = 0;
	else if (!peer->since)
		peer->since = now;
	silent = peer->since ? now - peer->since : 0;
	cut = silent > cut_ms * 1000ull;
	if (!cut && !peer->said)
		return;
	if (cut && peer->said && now < peer->said + PAL_AGAIN_US)
		return;
	spin_lock(&pal_lock);
	if (cut != !!peer->said)
		pal_port_event("CUT node=%u state=%u ms=%llu", node, cut,
			       silent / 1000);
	pal_cut(&pal_machine, node, cut, silent / 1000);
	spin_unlock(&pal_lock);
	pal_cuts += cut && !peer->said;
	peer->said = cut ? now : 0;
}

/* The reserve is filled while something is open and nobody recovers. */
static void pal_reserve_keep(void)
{
	bool open = false, settled = true;
	int at;

	spin_lock(&pal_lock);
	for (at = 0; at < PAL_GROUPS_MAX; at++) {
		const struct pal_group *group = &pal_machine.groups[at];

		if (!group->used || group->phase == PAL_IS_CLOSED)
			continue;
		open = true;
		settled &= group->replayed;
	}
	spin_unlock(&pal_lock);
	if (open && settled)
		pal_reserve_fill();
}

static int pal_watch(void *unused)
{
	u32 node;

	while (!kthread_should_stop()) {
		pal_look();
		for (node = 1; node < PAL_NODES_MAX; node++)
			pal_say_of(node, pal_now());
		pal_reserve_keep();
		msleep_interruptible(PAL_LOOK_MS);
	}
	return 0;
}

void pal_watch_show(struct seq_file *file)
{
	u32 node;

	seq_printf(file, "cuts %llu\nlast_look_us %llu\n", pal_cuts,
		   pal_look_us);
	for (node = 1; node < PAL_NODES_MAX; node++)
		if (pal_peers[node].said)
			seq_printf(file, "cut node=%u\n", node);
}

int pal_watch_init(void)
{
	pal_watch_task = kthread_run(pal_watch, NULL, "palisade/watch");
	return PTR_ERR_OR_ZERO(pal_watch_task);
}

void pal_watch_exit(void)
{
	kthread_stop(pal_watch_task);
}
