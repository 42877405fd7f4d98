// SPDX-License-Identifier: GPL-2.0
/* A target that only comes and goes. /proc/lifecycle_beta shows which version of its function answers. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

int lifecycle_beta_answer(void);

/* The function that a livepatch replaces; 0 stands for the original. */
noinline int lifecycle_beta_answer(void)
{
	int ret = 0;

	/* Else its caller below takes every answer for 0. */
	OPTIMIZER_HIDE_VAR(ret);
	return ret;
}

static int lifecycle_beta_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%d\n", lifecycle_beta_answer());
	return 0;
}

static int __init lifecycle_beta_init(void)
{
	if (!proc_create_single("lifecycle_beta", 0444, NULL, lifecycle_beta_show))
		return -ENOMEM;
	pr_info("init\n");
	return 0;
}

static void __exit lifecycle_beta_exit(void)
{
	remove_proc_entry("lifecycle_beta", NULL);
	pr_info("exit\n");
}

module_init(lifecycle_beta_init);
module_exit(lifecycle_beta_exit);
MODULE_DESCRIPTION("Livepatch test: a target that comes and goes");
MODULE_LICENSE("GPL");
