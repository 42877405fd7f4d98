// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch that forgets to say that it is one: MODULE_INFO(livepatch, "Y") is missing.
 *
 * In C, because klp::livepatch! writes that line itself.
 */

#include <linux/livepatch.h>
#include <linux/module.h>

static struct klp_func funcs[] = { {} };

static struct klp_object objs[] = {
	{ .funcs = funcs },
	{}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init trouble_not_marked_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit trouble_not_marked_exit(void)
{
}

module_init(trouble_not_marked_init);
module_exit(trouble_not_marked_exit);
MODULE_DESCRIPTION("Livepatch test: not marked as a livepatch");
MODULE_LICENSE("GPL");
