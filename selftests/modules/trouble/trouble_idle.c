// SPDX-License-Identifier: GPL-2.0
/*
 * Says that it is a livepatch, and never enables it.
 *
 * In C, because klp::livepatch! does both.
 */

#include <linux/livepatch.h>
#include <linux/module.h>

static struct klp_func funcs[] = { {} };

static struct klp_object objs[] = {
	{
		.funcs = funcs,
	}, {}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init trouble_idle_init(void)
{
	return patch.objs ? 0 : -EINVAL;
}

static void __exit trouble_idle_exit(void)
{
}

module_init(trouble_idle_init);
module_exit(trouble_idle_exit);
MODULE_DESCRIPTION("Livepatch test: never enabled");
MODULE_INFO(livepatch, "Y");
MODULE_LICENSE("GPL");
