// SPDX-License-Identifier: GPL-2.0-only
/*
 * stack - OCFS2's cluster stack plugin `user`
 *
 * OCFS2 knows two plugins: `o2cb`, and `user` for every other stack.  This is
 * the second one, in the place of ocfs2_stack_user.ko, which wants dlm_controld in
 * user space.  So the shim knows each mount and umount first hand: a mount
 * waits until the group has taken this node in, an umount until it is out.
 * Locks go straight to the kernel's DLM.
 *
 * flock() is one of OCFS2's own locks; POSIX locks (fcntl) are plock.c's.  With
 * the stock plugin and no dlm_controld they would hang for ever.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/dlm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "stackglue.h"
#include "shim.h"

#define PAL_VERSION_LOCK	"version_lock"
/* Between two requests while the DLM has no answer to a cancel yet. */
#define PAL_BUSY_MS		2

static uint join_wait_ms = 30000;
module_param(join_wait_ms, uint, 0644);
MODULE_PARM_DESC(join_wait_ms,
		 "How long a mount waits for a session and an address before it fails (ms)");

struct pal_live {
	int at;
	struct pal_locks *locks;
	struct dlm_lksb lksb;
	char lvb[DLM_LVB_LEN];
	struct completion done;
};

static struct ocfs2_protocol_version pal_running;
static DEFINE_MUTEX(pal_connect_lock);
static struct ocfs2_stack_plugin pal_plugin;

static void pal_ast(void *argument)
{
	struct ocfs2_dlm_lksb *lksb = argument;
	int status = lksb->lksb_fsdlm.sb_status;

	if (status == -DLM_EUNLOCK || status == -DLM_ECANCEL)
		lksb->lksb_conn->cc_proto->lp_unlock_ast(lksb, 0);
	else
		lksb->lksb_conn->cc_proto->lp_lock_ast(lksb);
}

static void pal_bast(void *argument, int level)
{
	struct ocfs2_dlm_lksb *lksb = argument;

	lksb->lksb_conn->cc_proto->lp_blocking_ast(lksb, level);
}

static void *pal_lvb(struct ocfs2_dlm_lksb *lksb)
{
	if (!lksb->lksb_fsdlm.sb_lvbptr)
		lksb->lksb_fsdlm.sb_lvbptr = (char *)lksb +
					     sizeof(struct dlm_lksb);
	return lksb->lksb_fsdlm.sb_lvbptr;
}

/*
 * OCFS2 cancels its request when a signal ends the wait for it, as for flock().
 * If the grant overtakes the cancel, OCFS2 has the lock and goes on, while the
 * DLM still waits for the answer to the cancel and refuses whatever is asked
 * about that lock: EBUSY, at which OCFS2 is a BUG().  So it is asked again.
 * All callers may sleep.
 */
static int pal_dlm_lock(struct ocfs2_cluster_connection *conn, int mode,
			struct ocfs2_dlm_lksb *lksb, u32 flags, void *name,
			unsigned int namelen)
{
	int error;

	pal_lvb(lksb);
	for (;;) {
		error = dlm_lock(conn->cc_lockspace, mode, &lksb->lksb_fsdlm,
				 flags | DLM_LKF_NODLCKWT, name, namelen, 0,
				 pal_ast, lksb, pal_bast);
		if (error != -EBUSY)
			return error;
		msleep(PAL_BUSY_MS);
	}
}

static int pal_dlm_unlock(struct ocfs2_cluster_connection *conn,
			  struct ocfs2_dlm_lksb *lksb, u32 flags)
{
	int error;

	for (;;) {
		error = dlm_unlock(conn->cc_lockspace,
				   lksb->lksb_fsdlm.sb_lkid, flags,
				   &lksb->lksb_fsdlm, lksb);
		if (error != -EBUSY)
			return error;
		msleep(PAL_BUSY_MS);
	}
}

static int pal_lock_status(struct ocfs2_dlm_lksb *lksb)
{
	return lksb->lksb_fsdlm.sb_status;
}

static int pal_lvb_valid(struct ocfs2_dlm_lksb *lksb)
{
	return !(lksb->lksb_fsdlm.sb_flags & DLM_SBF_VALNOTVALID);
}

static void pal_dump(struct ocfs2_dlm_lksb *lksb)
{
}

static void pal_sync(void *argument)
{
	struct pal_live *live = argument;

	complete(&live->done);
}

static int pal_version_lock(struct ocfs2_cluster_connection *conn, int mode,
			    u32 flags)
{
	struct pal_live *live = conn->cc_private;
	int error = dlm_lock(conn->cc_lockspace, mode, &live->lksb, flags,
			     PAL_VERSION_LOCK, strlen(PAL_VERSION_LOCK), 0,
			     pal_sync, live, NULL);

	if (error)
		return error;
	wait_for_completion(&live->done);
	return live->lksb.sb_status;
}

static void pal_version_unlock(struct ocfs2_cluster_connection *conn)
{
	struct pal_live *live = conn->cc_private;

	if (!dlm_unlock(conn->cc_lockspace, live->lksb.sb_lkid, 0, &live->lksb,
			live))
		wait_for_completion(&live->done);
}

/*
 * Whoever mounts first writes its locking version into the lock's value and
 * keeps the lock shared; whoever comes later reads it there.
 */
static int pal_agree_on_version(struct ocfs2_cluster_connection *conn)
{
	struct pal_live *live = conn->cc_private;
	struct ocfs2_protocol_version *found =
		(struct ocfs2_protocol_version *)live->lvb;
	int error;

	pal_running = pal_plugin.sp_max_proto;
	live->lksb.sb_lvbptr = live->lvb;
	error = pal_version_lock(conn, DLM_LOCK_EX,
				 DLM_LKF_VALBLK | DLM_LKF_NOQUEUE);
	if (!error) {
		conn->cc_version = pal_running;
		*found = pal_running;
		return pal_version_lock(conn, DLM_LOCK_PR, DLM_LKF_CONVERT |
					DLM_LKF_VALBLK);
	}
	if (error != -EAGAIN)
		return error;
	error = pal_version_lock(conn, DLM_LOCK_PR, DLM_LKF_VALBLK);
	if (error)
		return error;
	if (found->pv_major != pal_running.pv_major ||
	    found->pv_minor > pal_running.pv_minor)
		return -EPROTO;
	conn->cc_version = *found;
	return 0;
}

static void pal_recover_prep(void *argument)
{
}

/* In the DLM's recovery thread: it must not wait for others. */
static void pal_recover_slot(void *argument, struct dlm_slot *slot)
{
	struct ocfs2_cluster_connection *conn = argument;
	struct pal_live *live = conn->cc_private;

	if (pal_members_recover(live->at, slot->nodeid))
		pal_replay_note(live->at, conn, conn->cc_name, slot->nodeid);
}

static void pal_recover_done(void *argument, struct dlm_slot *slots,
			     int num_slots, int our_slot, u32 generation)
{
	struct ocfs2_cluster_connection *conn = argument;
	struct pal_live *live = conn->cc_private;

	pal_members_recovered(live->at);
}

static const struct dlm_lockspace_ops pal_lockspace_ops = {
	.recover_prep = pal_recover_prep,
	.recover_slot = pal_recover_slot,
	.recover_done = pal_recover_done,
};

/* OCFS2 notes that a node is dead, and starts its recovery if that can be. */
void pal_stack_recover(void *connection, u8 node)
{
	struct ocfs2_cluster_connection *conn = connection;

	conn->cc_recovery_handler(node, conn->cc_recovery_data);
}

/**
 * pal_stack_is_recovering - whether OCFS2 is replaying a journal
 * @space: of this volume
 *
 * Its recovery is a thread that is named after the volume, made while the DLM
 * says who is lost, and gone when nothing is left to recover.
 */
bool pal_stack_is_recovering(const char *space)
{
	char name[TASK_COMM_LEN];
	struct task_struct *task;
	bool found = false;

	scnprintf(name, sizeof(name), "ocfs2rec-%s", space);
	rcu_read_lock();
	for_each_process(task)
		if (task->flags & PF_KTHREAD &&
		    !strncmp(task->comm, name, sizeof(name)))
			found = true;
	rcu_read_unlock();
	return found;
}

static int pal_join(struct ocfs2_cluster_connection *conn)
{
	struct pal_live *live = conn->cc_private;
	unsigned long end = jiffies + msecs_to_jiffies(join_wait_ms);
	int at;

	for (;;) {
		at = pal_members_join(conn->cc_name, conn->cc_cluster_name,
				      conn, live->locks);
		if (at != -EAGAIN)
			break;
		if (time_after(jiffies, end) || fatal_signal_pending(current)) {
			pr_err("palisade: %s cannot be mounted: no session with the appliance, no DLM address of this node, or it is open\n",
			       conn->cc_name);
			return -EHOSTDOWN;
		}
		msleep_interruptible(10);
	}
	if (at < 0)
		pr_err("palisade: %s is no volume's UUID\n", conn->cc_name);
	return at;
}

static int pal_lockspace_make(struct ocfs2_cluster_connection *conn)
{
	dlm_lockspace_t *lockspace;
	int error, callbacks = 0;

	error = dlm_new_lockspace(conn->cc_name, conn->cc_cluster_name,
				  DLM_LSFL_NEWEXCL, DLM_LVB_LEN,
				  &pal_lockspace_ops, conn, &callbacks,
				  &lockspace);
	if (error) {
		pr_err("palisade: %s has no lockspace: error %d\n",
		       conn->cc_name, error);
		return error;
	}
	conn->cc_lockspace = lockspace;
	/* Without callbacks no journal would be replayed: see dlm.c. */
	return callbacks;
}

static void pal_live_free(struct ocfs2_cluster_connection *conn)
{
	struct pal_live *live = conn->cc_private;

	pal_plock_end(live->at, live->locks);
	conn->cc_private = NULL;
	kfree(live);
}

static void pal_let_go(struct ocfs2_cluster_connection *conn)
{
	struct pal_live *live = conn->cc_private;

	pal_members_leave(live->at);
	dlm_release_lockspace(conn->cc_lockspace, 2);
	pal_members_left(live->at);
	conn->cc_lockspace = NULL;
	pal_live_free(conn);
}

/* The DLM knows one cluster's name at a time. */
static int pal_enter(struct ocfs2_cluster_connection *conn)
{
	struct pal_live *live = conn->cc_private;
	int error = mutex_lock_killable(&pal_connect_lock);

	live->at = error;
	if (error)
		return error;
	live->at = pal_join(conn);
	error = live->at < 0 ? live->at : pal_lockspace_make(conn);
	mutex_unlock(&pal_connect_lock);
	return error;
}

static int pal_connect(struct ocfs2_cluster_connection *conn)
{
	struct pal_live *live = kzalloc(sizeof(*live), GFP_KERNEL);
	int error;

	if (!live)
		return -ENOMEM;
	live->at = -1;
	live->locks = pal_plock_make();
	if (!live->locks) {
		kfree(live);
		return -ENOMEM;
	}
	init_completion(&live->done);
	conn->cc_private = live;
	error = pal_enter(conn);
	if (live->at >= 0)
		pal_members_joined(live->at, !!conn->cc_lockspace);
	if (!error)
		error = pal_agree_on_version(conn);
	if (!error) {
		pr_notice("palisade: %s is open; POSIX locks (fcntl) and flock() on it hold in the whole cluster, unless it is mounted with localflocks\n",
			  conn->cc_name);
		return 0;
	}
	pr_err("palisade: %s is not opened: error %d\n", conn->cc_name, error);
	if (conn->cc_lockspace) {
		pal_let_go(conn);
		return error;
	}
	pal_live_free(conn);
	return error;
}

static int pal_disconnect(struct ocfs2_cluster_connection *conn)
{
	pal_version_unlock(conn);
	pal_let_go(conn);
	return 0;
}

static int pal_this_node(struct ocfs2_cluster_connection *conn,
			 unsigned int *node)
{
	*node = pal_machine.node;
	return 0;
}

static int pal_posix(struct ocfs2_cluster_connection *conn, u64 inode,
		     struct file *file, int cmd, struct file_lock *fl)
{
	struct pal_live *live = conn->cc_private;

	return pal_plock(live->at, inode, file, cmd, fl);
}

static struct ocfs2_stack_operations pal_operations = {
	.connect = pal_connect,
	.disconnect = pal_disconnect,
	.this_node = pal_this_node,
	.dlm_lock = pal_dlm_lock,
	.dlm_unlock = pal_dlm_unlock,
	.lock_status = pal_lock_status,
	.lvb_valid = pal_lvb_valid,
	.lock_lvb = pal_lvb,
	.plock = pal_posix,
	.dump_lksb = pal_dump,
};

static struct ocfs2_stack_plugin pal_plugin = {
	.sp_name = "user",
	.sp_ops = &pal_operations,
	.sp_owner = THIS_MODULE,
};

int pal_stack_init(void)
{
	return ocfs2_stack_glue_register(&pal_plugin);
}

void pal_stack_exit(void)
{
	ocfs2_stack_glue_unregister(&pal_plugin);
}
