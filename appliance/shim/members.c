// SPDX-License-Identifier: GPL-2.0-only
/*
 * members - the worker: what STOP, START and LEAVE mean for the DLM
 *
 * Stopping and starting a lockspace may block, so a thread of its own does it,
 * one job after the other; the thread of the channel only tells it what.
 *
 *   STOP      control=0
 *   START     comms of the dead go, then the nodes that are not in the set,
 *             then those that are new come, then control=1
 *   LEAVE     the leaver's nodes and space go, event_done=0
 *
 * A dead node's comm goes BEFORE control=1: if it stayed, the DLM would take
 * the death for a leave, call no recover_slot, and the journal would never be
 * replayed.  Of a node that left the comm stays.  A comm belongs to one
 * incarnation: a death that is told late, for another volume, does not take
 * away the comm of the next incarnation.
 *
 * recover_slot runs in the DLM's own recovery thread, which a later STOP waits
 * for.  So it waits for no memory and no lock: START comes only after
 * Confirmed, and recover_slot merely looks whether the incarnation that the DLM
 * lost is one that this START calls dead, and has OCFS2 note it (replay.c).  If
 * not, this machine ends (SHIM traps 4 and 5).
 *
 * OCFS2 replays in a kernel thread, which needs memory: so some pages are held
 * back (comms.c), and given back just before a START that tells a death.
 */
#include <linux/crc32.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>

#include "members.h"

#define PAL_POLL_MS		10
#define PAL_IDLE_MS		1000
/* DLM_RS_DONE of fs/dlm: this node's part of the recovery is over. */
#define PAL_DLM_DONE		0x40

struct pal_member pal_members[PAL_GROUPS_MAX];
/* Held by whoever drives the DLM: the worker, a mount, an umount. */
static DEFINE_MUTEX(pal_members_lock);
static struct task_struct *pal_worker_task;
static DECLARE_WAIT_QUEUE_HEAD(pal_worker_wait);
static bool pal_worker_due;
static u64 pal_stop_us, pal_start_us, pal_failures;

void pal_port_work(void)
{
	WRITE_ONCE(pal_worker_due, true);
	wake_up(&pal_worker_wait);
}

/*
 * Whoever else holds the lock must not wait for a volume that we start, nor
 * for memory: it takes from the last pages, as the worker does.
 */
unsigned int pal_members_enter(void)
{
	unsigned int flags = memalloc_noreclaim_save();

	mutex_lock(&pal_members_lock);
	return flags;
}

void pal_members_done(unsigned int flags)
{
	mutex_unlock(&pal_members_lock);
	memalloc_noreclaim_restore(flags);
}

/* Whether a lockspace has this node; the members' lock is held. */
bool pal_members_use(u8 node)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		if (pal_members[at].here[node])
			return true;
	return false;
}

static bool pal_is_member(const struct pal_member *member, u8 node, u64 inc)
{
	u32 at;

	for (at = 0; at < member->plan_count; at++)
		if (member->plan[at].node == node &&
		    member->plan[at].fate == PAL_FATE_MEMBER)
			return member->plan[at].incarnation == inc;
	return false;
}

/* The comms of the dead go first: trap 1. */
static bool pal_drop_dead(struct pal_member *member)
{
	bool any = false;
	u32 at;

	for (at = 0; at < member->plan_count; at++) {
		const struct pal_entry *entry = &member->plan[at];
		u8 node = entry->node;

		any |= entry->fate == PAL_FATE_DEAD;
		if (entry->fate != PAL_FATE_DEAD &&
		    entry->fate != PAL_FATE_NEVER_STARTED)
			continue;
		if (node == pal_machine.node)
			continue;
		pal_comm_over(node, entry->incarnation);
	}
	return any;
}

static int pal_program(struct pal_member *member)
{
	int error = 0;
	u32 node, at;

	for (node = 1; node < PAL_NODES_MAX; node++) {
		u64 here = member->here[node];

		if (!here || pal_is_member(member, node, here))
			continue;
		pal_dlm_node_drop(member->space, node);
		member->gone[node] = here;
		member->here[node] = 0;
	}
	for (at = 0; at < member->plan_count && !error; at++) {
		const struct pal_entry *entry = &member->plan[at];

		if (entry->fate != PAL_FATE_MEMBER ||
		    member->here[entry->node])
			continue;
		error = pal_comm_need(entry->node, entry->incarnation);
		if (!error)
			error = pal_dlm_node_make(member->space, entry->node);
		if (!error)
			member->here[entry->node] = entry->incarnation;
	}
	return error;
}

static bool pal_still(int at, enum pal_phase phase, u64 generation)
{
	const struct pal_group *group = &pal_machine.groups[at];
	bool still;

	spin_lock(&pal_lock);
	still = group->phase == phase && group->generation == generation;
	spin_unlock(&pal_lock);
	return still;
}

static int pal_run(struct pal_member *member)
{
	char text[12];
	int error;

	if (!member->started) {
		/* The same on all nodes. */
		u32 id = crc32_le(0, member->space, strlen(member->space));

		scnprintf(text, sizeof(text), "%u", id);
		error = pal_dlm_store(member->space, "id", text);
		if (error)
			return error;
	}
	error = pal_dlm_store(member->space, "control", "1");
	if (error || member->started)
		return error;
	member->started = true;
	return pal_dlm_store(member->space, "event_done", "0");
}

static void pal_do_start(int at, u64 generation)
{
	struct pal_member *member = &pal_members[at];
	struct pal_group *group = &pal_machine.groups[at];
	u64 begun = pal_now();
	int error;

	spin_lock(&pal_lock);
	member->plan_count = group->next_count;
	memcpy(member->plan, group->next,
	       group->next_count * sizeof(*group->next));
	spin_unlock(&pal_lock);
	if (pal_drop_dead(member))
		pal_reserve_give_back();
	error = pal_program(member);
	if (!pal_still(at, PAL_IS_STARTING, generation))
		return;
	member->generation = generation;
	atomic_set(&member->recovered, 0);
	if (!error)
		error = pal_run(member);
	pal_start_us = pal_now() - begun;
	spin_lock(&pal_lock);
	if (!error) {
		pal_group_started(&pal_machine, at, generation);
	} else {
		/* An address that is not told yet: tried again. */
		pal_failures++;
		if (group->phase == PAL_IS_STARTING &&
		    group->generation == generation)
			group->job = PAL_JOB_START;
	}
	spin_unlock(&pal_lock);
}

static void pal_do_stop(int at, u64 generation)
{
	u64 begun = pal_now();

	if (pal_dlm_store(pal_members[at].space, "control", "0"))
		pal_failures++;
	pal_stop_us = pal_now() - begun;
	spin_lock(&pal_lock);
	pal_group_stopped(&pal_machine, at, generation);
	spin_unlock(&pal_lock);
}

void pal_space_drop(struct pal_member *member)
{
	if (member->space_made)
		pal_dlm_space_drop(member->space);
	member->space_made = false;
	memset(member->here, 0, sizeof(member->here));
}

static void pal_do_job(int at, enum pal_job job, u64 generation)
{
	struct pal_member *member = &pal_members[at];

	switch (job) {
	case PAL_JOB_STOP:
		pal_do_stop(at, generation);
		break;
	case PAL_JOB_START:
		pal_do_start(at, generation);
		break;
	case PAL_JOB_LEFT:
		pal_space_drop(member);
		pal_dlm_store(member->space, "event_done", "0");
		break;
	case PAL_JOB_REFUSED:
		pal_space_drop(member);
		pal_dlm_store(member->space, "event_done", "-22");
		spin_lock(&pal_lock);
		pal_group_refused(&pal_machine, at);
		spin_unlock(&pal_lock);
		break;
	case PAL_JOB_NONE:
		break;
	}
}

/* The lockspace of a mount appears a moment after the mount's call. */
static bool pal_make_ready(int at)
{
	struct pal_member *member = &pal_members[at];

	if (!pal_dlm_is_there(member->space))
		return true;
	if (pal_dlm_space_make(member->space)) {
		pal_failures++;
		return true;
	}
	member->space_made = true;
	spin_lock(&pal_lock);
	pal_group_ready(&pal_machine, pal_now(), at);
	spin_unlock(&pal_lock);
	pal_kick();
	return false;
}

/* Says RECOVERED, and later that the journals are replayed. */
static bool pal_look_after(int at, bool recovered, u64 generation)
{
	struct pal_member *member = &pal_members[at];

	if (!recovered) {
		int status;

		if (!atomic_read(&member->recovered))
			return false;
		/* A callback of an earlier START may come late. */
		status = pal_dlm_recover_status(member->space);
		if (status < 0 || !(status & PAL_DLM_DONE)) {
			atomic_set(&member->recovered, 0);
			return false;
		}
		spin_lock(&pal_lock);
		pal_group_recovered(&pal_machine, at, generation);
		spin_unlock(&pal_lock);
		pal_replay_start(at);
		return true;
	}
	if (!member->mounted || !pal_replay_is_over(at))
		return true;
	spin_lock(&pal_lock);
	pal_group_replayed(&pal_machine, at, generation);
	spin_unlock(&pal_lock);
	return false;
}

/* Whether there is something to look after again soon. */
static bool pal_work_on(int at)
{
	struct pal_group *group = &pal_machine.groups[at];
	bool wants_ready, running, recovered, replayed;
	enum pal_job job;
	u64 generation;

	spin_lock(&pal_lock);
	job = group->job;
	group->job = PAL_JOB_NONE;
	generation = group->generation;
	wants_ready = group->phase == PAL_IS_JOINING && !group->ready;
	running = group->phase == PAL_IS_RUNNING;
	recovered = group->recovered;
	replayed = group->replayed;
	spin_unlock(&pal_lock);
	if (job != PAL_JOB_NONE) {
		pal_do_job(at, job, generation);
		return true;
	}
	if (!pal_members[at].connection)
		return false;
	if (wants_ready)
		return pal_make_ready(at);
	if (running && !replayed)
		return pal_look_after(at, recovered, generation);
	return false;
}

static int pal_worker(void *unused)
{
	bool soon = false;
	int at;

	while (!kthread_should_stop()) {
		long wait = msecs_to_jiffies(soon ? PAL_POLL_MS : PAL_IDLE_MS);

		wait_event_interruptible_timeout(pal_worker_wait,
						 READ_ONCE(pal_worker_due) ||
						 kthread_should_stop(), wait);
		WRITE_ONCE(pal_worker_due, false);
		soon = false;
		mutex_lock(&pal_members_lock);
		for (at = 0; at < PAL_GROUPS_MAX; at++)
			soon |= pal_work_on(at);
		pal_comms_ahead();
		mutex_unlock(&pal_members_lock);
	}
	return 0;
}

/**
 * pal_members_recover - the DLM has lost a node that it had; is it dead?
 * @at: the row
 * @node: the node
 *
 * Called by the DLM's recovery thread: it must not wait, see above.
 *
 * Return: whether OCFS2 is to recover it.  If nothing confirms the death of
 * the incarnation that was there, this machine does not go on.
 */
bool pal_members_recover(int at, u8 node)
{
	struct pal_member *member = &pal_members[at];
	u32 entry;

	for (entry = 0; entry < member->plan_count; entry++) {
		const struct pal_entry *told = &member->plan[entry];

		if (told->node != node ||
		    told->incarnation != member->gone[node] ||
		    told->fate == PAL_FATE_MEMBER)
			continue;
		return told->fate == PAL_FATE_DEAD;
	}
	spin_lock(&pal_lock);
	pal_reset(&pal_machine, PAL_WHY_UNCONFIRMED);
	spin_unlock(&pal_lock);
	return false;
}

/* From the DLM's recovery thread, too. */
void pal_members_recovered(int at)
{
	atomic_set(&pal_members[at].recovered, 1);
	pal_port_work();
}

void pal_members_show(struct seq_file *file)
{
	seq_printf(file, "last_stop_us %llu\nlast_start_us %llu\nfailures %llu\n",
		   pal_stop_us, pal_start_us, pal_failures);
}

int pal_members_init(void)
{
	pal_mount_init();
	pal_worker_task = pal_thread(pal_worker, "palisade/work", false);
	return PTR_ERR_OR_ZERO(pal_worker_task);
}

void pal_members_exit(void)
{
	kthread_stop(pal_worker_task);
	pal_mount_exit();
	pal_comms_exit();
}
