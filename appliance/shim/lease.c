// SPDX-License-Identifier: GPL-2.0-only
/*
 * lease - the timer that ends this machine, and its last word
 *
 * A node that nobody renews must stop writing before its lease ends.  Stopping
 * the DLM is no stop: writes under locks that are cached go on.  So a hard
 * timer, which needs neither a thread nor memory, restarts the machine
 * PAL_PARTING_US before the end.  The clock is the boot clock: a guest that
 * was suspended finds its lease over when it wakes.
 *
 * A hypervisor that stops a VM stops this clock, too: the lease is a second
 * line and never a proof (SAFETY C4).
 */
#include <linux/hrtimer.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/reboot.h>

#include "shim.h"

static struct hrtimer pal_timer, pal_parting_timer;
static atomic64_t pal_end;

/**
 * pal_lease_end_machine - reset at once; does not return
 *
 * Usable anywhere, an interrupt too.
 */
void pal_lease_end_machine(void)
{
	emergency_restart();
}

static enum hrtimer_restart pal_lease_over(struct hrtimer *timer)
{
	u64 end = atomic64_read(&pal_end);
	u64 due = end - PAL_PARTING_US;

	/* It was renewed since. */
	if (pal_now() < due) {
		hrtimer_set_expires(timer, ns_to_ktime(due * 1000));
		return HRTIMER_RESTART;
	}
	pal_channel_last_word(PAL_GASP_LEASE);
	pal_lease_end_machine();
	return HRTIMER_NORESTART;
}

/**
 * pal_lease_set - the lease ends then
 * @end: by the boot clock; later than the last one
 *
 * The timer is started once, and moved by nobody but itself: it finds a later
 * end when it is due at the former one.  Who moved a timer that is just
 * running on another CPU would break the order of all timers there.
 */
void pal_lease_set(u64 end)
{
	if (!atomic64_xchg(&pal_end, end))
		hrtimer_start(&pal_timer,
			      ns_to_ktime((end - PAL_PARTING_US) * 1000),
			      HRTIMER_MODE_ABS_HARD);
}

static enum hrtimer_restart pal_parted(struct hrtimer *timer)
{
	pal_lease_end_machine();
	return HRTIMER_NORESTART;
}

/* The machine ends now; if its last words take longer, it ends without. */
void pal_lease_part(void)
{
	hrtimer_start(&pal_parting_timer, ns_to_ktime(PAL_PARTING_US * 1000ull),
		      HRTIMER_MODE_REL_HARD);
}

u64 pal_lease_end(void)
{
	return atomic64_read(&pal_end);
}

static int pal_on_panic(struct notifier_block *block, unsigned long event,
			void *message)
{
	pal_channel_last_word(PAL_GASP_PANIC);
	return NOTIFY_DONE;
}

/*
 * As early as pvpanic, which may stop the machine: whichever of the two was
 * loaded first speaks, and the appliance hears either.
 */
static struct notifier_block pal_panic = {
	.notifier_call = pal_on_panic,
	.priority = INT_MAX,
};

int pal_lease_init(void)
{
	hrtimer_init(&pal_timer, CLOCK_BOOTTIME, HRTIMER_MODE_ABS_HARD);
	pal_timer.function = pal_lease_over;
	hrtimer_init(&pal_parting_timer, CLOCK_BOOTTIME, HRTIMER_MODE_REL_HARD);
	pal_parting_timer.function = pal_parted;
	return atomic_notifier_chain_register(&panic_notifier_list,
					      &pal_panic);
}

void pal_lease_exit(void)
{
	atomic_notifier_chain_unregister(&panic_notifier_list, &pal_panic);
	hrtimer_cancel(&pal_timer);
	hrtimer_cancel(&pal_parting_timer);
}
