// SPDX-License-Identifier: GPL-2.0-only
/*
 * report - what people read: events in the kernel's log, state in debugfs
 *
 * An event is a line, `palisade-node: <seconds since boot> EVENT key=value`,
 * in the words of the node client.  It is written into a ring and printed by a
 * thread that does nothing else, because a console may take as long as it
 * likes.  What finds the ring full is dropped and counted.
 */
#include <linux/debugfs.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/sort.h>

#include "shim.h"

#define PAL_EVENTS	128
#define PAL_EVENT_BYTES	512

struct pal_event {
	u64 at;
	char text[PAL_EVENT_BYTES];
};

static struct pal_event pal_events[PAL_EVENTS];
static u32 pal_first, pal_count;
static u64 pal_events_dropped;
static DEFINE_SPINLOCK(pal_events_lock);
static DECLARE_WAIT_QUEUE_HEAD(pal_events_wait);
static struct task_struct *pal_printer_task;
static struct dentry *pal_debugfs;

/* How long the last BEATs took until their LEASE came. */
#define PAL_ROUNDS	1024

static u32 pal_rounds[PAL_ROUNDS];
static u64 pal_round_count;

static __printf(1, 0)
void pal_event_format(const char *format, va_list arguments)
{
	unsigned long flags;
	struct pal_event *event;

	spin_lock_irqsave(&pal_events_lock, flags);
	if (pal_count < PAL_EVENTS) {
		event = &pal_events[(pal_first + pal_count++) % PAL_EVENTS];
		event->at = pal_now();
		vscnprintf(event->text, sizeof(event->text), format,
			   arguments);
	} else {
		pal_events_dropped++;
	}
	spin_unlock_irqrestore(&pal_events_lock, flags);
	wake_up(&pal_events_wait);
}

void pal_port_event(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	pal_event_format(format, arguments);
	va_end(arguments);
}

/* From the channel's thread alone. */
void pal_report_round(u64 us)
{
	pal_rounds[pal_round_count++ % PAL_ROUNDS] = min_t(u64, us, U32_MAX);
}

static int pal_by_size(const void *one, const void *other)
{
	u32 a = *(const u32 *)one, b = *(const u32 *)other;

	return a < b ? -1 : a > b;
}

static void pal_show_rounds(struct seq_file *file)
{
	static u32 sorted[PAL_ROUNDS];
	static DEFINE_MUTEX(sorted_lock);
	u32 count = min_t(u64, READ_ONCE(pal_round_count), PAL_ROUNDS);

	if (!count)
		return;
	mutex_lock(&sorted_lock);
	memcpy(sorted, pal_rounds, sizeof(sorted));
	sort(sorted, count, sizeof(*sorted), pal_by_size, NULL);
	seq_printf(file, "round_trips %llu\nround_trip_p50_us %u\nround_trip_p99_us %u\nround_trip_max_us %u\n",
		   pal_round_count, sorted[count / 2],
		   sorted[count * 99 / 100], sorted[count - 1]);
	mutex_unlock(&sorted_lock);
}

static const char *pal_fate_word(u8 fate)
{
	static const char * const words[] = {
		"none", "member", "dead", "left", "never-started",
	};

	return words[fate < ARRAY_SIZE(words) ? fate : 0];
}

static int pal_list(char *into, int room, const struct pal_group *group,
		    bool members)
{
	int count = 0;
	u32 at;

	for (at = 0; at < group->known_count; at++) {
		const struct pal_entry *entry = &group->known[at];
		bool is_member = entry->fate == PAL_FATE_MEMBER;

		if (is_member != members)
			continue;
		count += scnprintf(into + count, room - count,
				   "%s%u:%s%s%016llx", count ? "," : "",
				   entry->node,
				   members ? "" : pal_fate_word(entry->fate),
				   members ? "" : ":", entry->incarnation);
	}
	if (!count)
		count = scnprintf(into, room, "-");
	return count;
}

/* The group runs: its set and its fates, in one line. */
void pal_port_started(const struct pal_group *group)
{
	/* The machine's lock serialises. */
	static char set[PAL_EVENT_BYTES / 2], fates[PAL_EVENT_BYTES / 2];

	pal_list(set, sizeof(set), group, true);
	pal_list(fates, sizeof(fates), group, false);
	pal_port_event("GROUP_START volume=%s generation=%llu set=%s fates=%s",
		       pal_label(group->volume), group->generation, set,
		       fates);
}

static bool pal_event_take(struct pal_event *into)
{
	bool any = false;

	spin_lock_irq(&pal_events_lock);
	if (pal_count) {
		*into = pal_events[pal_first];
		pal_first = (pal_first + 1) % PAL_EVENTS;
		pal_count--;
		any = true;
	}
	spin_unlock_irq(&pal_events_lock);
	return any;
}

static int pal_printer(void *unused)
{
	static struct pal_event event;

	while (!kthread_should_stop()) {
		wait_event_interruptible(pal_events_wait,
					 READ_ONCE(pal_count) ||
					 kthread_should_stop());
		while (pal_event_take(&event))
			pr_notice("palisade-node: %llu.%06llu %s\n",
				  event.at / 1000000, event.at % 1000000,
				  event.text);
	}
	return 0;
}

static const char *pal_phase_word(const struct pal_group *group)
{
	static const char * const words[] = {
		"closed", "joining", "stopping", "stopped", "starting",
		"running",
	};

	return words[group->phase];
}

static void pal_show_session(struct seq_file *file)
{
	const struct pal_machine *m = &pal_machine;
	const struct pal_counters *c = &m->counters;
	u64 now = pal_now(), end = m->lease_end;

	seq_printf(file, "node %u\nincarnation %016llx\nsession %u\nhost %u\n",
		   m->node, m->incarnation, m->session, m->host);
	seq_printf(file, "cluster %u\nversion %llu\nlease_left_ms %llu\n",
		   m->served_number, m->version,
		   end > now ? (end - now) / 1000 : 0);
	seq_printf(file, "frames %llu\ndropped %llu\nrefused %llu\nbusy %llu\n",
		   c->frames, c->dropped, c->refused, c->busy);
	seq_printf(file, "old_steps %llu\nleases %llu\nsessions %llu\nstops %llu\nstarts %llu\n",
		   c->old_steps, c->leases, c->sessions, c->stops, c->starts);
}

static void pal_show_groups(struct seq_file *file)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++) {
		const struct pal_group *group = &pal_machine.groups[at];

		if (!group->used)
			continue;
		seq_printf(file, "group volume=%s phase=%s generation=%llu recovered=%d replayed=%d\n",
			   pal_label(group->volume),
			   pal_phase_word(group), group->generation,
			   group->recovered, group->replayed);
	}
}

static int pal_state_show(struct seq_file *file, void *unused)
{
	struct pal_channel_counters *c = &pal_channel_counters;

	spin_lock(&pal_lock);
	pal_show_session(file);
	pal_show_groups(file);
	spin_unlock(&pal_lock);
	seq_printf(file, "received_bytes %lld\nskipped_bytes %llu\n",
		   atomic64_read(&c->received), pal_channel_skipped());
	seq_printf(file, "sent_frames %lld\nsend_full %lld\nbroken %lld\n",
		   atomic64_read(&c->sent), atomic64_read(&c->full),
		   atomic64_read(&c->broken));
	pal_show_rounds(file);
	seq_printf(file, "events_dropped %llu\n", pal_events_dropped);
	pal_members_show(file);
	pal_replay_show(file);
	pal_comms_show(file);
	pal_watch_show(file);
	pal_plock_show(file);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pal_state);

int pal_report_init(void)
{
	pal_printer_task = kthread_run(pal_printer, NULL, "palisade/log");
	if (IS_ERR(pal_printer_task))
		return PTR_ERR(pal_printer_task);
	pal_debugfs = debugfs_create_dir(PAL_NAME, NULL);
	debugfs_create_file("state", 0444, pal_debugfs, NULL,
			    &pal_state_fops);
	return 0;
}

void pal_report_exit(void)
{
	debugfs_remove_recursive(pal_debugfs);
	kthread_stop(pal_printer_task);
}
