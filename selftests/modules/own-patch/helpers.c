// SPDX-License-Identifier: GPL-2.0

// ANCHOR: file
#include <linux/capability.h>
#include <linux/kernel_stat.h>
#include <linux/seq_file.h>
#include <linux/time_namespace.h>
#include <linux/timekeeping.h>

// ANCHOR: helpers
/* Since boot, as the reader's time namespace counts it. */
u64 rust_helper_uptime_ns(void)
{
	return timens_add_boottime_ns(ktime_get_boottime_ns());
}

/* How long all CPUs together have been idle. */
u64 rust_helper_idle_ns(void)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += kcpustat_field(CPUTIME_IDLE, cpu);
	return sum;
}
// ANCHOR_END: helpers

/* Whether whoever opened the file may administrate the system. */
bool rust_helper_opened_by_admin(struct seq_file *seq)
{
	return file_ns_capable(seq->file, &init_user_ns, CAP_SYS_ADMIN);
}
// ANCHOR_END: file
