// SPDX-License-Identifier: GPL-2.0
/*
 * Names a function, and nothing that runs in its place.
 *
 * In C, because klp::livepatch! asks for a replacement.
 */

#include <linux/livepatch.h>
#include <linux/module.h>

static struct klp_func funcs[] = {
	{ .old_name = "trouble_quota" },
	{}
};

static struct klp_object objs[] = {
	{
		.name = "trouble_target",
		.funcs = funcs,
	}, {}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init trouble_no_new_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit trouble_no_new_exit(void)
{
}

module_init(trouble_no_new_init);
module_exit(trouble_no_new_exit);
MODULE_DESCRIPTION("Livepatch test: a function without a replacement");
MODULE_INFO(livepatch, "Y");
MODULE_LICENSE("GPL");
