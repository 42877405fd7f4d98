// SPDX-License-Identifier: GPL-2.0
/*
 * The twin of lifecycle_plain.rs: a livepatch of all three objects, that lives beside others.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define KERNEL_HAS_STATE 1

#include "ctwin_lifecycle.h"

/* Answers 1, or 9 where there is no state. */
static int lifecycle_alpha_enter(int (*wait)(void))
{
	int ret = wait();

	return ret ?: READ_ONCE(alpha_state) ? 1 : 9;
}

static int lifecycle_beta_answer(void)
{
	return 1;
}

static struct klp_func alpha_funcs[] = {
	{ .old_name = "lifecycle_alpha_enter", .new_func = lifecycle_alpha_enter },
	{ }
};

static struct klp_func beta_funcs[] = {
	{ .old_name = "lifecycle_beta_answer", .new_func = lifecycle_beta_answer },
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = no_funcs, .callbacks = CALLBACKS },
	{ .name = "lifecycle_alpha", .funcs = alpha_funcs, .callbacks = CALLBACKS },
	{ .name = "lifecycle_beta", .funcs = beta_funcs, .callbacks = CALLBACKS },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init plain_init(void)
{
	return enable(&patch);
}

static void __exit plain_exit(void)
{
	say_exit();
}

module_init(plain_init);
module_exit(plain_exit);
MODULE_DESCRIPTION("Livepatch test: the plain livepatch of the lifecycle, in C");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
