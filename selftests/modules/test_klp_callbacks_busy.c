// SPDX-License-Identifier: GPL-2.0

/*
 * A target whose function can be kept busy, so that a transition cannot end.
 *
 * It is in C, so that one function that the tests patch has been compiled with -mfentry. For a target in Rust see
 * test_klp_mod_target.rs.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/workqueue.h>

static bool block_transition;
module_param(block_transition, bool, 0644);
MODULE_PARM_DESC(block_transition, "stay in busymod_work_func until this is cleared (default=false)");

static DECLARE_COMPLETION(entered);

static void busymod_work_func(struct work_struct *work)
{
	pr_info("%s enter\n", __func__);
	complete(&entered);
	while (READ_ONCE(block_transition))
		msleep(20);
	pr_info("%s exit\n", __func__);
}

static DECLARE_WORK(busy_work, busymod_work_func);

static int __init test_klp_callbacks_busy_init(void)
{
	pr_info("%s\n", __func__);
	schedule_work(&busy_work);
	/* The tests compare the log line by line: what the work says comes before the next command. */
	if (READ_ONCE(block_transition))
		wait_for_completion(&entered);
	else
		flush_work(&busy_work);
	return 0;
}

static void __exit test_klp_callbacks_busy_exit(void)
{
	WRITE_ONCE(block_transition, false);
	flush_work(&busy_work);
	pr_info("%s\n", __func__);
}

module_init(test_klp_callbacks_busy_init);
module_exit(test_klp_callbacks_busy_exit);
MODULE_AUTHOR("The livepatch cookbook");
MODULE_DESCRIPTION("Livepatch test: a target that can be kept busy");
MODULE_LICENSE("GPL");
