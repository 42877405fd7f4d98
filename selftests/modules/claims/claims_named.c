// SPDX-License-Identifier: GPL-2.0
/*
 * Replaces the function of claims_target that its parameters name, by one that answers 42.
 *
 * In C because klp::livepatch! knows the names when it is compiled.
 */

#include <linux/livepatch.h>
#include <linux/module.h>

static char *function = "claims_twin";
module_param(function, charp, 0);
MODULE_PARM_DESC(function, "the function");

static ulong position;
module_param(position, ulong, 0);
MODULE_PARM_DESC(position, "which of that name; 0 for the only one");

static bool ignore;
module_param(ignore, bool, 0);
MODULE_PARM_DESC(ignore, "whether init succeeds whatever the core says");

static noinline int answer(void)
{
	return 42;
}

static struct klp_func funcs[] = {
	{ .new_func = answer },
	{}
};

static struct klp_object objs[] = {
	{ .name = "claims_target", .funcs = funcs },
	{}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init claims_named_init(void)
{
	int ret;

	funcs[0].old_name = function;
	funcs[0].old_sympos = position;
	ret = klp_enable_patch(&patch);
	return ignore ? 0 : ret;
}

static void __exit claims_named_exit(void)
{
}

module_init(claims_named_init);
module_exit(claims_named_exit);
MODULE_DESCRIPTION("Livepatch test: any function of a target");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
