// SPDX-License-Identifier: GPL-2.0-only
/*
 * replay - OCFS2 is told whom the DLM has lost, until it replays the journals
 *
 * Told of a node, OCFS2 does two things.  It notes the node, and from then on
 * everybody waits until that journal is replayed: so this comes before the DLM
 * grants a lock of the dead, in the DLM's recovery.  And it starts the thread
 * that replays.  For that it waits for kthreadd, and kthreadd may be stuck for
 * memory, evicting an inode whose lock waits for the DLM's recovery: so nothing
 * in that recovery may wait for a thread (SHIM traps 4 and 9).
 *
 * One thread tells OCFS2 of everything.  During the DLM's recovery it does so
 * with a signal pending, with which OCFS2 gives its thread up at once; once the
 * DLM has recovered, without, again and again until OCFS2's thread is seen.
 * That may take as long as memory is short, and the next death interrupts it.
 * Told twice, OCFS2 looks at a journal once more.
 */
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>

#include "shim.h"

#define PAL_AGAIN_MS	20

enum pal_replay_state {
	PAL_NONE_DEAD,
	PAL_NOTED,		/* OCFS2's thread was not seen since */
	PAL_REPLAYING,
};

struct pal_replay {
	enum pal_replay_state state;
	bool may_start;		/* the DLM has recovered */
	u8 asked;		/* to be noted now; 0: nobody */
	void *connection;
	const char *space;
	struct completion noted;
	DECLARE_BITMAP(dead, PAL_NODES_MAX);
};

static struct pal_replay pal_replays[PAL_GROUPS_MAX];
/* Held for what a row says. */
static DEFINE_SPINLOCK(pal_replay_lock);
/* Held while OCFS2 is told. */
static DEFINE_MUTEX(pal_replay_telling);
static struct task_struct *pal_replay_task;
static DECLARE_WAIT_QUEUE_HEAD(pal_replay_wait);
static bool pal_replay_due;
static u64 pal_replay_tries;

static void pal_replay_wake(void)
{
	WRITE_ONCE(pal_replay_due, true);
	wake_up(&pal_replay_wait);
}

/* The row of a DLM that waits to go on with its recovery. */
static struct pal_replay *pal_asked(void)
{
	struct pal_replay *found = NULL;
	int at;

	spin_lock(&pal_replay_lock);
	for (at = 0; at < PAL_GROUPS_MAX && !found; at++)
		if (pal_replays[at].asked)
			found = &pal_replays[at];
	spin_unlock(&pal_replay_lock);
	return found;
}

static void pal_note(struct pal_replay *row)
{
	send_sig(SIGKILL, current, 1);
	pal_stack_recover(row->connection, row->asked);
	spin_lock(&pal_replay_lock);
	__set_bit(row->asked, row->dead);
	row->state = PAL_NOTED;
	row->may_start = false;
	row->asked = 0;
	spin_unlock(&pal_replay_lock);
	complete(&row->noted);
}

/* Whether OCFS2's thread is still to be started. */
static bool pal_start(struct pal_replay *row)
{
	bool wanted, seen;
	u32 node;

	spin_lock(&pal_replay_lock);
	wanted = row->state == PAL_NOTED && row->may_start;
	spin_unlock(&pal_replay_lock);
	if (!wanted)
		return false;
	for_each_set_bit(node, row->dead, PAL_NODES_MAX)
		pal_stack_recover(row->connection, node);
	pal_replay_tries++;
	seen = pal_stack_is_recovering(row->space);
	spin_lock(&pal_replay_lock);
	if (seen && row->state == PAL_NOTED)
		row->state = PAL_REPLAYING;
	spin_unlock(&pal_replay_lock);
	return !seen;
}

/* Whoever asks comes first: its signal may end what is done for others. */
static bool pal_replay_round(void)
{
	struct pal_replay *row;
	bool again = false;
	int at;

	mutex_lock(&pal_replay_telling);
	flush_signals(current);
	while ((row = pal_asked())) {
		pal_note(row);
		flush_signals(current);
	}
	for (at = 0; at < PAL_GROUPS_MAX; at++)
		again |= pal_start(&pal_replays[at]);
	mutex_unlock(&pal_replay_telling);
	return again;
}

static int pal_replay(void *unused)
{
	bool again = false;

	allow_kernel_signal(SIGKILL);
	while (!kthread_should_stop()) {
		long wait = again ? msecs_to_jiffies(PAL_AGAIN_MS) :
				    MAX_SCHEDULE_TIMEOUT;

		wait_event_interruptible_timeout(pal_replay_wait,
						 READ_ONCE(pal_replay_due) ||
						 kthread_should_stop(), wait);
		WRITE_ONCE(pal_replay_due, false);
		again = pal_replay_round();
	}
	return 0;
}

/**
 * pal_replay_note - OCFS2 is to note that a node is dead
 * @at: the row of the volume
 * @connection: OCFS2's
 * @space: the volume's name
 * @node: who is dead
 *
 * Called by the DLM's recovery thread, one node after the other; what it waits
 * for waits for no memory and no lock of the DLM.
 */
void pal_replay_note(int at, void *connection, const char *space, u8 node)
{
	struct pal_replay *row = &pal_replays[at];

	reinit_completion(&row->noted);
	spin_lock(&pal_replay_lock);
	row->connection = connection;
	row->space = space;
	row->asked = node;
	spin_unlock(&pal_replay_lock);
	pal_replay_wake();
	send_sig(SIGKILL, pal_replay_task, 1);
	wait_for_completion(&row->noted);
}

/**
 * pal_replay_start - the DLM has recovered, so OCFS2 may replay
 * @at: the row of the volume
 */
void pal_replay_start(int at)
{
	spin_lock(&pal_replay_lock);
	pal_replays[at].may_start = true;
	spin_unlock(&pal_replay_lock);
	pal_replay_wake();
}

/**
 * pal_replay_is_over - whether the journals of all dead are replayed
 * @at: the row of the volume
 *
 * Asked by the worker, when the DLM has recovered.
 */
bool pal_replay_is_over(int at)
{
	struct pal_replay *row = &pal_replays[at];
	bool over;

	spin_lock(&pal_replay_lock);
	over = row->state == PAL_REPLAYING &&
	       !pal_stack_is_recovering(row->space);
	if (over) {
		row->state = PAL_NONE_DEAD;
		bitmap_zero(row->dead, PAL_NODES_MAX);
	}
	over = row->state == PAL_NONE_DEAD;
	spin_unlock(&pal_replay_lock);
	return over;
}

/**
 * pal_replay_forget - the volume is closed: OCFS2 will not be there any more
 * @at: the row of the volume
 */
void pal_replay_forget(int at)
{
	struct pal_replay *row = &pal_replays[at];

	spin_lock(&pal_replay_lock);
	row->state = PAL_NONE_DEAD;
	bitmap_zero(row->dead, PAL_NODES_MAX);
	spin_unlock(&pal_replay_lock);
	/* It may be with that volume just now. */
	send_sig(SIGKILL, pal_replay_task, 1);
	mutex_lock(&pal_replay_telling);
	mutex_unlock(&pal_replay_telling);
}

void pal_replay_show(struct seq_file *file)
{
	seq_printf(file, "replay_tries %llu\n", pal_replay_tries);
}

int pal_replay_init(void)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		init_completion(&pal_replays[at].noted);
	pal_replay_task = pal_thread(pal_replay, "palisade/replay", false);
	return PTR_ERR_OR_ZERO(pal_replay_task);
}

void pal_replay_exit(void)
{
	kthread_stop(pal_replay_task);
}
