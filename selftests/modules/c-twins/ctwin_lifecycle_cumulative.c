// SPDX-License-Identifier: GPL-2.0
/*
 * The twin of lifecycle_cumulative.rs: a livepatch that replaces others, with a state, and without lifecycle_beta.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define KERNEL_HAS_STATE 0

#include "ctwin_lifecycle.h"

/* Answers 2, or 9 where there is no state. */
static int lifecycle_alpha_enter(int (*wait)(void))
{
	int ret = wait();

	return ret ?: READ_ONCE(alpha_state) ? 2 : 9;
}

static struct klp_func alpha_funcs[] = {
	{ .old_name = "lifecycle_alpha_enter", .new_func = lifecycle_alpha_enter },
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = no_funcs, .callbacks = CALLBACKS },
	{ .name = "lifecycle_alpha", .funcs = alpha_funcs, .callbacks = CALLBACKS },
	{ }
};

/* The id is that of the livepatch in Rust. */
static struct klp_state states[] = {
	{ .id = 0x6c696665, .version = 1 },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
	.states = states,
	.replace = true,
};

static int __init cumulative_init(void)
{
	return enable(&patch);
}

static void __exit cumulative_exit(void)
{
	say_exit();
}

module_init(cumulative_init);
module_exit(cumulative_exit);
MODULE_DESCRIPTION("Livepatch test: the cumulative livepatch of the lifecycle, in C");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
