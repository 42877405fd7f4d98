// SPDX-License-Identifier: GPL-2.0
/*
 * Takes memory in pre_patch, and has no post_unpatch: whenever the transition is reversed, or another object says no, nobody
 * frees it.
 *
 * In C, because klp::StatefulCallbacks asks for both.
 */

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/slab.h>

static void *taken;

static int pre_patch(struct klp_object *obj)
{
	taken = kmalloc(64, GFP_KERNEL);
	return taken ? 0 : -ENOMEM;
}

static void pre_unpatch(struct klp_object *obj)
{
	kfree(taken);
}

static struct klp_func funcs[] = { {} };

static struct klp_object objs[] = {
	{
		.funcs = funcs,
		.callbacks = { .pre_patch = pre_patch, .pre_unpatch = pre_unpatch },
	}, {}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init trouble_kept_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit trouble_kept_exit(void)
{
}

module_init(trouble_kept_init);
module_exit(trouble_kept_exit);
MODULE_DESCRIPTION("Livepatch test: nobody gives back what pre_patch takes");
MODULE_INFO(livepatch, "Y");
MODULE_LICENSE("GPL");
