// SPDX-License-Identifier: GPL-2.0
/*
 * A callback that waits for all work of the system's workqueue. **It is wrong**: the work that ends a transition is on that
 * queue, and the callback runs in it.
 *
 * In C because flush_workqueue() is a macro.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/workqueue.h>

/* The macro would warn of the constant. */
static struct workqueue_struct *queue;

static void flush(struct klp_object *obj)
{
	pr_info("post_patch: %s: waits for the workqueue\n", obj->name);
	flush_workqueue(READ_ONCE(queue));
	pr_info("post_patch: %s: no work is left\n", obj->name);
}

static int enter(int (*wait)(void))
{
	int ret = wait();

	return ret < 0 ? ret : 5;
}

static struct klp_func funcs[] = {
	{ .old_name = "rules_target_enter", .new_func = enter },
	{}
};

static struct klp_object objs[] = {
	{ .name = "rules_target", .funcs = funcs, .callbacks.post_patch = flush },
	{}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init claims_flush_init(void)
{
	queue = system_percpu_wq;
	return klp_enable_patch(&patch);
}

static void __exit claims_flush_exit(void)
{
}

module_init(claims_flush_init);
module_exit(claims_flush_exit);
MODULE_DESCRIPTION("Livepatch test: a callback that waits for the system's workqueue (wrong)");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
