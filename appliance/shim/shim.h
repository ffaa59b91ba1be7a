/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * shim - what the kernel's parts of the shim say to each other
 */
#ifndef PALISADE_SHIM_H
#define PALISADE_SHIM_H

#include <linux/atomic.h>
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "machine.h"

#define PAL_NAME	"palisade"

/* main.c: the one machine, and its lock. */
extern struct pal_machine pal_machine;
extern spinlock_t pal_lock;
extern bool pal_services;

static inline u64 pal_now(void)
{
	return ktime_to_us(ktime_get_boottime());
}

void pal_kick(void);
struct task_struct *pal_thread(int (*body)(void *), const char *name, bool rt);

/* channel.c: the virtio console in PCI slot 0x10. */
#define PAL_SLOT	0x10

struct pal_channel_counters {
	atomic64_t received;		/* bytes */
	atomic64_t sent;		/* frames */
	atomic64_t full;		/* frames dropped: no buffer */
	atomic64_t broken;		/* lengths that the device made up */
};

extern struct pal_channel_counters pal_channel_counters;
int pal_channel_init(void);
void pal_channel_exit(void);
bool pal_channel_pending(void);
void pal_channel_receive(void (*take)(const u8 *bytes, u32 count));
void pal_channel_send(const u8 *bytes, u32 count);
u64 pal_channel_skipped(void);
void pal_channel_drain(void);
void pal_channel_last_word(u8 reason);

/* lease.c: the timer that ends the machine. */
int pal_lease_init(void);
void pal_lease_exit(void);
void pal_lease_set(u64 end);
void pal_lease_part(void);
void pal_lease_end_machine(void);
u64 pal_lease_end(void);

/* report.c: events and state for people. */
void pal_report_round(u64 us);
int pal_report_init(void);
void pal_report_exit(void);

/* dlm.c: the DLM's configfs and sysfs, from inside. */
int pal_dlm_init(void);
void pal_dlm_exit(void);
int pal_dlm_comm_make(u8 node, const struct pal_address *address, bool local);
int pal_dlm_comm_drop(u8 node);
int pal_dlm_space_make(const char *space);
void pal_dlm_space_drop(const char *space);
int pal_dlm_node_make(const char *space, u8 node);
int pal_dlm_node_drop(const char *space, u8 node);
int pal_dlm_cluster_name(const char *name);
int pal_dlm_store(const char *space, const char *attribute, const char *text);
int pal_dlm_number(const char *space, const char *attribute, int base);
int pal_dlm_recover_status(const char *space);
bool pal_dlm_is_there(const char *space);

/* members.c, mount.c: what the worker and mounts do about the groups. */
int pal_members_init(void);
void pal_members_exit(void);
int pal_members_join(const char *space, const char *cluster, void *connection,
		     struct pal_locks *locks);
void pal_members_joined(int at, bool good);
void pal_members_leave(int at);
void pal_members_left(int at);
bool pal_members_recover(int at, u8 node);
void pal_members_recovered(int at);
void pal_members_mounted(int at);
bool pal_members_use(u8 node);
void pal_members_show(struct seq_file *file);

/* comms.c: addresses of the other nodes' DLMs, and pages held back. */
void pal_comms_ahead(void);
int pal_comm_need(u8 node, u64 incarnation);
void pal_comm_over(u8 node, u64 incarnation);
bool pal_comm_is_made(u8 node);
void pal_comms_show(struct seq_file *file);
void pal_comms_exit(void);
void pal_reserve_fill(void);
void pal_reserve_give_back(void);

/* replay.c: OCFS2's part of a recovery. */
int pal_replay_init(void);
void pal_replay_exit(void);
void pal_replay_note(int at, void *connection, const char *space, u8 node);
void pal_replay_start(int at);
bool pal_replay_is_over(int at);
void pal_replay_forget(int at);
void pal_replay_show(struct seq_file *file);

/* watch.c: peers whose DLM does not answer. */
int pal_watch_init(void);
void pal_watch_exit(void);
void pal_watch_show(struct seq_file *file);

/* plock.c: POSIX locks of processes. */
struct file;
struct file_lock;
struct pal_locks *pal_plock_make(void);
void pal_plock_end(int at, struct pal_locks *locks);
int pal_plock(int at, u64 inode, struct file *file, int cmd,
	      struct file_lock *fl);
void pal_plock_show(struct seq_file *file);

/* stack.c: the OCFS2 stack plugin. */
int pal_stack_init(void);
void pal_stack_exit(void);
void pal_stack_recover(void *connection, u8 node);
bool pal_stack_is_recovering(const char *space);

#endif
