// SPDX-License-Identifier: GPL-2.0-only
/*
 * plock - POSIX locks (fcntl) of this node's processes
 *
 * A process asks in its own name: the question lies on its stack, holder.c has
 * it in a list until it is answered or taken back, and nothing here allocates
 * but the VFS's own record of a lock.  Every wait ends by the answer or by a
 * signal, so none is in D state; while a barrier runs, or a report is missing,
 * questions wait.
 *
 *   lock     granted by the arbiter, then noted by the VFS
 *   unlock   forgotten by the VFS, then here; told to the arbiter, not waited for
 *
 * The VFS's record is what makes the kernel call when a file is closed, and it
 * is never ahead of the cluster's.  Between two locks of one node it may be a
 * moment behind: then the one that was granted tries again.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "shim.h"

/* For so long the VFS may be behind; it is a moment. */
#define PAL_NOTE_TRIES	2000
#define PAL_NOTE_US	500
/* How often another thread of the process may come in between. */
#define PAL_LOCK_TRIES	100

struct pal_waiter {
	struct completion done;
	struct pal_ask ask;
};

/* The machine's lock is held. */
void pal_port_answered(struct pal_ask *ask)
{
	complete(&container_of(ask, struct pal_waiter, ask)->done);
}

/* At a mount; later nothing is allocated. */
struct pal_locks *pal_plock_make(void)
{
	struct pal_locks *locks = kvzalloc(sizeof(*locks), GFP_KERNEL);

	if (locks)
		pal_locks_init(locks);
	return locks;
}

/* After an umount, or a mount that failed; at is below 0 if it never began. */
void pal_plock_end(int at, struct pal_locks *locks)
{
	if (at >= 0) {
		spin_lock(&pal_lock);
		/* The row may be another mount's already. */
		if (pal_machine.groups[at].locks == locks)
			pal_relay_close(&pal_machine, pal_now(),
					&pal_machine.groups[at]);
		spin_unlock(&pal_lock);
	}
	kvfree(locks);
}

static struct pal_range pal_range_of(u64 inode, const struct file_lock *fl,
				     u8 hold)
{
	return (struct pal_range) {
		.inode = inode, .owner = (unsigned long)fl->fl_owner,
		.start = fl->fl_start, .end = fl->fl_end,
		.pid = fl->fl_pid, .node = pal_machine.node, .hold = hold,
	};
}

/* Whatever became of it, the question is over. */
static bool pal_forget(struct pal_group *group, struct pal_waiter *waiter)
{
	bool again;

	spin_lock(&pal_lock);
	pal_locks_forget(&pal_machine, group, pal_now(), &waiter->ask);
	again = waiter->ask.again;
	spin_unlock(&pal_lock);
	return again;
}

/* Below 0: a signal came first. */
static int pal_ask_and_wait(struct pal_group *group, struct pal_waiter *waiter)
{
	init_completion(&waiter->done);
	spin_lock(&pal_lock);
	pal_locks_ask(&pal_machine, group, pal_now(), &waiter->ask);
	spin_unlock(&pal_lock);
	if (!wait_for_completion_interruptible(&waiter->done))
		return 0;
	spin_lock(&pal_lock);
	/* The answer came with the signal: it counts. */
	if (waiter->ask.state == PAL_ASK_DONE) {
		spin_unlock(&pal_lock);
		return 0;
	}
	pal_locks_forget(&pal_machine, group, pal_now(), &waiter->ask);
	spin_unlock(&pal_lock);
	/* A question that does not wait is asked again after the handler. */
	return waiter->ask.flag & PAL_ASK_WAIT ? -ERESTARTSYS :
						 -ERESTARTNOINTR;
}

static int pal_error(u8 answer)
{
	switch (answer) {
	case PAL_ANSWER_GRANTED:
		return 0;
	case PAL_ANSWER_TAKEN:
		return -EAGAIN;
	case PAL_ANSWER_DEADLOCK:
		return -EDEADLK;
	default:
		return -ENOLCK;
	}
}

/* The VFS notes what was granted, or what is given back. */
static int pal_note(struct file *file, struct file_lock *fl, u8 type)
{
	unsigned int flags = fl->fl_flags;
	u8 wanted = fl->fl_type;
	int error, tries;

	fl->fl_flags &= ~FL_SLEEP;
	fl->fl_type = type;
	for (tries = 0; tries < PAL_NOTE_TRIES; tries++) {
		error = posix_lock_file(file, fl, NULL);
		if (error != -EAGAIN)
			break;
		usleep_range(PAL_NOTE_US, 2 * PAL_NOTE_US);
	}
	fl->fl_flags = flags;
	fl->fl_type = wanted;
	return error;
}

static void pal_give_back(struct pal_group *group, u64 inode,
			  struct file *file, struct file_lock *fl)
{
	struct pal_range want = pal_range_of(inode, fl, PAL_HOLD_NONE);

	pal_note(file, fl, F_UNLCK);
	spin_lock(&pal_lock);
	pal_locks_lower(&pal_machine, group, pal_now(), &want);
	spin_unlock(&pal_lock);
}

/* Asks, and notes what is granted; again: something came in between. */
static int pal_lock_once(struct pal_group *group, u64 inode, struct file *file,
			 int cmd, struct file_lock *fl, bool *again)
{
	u8 hold = fl->fl_type == F_WRLCK ? PAL_HOLD_WRITE : PAL_HOLD_READ;
	struct pal_waiter waiter = {
		.ask.word = PAL_LINE_ASK,
		.ask.want = pal_range_of(inode, fl, hold),
	};
	int error, noted = 0;

	if (IS_SETLKW(cmd))
		waiter.ask.flag = PAL_ASK_WAIT;
	/* Who owns by the open file is not looked at, as on one node. */
	if (IS_SETLKW(cmd) && !(fl->fl_flags & FL_OFDLCK))
		waiter.ask.flag |= PAL_ASK_DEADLOCK;
	error = pal_ask_and_wait(group, &waiter);
	if (error)
		return error;
	error = pal_error(waiter.ask.answer);
	if (!error)
		noted = pal_note(file, fl, fl->fl_type);
	*again = pal_forget(group, &waiter);
	if (!noted)
		return error;
	pr_warn_ratelimited("palisade: a POSIX lock is given back: the VFS says %d\n",
			    noted);
	pal_give_back(group, inode, file, fl);
	return -ENOLCK;
}

static int pal_lock_range(struct pal_group *group, u64 inode,
			  struct file *file, int cmd, struct file_lock *fl)
{
	bool again = false;
	int error, tries;

	for (tries = 0; tries < PAL_LOCK_TRIES; tries++) {
		error = pal_lock_once(group, inode, file, cmd, fl, &again);
		if (!error && !again)
			return 0;
		/* What was noted the time before holds no more. */
		if (error && tries)
			pal_give_back(group, inode, file, fl);
		if (error)
			return error;
	}
	pal_give_back(group, inode, file, fl);
	return -ENOLCK;
}

static int pal_unlock_range(struct pal_group *group, u64 inode,
			    struct file *file, struct file_lock *fl)
{
	struct pal_range want = pal_range_of(inode, fl, PAL_HOLD_NONE);
	unsigned int flags = fl->fl_flags;
	bool fits;
	int error;

	spin_lock(&pal_lock);
	fits = pal_locks_fit(group->locks, &want);
	spin_unlock(&pal_lock);
	if (!fits)
		return -ENOLCK;
	/* Without such a lock there is nothing to be told. */
	fl->fl_flags |= FL_EXISTS;
	error = posix_lock_file(file, fl, NULL);
	fl->fl_flags = flags;
	if (error)
		return error == -ENOENT ? 0 : error;
	spin_lock(&pal_lock);
	pal_locks_lower(&pal_machine, group, pal_now(), &want);
	spin_unlock(&pal_lock);
	return 0;
}

static int pal_find_range(struct pal_group *group, u64 inode,
			  struct file_lock *fl)
{
	u8 hold = fl->fl_type == F_WRLCK ? PAL_HOLD_WRITE : PAL_HOLD_READ;
	struct pal_waiter waiter = {
		.ask.word = PAL_LINE_FIND,
		.ask.want = pal_range_of(inode, fl, hold),
	};
	const struct pal_range *found = &waiter.ask.want;
	int error = pal_ask_and_wait(group, &waiter);

	if (error)
		return error;
	pal_forget(group, &waiter);
	fl->fl_type = F_UNLCK;
	if (waiter.ask.answer != PAL_ANSWER_TAKEN)
		return 0;
	fl->fl_type = found->hold == PAL_HOLD_WRITE ? F_WRLCK : F_RDLCK;
	fl->fl_flags = FL_POSIX;
	fl->fl_start = found->start;
	fl->fl_end = found->end;
	fl->fl_pid = found->pid;
	/* A process of another node has a number below zero. */
	if (found->node != pal_machine.node && fl->fl_pid > 0)
		fl->fl_pid = -fl->fl_pid;
	return 0;
}

/**
 * pal_plock - OCFS2 passes fcntl() on
 * @at: the volume's row
 * @inode: the file
 * @file: as it is open
 * @cmd: F_GETLK, F_SETLK, F_SETLKW or F_CANCELLK
 * @fl: the lock
 */
int pal_plock(int at, u64 inode, struct file *file, int cmd,
	      struct file_lock *fl)
{
	struct pal_group *group = &pal_machine.groups[at];

	/* Only the kernel's NFS server says it: it waits for nothing any more. */
	if (cmd == F_CANCELLK)
		fl->fl_type = F_UNLCK;
	if (IS_GETLK(cmd))
		return pal_find_range(group, inode, fl);
	if (fl->fl_type == F_UNLCK)
		return pal_unlock_range(group, inode, file, fl);
	return pal_lock_range(group, inode, file, cmd, fl);
}

void pal_plock_show(struct seq_file *file)
{
	const struct pal_mail_counters *mail = &pal_machine.mails.counters;
	int at;

	spin_lock(&pal_lock);
	seq_printf(file, "mail_sent %llu\nmail_again %llu\nmail_busy %llu\nmail_gone %llu\nmail_taken %llu\nmail_twice %llu\nmail_late %llu\n",
		   mail->sent, mail->again, mail->busy, mail->gone,
		   mail->taken, mail->twice, mail->late);
	for (at = 0; at < PAL_GROUPS_MAX; at++) {
		const struct pal_group *group = &pal_machine.groups[at];
		const struct pal_locks *p = group->locks;

		if (!group->used || !p)
			continue;
		seq_printf(file, "locks volume=%s arbiter=%u held=%u book=%u waiting=%u open=%d frozen=%d",
			   pal_label(group->volume), p->running ? p->arbiter : 0,
			   p->held.count, p->a.book.count, p->a.waiting_count,
			   p->a.open, p->a.frozen);
		seq_printf(file, " asked=%llu granted=%llu refused=%llu at_once=%llu reports=%llu strange=%llu blurred=%llu deadlocks=%llu conflicts=%llu\n",
			   p->counters.asked, p->counters.granted,
			   p->counters.refused, p->counters.at_once,
			   p->counters.reports, p->counters.strange,
			   p->counters.blurred, p->counters.deadlocks,
			   p->counters.conflicts);
	}
	spin_unlock(&pal_lock);
}
