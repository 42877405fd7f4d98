// SPDX-License-Identifier: GPL-2.0
/*
 * Forgets the empty entry at the end of a table: the core goes on with what happens to be behind it, here trouble_behind.c.
 *
 * In C, because klp::livepatch! ends its tables.
 */

#include <linux/livepatch.h>
#include <linux/module.h>

static noinline int answer(void)
{
	return 42;
}

/* A section of its own, so that it is known what follows. */
static struct klp_func funcs[] __section(".data.trouble") __aligned(8) = {
	{ .old_name = "trouble_quota", .new_func = answer },
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

static int __init trouble_no_end_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit trouble_no_end_exit(void)
{
}

module_init(trouble_no_end_init);
module_exit(trouble_no_end_exit);
MODULE_DESCRIPTION("Livepatch test: a table without an end");
MODULE_INFO(livepatch, "Y");
MODULE_LICENSE("GPL");
