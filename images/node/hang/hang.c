// SPDX-License-Identifier: GPL-2.0-only
/*
 * hang - stop all CPUs with interrupts off, for ever
 *
 * A test needs a guest that is alive for its hypervisor and dead for everyone
 * else: no panic that a notifier could report, no exit, no answer.  The stock
 * kernel cannot be asked for that (LKDTM is off), so loading this module does
 * it: every other CPU is sent into a loop by an IPI, then this one follows.
 *
 * smp_call_function() does not wait: the callbacks never return, and waiting
 * for them would leave this CPU with interrupts on.  A CPU that halts with
 * interrupts off is as dead as one that spins, and leaves the test machine's
 * few real CPUs to the guests that are still alive.
 *
 * insmod never returns, and there is no way back but a reset.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/smp.h>

#include <asm/irqflags.h>

static void hang_cpu(void *unused)
{
	local_irq_disable();
	for (;;)
		native_halt();
}

static int __init hang_init(void)
{
	preempt_disable();
	smp_call_function(hang_cpu, NULL, 0);
	/* Let the others take the interrupt before this CPU falls silent too. */
	mdelay(1);
	hang_cpu(NULL);
	return 0;
}

module_init(hang_init);
MODULE_DESCRIPTION("Stops all CPUs with interrupts off, for tests");
MODULE_LICENSE("GPL");
