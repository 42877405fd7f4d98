// SPDX-License-Identifier: GPL-2.0
/*
 * Changes a variable of the kernel without a klp_state: a cumulative patch that comes after it does not know, and takes its place
 * without a call of its callbacks.
 */

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/panic.h>

static int before;

static int pre_patch(struct klp_object *obj)
{
	before = panic_timeout;
	panic_timeout = 42;
	return 0;
}

static void post_unpatch(struct klp_object *obj)
{
	panic_timeout = before;
}

static struct klp_func funcs[] = { {} };

static struct klp_object objs[] = {
	{
		.funcs = funcs,
		.callbacks = { .pre_patch = pre_patch, .post_unpatch = post_unpatch },
	}, {}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init trouble_no_state_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit trouble_no_state_exit(void)
{
}

module_init(trouble_no_state_init);
module_exit(trouble_no_state_exit);
MODULE_DESCRIPTION("Livepatch test: data changed without a state");
MODULE_INFO(livepatch, "Y");
MODULE_LICENSE("GPL");
