// SPDX-License-Identifier: GPL-2.0
/*
 * A target that can hold a transition up: who reads /proc/rules_target stays in rules_target_enter() while
 * the parameter "open" is N, and is told afterwards which version of that function answered.
 *
 * In C because livepatch reaches a function through ftrace, and rustc emits no __fentry__.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "gate.h"

int rules_target_enter(int (*wait)(void));

MODULE_PARM_DESC(open, "N holds readers of /proc/rules_target up");

static int rules_target_wait(void)
{
	return wait_for_open();
}

/* What the caller below passes on. A compiler that knew the value would call a copy made for it, which nobody patches. */
static int (*wait_here)(void) = rules_target_wait;

// ANCHOR: enter
/*
 * The function that livepatches replace; 0 stands for the original. It gets what it sleeps in from its caller,
 * so that a replacement can sleep there as well. Not static: its declaration must stay what it is.
 */
noinline int rules_target_enter(int (*wait)(void))
{
	int ret = wait();

	/* Work that remains to be done keeps the call above from becoming a jump. */
	ret = ret < 0 ? ret : 0;
	/* Else the compiler knows that this is never positive, and its caller below takes every answer for 0. */
	OPTIMIZER_HIDE_VAR(ret);
	return ret;
}
// ANCHOR_END: enter

static int rules_target_show(struct seq_file *m, void *unused)
{
	int ret = rules_target_enter(READ_ONCE(wait_here));

	if (ret < 0)
		return ret;
	seq_printf(m, "%d\n", ret);
	return 0;
}

static int __init rules_target_init(void)
{
	if (!proc_create_single(KBUILD_MODNAME, 0444, NULL, rules_target_show))
		return -ENOMEM;
	pr_info("init\n");
	return 0;
}

static void __exit rules_target_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
	pr_info("exit\n");
}

module_init(rules_target_init);
module_exit(rules_target_exit);
MODULE_DESCRIPTION("Livepatch test: a target that can hold a transition up");
MODULE_LICENSE("GPL");
