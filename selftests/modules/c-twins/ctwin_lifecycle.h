/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The twin of lifecycle/callbacks.rs: what the callbacks of both livepatches do. They log, and fail where they are told to.
 * A livepatch defines KERNEL_HAS_STATE before it includes this.
 */

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

static char fail[32] = "none";
module_param_string(fail, fail, sizeof(fail), 0644);
MODULE_PARM_DESC(fail, "the object whose pre_patch fails");

/* What pre_patch acquires and post_unpatch gives back. */
static void *kernel_state;
static void *alpha_state;

static const char *name_of(const struct klp_object *obj)
{
	return obj->name ?: "vmlinux";
}

static void **state_of(const struct klp_object *obj)
{
	if (!obj->name)
		return KERNEL_HAS_STATE ? &kernel_state : NULL;
	return strcmp(obj->name, "lifecycle_alpha") ? NULL : &alpha_state;
}

static void free_state(const char *name, void **state)
{
	if (!*state)
		return;
	kfree(*state);
	WRITE_ONCE(*state, NULL);
	pr_info("freed: %s\n", name);
}

static int pre_patch(struct klp_object *obj)
{
	void **state = state_of(obj);

	if (sysfs_streq(fail, name_of(obj))) {
		pr_info("pre_patch: %s: fails\n", name_of(obj));
		return -ENODEV;
	}
	if (state) {
		void *new = kmalloc(1, GFP_KERNEL);

		if (!new)
			return -ENOMEM;
		WRITE_ONCE(*state, new);
	}
	pr_info("pre_patch: %s\n", name_of(obj));
	return 0;
}

static void post_patch(struct klp_object *obj)
{
	pr_info("post_patch: %s\n", name_of(obj));
}

static void pre_unpatch(struct klp_object *obj)
{
	pr_info("pre_unpatch: %s\n", name_of(obj));
}

static void post_unpatch(struct klp_object *obj)
{
	pr_info("post_unpatch: %s\n", name_of(obj));
	if (state_of(obj))
		free_state(name_of(obj), state_of(obj));
}

#define CALLBACKS {			\
	.pre_patch = pre_patch,		\
	.post_patch = post_patch,	\
	.pre_unpatch = pre_unpatch,	\
	.post_unpatch = post_unpatch,	\
}

static struct klp_func no_funcs[] = {
	{ }
};

/* What a livepatch that was replaced still holds. */
static void say_exit(void)
{
	free_state("vmlinux", &kernel_state);
	free_state("lifecycle_alpha", &alpha_state);
	pr_info("exit\n");
}

static int enable(struct klp_patch *patch)
{
	int ret;

	pr_info("init\n");
	ret = klp_enable_patch(patch);
	if (ret)
		say_exit();
	return ret;
}
