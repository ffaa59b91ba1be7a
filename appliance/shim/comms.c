// SPDX-License-Identifier: GPL-2.0-only
/*
 * comms - where the other nodes' DLMs are, and pages held back
 *
 * A comm is the DLM's knowledge of one node's address.  It is made as soon as
 * the address is told, so that a change of the group has less to do, and is
 * bound to one incarnation: the DLM takes a node for dead if its comm is
 * another one than when it came, and for left if it is the same.
 *
 * The worker calls in here, under the lock of members.c; only the reserve is
 * filled by another thread.
 */
#include <linux/gfp.h>

#include "shim.h"

#define PAL_RESERVE_PAGES	1024	/* 4 MiB */

static struct {
	bool made;
	u64 incarnation;
	struct pal_address address;
} pal_comms[PAL_NODES_MAX];

static LIST_HEAD(pal_reserve);
static u32 pal_reserve_count;
static DEFINE_SPINLOCK(pal_reserve_lock);
static u64 pal_comm_failures;

/* Fills the reserve as far as memory is free: it presses nobody. */
void pal_reserve_fill(void)
{
	while (READ_ONCE(pal_reserve_count) < PAL_RESERVE_PAGES) {
		struct page *page = alloc_page(GFP_NOWAIT | __GFP_NOWARN);

		if (!page)
			return;
		spin_lock(&pal_reserve_lock);
		list_add(&page->lru, &pal_reserve);
		pal_reserve_count++;
		spin_unlock(&pal_reserve_lock);
	}
}

void pal_reserve_give_back(void)
{
	struct page *page, *next;
	LIST_HEAD(pages);

	spin_lock(&pal_reserve_lock);
	list_splice_init(&pal_reserve, &pages);
	pal_reserve_count = 0;
	spin_unlock(&pal_reserve_lock);
	list_for_each_entry_safe(page, next, &pages, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

static u64 pal_incarnation_of(u8 node)
{
	const struct pal_known *known = &pal_machine.known[node];
	u64 incarnation = 0;

	spin_lock(&pal_lock);
	if (node == pal_machine.node)
		incarnation = pal_machine.incarnation;
	else if (known->state == PAL_STATE_UP)
		incarnation = known->incarnation;
	spin_unlock(&pal_lock);
	return incarnation;
}

static struct pal_address pal_address_of(u8 node)
{
	struct pal_address address;

	spin_lock(&pal_lock);
	address = pal_machine.address[node];
	spin_unlock(&pal_lock);
	return address;
}

bool pal_comm_is_made(u8 node)
{
	return pal_comms[node].made;
}

static void pal_comm_drop(u8 node)
{
	if (!pal_comms[node].made)
		return;
	if (pal_dlm_comm_drop(node))
		pal_comm_failures++;
	pal_comms[node].made = false;
	pal_comms[node].incarnation = 0;
}

static int pal_comm_make(u8 node, u64 incarnation)
{
	struct pal_address address = pal_address_of(node);
	int error;

	if (!address.family)
		return -ENOENT;
	error = pal_dlm_comm_make(node, &address, node == pal_machine.node);
	if (error) {
		pal_comm_failures++;
		return error;
	}
	pal_comms[node].made = true;
	pal_comms[node].incarnation = incarnation;
	pal_comms[node].address = address;
	return 0;
}

/* Makes the comms that are told of, so that a START has less to do. */
void pal_comms_ahead(void)
{
	u32 node;

	for (node = 1; node < PAL_NODES_MAX; node++) {
		struct pal_address address = pal_address_of(node);

		if (!address.family)
			continue;
		if (pal_comms[node].made && !pal_members_use(node) &&
		    node != pal_machine.node &&
		    memcmp(&address, &pal_comms[node].address,
			   sizeof(address)))
			pal_comm_drop(node);
		if (!pal_comms[node].made)
			pal_comm_make(node, pal_incarnation_of(node));
	}
}

/**
 * pal_comm_need - see to it that a member's comm is that of its incarnation
 * @node: the member
 * @incarnation: as START names it
 */
int pal_comm_need(u8 node, u64 incarnation)
{
	if (pal_comms[node].made &&
	    pal_comms[node].incarnation == incarnation)
		return 0;
	if (pal_comms[node].made && !pal_comms[node].incarnation &&
	    !pal_members_use(node)) {
		pal_comms[node].incarnation = incarnation;
		return 0;
	}
	/* Our own stays: the DLM listens on it. */
	if (node == pal_machine.node && pal_comms[node].made)
		return 0;
	pal_comm_drop(node);
	return pal_comm_make(node, incarnation);
}

/**
 * pal_comm_over - an incarnation is dead, or never started: its comm goes
 * @node: the node
 * @incarnation: if the comm is a later one's, it stays
 */
void pal_comm_over(u8 node, u64 incarnation)
{
	if (node == pal_machine.node)
		return;
	if (pal_comms[node].incarnation == incarnation ||
	    !pal_comms[node].incarnation)
		pal_comm_drop(node);
}

void pal_comms_show(struct seq_file *file)
{
	u32 node, comms = 0;

	for (node = 1; node < PAL_NODES_MAX; node++)
		comms += pal_comms[node].made;
	seq_printf(file, "comms %u\ncomm_failures %llu\nreserve_pages %u\n",
		   comms, pal_comm_failures, pal_reserve_count);
}

void pal_comms_exit(void)
{
	u32 node;

	for (node = 1; node < PAL_NODES_MAX; node++)
		pal_comm_drop(node);
	pal_reserve_give_back();
}
