// SPDX-License-Identifier: GPL-2.0
/*
 * A replacement whose last act is a call, of which the compiler makes a jump: nothing of it is on the stack of a task that
 * sleeps in the other function, and the core takes the task for one that has left.
 *
 * In C, because klp::livepatch! puts something behind the call.
 */

#include <linux/livepatch.h>
#include <linux/module.h>

static noinline int sleep(int (*wait)(void))
{
	int ret = wait();

	return ret ?: 7;
}

static int answer(int (*wait)(void))
{
	return sleep(wait);
}

static struct klp_func funcs[] = {
	{ .old_name = "rules_target_enter", .new_func = answer },
	{}
};

static struct klp_object objs[] = {
	{
		.name = "rules_target",
		.funcs = funcs,
	}, {}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init trouble_tail_call_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit trouble_tail_call_exit(void)
{
}

module_init(trouble_tail_call_init);
module_exit(trouble_tail_call_exit);
MODULE_DESCRIPTION("Livepatch test: a replacement that is left by a jump");
MODULE_INFO(livepatch, "Y");
MODULE_LICENSE("GPL");
