// SPDX-License-Identifier: GPL-2.0
/*
 * A target whose functions are what a livepatch stumbles over: inlined, specialised, not traceable, or two of one name.
 * /proc/trouble_target shows what each of them answers.
 */

#include <linux/compiler.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "trouble_twin.h"

int trouble_quota(void);
int trouble_inlined_show(struct seq_file *m);
int trouble_notrace(void);

static int quota = 4;
static int share = 2;

// ANCHOR: inlined
/* The compiler copies this one into its caller below, and keeps it: another file might call it. */
int trouble_quota(void)
{
	return READ_ONCE(quota);
}

/* This one as well, and then throws it away: nobody else can call it. */
static int trouble_share(void)
{
	return READ_ONCE(share);
}

noinline int trouble_inlined_show(struct seq_file *m)
{
	seq_printf(m, "quota %d\n", trouble_quota());
	seq_printf(m, "share %d\n", trouble_share());
	return 0;
}
// ANCHOR_END: inlined

// ANCHOR: specialised
/* noinline keeps it from being copied into its caller, not from being copied. */
static noinline void trouble_sum(struct seq_file *m, int (*next)(int))
{
	int sum = 0;

	for (int i = 1; i; i = next(i))
		sum += i;
	seq_printf(m, "sum %d\n", sum);
}

static int up_to_four(int i)
{
	return i < 4 ? i + 1 : 0;
}
// ANCHOR_END: specialised

// ANCHOR: notrace
/* No call of __fentry__ in front, as in Rust and assembly: nothing that ftrace could redirect. */
noinline notrace int trouble_notrace(void)
{
	return READ_ONCE(share);
}
// ANCHOR_END: notrace

static int trouble_target_show(struct seq_file *m, void *unused)
{
	trouble_inlined_show(m);
	trouble_sum(m, up_to_four);
	seq_printf(m, "untraced %d\n", trouble_notrace());
	seq_printf(m, "twins %d %d\n", trouble_first(), trouble_second());
	return 0;
}

static noinline int trouble_twin(void)
{
	return READ_ONCE(share) - 1;
}

noinline int trouble_first(void)
{
	return trouble_twin();
}

static int __init trouble_target_init(void)
{
	return proc_create_single(KBUILD_MODNAME, 0444, NULL, trouble_target_show) ? 0 : -ENOMEM;
}

static void __exit trouble_target_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
}

module_init(trouble_target_init);
module_exit(trouble_target_exit);
MODULE_DESCRIPTION("Livepatch test: functions that a livepatch stumbles over");
MODULE_LICENSE("GPL");
