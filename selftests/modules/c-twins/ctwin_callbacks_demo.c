// SPDX-License-Identifier: GPL-2.0
/*
 * The twin of test_klp_callbacks_demo.rs: logs its callbacks for the kernel, for a module, and for a module
 * with a function that may be busy.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/workqueue.h>

static int pre_patch_ret;
module_param(pre_patch_ret, int, 0644);
MODULE_PARM_DESC(pre_patch_ret, "what the pre-patch callbacks return (default=0)");

static const char *state_text(enum module_state state)
{
	switch (state) {
	case MODULE_STATE_LIVE:
		return "[MODULE_STATE_LIVE] Normal state";
	case MODULE_STATE_COMING:
		return "[MODULE_STATE_COMING] Full formed, running module_init";
	case MODULE_STATE_GOING:
		return "[MODULE_STATE_GOING] Going away";
	default:
		return "[MODULE_STATE_UNFORMED] Still setting it up";
	}
}

static void log_callback(const char *callback, const struct klp_object *obj)
{
	const char *name = obj->name ?: "vmlinux";

	if (obj->mod)
		pr_info("%s: %s -> %s\n", callback, name, state_text(READ_ONCE(obj->mod->state)));
	else
		pr_info("%s: %s\n", callback, name);
}

static int demo_pre_patch(struct klp_object *obj)
{
	log_callback("pre_patch_callback", obj);
	return pre_patch_ret;
}

static void demo_post_patch(struct klp_object *obj)
{
	log_callback("post_patch_callback", obj);
}

static void demo_pre_unpatch(struct klp_object *obj)
{
	log_callback("pre_unpatch_callback", obj);
}

static void demo_post_unpatch(struct klp_object *obj)
{
	log_callback("post_unpatch_callback", obj);
}

static void patched_work_func(struct work_struct *work)
{
	pr_info("patched_work_func\n");
}

static struct klp_func no_funcs[] = {
	{ }
};

static struct klp_func busy_funcs[] = {
	{ .old_name = "busymod_work_func", .new_func = patched_work_func },
	{ }
};

#define DEMO_CALLBACKS {				\
	.pre_patch = demo_pre_patch,			\
	.post_patch = demo_post_patch,			\
	.pre_unpatch = demo_pre_unpatch,		\
	.post_unpatch = demo_post_unpatch,		\
}

static struct klp_object objs[] = {
	{ .funcs = no_funcs, .callbacks = DEMO_CALLBACKS },
	{ .name = "test_klp_callbacks_mod", .funcs = no_funcs, .callbacks = DEMO_CALLBACKS },
	{ .name = "test_klp_callbacks_busy", .funcs = busy_funcs, .callbacks = DEMO_CALLBACKS },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init ctwin_callbacks_demo_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit ctwin_callbacks_demo_exit(void)
{
}

module_init(ctwin_callbacks_demo_init);
module_exit(ctwin_callbacks_demo_exit);
MODULE_AUTHOR("The livepatch cookbook");
MODULE_DESCRIPTION("Livepatch test: callbacks of three objects");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
