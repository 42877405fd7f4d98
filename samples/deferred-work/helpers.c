// SPDX-License-Identifier: GPL-2.0

#include <linux/interrupt.h>
#include <linux/kernel_stat.h>
#include <linux/seq_file.h>

/* The kernel keeps its own table to itself. */
static const char * const names[] = {
	[HI_SOFTIRQ] = "HI",
	[TIMER_SOFTIRQ] = "TIMER",
	[NET_TX_SOFTIRQ] = "NET_TX",
	[NET_RX_SOFTIRQ] = "NET_RX",
	[BLOCK_SOFTIRQ] = "BLOCK",
	[IRQ_POLL_SOFTIRQ] = "IRQ_POLL",
	[TASKLET_SOFTIRQ] = "TASKLET",
	[SCHED_SOFTIRQ] = "SCHED",
	[HRTIMER_SOFTIRQ] = "HRTIMER",
	[RCU_SOFTIRQ] = "RCU",
};
static_assert(ARRAY_SIZE(names) == NR_SOFTIRQS);

/* How often this kind ran since boot, on all CPUs; wraps around. */
u32 rust_helper_softirqs(unsigned int kind)
{
	u32 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += kstat_softirqs_cpu(kind, cpu);
	return sum;
}

/* The kernel's own heading without the newline. */
void rust_helper_softirqs_heading(struct seq_file *seq)
{
	int cpu;

	seq_puts(seq, "                    ");
	for_each_possible_cpu(cpu)
		seq_printf(seq, "CPU%-8d", cpu);
}

/* The kernel's own line of a kind without the newline. */
void rust_helper_softirqs_line(struct seq_file *seq, unsigned int kind)
{
	int cpu;

	seq_printf(seq, "%12s:", names[kind]);
	for_each_possible_cpu(cpu)
		seq_printf(seq, " %10u", kstat_softirqs_cpu(kind, cpu));
}
