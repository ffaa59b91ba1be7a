// SPDX-License-Identifier: GPL-2.0-only
/*
 * mount - what a mounting or unmounting task asks of the groups
 *
 * Called by stack.c in that task's name; it hands a row to the worker and takes
 * it back.  Whoever holds the members' lock here must not wait for a volume
 * that the worker is to start: so nothing in between may reclaim memory
 * (pal_members_enter()).
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/workqueue.h>

#include "members.h"

static struct delayed_work pal_mount_work;

/**
 * pal_members_join - a mount wants to join; from then on the worker knows it
 * @space: the volume's UUID
 * @cluster: its cluster's name
 * @connection: OCFS2's
 * @locks: its POSIX locks
 *
 * Return: the group's row, or an error: -EAGAIN if it cannot be now.
 */
int pal_members_join(const char *space, const char *cluster, void *connection,
		     struct pal_locks *locks)
{
	u8 volume[PAL_LABEL_BYTES], name[PAL_LABEL_BYTES] = { 0 };
	struct pal_member *member;
	unsigned int flags;
	int at = -EAGAIN;

	if (strlen(space) != 2 * PAL_LABEL_BYTES ||
	    hex2bin(volume, space, PAL_LABEL_BYTES))
		return -EINVAL;
	memcpy(name, cluster, strnlen(cluster, sizeof(name)));
	pal_port_work();
	flags = pal_members_enter();
	if (!pal_comm_is_made(pal_machine.node))
		goto out;
	spin_lock(&pal_lock);
	/* Without a lease nobody would end this machine in time. */
	if (pal_machine.session && pal_machine.lease_end)
		at = pal_group_open(&pal_machine, volume, name);
	if (at >= 0)
		pal_machine.groups[at].locks = locks;
	spin_unlock(&pal_lock);
	if (at < 0) {
		at = -EAGAIN;
		goto out;
	}
	member = &pal_members[at];
	memset(member, 0, sizeof(*member));
	strscpy(member->space, space, sizeof(member->space));
	strscpy(member->cluster, cluster, sizeof(member->cluster));
	member->connection = connection;
	if (pal_dlm_cluster_name(cluster))
		pr_warn("palisade: the DLM does not take the cluster's name %s\n",
			cluster);
out:
	pal_members_done(flags);
	pal_port_work();
	return at;
}

/**
 * pal_members_joined - the mount's lockspace runs, or could not be had
 * @at: the row
 * @good: which of the two
 */
void pal_members_joined(int at, bool good)
{
	struct pal_group *group = &pal_machine.groups[at];
	unsigned int flags;

	if (good) {
		mod_delayed_work(system_long_wq, &pal_mount_work, 0);
		return;
	}
	pal_replay_forget(at);
	flags = pal_members_enter();
	pal_space_drop(&pal_members[at]);
	pal_members[at].connection = NULL;
	spin_lock(&pal_lock);
	if (group->phase != PAL_IS_CLOSED)
		pal_group_close(&pal_machine, pal_now(), at);
	/* There is no lockspace any more: what is told is answered at once. */
	group->ready = false;
	group->job = PAL_JOB_NONE;
	spin_unlock(&pal_lock);
	pal_members_done(flags);
	pal_kick();
}

/* An umount begins: LEAVE is asked for until it comes. */
void pal_members_leave(int at)
{
	spin_lock(&pal_lock);
	pal_group_close(&pal_machine, pal_now(), at);
	spin_unlock(&pal_lock);
	pal_kick();
}

/* The umount's lockspace is gone. */
void pal_members_left(int at)
{
	unsigned int flags;

	pal_replay_forget(at);
	flags = pal_members_enter();
	pal_space_drop(&pal_members[at]);
	pal_members[at].connection = NULL;
	spin_lock(&pal_lock);
	pal_group_left(&pal_machine, at);
	spin_unlock(&pal_lock);
	pal_members_done(flags);
}

static void pal_look_for_mount(struct super_block *super, void *unused)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		if (pal_members[at].connection && pal_machine.groups[at].used &&
		    !memcmp(super->s_uuid.b, pal_machine.groups[at].volume,
			    PAL_LABEL_BYTES))
			WRITE_ONCE(pal_members[at].mounted, true);
}

/*
 * A joiner replays the journals that nobody owns while it mounts, so it has
 * taken over when it is mounted.  Looking may wait for the mount to end, so
 * the worker does not do it.
 */
static void pal_mount_look(struct work_struct *work)
{
	struct file_system_type *type = get_fs_type("ocfs2");
	bool open = false;
	int at;

	if (!type)
		return;
	iterate_supers_type(type, pal_look_for_mount, NULL);
	module_put(type->owner);
	for (at = 0; at < PAL_GROUPS_MAX; at++)
		open |= READ_ONCE(pal_members[at].connection) &&
			!READ_ONCE(pal_members[at].mounted);
	pal_port_work();
	if (open)
		mod_delayed_work(system_long_wq, &pal_mount_work, HZ / 10);
}

void pal_mount_init(void)
{
	INIT_DELAYED_WORK(&pal_mount_work, pal_mount_look);
}

void pal_mount_exit(void)
{
	cancel_delayed_work_sync(&pal_mount_work);
}
