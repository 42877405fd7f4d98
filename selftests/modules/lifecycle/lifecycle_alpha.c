// SPDX-License-Identifier: GPL-2.0
/*
 * A target that can hold a transition up. /proc/lifecycle_alpha shows which version of its function answers; who reads
 * /proc/lifecycle_alpha_park stays in it while the parameter "open" is N, and keeps the module from being removed.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "../gate.h"

int lifecycle_alpha_enter(int (*wait)(void));

MODULE_PARM_DESC(open, "N holds readers of /proc/lifecycle_alpha_park up");

static int lifecycle_alpha_pass(void)
{
	return 0;
}

static int lifecycle_alpha_park(void)
{
	return wait_for_open();
}

/* The function that livepatches replace; 0 stands for the original. Not static: its declaration must stay what it is. */
noinline int lifecycle_alpha_enter(int (*wait)(void))
{
	int ret = wait();

	/* Work that remains to be done keeps the call above from becoming a jump. */
	ret = ret < 0 ? ret : 0;
	/* Else the compiler knows that this is never positive, and its caller below takes every answer for 0. */
	OPTIMIZER_HIDE_VAR(ret);
	return ret;
}

static int lifecycle_alpha_show(struct seq_file *m, void *unused)
{
	int ret;

	/* The exit below waits for this function to return, so that the module may be put in it. */
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	ret = lifecycle_alpha_enter(m->private);
	module_put(THIS_MODULE);
	if (ret < 0)
		return ret;
	seq_printf(m, "%d\n", ret);
	return 0;
}

static int __init lifecycle_alpha_init(void)
{
	proc_create_single_data("lifecycle_alpha", 0444, NULL, lifecycle_alpha_show, lifecycle_alpha_pass);
	proc_create_single_data("lifecycle_alpha_park", 0444, NULL, lifecycle_alpha_show, lifecycle_alpha_park);
	pr_info("init\n");
	return 0;
}

static void __exit lifecycle_alpha_exit(void)
{
	remove_proc_entry("lifecycle_alpha_park", NULL);
	remove_proc_entry("lifecycle_alpha", NULL);
	pr_info("exit\n");
}

module_init(lifecycle_alpha_init);
module_exit(lifecycle_alpha_exit);
MODULE_DESCRIPTION("Livepatch test: a target that can hold a transition up");
MODULE_LICENSE("GPL");
