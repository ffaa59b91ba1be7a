// SPDX-License-Identifier: GPL-2.0-only
/*
 * palisade - the part of a fencing appliance that lives in a node's kernel
 *
 * It speaks the node protocol with the appliance of its host, beats, holds the
 * node's lease, and drives OCFS2 and the DLM through each change of the group
 * of nodes that have a volume open.  No process of this node is needed.
 *
 *   channel.c  the virtio console     frame.c     frames in a byte stream
 *   session.c  the session            group.c     STOP, LEAVE; start.c: START
 *   lease.c    the timer that resets  takeover.c  recoveries given to us
 *   members.c  the worker             dlm.c       configfs and sysfs
 *   mount.c    mounts and umounts     comms.c     where the peers are
 *   stack.c    OCFS2's plugin         report.c    log and debugfs
 *   watch.c    peers that are cut off tell.c      what a cold start asks for
 *   mail.c     messages to other shims plock.c    POSIX locks of processes
 *   holder.c   what this node has     arbiter.c   who grants, with ranges.c
 *   relay.c    between these
 *
 * Threads: palisade/chan receives, beats and decides, and waits for nothing;
 * palisade/work stops and starts the DLM; palisade/log prints and
 * palisade/watch looks for peers that do not answer.  One spinlock
 * holds the machine together, and is held only while it decides.
 *
 * Nothing between loading and unloading allocates on the way of a frame, a
 * beat, the lease, STOP or START: buffers and rows are static.
 */
#include <linux/inet.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/sched/mm.h>

#include "shim.h"

static u8 node;
module_param(node, byte, 0444);
MODULE_PARM_DESC(node, "This node's number, 1 to 255");

static char *dlm;
module_param(dlm, charp, 0444);
MODULE_PARM_DESC(dlm,
		 "DLM addresses by hand, NODE:IPv4,...; what the appliance tells comes after it");

bool pal_services;
module_param_named(services, pal_services, bool, 0644);
MODULE_PARM_DESC(services,
		 "Whether named services may be given to this node (else FAILED)");

struct pal_machine pal_machine;
DEFINE_SPINLOCK(pal_lock);

static struct pal_reader pal_reader;
static struct task_struct *pal_chan_task;
static DECLARE_WAIT_QUEUE_HEAD(pal_chan_wait);
static bool pal_kicked;

void pal_kick(void)
{
	WRITE_ONCE(pal_kicked, true);
	wake_up(&pal_chan_wait);
}

u64 pal_channel_skipped(void)
{
	return pal_reader.skipped;
}

/* The machine's lock is held in all of the pal_port_ functions. */
void pal_port_send(const struct pal_frame *frame)
{
	static u8 bytes[PAL_FRAME_MAX];

	pal_channel_send(bytes, pal_frame_emit(frame, bytes));
}

void pal_port_lease(u64 end)
{
	pal_lease_set(end);
}

bool pal_port_service(const struct pal_given *given)
{
	return READ_ONCE(pal_services);
}

void pal_port_reset(enum pal_why why)
{
	static const char * const words[] = {
		"lease-ended", "condemned", "cluster-over", "fate-missing",
		"not-in-set", "unconfirmed",
	};
	u64 now = pal_now();

	/* No word at the lease's end: a console that hangs takes longer. */
	if (why == PAL_WHY_LEASE)
		pal_lease_end_machine();
	/* Nor does it keep this machine alive otherwise. */
	pal_lease_part();
	pr_emerg("palisade-node: %llu.%06llu RESET why=%s\n", now / 1000000,
		 now % 1000000, words[why]);
	pal_lease_end_machine();
}

static void pal_take(const u8 *bytes, u32 count)
{
	struct pal_frame frame;
	u64 now = pal_now();

	while (pal_reader_next(&pal_reader, &bytes, &count, &frame)) {
		if (frame.kind == PAL_LEASE)
			pal_report_round(now -
					 pal_u64(frame.body + PAL_STAMP));
		spin_lock(&pal_lock);
		pal_on_frame(&pal_machine, now, &frame);
		spin_unlock(&pal_lock);
	}
}

static bool pal_chan_due(void)
{
	return READ_ONCE(pal_kicked) || pal_channel_pending() ||
	       kthread_should_stop();
}

static int pal_chan(void *unused)
{
	while (!kthread_should_stop()) {
		u64 now = pal_now(), due;

		spin_lock(&pal_lock);
		pal_on_time(&pal_machine, now);
		due = pal_deadline(&pal_machine);
		spin_unlock(&pal_lock);
		/* An hour, so that the sum fits. */
		due = due > now ? min(due - now, 3600000000ull) : 0;
		if (due)
			wait_event_interruptible_hrtimeout(pal_chan_wait,
							   pal_chan_due(),
							   ns_to_ktime(due *
								       1000));
		WRITE_ONCE(pal_kicked, false);
		pal_channel_receive(pal_take);
	}
	return 0;
}

/* Whatever a thread of ours still asks for may come from the last pages. */
static int pal_thread_body(void *start)
{
	int (*body)(void *) = start;
	unsigned int noio = memalloc_noio_save();
	int result;

	current->flags |= PF_MEMALLOC;
	result = body(NULL);
	current->flags &= ~PF_MEMALLOC;
	memalloc_noio_restore(noio);
	return result;
}

/**
 * pal_thread - start a thread that runs before others and when memory is short
 * @body: what it does
 * @name: how it is called
 * @rt: before all others
 */
struct task_struct *pal_thread(int (*body)(void *), const char *name, bool rt)
{
	struct task_struct *task = kthread_create(pal_thread_body, body, "%s",
						  name);

	if (IS_ERR(task))
		return task;
	if (rt)
		sched_set_fifo(task);
	else
		sched_set_fifo_low(task);
	wake_up_process(task);
	return task;
}

/* Addresses by hand, `1:10.2.0.1,2:10.2.0.2`. */
static int pal_read_addresses(const char *text)
{
	while (text && *text) {
		struct pal_address *address;
		const char *rest;
		u32 number = 0;
		int read = 0;

		if (sscanf(text, "%u:%n", &number, &read) != 1 || !read ||
		    !number || number >= PAL_NODES_MAX)
			return -EINVAL;
		address = &pal_machine.address[number];
		if (!in4_pton(text + read, -1, address->bytes, ',', &rest))
			return -EINVAL;
		address->family = 4;
		text = *rest ? rest + 1 : rest;
	}
	return 0;
}

static int pal_machine_init(void)
{
	int error;

	if (!node) {
		pr_err("palisade: which node is this? node=1 to 255\n");
		return -EINVAL;
	}
	error = wait_for_random_bytes();
	if (error)
		return error;
	pal_init(&pal_machine, pal_now(), node, get_random_u64() | 2,
		 get_random_u64());
	error = pal_read_addresses(dlm);
	if (error)
		pr_err("palisade: dlm=%s is no list of NODE:IPv4\n", dlm);
	return error;
}

static int pal_chan_init(void)
{
	int error = pal_channel_init();

	if (error)
		return error;
	pal_chan_task = pal_thread(pal_chan, "palisade/chan", true);
	error = PTR_ERR_OR_ZERO(pal_chan_task);
	if (error)
		pal_channel_exit();
	return error;
}

/* A machine that goes down in peace says so, unless it has a volume open. */
static int pal_on_reboot(struct notifier_block *block, unsigned long event,
			 void *unused)
{
	bool open = false;
	int at;

	spin_lock(&pal_lock);
	for (at = 0; at < PAL_GROUPS_MAX; at++)
		open |= pal_machine.groups[at].phase != PAL_IS_CLOSED;
	if (!open)
		pal_bye(&pal_machine);
	spin_unlock(&pal_lock);
	pal_channel_drain();
	return NOTIFY_DONE;
}

static struct notifier_block pal_reboot = {
	.notifier_call = pal_on_reboot,
};

static int __init palisade_init(void)
{
	int error = pal_report_init();

	if (error)
		return error;
	error = pal_machine_init();
	if (error)
		goto report;
	error = pal_lease_init();
	if (error)
		goto report;
	error = pal_dlm_init();
	if (error)
		goto lease;
	error = pal_replay_init();
	if (error)
		goto dlm;
	error = pal_members_init();
	if (error)
		goto replay;
	error = pal_chan_init();
	if (error)
		goto members;
	error = pal_watch_init();
	if (error)
		goto chan;
	error = pal_stack_init();
	if (error)
		goto watch;
	error = register_reboot_notifier(&pal_reboot);
	if (!error)
		return 0;
	pal_stack_exit();
watch:
	pal_watch_exit();
chan:
	kthread_stop(pal_chan_task);
	pal_channel_exit();
members:
	pal_members_exit();
replay:
	pal_replay_exit();
dlm:
	pal_dlm_exit();
lease:
	pal_lease_exit();
report:
	pal_report_exit();
	return error;
}

/* Only when nothing is mounted: each mount holds this module. */
static void __exit palisade_exit(void)
{
	unregister_reboot_notifier(&pal_reboot);
	pal_stack_exit();
	pal_watch_exit();
	spin_lock(&pal_lock);
	pal_bye(&pal_machine);
	spin_unlock(&pal_lock);
	kthread_stop(pal_chan_task);
	pal_channel_drain();
	pal_channel_exit();
	pal_members_exit();
	pal_replay_exit();
	pal_dlm_exit();
	pal_lease_exit();
	pal_report_exit();
}

module_init(palisade_init);
module_exit(palisade_exit);
MODULE_DESCRIPTION("Palisade: fencing and membership for OCFS2, node side");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
